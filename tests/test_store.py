import errno
import fcntl
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from arro3.core import Schema
from deltalake import DeltaTable

from logtrace import columns, store
from logtrace.errors import ConflictError, StoreError
from logtrace.location import local_files
from logtrace.store import Position, Store, default_url

SOURCE = "kmsg:b1"


def run(seq, **values):
    return {"host": "lab1", "first_seq": seq, "last_seq": seq, "pid": seq, **values}


def loss(first, last, **values):
    return {
        "host": "lab1",
        "first_seq": first,
        "last_seq": last,
        "records": last - first + 1,
    } | values


def detail(ended_seq, **values):
    """Give a row of the files or the calls of a run that ended with a record."""
    return {"host": "lab1", "run_id": f"r{ended_seq}", "ended_seq": ended_seq} | values


def rows(url, table="runs", column="first_seq"):
    files = local_files(Store(str(url)).files(table))
    return sorted(value for file in files for value in pd.read_parquet(file)[column])


def numbered(schema):
    return schema.append(columns.STORED["runs"].field(columns.STORED_US))


@pytest.fixture
def lab(request, tmp_path):
    if getattr(request, "param", "folder") == "folder":
        return Store(str(tmp_path / "store"))
    return Store(f"s3://{request.getfixturevalue('s3').bucket}/the/lab")


in_folder_and_bucket = pytest.mark.parametrize("lab", ["folder", "s3"], indirect=True)


@pytest.fixture
def tables(lab):
    return lab.host("lab1")


def test_nothing_is_stored_at_first(lab, tables):
    assert tables.position(SOURCE) is None
    assert lab.hosts() == []
    assert not lab.root.exists()


@in_folder_and_bucket
def test_rows_and_the_position_are_stored_together(lab, tables):
    tables.append(SOURCE, Position(9, 4), runs=[run(5), run(8)], losses=[loss(6, 7)])
    assert rows(lab) == [5, 8]
    assert rows(lab, "losses") == [6]
    assert tables.position(SOURCE) == Position(9, 4)
    assert lab.host("lab1").position(SOURCE) == Position(seen=9, resume_after=4)


@in_folder_and_bucket
def test_a_position_without_rows_is_stored(lab, tables):
    tables.append(SOURCE, Position(3, 3))
    assert tables.position(SOURCE) == Position(3, 3)
    assert rows(lab) == []


@in_folder_and_bucket
def test_the_same_position_is_stored_once(lab, tables):
    for _ in range(2):
        tables.append(SOURCE, Position(9, 9), runs=[run(5)], losses=[loss(6, 7)])
    Store(str(lab)).host("lab1").append(SOURCE, Position(9, 9), runs=[run(5)], losses=[loss(6, 7)])
    assert rows(lab) == [5]
    assert rows(lab, "losses") == [6]


@in_folder_and_bucket
def test_an_earlier_position_changes_nothing(lab, tables):
    tables.append(SOURCE, Position(9, 9), runs=[run(5)])
    tables.append(SOURCE, Position(4, 4), runs=[run(3)])
    tables.append(SOURCE, Position(12, 12), runs=[run(11)])
    assert rows(lab) == [5, 11]
    assert tables.position(SOURCE) == Position(12, 12)


@in_folder_and_bucket
def test_sources_have_positions_of_their_own(lab, tables):
    tables.append("kmsg:b1", Position(900, 900), runs=[run(5)])
    tables.append("kmsg:b2", Position(3, 3), runs=[run(2)])
    tables.append("file:/var/log/kern.log:0a", Position(70, 60), runs=[run(60)])
    assert tables.position("kmsg:b1") == Position(900, 900)
    assert tables.position("kmsg:b2") == Position(3, 3)
    assert tables.position("file:/var/log/kern.log:0a") == Position(70, 60)
    assert rows(lab) == [2, 5, 60]


