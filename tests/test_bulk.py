"""Whatever a log is, and however it is cut: reading in bulk gives what reading records gives."""

import io
import re
from itertools import repeat
from pathlib import Path

import pytest
from dialect_samples import Spelling, comms, names, owners, spellings
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_samples import REPORTS
from log_samples import call, end, fd, ops, start, stats, trace

from logtrace import bulk, grammar, importer, incident_grammar, schema
from logtrace.machines import Machines
from logtrace.scan import Scanner
from logtrace.source.logfile import LogText, begin_log, read_log, read_records

HOST = "lab1"
INCIDENTS = Path(__file__).parent / "data" / "incidents"
HEADS = [
    *(
        "race",
        "ssign",
        "RACE",
        "SSIGN",
        "read",
        "rit",
        "ead",
        "writ",
        "open",
        "pen",
        "los",
        "close",
    ),
    *("file", "file [", "open[1]", " - 1", "ftrace [1]:", "ftrace/1", "OS Assignment2", "pid"),
    *("x invoked oom-killer: ", "mod: ", "Unknown symbol ", "version magic '", "BUG: KASAN: a in "),
    *(start(1), stats(), ops(), end(1)),
]


def read(data, how=None, *, seen=-1, form=None, boot_id="b1", **options):
    """Give the tables that a log makes, and how many records it has."""
    stream = io.BytesIO(data)
    log = begin_log(stream, "log@0123456789ab", boot_id, form)
    if how is bulk and bulk.can_read(log.form):
        batches = list(bulk.read(stream, log, HOST, seen, **options))
    else:
        machines = Machines(HOST, lambda host: seen)
        batches = list(importer._read(read_records(stream, log), machines, len(data) + 1))
    tables = {name: [] for name in ("runs", "losses", "files", "calls", "incidents")}
    for found in (batch.found[HOST] for batch in batches if batch.found):
        for name, rows in (found.rows._asdict() | vars(found) | {"runs": found.runs}).items():
            if name in tables:
                tables[name] += schema.to_table(rows, schema.TABLES[name]).to_pylist()
    tables["runs"].sort(key=lambda row: (row["first_seq"], row["last_seq"], row["run_id"]))
    return tables, sum(batch.records for batch in batches), max(b.seen for b in batches)


COUNTS = st.integers(0, 99) | st.integers(0, 10**19) | st.sampled_from(["00", "007"])
PIDS = st.integers(0, 3) | st.integers(1, 10**7)
TEXTS = st.sampled_from(
    [
        *("test", "a b", "/x", " x", "x ", "", "é", "a]b", "[x", "x file", "a" * 300),
        *("x invoked oom-killer: y", "BUG: KASAN: x in y"),
        *("a\\xe2\\x80\\x93b", "\\", "\\...", "\x1b[2J", "\x7f"),
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6)
OWNERS = st.sampled_from(["2021202045", "T12", "#1", "a b", "", "x" * 33]) | owners
LAB = {"title": "OS Assignment 2 ftrace", "program": "/", "keyword": "start [x]"}


def block(pid, owner, comm, file, counts, ending, lab):
    """Write the lines of a run; `ending` is the pid that its End line has."""
    read_bytes, written, *calls = counts
    if lab:
        return [
            lab.of_start(pid),
            lab.of_stats(owner, comm, file, read_bytes, written),
            lab.of_ops(*calls),
            lab.of_end(ending),
        ]
    said = f"[{owner}] {comm} file[{file}] stats [x] read - {read_bytes} / written - {written}"
    return [start(pid), said, ops(*calls), end(ending)]


same_lab = st.sampled_from([None, None, Spelling(**LAB)])
plain = st.builds(
    lambda pid, counts, lab: block(pid, "2021202045", "test", "abc.txt", counts, pid, lab),
    PIDS, st.lists(st.integers(0, 10**18), min_size=7, max_size=7), same_lab,
)  # fmt: skip
strange = st.builds(
    block, PIDS, OWNERS, comms | TEXTS, names | TEXTS, st.lists(COUNTS, min_size=7, max_size=7),
    PIDS, st.none() | spellings,
)  # fmt: skip
mutated = st.builds(
    lambda lines, place, by: [*lines[:place], *by, *lines[place + 1 :]],
    plain,
    st.integers(0, 3),
    st.lists(st.sampled_from(["usb 1-1: new device", "", "  and more", stats(1, 2), end(1)])),
)
detailed = st.builds(
    lambda pid: [start(pid), stats(), ops(), trace(pid, 1, 1), call(pid), fd(pid), end(pid)], PIDS
)
noise = st.lists(
    st.sampled_from(["usb 1-1: new device", "open the file", "race", "file [x", "Linux version 6"])
    | st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20),
    max_size=5,
)
twice = st.builds(lambda lines: [line for line in lines for _ in range(2)], plain)


