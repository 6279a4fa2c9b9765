"""Measure `logtrace watch` and write the table into docs/performance.md.

python bench/live.py [--rounds NUMBER] [--runs NUMBER] [--commits NUMBER] [PART...]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import latency
from kernel import PAGE, with_part

from logtrace import kmod, vm

HERE = Path(__file__).parent
LOGTRACE = [sys.executable, "-m", "logtrace"]
BURST = 25_000  # runs, of four lines each
RING = 10_000  # runs that the large ring buffer holds
REPORTED = 50_000  # runs that a report is of
PARTS = ["latency", "guest", "drain", "idle"]
APART_S = 4  # runs in the guest, on average: there a commit takes seconds
PATIENCE_S = 1800
# Commits follow each other at once: a thousand would take a quarter of an hour
HASTY = "import logtrace.watch as w; w._COMMIT_AFTER_S = 0; from logtrace.cli import main; main()"

Row = list[str]


class Log:
    """A log file that runs are written to, as a kernel would print them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs = 0
        path.write_text("[    1.000000] usb 1-1: new device\n")

    def print_run(self, name: str) -> float:
        """Write a run with a file of that name; give the time before."""
        self._runs += 1
        pid = 1000 + self._runs
        lines = (
            f"OS Assignment2 ftrace [{pid}] Start",
            f"[2021202045] test file[{name}] stats [x] read - 20 / written - 26",
            "open[1] close[1] read[4] write[5] lseek[9]",
            f"OS Assignment2 ftrace [{pid}] End",
        )
        text = "".join(f"[{100 + self._runs / 100:12.6f}] {line}\n" for line in lines)
        with self.path.open("a") as file:
            begun = time.monotonic()
            file.write(text)
        return begun


def milliseconds(seconds: Sequence[float]) -> Row:
    """Write the median, the 99th percentile and the largest."""
    return [f"{1000 * value:.0f} ms" for value in latency.summary(seconds).values()]


# What does not need a kernel


def latencies(folder: Path, runs: int) -> list[Row]:
    """Time the runs of a log file, on this machine."""
    log, store = Log(folder / "log"), folder / "store"
    watch = [*LOGTRACE, "watch", "--host", "bench", "--store", str(store), str(log.path)]
    times = latency.measure(watch, log.print_run, runs, store / "host=bench/runs")
    beside = latency.measure(["tail", "-F", "-n0", str(log.path)], log.print_run, runs, table=None)
    _import_runs(folder, store)
    other = Log(folder / "other-log")
    watch = [*LOGTRACE, "watch", "--host", "fresh", "--store", str(store), str(other.path)]
    report = ["--report", str(folder / "report"), "--report-since", "all"]
    fresh = latency.measure([*watch, *report], other.print_run, runs, store / "host=fresh/runs")
    return [
        ["a log file: shown by `tail -F`", *milliseconds(beside.shown)],
        ["shown by `logtrace watch`", *milliseconds(times.shown)],
        ["stored", *milliseconds(times.stored)],
        [f"shown while a report of {REPORTED:,} runs is kept fresh", *milliseconds(fresh.shown)],
        ["stored meanwhile", *milliseconds(fresh.stored)],
    ]


# Another machine's, so that reports take seconds.
def _import_runs(folder: Path, store: Path) -> None:
    log = Log(folder / "many")
    for number in range(REPORTED):
        log.print_run(f"f{number % 300}")
    command = [*LOGTRACE, "import", "-q", "--host", "other", "--store", str(store), str(log.path)]
    subprocess.run(command, check=True)


class Idle(NamedTuple):
    """What a watch takes that nothing happens to.

    Parameters
    ----------
    commits
        How many it has made.
    resident, shared_out
        Bytes: all pages that it has, and these with its share only of those that others have too.
    """

    commits: int
    resident: int
    shared_out: int


