r"""The forms in which a log is written down: one line -> what it says.

A form that writes a record a line has a function here, which takes the line apart or
gives None. Described in dmesg(1), journalctl(1), RFC 3164, RFC 5424 and the kernel's
``Documentation/ABI/testing/dev-kmsg``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from logtrace.record import decode_printed, decode_text, parse_kmsg

_USER_FACILITY = 1
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", "res0", "res1", "res2", "res3"),
    *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
_LEVELS = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_OBJECT_BYTES = 1 << 20
_SLACK = timedelta(days=1)  # a writer's clock may be ahead of the file's time


@dataclass
class Dating:
    """How stamps are read that lack a year or a zone.

    Parameters
    ----------
    zone
        The zone of stamps without one.
    latest
        When the log was last written to, UTC: a stamp without a year is of the latest
        year in which it is not behind this.
    year
        The year of stamps without one, in place of what `latest` says.
    assumed
        Filled while reading: ``"zone"``, and the years that were assumed.
    """

    zone: tzinfo = UTC
    latest: datetime = field(default_factory=lambda: datetime.now(UTC))
    year: int | None = None
    assumed: set[str] = field(default_factory=set)

    def local(self, *parts: int) -> datetime | None:
        """Give the UTC time of a stamp without zone; None if there is no such time."""
        try:
            at = datetime(*parts, tzinfo=self.zone).astimezone(UTC)  # type: ignore[arg-type,misc]
        except (ValueError, OverflowError):
            return None
        self.assumed.add("zone")
        return at

    def yearless(self, month: str, *rest: int) -> datetime | None:
        """Give the UTC time of a stamp without year and zone."""
        number = _month(month)
        if number is None:
            return None
        years = [self.year] if self.year else range(self.latest.year + 1, self.latest.year - 8, -1)
        for year in years:
            at = self.local(year, number, *rest)
            if at is not None and (self.year or at <= self.latest + _SLACK):
                self.assumed.add(str(year))
                return at
        return None


@dataclass(frozen=True)
class Line:
    """What a line says.

    Parameters
    ----------
    text
        The message.
    indent
        How many blanks the further lines of the record begin with.
    fields
        Other fields of `Record`.
    """

    text: str
    indent: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)


Parse = Callable[[bytes, Dating], Line | None]

_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
_DMESG = re.compile(
    rb"(?:<(?P<pri>\d{1,3})>|(?P<fac>[a-z0-9]+) *:(?P<level>[a-z]+) *: )?"
    rb"(?:\[(?:"
    rb" *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})(?: +<[ \d.,]+>)?"
    rb"|<[ \d.,]+>"
    rb"|(?P<ctime>[^\s\[\]]+ [^\s\[\]\d]+|[^\s\[\]]+ \d\d?\S+) +(?P<day>\d\d?)"
    rb" (?P<time>\d\d:\d\d:\d\d) (?P<year>\d{4})(?: <[ \d.,]+>)?"
    rb"|(?P<relmonth>[A-Z][a-z]{2}|[^\s\[\]:.]{3,12}?) ?(?P<relday>\d\d?) (?P<reltime>\d\d:\d\d)"
    rb"| +\+\d+[.,]\d{6}"
    rb")\](?:\[ *(?P<caller>[TC]\d+)\]| \[ +(?P<caller2>[TC]\d+)\])? ?"
    rb"|(?P<iso>" + _ISO + rb") )?"
    rb"(?P<text>.*)",
    re.DOTALL,
)
_SYSLOG = re.compile(
    rb"(?:<(?P<pri>\d{1,3})>)?(?P<v5424>1 )?"
    rb"(?:(?P<iso>" + _ISO.replace(b"[.,]", b"[.]") + rb")"
    rb"|(?P<month>[A-Z][a-z]{2}|\d\d?\xec\x9b\x94) +(?P<day>\d\d?)"
    rb" (?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{6}))?"
    rb"|[A-Z][a-z]{2} (?P<date>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d)"
    rb" (?P<zone>[A-Z]{2,5}|[+-]\d\d(?:\d\d)?)"
    rb"|(?P<unix>\d{9,11})\.(?P<unixusec>\d{6})"
    rb"|\[ *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})(?: +(?:<[ \d.]+[ *]>)?)?\])"
    rb" (?P<host>[A-Za-z0-9_.:-]{1,255})(?: (?P<fac>[a-z0-9]+)\.(?P<level>[a-z]+))?"
    rb" (?:(?P<tag>[^\s\[:]{1,200})(?:\[[^\]\s]{1,32}\])?: ?"
    rb"|(?P<app>kernel) \S+ \S+ (?:-|\[[^\]]*\]) )"
    rb"(?P<text>.*)",
    re.DOTALL,
)
_EMBEDDED = re.compile(
    rb"\[ *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})\](?:\[ *(?P<caller>[TC]\d+)\])? ?", re.DOTALL
)
_CSI = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
_OCTAL = re.compile(rb"#(0[0-3][0-7]|177)")
_PROMPT = re.compile(rb"[^\[\]]{0,200}(?:login: |[#$%>] ?)(?=\[ *\d{1,12}\.\d{6}\])")


def dmesg(line: bytes, dating: Dating) -> Line | None:
    """Take apart a line of ``dmesg`` in any of its time formats, or of a console."""
    if line.startswith(b"\x1b"):
        line = _CSI.sub(b"", line)
    elif prompt := _PROMPT.match(line):
        line = line[prompt.end() :]
    match = _DMESG.fullmatch(line)
    if not match or match.start("text") == 0:
        return None
    if match["fac"] and match["fac"].decode() not in _FACILITIES:
        return None
    fields: dict[str, Any] = _priority(match)
    fields |= _kernel_clock(match)
    caller = match["caller"] or match["caller2"]
    if caller:
        fields["caller"] = caller.decode()
    if match["iso"] and (at := _iso(match["iso"])) is None:
        return None
    if match["iso"]:
        fields |= {"at": at, "clock": "log"}
    elif match["ctime"]:
        month = _month(match["ctime"].split()[1].decode("utf-8", "replace"))
        if month is None:
            return Line(decode_printed(match["text"]), match.start("text"), fields)
        at = dating.local(int(match["year"]), month, int(match["day"]), *_numbers(match["time"]))
        fields |= _dated(at)
    elif match["relmonth"]:
        month_name = match["relmonth"].decode("utf-8", "replace")
        fields |= _dated(
            dating.yearless(month_name, int(match["relday"]), *_numbers(match["reltime"]))
        )
    return Line(decode_printed(match["text"]), match.start("text"), fields)


def syslog(line: bytes, dating: Dating) -> Line | None:
    """Take apart a line of a syslog file or of one of journalctl's short forms."""
    match = _SYSLOG.fullmatch(line)
    if not match or bool(match["v5424"]) != bool(match["app"]):
        return None
    fields: dict[str, Any] = {"host": match["host"].decode()} | _priority(match)
    fields |= _kernel_clock(match) | _dated(_syslog_time(match, dating))
    if (match["tag"] or match["app"]) != b"kernel":
        fields["facility"] = fields.get("facility") or _USER_FACILITY
    text = match["text"]
    if not match["seconds"] and (embedded := _EMBEDDED.match(text)):
        fields |= _kernel_clock(embedded)
        if embedded["caller"]:
            fields["caller"] = embedded["caller"].decode()
        text = text[embedded.end() :]
    text = _OCTAL.sub(lambda octal: bytes((int(octal[1], 8),)), text)
    return Line(decode_text(text), match.start("text"), fields)


