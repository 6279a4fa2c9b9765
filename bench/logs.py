"""Measure how fast logs are imported, beside ripgrep, and write docs/performance.md.

python bench/logs.py [--scale FACTOR] [--rounds NUMBER] [--folder FOLDER] [INPUT...]
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import regex
from kernel import PAGE, with_part

from logtrace import dialects

SEED = 2026
LARGER = 10  # how many times larger the log is whose import's memory is compared
CONTRACT = next(each for each in dialects.load() if each.name == "contract")

# Messages of ordinary kernels; # stands for a number
ORDINARY = (
    "usb 1-#: new high-speed USB device number # using xhci_hcd",
    "usb 1-#: New USB device strings: Mfr=#, Product=#, SerialNumber=#",
    "EXT4-fs (sda#): mounted with ordered data mode. Quota mode: none.",
    "e1000e 0000:00:#.0 eno1: NIC Link is Up 1000 Mbps Full Duplex, Flow Control: Rx/Tx",
    "IPv6: ADDRCONF(NETDEV_CHANGE): veth#: link becomes ready",
    'audit: type=1400 audit(1700000000.#:#): apparmor="STATUS" operation="profile_load" pid=#',
    "systemd-journald[#]: Received client request to flush runtime journal.",
    "br-#: port #(veth#) entered forwarding state",
    "ACPI: \\_SB_.PCI0.LNK#: Enabled at IRQ #",
    "sd #:0:0:0: [sdb] # 512-byte logical blocks: (# GB/# GiB)",
    "nvme nvme0: #/0/0 default/read/poll queues",
    "perf: interrupt took too long (# > #), lowering kernel.perf_event_max_sample_rate to #",
    "TCP: request_sock_TCP: Possible SYN flooding on port #. Sending cookies.",
    "device veth# entered promiscuous mode",
)


@dataclass(frozen=True)
class Input:
    """A log that is made from a seed: the same bytes everywhere.

    Parameters
    ----------
    name
        Of the log.
    lines
        What makes its lines, without end.
    count
        How many lines it has at scale 1.
    beside
        The command that it is measured against.
    """

    name: str
    lines: Callable[[random.Random], Iterator[str]]
    count: int
    beside: tuple[str, ...]


def run_lines(random: random.Random) -> tuple[str, str, str, str]:
    """Write what the module prints of one run."""
    pid, student, file = (random.randrange(1, limit) for limit in (4_000_000, 10**6, 1000))
    read, written = random.randrange(10 ** random.randrange(1, 8)), random.randrange(10**4)
    calls = [random.randrange(limit) for limit in (9, 9, 2000, 300, 60)]
    names = ("open", "close", "read", "write", "lseek")
    return (
        f"OS Assignment2 ftrace [{pid}] Start",
        f"[{2021000000 + student}] prog{student % 97} file[data{file}.txt] stats [x]"
        f" read - {read} / written - {written}",
        " ".join(f"{name}[{count}]" for name, count in zip(names, calls, strict=True)),
        f"OS Assignment2 ftrace [{pid}] End",
    )


def dense(random: random.Random) -> Iterator[str]:
    """Write nothing but runs."""
    while True:
        yield from run_lines(random)


def sparse(random: random.Random) -> Iterator[str]:
    """Write four lines of a run in a hundred; half of the runs have others between theirs."""
    while True:
        ordinary = [_ordinary(random) for _ in range(96)]
        places = sorted(random.sample(range(97), 4)) if random.random() < 0.5 else [50] * 4
        for line, place in zip(reversed(run_lines(random)), reversed(places), strict=True):
            ordinary.insert(place, line)
        yield from ordinary


def _ordinary(random: random.Random) -> str:
    first, *rest = random.choice(ORDINARY).split("#")
    return first + "".join(f"{random.randrange(2000)}{text}" for text in rest)


def mixed(random: random.Random) -> Iterator[str]:
    """Write runs of modules that spell the lines in several ways, and runs beside each other."""
    while True:
        start, stats, calls, end = run_lines(random)
        kind = random.randrange(5)
        if kind == 1:
            start, end = (line.replace("Assignment2", "Assignment 2") for line in (start, end))
            stats = stats.replace("stats", "start").replace("] prog", "] /prog")
        elif kind == 2:
            stats, calls = stats.replace("stats", "status"), calls.replace(" ", ", ")
        elif kind == 3:
            other = run_lines(random)
            yield from (other[0], start, *other[1:])
            start, stats, calls, end = stats, calls, end, _ordinary(random)
        yield from (start, stats, calls, end)


RG = ("rg", "--no-config", "--no-line-number")
# rg has no looking ahead, and no two groups of one name
_AHEAD = regex.compile(r"\(\?!(?:[^()\\]|\\.|(\((?:[^()\\]|\\.|(?1))*\)))*\)")
PATTERNS = tuple(
    part
    for pattern in CONTRACT.patterns.values()
    if "ftrace/1" not in pattern.pattern
    for part in ("-e", re.sub(r"\?P<\w+>", "?:", _AHEAD.sub("", pattern.pattern)))
)
INPUTS = (
    Input("dense", dense, 4_000_000, (*RG, "-o", *PATTERNS)),
    Input("sparse", sparse, 6_200_000, (*RG, "-c", *PATTERNS)),
    Input("dialects", mixed, 1_600_000, (*RG, "-o", *PATTERNS)),
)


def write(made: Input, path: Path, scale: float) -> Path:
    """Write the log, a part of it or many times as much; one that is there stays."""
    if path.exists():
        return path
    chance = random.Random(SEED)
    with path.with_suffix(".part").open("w") as file:
        clock = 0
        for line in islice(made.lines(chance), round(made.count * scale)):
            clock += chance.randrange(200)
            file.write(f"[{clock // 10**6:5d}.{clock % 10**6:06d}] {line}\n")
    return path.with_suffix(".part").rename(path)


class Took(NamedTuple):
    """What a command took.

    Parameters
    ----------
    seconds
        Of the clock.
    busy_seconds
        Of the processors.
    resident_bytes
        The most memory that it had.
    """

    seconds: float
    busy_seconds: float
    resident_bytes: int


def run(command: Sequence[str]) -> Took:
    """Run a command; what it prints goes nowhere."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed with {child.returncode}")
    busy = usage.ru_utime + usage.ru_stime
    return Took(time.monotonic() - begun, busy, usage.ru_maxrss * 1024)


