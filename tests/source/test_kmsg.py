import errno
import os
import selectors
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logtrace.errors import SourceError
from logtrace.record import Loss, Record
from logtrace.source import boot_id, kmsg
from logtrace.source.kmsg import KmsgSource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UPTIME = 1000.0


class Ring:
    """What reads of /dev/kmsg give: a number is a record, an exception is raised."""

    def __init__(self, *reads):
        self.reads = list(reads)

    def read(self, descriptor, size):
        assert size >= 8192
        if not self.reads:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        item = self.reads.pop(0)
        if isinstance(item, Exception):
            raise item
        return b"6,%d,%d,-;text %d\n" % (item, item * 1_000_000, item)


OVERRUN = BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.fixture
def opened(monkeypatch):
    """Give a function that makes a source over a ring of the given reads."""
    sources = []
    read_end, write_end = os.pipe()
    path = Path(f"/proc/self/fd/{read_end}")

    def make(*reads, **options):
        ring = Ring(*reads)
        monkeypatch.setattr(kmsg.os, "read", ring.read)
        source = KmsgSource("b1", path=path, now=NOW.timestamp, uptime=lambda: UPTIME, **options)
        sources.append(source)
        return source, ring

    yield make
    for source in sources:
        source.close()
    os.close(read_end)
    os.close(write_end)


def brief(items):
    """Write records as their numbers, losses as (first, last, reason)."""
    return [
        (item.first_seq, item.last_seq, item.reason) if isinstance(item, Loss) else item.seq
        for item in items
    ]


def test_a_read_is_a_record():
    """Over a pipe that keeps packets apart, as the device keeps records."""
    read_end, write_end = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    source = KmsgSource("b1", path=Path(f"/proc/self/fd/{read_end}"), now=NOW.timestamp)
    try:
        os.write(write_end, b"6,0,10,-;one\n")
        os.write(write_end, b"6,1,20,-;two\\x0alines\n SUBSYSTEM=scsi\n")
        assert [record.text for record in source.drain()] == ["one", "two\nlines"]
        assert source.position == 1
        os.write(write_end, b"6,2,30,-,caller=T7;three\n")
        assert source.drain() == [
            Record("kmsg", "b1", 2, 30, 0, 6, "T7", "three", at=NOW, clock="received")
        ]
        assert source.drain() == []
    finally:
        source.close()
        os.close(read_end)
        os.close(write_end)


def test_the_name_of_the_source_is_that_of_the_boot(opened):
    source, _ = opened()
    assert source.name == "kmsg:b1"
    assert source.position == -1


def test_the_backlog_is_placed_by_the_clock_of_the_kernel_and_later_records_by_receipt(opened):
    source, ring = opened(0, 1)
    backlog = source.drain()
    ring.reads = [2]
    live = source.drain()
    assert [(record.at, record.clock) for record in backlog] == [
        (NOW - timedelta(seconds=1000), "boot"),
        (NOW - timedelta(seconds=999), "boot"),
    ]
    assert [(record.at, record.clock) for record in live] == [(NOW, "received")]


def test_a_backlog_that_takes_several_drains_is_all_backlog(opened, monkeypatch):
    monkeypatch.setattr(kmsg, "_AT_ONCE", 2)
    source, _ = opened(0, 1, 2, 3)
    items = source.drain() + source.drain()
    assert brief(items) == [0, 1, 2, 3]
    assert {record.clock for record in items} == {"boot"}


def test_an_overrun_is_a_loss_of_the_records_between(opened):
    source, _ = opened(0, 1, OVERRUN, 5, 6)
    items = source.drain()
    assert brief(items) == [0, 1, (2, 4, "overrun"), 5, 6]
    assert items[2] == Loss("kmsg", "b1", 2, 4, 3, "overrun", NOW)


def test_an_overrun_between_two_drains_is_a_loss_too(opened):
    source, ring = opened(0, 1)
    source.drain()
    ring.reads = [OVERRUN]
    assert source.drain() == []
    ring.reads = [9]
    assert brief(source.drain()) == [(2, 8, "overrun"), 9]


def test_an_overrun_of_nothing_is_no_loss(opened):
    source, _ = opened(0, OVERRUN, 1)
    assert brief(source.drain()) == [0, 1]


def test_missing_numbers_without_an_overrun_are_a_gap(opened):
    source, _ = opened(0, 3)
    assert brief(source.drain()) == [0, (1, 2, "gap"), 3]


def test_what_was_overwritten_before_the_first_record_is_a_loss(opened):
    source, _ = opened(40, 41)
    assert brief(source.drain()) == [(0, 39, "overrun"), 40, 41]


def test_reading_goes_on_behind_what_was_stored(opened):
    source, _ = opened(0, 1, 2, 3, 4, resume_after=2, seen=2)
    assert brief(source.drain()) == [3, 4]


def test_records_of_open_runs_are_read_again(opened):
    source, _ = opened(0, 1, 2, 3, 4, 5, resume_after=1, seen=4)
    assert brief(source.drain()) == [2, 3, 4, 5]


def test_records_that_were_seen_before_are_no_loss_if_they_are_gone(opened):
    source, _ = opened(4, 5, 6, resume_after=1, seen=5)
    assert brief(source.drain()) == [4, 5, 6]


