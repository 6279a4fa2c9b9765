import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import regex_steps
from dialect_samples import (
    COUNTS,
    TITLES,
    Spelling,
    comms,
    names,
    owners,
    spellings,
    wider_spellings,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from log_samples import call, fd, trace

from logtrace import dialects, grammar, schema
from logtrace.run_id import MOST_LINES
from logtrace.wording import Wording

DIALECTS = Path(__file__).parent / "data" / "dialects.txt"
NEAR_MISSES = Path(__file__).parent / "data" / "near-misses.txt"
LINES = Path(__file__).parent / "data" / "lines.txt"
FORMAT = Path(__file__).parents[1] / "docs" / "format.md"
START = "OS Assignment2 ftrace [47283] Start"
STATS = "[2021202045] test file[abc.txt] stats [x] read - 20 / written - 26"
OPS = "open[1] close[1] read[4] write[5] lseek[9]"
END = "OS Assignment2 ftrace [47283] End"
CALLS = {
    "open_calls": 1,
    "close_calls": 1,
    "read_calls": 4,
    "write_calls": 5,
    "lseek_calls": 9,
}


def stats(owner="2021202045", comm="test", file="abc.txt", read_bytes=20, written_bytes=26):
    return {
        "owner": owner,
        "comm": comm,
        "file": file,
        "read_bytes": read_bytes,
        "written_bytes": written_bytes,
    }


def without_bytes():
    return {name: value for name, value in stats().items() if not name.endswith("_bytes")}


def without_file(comm="test"):
    values = stats(comm=comm)
    del values["file"]
    return values


@pytest.mark.parametrize(
    ("line", "kind", "values"),
    [
        (START, "start", {"pid": 47283}),
        (STATS, "stats", stats()),
        (OPS, "ops", CALLS),
        (END, "end", {"pid": 47283}),
    ],
)
def test_the_lines_of_the_contract_are_understood_exactly(line, kind, values):
    event = grammar.parse(line)
    assert (event.kind, event.dialect, event.values) == (kind, "contract", values)


@pytest.mark.parametrize("blanks", [" ", "\n", "\r\n", "\t ", "\n                "])
def test_blanks_at_the_end_of_a_line_do_not_count(blanks):
    assert [grammar.parse(line + blanks).dialect for line in (START, STATS, OPS, END)] == [
        "contract"
    ] * 4


@pytest.mark.parametrize(
    ("line", "dialect", "values"),
    [
        ("OS Assignment 2 ftrace [1] Start", "lab", {"pid": 1}),
        ("OS Assignment2 ftrace[-1] End", "lab", {"pid": -1}),
        ("ftrace [4321] Start", "loose", {"pid": 4321}),
        ("OS Assignment #2 os_ftrace [4321] begin", "loose", {"pid": 4321}),
        ("Operating System Assignment 2 ftrace [4321] Start", "loose", {"pid": 4321}),
        ("OS Assignment2 ftrace [4321] Stop", "loose", {"pid": 4321}),
        ("[kwos] /test file[abc.txt] stats [x] read - 20 / written - 26", "lab", stats("kwos")),
        (STATS.replace(" - ", " \u2013 "), "lab", stats()),
        (STATS.replace("- 20", "-20"), "lab", stats()),
        (STATS.replace("- 20", "- -20"), "lab", stats(read_bytes=-20)),
        (STATS.replace("stats [x]", "stats[x]"), "lab", stats()),
        (STATS.replace("stats", "start"), "lab", stats()),
        (STATS.replace("- 20", "-").replace("- 26", "-"), "lab", without_bytes()),
        (STATS.replace("stats", "statx"), "loose", stats()),
        ("KERN_INFO " + STATS, "loose", stats()),
        (STATS.replace("file[", "["), "loose", stats()),
        (STATS.replace(" file[abc.txt]", ""), "loose", without_file()),
        (STATS.replace("test file[abc.txt]", "a.out"), "loose", without_file("a.out")),
        (STATS.replace("test", "a.out test"), "contract", stats(comm="a.out test")),
        (STATS.replace("test", "(null)"), "contract", stats(comm="(null)")),
        (STATS.replace("test", "swapper/0"), "contract", stats(comm="swapper/0")),
        (STATS.replace("test", ""), "contract", stats(comm="")),
        (STATS.replace("abc.txt", ""), "contract", stats(file="")),
        (STATS.replace("- 20", "- 4294967287"), "contract", stats(read_bytes=4294967287)),
        (OPS.replace("] ", "], "), "lab", CALLS),
        (OPS.replace("] ", "]  "), "lab", CALLS),
        ("[trace time: 184203ns] " + OPS, "lab", CALLS),
        ("[184 us] " + OPS, "loose", CALLS),
        ("elapsed time = 0.18 ms, " + OPS, "loose", CALLS),
        (OPS + " read_bytes[20] written_bytes[26]", "loose", CALLS),
        (OPS + " (20 / 26 bytes)", "loose", CALLS),
    ],
)
def test_spellings_of_labs_are_understood(line, dialect, values):
    event = grammar.parse(line)
    assert (event.dialect, event.values) == (dialect, values)


def lines_of(kind):
    section = LINES.read_text("utf-8").split(f"## {kind}\n")[1]
    return section.split("## ")[0].splitlines()


@pytest.mark.parametrize("line", lines_of("start"))
def test_a_line_of_beginning_or_end_is_understood_however_it_is_spelled(line):
    ended = re.sub("(?i)start(?:ed)?", "End", line)
    for text, kind in ((line, "start"), (ended, "end")):
        event = grammar.parse(text)
        assert (event.kind, event.values) == (kind, {"pid": 4321}), text


@pytest.mark.parametrize(
    ("line", "kind"), [(line, kind) for kind in ("stats", "ops") for line in lines_of(kind)]
)
def test_a_line_of_numbers_is_understood_however_it_is_spelled(line, kind):
    event = grammar.parse(line)
    assert (event.kind, event.values) == (kind, stats() if kind == "stats" else CALLS)


@pytest.mark.parametrize("fragment", ["OS Assignment", "read -", "lseek"])
def test_every_such_line_of_the_samples_is_understood(fragment):
    lines = [
        line.partition("] ")[2]
        for line in DIALECTS.read_text("utf-8").splitlines()
        if line.startswith("[") and fragment in line and "hooked" not in line
    ]
    assert len(lines) > 15
    assert [line for line in lines if grammar.parse(line) is None] == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "os_ftrace() hooked! os_ftrace -> my_ftrace",
        "ORIGINAL ftrace() called! PID is [4321]",
        "Failed to find task for pid: 99999",
        "ftrace: allocating 44632 entries in 175 pages",
        "iotracehooking: hooked openat/read/write/lseek/close",
        'audit: type=1400 operation="profile_replace" name="open [1]"',
        "EXT4-fs (sda1): re-mounted; errors=remount-ro file[1]",
    ],
)
def test_other_lines_of_the_log_are_not_of_a_run(line):
    assert grammar.parse(line) is None


