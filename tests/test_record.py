from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace.record import Record, parse_bare, parse_kmsg, parse_line, printable

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def kernel_escape(text: bytes) -> bytes:
    """Escape as msg_print_ext_body() in the kernel's printk.c does."""
    return b"".join(
        b"\\x%02x" % byte if byte < 0x20 or byte >= 0x7F or byte == ord("\\") else bytes([byte])
        for byte in text
    )


def kmsg(text: bytes, header: bytes = b"6,1042,33047244330,-") -> bytes:
    return header + b";" + kernel_escape(text) + b"\n"


def line(text: bytes) -> Record | None:
    return parse_line(text, source="log@0", seq=17)


def test_a_record_of_dev_kmsg_is_taken_apart():
    assert parse_kmsg(
        b"6,1042,33047244330,-;OS Assignment2 ftrace [47283] Start\n",
        boot_id="b1",
        at=AT,
        clock="received",
    ) == Record(
        source="kmsg",
        boot_id="b1",
        seq=1042,
        usec=33047244330,
        facility=0,
        level=6,
        caller=None,
        text="OS Assignment2 ftrace [47283] Start",
        at=AT,
        clock="received",
        flags="-",
        dictionary={},
        truncated=False,
    )


def test_lines_behind_the_text_are_its_dictionary():
    record = parse_kmsg(
        b"6,614,5690000,-;ata1.00: ATA-9\n SUBSYSTEM=scsi\n DEVICE=+scsi:1:0\\x0a0\n"
    )
    assert record.text == "ata1.00: ATA-9"
    assert record.dictionary == {"SUBSYSTEM": "scsi", "DEVICE": "+scsi:1:0\n0"}
    assert not record.truncated


def test_a_text_that_looks_like_a_dictionary_stays_text():
    assert parse_kmsg(b"6,1,2,-; SUBSYSTEM=x\n").text == " SUBSYSTEM=x"


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        (b"6,1,2,-", None),
        (b"6,1,2,-,caller=T4321", "T4321"),
        (b"6,1,2,-,caller=C0", "C0"),
        (b"6,1,2,-,new=1,caller=T7,newer", "T7"),
        (b"6,1,2,-,new,newer=2", None),
    ],
)
def test_the_caller_is_found_among_unknown_header_fields(header, caller):
    record = parse_kmsg(header + b";text; with a semicolon, and commas\n")
    assert record.caller == caller
    assert record.text == "text; with a semicolon, and commas"


@pytest.mark.parametrize(
    ("priority", "facility", "level", "from_kernel"),
    [(b"6", 0, 6, True), (b"3", 0, 3, True), (b"14", 1, 6, False), (b"30", 3, 6, False)],
)
def test_only_facility_0_is_from_the_kernel(priority, facility, level, from_kernel):
    record = parse_kmsg(priority + b",1,2,-;text\n")
    assert (record.facility, record.level, record.from_kernel) == (facility, level, from_kernel)


def test_the_flag_of_a_continued_record_is_kept():
    assert parse_kmsg(b"6,1,2,c;half a line\n").flags == "c"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"caf\xc3\xa9", "café"),
        (rb"read \xe2\x80\x93 20", "read \u2013 20"),
        (rb"a\x0a[    9.000000] b", "a\n[    9.000000] b"),
        (rb"a\x5cx0ab", r"a\x0ab"),
        (rb"\x1b[31mred\x7f", "\x1b[31mred\x7f"),
        (rb"bad \xff\xfe bytes", r"bad \xff\xfe bytes"),
        (rb"\x00", "\0"),
    ],
)
def test_escapes_become_bytes_and_then_utf8(raw, text):
    record = parse_kmsg(b"6,1,2,-;" + raw + b"\n")
    assert record.text == text
    assert not record.truncated


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"6,1,2,-;no newline", "no newline"),
        (b"6,1,2,-;", ""),
        (b"6,1,2,-;cut in an escape \\", "cut in an escape \\"),
        (b"6,1,2,-;cut in an escape \\x", "cut in an escape \\x"),
        (b"6,1,2,-;cut in an escape \\x0\n", "cut in an escape \\x0"),
        (rb"6,1,2,-;cut in a character \xe2\x80", r"cut in a character \xe2\x80"),
    ],
)
def test_a_record_that_is_cut_is_marked(raw, text):
    record = parse_kmsg(raw)
    assert record.text == text
    assert record.truncated


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"no header",
        b"6,1,2;too few fields\n",
        b"six,1,2,-;text\n",
        b"6,-1,2,-;negative number\n",
        b"6,1_0,2,-;underscore\n",
        b" 6,1,2,-;blank\n",
        b"6,1,2,-\n;semicolon on the next line",
        b"6,99999999999999999999,2,-;a number beyond 64 bits\n",
    ],
)
def test_what_is_no_record_is_refused(raw):
    with pytest.raises(ValueError, match="not a record of /dev/kmsg"):
        parse_kmsg(raw)


