"""A cluster answers as one process does, to the last digit, also when a worker dies."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from dask_cluster import cluster as cluster_of
from distributed import get_task_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import START, detail_row, lab_rows, loss_row, run_row, tracer_row
from store_samples import CONTRACT, fill, log_of, store_with

from logtrace import coverage, cube, findings, history, schema, stats, trend
from logtrace.cli import cli
from logtrace.cluster import SAME, Cluster, differences, grouped
from logtrace.cluster_import import Task, import_log
from logtrace.engine import NEWEST_FIRST, Engine, Filters
from logtrace.errors import ClusterError, StoreError
from logtrace.importer import Importing, find_logs
from logtrace.incident_list import incidents
from logtrace.store import Store

pytestmark = [
    pytest.mark.xdist_group("dask"),
    # the client's own threads use it while hypothesis makes an example
    pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
]

ZONE = "Asia/Seoul"
NOW = START + timedelta(days=1)
RANGE = Filters(since=START + timedelta(minutes=30), until=NOW)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with cluster_of(tmp_path_factory.mktemp("dask"), workers=2) as scheduler:
        yield scheduler


@pytest.fixture(scope="module")
def cluster(scheduler):
    with closing(Cluster(scheduler.address)) as cluster:
        yield cluster


# Its modules on one host never set their counters back, so that the runs of its owner are totals
def totals(host):
    return [
        run_row(
            1000 + number,
            host=host,
            owner="total",
            **{name: number * (4 + at) for at, name in enumerate(schema.COUNTERS)},
        )
        for number in (1, 2, 3, 4)
    ]


def fault(run, number):
    return {
        **{name: run[name] for name in ("host", "boot_id", "pid", "comm", "source")},
        "incident_id": f"{number:016x}",
        "first_seq": run["first_seq"] + 1,
        "last_seq": run["first_seq"] + 2,
        "ended_seq": run["first_seq"] + 2,
        "at": START,
        "type": "oops",
        "message": "BUG",
        "fingerprint": "f" * 16,
        "report": "BUG",
        "truncated": False,
        "mixed": False,
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Give a store of five hosts, with all that a report tells of."""
    store = Store(str(tmp_path_factory.mktemp("store") / "host=a"))
    rows = lab_rows(211)
    rows[7] |= {"read_bytes": 2**62, "written_bytes": 2**62}
    rows[12] |= {"read_bytes": 2**62, "comm": None, "owner": None, "started_at": None}
    for number, host in enumerate(sorted({row["host"] for row in rows})):
        own = [row for row in rows if row["host"] == host] + (totals(host) if number == 2 else [])
        detailed = own[::4]
        for row in detailed:
            row |= {"detail": True, "wide": True}
        calls = [
            detail_row(row, call=call, calls=7, errors=2 * (call != "mmap"))
            for row in detailed
            for call in ("read", "openat", "mmap", "write")
        ]
        files = [
            detail_row(row, descriptor=n, path=f"/f{n}", opens=n, writes=1, open_at_end=n == 4)
            for row in detailed
            for n in (3, 4)
        ]
        fill(
            store,
            own,
            [loss_row(host=host), loss_row(host=host, first_seq=5)],
            [tracer_row(host=host), tracer_row(host=host, module="ftracehooking")],
            host,
            files=files,
            calls=calls,
            incidents=[fault(own[0], number), fault(own[1], 10 + number)],
        )
    return store


@pytest.fixture(scope="module")
def engines(store, cluster):
    return Engine(store, ZONE), Engine(store, ZONE, cluster=cluster)


def cells(engine):
    over_time, width = stats.timeline(engine)
    made = cube.of_store(engine, Filters(), [["owner"], ["file"]], over_time, width)
    return made.cells


def set_aside(engine):
    chosen = engine.newest_runs(most=20)["run_id"]
    return findings.of_runs(engine, among=engine.set_aside(chosen))


def of_the_newest(engine):
    chosen = engine.newest_runs(most=150)["run_id"]
    return pd.concat(engine.rows(table, among=chosen) for table in ("files", "calls"))


