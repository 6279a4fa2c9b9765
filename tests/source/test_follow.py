import gzip
import hashlib
import os
import select
import threading

import pytest

from logtrace.errors import SourceError
from logtrace.positions import Position, Positions
from logtrace.record import Loss, Record
from logtrace.source import follow
from logtrace.source.folder import FileTree, Layout
from logtrace.source.follow import Beginning, GrowingLog


def line(number):
    return b"[%5d.000000] line %d\n" % (number, number)


LENGTH = len(line(1))
DIGEST_OF_LINE_1 = hashlib.sha256(line(1)).hexdigest()
DIGEST_OF_LINE_3 = hashlib.sha256(line(3)).hexdigest()
NAME = f"file:{{}}:{DIGEST_OF_LINE_1}"
HOSTS = [(b"pc1", 1), (b"pc2", 2), (b"pc1", 3), (b"pc2", 4)]


def append(path, *parts):
    with path.open("ab") as file:
        for part in parts:
            file.write(part)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kern.log"


class Following:
    """The one log that a path is, watched."""

    def __init__(self, path, positions=None, begin="resume", boot_id=None, **options):
        self.tree = FileTree(
            Layout.of(str(path)),
            Beginning(positions or Positions(), begin, "lab01", boot_id=boot_id),
            **options,
        )
        self.log = None

    def fileno(self):
        return self.tree.fileno()

    def drain(self):
        self.log = next(iter(self.tree.ready()), self.log)
        return self.log.drain() if self.log else []

    name = property(lambda self: self.log.name)
    position = property(lambda self: self.log.position if self.log else -1)

    def noted(self, resume_after=None):
        """Give the positions that a store would have."""
        return known(self.name, self.position, self.log.check, resume_after)

    def close(self):
        self.tree.close()


def known(name, seen, check=0, resume_after=None):
    positions = Positions()
    after = seen if resume_after is None else resume_after
    positions.note("lab01", name, Position(seen, after, check))
    return positions


@pytest.fixture
def following():
    """Give a function that makes a source; at the end nothing of it may be left."""
    sources = []

    def make(path, *positions, **options):
        sources.append(Following(path, *positions, **options))
        return sources[-1]

    threads, files = threading.active_count(), descriptors()
    yield make
    for source in sources:
        source.close()
    assert threading.active_count() == threads
    assert descriptors() == files


def drain(source):
    """Drain until there is no more, as watch does: the names of the logs and their lines."""
    found = {}
    while items := source.drain():
        texts = [item.text for item in items if isinstance(item, Record)]
        found.setdefault(source.name, []).extend(int(text.split()[1]) for text in texts)
    return found


def numbers(source):
    return [number for log in drain(source).values() for number in log]


def losses(source):
    found = []
    while items := source.drain():
        found += [item for item in items if isinstance(item, Loss)]
    return found


def rung(source, seconds=5):
    return bool(select.select([source], [], [], seconds)[0])


