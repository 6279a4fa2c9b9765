import csv
import io
import re
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_samples import AT, by, cut, end, log, lost, ops, read, record, start, stats

from logtrace import schema
from logtrace.record import Loss
from logtrace.runs import RunAssembler
from logtrace.source.logfile import read_log

DATA = Path(__file__).parent / "data"

CONTRACT = b"""\
[33047.244330] OS Assignment2 ftrace [47283] Start
[33047.244401] [2021202045] test file[abc.txt] stats [x] read - 20 / written - 26
[33047.244402] open[1] close[1] read[4] write[5] lseek[9]
[33047.244402] OS Assignment2 ftrace [47283] End
"""


def brief(row):
    """Give what tells the runs of these tests apart."""
    return row["pid"], row["status"], row.get("read_bytes"), row.get("open_calls")


def briefs(*lines, finish=True):
    return [brief(row) for row in read(*lines, finish=finish).runs]


def sections():
    """Split dialects.txt into its logs."""
    logs = {}
    for line in (DATA / "dialects.txt").read_bytes().splitlines(keepends=True):
        if line.startswith(b"## "):
            lines = logs.setdefault(line.split()[1].decode(), [])
        elif not line.startswith(b"#"):
            lines.append(line)
    return {name: b"".join(lines) for name, lines in logs.items()}


def rows_of(text):
    assembler = RunAssembler("lab1")
    rows = assembler.feed(read_log(io.BytesIO(text), "a.log@0123456789ab"))
    return [*rows.runs, *assembler.finish().runs], rows.losses


def test_the_run_of_the_contract_is_joined_from_its_text():
    runs, losses = rows_of(CONTRACT)
    assert losses == []
    assert runs == [
        {
            "host": "lab1",
            "boot_id": None,
            "first_seq": 0,
            "last_seq": 191,
            "started_at": None,
            "ended_at": None,
            "started_us": 33047244330,
            "ended_us": 33047244402,
            "clock": "none",
            "pid": 47283,
            "owner": "2021202045",
            "comm": "test",
            "file": "abc.txt",
            "read_bytes": 20,
            "written_bytes": 26,
            "open_calls": 1,
            "close_calls": 1,
            "read_calls": 4,
            "write_calls": 5,
            "lseek_calls": 9,
            "dialect": "contract",
            "status": "complete",
            "source": "a.log@0123456789ab",
            "run_id": "abed9e76d4988f84",
            "note": None,
        }
    ]


def test_the_run_of_the_contract_fits_the_table():
    runs, _ = rows_of(CONTRACT)
    table = schema.to_table(runs, schema.RUNS)
    assert table.schema == schema.RUNS
    no_more_lines = dict.fromkeys(schema.RUNS.names[-14:])
    assert table.to_pylist() == [run | no_more_lines for run in runs]


def test_the_runs_of_all_dialects_are_those_committed_beside_them():
    with (DATA / "dialects.csv").open(newline="") as file:
        columns, *expected = csv.reader(file)
    found = [
        [name, *("" if row.get(column) is None else str(row[column]) for column in columns[1:])]
        for name, text in sections().items()
        for row in rows_of(text)[0]
    ]
    assert found == expected


def test_no_line_of_the_dialects_is_rejected():
    assert {name: losses for name, text in sections().items() if (losses := rows_of(text)[1])} == {}


def unescaped(line):
    return line.replace("\\n", "\n").replace("\\r", "\r").replace("\\x1b", "\x1b")


def variants():
    for section in re.split("^## ", (DATA / "variants.txt").read_text("utf-8"), flags=re.M)[1:]:
        title, *lines = section.strip("\n").split("\n")
        yield pytest.param([unescaped(line) for line in lines], id=title)


@pytest.mark.parametrize("lines", list(variants()))
def test_the_run_of_the_contract_is_one_run_however_it_is_spelled(lines):
    rows = read(*lines)
    assert rows.losses == []
    (run,) = rows.runs
    assert (run["pid"], run["status"]) == (4321, "complete")
    assert (run["read_bytes"], run["written_bytes"]) == (20, 26)
    calls = [run.get(f"{name}_calls") for name in ("open", "close", "read", "write", "lseek")]
    assert calls in ([1, 1, 4, 5, 9], [1, 1, 4, 5, None])
    assert "2021202045" in run["owner"] or "Hong" in run["owner"]
    assert "test" in run["comm"]
    assert run["file"].strip('"./') in ("abc.txt", "a[1].txt")


