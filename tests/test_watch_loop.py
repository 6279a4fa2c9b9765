import itertools
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_samples import REPORTS
from report_samples import tracer_row
from store_samples import CONTRACT, detailed_log_of, log_of

from logtrace import watch as watch_module
from logtrace.engine import Engine
from logtrace.errors import SourceError, StoreError
from logtrace.positions import Position, Positions
from logtrace.record import Loss, parse_line
from logtrace.runs import Rows
from logtrace.source.folder import FileTree, Layout
from logtrace.source.follow import Beginning
from logtrace.store import Store
from logtrace.watch import Watch

PATIENCE_S = 20


def records(text, first=0, source="kmsg"):
    lines = enumerate(text.splitlines(), first)
    return [parse_line(line.encode(), source=source, seq=number) for number, line in lines]


class FakeSource:
    """A source at the seam: what is pushed can be drained, and the descriptor tells of it."""

    def __init__(self, name="kmsg:b"):
        self.name = name
        self.waiting = []
        self.read_end, self.write_end = os.pipe()

    def push(self, items, name=None):
        if not items:
            return
        self.waiting.append((items, name or self.name))
        os.write(self.write_end, b"!")

    def fileno(self):
        return self.read_end

    @property
    def position(self):
        raise AssertionError("what was drained says how far it reaches")

    def drain(self):
        if not self.waiting:
            return []
        os.read(self.read_end, 1)
        items, self.name = self.waiting.pop(0)
        if isinstance(items, Exception):
            raise items
        return items

    def close(self):
        os.close(self.read_end)
        os.close(self.write_end)


class FakeModules:
    """Module events at the seam."""

    name = "modules:b"
    seq = 5
    watch = 5
    silent_for_long = False

    def __init__(self):
        self.loaded = {"ftracehooking"}
        self.reader, self.writer = os.pipe()
        self.events = []

    def fileno(self):
        return self.reader

    def begin(self):
        return [self._row("begin", None), self._row("present", "ftracehooking")]

    def alive(self):
        silent, self.silent_for_long = self.silent_for_long, False
        return [self._row("alive", None)] if silent else []

    def end(self):
        return [self._row("end", None)]

    def _row(self, action, module):
        self.seq += 1
        return tracer_row(at=datetime.fromtimestamp(self.seq, UTC), action=action, module=module)

    def push(self, number):
        self.events.append(number)
        os.write(self.writer, b"!")

    def drain(self):
        os.read(self.reader, 1)
        self.events.pop(0)
        self.loaded.add("iotracehooking")
        return [self._row("add", "iotracehooking")]

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def source():
    with closing(FakeSource()) as source:
        yield source


def rows(store, table="runs"):
    return Engine(store).rows(table, order='"at"' if table == "tracer" else "first_seq")


def pids(store):
    return sorted(rows(store)["pid"])


def watching(store, *sources, modules=None, show=None, tables=None):
    watch = Watch(
        store.host if tables is None else lambda _host: tables,
        "lab01",
        sources,
        modules,
        show or (lambda progress: None),
        positions=(store or tables).positions(),
    )
    return closing(watch)


def drained(store, *sources):
    with watching(store, *sources) as watch:
        watch.drain()
        return watch.progress


def test_a_fault_that_the_kernel_reports_is_stored_with_the_run_that_it_hit(store, source):
    start, *rest = log_of(214, second=1).splitlines(keepends=True)
    lines = [*REPORTS["null dereference"][0], *REPORTS["out-of-tree"][0]]
    source.push(records("".join([start, *(f"[    1.000001] {line}\n" for line in lines), *rest])))
    drained(store, source)
    (run,) = rows(store)["run_id"]
    incidents = rows(store, "hits")
    assert list(incidents["type"]) == ["page_fault", "taint"]
    assert list(incidents["run_id"].fillna("none")) == [run, "none"]


def follow_until(done, store, *sources, **options):
    """Follow until `done` holds of the progress, asked after each change."""

    def show(progress):
        seen.append(SimpleNamespace(**vars(progress)))
        if done(progress):
            watch.stop()

    seen = []
    with watching(store, *sources, show=show, **options) as watch:
        watch.follow()
    return seen


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


# At the seam


