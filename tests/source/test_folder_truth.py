"""Whatever happens to the files and to the watch: every run is stored once, for its host."""

import gzip
import shutil
from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_store import CrashError, Looking, MemoryStore
from store_samples import log_of

from logtrace.source.folder import Layout
from logtrace.source.follow import Beginning
from logtrace.watch import Watch


class Writer:
    """A log: what has been written into it, and what follows."""

    def __init__(self, path, hosts, pids):
        self.path = path
        self.hosts = hosts
        self.pids = pids
        self.runs = []
        self.rest = b""
        self.lines = []
        self.rotations = 0

    # Runs of all hosts at once, their lines in turn
    def more(self):
        started = [(host, next(self.pids)) for host in self.hosts]
        self.runs += started
        logs = [log_of(pid).splitlines(keepends=True) for _, pid in started]
        named = [f"2026-11-23T10:00:00Z {host} kernel: " for host in self.hosts]
        for lines in zip(*logs, strict=True):
            for name, line in zip(named, lines, strict=True):
                self.rest += f"{name if len(self.hosts) > 1 else ''}{line}".encode()

    def write(self, size):
        while len(self.rest) < size:
            self.more()
        self._append(size)

    def end_line(self):
        if self.path.exists() and not self.path.read_bytes().endswith((b"\n", b"")[:1]):
            self._append(self.rest.find(b"\n") + 1)

    def end(self):
        self._append(len(self.rest))

    def _append(self, size):
        text, self.rest = self.rest[:size], self.rest[size:]
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("ab") as file:
            file.write(text)

    def rotate(self, how):
        if not self.path.exists() or not self.path.stat().st_size:
            return
        self.end_line()
        self.rotations += 1
        if how == "dated":
            self.path.rename(self.path.with_name(f"kern.log-20260101-{self.rotations:04}"))
            return
        rotated = sorted(self.path.parent.glob("kern.log.*"), key=number_of, reverse=True)
        for old in rotated:
            old.rename(
                old.with_name(old.name.replace(str(number_of(old)), str(number_of(old) + 1)))
            )
        target = self.path.with_name("kern.log.1")
        if how == "copied":
            shutil.copyfile(self.path, target)
            with self.path.open("r+b") as file:
                file.truncate(0)
            return
        self.path.rename(target)
        if how == "packed":
            packed = target.with_name("kern.log.1.gz")
            packed.write_bytes(gzip.compress(target.read_bytes()))
            target.unlink()


def number_of(path):
    return int(path.name.split(".")[2])


class World:
    """Logs that are written and rotated, and a watch that comes and goes."""

    def __init__(self, folder, kinds):
        self.root = Path(folder) / "remote"
        self.root.mkdir()
        pids = count(1)
        hosts = [["pc0"], ["pc1"], ["pc2", "pc3", "pc1"]]
        self.writers = [
            Writer(self.root / f"pc{number}" / "kern.log", names, pids)
            for number, names in enumerate(hosts)
        ]
        self.kinds = kinds
        self.store = MemoryStore()
        self.tree = self.watch = None
        self.writers[0].write(1000)
        self.stop()

    def start(self):
        if self.watch is None:
            self.store.commits_left = None
            positions = self.store.positions()
            beginning = Beginning(positions, host="here")
            self.tree = Looking(Layout.of(str(self.root)), beginning, most_open=1)
            self.watch = Watch(self.store.host, "here", [self.tree], positions=positions)

    def gone(self):
        self.tree.close()
        self.watch.close()
        self.tree = self.watch = None

    def look(self):
        self.start()
        self.watch._take_from(self.tree)

    def save(self):
        self.start()
        self.watch._store_due()

    def stop(self):
        self.start()
        self.watch.drain()
        self.gone()

    def kill(self, commits):
        self.start()
        self.store.commits_left = commits
        with suppress(CrashError):
            self.watch.drain()
        self.gone()

    def write(self, which, size):
        self.writers[which].write(size)

    def rotate(self, which, how):
        self.writers[which].rotate(how if which else self.kinds)


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), st.integers(1, 700)),
    st.tuples(
        st.just("rotate"), st.integers(0, 2), st.sampled_from(["renamed", "packed", "copied"])
    ),
    st.tuples(st.just("look")),
    st.tuples(st.just("save")),
    st.tuples(st.just("stop")),
    st.tuples(st.just("kill"), st.integers(0, 5)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, min_size=10, max_size=30), st.sampled_from(["dated", "renamed"]))
@example([("write", 2, 80), ("look",), ("rotate", 2, "packed")], "dated")
@example([("write", 2, 161), ("rotate", 2, "renamed"), ("write", 2, 99), ("kill", 5)], "dated")
@example(
    [("write", 1, 80), ("stop",), ("rotate", 1, "copied"), ("write", 1, 30), ("stop",)], "dated"
)
@example(
    [
        ("write", 2, 246),
        ("look",),
        ("rotate", 2, "renamed"),
        ("look",),
        ("write", 2, 603),
        *[("look",)] * 3,
        ("stop",),
        ("look",),
        ("write", 2, 306),
    ],
    "dated",
)
def test_every_run_is_stored_once_for_its_host(actions, kind):
    with TemporaryDirectory() as folder:
        world = World(folder, kind)
        for name, *options in actions:
            getattr(world, name)(*options)
        for writer in world.writers:
            writer.end()
        world.stop()
        truth = Counter(run for writer in world.writers for run in writer.runs)
        rows = world.store.rows
        assert Counter((row["host"], row["pid"]) for row in rows["runs"]) == truth
        assert {row["status"] for row in rows["runs"]} == {"complete"}
        assert rows["losses"] == []