ASKED = {
    **{
        f"the table {table}": lambda engine, table=table: engine.rows(table)
        for table in schema.VIEWS
    },
    "the newest runs": lambda engine: engine.newest_runs(most=17),
    "the newest runs of a range": lambda engine: engine.newest_runs(RANGE, 9),
    "more than there are of the newest runs": lambda engine: engine.newest_runs(most=10_000),
    "all runs, the newest first": lambda engine: engine.newest_runs(),
    "runs of a range": lambda engine: engine.rows("runs", RANGE),
    "details of a host": lambda engine: engine.rows("files", Filters(host="lab02")),
    "details of the newest": of_the_newest,
    "in an order that leaves it open": lambda e: e.rows("tracer", order='"at" DESC', limit=3),
    "totals": lambda engine: pd.DataFrame([stats.totals(engine)], dtype=object),
    "reasons": stats.reasons,
    "boots": stats.by_boot,
    "statistics of all": lambda engine: stats.statistics(engine, []),
    **{
        f"statistics by {key}": lambda engine, key=key: stats.statistics(engine, [key], RANGE)
        for key in stats.KEYS
    },
    "statistics by two keys, and before": lambda engine: stats.statistics(
        engine, ["host", "owner"], RANGE, Filters(until=RANGE.since)
    ),
    "the timeline": lambda engine: stats.timeline(engine)[0],
    "cells": cells,
    "findings": findings.of_runs,
    "how many findings": lambda engine: findings.survey(engine)[0],
    "the heaviest findings": lambda engine: findings.survey(engine, most=3)[1].to_frame(),
    "findings of some runs": set_aside,
    "what is usual": lambda engine: history.usual(history.of_store(engine)),
    "incidents": incidents,
    "coverage": lambda engine: coverage.of_store(engine, Filters(), NOW),
    "trends": lambda engine: pd.DataFrame(
        trend.trend(engine, stats.usage(engine, ["owner"]), ["owner"], Filters(), NOW).counts
    ),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_both_engines_give_the_same(engines, asked):
    local, spread = map(asked, engines)
    assert len(local) > 0
    pd.testing.assert_frame_equal(spread, local, check_exact=True)


def test_totals_of_modules_are_taken_apart_on_workers_too(engines):
    runs = engines[1].rows("runs", Filters(owner="total"), order="first_seq")
    assert list(runs["read_calls"]) == [runs["raw_read_calls"][0]] * 4


RUNS = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["lab1", "lab2", "lab3"]),
        "owner": st.sampled_from(["a", "b", None]),
        "comm": st.sampled_from(["x", "y", None]),
        "file": st.sampled_from(["f", "g", "h"]),
        "read_bytes": st.sampled_from([None, 0, 1, 2**53 + 1, 2**62]),
        "status": st.sampled_from(schema.STATUSES),
        "started_at": st.sampled_from([None, START, START + timedelta(hours=8)]),
    }
)


@settings(max_examples=8)
@given(st.lists(RUNS, max_size=9))
def test_both_engines_measure_any_runs_alike(cluster, tmp_path_factory, runs):
    rows = [run_row(number, **run) for number, run in enumerate(runs)]
    store = store_with(tmp_path_factory.mktemp("store"), rows)
    for by in (["host"], ["owner", "day"]):
        local, spread = (
            stats.usage(Engine(store, ZONE, cluster=each), by) for each in (None, cluster)
        )
        pd.testing.assert_frame_equal(spread, local, check_exact=True)


FLOWS = {
    "runs": lambda engine: engine.rows_in_batches("runs", order=NEWEST_FIRST),
    "runs of a range": lambda engine: engine.rows_in_batches("runs", RANGE, order=NEWEST_FIRST),
    "details of a host": lambda engine: engine.rows_in_batches("files", Filters(host="lab02")),
    "in an order that leaves it open": lambda e: e.rows_in_batches("tracer", order='"at" DESC'),
    "of nobody": lambda engine: engine.rows_in_batches("runs", Filters(owner="nobody")),
    "findings": findings.in_batches,
}


@pytest.mark.parametrize("rows", [40, 10_000])
@pytest.mark.parametrize("asked", FLOWS.values(), ids=FLOWS)
def test_both_engines_give_the_same_in_batches(engines, monkeypatch, asked, rows):
    monkeypatch.setattr("logtrace.engine.BATCH_ROWS", rows)
    local, spread = (pd.concat(asked(each), ignore_index=True) for each in engines)
    pd.testing.assert_frame_equal(spread, local, check_exact=True)


