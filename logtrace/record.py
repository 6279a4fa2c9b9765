r"""Bytes of one record of the kernel's log -> `Record`.

Two forms are read: what one read of ``/dev/kmsg`` gives, described in the kernel's
``Documentation/ABI/testing/dev-kmsg``, and a line that ``dmesg`` has printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_KERNEL_FACILITY = 0
FIRST_MESSAGE = "Linux version "
"""How what a kernel says first begins."""

_BACK_US = 1_000_000  # processors' clocks may differ by less
# What begins the lines of a processor without interrupts, whose clock may stand still meanwhile
_HELD_UP = re.compile(r"NMI backtrace for cpu |.{0,40}Watchdog detected hard LOCKUP on cpu ")
_KMSG_HEADER = re.compile(
    rb"(?P<priority>\d{1,10}),(?P<seq>\d{1,18}),(?P<usec>\d{1,18}),(?P<flags>[^,;\n]*)"
    rb"(?P<more>[^;\n]*);"
)
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
_ESCAPED_NON_ASCII = re.compile(r"(?:\\x[89a-fA-F][0-9a-fA-F])+")
_CUT_ESCAPE = re.compile(rb"\\(?:x[0-9a-fA-F]?)?\Z")
_DMESG_LINE = re.compile(
    rb"\[ *(?P<seconds>\d{1,12})\.(?P<fraction>\d{6})\](?:\[ *(?P<caller>[TC]\d+)\])? ?"
    rb"(?P<text>.*)",
    re.DOTALL,
)
_ISO_LINE = re.compile(
    rb"(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[,.]\d{6}(?:[+-]\d\d:?\d\d|Z)) (?P<text>.*)",
    re.DOTALL,
)


_NO_DICTIONARY: Mapping[str, str] = {}


class Record(NamedTuple):
    """One record of the kernel's log.

    Parameters
    ----------
    source
        ``"kmsg"``, or ``"PATH@DIGEST"`` of a text log.
    boot_id
        The boot that printed it, where known.
    seq
        Sequence number in the ring buffer; in a text log the byte offset of its line.
    usec
        The kernel's own clock, microseconds since boot.
    facility, level
        Syslog facility (0 is the kernel itself) and level; None in a text log, but 1
        for a line that is not the kernel's.
    caller
        ``T123`` (thread) or ``C0`` (CPU), where the kernel prints it.
    text
        The message with its escapes decoded; bytes that are no UTF-8 stay escaped.
    at
        Wall-clock time, UTC.
    clock
        How `at` was found: ``received``, ``boot``, ``log`` or ``none``.
    flags
        The flags field of ``/dev/kmsg``: ``-``, ``c`` or ``+``.
    dictionary
        The record's ``SUBSYSTEM=``, ``DEVICE=``, ... lines.
    truncated
        Whether the record was cut off.
    host
        The machine that printed it, where the log says so.
    """

    source: str
    boot_id: str | None
    seq: int
    usec: int | None
    facility: int | None
    level: int | None
    caller: str | None
    text: str
    at: datetime | None = None
    clock: str = "none"
    flags: str = "-"
    dictionary: Mapping[str, str] = _NO_DICTIONARY
    truncated: bool = False
    host: str | None = None

    @property
    def from_kernel(self) -> bool:
        """Whether no program can have written it: a program's facility is never 0."""
        return self.facility in (None, _KERNEL_FACILITY)


@dataclass(frozen=True, slots=True)
class Loss:
    """A range of records that was not seen, or a line that was not understood.

    Parameters
    ----------
    source, boot_id
        As in `Record`.
    first_seq, last_seq
        The range, both ends included.
    records
        How many records or lines; None where that can't be known.
    reason
        ``overrun`` (the ring buffer was overwritten), ``gap`` (numbers are missing),
        ``emptied`` (a file was emptied or removed before all of it was read), ``rebooted`` (the
        machine was started anew while a run or a report of a fault was under way), ``truncated``
        or ``rejected`` (a line like a trace line, not understood).
    at
        When it was noticed, UTC; None in a text log.
    text
        The line, where there is one.
    """

    source: str
    boot_id: str | None
    first_seq: int
    last_seq: int
    records: int | None
    reason: str
    at: datetime | None = None
    text: str | None = None


