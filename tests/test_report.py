import base64
import gzip
import json
import os
import random
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib import metadata
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from report_samples import (
    HOSTILE,
    START,
    detail_row,
    details_frames,
    lab_rows,
    loss_row,
    report_data,
    run_row,
    runs_frame,
    tracer_row,
    usage_frame,
)
from store_samples import store_with

from logtrace import contents, page, page_script, schema
from logtrace.contents import TOTALS, reasons_of, totals_of
from logtrace.coverage import Span, to_frame
from logtrace.cube import Cube
from logtrace.engine import Engine, Filters
from logtrace.errors import ReportError
from logtrace.overview import gather
from logtrace.page import index_page, width_seconds
from logtrace.payload import cube_payload, packed_payload, runs_payload, wall_times
from logtrace.report import read_csv, write_report
from logtrace.run_page import run_pages

VOID = {"meta", "input", "link", "br"}


class Page(HTMLParser):
    """What of a page the tests ask for: its text, values, tables, links and scripts."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.values, self.links = [], [], {}, []
        self.tables, self.words, self.raw = {}, [], {}
        self.cell = self.rows = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))
        if "value" in attributes and tag == "data":
            number = json.loads(attributes["value"])
            self.values[attributes.get("id")] = number
            if self.cell is not None:
                self.cell = number
        if "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "tr" and self.rows is not None:
            self.rows.append([])
        if tag in ("td", "th") and self.rows is not None:
            self.cell = ""

    def handle_endtag(self, tag):
        opened, _ = self.open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"
        if tag in ("td", "th") and self.rows is not None:
            self.rows[-1].append(self.cell)
            self.cell = None
        if tag == "table":
            self.rows = None

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else (None, {})
        if tag in ("script", "style"):
            self.raw[attributes.get("id", tag)] = data
            return
        if tag == "caption":
            self.rows = self.tables[data] = []
        if isinstance(self.cell, str):
            self.cell += data.strip()
        self.words.append(data)

    @property
    def payload(self):
        return unpacked(self.raw["data"])

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def unpacked(text):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def page_of(data, formats=("html", "csv")):
    parsed = Page(index_page(data, formats))
    assert parsed.open == []
    return parsed


def hostile_rows():
    names = ("owner", "comm", "file", "host", "note", "source", "status", "dialect", "boot_id")
    return [run_row(i, **dict.fromkeys(names, text)) for i, text in enumerate(HOSTILE)]


def hostile_data():
    texts = {"source": HOSTILE[0], "text": HOSTILE[1], "reason": HOSTILE[2]}
    return report_data(
        hostile_rows(),
        losses=[loss_row(**texts)],
        tracer=[tracer_row(module=HOSTILE[0], kernel=HOSTILE[1])],
    )


def test_a_report_writes_the_page_a_page_a_run_and_the_tables(tmp_path):
    written = write_report(report_data(lab_rows(3)), tmp_path / "out", ("html", "csv"))
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == [
        "index.html",
        "runs/000000000002.html",
        "runs/000000000001.html",
        "runs/000000000000.html",
        "runs.csv",
        "by-owner.csv",
        "by-program.csv",
        "timeline.csv",
        "hours.csv",
        "reasons.csv",
        "losses.csv",
        "losses-by-place.csv",
        "tracer.csv",
    ]
    found = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == set(written)


def test_tables_are_written_without_the_page_where_it_is_not_asked_for(tmp_path):
    written = write_report(report_data(lab_rows(3)), tmp_path, ("json", "parquet"))
    stems = ["runs", "by-owner", "by-program", "timeline", "hours", "reasons"]
    stems += ["losses", "losses-by-place", "tracer"]
    wanted = [f"{stem}.{kind}" for kind in ("json", "parquet") for stem in stems]
    assert [path.name for path in written] == wanted
    assert len(json.loads((tmp_path / "runs.json").read_text())) == 3


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ReportError, match="'pdf'"):
        write_report(report_data([]), tmp_path / "out", ("html", "pdf"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_can_not_be_made_is_an_error_with_path_and_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=str(tmp_path / "file")) as raised:
        write_report(report_data([]), tmp_path / "file" / "out")
    assert "--out" in str(raised.value.remedy)


def test_a_page_that_is_as_it_was_is_not_written_again(tmp_path):
    write_report(report_data(lab_rows(2)), tmp_path)
    run_page = tmp_path / "runs" / "000000000000.html"
    os.utime(run_page, ns=(1, 1))
    later = report_data(lab_rows(2), generated_at=datetime(2026, 12, 1, tzinfo=UTC))
    write_report(later, tmp_path)
    assert run_page.stat().st_mtime_ns == 1
    assert "2026-12-01" in (tmp_path / "index.html").read_text()


def test_the_numbers_on_the_page_are_those_that_pandas_finds_in_the_csv(tmp_path):
    write_report(report_data(lab_rows(97), losses=[loss_row(), loss_row(host="lab02")]), tmp_path)
    runs = read_csv(tmp_path / "runs.csv", schema.RUNS)
    parsed = Page((tmp_path / "index.html").read_text())
    assert parsed.values["total-runs"] == len(runs) == 97
    assert parsed.values["total-owners"] == runs["owner"].nunique() == 7
    assert parsed.values["total-programs"] == runs["comm"].nunique() == 3
    assert parsed.values["total-hosts"] == runs["host"].nunique() == 5
    assert parsed.values["total-read_bytes"] == runs["read_bytes"].sum()
    assert parsed.values["total-written_bytes"] == runs["written_bytes"].sum()
    assert parsed.values["total-incomplete"] == (runs["status"] != "complete").sum() == 8
    usage = pd.DataFrame(parsed.tables["Usage by owner"])
    header, rows = usage.iloc[0].tolist(), usage.iloc[1:]
    rows.columns = header
    expected = runs.groupby("owner")["read_bytes"].sum()
    assert dict(zip(rows["Owner"], rows["Read"], strict=True)) == expected.to_dict()
    assert dict(zip(rows["Owner"], rows["Runs"], strict=True)) == (
        runs["owner"].value_counts().to_dict()
    )
    lost = pd.read_csv(tmp_path / "losses.csv")["records"]
    assert parsed.tables["Losses by host, boot, source and reason"][1][4] == lost.iloc[0]
    assert "2,408 records were not seen or not understood" in parsed.text


def test_the_runs_that_the_page_carries_are_those_of_the_table():
    runs = runs_frame(lab_rows(29))
    payload = page_of(report_data(lab_rows(29)), ()).payload["runs"]
    assert payload["count"] == 29
    assert payload["id"] == runs["run_id"].tolist()
    assert payload["read_bytes"] == runs["read_bytes"].tolist()
    owners = [payload["owner"]["values"][code] for code in payload["owner"]["codes"]]
    assert owners == runs["owner"].tolist()
    assert payload["took"] == [71] * 29


def test_the_range_the_zone_and_the_time_of_making_are_on_the_page():
    text = page_of(report_data(lab_rows(3))).text
    assert "2026-11-23 00:00:00 to 2026-11-24 00:00:00" in text
    assert "Times are in Asia/Seoul (KST, UTC+09:00)." in text
    assert "Made 2026-11-23 23:00:00" in text


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        (START, None, "Since 2026-11-23 00:00:00"),
        (None, START, "Until 2026-11-23 00:00:00"),
        (None, None, "Everything stored"),
    ],
)
def test_a_range_without_a_bound_says_so(since, until, words):
    assert words in page_of(report_data(lab_rows(3), since=since, until=until)).text


def test_an_empty_range_gives_a_page_that_says_so(tmp_path):
    written = write_report(report_data([]), tmp_path)
    assert [path.name for path in written][:2] == ["index.html", "runs.csv"]
    parsed = page_of(report_data([]))
    assert "No run was found in this range" in parsed.text
    assert parsed.values["total-runs"] == 0
    assert parsed.payload["runs"]["count"] == 0


def test_a_report_with_nothing_missing_says_that_it_is_complete():
    assert "Complete. Nothing is known to be missing" in page_of(report_data([run_row(0)])).text


def test_a_report_states_everything_that_is_missing_from_it():
    rows = [
        run_row(0),
        run_row(1, status="no_end", note="the same pid started again", ended_at=None),
        run_row(2, started_at=None, ended_at=None, clock="none"),
    ]
    losses = [
        loss_row(),
        loss_row(reason="rejected", records=1, first_seq=7, text="open[x] close[1]"),
    ]
    parsed = page_of(report_data(rows, losses=losses, tracer=[tracer_row()]))
    assert "Not everything is here." in parsed.text
    assert "1 run is incomplete. 1,205 records were not seen or not understood." in parsed.text
    assert "1 run has no wall-clock time" in parsed.text
    reasons = parsed.tables["Incomplete runs by status and reason"]
    assert reasons[1][0] == "no end"
    assert reasons[1][2:] == ["the same pid started again", 1]
    lines = parsed.tables["Rejected and truncated lines, newest first"]
    assert lines[1][3:] == [7, "rejected", "open[x] close[1]"]
    modules = parsed.tables["Tracing modules that came and went, newest first"]
    assert modules[1][2:5] == ["iotracehooking", "add", "6.1.0-56-amd64"]


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([None], "An unknown number of records was not seen or not understood."),
        ([3, None], "3 records and an unknown number of others were not seen or not understood."),
    ],
)
def test_a_loss_of_which_the_number_is_not_known_is_one(records, told):
    losses = [loss_row(records=each, reason="emptied") for each in records]
    text = page_of(report_data([run_row(0)], losses=losses)).text
    assert f"Not everything is here. {told}" in text
    assert text.count(told) == 2, "and where all losses are told"
    assert "Complete." not in text


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (["traced", "untraced"], "for a part of the range programs could not be traced"),
        (["unknown"], "for a part of the range nobody watched whether programs could be traced"),
        (
            ["untraced", "unknown"],
            "for parts of the range programs could not be traced, and for others nobody watched",
        ),
    ],
)
def test_a_report_is_not_complete_where_nothing_was_traced(states, told):
    spans = [
        Span("lab01", START + timedelta(hours=n), START + timedelta(hours=n + 1), state)
        for n, state in enumerate(states)
    ]
    for rows, begins in (
        ([run_row(0)], "All that is known of is here, but"),
        ([], "Nothing here. No run was found in this range, but"),
    ):
        text = page_of(report_data(rows, coverage=to_frame(spans))).text
        assert f"{begins} {told}" in text
        assert "Complete." not in text


def test_totals_that_are_given_are_shown_instead_of_counted():
    given = dict.fromkeys(TOTALS, 0) | {"runs": 1_000_003, "owners": 41}
    parsed = page_of(report_data(lab_rows(5), totals=given))
    assert parsed.values["total-runs"] == 1_000_003
    assert parsed.values["total-owners"] == 41
    assert "The table holds the newest 5 of 1,000,003 runs." in parsed.text


def test_totals_count_a_run_without_a_start_by_its_end():
    runs = [run_row(0, started_at=None), run_row(1, started_at=None, ended_at=None)]
    assert totals_of(report_data(runs))["unclocked"] == 1


def test_reasons_count_notes_that_are_null():
    rows = [run_row(i, status="no_end", note=None) for i in range(3)]
    reasons = reasons_of(report_data([run_row(9), *rows]))
    assert reasons["runs"].tolist() == [3]
    assert reasons["note"].isna().all()


def test_no_name_from_a_log_becomes_markup():
    data = hostile_data()
    for html in (index_page(data, ("html", "csv")), *(html for _, html in run_pages(data))):
        tags = Page(html).tags
        assert not [tag for tag, _ in tags if tag in ("img", "iframe", "object", "link")]
        assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
        assert sum(tag == "script" for tag, _ in tags) in (0, 3)


def test_characters_that_can_not_be_seen_stand_on_the_page_as_escapes():
    data = hostile_data()
    for html in (index_page(data, ()), *(html for _, html in run_pages(data))):
        assert not re.search("[\u202a-\u202e\x1b]", html)
    assert "\\u202egnp.exe" in page_of(data).text


def test_a_run_whose_id_is_no_digest_gets_no_page_and_harms_no_file(tmp_path):
    rows = [run_row(0), run_row(1, run_id="../../evil"), run_row(2, run_id=None)]
    written = write_report(report_data(rows), tmp_path / "out", ("html",))
    assert [path.name for path in written] == ["index.html", "000000000000.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nulls_everywhere_give_pages_that_say_not_known():
    row = dict.fromkeys(schema.RUNS.names) | {"run_id": "0123456789ab", "status": "truncated"}
    data = report_data([row])
    (run_page,) = (html for _, html in run_pages(data))
    assert "not known" in Page(run_page).text
    assert "no wall-clock time" in Page(run_page).text
    assert "not printed" in Page(run_page).text
    payload = page_of(data).payload["runs"]
    assert payload["owner"] == {"values": [], "codes": [-1]}
    assert payload["read_bytes"] == [None]
    assert payload["at"]["ms"] == [None]


def test_a_runs_page_tells_all_that_the_table_does():
    ((name, html),) = run_pages(report_data([run_row(7)]))
    parsed = Page(html)
    assert name == "000000000007.html"
    assert parsed.links == ["../index.html#runs"]
    text = parsed.text
    for words in (
        "2021202045",
        "47290",
        "abc.txt",
        "lab01",
        "2026-11-23 00:07:00.000000 +09:00 (KST)",
        "kernel clock 33047.244337 s",
        "71 µs",
        "received: when the records were received",
        "28 to 31",
        "6f1c0e9a-6a1e-4b53-9d3e-000000000001",
        "Complete : every line of the run was read",
    ):
        assert words in text
    assert parsed.tables["Calls counted"] == [
        ["open", 1],
        ["close", 1],
        ["read", 4],
        ["write", 5],
        ["lseek", 9],
    ]


def file_row(run, descriptor, path, **values):
    counts = dict.fromkeys(("opens", "closes", "reads", "writes", "seeks"), 1)
    sizes = {"read_bytes": 2048, "written_bytes": 0, "open_at_end": False}
    return detail_row(run, descriptor=descriptor, path=path, **counts | sizes | values)


def call_row(run, name, **values):
    counts = {"calls": 4, "errors": 1, "moved_bytes": 400, "time_ns": 81234}
    return detail_row(run, call=name, **counts | values)


def detailed_data(**changes):
    """Give a report on three runs, of which two have details."""
    runs = [run_row(0), run_row(1, wide=True, detail=True, parent_pid=5), run_row(2, detail=True)]
    runs[1] |= {"lost_file_calls": 1, "lost_children": 2, "untimed_calls": 3}
    files = [file_row(runs[1], 3, "/a"), file_row(runs[2], 4, "/b", open_at_end=True)]
    calls = [call_row(runs[1], "pread64")]
    return report_data(runs, **details_frames(files, calls) | changes)


def test_a_runs_page_tells_its_own_files_and_calls():
    pages = dict(run_pages(detailed_data()))
    plain, both, files_only = (Page(pages[f"{number:012x}.html"]) for number in range(3))
    files, calls = "What was done with each file", "Every system call on files"
    assert {files, calls}.isdisjoint(plain.tables)
    assert both.tables[files][1:] == [[3, "/a", 2048, 0, 1, 1, 1, 1, 1, "closed"]]
    assert both.tables[calls] == [
        ["Call", "Calls", "Failed", "Bytes", "Time"],
        ["pread64", 4, 1, 400, 81234],
    ]
    for words in (
        "Followed from 5",
        "2 child processes could not be traced",
        "1 call on files that are not listed, as there were too many",
        "3 calls are without time, because the beginning was not seen",
        "81.2 µs",
    ):
        assert words in both.text
    assert files_only.tables[files][1:] == [[4, "/b", 2048, 0, 1, 1, 1, 1, 1, "open"]]
    assert calls not in files_only.tables
    assert "Followed from" not in plain.text + files_only.text


def test_a_runs_page_lists_only_so_many_files_and_says_so():
    run = run_row(0)
    files = [file_row(run, number, "/f") for number in range(503)]
    ((_, html),) = run_pages(report_data([run], **details_frames(files)))
    parsed = Page(html)
    assert len(parsed.tables["What was done with each file"]) == 501
    assert "The first 500 of 503 rows. The report as CSV has all of them." in parsed.text


def test_no_path_becomes_markup_or_a_formula(tmp_path):
    run = run_row(0)
    files = [file_row(run, number, path) for number, path in enumerate(HOSTILE)]
    data = report_data([run], **details_frames(files, [call_row(run, "<b>")]))
    ((_, html),) = run_pages(data)
    tags = [tag for tag, _ in Page(html).tags]
    assert not {"script", "img", "svg", "b"} & set(tags)
    assert not re.search("[\u202a-\u202e\x1b]", html)
    write_report(data, tmp_path, ("csv",))
    assert "\"'=cmd" in (tmp_path / "files.csv").read_text()
    back = read_csv(tmp_path / "files.csv", schema.FILES)
    assert list(back["path"]) == list(HOSTILE)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_details_are_written_beside_the_runs_where_there_are_any(tmp_path, kind):
    write_report(report_data([run_row(0)], **details_frames()), tmp_path, ("html", kind))
    assert not list(tmp_path.glob("files.*")) + list(tmp_path.glob("calls.*"))
    assert f'href="files.{kind}"' not in (tmp_path / "index.html").read_text()
    written = write_report(detailed_data(), tmp_path, ("html", kind))
    assert {tmp_path / f"files.{kind}", tmp_path / f"calls.{kind}"} <= set(written)
    assert f'href="files.{kind}"' in (tmp_path / "index.html").read_text()


def test_details_of_an_earlier_report_do_not_stay(tmp_path):
    data = detailed_data()
    write_report(data, tmp_path, ("csv",))
    for name, columns in (("files", schema.FILES), ("calls", schema.CALLS)):
        back = read_csv(tmp_path / f"{name}.csv", columns)
        pd.testing.assert_frame_equal(back, getattr(data, name))
    write_report(report_data([run_row(0)]), tmp_path, ("csv",))
    assert len(read_csv(tmp_path / "files.csv", schema.FILES)) == 0
    assert len(read_csv(tmp_path / "calls.csv", schema.CALLS)) == 0


def test_pages_name_no_other_place_and_forbid_the_network():
    data = report_data(lab_rows(3))
    for html in (index_page(data, ("html", "csv")), *(html for _, html in run_pages(data))):
        parsed = Page(html)
        policies = [
            a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policies[0].startswith("default-src 'none'; ")
        assert "unsafe" not in policies[0]
        assert not [attributes for _, attributes in parsed.tags if "src" in attributes]
        assert not [link for link in parsed.links if ":" in link or link.startswith("//")]


def test_a_page_of_ten_thousand_runs_weighs_less_than_2_megabytes():
    html = index_page(report_data(lab_rows(10_000)), ("html", "csv"))
    assert Page(html).payload["runs"]["count"] == 10_000
    assert len(html.encode()) < 2_000_000


def test_the_same_report_is_the_same_bytes():
    pages = {index_page(report_data(lab_rows(7)), ()) for _ in range(2)}
    assert len(pages) == 1


def test_a_page_carries_only_as_many_runs_as_there_is_room_for_and_says_so(monkeypatch):
    monkeypatch.setattr(page, "MOST_RUNS", 13)
    parsed = page_of(report_data(lab_rows(29)))
    assert parsed.payload["runs"]["count"] == 13
    assert "The table holds the newest 13 of 29 runs." in parsed.text
    assert "All of them are in runs.csv" in parsed.text


def test_long_names_take_the_room_of_runs_and_not_more(monkeypatch):
    monkeypatch.setattr(contents, "MOST_RUN_PAGES", 0)
    monkeypatch.setattr(contents, "NEWEST_RUN_PAGES", 0)
    noise = random.Random(1)
    rows = [run_row(i, file=noise.randbytes(1000).hex()) for i in range(3000)]
    html = index_page(report_data(rows), ("html", "csv"))
    assert len(html.encode()) < 2_000_000
    assert 0 < Page(html).payload["runs"]["count"] < 3000


@pytest.mark.parametrize("of", ["names", "lines", "both"])
def test_a_page_weighs_less_than_two_megabytes_whatever_the_log_has(tmp_path, of):
    noise = random.Random(1)
    rows = [run_row(i) for i in range(6000)]
    losses = []
    if of != "lines":
        for row in rows:
            row |= {name: noise.randbytes(100).hex() for name in ("file", "comm", "owner")}
    if of != "names":
        losses = [
            loss_row(reason="rejected", records=1, first_seq=n, text="<" * 800) for n in range(500)
        ]
    engine = Engine(store_with(tmp_path, rows, losses=losses))
    groupings = [["owner"], ["program"], ["host"], ["file"]]
    data = gather(engine, Filters(), groupings, zone=UTC, now=START, most_runs=10_000, pages=True)
    html = index_page(data, ("html", "csv"))
    assert len(html.encode()) < 2_000_000
    assert Page(html).payload["runs"]["count"] >= 250


def test_only_the_newest_runs_have_pages_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(contents, "MOST_RUN_PAGES", 12)
    monkeypatch.setattr(contents, "NEWEST_RUN_PAGES", 5)
    data = report_data(lab_rows(13))
    assert [name for name, _ in run_pages(data)] == [f"{i:012x}.html" for i in (12, 11, 10, 9, 8)]
    parsed = page_of(data)
    assert "The newest 5 have a page of their own" in parsed.text
    assert parsed.payload["runs"]["pages"] == 5


def test_rows_of_a_grouping_that_are_left_out_are_stated(monkeypatch):
    monkeypatch.setattr(page, "_MOST_ROWS", (3,))
    parsed = page_of(report_data(lab_rows(97)))
    assert len(parsed.tables["Usage by owner"]) == 1 + 3
    assert "The first 3 of 7 rows. All of them are in by-owner.csv" in parsed.text


def test_a_grouping_by_two_keys_has_both_columns_and_a_name_for_its_file(tmp_path):
    runs = runs_frame(lab_rows(5))
    both = usage_frame(runs, "owner", "owner").assign(host="lab00")
    written = write_report(report_data(lab_rows(5), usage={"host,owner": both}), tmp_path)
    assert tmp_path / "by-host-owner.csv" in written
    parsed = Page((tmp_path / "index.html").read_text())
    assert parsed.tables["Usage by host and owner"][0][:2] == ["Host", "Owner"]


def test_the_scripts_and_style_are_those_that_the_policy_names():
    html = index_page(report_data(lab_rows(3)), ())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1].replace("&#39;", "'")
    parsed = Page(html)
    libraries = gzip.decompress(base64.b64decode(parsed.raw["libraries"])).decode()
    own, style = (html.split(f"<{tag}>")[1].split(f"</{tag}>")[0] for tag in ("script", "style"))
    digests = f"{page_script.digest(own)} {page_script.digest(libraries)}"
    assert f"script-src {digests}; style-src {page_script.digest(style)};" in policy


def test_the_pages_own_script_can_stand_in_a_page():
    assert not re.search(r"</script|<!--|[^\n\x20-\x7e\u00a0-\uffff]", page_script.own_script())


def test_names_that_are_markup_are_packed_as_they_are():
    packed, count = packed_payload(report_data(hostile_rows()), 3600, 100, 10**6, 0)
    assert count == len(HOSTILE)
    assert unpacked(packed)["runs"]["comm"]["values"][-1] == "<script>alert(1)</script>"


def test_wall_times_follow_the_zone_through_a_change_of_clocks():
    times = pd.Series(pd.to_datetime(["2026-10-25T00:30Z", None, "2026-10-25T01:30Z"]))
    laid_out = wall_times(times.astype("datetime64[us, UTC]"), ZoneInfo("Europe/Berlin"))
    # 02:30 comes twice that night: once as summer time, once as winter time.
    assert laid_out["ms"] == [0, None, 0]
    assert laid_out["base"] == pd.Timestamp("2026-10-25T02:30").value // 10**6
    assert laid_out["zones"] == {
        "values": ["CEST", "CET"],
        "codes": [0, -1, 1],
        "minutes": [120, 60],
    }


def cells_of(times, **numbers):
    """Give cells of one host, owner and program at these times."""
    bucket = pd.Series(pd.to_datetime(times)).astype("datetime64[us, UTC]")
    names = {"host": "h", "owner": "o", "comm": "c"}
    measures = dict.fromkeys(("runs", "incomplete", *schema.COUNTERS), 1) | numbers
    frame = pd.DataFrame({"bucket": bucket, **names, **measures, "last_seen": bucket})
    return Cube(frame, "1h", {})


def test_the_hour_that_comes_twice_is_one_bucket_of_the_charts():
    hours = ["2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"]
    laid_out = cube_payload(cells_of(hours), ZoneInfo("Europe/Berlin"), 3600)
    first, second, third = laid_out["at"]
    assert (first, third - first) == (second, laid_out["width"])


def test_bytes_that_javascript_would_round_are_carried_as_text():
    cube = cells_of(["2026-10-25T00:00Z"] * 2, read_bytes=2**52, written_bytes=2**52 - 1)
    laid_out = cube_payload(cube, ZoneInfo("UTC"), 3600)
    assert laid_out["large"] == ["read_bytes"]
    assert laid_out["measures"]["read_bytes"] == [str(2**52)] * 2
    assert laid_out["measures"]["written_bytes"] == [2**52 - 1] * 2


def test_a_run_whose_start_was_not_seen_stands_at_its_end():
    runs = runs_frame([run_row(0), run_row(1, started_at=None, status="no_start")])
    laid_out = runs_payload(runs, ZoneInfo("UTC"))
    assert laid_out["ended"] == [runs["started_at"].isna().tolist().index(True)]
    assert None not in laid_out["at"]["ms"]


@pytest.mark.parametrize(
    ("width", "seconds"), [("15min", 900), ("1h", 3600), ("1d", 86400), ("4w", 2_419_200)]
)
def test_widths_of_a_timeline_are_understood(width, seconds):
    assert width_seconds(width) == seconds


@pytest.mark.parametrize("width", ["", "h", "0h", "1 month", "-1h"])
def test_what_is_no_width_is_refused(width):
    with pytest.raises(ReportError, match="width"):
        width_seconds(width)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "cache"))
    page_script.libraries.cache_clear()
    yield tmp_path / "cache"
    page_script.libraries.cache_clear()


@pytest.mark.parametrize("name", ["itables", "vl-convert-python"])
def test_a_missing_library_is_an_error_with_the_remedy(monkeypatch, empty_cache, name):
    version = metadata.version

    def without(asked):
        if asked == name:
            raise metadata.PackageNotFoundError(name)
        return version(asked)

    monkeypatch.setattr(metadata, "version", without)
    with pytest.raises(ReportError, match=name) as raised:
        index_page(report_data([]), ())
    assert f"pip install --force-reinstall {name}" in str(raised.value.remedy)
    assert not empty_cache.exists()


def test_the_libraries_are_put_together_once_and_not_imported_then(empty_cache):
    code = (
        "import sys; from logtrace.page_script import libraries; print(libraries().digest, "
        "{'itables', 'vl_convert'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(maxsplit=1)
        for _ in range(2)
    )
    assert first[0] == second[0]
    assert (first[1], second[1]) == ("{'vl_convert'}\n", "set()\n")
    assert len(list(empty_cache.glob("page/*"))) == 1