@settings(max_examples=8)
@given(st.lists(RUNS, max_size=12), st.integers(1, 12))
def test_any_runs_are_merged_in_order(cluster, tmp_path_factory, runs, rows):
    stored = [run_row(number, **run) for number, run in enumerate(runs)]
    store = store_with(tmp_path_factory.mktemp("store"), stored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logtrace.engine.BATCH_ROWS", rows)
        batches = Engine(store, cluster=cluster).rows_in_batches("runs", order=NEWEST_FIRST)
        spread = pd.concat(batches, ignore_index=True)
    pd.testing.assert_frame_equal(spread, Engine(store).rows("runs", order=NEWEST_FIRST))


def test_the_rows_that_come_at_once_do_not_grow_with_the_store(engines, monkeypatch):
    monkeypatch.setattr("logtrace.engine.BATCH_ROWS", 30)
    sizes = [len(batch) for batch in engines[1].rows_in_batches("runs", order=NEWEST_FIRST)]
    assert max(sizes) <= 45  # one and a half times as much is here, as some parts are ahead
    assert sum(sizes) == len(engines[1].rows("runs"))


def report(store, out, *options):
    arguments = ["report", "--store", str(store), "--out", str(out), "--tz", ZONE, "--quiet"]
    arguments += ["--format", "csv,json,parquet", "--until", "2026-11-23T12:00", *options]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_report_by_workers_has_the_same_bytes(store, scheduler, tmp_path):
    local = report(store, tmp_path / "local")
    spread = report(store, tmp_path / "spread", "--scheduler", scheduler.address)
    assert {name for name in local if local[name] != spread[name]} == set()
    assert len(local) == len(spread) > 20


# Workers that die, and files that are gone


def test_what_a_worker_that_died_had_to_answer_another_one_answers(store, scheduler, cluster):
    local = stats.statistics(Engine(store), ["owner"])
    with scheduler.dying_worker() as dying, ThreadPoolExecutor(1) as beside:
        dying.stop()
        asked = beside.submit(lambda: stats.statistics(Engine(store, cluster=cluster), ["owner"]))
        dying.die()
        pd.testing.assert_frame_equal(asked.result(), local, check_exact=True)


def test_pages_of_a_worker_that_died_another_one_gives(store, tmp_path, monkeypatch):
    monkeypatch.setattr("logtrace.engine.BATCH_ROWS", 20)
    with (
        cluster_of(tmp_path, workers=0) as scheduler,
        scheduler.worker("first") as (child, _),
        closing(Cluster(scheduler.address)) as cluster,
    ):
        batches = Engine(store, cluster=cluster).rows_in_batches("runs", order=NEWEST_FIRST)
        begun = [next(batches), next(batches)]
        with scheduler.worker("second"):
            child.kill()
            spread = pd.concat([*begun, *batches], ignore_index=True)
    pd.testing.assert_frame_equal(spread, Engine(store).rows("runs", order=NEWEST_FIRST))


def test_what_workers_die_of_over_and_over_ends_with_the_remedy(store, tmp_path):
    at_once = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with (
        cluster_of(tmp_path, 0, **at_once) as scheduler,
        scheduler.dying_worker() as dying,
        closing(Cluster(scheduler.address)) as cluster,
        ThreadPoolExecutor(1) as beside,
    ):
        dying.stop()
        asked = beside.submit(lambda: Engine(store, cluster=cluster).rows("runs"))
        dying.die()
        with pytest.raises(ClusterError, match="workers died of the same task") as caught:
            asked.result()
    assert "--memory-limit" in caught.value.remedy


def test_a_file_that_a_worker_can_not_read_is_named_with_the_worker(cluster, tmp_path):
    store = store_with(tmp_path, lab_rows(10))
    engine = Engine(store, cluster=cluster)
    gone = Path(store.files("runs")[0])
    gone.unlink()
    with pytest.raises(StoreError, match=gone.name) as caught:
        engine.rows("runs")
    assert "worker tcp://127.0.0.1:" in caught.value.message
    assert "same place" in caught.value.remedy


def test_a_wrong_query_is_not_taken_for_a_broken_cluster(engines):
    with pytest.raises(Exception, match="no_such_column") as caught:
        engines[1].rows("runs", order="no_such_column")
    assert not isinstance(caught.value, StoreError | ClusterError)


# The cluster


def test_duckdb_has_a_share_of_a_workers_memory_and_its_threads(engines, cluster, scheduler):
    engines[1].rows("losses")
    settings = ["memory_limit", "threads", "temp_directory"]

    def limits():  # inside, so that its code is sent
        import duckdb

        with duckdb.connect(":memory:logtrace") as database:
            named = [f"current_setting('{setting}')" for setting in settings]
            return database.execute(f"SELECT {', '.join(named)}").fetchone()

    memory, threads, folder = cluster.client.submit(limits, pure=False).result()
    assert memory == "367.5 MiB"  # 70 % of 1 GB, less 300 MiB
    assert threads == 1
    assert folder.startswith(str(scheduler.folder))


def test_a_worker_that_has_used_its_folder_opens_further_parts(engines, cluster):
    engines[1].rows("losses")

    def opened_after_a_large_table():  # inside, so that its code is sent
        from logtrace.cluster import _connect_in_worker

        with _connect_in_worker(ZONE) as database:
            database.execute("SET memory_limit = '60MB'")
            database.execute("CREATE TEMP TABLE large AS SELECT hash(range) FROM range(20000000)")
            files = database.execute("SELECT count(*) FROM duckdb_temporary_files()").fetchall()
            with _connect_in_worker(ZONE):
                return files[0][0]

    assert cluster.client.submit(opened_after_a_large_table, pure=False).result() > 0


def asked(*options):
    return CliRunner().invoke(cli, ["stats", "--store", "/nowhere", *options])


def test_a_scheduler_that_is_not_there_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr("logtrace.cluster._CONNECT_S", 0.5)
    done = asked("--scheduler", "tcp://127.0.0.1:9")
    assert done.exit_code == 1
    assert "scheduler tcp://127.0.0.1:9 can't be reached" in done.stderr
    assert "dask scheduler" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["foo://x:1", "tcp://", "tcp://127.0.0.1:zz", "lab"])
