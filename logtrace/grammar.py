"""Text of a record -> `Event`: what a tracing module says in it.

The lines are described in ``docs/format.md``; how versions of the module spell them is
data, in ``dialects.toml``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from logtrace.record import printable

Kind = Literal["start", "stats", "ops", "end", "trace", "call", "fd"]

KINDS: tuple[Kind, ...] = ("start", "stats", "ops", "end")
"""The lines of a run, in the order of the contract."""

EXTRA_KINDS: tuple[Kind, ...] = ("trace", "call", "fd")
"""The lines that a run has between its calls line and its End line when more is asked for."""

_EXTRA = "ftrace/"  # and the version; how every extra line begins, and no other

_TEXT_GROUPS = frozenset({"owner", "comm", "file", "call", "path"})
_FLAG_GROUPS = frozenset({"wide", "detail", "follow", "open_at_end"})
_INT64 = range(-(2**63), 2**63)

# A record has at most 1 KiB, and four characters for each byte where dmesg escaped it; a
# longer text is a broken log, on which the patterns could take for ever
_LONGEST = 4096

_LOOKS_LIKE = re.compile(
    r"OS\s*Assignment\s*2|ftrace\s*\[-?\d+\]|\bread\s*[-\u2013]\s*-?\d+\s*/\s*written"
    r"|open\s*\[-?\d+\]|\Aftrace/\d|\A\[[^\[\]]{1,32}\] .*\bfile\s*\[",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a run.

    Parameters
    ----------
    kind
        Which of the run's lines it is.
    dialect
        The dialect that understood it.
    rank
        The dialect's place in ``dialects.toml``; a larger one is more general.
    values
        Columns of ``schema.RUNS``, ``CALLS`` or ``FILES`` that the line gives; of a trace line
        also ``call_lines`` and ``fd_lines``, how many of them follow.
    """

    kind: Kind
    dialect: str
    rank: int
    values: dict[str, int | str]

    @property
    def extra(self) -> bool:
        """Whether it is one of `EXTRA_KINDS`."""
        return self.kind in EXTRA_KINDS


@dataclass(frozen=True, slots=True)
class _Pattern:
    kind: Kind
    dialect: str
    rank: int
    regex: re.Pattern[str]


def parse(text: str) -> Event | None:
    """Understand the text of a record.

    Parameters
    ----------
    text
        The decoded text of one record.

    Returns
    -------
    Event or None
        None if no dialect has such a line, if it is longer than any record, or if a number
        in it has more than 64 bits.
    """
    if len(text) > _LONGEST or not _may_be_trace(text):
        return None
    line = text.rstrip()
    for pattern in _extra_patterns() if text.startswith(_EXTRA) else _patterns():
        if match := pattern.regex.fullmatch(line):
            values = _values(match.groupdict())
            if values is not None:
                return Event(pattern.kind, pattern.dialect, pattern.rank, values)
    return None


def is_extra(text: str) -> bool:
    """Whether a line is an extra line, of this version or another, understood or not."""
    return text.startswith(_EXTRA)


def looks_like_trace(text: str) -> bool:
    """Whether a line that `parse` does not understand seems to be meant as a trace line."""
    return _may_be_trace(text) and _LOOKS_LIKE.search(text) is not None


# Every trace line has one of these words: looking for them spares other lines the patterns
def _may_be_trace(text: str) -> bool:
    return "ftrace" in text or "open" in text or "file" in text or "written" in text


@cache
def _patterns() -> tuple[_Pattern, ...]:
    return _read_patterns(KINDS)


@cache
def _extra_patterns() -> tuple[_Pattern, ...]:
    return _read_patterns(EXTRA_KINDS)


def _read_patterns(kinds: tuple[Kind, ...]) -> tuple[_Pattern, ...]:
    data = tomllib.loads(resources.files("logtrace").joinpath("dialects.toml").read_text("utf-8"))
    return tuple(
        _Pattern(kind, dialect["name"], rank, re.compile(dialect[kind], re.ASCII | re.DOTALL))
        for rank, dialect in enumerate(data["dialect"])
        for kind in kinds
        if kind in dialect
    )


def _values(groups: dict[str, str | None]) -> dict[str, int | str] | None:
    values: dict[str, int | str] = {}
    for name, value in groups.items():
        if value is None:
            continue
        if name in _TEXT_GROUPS:
            values[name] = printable(value)
        elif name in _FLAG_GROUPS:
            values[name] = value == "1"
        elif int(value) in _INT64:
            values[name] = int(value)
        else:
            return None
    return values
