import re
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow.parquet as pq
import pytest
from report_samples import START, detail_row, loss_row, run_row, tracer_row
from store_samples import fill, rows_of, store_with

from logtrace.contents import reasons_of, totals_of
from logtrace.engine import Engine, Filters
from logtrace.errors import QueryError
from logtrace.export import TABLE_FORMATS
from logtrace.overview import gather, narrow_to_run
from logtrace.page import index_page
from logtrace.report import write_report
from logtrace.store import Store

SEOUL = ZoneInfo("Asia/Seoul")
BOOT = run_row(0)["boot_id"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    runs = rows_of(
        {"run_id": "ab00", "owner": "a"},
        {"run_id": "ab11", "owner": "b", "status": "no_end", "note": "n"},
        {"run_id": "cd00", "owner": "b", "started_at": START + timedelta(days=2)},
    )
    others = [run_row(7, run_id="ef00", host="lab02", boot_id=None, source="/log@1234")]
    losses = [loss_row(boot_id=BOOT), loss_row(boot_id="other")]
    tracer = [tracer_row(boot_id=BOOT), tracer_row(boot_id="other")]
    store = store_with(tmp_path_factory.mktemp("store"), runs, losses=losses, tracer=tracer)
    other_losses = [
        loss_row(host="lab02", boot_id=None, source="/log@1234"),
        loss_row(host="lab02", boot_id=None, source="/log@9999"),
    ]
    return Engine(fill(store, others, other_losses, host="lab02"))


def gathered(engine, filters, **options):
    now = START + timedelta(days=3)
    return gather(engine, filters, [["owner"], ["host", "day"]], zone=SEOUL, now=now, **options)


def test_a_report_has_runs_newest_first_and_all_that_belongs_to_them(engine):
    data = gathered(engine, Filters())
    assert list(data.runs["run_id"]) == ["cd00", "ef00", "ab11", "ab00"]
    assert {key: list(frame["runs"]) for key, frame in data.usage.items()} == {
        "owner": [2, 1, 1],
        "host,day": [2, 1, 1],
    }
    assert (data.timeline["runs"].sum(), data.width) == (4, "1h")
    assert (len(data.losses), len(data.tracer)) == (4, 2)
    assert totals_of(data)["runs"] == 4
    assert reasons_of(data)[["status", "note", "runs"]].values.tolist() == [["no_end", "n", 1]]
    assert (data.since, data.until, data.zone) == (None, None, SEOUL)


def test_filters_narrow_every_part_of_it(engine):
    filters = Filters(since=START, until=START + timedelta(days=1), host="lab01")
    data = gathered(engine, filters)
    assert list(data.runs["run_id"]) == ["ab11", "ab00"]
    assert sum(data.usage["owner"]["runs"]) == data.timeline["runs"].sum() == 2
    assert totals_of(data)["runs"] == 2
    assert set(data.losses["host"]) == set(data.tracer["host"]) == {"lab01"}
    assert (data.since, data.until) == (filters.since, filters.until)


def test_listing_only_the_newest_runs_leaves_totals_of_all(engine):
    data = gathered(engine, Filters(), most_runs=1)
    assert list(data.runs["run_id"]) == ["cd00"]
    assert totals_of(data)["runs"] == sum(data.usage["owner"]["runs"]) == 4
    assert sum(reasons_of(data)["runs"]) == 1


def test_a_report_has_the_details_of_the_runs_that_it_lists(tmp_path):
    runs = rows_of({"run_id": "ab00"}, {"run_id": "cd00", "comm": "cat"})
    files = [detail_row(run, descriptor=number, path="/f") for run in runs for number in (4, 3)]
    times = [1, 5, 3]
    calls = [detail_row(run, call="read", time_ns=time) for run in runs for time in times]
    engine = Engine(fill(Store(str(tmp_path)), runs, files=files, calls=calls))
    data = gathered(engine, Filters())
    assert list(data.files["run_id"]) == ["ab00", "ab00", "cd00", "cd00"]
    assert list(data.files["descriptor"]) == [3, 4, 3, 4]
    assert list(data.calls["time_ns"]) == [5, 3, 1] * 2
    for part in (
        gathered(engine, Filters(), most_runs=1),
        gathered(engine, Filters(comm="cat")),
        gathered(engine, narrow_to_run(engine, Filters(), "cd")),
    ):
        assert set(part.files["run_id"]) == set(part.calls["run_id"]) == {"cd00"}


@pytest.mark.parametrize("beginning", ["cd00", "cd", "c", "CD"])
def test_one_run_has_a_report_of_its_own(engine, beginning):
    data = gathered(engine, narrow_to_run(engine, Filters(), beginning))
    assert list(data.runs["run_id"]) == ["cd00"]
    assert totals_of(data)["runs"] == data.timeline["runs"].sum() == 1
    assert [sum(frame["runs"]) for frame in data.usage.values()] == [1, 1]
    assert len(reasons_of(data)) == 0


def test_a_run_is_reported_with_the_losses_of_its_own_log(engine):
    data = gathered(engine, narrow_to_run(engine, Filters(), "ab11"))
    assert set(data.losses["boot_id"]) == set(data.tracer["boot_id"]) == {BOOT}
    imported = gathered(engine, narrow_to_run(engine, Filters(), "ef"))
    assert list(imported.losses["source"]) == ["/log@1234"]


def test_a_beginning_that_fits_several_runs_is_refused_and_names_them(engine):
    with pytest.raises(QueryError, match="ab00, ab11") as caught:
        narrow_to_run(engine, Filters(), "ab")
    assert caught.value.remedy
    assert narrow_to_run(engine, Filters(owner="b"), "ab").run == "ab11"


def test_very_many_runs_are_not_all_named(tmp_path):
    engine = Engine(store_with(tmp_path, [run_row(number) for number in range(9)]))
    with pytest.raises(QueryError) as caught:
        narrow_to_run(engine, Filters(), "")
    assert caught.value.message.endswith("000000000003, 000000000004, ...")


@pytest.mark.parametrize("beginning", ["ff", "ab000", "%", "_b00", "' OR ''='", "\x1b"])
def test_a_beginning_that_fits_no_run_gives_a_report_of_none(engine, beginning):
    data = gathered(engine, narrow_to_run(engine, Filters(), beginning))
    assert len(data.runs) == totals_of(data)["runs"] == len(data.timeline) == 0


def test_an_empty_store_gives_an_empty_report(tmp_path):
    data = gathered(Engine(Store(str(tmp_path))), Filters())
    frames = [data.runs, data.timeline, data.losses, data.tracer, reasons_of(data)]
    assert all(isinstance(frame, pd.DataFrame) and frame.empty for frame in frames)


def test_an_unknown_grouping_is_refused(engine):
    with pytest.raises(QueryError, match="--by moon"):
        gather(engine, Filters(), [["moon"]], zone=SEOUL, now=START)


@pytest.fixture
def long_store(tmp_path):
    runs = [run_row(number, status="no_end") for number in range(23)]
    for run in runs[:11]:
        run |= {"detail": True}
    files = [
        detail_row(run, descriptor=number, path="/f") for run in runs[:11] for number in (4, 3)
    ]
    return Engine(fill(Store(str(tmp_path / "store")), runs, files=files))


def test_what_flows_into_the_tables_is_all_that_there_is(long_store, tmp_path, monkeypatch):
    data = gathered(long_store, Filters())
    write_report(replace(data, flows=None), tmp_path / "whole", TABLE_FORMATS)
    monkeypatch.setattr("logtrace.engine.BATCH_ROWS", 5)
    newest = gathered(long_store, Filters(), most_runs=2)
    assert (len(newest.runs), len(newest.files)) == (2, 0)
    written = write_report(newest, tmp_path / "flows", TABLE_FORMATS)
    for path in written:
        whole = tmp_path / "whole" / path.name
        if path.suffix == ".parquet":
            assert pq.read_table(path).equals(pq.read_table(whole))
        else:
            assert path.read_bytes() == whole.read_bytes()
    assert {path.name for path in written} == {each.name for each in (tmp_path / "whole").iterdir()}
    assert {"runs.csv", "files.csv", "findings.csv"} <= {path.name for path in written}
    assert len(pd.read_csv(tmp_path / "flows" / "findings.csv")) == 23


def test_no_more_rows_than_a_batch_are_held_however_many_there_are(long_store, monkeypatch):
    monkeypatch.setattr("logtrace.engine.BATCH_ROWS", 5)
    for flow in gathered(long_store, Filters(), most_runs=2).flows.values():
        assert max(len(frame) for frame in flow()) == 5


def test_the_page_leads_to_tables_of_which_only_older_runs_have_rows(long_store):
    page = index_page(gathered(long_store, Filters(), most_runs=2), ("html", "csv"))
    assert 'href="files.csv"' in page
    assert 'href="calls.csv"' not in page
    assert re.search(r"newest 2 of 23 runs.\s*All of them are in", page)
    alone = index_page(gathered(long_store, Filters(), most_runs=2), ("html",))
    assert "<code>logtrace runs --format csv</code> gives all of them" in alone


def test_tables_of_details_that_nobody_asked_for_are_not_written(engine, tmp_path):
    written = write_report(gathered(engine, Filters(), most_runs=1), tmp_path, ("csv",))
    assert not {"files.csv", "calls.csv"} & {path.name for path in written}
