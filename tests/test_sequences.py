"""Modules that never set their counters back are found from the sequence of their runs."""

import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_samples import AT, end, log, lost, ops, start, stats

from logtrace import schema, sequences
from logtrace.engine import Engine
from logtrace.positions import part_name
from logtrace.record import Record
from logtrace.runs import RunAssembler
from logtrace.store import Position, Store

ONE = (20, 26, 1, 1, 4, 5, 9)
OTHER = (700, 0, 2, 2, 9, 0, 1)
NONE = (None,) * 7


counts = st.tuples(*[st.integers(0, 12)] * 7)


def times(number, of=ONE):
    return tuple(number * each for each in of)


def plus(*parts):
    return tuple(map(sum, zip(*parts, strict=True)))


def run(pid, counters=ONE, owner="2021202045", **said):
    """Give the four lines of a run that prints these counters."""
    read, written, *calls = counters
    line = stats(read, written, **said).replace("2021202045", owner)
    return [start(pid), line, ops(*calls), end(pid)]


def printed(*rows):
    """Give the lines of runs that print these counters."""
    return [line for pid, counters in enumerate(rows, 1) for line in run(pid, counters)]


def rows_of(lines):
    """Give what a log says."""
    assembler = RunAssembler("lab1")
    rows = assembler.feed(log(*lines))
    rows.add(assembler.finish())
    return rows


def asked(lines, never=tuple):
    """Ask for the runs of a log, in its order."""
    rows = rows_of(lines)
    database = duckdb.connect()
    for name, found, columns in (
        ("stored_runs", rows.runs, schema.RUNS),
        ("losses", rows.losses, schema.LOSSES),
    ):
        database.from_arrow(schema.to_table(found, columns)).create_view(name)
    sequences.create_view(database, never)
    table = database.sql("FROM runs ORDER BY first_seq").to_arrow_table()
    return schema.to_frame(table.cast(schema.RUNS))


def stored(folder, lines):
    """Store what a log says."""
    rows, store = rows_of(lines), Store(str(folder))
    position = Position(10**6, 10**6)
    store.host("lab1").append("kmsg:b", position, runs=rows.runs, losses=rows.losses)
    return Engine(store)


def parts_of(*parts, **changes):
    """Give the items of a log that was followed over its parts, a second from one to the next."""
    items = []
    for number, lines in enumerate(parts):
        for item in log(*lines):
            at = AT + timedelta(seconds=len(items))
            source = f"/var/log/kern.log@{'cab'[number]:0>12}"
            usec = 1_000_000 * (1 + len(items))
            if isinstance(item, Record):
                items.append(item._replace(**{"source": source, "at": at, "usec": usec} | changes))
            else:
                items.append(replace(item, source=source))
    return items


def rows_of_parts(items):
    assembler = RunAssembler("lab1")
    rows = assembler.feed(items)
    rows.add(assembler.finish())
    return rows


def asked_of_parts(items, followed=True):
    """Ask for the runs of a log of several parts, in its order."""
    rows = rows_of_parts(items)
    sources = {("lab1", item.source) for item in items} if followed else ()
    database = duckdb.connect()
    runs = schema.to_table(rows.runs, schema.RUNS)
    database.from_arrow(runs).create_view("stored_runs")
    database.from_arrow(schema.to_table(rows.losses, schema.LOSSES)).create_view("losses")
    sequences.create_view(database, followed=lambda hosts: sources if hosts == {"lab1"} else ())
    table = database.sql("FROM runs ORDER BY started_us").to_arrow_table()
    return schema.to_frame(table.cast(schema.RUNS))


def counters(frame, before=""):
    columns = frame[[f"{before}{name}" for name in schema.COUNTERS]].astype(object)
    return [tuple(row) for row in columns.where(columns.notna(), None).to_numpy().tolist()]


def test_a_program_run_over_and_over_by_a_module_that_never_resets_shows_totals():
    rows = asked(printed(ONE, times(2), times(3), times(4)))
    assert counters(rows) == [ONE] * 4
    assert counters(rows, "raw_") == [ONE, times(2), times(3), times(4)]
    assert set(rows["status"]) == {"complete"}
    assert set(rows["note"]) == {sequences.NOTE}


