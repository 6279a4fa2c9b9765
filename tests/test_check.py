import io
import re
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, START, runs_frame
from rich.console import Console
from store_samples import rows_of, store_with

from logtrace import schema
from logtrace.check import DIFFERS, MATCHES, MISSING, UNGRADED, grade
from logtrace.check_tables import print_graded_runs, print_grades
from logtrace.cli import cli
from logtrace.expectation import Expectation, OneOf, Range, Task

UNTIMED = {"started_at": None, "ended_at": None, "clock": "none"}


def exactly(number):
    return OneOf((Range(number, number),))


def task(name="copy", runs=(), **changes):
    """Give a task that the contract's run fulfils."""
    expected = {"expect": {"read_bytes": exactly(20), "lseek_calls": exactly(9)}}
    return Task(name, dict(runs), **(expected | changes))


def of(*changes, tasks=None, roster=None, files=(), findings=None, **options):
    """Grade a run for each set of changes."""
    frame = schema.to_frame(schema.to_table(files, schema.FILES))
    runs = runs_frame(rows_of(*changes))
    return grade(Expectation(tuple(tasks or [task()]), roster), runs, frame, findings, **options)


def verdict(*changes, **options):
    """Give the only grade and what differs."""
    (row,) = of(*changes, **options).grades.to_dict("records")
    return row["verdict"], row["what_differs"] if isinstance(row["what_differs"], str) else None


def test_a_run_that_is_as_expected_gets_the_points():
    graded = of({}, tasks=[task(points=7)])
    assert graded.all_match
    (grade,) = graded.grades.to_dict("records")
    assert (grade["points"], grade["out_of"], grade["passed"], grade["verdict"]) == (
        *(7, 7, True, MATCHES),
    )
    (run,) = graded.runs.to_dict("records")
    assert (run["verdict"], run["task"], run["counted"], run["at"]) == (
        *(MATCHES, "copy", True, START),
    )


def test_what_differs_is_told_in_plain_words_with_what_was_expected():
    graded = of({"read_bytes": 40, "lseek_calls": 1})
    assert not graded.all_match
    (grade,) = graded.grades.to_dict("records")
    assert (grade["points"], grade["passed"], grade["verdict"]) == (0, False, DIFFERS)
    told = "bytes read: expected 20, found 40; seeks: expected 9, found 1"
    assert grade["what_differs"] == told
    assert list(graded.runs["what_differs"]) == [told]


@pytest.mark.parametrize(
    ("expect", "changes", "told"),
    [
        ({"read_calls": OneOf((Range(5, 6),))}, {}, "reads: expected 5..6, found 4"),
        ({"comm": OneOf(("a", "b"))}, {}, "program: expected a or b, found test"),
        ({"file": OneOf(("*.c",))}, {}, "file opened last: expected *.c, found abc.txt"),
        ({"detail": OneOf((True,))}, {"detail": False}, "line a file: expected yes, found no"),
        ({"dialect": OneOf(("lab",))}, {}, "dialect: expected lab, found logtrace"),
        ({"status": OneOf(("no_end",))}, {}, "status: expected no_end, found complete"),
    ],
)
def test_every_kind_of_value_is_compared(expect, changes, told):
    assert verdict(changes, tasks=[task(expect=expect)]) == (DIFFERS, told)


@pytest.mark.parametrize("status", sorted(set(schema.STATUSES) - {"complete"}))
def test_a_run_that_is_in_doubt_is_not_failed_but_not_graded(status):
    graded = of({"status": status, "note": "a line is missing", "read_bytes": 40})
    (row,) = graded.grades.to_dict("records")
    assert row["verdict"] == UNGRADED
    assert row["what_differs"] == f"{status}: a line is missing"
    assert graded.grades["points"].isna().all()
    assert graded.grades["passed"].isna().all()
    assert not graded.all_match


