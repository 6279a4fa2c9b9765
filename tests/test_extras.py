import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from log_samples import by, call, cut, end, fd, log, lost, ops, read, record, start, stats, trace

from logtrace import schema
from logtrace.extras import Extras
from logtrace.grammar import parse
from logtrace.record import Loss, parse_kmsg
from logtrace.runs import Rows, RunAssembler
from logtrace.source.logfile import read_log

DATA = Path(__file__).parent / "data"
COLUMNS = {
    "runs": [
        *("pid", "comm", "wide", "detail", "follow", "parent_pid", "lost_file_calls"),
        *("lost_children", "untimed_calls", "dialect", "status", "note"),
    ],
    "files": [name for name in schema.FILES.names if name not in ("host", "boot_id", "run_id")],
    "calls": [name for name in schema.CALLS.names if name not in ("host", "boot_id", "run_id")],
}


def sections():
    """Split extras.txt into its logs."""
    logs = {}
    for line in (DATA / "extras.txt").read_bytes().splitlines(keepends=True):
        if line.startswith(b"## "):
            lines = logs.setdefault(line.split()[1].decode(), [])
        elif not line.startswith(b"#"):
            lines.append(line)
    return {name: b"".join(lines) for name, lines in logs.items()}


def rows_of(text):
    assembler = RunAssembler("lab1")
    rows = assembler.feed(read_log(io.BytesIO(text), "a.log@0123456789ab"))
    rows.add(assembler.finish())
    return rows


def cells(section, columns, rows):
    for row in rows:
        values = (row.get(column) for column in columns)
        yield [section, *("" if value is None else str(value) for value in values)]


@pytest.mark.parametrize("table", COLUMNS)
def test_what_extra_lines_give_is_what_is_committed_beside_them(table):
    with (DATA / f"extras-{table}.csv").open(newline="") as file:
        header, *expected = csv.reader(file)
    columns = header[1:]
    assert columns == COLUMNS[table]
    found = [
        row
        for name, text in sections().items()
        for row in cells(name, columns, getattr(rows_of(text), table))
    ]
    assert found == expected


def test_a_captured_log_gives_the_same_from_the_kernel_and_from_dmesg():
    raw = (DATA / "extras.kmsg").read_bytes().splitlines(keepends=True)
    rows = RunAssembler("lab1").feed(map(parse_kmsg, raw))
    assert rows.losses == []
    printed = rows_of(sections()["captured"])
    for table, columns in COLUMNS.items():
        same = [name for name in columns if name != "ended_seq"]
        assert [*cells("", same, getattr(rows, table))] == [
            *cells("", same, getattr(printed, table))
        ]
    assert [(run["comm"], run["status"]) for run in rows.runs] == [
        ("test", "complete"),
        ("python3", "complete"),
        ("python3", "complete"),
    ]
    assert {plain(row["path"]) for row in rows.files} > {
        b"/tmp/a\nOS Assignment2 ftrace [7] End]",
        "/tmp/h\u00e9 \\ ]".encode(),
    }


@pytest.mark.parametrize("section", sections())
def test_rows_of_extra_lines_fit_their_tables_and_name_a_run(section):
    rows = rows_of(sections()[section])
    for name in ("runs", "files", "calls"):
        own = getattr(rows, name)
        columns = schema.TABLES[name]
        assert schema.to_table(own, columns).to_pylist() == [
            dict.fromkeys(columns.names) | row for row in own
        ]
    ids = {row["run_id"] for row in rows.runs}
    assert {row["run_id"] for row in (*rows.files, *rows.calls)} <= ids


def block(pid, *extras, values=(20, 26)):
    return [stats(*values), ops(), *extras, end(pid)]


def details(*lines, **options):
    """Give status, note, and how many file and call rows the only run of a log has."""
    rows = read(*lines, **options)
    (run,) = rows.runs
    return run["status"], run["note"], len(rows.files), len(rows.calls)


FULL = [trace(7, calls=2, files=1), call(7, "read"), call(7, "openat"), fd(7)]