@st.composite
def beside(draw):
    """Write runs beside each other: of each the last three lines together, or anyhow."""
    runs = draw(st.lists(st.one_of(plain, plain, plain, strange, detailed), max_size=6))
    if draw(st.integers(0, 3)):
        pieces = [[lines[:1], lines[1:]] for lines in runs]
    else:
        pieces = [[[line] for line in lines] for lines in runs]
    places = [place for place, run in enumerate(pieces) for _ in run]
    return [line for place in draw(st.permutations(places)) for line in pieces[place].pop(0)]


boots = st.sampled_from([["Linux version 6.1.0"], ["\\x4cinux version 6.1.0", "Linux version 6"]])


def said_in(path):
    return [record.text for record in read_log(io.BytesIO(path.read_bytes()), f"{path.name}@0")]


REAL = [said_in(path) for path in sorted(INCIDENTS.glob("*/*.*")) if path.suffix != ".json"]
parts = st.builds(
    lambda report, first, count: report[first : first + count],
    st.sampled_from(REAL),
    st.integers(0, 60),
    st.integers(1, 80),
)
reports = st.sampled_from([report for report, *_ in REPORTS.values()]) | parts
texts = st.lists(
    st.one_of(
        *(plain, plain, plain, beside(), beside(), strange, mutated, detailed, twice),
        *(noise, boots, reports),
    )
)


@st.composite
def lines(draw, form):
    """Write a log: mostly as the kernel would, now and then with a line of no form."""
    said = [text for group in draw(texts) for text in group]
    clock = 0
    written = []
    steps = draw(st.sampled_from([STEPS, [0, 1]]))
    for place, text in enumerate(said):
        clock = max(0, clock + draw(st.sampled_from(steps)))
        stamp = draw(STAMPS[form])(clock, place)
        written.append(stamp + text)
        if draw(st.integers(0, 30)) == 0:
            written.append(draw(st.sampled_from(["", " SUBSYSTEM=usb", " more", "$ ls", "\x00"])))
    order = draw(st.permutations(written)) if draw(st.integers(0, 9)) == 0 else written
    newline = draw(st.sampled_from(["\n", "\n", "\n", "\r\n"]))
    data = newline.join(order).encode("utf-8", "surrogatepass")
    mark = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return mark + data + draw(st.sampled_from([b"\n", b"", b"\xff\xfe\n"]))


STEPS = [1] * 12 + [0, 999_999, 2_000_000, -3, -600_000, -1_000_001, -5_000_000, -(10**9)]
STAMPS = {
    "dmesg": st.sampled_from(
        [lambda at, _: f"[{at // 10**6:5d}.{at % 10**6:06d}] "] * 12
        + [
            lambda at, _: f"[{at // 10**6:5d}.{at % 10**6:06d}][ T123] ",
            lambda at, _: f"[{at // 10**6:5d}.{at % 10**6:06d}]",
            lambda at, _: f"[{10**11 + at:d}.{at % 10**6:06d}] ",
            lambda at, _: f"<6>[{at // 10**6:5d}.{at % 10**6:06d}] ",
            lambda at, _: f"\r[{at // 10**6:5d}.{at % 10**6:06d}] ",
            lambda at, _: f"[{at // 10**6:017d}.{at % 10**6:06d}] ",
            lambda at, _: f"lab7 login: [{at // 10**6:5d}.{at % 10**6:06d}] ",
            lambda at, _: "[Mon Nov 23 10:00:00 2026] ",
            lambda at, _: "",
        ]
    ),
    "kmsg": st.sampled_from(
        [lambda at, seq: f"6,{seq},{at},-;"] * 12
        + [
            lambda at, seq: f"6,{seq},{at},-,caller=T1;",
            lambda at, seq: f"14,{seq},{at},-;",
            lambda at, seq: f"6,{seq},{at},c;",
            lambda at, seq: f"30,{seq},{at},-;",
            lambda at, seq: f"0000000006,{seq},{at},-;",
            lambda at, seq: f"00000000006,{seq},{at},-;",
            lambda at, seq: "",
        ]
    ),
}


