from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from logtrace.errors import QueryError
from logtrace.when import booted, parse_time, utc_now

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
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
        ("this-week", "2026-11-23"),
        ("last-week", "2026-11-16"),
        ("this-month", "2026-11-01"),
        ("2 hours ago", "2026-11-25 12:30:15"),
        ("1 hour ago", "2026-11-25 13:30:15"),
        ("90 seconds ago", "2026-11-25 14:28:45"),
        ("45 minutes ago", "2026-11-25 13:45:15"),
        ("3 days ago", "2026-11-22 14:30:15"),
        ("1 week ago", "2026-11-18 14:30:15"),
        ("1 month ago", "2026-10-25 14:30:15"),
        ("1 year ago", "2025-11-25 14:30:15"),
        ("10:30", "2026-11-25 10:30"),
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
        *("", " ", "tomorrowish", "25:00", "24:00", "9:5", "2026-02-30", "2026-13-01", "hours ago"),
        *("-2 hours ago", "2 fortnights ago", "@", "@nan", "@inf", "@1e18", "@1e300", "@12a"),
        *("0001-01-01", "9999-12-31T23:59-10:00", "12:00 yesterday", "\x1b[31m"),
    ],
)
def test_a_wrong_word_lists_what_is_understood(word):
    with pytest.raises(QueryError, match="is not understood") as caught:
        parse(word)
    for example in ("today", "monday..sunday", "this-month", "'2 hours ago'", "10:30", "@"):
        assert example in caught.value.remedy


@pytest.mark.parametrize("word", ["3000 years ago", "999999 weeks ago", "99999999 hours ago"])
def test_a_time_before_the_calendar_is_refused(word):
    with pytest.raises(QueryError):
        parse(word)


def test_this_machine_booted_before_now():
    assert booted() < utc_now()
    assert booted().tzinfo is UTC
