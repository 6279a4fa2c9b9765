import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from report_samples import START, detail_row, loss_row, run_row, tracer_row
from store_samples import fill, rows_of, store_with

from logtrace import schema
from logtrace.engine import NEWEST_FIRST, OF_RUNS, Engine, Filters, Measure
from logtrace.errors import QueryError, StoreError
from logtrace.store import Store
from logtrace.verify import verify

MINUTE = timedelta(minutes=1)
UNKNOWN = {"boot_id": None, "started_at": None, "ended_at": None, "clock": "none"}


@pytest.fixture(scope="module")
def runs():
    return rows_of(
        {"host": "lab01", "comm": "test", "pid": 1},
        {"host": "lab02", "comm": "cat", "pid": 2, "owner": "lisa"},
        {"host": "lab01", "comm": "test", "pid": 3, "status": "no_end", "ended_at": None},
        {"host": "007", "file": "=1+1", "pid": 4, "boot_id": "b"},
        {"host": "käse / é", "comm": "\\xff", "pid": 5, "started_at": None, "status": "no_start"},
        {"host": "lab01", "pid": 6, "comm": None, "file": None, "owner": None, **UNKNOWN},
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory, runs):
    losses = [loss_row(), loss_row(host="lab02")]
    folder = tmp_path_factory.mktemp("store") / "a b*c'd"
    return Engine(store_with(folder, runs, losses=losses, tracer=[tracer_row()]))


def pids(engine, **filters):
    return list(engine.rows("runs", Filters(**filters), order="pid")["pid"])


def test_rows_of_all_hosts_come_back_as_they_were_stored(engine, runs):
    expected = schema.to_frame(schema.to_table(runs, schema.RUNS))
    pd.testing.assert_frame_equal(engine.rows("runs", order="pid"), expected)


def test_rows_have_the_columns_and_types_of_the_schema(engine):
    for table in ("runs", "losses", "tracer"):
        columns = schema.VIEWS[table]
        frame = engine.rows(table)
        assert len(frame) > 0
        pd.testing.assert_series_equal(frame.dtypes, schema.empty_frame(columns).dtypes)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"host": "lab01"}, [1, 3, 6]),
        ({"host": "007"}, [4]),
        ({"host": "7"}, []),
        ({"host": "käse / é"}, [5]),
        ({"host": "lab"}, []),
        ({"owner": "lisa"}, [2]),
        ({"comm": "test"}, [1, 3, 4]),
        ({"comm": "Test"}, []),
        ({"comm": "tes%"}, []),
        ({"comm": "\udcff"}, [5]),
        ({"file": "=1+1"}, [4]),
        ({"file": "' OR 1=1 --"}, []),
        ({"pid": 2}, [2]),
        ({"pid": 10**30}, []),
        ({"status": "no_end"}, [3]),
        ({"boot": "b"}, [4]),
        ({"run": run_row(3)["run_id"]}, [4]),
        ({"run": run_row(3)["run_id"][:-1]}, [1, 2, 3, 4, 5, 6]),
        ({"host": "lab01", "comm": "test", "status": "complete"}, [1]),
        ({"source": "kmsg", "pid": 6}, [6]),
        ({"source": "other"}, []),
    ],
)
def test_filters_are_exact_and_all_of_them_apply(engine, filters, expected):
    assert pids(engine, **filters) == expected


def test_a_range_has_its_first_instant_and_not_its_last(engine):
    assert pids(engine, since=START + MINUTE, until=START + 3 * MINUTE) == [2, 3]
    assert pids(engine, until=START + MINUTE) == [1]
    assert pids(engine, since=START + 3 * MINUTE + timedelta(microseconds=1)) == [5]


def test_a_run_without_start_stands_at_its_end(engine, runs):
    assert pids(engine, since=runs[4]["ended_at"]) == [5]
    assert pids(engine, since=runs[4]["ended_at"] + timedelta(microseconds=1)) == []


