"""Measure how long reports take, beside what they are made with, and write docs/performance.md.

python bench/report.py [--rounds NUMBER] [--folder FOLDER] [RUNS...]
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lab
from kernel import PAGE, with_part

import logtrace
from logtrace import cache

SUMS = ", ".join(
    f"sum({name})"
    for name in (
        "read_bytes",
        "written_bytes",
        *(f"{call}_calls" for call in ("open", "close", "read", "write", "lseek")),
    )
)
GROUP_BY = (
    "import duckdb; duckdb.sql(\"SELECT owner, count(*), {sums} FROM '{files}' GROUP BY owner\")"
    ".fetchall()"
)
HEADER = ("runs", "of them in the range", "beside", "first report", "the next one", "memory")


def run(command: Sequence[str]) -> tuple[float, float]:
    """Give the seconds that a command takes, and the MiB that it has at most."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed with {child.returncode}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def forget() -> None:
    """Have the next report be the first one."""
    shutil.rmtree(cache.folder("answers"), ignore_errors=True)


def measure(store: Path, runs: int, rounds: int) -> list[str]:
    """Give the row of a store: of many runs all are reported, of few those of the last day."""
    many = runs > 100_000
    python = [sys.executable, "-c"]
    files = store / "host=*" / "runs" / "*.parquet"
    beside = GROUP_BY.format(sums=SUMS, files=files) if many else "import pandas"
    chosen = [] if many else ["--since", "2026-11-26", "--tz", "Asia/Seoul"]
    with tempfile.TemporaryDirectory() as out:
        options = ["--store", str(store), "--format", "html", "--out", out, *chosen]
        report = [sys.executable, "-m", "logtrace", "report", *options]
        took = []
        for _ in range(rounds):
            forget()
            took.append((run([*python, beside]), run(report), run(report)))
    return [
        f"{runs:,}",
        "all" if many else "a day's",
        "DuckDB's `GROUP BY owner`" if many else "`import pandas`",
        *(
            f"{statistics.median(each[which][0] for each in took):.1f} s, "
            f"{statistics.median(each[which][0] / each[0][0] for each in took):.1f}x"
            for which in (1, 2)
        ),
        f"{statistics.median(first[1] for _, first, _ in took):.0f} MiB",
    ]


def machine(rounds: int) -> str:
    """Name what was measured with, and on what."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{os.cpu_count()} x {cpu[1] if cpu else 'unknown'}; median of {rounds} rounds."


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure how long reports take.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("runs", nargs="*", type=int, metavar="RUNS", help="10000, 10000000")
    options = parser.parse_args()
    compileall.compile_dir(Path(logtrace.__file__).parent, quiet=1)  # as what is installed is
    rows = []
    for runs in options.runs or (10_000, 10_000_000):
        store = options.folder / f"lab-{runs}"
        if not store.exists():
            lab.fill(store, runs, 365)
        rows.append(measure(store, runs, options.rounds))
    table = "\n".join(
        f"| {' | '.join(cells)} |"
        for cells in [HEADER, ["---:", "---", "---", "---:", "---:", "---:"], *rows]
    )
    print(table)
    if options.runs:
        return
    page = with_part(PAGE.read_text(), "reports", table)
    PAGE.write_text(with_part(page, "machine of reports", machine(options.rounds)))


if __name__ == "__main__":
    main()