@pytest.mark.parametrize("form", STAMPS)
@settings(max_examples=60)
@given(st.data(), st.integers(1, 3000), st.sampled_from(["b1", None]))
def test_any_log_gives_the_same_rows_however_it_is_cut(form, data, size, boot_id):
    log = data.draw(lines(form))
    expected = read(log, boot_id=boot_id)
    assert read(log, bulk, boot_id=boot_id, part_bytes=size, workers=1) == expected
    assert read(log, bulk, boot_id=boot_id) == expected


@settings(max_examples=30)
@given(st.binary(max_size=300), st.integers(100, 3000))
def test_any_bytes_give_the_same_rows_however_they_are_cut(junk, size):
    log = junk + b"\n" + LOG + junk + LOG
    assert read(log, bulk, form="dmesg", part_bytes=size, workers=1) == read(log, form="dmesg")


@given(st.lists(st.sampled_from([*HEADS, "x" * 40, "", "\n", *"acdefghilnoprstuwACDEORS[] "])))
def test_no_word_of_a_run_or_an_incident_is_passed_over(parts):
    text = "".join(parts)
    means = grammar.events(text) or grammar.looks_like_trace(text)
    assert not means or re.search(grammar.MAY_MEAN, text)
    reports = any(pattern.match(text) for _, pattern in incident_grammar.HEADS)
    assert not reports or re.search(incident_grammar.MAY_BEGIN, text)


def dmesg(*said, at=1000):
    texts = enumerate((line for group in said for line in group), at * 1000)
    return "".join(f"[{usec // 10**6:5d}.{usec % 10**6:06d}] {text}\n" for usec, text in texts)


def run_of(pid, text="abc.txt"):
    return [start(pid), stats(file=text), ops(pid), end(pid)]


LOG = dmesg(*map(run_of, range(1, 41))).encode()


def fed(log, monkeypatch, **options):
    """Count the lines that are read one by one."""
    lines = []
    feed = LogText.feed

    def counted(self, seq, line):
        lines.append(line)
        return feed(self, seq, line)

    monkeypatch.setattr(LogText, "feed", counted)
    read(log.encode() if isinstance(log, str) else log, bulk, **options)
    return lines


def test_of_whole_runs_only_the_last_line_is_read_by_itself(monkeypatch):
    # and the other lines of its run; the first line of a part, and its run's, may begin a boot
    assert len(fed(LOG, monkeypatch)) == 8


@pytest.mark.parametrize("said", ["usb 1-1: new device", "e1000e: firmware version 3", "\\ é"])
def test_lines_that_mean_nothing_are_not_read_wherever_they_stand(monkeypatch, said):
    runs = [line for pid in range(1, 41) for line in run_of(pid)]
    log = dmesg([line for text in runs for line in (said, text, said)])
    assert len(fed(log, monkeypatch)) == 2  # the first, as it may begin a boot, and the last


def test_a_line_that_may_begin_a_boot_is_read_and_the_one_before_it(monkeypatch):
    runs = [*map(run_of, range(1, 11)), ["usb", "usb"]]
    version = "Linux version 6.1.0"
    log = dmesg(["usb"], *runs, at=5000) + dmesg(*runs, [version], *runs)
    read_alone = [line[15:].decode() for line in fed(log, monkeypatch)]
    once = ["usb", start(1), stats(), ops(1), end(1)]
    assert read_alone == ["usb", *once, "usb", version, "usb"]


