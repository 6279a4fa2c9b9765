"""Which lines of a log are understood, and how nearly those that are not."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from logtrace import grammar
from logtrace.cumulative import Suspect, suspects
from logtrace.dialects import ADDED_KINDS
from logtrace.machines import Found, Machines
from logtrace.record import Record, printable
from logtrace.runs import Row
from logtrace.source.logfile import open_log, read_log

if TYPE_CHECKING:
    import regex

MOST_MISSED = 1000
"""How many lines that were not understood are described; all are counted."""

_BATCH_RECORDS = 20_000
_MOST_RUNS = 100_000  # that are looked at for counters that are never set back
_SHOWN = 400
_PATIENCE_S = 0.2
_ENDED = re.compile("end|stop|finish|done", re.IGNORECASE)


@dataclass(frozen=True)
class Missed:
    """A line that looks like one of a run and was not understood.

    Parameters
    ----------
    line
        Its number in the file, from 1.
    text
        What it says, printable, cut off where it is very long.
    reason
        ``rejected`` or ``truncated``, as in ``schema.LOSSES``.
    kind, dialect
        Which line of which dialect it resembles most; None if it resembles none.
    fits
        How many of its characters could be the beginning of such a line.
    """

    line: int
    text: str
    reason: str
    kind: str | None
    dialect: str | None
    fits: int

    @property
    def remedy(self) -> str:
        """What to put into a file of dialects."""
        kind = self.kind or "stats"
        groups = "{pid}" if kind in ("start", "end") else "{read_bytes} and the like"
        return f"[[dialect]] with {kind} = '...' and {groups} where the numbers stand"


@dataclass
class LogCheck:
    """What was found in a log.

    Parameters
    ----------
    path
        The log.
    records, runs
        How many it has.
    understood
        How many lines of each dialect and kind.
    missed
        The first `MOST_MISSED` lines that were not understood.
    not_understood
        How many there are.
    suspects
        Modules that may never set their counters back.
    """

    path: Path
    records: int = 0
    runs: int = 0
    understood: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: list[Missed] = field(default_factory=list)
    not_understood: int = 0
    suspects: list[Suspect] = field(default_factory=list)


def examine_log(
    path: Path, known: grammar.Grammar | None = None, form: str | None = None
) -> LogCheck:
    """Read a log and say what of it is understood; nothing is stored.

    Parameters
    ----------
    path
        A log, plain or compressed; ``-`` is standard input.
    known
        What understands lines. Default: the dialects built in and those that users added.
    form
        One of ``forms.FORMS``; without it, that of its first lines.

    Returns
    -------
    LogCheck
        What was found.

    Raises
    ------
    SourceError
        If it can't be read, or the given form is not its.
    DialectError
        If a file of dialects makes no sense.
    """
    known = known or grammar.default()
    check = LogCheck(path)
    machines = Machines("", known=known)
    losses: list[Row] = []
    runs: dict[str, list[Row]] = {}
    with open_log(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        records = read_log(stream, f"{path}@", form=form)
        while batch := list(islice(records, _BATCH_RECORDS)):
            for record in batch:
                _count(check, record, known)
            for host, found in machines.feed(batch).items():
                _add(check, host, found, runs)
                check.not_understood += len(found.rows.losses)
                losses += found.rows.losses[: MOST_MISSED - len(losses)]
        for host, found in machines.finish(size):
            _add(check, host, found, runs)
        check.suspects = [suspect for rows in runs.values() for suspect in suspects(rows)]
        losses.sort(key=lambda row: row["first_seq"])
        lines = _line_numbers(stream, [row["first_seq"] for row in losses])
    for row in losses:
        text = row["text"] or ""
        kind, dialect, fits = nearest(text, known)
        shown = printable(text[:_SHOWN])
        check.missed.append(
            Missed(lines[row["first_seq"]], shown, row["reason"], kind, dialect, fits)
        )
    return check


def _add(check: LogCheck, host: str, found: Found, runs: dict[str, list[Row]]) -> None:
    runs.setdefault(host, []).extend(found.rows.runs[: max(0, _MOST_RUNS - check.runs)])
    check.runs += len(found.rows.runs)


def _count(check: LogCheck, record: Record, known: grammar.Grammar) -> None:
    check.records += 1
    if record.from_kernel:
        for event in known.events(record.text):
            check.understood[event.dialect, event.kind] += 1


# Records are known by the offsets of their lines.
def _line_numbers(stream: BinaryIO, offsets: Iterable[int]) -> dict[int, int]:
    wanted = set(offsets)
    found: dict[int, int] = {}
    stream.seek(0)
    offset = 0
    for number, line in enumerate(stream, 1):
        if len(found) == len(wanted):
            break
        for each in wanted if len(line) > 1 << 20 else wanted & {offset}:
            if offset <= each < offset + len(line):
                found[each] = number
        offset += len(line)
    return dict.fromkeys(wanted, 0) | found


def nearest(text: str, known: grammar.Grammar) -> tuple[str | None, str | None, int]:
    """Find the pattern that a text begins like.

    Parameters
    ----------
    text
        A line that no dialect understands.
    known
        The dialects.

    Returns
    -------
    tuple
        Kind and dialect of the pattern of which the longest part of the text can be the
        beginning, and how many characters that is; None, None and 0 if it is none.
    """
    import regex

    line = text.rstrip()[:_SHOWN]
    best: tuple[str | None, str | None, int] = (None, None, 0)
    for dialect in known.dialects:
        for kind in ADDED_KINDS:
            if kind in dialect.patterns:
                pattern = regex.compile(dialect.patterns[kind].pattern, regex.ASCII | regex.DOTALL)
                fits = _fitting(pattern, line)
                if fits > best[2]:
                    best = kind, dialect.name, fits
    if best[0] == "start" and _ENDED.search(line, best[2]):
        return "end", *best[1:]
    return best


# If a text can be the beginning of a line, any shorter part of it can.
def _fitting(pattern: regex.Pattern[str], line: str) -> int:
    fits, too_long = 0, len(line) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _may_begin(pattern, line[:middle]):
            fits = middle
        else:
            too_long = middle
    return fits


def _may_begin(pattern: regex.Pattern[str], beginning: str) -> bool:
    try:
        return bool(pattern.fullmatch(beginning, partial=True, timeout=_PATIENCE_S))
    except TimeoutError:
        return False


def summarize(check: LogCheck) -> dict[str, Any]:
    """Give what was found as values that JSON knows."""
    understood = [
        {"dialect": dialect, "kind": kind, "lines": count}
        for (dialect, kind), count in sorted(check.understood.items())
    ]
    return {
        "path": str(check.path),
        "records": check.records,
        "runs": check.runs,
        "understood": understood,
        "not_understood": check.not_understood,
        "missed": [asdict(missed) | {"remedy": missed.remedy} for missed in check.missed],
        "suspects": [suspect._asdict() for suspect in check.suspects],
    }


def describe(check: LogCheck) -> Iterator[str]:
    """Say what was found, a line each, safe for a terminal."""
    path = printable(str(check.path))
    yield f"{path}: {check.records} records, {check.runs} runs"
    for (dialect, kind), count in sorted(check.understood.items()):
        yield f"  {count} {kind} lines of the dialect {dialect}"
    yield f"  {check.not_understood} lines that look like one of a run are not understood"
    for missed in check.missed:
        yield f"{path}:{missed.line}: {missed.text}"
        if missed.kind:
            fitting = missed.text[: missed.fits][-40:]
            yield (
                f"  most like {missed.kind} of {missed.dialect}, down to character"
                f" {missed.fits}: ...{fitting}"
            )
        yield f"  to have it understood: {missed.remedy}"
    for each in check.suspects:
        yield (
            f"  the counters of owner {each.owner} ({each.dialect}) only grow over {each.runs}"
            " runs: if its module never sets them back, give it a dialect with cumulative = true"
        )