def test_times_are_those_of_the_start_and_end_lines():
    later = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    runs = read(
        start(7),
        stats(),
        ops(),
        lambda seq: record(end(7), seq, at=later, usec=9_000_000),
    ).runs
    assert len(runs) == 1
    assert (runs[0]["started_at"], runs[0]["ended_at"]) == (AT, later)
    assert (runs[0]["started_us"], runs[0]["ended_us"]) == (1_000_000, 9_000_000)
    assert (runs[0]["first_seq"], runs[0]["last_seq"], runs[0]["clock"]) == (0, 3, "received")


def test_a_run_is_there_with_its_end_line_and_not_before():
    lines = log(start(7), stats(), ops(), end(7))
    assembler = RunAssembler("lab1")
    assert assembler.feed(lines[:3]).runs == []
    assert [(pid, line.seq) for pid, line in assembler.open_runs] == [(7, 0)]
    assert [brief(row) for row in assembler.feed(lines[3:]).runs] == [(7, "complete", 20, 1)]
    assert assembler.open_runs == []


def test_other_lines_between_those_of_a_run_do_not_matter():
    assert briefs("usb 1-1", start(7), "a", stats(), "b", ops(), "c", end(7)) == [
        (7, "complete", 20, 1)
    ]


def test_runs_that_overlap_keep_their_own_values():
    assert briefs(
        start(7),
        start(8),
        stats(8),
        ops(80),
        end(8),
        start(9),
        stats(7),
        ops(70),
        end(7),
        stats(9),
        ops(90),
        end(9),
    ) == [(8, "complete", 8, 80), (7, "complete", 7, 70), (9, "complete", 9, 90)]


def test_a_start_between_the_lines_of_another_run_does_not_matter():
    assert briefs(start(7), stats(), start(8), ops(), start(9), end(7), finish=False) == [
        (7, "complete", 20, 1)
    ]


def test_an_id_is_the_same_whoever_reads_the_log_and_another_for_another_run():
    lines = log(start(7), stats(), ops(), end(7), start(7), stats(), ops(), end(7))
    first, second = RunAssembler("lab1").feed(lines).runs
    elsewhere = RunAssembler("lab2").feed(lines).runs[0]
    next_boot = [line._replace(boot_id="b2") for line in lines]
    ids = [
        first["run_id"],
        second["run_id"],
        elsewhere["run_id"],
        RunAssembler("lab1").feed(next_boot).runs[0]["run_id"],
    ]
    assert len(set(ids)) == 4
    moved = [line._replace(source="/a@123") for line in lines]
    copied = [line._replace(source="/b/c@123") for line in lines]
    assert (
        RunAssembler("lab1").feed(moved).runs[0]["run_id"]
        == RunAssembler("lab1").feed(copied).runs[0]["run_id"]
    )


def test_a_second_start_of_a_pid_ends_the_run_before():
    runs = read(start(7), start(7), stats(), ops(), end(7)).runs
    assert [brief(row) for row in runs] == [(7, "no_end", None, None), (7, "complete", 20, 1)]
    assert "another Start of the same pid came before its End" in runs[0]["note"]


def test_stats_lines_before_a_second_start_belong_to_the_first():
    assert briefs(start(7), stats(1), ops(1), start(7), stats(2), ops(2), end(7)) == [
        (7, "no_end", 1, 1),
        (7, "complete", 2, 2),
    ]


def test_stats_lines_of_a_run_without_end_are_not_those_of_another_that_was_open():
    lines = start(7), start(8), stats(8), ops(80), start(8)
    assert briefs(*lines, stats(9), ops(90), end(8), end(7)) == [
        (8, "no_end", None, None),
        (8, "complete", 9, 90),
        (7, "ambiguous", None, None),
    ]
    assert briefs(*lines, end(8)) == [
        (8, "no_end", None, None),
        (8, "no_stats", None, None),
        (None, "ambiguous", 8, 80),
        (7, "no_end", None, None),
    ]


@pytest.mark.parametrize(
    ("lines", "expected", "note"),
    [
        ([stats(), ops(), end(7)], (7, "no_start", 20, 1), "the Start line is missing"),
        ([end(7)], (7, "no_start", None, None), "the Start line is missing"),
        ([start(7)], (7, "no_end", None, None), "the log ends before its End line"),
        ([start(7), stats(), ops()], (7, "no_end", 20, 1), "the log ends before its End line"),
        ([start(7), stats()], (7, "no_end", 20, None), "the calls line is missing"),
        ([start(7), end(7)], (7, "no_stats", None, None), "the stats line is missing"),
        ([start(7), ops(), end(7)], (7, "no_stats", None, 1), "the stats line is missing"),
        ([start(7), stats(), end(7)], (7, "no_stats", 20, None), "the calls line is missing"),
        ([stats(), ops()], (None, "no_start", 20, 1), "the End line is missing"),
        ([ops()], (None, "no_start", None, 1), "the End line is missing"),
    ],
)
def test_what_is_missing_from_a_run_is_told(lines, expected, note):
    runs = read(*lines).runs
    assert [brief(row) for row in runs] == [expected]
    assert note in runs[0]["note"]


