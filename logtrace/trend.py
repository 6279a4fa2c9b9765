"""How many runs there were over the time of a range, for lines of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from logtrace.engine import Engine, Filters, Measure
from logtrace.local_time import TIME
from logtrace.stats import KEYS

if TYPE_CHECKING:
    import pandas as pd

PARTS = 16
"""Into how many parts of equal length the time is cut."""


_RUNS = Measure("runs", "count(*)", "sum(runs)::BIGINT")
_WHOLE_AS_PARTS = ("day", "hour")  # groups that are parts of the time themselves


class Trend(NamedTuple):
    """The runs over time of each row of a table.

    Parameters
    ----------
    start, end
        The time that all rows are of, UTC.
    counts
        For each row, the runs in each of the `PARTS`.
    """

    start: datetime
    end: datetime
    counts: list[list[int]]


def trend(
    engine: Engine, table: pd.DataFrame, by: Sequence[str], filters: Filters, now: datetime
) -> Trend | None:
    """Count the runs over time for each row of a table of statistics.

    Parameters
    ----------
    engine
        The store's engine.
    table
        What `logtrace.stats.usage` gave.
    by
        Its key columns.
    filters
        Which runs.
    now
        Where a range ends that has a beginning only.

    Returns
    -------
    Trend or None
        None where nothing has a time, or the rows are days or hours themselves.
    """
    if table.empty or not set(by).isdisjoint(_WHOLE_AS_PARTS) or table["last_seen"].isna().all():
        return None
    first, last = (table[name].dropna() for name in ("first_seen", "last_seen"))
    start = filters.since or first.min().to_pydatetime()
    end = filters.until or (now if filters.since else last.max().to_pydatetime())
    # of several runs at one moment, or of clocks that are ahead
    end = max(end, start + timedelta(seconds=1))
    keys = {key: KEYS[key] for key in by} | {"_part": _part(start, end)}
    counted = engine.aggregate(keys, (_RUNS,), filters)
    return Trend(start, end, _by_row(table, counted[counted["_part"].notna()], list(by)))


def _part(start: datetime, end: datetime) -> str:
    begin = f"TIMESTAMPTZ '{start.isoformat()}'"
    width = max(1, (end - start) // timedelta(microseconds=PARTS))
    part = f"(epoch_us({TIME}) - epoch_us({begin})) // {width}"
    # `least` leaves out what is null
    return f"CASE WHEN {TIME} IS NOT NULL THEN least({part}, {PARTS - 1})::INTEGER END"


# Null is a group too: pandas joins it with null.
def _by_row(table: pd.DataFrame, counted: pd.DataFrame, by: list[str]) -> list[list[int]]:
    counts = [[0] * PARTS for _ in range(len(table))]
    if by:
        rows = table[by].assign(_row=range(len(table)))
        counted = counted.merge(rows, on=by)
    else:
        counted = counted.assign(_row=0)
    for row, part, runs in zip(counted["_row"], counted["_part"], counted["runs"], strict=True):
        counts[row][part] = int(runs)
    return counts
