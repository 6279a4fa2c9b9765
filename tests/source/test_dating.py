from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace.source.dating import Dating

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
