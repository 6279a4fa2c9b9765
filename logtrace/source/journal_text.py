"""Entries of the systemd journal, as ``journalctl`` writes them down -> what they say.

Described in journalctl(1), systemd.journal-fields(7) and
https://systemd.io/JOURNAL_EXPORT_FORMATS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from uuid import UUID

from logtrace.record import decode_text
from logtrace.source.dating import dated, since_epoch

_USER_FACILITY = 1
_LINE_BYTES = 1 << 20
_ENTRY_BYTES = 1 << 20
_MOST_FIELDS = 1024
_NAME = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")
_EXPORT = re.compile(rb"__(?:CURSOR|REALTIME_TIMESTAMP)=")
_VERBOSE = re.compile(
    rb"[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d{6} [A-Za-z0-9+:-]{1,9}"
    rb" \[(?P<cursor>(?:[a-z]=[0-9a-f]+;?)+)\]"
)
_VERBOSE_FIELD = re.compile(rb"    (?P<name>[A-Z_][A-Z0-9_]{0,63})=(?P<value>.*)", re.DOTALL)


def of_entry(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the fields of an entry.

    Parameters
    ----------
    entry
        Names and values; a value is text (bytes that are no UTF-8 as surrogates) or a list
        of bytes, others are left out.

    Returns
    -------
    dict or None
        ``text`` and other fields of `Record`; None if it has no message.
    """
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        if not all(isinstance(byte, int) and 0 <= byte < 256 for byte in message):
            return None
        message = bytes(message).decode("utf-8", "surrogateescape")
    if not isinstance(message, str):
        return None
    kernel = entry.get("_TRANSPORT") == "kernel"
    facility = _integer(entry.get("SYSLOG_FACILITY"))
    fields: dict[str, Any] = {
        "text": plain(message),
        "facility": facility if kernel else facility or _USER_FACILITY,
        "level": _integer(entry.get("PRIORITY")),
        "usec": _integer(entry.get("_SOURCE_MONOTONIC_TIMESTAMP")),
    }
    realtime = _integer(entry.get("__REALTIME_TIMESTAMP"))
    if realtime is not None:
        fields |= dated(since_epoch(realtime), "log")
    if isinstance(entry.get("_HOSTNAME"), str):
        fields["host"] = entry["_HOSTNAME"]
    if boot := boot_id_of(entry.get("_BOOT_ID")):
        fields["boot_id"] = boot
    return fields


class Entry:
    """An entry of ``journalctl -o verbose``, while its lines are read.

    Parameters
    ----------
    seq
        The offset of its first line.
    first
        That line.
    """

    def __init__(self, seq: int, first: bytes) -> None:
        self.seq = seq
        self._fields: dict[str, list[bytes]] = {}
        self._last: list[bytes] | None = None
        self._indent = b""
        self._room = _ENTRY_BYTES
        if match := _VERBOSE.fullmatch(first):
            cursor = dict(part.split(b"=", 1) for part in match["cursor"].split(b";") if part)
            self._fields["_BOOT_ID"] = [cursor.get(b"b", b"")]
            if len(time := cursor.get(b"t", b"")) in range(1, 16):
                self._fields["__REALTIME_TIMESTAMP"] = [b"%d" % int(time, 16)]

    def add(self, line: bytes) -> None:
        """Take its next line: a field, or one that goes on with the field before it."""
        self._room -= len(line) + 1
        if self._room < 0:
            self._last = None
        elif match := _VERBOSE_FIELD.fullmatch(line):
            self._last = self._fields[match["name"].decode()] = [match["value"]]
            self._indent = b" " * match.start("value")
        elif self._last is not None and (line.startswith(self._indent) or not line.strip()):
            self._last.append(line.removeprefix(self._indent))

    @property
    def fields(self) -> dict[str, str]:
        """Its fields, as `of_entry` takes them."""
        return {name: _text(b"\n".join(value)) for name, value in self._fields.items()}


def begins_entry(line: bytes) -> bool:
    """Say whether an entry of ``journalctl -o verbose`` begins with a line."""
    return _VERBOSE.fullmatch(line) is not None


def is_export(line: bytes) -> bool:
    """Say whether an entry of ``journalctl -o export`` begins with a line."""
    return _EXPORT.match(line) is not None


def read_export(stream: BinaryIO) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the entries of ``journalctl -o export``.

    Parameters
    ----------
    stream
        At the beginning of an entry.

    Yields
    ------
    tuple
        The offset of an entry, and its fields as `of_entry` takes them. A field that is
        longer than a megabyte, or whose length is more than there is, is left out.
    """
    start = offset = 0
    fields: dict[str, str] = {}
    room = _ENTRY_BYTES
    whole = True
    while line := stream.readline(_LINE_BYTES):
        begins, whole = whole, line.endswith(b"\n")
        offset += len(line)
        if not begins:
            continue
        if not line.strip():
            if fields:
                yield start, fields
            start, fields, room = offset, {}, _ENTRY_BYTES
            continue
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not _NAME.fullmatch(name):
            continue
        if not equals:
            length, data = _binary(stream)
            offset += length
            if data is None:
                continue
            value = data
        room -= len(value)
        if whole and room >= 0 and len(fields) < _MOST_FIELDS:
            fields[name.decode()] = _text(value)
    if fields:
        yield start, fields


# How many bytes a value has been read from, and the value where there is one.
def _binary(stream: BinaryIO) -> tuple[int, bytes | None]:
    head = stream.read(8)
    size = int.from_bytes(head, "little")
    if len(head) < 8 or size > _ENTRY_BYTES:
        skipped = _skip(stream, size + 1) if len(head) == 8 else 0
        return len(head) + skipped, None
    data = stream.read(size + 1)
    return len(head) + len(data), data[:-1] if data.endswith(b"\n") and len(data) > size else None


def _skip(stream: BinaryIO, size: int) -> int:
    skipped = 0
    while skipped < size and (part := stream.read(min(size - skipped, _LINE_BYTES))):
        skipped += len(part)
    return skipped


def boot_id_of(value: object) -> str | None:
    """Write a boot id as the kernel does; None if it is none."""
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def plain(text: str) -> str:
    """Write text of which parts may be bytes, or halves of characters, as `decode_text` does."""
    try:
        return decode_text(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _integer(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None
