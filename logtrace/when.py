"""Words for points in time, such as ``today``, ``monday``, ``2 hours ago`` or ``10:30``."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from time import CLOCK_BOOTTIME, clock_gettime
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from logtrace.errors import QueryError

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_AGO = re.compile(r"(\d{1,6}) *(second|minute|hour|day|week|month|year)s? ago")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
_STEPS = {
    "day": relativedelta(days=1),
    "week": relativedelta(weeks=1),
    "month": relativedelta(months=1),
    "year": relativedelta(years=1),
}
_UNDERSTOOD = (
    "now, today, yesterday, monday..sunday, this-week, last-week, this-month, boot, "
    "'2 hours ago', 10:30, 2026-11-23, 2026-11-23T10:30, @1795392000"
)


def parse_time(text: str, *, now: datetime, zone: ZoneInfo, booted: datetime) -> datetime:
    """Find the point in time that a word of the command line means.

    Parameters
    ----------
    text
        The word. A day means its beginning, a weekday the last such day up to today, a
        week begins on monday; what has no zone is in `zone`.
    now
        The present, aware.
    zone
        The user's zone.
    booted
        When this machine booted, aware.

    Returns
    -------
    datetime.datetime
        Aware, UTC.

    Raises
    ------
    QueryError
        If the text is not understood; the message lists what is.
    """
    word = " ".join(text.lower().replace("_", "-").split())
    here = now.astimezone(zone)
    if word == "now":
        return now.astimezone(UTC)
    if word == "boot":
        return booted.astimezone(UTC)
    day = _day(word, here.date())
    if day is not None:
        return _at(day, time(), zone)
    if match := _AGO.fullmatch(word):
        return _ago(int(match[1]), match[2], here).astimezone(UTC)
    return _exact(text.strip(), here, zone)


def utc_now() -> datetime:
    """Read the wall clock, UTC."""
    return datetime.now(UTC)


def booted() -> datetime:
    """Say when this machine booted, UTC."""
    return utc_now() - timedelta(seconds=clock_gettime(CLOCK_BOOTTIME))


def _day(word: str, today: date) -> date | None:
    monday = today - timedelta(days=today.weekday())
    days = {
        "today": today,
        "yesterday": today - timedelta(days=1),
        "this-week": monday,
        "last-week": monday - timedelta(weeks=1),
        "this-month": today.replace(day=1),
    }
    if word in _WEEKDAYS:
        return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(word)) % 7)
    return days.get(word.replace(" ", "-"))


# Hours and shorter are elapsed time; days and longer keep the time on the clock.
def _ago(count: int, unit: str, here: datetime) -> datetime:
    try:
        if unit in ("second", "minute", "hour"):
            return here.astimezone(UTC) - timedelta(**{f"{unit}s": count})
        return here - count * _STEPS[unit]
    except (OverflowError, ValueError):
        raise QueryError(f"'{count} {unit}s ago' is before the year 1") from None


def _exact(text: str, here: datetime, zone: ZoneInfo) -> datetime:
    try:
        if text.startswith("@"):
            return datetime.fromtimestamp(float(text[1:]), UTC)
        if _CLOCK.fullmatch(text):
            return _at(
                here.date(), time.fromisoformat(text.zfill(len(text) + (text[1] == ":"))), zone
            )
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise QueryError(f"time '{text}' is not understood", f"use one of: {_UNDERSTOOD}") from None


def _at(day: date, clock: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)