def test_the_options_and_what_was_lost_are_the_runs():
    (run,) = read(start(7), *block(7, trace(7, wide=0, parent=5, lost=(3, 2, 1)))).runs
    assert (
        run
        | {
            "wide": False,
            "detail": True,
            "follow": False,
            "parent_pid": 5,
            "lost_file_calls": 3,
            "lost_children": 2,
            "untimed_calls": 1,
        }
        == run
    )
    assert not {"calls", "call_lines", "fd_lines"} & set(run)


def test_a_run_without_extra_lines_has_nothing_of_them():
    rows = read(start(7), *block(7))
    assert (rows.files, rows.calls) == ([], [])
    assert {"wide", "parent_pid", "lost_children"}.isdisjoint(rows.runs[0])


@pytest.mark.parametrize(
    ("extras", "doubt"),
    [
        ([FULL[0], *FULL], "trace lines of several runs stand before its End line"),
        ([*FULL, FULL[0]], "trace lines of several runs stand before its End line"),
        ([*FULL, fd(7, 4)], "there are more fd lines than its trace line announces"),
        ([FULL[0], call(7, "x"), *FULL[1:]], "there are more call lines than its trace line"),
        ([FULL[0], FULL[3], *FULL[1:3]], "its extra lines are out of order"),
        ([*FULL[1:], FULL[0]], "its extra lines are out of order"),
        ([by("T9", FULL[0]), *FULL[1:]], "its stats and End lines were printed by different tasks"),
        ([trace(8)], "extra lines of another run stand behind its stats lines"),
    ],
)
def test_extra_lines_that_can_not_be_those_of_one_run_are_nobodys(extras, doubt):
    rows = read(start(7), start(8), *block(7, *extras), end(8))
    run = next(row for row in rows.runs if row["pid"] == 7)
    assert run["status"] == "ambiguous"
    assert doubt in run["note"]
    assert (rows.files, rows.calls, run.get("wide")) == ([], [], None)


def test_extra_lines_before_the_calls_line_are_nobodys():
    assert details(start(7), stats(), *FULL, ops(), end(7)) == (
        "ambiguous",
        "its extra lines do not stand behind its calls line",
        0,
        0,
    )


def test_extra_lines_of_another_task_than_the_end_line_are_nobodys():
    lines = [by("T7", line) for line in FULL]
    status, note, *rows = details(start(7), *lines, by("T8", end(7)))
    assert (status, rows) == ("ambiguous", [0, 0])
    assert "its extra lines and its End line were printed by different tasks" in note
    assert details(by("T1", start(7)), *[by("T7", line) for line in block(7, *FULL)]) == (
        "complete",
        None,
        1,
        2,
    )


def test_extra_lines_are_a_runs_though_its_stats_lines_are_missing():
    assert details(start(7), *FULL, end(7)) == (
        "no_stats",
        "the stats line is missing; the calls line is missing",
        1,
        2,
    )
    assert details(*block(7, *FULL)) == ("no_start", "the Start line is missing", 1, 2)


def test_extra_lines_tell_whose_the_stats_lines_are_at_the_end_of_the_log():
    rows = read(start(6), start(7), *block(7, *FULL)[:-1])
    assert [(row["pid"], row["status"], row.get("read_bytes")) for row in rows.runs] == [
        (6, "no_end", None),
        (7, "no_end", 20),
    ]
    assert {row["pid"] for row in rows.files} == {7}
    assert {row["ended_seq"] for row in rows.files} == {None}


def test_extra_lines_without_start_and_end_are_a_run_with_the_stats_lines_before_them():
    rows = read(*block(7, *FULL)[:-1], *block(8, trace(8)), end(9))
    assert [(row["pid"], row["status"], row.get("read_bytes")) for row in rows.runs] == [
        (7, "no_start", 20),
        (8, "no_start", 20),
        (9, "no_start", None),
    ]
    assert [(row["pid"], row["comm"], row["ended_seq"]) for row in rows.files] == [(7, "test", 6)]