def test_a_status_that_is_allowed_is_graded_and_another_one_is_in_doubt():
    wanted = [task(expect={"status": OneOf(("complete", "no_end")), "read_bytes": exactly(20)})]
    assert verdict({"status": "no_end"}, tasks=wanted) == (MATCHES, None)
    assert verdict({"status": "no_end", "read_bytes": 1}, tasks=wanted)[0] == DIFFERS
    assert verdict({"status": "ambiguous"}, tasks=wanted) == (UNGRADED, "ambiguous")


def test_a_count_that_was_not_printed_leaves_it_open_unless_something_else_differs():
    assert verdict({"read_bytes": None}) == (UNGRADED, "bytes read: expected 20, not known")
    assert verdict({"read_bytes": None, "lseek_calls": 0}) == (
        *(DIFFERS, "seeks: expected 9, found 0"),
    )


def file_row(path, opens=1, run="000000000000"):
    return {"host": "lab01", "run_id": run, "path": path, "opens": opens}


DETAILED = {"detail": True, "lost_file_calls": 0, "open_calls": 2}


@pytest.mark.parametrize(
    ("changes", "files", "opened", "not_opened", "expected"),
    [
        # all paths of a trace with detail
        (DETAILED, ["/home/a/abc.txt"], ["abc.txt"], ["*.key"], MATCHES),
        (DETAILED, ["/home/a/abc.txt"], ["/home/*/abc.txt"], [], MATCHES),
        (DETAILED, ["/home/a/abc.txt (deleted)"], ["abc.txt"], [], MATCHES),
        (DETAILED, ["/home/a/abc.txt"], ["a/abc.txt"], [], DIFFERS),
        (DETAILED, ["/home/a/b"], ["abc.txt"], [], DIFFERS),
        (DETAILED, ["/home/a/b", "/etc/shadow"], [], ["/etc/*"], DIFFERS),
        (DETAILED, [], [], ["abc.txt"], MATCHES),
        # some are not listed
        (DETAILED | {"lost_file_calls": 3}, [], ["abc.txt"], [], MATCHES),
        (DETAILED | {"lost_file_calls": 3}, [], ["b"], [], UNGRADED),
        # the name of the last one, of one
        ({}, [], ["abc.txt"], ["b"], MATCHES),
        ({}, [], ["b"], [], DIFFERS),
        ({}, [], [], ["abc.txt"], DIFFERS),
        ({"file": "/tmp/abc.txt"}, [], ["abc.txt"], [], MATCHES),
        # the name of the last one, of several
        ({"open_calls": 2}, [], ["abc.txt"], [], MATCHES),
        ({"open_calls": 2}, [], ["b"], [], UNGRADED),
        ({"open_calls": 2}, [], [], ["b"], UNGRADED),
        ({"open_calls": 2}, [], [], ["abc.txt"], DIFFERS),
        ({"file": None}, [], ["b"], [], UNGRADED),
        # none
        ({"open_calls": 0}, [], [], ["abc.txt"], MATCHES),
        ({"open_calls": 0}, [], ["abc.txt"], [], DIFFERS),
    ],
)
def test_files_are_known_of_traces_with_detail_and_else_the_last(
    changes, files, opened, not_opened, expected
):
    wanted = task(expect={}, opened=tuple(opened), not_opened=tuple(not_opened))
    found, told = verdict(changes, tasks=[wanted], files=map(file_row, files))
    assert found == expected, told
    assert (told is None) == (found == MATCHES)


def test_a_file_that_was_open_before_and_one_of_another_run_was_not_opened():
    files = [file_row("/a", opens=0), file_row("/b", run="1"), file_row("/c", opens=None)]
    wanted = task(expect={}, not_opened=("*",))
    assert verdict(DETAILED, tasks=[wanted], files=files) == (MATCHES, None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (DETAILED, "was not"),
        ({"open_calls": 2}, "of the files that it opened only the last is known"),
    ],
)
def test_a_file_that_is_missing_is_told_with_what_is_known(changes, told):
    wanted = task(expect={}, opened=("b",))
    assert verdict(changes, tasks=[wanted])[1] == f"b: expected to be opened, {told}"