def test_the_sequence_that_is_documented_is_taken_apart_as_it_says():
    page = (Path(__file__).parents[1] / "docs" / "dialects.md").read_text("utf-8")
    section = page.split("## Counters that are never set back")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \d[^|]*\| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    said = [tuple(int(number) for number in re.findall(r"\d+", cell)) for cell, _ in rows]
    own = [tuple(int(number) for number in re.findall(r"\d+", cell)) for _, cell in rows]
    found = asked(printed(*said))
    assert (counters(found), counters(found, "raw_")) == (own, said)
    assert " ".join(sequences.NOTE.split()) in " ".join(section.split())


def test_what_other_programs_add_behind_is_theirs():
    totals = [ONE, times(2), times(3), plus(times(3), OTHER), plus(times(4), OTHER)]
    assert counters(asked(printed(*totals))) == [ONE, ONE, ONE, OTHER, ONE]


def test_calls_that_become_fewer_begin_anew_and_need_evidence_of_their_own():
    totals = [ONE, times(2), times(3), ONE, times(2), ONE, times(2), times(3), times(4)]
    rows = asked(printed(*totals))
    assert counters(rows) == [ONE, ONE, ONE, ONE, times(2), ONE, ONE, ONE, ONE]
    assert list(rows["note"].isna()) == [False] * 3 + [True] * 2 + [False] * 4


@pytest.mark.parametrize(
    "rows",
    [
        [ONE, times(2)],
        [ONE, ONE, ONE, ONE],
        [ONE, ONE, times(3)],
        [ONE, times(3), times(4)],
        # more is read and written each time, through one open file
        [(20 * n, 26 * n, 1, 1, 4 * n, 5 * n, 9 * n) for n in (1, 2, 3, 4, 5)],
        # as many files more each time, beside one that is always opened
        [plus(times(n), (0, 0, 1, 1, 1, 0, 0)) for n in (1, 2, 3, 4, 5)],
        [times(1), times(2), times(4), times(8)],
        [times(2), times(3), times(4), times(5)],
        [times(3), times(2), times(1)],
        [times(n, (0, 0, 1, 1, 0, 0, 5)) for n in (1, 2, 3)],
        [(20, 26, 0, 0, 4, 5, 9), (40, 52, 0, 0, 8, 10, 18), (60, 78, 0, 0, 12, 15, 27)],
        [(20 * n, 26, n, n, 4 * n, 5 * n, 9 * n) for n in (1, 2, 3)],
    ],
)
def test_programs_that_do_more_each_time_are_not_taken_for_totals(rows):
    found = asked(printed(*rows))
    assert counters(found) == rows
    assert found["note"].isna().all()
    assert set(counters(found, "raw_")) == {NONE}


@pytest.mark.parametrize("changes", [{"comm": "cat"}, {"file": "b"}, {"owner": "lisa"}])
def test_runs_of_different_programs_files_or_owners_are_no_evidence(changes):
    lines = [*run(1, ONE), *run(2, times(2), **changes), *run(3, times(3))]
    assert counters(asked(lines)) == [ONE, times(2), times(3)]


def test_totals_go_on_over_the_parts_of_a_log_that_is_rotated():
    rows = asked_of_parts(
        parts_of(
            printed(ONE, times(2), times(3)),
            [*run(4, plus(times(3), OTHER)), *run(5, plus(times(4), OTHER))],
            run(6, plus(times(5), OTHER)),
        )
    )
    assert counters(rows) == [ONE, ONE, ONE, OTHER, ONE, ONE]
    assert counters(rows, "raw_")[5] == plus(times(5), OTHER)
    assert set(rows["note"]) == {sequences.NOTE}


def test_evidence_may_stand_in_several_parts():
    parts = [run(number, times(number)) for number in (1, 2, 3)]
    assert counters(asked_of_parts(parts_of(*parts))) == [ONE] * 3


