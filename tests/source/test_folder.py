import errno
import os
import re
import select
import threading

import pytest
from watchdog.observers.polling import PollingObserver

from logtrace.errors import SourceError
from logtrace.positions import Position, Positions
from logtrace.source import folder as folder_module
from logtrace.source.folder import FileTree, Layout, file_system
from logtrace.source.follow import Beginning, _Part
from logtrace.source.rotation import Folders, place_of

PATIENCE_S = 20


def line(number):
    return f"[{number:5d}.000000] line {number}\n"


def put(path, *numbers):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(map(line, numbers)))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "remote").mkdir()
    return tmp_path / "remote"


@pytest.fixture
def tree_of():
    """Give a function that watches; at the end no thread or descriptor may be left of it."""
    trees = []
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))

    def make(source, beginning=None, **options):
        layout = Layout.of(str(source))
        trees.append(FileTree(layout, beginning or Beginning(host="here"), **options))
        return trees[-1]

    yield make
    for tree in trees:
        tree.close()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before


def found(tree):
    """Read what there is: host and number of each line."""
    pairs = []
    while logs := tree.ready():
        for log in logs:
            pairs += [(item.host, int(item.text.split()[1])) for item in log.drain()]
    return sorted(pairs)


def found_within(tree, expected):
    """Wait until lines have come."""
    pairs = []
    while pairs != expected:
        assert select.select([tree], [], [], PATIENCE_S)[0], f"only {pairs} came"
        pairs = sorted(pairs + found(tree))
    return pairs


# Which files, and whose


@pytest.mark.parametrize(
    ("source", "logs"),
    [
        (
            "",
            {
                "pc1/kern.log": "pc1",
                "pc1/deep/x.log": "pc1",
                "pc2/kern.log": "pc2",
                "top.log": None,
            },
        ),
        ("*/kern.log", {"pc1/kern.log": None, "pc2/kern.log": None}),
        ("{host}/kern.log", {"pc1/kern.log": "pc1", "pc2/kern.log": "pc2"}),
        ("{host}.log", {"top.log": "top"}),
        ("pc1/deep/{host}.log", {"pc1/deep/x.log": "x"}),
        ("top.log", {"top.log": None}),
    ],
)
def test_a_source_names_logs_and_their_machines(root, source, logs):
    files = ["pc1/kern.log", "pc1/deep/x.log", "pc2/kern.log", "top.log"]
    for name in files:
        put(root / name, 1)
    layout = Layout.of(str(root / source))
    below = [path for path in map(root.joinpath, files) if path.is_relative_to(layout.root)]
    named = {path: layout.host_of(path) for path in below if layout.log_of(path)}
    assert named == {root / name: host for name, host in logs.items()}


@pytest.mark.parametrize(
    ("log", "parts"),
    [
        ("kern.log", ["kern.log.10.gz", "kern.log.2.xz", "kern.log.1", "kern.log"]),
        ("kern.log", ["kern.log-20251231.zst", "kern.log-20260101", "kern.log"]),
        ("kern.log", ["kern-2025-12-31.log.bz2", "kern-2026-01-01.log", "kern.log"]),
        ("kern.log", ["kern.log-20260101-1767225600", "kern.log-20260102-1767312000"]),
        ("kern.log", ["kern.log.old", "kern.log"]),
        (".log", ["2025-12-31.log", "2026-01-01.log"]),
    ],
)
def test_parts_of_a_log_are_known_by_their_names_oldest_first(tmp_path, log, parts):
    for name in sorted(parts):
        (tmp_path / name).touch()
    assert Folders().parts(tmp_path / log) == [tmp_path / name for name in parts]


@pytest.mark.parametrize(
    "name",
    ["10.0.0.1", "pc1.log", "pc-2021202045.log", "pc-20211331.log", "node7", ".1", "20260101"],
)
def test_numbers_in_the_names_of_machines_are_no_rotation(name):
    assert place_of(name).base == name


def test_of_a_part_that_is_being_compressed_the_plain_file_is_taken(tmp_path):
    for name in ("kern.log.1", "kern.log.1.gz"):
        (tmp_path / name).touch()
    assert Folders().parts(tmp_path / "kern.log") == [tmp_path / "kern.log.1"]


# Following


def test_a_folder_that_changes_within_a_tick_of_its_clock_is_read_again(tmp_path):
    log, rotated = tmp_path / "kern.log", tmp_path / "kern.log.1"
    folders = Folders()
    put(log, 1)
    changed = tmp_path.stat().st_mtime_ns
    assert folders.parts(log) == [log]
    put(rotated, 2)
    os.utime(tmp_path, ns=(changed, changed))
    assert folders.parts(log) == [rotated, log]