def test_only_what_was_not_seen_before_is_lost(opened):
    source, _ = opened(9, resume_after=1, seen=5)
    assert brief(source.drain()) == [(6, 8, "overrun"), 9]


def test_a_gap_among_records_that_are_read_again_is_told_again(opened):
    source, _ = opened(0, 1, 2, OVERRUN, 5, 6, resume_after=1, seen=5)
    assert brief(source.drain()) == [2, (3, 4, "overrun"), 5, 6]


def test_a_gap_before_the_records_that_are_needed_is_not_told_again(opened):
    source, _ = opened(0, 3, 6, 7, resume_after=4, seen=6)
    assert brief(source.drain()) == [(5, 5, "gap"), 6, 7]


def test_a_gap_across_what_was_seen_is_told_in_two_parts(opened):
    source, _ = opened(2, 9, resume_after=1, seen=5)
    assert brief(source.drain()) == [2, (3, 5, "gap"), (6, 8, "gap"), 9]


def test_only_new_records_are_read_if_so_wanted(opened, monkeypatch):
    sought = []
    monkeypatch.setattr(kmsg.os, "lseek", lambda *arguments: sought.append(arguments[1:]))
    source, _ = opened(700, 701, only_new=True)
    items = source.drain()
    assert sought == [(0, os.SEEK_END)]
    assert brief(items) == [700, 701]
    assert {record.clock for record in items} == {"received"}


def test_records_are_read_before_any_is_parsed(opened, monkeypatch):
    source, ring = opened(0, 1, 2)
    parse = kmsg.parse_kmsg

    def parse_late(*arguments, **options):
        assert ring.reads == []
        return parse(*arguments, **options)

    monkeypatch.setattr(kmsg, "parse_kmsg", parse_late)
    assert len(source.drain()) == 3


def is_ready(source):
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        return bool(selector.select(0))


def test_a_burst_is_read_at_once_and_given_piece_by_piece(opened, monkeypatch):
    monkeypatch.setattr(kmsg, "_AT_ONCE", 3)
    source, ring = opened(*range(7))
    given = []
    while not given or is_ready(source):
        given.append(brief(source.drain()))
        assert ring.reads == []
    assert given == [[0, 1, 2], [3, 4, 5], [6]]
    assert source.drain() == []


def test_what_comes_while_records_wait_is_read_before_these_are_given(opened, monkeypatch):
    monkeypatch.setattr(kmsg, "_AT_ONCE", 2)
    source, ring = opened(0, 1, 2, 3)
    source.drain()
    ring.reads = [4, OVERRUN, 7]
    assert brief(source.drain()) == [2, 3]
    assert ring.reads == []
    assert brief(source.drain()) == [4, (5, 6, "overrun"), 7]


def test_more_records_than_may_wait_are_left_to_the_kernel(opened, monkeypatch):
    monkeypatch.setattr(kmsg, "_AT_ONCE", 2)
    monkeypatch.setattr(kmsg, "_MOST_WAITING", 4)
    source, ring = opened(*range(9))
    assert brief(source.drain()) == [0, 1]
    assert len(ring.reads) == 5
    assert [brief(source.drain()) for _ in range(4)] == [[2, 3], [4, 5], [6, 7], [8]]


def test_what_was_read_before_a_failing_read_is_given_first(opened):
    source, _ = opened(0, 1, OSError(errno.EINVAL, "Invalid argument"))
    assert brief(source.drain()) == [0, 1]


def test_a_device_that_may_not_be_read_is_told_with_the_remedy(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(kmsg.os, "open", refuse)
    with pytest.raises(SourceError, match="/dev/kmsg: permission denied") as raised:
        KmsgSource("b1")
    assert "CAP_SYSLOG" in raised.value.remedy
    assert "kernel.dmesg_restrict" in raised.value.remedy


def test_a_device_that_is_not_there_is_told_with_its_path(tmp_path):
    with pytest.raises(SourceError, match="none: No such file or directory"):
        KmsgSource("b1", path=tmp_path / "none")


def test_a_failing_read_is_told_with_the_record_before_it(opened):
    source, ring = opened(41)
    source.drain()
    ring.reads = [OSError(errno.EINVAL, "Invalid argument")]
    with pytest.raises(SourceError, match="Invalid argument behind record 41"):
        source.drain()


def test_the_boot_id_is_that_of_the_kernel(tmp_path):
    (tmp_path / "boot_id").write_text("0f9ea3b5-1c2d-4e5f-8a9b-000000000001\n")
    assert boot_id(tmp_path / "boot_id") == "0f9ea3b5-1c2d-4e5f-8a9b-000000000001"


def test_the_log_of_this_machine_can_be_read():
    try:
        source = KmsgSource(boot_id())
    except SourceError as error:
        pytest.skip(str(error))
    try:
        items = source.drain()
    finally:
        source.close()
    if not items:
        pytest.skip("/dev/kmsg is empty: this machine hides its kernel's log")
    records = [item for item in items if isinstance(item, Record)]
    numbers = [record.seq for record in records]
    assert numbers == sorted(set(numbers))
    assert source.position == numbers[-1]
    assert all(record.boot_id == boot_id() for record in records)
    assert all(record.at is not None and record.usec is not None for record in records)
