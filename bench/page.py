"""Measure how large a report's page is and how soon it can be used, and write docs/performance.md.

python bench/page.py [--rounds NUMBER] [RUNS...]
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import lab
from kernel import PAGE, with_part

sys.path.append(str(Path(__file__).parent.parent / "tests" / "browser"))

from chromium import CHROMIUM, Browser, start

DAYS = {10_000: 60, 1_000_000: 365}
HEADER = ("runs", "over", "page", "sent with gzip", "first paint", "interactive", "after a filter")
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
INTERACTIVE = "performance.getEntriesByName('interactive')[0].startTime"
# From a name chosen until charts and tables of it are laid out and painted.
FILTER = """
const [select, done] = [document.querySelector("#filters [name=owner]"), arguments[0]];
const begun = performance.now();
select.value = select.options[1].value;
select.dispatchEvent(new Event("change"));
requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
"""


def measure(runs: int, rounds: int) -> list[str]:
    """Give the row of a report on so many runs."""
    days = DAYS.get(runs, 60)
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "store", Path(folder) / "report"
        lab.fill(store, runs, days)
        options = ["--store", str(store), "--tz", "Asia/Seoul", "--out", str(out)]
        command = [sys.executable, "-m", "logtrace", "report", "--format", "html", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        page = out / "index.html"
        content = page.read_bytes()
        driver = start(Path(folder) / "profile")
        try:
            browser = Browser(driver)
            browser.open(page)  # the first one of a new window is as slow as the window
            times = [_open(browser, page) for _ in range(rounds)]
        finally:
            driver.quit()
    painted, interactive, filtered = map(statistics.median, zip(*times, strict=True))
    return [
        f"{runs:,}",
        f"{days} days",
        f"{len(content) / 1e6:.2f} MB",
        f"{len(gzip.compress(content)) / 1e6:.2f} MB",
        f"{painted:.0f} ms",
        f"{interactive:.0f} ms",
        f"{filtered:.0f} ms",
    ]


def _open(browser: Browser, page: Path) -> tuple[float, float, float]:
    browser.open(page)
    painted, interactive = (browser.ask(each) for each in (FIRST_PAINT, INTERACTIVE))
    return painted, interactive, browser.driver.execute_async_script(FILTER)


def machine(rounds: int) -> str:
    """Name what was measured with, and on what."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    said = subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"Chromium [\d.]+", said.stdout)
    return (
        f"{os.cpu_count()} x {cpu[1] if cpu else 'unknown'}; median of {rounds} rounds; "
        f"{version[0] if version else 'Chromium'}, without a graphics processor."
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure a report's page.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("runs", nargs="*", type=int, metavar="RUNS", help="10000, 1000000")
    options = parser.parse_args()
    rows = [measure(runs, options.rounds) for runs in options.runs or DAYS]
    rule = ["---:"] * len(HEADER)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [HEADER, rule, *rows])
    print(table)
    if options.runs:
        return
    page = with_part(PAGE.read_text(), "page", table)
    PAGE.write_text(with_part(page, "machine of page", machine(options.rounds)))


if __name__ == "__main__":
    main()
