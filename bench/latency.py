"""Time how long after its End line a run is seen on a terminal, and how long until it is stored.

python bench/latency.py RUNS APART_S TABLE COMMAND...

This does it of /dev/kmsg, with the modules loaded, and prints JSON.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pty
import random
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SEED = 2026
PATIENCE_S = 120.0
_SIZE = struct.pack("HHHH", 50, 200, 0, 0)  # rows and columns, and none of pixels
_TICK_S = 0.01
_SYSCALL = 336


class Times(NamedTuple):
    """Seconds from the End lines on.

    Parameters
    ----------
    shown
        Until the run was on the terminal.
    stored
        Until a commit had it; nothing where nothing is stored.
    """

    shown: list[float]
    stored: list[float]


class Terminal:
    """A command on a terminal of its own; leaving the ``with`` block ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self._text = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        while self.process.poll() is None:
            self.wait(0.1)  # what is written last must be read
        os.close(self._master)

    def wait(self, seconds: float) -> None:
        """Read what is written until then, or until something is."""
        if not select.select([self._master], [], [], seconds)[0]:
            return
        try:
            self._text = (self._text + os.read(self._master, 1 << 16))[-(1 << 18) :]
        except OSError:  # EIO: the command has ended
            return

    def has(self, text: str) -> bool:
        """Whether a text was written."""
        return text.encode() in self._text


class Stored:
    """Counts the rows of a table as they are committed."""

    def __init__(self, table: Path) -> None:
        self._log = table / "_delta_log"
        self._version = 0
        self.rows = 0

    def look(self) -> int:
        """Give how many there are now."""
        while (commit := self._log / f"{self._version:020}.json").exists():
            for line in commit.read_bytes().splitlines():
                added = json.loads(line).get("add")
                if added and added["dataChange"]:
                    self.rows += int(json.loads(added["stats"])["numRecords"])
            self._version += 1
        return self.rows


def measure(
    command: Sequence[str],
    print_run: Callable[[str], float],
    runs: int,
    table: Path | None,
    apart_s: float = 0.5,
) -> Times:
    """Print runs at random moments and time them.

    Parameters
    ----------
    command
        What shows them; the first run is printed over and over until it does.
    print_run
        Prints a run with a file of the given name; gives the time before its End line.
    runs
        How many.
    table
        Where they are stored.
    apart_s
        Seconds between two of them, on average.
    """
    chance = random.Random(SEED)
    stored = Stored(table) if table else None
    shown: list[float] = []
    durable: list[float] = []
    printed: list[float] = []
    with Terminal(command) as terminal:
        extra = _begin(terminal, print_run, stored)
        due = time.monotonic()
        while len(shown) < runs or (stored and len(durable) < runs):
            if len(printed) < runs and time.monotonic() >= due:
                printed.append(print_run(_name(len(printed))))
                due = time.monotonic() + chance.uniform(0, 2 * apart_s)
            terminal.wait(_TICK_S)
            now = time.monotonic()
            while len(shown) < len(printed) and terminal.has(_name(len(shown))):
                shown.append(now - printed[len(shown)])
            while stored and len(durable) < min(len(printed), stored.look() - extra):
                durable.append(time.monotonic() - printed[len(durable)])
            if printed and now - printed[-1] > PATIENCE_S:
                raise SystemExit(f"{command[0]}: a run is not shown, or not stored")
    return Times(shown, durable)


# Until the first runs are shown, and stored; gives how many there were.
def _begin(terminal: Terminal, print_run: Callable[[str], float], stored: Stored | None) -> int:
    count = 0
    while not terminal.has("begin"):
        print_run("begin")
        count += 1
        terminal.wait(1)
    while stored and stored.look() < count:
        terminal.wait(0.1)
    return count


def _name(number: int) -> str:
    return f"r{number:05}"


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Give the median, the 99th percentile and the largest."""
    hundredths = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"median": statistics.median(seconds), "p99": hundredths[98], "most": max(seconds)}


def trace_itself(name: str) -> float:
    """Be traced while a file of that name is opened; give the time before the end."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(_SYSCALL, os.getpid()):
        raise SystemExit(f"the trace can't be started: {os.strerror(ctypes.get_errno())}")
    os.close(os.open(name, os.O_CREAT | os.O_RDONLY))
    begun = time.monotonic()
    if call(_SYSCALL, 0):
        raise SystemExit(f"the trace can't be ended: {os.strerror(ctypes.get_errno())}")
    return begun


def main() -> None:
    """Measure in a guest."""
    runs, apart_s, table, *command = sys.argv[1:]
    stored = None if table == "-" else Path(table)
    times = measure(command, trace_itself, int(runs), stored, float(apart_s))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
