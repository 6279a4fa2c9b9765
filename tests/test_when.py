from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace.errors import QueryError
from logtrace.when import WORDS, booted, parse_period, parse_time, utc_now

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
BOOTED = datetime(2026, 11, 20, 8, 15, tzinfo=UTC)


def at(text: str, zone: ZoneInfo = SEOUL) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def parse(word: str, now: str = "2026-11-25 14:30:15", zone: ZoneInfo = SEOUL) -> datetime:
    return parse_time(word, now=at(now, zone), zone=zone, booted=BOOTED)


# 2026-11-25 is a wednesday
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("now", "2026-11-25 14:30:15"),
        ("today", "2026-11-25"),
        ("yesterday", "2026-11-24"),
        ("monday", "2026-11-23"),
        ("tuesday", "2026-11-24"),
        ("wednesday", "2026-11-25"),
        ("thursday", "2026-11-19"),
        ("friday", "2026-11-20"),
        ("saturday", "2026-11-21"),
        ("sunday", "2026-11-22"),
        ("mon", "2026-11-23"),
        ("Wed", "2026-11-25"),
        ("thu", "2026-11-19"),
        ("sun", "2026-11-22"),
        ("tomorrow", "2026-11-26"),
        ("this-week", "2026-11-23"),
        ("last-week", "2026-11-16"),
        ("this-month", "2026-11-01"),
        ("last-month", "2026-10-01"),
        ("this-year", "2026-01-01"),
        ("last-year", "2025-01-01"),
        ("2026-10", "2026-10-01"),
        ("2026-W48", "2026-11-23"),
        ("2 hours ago", "2026-11-25 12:30:15"),
        ("1 hour ago", "2026-11-25 13:30:15"),
        ("90 seconds ago", "2026-11-25 14:28:45"),
        ("45 minutes ago", "2026-11-25 13:45:15"),
        ("3 days ago", "2026-11-22 14:30:15"),
        ("1 week ago", "2026-11-18 14:30:15"),
        ("1 month ago", "2026-10-25 14:30:15"),
        ("1 year ago", "2025-11-25 14:30:15"),
        ("an hour ago", "2026-11-25 13:30:15"),
        ("a week ago", "2026-11-18 14:30:15"),
        ("30 min ago", "2026-11-25 14:00:15"),
        ("90s ago", "2026-11-25 14:28:45"),
        ("2h ago", "2026-11-25 12:30:15"),
        ("3d ago", "2026-11-22 14:30:15"),
        ("10:30", "2026-11-25 10:30"),
        ("24:00", "2026-11-26"),
        ("00:00", "2026-11-25"),
        ("today 8:00", "2026-11-25 08:00"),
        ("yesterday 10:30", "2026-11-24 10:30"),
        ("yesterday 24:00", "2026-11-25"),
        ("monday 9:00", "2026-11-23 09:00"),
        ("fri 23:59:59", "2026-11-20 23:59:59"),
        ("2026-11-23 9:30", "2026-11-23 09:30"),
        ("2026-12-31T24:00", "2027-01-01"),
        ("2026-11-23 24:00:00", "2026-11-24"),
        ("20261123", "2026-11-23"),
        ("9:05", "2026-11-25 09:05"),
        ("23:59:59", "2026-11-25 23:59:59"),
        ("2026-11-23", "2026-11-23"),
        ("2026-11-23T10:30", "2026-11-23 10:30"),
        ("2026-11-23 10:30:00.000125", "2026-11-23 10:30:00.000125"),
    ],
)
def test_a_word_means_a_time_in_the_zone(word, meant):
    assert parse(word) == at(meant)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("boot", BOOTED),
        ("@1795392000", datetime(2026, 11, 23, tzinfo=UTC)),
        ("@1795392000.5", datetime(2026, 11, 23, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-23T10:30Z", datetime(2026, 11, 23, 10, 30, tzinfo=UTC)),
        ("2026-11-23T10:30+05:30", datetime(2026, 11, 23, 5, 0, tzinfo=UTC)),
        ("2026-11-23 9:30 +0530", datetime(2026, 11, 23, 4, 0, tzinfo=UTC)),
        ("2026-11-23 10:30 Asia/Seoul", datetime(2026, 11, 23, 1, 30, tzinfo=UTC)),
        ("2026-11-23 10:30 utc", datetime(2026, 11, 23, 10, 30, tzinfo=UTC)),
        ("2026-11-23 10:30:15-03", datetime(2026, 11, 23, 13, 30, 15, tzinfo=UTC)),
        ("2026-11-23 America/New_York", datetime(2026, 11, 23, 5, tzinfo=UTC)),
        ("2026-11-23T24:00Z", datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_a_word_that_names_an_instant_needs_no_zone(word, meant):
    assert parse(word) == parse(word, zone=NEW_YORK) == meant


@pytest.mark.parametrize("word", ["Today", " TODAY ", "tOdAy"])
def test_case_and_blanks_do_not_matter(word):
    assert parse(word) == parse("today")


@pytest.mark.parametrize("word", ["this week", "this-week", "this_week", "This  Week"])
def test_two_words_may_be_joined(word):
    assert parse(word) == at("2026-11-23")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("today UTC", datetime(2026, 11, 24, tzinfo=UTC)),
        ("today 1:00 UTC", datetime(2026, 11, 24, 1, tzinfo=UTC)),
        ("7:30+09:00", datetime(2026, 11, 24, 22, 30, tzinfo=UTC)),
        ("7:30 Asia/Seoul", datetime(2026, 11, 24, 22, 30, tzinfo=UTC)),
        ("7:30Z", datetime(2026, 11, 24, 7, 30, tzinfo=UTC)),
        ("tuesday America/New_York", datetime(2026, 11, 24, 5, tzinfo=UTC)),
    ],
)
def test_a_zone_in_the_text_says_which_day_it_is(word, meant):
    # it is the 25th in Seoul, and still the 24th in UTC
    assert parse(word, now="2026-11-25 08:00") == meant


def test_the_result_is_in_utc():
    assert all(parse(word).tzinfo is UTC for word in ("now", "today", "10:30", "boot", "@0"))


def test_just_after_midnight_today_has_just_begun():
    assert parse("today", now="2026-11-23 00:00:00") == at("2026-11-23")
    assert parse("monday", now="2026-11-23 00:00:01") == at("2026-11-23")
    assert parse("last-week", now="2026-11-23 00:00:01") == at("2026-11-16")
    assert parse("yesterday", now="2026-11-01 00:00:00") == at("2026-10-31")
    assert parse("this-month", now="2026-11-01 00:00:00") == at("2026-11-01")


def test_the_day_is_that_of_the_zone_not_of_utc():
    # 2026-11-23 23:30 UTC is the 24th in Seoul
    now = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    assert parse_time("today", now=now, zone=SEOUL, booted=BOOTED) == at("2026-11-24")
    assert parse_time("today", now=now, zone=NEW_YORK, booted=BOOTED) == at("2026-11-23", NEW_YORK)


@pytest.mark.parametrize(
    ("now", "word", "meant"),
    [
        ("2026-03-31 12:00", "1 month ago", "2026-02-28 12:00"),
        ("2024-03-31 12:00", "1 month ago", "2024-02-29 12:00"),
        ("2024-02-29 12:00", "1 year ago", "2023-02-28 12:00"),
        ("2026-01-01 00:30", "yesterday", "2025-12-31"),
        ("2026-12-31 23:59", "this-month", "2026-12-01"),
    ],
)
def test_months_and_years_end_where_the_calendar_says(now, word, meant):
    assert parse(word, now=now) == at(meant)


def test_a_day_of_23_hours_begins_at_its_midnight():
    assert parse("today", "2026-03-08 12:00", NEW_YORK) == datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert parse("today", "2026-03-09 12:00", NEW_YORK) == datetime(2026, 3, 9, 4, tzinfo=UTC)


def test_a_day_whose_midnight_does_not_exist_begins_at_its_first_instant():
    # clocks went from 00:00 to 01:00, at 03:00 UTC
    assert parse("today", "2018-11-04 12:00", SAO_PAULO) == datetime(2018, 11, 4, 3, tzinfo=UTC)


def test_hours_ago_are_elapsed_and_days_ago_keep_the_clock():
    now = "2026-03-08 12:00"  # clocks went forward at 02:00
    assert parse("24 hours ago", now, NEW_YORK) == at("2026-03-07 11:00", NEW_YORK)
    assert parse("1 day ago", now, NEW_YORK) == at("2026-03-07 12:00", NEW_YORK)


def test_an_hour_that_comes_twice_means_the_first():
    assert parse("2026-11-01T01:30", zone=NEW_YORK) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "word",
    [
        *(
            "",
            " ",
            "tomorrowish",
            "25:00",
            "24:01",
            "24:00:01",
            "9:5",
            "9:60",
            "this-week 9:00",
            "2026-02-30",
            "2026-13-01",
            "hours ago",
        ),
        *("-2 hours ago", "2 fortnights ago", "@", "@nan", "@inf", "@1e18", "@1e300", "@12a"),
        *("0001-01-01", "9999-12-31T23:59-10:00", "12:00 yesterday", "\x1b[31m"),
        *("10:30 KST", "today Asia", "today ../UTC", "10:30+99:00", "2026-13", "2026-W60"),
        *("..", "today..", "9999-12", "10:30 +09:00 UTC", "2m ago", "2026"),
    ],
)
def test_a_wrong_word_lists_what_is_understood(word):
    with pytest.raises(QueryError, match="is not understood") as caught:
        parse(word)
    for example in ("today", "monday..sunday", "this-month", "'2 hours ago'", "10:30", "@"):
        assert example in caught.value.remedy


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("yestarday", "yesterday"),
        ("Mondy", "monday"),
        ("last weak", "last-week"),
        ("yesterady", "yesterday"),
    ],
)
def test_a_wrong_word_is_told_what_is_near(word, near):
    with pytest.raises(QueryError, match=rf"did you mean '{near}'\? use one of: now"):
        parse(word)


