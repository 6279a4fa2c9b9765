import ctypes
import os
import select
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_samples import MISSED_ID, JournalFolder
from store_samples import CONTRACT

from logtrace import importer
from logtrace.cli import cli
from logtrace.engine import Engine
from logtrace.errors import SourceError
from logtrace.importer import import_log
from logtrace.record import Loss, Record
from logtrace.source import journal as journal_module
from logtrace.source import sdjournal
from logtrace.source.follow import Beginning
from logtrace.source.journal import (
    JournalSource,
    is_journal,
    is_journal_folder,
    journal_hosts,
    open_journals,
    read_journal,
)
from logtrace.store import Store
from logtrace.watch import Watch

BOOT_ID = "b1b1b1b1-b1b1-b1b1-b1b1-b1b1b1b1b1b1"


@pytest.fixture
def folder(tmp_path):
    return JournalFolder(tmp_path / "remote")


class Memory:
    """What a store keeps of positions: up to where, and behind which to go on."""

    def __init__(self):
        self.positions = {}

    def __call__(self, name):
        return self.positions.get(name)

    def keep(self, source):
        self.positions[source.name] = (source.position, source.position)


def opened(folder, **options):
    return closing(JournalSource(folder.folder, **options))


def brief(items):
    return [(item.records, item.reason) if isinstance(item, Loss) else item.text for item in items]


def read_on(folder, memory):
    """Read what is new, as a watch does that is started and stopped."""
    items = []
    with opened(folder, stored=memory) as source:
        while part := source.drain():
            items += part
            memory.keep(source)
    return brief(items)


def is_readable(source):
    return bool(select.select([source], [], [], 0)[0])


def test_an_entry_is_a_record(folder):
    folder.add("a line")
    with opened(folder) as source:
        (record,) = source.drain()
        numbering = source.name.removeprefix("journal:")
    assert record == Record(
        source=f"{folder.folder}@{numbering[:12]}",
        boot_id=BOOT_ID,
        seq=1,
        usec=993,
        facility=0,
        level=6,
        caller=None,
        text="a line",
        at=datetime(2023, 11, 14, 22, 13, 20, 1000, tzinfo=UTC),
        clock="log",
        host="lab1",
    )
    assert len(numbering) == 32


def test_text_of_several_lines_stays_one_record_and_odd_bytes_are_escaped(folder):
    folder.add(b"one\nOS Assignment2 ftrace [1] End\xff")
    with opened(folder) as source:
        assert brief(source.drain()) == ["one\nOS Assignment2 ftrace [1] End\\xff"]


def test_only_the_kernels_messages_are_read(folder):
    folder.add("of a program", _TRANSPORT="stdout")
    folder.add("by way of /dev/kmsg", SYSLOG_FACILITY=3)
    folder.add("the kernel's")
    with opened(folder) as source:
        written, own = source.drain()
    assert (written.text, written.from_kernel) == ("by way of /dev/kmsg", False)
    assert (own.text, own.from_kernel, own.seq) == ("the kernel's", True, 3)


def test_what_journald_missed_is_a_loss_with_its_count(folder):
    folder.add("before")
    folder.add("Missed 17 kernel messages", _TRANSPORT="driver", MESSAGE_ID=MISSED_ID)
    folder.add("Missed 19 kernel messages", _TRANSPORT="journal", MESSAGE_ID=MISSED_ID)
    folder.add("behind")
    with opened(folder) as source:
        assert brief(source.drain()) == ["before", (17, "overrun"), "behind"]


def test_entries_of_another_machine_are_not_read(folder):
    folder.add("of lab1")
    JournalFolder(folder.folder, "remote-lab2", "lab2").add("of lab2")
    assert journal_hosts(folder.folder) == ["lab1", "lab2"]
    with opened(folder, host="lab2") as source:
        assert brief(source.drain()) == ["of lab2"]


def test_it_is_readable_as_long_as_there_may_be_more_and_when_it_grows(folder):
    folder.add("one")
    with opened(folder) as source:
        assert is_readable(source)
        assert brief(source.drain()) == ["one"]
        assert source.drain() == []
        assert not is_readable(source)
        folder.add("two")
        assert is_readable(source)
        assert brief(source.drain()) == ["two"]
        assert source.position == 2