def test_a_hit_names_the_file():
    wanted = task(expect={}, not_opened=("/etc/*",))
    _, told = verdict(DETAILED, tasks=[wanted], files=[file_row("/etc/shadow")])
    assert told == "/etc/*: expected not to be opened, opened /etc/shadow"


def findings(*rows):
    import pandas as pd

    return pd.DataFrame(rows, columns=["run_id", "rule", "evidence"])


def test_no_finding_may_stand_but_those_that_are_allowed():
    found = findings(
        ("000000000000", "left_open", "descriptor 3"), ("000000000001", "small_reads", "x")
    )
    wanted = task(findings=frozenset())
    assert verdict({}, tasks=[wanted], findings=found) == (
        *(DIFFERS, "found left_open: descriptor 3"),
    )
    assert verdict({}, tasks=[wanted], findings=findings()) == (MATCHES, None)
    wanted = task(findings=frozenset({"left_open"}))
    assert verdict({}, tasks=[wanted], findings=found) == (MATCHES, None)
    assert verdict({}, tasks=[task()], findings=found) == (MATCHES, None)


def test_findings_that_nobody_looked_for_leave_it_open():
    assert verdict({}, tasks=[task(findings=frozenset())])[0] == UNGRADED


GOOD, BAD, WORSE = {}, {"read_bytes": 1}, {"read_bytes": 1, "lseek_calls": 1}
OPEN = {"status": "ambiguous", "note": "mixed"}


@pytest.mark.parametrize(
    ("counts", "runs", "expected", "decides"),
    [
        ("best", [BAD, GOOD, WORSE], MATCHES, 1),
        ("best", [GOOD, GOOD, BAD], MATCHES, 1),
        ("best", [BAD, OPEN, WORSE], UNGRADED, 1),
        ("best", [BAD, WORSE], DIFFERS, 0),
        ("best", [BAD, BAD], DIFFERS, 1),
        ("last", [BAD, GOOD], MATCHES, 1),
        ("last", [GOOD, BAD], DIFFERS, 1),
        ("last", [GOOD, OPEN], UNGRADED, 1),
        ("all", [GOOD, GOOD], MATCHES, 1),
        ("all", [GOOD, BAD, GOOD], DIFFERS, 1),
        ("all", [GOOD, OPEN, GOOD], UNGRADED, 1),
        ("all", [OPEN, BAD, GOOD], DIFFERS, 1),
    ],
)
def test_which_of_an_owners_runs_decides(counts, runs, expected, decides):
    graded = of(*runs, tasks=[task(counts=counts)])
    (row,) = graded.grades.to_dict("records")
    assert (row["verdict"], row["runs"]) == (expected, len(runs))
    assert row["run_id"] == f"{decides:012x}"
    counted = set(graded.runs.loc[graded.runs["counted"], "run_id"])
    everyone = {f"{number:012x}" for number in range(len(runs))}
    assert counted == (everyone if counts == "all" else {row["run_id"]})


def test_the_last_of_one_log_is_known_without_times():
    runs = [{"first_seq": seq, **UNTIMED, **changes} for seq, changes in ((9, BAD), (4, GOOD))]
    assert verdict(*runs, tasks=[task(counts="last")])[0] == DIFFERS


def test_the_last_of_several_logs_is_not_known_without_times():
    runs = [{"source": "a", **UNTIMED}, {"source": "b"}]
    told = "which of 2 runs was the last is not known: not all have a time"
    assert verdict(*runs, tasks=[task(counts="last")]) == (UNGRADED, told)
    assert verdict({"source": "a"}, {"source": "b"}, tasks=[task(counts="last")])[0] == MATCHES


def test_the_last_of_several_boots_is_not_known_without_times():
    runs = [
        {"boot_id": "a", "first_seq": 9, **UNTIMED},
        {"boot_id": "b", "first_seq": 4, **UNTIMED},
    ]
    assert verdict(*runs, tasks=[task(counts="last")])[0] == UNGRADED
    runs = [{**run, "boot_id": None} for run in runs]
    assert verdict(*runs, tasks=[task(counts="last")])[0] == MATCHES


