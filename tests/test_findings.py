from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from report_samples import START
from store_samples import rows_of, store_with

from logtrace import findings
from logtrace.config import Thresholds
from logtrace.engine import Engine, Filters

PLAIN = {
    "run_id": "01",
    "open_calls": 1,
    "close_calls": 1,
    "read_calls": 4,
    "read_bytes": 400,
    "write_calls": 5,
    "written_bytes": 500,
    "lseek_calls": 0,
}


def engine_with(folder, *changes, **details):
    return Engine(store_with(folder, rows_of(*(PLAIN | each for each in changes)), **details))


def found(folder, changes, files=(), calls=()):
    files = [{"run_id": "01", "path": "/f", "descriptor": 3, "opens": 1} | each for each in files]
    calls = [{"run_id": "01", "errors": 0} | each for each in calls]
    frame = findings.of_runs(engine_with(folder, changes, files=files, calls=calls))
    return dict(zip(frame["rule"], frame["evidence"], strict=True))


@pytest.mark.parametrize(
    ("changes", "details", "rule", "evidence"),
    [
        ({"open_calls": 1002}, {}, "left_open", "opened 1,002, closed 1"),
        (
            {"open_calls": 9},
            {"calls": [{"call": "openat", "calls": 9, "errors": 6}]},
            "left_open",
            "opened 9, closed 1, failed to open 6",
        ),
        (
            {"detail": True},
            {"files": [
                {"path": f"/{n}", "descriptor": n, "open_at_end": True, "reads": 1, "writes": 0}
                for n in (6, 3, 4, 5)
            ]},
            "left_open",
            "4 left open: /3, /4, /5, …",
        ),
        (
            {"read_calls": 1000, "read_bytes": 1500},
            {},
            "small_reads",
            "1,000 reads of 1.5 bytes on average",
        ),
        (
            {"write_calls": 100, "written_bytes": 1600},
            {},
            "small_writes",
            "100 writes of 16.0 bytes on average",
        ),
        ({"lseek_calls": 100}, {}, "seek_storm", "100 seeks for 9 reads and writes"),
        (
            {"read_calls": 0, "write_calls": 0},
            {},
            "never_used",
            "opened 1, read and wrote nothing",
        ),
        (
            {"detail": True},
            {"files": [
                {"path": "/used", "reads": 1, "writes": 0},
                {"path": "/not", "reads": 0, "writes": 0},
            ]},
            "never_used",
            "1 opened only: /not",
        ),
        (
            {"read_calls": 31, "read_bytes": 20},
            {},
            "empty_reads",
            "at least 11 of 31 reads gave nothing",
        ),
        (
            {"detail": True},
            {"files": [
                {"path": "/log", "descriptor": n, "opens": n, "reads": 0, "writes": 1}
                for n in (3, 4)
            ]},
            "rewritten",
            "1 opened more than once: /log",
        ),
        (
            {},
            {"calls": [
                {"call": "read", "calls": 90, "errors": 2},
                {"call": "openat", "calls": 10, "errors": 8},
            ]},
            "failed_calls",
            "10 of 100 calls failed, 8 of 10 of openat",
        ),
        (
            {"status": "no_end", "note": "the machine was started anew"},
            {},
            "never_ended",
            "the machine was started anew",
        ),
    ],
)  # fmt: skip
def test_a_run_that_stands_out_is_found_with_its_evidence(
    tmp_path, changes, details, rule, evidence
):
    assert found(tmp_path, changes, **details) == {rule: evidence}


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({}, {}),
        ({"open_calls": 7}, {"calls": [{"call": "openat", "calls": 7, "errors": 6}]}),
        ({"open_calls": 7, "detail": True}, {}),
        ({"open_calls": None}, {}),
        ({"read_calls": 99, "read_bytes": 99}, {}),
        ({"read_calls": 100, "read_bytes": 1601}, {}),
        ({"lseek_calls": 99}, {}),
        ({"lseek_calls": 100, "read_calls": 46}, {}),
        ({"read_calls": 0, "write_calls": 0, "status": "no_stats"}, {}),
        (
            {"read_calls": 0, "write_calls": 0},
            {"calls": [{"call": "mmap", "calls": 1}]},
        ),
        ({"read_calls": 30, "read_bytes": 20}, {}),
        (
            {"read_calls": 39, "read_bytes": 20},
            {"calls": [{"call": "read", "calls": 39, "errors": 9}]},
        ),
        (
            {"detail": True},
            {"files": [{"opens": 3, "reads": 1, "writes": 0}]},
        ),
        ({}, {"calls": [{"call": "openat", "calls": 101, "errors": 10}]}),
        ({}, {"calls": [{"call": "openat", "calls": 9, "errors": 9}]}),
    ],
)
def test_a_run_below_each_threshold_is_not_found(tmp_path, changes, details):
    assert set(found(tmp_path, changes, **details)) <= {"never_ended"}


