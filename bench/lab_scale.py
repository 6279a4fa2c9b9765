"""Measure reports on labs of up to 1,000 hosts by both engines, and write docs/performance.md.

python bench/lab_scale.py [--runs NUMBER] [--a-host] [--workers NUMBER...] [--rounds NUMBER]
                          [--folder FOLDER] [HOSTS...]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

import lab
from distributed import Client
from kernel import PAGE, with_part
from report import forget, machine, run

from logtrace.store import Store

HOSTS = (10, 100, 1000)
RUNS = 10_000_000
WORKERS = (1, 2, 4)
KEYS = ("owner", "host")
DAYS = 365
HEADER = ("hosts", "runs", "store", "engine", *(f"`report --by {key}`" for key in KEYS), "memory")


def size_mib(folder: Path) -> float:
    """Give the MiB of a store."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / (1 << 20)


def peak_mib(pid: int) -> float:
    """Give the most MiB that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def report(store: Path, key: str, *options: str) -> tuple[float, float]:
    """Give the seconds that a report takes, and the MiB that its process has at most."""
    with tempfile.TemporaryDirectory() as out:
        chosen = ["--store", str(store), "--by", key, "--format", "html", "--out", out, *options]
        return run([sys.executable, "-m", "logtrace", "report", *chosen])


@contextmanager
def workers_on(folder: Path, count: int) -> Iterator[tuple[str, list[int]]]:
    """Have a cluster of workers of one thread; give its address, and their process ids."""
    file = folder / "scheduler.json"
    dask, shared = [sys.executable, "-m", "dask"], ["--no-dashboard", "--host", "127.0.0.1"]
    with ExitStack() as stack:

        def start(*command: str) -> Popen[bytes]:
            child = Popen([*dask, *command, *shared], stdout=DEVNULL, stderr=DEVNULL, cwd=folder)
            stack.callback(child.wait)
            stack.callback(child.kill)
            return child

        start("scheduler", "--port", "0", "--no-show", "--scheduler-file", str(file))
        options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny")
        children = [start("worker", *options) for _ in range(count)]
        while not file.exists():
            time.sleep(0.05)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(count)
            address = client.scheduler.address
        yield address, [child.pid for child in children]


def measured(store: Path, rounds: int, *options: str) -> tuple[list[str], float]:
    """Give the seconds of a report by each of `KEYS`, and the MiB of the largest.

    Of the local engine, those of the first report and of the next one.
    """
    times, largest = [], 0.0
    for key in KEYS:
        took, again = [], []
        for _ in range(rounds):
            forget()
            took.append(report(store, key, *options))
            if not options:
                again.append(report(store, key))
        cells = [f"{statistics.median(s for s, _ in each):.1f} s" for each in (took, again) if each]
        times.append(", then ".join(cells))
        largest = max(largest, *(memory for _, memory in took))
    return times, largest


def text_of(table: Sequence[Sequence[str]]) -> str:
    """Write rows of a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def rows(
    store: Path, shown: Sequence[str], workers: Sequence[int], rounds: int
) -> Iterator[list[str]]:
    """Give the rows of a store: the local engine's, and those of so many workers."""
    times, memory = measured(store, rounds)
    yield [*shown, "local", *times, f"{memory:.0f} MiB"]
    for count in workers:
        with (
            tempfile.TemporaryDirectory() as folder,
            workers_on(Path(folder), count) as (address, pids),
        ):
            times, memory = measured(store, rounds, "--scheduler", address)
            largest = max(map(peak_mib, pids))
        name = f"dask, {count} worker{'' if count == 1 else 's'}"
        yield [*shown, name, *times, f"{memory:.0f} MiB, a worker {largest:.0f} MiB"]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure reports on labs of many hosts.")
    parser.add_argument("--runs", type=int, default=RUNS, help="of all hosts together")
    parser.add_argument("--a-host", action="store_true", help="of each host, not of all together")
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    parser.add_argument("hosts", nargs="*", type=int, metavar="HOSTS", help="10 100 1000")
    options = parser.parse_args()
    table = [list(HEADER), ["---:", "---:", "---:", "---", "---:", "---:", "---:"]]
    # each row as it comes: the whole takes long
    print(text_of(table), flush=True)
    for hosts in options.hosts or HOSTS:
        each = options.runs if options.a_host else options.runs // hosts
        folder = options.folder / f"lab-{hosts}-hosts-{each}-runs"
        if not folder.exists():
            lab.fill_many(Store(str(folder)), hosts, each, DAYS)
        shown = [f"{hosts:,}", f"{hosts * each:,}", f"{size_mib(folder):.0f} MiB"]
        for row in rows(folder, shown, options.workers, options.rounds):
            print(text_of([row]), flush=True)
            table.append(row)
    if options.no_page:
        return
    part = "lab of as many runs a host" if options.a_host else "lab"
    page = with_part(PAGE.read_text(), part, text_of(table))
    PAGE.write_text(with_part(page, "machine of labs", machine(options.rounds)))


if __name__ == "__main__":
    main()