def import_log(log: Path) -> Took:
    """Import a log into a store of its own."""
    with tempfile.TemporaryDirectory(dir=log.parent) as store:
        options = ["--store", f"{store}/store", "--host", "bench", str(log)]
        return run([sys.executable, "-m", "logtrace", "import", *options])


def measure(made: Input, folder: Path, scale: float, rounds: int) -> list[str]:
    """Give the row of a log's table."""
    log = write(made, folder / f"{made.name}-{scale:g}.log", scale)
    large = write(made, folder / f"{made.name}-{scale * LARGER:g}.log", scale * LARGER)
    beside, imports = [], []
    for _ in range(rounds):
        beside.append(run([*made.beside, str(log)]))
        imports.append(import_log(log))
    ratio = statistics.median(
        mine.seconds / its.seconds for mine, its in zip(imports, beside, strict=True)
    )
    busy, its_busy = (
        statistics.median(took.busy_seconds for took in all_took) for all_took in (imports, beside)
    )
    resident = statistics.median(took.resident_bytes for took in imports)
    resident_larger = import_log(large).resident_bytes
    return [
        made.name,
        f"{made.count * scale:,.0f}",
        f"{log.stat().st_size / 1e6:.0f} MB",
        f"`rg {made.beside[3]}`",
        f"{ratio:.2f}x",
        f"{busy / its_busy:.1f}x",
        f"{resident / 2**20:.0f} MiB",
        f"{resident_larger / resident:.2f}x",
    ]


HEADER = ("log", "lines", "size", "beside", "time", "processor time", "memory", "ten times the log")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure how fast logs are imported.")
    parser.add_argument("--scale", type=float, default=1, help="of the logs; 0.1 is a tenth")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="dense, sparse, dialects")
    options = parser.parse_args()

    rows = [
        measure(made, options.folder, options.scale, options.rounds)
        for made in INPUTS
        if made.name in (options.inputs or [each.name for each in INPUTS])
    ]
    rule = ["---"] + ["---:"] * (len(HEADER) - 1)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [HEADER, rule, *rows])
    print(table)
    if options.inputs:
        return
    page = with_part(PAGE.read_text(), "logs", table)
    PAGE.write_text(with_part(page, "machine of logs", machine(options.rounds)))


def machine(rounds: int) -> str:
    """Name what was measured with, and on what."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    said = subprocess.run(["rg", "--version"], capture_output=True, text=True, check=True).stdout
    return (
        f"{os.cpu_count()} x {cpu[1] if cpu else 'unknown'}; median of {rounds} rounds; "
        f"{said.splitlines()[0]}, Python {sys.version.split()[0]}."
    )


if __name__ == "__main__":
    main()