def test_a_long_backlog_takes_several_drains(folder, monkeypatch):
    monkeypatch.setattr(journal_module, "_DRAIN_ENTRIES", 2)
    folder.add(*"abcde")
    with opened(folder) as source:
        drains = []
        while is_readable(source):
            drains.append(brief(source.drain()))
    assert [drain for drain in drains if drain] == [["a", "b"], ["c", "d"], ["e"]]


def test_a_folder_without_journals_fills_later(folder):
    with opened(folder) as source:
        assert source.drain() == []
        folder.add("one")
        assert is_readable(source)
        assert brief(source.drain()) == ["one"]


def test_only_new_entries_are_read_where_that_is_asked_for(folder):
    folder.add("old", "older")
    with opened(folder, only_new=True) as source:
        assert source.drain() == []
        folder.add("new")
        assert brief(source.drain()) == ["new"]


def test_reading_goes_on_behind_what_is_stored(folder):
    memory = Memory()
    folder.add("one", "two")
    assert read_on(folder, memory) == ["one", "two"]
    assert read_on(folder, memory) == []
    folder.add("three")
    assert read_on(folder, memory) == ["three"]


def test_lines_of_a_run_that_was_open_are_read_again(folder):
    memory = Memory()
    folder.add("one", "two", "three")
    read_on(folder, memory)
    (name,) = memory.positions
    memory.positions[name] = (3, 1)
    with opened(folder, stored=memory) as source:
        assert brief(source.drain()) == ["two", "three"]


def test_a_rotated_journal_is_read_on(folder):
    memory = Memory()
    with opened(folder) as source:
        folder.add("one")
        assert brief(source.drain()) == ["one"]
        folder.add("two")
        folder.rotate()
        folder.add("three")
        assert brief(source.drain()) == ["two", "three"]
        memory.keep(source)
    folder.add("four")
    folder.rotate()
    folder.add("five")
    assert read_on(folder, memory) == ["four", "five"]


def test_what_was_vacuumed_while_nobody_watched_is_a_loss(folder):
    memory = Memory()
    folder.add("one", "two")
    read_on(folder, memory)
    folder.add("three", "four", "five")
    folder.rotate()
    folder.add("six")
    folder.vacuum()
    with opened(folder, stored=memory) as source:
        loss, record = source.drain()
        assert source.position == 6
    assert (loss.first_seq, loss.last_seq, loss.records, loss.reason) == (3, 5, 3, "vacuumed")
    assert (record.seq, record.text) == (6, "six")
    assert read_on(folder, memory) == [(3, "vacuumed"), "six"]
    assert read_on(folder, memory) == []


def test_what_of_it_was_seen_before_is_told_apart(folder):
    memory = Memory()
    folder.add("one", "two", "three")
    read_on(folder, memory)
    (name,) = memory.positions
    memory.positions[name] = (3, 1)
    folder.add("four")
    folder.rotate()
    folder.add("five")
    folder.vacuum()
    with opened(folder, stored=memory) as source:
        *losses, record = source.drain()
    assert [(loss.first_seq, loss.last_seq) for loss in losses] == [(2, 3), (4, 4)]
    assert record.text == "five"


def test_what_was_vacuumed_before_it_was_read_by_a_slow_watch_is_a_loss(folder):
    with opened(folder) as source:
        folder.add("one")
        assert brief(source.drain()) == ["one"]
        folder.add("two", "three")
        folder.rotate()
        folder.add("four")
        folder.vacuum()
        assert brief(source.drain()) == [(2, "vacuumed"), "four"]


def test_to_vacuum_what_was_looked_at_and_is_another_programs_is_no_loss(folder):
    with opened(folder) as source:
        folder.add("one")
        folder.add("a program's", _TRANSPORT="stdout")
        assert brief(source.drain()) == ["one"]
        folder.rotate()
        folder.add("two")
        folder.vacuum()
        assert brief(source.drain()) == ["two"]