def test_a_run_without_start_has_no_start_time():
    (run,) = read(stats(), ops(), end(7)).runs
    assert run["started_at"] is None
    assert run["started_us"] is None
    assert run["ended_us"] == 1_000_002
    assert run["first_seq"] == 0


def test_a_module_that_prints_stats_only_has_a_run_for_each():
    assert briefs(stats(1), ops(1), stats(2), ops(2), stats(3), ops(3)) == [
        (None, "no_start", 1, 1),
        (None, "no_start", 2, 2),
        (None, "no_start", 3, 3),
    ]


def test_a_lone_start_is_a_run_without_end_when_the_log_ends():
    assert briefs("OS Assignment 2 ftrace [0] Start") == [(0, "no_end", None, None)]


def test_of_lines_mixed_with_those_of_another_run_no_value_is_attributed():
    runs = read(
        start(7), start(8), stats(7), stats(8), ops(70), ops(80), end(7), end(8), start(9), end(9)
    ).runs
    assert [brief(row) for row in runs] == [
        (7, "ambiguous", None, None),
        (8, "ambiguous", None, None),
        (9, "no_stats", None, None),
    ]
    assert runs[0]["note"] == "several runs' stats lines stand before its End line"
    assert runs[1]["note"] == "its stats lines were mixed with those of another run"


@pytest.mark.parametrize(
    "lines",
    [
        [stats(1), stats(2), ops(), end(7)],
        [stats(), ops(1), ops(2), end(7)],
        [stats(1), stats(2), end(7)],
        [ops(), stats(), end(7)],
        [stats(1), ops(1), stats(2), ops(2), end(7)],
        [cut(stats()[:30]), stats(), ops(), end(7)],
        [stats(), cut(ops()[:9]), ops(), end(7)],
    ],
)
def test_more_lines_than_a_run_has_are_nobodys(lines):
    assert briefs(start(7), *lines) == [(7, "ambiguous", None, None)]


def test_stats_lines_from_before_a_run_are_not_its_own():
    assert briefs(stats(1), ops(1), start(7), end(7)) == [
        (None, "no_start", 1, 1),
        (7, "no_stats", None, None),
    ]
    assert briefs(stats(1), ops(1), start(7), stats(2), ops(2), end(7)) == [
        (None, "no_start", 1, 1),
        (7, "complete", 2, 2),
    ]


def test_stats_lines_from_before_the_only_open_run_are_not_its_own_at_the_end_of_the_log():
    assert briefs(stats(1), ops(1), start(7)) == [
        (None, "no_start", 1, 1),
        (7, "no_end", None, None),
    ]


def test_stats_lines_from_before_a_run_are_those_of_the_run_that_was_open():
    assert briefs(start(7), stats(7), ops(70), start(8), stats(8), ops(80), end(8), end(7)) == [
        (8, "complete", 8, 80),
        (7, "complete", 7, 70),
    ]


def test_a_start_between_stats_lines_leaves_their_run_in_doubt():
    assert briefs(start(7), stats(), start(8), ops(), end(8), end(7)) == [
        (8, "ambiguous", None, None),
        (7, "ambiguous", None, None),
    ]


def test_a_module_that_prints_end_first_never_gives_a_run_the_values_of_another():
    assert briefs(start(7), end(7), stats(1), ops(1), start(8), end(8), stats(2), ops(2)) == [
        (7, "complete", 1, 1),
        (8, "complete", 2, 2),
    ]
    assert briefs(start(7), start(8), end(8), stats(8), ops(8), end(7)) == [
        (8, "no_stats", None, None),
        (7, "ambiguous", None, None),
    ]


def at(second, text):
    return lambda seq: record(text, seq, usec=second * 1_000_000 + seq)


def twice(*lines):
    return [line for line in lines for _ in range(2)]


def test_lines_of_one_record_are_not_one_line_that_came_twice():
    joined = f"{stats()}{ops()}{end(7)}"
    assert briefs(start(7), start(7), joined) == [
        (7, "no_end", None, None),
        (7, "complete", 20, 1),
    ]


def test_a_module_that_prints_each_line_twice_has_one_run():
    run = [start(7), stats(), ops(), end(7)]
    assert briefs(*twice(*run)) == [(7, "complete", 20, 1)]
    assert briefs(*twice(*run, *run)) == [(7, "complete", 20, 1)] * 2
    assert briefs(*twice(start(7), stats(), end(7))) == [(7, "no_stats", 20, None)]


