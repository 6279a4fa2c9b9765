"""Usage statistics: what was run, how often, and what it moved."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from logtrace import schema
from logtrace.engine import Engine, Filters, Measure
from logtrace.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd

_TIME = "coalesce(started_at, ended_at)"

_BUCKETS = {
    "1min": timedelta(minutes=1),
    "10min": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
    "4w": timedelta(weeks=4),
    "52w": timedelta(weeks=52),
}
_MOST_BUCKETS = 120


# The origin is a monday at midnight in the engine's zone. Days are cut on the zone's calendar:
# cut as so many hours, those of summer would begin at one.
def _bucket(width: str) -> str:
    seconds = int(_BUCKETS[width].total_seconds())
    if _BUCKETS[width] < timedelta(days=1):
        return f"time_bucket(INTERVAL '{seconds} seconds', {_TIME}, TIMESTAMPTZ '2001-01-01')"
    days = f"INTERVAL '{_BUCKETS[width].days} days'"
    return f"time_bucket({days}, ({_TIME})::TIMESTAMP, TIMESTAMP '2001-01-01')::TIMESTAMPTZ"


KEYS = {
    "owner": "owner",
    "student": "owner",
    "program": "comm",
    "host": "host",
    "file": '"file"',
    "status": "status",
    "dialect": "dialect",
    "day": _bucket("1d"),
    "hour": _bucket("1h"),
}
"""What runs can be grouped by: name -> SQL."""


def _distinct(name: str, column: str) -> Measure:
    return Measure(
        name, f'list(DISTINCT "{column}")', f'len(list_distinct(flatten(list("{name}"))))'
    )


def _sum(name: str, partial: str) -> Measure:
    # DuckDB adds up to 128 bits, which pandas has no type for; what goes beyond 64 is null
    return Measure(name, partial, f'TRY_CAST(sum("{name}") AS BIGINT)')


_RUNS = _sum("runs", "count(*)")
_INCOMPLETE = _sum("incomplete", "count(*) FILTER (status <> 'complete')")
_RANGE = (
    Measure("first_seen", f"min({_TIME})", "min(first_seen)"),
    Measure("last_seen", f"max({_TIME})", "max(last_seen)"),
)

USAGE = (
    _RUNS,
    _distinct("programs", "comm"),
    _distinct("files", "file"),
    _INCOMPLETE,
    *(_sum(name, f"sum({name})") for name in schema.COUNTERS),
    *_RANGE,
)
"""The measures of `usage`."""

_TIMELINE = (
    _RUNS,
    _INCOMPLETE,
    _sum("read_bytes", "sum(read_bytes)"),
    _sum("written_bytes", "sum(written_bytes)"),
)


_TOTALS = (
    _RUNS,
    _INCOMPLETE,
    _sum("unclocked", f"count(*) FILTER ({_TIME} IS NULL)"),
    _distinct("hosts", "host"),
    _distinct("owners", "owner"),
    _distinct("programs", "comm"),
    _distinct("files", "file"),
    *(
        Measure(name, f"sum({name})", f"coalesce(sum({name}), 0)::DECIMAL(38, 0)")
        for name in ("read_bytes", "written_bytes")
    ),
)


def totals(engine: Engine, filters: Filters | None = None) -> dict[str, int]:
    """Total all runs.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.

    Returns
    -------
    dict
        Each of ``contents.TOTALS``: counts, and bytes for the last two, exact beyond 64 bits.
    """
    (row,) = engine.aggregate({}, _TOTALS, filters).to_dict("records")
    return {str(name): int(number) for name, number in row.items()}


def reasons(engine: Engine, filters: Filters | None = None) -> pd.DataFrame:
    """Count the incomplete runs by what is missing of them and why.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.

    Returns
    -------
    pandas.DataFrame
        status, note (``str``), runs (``Int64``), most runs first.
    """
    keys = {"status": "status", "note": "note"}
    frame = engine.aggregate(keys, (_RUNS,), filters, order="runs DESC, status, note")
    return frame[frame["status"] != "complete"].reset_index(drop=True)


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
    ends = engine.aggregate({}, _RANGE, filters).iloc[0]
    covered = ends["last_seen"] - ends["first_seen"]
    width = _width(covered.to_pytimedelta()) if covered == covered else "1h"
    frame = engine.aggregate({"start": _bucket(width)}, _TIMELINE, filters, order="start")
    return frame[frame["start"].notna()].reset_index(drop=True), width


def _width(covered: timedelta) -> str:
    fitting = (name for name, width in _BUCKETS.items() if covered / width <= _MOST_BUCKETS)
    return next(fitting, "52w")