def test_an_hour_that_is_left_out_is_as_much_later():
    # clocks went from 02:00 to 03:00, at 07:00 UTC
    meant = datetime(2026, 3, 8, 7, 30, tzinfo=UTC)
    assert parse("2026-03-08T02:30", zone=NEW_YORK) == meant
    assert parse("2:30", "2026-03-08 12:00", NEW_YORK) == meant
    assert parse("1 day ago", "2026-03-09 02:30", NEW_YORK) == meant


def test_hours_ago_are_elapsed_where_an_hour_comes_twice():
    now = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)  # the second 01:30
    parsed = parse_time("1 hour ago", now=now, zone=NEW_YORK, booted=BOOTED)
    assert parsed == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize("word", ["3000 years ago", "999999 weeks ago", "99999999 hours ago"])
def test_a_time_before_the_calendar_is_refused(word):
    with pytest.raises(QueryError):
        parse(word)


def test_this_machine_booted_before_now():
    assert booted() < utc_now()
    assert booted().tzinfo is UTC


# Periods


def period(word, now="2026-11-25 14:30:15", zone=SEOUL):
    return parse_period(word, now=at(now, zone), zone=zone, booted=BOOTED)


@pytest.mark.parametrize(
    ("word", "since", "until"),
    [
        ("today", "2026-11-25", "2026-11-26"),
        ("yesterday", "2026-11-24", "2026-11-25"),
        ("monday", "2026-11-23", "2026-11-24"),
        ("last-week", "2026-11-16", "2026-11-23"),
        ("this month", "2026-11-01", "2026-12-01"),
        ("last-month", "2026-10-01", "2026-11-01"),
        ("last-year", "2025-01-01", "2026-01-01"),
        ("2026-02", "2026-02-01", "2026-03-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2026-W48", "2026-11-23", "2026-11-30"),
        ("2026-11-23", "2026-11-23", "2026-11-24"),
        ("monday..wednesday", "2026-11-23", "2026-11-25"),
        ("9:00 .. 10:30", "2026-11-25 09:00", "2026-11-25 10:30"),
        ("2026-11-01..2026-11-08", "2026-11-01", "2026-11-08"),
        ("2 hours ago..now", "2026-11-25 12:30:15", "2026-11-25 14:30:15"),
        ("2026-11-25 UTC", "2026-11-25 09:00", "2026-11-26 09:00"),
    ],
)
def test_a_period_is_from_its_beginning_up_to_its_end(word, since, until):
    assert period(word) == (at(since), at(until))