def test_a_run_without_wall_clock_time_is_in_no_range(engine):
    assert 6 not in pids(engine, since=datetime(1970, 1, 1, tzinfo=UTC))
    assert 6 not in pids(engine, until=datetime(2100, 1, 1, tzinfo=UTC))


def test_a_range_in_another_zone_means_the_same_instants(engine):
    seoul = timedelta(hours=9)
    since = (START + MINUTE).astimezone(pd.Timestamp.now("Asia/Seoul").tzinfo)
    assert since.utcoffset() == seoul
    assert pids(engine, since=since) == [2, 3, 4, 5]


def test_an_empty_range_is_refused():
    for until in (START, START - MINUTE):
        with pytest.raises(QueryError, match="is not before"):
            Filters(since=START, until=until)


def test_losses_are_filtered_by_what_is_known_of_them(engine):
    count = lambda **filters: len(engine.rows("losses", Filters(**filters)))  # noqa: E731
    assert (count(), count(host="lab02"), count(host="nobody")) == (2, 1, 0)
    assert count(since=START + timedelta(days=900)) == 0
    # it may have been anybody's lines that were lost
    assert count(owner="lisa") == count(pid=2) == count(run="0") == 2


def test_newest_comes_first_and_no_time_last(engine):
    assert list(engine.newest_runs()["pid"]) == [5, 4, 3, 2, 1, 6]
    assert list(engine.newest_runs(most=2)["pid"]) == [5, 4]
    assert len(engine.rows("runs", limit=0)) == 0


def test_a_group_is_measured_over_all_its_files(engine):
    frame = engine.aggregate({"h": "host"}, [Measure("n", "count(*)", "sum(n)::BIGINT")])
    assert dict(zip(frame["h"], frame["n"], strict=True)) == {
        "007": 1,
        "käse / é": 1,
        "lab01": 3,
        "lab02": 1,
    }
    assert frame["n"].dtype == "Int64"


