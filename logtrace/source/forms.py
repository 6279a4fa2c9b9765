r"""The forms in which a log is written down: one line -> what it says.

A form that writes a record a line has a function here, which takes the line apart or
gives None; `journal_text` has the forms in which a record is an entry of the journal.
Described in dmesg(1), journalctl(1), RFC 3164, RFC 5424 and the kernel's
``Documentation/ABI/testing/dev-kmsg``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from logtrace.record import decode_printed, decode_text, parse_kmsg
from logtrace.source.dating import Dating as Dating
from logtrace.source.dating import dated, month_number, since_epoch
from logtrace.source.journal_text import begins_entry, is_export, of_entry, plain

_USER_FACILITY = 1
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", "res0", "res1", "res2", "res3"),
    *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
_LEVELS = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"]
HEAD_LINES = 100
"""So many lines at the beginning of a log tell its form."""

_OBJECT_BYTES = 1 << 20
_PROMPT_BYTES = 400


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
_DMESG_PRIORITY = re.compile(
    rb"(?:<(?P<pri>\d{1,3})>|(?P<fac>[a-z0-9]{1,8}) *:(?P<level>[a-z]{1,6}) *: )?"
)
_DMESG_STAMP = re.compile(
    rb"(?P<kernel>\[ *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})(?: +<[ \d.,]+>)?\])"
    rb"|(?P<delta>\[(?:<[ \d.,]+>| +\+\d+[.,]\d{6})\])"
    rb"|(?P<ctime>\[(?:[^\s\[\]]+ (?P<month>[^\s\[\]\d]+|\d\d?[^\s\[\]\d]+)) +(?P<day>\d\d?)"
    rb" (?P<time>\d\d:\d\d:\d\d) (?P<year>\d{4})(?: <[ \d.,]+>)?\])"
    rb"|(?P<reltime>\[(?P<relmonth>[A-Z][a-z]{2}|[^\s\[\]:.]{3,12}?) ?(?P<relday>\d\d?)"
    rb" (?P<minute>\d\d:\d\d)\])"
    rb"|(?P<iso>" + _ISO + rb")(?= )"
)
_DMESG_CALLER = re.compile(rb"(?:\[ *(?P<caller>[TC]\d+)\]| \[ +(?P<caller2>[TC]\d+)\])? ?")
_SYSLOG = re.compile(
    rb"(?:<(?P<pri>\d{1,3})>)?(?P<v5424>1 )?"
    rb"(?:(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)"
    rb"|(?P<month>[A-Z][a-z]{2}|\d\d?\xec\x9b\x94) +(?P<day>\d\d?)"
    rb" (?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{6}))?"
    rb"|[A-Z][a-z]{2} (?P<date>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d(?:\.\d{6})?)"
    rb" (?P<zone>[A-Z]{2,5}|[+-]\d\d(?:\d\d)?)"
    rb"|(?P<unix>\d{9,11})\.(?P<unixusec>\d{6})"
    rb"|\[ *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})(?: +(?:<[ \d.]+[ *]>)?)?\])"
    rb"(?: (?P<host>[^\s\[\]]{0,254}[^\s\[\]:]))?(?(v5424)"
    rb" (?P<app>\S{1,48}) \S{1,128} \S{1,32} (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) {0,2}(?:\xef\xbb\xbf)?"
    rb"|(?: (?P<fac>[a-z0-9]+)\.(?P<level>[a-z]+))?"
    rb" (?P<tag>[^\s\[:]{1,200})(?:\[[^\]\s]{1,32}\])?: ?)"
    rb"(?P<text>.*)",
    re.DOTALL,
)
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,240}")
_EMBEDDED = re.compile(
    rb"\[ *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})\](?:\[ *(?P<caller>[TC]\d+)\])? ?", re.DOTALL
)
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78cM])"
)
_COLOURED = re.compile(rb"(?:[a-z0-9]{1,8} *:[a-z]{1,6} *: )?\r*\x1b")
_OCTAL = re.compile(rb"#(0[0-3][0-7]|177)")
_KERNEL_STAMP = re.compile(rb"\[ *\d{1,12}\.\d{6}\]")
_PROMPT = re.compile(rb"(?:login: |assword: ?|[#$%>] ?)")
_MAY_HAVE_FORM = re.compile(
    rb"[\[<{\x1e\x1b\r\d_]|data: |[A-Z][a-z]{2} |[a-z0-9]{1,8} *:[a-z]{1,6} *: "
    rb"|[^\n]{1,400}?\[ *\d{1,12}\.\d{6}\]"
)


def dmesg(line: bytes, dating: Dating) -> Line | None:
    """Take apart a line of ``dmesg`` in any of its time formats, or of a console."""
    if _COLOURED.match(line):
        line = _ESCAPES.sub(b"", line)
    line = line.lstrip(b"\r")
    return _dmesg(line, dating) or _dmesg(_behind_prompt(line), dating)


def _dmesg(line: bytes, dating: Dating) -> Line | None:
    priority = _DMESG_PRIORITY.match(line)
    assert priority is not None
    if priority["fac"] and priority["fac"].decode() not in _FACILITIES:
        return None
    fields: dict[str, Any] = _priority(priority)
    start = end = priority.end()
    kinds: set[str | None] = set()
    # newer ones print the formats that they were asked for one behind the other, each once
    while stamp := _DMESG_STAMP.match(line, end + (bool(kinds) and line[end : end + 1] == b" ")):
        if stamp.lastgroup in kinds or (times := _dmesg_times(stamp, dating)) is None:
            break
        kinds.add(stamp.lastgroup)
        fields |= times
        start, end = stamp.span()
    if end == 0:
        return None
    caller = _DMESG_CALLER.match(line, end) if kinds else None
    if caller and (name := caller["caller"] or caller["caller2"]):
        fields["caller"] = name.decode()
    # further lines of the record are indented by the last stamp only
    indent = priority.end() + (end + 1 - start if kinds else 0)
    return Line(decode_printed(line[caller.end() if caller else end :]), indent, fields)


def _dmesg_times(stamp: re.Match[bytes], dating: Dating) -> dict[str, Any] | None:
    if stamp["kernel"]:
        return _kernel_clock(stamp)
    if stamp["iso"]:
        at = dating.iso(stamp["iso"])
        return None if at is None else dated(at, "boot")
    if stamp["ctime"]:
        month = month_number(stamp["month"].decode("utf-8", "replace"))
        parts = int(stamp["day"]), *_numbers(stamp["time"])
        at = None if month is None else dating.local(int(stamp["year"]), month, *parts)
        return dated(at, "boot")
    if stamp["reltime"]:
        month_name = stamp["relmonth"].decode("utf-8", "replace")
        parts = int(stamp["relday"]), *_numbers(stamp["minute"])
        return dated(dating.yearless(month_name, *parts), "boot")
    return {}


# What the kernel said on a console behind a shell's prompt, or the getty's.
def _behind_prompt(line: bytes) -> bytes:
    stamp = None if line[:1] in b" \t" else _KERNEL_STAMP.search(line, 1, _PROMPT_BYTES)
    return line[stamp.start() :] if stamp and _PROMPT.search(line, 0, stamp.start()) else b""


def syslog(line: bytes, dating: Dating) -> Line | None:
    """Take apart a line of a syslog file or of one of journalctl's short forms."""
    match = _SYSLOG.fullmatch(line)
    if not match:
        return None
    fields: dict[str, Any] = _priority(match)
    if host := host_of((match["host"] or b"").decode("utf-8", "replace")):
        fields["host"] = host
    fields |= _kernel_clock(match) | dated(_syslog_time(match, dating), "log")
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


