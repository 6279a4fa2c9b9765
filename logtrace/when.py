"""Words for points in time and for periods: ``today``, ``2 hours ago``, ``monday 9:00``, ``10:30``.

What a word means must be told by the word alone. Libraries that read dates of any kind guess:
which of two numbers is the month, or that an unknown word means now. So the words are few, and
what a library does well is left to it: zones, months' ends and ISO 8601.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from time import CLOCK_BOOTTIME, clock_gettime
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from logtrace.errors import QueryError
from logtrace.naming import nearest

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PERIODS = (
    *("today", "yesterday", "tomorrow", "this-week", "last-week", "this-month", "last-month"),
    *("this-year", "last-year", *_WEEKDAYS, *(name[:3] for name in _WEEKDAYS)),
)
WORDS = ("now", "boot", *_PERIODS)
"""The words that stand alone."""

_STEPS = {
    "second": relativedelta(seconds=1),
    "minute": relativedelta(minutes=1),
    "hour": relativedelta(hours=1),
    "day": relativedelta(days=1),
    "week": relativedelta(weeks=1),
    "month": relativedelta(months=1),
    "year": relativedelta(years=1),
}
_SHORT = {"s": "second", "sec": "second", "min": "minute", "h": "hour", "d": "day", "w": "week"}
_AGO = re.compile(
    rf"(\d{{1,6}}|an?) ?({'|'.join(_STEPS)}|{'|'.join(_SHORT)})s? ago",
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_OFFSET = re.compile(r"Z|[+-]\d{2}(?::?\d{2})?", re.IGNORECASE)
_CLOCK_AND_OFFSET = re.compile(
    rf"(.*\d:\d{{2}}(?::\d{{2}}(?:[.,]\d+)?)?)({_OFFSET.pattern})", re.IGNORECASE
)
_END_OF_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})T24:00(?::00)?", re.IGNORECASE)
_MONTH = re.compile(r"\d{4}-\d{2}")
_UNDERSTOOD = (
    "now, today, yesterday, tomorrow, monday..sunday, this-week, last-week, this-month, "
    "last-month, this-year, last-year, boot, '2 hours ago', 10:30, 'yesterday 10:30', 2026-11, "
    "2026-11-23, 2026-11-23T10:30, @1795392000; a zone may stand behind: '10:30 Asia/Seoul'"
)


def parse_time(text: str, *, now: datetime, zone: tzinfo, booted: datetime) -> datetime:
    """Find the point in time that a word of the command line means.

    Parameters
    ----------
    text
        The word. A period, such as a day, means its beginning, a weekday the last such day up
        to today; a week begins on monday. A time that the clock shows twice means the first,
        one that it leaves out as much later as it was set forward.
    now
        The present, aware.
    zone
        The user's zone; that of what names none.
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
    try:
        said, here = _read(text, now, zone)
        return _parse(said, here, booted).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise _error(text) from None


def parse_period(
    text: str, *, now: datetime, zone: tzinfo, booted: datetime
) -> tuple[datetime | None, datetime | None]:
    """Find the period that a word of the command line means.

    Parameters
    ----------
    text
        ``FROM..TO``, of which one may be left out, or a word for a day, a week, a month or a
        year.
    now, zone, booted
        As of `parse_time`.

    Returns
    -------
    since, until : datetime.datetime or None
        The range ``[since, until)``, aware, UTC; None where it has no bound.

    Raises
    ------
    QueryError
        If the text is not understood, is a moment, or ends before it begins.
    """
    ends = [end.strip() for end in text.split("..")]
    if len(ends) == 2 and any(ends):
        since, until = (
            parse_time(end, now=now, zone=zone, booted=booted) if end else None for end in ends
        )
        if since and until and since >= until:
            raise QueryError(f"{text}: {ends[0]} is not before {ends[1]}", "turn them round")
        return since, until
    moment = parse_time(text, now=now, zone=zone, booted=booted)
    said, here = _read(text, now, zone)
    days = _days(_word(said), here.date())
    if days is None:
        raise QueryError(f"'{text}' is a moment, no period", f"say from when to when: {text}..now")
    return moment, _at(days[1], here).astimezone(UTC)


def utc_now() -> datetime:
    """Read the wall clock, UTC."""
    return datetime.now(UTC)


def booted() -> datetime:
    """Say when this machine booted, UTC."""
    return utc_now() - timedelta(seconds=clock_gettime(CLOCK_BOOTTIME))