@in_folder_and_bucket
@pytest.mark.parametrize("table", ["files", "calls", "losses", "runs"])
@pytest.mark.parametrize("before", [True, False])
def test_after_a_crash_between_two_commits_every_row_is_stored_once(
    lab, tables, monkeypatch, table, before
):
    append = store.HostTables._append

    def crash(self, name, *arguments):
        if name == table and before:
            raise KeyboardInterrupt
        append(self, name, *arguments)
        if name == table:
            raise KeyboardInterrupt

    def rows_until(*seqs):
        return {
            "runs": [run(seq) for seq in seqs],
            "losses": [loss(seq - 4, seq - 3) for seq in seqs],
            "files": [detail(seq, descriptor=number) for seq in seqs for number in (1, 2)],
            "calls": [detail(seq, call="read") for seq in seqs],
        }

    tables.append(SOURCE, Position(10, 10), **rows_until(5))
    monkeypatch.setattr(store.HostTables, "_append", crash)
    with pytest.raises(KeyboardInterrupt):
        tables.append(SOURCE, Position(20, 20), **rows_until(15))
    monkeypatch.undo()

    again = Store(str(lab)).host("lab1")
    position = again.position(SOURCE)
    assert position == (Position(10, 10) if before or table != "runs" else Position(20, 20))
    # more has come meanwhile: the second reading ends elsewhere
    again.append(
        SOURCE, Position(30, 30), **rows_until(*[seq for seq in (15, 25) if seq > position.seen])
    )
    assert rows(lab) == [5, 15, 25]
    assert rows(lab, "losses") == [1, 11, 21]
    assert rows(lab, "files", "ended_seq") == [5, 5, 15, 15, 25, 25]
    assert rows(lab, "calls", "ended_seq") == [5, 15, 25]


@in_folder_and_bucket
@pytest.mark.parametrize(
    ("lost", "ranges"),
    [
        # all that was read meanwhile is gone too
        ((11, 40), [(11, 13), (14, 15), (16, 17), (19, 40)]),
        ((11, 18), [(11, 13), (14, 15), (16, 17)]),
        ((11, 15), [(11, 13), (14, 15)]),
        ((15, 16), [(14, 15), (16, 16)]),
        ((14, 15), [(14, 15)]),
        ((14, 14), [(14, 15)]),
        ((19, 40), [(14, 15), (19, 40)]),
        ((21, 40), [(14, 15), (21, 40)]),
    ],
)
def test_what_is_lost_after_a_crash_between_two_commits_is_told_once(
    lab, tables, monkeypatch, lost, ranges
):
    """The losses up to 20 are stored, the runs behind 10 are not, and then records are gone."""
    append = store.HostTables._append

    def crash(self, name, *arguments):
        if name == "runs":
            raise KeyboardInterrupt
        append(self, name, *arguments)

    tables.append(SOURCE, Position(10, 10), runs=[run(5)])
    monkeypatch.setattr(store.HostTables, "_append", crash)
    told = [loss(14, 15), loss(17, 17, source="kmsg", boot_id="another"), loss(18, 18, text="?")]
    with pytest.raises(KeyboardInterrupt):
        tables.append(SOURCE, Position(20, 20), runs=[run(12)], losses=told)
    monkeypatch.undo()

    again = Store(str(lab)).host("lab1")
    again.append(SOURCE, Position(50, 50), losses=[loss(*lost), loss(18, 18, text="?")])
    stored = pd.concat(map(pd.read_parquet, local_files(Store(str(lab)).files("losses"))))
    stored = stored[stored["source"].isna() & stored["text"].isna()]
    assert sorted(zip(stored["first_seq"], stored["last_seq"], strict=True)) == ranges
    assert (stored["records"] == stored["last_seq"] - stored["first_seq"] + 1).all()
    assert rows(lab, "losses").count(18) == 1


def test_details_of_runs_that_the_end_of_a_log_ends_are_stored_once(lab, tables):
    tables.append(SOURCE, Position(9, 9), files=[detail(9, descriptor=3)])
    for _ in range(2):
        tables.append(SOURCE, Position(12, 12), files=[detail(None, descriptor=4)])
    assert rows(lab, "files", "descriptor") == [3, 4]


def test_a_table_that_gets_no_rows_is_not_touched(lab, tables):
    tables.append(SOURCE, Position(9, 9), runs=[run(5)])
    assert sorted(path.name for path in (lab.root / "host=lab1").iterdir()) == [".lock", "runs"]
    tables.append(SOURCE, Position(19, 19), files=[detail(5, descriptor=3)])
    tables.append(SOURCE, Position(29, 29), runs=[run(25)])
    assert DeltaTable(str(lab.root / "host=lab1" / "files")).version() == 1


