"""Kill a watch at each step in which it changes its store, or let each step fail.

LD_PRELOAD=steps.so python steps.py kill|fail FOLDER [EVERY]

A step is a call that makes, writes, renames or removes a file; steps.c counts them. After the
kill another watch goes on; after the failure, which is one of a full disk that gets room again,
the same watch does. Prints how many steps there were and were tried, EVERYth by EVERYth, and
what was not stored as it should be.
"""

from __future__ import annotations

import ctypes
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import stored
from truth import Run, Story

from logtrace import store as store_module
from logtrace.errors import StoreError
from logtrace.source.follow import Beginning, GrowingLog
from logtrace.store import Store
from logtrace.watch import Watch

HOST = "torture"
PARTS = 3
COUNT, KILL, FAIL = range(3)
FIRST_STAMP = b"[    1.000000] "
# of a run's other lines, one that is not understood could leave it in doubt whose they are
REJECTED = b"ftrace/1 [7] call[read] calls[many]\n"
WARNING = (
    b"------------[ cut here ]------------\n"
    b"WARNING: CPU: 1 PID: 214 at /tmp/faulty.c:12 faulty_init+0x10/0x100 [faulty]\n"
    b"RIP: 0010:faulty_init+0x10/0x1000 [faulty]\n"
    b"Call Trace:\n"
    b" faulty_init+0x10/0x1000 [faulty]\n"
    b"---[ end trace 0000000000000000 ]---\n"
)


def parts_of_a_log() -> tuple[list[bytes], list[Run]]:
    """Make up a log that fills all tables, in parts that end where runs are under way."""
    log = io.BytesIO()
    story = Story(Random(7), log.write)
    parts, stamp = [], FIRST_STAMP
    for number in range(PARTS):
        story.go_on(25)
        if number == PARTS - 1:
            story.end_all()
        # a clock that fell back would be that of another boot
        others = (REJECTED + WARNING).splitlines(keepends=True)
        parts.append(b"".join(stamp + line for line in others) + log.getvalue())
        *_, last = log.getvalue().splitlines()
        stamp = last[: last.index(b"] ") + 2]
        log.seek(0)
        log.truncate()
    return parts, story.truth


class Steps:
    """The counter of steps that is preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.steps_end.restype = ctypes.c_long

    def begin(self, folder: Path, at: int, how: int) -> None:
        self._library.steps_begin(os.fsencode(folder), ctypes.c_long(at), how)

    def end(self) -> int:
        taken: int = self._library.steps_end()
        return taken


class Trial:
    """A log, a store and a watch of their own."""

    def __init__(self, folder: Path, parts: Sequence[bytes], steps: Steps) -> None:
        folder.mkdir(exist_ok=True)
        self.host = folder / "store" / f"host={HOST}"
        self._folder = folder
        self._log = folder / "log"
        self._parts = parts
        self._steps = steps

    def watch(self, at: int, how: int) -> int:
        """Watch the log grow by a part after the other; give the number of steps taken."""
        self._steps.begin(self._folder / "store", at, how)
        self._log.write_bytes(b"")
        with closing(self._source()) as source, closing(self._watch(source)) as watch:
            for part in self._parts:
                self._append(part)
                self._drain(watch)
            return self._steps.end()

    def go_on(self) -> None:
        """Watch the whole log."""
        self._log.write_bytes(b"".join(self._parts))
        with closing(self._source()) as source, closing(self._watch(source)) as watch:
            watch.drain()

    # What could not be stored is stored when there is room again
    def _drain(self, watch: Watch) -> None:
        try:
            watch.drain()
        except StoreError:
            self._steps.end()
            watch.drain()

    def _append(self, part: bytes) -> None:
        with self._log.open("ab", buffering=0) as log:
            log.write(part)

    def _store(self) -> Store:
        return Store(str(self._folder / "store"))

    # What would tell of changes is left out: it is drained when it has changed
    def _source(self) -> GrowingLog:
        return GrowingLog(self._log, Beginning(self._store().positions(), host=HOST))

    def _watch(self, source: GrowingLog) -> Watch:
        store = self._store()
        return Watch(store.host, HOST, [source], positions=store.positions())


def differences(host: Path, truth: Sequence[Run]) -> list[str]:
    """Say in what the tables differ from what the log tells."""
    whole, others = stored.whole_runs(host)
    found = stored.differences(truth, whole) + [f"not whole: {row}" for row in others]
    for table in ("losses", "incidents"):
        rows = stored.rows(host, table)
        if len(rows) != PARTS:
            found.append(f"{len(rows)} {table} instead of {PARTS}: {rows}")
    return found


# delta-rs can't be used behind a fork by whom it was used before: each trial is a process of
# its own, and this one only forks.
def in_child(do: Callable[[], list[str]]) -> tuple[list[str], int]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        status = 1
        try:
            os.write(writer, "\n".join(do()).encode()[:60_000])
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as said:
        lines = said.read().splitlines()
    return lines, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def try_steps(how: int, folder: Path, every: int) -> list[str]:
    """Try steps; give what went wrong."""
    store_module._COMPACT_EVERY = 2
    store_module._KEEP_REPLACED_FILES = timedelta(0)
    steps = Steps()
    parts, truth = parts_of_a_log()

    def at(number: int) -> Trial:
        return Trial(folder / str(number), parts, steps)

    def fail_at(trial: Trial, number: int) -> list[str]:
        trial.watch(number, FAIL)
        return differences(trial.host, truth)

    def kill_at(trial: Trial, number: int) -> list[str]:
        said, status = in_child(lambda: [str(trial.watch(number, KILL))])
        if status != -signal.SIGKILL:
            return [f"it ended with {status}: {said}"]
        trial.go_on()
        return differences(trial.host, truth)

    (taken,), _ = in_child(lambda: [str(at(0).watch(0, COUNT))])
    tried = range(1, int(taken) + 1, every)
    print(f"{taken} steps, {len(tried)} tried", flush=True)
    wrong = []
    for number in tried:
        do = partial(fail_at if how == FAIL else kill_at, at(number), number)
        said, status = in_child(do)
        wrong += [f"step {number}: {each}" for each in said]
        if status:
            wrong.append(f"step {number}: ended with {status}")
    return wrong


def main() -> int:
    """Try steps, and say what went wrong."""
    how, folder, *every = sys.argv[1:]
    wrong = try_steps({"kill": KILL, "fail": FAIL}[how], Path(folder), *map(int, every or ["1"]))
    print(*wrong, sep="\n", end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