@pytest.mark.parametrize(
    "lines",
    [
        [start(7), *twice(stats(), ops(), end(7))],
        twice(start(8), start(7), stats(), ops(), end(7)),
        [*twice(start(7)), stats(1), stats(2), *twice(ops(), end(7))],
        [*twice(start(7), stats()), ops(), by("T7", ops()), end(7)],
        [
            *twice(at(0, start(7))),
            *(at(second, stats()) for second in (1, 4)),
            *(at(second, ops()) for second in (5, 8)),
            at(9, end(7)),
        ],
    ],
)
def test_lines_are_one_line_printed_twice_only_where_all_are_and_nothing_else_is_open(lines):
    assert all(read is None for _, status, read, _ in briefs(*lines) if status != "complete")
    assert "complete" not in {status for _, status, _, _ in briefs(*lines)}


def test_an_end_line_that_comes_again_later_is_one_of_its_own():
    run = twice(*(at(0, line) for line in (start(7), stats(), ops())))
    assert briefs(*run, at(0, end(7)), at(2, end(7))) == [
        (7, "complete", 20, 1),
        (7, "no_start", None, None),
    ]


def test_stats_lines_behind_an_end_line_may_be_those_of_the_next_one():
    assert briefs(start(7), end(7), stats(1), ops(1), end(8)) == [
        (7, "ambiguous", None, None),
        (8, "ambiguous", None, None),
    ]


def test_stats_lines_long_behind_an_end_line_are_not_its_own():
    lines = at(1, start(7)), at(1, end(7)), at(3, stats(1)), at(3, ops(1))
    assert briefs(*lines) == [(7, "no_stats", None, None), (None, "no_start", 1, 1)]


def test_without_the_kernels_clock_the_time_of_day_tells_what_was_printed_at_once():
    def after(seconds, text):
        at = AT + timedelta(seconds=seconds)
        return lambda seq: record(text, seq, usec=None, boot_id=None, at=at, clock="log")

    run = after(0, start(7)), after(0, end(7))
    assert briefs(*run, after(1, stats()), after(1, ops())) == [(7, "complete", 20, 1)]
    assert briefs(*run, after(7200, stats()), after(7200, ops())) == [
        (7, "no_stats", None, None),
        (None, "no_start", 20, 1),
    ]


def test_stats_lines_behind_an_end_line_of_another_task_are_not_its_own():
    lines = [by("T1", line) for line in (start(7), end(7))]
    lines += [by("T2", line) for line in (stats(1), ops(1))]
    assert briefs(*lines) == [(7, "no_stats", None, None), (None, "no_start", 1, 1)]


def test_a_run_without_stats_lines_is_there_when_none_can_come_any_more():
    assembler = RunAssembler("lab1")
    assert assembler.feed(log(start(7), end(7))).runs == []
    assert assembler.resume_before == 0
    (run,) = assembler.feed([record("usb 1-1", 2, usec=9_000_000)]).runs
    assert brief(run) == (7, "no_stats", None, None)
    assert assembler.resume_before is None


@pytest.mark.parametrize("pid", [0, -1, ""])
def test_an_end_line_that_names_no_process_ends_the_only_open_run(pid):
    assert briefs(start(7), stats(), ops(), end(pid)) == [(7, "complete", 20, 1)]
    runs = briefs(start(7), start(8), stats(), ops(), end(pid))
    assert [status for _, status, _, _ in runs] == ["ambiguous", "no_end", "no_end"]
    assert {value for *_, value in runs} == {None}


def test_an_end_line_of_another_process_than_the_open_one_has_no_values():
    assert briefs(start(7), stats(), ops(), end(99)) == [
        (99, "ambiguous", None, None),
        (7, "no_end", None, None),
    ]


@pytest.mark.parametrize("between", ["", "\n", " "])
def test_lines_joined_in_one_record_are_those_of_a_run(between):
    (run,) = read(between.join([start(7), stats(), ops(), end(7)])).runs
    assert brief(run) == (7, "complete", 20, 1)
    assert (run["started_us"], run["ended_us"]) == (1_000_000, None)
    (run,) = read(start(7), "usb", between.join([stats(), ops(), end(7)])).runs
    assert brief(run) == (7, "complete", 20, 1)
    assert run["ended_us"] == 1_000_002


def test_lines_joined_in_a_record_that_was_cut_are_nobodys():
    assert briefs(start(7), cut(f"{stats()}{ops()}{end(7)}")) == [(7, "truncated", None, None)]