def test_a_run_unlike_the_programs_other_runs_is_an_outlier(tmp_path):
    usual = [{"run_id": f"1{n:02d}"} for n in range(20)]
    other = {"run_id": "02", "comm": "rare", "read_bytes": 10**6}
    engine = engine_with(tmp_path, *usual, other, {"run_id": "03", "read_bytes": 9000})
    frame = findings.of_runs(engine)
    assert frame[["run_id", "rule", "evidence"]].values.tolist() == [
        ["03", "outlier", "9,500 bytes, usually about 899 in 21 runs"]
    ]
    few = Thresholds(outlier_runs=22)
    assert findings.of_runs(engine, thresholds=few).empty


def test_what_one_in_twenty_runs_does_is_no_outlier(tmp_path):
    often = [{"run_id": f"1{n:02d}", "read_bytes": 9000} for n in range(3)]
    usual = [{"run_id": f"2{n:02d}"} for n in range(22)]
    assert findings.of_runs(engine_with(tmp_path / "a", *often, *usual)).empty
    assert len(findings.of_runs(engine_with(tmp_path / "b", *often[:1], *usual))) == 1


def test_a_run_that_does_much_less_is_an_outlier(tmp_path):
    usual = [{"run_id": f"1{n:02d}"} for n in range(20)]
    less = {"run_id": "03", "read_bytes": 40, "written_bytes": 0}
    frame = findings.of_runs(engine_with(tmp_path, *usual, less))
    assert frame["evidence"].tolist() == ["40 bytes, usually about 899 in 21 runs"]


def test_what_is_usual_is_that_of_all_runs_not_of_the_range(tmp_path):
    usual = [{"run_id": f"1{n:02d}"} for n in range(20)]
    engine = engine_with(tmp_path, *usual, {"run_id": "03", "ended_us": 33047244330 + 9000})
    late = Filters(since=START + timedelta(minutes=20))
    (evidence,) = findings.of_runs(engine, late)["evidence"]
    assert evidence == "8,980 µs, usually about 71 in 21 runs"


def test_a_survey_counts_all_and_names_the_heaviest(tmp_path):
    runs = [{"run_id": f"0{n}", "open_calls": n} for n in range(1, 6)]
    engine = engine_with(tmp_path, *runs, {"run_id": "06", "lseek_calls": 300})
    frame = findings.of_runs(engine)
    assert frame[["rule", "run_id"]].values.tolist() == [
        *(["left_open", f"0{n}"] for n in (5, 4, 3, 2)),
        ["seek_storm", "06"],
    ]
    counts, heaviest = findings.survey(engine, most=2)
    assert counts.values.tolist() == [["left_open", 4], ["seek_storm", 1]]
    assert heaviest.tolist() == ["05", "04", "06"]
    named = findings.of_runs(engine, among=engine.set_aside(heaviest))
    assert named["run_id"].tolist() == ["05", "04", "06"]


def test_only_some_rules_are_asked(tmp_path):
    engine = engine_with(tmp_path, {"run_id": "01", "open_calls": 1, "lseek_calls": 300})
    assert findings.of_runs(engine, rules=["seek_storm"])["rule"].tolist() == ["seek_storm"]
    pd.testing.assert_frame_equal(findings.of_runs(engine, rules=[]), findings.none())


def test_a_survey_minds_filters(tmp_path):
    runs = [{"run_id": f"0{n}", "open_calls": n} for n in (1, 2, 3)]
    engine = engine_with(tmp_path, *runs, {"run_id": "06", "lseek_calls": 300})
    counts, heaviest = findings.survey(engine, Filters(run="06"))
    assert counts.values.tolist() == [["seek_storm", 1]]
    assert heaviest.tolist() == ["06"]
    assert findings.of_runs(engine, Filters(run="06"))["run_id"].tolist() == ["06"]


def test_thresholds_decide(tmp_path):
    engine = engine_with(tmp_path, {"open_calls": 3})
    assert len(findings.of_runs(engine, thresholds=Thresholds(left_open=2))) == 1
    assert findings.of_runs(engine, thresholds=Thresholds(left_open=3)).empty


def test_findings_of_an_empty_store_have_their_columns(tmp_path):
    frame = findings.of_runs(Engine(store_with(tmp_path, [])))
    assert frame.columns.tolist() == [
        "rule", "run_id", "host", "owner", "comm", "pid", "at", "evidence", "weight",
    ]  # fmt: skip
    assert frame.empty
    counts, heaviest = findings.survey(Engine(store_with(tmp_path, [])))
    assert counts.empty
    assert heaviest.empty


def test_every_rule_and_threshold_is_in_the_documentation():
    page = (Path(__file__).parent.parent / "docs" / "findings.md").read_text()
    for name, rule in findings.RULES.items():
        assert f"`{name}`" in page
        assert rule.title in page
    for name, value in vars(Thresholds()).items():
        assert f"`{name}` = {value:g}" in page