def test_extra_lines_of_the_run_before_are_not_those_of_the_next_of_its_pid():
    rows = read(*FULL, start(7), *block(7, FULL[0], *FULL[1:]))
    assert [row["status"] for row in rows.runs] == ["no_start", "complete"]
    assert [row["run_id"] for row in rows.files] == [row["run_id"] for row in rows.runs]


@pytest.mark.parametrize("line", [fd(7), call(7), trace(7)])
def test_extra_lines_that_no_kernel_wrote_are_noted_and_not_taken(line):
    def forged(seq):
        return record(line, seq, facility=1)

    rows = read(start(7), stats(), ops(), forged, *FULL, end(7))
    assert [row["status"] for row in rows.runs] == ["complete"]
    assert (len(rows.files), len(rows.calls)) == (1, 2)
    assert [(loss["reason"], loss["text"]) for loss in rows.losses] == [("rejected", line)]


@pytest.mark.parametrize(
    "line",
    [
        fd(7).replace("ftrace/1", "ftrace/2"),
        fd(7).replace("closes", "mends"),
        fd(7).replace("open[0]", "open[2]"),
        fd(7).replace("seeks[9]", "seeks[-9]"),
        fd(7).replace("path[", "inode[1] path["),
        fd(7)[:-1],
        fd(7, numbers=(1, 1, 1, 1, 1, 2**63, 1)),
        "ftrace/1 [7] mmap[1]",
    ],
)
def test_an_extra_line_of_another_form_is_noted_and_missing(line):
    rows = read(start(7), *block(7, trace(7, files=2), fd(7), line))
    assert [(row["status"], row["note"]) for row in rows.runs] == [
        ("truncated", "1 of its 2 fd lines is missing")
    ]
    assert [(loss["reason"], loss["text"]) for loss in rows.losses] == [("rejected", line)]
    assert len(rows.files) == 1


def test_a_cut_extra_line_is_missing_even_if_it_reads_well():
    whole = fd(7, path="/a]/b")
    for line in (whole, whole[:-3], whole[:20]):
        rows = read(start(7), *block(7, trace(7, files=1), cut(line)))
        assert rows.files == []
        assert [loss["reason"] for loss in rows.losses] == ["truncated"]
        (run,) = rows.runs
        assert (run["status"], run["note"], run["read_bytes"]) == (
            "truncated",
            "1 of its 1 fd lines is missing",
            20,
        )


def test_records_lost_among_extra_lines_leave_the_run_in_doubt_with_what_is_left():
    rows = read(start(7), stats(), ops(), *FULL[:2], lost(2), end(7))
    (run,) = rows.runs
    assert (run["status"], run["read_bytes"], len(rows.calls)) == ("ambiguous", 20, 1)
    assert run["note"] == (
        "2 records were lost while it ran; 1 of its 2 call lines is missing; "
        "1 of its 1 fd lines is missing"
    )


def test_extra_lines_do_not_grow_for_ever():
    many = [fd(7)] * 10_050
    rows = read(start(7), stats(), ops(), *many, end(7))
    assert (len(rows.files), len(rows.losses)) == (10_000, 50)


def test_a_run_with_extra_lines_is_needed_again_until_it_ends():
    for lines in ([start(7), *block(7, *FULL)], block(7, *FULL), [*FULL, end(7)]):
        assembler = RunAssembler("lab1")
        items = log("usb", *lines)
        assembler.feed(items[:-1])
        assert assembler.resume_before == 1
        assembler.feed(items[-1:])
        assert assembler.resume_before is None


def module_escapes(name):
    return b"".join(
        b"\\x%02x" % byte if byte < 0x20 or byte in b"\x7f\\" else bytes([byte]) for byte in name
    )


def kernel_escapes(text):
    return b"".join(
        b"\\x%02x" % byte if byte < 0x20 or byte >= 0x7F or byte == 0x5C else bytes([byte])
        for byte in text
    )


