"""Stamps of a log -> times in UTC, also where they lack a year or a zone."""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import accumulate
from typing import Any

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_SLACK = timedelta(days=1)  # a writer's clock may be ahead of the file's time
_YEARS_BACK = 8  # a 29th of February comes again
_DAY_S = 24 * 60 * 60
_BACK_S = 7 * _DAY_S  # clocks are set back by less, or it is another year
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE = tuple(accumulate(_DAYS, initial=0))
_YEARLESS = re.compile(
    rb"(?:<\d{1,3}>)?(?P<month>[A-Z][a-z]{2}|\d\d?\xec\x9b\x94) +(?P<day>\d\d?)"
    rb" (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)[. ]"
)


class NewYears:
    """Count how often a year began between stamps without one, in the order of a log."""

    def __init__(self) -> None:
        self.begun = 0
        self._before: int | None = None

    def take(self, month: int, day: int, hour: int, minute: int, second: int = 0) -> int:
        """Take the next stamp; give how many years have begun before it.

        A stamp that is more than a week behind the one before it is of the next year, and one
        that is nearly a year ahead of it of the year before, as where clocks of several
        machines differ.
        """
        if not 1 <= day <= _DAYS[month - 1]:
            return self.begun
        place = (_DAYS_BEFORE[month - 1] + day) * _DAY_S + hour * 3600 + minute * 60 + second
        if self._before is not None:
            if place < self._before - _BACK_S:
                self.begun += 1
            elif place > self._before + 366 * _DAY_S - _BACK_S:
                self.begun -= 1
        self._before = place
        return self.begun


@dataclass
class Dating:
    """How stamps are read that lack a year or a zone.

    Parameters
    ----------
    zone
        The zone of stamps without one.
    latest
        When the log was last written to, UTC; None for a log that still grows.
    year
        The year of the first stamp without one; the next ones go on from there. None: each
        stamp is of the latest year in which it is not behind `latest`.
    assumed
        Filled while reading: ``"zone"``, and the years that were assumed.
    """

    zone: tzinfo = UTC
    latest: datetime | None = None
    year: int | None = None
    assumed: set[str] = field(default_factory=set)
    _new_years: NewYears = field(default_factory=NewYears)

    def local(self, *parts: int) -> datetime | None:
        """Give the UTC time of a stamp without zone; None if there is no such time."""
        at = self._at(*parts)
        if at is not None:
            self.assumed.add("zone")
        return at

    def iso(self, stamp: bytes) -> datetime | None:
        """Give the UTC time of an ISO 8601 stamp, with or without zone."""
        try:
            at = datetime.fromisoformat(stamp.decode().replace(",", "."))
            if at.tzinfo is not None:
                return at.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        *parts, microsecond = *at.timetuple()[:6], at.microsecond
        return self.local(*parts, microsecond)

    def yearless(self, month: str, *rest: int) -> datetime | None:
        """Give the UTC time of a stamp without year and zone."""
        number = month_number(month)
        if number is None:
            return None
        if self.year is None:
            at = self._not_behind_latest(number, *rest)
        else:
            year = self.year + self._new_years.take(number, *rest[:4])
            at = self.local(year, number, *rest)
        if at is not None:
            self.assumed.add(str(at.astimezone(self.zone).year))
        return at

    def of(self, lines: Iterable[bytes]) -> Dating:
        """Give what reads a whole log, with the year of its first stamp without one.

        Where it is not given, the last stamp is of the latest year in which it is not behind
        `latest` and in which every 29th of February of the log is a day; from there years are
        counted back.

        Parameters
        ----------
        lines
            All lines of the log.

        Returns
        -------
        Dating
            It shares `assumed`.
        """
        year = self.year if self.year is not None else self._first_year(lines)
        return replace(self, year=year, _new_years=NewYears())

    def _first_year(self, lines: Iterable[bytes]) -> int | None:
        new_years = NewYears()
        last: tuple[int, ...] | None = None
        leap_days: set[int] = set()
        for line in lines:
            if stamp := yearless_stamp(line):
                last, years = stamp, new_years.take(*stamp)
                if stamp[:2] == (2, 29):
                    leap_days.add(years)
        if last is None:
            return None
        begun = new_years.begun
        possible = [year for year in self._years() if self._is_not_behind(self._at(year, *last))]
        for year in possible:
            if all(isleap(year - begun + years) for years in leap_days):
                return year - begun
        return possible[0] - begun if possible else None

    def _not_behind_latest(self, *parts: int) -> datetime | None:
        found = (self.local(year, *parts) for year in self._years())
        return next((at for at in found if self._is_not_behind(at)), None)

    def _at(self, *parts: int) -> datetime | None:
        try:
            return datetime(*parts, tzinfo=self.zone).astimezone(UTC)  # type: ignore[arg-type,misc]
        except (ValueError, OverflowError):
            return None

    def _years(self) -> Iterable[int]:
        newest = self._latest().year + 1
        return range(newest, newest - _YEARS_BACK - 1, -1)

    def _is_not_behind(self, at: datetime | None) -> bool:
        return at is not None and at <= self._latest() + _SLACK

    def _latest(self) -> datetime:
        return self.latest or datetime.now(UTC)


def since_epoch(usec: int) -> datetime | None:
    """Give the UTC time so many microseconds after 1970; None beyond the year 9999."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=usec)
    except OverflowError:
        return None


def dated(at: datetime | None, clock: str) -> dict[str, Any]:
    """Give the fields of `Record` for a time, none without one."""
    return {} if at is None else {"at": at, "clock": clock}


def month_number(name: str) -> int | None:
    """Give the number of a month in English, Korean or Japanese; None for other words."""
    if name in _MONTHS:
        return _MONTHS.index(name) + 1
    digits = name.rstrip("월月")
    number = int(digits) if digits != name and digits.isascii() and digits.isdigit() else 0
    return number if 1 <= number <= 12 else None


def yearless_stamp(line: bytes) -> tuple[int, int, int, int, int] | None:
    """Read the stamp of a line of syslog, where it has no year: from month to second."""
    match = _YEARLESS.match(line)
    month = month_number(match["month"].decode("utf-8", "replace")) if match else None
    if match is None or month is None:
        return None
    day, hour, minute, second = (int(match[name]) for name in ("day", "hour", "minute", "second"))
    return (month, day, hour, minute, second) if 1 <= day <= _DAYS[month - 1] else None