def test_a_table_of_an_older_version_gets_the_columns_it_lacks(lab, tables):
    known = [name for name in columns.RUNS.names if name not in ("wide", "parent_pid")]
    old = Schema([columns.RUNS.field(name) for name in known])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "TABLES", dict(columns.TABLES) | {"runs": old})
        patch.setattr(columns, "STORED", dict(columns.STORED) | {"runs": numbered(old)})
        tables.append(SOURCE, Position(9, 4), runs=[run(5)])
    tables.append(SOURCE, Position(12, 12))
    assert tables.position(SOURCE) == Position(12, 12)
    for seq in (15, 16):
        tables.append(SOURCE, Position(seq, seq), runs=[run(seq, wide=True, parent_pid=7)])
    table = DeltaTable(str(lab.root / "host=lab1" / "runs"))
    found = table.to_pyarrow_table(columns=["first_seq", "wide", "parent_pid"]).to_pylist()
    assert sorted(tuple(row.values()) for row in found) == [
        (5, None, None),
        (15, True, 7),
        (16, True, 7),
    ]
    tables.compact()
    assert rows(lab) == [5, 15, 16]
    assert tables.position(SOURCE) == Position(16, 16)


def test_a_table_of_a_version_that_numbered_no_commits_goes_on_with_numbers(lab, tables):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "STORED", columns.TABLES)
        patch.setattr(store, "_numbered", lambda table, _number: table)
        tables.append(SOURCE, Position(9, 9), runs=[run(5)])
    tables.append(SOURCE, Position(15, 15), runs=[run(15)])
    delta = DeltaTable(str(lab.root / "host=lab1" / "runs"))
    found = delta.to_pyarrow_table(columns=["first_seq", "stored_us"]).to_pylist()
    assert {row["first_seq"]: row["stored_us"] for row in found} == {
        5: None,
        15: store.last_number(delta),
    }


def test_every_commit_has_a_number_of_its_own_that_rises_also_where_the_clock_goes_back(
    lab, tables, monkeypatch
):
    clock = iter([2_000, 1_000, 2_000_000, 3_000_000, 3_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 1000)
    for seq in (1, 2, 3, 4):
        details = [detail(seq, descriptor=3)] if seq > 1 else []
        tables.append(SOURCE, Position(seq, seq), runs=[run(seq), run(seq)], files=details)
    tables.compact()
    folder = lab.root / "host=lab1"
    numbers = {
        name: DeltaTable(str(folder / name)).to_pyarrow_table()["stored_us"].to_pylist()
        for name in ("runs", "files")
    }
    assert sorted(numbers["runs"]) == [2000, 2000, 2001, 2001, *[2_000_000] * 2, *[3_000_000] * 2]
    assert sorted(numbers["files"]) == [1000, 2_000_000, 3_000_000]


@in_folder_and_bucket
@pytest.mark.parametrize("there", [True, False])
def test_rows_are_received_in_the_state_that_was_looked_at_or_not_at_all(lab, tables, there):
    if there:
        tables.append(SOURCE, Position(1, 1), runs=[run(1)])
    looked_at = tables.open_log("runs")
    tables.append(SOURCE, Position(2, 2), runs=[run(2)])
    received = columns.to_table([run(3)], columns.TABLES["runs"])
    for each in (received, received.slice(0, 0)):
        with pytest.raises(ConflictError, match="another process writes to it too"):
            tables.receive("runs", looked_at, each, {"x": 1})
    after = tables.receive("runs", tables.open_log("runs"), received, {"x": 2})
    assert after.transaction_version("x") == 2
    assert rows(lab) == ([1, 2, 3] if there else [2, 3])


def test_a_table_without_its_first_commit_is_as_good_as_none(lab, tables):
    (lab.root / "host=lab1" / "runs" / "_delta_log").mkdir(parents=True)
    assert tables.position(SOURCE) is None
    tables.append(SOURCE, Position(1, 1), runs=[run(1)])
    assert rows(lab) == [1]


@in_folder_and_bucket
def test_another_writer_of_the_same_source_is_refused(lab, tables):
    other = Store(str(lab)).host("lab1")
    tables.append(SOURCE, Position(9, 9), runs=[run(5)])
    other.append(SOURCE, Position(20, 20), runs=[run(15)])
    with pytest.raises(StoreError, match=f"another process stores {SOURCE} too") as raised:
        tables.append(SOURCE, Position(20, 20), runs=[run(15)])
    assert raised.value.remedy == "stop one of them"
    assert rows(lab) == [5, 15]


@in_folder_and_bucket
@pytest.mark.parametrize("before", [None, Position(4, 4)])
def test_what_another_writer_has_stored_since_reading_began_is_not_stored_again(
    lab, tables, before
):
    if before:
        tables.append(SOURCE, before, runs=[run(3)])
    one, other = (Store(str(lab)).host("lab1") for _ in range(2))
    one.append(SOURCE, Position(9, 9), before=before, runs=[run(5)])
    with pytest.raises(StoreError, match=f"another process stores {SOURCE} too"):
        other.append(SOURCE, Position(20, 20), before=before, runs=[run(5), run(15)])
    one.append(SOURCE, Position(20, 20), before=Position(9, 9), runs=[run(15)])
    assert rows(lab) == [*([3] if before else []), 5, 15]


@in_folder_and_bucket
def test_a_position_behind_what_is_stored_does_not_look_like_another_writer(lab, tables):
    tables.append(SOURCE, Position(9, 4), runs=[run(5)])
    again = Store(str(lab)).host("lab1")
    again.append(SOURCE, Position(4, 4))
    again.append(SOURCE, Position(12, 12), runs=[run(10)])
    assert rows(lab) == [5, 10]


def store_many(url, source):
    for seq in range(7):
        Store(url).host("lab1").append(source, Position(seq, seq), runs=[run(seq)])


def test_writers_of_different_sources_take_turns(lab):
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=store_many, args=(str(lab), f"log:{number}")) for number in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert rows(lab) == sorted([*range(7)] * 2)