@pytest.mark.parametrize("line", NEAR_MISSES.read_text("utf-8").splitlines()[1:])
def test_lines_that_only_resemble_those_of_a_run_are_not_taken(line):
    assert grammar.events(line) == ()


@pytest.mark.parametrize(
    "name",
    [
        "a] stats [x] read - 1 / written - 1",
        "a\n[9] x file[y] stats [x] read - 1 / written - 1",
        r"a\x0a[9] x file[y] stats [x] read - 1 / written - 1",
        " file[b]",
        "] End",
        "\nOS Assignment2 ftrace [47283] End",
        "open[1] close[1] read[4] write[5] lseek[9]",
        "x" * 900,
        "[" * 300,
        " file[" * 100,
        "tab\tescape\x1b[2J bell\x07",
    ],
)
def test_a_file_name_can_not_forge_the_values_of_its_line(name):
    event = grammar.parse(f"[2021202045] test file[{name}] stats [x] read - 20 / written - 26")
    shown = re.sub(r"[\n\t\x1b\x07]", lambda match: f"\\x{ord(match[0]):02x}", name)
    assert (event.kind, event.values) == ("stats", stats(file=shown))


def test_of_a_record_of_two_lines_neither_is_taken_alone():
    assert grammar.parse("something\n" + END) is None
    assert grammar.parse(END + "\nsomething") is None


