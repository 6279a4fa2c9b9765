"""The torture in a guest: what its kernel prints is read from its ring buffer, which overruns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

from result import Result

from logtrace import kmod, vm

sys.path.append(str(Path(__file__).parents[1] / "kernel"))
from streams import Streams

_STREAM = Path(__file__).parents[1] / "kernel/programs/stream.c"
_MODULES = ("ftracehooking", "iotracehooking")
_OVERRUN = 3000  # runs, of which the ring buffer holds a part


def torture_guest(kills: int, seed: int, folder: Path) -> Result:
    """Kill a watch of the log of a guest's kernel, whose modules trace a program.

    Parameters
    ----------
    kills, seed
        How often, and what decides when.
    folder
        Where to work.
    """
    image = vm.newest_kernel()
    modules = kmod.build(Path("/lib/modules") / image.name.removeprefix("vmlinuz-") / "build")
    folder.mkdir(parents=True)
    subprocess.run(["gcc", "-O2", "-static", "-o", folder / "stream", _STREAM], check=True)

    with vm.Guest(image, folder, folders=[modules], boot_timeout=600) as guest:

        def run(command: str, timeout: float = 60) -> vm.Completed:
            place = f"cd {folder}; PATH=$PATH:{folder}; export LC_ALL=C.UTF-8\n"
            return guest.run(place + command, timeout=timeout)

        for name in _MODULES:
            run(f"insmod {modules}/{name}.ko")
        streams = Streams(run, folder)
        overruns = _kill_over_and_over(streams, kills, Random(seed))
        streams.catch_up()
        account = streams.account()
    print(
        f"ring buffer: {kills} kills, {overruns} overruns while nobody watched,"
        f" {account.lost_records:,} records lost; {account.truth:,} runs",
        flush=True,
    )
    return Result(account.truth, account.whole, account.counted, account.wrong)


def _kill_over_and_over(streams: Streams, kills: int, random: Random) -> int:
    overruns = 0
    streams.begin()
    streams.stop("KILL")
    for _ in range(kills - 1):
        streams.start()
        streams.stream(random.randint(1, 200))
        streams.await_commit(random.choice((1, 30)), random.uniform(0, 0.5))
        streams.stream(random.randint(1, 200))
        streams.stop("KILL")
        if random.random() < 0.3:
            streams.stream(_OVERRUN)
            overruns += 1
    return overruns
