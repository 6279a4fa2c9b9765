"""Names that were mistyped, and names in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

WORDS = {
    "read_bytes": "bytes read",
    "written_bytes": "bytes written",
    "open_calls": "opens",
    "close_calls": "closes",
    "read_calls": "reads",
    "write_calls": "writes",
    "lseek_calls": "seeks",
    "comm": "program",
    "file": "file opened last",
    "host": "machine",
    "boot_id": "boot",
    "started_at": "started",
    "ended_at": "ended",
    "duration_us": "duration",
    "wide": "line a call",
    "detail": "line a file",
    "follow": "follows children",
    "parent_pid": "parent's pid",
    "lost_file_calls": "calls on files not listed",
    "lost_children": "children not traced",
    "untimed_calls": "calls without time",
    "moved_bytes": "bytes moved",
    "time_ns": "time",
    "leaky": "runs that left open",
    "leak_rate": "share that left open",
    "error_rate": "share of calls failed",
    "mean_bytes": "mean bytes of a run",
    "p50_bytes": "median bytes of a run",
    "p95_bytes": "95 % of runs' bytes",
    "max_bytes": "most bytes of a run",
    "mean_took_us": "mean duration",
    "p50_took_us": "median duration",
    "p95_took_us": "95 % of durations",
    "max_took_us": "longest duration",
}
"""Columns whose name does not say it plainly."""


def in_words(column: str) -> str:
    """Name a column in plain words."""
    return WORDS.get(column) or column.replace("_", " ")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the name that was probably meant.

    Parameters
    ----------
    name
        What was given.
    known
        What there is.

    Returns
    -------
    str or None
        One of `known`, None if none is near.
    """
    return next(iter(get_close_matches(name.lower(), list(known), n=1, cutoff=0.7)), None)


def instead_of(name: str, known: Iterable[str]) -> str:
    """Say what may stand in place of a name that is not known.

    Parameters
    ----------
    name
        What was given.
    known
        What there is.

    Returns
    -------
    str
        ``did you mean 'read_bytes'?`` where one is near, else all of them.
    """
    known = list(known)
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"use {', '.join(known)}"