def test_a_writer_waits_for_another(lab, tables):
    tables.append(SOURCE, Position(1, 1), runs=[run(1)])
    other = threading.Thread(
        target=tables.append, args=(SOURCE, Position(2, 2)), kwargs={"runs": [run(2)]}
    )
    with (lab.root / "host=lab1" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert rows(lab) == [1]
    other.join()
    assert rows(lab) == [1, 2]


def test_small_files_are_joined_and_rows_and_positions_stay(lab, tables):
    for seq in range(5):
        tables.append(SOURCE, Position(seq, seq - 1), runs=[run(seq)])
    before = lab.files("runs")
    tables.compact()
    assert (len(before), len(lab.files("runs"))) == (5, 1)
    assert rows(lab) == [0, 1, 2, 3, 4]
    assert tables.position(SOURCE) == Position(4, 3)
    assert all(Path(file).exists() for file in before), "a reader may still have them open"
    tables.append(SOURCE, Position(5, 5), runs=[run(5)])
    assert rows(lab) == [0, 1, 2, 3, 4, 5]


def test_files_of_killed_commits_are_removed_after_a_while(lab, tables):
    for seq in range(3):
        tables.append(SOURCE, Position(seq, seq), runs=[run(seq)])
    written = Path(lab.files("runs")[0])
    old, new = written.with_name("part-old.parquet"), written.with_name("part-new.parquet")
    shutil.copy(written, old)
    shutil.copy(written, new)
    os.utime(old, (0, time.time() - 3700))
    tables.compact()
    assert not old.exists()
    assert new.exists(), "its commit may still come"
    assert rows(lab) == [0, 1, 2]


def test_replaced_files_are_removed_after_a_while(lab, tables, monkeypatch):
    monkeypatch.setattr(store, "_KEEP_REPLACED_FILES", store.timedelta(0))
    for seq in range(3):
        tables.append(SOURCE, Position(seq, seq), runs=[run(seq)])
    before = lab.files("runs")
    tables.compact()
    assert not any(Path(file).exists() for file in before)
    assert rows(lab) == [0, 1, 2]


@in_folder_and_bucket
def test_the_writer_joins_small_files_by_itself(lab, tables, monkeypatch):
    monkeypatch.setattr(store, "_COMPACT_EVERY", 3)
    for seq in range(7):
        tables.append(SOURCE, Position(seq, seq), runs=[run(seq)])
    assert len(lab.files("runs")) == 2
    assert rows(lab) == list(range(7))


def test_the_writer_leaves_large_files_alone(lab, tables, monkeypatch):
    monkeypatch.setattr(store, "_COMPACT_EVERY", 2)
    monkeypatch.setattr(store, "_SMALL_ROWS", 3)
    for seq in range(0, 12, 3):
        rows_of_one_file = [run(seq + number) for number in range(3)]
        tables.append(SOURCE, Position(seq, seq), runs=rows_of_one_file)
    assert len(lab.files("runs")) == 4
    assert rows(lab) == list(range(12))


@in_folder_and_bucket
def test_the_tables_have_the_columns_of_the_schema(lab, tables):
    tables.append(
        SOURCE,
        Position(9, 9),
        runs=[run(5)],
        losses=[loss(6, 7)],
        files=[detail(5, descriptor=3)],
        calls=[detail(5, call="read")],
        incidents=[{"host": "lab1", "ended_seq": 5, "type": "bug"}],
    )
    tables.append_tracer("udev:b1", 0, [{"host": "lab1", "module": "iotracehooking"}])
    for name, expected in columns.STORED.items():
        frame = pd.concat(map(pd.read_parquet, local_files(lab.files(name))))
        assert list(frame.columns) == expected.names
        assert len(frame) == 1


def test_the_tables_are_read_as_they_are_by_delta_duckdb_and_pandas(lab, tables):
    tables.append(SOURCE, Position(9, 9), runs=[run(5, read_bytes=2**62, file="한글")])
    tables.append(SOURCE, Position(12, 12), runs=[run(11, read_bytes=None, file=None)])
    expected = [(5, 2**62, "한글"), (11, None, None)]
    names = ["first_seq", "read_bytes", "file"]

    table = DeltaTable(str(lab.root / "host=lab1" / "runs")).to_pyarrow_table(columns=names)
    assert sorted(tuple(row.values()) for row in table.to_pylist()) == expected
    duck = duckdb.execute(
        f"select {', '.join(names)} from read_parquet(?) order by 1", [lab.files("runs")]
    )
    assert duck.fetchall() == expected
    # `host` is a column of the files too: pandas must not take it from the folder's name again
    frame = pd.read_parquet(
        lab.files("runs"), columns=names, partitioning=None, dtype_backend="pyarrow"
    ).sort_values("first_seq")
    assert frame["first_seq"].tolist() == [5, 11]
    assert frame["read_bytes"].fillna(0).tolist() == [2**62, 0]
    assert frame["file"].fillna("").tolist() == ["한글", ""]


@in_folder_and_bucket
@pytest.mark.parametrize(
    "host",
    [
        "lab1",
        "lab 1",
        "rechner-ü",
        "한",
        "a/b",
        "..",
        "",
        "a%2Fb",
        "a~7Eb",
        "host=x",
        "h\n",
        "'\"$",
    ],
)
def test_a_host_of_any_name_has_tables_of_its_own(lab, host):
    lab.host(host).append(SOURCE, Position(1, 1), runs=[run(7)])
    lab.host("other").append(SOURCE, Position(1, 1), runs=[run(8)])
    assert lab.hosts() == sorted([host, "other"])
    assert lab.host(host).position(SOURCE) == Position(1, 1)
    assert rows(lab) == [7, 8]
    assert sorted(path.parent for path in lab.root.glob("host=*")) == [lab.root] * 2


@pytest.mark.parametrize(
    "name", ["with blanks", "ünïcode 한", "a#b", "a?b", "a+b&c", "a*b", '"$a"', "{a}", "a:b"]
)
def test_a_store_may_be_in_a_folder_of_any_name(tmp_path, name):
    lab = Store(str(tmp_path / name))
    lab.host("lab1").append(SOURCE, Position(1, 1), runs=[run(7)])
    lab.host("lab1").append(SOURCE, Position(2, 2), runs=[run(8)])
    lab.host("lab1").compact()
    assert lab.host("lab1").position(SOURCE) == Position(2, 2)
    assert rows(lab) == [7, 8]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_store_may_be_named_by_a_file_url(tmp_path):
    assert Store(f"file://{tmp_path}/store").root == tmp_path / "store"


@pytest.mark.parametrize("url", ["gs://bucket/lab", "http://example.org/"])
def test_a_store_of_another_kind_is_refused(url):
    with pytest.raises(StoreError, match="is not supported") as raised:
        Store(url)
    assert "--store" in raised.value.remedy


@pytest.mark.parametrize("character", ["%", "[", "]", "^", "|", "\\", "\n", "\udcff"])
def test_a_path_that_delta_lake_can_not_take_is_refused(tmp_path, character):
    with pytest.raises(StoreError, match="can't be in its path") as raised:
        Store(str(tmp_path / f"a{character}b"))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"LOGTRACE_STORE": "/a", "XDG_DATA_HOME": "/b"}, 0, "/a"),
        ({"LOGTRACE_STORE": "", "XDG_DATA_HOME": "/b"}, 1000, "/b/logtrace"),
        ({"XDG_DATA_HOME": "/b"}, 0, "/var/lib/logtrace"),
        ({}, 1000, str(Path.home() / ".local/share/logtrace")),
    ],
)
def test_the_default_store_is_where_the_environment_says(environ, uid, expected):
    assert default_url(environ, uid=uid) == expected