def idle(folder: Path, commits: int, seconds: float) -> tuple[list[Idle], int]:
    """Give what a watch takes after a number of commits, and how often it woke up then."""
    log, store = Log(folder / "idle-log"), folder / "idle-store"
    options = ["--host", "bench", "--store", str(store), str(log.path)]
    found = []
    with latency.Terminal([sys.executable, "-c", HASTY, "watch", *options]) as terminal:
        _wait(terminal, 5)
        found.append(_memory(terminal.process.pid, 0))
        stored = latency.Stored(store / "host=bench/runs")
        for number in range(1, commits + 1):
            log.print_run(f"r{number}")
            while stored.look() < number:
                terminal.wait(0.01)
            if number in (1, commits // 10, commits):
                found.append(_memory(terminal.process.pid, number))
        _wait(terminal, 15)  # threads that have nothing to do end after ten seconds
        before = _wake_ups(terminal.process.pid)
        _wait(terminal, seconds)
        return found, _wake_ups(terminal.process.pid) - before


def _wait(terminal: latency.Terminal, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        terminal.wait(0.5)


def _memory(pid: int, commits: int) -> Idle:
    smaps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", smaps, re.MULTILINE)}
    return Idle(commits, 1024 * kib["Rss"], 1024 * kib["Pss"])


def _wake_ups(pid: int) -> int:
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(count) for text in texts for count in re.findall(r"ctxt_switches:\t(\d+)", text))


def idle_table(found: Sequence[Idle], wake_ups: int, seconds: float) -> str:
    """Lay out what a watch takes."""
    rows = [
        [
            f"after {each.commits} commit{'' if each.commits == 1 else 's'}",
            f"{each.resident / 1e6:.0f} MB",
            f"{each.shared_out / 1e6:.0f} MB",
        ]
        for each in found
    ]
    table = _table(["idle", "resident", "with its share of what is shared"], rows)
    return f"{table}\n\nWake-ups in {seconds:.0f} idle seconds, of all its threads: {wake_ups}."


# In a guest


class Kernel(NamedTuple):
    """What guests are booted with.

    Parameters
    ----------
    modules
        Folder of the modules built for Debian's kernel.
    folder
        Where host and guest both write; the program ``stream`` is there.
    """

    modules: Path
    folder: Path

    @classmethod
    def prepare(cls, folder: Path) -> Kernel:
        """Build what is needed."""
        release = vm.newest_kernel().name.removeprefix("vmlinuz-")
        stream = HERE.parent / "tests/kernel/programs/stream.c"
        command = ["gcc", "-O2", "-static", "-o", str(folder / "stream"), str(stream)]
        subprocess.run(command, check=True)
        return cls(kmod.build(Path("/lib/modules") / release / "build"), folder)

    @contextmanager
    def boot(self, *options: str) -> Iterator[vm.Guest]:
        """Give a guest with the modules loaded."""
        folders = [self.modules, HERE]
        image = vm.newest_kernel()
        with vm.Guest(
            image, self.folder, folders=folders, boot_timeout=600, kernel_options=options
        ) as guest:
            for name in ("ftracehooking", "iotracehooking"):
                guest.run(f"insmod {self.modules}/{name}.ko")
            yield guest


def drained(kernel: Kernel, rounds: int) -> str:
    """Read a large ring buffer, then a burst."""
    with kernel.boot("log_buf_len=32M") as guest:
        guest.run(f"{kernel.folder}/stream 1 {RING}", timeout=PATIENCE_S)
        table = _drained(guest, rounds)
        print(table, file=sys.stderr)
    with kernel.boot() as guest:
        return f"{table}\n\n{_burst(guest, kernel.folder)}"


def _drained(guest: vm.Guest, rounds: int) -> str:
    drained = _json(guest, f"{HERE}/drain.py {rounds} /run/drained")
    records = drained["records"]
    beside, mine = map(statistics.median, zip(*drained["rounds"], strict=True))
    ratio = statistics.median(cat / drain for cat, drain in drained["rounds"])
    whole = drained["watch"]
    rows = [
        ["`cat /dev/kmsg > /dev/null`", f"{records / beside:,.0f}", ""],
        ["`logtrace watch`, read", f"{records / mine:,.0f}", f"{ratio:.2f}x"],
        ["read, understood and stored", f"{records / whole:,.0f}", f"{beside / whole:.2f}x"],
    ]
    return _table([f"{records:,} records", "records a second", "beside `cat`"], rows)


def _json(guest: vm.Guest, script: str) -> Any:
    python = shlex.quote(sys.executable)
    return json.loads(guest.run(f"cd /run && {python} {script}", timeout=PATIENCE_S).stdout)


# Runs are printed as fast as can be. What is overwritten ends cat, so it begins again at once.
_CAT = """\
while :; do cat /dev/kmsg; done > /run/cat.out 2> /dev/null & reader=$!
sleep 2
{burst}
kill $reader; pkill -x cat
sed -n 's/^[0-9]*,\\([0-9]*\\),.*/\\1/p' /run/cat.out > numbers
"""
_WATCH = """\
{watch} --from now --store /run/burst > watch.out 2>&1 & watch=$!
until ls -l /proc/$watch/fd 2> /dev/null | grep -q kmsg; do
    kill -0 $watch || {{ cat watch.out >&2; exit 1; }}
    sleep 0.2
done
sleep 2
{burst}
kill -TERM $watch
while kill -0 $watch 2> /dev/null; do sleep 0.2; done
cp -r /run/burst burst
"""


def _burst(guest: vm.Guest, folder: Path) -> str:
    seconds = _while(guest, folder, _CAT)
    numbers = {int(line) for line in (folder / "numbers").read_text().split()}
    missed = max(numbers) - min(numbers) + 1 - len(numbers)
    watched = _while(guest, folder, _WATCH)
    return (
        f"Bursts of {4 * BURST:,} records, printed as fast as can be: of {4 * BURST / seconds:,.0f}"
        f" a second, `cat` lost {missed:,}; of {4 * BURST / watched:,.0f} a second,"
        f" `logtrace watch` lost {_lost(folder / 'burst'):,}."
    )


# Gives the seconds in which the burst was printed.
def _while(guest: vm.Guest, folder: Path, script: str) -> float:
    burst = (
        f"begun=$(cat /proc/uptime); {folder}/stream 1 {BURST} > stream.out;"
        " echo $begun $(cat /proc/uptime); sleep 5"
    )
    watch = shlex.join([*LOGTRACE, "watch", "-q", "--host", "guest"])
    command = f"cd {folder} || exit\n{script.format(burst=burst, watch=watch)}"
    begun, _, ended, _ = guest.run(command, timeout=PATIENCE_S).stdout.split()
    return float(ended) - float(begun)


def _lost(store: Path) -> int:
    from logtrace.engine import Engine
    from logtrace.store import Store

    losses = Engine(Store(str(store))).rows("losses", order="first_seq")
    runs = Engine(Store(str(store))).rows("runs", order="first_seq")
    if len(losses) == 0 and len(runs) != BURST:
        raise SystemExit(f"{len(runs)} runs of {BURST} are stored, and no loss")
    return int(losses["records"].sum())


def guest_latencies(kernel: Kernel, runs: int) -> list[Row]:
    """Time the runs that a kernel prints."""
    watch = [*LOGTRACE, "watch", "--host", "guest", "--store", "/run/live"]
    script = f"{HERE}/latency.py {runs} {APART_S}"
    with kernel.boot() as guest:
        times = _json(guest, f"{script} /run/live/host=guest/runs {shlex.join(watch)}")
        beside = _json(guest, f"{script} - cat /dev/kmsg")
    return [
        ["`/dev/kmsg` in the guest: shown by `cat`", *milliseconds(beside[0])],
        ["shown by `logtrace watch`", *milliseconds(times[0])],
        ["stored", *milliseconds(times[1])],
    ]


def _table(header: Row, rows: Sequence[Row]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def machine() -> str:
    """Name what was measured on."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (
        f"{os.cpu_count()} x {cpu[1] if cpu else 'unknown'}, Python {sys.version.split()[0]}; the "
        f"guest with {vm.newest_kernel().name.removeprefix('vmlinuz-')}, without hardware "
        "virtualisation."
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure logtrace watch.")
    parser.add_argument("--rounds", type=int, default=7, help="of reading the ring buffer")
    parser.add_argument("--runs", type=int, default=200, help="that are timed one by one")
    parser.add_argument("--guest-runs", type=int, default=100, help="the same, in the guest")
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=60, metavar="SECONDS")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    parts = options.parts or PARTS

    texts = {"machine of live": machine()}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "latency" in parts:
            rows += latencies(folder, options.runs)
        if "guest" in parts:
            rows += guest_latencies(Kernel.prepare(folder), options.guest_runs)
            print(rows, file=sys.stderr)
        if "drain" in parts:
            texts["drained"] = drained(Kernel.prepare(folder), options.rounds)
        if "idle" in parts:
            found, wake_ups = idle(folder, options.commits, options.idle)
            texts["idle"] = idle_table(found, wake_ups, options.idle)
    if rows:
        texts["live"] = _table(["from the End line on", "median", "99 %", "most"], rows)
    page = PAGE.read_text()
    for part, text in texts.items():
        print(text, end="\n\n")
        if parts == PARTS:
            page = with_part(page, part, text)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