def test_what_a_source_gives_is_shown_and_stored(store, source):
    source.push(records(CONTRACT))
    seen = follow_until(lambda progress: progress.runs == 1, store, source)
    assert [(run["pid"], run["status"]) for run in seen[1].latest] == [(47283, "complete")]
    assert (seen[1].records, seen[1].losses, seen[1].lost_records) == (4, 0, 0)
    assert pids(store) == [47283]


def test_a_watch_is_shown_four_times_a_second_however_often_something_comes(store, source):
    def push():
        for number in range(150):
            source.push(records(log_of(214), first=4 * number))
            time.sleep(0.02)

    shown = []
    with watching(store, source, show=lambda progress: shown.append(progress.runs)) as watch:
        pusher = threading.Thread(target=lambda: (push(), watch.stop()))
        begun = time.monotonic()
        pusher.start()
        watch.follow()
        seconds = time.monotonic() - begun
        pusher.join()
    assert shown[-1] == 150
    assert len(shown) <= 4 * seconds + 4 + 2  # at its beginning and at its end it is shown too


def test_what_comes_close_together_is_shown_together_and_in_order(store, source):
    shown = []

    def show(progress):
        shown.append([run["pid"] for run in progress.latest])
        if sum(map(len, shown)) == 12:
            watch.stop()

    def push():
        for pid in range(1, 13):
            source.push(records(log_of(pid), first=4 * pid))
            time.sleep(0.01)

    with watching(store, source, show=show) as watch:
        pusher = threading.Thread(target=push)
        pusher.start()
        watch.follow()
        pusher.join()
    assert list(itertools.chain(*shown)) == list(range(1, 13))
    assert len([pids for pids in shown if pids]) < 12


def test_a_run_is_durable_while_the_watch_goes_on(store, source):
    with watching(store, source) as watch:
        thread = threading.Thread(target=watch.follow)
        thread.start()
        try:
            source.push(records(CONTRACT))
            wait_for(lambda: store.root.exists() and pids(store) == [47283])
        finally:
            watch.stop()
            thread.join()


def test_runs_under_way_are_shown_with_their_start(store, source):
    start, *_ = batch = records(CONTRACT)
    source.push(batch[:2])

    def ended(progress):
        if progress.open_runs:
            source.push(batch[2:])
        return progress.runs

    seen = follow_until(ended, store, source)
    assert seen[1].open_runs == [(47283, start)]
    assert seen[-1].open_runs == []


def test_latest_runs_are_only_those_that_were_not_shown_before(store, source):
    log = records(log_of(1, 2))
    source.push(log[:4])

    def both(progress):
        if progress.runs == 1:
            source.push(log[4:])
        return progress.runs == 2

    seen = follow_until(both, store, source)
    shown = [[run["pid"] for run in each.latest] for each in seen]
    assert [pids for pids in shown if pids] == [[1], [2]]


def test_what_is_there_is_read_before_anything_is_shown(store, source):
    log = records(log_of(1, 2, 3))
    for number in range(0, 12, 4):
        source.push(log[number : number + 4])
    seen = follow_until(lambda progress: progress.runs, store, source)
    assert [[run["pid"] for run in each.latest] for each in seen[:2]] == [[], [1, 2, 3]]


def test_a_log_that_never_ends_is_shown_all_the_same(store):
    with closing(Endless("kmsg:e")) as endless:
        os.write(endless.write_end, b"!")
        follow_until(lambda progress: progress.records, store, endless)


def test_what_was_found_before_a_source_failed_is_shown(store, source):
    source.push(records(CONTRACT))
    source.push(SourceError("/dev/kmsg: Input/output error"))
    shown = []
    show = lambda progress: shown.extend(run["pid"] for run in progress.latest)  # noqa: E731
    with watching(store, source, show=show) as watch, pytest.raises(SourceError):
        watch.follow()
    assert shown == [47283]


def test_losses_are_counted_and_stored(store, source):
    at = datetime(2026, 11, 23, tzinfo=UTC)
    loss = Loss("kmsg", "b", 10, 16, 7, "overrun", at)
    source.push([loss, *records(CONTRACT, first=17)])
    progress = drained(store, source)
    assert (progress.records, progress.losses, progress.lost_records) == (4, 1, 7)
    assert rows(store, "losses")[["first_seq", "records", "reason"]].values.tolist() == [
        [10, 7, "overrun"]
    ]