def plain(path):
    """Undo the escapes of a column."""
    return re.sub(
        rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), path.encode("utf-8")
    )


HOSTILE = st.sampled_from(
    [
        b"] open[1] path[/etc/passwd",
        b"\nOS Assignment2 ftrace [7] End",
        b"\nftrace/1 [7] fd[9] opens[1]",
        b"\\x0a",
        b"]",
        b" ",
    ]
)
PATHS = st.lists(st.one_of(st.binary(max_size=9), HOSTILE), max_size=5).map(b"".join)


@given(PATHS)
def test_a_path_of_any_bytes_forges_nothing_and_comes_back(path):
    line = fd(7, path="\0").encode().replace(b"\0", module_escapes(path))
    raw = b"6,12,345,-;" + kernel_escapes(line) + b"\n"
    parsed = parse_kmsg(raw, boot_id="b1")
    rows = read(start(7), stats(), ops(), trace(7, files=1), lambda _: parsed, end(7))
    assert [run["status"] for run in rows.runs] == ["complete"]
    assert rows.losses == []
    (file,) = rows.files
    assert plain(file["path"]) == path
    assert file["path"].isprintable()
    assert (file["descriptor"], file["read_bytes"], file["open_at_end"]) == (3, 20, False)


COUNT = st.integers(0, 2**63 - 1)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)


@st.composite
def extra_blocks(draw, pid):
    """Give the extra lines of a run, and its file and call rows without the run's columns."""
    calls = draw(st.lists(st.tuples(NAMES, COUNT, COUNT, COUNT, COUNT), max_size=3))
    files = draw(st.lists(st.tuples(COUNT, st.tuples(*[COUNT] * 7), st.booleans()), max_size=3))
    lines = [
        trace(pid, calls=len(calls), files=len(files)),
        *(call(pid, *values) for values in calls),
        *(fd(pid, number, "/f", counts, int(left)) for number, counts, left in files),
    ]
    expected_files = [(pid, number, *counts, left) for number, counts, left in files]
    return lines, expected_files, [(pid, *values) for values in calls]


@st.composite
def logs_of_runs(draw):
    """Give a log of runs, some with extra lines, and the rows that are in it."""
    lines, files, calls = [], [], []
    pids = draw(st.lists(st.integers(1, 10**7), max_size=5, unique=True))
    for pid in pids:
        lines.insert(draw(st.integers(0, len(lines))), start(pid))
        extras, own_files, own_calls = draw(st.one_of(st.just(([], [], [])), extra_blocks(pid)))
        lines += [stats(pid, pid), ops(), *extras, end(pid)]
        files += own_files
        calls += own_calls
    for _ in range(draw(st.integers(0, 3))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["usb", "ftrace: x"])))
    return lines, pids, files, calls


FILE_COLUMNS = [name for name in schema.FILES.names[4:] if name not in ("comm", "path")]
CALL_COLUMNS = [name for name in schema.CALLS.names[4:] if name != "comm"]


def picked(rows, columns):
    return [tuple(row[column] for column in columns) for row in rows]


@given(logs_of_runs())
def test_however_runs_overlap_each_has_its_own_files_and_calls(case):
    lines, pids, files, calls = case
    rows = read(*lines)
    assert [(run["pid"], run["status"], run["read_bytes"]) for run in rows.runs] == [
        (pid, "complete", pid) for pid in pids
    ]
    assert picked(rows.files, FILE_COLUMNS) == files
    assert picked(rows.calls, CALL_COLUMNS) == calls
    ids = {run["pid"]: (run["run_id"], run["last_seq"]) for run in rows.runs}
    for row in (*rows.files, *rows.calls):
        assert ids[row["pid"]] == (row["run_id"], row["ended_seq"])
    assert rows.losses == []


