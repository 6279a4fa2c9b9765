"""A headless Chromium that opens pages from the disk and keeps account of what they do."""

import json
import time

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
READY = "'ready' in document.documentElement.dataset"


def start(profile):
    """Give a driver of a window with this folder for its profile; selenium must be installed."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


class Browser:
    """One window, with what its pages logged and asked of the network."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, **settings):
        self.settle(**settings)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())
        if settings.get("script", True):
            self.until(f"!document.getElementById('libraries') || {READY}", True)

    def settle(self, width=1400, dark=False, script=True, zone="America/New_York"):
        """Set what a person would: the size of the screen, its colours, the machine's zone."""
        call = self.driver.execute_cdp_cmd
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        call("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        call("Emulation.setDeviceMetricsOverride", size)
        call("Emulation.setScriptExecutionDisabled", {"value": not script})
        call("Emulation.setTimezoneOverride", {"timezoneId": zone})

    def ask(self, script, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def until(self, script, wanted):
        """Wait until a script gives what is wanted, for at most a minute."""
        deadline = time.monotonic() + 60
        while (found := self.ask(script)) != wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        assert found == wanted

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector):
        script = "[...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())"
        return self.ask(script, selector)

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Give the addresses that the page asked for since it was opened.

        Addresses that hold their content themselves are left out: Chromium's own icons are such.
        """
        messages = [json.loads(e["message"]) for e in self.driver.get_log("performance")]
        sent = [m["message"] for m in messages if m["message"]["method"].startswith("Network.")]
        asked = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in asked]
        return [url for url in urls if not url.startswith("data:")]
