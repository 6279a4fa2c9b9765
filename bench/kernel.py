"""Measure what traces cost and write the tables into docs/performance.md.

python bench/kernel.py [--rounds NUMBER]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import instructions
import loops

from logtrace import kmod, vm

PAGE = Path(__file__).parents[1] / "docs/performance.md"
VERSIONS = (
    *("qemu-system-x86_64 --version", "gcc --version"),
    *("strace --version", "perf --version", "bpftrace --version"),
)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure what traces cost.")
    parser.add_argument("--rounds", type=int, default=7, help="of the timed loops")
    rounds = parser.parse_args().rounds

    parts = measure(vm.newest_kernel(), rounds)
    page = PAGE.read_text()
    for name, text in parts.items():
        page = with_part(page, name, text)
        print(text, end="\n\n")
    PAGE.write_text(page)


def measure(image: Path, rounds: int) -> dict[str, str]:
    """Give the parts of the page that are measured."""
    release = image.name.removeprefix("vmlinuz-")
    modules = kmod.build(Path("/lib/modules") / release / "build")
    counting = instructions.QEMU_OPTIONS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = list(instructions.measure(image, modules, folder))
        counted = loops.measure(image, modules, folder, rounds=1, qemu_options=counting)
        times = loops.measure(image, modules, folder, rounds=rounds)
    return {
        "machine": machine(release, rounds),
        "times": times_table(times),
        "counted": times_table(counted, "instructions"),
        "instructions": counts_table(counts),
    }


def machine(release: str, rounds: int) -> str:
    """Name what was measured, with what, and on what."""
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    tools = ", ".join(_version(command) for command in VERSIONS)
    return (
        f"Debian's kernel {release} in a guest of one processor without hardware virtualisation, "
        f"on {os.cpu_count()} x {cpu[1] if cpu else 'unknown'}; {rounds} rounds; {tools}."
    )


def _version(command: str) -> str:
    said = subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return f"{command.split()[0]} {found[0] if found else ''}"


def times_table(rounds: Sequence[loops.Round], unit: str = "ns") -> str:
    """Lay out the medians over the rounds: of the bare loops, and of the ratios to them."""
    rows = [[loops.BARE.name]]
    for loop in loops.LOOPS:
        bare = statistics.median(times[loops.BARE][loop].fastest for times in rounds)
        rows[0].append(f"{bare:.0f} {unit}")
    for way in (*loops.MODULES, *loops.TOOLS):
        rows.append([way.name, *map(_ratio, loops.ratios(rounds, way))])
    return _table(["", *loops.LOOPS], rows)


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.0f}x"


def counts_table(states: Sequence[tuple[str, instructions.Counts]]) -> str:
    """Lay out the bare counts and what each state adds to them."""
    (first, bare), *others = states
    rows = [[first, *map(str, bare.values())]]
    for state, counts in others:
        rows.append([state, *(f"{counts[call] - bare[call]:+d}" for call in bare)])
    return _table(["", *bare], rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def with_part(page: str, name: str, text: str) -> str:
    """Replace what stands between the markers of one part of the page."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE} has no place for {name}: {begin!r} ... {end!r}")
    return before + begin + text + end + after


if __name__ == "__main__":
    main()
