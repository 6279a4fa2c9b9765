"""Comparisons for the terminal: what changed, and how much is the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from logtrace.display import duration_text, nanoseconds_text, time_text, visible
from logtrace.naming import in_words
from logtrace.schema import to_rows
from logtrace.tables import (
    Column,
    Row,
    column,
    print_lines,
    room_for,
    table_lines,
    without_middle,
)

if TYPE_CHECKING:
    import pandas as pd

_NOTHING = "–"  # noqa: RUF001
_LEAST, _GAP = 8, 2  # cells of the terminal
_STYLES = {"new": "green", "gone": "red"}
_PLACES = frozenset(
    (
        *("run_id", "first_seq", "last_seq", "started_us", "ended_us", "source"),
        *("first_seen", "last_seen"),
    )
)
_OF_GROUPS = frozenset(
    (
        *("runs", "incomplete", "read_bytes", "written_bytes", "leak_rate", "error_rate"),
        *("p50_bytes", "p50_took_us"),
    )
)
_SHARES = frozenset(("share", "leak_rate", "error_rate"))


def print_comparison(
    console: Console,
    compared: pd.DataFrame,
    keys: Sequence[str],
    names: tuple[str, str],
    zone: tzinfo,
) -> None:
    """Print what differs between two runs or periods.

    Parameters
    ----------
    console
        Where to.
    compared
        As of ``compare.compare_runs`` or ``compare.compare_usage``.
    keys
        The columns before ``what``.
    names
        What the two are called.
    zone
        The zone in which to show times.
    """
    rows = to_rows(compared)
    of_groups = bool(keys) and keys[0] != "part"
    shown = list(_shown((row for row in rows if not of_groups or row["what"] in _OF_GROUPS), keys))
    before = [
        *(column(shown, key.capitalize(), _key(key), middle=True) for key in keys),
        column(shown, "What", lambda row: in_words(row["what"])),
    ]
    behind = [
        column(shown, "Difference", _difference, right=True),
        column(shown, "Ratio", _ratio, right=True),
        column(shown, "", _sided, style=lambda row: _STYLES.get(row["change"], "")),
    ]
    room = max(_LEAST, (console.width - room_for([*before, *behind])) // 2 - _GAP)
    sides = [_side(shown, *side, zone, room) for side in zip("ab", names, strict=True)]
    columns = [*before, *sides, *behind]
    if shown:
        print_lines(console, table_lines(columns, console.width))
    same = sum(row["change"] == "same" for row in rows)
    told = f"{same:,} values are the same · times in {zone}" if shown else "nothing has changed"
    console.print(Text(told, style="dim"), soft_wrap=not console.is_terminal)


# Of what only one has, one line says so; where and when it was is no difference.
def _shown(rows: Iterable[Row], keys: Sequence[str]) -> Iterator[Row]:
    before: tuple[object, ...] | None = None
    for row in rows:
        if row["change"] == "same" or row["what"] in _PLACES:
            continue
        key = tuple(row[name] for name in keys)
        is_first = key != before
        if is_first or row["change"] == "changed":
            yield {**row, "is_first": is_first}
        before = key


def _key(key: str) -> Any:
    return lambda row: (_NOTHING if row[key] is None else visible(row[key])) * row["is_first"]


# Names give way where there is little room, but no number does.
def _side(rows: Iterable[Row], side: str, name: str, zone: tzinfo, room: int) -> Column:
    title = without_middle(visible(name), room)
    return column(rows, title, lambda row: _value(row, row[side], zone, room), right=True)


def _value(row: Row, value: str | None, zone: tzinfo, room: int) -> str:
    if value is None:
        return _NOTHING
    if _is_time(row):
        return time_text(datetime.fromisoformat(value), zone)
    if row["difference"] is None:
        return without_middle(visible(value), room)
    return _number(row, value)


def _is_time(row: Row) -> bool:
    return str(row["what"]).endswith("_at")


def _number(row: Row, value: str | float) -> str:
    # a count may be larger than a float holds
    number = int(value) if re.fullmatch(r"-?\d+", str(value)) else float(value)
    if row["what"] in _SHARES:
        return f"{number:.1%}".replace("%", " %")
    if row["what"].endswith("_us"):
        return duration_text(round(number))
    if row["what"].endswith("_ns"):
        return nanoseconds_text(round(number))
    return f"{int(number):,}" if number == int(number) else f"{number:,.2f}"


def _difference(row: Row) -> str:
    difference = row["difference"]
    if difference is None:
        return _NOTHING
    text = duration_text(round(difference * 1e6)) if _is_time(row) else _number(row, difference)
    return f"+{text}" if difference > 0 else text


def _ratio(row: Row) -> str:
    return _NOTHING if row["ratio"] is None else f"{row['ratio']:.2f}"


def _sided(row: Row) -> str:
    return row["change"] if row["change"] in _STYLES else ""