def kmsg(line: bytes, dating: Dating) -> Line | None:
    """Take apart a record of ``/dev/kmsg`` that was written to a file."""
    try:
        record = parse_kmsg(line + b"\n")
    except ValueError:
        return None
    names = ("usec", "facility", "level", "caller", "flags", "truncated")
    return Line(record.text, 0, {name: getattr(record, name) for name in names})


def json_line(line: bytes, dating: Dating) -> Line | None:
    """Take apart an object of ``journalctl -o json`` or ``dmesg --json`` on one line."""
    start = line.lstrip(b"\x1e").removeprefix(b"data: ")
    if not start.startswith(b"{"):
        return None
    try:
        # bytes that are no UTF-8 stay as they are in a string
        entry = json.loads(start.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    if "msg" in entry and "time" in entry:
        return _of_dmesg(entry)
    return _of_journal(entry) if "MESSAGE" in entry else None


def _of_dmesg(entry: Mapping[str, Any]) -> Line | None:
    fields: dict[str, Any] = {}
    pri, seconds = entry.get("pri"), entry["time"]
    if isinstance(pri, int):
        fields |= {"facility": pri >> 3, "level": pri & 7}
    elif pri in _LEVELS and entry.get("fac") in _FACILITIES:
        fields |= {"facility": _FACILITIES.index(entry["fac"]), "level": _LEVELS.index(pri)}
    if isinstance(seconds, int | float) and 0 <= seconds < 10**12:
        fields["usec"] = round(seconds * 1_000_000)
    if isinstance(entry.get("caller"), str):
        fields["caller"] = entry["caller"].strip()
    return Line(_plain(entry["msg"]), 0, fields) if isinstance(entry["msg"], str) else None


def _of_journal(entry: Mapping[str, Any]) -> Line | None:
    message = entry["MESSAGE"]
    if isinstance(message, list):
        if not all(isinstance(byte, int) and 0 <= byte < 256 for byte in message):
            return None
        message = bytes(message).decode("utf-8", "surrogateescape")
    if not isinstance(message, str):
        return None
    kernel = entry.get("_TRANSPORT") == "kernel"
    facility = _integer(entry.get("SYSLOG_FACILITY"))
    fields: dict[str, Any] = {
        "facility": facility if kernel else facility or _USER_FACILITY,
        "level": _integer(entry.get("PRIORITY")),
        "usec": _integer(entry.get("_SOURCE_MONOTONIC_TIMESTAMP")),
    }
    realtime = _integer(entry.get("__REALTIME_TIMESTAMP"))
    if realtime is not None:
        fields |= _dated(_since_epoch(realtime))
    if isinstance(entry.get("_HOSTNAME"), str):
        fields["host"] = entry["_HOSTNAME"]
    if boot := boot_id_of(entry.get("_BOOT_ID")):
        fields["boot_id"] = boot
    return Line(_plain(message), 0, fields)


class Objects:
    """Join the lines of a JSON object that is printed over several lines."""

    def __init__(self) -> None:
        self._lines: list[bytes] | None = None
        self._room = 0

    def join(self, line: bytes) -> bytes | None:
        """Take a line; give the object that is complete with it."""
        bare = line.strip()
        ended = None
        if bare.startswith(b"}") and self._lines is not None:
            ended, self._lines = b"{" + b" ".join(self._lines) + b"}", None
        if bare.endswith(b"{"):
            self._lines, self._room = [], _OBJECT_BYTES
        elif self._lines is not None:
            self._room -= len(bare) + 1
            self._lines.append(bare)
            if self._room <= 0:
                self._lines = None
        elif ended is None and bare.endswith(b"}"):
            return line
        return ended


FORMS: Mapping[str, Parse] = {
    "kmsg": kmsg,
    "json": json_line,
    "syslog": syslog,
    "dmesg": dmesg,
}
"""The forms by name; of two that read as many lines, the first is taken."""


def recognise(lines: Iterable[bytes]) -> str | None:
    """Name the form of a log.

    Parameters
    ----------
    lines
        Its first lines.

    Returns
    -------
    str or None
        The form that reads most of them; None if no form reads any.
    """
    dating, objects = Dating(), Objects()
    read = dict.fromkeys(FORMS, 0)
    for line in lines:
        for name, parse in FORMS.items():
            whole = objects.join(line) if name == "json" else line
            read[name] += whole is not None and parse(whole, dating) is not None
    best = max(read, key=lambda name: read[name])
    return best if read[best] else None


def boot_id_of(value: object) -> str | None:
    """Write a boot id as the kernel does; None if it is none."""
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _priority(match: re.Match[bytes]) -> dict[str, Any]:
    if match["pri"]:
        return {"facility": int(match["pri"]) >> 3, "level": int(match["pri"]) & 7}
    if match["fac"]:
        facility, level = match["fac"].decode(), match["level"].decode()
        if facility in _FACILITIES and level in _LEVELS:
            return {"facility": _FACILITIES.index(facility), "level": _LEVELS.index(level)}
    return {}


def _kernel_clock(match: re.Match[bytes]) -> dict[str, Any]:
    if not match["seconds"]:
        return {}
    return {"usec": int(match["seconds"]) * 1_000_000 + int(match["usec"])}


def _syslog_time(match: re.Match[bytes], dating: Dating) -> datetime | None:
    if match["iso"]:
        return _iso(match["iso"])
    if match["month"]:
        fraction = int(match["fraction"] or 0)
        month = match["month"].decode("utf-8", "replace")
        return dating.yearless(month, int(match["day"]), *_numbers(match["time"]), fraction)
    if match["unix"]:
        return _since_epoch(int(match["unix"]) * 1_000_000 + int(match["unixusec"]))
    if match["date"]:
        if match["zone"] in (b"UTC", b"GMT"):
            return _iso(match["date"] + b"T" + match["clock"] + b"Z")
        if match["zone"][:1] in b"+-":
            offset = match["zone"].ljust(5, b"0")
            return _iso(match["date"] + b"T" + match["clock"] + offset)
        year, month_number, day = map(int, match["date"].split(b"-"))
        return dating.local(year, month_number, day, *_numbers(match["clock"]))
    return None


def _iso(stamp: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp.decode().replace(",", ".")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _since_epoch(usec: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=usec)
    except OverflowError:
        return None


def _dated(at: datetime | None) -> dict[str, Any]:
    return {} if at is None else {"at": at, "clock": "log"}


def _numbers(time: bytes) -> list[int]:
    return [int(number) for number in time.split(b":")]


# English, or as Korean and Japanese locales write it; other languages' are not known
def _month(name: str) -> int | None:
    if name in _MONTHS:
        return _MONTHS.index(name) + 1
    digits = name.rstrip("월月")
    return int(digits) if digits != name and digits.isascii() and digits.isdigit() else None


def _integer(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None


# A string of JSON may also name halves of characters
def _plain(text: str) -> str:
    try:
        return decode_text(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
