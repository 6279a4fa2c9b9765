import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace import schema
from logtrace.errors import ExpectationError
from logtrace.expectation import (
    FLAGS,
    NUMBERS,
    SELECTING,
    TEXTS,
    Expectation,
    OneOf,
    Range,
    Task,
    read_expectation,
)

PAGE = (Path(__file__).parent.parent / "docs" / "grading.md").read_text()


def read(folder, text):
    path = folder / "expected.toml"
    path.write_text(text)
    return read_expectation(path)


def expecting(folder, line):
    (task,) = read(folder, f"[tasks.a.expect]\n{line}\n").tasks
    return task


def test_the_file_of_the_page_is_read_as_the_page_says(tmp_path):
    assert read(tmp_path, re.search(r"```toml\n(.*?)```", PAGE, re.S)[1]) == Expectation(
        (
            Task(
                "copy",
                {"comm": OneOf(("test",)), "file": OneOf(("*abc.txt",))},
                {
                    "read_bytes": OneOf((Range(20, 20),)),
                    "written_bytes": OneOf((Range(20, 30),)),
                    "read_calls": OneOf((Range(4, 8),)),
                    "lseek_calls": OneOf((Range(9, 9), Range(11, 12))),
                    "dialect": OneOf(("contract", "lab")),
                },
                ("abc.txt",),
                ("/etc/*", "*.key"),
                frozenset(),
                10,
                "best",
            ),
        ),
        ("2021202045", "2021202046"),
    )


def test_every_column_that_can_be_asked_for_is_one_of_runs_and_is_on_the_page():
    for name in (*NUMBERS, *TEXTS, *FLAGS, *SELECTING):
        assert name in schema.RUNS.names
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize(
    ("value", "fitting", "not_fitting"),
    [
        ("20", [20], [19, 21]),
        ("-1", [-1], [1]),
        ("'20..30'", [20, 25, 30], [19, 31]),
        ("'20 .. 30'", [20, 30], [19, 31]),
        ("'20..'", [20, 10**18], [19]),
        ("'..30'", [0, 30], [31]),
        ("{min = 20}", [20, 10**18], [19]),
        ("{max = 30, min = 30}", [30], [29, 31]),
        ("[1, '4..5', {min = 9}]", [1, 4, 5, 9, 10], [2, 3, 6, 8]),
    ],
)
def test_numbers_are_exact_or_in_a_range_or_one_of_several(tmp_path, value, fitting, not_fitting):
    one = expecting(tmp_path, f"read_calls = {value}").expect["read_calls"]
    assert all(map(one.fits, fitting))
    assert not any(map(one.fits, not_fitting))


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63), st.sampled_from("lmb"))
def test_a_range_has_what_lies_between_its_ends_and_is_written_as_it_is_read(
    tmp_path_factory, a, b, number, bounds
):
    least, most = sorted((a, b))
    bounded = Range(least if bounds in "lb" else None, most if bounds in "mb" else None)
    assert (number in bounded) == (
        (bounded.least is None or number >= least) and (bounded.most is None or number <= most)
    )
    text = str(bounded)
    line = f"open_calls = '{text}'" if ".." in text else f"open_calls = {text}"
    folder = tmp_path_factory.getbasetemp()
    assert expecting(folder, line).expect["open_calls"] == OneOf((bounded,))


@pytest.mark.parametrize(
    ("value", "fitting", "not_fitting"),
    [
        ("'test'", ["test"], ["Test", "test2", ""]),
        ("['a', 'b']", ["a", "b"], ["c", "ab"]),
        ("'/etc/*'", ["/etc/passwd", "/etc/a/b"], ["/var/etc/x", "etc/x"]),
        ("'a?c'", ["abc", "a/c"], ["ac"]),
        ("'a[[]1]'", ["a[1]"], ["a1"]),
    ],
)
def test_texts_are_exact_or_patterns_or_one_of_several(tmp_path, value, fitting, not_fitting):
    one = expecting(tmp_path, f"file = {value}").expect["file"]
    assert all(map(one.fits, fitting))
    assert not any(map(one.fits, not_fitting))


def test_a_flag_is_yes_or_no(tmp_path):
    one = expecting(tmp_path, "detail = true").expect["detail"]
    assert one.fits(True)
    assert not one.fits(False)
    assert str(one) == "yes"


def test_a_list_of_findings_is_what_may_be_found(tmp_path):
    assert expecting(tmp_path, "findings = 'none'").findings == frozenset()
    assert expecting(tmp_path, "findings = ['small_reads']").findings == {"small_reads"}
    assert expecting(tmp_path, "open_calls = 1").findings is None


def test_what_counts_can_be_said_once_or_by_task(tmp_path):
    tasks = "[tasks.a.expect]\nopen_calls = 1\n[tasks.b]\n{}\n[tasks.b.expect]\nopen_calls = 2\n"
    read_tasks = read(tmp_path, "counts = 'last'\n" + tasks.format("counts = 'all'")).tasks
    assert [(task.name, task.counts) for task in read_tasks] == [("a", "last"), ("b", "all")]
    assert {task.counts for task in read(tmp_path, tasks.format("")).tasks} == {"best"}


@pytest.mark.parametrize(
    ("line", "points"), [("", 1), ("points = 0", 0), ("points = 2.5", 2.5), ("points = 10", 10)]
)
def test_a_task_is_worth_a_point_unless_it_says_how_many(tmp_path, line, points):
    (task,) = read(tmp_path, f"[tasks.a]\n{line}\n[tasks.a.expect]\nopen_calls = 1\n").tasks
    assert task.points == points


