r"""The lines of a run as they were logged, kept without what its columns have already.

What is kept is their text with ``{column}`` where a value stands that the column has as it was
printed, and every other brace twice. Of the contract's four lines nothing is kept: null means
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from logtrace.columns import COUNTERS
from logtrace.grammar import Field
from logtrace.record import printable

CONTRACT = """\
OS Assignment2 ftrace [{pid}] Start
[{owner}] {comm} file[{file}] stats [x] read - {read_bytes} / written - {written_bytes}
open[{open_calls}] close[{close_calls}] read[{read_calls}] write[{write_calls}] lseek[{lseek_calls}]
OS Assignment2 ftrace [{pid}] End"""
"""The lines of the contract."""

_MOST_LINES = 1000  # of a run; what is behind them is in other tables too
_BRACE = re.compile(r"\{(\w+)\}|\{\{|\}\}")


def line_pattern(text: str, fields: Iterable[Field], values: Mapping[str, Any] | None) -> str:
    """Write a line with the names of columns instead of their values.

    Parameters
    ----------
    text
        The line.
    fields
        Where values stand in it.
    values
        The run's columns: a value that another one has is left as it stands. Without them,
        each is of its column.

    Returns
    -------
    str
        The text, with ``{column}`` for values.
    """
    parts, done = [], 0
    for name, _, start, stop in sorted(fields, key=lambda each: each.start):
        value = printable(text[start:stop])
        if values is None or value == _shown(name, values):
            parts += [_literal(text[done:start]), f"{{{name}}}"]
            done = stop
    return "".join([*parts, _literal(text[done:])])


def pattern(lines: Sequence[str]) -> str | None:
    """Join the lines of a run.

    Parameters
    ----------
    lines
        As `line_pattern` gives them, or with each brace twice.

    Returns
    -------
    str or None
        What the column ``lines`` has; None for those of the contract.
    """
    more = len(lines) - _MOST_LINES
    if more > 0:
        lines = [*lines[:_MOST_LINES], f"… {more} more"]
    joined = "\n".join(lines)
    return None if joined == CONTRACT else joined


def as_logged(run: Mapping[str, Any]) -> list[str]:
    """Give the lines of a run as they were logged.

    Parameters
    ----------
    run
        Its columns, those of ``schema.TABLES["runs"]``.

    Returns
    -------
    list of str
        A record each, without stamps; control characters are escaped.
    """

    def value(match: re.Match[str]) -> str:
        return _shown(match[1], run) if match[1] else match[0][0]

    kept = run.get("lines")
    return _BRACE.sub(value, CONTRACT if kept is None else kept).split("\n")


# Of totals, the counters are what the run added; the lines have the totals.
def _shown(name: str, run: Mapping[str, Any]) -> str:
    raw = run.get(f"raw_{name}") if name in COUNTERS else None
    return str(run.get(name) if raw is None else raw)


def _literal(text: str) -> str:
    return printable(text).replace("{", "{{").replace("}", "}}")