@lru_cache(1000)
def host_of(name: str) -> str | None:
    """Give the name of a machine as a log has it; None if it can be none.

    Tables are kept in a folder of that name, where a colon takes three bytes.
    """
    if name == "-" or not _HOST.fullmatch(name):
        return None
    return name if len(name) + 2 * (name.count(":") + name.count("%")) <= 240 else None


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
    return journal_entry(entry)


def journal_entry(entry: Mapping[str, Any]) -> Line | None:
    """Say what an entry of the journal says; None if it has no message."""
    fields = of_entry(entry)
    if fields is None:
        return None
    if host := host_of(fields.pop("host", "")):
        fields["host"] = host
    return Line(fields.pop("text"), 0, fields)


def verbose(line: bytes, dating: Dating) -> Line | None:
    """Take apart the first line of an entry of ``journalctl -o verbose``."""
    return Line("") if begins_entry(line) else None


def export(line: bytes, dating: Dating) -> Line | None:
    """Take apart the first line of an entry of ``journalctl -o export``."""
    return Line("") if is_export(line) else None


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
    return Line(plain(entry["msg"]), 0, fields) if isinstance(entry["msg"], str) else None


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
    "verbose": verbose,
    "export": export,
}
"""The forms by name; of two that read as many lines, the first is taken. What is given for those
whose records are entries of several lines says only that one begins."""


