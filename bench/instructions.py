"""Count the instructions of system calls in a guest, with and without traces.

With ``-icount shift=0`` QEMU's clock advances by one nanosecond an instruction, so the counts
are exact, however busy the machine is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from logtrace import vm

PROGRAM = Path(__file__).parents[1] / "tests/kernel/programs/cost.c"
QEMU_OPTIONS = "-cpu max -icount shift=0"
WIDE, DETAIL = 1, 2

STATES = {
    "modules loaded, no trace": "bare",
    "another process traced": "other",
    "traced": "self",
    "traced, wide": f"self {WIDE}",
    "traced, detail": f"self {DETAIL}",
    "traced, wide and detail": f"self {WIDE | DETAIL}",
    "another process traced, wide and detail": f"other {WIDE | DETAIL}",
}

Counts = dict[str, int]


def compile_program(folder: Path) -> Path:
    """Compile the program that counts into a folder."""
    program = folder / "cost"
    subprocess.run(["gcc", "-O2", "-static", "-o", program, PROGRAM], check=True)
    return program


def measure(image: Path, modules: Path, folder: Path) -> Iterator[tuple[str, Counts]]:
    """Boot a guest and count in every state.

    Parameters
    ----------
    image
        The kernel.
    modules
        Folder of the modules built for it.
    folder
        Where host and guest both write.

    Yields
    ------
    tuple of str and dict of int
        The state, and the instructions of each system call.
    """
    program = compile_program(folder)
    with vm.Guest(
        image, folder, folders=[modules], cpus=1, boot_timeout=600, qemu_options=QEMU_OPTIONS
    ) as guest:
        yield "no modules", _count(guest, program, "bare")
        for name in ("ftracehooking", "iotracehooking"):
            guest.run(f"insmod {modules}/{name}.ko")
        for state, arguments in STATES.items():
            yield state, _count(guest, program, arguments)
            # a kernel worker takes down what the last trace needed
            guest.run("sleep 1")
        yield "after all traces", _count(guest, program, "bare")


def _count(guest: vm.Guest, program: Path, arguments: str) -> Counts:
    lines = guest.run(f"{program} {arguments}", timeout=300).stdout.splitlines()
    return {name: int(count) for name, count in map(str.split, lines)}