def test_runs_of_one_record_have_ids_of_their_own():
    runs = read(start(1), stats(1), ops(), end(1) + start(2), stats(2), ops(), end(2) + start(3))
    assert [brief(run) for run in runs.runs] == [
        (1, "complete", 1, 1),
        (2, "complete", 2, 1),
        (3, "no_end", None, None),
    ]
    assert len({run["run_id"] for run in runs.runs}) == 3
    one, two = read(start(1) + end(1) + start(2) + end(2)).runs
    assert (one["first_seq"], brief(one)[0]) == (0, 1)
    assert (two["first_seq"], brief(two)[0]) == (0, 2)
    assert one["run_id"] != two["run_id"]


def test_ten_thousand_open_runs_are_ended_one_by_one():
    assembler = RunAssembler("lab1")
    count = 10_007
    lines = [start(pid) for pid in range(1, count)]
    for pid in range(1, count):
        lines += [stats(pid), ops(), end(pid)]
    rows = assembler.feed(log(*lines)).runs
    assert [row["read_bytes"] for row in rows] == list(range(1, count))
    assert {row["status"] for row in rows} == {"complete"}


def test_time_that_goes_backwards_loses_no_run():
    lines = [at(9 - seq, line) for seq, line in enumerate([start(7), stats(), ops(), end(7)])]
    assert briefs(*lines) == [(7, "complete", 20, 1)]


def test_a_run_without_stats_lines_leaves_only_the_lines_behind_it_in_doubt():
    assert briefs(
        start(7), start(8), end(8), start(9), stats(9), ops(9), end(9), stats(7), ops(7), end(7)
    ) == [
        (8, "no_stats", None, None),
        (9, "complete", 9, 9),
        (7, "complete", 7, 7),
    ]


def test_a_run_that_begins_when_nothing_is_open_has_no_part_in_an_older_mixture():
    assert briefs(start(7), stats(1), stats(2), ops(), end(7), start(9), end(9)) == [
        (7, "ambiguous", None, None),
        (9, "no_stats", None, None),
    ]


def test_a_mixture_of_lines_is_needed_again_while_it_may_belong_to_another_end():
    assembler = RunAssembler("lab1")
    assembler.feed(log("usb", stats(7), stats(8), ops(7), ops(8), end(7)))
    assert assembler.resume_before == 2
    (run,) = assembler.feed([record(end(8), 6)]).runs
    assert brief(run) == (8, "ambiguous", None, None)
    assert assembler.resume_before is None


def test_lines_printed_by_different_tasks_are_ambiguous():
    runs = read(start(7), by("T7", stats()), by("T7", ops()), by("T8", end(7))).runs
    assert [brief(row) for row in runs] == [(7, "ambiguous", None, None)]
    assert runs[0]["note"] == "its stats and End lines were printed by different tasks"


def test_the_task_that_starts_a_run_need_not_be_the_one_that_ends_it():
    assert briefs(by("T1", start(7)), by("T7", stats()), by("T7", ops()), by("T7", end(7))) == [
        (7, "complete", 20, 1)
    ]


def test_records_lost_while_a_run_was_open_make_it_ambiguous():
    rows = read(start(7), lost(3), stats(), ops(), end(7), start(8), stats(), ops(), end(8))
    assert [brief(row) for row in rows.runs] == [(7, "ambiguous", 20, 1), (8, "complete", 20, 1)]
    assert rows.runs[0]["note"] == "3 records were lost while it ran"
    assert rows.losses == [
        {
            "host": "lab1",
            "boot_id": "b1",
            "source": "kmsg",
            "first_seq": 1,
            "last_seq": 1,
            "records": 3,
            "reason": "overrun",
            "noticed_at": AT,
            "text": None,
        }
    ]


def test_stats_lines_before_and_behind_a_loss_are_not_joined():
    assert briefs(start(7), stats(1), lost(9), ops(2), end(7)) == [
        (None, "ambiguous", 1, None),
        (7, "ambiguous", None, 2),
    ]


def test_a_cut_line_makes_its_run_truncated():
    rows = read(start(7), cut(stats(file="x" * 900)[:900]), ops(), end(7))
    assert [brief(row) for row in rows.runs] == [(7, "truncated", None, 1)]
    assert rows.runs[0]["note"] == "one of its lines is cut"
    assert [(loss["reason"], loss["first_seq"]) for loss in rows.losses] == [("truncated", 1)]
    assert rows.losses[0]["text"].startswith("[2021202045] test file[xxx")


def test_a_line_cut_inside_its_last_number_makes_its_run_truncated():
    assert briefs(start(7), cut(stats(written=2)), ops(), end(7)) == [(7, "truncated", 20, 1)]