def test_the_last_of_several_logs_is_that_of_the_latest_time():
    late, early = rows_of({}, {})[1]["started_at"], START
    runs = [
        {"source": "a", "first_seq": 4, "started_at": late, **BAD},
        {"source": "b", "first_seq": 9, "started_at": early},
    ]
    for order in (runs, runs[::-1]):
        assert verdict(*order, tasks=[task(counts="last")])[0] == DIFFERS


def test_runs_are_listed_by_owner_and_time_and_those_of_nobody_last():
    graded = of(
        {"owner": None},
        {"owner": "b", "source": "a", **UNTIMED},
        {"owner": "b", "source": "b", "first_seq": 9},
        {"owner": "b", "source": "b", "first_seq": 1, "started_at": START},
        {"owner": "a", "source": "b"},
    )
    assert [int(run) for run in graded.runs["run_id"]] == [4, 3, 2, 1, 0]


def test_runs_are_of_the_tasks_that_select_them():
    tasks = [
        task("a", {"comm": OneOf(("test",))}),
        task("b", {"comm": OneOf(("cat", "cp")), "file": OneOf(("*.txt",))}),
    ]
    graded = of({}, {"comm": "cp"}, {"comm": "cp", "file": "x"}, {"comm": "other"}, tasks=tasks)
    found = graded.runs[["run_id", "task"]].to_dict("split")["data"]
    assert found == [["000000000000", "a"], ["000000000001", "b"]]
    assert list(graded.grades["runs"]) == [1, 1]


def test_one_whose_program_is_not_known_may_be_of_the_task():
    chosen = [task(runs={"comm": OneOf(("test",))})]
    found = verdict({"comm": None, "status": "no_stats", "note": "no line"}, tasks=chosen)
    assert found == (UNGRADED, "its program is not known; no_stats: no line")


def test_a_run_that_is_nobodys_is_told_and_keeps_the_check_from_passing():
    graded = of({}, {"owner": None, "comm": None, "status": "no_stats", "note": "no line"})
    assert not graded.all_match
    assert list(graded.grades["verdict"]) == [MATCHES]
    (row,) = graded.runs[graded.runs["owner"].isna()].to_dict("records")
    assert row["verdict"] == UNGRADED
    assert row["what_differs"] == "whose run it is is not known; no_stats: no line"
    (row,) = of({"owner": None}).runs.to_dict("records")
    assert (row["verdict"], row["what_differs"]) == (UNGRADED, "whose run it is is not known")


def test_who_is_on_the_roster_and_has_no_run_is_missing():
    graded = of({}, roster=("2021202045", "lisa"))
    assert list(graded.grades["owner"]) == ["2021202045", "lisa"]
    assert list(graded.grades["verdict"]) == [MATCHES, MISSING]
    assert list(graded.grades["points"]) == [1, 0]
    assert not graded.all_match


def test_who_is_not_on_the_roster_is_named_and_left_out():
    graded = of({}, {"owner": "202120204"}, roster=("2021202045",))
    assert graded.strangers == ["202120204"]
    assert list(graded.runs["owner"]) == ["2021202045"]
    assert graded.all_match


def test_of_one_owner_nobody_else_is_missing():
    graded = of({}, roster=("2021202045", "lisa"), only_owner="2021202045")
    assert list(graded.grades["owner"]) == ["2021202045"]
    assert graded.all_match


def test_without_a_roster_who_has_run_one_task_is_expected_to_run_all():
    tasks = [task("a", {"comm": OneOf(("test",))}), task("b", {"comm": OneOf(("cp",))})]
    graded = of({}, {"owner": "lisa", "comm": "cp"}, tasks=tasks)
    found = graded.grades[["owner", "task", "verdict"]].to_dict("split")["data"]
    assert found == [
        ["2021202045", "a", MATCHES],
        ["2021202045", "b", MISSING],
        ["lisa", "a", MISSING],
        ["lisa", "b", MATCHES],
    ]