# What is said, and the present where it is said.
def _read(text: str, now: datetime, zone: tzinfo) -> tuple[str, datetime]:
    said, own = _zone_in(" ".join(text.split()))
    return said, now.astimezone(own or zone)


def _error(text: str) -> QueryError:
    near = nearest(_word(text), WORDS)
    meant = f"did you mean '{near}'? " if near else ""
    return QueryError(f"time '{text}' is not understood", f"{meant}use one of: {_UNDERSTOOD}")


def _word(text: str) -> str:
    return "-".join(text.lower().replace("_", "-").split())


# The zone that stands behind a time, as a name or an offset.
def _zone_in(text: str) -> tuple[str, tzinfo | None]:
    if match := _CLOCK_AND_OFFSET.fullmatch(text):
        return match[1], _offset(match[2])
    rest, _, name = text.rpartition(" ")
    zone = _named(name) if rest else None
    return (rest, zone) if zone else (text, None)


def _named(name: str) -> tzinfo | None:
    if _OFFSET.fullmatch(name):
        return _offset(name)
    try:
        return ZoneInfo(name.upper() if name.lower() in ("utc", "gmt") else name)
    except (OSError, ValueError, KeyError):
        return None


def _offset(text: str) -> tzinfo:
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    span = timedelta(hours=hours, minutes=minutes)
    return timezone(-span if text[0] == "-" else span)


def _parse(text: str, here: datetime, booted: datetime) -> datetime:
    word = _word(text)
    if word == "now":
        return here
    if word == "boot":
        return booted
    if text.startswith("@"):
        return datetime.fromtimestamp(float(text[1:]), UTC)
    if match := _AGO.fullmatch(text.lower()):
        return _ago(match[1], _SHORT.get(match[2], match[2]), here)
    day, _, clock = text.rpartition(" ")
    if match := _CLOCK.fullmatch(clock):
        days = _days(_word(day or "today"), here.date())
        if days is None or days[1] - days[0] != timedelta(days=1):
            raise ValueError
        return _on_clock(days[0], match, here)
    if days := _days(word, here.date()):
        return _at(days[0], here)
    return _iso(text, here)


# The days from the first to the one behind the last that a word means.
def _days(word: str, today: date) -> tuple[date, date] | None:
    day, week, month, year = (_STEPS[unit] for unit in ("day", "week", "month", "year"))
    monday, first = today - timedelta(days=today.weekday()), today.replace(day=1)
    begins = {
        "today": (today, day),
        "yesterday": (today - day, day),
        "tomorrow": (today + day, day),
        "this-week": (monday, week),
        "last-week": (monday - week, week),
        "this-month": (first, month),
        "last-month": (first - month, month),
        "this-year": (first.replace(month=1), year),
        "last-year": (first.replace(month=1) - year, year),
    }
    for number, name in enumerate(_WEEKDAYS):
        begins[name] = begins[name[:3]] = (monday + number * day, day)
        if number > today.weekday():
            begins[name] = begins[name[:3]] = (monday + number * day - week, day)
    begin, length = begins.get(word) or _calendar(word) or (None, day)
    return None if begin is None else (begin, begin + length)


def _calendar(word: str) -> tuple[date, relativedelta] | None:
    if _MONTH.fullmatch(word):
        return date.fromisoformat(f"{word}-01"), _STEPS["month"]
    if re.fullmatch(r"\d{4}-w\d{2}", word):
        return date.fromisoformat(word.upper()), _STEPS["week"]
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}|\d{4}-w\d{2}-\d", word):
        return date.fromisoformat(word.upper()), _STEPS["day"]
    return None


# Hours and shorter are elapsed time; days and longer keep the time on the clock.
def _ago(count: str, unit: str, here: datetime) -> datetime:
    if unit in ("second", "minute", "hour"):
        here = here.astimezone(UTC)
    return here - int(count if count.isdigit() else 1) * _STEPS[unit]


def _iso(text: str, here: datetime) -> datetime:
    if match := _END_OF_DAY.fullmatch(text):
        return _at(date.fromisoformat(match[1]) + timedelta(days=1), here)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=here.tzinfo)


# 24:00 is the end of the day.
def _on_clock(day: date, clock: re.Match[str], here: datetime) -> datetime:
    hour, minute, second = (int(number or 0) for number in clock.groups())
    if (hour, minute, second) == (24, 0, 0):
        return _at(day + timedelta(days=1), here)
    return _at(day, here, time(hour, minute, second))


def _at(day: date, here: datetime, clock: time = time.min) -> datetime:
    return datetime.combine(day, clock, here.tzinfo)
