from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from logtrace import display


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**63 - 1, "8.0 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_are_written_in_the_unit_that_suits(number, text):
    assert display.bytes_text(number) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (71, "71 µs"),
        (1500, "1.5 ms"),
        (1_250_000, "1.250 s"),
        (61_000_000, "1 min 1 s"),
        (7_500_000_000, "2 h 5 min"),
    ],
)
def test_durations_are_written_in_the_unit_that_suits(us, text):
    assert display.duration_text(us) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (81_234, "81.2 µs"),
        (1_500_000, "1.5 ms"),
        (2 * 10**9, "2.000 s"),
    ],
)
def test_nanoseconds_are_written_in_the_unit_that_suits(ns, text):
    assert display.nanoseconds_text(ns) == text


def test_times_are_shown_in_the_zone_and_the_exact_form_names_it():
    moment = datetime(2026, 11, 22, 15, 0, 0, 125, tzinfo=UTC)
    assert display.time_text(moment, ZoneInfo("Asia/Seoul")) == "2026-11-23 00:00:00"
    exact = display.exact_time_text(moment, ZoneInfo("Asia/Seoul"))
    assert exact == "2026-11-23 00:00:00.000125 +09:00 (KST)"


def test_the_kernel_clock_is_written_as_dmesg_writes_it():
    assert display.clock_text(33047244330) == "33047.244330"
    assert display.clock_text(5) == "0.000005"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc.txt", "abc.txt"),
        ("한글 é.txt", "한글 é.txt"),
        ("a\x1b[31m\n", "a\\x1b[31m\\x0a"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb\udc80", "a\\u200bb\\udc80"),
    ],
)
def test_characters_that_can_not_be_seen_are_shown_as_escapes(text, shown):
    assert display.visible(text) == shown