def test_sources_are_joined_into_one_store(store):
    with closing(FakeSource("kmsg:b")) as one, closing(FakeSource("file:/log:1")) as other:
        one.push(records(log_of(1)))
        other.push(records(log_of(2), source="/log@1"))
        drained(store, one, other)
    assert pids(store) == [1, 2]
    tables = store.host("lab01")
    assert tables.position("kmsg:b") == tables.position("file:/log:1") == Position(3, 3)


def test_draining_goes_on_until_there_is_nothing(store, source):
    log = records(log_of(*range(1, 8)))
    for number in range(0, 28, 3):
        source.push(log[number : number + 3])
    assert drained(store, source).records == 28
    assert pids(store) == list(range(1, 8))


def test_of_a_long_log_some_is_stored_before_all_is_read(store, source, monkeypatch):
    monkeypatch.setattr(watch_module, "_MANY_ROWS", 2)
    log = records(log_of(*range(1, 8)))
    for number in range(0, 28, 4):
        source.push(log[number : number + 4])
    commits = []
    tables = store.host("lab01")
    append = tables.append

    def counted(*args, **rows):
        commits.append(len(rows["runs"]))
        append(*args, **rows)

    monkeypatch.setattr(tables, "append", counted)
    with watching(store, source, tables=tables) as watch:
        watch.drain()
    assert commits == [2, 2, 2, 1]
    assert pids(store) == list(range(1, 8))


class Endless(FakeSource):
    """A log that always has one more record."""

    count = 0

    def drain(self):
        self.count += 1
        return records("[    1.000000] usb 1-1: chatter\n", first=self.count)


def test_a_long_log_is_read_to_its_end_however_often_it_is_drained(store, source):
    chatter = "[    1.000000] usb 1-1: chatter\n" * 100
    for number in range(1100):
        source.push(records(chatter, first=100 * number))
    source.push(records(CONTRACT, first=10**6))
    assert drained(store, source).runs == 1


def test_a_log_that_never_ends_does_not_keep_a_watch_from_ending(store):
    with closing(Endless()) as endless:
        assert drained(store, endless).records == endless.count


def test_a_log_that_never_ends_does_not_keep_others_waiting(store, source):
    with closing(Endless("kmsg:e")) as endless:
        os.write(endless.write_end, b"!")
        source.push(records(CONTRACT))
        follow_until(lambda progress: progress.runs, store, endless, source)
    assert pids(store) == [47283]


# Exactly once


def test_reading_from_the_beginning_again_stores_nothing_twice(store):
    log = records(log_of(1, 2, 3))
    for upto in (5, 7, 12, 12):
        with closing(FakeSource()) as source:
            source.push(log[:upto])
            drained(store, source)
    assert pids(store) == [1, 2, 3]


def test_a_run_that_was_under_way_is_read_again_and_completed(store):
    log = records(log_of(1, 2))
    with closing(FakeSource()) as source:
        source.push(log[:6])
        drained(store, source)
    position = store.host("lab01").position("kmsg:b")
    assert position == Position(seen=5, resume_after=3)
    with closing(FakeSource()) as source:
        source.push(log[position.resume_after + 1 :])
        drained(store, source)
    assert pids(store) == [1, 2]
    assert set(rows(store)["status"]) == {"complete"}


def test_a_position_that_has_not_moved_is_not_stored_again(store):
    commits = lambda: len(list(store.root.rglob("_delta_log/*.json")))  # noqa: E731
    log = records(CONTRACT)
    for _ in range(3):
        with closing(FakeSource()) as source:
            source.push(log)
            drained(store, source)
        first = locals().get("first", commits())
    assert commits() == first


def test_a_log_read_from_further_back_can_be_followed_on(store):
    log = records(log_of(1, 2, 3))
    with closing(FakeSource()) as source:
        source.push(log[5:6])  # it began in the middle of the second run
        drained(store, source)
    with closing(FakeSource()) as source, watching(store, source) as watch:
        for part in (log[:6], log[6:9], log[9:]):
            source.push(part)
            watch.drain()
    assert pids(store) == [2, 3]
    assert set(rows(store)["status"]) == {"complete"}


def test_of_two_that_begin_to_watch_a_log_at_once_one_is_refused(store):
    log = records(log_of(1, 2, 3))
    with (
        closing(FakeSource()) as one,
        closing(FakeSource()) as other,
        watching(store, one) as first,
        watching(store, other) as second,
    ):
        one.push(log[:8])
        first.drain()
        other.push(log)
        with pytest.raises(StoreError, match="another process stores kmsg:b too"):
            second.drain()
    assert pids(store) == [1, 2]