def test_a_file_name_that_was_cut_makes_its_run_truncated():
    (run,) = read(start(7), stats(file="long" * 150 + r"\..."), ops(), end(7)).runs
    assert brief(run) == (7, "truncated", 20, 1)
    assert run["note"] == "the file name is longer than a log line"
    assert run["file"].endswith(r"long\...")


@pytest.mark.parametrize(
    "line", [stats().replace("20", "9" * 19), "OS Assignment2 ftrace [x] End", stats()[:-9]]
)
def test_a_line_that_is_not_understood_is_noted_with_its_text(line):
    rows = read(start(7), line.replace("abc", "a\x1b"))
    assert [brief(row) for row in rows.runs] == [(7, "no_end", None, None)]
    (loss,) = rows.losses
    assert (loss["reason"], loss["records"], loss["first_seq"]) == ("rejected", 1, 1)
    assert loss["text"] == line.replace("abc", r"a\x1b")


@pytest.mark.parametrize(
    "lines",
    [
        [stats(7), stats("9" * 20), ops(80), end(8)],
        [stats("9" * 20), stats(8), ops(70), end(7)],
        [stats(7), ops("9" * 20), ops(80), end(8)],
    ],
)
def test_a_line_that_is_not_understood_may_be_that_of_the_other_run(lines):
    (run, *_) = read(start(7), start(8), *lines).runs
    assert brief(run)[1:] == ("ambiguous", None, None)


def test_of_a_run_whose_stats_line_is_not_understood_the_rest_is_told():
    assert briefs(start(7), start(8), stats("9" * 20), ops(80), end(8), end(7)) == [
        (8, "no_stats", None, 80),
        (7, "no_stats", None, None),
    ]
    assert briefs(start(7), stats("9" * 20), ops(70), end(7)) == [(7, "no_stats", None, 70)]
    assert briefs(start(7), start(8), stats("9" * 20), end(8), stats(8), ops(80), end(7)) == [
        (8, "no_stats", None, None),
        (7, "ambiguous", None, None),
    ]


def test_lines_that_no_kernel_wrote_are_noted_and_not_taken():
    forged = [lambda seq, text=text: record(text, seq, facility=1) for text in (ops(), end(7))]
    cut_forged = [lambda seq: record(stats()[:40], seq, facility=1, truncated=True)]
    rows = read(start(7), *forged, *cut_forged, stats(), ops(), end(7))
    assert [brief(row) for row in rows.runs] == [(7, "complete", 20, 1)]
    assert [(loss["reason"], loss["first_seq"]) for loss in rows.losses] == [
        ("rejected", 1),
        ("rejected", 2),
        ("truncated", 3),
    ]


def test_a_name_with_lines_in_it_ends_no_run():
    name = f"a\n{ops(0, 0, 0, 0, 0)}\n{end(7)}"
    (run,) = read(start(7), stats(file=name), ops(), end(7)).runs
    assert brief(run) == (7, "complete", 20, 1)
    assert run["file"] == name.replace("\n", r"\x0a")


def test_stats_lines_without_end_do_not_grow_for_ever():
    assembler = RunAssembler("lab1")
    assembler.feed(log(start(0), *[stats(), ops()] * 2000))
    assert sum(map(len, (assembler._block, assembler._open))) <= 1001


def test_runs_go_on_in_the_log_that_comes_after_a_rotation():
    old = [line._replace(source="a@1") for line in log("x", start(7), "y")]
    new = [line._replace(source="a@2") for line in log("z", stats(), ops(), end(7))]
    assembler = RunAssembler("lab1")
    assembler.feed(old)
    assert assembler.resume_before == 1
    assembler.feed(new[:2])
    assert assembler.resume_before == 0
    assert [brief(row) for row in assembler.feed(new[2:]).runs] == [(7, "complete", 20, 1)]
    assert assembler.resume_before is None


def test_stats_lines_of_several_runs_that_nobody_claims_have_no_values():
    assert briefs(ops(1), ops(2)) == [(None, "ambiguous", None, None)]
    assert briefs(start(7), stats(1), stats(2)) == [
        (None, "ambiguous", None, None),
        (7, "no_end", None, None),
    ]


def test_a_run_printed_twice_is_needed_only_while_its_end_line_may_come_again():
    assembler = RunAssembler("lab1")
    lines = *twice(start(7), stats(), ops()), end(7)
    assembler.feed(log(*(at(0, line) for line in lines)))
    assert assembler.resume_before == 0
    assembler.feed([record("usb", len(lines), usec=9_000_000)])
    assert assembler.resume_before is None


def test_runs_without_end_do_not_hold_on_to_those_before_them():
    for lines in ([stats(), ops()], [start(7), stats(), ops()]):
        assembler = RunAssembler("lab1")
        assembler.feed(log(*lines * 100))
        assert assembler.resume_before == 99 * len(lines)


