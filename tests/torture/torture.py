"""Kill a watch over and over while everything goes wrong, and compare its store with the truth.

python tests/torture/torture.py [--kills 1000] [--guest-kills N] [--seed N] [--folder PATH]

The last line of the output is the comparison; the exit status is 0 if it comes out even.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import BinaryIO, Self

import stored
from guest import torture_guest
from result import Result, TortureError
from truth import RotatedLog, Run, Story

from logtrace import vm
from logtrace.errors import LogtraceError

HOST = "torture"
DISK_BYTES = 1 << 30
_PATIENCE_S = 600
_LANES = 6  # watches of files at a time, each with a disk of its own: mostly they wait
_OWN_MOUNTS = "TORTURE_HAS_OWN_MOUNTS"


class Disk:
    """A small file system of its own, that can be filled and freed; a context manager.

    Parameters
    ----------
    place
        The folder that it is mounted on; made here.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.filled = 0
        self._ballast = place / "ballast"

    def __enter__(self) -> Self:
        self.place.mkdir()
        options = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "torture", self.place], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.place], check=True)

    @property
    def is_full(self) -> bool:
        return self._ballast.exists()

    def fill(self, left: int) -> None:
        """Leave some bytes."""
        self.filled += 1
        with self._ballast.open("wb") as ballast:
            while not self._fill_with(ballast, left):
                pass  # the watch took some of the room meanwhile

    def _fill_with(self, ballast: BinaryIO, left: int) -> bool:
        free = shutil.disk_usage(self.place).free
        try:
            os.posix_fallocate(ballast.fileno(), 0, max(1, free - left))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return free == 0
        return True

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


class Watcher:
    """`logtrace watch`, started and killed."""

    def __init__(self, store: Path, log: Path, complaints: Path) -> None:
        self.host = store / f"host={HOST}"
        self._log = str(log)
        self._complaints = complaints
        self._command = [
            *(sys.executable, "-m", "logtrace", "watch", "--quiet"),
            *("--host", HOST, "--store", str(store), str(log)),
        ]

    def live(self, random: Random) -> None:
        """Start it, and kill it at some moment, most often when it stores something."""
        process = self._start()
        try:
            self._await_a_moment(process, random)
            if process.poll() is not None:
                raise TortureError(f"the watch ended by itself:\n{self._complaints.read_text()}")
        finally:
            process.kill()
            process.wait()

    def _await_a_moment(self, process: subprocess.Popen[bytes], random: Random) -> None:
        if random.random() < 0.3:
            time.sleep(random.uniform(0.05, 3))
            return
        began = time.monotonic()
        while process.poll() is None and not self._has_log_open(process.pid):
            time.sleep(0.01)
        # what takes how long depends on what else the machine does
        idle_s = 2 + 5 * (time.monotonic() - began)
        self._await_changes(random.randrange(1, 60), idle_s)
        time.sleep(random.choice((0, random.uniform(0, 0.05))))

    def _has_log_open(self, pid: int) -> bool:
        files = Path(f"/proc/{pid}/fd").iterdir()
        return any(_target(file).startswith(self._log) for file in files)

    # A watch that has nothing to store changes nothing
    def _await_changes(self, number: int, idle_s: float) -> None:
        before, changed_at = self._changes(), time.monotonic()
        while number and time.monotonic() < changed_at + idle_s:
            time.sleep(0.001)
            if before != (before := self._changes()):
                number -= 1
                changed_at = time.monotonic()

    def catch_up(self) -> None:
        """Let it store all there is."""
        status = self._start("--once").wait()
        if status:
            raise TortureError(f"`watch --once` failed:\n{self._complaints.read_text()}")

    def cut_in_two_at(self) -> int:
        """When a table was committed to and that of runs, which is the last, not yet; else 0."""
        newest = {
            table: max((log.stat().st_mtime_ns for log in self._logs(table)), default=0)
            for table in ("losses", "files", "calls", "runs")
        }
        last = max(newest.values())
        return last if last > newest["runs"] else 0

    def _logs(self, table: str) -> list[Path]:
        return list((self.host / table / "_delta_log").glob("*[0-9].json"))

    # Each file that appears or goes changes the time of its folder
    def _changes(self) -> int:
        folders = [self.host, *self.host.glob("*"), *self.host.glob("*/_delta_log")]
        return sum(_changed_ns(folder) for folder in folders)

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        with self._complaints.open("ab") as complaints:
            return subprocess.Popen(
                [*self._command, *options], stdout=complaints, stderr=complaints
            )


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # it has been closed meanwhile
        return ""


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@dataclass(frozen=True)
class Phase:
    """What goes wrong beside the kills."""

    name: str
    share: float  # of the kills
    rotates: bool = False
    fills: bool = False