class Journal:
    """Tables of several machines that note which was written to, and when."""

    def __init__(self):
        self.written = []

    def tables(self, host):
        def append(source, position, *, before, incidents, runs, losses, **rows):
            whose = [row["pid"] for row in runs], sum(row["records"] for row in losses)
            self.written.append((host, position.seen, *whose))

        return SimpleNamespace(append=append, append_tracer=None)


@contextmanager
def watching_machines(*sources):
    """Watch, and give what is written to whose tables: host, position, pids and lost records."""
    journal = Journal()
    watch = Watch(journal.tables, "lab01", sources, positions=Positions())
    with closing(watch):
        yield watch, journal.written


def said_by(host, text, first=0):
    return [item._replace(host=host) for item in records(text, first=first)]


def test_a_machine_that_the_store_does_not_know_is_stored_before_those_that_it_knows(source):
    with watching_machines(source) as (watch, written):
        source.push(said_by("pc1", log_of(1)))
        watch.drain()
        source.push(said_by("pc1", log_of(2), 4) + said_by("pc2", log_of(3), 8))
        watch.drain()
    # a crash between the two must not leave a place behind which the new one is not known
    assert written == [("pc1", 3, [1], 0), ("pc2", 11, [3], 0), ("pc1", 11, [2], 0)]


def test_a_loss_is_one_of_all_machines_that_print_into_the_log(source):
    with watching_machines(source) as (watch, written):
        source.push(said_by("pc1", log_of(1)) + said_by("pc2", log_of(2), 4))
        watch.drain()
        written.clear()
        source.push([Loss("kmsg:b", None, 8, 10, 3, "overrun", datetime(2026, 11, 23, tzinfo=UTC))])
        watch.drain()
    assert sorted(written) == [("pc1", 10, [], 3), ("pc2", 10, [], 3)]


def test_what_no_kernel_printed_makes_no_machine_known(source):
    forged = [item._replace(facility=1) for item in said_by("pc2", log_of(2), 4)]
    with watching_machines(source) as (watch, written):
        source.push(said_by("pc1", log_of(1)) + forged)
        watch.drain()
    assert written == [("pc1", 7, [1], 0)]


@pytest.mark.parametrize(
    ("host", "kept"), [("x" * 200, True), ("x" * 201, False), ("é" * 99, False)]
)
def test_a_name_that_no_folder_can_have_is_no_machines(source, host, kept):
    with watching_machines(source) as (watch, written):
        source.push(said_by(host, log_of(1)))
        watch.drain()
    assert [whose for whose, *_ in written] == [host if kept else "lab01"]


def test_a_machine_that_prints_nothing_more_does_not_keep_a_log_from_going_on(source, monkeypatch):
    monkeypatch.setattr(watch_module, "_LAG", 10)
    with watching_machines(source) as (watch, written):
        source.push(said_by("pc1", log_of(1)) + said_by("pc2", log_of(2), 4))
        watch.drain()
        written.clear()
        for first in (8, 16):
            source.push(said_by("pc2", log_of(3), first))
            watch._read_to_end(source)
            watch._store_due()
    assert written == [("pc2", 11, [3], 0), ("pc1", 19, [], 0), ("pc2", 19, [3], 0)]


def test_the_same_records_given_again_at_once_are_stored_once(store, source):
    log = records(log_of(1, 2))
    source.push(log[:4])
    source.push(log)
    assert drained(store, source).runs == 2
    assert pids(store) == [1, 2]


def test_a_rotated_log_is_stored_under_its_own_name_to_its_end(store, source):
    old, new = records(log_of(1, 2), source="/log@1"), records(log_of(3), source="/log@2")
    source.push(old[:4], name="file:/log:1")
    source.push(old[4:], name="file:/log:1")
    source.push(new, name="file:/log:2")
    drained(store, source)
    assert pids(store) == [1, 2, 3]
    tables = store.host("lab01")
    assert tables.position("file:/log:1") == Position(7, 7)
    assert tables.position("file:/log:2") == Position(3, 3)