def test_nothing_is_needed_again_when_nothing_is_open():
    assembler = RunAssembler("lab1")
    assert assembler.resume_before is None
    assembler.feed(log("a", "b", start(7)))
    assert assembler.resume_before == 2
    assembler.feed(log("a", "b", "c", stats(), ops(), end(7)))
    assert assembler.resume_before is None


WORDS = st.sampled_from(["usb 1-1: new device", "open the file", stats()[:35], ""])


@st.composite
def overlapping_runs(draw):
    """Give items of a log, and the values of the runs in it in the order of their Ends."""
    pids = draw(st.lists(st.integers(1, 10**7), max_size=6, unique=True))
    count = st.integers(0, 2**63 - 1)
    calls = st.integers(0, 99)
    expected = [[pid, *draw(st.tuples(count, count, *[calls] * 5))] for pid in pids]
    lines = []
    for pid, read_bytes, written_bytes, *calls in expected:
        started = draw(st.integers(0, len(lines)))
        lines.insert(started, start(pid))
        lines += [stats(read_bytes, written_bytes), ops(*calls), end(pid)]
    for _ in range(draw(st.integers(0, 5))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["usb", "a file"])))
    return lines, expected


@given(overlapping_runs())
def test_every_run_printed_under_one_lock_is_there_once_with_its_own_values(case):
    lines, expected = case
    rows = read(*lines)
    assert [[row["pid"], *(row[name] for name in schema.COUNTERS)] for row in rows.runs] == expected
    assert {row["status"] for row in rows.runs} <= {"complete"}
    assert len({row["run_id"] for row in rows.runs}) == len(expected)
    assert rows.losses == []


def odd_lines(pid, small):
    joined = st.builds(lambda a, b, end: stats(a) + ops(b) + end, small, small, st.builds(end, pid))
    return st.builds(end, st.sampled_from([0, -1])), joined


def of_boot(boot_id):
    return lambda seq: record("usb", seq, boot_id=boot_id)


@st.composite
def soups(draw, odd=True, twice=False):
    """Give a log of trace lines, losses and noise in any order."""
    pid = st.integers(1, 3)
    small = st.integers(0, 9)
    item = st.one_of(
        st.builds(start, pid),
        st.builds(stats, small, small),
        st.builds(ops, small),
        st.builds(end, pid),
        st.builds(by, st.sampled_from(["T1", "T2"]), st.builds(end, pid)),
        *(odd_lines(pid, small) if odd else ()),
        st.builds(at, st.integers(0, 9), st.just("usb")),
        st.builds(cut, st.just(stats()[:40])),
        st.just(lost(2)),
        st.just(lost(1, "gap")),
        st.just(of_boot("b2")),
        WORDS,
    )
    times = draw(st.sampled_from([1, 2])) if twice else 1
    return log(*(line for line in draw(st.lists(item, max_size=40)) for _ in range(times)))


def number(item):
    return item.first_seq if isinstance(item, Loss) else item.seq


def read_in_parts(items, cuts):
    """Read as a watch does that is stopped at each cut, and goes on where it must."""
    runs, losses = [], []
    needed = seen = -1
    for stop in [*sorted(cuts), len(items)]:
        assembler = RunAssembler("lab1", seen)
        part = [item for item in items[:stop] if number(item) > needed]
        rows = assembler.feed(part)
        runs += rows.runs
        losses += rows.losses
        seen = max([seen, *map(number, part)])
        resume = assembler.resume_before
        needed = seen if resume is None else min(seen, resume - 1)
    rows = assembler.finish()
    return runs + rows.runs, losses + rows.losses


@given(soups(twice=True), st.lists(st.integers(0, 80), max_size=3))
def test_a_log_read_in_parts_gives_the_rows_of_the_whole(items, cuts):
    whole = RunAssembler("lab1")
    expected = whole.feed(items)
    expected.add(whole.finish())
    assert read_in_parts(items, cuts) == (expected.runs, expected.losses)


def test_lines_that_come_twice_are_one_run_wherever_reading_stopped():
    items = log(*twice(start(7), stats(), ops(), end(7)), *twice(start(8), stats(), ops(), end(8)))
    for cut_at in range(len(items)):
        runs, _ = read_in_parts(items, [cut_at])
        assert [brief(row) for row in runs] == [(7, "complete", 20, 1), (8, "complete", 20, 1)]


