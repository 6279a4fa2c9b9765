import errno
import os
import socket
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from logtrace import schema
from logtrace.errors import SourceError
from logtrace.modules import ModuleMonitor

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


class FakeEvents:
    """What pyudev's monitor shows: a descriptor, and a device an event."""

    def __init__(self):
        self.reader, self.writer = socket.socketpair()
        self.queue = []

    def fileno(self):
        return self.reader.fileno()

    def poll(self, timeout):
        assert timeout == 0
        event = self.queue.pop(0) if self.queue else None
        if isinstance(event, OSError):
            raise event
        return event

    def push(self, action, name, number):
        properties = {"SEQNUM": str(number)}
        self.queue.append(SimpleNamespace(action=action, sys_name=name, properties=properties))


class Sys:
    """The part of sysfs that tells of modules."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "module").mkdir()
        (folder / "kernel").mkdir()
        self.number(100)

    def number(self, number):
        (self.folder / "kernel" / "uevent_seqnum").write_text(f"{number}\n")

    def load(self, *names):
        for name in names:
            (self.folder / "module" / name).mkdir()

    def unload(self, name):
        (self.folder / "module" / name).rmdir()


@pytest.fixture
def sys(tmp_path):
    return Sys(tmp_path)


@pytest.fixture
def events():
    events = FakeEvents()
    yield events
    events.reader.close()
    events.writer.close()


@pytest.fixture
def monitor(sys, events):
    sys.load("ftracehooking")
    return ModuleMonitor("lab01", "b", sys=sys.folder, now=lambda: NOW, events=lambda: events)


def told(rows):
    return [(row["action"], row["module"]) for row in rows]


def test_modules_that_are_loaded_at_the_start_are_present(monitor):
    assert told(monitor.present()) == [("present", "ftracehooking")]
    assert monitor.loaded == {"ftracehooking"}
    assert monitor.seq == 100


def test_a_row_has_the_columns_of_the_table(monitor):
    (row,) = monitor.present()
    assert set(row) == set(schema.TRACER.names)
    assert (row["host"], row["boot_id"], row["at"]) == ("lab01", "b", NOW)
    assert row["kernel"] == os.uname().release


def test_modules_that_come_and_go_are_told_in_order(monitor, events):
    events.push("add", "iotracehooking", 101)
    events.push("remove", "iotracehooking", 103)
    events.push("remove", "ftracehooking", 104)
    assert told(monitor.drain()) == [
        ("add", "iotracehooking"),
        ("remove", "iotracehooking"),
        ("remove", "ftracehooking"),
    ]
    assert monitor.loaded == set()
    assert monitor.seq == 104
    assert monitor.drain() == []


def test_events_of_other_modules_and_other_kinds_are_no_rows(monitor, events):
    events.push("add", "usb_storage", 101)
    events.push("change", "ftracehooking", 102)
    assert monitor.drain() == []
    assert monitor.seq == 102


def test_what_lost_events_would_have_told_is_looked_up(monitor, events, sys):
    events.push("add", "os_ftracehooking", 101)
    events.queue.append(OSError(errno.ENOBUFS, "No buffer space available"))
    loaded = monitor.loaded
    sys.load("os_ftracehooking", "iotracehooking")
    sys.unload("ftracehooking")
    sys.number(900)
    assert sorted(told(monitor.drain())) == [
        ("add", "iotracehooking"),
        ("add", "os_ftracehooking"),
        ("remove", "ftracehooking"),
    ]
    assert monitor.loaded is loaded == {"os_ftracehooking", "iotracehooking"}
    assert monitor.seq == 900


def test_where_events_cannot_be_had_it_is_said(sys):
    def refused():
        raise OSError(errno.EPERM, "Operation not permitted")

    with pytest.raises(SourceError, match="not permitted"):
        ModuleMonitor("h", "b", sys=sys.folder, events=refused)
    with pytest.raises(SourceError, match="uevent_seqnum"):
        ModuleMonitor("h", "b", sys=sys.folder / "nowhere", events=FakeEvents)


def test_without_libudev_the_remedy_is_named(sys):
    def missing():
        raise ImportError("No library named udev")

    with pytest.raises(SourceError) as caught:
        ModuleMonitor("h", "b", sys=sys.folder, events=missing)
    assert "libudev1" in caught.value.remedy


def test_this_machines_events_can_be_followed_and_let_go_of():
    before = set(os.listdir("/proc/self/fd"))
    try:
        monitor = ModuleMonitor("h", "b")
    except SourceError as error:
        pytest.skip(f"no module events here: {error}")
    assert str(monitor.fileno()) in os.listdir("/proc/self/fd")
    assert monitor.drain() == []
    monitor.close()
    assert set(os.listdir("/proc/self/fd")) == before