def test_times_of_groups_are_in_utc_whatever_the_zone(tmp_path):
    engine = Engine(store_with(tmp_path, rows_of({})), "America/New_York")
    frame = engine.aggregate({}, [Measure("first", "min(started_at)", "min(first)")])
    assert frame["first"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert frame["first"].iloc[0] == START


@pytest.mark.parametrize("hosts", [0, 1])
def test_a_store_without_rows_gives_frames_without_rows(tmp_path, hosts):
    if hosts:
        store_with(tmp_path, [])
    engine = Engine(Store(str(tmp_path)))
    gc.collect()
    for table, columns in schema.VIEWS.items():
        pd.testing.assert_frame_equal(engine.rows(table), schema.empty_frame(columns))


def test_a_store_that_does_not_exist_is_named_with_the_remedy(tmp_path):
    with pytest.raises(StoreError, match="nowhere does not exist") as caught:
        Engine(Store(str(tmp_path / "nowhere")))
    assert "logtrace watch" in caught.value.remedy


@pytest.mark.parametrize("damage", [lambda f: f.write_bytes(b"no parquet at all"), Path.unlink])
def test_a_damaged_file_is_named(tmp_path, damage):
    store = store_with(tmp_path, rows_of({}))
    (file,) = map(Path, store.files("runs"))
    damage(file)
    with pytest.raises(StoreError, match=file.name):
        Engine(store).rows("runs")


@pytest.mark.parametrize("place", [0, 1, 2, 4, 50, 100, -4, -8, -100, -500, -1000])
@pytest.mark.parametrize("junk", [b"\xff", b"\x0e" * 16, b"\0" * 16])
def test_damage_anywhere_in_a_file_is_one_of_the_store_and_never_an_error_of_its_own(
    tmp_path, place, junk
):
    store = store_with(tmp_path, rows_of(*({"pid": pid} for pid in range(300))))
    (file,) = map(Path, store.files("runs"))
    content = bytearray(file.read_bytes())
    place %= len(content)
    content[place : place + len(junk)] = junk[: len(content) - place]
    file.write_bytes(content)
    told = []
    try:
        Engine(store).rows("runs")
    except StoreError as error:
        told.append(error)
    for error in told:
        assert str(error).isprintable()
        assert "`logtrace store verify` names the file" in error.remedy
        assert any(file.name in each.what for each in verify(store, store.hosts()))


def test_an_unknown_zone_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(QueryError, match="Mars/Olympus") as caught:
        Engine(store_with(tmp_path, []), "Mars/Olympus")
    assert "--tz" in caught.value.remedy


def test_a_wrong_query_is_not_taken_for_a_broken_store(engine):
    with pytest.raises(Exception, match="no_such_column") as caught:
        engine.rows("runs", order="no_such_column")
    assert not isinstance(caught.value, StoreError)


def test_rows_of_another_version_of_the_table_are_read_too(tmp_path):
    from deltalake import write_deltalake

    older = pa.schema([column for column in schema.RUNS if column.name not in ("note", "wide")])
    store_with(tmp_path, rows_of({}))
    table = schema.to_table([run_row(1, host="old")], schema.RUNS).select(older.names)
    write_deltalake(str(tmp_path / "host=old" / "runs"), table)
    frame = Engine(Store(str(tmp_path))).rows("runs", order="pid")
    assert list(frame["host"]) == ["lab01", "old"]


def test_a_store_of_an_older_version_has_no_values_for_what_is_new(tmp_path):
    from deltalake import write_deltalake

    older = schema.to_table([run_row(1)], schema.RUNS).select(schema.RUNS.names[:-7])
    write_deltalake(str(tmp_path / "host=lab01" / "runs"), older)
    engine = Engine(Store(str(tmp_path)))
    frame = engine.rows("runs")
    pd.testing.assert_series_equal(frame.dtypes, schema.empty_frame(schema.RUNS).dtypes)
    assert frame.iloc[0, -7:].isna().all()
    assert frame["comm"].tolist() == ["test"]
    for table in OF_RUNS:
        pd.testing.assert_frame_equal(engine.rows(table), schema.empty_frame(schema.TABLES[table]))


@pytest.fixture(scope="module")
def detailed(tmp_path_factory):
    """Give runs of three programs, each with two files and a call."""
    runs = rows_of({"comm": "a"}, {"comm": "b", "host": "lab02"}, {"comm": "c"})
    folder = tmp_path_factory.mktemp("store")
    for host in ("lab01", "lab02"):
        own = [run for run in runs if run["host"] == host]
        files = [detail_row(run, descriptor=number, path="/f") for run in own for number in (3, 4)]
        calls = [detail_row(run, call="read", calls=7) for run in own]
        fill(Store(str(folder)), own, host=host, files=files, calls=calls)
    return Engine(Store(str(folder)))


@pytest.mark.parametrize(
    ("filters", "chosen", "programs"),
    [
        ({}, None, ["a", "b", "c"]),
        ({"comm": "b"}, None, ["b"]),
        ({"host": "lab01"}, None, ["a", "c"]),
        ({"since": START + timedelta(minutes=1)}, None, ["b", "c"]),
        ({"status": "no_end"}, None, []),
        ({}, "bc", ["b", "c"]),
        ({}, "", []),
    ],
)
def test_filters_of_details_mean_their_runs(detailed, filters, chosen, programs):
    query = {"order": "comm"}
    if chosen is not None:
        runs = detailed.rows("runs")
        query["among"] = runs[runs["comm"].isin([*chosen])]["run_id"]
    calls = detailed.rows("calls", Filters(**filters), **query)
    assert list(calls["comm"]) == programs
    files = detailed.rows("files", Filters(**filters), **query)
    assert list(files["comm"]) == [name for name in programs for _ in range(2)]
    for table, frame in (("files", files), ("calls", calls)):
        types = schema.empty_frame(schema.TABLES[table]).dtypes
        pd.testing.assert_series_equal(frame.dtypes, types)


# In batches


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr("logtrace.engine.BATCH_ROWS", 2)


@pytest.mark.parametrize("filters", [{}, {"host": "lab01"}, {"since": START}, {"owner": "nobody"}])
def test_batches_are_the_rows_in_their_order(engine, small_batches, filters):
    rows = engine.rows("runs", Filters(**filters), order=NEWEST_FIRST)
    batches = list(engine.rows_in_batches("runs", Filters(**filters), order=NEWEST_FIRST))
    assert {len(batch) for batch in batches} <= {1, 2} or len(rows) == 0
    pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), rows)