def test_logs_of_a_folder_are_of_the_machine_that_its_folders_name(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    put(root / "pc2" / "sub" / "kern.log", 2)
    put(root / "kern.log", 3)
    assert found(tree_of(root)) == [("here", 3), ("pc1", 1), ("pc2", 2)]


def test_the_machine_that_a_record_names_is_the_one(root, tree_of):
    (root / "relay").mkdir()
    (root / "relay" / "kern.log").write_text("2026-11-23T10:00:00Z pc7 kernel: line 1\n")
    assert found(tree_of(root)) == [("pc7", 1)]
    forced = Beginning(host="mine", forced=True)
    assert found(tree_of(root, forced)) == [("mine", 1)]


def test_what_comes_later_is_followed(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    tree = tree_of(root)
    assert found(tree) == [("pc1", 1)]
    put(root / "pc1" / "kern.log", 2)
    put(root / "pc1" / "other.log", 3)
    put(root / "pc2" / "kern.log", 4)
    put(root / "pc3" / "a" / "b" / "kern.log", 5)
    found_within(tree, [("pc1", 2), ("pc1", 3), ("pc2", 4), ("pc3", 5)])


def test_a_log_that_two_sources_name_is_followed_once(root, tree_of):
    beginning = Beginning(host="here")
    put(root / "pc1" / "kern.log", 1)
    first = tree_of(root, beginning)
    for source in ("pc1/kern.log", "*/kern.log", "pc1"):
        assert found(tree_of(root / source, beginning)) == []
    assert found(first) == [("pc1", 1)]


def test_a_log_that_came_and_was_rotated_meanwhile_is_read_from_its_first_part(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    tree = tree_of(root)
    found(tree)
    put(root / "pc2" / "kern.log.1", 2)
    put(root / "pc2" / "kern.log", 3)
    found_within(tree, [("pc2", 2), ("pc2", 3)])


def test_of_a_folder_that_is_known_a_log_that_is_not_came_meanwhile(root, tree_of):
    put(root / "pc2" / "kern.log.1", 2)
    put(root / "pc2" / "kern.log", 3)
    positions = Positions()
    positions.note("pc1", f"file:{root}/pc1/kern.log:0", Position(1, 1))
    assert found(tree_of(root, Beginning(positions))) == [("pc2", 2), ("pc2", 3)]
    assert found(tree_of(root)) == [("pc2", 3)]


def test_with_what_comes_now_new_logs_begin_at_their_beginning(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    tree = tree_of(root, Beginning(begin="now"))
    assert found(tree) == []
    put(root / "pc1" / "kern.log", 2)
    put(root / "pc2" / "kern.log", 3)
    found_within(tree, [("pc1", 2), ("pc2", 3)])


def test_few_files_of_many_are_open_at_a_time(root, tree_of):
    before = len(os.listdir("/proc/self/fd"))
    logs = [root / f"pc{number}" / "kern.log" for number in range(120)]
    for log in logs:
        put(log, 1)
    tree = tree_of(root, most_open=7)
    assert len(found(tree)) == 120
    assert len(os.listdir("/proc/self/fd")) - before < 7 + 50 + 10
    for log in logs:
        put(log, 2)
    found_within(tree, sorted((f"pc{number}", 2) for number in range(120)))
    tree.ready()
    assert len(os.listdir("/proc/self/fd")) - before < 7 + 10


def test_many_logs_are_given_some_at_a_time(root, tree_of):
    hosts = [f"pc{number:03}" for number in range(120)]
    for host in hosts:
        put(root / host / "kern.log", 1)
    tree = tree_of(root)
    given = []
    while select.select([tree], [], [], 0)[0] and (logs := tree.ready()):
        assert len(logs) < 60
        given += logs
    assert sorted(log.path.parent.name for log in given) == hosts


def test_however_many_files_one_thread_reads_the_notices(root, tree_of):
    before = threading.active_count()
    put(root / "pc0" / "kern.log", 0)
    tree_of(root)
    few = threading.active_count() - before
    for number in range(1, 50):
        put(root / f"pc{number}" / "kern.log", number)
    tree_of(root)
    assert threading.active_count() - before == 2 * few


def test_a_closed_file_that_was_renamed_is_read_to_its_end(root, tree_of):
    log = root / "pc1" / "kern.log"
    put(log, 1)
    tree = tree_of(root)
    found(tree)
    tree._logs[log].park()
    put(log, 2)
    log.rename(log.with_name("kern.log.1"))
    put(log, 3)
    found_within(tree, [("pc1", 2), ("pc1", 3)])


# What can't be followed


def notices(tree, root):
    found(tree)
    return [notice.replace(str(root), "") for notice in tree.take_notices()]


def test_what_is_no_log_is_told_once_and_the_rest_goes_on(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    (root / "pc1" / "system.journal").write_bytes(b"LPKSHHRH\0\0\0\n")
    (root / "pc1" / "part.journal").write_bytes(b"LPKSHHRH\0\0\0")
    (root / "pc1" / "loop").symlink_to(root)
    (root / "pc1" / "link.log").symlink_to(root / "pc1" / "kern.log")
    (root / "pc1" / ".hidden").write_text(line(9))
    os.mkfifo(root / "pc1" / "pipe")
    tree = tree_of(root)
    told = notices(tree, root)
    assert sorted(told) == [
        "/pc1/link.log: a symbolic link, not followed",
        "/pc1/loop: a symbolic link, not followed",
        "/pc1/part.journal: not a text log",
        "/pc1/pipe: not a plain file, not followed",
        "/pc1/system.journal: not a text log",
    ]
    put(root / "pc1" / "system.journal", 2)
    put(root / "pc1" / "kern.log", 2)
    found_within(tree, [("pc1", 2)])
    assert tree.take_notices() == []


def test_a_compressed_file_that_is_not_complete_is_told(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    (root / "pc1" / "other.gz").write_bytes(bytes.fromhex("1f8b08000000000000034b"))
    (told,) = notices(tree_of(root), root)
    assert re.match("/pc1/other.gz: Compressed file ended", told)


def test_what_may_not_be_read_is_told_and_the_rest_goes_on(root, tree_of, monkeypatch):
    put(root / "pc1" / "kern.log", 1)
    put(root / "pc2" / "kern.log", 2)
    opened = _Part.open

    def refuse(part, path):
        if "pc1" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied")
        opened(part, path)

    monkeypatch.setattr(_Part, "open", refuse)
    tree = tree_of(root)
    assert found(tree) == [("pc2", 2)]
    assert notices(tree, root) == ["/pc1/kern.log: Permission denied"]


def test_a_folder_that_may_not_be_read_is_told(root, tree_of, monkeypatch):
    (root / "pc1").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fsdecode(path).endswith("pc1"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folder_module.os, "scandir", refuse)
    assert notices(tree_of(root), root) == ["/pc1: Permission denied"]


def test_a_file_that_is_gone_when_it_is_opened_is_no_trouble(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    tree = tree_of(root)
    (root / "pc1" / "kern.log").unlink()
    assert found(tree) == []
    assert tree.take_notices() == []


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="none: No such file or directory"):
        FileTree(Layout.of(str(tmp_path / "none" / "*.log")), Beginning())


def test_a_folder_that_is_removed_is_told(root, tree_of):
    tree = tree_of(root)
    found(tree)
    root.rmdir()
    assert select.select([tree], [], [], PATIENCE_S)[0]
    assert notices(tree, root.parent) == ["/remote: the folder is gone"]


# Without notices of the file system


def test_where_a_file_system_gives_no_notice_files_are_looked_at(root, tree_of, monkeypatch):
    monkeypatch.setattr(folder_module, "file_system", lambda _path: "nfs4")
    monkeypatch.setattr(folder_module, "_POLL_S", 0.05)
    tree = tree_of(root)
    assert isinstance(tree._observer, PollingObserver)
    put(root / "pc1" / "kern.log", 1)
    found_within(tree, [("pc1", 1)])
    put(root / "pc1" / "kern.log", 2)
    found_within(tree, [("pc1", 2)])


def test_the_type_of_a_file_system_is_that_of_its_device(tmp_path):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:21 / /proc rw shared:5 - proc proc rw\n"
        f"29 1 {os.major(device)}:{os.minor(device)} / /a\\040b rw - fuse.sshfs x@y:/ rw\n"
    )
    assert file_system(tmp_path, mounts) == "fuse.sshfs"
    assert file_system(tmp_path, tmp_path / "none") == ""


def test_without_room_for_watches_files_are_looked_at_and_the_remedy_is_told(
    root, tree_of, monkeypatch
):
    monkeypatch.setattr(folder_module, "_POLL_S", 0.05)
    tree = tree_of(root)
    assert not isinstance(tree._observer, PollingObserver)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(folder_module, "_no_more_watches", lambda _folder: full)
    put(root / "pc1" / "kern.log", 1)
    found_within(tree, [("pc1", 1)])
    assert isinstance(tree._observer, PollingObserver)
    (told,) = tree.take_notices()
    assert "fs.inotify.max_user_watches" in told
    put(root / "pc1" / "kern.log", 2)
    found_within(tree, [("pc1", 2)])


def test_where_there_is_no_room_for_the_watches_of_its_folders_it_is_looked_at_from_the_first(
    root, tree_of, monkeypatch
):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(folder_module, "_no_more_watches", lambda _folder: full)
    tree = tree_of(root)
    assert isinstance(tree._observer, PollingObserver)
    (told,) = tree.take_notices()
    assert "fs.inotify.max_user_watches" in told


def test_when_notices_were_dropped_all_files_are_looked_at(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    tree = tree_of(root)
    found(tree)
    tree._observer.unschedule_all()
    put(root / "pc1" / "kern.log", 2)
    put(root / "pc2" / "kern.log", 3)
    assert found(tree) == []
    folder_module._WATCHDOG.warning("Inotify queue overflowed; filesystem events were lost")
    assert found(tree) == [("pc1", 2), ("pc2", 3)]


def test_reading_rings_no_bell(root, tree_of):
    put(root / "pc1" / "kern.log", 1)
    tree = tree_of(root)
    assert found(tree) == [("pc1", 1)]
    (root / "pc1" / "kern.log").read_text()
    tree._logs[root / "pc1" / "kern.log"].drain()
    assert not select.select([tree], [], [], 0.5)[0]
