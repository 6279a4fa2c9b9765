import doctest
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from incident_samples import REPORTS
from log_samples import ops, stats
from store_samples import CONTRACT, detailed_log_of, log_of, rows_of, store_with

import logtrace
from logtrace import importer, schema
from logtrace.cli import cli
from logtrace.engine import Engine
from logtrace.errors import LogtraceError, QueryError, SourceError, StoreError
from logtrace.store import Store

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text()
EXPORTED = ["Log", "LogtraceError", "__version__", "load_runs", "read_log", "statistics"]


def test_the_package_exports_these_and_says_so():
    assert logtrace.__all__ == EXPORTED
    assert set(EXPORTED) <= set(dir(logtrace))
    assert all(getattr(logtrace, name) is not None for name in EXPORTED)
    assert logtrace.LogtraceError is LogtraceError
    with pytest.raises(AttributeError, match="no attribute 'runs_of'"):
        logtrace.runs_of  # noqa: B018


def test_what_is_exported_is_documented_with_its_parameters():
    for name in ("read_log", "load_runs", "statistics"):
        function = getattr(logtrace, name)
        assert "Parameters\n" in function.__doc__
        assert "Returns\n" in function.__doc__
        assert f"`{name}`" in PAGE


def test_importing_the_package_imports_next_to_nothing():
    code = (
        "import sys; before = set(sys.modules); import logtrace; "
        "print(*sorted({name for name in set(sys.modules) - before "
        "if name.partition('.')[0] not in sys.stdlib_module_names}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["logtrace"]


LAB = "".join(
    f"2026-11-23T10:00:0{second}.00000{number}+0900 lab1 kernel: {line}\n"
    for second, owner, comm, read in (
        (0, "2021202045", "test", 20),
        (1, "lisa", "cp", 5),
        (2, "lisa", "cp", 10),
    )
    for number, line in enumerate(
        (
            f"OS Assignment2 ftrace [{second + 7}] Start",
            f"[{owner}] {comm} file[abc.txt] stats [x] read - {read} / written - 26",
            "open[1] close[1] read[4] write[5] lseek[9]",
            f"OS Assignment2 ftrace [{second + 7}] End",
        ),
        1,
    )
)


def test_everything_on_the_page_is_run_and_prints_what_stands_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (log,) = re.findall(r"```log\n(.*?)```", PAGE, re.S)
    Path("kern.log").write_text(log)
    (command,) = re.findall(r"```sh\n.*\| logtrace (.*)\n```", PAGE)
    assert CliRunner().invoke(cli, command.split(), input=LAB).exit_code == 0
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))
    example = doctest.DocTestParser().get_doctest(code, {}, "python.md", "python.md", 0)
    assert len(example.examples) > 10
    told = []
    with pd.option_context("display.width", 100, "display.max_columns", 20):
        doctest.DocTestRunner().run(example, out=told.append)
    assert not told, "".join(told)


def stored(tmp_path, *logs, host="lab"):
    tables = Store(str(tmp_path / "store")).host(host)
    for log in logs:
        importer.import_log(tables, log, host)
    return Engine(Store(str(tmp_path / "store")))


TOTALS = "".join(
    f"[{second:5d}.000001] OS Assignment2 ftrace [{second}] Start\n"
    f"[{second:5d}.000002] {stats(read=20 * count, written=26 * count)}\n"
    f"[{second:5d}.000003] {ops(*(count * each for each in (1, 1, 4, 5, 9)))}\n"
    f"[{second:5d}.000004] OS Assignment2 ftrace [{second}] End\n"
    for count, second in enumerate(range(100, 105), 1)
)


@pytest.mark.parametrize(
    "text",
    [
        CONTRACT,
        log_of(*range(1, 40)),
        detailed_log_of(11, 12, 13),
        LAB,
        TOTALS,
        "[    1.000000] usb\n",
    ],
    ids=["contract", "many", "detailed", "syslog", "totals", "nothing"],
)
def test_a_log_that_is_read_gives_what_it_gives_when_it_is_stored(text, tmp_path):
    log = tmp_path / "kern.log"
    log.write_text(text)
    read = logtrace.read_log(log, host="lab", tz="UTC")
    engine = stored(tmp_path, log)
    for name in logtrace.Log._fields:
        frame = getattr(read, name)
        order = "first_seq" if "first_seq" in frame else "ended_seq"
        expected = engine.rows(name, order=f"host, {order}")
        keys = [column for column in ("host", order, "descriptor", "call") if column in frame]
        pd.testing.assert_frame_equal(
            frame.sort_values(keys, ignore_index=True),
            expected.sort_values(keys, ignore_index=True),
        )


