"""The names that a traced program chooses, and what they can't do to the log."""

import pytest
from contract_lines import ops, run_of, stats, without_pids

pytestmark = pytest.mark.kernel

LIMIT = 600
CUT = "\\..."


def lines_of_file(tracer, name):
    """Trace a program that opens a name which does not exist."""
    tracer.calls("start", f"open:{name}", "end")
    return without_pids(tracer.texts())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("with blanks", "with blanks"),
        ("tab\there", r"tab\x09here"),
        ("bell\a, escape\x1b[31m, delete\x7f", r"bell\x07, escape\x1b[31m, delete\x7f"),
        (r"back\slash \x0a", r"back\x5cslash \x5cx0a"),
        ("größe 日本 🙂", "größe 日本 🙂"),
        ("x] stats [x] read - 9 / written - 9", "x] stats [x] read - 9 / written - 9"),
        ("%s%n", "%s%n"),
        ("", ""),
    ],
)
def test_a_file_name_is_escaped_so_that_it_stays_on_its_line(tracer, name, shown):
    assert lines_of_file(tracer, name) == run_of(stats(file=shown), ops(1))


def test_a_file_name_with_a_newline_forges_no_line(tracer):
    name = "a\n[9] x file[y] stats [x] read - 1 / written - 1"
    shown = r"a\x0a[9] x file[y] stats [x] read - 1 / written - 1"
    lines = lines_of_file(tracer, name)
    assert lines == run_of(stats(file=shown), ops(1))
    assert not any(line.startswith("[9]") for line in lines)


def test_bytes_that_are_no_utf8_pass(tracer):
    tracer.run("calls start \"open:$(printf 'a\\377\\302b')\" end")
    # dmesg itself shows them so.
    assert without_pids(tracer.texts()) == run_of(stats(file=r"a\xff\xc2b"), ops(1))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a" * LIMIT, "a" * LIMIT),
        ("a" * (LIMIT + 1), "a" * LIMIT + CUT),
        ("a" * (LIMIT - 4) + "\n", "a" * (LIMIT - 4) + r"\x0a"),
        ("a" * (LIMIT - 3) + "\n", "a" * (LIMIT - 3) + CUT),
        ("a" * (LIMIT - 2) + "ä", "a" * (LIMIT - 2) + "ä"),
        ("a" * (LIMIT - 1) + "ä", "a" * (LIMIT - 1) + CUT),
        ("a" * 5000, "a" * LIMIT + CUT),
        ("\n" * 4000, r"\x0a" * (LIMIT // 4) + CUT),
    ],
    ids=lambda text: f"{len(text)}-{text[-1]!r}",
)
def test_a_long_file_name_is_cut_between_characters_and_marked(tracer, name, shown):
    assert lines_of_file(tracer, name) == run_of(stats(file=shown), ops(1))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x file[y]", r"x file\x5by\x5d"),
        ("a\nb", r"a\x0ab"),
        (r"a\b", r"a\x5cb"),
        ("größe", "größe"),
        ("[" * 15, r"\x5b" * 15),
    ],
)
def test_a_process_name_is_escaped_so_that_the_file_name_can_be_told(tracer, name, shown):
    tracer.calls(f"name:{name}", "start", "end")
    assert without_pids(tracer.texts()) == run_of(stats(comm=shown), ops())


def test_a_name_at_the_end_of_mapped_memory_is_read(tracer):
    tracer.calls("start", "open-edge:/dev/null", "close", "end")
    assert without_pids(tracer.texts()) == run_of(stats(file="/dev/null"), ops(1, 1))


def test_where_the_name_is_gone_the_path_of_the_opened_file_is_shown(tracer):
    tracer.run("mkfifo /tmp/pipe; cd /tmp; calls start open-vanish:pipe close end; rm pipe")
    assert without_pids(tracer.texts()) == run_of(stats(file="/tmp/pipe"), ops(1, 1))


def test_where_the_name_is_gone_and_nothing_opened_the_last_one_stays(tracer):
    answers = tracer.calls("start", "open:/dev/null", "open-nowhere", "end")
    assert answers[2] == "open-nowhere EFAULT"
    assert without_pids(tracer.texts()) == run_of(stats(file="/dev/null"), ops(2))