def test_the_part_before_is_needed_until_the_run_that_began_in_it_has_ended(store, source):
    text = log_of(1, 2).splitlines(keepends=True)
    old, new = (
        records("".join(lines), source=f"/log@{number}")
        for number, lines in enumerate((text[:2], text[2:]), 1)
    )
    with watching(store, source) as watch:
        for items, name in ((old, "1"), (new[:1], "2"), (new[1:], "2")):
            source.push(items, name=f"file:/log:{name}")
            watch.drain()
            watch._store_rest()
            if items == new[:1]:
                assert store.host("lab01").position("file:/log:2") == Position(0, -1)
    assert store.host("lab01").position("file:/log:2") == Position(5, 5)
    assert pids(store) == [1, 2]


def test_a_log_that_comes_back_under_its_name_goes_on_where_it_was(store, source):
    one, two = records(log_of(1, 2), source="/log@1"), records(log_of(3), source="/log@2")
    source.push(one[:4], name="file:/log:1")
    source.push(two, name="file:/log:2")
    source.push(one, name="file:/log:1")
    drained(store, source)
    assert pids(store) == [1, 2, 3]


class CrashError(Exception):
    """The process is gone, and with it what was not committed."""


class MemoryTables:
    """Tables that keep in memory what was committed, as the store does; commits may crash."""

    def __init__(self, crashes):
        self.crashes = iter(crashes)
        self.reached = {}
        self.rows = Rows.none()
        self.incidents = []

    def position(self, source):
        return self.reached.get(source)

    def positions(self):
        positions = Positions()
        for source, position in self.reached.items():
            positions.note("lab01", source, position)
        return positions

    def append(self, source, position, *, before, incidents, **rows):
        if next(self.crashes, False):
            raise CrashError
        if self.reached.get(source, Position(-1, -1)).seen < position.seen:
            self.reached[source] = position
            self.rows.add(Rows(**rows))
            self.incidents += incidents


START = "OS Assignment2 ftrace [{}] Start"
STATS = "[7] p file[f] stats [x] read - 1 / written - 1"
CALLS = "open[1] close[1] read[1] write[1] lseek[0]"
TRACE = (
    "ftrace/1 [{}] trace wide[1] detail[1] follow[0] parent[0] calls[1] files[1] lost_files[0]"
    " lost_children[0] untimed[0]"
)
CALL = "ftrace/1 [{}] call[openat] calls[1] errors[0] bytes[0] ns[4321]"
FD = (
    "ftrace/1 [{}] fd[3] opens[1] closes[1] reads[1] writes[1] seeks[0] read[1] written[1] open[0]"
    " path[/f]"
)
END = "OS Assignment2 ftrace [{}] End"
PARTS = st.sampled_from(
    [
        [START, STATS, CALLS, END],
        [START, STATS, CALLS, TRACE, CALL, FD, END],
        [STATS, CALLS, TRACE, CALL, FD],
        [FD],
        [START],
        [STATS, CALLS, END],
        [STATS],
        [END],
        ["OS Assignment2 ftrace [{}] Strat"],
        ["usb 1-1: new device"],
        REPORTS["WARNING"][0],
        REPORTS["null dereference"][0],
        REPORTS["unsigned"][0],
    ]
)
LOGS = st.lists(st.tuples(PARTS, st.sampled_from([1, 2])), min_size=2, max_size=12)


def watch_in_pieces(log, sizes, crashes):
    """Watch a log that grows by pieces, each committed; after a crash, begin where it stands."""
    tables, ends = MemoryTables(crashes), [*accumulate(sizes), len(log)]
    at = 0
    while ends:
        position = tables.position("kmsg:b") or Position(-1, -1)
        with closing(FakeSource()) as source:
            source.push(log[position.resume_after + 1 : at])
            with watching(None, source, tables=tables) as watch, suppress(CrashError):
                watch.drain()
                while ends:
                    source.push(log[at : ends[0]])
                    at = max(at, ends.pop(0))
                    watch.drain()
    with closing(FakeSource()) as source:  # what a last crash left
        position = tables.position("kmsg:b") or Position(-1, -1)
        source.push(log[position.resume_after + 1 :])
        tables.crashes = iter(())
        with watching(None, source, tables=tables) as watch:
            watch.drain()
    return tables


