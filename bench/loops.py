"""Time loops of system calls in a guest, traced by the modules and by other tools."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from instructions import DETAIL, WIDE

from logtrace import vm

HERE = Path(__file__).parent
LOOPS = ("read", "write", "open-close")


class Time(NamedTuple):
    """Nanoseconds an iteration."""

    fastest: float
    average: float


Times = dict[str, Time]


@dataclass(frozen=True)
class Way:
    """One way to run the loops.

    Parameters
    ----------
    name
        What the table calls it.
    iterations
        How many: fewer where each takes long.
    arguments
        For the loops' program: what it is to trace.
    command
        What runs the program; ``LOOPS`` stands for it and its arguments.
    deferred
        Whether much of the work is done now and then, beside the program: only the average
        has it.
    """

    name: str
    iterations: int = 200_000
    arguments: str = ""
    command: str = "LOOPS"
    deferred: bool = False

    def ratio(self, times: Times, bare: Times, loop: str) -> float:
        """Say how many times as long a loop took in this way as bare."""
        if self.deferred:
            return times[loop].average / bare[loop].average
        return times[loop].fastest / bare[loop].fastest


BARE = Way("bare")
MODULES = (
    Way("modules loaded, no trace"),
    Way("another process traced", arguments="other 0"),
    Way("traced", arguments="self 0"),
    Way("traced, wide", arguments=f"self {WIDE}"),
    Way("traced, detail", arguments=f"self {DETAIL}"),
    Way("traced, wide and detail", arguments=f"self {WIDE | DETAIL}"),
)
COUNT_BY_CALL = "'tracepoint:raw_syscalls:sys_enter { @[args->id] = count(); }'"
TOOLS = (
    Way("`bpftrace`, counting by call", 20_000, command=f"bpftrace -e {COUNT_BY_CALL} -c 'LOOPS'"),
    Way("`perf trace -s`", 10_000, command="perf trace -s -o /dev/null LOOPS", deferred=True),
    Way("`strace -c`", 2_000, command="strace -c -o /dev/null LOOPS", deferred=True),
)

Round = dict[Way, Times]


def measure(
    image: Path, modules: Path, folder: Path, *, rounds: int, qemu_options: str = ""
) -> list[Round]:
    """Boot a guest and time the loops in every way, all ways in each round.

    Parameters
    ----------
    image
        The kernel.
    modules
        Folder of the modules built for it.
    folder
        Where host and guest both write.
    rounds
        How many.
    qemu_options
        More options for QEMU.

    Returns
    -------
    list of dict
        For each round, way and loop the time.
    """
    program = folder / "loop"
    header = f"-I{HERE.parent / 'kmod'}"
    subprocess.run(
        ["gcc", "-O2", "-static", header, "-o", str(program), str(HERE / "loop.c")], check=True
    )
    # a second processor would only take turns with the first
    with vm.Guest(
        image, folder, folders=[modules], cpus=1, boot_timeout=600, qemu_options=qemu_options
    ) as guest:
        return [_round(guest, modules, program, f"{n + 1} of {rounds}") for n in range(rounds)]


def _round(guest: vm.Guest, modules: Path, program: Path, which: str) -> Round:
    print(f"round {which}", file=sys.stderr)
    times = {BARE: _time(guest, program, BARE)}
    guest.run(f"insmod {modules}/ftracehooking.ko && insmod {modules}/iotracehooking.ko")
    times |= {way: _time(guest, program, way) for way in MODULES}
    guest.run("rmmod iotracehooking ftracehooking")
    return times | {way: _time(guest, program, way) for way in TOOLS}


def _time(guest: vm.Guest, program: Path, way: Way) -> Times:
    loops = f"{program} {way.iterations} {way.arguments}".strip()
    said = guest.run(way.command.replace("LOOPS", loops), timeout=900).stdout.splitlines()
    # bpftrace prints to the same place
    results = [line.split() for line in said if line.startswith(LOOPS)]
    return {name: Time(float(fastest), float(average)) for name, fastest, average in results}


def ratios(rounds: Iterable[Round], way: Way) -> list[float]:
    """Give for each loop the median over the rounds of the ratio to bare."""
    return [
        statistics.median(way.ratio(times[way], times[BARE], loop) for times in rounds)
        for loop in LOOPS
    ]
