"""The pages of runs, and what the overview tells beside usage, from a store to HTML."""

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from report_samples import HOSTILE, START, loss_row, tracer_row
from store_samples import rows_of, store_with

from logtrace import schema
from logtrace.contents import completeness
from logtrace.coverage import Span, to_frame
from logtrace.engine import Engine, Filters
from logtrace.findings import RULES
from logtrace.history import Place, of_store
from logtrace.overview import gather, machines
from logtrace.page import index_page
from logtrace.report import write_report
from logtrace.run_page import run_pages

NOW = START + timedelta(days=1)


def incident(run, number, **changes):
    row = {
        "host": run["host"],
        "boot_id": run["boot_id"],
        "incident_id": f"{number:016x}",
        "first_seq": run["first_seq"] + 1,
        "last_seq": run["first_seq"] + 2,
        "ended_seq": run["first_seq"] + 2,
        "at": run["started_at"],
        "type": "oops",
        "pid": run["pid"],
        "comm": run["comm"],
        "module": "broken",
        "function": f"fault_{number}",
        "message": f"BUG: number {number}",
        "fingerprint": "f" * 16,
        "report": "BUG",
        "truncated": False,
        "mixed": False,
        "source": run["source"],
    }
    return row | changes


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """Twenty-five runs, of which one leaves files open, one is hostile and one hit by a fault."""
    rows = rows_of(*({"run_id": f"{n:02x}", "read_bytes": 100 * n} for n in range(25)))
    rows[1]["open_calls"] = 9
    rows[2] |= {"lines": HOSTILE[0] + " {{pid}} {pid}", "comm": HOSTILE[1]}
    rows[3]["started_us"] = None
    near = rows[4]["started_at"] + timedelta(seconds=30)
    incidents = [
        incident(rows[3], 1),
        incident(rows[3], 2, pid=1, at=near, first_seq=999),
        incident(rows[3], 3, pid=1, at=START + timedelta(hours=9), first_seq=9999),
        incident(rows[3], 4, pid=1, at=rows[3]["started_at"], boot_id="other"),
    ]
    folder = tmp_path_factory.mktemp("store")
    return Engine(store_with(folder, rows, incidents=incidents, losses=[loss_row()]))


@pytest.fixture(scope="module")
def data(engine):
    zone = ZoneInfo("UTC")
    return gather(engine, Filters(), [["owner"]], zone=zone, now=NOW, pages=True)