@pytest.mark.parametrize(
    "line",
    [
        STATS.replace("20 /", "9223372036854775808 /"),
        STATS.replace("- 26", "- -9223372036854775809"),
        STATS.replace("- 26", "- " + "9" * 500),
        OPS.replace("[9]", "[18446744073709551615]"),
        START.replace("47283", "9223372036854775808"),
    ],
)
def test_a_number_beyond_64_bits_is_not_understood(line):
    assert grammar.parse(line) is None
    assert grammar.looks_like_trace(line)


def test_the_largest_number_of_64_bits_is_understood():
    event = grammar.parse(STATS.replace("20 /", "9223372036854775807 /"))
    assert event.values["read_bytes"] == 2**63 - 1


@pytest.mark.parametrize(
    ("line", "kind", "values"),
    [
        (
            trace(7, calls=2, files=1, parent=5, lost=(1, 2, 3)),
            "trace",
            {
                "pid": 7,
                "wide": True,
                "detail": True,
                "follow": False,
                "parent_pid": 5,
                "call_lines": 2,
                "fd_lines": 1,
                "lost_file_calls": 1,
                "lost_children": 2,
                "untimed_calls": 3,
            },
        ),
        (
            call(7, "new_call9", 4, 1, 400, 81234),
            "call",
            {
                "pid": 7,
                "call": "new_call9",
                "calls": 4,
                "errors": 1,
                "moved_bytes": 400,
                "time_ns": 81234,
            },
        ),
        (
            fd(7, 3, r"/a\x0ab] path[c", (1, 2, 3, 4, 5, 6, 7), 1),
            "fd",
            {
                "pid": 7,
                "descriptor": 3,
                "opens": 1,
                "closes": 2,
                "reads": 3,
                "writes": 4,
                "seeks": 5,
                "read_bytes": 6,
                "written_bytes": 7,
                "open_at_end": True,
                "path": r"/a\x0ab] path[c",
            },
        ),
    ],
)
def test_extra_lines_are_understood_exactly(line, kind, values):
    event = grammar.parse(line)
    assert (event.kind, event.dialect, event.values) == (kind, "contract", values)
    assert grammar.is_extra(line)


@pytest.mark.parametrize(
    "line",
    [
        fd(7).replace("ftrace/1", "ftrace/2"),
        call(7, "Open"),
        call(7, "open close"),
        call(7, "a" * 33),
        call(7) + " more[1]",
        trace(7, wide=2),
        trace(7, parent=-1),
        trace(2**63),
        fd(7, -1),
        fd(7, numbers=(1, 1, 1, 1, 1, 1, 2**63)),
    ],
)
def test_extra_lines_of_another_form_are_not_understood_but_told_from_others(line):
    assert grammar.parse(line) is None
    assert grammar.looks_like_trace(line)


def test_extra_lines_begin_their_record():
    assert grammar.parse("x" + call(7)) is None
    assert grammar.parse(f"[1] test file[{fd(7)}] stats [x] read - 1 / written - 1").kind == "stats"


def test_more_lines_in_a_record_than_ids_are_there_for_are_not_taken_apart():
    line = "ftrace [4321] Start"
    assert len(grammar.events("\n".join([line] * MOST_LINES))) == MOST_LINES
    assert grammar.events("\n".join([line] * (MOST_LINES + 1))) == ()


def test_a_line_longer_than_any_record_is_not_understood():
    assert grammar.parse(STATS.replace("abc.txt", "x" * 4000)) is not None
    assert grammar.parse(STATS.replace("abc.txt", "x" * 4050)) is None
    assert grammar.looks_like_trace(STATS.replace("abc.txt", "x" * 4050))


def test_digits_of_other_scripts_are_no_numbers():
    assert grammar.parse(START.replace("47283", "\u0664\u0667")) is None