def test_no_runs_give_frames_of_the_same_types():
    empty, filled = of(), of({})
    assert not len(empty.runs)
    assert not len(empty.grades)
    assert list(empty.runs.dtypes) == list(filled.runs.dtypes)
    assert list(empty.grades.dtypes) == list(filled.grades.dtypes)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([20, 21, None])), max_size=8),
    st.sampled_from(["best", "all"]),
)
def test_whoever_has_a_grade_has_one_that_follows_from_the_runs(runs, counts):
    changes = [{"owner": owner, "read_bytes": number} for owner, number in runs]
    graded = of(*changes, tasks=[task(counts=counts)])
    grades = dict(zip(graded.grades["owner"], graded.grades["verdict"], strict=True))
    kinds = {20: MATCHES, 21: DIFFERS, None: UNGRADED}
    order = [MATCHES, UNGRADED, DIFFERS]
    for owner in {owner for owner, _ in runs}:
        found = [kinds[number] for each, number in runs if each == owner]
        pick = min if counts == "best" else max
        assert grades.pop(owner) == pick(found, key=order.index)
    assert not grades


# The terminal


def printed(show, *arguments, width=200):
    file = io.StringIO()
    show(Console(file=file, width=width, markup=False, highlight=False), *arguments)
    return file.getvalue()


def test_a_line_a_run_says_what_differs_and_which_decides():
    graded = of(BAD, GOOD)
    lines = printed(print_graded_runs, graded.runs, START.tzinfo).splitlines()
    assert lines[0].split() == [
        "Run",
        "Owner",
        "Task",
        "Program",
        "Time",
        "Verdict",
        "What",
        "differs",
    ]
    assert lines[1].split()[:5] == ["00000000", "2021202045", "copy", "test", "2026-11-22"]
    assert lines[1].endswith("differs  bytes read: expected 20, found 1")
    assert lines[2].split()[6:] == ["*", "matches"]
    assert lines[3].startswith("2 runs")


def test_grades_are_totalled():
    graded = of(GOOD, {"owner": "lisa", **OPEN}, roster=("2021202045", "lisa", "max"))
    lines = printed(print_grades, graded.grades).splitlines()
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["2021202045", "copy", "1"],
        ["lisa", "copy", "1"],
        ["max", "copy", "0"],
    ]
    assert "– / 1" in lines[2]  # noqa: RUF001
    assert lines[4] == "matches: 1; missing: 1; can't be graded: 1"


def test_what_differs_is_whole_on_a_narrow_terminal():
    graded = of({"owner": "x" * 100, **WORSE})
    text = printed(print_graded_runs, graded.runs, START.tzinfo, width=60).replace("\n", "")
    assert "bytes read: expected 20, found 1; seeks: expected 9, found 1" in text
    assert "x" * 20 not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert_on_a_terminal(name):
    wanted = task(name, expect={"file": OneOf(("abc",))}, not_opened=(name.replace("[", "?"),))
    graded = of({"owner": name, "comm": name, "file": name}, tasks=[wanted])
    for text in (
        printed(print_graded_runs, graded.runs, START.tzinfo),
        printed(print_grades, graded.grades),
    ):
        assert text.replace("\n", "").isprintable()
        assert len(text.splitlines()) == 3