def test_a_run_may_begin_in_one_part_and_end_in_the_next():
    two = run(2, times(2))
    parts = [*run(1, ONE), *two[:2]], [*two[2:], *run(3, times(3))], run(4, times(4))
    assert counters(asked_of_parts(parts_of(*parts))) == [ONE] * 4


def test_a_run_that_begins_before_one_of_the_part_before_has_ended_has_nothing_of_its_own():
    four, five = run(4, times(4)), run(5, times(5))
    # the numbers of its lines do not tell: that of its last line is larger than that of its first
    others = ["usb 1-1"] * 30
    parts = [
        [*printed(ONE, times(2), times(3)), four[0]],
        [five[0], *others, *four[1:], *five[1:]],
    ]
    rows = asked_of_parts(parts_of(*parts))
    assert counters(rows) == [ONE, ONE, ONE, ONE, NONE]


@pytest.mark.parametrize("between", [lost(None, "emptied"), "open[1] close[1] read[x]"])
@pytest.mark.parametrize("alone", [False, True])
def test_what_was_not_seen_between_two_parts_leaves_a_doubt(between, alone):
    first = printed(ONE, times(2), times(3))
    last = run(8, times(6))
    parts = [first, [between], last] if alone else [first, [between, *last]]
    rows = asked_of_parts(parts_of(*parts))
    rows = rows[rows["pid"] == 8]
    assert counters(rows)[0] in (NONE, times(6))  # never the difference
    assert set(rows["status"]) <= {"ambiguous", "complete"}


def test_where_a_part_was_not_seen_what_comes_behind_it_is_not_known():
    between = lost(None, "emptied")
    parts = printed(ONE, times(2), times(3)), [between, *run(8, times(6)), *run(9, times(7))]
    rows = asked_of_parts(parts_of(*parts))
    assert counters(rows) == [ONE, ONE, ONE, NONE, ONE]


def test_files_that_nobody_followed_may_have_others_between_them():
    parts = printed(ONE, times(2), times(3)), run(8, times(6))
    assert counters(asked_of_parts(parts_of(*parts), followed=False))[3] == times(6)


def test_parts_without_wall_clock_times_are_logs_of_their_own():
    parts = printed(ONE, times(2), times(3)), run(8, times(4))
    rows = asked_of_parts(parts_of(*parts, at=None))
    assert counters(rows) == [ONE, ONE, ONE, times(4)]


def test_totals_begin_anew_when_the_machine_does_in_another_part():
    first = parts_of(printed(ONE, times(2), times(3)))
    second = parts_of([], run(4, times(5)))
    second = [item._replace(usec=1000, at=item.at + timedelta(hours=1)) for item in second]
    rows = asked_of_parts([*first, *second])
    assert sorted(counters(rows)) == sorted([ONE, ONE, ONE, times(5)])


@settings(max_examples=20, deadline=None)
@given(others=st.lists(counts, max_size=9), places=st.sets(st.integers(0, 47), max_size=2))
def test_wherever_a_log_is_rotated_its_runs_get_what_they_added(others, places):
    own = [ONE, ONE, ONE, *others]
    totals, rows = (0,) * 7, []
    for each in own:
        totals = plus(totals, each)
        rows.append(totals)
    lines = printed(*rows)
    cuts = [0, *sorted(places), len(lines)]
    parts = [lines[begin:stop] for begin, stop in pairwise(cuts)]
    assert counters(asked_of_parts(parts_of(*parts))) == own


def test_a_store_knows_which_of_its_sources_are_parts_of_a_log(tmp_path):
    store = Store(str(tmp_path))
    parts = [run(number, times(number)) for number in (1, 2, 3)]
    rows = rows_of_parts(parts_of(*parts))
    for number, row in enumerate(rows.runs):
        path, _, short = row["source"].partition("@")
        name = part_name(path, short.ljust(64, "0"))
        store.host("lab1").append(name, Position(number, number), runs=[row])
    assert counters(Engine(store).rows("runs", order="started_us")) == [ONE] * 3