@pytest.mark.parametrize(
    "line",
    [
        "OS Assignment2 ftrace [47283] Something",
        STATS[:-12],
        STATS[:30],
        OPS[:-3],
        "x" + STATS,
        "x" + OPS,
    ],
)
def test_a_line_meant_as_a_trace_line_is_told_from_others(line):
    assert grammar.parse(line) is None
    assert grammar.looks_like_trace(line)


@pytest.mark.parametrize(
    "line",
    [
        "os_ftrace() hooked! os_ftrace -> my_ftrace",
        "ftrace: allocating 44632 entries in 175 pages",
        "systemd[1]: Mounted /proc/sys/fs/binfmt_misc file system",
        "[drm] Loading firmware from a file",
        "",
    ],
)
def test_ordinary_lines_are_not_taken_for_trace_lines(line):
    assert not grammar.looks_like_trace(line)


@given(st.text(max_size=200))
def test_any_text_is_an_event_or_none(text):
    for line in (text, f"[1] {text} file[{text}] stats [x] read - {text} / written - 1"):
        event = grammar.parse(line)
        grammar.looks_like_trace(line)
        assert event is None or event.kind in grammar.KINDS


@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_numbers_are_read_as_printed_or_not_at_all(read_bytes, written_bytes):
    event = grammar.parse(
        f"[1] test file[f] stats [x] read - {read_bytes} / written - {written_bytes}"
    )
    if max(abs(read_bytes), abs(written_bytes)) < 2**63:
        assert event.values["read_bytes"] == read_bytes
        assert event.values["written_bytes"] == written_bytes
    else:
        assert event is None or {read_bytes, written_bytes} <= set(event.values.values())


LENGTH = 600
PATTERNS = [
    pytest.param(pattern, id=f"{dialect.name} {kind}")
    for dialect in dialects.load()
    for kind, pattern in dialect.patterns.items()
]
# those of the words are looked for everywhere in a line
WORDS = [
    pytest.param(pattern, id=name)
    for name, pattern in vars(Wording(dialects.wording())).items()
    if isinstance(pattern, re.Pattern)
]


