"""Measure how long reports take, beside what they are made with, and write docs/performance.md.

python bench/report.py [--rounds NUMBER] [--folder FOLDER] [RUNS...]
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
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
HEADER = ("runs", "of them in the range", "beside", "time", "memory")


def run(command: Sequence[str]) -> tuple[float, float]:
    """Give the seconds that a command takes, and the MiB that it has at most."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed with {child.returncode}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


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
        took = [(run([*python, beside]), run(report)) for _ in range(rounds)]
    ratio = statistics.median(mine[0] / its[0] for its, mine in took)
    return [
        f"{runs:,}",
        "all" if many else "a day's",
        "DuckDB's `GROUP BY owner`" if many else "`import pandas`",
        f"{statistics.median(mine[0] for _, mine in took):.1f} s, {ratio:.1f}x",
        f"{statistics.median(mine[1] for _, mine in took):.0f} MiB",
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
        for cells in [HEADER, ["---:", "---", "---", "---:", "---:"], *rows]
    )
    print(table)
    if options.runs:
        return
    page = with_part(PAGE.read_text(), "reports", table)
    PAGE.write_text(with_part(page, "machine of reports", machine(options.rounds)))


if __name__ == "__main__":
    main()