def test_reading_a_store_that_is_not_there_is_told_with_the_remedy(lab):
    with pytest.raises(StoreError, match="store does not exist") as raised:
        lab.files("runs")
    assert "logtrace import" in raised.value.remedy


def test_a_store_of_which_a_table_is_missing_has_no_rows_of_it(lab, tables):
    tables.append(SOURCE, Position(1, 1), runs=[run(1)])
    assert lab.files("losses") == []


def test_a_broken_table_is_told_with_its_path(lab, tables):
    tables.append(SOURCE, Position(1, 1), runs=[run(1)])
    log = lab.root / "host=lab1" / "runs" / "_delta_log"
    for commit in log.glob("*.json"):
        commit.write_text("{ no json\n")
    for read in (lambda: lab.files("runs"), lambda: tables.position(SOURCE), tables.compact):
        with pytest.raises(StoreError, match=r"host=lab1/runs can't be read"):
            read()


def test_a_folder_that_can_not_be_made_is_told_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"host=lab1 can't be written: Not a directory") as raised:
        Store(str(tmp_path / "file")).host("lab1").append(SOURCE, Position(1, 1))
    assert "--store" in raised.value.remedy


def test_a_folder_that_may_not_be_read_is_told(lab, tables, monkeypatch):
    tables.append(SOURCE, Position(1, 1), runs=[run(1)])

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(StoreError, match=r"runs can't be read: .*Permission denied"):
        tables.position(SOURCE)