def test_runs_without_time_are_in_the_last_batch(engine, small_batches):
    *_, last = engine.rows_in_batches("runs", order=NEWEST_FIRST)
    assert list(last["pid"])[-1] == 6


def test_looks_at_runs_come_in_batches_too(engine, small_batches):
    told = pd.DataFrame({"comm": pd.Series(["test"], dtype="str"), "told": ["twice"]})
    asked = {"columns": {"pid": "pid", "told": "told"}, "where": "pid > 1", "order": "pid"}
    asked["beside"] = {"comm": told}
    batches = list(engine.select_in_batches(**asked))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), engine.select(**asked))


def test_no_rows_are_one_batch_without_rows(engine, tmp_path):
    for asked, table in ((engine, "incidents"), (Engine(Store(str(tmp_path))), "runs")):
        (batch,) = asked.rows_in_batches(table)
        pd.testing.assert_frame_equal(batch, schema.empty_frame(schema.VIEWS[table]))


def test_batches_that_nobody_takes_any_more_hold_nothing_up(engine, small_batches):
    batches = engine.rows_in_batches("runs", order=NEWEST_FIRST)
    next(batches)
    batches.close()
    assert len(engine.rows("runs")) == 6


def test_what_is_sorted_on_the_disk_is_gone_with_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    engine = Engine(store_with(tmp_path / "store", rows_of({}, {})))
    assert len(list(engine.rows_in_batches("runs"))) == 1
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del engine
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_too_little_room_to_sort_is_told_with_the_folder(engine, monkeypatch):
    rows = engine.rows_in_batches("runs", order="repeat(run_id, 30000000)")
    monkeypatch.setattr("logtrace.views._SORT_MIB_A_THREAD", 16)
    with pytest.raises(QueryError, match="no room to sort") as caught:
        list(rows)
    assert "TMPDIR" in caught.value.remedy
    assert len(engine.rows("runs")) == 6


@pytest.fixture
def large_tables(monkeypatch):
    monkeypatch.setattr("logtrace.views._READ_ONCE_BYTES", 0)


def test_small_tables_are_read_once(tmp_path):
    store = store_with(tmp_path, [run_row(0)])
    engine = Engine(store)
    Path(store.files("runs")[0]).unlink()
    assert len(engine.rows("runs")) == 1


def test_tables_are_the_same_read_once_or_by_each_query(engine, large_tables):
    by_each = Engine(engine.store)
    for table in schema.VIEWS:
        pd.testing.assert_frame_equal(by_each.rows(table), engine.rows(table))
    facts = {"pid": "pid", "open": "left_open", "failed": "failed_calls", "when": '"at"'}
    pd.testing.assert_frame_equal(by_each.select(facts), engine.select(facts))


def test_a_file_that_can_not_be_read_is_named_when_its_small_table_is_opened(tmp_path):
    store = store_with(tmp_path, [run_row(0)])
    file = Path(store.files("runs")[0])
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StoreError, match=file.name):
        Engine(store)
    file.unlink()
    with pytest.raises(StoreError, match=file.name):
        Engine(store)


def test_a_file_that_can_not_be_read_is_named_before_the_first_batch(tmp_path, large_tables):
    store = store_with(tmp_path, [run_row(0)])
    engine, file = Engine(store), Path(store.files("runs")[0])
    file.unlink()
    with pytest.raises(StoreError, match=file.name):
        next(engine.rows_in_batches("runs"))