def test_what_is_no_address_is_named(address):
    done = asked("--scheduler", address)
    assert done.exit_code == 1
    assert f"scheduler {address} can't be reached" in done.stderr


def test_a_scheduler_of_the_local_engine_is_wrong_usage():
    done = asked("--engine", "local", "--scheduler", "tcp://lab:8786")
    assert done.exit_code == 2
    assert "--scheduler is of --engine dask" in done.stderr


def test_dask_without_a_scheduler_is_wrong_usage(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LOGTRACE_SCHEDULER", raising=False)
    done = asked("--engine", "dask")
    assert done.exit_code == 2
    assert "$LOGTRACE_SCHEDULER" in done.stderr


def test_that_dask_is_not_installed_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    done = asked("--scheduler", "tcp://lab:8786")
    assert done.exit_code == 1
    assert "pip install 'logtrace[dask]'" in done.stderr


def test_a_scheduler_without_workers_is_told(tmp_path):
    with cluster_of(tmp_path, workers=0) as scheduler:
        with pytest.raises(ClusterError, match="has no worker") as caught:
            Cluster(scheduler.address)
        assert f"dask worker {scheduler.address}" in caught.value.remedy


def test_a_worker_of_another_version_is_named_with_both(scheduler, tmp_path):
    other = tmp_path / "site" / "duckdb-0.1.dist-info" / "METADATA"
    other.parent.mkdir(parents=True)
    other.write_text("Metadata-Version: 2.1\nName: duckdb\nVersion: 0.1\n")
    environ = {"PYTHONPATH": str(tmp_path / "site")}
    old = scheduler.worker("old", **environ)
    with old as (_, address), pytest.raises(ClusterError) as caught:
        Cluster(scheduler.address)
    assert f"and 0.1 on worker {address}" in caught.value.message
    assert caught.value.message.count(" here, and ") == 1


def test_differing_versions_are_named_with_where_they_are():
    here = dict.fromkeys(SAME, "1")
    others = {
        "the scheduler": here | {"dask": "2"},
        "worker a": here | {"dask": "2", "logtrace": None},
        "worker b": here,
    }
    assert differences(here, others) == [
        "logtrace is 1 here, and missing on worker a",
        "dask is 1 here, and 2 on the scheduler, worker a",
    ]
    many = {f"worker {number}": here | {"python": "2"} for number in range(9)}
    (told,) = differences(here, many)
    assert told.endswith("2 on worker 0, worker 1, worker 2 and 6 more")
    assert differences(here, {"worker": here}) == []


MACHINES = st.dictionaries(st.text("abc=", min_size=1), st.integers(1, 99), max_size=9)


@given(MACHINES, st.integers(1, 5))
def test_files_of_a_machine_stay_together_and_parts_are_about_as_large(machines, most):
    files = {
        table: [f"/runs/host={name}/{table}/{n}.parquet" for name in machines for n in (1, 2)]
        for table in schema.TABLES
    }
    size_of = lambda file: machines[file.split("/")[2].removeprefix("host=")]  # noqa: E731
    parts = grouped(files, most, size_of)
    for table, own in files.items():
        assert sorted(file for part in parts for file in part[table]) == sorted(own)
    of_parts = [{file.split("/")[2] for own in part.values() for file in own} for part in parts]
    assert sum(map(len, of_parts)) == len(machines)
    assert len(parts) == max(1, min(most, len(machines)))
    sizes = [sum(map(size_of, (f for own in part.values() for f in own))) for part in parts]
    largest = 2 * len(schema.TABLES) * max(machines.values(), default=0)
    assert max(sizes) - min(sizes) <= largest


# Imports

TABLES = ("runs", "losses")


def syslog(machine, *pids):
    lines = log_of(*pids).splitlines()
    return "".join(f"Nov 23 10:00:{n:02d} {machine} kernel: {x}\n" for n, x in enumerate(lines))


@pytest.fixture
def archive(tmp_path):
    """Give a folder of logs: five machines, one twice, one that names none, and what is no log."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for number in range(12):
        log = syslog(f"lab{number % 5}", *range(10 * number + 10, 10 * number + 13))
        (folder / f"{number:02d}.log").write_text(log)
    (folder / "again.log").write_bytes((folder / "03.log").read_bytes())
    (folder / "dmesg").write_text(CONTRACT)
    (folder / "image.gz").write_bytes(b"\x1f\x8bno log at all")
    return folder


def imported(archive, store, *options):
    """Give what is printed of each log, and what is stored."""
    arguments = ["import", str(archive), "--store", str(store), "--host", "here", "--tz", "UTC"]
    done = CliRunner().invoke(cli, [*arguments, "--year", "2026", "--json", *options])
    assert done.exit_code == 1
    assert "image.gz" in done.stderr
    engine = Engine(Store(str(store)))
    tables = {table: engine.rows(table) for table in TABLES}
    return sorted(map(json.loads, done.stdout.splitlines()), key=lambda each: each["path"]), tables


def assert_same_tables(tables, others):
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(others[name], frame)


def test_workers_import_an_archive_as_one_process_does(scheduler, cluster, archive, tmp_path):
    told, tables = imported(archive, tmp_path / "local")
    by_workers = "--scheduler", scheduler.address
    with get_task_stream(cluster.client) as tasks:
        also_told, same = imported(archive, tmp_path / "spread", *by_workers)
    assert also_told == told
    assert len({task["worker"] for task in tasks.data}) > 1, "all was left to one worker"
    assert len(told) == 14
    assert len(tables["runs"]) == 37
    assert_same_tables(tables, same)
    told_again, still_same = imported(archive, tmp_path / "spread", *by_workers)
    assert all(each["already_stored"] for each in told_again)
    assert_same_tables(tables, still_same)


def test_logs_that_a_worker_died_of_are_imported_once(scheduler, cluster, archive, tmp_path):
    stores = [Store(str(tmp_path / name)) for name in ("local", "spread")]
    how, logs = Importing("here", zone=UTC, year=2026), find_logs([archive])
    list(how.import_logs(stores[0], logs))
    with scheduler.dying_worker() as dying, ThreadPoolExecutor(1) as beside:
        dying.stop()
        importing = beside.submit(lambda: list(how.import_logs(stores[1], logs, cluster)))
        dying.die()
        assert len(importing.result()) == len(logs)
    local, spread = ({name: Engine(store).rows(name) for name in TABLES} for store in stores)
    assert_same_tables(local, spread)


def test_what_a_worker_can_not_read_is_named_with_the_worker(scheduler, archive, tmp_path):
    done = CliRunner().invoke(
        cli,
        ["import", str(archive), "--store", str(tmp_path), "--scheduler", scheduler.address],
    )
    assert "Error: worker tcp://127.0.0.1:" in done.stderr


def test_workers_do_not_read_standard_input(scheduler, tmp_path):
    options = ["--store", str(tmp_path), "--scheduler", scheduler.address]
    done = CliRunner().invoke(cli, ["import", "-", *options], input=CONTRACT)
    assert done.exit_code == 1
    assert "--engine local" in done.stderr


def test_a_worker_that_sees_another_store_does_not_store_there(cluster, archive, tmp_path):
    there, log = tmp_path / "there", archive / "00.log"
    task = Task(str(there), tmp_path / "here" / "sign", Importing("here"), log, 1)
    with pytest.raises(StoreError, match=r"worker tcp://.*store /.* is not that of this machine"):
        cluster.client.submit(import_log, task, None).result()
    assert not there.exists()