def test_to_vacuum_what_was_read_is_no_loss(folder):
    memory = Memory()
    with opened(folder, stored=memory) as source:
        folder.add("one", "two")
        folder.add("a program's", _TRANSPORT="stdout")
        assert brief(source.drain()) == ["one", "two"]
        assert source.drain() == []
        memory.keep(source)
        folder.rotate()
        folder.add("three")
        assert brief(source.drain()) == ["three"]
        folder.vacuum()
        folder.add("four")
        assert brief(source.drain()) == ["four"]
        memory.keep(source)
    assert read_on(folder, memory) == []


def test_another_numbering_is_another_name_and_its_entries_a_drain_of_their_own(folder):
    memory = Memory()
    folder.add("one", "two")
    folder.damage()
    folder.add("three")
    with opened(folder, stored=memory) as source:
        drains = []
        while part := source.drain():
            drains.append((source.name, brief(part), {item.source for item in part}))
            memory.keep(source)
    assert [texts for _, texts, _ in drains] == [["one", "two"], ["three"]]
    assert drains[0][0] != drains[1][0]
    assert drains[0][2].isdisjoint(drains[1][2])
    folder.add("four")
    assert read_on(folder, memory) == ["four"]


STEPS = st.lists(
    st.sampled_from(["add", "program", "rotate", "damage", "restart", "drain"]), max_size=14
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(STEPS)
def test_whatever_happens_to_the_files_every_entry_is_read_once(tmp_path_factory, steps):
    folder, memory = JournalFolder(tmp_path_factory.mktemp("journal") / "j"), Memory()
    given_, read = [], []

    def drain(source):
        while part := source.drain():
            read.extend(brief(part))
            memory.keep(source)

    source = JournalSource(folder.folder, stored=memory)
    try:
        for number, step in enumerate(steps):
            if step == "add":
                folder.add(f"{number}")
                given_.append(f"{number}")
            elif step == "program":
                folder.add(f"{number}", _TRANSPORT="syslog")
            elif step in ("rotate", "damage"):
                if folder.path.exists():
                    getattr(folder, step)()
            elif step == "drain":
                drain(source)
            else:
                source.close()
                source = JournalSource(folder.folder, stored=memory)
        drain(source)
    finally:
        source.close()
    assert read == given_


def run_lines(pid):
    lines = CONTRACT.replace("47283", str(pid)).splitlines()
    return [line.partition("] ")[2] for line in lines]


def watch_once(folder, store):
    """Watch as `logtrace watch --once` does."""
    beginning = Beginning(store.positions(), host="lab1")
    with (
        closing(open_journals(folder.folder, beginning)) as source,
        closing(Watch(store.host, "lab1", [source], positions=beginning.positions)) as watch,
    ):
        watch.drain()


def test_a_run_is_stored_once_however_often_a_watch_stops_and_the_journal_rotates(folder, tmp_path):
    store = Store(str(tmp_path / "store"))
    pids = range(101, 108)
    for pid in pids:
        for text in run_lines(pid):
            folder.add(text)
            watch_once(folder, store)
        if pid == 103:
            folder.rotate()
        if pid == 105:
            folder.damage()
    rows = Engine(store).rows("runs", order="started_us")
    assert list(rows["pid"]) == list(pids)
    assert set(rows["status"]) == {"complete"}
    assert set(rows["boot_id"]) == {BOOT_ID}


def test_a_file_of_a_journal_is_known_by_its_beginning(folder, tmp_path):
    folder.add("one", "two")
    text = tmp_path / "kern.log"
    text.write_text("one\n")
    assert is_journal(folder.path)
    assert not is_journal(text)
    assert not is_journal(folder.folder)
    assert brief(read_journal(folder.path)) == ["one", "two"]


def test_what_a_file_says_of_several_machines_goes_into_the_tables_of_each(folder, tmp_path):
    lines = list(zip(run_lines(101), run_lines(102), strict=True))
    for of_lab1, of_lab2 in lines:
        folder.host = "lab1"
        folder.add(of_lab1)
        folder.host = "lab2"
        folder.add(of_lab2)
    store = Store(str(tmp_path / "store"))
    for _ in range(2):
        done = import_log(store.host("here"), folder.path, "here")
    assert done.already_stored
    rows = Engine(store).rows("runs", order="pid")
    assert list(zip(rows["host"], rows["pid"], strict=True)) == [("lab1", 101), ("lab2", 102)]
    assert set(rows["status"]) == {"complete"}


def test_a_finished_journal_is_imported_once(folder, tmp_path):
    store = Store(str(tmp_path / "store"))
    folder.add(*run_lines(101), *run_lines(102)[:3])
    first = import_log(store.host("lab1"), folder.path, "lab1")
    again = import_log(store.host("lab1"), folder.path, "lab1")
    assert (first.records, first.runs, first.already_stored) == (7, 2, False)
    assert again.already_stored
    rows = Engine(store).rows("runs", order="pid")
    assert list(rows["status"]) == ["complete", "no_end"]
    assert list(rows["first_seq"]) == [1, 5]
    assert rows["started_at"][0].year == 2023


def test_an_import_that_broke_off_goes_on_though_numbers_are_higher_than_the_file_is_long(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(importer, "_BATCH_RECORDS", 3)
    store = Store(str(tmp_path / "store"))
    folder.add("one")
    folder.rotate(last_number=1 << 40)
    folder.add(*run_lines(101), *run_lines(102))
    tables = store.host("lab1")

    def break_off(path):
        for number, item in enumerate(read_journal(path)):
            if number == 7:
                raise SourceError("unplugged")
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(importer, "read_journal", break_off)
        with pytest.raises(SourceError, match="unplugged"):
            import_log(tables, folder.path, "lab1")
    import_log(tables, folder.path, "lab1")
    rows = Engine(store).rows("runs", order="pid")
    assert list(rows["pid"]) == [101, 102]
    assert set(rows["status"]) == {"complete"}


def test_the_command_follows_the_journals_of_a_machine_in_a_folder(folder, tmp_path):
    folder.add(*run_lines(101))
    JournalFolder(folder.folder, "remote-lab2", "lab2").add(*run_lines(102))
    store = ["--store", str(tmp_path / "store")]
    arguments = ["watch", str(folder.folder), "--once", *store, "--host"]
    for _ in range(2):
        result = CliRunner().invoke(cli, [*arguments, "lab2"])
        assert result.exit_code == 0, result.output
    rows = Engine(Store(store[1])).rows("runs")
    assert list(zip(rows["host"], rows["pid"], strict=True)) == [("lab2", 102)]
    result = CliRunner().invoke(cli, [*arguments, "lab3"])
    assert result.exit_code == 1
    assert "no entries of lab3, but of lab1, lab2" in result.output


def test_a_folder_of_journals_has_no_other_logs(folder, tmp_path):
    folder.add("one")
    (folder.folder / "system@0005d-1.journal~").touch()
    assert is_journal_folder(folder.folder)
    (folder.folder / "kern.log").touch()
    assert not is_journal_folder(folder.folder)
    assert not is_journal_folder(tmp_path / "remote" / "nothing")


def test_of_a_folder_all_machines_are_followed_each_into_its_own_tables(folder, tmp_path):
    folder.add(*run_lines(101))
    other = JournalFolder(folder.folder, "remote-lab2", "lab2")
    other.add(*run_lines(102)[:2])
    url = str(tmp_path / "store")
    for _ in range(2):
        result = CliRunner().invoke(cli, ["watch", str(folder.folder), "--once", "--store", url])
        assert result.exit_code == 0, result.output
        other.add(*run_lines(102)[2:])
    rows = Engine(Store(url)).rows("runs", order="pid")
    assert list(zip(rows["host"], rows["pid"], strict=True)) == [("lab1", 101), ("lab2", 102)]
    assert set(rows["status"]) == {"complete"}


def logs_of(tree):
    """Drain what is ready: texts by machine."""
    return {item.host: item.text for log in tree.ready() for item in log.drain()}


@pytest.mark.parametrize("begin", ["resume", "now", "oldest"])
def test_a_machine_whose_first_entry_comes_later_is_read_from_then_on(folder, begin):
    folder.add("before")
    with closing(open_journals(folder.folder, Beginning(begin=begin))) as tree:
        assert logs_of(tree) == ({} if begin == "now" else {"lab1": "before"})
        assert not is_readable(tree)
        other = JournalFolder(folder.folder, "remote-lab2", "lab2")
        other.add("in a file of its own")
        assert is_readable(tree)
        assert logs_of(tree) == {"lab2": "in a file of its own"}
        folder.host = "lab3"
        folder.add("in the file of another")
        other.add("goes on")
        assert logs_of(tree) == {"lab2": "goes on", "lab3": "in the file of another"}


def test_nothing_stays_open_of_many_machines(folder):
    folder.add("one")
    before = set(os.listdir("/proc/self/fd"))
    with closing(open_journals(folder.folder, Beginning())) as tree:
        JournalFolder(folder.folder, "remote-lab2", "lab2").add("two")
        assert logs_of(tree) == {"lab1": "one", "lab2": "two"}
    assert set(os.listdir("/proc/self/fd")) == before


def test_from_the_oldest_all_is_read_again_and_stored_once(folder, tmp_path):
    folder.add(*run_lines(101))
    url = str(tmp_path / "store")
    arguments = ["watch", str(folder.folder), "--once", "--store", url, "--host", "lab1"]
    CliRunner().invoke(cli, arguments)
    folder.rotate()
    folder.add(*run_lines(102))
    result = CliRunner().invoke(cli, [*arguments, "--from", "oldest"])
    assert "8 records" in result.output
    assert sorted(Engine(Store(url)).rows("runs")["pid"]) == [101, 102]


def test_a_damaged_file_is_told_of(tmp_path):
    path = tmp_path / "x.journal"
    path.write_bytes(b"LPKSHHRH" + bytes(300))
    with pytest.raises(SourceError, match=r"x\.journal: "):
        list(read_journal(path))


def test_a_machine_without_journal_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(journal_module, "_OWN_FOLDERS", (tmp_path,))
    with pytest.raises(SourceError, match=r"this machine keeps none.*watch kmsg"):
        JournalSource()


def test_a_journal_that_may_not_be_read_names_the_remedy(folder, monkeypatch):
    folder.add("one")
    monkeypatch.setattr(
        journal_module, "os", SimpleNamespace(access=lambda *_: False, R_OK=os.R_OK)
    )
    with pytest.raises(SourceError, match=r"permission denied.*systemd-journal"):
        JournalSource(folder.folder)


def test_a_machine_without_systemds_library_is_told_so(folder, monkeypatch):
    folder.add("one")

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    sdjournal._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    try:
        with pytest.raises(SourceError, match="install libsystemd0"):
            JournalSource(folder.folder)
    finally:
        sdjournal._library.cache_clear()


def test_nothing_stays_open(folder):
    folder.add("one")
    before = set(os.listdir("/proc/self/fd"))
    with opened(folder) as source:
        source.drain()
    assert set(os.listdir("/proc/self/fd")) == before


def send_again(folder, texts, back=0):
    """Append entries that are the same, also in their stamps, as the last but `back`."""
    before, folder.usec = folder.usec, folder.usec - 1000 * (len(texts) + back)
    folder.add(*texts)
    folder.usec = before


@pytest.mark.parametrize("back", [0, 1])
def test_entries_that_a_machine_sent_again_are_read_once(folder, back):
    folder.add("a", "b", "c")
    send_again(folder, ["b", "c"][: 2 - back], back)
    folder.add("d")
    with opened(folder) as source:
        assert [item.text for item in source.drain()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("host", [None, "lab1"])
def test_entries_that_were_sent_again_are_known_after_a_restart(folder, host):
    memory = Memory()
    folder.add("a", "b")
    with opened(folder, stored=memory, host=host) as source:
        assert len(source.drain()) == 2
        memory.keep(source)
    send_again(folder, ["a", "b"])
    folder.add("c")
    with opened(folder, stored=memory, host=host) as source:
        assert [item.text for item in source.drain()] == ["c"]


def test_entries_that_were_sent_again_are_known_after_damage(folder):
    folder.add("a", "b")
    with opened(folder) as source:
        assert len(source.drain()) == 2
        folder.damage()
        send_again(folder, ["b"])
        folder.add("c")
        found = [item.text for _ in range(2) for item in source.drain()]
        assert found == ["c"]


def test_entries_that_only_look_alike_are_all_read(folder):
    folder.add("a", "a")
    folder.usec -= 1000
    folder.add("b")
    with opened(folder) as source:
        assert [item.text for item in source.drain()] == ["a", "a", "b"]