def repeated(before, again, behind=""):
    """Give a line of some length in which a part is repeated."""
    return before + again * ((LENGTH - len(before + behind)) // len(again)) + behind


HOSTILE = [
    repeated("[1]", " ", "open["),
    repeated("[1]", " file ["),
    repeated("[1] ", "a file[] ] stats [x] read - "),
    repeated("[1] a file[b] stats [x] read - 1 / written - 1", " open[1]"),
    repeated("OS Assignment", " ", "ftrace"),
    repeated("", "OS Assignment2 ftrace ", "[1]"),
    repeated("OS Assignment2 ftrace [", " ", "-"),
    repeated("[1]", " ", "read - 1 written - 1") + " " * 100,
    repeated("[1] ", "read - 1 / written - 1 "),
    repeated("open[1]", " "),
    repeated("", "open[1] close[1] read[4] write[5] lseek[9] "),
    repeated("open[1] close[1] read[4]", "(", ")"),
    repeated("", "trace: "),
    repeated(STATS, "x"),
    repeated(OPS, "."),
    repeated(START, "="),
    repeated("", "9"),
    fd(7, path=repeated("", "] path[")),
    fd(7, path="x" * LENGTH)[:-1],
    repeated("ftrace/1 [", "9"),
    repeated("ftrace/1 [7] call[", "a"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("line", HOSTILE)
def test_no_pattern_looks_at_a_line_more_often_than_at_each_character_for_each_other(pattern, line):
    steps, fits = regex_steps.count(pattern, line, len(line) ** 2)
    assert fits is (pattern.fullmatch(line) is not None)
    assert steps <= len(line) ** 2


@pytest.mark.parametrize("pattern", WORDS)
@pytest.mark.parametrize("line", HOSTILE)
def test_no_word_is_looked_for_more_often_than_at_each_character_for_each_other(pattern, line):
    regex_steps.count(pattern, line, len(line) ** 2, search=True)


PIECES = re.findall(r"\w+|\W", " ".join((START, STATS, OPS, END, "N/A (null) pid: \u2013 #")))


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
)
def test_no_pattern_is_slow_on_any_repetition_of_pieces_of_trace_lines(before, again, behind):
    line = before + again * (150 // len(again)) + behind
    for dialect in dialects.load():
        for pattern in dialect.patterns.values():
            steps, fits = regex_steps.count(pattern, line, 2 * len(line) ** 2)
            assert fits is (pattern.fullmatch(line) is not None), pattern
            assert steps <= 2 * len(line) ** 2
    for word in WORDS:
        regex_steps.count(word.values[0], line, 2 * len(line) ** 2, search=True)


@pytest.mark.parametrize(
    "again", [" ", "9", "OS ", "ftrace [", "read - ", "open[1", "x", "[1] ", "file"]
)
@pytest.mark.parametrize("before", ["", "OS", "[1]", "ftrace [", "read -", "read - 1", "open ["])
def test_whether_a_line_is_meant_as_a_trace_line_takes_as_long_as_the_line_is(before, again):
    line = repeated(before, again)
    steps, _ = regex_steps.count(grammar._LOOKS_LIKE, line, 50 * len(line), search=True)
    assert steps <= 50 * len(line)


def test_of_a_line_longer_than_any_record_nothing_is_read(monkeypatch):
    monkeypatch.setattr(grammar, "_first", pytest.fail)
    assert grammar.parse(STATS + "x" * 10_000_000) is None


def test_the_run_that_is_documented_is_the_one_that_is_understood():
    block = FORMAT.read_text("utf-8").split("```")[1].strip()
    events = [grammar.parse(line.partition("] ")[2]) for line in block.splitlines()]
    assert [event.kind for event in events] == list(grammar.KINDS)
    assert {event.dialect for event in events} == {"contract"}


def test_the_extra_lines_that_are_documented_are_those_that_are_understood():
    section = FORMAT.read_text("utf-8").split("## Extra lines\n")[1]
    lines = section.split("```")[1].strip().splitlines()
    events = [grammar.parse(line.partition("] ")[2]) for line in lines]
    assert [event.kind for event in events] == [
        *("start", "stats", "ops", "trace", "call", "call", "fd", "end")
    ]
    assert {event.dialect for event in events} == {"contract"}


def test_the_columns_of_extra_lines_are_documented_beside_their_fields():
    section = FORMAT.read_text("utf-8").split("## Extra lines\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| [^|]*\| ([^|]*) \|", section, re.MULTILINE)
    columns = [name for cell in named for name in re.findall(r"`(\w+)`", cell)]
    given = [*schema.RUNS.names[-14:-7], *schema.CALLS.names[6:], *schema.FILES.names[6:]]
    assert sorted(columns) == sorted(given)


def documented(heading):
    """Give the names in the table below a heading."""
    section = FORMAT.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_dialect_is_documented():
    assert documented("Dialects") == [dialect.name for dialect in dialects.load()]


def test_every_status_is_documented():
    assert sorted(documented("Which lines make a run")) == sorted(schema.STATUSES)


@settings(max_examples=400)
@given(spellings, st.integers(-(2**63), 2**63 - 1))
def test_start_and_end_lines_are_understood_in_every_spelling(spelling, pid):
    for line, kind in ((spelling.of_start(pid), "start"), (spelling.of_end(pid), "end")):
        event = grammar.parse(line)
        assert event is not None, line
        assert (event.kind, event.values) == (kind, {"pid": pid}), line


@settings(max_examples=600)
@given(spellings, owners, comms, names, COUNTS, COUNTS)
def test_stats_lines_are_understood_in_every_spelling(spelling, owner, comm, file, read, written):
    line = spelling.of_stats(owner, comm, file, read, written)
    event = grammar.parse(line)
    assert event is not None, line
    expected = stats(owner, comm, file, read, written)
    if not spelling.file:
        del expected["file"]
    assert event.kind == "stats"
    assert event.values == expected, line


@settings(max_examples=400)
@given(spellings, st.tuples(*[COUNTS] * 5))
def test_calls_lines_are_understood_in_every_spelling(spelling, counts):
    line = spelling.of_ops(*counts)
    event = grammar.parse(line)
    assert event is not None, line
    assert event.values == dict(zip(CALLS, counts, strict=True)), line
    assert event.kind == "ops"


@settings(max_examples=250)
@given(wider_spellings, st.integers(0, 2**22), st.tuples(*[COUNTS] * 7))
def test_spellings_that_differ_in_everything_at_once_are_understood(spelling, pid, counts):
    said = [
        (spelling.of_start(pid), "start", {"pid": pid}),
        (spelling.of_ops(*counts[2:]), "ops", dict(zip(CALLS, counts[2:], strict=True))),
        (spelling.of_end(pid), "end", {"pid": pid}),
    ]
    for line, kind, values in said:
        event = grammar.parse(line)
        assert event is not None, line
        assert (event.kind, event.values) == (kind, values), line


@settings(max_examples=250)
@given(wider_spellings, owners, comms, names, COUNTS, COUNTS)
def test_stats_lines_that_differ_in_everything_at_once_are_understood(
    spelling, owner, comm, file, read, written
):
    line = spelling.of_stats(owner, comm, file, read, written)
    event = grammar.parse(line)
    assert event is not None, line
    expected = stats(owner, comm, file, read, written)
    if not spelling.file:
        del expected["file"]
    assert event.values == expected, line


@settings(max_examples=200)
@given(spellings, st.sampled_from(["", "\n", " ", "\n    "]), st.integers(0, 2**40))
def test_lines_that_are_joined_into_one_record_are_taken_apart(spelling, between, number):
    # what stands around the calls without a bracket can't be told from the lines beside them
    before = spelling.before_calls if spelling.before_calls.startswith("[") else ""
    spelling = replace(spelling, before_calls=before, behind_calls="", trailing="")
    lines = [
        spelling.of_start(7),
        spelling.of_stats("2021202045", "test", "abc.txt", number, 26),
        spelling.of_ops(1, 1, 4, 5, 9),
        spelling.of_end(7),
    ]
    for first in range(4):
        for last in range(first + 1, 5):
            text = between.join(lines[first:last])
            found = grammar.events(text)
            assert [event.kind for event in found] == list(grammar.KINDS[first:last]), text
            assert [event.values for event in found] == [
                grammar.parse(line).values for line in lines[first:last]
            ], text


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (STATS.replace("- 20", "-").replace("- 26", "-"), ["owner", "comm", "file"]),
        (STATS.replace("20", "(null)").replace("26", "N/A"), ["owner", "comm", "file"]),
        (re.sub(r"\d", "", OPS), []),
        (OPS.replace(" lseek[9]", ""), ["open_calls", "close_calls", "read_calls", "write_calls"]),
        (OPS.replace("read[4] ", ""), ["open_calls", "close_calls", "write_calls", "lseek_calls"]),
        ("OS Assignment2 ftrace [] End", []),
    ],
)
def test_what_a_line_does_not_print_is_no_value(line, values):
    assert list(grammar.parse(line).values) == values


def test_counters_in_another_order_are_read_by_their_names():
    line = "read[4] write[5] lseek[9] open[1] close[2]"
    assert grammar.parse(line).values == CALLS | {"close_calls": 2}


@pytest.mark.parametrize(
    "text",
    [
        "x " + OPS + STATS,
        OPS + END + "x",
        START + "something" + END,
        # two stats lines, or one with a name that looks like a line
        "\n".join([START, STATS, OPS, END, STATS, OPS, END]),
        "\n".join([START] + [STATS, OPS] * 40 + [END]),
        START + STATS.replace("abc.txt", "x" * 900) + OPS,
    ],
)
def test_a_record_that_is_not_clearly_some_lines_is_not_taken_apart(text):
    assert grammar.events(text) == ()
    assert grammar.looks_like_trace(text)


def test_a_name_in_a_joined_record_forges_no_line():
    name = f"a] stats [x] read - 1 / written - 1\n{OPS}\n{END}\n[1] x file[b"
    text = STATS.replace("abc.txt", name) + "\n" + OPS
    assert grammar.events(text) == ()
    (event,) = grammar.events(STATS.replace("abc.txt", name))
    assert event.values["read_bytes"] == 20


@given(st.text("[]/-0129 \nOSAssignment2ftracefileopenreadwritten", max_size=300))
def test_any_mixture_of_the_characters_of_trace_lines_is_lines_or_nothing(text):
    for event in grammar.events(text):
        assert event.kind in grammar.KINDS


def test_no_built_in_pattern_can_take_exponential_time():
    for dialect in dialects.load():
        for kind, pattern in dialect.patterns.items():
            assert dialects.slow(pattern.pattern) is None, (dialect.name, kind)


GARBAGE = st.sampled_from(["x", "?!", "1,234", "12.5", "0x14", "9" * 20, "\u0664", "[", "", "a b"])


@st.composite
def half_broken(draw):
    """Give a line of a run in which one thing is wrong, but not what shows what it should be."""
    spelling = draw(spellings)
    kind = draw(st.sampled_from(grammar.KINDS))
    if kind in ("start", "end"):
        line = replace(spelling, title=draw(st.sampled_from(TITLES[:6]))).of_start(4321)
        return draw(
            st.one_of(
                GARBAGE.map(lambda new: line.replace("4321", new)),
                GARBAGE.map(lambda new: re.sub("[A-Za-z]+\\s*$", new, line)),
                st.integers(len(line) // 2 + 3, len(line)).map(lambda stop: line[:stop]),
            )
        )
    if kind == "stats":
        line = replace(spelling, file="file[{}]", keyword="stats [x]").of_stats(
            "2021202045", "test", "abc.txt", 4321, 26
        )
        return draw(
            st.one_of(
                GARBAGE.map(lambda new: line.replace("4321", new)),
                st.sampled_from(["raed", "red", ""]).map(lambda new: line.replace("read", new)),
                st.sampled_from(["wrtien", "put"]).map(lambda new: line.replace("written", new)),
                st.integers(line.index("abc"), len(line)).map(lambda stop: line[:stop]),
            )
        )
    spelling = replace(spelling, call="{}[{}]", between_calls=draw(st.sampled_from([" ", ", "])))
    line = spelling.of_ops(1, 2, 4321, 5, 9)
    return draw(
        st.one_of(
            GARBAGE.map(lambda new: line.replace("4321", new)),
            st.sampled_from(["lsek", "sync"]).map(lambda new: line.replace("lseek", new)),
            st.sampled_from(["x", "\x01", ";;;x;;;"]).map(
                lambda new: line.replace("read", new + "read")
            ),
            st.integers(line.index("close[2]") + 8, len(line)).map(lambda stop: line[:stop]),
        )
    )


@settings(max_examples=500)
@given(half_broken())
def test_a_line_of_which_something_is_wrong_is_understood_or_told_from_others(line):
    assert grammar.events(line) or grammar.looks_like_trace(line), line


def lines_of_the_data():
    for name in ("dialects.txt", "variants.txt", "lines.txt", "near-misses.txt", "extras.txt"):
        text = (NEAR_MISSES.parent / name).read_text("utf-8")
        yield from (
            line.partition("] ")[2] if line.startswith("[ ") else line for line in text.splitlines()
        )


may_mean = st.one_of(
    half_broken(),
    st.builds(Spelling.of_start, wider_spellings, COUNTS),
    st.builds(Spelling.of_stats, wider_spellings, owners, comms, names, COUNTS, COUNTS),
    st.builds(Spelling.of_ops, wider_spellings, *[COUNTS] * 5),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
    st.sampled_from([*lines_of_the_data()]),
)


@settings(max_examples=500)
@given(may_mean)
def test_whatever_is_understood_or_told_from_others_has_the_words_that_logs_are_searched_for(line):
    if grammar.events(line) or grammar.looks_like_trace(line):
        assert re.search(grammar.MAY_MEAN, line), line
        found = pc.match_substring_regex(pa.array([line.encode()]), grammar.MAY_MEAN)
        assert found.to_pylist() == [True], line


def test_every_line_of_the_data_that_is_understood_has_the_words_that_logs_are_searched_for():
    lines = [line for line in lines_of_the_data() if grammar.events(line)]
    assert len(lines) > 500
    assert [line for line in lines if not re.search(grammar.MAY_MEAN, line)] == []