def parse_kmsg(
    raw: bytes,
    *,
    boot_id: str | None = None,
    at: datetime | None = None,
    clock: str = "none",
    booted_at: datetime | None = None,
) -> Record:
    r"""Parse what one read of ``/dev/kmsg`` gave.

    Parameters
    ----------
    raw
        ``prio,seq,usec,flags[,more...];text\n[ KEY=value\n...]``.
    boot_id, at, clock
        As in `Record`.
    booted_at
        Where nobody noted when the record came: what the wall clock showed when the kernel's
        began. `Record.at` is found from it, and `Record.clock` is ``boot``.

    Returns
    -------
    Record
        The record; `Record.truncated` if it lacks its newline or ends inside an escape.

    Raises
    ------
    ValueError
        If there is no such header.
    """
    match = _KMSG_HEADER.match(raw)
    if not match:
        raise ValueError(f"not a record of /dev/kmsg: {raw[:80]!r}")
    number, seq, stamp, flags, more = match.groups()
    priority, usec = int(number), int(stamp)
    if booted_at is not None:
        at, clock = booted_at + timedelta(microseconds=usec), "boot"
    first, newline, rest = raw[match.end() :].partition(b"\n")
    return Record(
        source="kmsg",
        boot_id=boot_id,
        seq=int(seq),
        usec=usec,
        facility=priority >> 3,
        level=priority & 7,
        caller=_caller(more) if more else None,
        text=_unescape(first) if b"\\" in first else decode_text(first),
        at=at,
        clock=clock,
        flags=flags.decode("ascii", "replace"),
        dictionary=_dictionary(rest) if rest else _NO_DICTIONARY,
        truncated=not newline or _CUT_ESCAPE.search(first) is not None,
    )


def parse_line(line: bytes, *, source: str, seq: int, boot_id: str | None = None) -> Record | None:
    """Parse a line that ``dmesg`` has printed.

    Parameters
    ----------
    line
        ``[  123.456789] text`` (also with the caller's brackets behind the stamp) or
        ``2026-11-23T10:00:00,123456+00:00 text`` (``dmesg --time-format iso``), without
        its newline; with embedded newlines where a record has several lines.
    source, seq, boot_id
        As in `Record`.

    Returns
    -------
    Record or None
        None if the line has no stamp: it goes on with the record before it.
    """
    if match := _DMESG_LINE.fullmatch(line):
        caller = match["caller"]
        return Record(
            source=source,
            boot_id=boot_id,
            seq=seq,
            usec=int(match["seconds"]) * 1_000_000 + int(match["fraction"]),
            facility=None,
            level=None,
            caller=caller.decode() if caller else None,
            text=decode_printed(match["text"]),
        )
    if match := _ISO_LINE.fullmatch(line):
        try:
            at = datetime.fromisoformat(match["stamp"].decode().replace(",", "."))
        except ValueError:
            return None
        return Record(
            source=source,
            boot_id=boot_id,
            seq=seq,
            usec=None,
            facility=None,
            level=None,
            caller=None,
            text=decode_printed(match["text"]),
            at=at.astimezone(UTC),
            clock="boot",
        )
    return None


def parse_bare(line: bytes, *, source: str, seq: int, boot_id: str | None = None) -> Record:
    """Parse a line of a log without stamps; parameters as for `parse_line`."""
    text = decode_printed(line)
    return Record(source, boot_id, seq, None, None, None, None, text)


def is_of_another_boot(before: Record, record: Record) -> bool:
    """Say whether a machine was started anew between two records of its kernel.

    Parameters
    ----------
    before, record
        Records of the kernel that stand one behind the other in the log of a machine.

    Returns
    -------
    bool
        Whether their boot ids differ. Where neither has one, whether the kernel's clock went
        back by more than a second, unless it is that of a processor that was held up, or the
        second one is what a kernel says first and does not go on with the clock of the one
        before.
    """
    if before.boot_id is not None or record.boot_id is not None:
        return before.boot_id != record.boot_id
    first = record.text.startswith(FIRST_MESSAGE)
    if before.usec is None or record.usec is None:
        return first
    back = before.usec - record.usec
    if back > _BACK_US:
        return _HELD_UP.match(record.text) is None
    return first and back >= 0


def printable(text: str) -> str:
    r"""Write what must not reach a terminal or a table as ``\xNN``, as the kernel does.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    str
        The text with control, format and other unprintable characters written as the
        escaped bytes of their UTF-8 form; all else is left as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


# A lone surrogate is a byte that Python could not decode, in a path for example.
def _escaped(character: str) -> str:
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors))


# The escapes are of bytes: a character of several bytes has several of them.
def _unescape(text: bytes) -> str:
    plain = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), text)
    return plain.decode("utf-8", "backslashreplace")


def decode_text(text: bytes) -> str:
    """Decode a message; bytes that are no UTF-8 stay escaped."""
    return text.decode("utf-8", "backslashreplace")


def decode_printed(text: bytes) -> str:
    """Decode what ``dmesg`` printed, which in the C locale escapes what is not ASCII."""

    def decode(match: re.Match[str]) -> str:
        return bytes.fromhex(match[0].replace("\\x", "")).decode("utf-8", "backslashreplace")

    shown = text.decode("utf-8", "backslashreplace")
    return _ESCAPED_NON_ASCII.sub(decode, shown) if "\\x" in shown else shown


def _caller(more: bytes) -> str | None:
    for extra in more.split(b","):
        name, _, value = extra.partition(b"=")
        if name == b"caller":
            return value.decode("ascii", "replace")
    return None


def _dictionary(lines: bytes) -> dict[str, str]:
    pairs = (line[1:].partition(b"=") for line in lines.split(b"\n") if line.startswith(b" "))
    return {_unescape(key): _unescape(value) for key, _, value in pairs}