def test_a_run_that_never_ends_leaves_the_others_to_be_read_together(monkeypatch):
    log = dmesg([start(999), "usb"], *map(run_of, range(1, 41)), ["usb"])
    assert len(fed(log, monkeypatch)) == 2


def nested(*pids):
    """Write runs that begin one after another and end the other way round."""
    return [
        *map(start, pids),
        *(line for pid in reversed(pids) for line in run_of(pid, f"{pid}.txt")[1:]),
    ]


def test_runs_of_modules_that_print_no_process_are_read_as_they_are():
    runs = [[line.replace("[7]", "[]") for line in run_of(7)] for _ in range(9)]
    assert runs[0][0] == "OS Assignment2 ftrace [] Start"
    log = dmesg(["usb"], *map(run_of, range(100, 105)), *runs, ["usb"]).encode()
    assert read(log, bulk) == read(log)


BESIDE = [
    nested(1, 2),
    nested(5, 6, 7, 8),
    [start(3), *nested(1, 2), start(4), *run_of(3)[1:], *run_of(4)[1:]],
    [start(1), "usb 1-1: new device", start(2), *run_of(1)[1:], "usb", *run_of(2)[1:]],
]


@pytest.mark.parametrize("lines", BESIDE)
def test_runs_beside_each_other_are_read_together(lines, monkeypatch):
    log = dmesg(["usb"], *map(run_of, range(100, 120)), *[lines] * 5, ["usb"])
    assert len(fed(log, monkeypatch)) == 2
    assert read(log.encode(), bulk) == read(log.encode())


@pytest.mark.parametrize("lines", BESIDE)
@pytest.mark.parametrize(
    "other",
    [
        *([start(1)], [start(2)], [start(50)], [end(1)], [end(50)], [stats(read=7)], [ops(7)]),
        *([fd(1)], [fd(50)], ["OS Assignment2 ftrace [1] Begin"], REPORTS["BUG"][0]),
        *(run_of(1), run_of(50), nested(50, 51)),
    ],
)
def test_what_stands_between_runs_beside_each_other_has_its_part_in_them(lines, other):
    for place in range(len(lines) + 1):
        said = [*lines[:place], *other, *lines[place:]]
        log = dmesg(["usb"], *map(run_of, range(100, 105)), said, *map(run_of, range(105, 110)))
        assert read(log.encode(), bulk) == read(log.encode())


@pytest.mark.parametrize("lines", BESIDE)
@pytest.mark.parametrize("before", [[start(1)], [start(2)], [start(50), end(50)], [stats(read=7)]])
def test_what_waits_before_runs_beside_each_other_has_its_part_in_them(lines, before):
    log = dmesg(["usb"], *map(run_of, range(100, 105)), before, lines, run_of(9)).encode()
    assert read(log, bulk) == read(log)


@pytest.mark.parametrize(
    "spelling", [LAB, LAB | {"keyword": "status [x]"}, {"between_calls": ", "}]
)
def test_runs_of_several_modules_beside_each_other_are_read_together(spelling, monkeypatch):
    other = block(2, "2021202045", "test", "abc.txt", range(7), 2, Spelling(**spelling))
    both = [start(1), other[0], *run_of(1)[1:], *other[1:]]
    log = dmesg(["usb"], *map(run_of, range(100, 105)), other, *[both] * 5, ["usb"])
    assert len(fed(log, monkeypatch)) == 2
    assert read(log.encode(), bulk) == read(log.encode())


@pytest.mark.parametrize(
    "before",
    [
        [start(3)],
        [start(50), stats(read=7)],
        [start(50), start(51), stats(read=7), stats(read=8)],
        [stats(read=7)],
        [ops(7)],
        [end(50)],
        [start(50), end(50)],
        [fd(50)],
        [fd(3)],
        REPORTS["soft lockup"][0],
        REPORTS["BUG"][0][:-1],
        REPORTS["BUG"][0][:1],
    ],
)
def test_what_waits_before_whole_runs_has_its_part_in_them(before):
    log = dmesg(["usb", *before], *map(run_of, range(1, 6)), ["usb"]).encode()
    assert read(log, bulk) == read(log)


