import io
from itertools import accumulate

import pytest
from dialect_samples import comms, names, owners
from hypothesis import given
from hypothesis import strategies as st
from log_samples import end, fd, ops, read, start, stats, trace
from report_samples import run_row
from store_samples import store_with

from logtrace import bulk, lines, schema
from logtrace.engine import Engine
from logtrace.grammar import Field
from logtrace.record import printable
from logtrace.source.logfile import begin_log

COUNTS = st.lists(st.integers(0, 10**18), min_size=7, max_size=7)


def run_of(*texts):
    """Give the only run of some lines."""
    (run,) = read(*texts).runs
    return run


def test_of_the_contracts_lines_nothing_is_kept():
    logged = [start(7), stats(), ops(), end(7)]
    run = run_of(*logged)
    assert "lines" not in run
    assert lines.as_logged(run) == logged


@pytest.mark.parametrize(
    ("logged", "kept"),
    [
        (
            ["OS Assignment 2 ftrace [7] Start", stats(), ops(), end(7)],
            "OS Assignment 2 ftrace [{pid}] Start",
        ),
        ([start(7), ops(), end(7)], "OS Assignment2 ftrace [{pid}] Start"),
        (["OS Assignment2 ftrace [007] Start", ops(), end(7)], "OS Assignment2 ftrace [007] Start"),
        (
            [start(7), stats(file="{pid}"), ops(), "OS Assignment2 ftrace [7]   End"],
            "OS Assignment2 ftrace [{pid}] Start",
        ),
        ([start(7), stats(), f"{ops()}\n{end(7)}"], "OS Assignment2 ftrace [{pid}] Start"),
        (
            [start(7), stats(), ops(), trace(7, 0, 1), fd(7, 3, path="/a{b}"), end(7)],
            "OS Assignment2 ftrace [{pid}] Start",
        ),
        ([start(7)], "OS Assignment2 ftrace [{pid}] Start"),
    ],
)
def test_other_lines_are_kept_without_what_columns_have(logged, kept):
    run = run_of(*logged)
    assert run["lines"].split("\n")[0] == kept
    assert lines.as_logged(run) == [printable(line) for line in logged]


def test_a_value_that_another_column_than_its_own_shows_stays_as_it_was_printed():
    logged = [start(7), stats(), ops(), "OS Assignment2 ftrace [0] End"]
    run = run_of(*logged)
    assert run["pid"] == 7
    assert run["lines"].endswith("ftrace [0] End")
    assert lines.as_logged(run) == logged


def test_totals_are_shown_as_they_were_printed():
    run = {"pid": 1, "read_bytes": 5, "raw_read_bytes": 105, "lines": "read {read_bytes}"}
    assert lines.as_logged(run) == ["read 105"]


def test_what_is_unknown_to_the_table_has_no_effect_on_the_text():
    run = {"pid": 1, "lines": "{{pid}} {pid} {{{{ }}"}
    assert lines.as_logged(run) == ["{pid} 1 {{ }"]


def test_of_very_many_lines_the_first_thousand_are_kept():
    kept = lines.pattern(["a"] * 1003).split("\n")
    assert len(kept) == 1001
    assert kept[-1] == "… 3 more"


def test_fields_may_come_in_any_order():
    fields = [Field("pid", True, 3, 4), Field("comm", False, 0, 3)]
    assert lines.line_pattern("abc7{", fields, None) == "{comm}{pid}{{"
    assert lines.line_pattern("abc7", fields, {"comm": "abc", "pid": 8}) == "{comm}7"


@given(st.lists(st.tuples(owners, comms, names, COUNTS), min_size=1, max_size=5), st.booleans())
def test_the_lines_of_any_log_come_back(runs, lab):
    title = "OS Assignment 2 ftrace" if lab else "OS Assignment2 ftrace"
    logged = []
    for pid, (owner, comm, file, counts) in enumerate(runs, 1):
        logged += [
            f"{title} [{pid}] Start",
            f"[{owner}] {comm} file[{file}] stats [x] read - {counts[0]} / written - {counts[1]}",
            ops(*counts[2:]),
            f"{title} [{pid}] End",
        ]
    stamped = [f"[{at:5d}.000001] {line}\n".encode() for at, line in enumerate(logged)]
    places = {offset: at for at, offset in enumerate(accumulate(map(len, stamped), initial=0))}
    stream = io.BytesIO(b"".join(stamped))
    batches = list(bulk.read(stream, begin_log(stream, "log@0", None, "dmesg"), "lab"))
    tables = [each.runs for batch in batches for each in batch.found.values()]
    rows = [
        row for table in tables for row in schema.to_table(table, schema.TABLES["runs"]).to_pylist()
    ]
    assert len(rows) >= len(runs)
    for row in rows:
        whole = logged[places[row["first_seq"]] : places[row["last_seq"]] + 1]
        assert lines.as_logged(row) == [printable(line) for line in whole]


def test_a_store_keeps_them(tmp_path):
    logged = [start(7), ops(), end(7)]
    run = run_of(*logged) | {"host": "lab01"}
    engine = Engine(store_with(tmp_path, [run, run_row(2)]))
    names = {name: name for name in (*schema.RUNS.names, "lines")}
    stored = engine.select(names, order="first_seq").astype(object)
    rows = stored.where(stored.notna(), None).to_dict("records")
    assert [lines.as_logged(row)[0] for row in rows] == [start(7), start(47285)]
    assert "lines" not in engine.rows("runs")
