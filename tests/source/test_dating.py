from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace.source.dating import Dating

BERLIN = ZoneInfo("Europe/Berlin")
LATEST = datetime(2026, 11, 24, tzinfo=UTC)


def lines(*stamps):
    return [f"{stamp} lab7 kernel: x".encode() for stamp in stamps]


def years(*stamps, latest=LATEST, year=None):
    dating = Dating(UTC, latest, year).of(lines(*stamps))
    parts = (stamp.replace(":", " ").split() for stamp in stamps)
    found = [dating.yearless(month, *map(int, rest)) for month, *rest in parts]
    return [at and at.year for at in found]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["Nov 23 10:00:00"], [2026]),
        (["Nov 25 10:00:00"], [2025]),
        (["Nov 24 20:00:00"], [2026]),  # a clock that is a little ahead
        (["Dec 31 23:59:59", "Jan  1 00:00:00"], [2025, 2026]),
        (["Mar  2 10:00:00", "Mar  1 10:00:00", "Nov  1 10:00:00"], [2026] * 3),
        (["Mar 20 10:00:00", "Mar  2 10:00:00", "Mar  2 10:00:00"], [2025, 2026, 2026]),
        # clocks of two machines at New Year
        (["Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01"],
         [2025, 2026, 2025, 2026]),
        (["Dec 31 10:00:00", "Jan  9 10:00:00"] * 3, [2023, 2024, 2024, 2025, 2025, 2026]),
        # the latest leap year
        (["Feb 29 10:00:00", "Mar  1 10:00:00"], [2024, 2024]),
        (["Nov  1 10:00:00", "Feb 29 10:00:00", "Dec  1 10:00:00", "Jan  9 10:00:00"],
         [2023, 2024, 2024, 2025]),
        (["Feb 30 10:00:00", "Nov 23 10:00:00"], [None, 2026]),
    ],
)  # fmt: skip
def test_the_last_stamp_is_of_the_latest_year_that_it_can_be_of(stamps, expected):
    assert years(*stamps) == expected


def test_a_year_that_is_given_is_that_of_the_first_stamp():
    assert years("Nov 23 10:00:00", "Jan  2 10:00:00", year=2019) == [2019, 2020]
    assert years("Feb 29 10:00:00", year=2019) == [None]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-11-23T10:00:00Z", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T19:00:00+09:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T05:30:00-0430", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T10:00:00.000312+00:00", datetime(2026, 11, 23, 10, 0, 0, 312, tzinfo=UTC)),
        ("2026-11-23T10:00:00.5Z", datetime(2026, 11, 23, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-23T10:00:00.000312789Z", datetime(2026, 11, 23, 10, 0, 0, 312, tzinfo=UTC)),
        ("2026-11-23T10:00:00,000312+00:00", datetime(2026, 11, 23, 10, 0, 0, 312, tzinfo=UTC)),
        ("2024-02-29T23:59:59-01:00", datetime(2024, 3, 1, 0, 59, 59, tzinfo=UTC)),
        ("2026-12-31T23:30:00-01:00", datetime(2027, 1, 1, 0, 30, tzinfo=UTC)),
        ("2026-02-29T10:00:00Z", None),
        ("2016-12-31T23:59:60Z", None),  # a leap second has no place in a table's times
        ("0001-01-01T00:00:00+09:00", None),
        ("2026-11-23T10:00:00+99:00", None),
    ],
)
def test_a_stamp_of_rfc_3339_says_its_zone_itself(stamp, expected):
    dating = Dating(BERLIN)
    assert dating.iso(stamp.encode()) == expected
    assert dating.assumed == set()


def test_one_without_zone_is_in_the_zone_that_is_assumed():
    dating = Dating(BERLIN)
    expected = datetime(2026, 7, 1, 8, 0, 0, 312, tzinfo=UTC)
    assert dating.iso(b"2026-07-01T10:00:00.000312") == expected
    assert dating.assumed == {"zone"}


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ((3, 29, 1, 59, 59), (0, 59, 59)),
        ((3, 29, 2, 30, 0), (1, 30, 0)),  # no clock showed it: counted on from before
        ((3, 29, 3, 0, 0), (1, 0, 0)),
        ((10, 25, 1, 59, 59), (23, 59, 59)),
        ((10, 25, 2, 30, 0), (0, 30, 0)),  # every clock showed it twice: the first time
        ((10, 25, 3, 0, 0), (2, 0, 0)),
    ],
)
def test_a_stamp_in_the_hour_that_summer_time_skips_or_repeats_has_a_time(stamp, utc):
    at = Dating(BERLIN).local(2026, *stamp)
    assert (at.hour, at.minute, at.second) == utc
    found = Dating(BERLIN, LATEST).yearless({3: "Mar", 10: "Oct"}[stamp[0]], *stamp[1:])
    assert found == at


# In Seoul it is the next year nine hours earlier
@pytest.mark.parametrize("year", [None, 2026])
def test_the_year_of_a_stamp_is_that_of_its_zone(year):
    written = datetime(2026, 12, 31, 18, 30, tzinfo=UTC)
    dating = Dating(ZoneInfo("Asia/Seoul"), written, year)
    dating = dating.of(lines("Dec 31 23:59:59", "Jan  1 03:00:00"))
    found = [dating.yearless("Dec", 31, 23, 59, 59), dating.yearless("Jan", 1, 3, 0, 0)]
    assert found == [
        datetime(2026, 12, 31, 14, 59, 59, tzinfo=UTC),
        datetime(2026, 12, 31, 18, tzinfo=UTC),
    ]
    assert dating.assumed == {"zone", "2026", "2027"}


@pytest.mark.parametrize(
    ("year", "expected"), [(2023, [2023, 2024, 2024]), (2024, [2024, None, 2025])]
)
def test_a_year_that_is_given_counts_on_to_a_leap_day(year, expected):
    assert years("Dec 31 10:00:00", "Feb 29 10:00:00", "Mar  1 10:00:00", year=year) == expected


def test_a_log_that_grows_is_dated_by_the_present_stamp_by_stamp():
    now = datetime.now(UTC)
    dating = Dating()
    for at in (now, now - timedelta(days=300), now - timedelta(days=9)):
        if (at.month, at.day) != (2, 29):
            stamp = at.strftime("%b"), at.day, at.hour, at.minute, at.second
            assert dating.yearless(*stamp) == at.replace(microsecond=0)


def test_reading_a_log_twice_gives_the_same_years():
    stamps = lines("Dec 31 23:59:59", "Jan  1 00:00:00")
    dating = Dating(UTC, LATEST)
    first, second = dating.of(stamps), dating.of(stamps)
    for each in (first, second):
        assert each.yearless("Dec", 31, 23, 59, 59).year == 2025
        assert each.yearless("Jan", 1, 0, 0, 0).year == 2026
    assert dating.assumed == {"zone", "2025", "2026"}


@given(
    st.datetimes(datetime(2024, 3, 1), datetime(2026, 11, 23)),
    st.lists(st.timedeltas(timedelta(0), timedelta(days=350)), max_size=9),
)
def test_any_log_that_is_never_silent_for_a_year_gets_its_years_back(last, gaps):
    times = [last.replace(microsecond=0)]
    for gap in gaps:
        times.append((times[-1] - gap).replace(microsecond=0))
    times.reverse()
    latest = (last + timedelta(days=1)).replace(tzinfo=UTC)
    expected = [at.year for at in times]
    assert years(*(at.strftime("%b %e %H:%M:%S") for at in times), latest=latest) == expected