@contextmanager
def no_file_larger_than(size):
    """Let the kernel refuse to write more, as it does when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 300, 3000])
def test_what_can_not_be_written_is_not_half_there(lab, tables, size):
    tables.append(SOURCE, Position(9, 9), runs=[run(5)])
    many = [run(seq, file=f"{seq * 7919:x}" * 9) for seq in range(10, 400)]
    with (
        no_file_larger_than(size),
        pytest.raises(StoreError, match=r"host=lab1/runs can't be written") as raised,
    ):
        tables.append(SOURCE, Position(400, 400), runs=many)
    assert "free space" in raised.value.remedy
    assert rows(lab) == [5]
    assert tables.position(SOURCE) == Position(9, 9)
    tables.append(SOURCE, Position(400, 400), runs=many)
    assert rows(lab) == [5, *range(10, 400)]
    assert tables.position(SOURCE) == Position(400, 400)


def test_a_full_disk_is_told_before_anything_is_written(lab, tables, monkeypatch, capfd):
    tables.append(SOURCE, Position(9, 9), runs=[run(5)])
    files = {path for path in lab.root.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 4096))
        with pytest.raises(StoreError, match=r"runs can't be written: .*No space left") as raised:
            tables.append(SOURCE, Position(12, 12), runs=[run(12)])
    assert "free space" in raised.value.remedy
    assert {path for path in lab.root.rglob("*") if path.is_file()} == files
    assert capfd.readouterr().err == ""
    tables.append(SOURCE, Position(12, 12), runs=[run(12)])
    assert rows(lab) == [5, 12]


@in_folder_and_bucket
def test_events_of_the_modules_are_stored_once(lab, tables):
    loaded = {"host": "lab1", "module": "iotracehooking", "action": "add"}
    for _ in range(2):
        tables.append_tracer("udev:b1", 1, [loaded])
    tables.append_tracer("udev:b1", 2, [loaded | {"action": "remove"}])
    assert rows(lab, "tracer", "action") == ["add", "remove"]


MANY_COMMITS = """\
import sys
from pathlib import Path
from logtrace.sparing import spare_memory
from logtrace.store import Position, Store

def kept_kib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])

spare_memory(at_once=True)
tables = Store(sys.argv[1]).host("lab1")
for seq in range(60):
    tables.append("kmsg:b1", Position(seq, seq), runs=[{"host": "lab1", "first_seq": seq}])
    if seq in (9, 59):
        print(kept_kib())
"""


def test_memory_does_not_grow_with_commits_where_it_is_spared(tmp_path, monkeypatch):
    monkeypatch.delenv("_RJEM_MALLOC_CONF", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", MANY_COMMITS, str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    after_few, after_many = map(int, done.stdout.split())
    assert after_many - after_few < 5 * 1024, "it is 1 MiB; by default, more than 10"
