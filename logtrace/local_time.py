"""Days and hours of a zone, for the times of runs.

What a moment is called in a zone takes DuckDB longer than all else of a statistic, so it is looked
up once for each quarter of an hour in which a run stands. Days, hours and weeks begin with
one: since 1972 the offsets of all zones have been whole quarters of an hour
(https://www.iana.org/time-zones).
"""

from __future__ import annotations

import re
from datetime import timedelta

TIME = "coalesce(started_at, ended_at)"
"""SQL of the time at which a run stands: its start or, where that was not seen, its end."""

BUCKETS = {
    "1min": timedelta(minutes=1),
    "10min": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
    "4w": timedelta(weeks=4),
    "52w": timedelta(weeks=52),
}
"""The buckets of time that runs are counted in: name -> width."""

WEEKDAY = "local_weekday"
"""SQL of the day of the week, 1 for Monday."""

HOUR = "local_hour"
"""SQL of the hour of the day, 0 to 23."""

_QUARTER = f"epoch_us({TIME}) // 900000000"
_ORIGIN = "TIMESTAMP '2001-01-01'"  # a Monday
_OF_CALENDAR = re.compile(r"\blocal_\w+")


def bucket(width: str) -> str:
    """Write the SQL of the bucket of time, of a width out of `BUCKETS`, that a run stands in.

    Days are cut on the zone's calendar: cut as so many hours, those of summer would begin at one.
    """
    if BUCKETS[width] >= timedelta(days=1):
        return f"local_{width}"
    seconds = int(BUCKETS[width].total_seconds())
    return f"time_bucket(INTERVAL '{seconds} seconds', {TIME}, {_ORIGIN}::TIMESTAMPTZ)"


_DAYS = ", ".join(
    f"time_bucket(INTERVAL '{width.days} days', began, {_ORIGIN})::TIMESTAMPTZ AS local_{name}"
    for name, width in BUCKETS.items()
    if width >= timedelta(days=1)
)
QUARTERS = f"SELECT DISTINCT {_QUARTER} AS quarter FROM runs"
"""SQL of the quarters of an hour in which runs stand."""

CALENDAR = f"""
    SELECT quarter, isodow(began) AS {WEEKDAY}, hour(began) AS {HOUR}, {_DAYS} FROM (
        SELECT quarter, make_timestamptz(quarter * 900000000)::TIMESTAMP AS began FROM quarters
    )
"""
"""SQL of what each of the ``quarters`` is called in the zone of the session."""

JOIN = f"LEFT JOIN calendar ON {_QUARTER} = calendar.quarter"
"""Joins the ``calendar`` to runs; it has nothing of runs without time."""


def is_in(sql: str) -> bool:
    """Say whether SQL speaks of the calendar: of `WEEKDAY`, `HOUR` or a day's `bucket`."""
    return _OF_CALENDAR.search(sql) is not None