@pytest.mark.parametrize(
    "lines",
    [
        [start(50), stats(), ops(), end(51)],
        [start(50), *run_of(51), stats(read=7), ops(), end(50)],
        [start(50), stats(), *run_of(51), ops(7), end(50)],
        [start(50), stats(), ops() + " more", end(50)],
        [start(50), stats() + "7x", ops(), end(50)],
        [start(50), stats(read=1 << 63), ops(), end(50)],
        [start(50), stats(read=10**18), ops(), end(50)],
        [start(50), stats(read=12345678901234567890), ops(), end(50)],
        [start(50), stats().replace("2021202045", "9" * 40), ops(), end(50)],
        *(
            [start(50), stats(comm=name), ops(), end(50)]
            for name in (" x", "x ", "/x", "", "[x", "BUG: x", "\\x41", "\u00e9")
        ),
        *(
            [start(50), stats(file=name), ops(), end(50)]
            for name in (
                "",
                "a]b",
                "\\x41",
                "\u00e9",
                "\x1b[31m",
                "\u202e",
                "\udcff",
                "WARNING: x",
                "Linux version ",
            )
        ),
    ],
)
@pytest.mark.parametrize("part_bytes", [700, 1 << 20])
@pytest.mark.parametrize("place", [0, 4])
def test_a_run_that_is_not_like_the_others_is_read_as_it_is(lines, place, part_bytes):
    runs = [*map(run_of, range(1, 9))]
    runs.insert(place, lines)
    log = dmesg(["usb"], *runs, ["usb"]).encode("utf-8", "surrogateescape")
    assert read(log, bulk, part_bytes=part_bytes) == read(log)


@pytest.mark.parametrize("name", ["abc.txt", "a]b", "r - 1", "r - 1 / w - 2", "read - 1", "w[7"])
@pytest.mark.parametrize("place", [0, 4])
def test_where_a_letter_tells_bytes_the_rows_are_the_same(name, place):
    def lettered(pid, file):
        line = stats(file=file, read=pid).replace("read -", "r -").replace("written", "w")
        return [start(pid), line, ops(pid), end(pid)]

    runs = [lettered(pid, "abc.txt") for pid in range(1, 9)]
    runs.insert(place, lettered(50, name))
    log = dmesg(["usb"], *runs, *map(run_of, range(60, 69)), ["usb"]).encode()
    assert read(log, bulk, part_bytes=700) == read(log)


@pytest.mark.parametrize("priority", [6, 7, 8, 12, 30])
def test_only_what_the_kernel_said_is_a_run(priority):
    texts = [line for pid in range(1, 9) for line in run_of(pid)]
    lines = [f"{priority if 8 <= n < 12 else 6},{n},{n + 1},-;{t}\n" for n, t in enumerate(texts)]
    log = "".join(lines).encode()
    assert read(log, bulk) == read(log)


def test_a_report_does_not_go_on_behind_many_whole_runs():
    begun = ["usb", *REPORTS["soft lockup"][0]]
    log = dmesg(begun, *map(run_of, range(1, 301)), [" ? late+0x1/0x2"], ["usb"]).encode()
    assert read(log, bulk) == read(log)


def test_lines_that_come_again_behind_whole_runs_are_no_copies(monkeypatch):
    again = [start(999), stats(), stats(), ops(), ops(), end(999), end(999)]
    log = dmesg(*map(run_of, range(1, 9)), [start(999)], run_of(9), again, run_of(10))
    assert [line[15:].decode() for line in fed(log, monkeypatch)].count(start(9)) == 0
    assert read(log.encode(), bulk) == read(log.encode())


def test_a_line_that_is_not_understood_leaves_the_others_to_be_read_together(monkeypatch):
    broken = ["OS Assignment2 ftrace [12] Strat"]
    log = dmesg(["usb"], *map(run_of, range(1, 41)), broken, *map(run_of, range(1, 41)), ["usb"])
    assert [line[15:].decode() for line in fed(log, monkeypatch)] == ["usb", *broken, "usb"]


