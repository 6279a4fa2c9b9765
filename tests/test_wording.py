import pytest
from log_samples import end, ops, start, stats

from logtrace import grammar

COUNTERS = {"open_calls": 1, "close_calls": 1, "read_calls": 4, "write_calls": 5, "lseek_calls": 9}
MOVED = {"read_bytes": 20, "written_bytes": 26}
NAMES = {"owner": "2021202045", "comm": "test", "file": "abc.txt"}


def read(line):
    event = grammar.parse(line)
    return (event.kind, event.dialect, event.values) if event else None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("OS Assignment2 ftrace tgid 4321 Start", "start"),
        ("OS Assignment2 ftrace: task 4321 begins", "start"),
        ("OS Assignment2 ftrace [4321] started", "start"),
        ("OS Assignment2 ftrace 4321 launched", "start"),
        ("OS Assignment2 ftrace [4321] entered", "start"),
        ("The ftrace of OS Assignment2 for the process [4321] has now started", "start"),
        ("hw2 ftrace [4321] Start", "start"),
        ("Project 2: os_ftrace [4321] start", "start"),
        ("Assigment 2 ftrace [4321] Start", "start"),
        ("Operating Systems Assignment 2 ftrace [4321] Start", "start"),
        ("ftrace process: 4321 finished", "end"),
        ("Homework 2 ftrace [4321] done", "end"),
        ("OS Assignment2 ftrace [4321] completed", "end"),
        ("OS Assignment2 ftrace [4321] is now ended after 3 ms in total", "end"),
    ],
)
def test_a_beginning_or_an_end_is_told_by_one_word_and_a_process(line, kind):
    assert read(line) == (kind, "loose", {"pid": 4321})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("file", "path"),
        ("file", "filename"),
        ("stats", "summary"),
        ("stats", "result"),
        ("stats", "info"),
        ("stats", "statistics"),
        ("stats [x] read - 20", r"statx [x] read \xe2\x80\x93 20"),
        ("stats [x] read - 20 / written", "summary read - 20 / wrote"),
        ("[x]", "[ok]"),
        ("[x]", "[xx]"),
        ("[x]", "[\u00d7]"),
        ("read - 20 / written", "read bytes - 20 / written total"),
        ("read - 20 / written", "total read - 20 / total written"),
        ("read - 20 / written - 26", "20 read / 26 written"),
        ("read - 20 / written - 26", "written - 26 / read - 20"),
        ("- 20", "- 20 bytes"),
        ("- 26", "- 26B"),
        ("/ written", "| written"),
        ("written", "writen"),
        ("written", "wirtten"),
        ("written", "wrote"),
        ("[2021202045]", "student id: 2021202045"),
        ("[2021202045]", "student[2021202045]"),
        ("[2021202045]", "==> [2021202045]"),
        ("[2021202045]", "[1.25 ms] [2021202045]"),
        ("[2021202045]", "ftrace.c:57: [2021202045]"),
        ("[2021202045]", "info [2021202045]"),
        ("[2021202045]", "[WARN] [2021202045]"),
        ("[2021202045]", "<6> [2021202045]"),
        ("[2021202045]", "KERN_INFO [2021202045]"),
        ("[2021202045]", "my_func(): [2021202045]"),
        ("[2021202045]", "\x1b[32m[2021202045]"),
        (" file[abc.txt] stats [x] read - 20 / written - 26",
         " stats [x] read - 20 / written - 26 file[abc.txt]"),
    ],
)  # fmt: skip
def test_a_stats_line_is_known_by_its_words(old, new):
    line = stats()
    assert line.count(old) == 1
    assert read(line.replace(old, new)) == ("stats", "loose", NAMES | MOVED)


def test_a_line_may_be_printed_as_two():
    assert read("[2021202045] test file[abc.txt]") == ("stats", "loose", NAMES)
    assert read("open[1] close[1]") == ("ops", "loose", {"open_calls": 1, "close_calls": 1})


def test_without_a_process_there_may_be_no_other_words():
    assert read("Operating Systems Assignment 2 ftrace Start") == ("start", "loose", {})
    assert read("My Assignment 2 ftrace Start") is None


@pytest.mark.parametrize("moved", ["r - 20 / w - 26", "R: 20, W: 26", "w[26] r[20]", "r=20 w=26"])
def test_a_letter_is_enough_for_bytes_where_the_line_has_all_else(moved):
    line = stats().replace("read - 20 / written - 26", moved)
    assert read(line) == ("stats", "loose", NAMES | MOVED)