@settings(max_examples=200, deadline=None)
@given(LOGS, st.lists(st.integers(1, 5), max_size=8), st.lists(st.booleans(), max_size=8))
def test_however_a_log_comes_and_whenever_it_crashes_the_rows_are_the_same(parts, sizes, crashes):
    lines = [line.format(pid) for lines, pid in parts for line in lines]
    text = "".join(f"[{number:5d}.000000] {line}\n" for number, line in enumerate(lines))
    log = records(text)
    at_once = watch_in_pieces(log, [], [])
    in_pieces = watch_in_pieces(log, sizes, crashes)
    assert in_pieces.rows == at_once.rows
    assert in_pieces.incidents == at_once.incidents


# When the store or a source fails


class Failing:
    """Tables that can't be written for a while."""

    def __init__(self, tables, failures, meanwhile=lambda: None):
        self.tables = tables
        self.failures = failures
        self.meanwhile = meanwhile
        self.tries = 0

    def position(self, source):
        return self.tables.position(source)

    def append(self, *args, **rows):
        self.tries += 1
        if self.tries <= self.failures:
            self.meanwhile()
            raise StoreError("store /s can't be written: No space left", "make room")
        self.tables.append(*args, **rows)

    append_tracer = append


def test_rows_are_kept_while_the_store_is_away_and_stored_when_it_is_back(
    store, source, monkeypatch
):
    monkeypatch.setattr(watch_module, "_COMMIT_AFTER_S", 0.01)
    monkeypatch.setattr(watch_module, "_RETRY_AFTER_S", 0.02)
    log = records(log_of(1, 2, 3, 4, 5, 6))
    parts = [log[start : start + 4] for start in range(0, 24, 4)]
    source.push(parts.pop(0))
    tables = Failing(store.host("lab01"), 5, meanwhile=lambda: source.push(parts.pop(0)))
    troubles = []

    def back(progress):
        if progress.trouble != (troubles or [None])[-1]:
            troubles.append(progress.trouble)
        return troubles and progress.trouble is None

    follow_until(back, store, source, tables=tables)
    assert troubles == ["store /s can't be written: No space left (make room)", None]
    assert pids(store) == [1, 2, 3, 4, 5, 6]
    # a commit for the first run, and one for all that gathered meanwhile
    assert tables.tries == 5 + 2


def test_a_store_that_is_away_is_not_tried_again_at_once(store, source, monkeypatch):
    monkeypatch.setattr(watch_module, "_COMMIT_AFTER_S", 0)
    monkeypatch.setattr(watch_module, "_RETRY_AFTER_S", 3600)
    tables = Failing(store.host("lab01"), 1000)
    log = records(log_of(*range(1, 21)))
    source.push(log[:4])

    def all_read(progress):
        if progress.trouble and progress.runs < 20:
            source.push(log[4 * progress.runs :][:4])
        return progress.runs == 20

    with pytest.raises(StoreError):
        follow_until(all_read, store, source, tables=tables)
    assert tables.tries == 2  # the other one is that at the end


def test_a_store_that_stays_away_is_an_error_at_the_end(store, source, monkeypatch):
    monkeypatch.setattr(watch_module, "_COMMIT_AFTER_S", 0.01)
    source.push(records(CONTRACT))
    tables = Failing(store.host("lab01"), failures=10**6)
    with pytest.raises(StoreError, match="No space left"):
        follow_until(lambda progress: progress.trouble, store, source, tables=tables)


def test_a_store_moved_away_and_back_has_every_run_once(source, monkeypatch, tmp_path):
    monkeypatch.setattr(watch_module, "_COMMIT_AFTER_S", 0.01)
    monkeypatch.setattr(watch_module, "_RETRY_AFTER_S", 0.05)
    log = records(log_of(1, 2, 3))
    (tmp_path / "disk").mkdir()
    (tmp_path / "no folder").touch()
    mount = tmp_path / "mount"
    mount.symlink_to("disk")
    store = Store(str(mount / "store"))

    def mount_instead(what):
        (tmp_path / "new").symlink_to(what)
        (tmp_path / "new").rename(mount)

    with watching(store, source) as watch:
        thread = threading.Thread(target=watch.follow)
        thread.start()
        try:
            source.push(log[:4])
            wait_for(lambda: store.root.exists() and pids(store) == [1])
            mount_instead("no folder")
            source.push(log[4:8])
            wait_for(lambda: watch.progress.trouble)
            mount_instead("disk")
            wait_for(lambda: watch.progress.trouble is None)
            source.push(log[8:])
        finally:
            watch.stop()
            thread.join()
    assert pids(store) == [1, 2, 3]