class Recogniser:
    """Recognise the form of a log by its first lines, each as it comes.

    What was found is a matter of the lines alone, and not of how many of them were there when
    a log was looked at: so a log that is followed is read the same after a restart.
    """

    def __init__(self) -> None:
        self.form: str | None = None
        """The form that reads most of the lines so far; None if no form reads any."""
        self._left = HEAD_LINES
        self._dating, self._objects = Dating(), Objects()
        self._read = dict.fromkeys(FORMS, 0)
        self._monotonic = _Monotonic()

    @property
    def is_settled(self) -> bool:
        """Whether further lines change nothing."""
        return self._left <= 0 and self.form is not None

    def take(self, line: bytes) -> None:
        """Take the next line, without its end; blank ones count for nothing."""
        if not line.strip():
            return
        if self._left <= 0:
            self.form = self.form or form_of(line)
            return
        self._left -= 1
        for name, parse in FORMS.items():
            whole = self._objects.join(line) if name == "json" else line
            self._read[name] += whole is not None and parse(whole, self._dating) is not None
        self._monotonic.take(line)
        self.form = self._best()

    def _best(self) -> str | None:
        read = self._read
        best = max(read, key=lambda name: read[name])
        if best == "syslog" and read["dmesg"] == read["syslog"] and self._monotonic.is_dmesg:
            return "dmesg"
        return best if read[best] else None


# A message may begin like the host and tag of ``journalctl -o short-monotonic``: that has one
# host, and the kernel among its tags.
class _Monotonic:
    def __init__(self) -> None:
        self._hosts: set[bytes | None] = set()
        self._tags: set[bytes | None] = set()

    def take(self, line: bytes) -> None:
        match = _SYSLOG.fullmatch(line)
        if match and match["seconds"]:
            self._hosts.add(match["host"])
            self._tags.add(match["tag"])

    @property
    def is_dmesg(self) -> bool:
        return bool(self._tags) and (b"kernel" not in self._tags or len(self._hosts) > 1)


def recognise(lines: Iterable[bytes]) -> str | None:
    """Name the form of a log.

    Parameters
    ----------
    lines
        Its first lines, of which `HEAD_LINES` are looked at.

    Returns
    -------
    str or None
        The form that reads most of them; None if no form reads any.
    """
    recogniser = Recogniser()
    for line in islice(lines, HEAD_LINES):
        recogniser.take(line)
    return recogniser.form


def form_of(line: bytes) -> str | None:
    """Name the form of a line by itself; one with the kernel's stamp is of ``dmesg``."""
    if not _MAY_HAVE_FORM.match(line):
        return None
    if line.startswith(b"[") and dmesg(line, Dating()) is not None:
        return "dmesg"
    return recognise([line])


def not_followed(lines: Iterable[bytes]) -> str | None:
    """Name the form of a log that can't be followed, only imported.

    Its records take several lines that are alike in all of them, so none of them, and no file
    with them, could be known again when it was rotated or the watch started anew.

    Parameters
    ----------
    lines
        Its first lines.

    Returns
    -------
    str or None
        None if it can be followed.
    """
    for line in lines:
        if line.strip() == b"{":
            return "JSON over several lines, as of dmesg --json or journalctl -o json-pretty"
        if form := form_of(line):
            return "journalctl -o export" if form == "export" else None
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
        return dating.iso(match["iso"])
    if match["month"]:
        fraction = int(match["fraction"] or 0)
        month = match["month"].decode("utf-8", "replace")
        return dating.yearless(month, int(match["day"]), *_numbers(match["time"]), fraction)
    if match["unix"]:
        return since_epoch(int(match["unix"]) * 1_000_000 + int(match["unixusec"]))
    if match["date"]:
        zone = {b"UTC": b"Z", b"GMT": b"Z"}.get(match["zone"], match["zone"])
        known = zone.ljust(5, b"0") if zone[:1] in b"+-" else zone if zone == b"Z" else b""
        return dating.iso(match["date"] + b"T" + match["clock"] + known)
    return None


def _numbers(time: bytes) -> list[int]:
    return [int(number) for number in time.split(b":")]