def test_an_end_that_is_left_out_is_no_bound():
    assert period("monday..") == (at("2026-11-23"), None)
    assert period("..monday") == (None, at("2026-11-23"))


def test_days_on_which_clocks_are_set_are_periods_of_23_and_25_hours():
    for day, hours in (("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-02", 24)):
        since, until = period(day, zone=NEW_YORK)
        assert until - since == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("10:30", "'10:30' is a moment, no period"),
        ("now", "is a moment"),
        ("boot", "is a moment"),
        ("2 hours ago", "is a moment"),
        ("monday 9:00", "is a moment"),
        ("today..monday", "today is not before monday"),
        ("today..today", "is not before"),
        ("..", "is not understood"),
        ("a..b..c", "is not understood"),
        ("mondag", "did you mean 'monday'"),
        ("today..mondag", "time 'mondag' is not understood"),
    ],
)
def test_what_is_no_period_is_told(word, told):
    with pytest.raises(QueryError, match=told) as caught:
        period(word)
    assert caught.value.remedy


# Properties

NOWS = st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from(
    [
        *("UTC", "Asia/Seoul", "America/New_York", "Europe/Berlin", "America/Sao_Paulo"),
        *("Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu"),
    ]
).map(ZoneInfo)
PIECES = [*WORDS, "..", "10:30", "24:00", "ago", "2", "hours", "+09:00", "Z", "Asia/Seoul", "@"]
SAID = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map(" ".join)