def test_an_error_of_the_program_itself_is_not_taken_for_trouble(store, source, monkeypatch):
    monkeypatch.setattr(watch_module, "_COMMIT_AFTER_S", 0.01)
    tables = store.host("lab01")
    monkeypatch.setattr(tables, "append", lambda *_args, **_rows: 1 / 0)
    source.push(records(CONTRACT))
    with pytest.raises(ZeroDivisionError):
        follow_until(lambda progress: False, store, source, tables=tables)


def test_a_source_that_fails_ends_the_watch_with_the_rest_stored(store, source):
    source.push(records(CONTRACT))
    source.push(SourceError("/dev/kmsg: Input/output error"))
    with pytest.raises(SourceError, match="Input/output"):
        follow_until(lambda progress: False, store, source)
    assert pids(store) == [47283]


# Modules


def test_module_events_are_shown_and_stored(store, source):
    with closing(FakeModules()) as modules:
        modules.push(9)
        seen = follow_until(
            lambda progress: len(progress.loaded) == 2, store, source, modules=modules
        )
    assert seen[-1].loaded == {"ftracehooking", "iotracehooking"}
    assert sorted(rows(store, "tracer")["action"]) == ["add", "begin", "end", "present"]


def test_that_it_is_there_is_told_now_and_then_when_something_happens(store, source):
    source.push(records("[    1.000000] usb 1-1: chatter\n"))
    with closing(FakeModules()) as modules:
        modules.silent_for_long = True
        follow_until(lambda progress: progress.records, store, source, modules=modules)
    assert actions(store) == ["begin", "present", "alive", "end"]


GOES_ON = """\
import sys
from logtrace.store import Store
sys.exit(not Store(sys.argv[1]).is_watched("lab01", int(sys.argv[2])))
"""


def goes_on(store, watch):
    """Ask in another process, as its own locks don't keep a process from anything."""
    command = [sys.executable, "-c", GOES_ON, str(store.root), str(watch)]
    return subprocess.run(command).returncode == 0


def test_that_it_goes_on_can_be_seen_without_waking_it(store, source):
    with closing(FakeModules()) as modules, watching(store, source, modules=modules) as watch:
        assert not goes_on(store, modules.watch)
        thread = threading.Thread(target=watch.follow)
        thread.start()
        try:
            wait_for(lambda: "begin" in actions(store))
            wait_for(lambda: goes_on(store, modules.watch))
            assert not goes_on(store, modules.watch + 1)
        finally:
            watch.stop()
            thread.join()
    assert not goes_on(store, modules.watch)


def actions(store):
    return list(rows(store, "tracer")["action"]) if store.root.is_dir() else []


def test_the_last_row_of_modules_is_stored_too_where_a_source_fails(store, source):
    source.push(SourceError("Input/output error"))
    with closing(FakeModules()) as modules, pytest.raises(SourceError):
        follow_until(lambda progress: False, store, source, modules=modules)
    assert actions(store) == ["begin", "present", "end"]


def test_without_a_monitor_nothing_is_said_of_modules(store, source):
    assert follow_until(lambda progress: True, store, source)[0].loaded is None


# What it takes


def test_nothing_is_left_open_or_running(store, source):
    def state():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    states = set()
    for number in range(4):
        source.push(records(log_of(number), first=4 * number))
        follow_until(lambda progress: progress.runs, store, source)
        if number:  # the first time, libraries open what they keep
            states.add(state())
    assert len(states) == 1


class CountingSelector(selectors.DefaultSelector):
    calls = 0

    def select(self, timeout=None):
        CountingSelector.calls += 1
        return super().select(timeout)


def test_an_idle_watch_waits_in_one_call(store, source, monkeypatch):
    monkeypatch.setattr(selectors, "DefaultSelector", CountingSelector)
    monkeypatch.setattr(watch_module, "_COMMIT_AFTER_S", 0.01)
    with closing(FakeModules()) as modules, watching(store, source, modules=modules) as watch:
        thread = threading.Thread(target=watch.follow)
        thread.start()
        try:
            source.push(records(CONTRACT))
            wait_for(lambda: store.root.exists() and pids(store) == [47283])
            wait_for(lambda: watch._committing is None)
            time.sleep(0.2)  # until it waits again
            calls = CountingSelector.calls
            time.sleep(0.7)
            assert CountingSelector.calls == calls
        finally:
            watch.stop()
            thread.join()