def test_lines_that_are_there_are_read_at_once(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert rung(source, 0)
    assert numbers(source) == [1, 2]
    assert source.position == LENGTH
    assert not rung(source, 0.2)


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
    assert numbers(source) == []


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
    assert rung(source)
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
    noticed = GrowingLog._newer

    def write_meanwhile(self, part):
        append(old, line(2))
        monkeypatch.undo()
        return noticed(self, part)

    monkeypatch.setattr(GrowingLog, "_newer", write_meanwhile)
    assert rung(source)
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


def test_a_file_that_is_cut_and_filled_while_it_is_read_is_read_from_its_beginning(
    path, following, monkeypatch
):
    append(path, line(1), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]
    append(path, line(3))
    real = follow._Part.read

    def read_late(part):
        os.truncate(path, 0)
        append(path, *map(line, range(10, 20)))
        monkeypatch.undo()
        return real(part)

    monkeypatch.setattr(follow._Part, "read", read_late)
    assert rung(source)
    items = []
    while part := source.drain():
        items += part
    assert [item.text for item in items if isinstance(item, Record)] == [
        f"line {number}" for number in range(10, 20)
    ]
    assert [item.reason for item in items if isinstance(item, Loss)] == ["emptied"]


def test_a_file_that_is_written_anew_with_the_same_lines_is_not_read_twice(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]
    path.write_bytes(b"")
    assert numbers(source) == []
    append(path, line(1), line(2), line(3))
    (record,) = source.drain()
    assert record.text == "line 3"


def test_reading_goes_on_behind_what_is_known(path, following):
    append(path, line(1), line(2), line(3))
    source = following(path, known(NAME.format(path), LENGTH))
    assert numbers(source) == [3]
    assert source.position == 2 * LENGTH


def test_lines_without_stamp_are_not_the_kernels_also_where_reading_goes_on_at_one(path, following):
    append(path, line(1), b"$ echo line 2\n", b"line 2\n", b"line 3\n")
    source = following(path, known(NAME.format(path), LENGTH))
    records = source.drain() + source.drain()
    assert [(record.text, record.facility) for record in records] == [("line 2", 1), ("line 3", 1)]


def test_what_is_needed_again_is_read_again(path, following):
    append(path, line(1), line(2), line(3))
    source = following(path, known(NAME.format(path), LENGTH, resume_after=0))
    assert numbers(source) == [2, 3]


def test_each_host_of_a_log_is_read_from_where_it_was(path, following):
    append(path, *(b"2026-11-23T10:00:00Z %s kernel: line %d\n" % pair for pair in HOSTS))
    first = following(path)
    assert numbers(first) == [1, 2, 3, 4]
    positions = Positions()
    positions.note("pc1", first.name, Position(first.position, -1))
    positions.note("pc2", first.name, Position(first.position, first.position))
    assert numbers(following(path, positions)) == [1, 3]


def test_a_file_renamed_while_nobody_watched_is_read_to_its_end_first(path, following):
    append(path.with_name("kern.log.2"), line(70), line(71))
    append(path, line(1), line(2))
    first = following(path)
    drain(first)
    append(path, line(3))
    path.rename(path.with_name("kern.log.1"))
    append(path, line(4))
    source = following(path, first.noted())
    assert list(drain(source).items()) == [(first.name, [3]), (source.name, [4])]
    append(path, line(5))
    assert rung(source)
    assert numbers(source) == [5]


def test_a_file_renamed_while_nobody_watched_is_read_though_there_is_no_new_one(path, following):
    append(path, line(1), line(2))
    path.rename(path.with_name("kern.log-20260301"))
    source = following(path, known(NAME.format(path), 0))
    assert numbers(source) == [2]
    append(path, line(3))
    assert rung(source)
    assert numbers(source) == [3]


def pack(path, to):
    to.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_all_files_rotated_while_nobody_watched_are_read_in_order(path, following):
    append(path.with_name("kern.log.4.gz"), line(70))
    append(path, line(1), line(2))
    first = following(path)
    drain(first)
    append(path, line(3))
    pack(path, path.with_name("kern.log.3.gz"))
    for number in (2, 1):
        append(path, line(10 * number))
        path.rename(path.with_name(f"kern.log.{number}"))
    append(path, line(5))
    source = following(path, first.noted())
    assert list(drain(source).values()) == [[3], [20], [10], [5]]


def test_a_file_is_known_again_when_it_is_compressed_while_it_is_read(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]
    source.log.park()
    append(path, line(3))
    pack(path, path.with_name("kern.log.1.gz"))
    append(path, line(4))
    assert rung(source)
    assert list(drain(source).values()) == [[3], [4]]


@pytest.mark.parametrize("copy", ["kern.log.1", "kern.log.1.gz"])
def test_the_copy_of_a_file_that_is_cut_is_read_to_its_end(path, following, copy):
    append(path, line(1), line(2)[:10])
    source = following(path)
    assert numbers(source) == [1]
    append(path, line(2)[10:], line(3))
    text = path.read_bytes()
    path.with_name(copy).write_bytes(gzip.compress(text) if copy.endswith("gz") else text)
    os.truncate(path, 0)
    append(path, line(4))
    assert rung(source)
    assert list(drain(source).values()) == [[2, 3], [4]]


def test_the_copy_of_a_file_that_was_cut_while_nobody_watched_is_read_to_its_end(path, following):
    append(path, line(1), line(2))
    first = following(path)
    drain(first)
    append(path, line(3))
    path.with_name("kern.log.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)
    append(path, line(4))
    assert list(drain(following(path, first.noted())).values()) == [[3], [4]]


def test_a_closed_file_that_is_gone_but_for_its_copy_is_read_to_its_end(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]
    source.log.park()
    append(path, line(3))
    old = path.with_name("kern.log.1")
    path.rename(old)
    append(path, line(4))  # while the old file is there, so that it can't be taken for that
    pack(old, path.with_name("kern.log.1.gz"))
    assert list(drain(source).values()) == [[3], [4]]


def test_a_file_that_is_cut_and_begins_anew_with_the_same_line_is_read_from_there(path, following):
    append(path, line(1), line(2))
    source = following(path)
    assert numbers(source) == [1, 2]
    os.truncate(path, 0)
    append(path, line(1), line(4), line(5))
    assert rung(source)
    assert numbers(source) == [1, 4, 5]


def test_what_a_compressed_part_lacks_at_its_end_is_noted_as_lost(path, following):
    text = gzip.compress(b"".join(map(line, range(1, 20_000))))
    path.with_name("kern.log.1.gz").write_bytes(text[:-20])
    append(path, line(30_000))
    source = following(path, begin="oldest")
    items = []
    while part := source.drain():
        items += part
    assert [item.text for item in items[-1:]] == ["line 30000"]
    assert [item.reason for item in items if isinstance(item, Loss)] == ["emptied"]
    (notice,) = source.tree.take_notices()
    assert "kern.log.1.gz: Compressed file ended before the end-of-stream marker" in notice


def test_what_a_file_without_copy_had_when_it_was_emptied_is_noted_as_lost(path, following):
    append(path, line(1), line(2))
    source = following(path)
    drain(source)
    os.truncate(path, 0)
    append(path, line(3))
    assert rung(source)
    (loss,) = losses(source)
    assert (loss.reason, loss.source[-12:]) == ("emptied", DIGEST_OF_LINE_3[:12])
    assert loss.records is None


def test_what_a_file_had_when_it_was_removed_while_it_was_closed_is_noted_as_lost(path, following):
    append(path, line(1))
    source = following(path)
    drain(source)
    source.log.park()
    append(path, line(2))
    path.unlink()
    append(path, line(3))
    assert rung(source)
    assert [(loss.reason, loss.records) for loss in losses(source)] == [("emptied", None)]


def test_what_nobody_watched_and_is_gone_is_noted_as_lost(path, following):
    append(path, line(1))
    first = following(path)
    drain(first)
    path.unlink()
    append(path, line(3))
    assert [loss.reason for loss in losses(following(path, first.noted()))] == ["emptied"]


def test_files_that_begin_alike_are_told_apart_by_what_was_read_last(path, following):
    append(path, line(1), line(2), line(3))
    first = following(path)
    assert numbers(first) == [1, 2, 3]
    path.unlink()
    append(path, line(1), line(4), line(5), line(6))
    again = following(path, first.noted())
    assert numbers(again) == [1, 4, 5, 6]
    path.rename(path.with_name("kern.log.1"))
    append(path, line(1), line(7))
    assert rung(again)
    assert list(drain(again).items()) == [(f"{first.name}+2", [1, 7])]


@pytest.mark.parametrize("broken", [b"\x1f\x8b\x08\0", b"binary \0\n", b"no end"])
def test_a_part_that_can_not_be_read_does_not_keep_the_newer_ones(path, following, broken):
    path.with_name("kern.log.2").write_bytes(broken)
    append(path.with_name("kern.log.1"), line(1))
    source = following(path, begin="oldest")
    assert numbers(source) == [1]
    path.with_name("kern.log.1").rename(path.with_name("kern.log.3"))
    append(path, line(2))
    assert numbers(source) == [2]


def test_a_part_that_may_not_be_read_does_not_keep_the_newer_ones(path, following, monkeypatch):
    append(path.with_name("kern.log.1"), line(1))
    append(path, line(2))
    real = follow._Part

    def refuse(part):
        if part.name == "kern.log.1":
            raise PermissionError(13, "Permission denied")
        return real(part)

    monkeypatch.setattr(follow, "_Part", refuse)
    source = following(path, begin="oldest")
    assert numbers(source) == [2]
    (notice,) = source.tree.take_notices()
    assert notice.endswith("kern.log.1: Permission denied")


def test_older_logs_are_left_alone_if_nothing_is_known(path, following):
    append(path, line(1))
    append(path.with_name("kern.log.1"), line(2), line(3))
    assert numbers(following(path)) == [1]


def test_older_logs_are_read_first_if_so_wanted(path, following):
    append(path, line(3))
    append(path.with_name("kern.log.1"), line(1), line(2))
    assert list(drain(following(path, begin="oldest")).values()) == [[1, 2], [3]]


def test_older_logs_are_left_alone_if_the_newest_is_known(path, following):
    append(path, line(1))
    append(path.with_name("kern.log.1"), line(2), line(3))
    assert numbers(following(path, known(NAME.format(path), 0))) == []


def test_the_log_before_is_read_again_if_runs_were_open_at_its_end(path, following):
    append(path.with_name("kern.log.1"), line(1), line(2), line(3))
    append(path, line(4), line(5))
    first = following(path, begin="oldest")
    drain(first)
    positions = first.noted(resume_after=-1)
    positions.note("lab01", NAME.format(path), Position(2 * LENGTH, 0, 0))
    assert list(drain(following(path, positions)).values()) == [[2, 3], [4, 5]]


def test_an_empty_part_does_not_hide_the_one_before_it(path, following):
    append(path.with_name("kern.log.2"), line(1), line(2), line(3))
    append(path, line(4), line(5))
    first = following(path, begin="oldest")
    drain(first)
    positions = first.noted(resume_after=-1)
    positions.note("lab01", NAME.format(path), Position(2 * LENGTH, 0, 0))
    path.with_name("kern.log.1").touch()
    assert list(drain(following(path, positions)).values()) == [[2, 3], [4, 5]]


def test_only_new_lines_are_read_if_so_wanted(path, following):
    append(path, line(1), line(2))
    source = following(path, begin="now")
    assert numbers(source) == []
    append(path, line(3))
    assert numbers(source) == [3]
    path.rename(path.with_suffix(".log.1"))
    append(path, line(4))
    assert numbers(source) == [4]


def test_all_lines_of_a_file_that_was_not_there_are_new(path, following):
    source = following(path, begin="now")
    assert numbers(source) == []
    append(path, line(1), line(2))
    assert rung(source)
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
    assert len(source.log._part.rest) <= 1000
    append(path, b"\n", line(2), line(3))
    records = [record for record in source.drain() + source.drain() if record.from_kernel]
    assert [(record.text, record.seq - LENGTH - 10_001) for record in records] == [
        ("line 2", 0),
        ("line 3", LENGTH),
    ]


@pytest.mark.parametrize(
    "behind",
    [[line(2)], [line(2)[:-1], b"y" * 5000], [b"y" * (2001 - LENGTH), line(2)[:-1]]],
    ids=["ended", "going on", "left"],
)
def test_what_stands_far_behind_in_a_line_is_no_line(path, following, monkeypatch, behind):
    monkeypatch.setattr(follow, "_CHUNK_BYTES", 1000)
    append(path, line(1), b"x" * (2000 - LENGTH))
    source = following(path)
    read = source.drain() + source.drain()
    for piece in behind:
        append(path, piece)
        read += source.drain() + source.drain()
    path.rename(path.with_name("kern.log.1"))
    append(path, line(3))
    while items := source.drain():
        read += items
    assert [item.text for item in read if item.from_kernel] == ["line 1", "line 3"]


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
    source = following(path, begin="now")

    def remove(path):
        path.unlink()
        monkeypatch.undo()
        return follow._Part(path)

    monkeypatch.setattr(follow, "_Part", remove)
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


def test_what_can_not_be_read_is_told(path, following, monkeypatch):
    append(path, line(1))
    source = following(path)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(follow, "_Part", refuse)
    with pytest.raises(SourceError, match=r"kern\.log: Permission denied"):
        source.drain()


def sent(number, host="pc7", second=None):
    """A line as a collector writes it, of a kernel's stamp and a syslog's."""
    second = number if second is None else second
    stamp = f"2026-11-28T10:00:{second:02}.{number:06}+00:00"
    return f"{stamp} {host} kernel: [{number:5}.000001] line {number}\n".encode()


@pytest.mark.parametrize(
    "again",
    [
        pytest.param([1, 2, 3, 3, 4], id="the last line"),
        pytest.param([1, 2, 3, 2, 3, 4], id="all that was on its way"),
        pytest.param([1, 2, 3, 4, 2], id="a line that lay in an old connection"),
        pytest.param([1, 1, 1, 2, 3, 4], id="a line of three connections"),
    ],
)
def test_what_a_collector_was_given_again_is_read_once(path, following, again):
    append(path, *map(sent, again))
    first = following(path, begin="oldest")
    assert numbers(first) == [1, 2, 3, 4]


@pytest.mark.parametrize("read", range(1, 6))
def test_what_was_given_again_is_known_after_a_restart(path, following, read):
    lines = [sent(number) for number in (1, 2, 3, 2, 3, 4)]
    append(path, *lines[:read])
    first = following(path, begin="oldest")
    found = numbers(first)
    positions = first.noted()
    append(path, *lines[read:])
    found += numbers(following(path, positions))
    assert found == [1, 2, 3, 4]


def test_what_was_given_again_is_known_across_a_rotation(path, following):
    append(path, sent(1), sent(2))
    watched = following(path, begin="oldest")
    found = numbers(watched)
    path.rename(path.with_name("kern.log.1"))
    append(path, sent(2), sent(3))
    found += numbers(watched)
    assert found == [1, 2, 3]


def test_what_was_given_again_is_known_in_the_compressed_parts_before(path, following):
    path.with_name("kern.log.2.gz").write_bytes(gzip.compress(sent(1) + sent(2)))
    path.with_name("kern.log.1.gz").write_bytes(gzip.compress(sent(3)))
    append(path, sent(2), sent(4))
    assert numbers(following(path)) == [4]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([sent(1), sent(1, host="pc8")], id="another machine's"),
        pytest.param([sent(1), sent(1, second=2)], id="at another time"),
        pytest.param([sent(2), sent(1)], id="when a clock was put back"),
        pytest.param([line(1), line(1)], id="in a log of the machine's own"),
        pytest.param(
            [b"2026-11-28T10:00:00.000001+00:00 pc7 kernel: open[1]\n"] * 2,
            id="without the kernel's stamp",
        ),
    ],
)
def test_lines_that_only_look_alike_are_all_read(path, following, lines):
    append(path, *lines)
    watched = following(path, begin="oldest")
    assert sum(map(len, iter(watched.drain, []))) == 2
