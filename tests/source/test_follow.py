import hashlib
import os
import select
import threading

import pytest

from logtrace.errors import SourceError
from logtrace.source import follow
from logtrace.source.follow import FileSource


def line(number):
    return b"[%5d.000000] line %d\n" % (number, number)


LENGTH = len(line(1))
DIGEST_OF_LINE_1 = hashlib.sha256(line(1)).hexdigest()


def append(path, *parts):
    with path.open("ab") as file:
        for part in parts:
            file.write(part)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kern.log"


@pytest.fixture
def following():
    """Give a function that makes a source; at the end nothing of it may be left."""
    sources = []
    threads, files = threading.active_count(), descriptors()

    def make(path, **options):
        sources.append(FileSource(path, **options))
        return sources[-1]

    yield make
    for source in sources:
        source.close()
    assert threading.active_count() == threads
    assert descriptors() == files


def drain(source):
    """Drain until there is no more, as watch does: the names of the logs and their lines."""
    found = {}
    while items := source.drain():
        found.setdefault(source.name, []).extend(int(item.text.split()[1]) for item in items)
    return found


def numbers(source):
    return [number for log in drain(source).values() for number in log]


def rung(source, seconds=5):
    return bool(select.select([source], [], [], seconds)[0])


def test_lines_that_are_there_are_read_at_once(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert rung(source, 0)
    assert numbers(source) == [1, 2]
    assert source.position == LENGTH
    assert not rung(source, 0)


def test_lines_that_come_ring(path, following):
    append(path, line(1))
    source = following(path)
    assert numbers(source) == [1]
    append(path, line(2))
    assert rung(source)
    assert numbers(source) == [2]


def test_a_file_that_is_not_there_yet_is_waited_for(path, following):
    source = following(path)
    assert numbers(source) == []
    assert source.position == -1
    append(path, line(1))
    assert rung(source)
    assert numbers(source) == [1]


def test_other_files_of_the_folder_do_not_ring(path, following):
    source = following(path)
    drain(source)
    append(path.with_name("other.log"), line(1))
    assert not rung(source, 0.2)


def test_a_line_waits_for_its_end(path, following):
    append(path, line(1)[:-5])
    source = following(path)
    assert numbers(source) == []
    append(path, line(1)[-5:], line(2)[:20])
    assert numbers(source) == [1]
    append(path, line(2)[20:])
    assert numbers(source) == [2]


def test_a_record_of_several_lines_is_one(path, following):
    append(path, b"[    1.000000] one\n               two\n", line(3))
    source = following(path)
    assert [record.text for record in source.drain()] == ["one\ntwo"]
    assert numbers(source) == [3]


def test_records_have_the_offset_of_their_line_and_the_digest_of_their_log(path, following):
    append(path, line(1), line(2))
    source = following(path, boot_id="b1")
    records = source.drain() + source.drain()
    assert [record.seq for record in records] == [0, LENGTH]
    digest = source.name.removeprefix(f"file:{path}:")
    assert len(digest) == 64
    assert {record.source for record in records} == {f"{path}@{digest[:12]}"}
    assert {record.boot_id for record in records} == {"b1"}


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(path, following):
    append(path, line(1))
    source = following(path)
    assert numbers(source) == [1]
    old = source.name
    append(path, line(2))
    path.rename(path.with_suffix(".log.1"))
    append(path.with_suffix(".log.1"), line(3))
    append(path, line(4))
    found = drain(source)
    assert list(found.values()) == [[2, 3], [4]]
    assert list(found) == [old, source.name]
    assert source.position == 0


def test_the_writer_may_go_on_with_the_old_file_while_the_new_one_is_empty(path, following):
    append(path, line(1))
    source = following(path)
    drain(source)
    path.rename(path.with_suffix(".log.1"))
    path.touch()
    assert numbers(source) == []
    append(path.with_suffix(".log.1"), line(2))
    append(path, line(3))
    assert rung(source)
    assert list(drain(source).values()) == [[2], [3]]


def test_what_is_written_while_a_rename_is_noticed_is_not_missed(path, following, monkeypatch):
    append(path, line(1))
    source = following(path)
    drain(source)
    old = path.with_suffix(".log.1")
    path.rename(old)
    append(path, line(3))
    noticed = FileSource._was_renamed

    def write_meanwhile(self):
        append(old, line(2))
        monkeypatch.undo()
        return noticed(self)

    monkeypatch.setattr(FileSource, "_was_renamed", write_meanwhile)
    assert list(drain(source).values()) == [[2], [3]]


def test_position_and_name_stay_those_of_the_old_file_until_the_new_one_is_read(path, following):
    append(path, line(1), line(2))
    source = following(path)
    drain(source)
    old = source.name, source.position
    append(path, line(3))
    path.rename(path.with_suffix(".log.1"))
    append(path, line(4))
    seen = []
    while items := source.drain():
        seen += [(source.name, source.position, item.text) for item in items]
    assert seen == [(old[0], 2 * LENGTH, "line 3"), (source.name, 0, "line 4")]
    assert source.name != old[0]


def test_a_last_line_without_end_is_truncated_when_its_file_is_left(path, following):
    append(path, line(1), line(2)[:-1])
    source = following(path)
    assert numbers(source) == [1]
    path.rename(path.with_suffix(".log.1"))
    append(path, line(3))
    items = source.drain() + source.drain()
    assert [(item.text, item.truncated) for item in items] == [("line 2", True), ("line 3", False)]


@pytest.mark.parametrize("count", [1, 5])
def test_a_file_that_is_cut_to_nothing_is_read_from_its_beginning(path, following, count):
    append(path, line(1), line(2), line(3))
    source = following(path)
    assert numbers(source) == [1, 2, 3]
    os.truncate(path, 0)
    append(path, *map(line, range(10, 10 + count)))
    assert rung(source)
    assert numbers(source) == list(range(10, 10 + count))


def test_a_file_that_is_written_anew_with_the_same_lines_is_not_read_twice(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]
    path.write_bytes(b"")
    assert numbers(source) == []
    append(path, line(1), line(2), line(3))
    assert numbers(source) == [3]


def test_reading_goes_on_behind_what_is_known(path, following):
    append(path, line(1), line(2), line(3))
    asked = []

    def resume_after(name):
        asked.append(name)
        return LENGTH

    source = following(path, resume_after=resume_after)
    assert numbers(source) == [3]
    assert set(asked) == {source.name}
    assert source.position == 2 * LENGTH


def test_each_log_of_a_name_has_a_place_of_its_own(path, following):
    append(path, line(1), line(2))
    places = {}
    source = following(path, resume_after=places.get)
    drain(source)
    places[source.name] = source.position
    append(path, line(3))
    again = following(path, resume_after=places.get)
    assert numbers(again) == [3]
    places[again.name] = again.position
    path.rename(path.with_suffix(".log.1"))
    append(path, line(7), line(8))
    other = following(path, resume_after=places.get)
    assert numbers(other) == [7, 8]


def test_a_file_renamed_while_nobody_watched_is_read_to_its_end_first(path, following):
    append(path.with_name("kern.log.2"), line(70), line(71))
    append(path, line(1), line(2))
    first = following(path)
    drain(first)
    places = {first.name: first.position}
    append(path, line(3))
    path.rename(path.with_name("kern.log.1"))
    append(path, line(4))
    source = following(path, resume_after=places.get)
    assert list(drain(source).items()) == [(first.name, [3]), (source.name, [4])]
    append(path, line(5))
    assert numbers(source) == [5]


def test_a_file_renamed_while_nobody_watched_is_read_though_there_is_no_new_one(path, following):
    append(path, line(1), line(2))
    path.rename(path.with_name("kern.log-20260301"))
    source = following(path, resume_after={f"file:{path}:{DIGEST_OF_LINE_1}": 0}.get)
    assert numbers(source) == [2]
    append(path, line(3))
    assert numbers(source) == [3]


def test_older_logs_are_left_alone_if_the_newest_is_known(path, following):
    append(path, line(1))
    append(path.with_name("kern.log.1"), line(2), line(3))
    source = following(path, resume_after=lambda _name: 0)
    assert numbers(source) == []


def test_only_new_lines_are_read_if_so_wanted(path, following):
    append(path, line(1), line(2))
    source = following(path, only_new=True)
    assert numbers(source) == []
    append(path, line(3))
    assert numbers(source) == [3]
    path.rename(path.with_suffix(".log.1"))
    append(path, line(4))
    assert numbers(source) == [4]


def test_all_lines_of_a_file_that_was_not_there_are_new(path, following):
    source = following(path, only_new=True)
    assert numbers(source) == []
    append(path, line(1), line(2))
    assert numbers(source) == [1, 2]


def test_much_is_read_in_parts(path, following, monkeypatch):
    monkeypatch.setattr(follow, "_CHUNK_BYTES", 10 * LENGTH)
    append(path, *map(line, range(1, 101)))
    source = following(path)
    first = source.drain()
    assert 0 < len(first) <= 10
    assert rung(source, 0)
    assert numbers(source) == list(range(len(first) + 1, 101))


def test_a_line_without_end_is_not_kept_for_ever(path, following, monkeypatch):
    monkeypatch.setattr(follow, "_CHUNK_BYTES", 1000)
    append(path, line(1), b"x" * 10_000)
    source = following(path)
    assert [record.text for record in source.drain()] == ["line 1"]
    while source.drain():
        pass
    assert len(source._rest) <= 1000
    append(path, b"\n", line(2), line(3))
    records = [record for record in source.drain() + source.drain() if record.from_kernel]
    assert [(record.text, record.seq - LENGTH - 10_001) for record in records] == [
        ("line 2", 0),
        ("line 3", LENGTH),
    ]


def test_lines_end_as_windows_ends_them_too(path, following):
    append(path, line(1).replace(b"\n", b"\r\n"), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]


def test_a_file_that_was_removed_is_waited_for(path, following):
    append(path, line(1))
    source = following(path)
    drain(source)
    path.unlink()
    assert numbers(source) == []
    append(path, line(2))
    assert rung(source)
    assert numbers(source) == [2]


def test_a_file_that_is_removed_while_it_is_opened_is_waited_for(path, following, monkeypatch):
    append(path, line(1))
    source = following(path, only_new=True)

    def remove(path):
        path.unlink()
        monkeypatch.undo()
        return line(1)

    monkeypatch.setattr(follow, "_head", remove)
    assert source.drain() == []
    append(path, line(2))
    assert rung(source)
    assert numbers(source) == [2]


def test_a_path_that_is_no_utf8_can_be_followed(tmp_path, following):
    path = tmp_path / os.fsdecode(b"k\xff rn.log")
    append(path, line(1))
    source = following(path)
    (record,) = source.drain()
    assert r"/k\xff rn.log@" in record.source
    assert source.name.encode().startswith(b"file:")


def test_a_folder_that_is_not_there_is_told(tmp_path, following):
    with pytest.raises(SourceError, match="none: No such file or directory"):
        following(tmp_path / "none" / "kern.log")


def test_what_can_not_be_read_is_told(tmp_path, following):
    (tmp_path / "folder").mkdir()
    source = following(tmp_path / "folder")
    with pytest.raises(SourceError, match="folder: Is a directory"):
        source.drain()
