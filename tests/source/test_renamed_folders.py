"""A machine's folder that is renamed: its log goes on, and nothing of it is stored twice."""

import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress

import pytest
from memory_store import CrashError, Looking, MemoryStore, watch_once
from store_samples import log_of

from logtrace.engine import Engine
from logtrace.source.folder import Layout
from logtrace.source.follow import Beginning
from logtrace.store import Store
from logtrace.watch import Watch

KINDS = ["unnamed", "named"]


def lines(*pids, kind="unnamed", host="old"):
    """Give the lines of runs; those of syslog name their machine."""
    named = f"2026-11-23T10:00:00Z {host} kernel: " if kind == "named" else ""
    return [f"{named}{line}".encode() for line in log_of(*pids).splitlines(keepends=True)]


def append(path, *parts):
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(parts))


def stored(store):
    return Counter((row["host"], row["pid"], row["status"]) for row in store.rows["runs"])


def complete(*runs):
    return Counter((host, pid, "complete") for host, pid in runs)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "remote"
    root.mkdir()
    append(root / "beside" / "kern.log", *lines(90))
    return root


def host(kind):
    """Whose the runs are that end behind the renaming: the record says it, or the folder."""
    return "old" if kind == "named" else "new"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", range(13))
def test_renamed_while_nobody_watched_each_run_is_stored_once(root, kind, cut):
    log = lines(1, 2, 3, kind=kind)
    store = MemoryStore()
    append(root / "old" / "kern.log", *log[:cut])
    watch_once(store, root)
    (root / "old").rename(root / "new")
    append(root / "new" / "kern.log", *log[cut:])
    for _ in range(2):
        watch_once(store, root)
    runs = [("old" if 4 * pid <= cut else host(kind), pid) for pid in (1, 2, 3)]
    assert stored(store) == complete(("beside", 90), *runs)
    assert store.rows["losses"] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", range(1, 13))
@pytest.mark.parametrize("saved", [False, True])
def test_renamed_while_it_is_watched_each_run_is_stored_once(root, kind, cut, saved):
    log = lines(1, 2, 3, kind=kind)
    store = MemoryStore()
    append(root / "old" / "kern.log", *log[:cut])
    positions = store.positions()
    tree = Looking(Layout.of(str(root)), Beginning(positions, host="here"))
    with closing(tree), closing(Watch(store.host, "here", [tree], positions=positions)) as watch:
        while watch._take_from(tree):
            pass
        if saved:
            watch._store_due()
        (root / "old").rename(root / "new")
        append(root / "new" / "kern.log", *log[cut:])
        watch.drain()
    watch_once(store, root)
    runs = [("old" if 4 * pid <= cut else host(kind), pid) for pid in (1, 2, 3)]
    assert stored(store) == complete(("beside", 90), *runs)
    assert store.rows["losses"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_renamed_there_and_back_and_rotated_meanwhile_each_run_is_stored_once(root, kind):
    store = MemoryStore()
    append(root / "old" / "kern.log", *lines(1, kind=kind))
    for pid, (before, now) in enumerate([("old", "new"), ("new", "old"), ("old", "other")], 2):
        watch_once(store, root)
        (root / before).rename(root / now)
        append(root / now / "kern.log", *lines(10 * pid, kind=kind))
        (root / now / "kern.log").rename(root / now / f"kern.log.{5 - pid}")
        append(root / now / "kern.log", *lines(10 * pid + 1, kind=kind))
    watch_once(store, root)
    assert Counter(row["pid"] for row in store.rows["runs"]) == Counter(
        [90, 1, 20, 21, 30, 31, 40, 41]
    )
    assert store.rows["losses"] == []


def test_another_log_of_the_same_first_line_in_a_new_folder_is_read_whole(root):
    store = MemoryStore()
    append(root / "old" / "kern.log", *lines(1, 2))
    watch_once(store, root)
    (root / "old" / "kern.log").unlink()
    append(root / "new" / "kern.log", *lines(1, 3))
    watch_once(store, root)
    runs = [("beside", 90), ("old", 1), ("old", 2), ("new", 1), ("new", 3)]
    assert stored(store) == complete(*runs)


def test_a_copy_in_another_folder_is_a_log_of_its_own(root):
    store = MemoryStore()
    for name in ("old", "new"):
        append(root / name / "kern.log", *lines(1))
        watch_once(store, root)
    assert stored(store) == complete(("beside", 90), ("old", 1), ("new", 1))


def test_a_store_takes_the_positions_of_a_log_that_was_renamed(root, tmp_path):
    store = Store(str(tmp_path / "store"))
    append(root / "old" / "kern.log", *lines(1))
    watch_once(store, root)
    (root / "old").rename(root / "new")
    append(root / "new" / "kern.log", *lines(2))
    for _ in range(3):
        watch_once(store, root)
    runs = Engine(store).rows("runs", order="pid")[["host", "pid"]]
    assert runs.values.tolist() == [["old", 1], ["new", 2], ["beside", 90]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [0, 2, 4, 7])
@pytest.mark.parametrize("commits", range(6))
def test_killed_at_any_commit_of_a_renamed_log_each_run_is_stored_once(root, kind, cut, commits):
    log = lines(1, 2, kind=kind)
    store = MemoryStore()
    append(root / "old" / "kern.log", *log[:cut])
    watch_once(store, root)
    (root / "old").rename(root / "new")
    append(root / "new" / "kern.log", *log[cut:])
    store.commits_left = commits
    with suppress(CrashError):
        watch_once(store, root)
    store.commits_left = None
    watch_once(store, root)
    runs = [("old" if 4 * pid <= cut else host(kind), pid) for pid in (1, 2)]
    assert stored(store) == complete(("beside", 90), *runs)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_a_real_watch_goes_on_with_a_folder_renamed_under_it_and_when_it_is_killed(root, tmp_path):
    store = Store(str(tmp_path / "store"))
    command = [sys.executable, "-m", "logtrace", "watch", "-q", "--store", str(store), str(root)]

    def pids():
        return sorted(Engine(store).rows("runs")["pid"]) if store.root.is_dir() else []

    def start(*expected):
        watch = subprocess.Popen(command)
        wait_for(lambda: pids() == sorted([90, *expected]))
        return watch

    def kill(watch):
        watch.kill()
        watch.wait()

    append(root / "old" / "kern.log", *lines(1))
    watch = start(1)
    (root / "old").rename(root / "new")
    append(root / "new" / "kern.log", *lines(2))
    wait_for(lambda: pids() == [1, 2, 90])
    kill(watch)
    (root / "new").rename(root / "newer")
    append(root / "newer" / "kern.log", *lines(3))
    watch = start(1, 2, 3)
    (root / "newer").rename(root / "old")
    append(root / "old" / "kern.log", *lines(4))
    wait_for(lambda: pids() == [1, 2, 3, 4, 90])
    kill(watch)
    kill(start(1, 2, 3, 4))
    hosts = Engine(store).rows("runs", order="pid")[["pid", "host"]].values.tolist()
    assert hosts == [[1, "old"], [2, "new"], [3, "newer"], [4, "old"], [90, "beside"]]
    assert Engine(store).rows("losses").empty