@given(SAID, NOWS, ZONES)
def test_whatever_is_said_is_a_time_or_a_clear_error(text, now, zone):
    for parser in (parse_time, parse_period):
        try:
            found = parser(text, now=now, zone=zone, booted=BOOTED)
        except QueryError as error:
            assert error.remedy  # noqa: PT017
        else:
            ends = found if isinstance(found, tuple) else (found,)
            assert all(end is None or end.tzinfo is UTC for end in ends)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1), timezones=ZONES), NOWS, ZONES)
def test_iso_8601_is_read_as_it_is_written(moment, now, zone):
    for text in (moment.isoformat(), moment.isoformat(" "), f"@{moment.timestamp()!r}"):
        found = parse_time(text, now=now, zone=zone, booted=BOOTED)
        assert abs(found - moment) <= timedelta(microseconds=0 if text[0] != "@" else 1)


@given(NOWS, ZONES)
def test_periods_follow_each_other_without_gap_or_overlap(now, zone):
    def of(word):
        return parse_period(word, now=now, zone=zone, booted=BOOTED)

    assert of("yesterday")[1] == of("today")[0] <= now < of("today")[1] == of("tomorrow")[0]
    for unit in ("week", "month", "year"):
        last, this = of(f"last-{unit}"), of(f"this-{unit}")
        assert last[0] < last[1] == this[0] <= now < this[1]
    week = sorted((of(name) for name in WEEKDAYS), key=lambda day: day[0])
    assert week[-1] == of("today")
    assert all(day[1] == after[0] for day, after in pairwise(week))


@given(NOWS, ZONES, st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_is_what_the_clock_shows_then(now, zone, hour, minute):
    found = parse_time(f"{hour}:{minute:02}", now=now, zone=zone, booted=BOOTED)
    shown, today = found.astimezone(zone), now.astimezone(zone).date()
    said = datetime.combine(today, time(hour, minute))
    was_left_out = said.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    assert shown == was_left_out
    if was_left_out.replace(tzinfo=None) == said:
        assert (shown.date(), shown.hour, shown.minute, shown.fold) == (today, hour, minute, 0)