# The command


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Check the runs of a store against a file."""
    monkeypatch.setenv("TZ", "UTC")

    def run(text, *changes, arguments=(), **tables):
        path = tmp_path / "expected.toml"
        path.write_text(text)
        store = store_with(
            tmp_path / f"store{len(list(tmp_path.iterdir()))}", rows_of(*changes), **tables
        )
        return CliRunner().invoke(
            cli, ["check", str(path), "--store", str(store.root), "--tz", "UTC", *arguments]
        )

    return run


EXPECTED = "[tasks.copy]\npoints = 5\n[tasks.copy.expect]\nread_bytes = 20\n"


@pytest.mark.parametrize(
    ("changes", "code"), [([GOOD], 0), ([BAD], 1), ([OPEN], 1), ([GOOD, BAD], 0)]
)
def test_the_exit_code_says_whether_all_match(check, changes, code):
    done = check(EXPECTED, *changes)
    assert done.exit_code == code, done.output
    assert "2021202045" in done.stdout


def test_a_wrong_file_is_exit_code_2_with_the_key_and_the_remedy(check):
    done = check(EXPECTED + "red_bytes = 3")
    assert done.exit_code == 2
    assert "tasks.copy.expect.red_bytes: no such key (did you mean 'read_bytes'?)" in done.stderr


def test_nothing_to_grade_is_exit_code_3_and_who_is_missing_is_told(check):
    assert check(EXPECTED).exit_code == 3
    done = check('roster = ["lisa"]\n' + EXPECTED, {"owner": "max"})
    assert done.exit_code == 3
    assert "lisa" in done.stdout
    assert "missing" in done.stdout
    assert "not on the roster, left out: max" in done.stderr


def test_filters_say_which_runs(check):
    late = (START + timedelta(seconds=30)).isoformat()
    assert check(EXPECTED, BAD, {**GOOD, "owner": "b"}, arguments=["--since", late]).exit_code == 0
    roster = 'roster = ["a", "b"]\n' + EXPECTED
    assert check(roster, {"owner": "b"}, arguments=["--owner", "b"]).exit_code == 0
    assert check(roster, {"owner": "b"}).exit_code == 1


def test_the_columns_are_on_the_page_in_their_order():
    page = (Path(__file__).parent.parent / "docs" / "grading.md").read_text()
    graded = of({})
    for title, frame in (("runs", graded.runs), ("grades", graded.grades)):
        table = page.partition(f"| column of {title} |")[2].partition("\n\n")[0]
        named = "".join(line.split("|")[1] for line in table.splitlines()[1:])
        assert re.findall(r"`(\w+)`", named) == list(frame.columns)


def test_grades_are_csv_for_a_grade_book_without_formulas(check):
    done = check(EXPECTED, {"owner": HOSTILE[3], **BAD}, arguments=["--grades", "--format", "csv"])
    assert done.exit_code == 1
    head, line = done.stdout.splitlines()
    assert head == "owner,task,points,out_of,passed,verdict,runs,run_id,what_differs"
    told = "bytes read: expected 20, found 1"
    owner = f'"\'{HOSTILE[3]}"'
    assert line == f'{owner},"copy",0,5,false,"differs",1,"000000000000","{told}"'


def test_runs_are_json_too(check):
    done = check(EXPECTED, GOOD, arguments=["--json"])
    assert '"run_id":"000000000000","owner":"2021202045","task":"copy"' in done.stdout
    assert '"what_differs":null' in done.stdout


def test_files_of_detailed_runs_are_looked_at(check):
    text = EXPECTED + "files.not_opened = '/etc/*'\n"
    files = [file_row("/etc/shadow")]
    done = check(text, DETAILED, files=files)
    assert done.exit_code == 1
    assert "/etc/*: expected not to be opened, opened /etc/shadow" in done.stdout


def test_findings_are_looked_for_with_the_thresholds_of_the_configuration(
    check, tmp_path, monkeypatch
):
    text = EXPECTED + "findings = 'none'\n"
    left_open = {"close_calls": 0}
    assert check(text, GOOD).exit_code == 0
    done = check(text, left_open)
    assert done.exit_code == 1
    assert "found left_open: opened 1, closed 0" in done.stdout
    assert check(EXPECTED + "findings = ['left_open']\n", left_open).exit_code == 0
    (tmp_path / "logtrace.toml").write_text("[findings]\nleft_open = 2\n")
    monkeypatch.setenv("LOGTRACE_CONFIG", str(tmp_path / "logtrace.toml"))
    assert check(text, left_open).exit_code == 0