def test_detected_totals_are_taken_apart_in_the_order_of_the_log(tmp_path):
    log = tmp_path / "kern.log"
    log.write_text(TOTALS)
    runs = logtrace.read_log(log, tz="UTC").runs
    assert list(runs["read_bytes"]) == [20] * 5
    assert list(runs["raw_read_bytes"]) == [20, 40, 60, 80, 100]
    assert list(runs["pid"]) == [100, 101, 102, 103, 104]


def test_a_reported_fault_is_an_incident(tmp_path):
    log = tmp_path / "kern.log"
    lines, expected = REPORTS["BUG"]
    log.write_text("".join(f"[    1.000000] {line}\n" for line in lines))
    (found,) = logtrace.read_log(log, tz="UTC").incidents.to_dict("records")
    assert found.items() >= expected.items()


def test_a_folder_is_read_whole_and_a_log_in_it_once(tmp_path):
    for name, pids in (("a", [1, 2]), ("b", [3]), ("c", [1, 2])):
        (tmp_path / name).write_text(log_of(*pids))
    assert list(logtrace.read_log(tmp_path, tz="UTC").runs["pid"]) == [1, 2, 3]


def test_nothing_is_written_where_a_log_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGTRACE_STORE", str(tmp_path / "store"))
    log = tmp_path / "kern.log"
    log.write_text(CONTRACT)
    logtrace.read_log(str(log))
    assert os.listdir(tmp_path) == ["kern.log"]


def test_frames_without_rows_have_the_types_of_those_with_rows(tmp_path):
    log = tmp_path / "kern.log"
    log.write_text("[    1.000000] usb\n")
    for name, frame in logtrace.read_log(log, tz="UTC")._asdict().items():
        assert frame.empty
        assert list(frame.dtypes) == list(schema.empty_frame(schema.VIEWS[name]).dtypes)


def test_a_log_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        logtrace.read_log(tmp_path / "none")
    with pytest.raises(QueryError, match="no zone is 'Mars'"):
        logtrace.read_log(tmp_path, tz="Mars")


@pytest.fixture
def store(tmp_path):
    """A store with a run a minute from 15:00 UTC on, which is midnight in Seoul."""
    runs = rows_of({"owner": "a"}, {"owner": "b", "pid": 7}, {"owner": "b", "status": "no_end"})
    return store_with(tmp_path / "store", runs).root


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ({}, 3),
        ({"owner": "b"}, 2),
        ({"pid": 7, "owner": "b"}, 1),
        ({"status": "no_end"}, 1),
        ({"since": "2026-11-23", "tz": "Asia/Seoul"}, 3),
        ({"since": "2026-11-23", "tz": "UTC"}, 0),
        ({"since": "2026-11-22T15:01Z"}, 2),
        ({"since": datetime(2026, 11, 22, 15, 1), "tz": "UTC"}, 2),
        ({"until": datetime(2026, 11, 22, 15, 2, tzinfo=UTC)}, 2),
        ({"since": None, "host": None}, 3),
    ],
)
def test_runs_and_statistics_are_of_what_is_selected(store, which, count):
    assert len(logtrace.load_runs(store, **which)) == count
    assert logtrace.statistics(str(store), **which)["runs"].item() == count


def test_runs_are_newest_first_and_groups_the_largest_first(store):
    assert logtrace.load_runs(store)["started_at"].is_monotonic_decreasing
    assert list(logtrace.statistics(store, "owner")["owner"]) == ["b", "a"]
    assert list(logtrace.statistics(store, by=["status", "owner"])["runs"]) == [1, 1, 1]


def test_statistics_have_the_change_against_the_period_before(store):
    which = {"since": "2026-11-22T15:01Z", "until": "2026-11-22T15:02Z"}
    (row,) = logtrace.statistics(store, **which).to_dict("records")
    assert (row["runs"], row["runs_before"], row["change"]) == (1, 1, 0)
    assert "change" not in logtrace.statistics(store)


def test_the_store_is_that_of_the_commands_where_none_is_named(store, monkeypatch):
    monkeypatch.setenv("LOGTRACE_STORE", str(store))
    assert len(logtrace.load_runs()) == 3
    assert logtrace.statistics()["runs"].item() == 3


@pytest.mark.parametrize(
    ("which", "error", "told"),
    [
        ({"since": "mondag"}, QueryError, "did you mean 'monday'"),
        ({"tz": "Mars"}, QueryError, "no zone is 'Mars'"),
        ({"status": "complet"}, QueryError, "did you mean 'complete'"),
        ({"since": "2026-11-23", "until": "2026-11-22"}, QueryError, "is not before"),
        ({"since": 5}, TypeError, "a time is a text or a datetime"),
        ({"onwer": "a"}, TypeError, "onwer"),
    ],
)
def test_what_makes_no_sense_is_told(store, which, error, told):
    with pytest.raises(error, match=told):
        logtrace.load_runs(store, **which)


def test_a_store_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        logtrace.load_runs(tmp_path / "none")
