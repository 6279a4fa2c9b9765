"""Runs -> how they differ from what was expected of them, and what their owners get for it.

What a log leaves open is never held against anybody: a run that is not complete, or of which a
value that matters is not known, can't be graded, and that is said with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from logtrace.expectation import Expectation, Task, value_text
from logtrace.naming import in_words
from logtrace.schema import to_rows

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["matches", "differs", "can't be graded", "missing"]

MATCHES: Verdict = "matches"
DIFFERS: Verdict = "differs"
UNGRADED: Verdict = "can't be graded"
MISSING: Verdict = "missing"

_RUN_COLUMNS = {
    "run_id": "str",
    "owner": "str",
    "task": "str",
    "comm": "str",
    "at": "datetime64[us, UTC]",
    "verdict": "str",
    "counted": "boolean",
    "what_differs": "str",
}
_GRADE_COLUMNS = {
    "owner": "str",
    "task": "str",
    "points": "Float64",
    "out_of": "Float64",
    "passed": "boolean",
    "verdict": "str",
    "runs": "Int64",
    "run_id": "str",
    "what_differs": "str",
}
_USED = (
    *("run_id", "host", "boot_id", "first_seq", "source", "started_at", "ended_at"),
    *("owner", "comm", "status", "note", "file", "detail"),
)

Row = Mapping[str, Any]


class Graded(NamedTuple):
    """What a check found.

    Parameters
    ----------
    runs
        A row a run and task: ``run_id``, ``owner``, ``task``, ``comm`` (``str``), ``at``
        (``datetime64[us, UTC]``; when it started, else when it ended), ``verdict`` (``matches``,
        ``differs`` or ``can't be graded``), ``counted`` (``boolean``: whether its owner's grade
        is made of it), ``what_differs`` (``str``, null where nothing does).
    grades
        A row an owner and task: ``owner``, ``task``, ``points`` (``Float64``; null where it
        can't be graded), ``out_of``, ``passed`` (``boolean``; null where it can't be graded),
        ``verdict`` (also ``missing``), ``runs`` (``Int64``, how many there are), ``run_id`` of
        the run that decided, ``what_differs``.
    strangers
        Owners who are not on the roster; their runs are left out.
    """

    runs: pd.DataFrame
    grades: pd.DataFrame
    strangers: list[str]

    @property
    def all_match(self) -> bool:
        """Whether everybody did everything that was expected."""
        nobodys = self.runs["owner"].isna().any()
        return not nobodys and bool((self.grades["verdict"] == MATCHES).all())


class _Answer(NamedTuple):
    # What is said of a run for a task; of nobody's run, for none.
    row: Row
    task: Task | None
    verdict: Verdict
    told: Sequence[str] = ()


class _Grade(NamedTuple):
    # What an owner gets for a task, which run tells why, and which it is made of.
    owner: str
    task: Task
    verdict: Verdict
    runs: int = 0
    shown: _Answer | None = None
    counted: Sequence[_Answer] = ()
    told: Sequence[str] = ()


def grade(
    expectation: Expectation,
    runs: pd.DataFrame,
    files: pd.DataFrame | None = None,
    findings: pd.DataFrame | None = None,
    *,
    only_owner: str | None = None,
) -> Graded:
    """Grade runs.

    Parameters
    ----------
    expectation
        What is expected.
    runs
        Rows of ``schema.RUNS``.
    files
        Rows of ``schema.FILES`` of these runs.
    findings
        ``run_id``, ``rule``, ``evidence``: what stands out in these runs; None if that was
        not looked for.
    only_owner
        The owner whom `runs` are of, if only one's were asked for: nobody else is missing then.

    Returns
    -------
    Graded
        By run, and by owner and task.
    """
    roster = expectation.roster
    details = _Details(files, findings)
    strangers: set[str] = set()
    answers: list[_Answer] = []
    for row in _rows(runs, expectation):
        tasks = [task for task in expectation.tasks if _may_be_of(task, row)]
        owner = row["owner"]
        if not tasks:
            continue
        if owner is None:
            told = "whose run it is is not known", *_doubt(row)
            answers.append(_Answer(row, None, UNGRADED, told))
        elif roster is not None and owner not in roster:
            strangers.add(owner)
        else:
            answers += (_answer(task, row, details) for task in tasks)
    owners = roster or sorted({answer.row["owner"] for answer in answers if answer.task})
    owners = [owner for owner in owners if only_owner in (None, owner)]
    grades = _grades(expectation.tasks, owners, answers)
    return Graded(_runs_frame(answers, grades), _grades_frame(grades), sorted(strangers))


# Runs


# Only what is looked at, as values of Python; the oldest run first.
def _rows(runs: pd.DataFrame, expectation: Expectation) -> list[Row]:
    asked = (name for task in expectation.tasks for name in (*task.runs, *task.expect))
    columns = list(dict.fromkeys([*_USED, "open_calls", "lost_file_calls", *asked]))
    return sorted(to_rows(runs[columns]), key=_place)


def _place(row: Row) -> tuple[Any, ...]:
    at = _at(row)
    return at is None, at or 0, *_log(row), row["first_seq"]


def _log(row: Row) -> tuple[Any, ...]:
    return row["host"], row["source"] or "", row["boot_id"] or ""


def _at(row: Row) -> Any:
    return row["started_at"] or row["ended_at"]


# What is not known of a run does not tell that it is of another task.
def _may_be_of(task: Task, row: Row) -> bool:
    return all(row[name] is None or one.fits(row[name]) for name, one in task.runs.items())


def _answer(task: Task, row: Row, details: _Details) -> _Answer:
    unknown = [f"its {in_words(name)} is not known" for name in task.runs if row[name] is None]
    if unknown or not _may_be_graded(task, row):
        return _Answer(row, task, UNGRADED, [*unknown, *_doubt(row)])
    differs = []
    for name, one in task.expect.items():
        if row[name] is None:
            unknown.append(f"{in_words(name)}: expected {one}, not known")
        elif not one.fits(row[name]):
            differs.append(f"{in_words(name)}: expected {one}, found {value_text(row[name])}")
    for has_failed, text in (*details.of_files(task, row), *details.of_findings(task, row)):
        (differs if has_failed else unknown).append(text)
    if differs:
        return _Answer(row, task, DIFFERS, differs)
    return _Answer(row, task, UNGRADED if unknown else MATCHES, unknown)


# What is in doubt says nothing about the program, unless the task is about that.
def _may_be_graded(task: Task, row: Row) -> bool:
    expected = task.expect.get("status")
    return row["status"] == "complete" or (expected is not None and expected.fits(row["status"]))


def _doubt(row: Row) -> list[str]:
    if row["status"] == "complete":
        return []
    return [f"{row['status']}: {row['note']}" if row["note"] else row["status"]]


class _Details:
    # What is known of runs beside their row.

    def __init__(self, files: pd.DataFrame | None, findings: pd.DataFrame | None) -> None:
        self._opened: dict[str, list[str]] = {}
        self._findings: dict[str, list[tuple[str, str]]] | None = None
        if files is not None:
            opened = files[files["opens"].fillna(0) > 0]
            for run, path in zip(opened["run_id"], opened["path"], strict=True):
                self._opened.setdefault(run, []).append(path)
        if findings is not None:
            self._findings = {}
            columns = (findings[name] for name in ("run_id", "rule", "evidence"))
            for run, rule, evidence in zip(*columns, strict=True):
                self._findings.setdefault(run, []).append((rule, evidence))

    # Each with whether it has failed, rather than can't be told.
    def of_files(self, task: Task, row: Row) -> Iterator[tuple[bool, str]]:
        if not task.opened and not task.not_opened:
            return
        names, are_all = self._files(row)
        untold = "of the files that it opened only the last is known"
        for pattern in task.opened:
            if not any(_names(pattern, name) for name in names):
                yield (
                    are_all,
                    f"{pattern}: expected to be opened, {'was not' if are_all else untold}",
                )
        for pattern in task.not_opened:
            hits = [name for name in names if _names(pattern, name)]
            if hits:
                yield True, f"{pattern}: expected not to be opened, opened {', '.join(hits)}"
            elif not are_all:
                yield False, f"{pattern}: expected not to be opened, {untold}"

    # The files that a run opened, and whether these are all.
    def _files(self, row: Row) -> tuple[list[str], bool]:
        if row["detail"] and row["lost_file_calls"] == 0:
            paths = self._opened.get(row["run_id"], [])
            return sorted({path.removesuffix(" (deleted)") for path in paths}), True
        if row["open_calls"] == 0:
            return [], True
        return [row["file"]] if row["file"] else [], row["open_calls"] == 1 and bool(row["file"])

    def of_findings(self, task: Task, row: Row) -> Iterator[tuple[bool, str]]:
        if task.findings is None:
            return
        if self._findings is None:
            yield False, "findings: expected none, not known"
            return
        for rule, evidence in self._findings.get(row["run_id"], ()):
            if rule not in task.findings:
                yield True, f"found {rule}: {evidence}"


# As in .gitignore: a pattern without a slash is of the name, not of the folders before it.
def _names(pattern: str, path: str) -> bool:
    return fnmatchcase(path if "/" in pattern else path.rpartition("/")[2], pattern)


# Grades


def _grades(
    tasks: Sequence[Task], owners: Iterable[str], answers: Iterable[_Answer]
) -> list[_Grade]:
    of: dict[tuple[str, str], list[_Answer]] = {}
    for answer in answers:
        if answer.task:
            of.setdefault((answer.row["owner"], answer.task.name), []).append(answer)
    return [
        _grade(owner, task, of.get((owner, task.name), ())) for owner in owners for task in tasks
    ]


def _grade(owner: str, task: Task, answers: Sequence[_Answer]) -> _Grade:
    if not answers:
        return _Grade(owner, task, MISSING, told=["no run"])
    if task.counts == "all":
        shown = max(enumerate(answers), key=lambda each: (_SEVERITY[each[1].verdict], each[0]))[1]
        return _made_of(owner, task, answers, shown, answers)
    if task.counts == "best":
        shown = _best(answers)
        return _made_of(owner, task, answers, shown, [shown])
    last = _last(answers)
    if last is None:
        told = f"which of {len(answers)} runs was the last is not known: not all have a time"
        return _Grade(owner, task, UNGRADED, len(answers), told=[told])
    return _made_of(owner, task, answers, last, [last])


def _made_of(
    owner: str, task: Task, answers: Sequence[_Answer], shown: _Answer, counted: Sequence[_Answer]
) -> _Grade:
    return _Grade(owner, task, shown.verdict, len(answers), shown, counted, shown.told)


_SEVERITY = {MATCHES: 0, UNGRADED: 1, DIFFERS: 2}


# Of equals the last; what can't be graded may match, what differs does not.
def _best(answers: Sequence[_Answer]) -> _Answer:
    return min(reversed(answers), key=lambda each: (_SEVERITY[each.verdict], len(each.told)))


# Within one log its lines tell which run was the last; among several, clocks.
def _last(answers: Sequence[_Answer]) -> _Answer | None:
    if len({_log(each.row) for each in answers}) == 1:
        return max(answers, key=lambda each: each.row["first_seq"])
    return None if any(_at(each.row) is None for each in answers) else answers[-1]


# Frames


def _runs_frame(answers: Iterable[_Answer], grades: Iterable[_Grade]) -> pd.DataFrame:
    counted = {id(each) for grade in grades for each in grade.counted}
    by_owner = sorted(
        answers, key=lambda each: (each.row["owner"] is None, each.row["owner"] or "")
    )
    return _frame(
        _RUN_COLUMNS,
        (
            (
                answer.row["run_id"],
                answer.row["owner"],
                answer.task.name if answer.task else None,
                answer.row["comm"],
                _at(answer.row),
                answer.verdict,
                id(answer) in counted,
                "; ".join(answer.told) or None,
            )
            for answer in by_owner
        ),
    )


def _grades_frame(grades: Iterable[_Grade]) -> pd.DataFrame:
    passed = {MATCHES: True, UNGRADED: None}
    return _frame(
        _GRADE_COLUMNS,
        (
            (
                each.owner,
                each.task.name,
                {MATCHES: each.task.points, UNGRADED: None}.get(each.verdict, 0),
                each.task.points,
                passed.get(each.verdict, False),
                each.verdict,
                each.runs,
                each.shown.row["run_id"] if each.shown else None,
                "; ".join(each.told) or None,
            )
            for each in grades
        ),
    )


def _frame(columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))