@given(soups(odd=False))
def test_a_complete_run_has_its_four_lines_in_order_and_nobody_elses(items):
    whole = RunAssembler("lab1")
    rows = whole.feed(items).runs + whole.finish().runs
    texts = [getattr(item, "text", None) for item in items]
    claimed = []
    for row in rows:
        if row["status"] != "complete":
            continue
        first, last = row["first_seq"], row["last_seq"]
        assert texts[first] == start(row["pid"])
        wanted = stats(row["read_bytes"], row["written_bytes"]), ops(row["open_calls"])
        if texts[last] == wanted[1]:  # the End line stood before its stats lines
            assert end(row["pid"]) in texts[first:last]
            continue
        assert texts[last] == end(row["pid"])
        between = [
            (seq, text)
            for seq, text in enumerate(texts)
            if first < seq < last and seq not in claimed and text in wanted
        ]
        assert [text for _, text in between[-2:]] == list(wanted)
        claimed += [seq for seq, _ in between[-2:]]
        assert start(row["pid"]) not in texts[first + 1 : last]
        assert end(row["pid"]) not in texts[first + 1 : last]
        assert not any(isinstance(item, Loss) for item in items[first:last])


@given(soups())
def test_every_start_and_every_end_is_in_one_run(items):
    whole = RunAssembler("lab1")
    rows = whole.feed(items).runs + whole.finish().runs
    texts = [item.text or "" for item in items]
    for word, name in (("Start", "started_us"), ("End", "ended_us")):
        found = sum(row[name] is not None for row in rows)
        # of two that are alike and right behind one another, one may be the other once more
        several = [len(list(same)) for text, same in groupby(texts) if word in text]
        assert sum((times + 1) // 2 for times in several) <= found <= sum(several)
    assert len({row["run_id"] for row in rows}) == len(rows)


@given(st.lists(st.text(max_size=80), max_size=20))
def test_a_log_of_anything_else_has_no_run(texts):
    rows = read(*texts)
    assert rows.runs == []


def anew(seconds, text="Linux version 6.1.0", boot_id=None):
    return lambda seq: record(text, seq, usec=seconds * 1_000_000, boot_id=boot_id)


def unnamed(text):
    return lambda seq: record(text, seq, usec=9_000_000, boot_id=None)


def without_clock(text):
    return lambda seq: record(text, seq, usec=None, boot_id=None)


@pytest.mark.parametrize(
    "begun",
    [
        anew(0),
        anew(0, "usb 1-1"),  # where the first line of the boot is not in the log
        anew(9),
        anew(10, "usb 1-1", "b2"),
    ],
    ids=["first message", "clock", "same moment", "boot id"],
)
def test_a_run_never_goes_on_when_the_machine_is_started_anew(begun):
    rows = read(unnamed(start(7)), begun, *map(unnamed, [stats(), ops(), end(7)]))
    assert brief(rows.runs[0])[:2] == (7, "no_end")
    assert "the machine was started anew before its End line" in rows.runs[0]["note"]
    assert "complete" not in {row["status"] for row in rows.runs}


@pytest.mark.parametrize(
    "line",
    [
        anew(10),
        anew(8, "usb 1-1"),
        anew(0, boot_id="b1"),
        anew(2, "NMI backtrace for cpu 0"),
        anew(2, "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0"),
    ],
    ids=[
        "clock goes on",
        "clocks of two processors",
        "same boot id",
        "clock of a processor that was held up",
        "clock of one that found out itself",
    ],
)
def test_what_only_looks_like_a_start_of_the_machine_ends_no_run(line):
    boot_id = line(0).boot_id
    lines = [lambda seq, text=text: record(text, seq, usec=9_000_000, boot_id=boot_id)
             for text in (start(7), stats(), ops(), end(7))]  # fmt: skip
    rows = read(lines[0], line, *lines[1:])
    assert [brief(row)[:2] for row in rows.runs] == [(7, "complete")]


def test_without_clock_and_boot_id_the_kernels_first_message_tells():
    texts = [start(7), "Linux version 6.1.0", start(7), stats(), ops(), end(7)]
    rows = read(*map(without_clock, texts))
    assert [brief(row)[:2] for row in rows.runs] == [(7, "no_end"), (7, "complete")]


def test_a_program_can_not_say_that_the_machine_was_started_anew():
    said = anew(0)
    forged = lambda seq: said(seq)._replace(facility=1)  # noqa: E731
    rows = read(unnamed(start(7)), forged, *map(unnamed, [stats(), ops(), end(7)]))
    assert [brief(row)[:2] for row in rows.runs] == [(7, "complete")]


def test_a_new_boot_leaves_nothing_that_is_needed_again():
    assembler = RunAssembler("lab1")
    assembler.feed(log(unnamed(start(7)), unnamed(stats()), anew(0)))
    assert assembler.resume_before is None
    assert assembler.open_runs == []