@given(st.sets(st.integers(0, 6)))
def test_whatever_extra_lines_are_missing_is_told(gone):
    extras = [trace(7, calls=3, files=3), *[call(7)] * 3, *[fd(7)] * 3]
    left = [line for place, line in enumerate(extras) if place not in gone]
    status, note, files, calls = details(start(7), *block(7, *left))
    lost_calls, lost_files = len(gone & {1, 2, 3}), len(gone & {4, 5, 6})
    assert (files, calls) == (3 - lost_files, 3 - lost_calls)
    if not gone or not left:
        assert (status, note) == ("complete", None)
        return
    assert status == "truncated"
    if 0 in gone:
        assert note == "the trace line is missing"
        return
    for kind, lost_lines in (("call", lost_calls), ("fd", lost_files)):
        assert (f"{lost_lines} of its 3 {kind} lines" in note) == bool(lost_lines)


@st.composite
def soups(draw):
    """Give a log of trace lines, extra lines, losses and noise in any order."""
    pid = st.integers(1, 3)
    few = st.integers(0, 2)
    item = st.one_of(
        st.builds(start, pid),
        st.builds(stats, few),
        st.builds(ops, few),
        st.builds(trace, pid, few, few),
        st.builds(call, pid),
        st.builds(fd, pid, few),
        st.builds(end, pid),
        st.builds(lambda number: [*block(number, trace(number, 0, 1), fd(number))], pid),
        st.builds(by, st.just("T1"), st.builds(fd, pid)),
        st.builds(cut, st.builds(fd, pid)),
        st.sampled_from(["usb", "ftrace/2 [1] fd[3]", stats()[:35]]),
        st.just(lost(2)),
    )
    items = draw(st.lists(item, max_size=30))
    return log(*(line for one in items for line in (one if isinstance(one, list) else [one])))


def number(item):
    return item.first_seq if isinstance(item, Loss) else item.seq


@given(soups(), st.lists(st.integers(0, 60), max_size=3))
@example(
    log(trace(1, 0, 0), end(1), stats(), ops(), trace(1, 0, 1), fd(1), end(1)), [2]
)  # the first End line may be that of the stats lines behind it
def test_a_log_read_in_parts_gives_the_rows_of_the_whole(items, cuts):
    whole = RunAssembler("lab1")
    expected = whole.feed(items)
    expected.add(whole.finish())

    found = Rows.none()
    needed = seen = -1
    for stop in [*sorted(cuts), len(items)]:
        assembler = RunAssembler("lab1", seen)
        part = [item for item in items[:stop] if number(item) > needed]
        found.add(assembler.feed(part))
        seen = max([seen, *map(number, part)])
        resume = assembler.resume_before
        needed = seen if resume is None else min(seen, resume - 1)
    found.add(assembler.finish())
    assert found == expected


@given(soups())
def test_a_run_has_no_rows_but_its_own_and_all_it_announced_if_it_is_complete(items):
    rows = read(*(lambda _, item=item: item for item in items))
    texts = [getattr(item, "text", None) for item in items]
    runs = {run["run_id"]: run for run in rows.runs}
    assert len(runs) == len(rows.runs)
    for row in rows.files:
        run = runs[row["run_id"]]
        assert row["pid"] == run["pid"]
        between = texts[run["first_seq"] : run["last_seq"] + 1]
        assert fd(row["pid"], row["descriptor"]) in between
    for run in rows.runs:
        if run["status"] == "complete" and "wide" in run:
            own = [row for row in (*rows.files, *rows.calls) if row["run_id"] == run["run_id"]]
            between = texts[run["first_seq"] : run["last_seq"]]
            announced = [text for text in between if text == trace(run["pid"], *_split(own))]
            assert announced


def _split(rows):
    files = sum("descriptor" in row for row in rows)
    return len(rows) - files, files


def test_what_is_disowned_is_nobodys_and_not_missing():
    extras = Extras(1)
    for seq, text in enumerate((trace(7, files=2), fd(7))):
        extras.add(record(text, seq), parse(text))
    assert list(extras.missing()) == ["1 of its 2 fd lines is missing"]
    extras.disown()
    assert (extras.files(), extras.options(), list(extras.missing())) == ([], {}, [])
    assert [line.seq for line in extras.records] == [0, 1]
