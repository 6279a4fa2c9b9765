import errno
import os
import shutil
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

    def load(self, *names, **told):
        for name in names:
            (self.folder / "module" / name).mkdir()
            for file, text in told.items():
                (self.folder / "module" / name / file).write_text(f"{text}\n")

    def unload(self, name):
        shutil.rmtree(self.folder / "module" / name)


class Clock:
    def __init__(self):
        self.us = 100_000_000

    def __call__(self):
        return self.us


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
def clock():
    return Clock()


@pytest.fixture
def monitor(sys, events, clock):
    sys.load("ftracehooking", version="1.2", srcversion="ABC")
    return ModuleMonitor(
        "lab01",
        "b",
        sys=sys.folder,
        now=lambda: NOW,
        uptime_us=clock,
        events=lambda: events,
    )


def told(rows):
    return [(row["action"], row["module"]) for row in rows]


def test_a_watch_begins_with_the_modules_that_are_present_and_ends(monitor):
    assert told(monitor.begin()) == [("begin", None), ("present", "ftracehooking")]
    assert told(monitor.end()) == [("end", None)]
    assert monitor.loaded == {"ftracehooking"}


def test_a_row_has_the_columns_of_the_table(monitor):
    _, row = monitor.begin()
    assert row == {
        "host": "lab01",
        "boot_id": "b",
        "at": NOW,
        "module": "ftracehooking",
        "action": "present",
        "kernel": os.uname().release,
        "version": "1.2",
        "srcversion": "ABC",
        "watch": 100_000_000,
    }
    assert set(row) == set(schema.TRACER.names)


def test_of_a_module_without_version_or_that_has_gone_none_is_told(monitor, events, sys):
    sys.load("iotracehooking")
    events.push("add", "iotracehooking", 101)
    sys.unload("ftracehooking")
    events.push("remove", "ftracehooking", 102)
    assert [(row["version"], row["srcversion"]) for row in monitor.drain()] == [(None, None)] * 2


def test_rows_are_numbered_by_the_clock_of_the_kernel_and_never_alike(monitor, clock):
    monitor.begin()
    assert monitor.seq == 100_000_002
    clock.us += 5_000_000
    monitor.end()
    assert monitor.seq == 105_000_000


def test_watches_of_one_boot_have_names_of_their_own(monitor, sys, events):
    other = ModuleMonitor("lab01", "b", sys=sys.folder, uptime_us=lambda: 7, events=lambda: events)
    assert {monitor.name, other.name} == {"modules:b:100000000", "modules:b:7"}


def test_that_it_is_alive_is_told_after_ten_minutes_without_a_row(monitor, events, clock):
    monitor.begin()
    assert monitor.alive() == []
    clock.us += 400_000_000
    events.push("add", "iotracehooking", 101)
    monitor.drain()
    clock.us += 400_000_000
    assert monitor.alive() == []
    clock.us += 200_000_000
    assert told(monitor.alive()) == [("alive", None)]
    assert monitor.alive() == []


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
    assert monitor.drain() == []


def test_events_of_other_modules_and_other_kinds_are_no_rows(monitor, events):
    events.push("add", "usb_storage", 101)
    events.push("change", "ftracehooking", 102)
    assert monitor.drain() == []


def test_what_lost_events_would_have_told_is_looked_up(monitor, events, sys):
    events.push("add", "os_ftracehooking", 101)
    events.queue.append(OSError(errno.ENOBUFS, "No buffer space available"))
    loaded = monitor.loaded
    sys.load("os_ftracehooking", "iotracehooking")
    sys.unload("ftracehooking")
    assert sorted(told(monitor.drain())) == [
        ("add", "iotracehooking"),
        ("add", "os_ftracehooking"),
        ("remove", "ftracehooking"),
    ]
    assert monitor.loaded is loaded == {"os_ftracehooking", "iotracehooking"}


def test_where_events_cannot_be_had_it_is_said(sys):
    def refused():
        raise OSError(errno.EPERM, "Operation not permitted")

    with pytest.raises(SourceError, match="not permitted"):
        ModuleMonitor("h", "b", sys=sys.folder, events=refused)


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