def test_a_lab_s_spelling_is_learned_from_its_log(monkeypatch):
    lab = Spelling(title="OS Assignment 2 ftrace", program="/", keyword="start [x]")
    runs = [block(pid, "7", "a b", "f", [1] * 7, pid, lab) for pid in range(1, 41)]
    assert len(fed(dmesg(["usb"], *runs, ["usb"]), monkeypatch)) == 2


@pytest.mark.parametrize("seen", [0, 1, 700, 5000, 10**6])
def test_what_was_stored_before_is_left_out(seen):
    assert read(LOG, bulk, seen=seen) == read(LOG, seen=seen)


def test_a_log_of_a_user_s_dialect_is_read_record_by_record(tmp_path, monkeypatch):
    (tmp_path / "d.toml").write_text("[[dialect]]\nname = 'x'\nstart = 'go {pid}'\n")
    monkeypatch.setenv("LOGTRACE_DIALECTS", str(tmp_path / "d.toml"))
    grammar.default.cache_clear()
    try:
        assert not bulk.can_read("dmesg")
    finally:
        monkeypatch.undo()
        grammar.default.cache_clear()
    assert bulk.can_read("dmesg")
    assert not bulk.can_read("json")


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_parts_of_a_log_are_whole_lines_and_together_the_log(size):
    parts = list(bulk.parts(io.BytesIO(LOG + b"cut"), repeat(size)))
    assert b"".join(part.text for part in parts) == LOG + b"cut"
    assert [part.offset for part in parts] == [
        sum(part.size for part in parts[:number]) for number in range(len(parts))
    ]
    assert all(part.text.endswith(b"\n") for part in parts[:-1])


def test_a_line_of_many_megabytes_is_cut_off_and_what_follows_is_read():
    log = LOG + b"[ 2000.000000] " + b"x" * (5 << 20) + b"\n" + LOG
    assert max(part.size for part in bulk.parts(io.BytesIO(log), repeat(1 << 20))) <= 2 << 20
    assert read(log, bulk, part_bytes=1 << 20) == read(log)


def test_no_more_of_a_log_is_held_than_some_parts_of_it(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_BYTES", 4000)
    stream = io.BytesIO(LOG * 30)
    log = begin_log(stream, "log@0")
    done, ahead = 0, []
    for batch in bulk.read(stream, log, HOST, workers=2, part_bytes=1000):
        ahead.append(stream.tell() - done)
        done = batch.seen
    assert len(ahead) > 20
    assert max(ahead) < 15_000


# Two runs beside each other, which no block of four lines is
BESIDE = dmesg(
    *([start(p), start(p + 1), *run_of(p)[1:], *run_of(p + 1)[1:]] for p in range(1, 81, 2))
)


def test_runs_that_are_read_one_by_one_do_not_wait_as_rows(monkeypatch):
    monkeypatch.setattr(bulk, "_MOST_ROWS", 10)
    log = BESIDE.encode()
    stream = io.BytesIO(log)
    batches = list(bulk.read(stream, begin_log(stream, "log@0"), HOST))
    assert sum(len(batch.found[HOST].runs) for batch in batches) == 80
    assert all(len(batch.found[HOST].rows.runs) < 10 for batch in batches)
    assert read(log, bulk, part_bytes=1000) == read(log)


@pytest.mark.parametrize(
    ("log", "bytes_at_a_time"),
    [(LOG, 1000), (BESIDE.encode(), 1000), (dmesg(["usb 1-1: new"] * 200).encode(), 2000)],
    ids=["whole runs", "runs beside each other", "lines of nothing"],
)
def test_larger_parts_are_read_where_most_lines_mean_nothing(monkeypatch, log, bytes_at_a_time):
    sizes = []
    scan = Scanner.scan
    monkeypatch.setattr(
        Scanner,
        "scan",
        lambda self, *part: sizes.append(part[2]) or scan(self, *part),
    )
    stream = io.BytesIO(log)
    list(bulk.read(stream, begin_log(stream, "log@0"), HOST, workers=1, part_bytes=1000))
    longest = max(sizes)
    assert bytes_at_a_time - 100 < longest < bytes_at_a_time + 100