def test_a_roster_may_be_a_file_beside_it(tmp_path):
    (tmp_path / "owners.txt").write_text("# week 48\n2021202045\n\n  lisa \r\n2021202045\n")
    text = "roster = 'owners.txt'\n[tasks.a.expect]\nopen_calls = 1\n"
    assert read(tmp_path, text).roster == ("2021202045", "lisa")


EXPECT = "[tasks.a.expect]\n"


@pytest.mark.parametrize(
    ("text", "where", "told"),
    [
        ("tasks = [", "", "no TOML: .*document"),
        (EXPECT + "open_calls = test", "", r"no TOML: .*line 2.*\(texts stand between quotes"),
        ("tasks = " + "[" * 5000, "", "no TOML: nested too deeply"),
        ("", "tasks", r"no task \(write \[tasks\.NAME\]"),
        ("tasks = 3", "tasks", "no table"),
        ("task = 3", "task", r"no such key \(did you mean 'tasks'\?"),
        ("title = 3", "title", r"no such key \(use roster, counts, tasks"),
        ("[tasks.a]", "tasks.a.expect", "nothing is expected"),
        ("tasks.a = 1", "tasks.a", "no table"),
        ("tasks.'a b'.expct = {}", r"tasks\.'a b'\.expct", "did you mean 'expect'"),
        (EXPECT + "read_byte = 1", "tasks.a.expect.read_byte", "did you mean 'read_bytes'"),
        (EXPECT + "READ_CALLS = 1", "tasks.a.expect.READ_CALLS", "did you mean 'read_calls'"),
        (EXPECT + "open_calls = 'few'", "tasks.a.expect.open_calls", "no number and no range"),
        (EXPECT + "open_calls = '..'", "tasks.a.expect.open_calls", "no number and no range"),
        (EXPECT + "open_calls = {}", "tasks.a.expect.open_calls", "no number and no range"),
        (EXPECT + "open_calls = 1.5", "tasks.a.expect.open_calls", "no number and no range"),
        (EXPECT + "open_calls = true", "tasks.a.expect.open_calls", "no number and no range"),
        (EXPECT + "open_calls = []", "tasks.a.expect.open_calls", "an empty list"),
        (EXPECT + "open_calls = '3..1'", "tasks.a.expect.open_calls", "3 is more than 1"),
        (EXPECT + "open_calls = {mn = 1}", "tasks.a.expect.open_calls.mn", "'min'"),
        (EXPECT + "open_calls = {min = '1'}", "tasks.a.expect.open_calls.min", "no whole number"),
        (EXPECT + "comm = 3", "tasks.a.expect.comm", "neither a text nor a list of texts"),
        (EXPECT + "comm = []", "tasks.a.expect.comm", "neither a text nor a list of texts"),
        (EXPECT + "comm = ''", "tasks.a.expect.comm", "neither a text nor a list of texts"),
        (EXPECT + "status = 'complet'", "tasks.a.expect.status", "did you mean 'complete'"),
        (EXPECT + "detail = 'yes'", "tasks.a.expect.detail", "write true or false"),
        (EXPECT + "files = 'a'", "tasks.a.expect.files", "no table"),
        (EXPECT + "files.open = 'a'", "tasks.a.expect.files.open", "did you mean 'opened'"),
        (EXPECT + "files.opened = 1", "tasks.a.expect.files.opened", "neither a text"),
        (EXPECT + "findings = ['left_opn']", "tasks.a.expect.findings", "did you mean 'left_open'"),
        (EXPECT + "findings = 'some'", "tasks.a.expect.findings", "neither 'none' nor a list"),
        ("[tasks.a.runs]\npid = 1", "tasks.a.runs.pid", "no such key"),
        ("[tasks.a.runs]\ncomm = 1", "tasks.a.runs.comm", "neither a text"),
        ("tasks.a.points = -1\n" + "tasks.a.expect.open_calls = 1", "tasks.a.points", "0 or more"),
        ("tasks.a.points = nan\n" + "tasks.a.expect.open_calls = 1", "tasks.a.points", "0 or more"),
        ("tasks.a.points = true\n" + "tasks.a.expect.open_calls = 1", "tasks.a.points", "0 or"),
        ("counts = 'lst'\n" + EXPECT + "open_calls = 1", "counts", "did you mean 'last'"),
        ("roster = []\n" + EXPECT + "open_calls = 1", "roster", "nobody is on it"),
        ("roster = [2021202045]\n" + EXPECT + "open_calls = 1", "roster", r"\['a', 'b'\]"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place_and_the_remedy(tmp_path, text, where, told):
    place = re.escape(str(tmp_path / "expected.toml")) + (f": {where}" if where else "")
    with pytest.raises(ExpectationError, match=f"(?s)^{place}: .*{told}") as caught:
        read(tmp_path, text)
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"\xff", b"#" * (1 << 21)])
def test_a_file_that_is_no_text_or_very_large_is_refused(tmp_path, content):
    path = tmp_path / "expected.toml"
    path.write_bytes(content)
    with pytest.raises(ExpectationError, match=r"expected\.toml: (no UTF-8 at byte 0|larger than)"):
        read_expectation(path)


def test_a_file_or_a_roster_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExpectationError, match=r"none\.toml: No such file"):
        read_expectation(tmp_path / "none.toml")
    with pytest.raises(ExpectationError, match=r"gone\.txt: No such file"):
        read(tmp_path, "roster = 'gone.txt'\n" + EXPECT + "open_calls = 1")