@pytest.mark.parametrize(
    "line",
    [
        "r - 20 / w - 26",
        "[2021202045] r - 20 / w - 26",
        "[2021202045] test stats [x] r - 20 / w - 26",
        "[2021202045] test file[abc.txt] r - 20",
        "[2021202045] test file[abc.txt] stats [x] r - 20 / w - 26 / r - 1",
        "[2021202045] test file[abc.txt] stats [x] r - 20 / r - 26",
        "[2021202045] test file[r - 1 / w - 2] stats [x] r - 20 / w - 26",
        "[sda] test file[abc.txt] mode r - 20 / w - 26",
        "[17] task file[x] r 20 w 26 x 1",
        "nvme0n1: [7] r - 20 / w - 26 file[x]",
    ],
)
def test_a_letter_alone_is_no_word_for_bytes(line):
    assert read(line) is None


@pytest.mark.parametrize("name", ["r - 1 / w - 2", "r 5", "w[3"])
def test_letters_in_the_name_of_a_file_are_no_bytes(name):
    kind, _, values = read(f"[2021202045] test file[{name}]") or ("stats", "", {"file": name})
    assert (kind, values.get("file")) == ("stats", name)
    assert "read_bytes" not in values


@pytest.mark.parametrize(
    "line",
    [
        "OS Assignment2 ftrace [0x1a2b] Start",
        "OS Assignment2 ftrace [0x1a2b] End",
        "[17] task file[x] r 20 w 26 x 1",
    ],
)
def test_a_line_that_is_not_understood_is_shown(line):
    assert read(line) is None
    assert grammar.looks_like_trace(line)


@pytest.mark.parametrize("nothing", ["n/a", "(null)", "none", "?"])
def test_what_says_that_there_is_no_number_is_null(nothing):
    line = stats().replace("- 20", f"- {nothing}")
    assert read(line) == ("stats", "loose", NAMES | {"written_bytes": 26})


def test_what_stands_before_a_line_is_no_unit_of_a_number_that_is_missing():
    line = "GB: " + stats().replace("- 20", "- n/a")
    assert read(line) == ("stats", "loose", NAMES | {"written_bytes": 26})


@pytest.mark.parametrize("scaled", ["20 kB", "20KiB", "20 MB"])
@pytest.mark.parametrize("number", ["20", "26"])
def test_numbers_of_something_else_than_bytes_are_not_taken_for_bytes(number, scaled):
    assert read(stats().replace(f"- {number}", f"- {scaled}")) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("open[", "openat["),
        ("open[", "opened["),
        ("close[", "closed["),
        ("read[", "reads["),
        ("write[", "written["),
        ("lseek[", "seeks["),
        ("lseek[", "llseek["),
        ("open[1]", "open calls: 1,"),
        ("open[1]", "open count[1]"),
        ("lseek[9]", "lseek[9 times]"),
        ("read[4]", "read[4 calls]"),
        ("open[", "sys_open["),
        ("open[", "--- open["),
    ],
)
def test_a_calls_line_is_known_by_its_words(old, new):
    line = ops()
    assert line.count(old) == 1
    assert read(line.replace(old, new)) == ("ops", "loose", COUNTERS)


@pytest.mark.parametrize(
    "line",
    [
        # two things to say, or none that is sure
        f"{start(4321)} {end(4321)}".replace("ftrace", "trace"),
        "OS Assignment2 ftrace [4321] start and stop",
        "Assignment ftrace [x4321y] Start",
        "Assignment [4321] Start",
        "OS Assignment2 ftrace [4321] file Start",
        stats(comm="read - 1").replace("stats", "statx"),
        "some words of nobody " * 4 + ops().replace("open", "openat"),
        "OS Assignment2 ftrace 99999999 Start",
        "ftrace [4321] open Start",
        "OS Assignment2 ftrace [4321] Start of what nobody here has ever heard about",
        "OS Assignment2 ftrace [99999999] launched the shuttle to orbit today",
        # a number that can't be told, or twice
        stats().replace("- 26", "- 26.5"),
        stats().replace("read - 20", "read - twenty").replace("written - 26", "written - 26 20"),
        stats().replace("written", "read"),
        stats().replace("written - 26", "written - | 26"),
        "open[1] open[2] read[4] write[5] lseek[9]",
        "1 open 1 close 4 read 5 write 9 lseek 7",
        "open[1] read[4] lseek[9] of the last night's long backup that ran on host alpha",
        # another line's beginning behind it
        f"{stats()} {ops()[:20]}".replace("stats", "statx"),
        f"{ops().replace('open[', 'openat[')} {start(7)[:24]}",
    ],
)
def test_what_leaves_a_doubt_is_not_understood(line):
    assert read(line) is None