# Real files


def file_source(store, path):
    beginning = Beginning(store.positions(), host="lab01")
    return closing(FileTree(Layout.of(str(path)), beginning))


def test_a_file_that_grows_piece_by_piece_is_followed(store, tmp_path):
    log = tmp_path / "log"
    text = log_of(1, 2)

    def grow():
        for start in range(0, len(text), 37):
            with log.open("a") as file:
                file.write(text[start : start + 37])
            time.sleep(0.01)

    writer = threading.Thread(target=grow)
    with file_source(store, log) as source:
        writer.start()
        follow_until(lambda progress: progress.runs == 2, store, source)
    writer.join()
    assert pids(store) == [1, 2]
    assert set(rows(store)["status"]) == {"complete"}


def test_a_file_renamed_away_is_read_to_its_end_and_its_successor_too(store, tmp_path):
    log = tmp_path / "log"
    log.write_text(log_of(1))

    def rotate(progress):
        if progress.runs == 1 and not (tmp_path / "log.1").exists():
            with log.open("a") as file:
                file.write(log_of(2, second=200))
                log.rename(tmp_path / "log.1")
            log.write_text(log_of(3, second=300))
        return progress.runs == 3

    with file_source(store, log) as source:
        follow_until(rotate, store, source)
    assert pids(store) == [1, 2, 3]


WATCH = [sys.executable, "-m", "logtrace", "watch", "-q", "--host", "lab01"]


@pytest.fixture
def command(store, tmp_path):
    """Start `logtrace watch` on a file, as often as needed."""
    started = []

    def start(*options):
        process = subprocess.Popen(
            [*WATCH, "--store", str(store), str(tmp_path / "log"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_killed_and_started_again_it_has_stored_each_run_once(store, command, tmp_path):
    log = tmp_path / "log"
    text = log_of(*range(1, 32))
    log.write_text(text[:1000])
    first = command()
    wait_for(lambda: store.root.exists() and len(pids(store)) > 0)
    with log.open("a") as file:
        file.write(text[1000:3000])
    first.kill()
    first.wait()
    with log.open("a") as file:
        file.write(text[3000:])
    second = command("--once")
    assert second.wait(PATIENCE_S) == 0
    assert pids(store) == list(range(1, 32))
    assert set(rows(store)["status"]) == {"complete"}


def test_killed_at_any_moment_it_has_stored_each_file_and_call_once(store, command, tmp_path):
    log = tmp_path / "log"
    text = detailed_log_of(*range(1, 42))
    parts = [text[at : at + 5000] for at in range(0, len(text), 5000)]
    for number, part in enumerate(parts):
        with log.open("a") as file:
            file.write(part)
        watch = command()
        # the first commits come half a second after the start: some are cut in two
        time.sleep(0.9 + 0.04 * number)
        watch.kill()
        watch.wait()
    last = command("--once")
    assert last.wait(PATIENCE_S) == 0
    assert pids(store) == list(range(1, 42))
    assert set(rows(store)["status"]) == {"complete"}
    engine = Engine(store)
    calls = engine.rows("calls", order="pid, calls")
    assert list(calls["pid"]) == [pid for pid in range(1, 42) for _ in range(2)]
    assert list(calls["calls"]) == [count for pid in range(1, 42) for count in (1, pid)]
    files = engine.rows("files", order="pid, descriptor")
    assert list(zip(files["pid"], files["descriptor"], strict=True)) == [
        (pid, 3 + number) for pid in range(1, 42) for number in range(pid % 10)
    ]


def switches(process):
    tasks = Path(f"/proc/{process.pid}/task").glob("*/status")
    return {
        line for task in tasks for line in task.read_text().splitlines() if "ctxt_switches" in line
    }


def test_idle_it_wakes_nobody_and_a_sigterm_ends_it_with_success(store, command, tmp_path):
    (tmp_path / "log").write_text(log_of(1))
    process = command()
    wait_for(lambda: store.root.exists() and pids(store) == [1])
    deadline = time.monotonic() + PATIENCE_S
    before = None
    while before != (before := switches(process)):
        assert time.monotonic() < deadline, "it keeps waking up"
        time.sleep(0.7)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr.read() == ""