def test_two_modules_that_print_at_once_have_totals_of_their_own():
    lines = []
    for number in (1, 2, 3):
        lines += run(number, times(number), owner="kim")
        lines += run(100 + number, times(number, OTHER) if number < 3 else OTHER, owner="lisa")
    own = [ONE, OTHER, ONE, times(2, OTHER), ONE, OTHER]
    assert counters(asked(lines)) == own


def test_runs_that_overlap_have_nothing_of_their_own():
    four, five = run(4, times(4)), run(5, times(5))
    lines = [*printed(ONE, times(2), times(3)), four[0], five[0], *four[1:], *five[1:]]
    rows = asked([*lines, *run(6, times(6))])
    assert counters(rows) == [ONE, ONE, ONE, ONE, NONE, ONE]
    assert list(rows["status"])[4] == "ambiguous"
    assert list(rows["note"])[4].startswith("its counters are totals, and what was counted")
    assert counters(rows, "raw_")[4] == times(5)


@pytest.mark.parametrize("between", [[lost(3)], [start(9), end(9)], ["open[1] close[1] read[x]"]])
def test_behind_what_was_not_seen_or_not_understood_it_is_not_known_what_a_run_added(between):
    lines = [*printed(ONE, times(2), times(3)), *between, *run(8, times(6)), *run(10, times(7))]
    rows = asked(lines)
    rows = rows[rows["owner"].notna()]
    assert counters(rows) == [ONE, ONE, ONE, NONE, ONE]
    assert list(rows["status"])[3] == "ambiguous"


def test_a_loss_among_the_first_runs_leaves_them_without_evidence():
    lines = [*printed(ONE, times(2)), lost(3), *run(3, times(3))]
    assert counters(asked(lines)) == [ONE, times(2), times(3)]


def test_a_user_may_say_that_a_dialect_s_counters_are_never_totals():
    rows = asked(printed(ONE, times(2), times(3)), lambda: ["contract"])
    assert counters(rows) == [ONE, times(2), times(3)]


def test_what_a_dialect_has_taken_apart_already_is_left_as_it_is(tmp_path):
    store = Store(str(tmp_path))
    taken = [
        {"host": "h", "owner": "kim", "dialect": "kim", "status": "complete", "first_seq": number}
        | dict(zip(schema.COUNTERS, times(number), strict=True))
        | {f"raw_{name}": 10 * value for name, value in zip(schema.COUNTERS, ONE, strict=True)}
        for number in (1, 2, 3)
    ]
    store.host("h").append("log", Position(9, 9), runs=taken)
    assert counters(Engine(store).rows("runs", order="first_seq")) == [times(n) for n in (1, 2, 3)]


def test_sums_are_those_of_what_runs_added(tmp_path):
    from logtrace.stats import totals

    engine = stored(tmp_path, printed(ONE, times(2), times(3)))
    assert totals(engine)["read_bytes"] == 60
    assert counters(engine.rows("runs", order="first_seq")) == [ONE] * 3


def test_details_and_incidents_of_detected_runs_are_found_as_ever(tmp_path):
    engine = stored(tmp_path, printed(ONE, times(2), times(3)))
    assert len(engine.rows("hits")) == len(engine.rows("files")) == 0


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(counts, min_size=3, max_size=25))
def test_runs_that_have_nothing_to_do_with_each_other_are_as_printed(rows):
    repeats = any(
        second == times(2, first) and third == times(3, first)
        for first, second, third in zip(rows, rows[1:], rows[2:], strict=False)
    )
    if not repeats:
        found = asked(printed(*rows))
        assert counters(found) == rows


@settings(max_examples=15, deadline=None)
@given(
    one=st.tuples(*[st.integers(1, 9)] * 7),
    others=st.lists(counts, max_size=12),
)
def test_whatever_is_run_behind_the_evidence_gets_what_it_added(one, others):
    own = [one, one, one, *others]
    totals, rows = (0,) * 7, []
    for each in own:
        totals = plus(totals, each)
        rows.append(totals)
    found = asked(printed(*rows))
    assert counters(found) == own
    assert counters(found, "raw_") == rows
