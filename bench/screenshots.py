"""Write the pictures of a report that the README shows: docs/report.png and docs/run.png."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

import lab

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests" / "browser"))

from chromium import Browser, start  # noqa: E402

WIDTH = 1280
RUNS, DAYS = 4211, 40


def picture(browser: Browser, page: Path, path: Path, most_high: int) -> None:
    """Write what a page looks like at its top."""
    browser.open(page, width=WIDTH)
    size = browser.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": min(size["height"], most_high), "scale": 1}
    taken = browser.driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    path.write_bytes(base64.b64decode(taken["data"]))


def main() -> None:
    """Make a store and a report of it, and look at them."""
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "store", Path(folder) / "report"
        lab.fill(store, RUNS, DAYS)
        options = ["--store", str(store), "--tz", "Asia/Seoul", "--out", str(out)]
        subprocess.run([sys.executable, "-m", "logtrace", "report", *options], check=True)
        driver = start(Path(folder) / "profile")
        try:
            browser = Browser(driver)
            picture(browser, out / "index.html", ROOT / "docs" / "report.png", 1330)
            detailed = (page for page in (out / "runs").iterdir() if "fsync" in page.read_text())
            picture(browser, min(detailed), ROOT / "docs" / "run.png", 1100)
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