def text_of(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def page_of(data, run_id):
    return dict(run_pages(data))[f"{run_id}.html"]


def test_the_page_of_a_run_shows_its_lines_as_they_were_logged(data):
    html = page_of(data, "05")
    assert "OS Assignment2 ftrace [47288] Start\n[2021202045] test file[abc.txt]" in html
    hostile = page_of(data, "02")
    assert HOSTILE[0] not in hostile
    assert unescape(hostile).count(f"{HOSTILE[0]} {{pid}} 47285") == 1


def test_the_page_of_a_run_says_what_stands_out_with_its_evidence(data):
    text = text_of(page_of(data, "01"))
    assert f"{RULES['left_open'].title} : opened 9, closed 1." in text
    assert "What stands out" not in text_of(page_of(data, "05"))


def test_the_page_of_a_run_places_it_among_the_runs_of_its_program(data):
    text = text_of(page_of(data, "0a"))
    assert "Bytes read and written 1.0 KiB 1.2 KiB 2.3 KiB 9 14 24" in text


def test_the_page_of_a_run_has_the_incidents_that_hit_it_and_those_near(data):
    hit, near, far = (text_of(page_of(data, run_id)) for run_id in ("03", "04", "09"))
    assert "BUG: number 1" in hit
    assert "was hit" in hit
    assert "BUG: number 2" in near
    assert "came near" in near
    assert "was hit" not in near
    for text in (hit, near, far):
        assert "BUG: number 3" not in text
        assert "BUG: number 4" not in text
    assert "Incidents at its time" not in far


def test_the_overview_names_what_stands_out_and_what_the_kernel_reported(data):
    html = index_page(data, ["html", "csv"])
    text = text_of(html)
    assert f"{RULES['left_open'].title} : 1 run. {RULES['left_open'].why}" in text
    assert "opened 9, closed 1" in text
    assert '<a href="runs/01.html">' in html
    assert "oops broken fault_1 1 1" in text, "one cause a function"
    assert '<a href="runs/03.html">' in html


def test_the_overview_says_how_many_findings_there_are_where_it_has_those_of_most_weight(data):
    counts = data.stands_out.assign(runs=1000)
    text = text_of(index_page(replace(data, stands_out=counts), ["html", "csv"]))
    shown, there = len(data.findings), 1000 * len(counts)
    assert f"The first {shown} of {there:,} rows. All of them are in findings.csv" in text


def test_an_overview_without_anything_says_so(tmp_path):
    empty = Engine(store_with(tmp_path, []))
    nothing = gather(empty, Filters(), [["owner"]], zone=ZoneInfo("UTC"), now=NOW, pages=True)
    text = text_of(index_page(nothing, ["html"]))
    assert "No runs in this range." in text
    assert "The kernel reported no fault in this range." in text


def test_every_table_of_the_overview_is_written_as_a_file(data, tmp_path):
    write_report(data, tmp_path, ["csv", "json", "parquet"])
    for kind in ("csv", "json", "parquet"):
        names = {path.name for path in tmp_path.glob(f"*.{kind}")}
        wanted = {"runs", "by-owner", "timeline", "losses", "tracer", "coverage", "completeness"}
        wanted |= {"findings", "incidents", "hours", "reasons", "causes", "losses-by-place"}
        assert {f"{name}.{kind}" for name in wanted} <= names


def test_tables_that_sum_up_have_files_with_the_numbers_of_the_page(tmp_path):
    rows = rows_of({}, {"status": "no_end", "note": "the End line is missing"}, {"host": "lab02"})
    incidents = [incident(rows[0], 1), incident(rows[2], 1)]
    losses = [loss_row(), loss_row(first_seq=2000)]
    engine = Engine(store_with(tmp_path / "store", rows, incidents=incidents, losses=losses))
    data = gather(engine, Filters(), [["owner"]], zone=ZoneInfo("UTC"), now=NOW)
    write_report(data, tmp_path, ["csv"])
    files = {
        name: pd.read_csv(tmp_path / f"{name}.csv")
        for name in ("hours", "reasons", "causes", "losses-by-place")
    }
    assert files["hours"]["runs"].sum() == len(data.runs)
    assert files["reasons"][["status", "runs"]].values.tolist() == [["no_end", 1]]
    assert files["causes"]["incidents"].tolist() == [2]
    assert files["losses-by-place"][["ranges", "records"]].values.tolist() == [[2, 2408]]


# What is missing by host and boot


def test_what_is_missing_is_told_by_host_and_boot(tmp_path):
    rows = rows_of(
        {"boot_id": "b1"},
        {"boot_id": "b1", "status": "ambiguous"},
        {"boot_id": "b2", "status": "no_end"},
        {"host": "lab02", "boot_id": None},
    )
    losses = [
        loss_row(boot_id="b1", records=5),
        loss_row(boot_id="b1", records=2, reason="gap"),
        loss_row(boot_id="b1", records=1, reason="rejected", text="x"),
        loss_row(boot_id="b2", records=None, reason="emptied"),
        loss_row(boot_id="b3", records=1, reason="truncated", text="y"),
    ]
    engine = Engine(store_with(tmp_path, rows, losses=losses))
    data = gather(engine, Filters(), [["owner"]], zone=ZoneInfo("UTC"), now=NOW)
    frame = data.completeness.fillna({"boot_id": "none"}).set_index(["host", "boot_id"])
    columns = ["runs", "ambiguous", "no_end", "lost", "rejected", "cut"]
    found = {key: [*row] for key, row in frame[columns].astype(object).iterrows()}
    assert {key: [None if n is not n or str(n) == "<NA>" else int(n) for n in row]
            for key, row in found.items()} == {
        ("lab01", "b1"): [2, 1, 0, 7, 1, 0],
        ("lab01", "b2"): [1, 0, 1, None, 0, 0],
        ("lab01", "b3"): [0, 0, 0, 0, 0, 1],
        ("lab02", "none"): [1, 0, 0, 0, 0, 0],
    }  # fmt: skip
    text = text_of(index_page(data, ["html"]))
    assert "lab01 b1 2 1 0 0 0 1 0 7 1 0" in text


def test_for_which_part_of_the_range_nothing_could_be_traced_is_a_share_of_it():
    hour = timedelta(hours=1)
    spans = to_frame([
        Span("a", START, START + hour, "traced"),
        Span("a", START + hour, START + 3 * hour, "untraced"),
        Span("a", START + 3 * hour, START + 4 * hour, "unknown"),
    ])  # fmt: skip
    by_boot = schema.empty_frame(schema.RUNS)[["host", "boot_id"]].assign(runs=[])
    losses = schema.empty_frame(schema.LOSSES)
    (row,) = completeness(by_boot, losses, spans).to_dict("records")
    assert (row["host"], row["traced"], row["untraced"]) == ("a", 0.25, 0.5)


def test_each_boot_has_its_own_share_of_what_was_traced(tmp_path):
    def watched(watch, boot, hour, *modules):
        rows = [("begin", None), *(("add", module) for module in modules)]
        rows = [
            tracer_row(action=action, module=module, watch=watch, boot_id=boot)
            | {"at": START + timedelta(hours=hour)}
            for action, module in rows
        ]
        end = tracer_row(action="end", module=None, watch=watch, boot_id=boot)
        return [*rows, end | {"at": START + timedelta(hours=hour + 1)}]

    tracer = [
        *watched(1, "b1", 0, "ftracehooking", "iotracehooking"),
        *watched(2, "b2", 2),
        *watched(3, "b2", 3, "ftracehooking", "iotracehooking"),
    ]
    rows = rows_of({"boot_id": "b1"}, {"boot_id": "b3"})
    engine = Engine(store_with(tmp_path, rows, tracer=tracer))
    filters = Filters(since=START, until=START + timedelta(hours=5))
    data = gather(engine, filters, [["owner"]], zone=ZoneInfo("UTC"), now=NOW)
    found = data.completeness.set_index("boot_id")[["runs", "traced", "untraced"]]
    assert {boot: [*row] for boot, row in found.fillna(-1).astype(float).iterrows()} == {
        "b1": [1, 0.2, 0],
        "b2": [0, 0.2, 0.2],
        "b3": [1, -1, -1],
    }
    of_host = machines(engine, filters, NOW)
    assert of_host[["traced", "untraced"]].values.tolist() == [[0.4, 0.2]]
    (unknown,) = {*data.coverage.loc[data.coverage["state"] == "unknown", "boot_id"].isna()}
    assert unknown


def test_watched_hosts_are_in_the_table_also_without_runs(tmp_path):
    tracer = [
        tracer_row(action="begin", module=None, watch=1),
        tracer_row(action="end", module=None, watch=1, at=START + timedelta(hours=1)),
    ]
    engine = Engine(store_with(tmp_path, [], tracer=tracer))
    filters = Filters(since=START, until=START + timedelta(hours=2))
    data = gather(engine, filters, [["owner"]], zone=ZoneInfo("UTC"), now=NOW)
    (row,) = data.completeness.to_dict("records")
    assert (row["host"], row["untraced"]) == ("lab01", 0.5)


# The history of programs


def test_a_run_is_placed_among_the_complete_ones_of_its_program(tmp_path):
    rows = rows_of(
        *({"read_bytes": size, "written_bytes": 0} for size in (10, 20, 20, 30)),
        {"status": "no_end", "read_bytes": 1},
        {"comm": "other", "read_bytes": 1},
    )
    history = of_store(Engine(store_with(tmp_path, rows)))
    (of_bytes, *_) = history.places(rows[1])
    assert of_bytes == Place("bytes", 20, 20, 30, 1, 1, 4)
    assert list(history.places(rows[0] | {"comm": "never seen"})) == []
    unknown = dict.fromkeys(schema.RUNS.names) | {"comm": "test"}
    assert list(history.places(unknown)) == []