def test_a_record_is_the_same_however_it_is_read():
    """Captured on Debian 12: one record as /dev/kmsg and dmesg in two locales showed it."""
    raw = rb"14,490,19758777,-;a\x5cx0ab\x5cx5c\xc3\xa9 \xff [x] \x1b[1m tab\x09here" + b"\n"
    utf8 = b"[   19.758777] a\\x0ab\\x5c\303\251 \\xff [x] \\x1b[1m tab\there"
    c_locale = b"[   19.758777] a\\x0ab\\x5c\\xc3\\xa9 \\xff [x] \\x1b[1m tab\there"
    assert kernel_escape(b"a\\x0ab\\x5c\303\251 \377 [x] \033[1m tab\there") == raw[18:-1]
    shown = {printable(record.text) for record in (parse_kmsg(raw), line(utf8), line(c_locale))}
    assert shown == {r"a\x0ab\x5cé \xff [x] \x1b[1m tab\x09here"}


@given(st.text(st.characters(codec="utf-8")))
def test_what_the_kernel_escapes_is_read_back(text):
    record = parse_kmsg(kmsg(text.encode()))
    assert record.text == text
    assert record.dictionary == {}
    assert not record.truncated


@given(
    st.text(st.characters(codec="ascii", exclude_characters="\\"), max_size=200),
    st.integers(0, 900),
)
def test_a_record_cut_anywhere_gives_the_beginning_of_its_text(text, kept):
    whole = kmsg(text.encode())
    body = whole.index(b";") + 1
    record = parse_kmsg(whole[: body + kept])
    before_the_cut_escape = record.text.partition("\\")[0]
    assert record.truncated == (body + kept < len(whole))
    assert text.startswith(before_the_cut_escape)
    assert len(before_the_cut_escape) >= min(len(text), kept // 4)


@given(st.one_of(st.binary(), st.binary().map(lambda body: b"6,1,2,-;" + body)))
def test_any_bytes_are_a_record_or_a_value_error(raw):
    try:
        record = parse_kmsg(raw)
    except ValueError:
        return
    record.text.encode()
    assert parse_kmsg(raw) == record


@pytest.mark.parametrize(
    ("text", "usec", "caller", "message"),
    [
        (b"[33047.244330] OS Assignment2", 33047244330, None, "OS Assignment2"),
        (b"[    0.000000] Linux version", 0, None, "Linux version"),
        (b"[12345678.000001] up for long", 12345678000001, None, "up for long"),
        (b"[   97.449130][ T2130] text", 97449130, "T2130", "text"),
        (b"[   97.449130][    C0] text", 97449130, "C0", "text"),
        (b"[   97.449130] [2021202045] test", 97449130, None, "[2021202045] test"),
        (b"[   97.449130] [T2130] no caller", 97449130, None, "[T2130] no caller"),
        (b"[   97.449130]  leading blank", 97449130, None, " leading blank"),
        (b"[   97.449130] ", 97449130, None, ""),
        (b"[   97.449130]", 97449130, None, ""),
        (b"[   97.449130] one\n           two", 97449130, None, "one\n           two"),
    ],
)
def test_a_line_of_dmesg_is_taken_apart(text, usec, caller, message):
    assert line(text) == Record("log@0", None, 17, usec, None, None, caller, message)


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        (b"2026-03-01T12:00:00,250000+00:00", AT.replace(microsecond=250000)),
        (b"2026-03-01T21:00:00,000001+09:00", AT.replace(microsecond=1)),
        (b"2026-03-01T12:00:00.000001Z", AT.replace(microsecond=1)),
        (b"2026-03-01T07:00:00,000000-0500", AT),
    ],
)
def test_an_iso_stamp_is_a_time_in_utc(stamp, at):
    record = line(stamp + b" text")
    assert (record.at, record.clock, record.usec, record.text) == (at, "boot", None, "text")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"                ",
        b"a text without a stamp",
        b" [   97.449130] indented: it goes on with the record before",
        b"[Sun Mar  1 12:00:00 2026] no microseconds",
        b"2026-02-30T12:00:00,000000+00:00 no such day",
        b"2026-03-01T12:00:00,000000+99:00 no such zone",
        b"[99999999999999999999.000000] no such time",
    ],
)
def test_a_line_without_a_stamp_is_no_record(text):
    assert line(text) is None


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (rb"read \xe2\x80\x93 20", "read \u2013 20"),
        (rb"caf\xc3\xa9 \xed\x95\x9c", "café 한"),
        (b"caf\xc3\xa9", "café"),
        (rb"\x1b[31m \x5cx0a", r"\x1b[31m \x5cx0a"),
        (rb"\xff\xc3\xa9", r"\xffé"),
        (b"\xff\xc3\xa9", r"\xffé"),
    ],
)
def test_dmesg_of_the_c_locale_and_of_utf8_give_the_same_text(shown, text):
    assert line(b"[    1.000000] " + shown).text == text
    assert parse_bare(shown, source="log@0", seq=0).text == text


@given(st.binary())
def test_any_line_is_a_record_or_none(text):
    for record in (line(text), line(b"[    1.000000] " + text)):
        assert record is None or record.text.encode() is not None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc.txt", "abc.txt"),
        ("한글 café", "한글 café"),
        ("a\nb\tc\x1b[0m\x7f", r"a\x0ab\x09c\x1b[0m\x7f"),
        ("left\u202eright", r"left\xe2\x80\xaeright"),
        ("c1\x85control", r"c1\xc2\x85control"),
        ("a path\udcff", r"a path\xff"),
        ("lone \ud800", r"lone \xed\xa0\x80"),
        (r"already \x0a", r"already \x0a"),
    ],
)
def test_what_could_harm_a_terminal_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_printable_text_is_printable_and_stays_as_it_is(text):
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
