"""Whatever ends a watch, and wherever: started again, each run is stored once."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_files import lack
from store_samples import log_of

from logtrace.engine import Engine
from logtrace.errors import StoreError
from logtrace.record import Loss, parse_kmsg
from logtrace.runs import RunAssembler
from logtrace.source.kmsg import KmsgSource
from logtrace.store import Position, Store
from logtrace.watch import Watch

TORTURE = Path(__file__).parent / "torture"
HOST = "lab01"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def runs(store):
    return Engine(store).rows("runs", order="boot_id, first_seq")


def losses(store):
    columns = ["boot_id", "first_seq", "last_seq", "records", "reason"]
    return Engine(store).rows("losses", order="boot_id, first_seq")[columns].values.tolist()


# Killed, or refused, at each step


@pytest.fixture(scope="session")
def steps(tmp_path_factory):
    """Tries the steps in which a watch changes its store, and gives what that prints."""
    if shutil.which("gcc") is None:
        lack("gcc is not installed (apt-get install gcc)")
    library = tmp_path_factory.mktemp("steps") / "steps.so"
    options = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *options, "-o", library, TORTURE / "steps.c", "-ldl"], check=True)

    def try_steps(how, folder, every):
        return subprocess.run(
            [sys.executable, TORTURE / "steps.py", how, folder, str(every)],
            env=os.environ | {"LD_PRELOAD": str(library)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # delta-rs shows where its own threads stopped
            text=True,
        )

    return try_steps


# Some of the steps; torture/steps.py tries any share of them.
@pytest.mark.parametrize("how", ["kill", "fail"])
def test_at_whatever_step_it_is_stopped_each_row_is_stored_once(steps, tmp_path, how):
    done = steps(how, tmp_path, every=31)
    first, *wrong = done.stdout.splitlines()
    assert wrong == []
    assert done.returncode == 0
    assert int(first.split()[0]) > 200, "the steps were not counted"


# The ring buffer, and what became of it meanwhile


class Ring:
    """A FIFO in place of /dev/kmsg; a read gives one record, or EPIPE where some were lost."""

    def __init__(self, path, monkeypatch):
        self.path = path
        self.texts = []
        self.first = 0
        os.mkfifo(path)
        self.keep = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.place = None
        self.real_read = os.read
        monkeypatch.setattr(os, "read", self.read)

    def write(self, text):
        self.texts += [line.partition("] ")[2] for line in text.splitlines()]

    def overwrite(self, count):
        """Only the newest records are left."""
        self.first = len(self.texts) - count

    def reboot(self):
        self.texts, self.first = [], 0

    def open(self, boot, position):
        self.place = self.first
        self.source = KmsgSource(
            boot,
            resume_after=position.resume_after,
            seen=position.seen,
            path=self.path,
            now=NOW.timestamp,
            uptime=lambda: 1000.0,
        )
        return self.source

    def read(self, descriptor, size):
        if not os.path.samestat(os.fstat(descriptor), self.path.stat()):
            return self.real_read(descriptor, size)
        if self.place < self.first:
            self.place = self.first
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        if self.place == len(self.texts):
            raise BlockingIOError(errno.EAGAIN, "nothing more")
        self.place += 1
        return f"6,{self.place - 1},{self.place * 1000},-;{self.texts[self.place - 1]}\n".encode()


@pytest.fixture
def ring(tmp_path, monkeypatch):
    ring = Ring(tmp_path / "kmsg", monkeypatch)
    yield ring
    os.close(ring.keep)


def watch_once(store, ring, boot="b1"):
    tables = store.host(HOST)
    position = tables.position(f"kmsg:{boot}") or Position(-1, -1)
    with (
        closing(ring.open(boot, position)) as source,
        closing(Watch(store.host, HOST, [source], positions=store.positions())) as watch,
    ):
        watch.drain()


def test_after_a_reboot_numbers_begin_anew_and_nothing_is_taken_for_old(store, ring):
    ring.write(log_of(1, 2, 3))
    watch_once(store, ring)
    ring.reboot()
    ring.write(log_of(4))
    watch_once(store, ring, boot="b2")
    ring.write(log_of(5))
    watch_once(store, ring, boot="b2")
    assert runs(store)[["boot_id", "pid", "first_seq"]].values.tolist() == [
        ["b1", 1, 0],
        ["b1", 2, 4],
        ["b1", 3, 8],
        ["b2", 4, 0],
        ["b2", 5, 4],
    ]
    assert losses(store) == []


def test_a_run_that_was_under_way_at_a_reboot_is_a_loss_once(store, ring):
    ring.write(log_of(1) + "".join(log_of(2).splitlines(keepends=True)[:2]))
    watch_once(store, ring)
    ring.reboot()
    ring.write(log_of(3))
    for _ in range(2):
        watch_once(store, ring, boot="b2")
    assert runs(store)[["boot_id", "pid"]].values.tolist() == [["b1", 1], ["b2", 3]]
    assert repr(losses(store)) == repr([["b1", 6, 6, pd.NA, "rebooted"]])


def test_what_was_overwritten_meanwhile_is_a_loss_with_its_exact_count(store, ring):
    ring.write(log_of(1, 2))
    watch_once(store, ring)
    ring.write(log_of(*range(3, 102)))
    ring.overwrite(6)
    for _ in range(2):
        watch_once(store, ring)
    assert losses(store) == [["b1", 8, 397, 390, "overrun"]]
    whole = runs(store)
    assert whole[whole["status"] == "complete"]["pid"].tolist() == [1, 2, 101]
    assert whole[whole["status"] != "complete"]["last_seq"].tolist() == [399]


def test_the_lines_of_an_open_run_that_were_overwritten_are_no_second_loss(store, ring):
    ring.write("".join(log_of(1).splitlines(keepends=True)[:2]))
    watch_once(store, ring)
    ring.write("".join(log_of(1).splitlines(keepends=True)[2:]) + log_of(2))
    ring.overwrite(6)
    watch_once(store, ring)
    assert losses(store) == []
    assert runs(store)["status"].tolist() == ["no_start", "complete"]


def test_what_was_lost_while_it_was_read_is_told_once_however_often_it_is_read(store, ring):
    ring.write(log_of(1, 2, 3))
    watch_once(store, ring)
    ring.write("usb 1-1] new device\n" * 50 + log_of(4))
    ring.overwrite(10)
    for _ in range(3):
        watch_once(store, ring)
        ring.write("[1] usb 1-1: new device\n")
    assert losses(store) == [["b1", 12, 55, 44, "overrun"]]
    assert runs(store)["pid"].tolist() == [1, 2, 3, 4]


def stream_with_losses(runs, lost):
    """The items of a log of which some records, by their number, were overwritten."""
    texts = [line.partition("] ")[2] for line in log_of(*[7] * runs).splitlines()]
    item = None
    for seq, text in enumerate(texts):
        if seq not in lost:
            if item:
                yield item
            item = None
            line = f"6,{seq},{seq * 1000},-;{text}\n".encode()
            yield parse_kmsg(line, boot_id="b1", at=NOW, clock="received")
        elif item:
            item = replace(item, last_seq=seq, records=item.records + 1)
        else:
            item = Loss("kmsg", "b1", seq, seq, 1, "overrun", NOW)
    if item:
        yield item


@given(st.sets(st.integers(0, 39)))
def test_a_run_of_a_stream_is_whole_unless_a_line_of_it_was_lost(lost):
    assembler = RunAssembler(HOST)
    rows = assembler.feed(stream_with_losses(10, lost))
    rows.add(assembler.finish())
    whole = {row["first_seq"] for row in rows.runs if row["status"] == "complete"}
    assert whole == {seq for seq in range(0, 40, 4) if not lost & set(range(seq, seq + 4))}


# A store that is away


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def mounted(*arguments):
    if os.geteuid():
        lack("only root may mount (run the tests as root)")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        lack(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted("-t", "tmpfs", "-o", "size=16M", "logtrace-test", str(place))
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk):
    free = shutil.disk_usage(disk).free
    with (disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, free)


def free(disk):
    (disk / "ballast").unlink()


def set_read_only(disk):
    mounted("-o", "remount,ro", str(disk))


def set_writable(disk):
    mounted("-o", "remount,rw", str(disk))


@contextmanager
def following(store, ring, monkeypatch):
    """Follow the ring buffer in a thread; stores, and tries again, almost at once."""
    monkeypatch.setattr("logtrace.watch._COMMIT_AFTER_S", 0.01)
    monkeypatch.setattr("logtrace.watch._RETRY_AFTER_S", 0.05)
    positions = store.positions()
    position = positions.of("kmsg:b1").get(HOST, Position(-1, -1))
    with (
        closing(ring.open("b1", position)) as source,
        closing(Watch(store.host, HOST, [source], positions=positions)) as watch,
    ):
        thread = threading.Thread(target=watch.follow)
        thread.start()
        try:
            yield watch
        finally:
            watch.stop()
            thread.join()


@pytest.mark.parametrize(
    ("spoil", "mend", "why"),
    [(fill, free, "No space left"), (set_read_only, set_writable, "Read-only file system")],
)
def test_a_disk_that_can_not_be_written_for_a_while_has_every_run_once(
    disk, ring, monkeypatch, spoil, mend, why
):
    store = Store(str(disk / "store"))
    ring.write(log_of(1))
    watch_once(store, ring)
    spoil(disk)
    ring.write(log_of(2))
    with pytest.raises(StoreError, match=why):
        watch_once(store, ring)
    ring.write(log_of(3))
    with following(store, ring, monkeypatch) as watch:
        os.write(ring.keep, b"!")
        wait_for(lambda: why in (watch.progress.trouble or ""))
        mend(disk)
        wait_for(lambda: watch.progress.trouble is None)
    assert runs(store)["pid"].tolist() == [1, 2, 3]
    assert losses(store) == []


@pytest.fixture
def mount(tmp_path):
    """A folder that is mounted elsewhere, and its mount point."""
    kept, place = tmp_path / "kept", tmp_path / "place"
    kept.mkdir()
    place.mkdir()
    mounted("--bind", str(kept), str(place))
    yield kept, place
    subprocess.run(["umount", place], check=True)


# At the mount point itself there is still a folder, and an empty one.
@pytest.mark.parametrize("name", ["", "store"])
def test_a_store_whose_disk_is_unmounted_for_a_while_has_every_run_once(
    mount, ring, monkeypatch, name
):
    kept, place = mount
    store = Store(str(place / name))
    ring.write(log_of(1))
    watch_once(store, ring)
    with following(store, ring, monkeypatch) as watch:
        subprocess.run(["umount", place], check=True)
        ring.write(log_of(2))
        os.write(ring.keep, b"!")
        wait_for(lambda: "is not there any more" in (watch.progress.trouble or ""))
        assert os.listdir(place) == []
        mounted("--bind", str(kept), str(place))
        wait_for(lambda: watch.progress.trouble is None)
    assert runs(store)["pid"].tolist() == [1, 2]
    assert losses(store) == []


def test_a_store_that_is_moved_away_and_back_has_every_run_once(store, ring, monkeypatch):
    away = store.root.with_name("away")
    with following(store, ring, monkeypatch) as watch:
        for pid in (1, 3):
            ring.write(log_of(pid))
            os.write(ring.keep, b"!")
            wait_for(lambda: watch.progress.runs and watch.progress.trouble is None)
            wait_for(lambda pid=pid: store.root.exists() and pid in set(runs(store)["pid"]))
            store.root.rename(away)
            ring.write(log_of(pid + 1))
            os.write(ring.keep, b"!")
            wait_for(lambda: "is not there any more" in (watch.progress.trouble or ""))
            assert not store.root.exists()
            away.rename(store.root)
            wait_for(lambda: watch.progress.trouble is None)
    assert runs(store)["pid"].tolist() == [1, 2, 3, 4]
    assert losses(store) == []


# Everything at once


def test_killed_over_and_over_while_all_goes_wrong_the_store_equals_the_truth(tmp_path):
    command = [sys.executable, TORTURE / "torture.py", "--kills", "12", "--seed", "1"]
    done = subprocess.run(
        [*command, "--folder", tmp_path / "torture"], stdout=subprocess.PIPE, text=True
    )
    last = done.stdout.splitlines()[-1]
    assert last.endswith(" + lost 0 (counted 0): equal"), done.stdout
    assert done.returncode == 0
    assert not last.startswith("truth 0 ")