PHASES = (
    Phase("growing", 0.2),
    Phase("rotated", 0.25, rotates=True),
    Phase("disk full", 0.2, fills=True),
    Phase("rotated, disk full", 0.35, rotates=True, fills=True),
)


class Writer(threading.Thread):
    """Writes the log while the watch lives and dies, rotates it and fills the disk."""

    def __init__(self, log: RotatedLog, disk: Disk | None, host: Path, random: Random) -> None:
        super().__init__()
        self.phase = PHASES[0]
        self.story = Story(random, log.write)
        self.failure: BaseException | None = None
        self._log = log
        self._disk = disk
        self._host = host
        self._random = random
        self._ends = threading.Event()
        self._known_at = 1  # with so many runs stored, some of the log is

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()

    def end(self) -> None:
        """End all runs, and write no more."""
        self.__exit__()
        if self.failure:
            raise self.failure

    def run(self) -> None:
        try:
            while not self._ends.is_set():
                self._step()
            if self._disk:
                self._disk.free()
            self.story.end_all()
        except BaseException as failure:
            self.failure = failure

    def _step(self) -> None:
        self.story.go_on(self._random.randint(1, 12))
        chance = self._random.random()
        if self.phase.fills and self._disk and chance < 0.02:
            self._fill_or_free(self._disk)
        elif self.phase.rotates and 0.02 < chance < 0.04:
            self._rename()
        elif self.phase.rotates and 0.04 < chance < 0.055:
            self._copy_and_truncate()
        self._ends.wait(self._random.uniform(0, 0.1))

    def _fill_or_free(self, disk: Disk) -> None:
        if disk.is_full:
            disk.free()
        else:
            disk.fill(left=self._random.choice((0, self._random.randrange(300_000))))

    # A log of which nothing is stored can't be known again under another name
    def _rename(self) -> None:
        if stored.count_runs(self._host) < self._known_at:
            return
        self._log.rename()
        self.story.go_on(self._random.randint(1, 12))
        self._ends.wait(self._random.choice((0, 0.2)))
        self._log.reopen()
        self._known_at = len(self.story.truth) + 1

    # What nobody had read is lost with the rest: a logger that wants none lost waits
    def _copy_and_truncate(self) -> None:
        self.story.end_all()
        if self._wait_until_stored(len(self.story.truth)):
            self._log.copy_and_truncate()
            self._known_at = len(self.story.truth) + 1

    def _wait_until_stored(self, runs: int) -> bool:
        deadline = time.monotonic() + _PATIENCE_S
        while stored.count_runs(self._host) < runs:
            if self._disk:
                self._disk.free()
            if self._ends.wait(0.05):
                return False
            if time.monotonic() > deadline:
                raise TortureError(f"{runs} runs were not stored within {_PATIENCE_S} s")
        return True


