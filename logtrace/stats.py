"""Usage statistics: what was run, how often, and what it moved."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from logtrace import schema
from logtrace.engine import Engine, Filters, Measure
from logtrace.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd

KEYS = {
    "owner": "owner",
    "student": "owner",
    "program": "comm",
    "host": "host",
    "file": '"file"',
    "status": "status",
    "dialect": "dialect",
    "day": "date_trunc('day', coalesce(started_at, ended_at))",
}
"""What runs can be grouped by: name -> SQL."""

_BUCKETS = {
    "1min": "1 minute",
    "10min": "10 minutes",
    "1h": "1 hour",
    "1d": "1 day",
    "1w": "7 days",
    "4w": "28 days",
    "52w": "364 days",
}
_MOST_BUCKETS = 120


def _distinct(name: str, column: str) -> Measure:
    return Measure(
        name, f'list(DISTINCT "{column}")', f'len(list_distinct(flatten(list("{name}"))))'
    )


def _sum(name: str, partial: str) -> Measure:
    # DuckDB adds up to 128 bits, which pandas has no type for; what goes beyond 64 is null
    return Measure(name, partial, f'TRY_CAST(sum("{name}") AS BIGINT)')


_RUNS = _sum("runs", "count(*)")
_INCOMPLETE = _sum("incomplete", "count(*) FILTER (status <> 'complete')")
_TIME = "coalesce(started_at, ended_at)"

USAGE = (
    _RUNS,
    _distinct("programs", "comm"),
    _distinct("files", "file"),
    _INCOMPLETE,
    *(_sum(name, f"sum({name})") for name in schema.COUNTERS),
    Measure("first_seen", f"min({_TIME})", "min(first_seen)"),
    Measure("last_seen", f"max({_TIME})", "max(last_seen)"),
)
"""The measures of `usage`."""

_TIMELINE = (
    _RUNS,
    _INCOMPLETE,
    _sum("read_bytes", "sum(read_bytes)"),
    _sum("written_bytes", "sum(written_bytes)"),
)


def usage(engine: Engine, by: Sequence[str], filters: Filters | None = None) -> pd.DataFrame:
    """Total the runs of each group.

    Parameters
    ----------
    engine
        The store's engine.
    by
        Names out of `KEYS`; none gives one row over all.
    filters
        Which runs.

    Returns
    -------
    pandas.DataFrame
        The keys; then runs, programs, files (distinct), incomplete (runs that are not
        ``complete``), the sums of ``schema.COUNTERS`` (bytes, calls): ``Int64``; then
        first_seen and last_seen: ``datetime64[us, UTC]``. Most runs first.

    Raises
    ------
    QueryError
        If a key is unknown.
    """
    for key in by:
        if key not in KEYS:
            raise QueryError(f"--by {key}: unknown", f"use one of {', '.join(KEYS)}")
    keys = {key: KEYS[key] for key in by}
    order = ", ".join(["runs DESC", *(f'"{key}"' for key in by)])
    return engine.aggregate(keys, USAGE, filters, order=order)


def timeline(engine: Engine, filters: Filters | None = None) -> tuple[pd.DataFrame, str]:
    """Count the runs over time, in buckets that suit the range.

    Parameters
    ----------
    engine
        The store's engine; days begin in its zone.
    filters
        Which runs; those without wall-clock time are left out.

    Returns
    -------
    frame : pandas.DataFrame
        start (``datetime64[us, UTC]``), runs, incomplete, read_bytes, written_bytes
        (``Int64``); only buckets with runs, in order.
    width : str
        The width of a bucket, such as ``1h``.
    """
    total = usage(engine, (), filters)
    first, last = total["first_seen"].iloc[0], total["last_seen"].iloc[0]
    width = _bucket(first.to_pydatetime(), last.to_pydatetime()) if first == first else "1h"
    # the origin is a monday at midnight in the engine's zone
    bucket = f"time_bucket(INTERVAL '{_BUCKETS[width]}', {_TIME}, TIMESTAMPTZ '2001-01-01')"
    frame = engine.aggregate({"start": bucket}, _TIMELINE, filters, order="start")
    return frame[frame["start"].notna()].reset_index(drop=True), width


def _bucket(first: datetime, last: datetime) -> str:
    import pandas as pd

    fitting = (
        name
        for name, width in _BUCKETS.items()
        if (last - first) / pd.Timedelta(width) <= _MOST_BUCKETS
    )
    return next(fitting, "52w")
