"""What a check found, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from rich.console import Console

from logtrace.check import DIFFERS, MATCHES, MISSING, UNGRADED
from logtrace.display import count_text, time_text, visible
from logtrace.schema import to_rows
from logtrace.tables import Row, column, print_lines, table_lines

if TYPE_CHECKING:
    import pandas as pd

_STYLES = {MATCHES: "green", DIFFERS: "bold red", MISSING: "red", UNGRADED: "yellow"}
_NOTHING = "–"  # noqa: RUF001


def print_graded_runs(console: Console, runs: pd.DataFrame, zone: tzinfo) -> None:
    """Print a line a run, with what differs.

    Parameters
    ----------
    console
        Where to.
    runs
        As of ``check.Graded``.
    zone
        The zone in which to show times.
    """
    rows = to_rows(runs)
    columns = [
        column(rows, "Run", lambda row: row["run_id"][:8], style=lambda _row: "dim"),
        column(rows, "Owner", lambda row: _text(row["owner"]), name=True),
        column(rows, "Task", lambda row: _text(row["task"]), name=True),
        column(rows, "Program", lambda row: _text(row["comm"]), name=True),
        column(rows, "Time", lambda row: time_text(row["at"], zone) if row["at"] else _NOTHING),
        column(rows, "", lambda row: "*" if row["counted"] else ""),
        column(rows, "Verdict", lambda row: row["verdict"], style=_style),
        # whole: it is what the command is for
        column(rows, "What differs", lambda row: _text(row["what_differs"], "")),
    ]
    print_lines(console, table_lines(columns, console.width))
    console.print(
        f"{_many(len(rows), 'run')} · *: counts for the grade · times in {zone}",
        style="dim",
        soft_wrap=not console.is_terminal,
    )


def print_grades(console: Console, grades: pd.DataFrame) -> None:
    """Print what each owner gets for each task.

    Parameters
    ----------
    console
        Where to.
    grades
        As of ``check.Graded``.
    """
    rows = to_rows(grades)
    columns = [
        column(rows, "Owner", lambda row: _text(row["owner"]), name=True),
        column(rows, "Task", lambda row: _text(row["task"]), name=True),
        column(rows, "Runs", lambda row: count_text(row["runs"]), right=True),
        column(rows, "Points", _points, right=True),
        column(rows, "Verdict", lambda row: row["verdict"], style=_style),
        column(rows, "Run", lambda row: (row["run_id"] or "")[:8], style=lambda _row: "dim"),
        column(rows, "What differs", lambda row: _text(row["what_differs"], "")),
    ]
    print_lines(console, table_lines(columns, console.width))
    console.print("; ".join(_totals(rows)), style="dim", soft_wrap=not console.is_terminal)


def _totals(rows: list[dict[str, Any]]) -> Iterator[str]:
    for verdict in _STYLES:
        if number := sum(row["verdict"] == verdict for row in rows):
            yield f"{verdict}: {count_text(number)}"


def _points(row: Row) -> str:
    points = _NOTHING if row["points"] is None else f"{row['points']:g}"
    return f"{points} / {row['out_of']:g}"


def _style(row: Row) -> str:
    return _STYLES[row["verdict"]]


def _text(value: str | None, nothing: str = _NOTHING) -> str:
    return nothing if value is None else visible(value)


def _many(count: int, thing: str) -> str:
    return f"{count_text(count)} {thing}{'' if count == 1 else 's'}"