def torture_all(
    kills: int, guest_kills: int, seed: int, folder: Path, *, mounts: bool
) -> Iterator[Result]:
    """Kill watches of files and one of a guest, all at the same time."""
    lanes = min(_LANES, -(-kills // len(PHASES)))
    with ProcessPoolExecutor(lanes + bool(guest_kills)) as pool:
        running = [
            pool.submit(
                torture_files,
                kills // lanes + (lane < kills % lanes),
                f"{seed} {lane}",
                folder / str(lane),
                mounts=mounts,
            )
            for lane in range(lanes)
        ]
        if guest_kills:
            running.append(pool.submit(torture_guest, guest_kills, seed, folder / "guest"))
        for each in as_completed(running):
            yield each.result()


def torture_files(kills: int, seed: str, folder: Path, *, mounts: bool) -> Result:
    """Kill a watch of a file."""
    folder.mkdir()
    random = Random(seed)
    with ExitStack() as stack:
        disk = stack.enter_context(Disk(folder / "disk")) if mounts else None
        log = stack.enter_context(closing(RotatedLog(folder / "kern.log")))
        place = (disk.place if disk else folder) / "store"
        watcher = Watcher(place, log.path, folder / "complaints")
        writer = stack.enter_context(Writer(log, disk, watcher.host, Random(random.random())))
        for phase in PHASES:
            if phase.fills and disk is None:
                print(f"{phase.name}: left out, as nothing can be mounted here")
                continue
            writer.phase = phase
            _kill_over_and_over(phase, max(1, round(kills * phase.share)), watcher, writer, random)
        writer.end()
        watcher.catch_up()
        filled = disk.filled if disk else 0
        print(
            f"{log.renames} renames, {log.truncations} truncations, {filled} times a full disk",
            flush=True,
        )
        return compare(writer.story.truth, watcher.host)


def _kill_over_and_over(
    phase: Phase, kills: int, watcher: Watcher, writer: Writer, random: Random
) -> None:
    began, runs, cuts = time.monotonic(), len(writer.story.truth), {watcher.cut_in_two_at(), 0}
    known = len(cuts)
    for _ in range(kills):
        if writer.failure:
            return
        watcher.live(random)
        cuts.add(watcher.cut_in_two_at())
    print(
        f"{phase.name}: {kills} kills, {len(cuts) - known} of them between two commits that belong"
        f" together, in {time.monotonic() - began:.0f} s;"
        f" {len(writer.story.truth) - runs:,} runs",
        flush=True,
    )


def compare(truth: Sequence[Run], host: Path) -> Result:
    """Compare a file's runs with those that are stored; a file loses nothing."""
    whole, others = stored.whole_runs(host)
    wrong = stored.differences(truth, whole)
    wrong += [f"not whole: {row}" for row in others]
    wrong += [f"a loss: {row}" for row in stored.rows(host, "losses")]
    return Result(len(truth), len(whole), 0, wrong)


def with_own_mounts() -> bool:
    """Begin again where what is mounted goes when this process goes; say if that is possible."""
    enter = ["unshare", "--mount"]
    if os.geteuid():
        enter += ["--user", "--map-root-user"]
    has_own = _OWN_MOUNTS in os.environ
    if not has_own and not subprocess.run([*enter, "true"], capture_output=True).returncode:
        os.environ[_OWN_MOUNTS] = "1"
        os.execvp(enter[0], [*enter, sys.executable, *sys.argv])
    return has_own


def main() -> int:
    """Torture, compare, and say how it came out."""
    parser = argparse.ArgumentParser(description="Kill a watch over and over.")
    parser.add_argument("--kills", type=int, default=1000, help="in all")
    parser.add_argument(
        "--guest-kills", type=int, help="how many of them in a guest (default: one in 25)"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    options = parser.parse_args()
    mounts = with_own_mounts()

    print(f"seed {options.seed}", flush=True)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    result = Result()
    try:
        in_guest = options.kills // 25 if options.guest_kills is None else options.guest_kills
        if missing := in_guest and vm.missing_requirement():
            print(f"ring buffer: left out, as {missing}")
            in_guest = 0
        for each in torture_all(
            options.kills - in_guest, in_guest, options.seed, folder, mounts=mounts
        ):
            result.add(each)
    except (TortureError, LogtraceError) as error:
        result.wrong.append(str(error))
    finally:
        if not options.folder:
            shutil.rmtree(folder)
    for line in result.wrong[:20]:
        print(line)
    print(result)
    return 0 if result.is_even else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
