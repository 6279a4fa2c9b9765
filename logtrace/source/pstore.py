"""What a kernel kept of its log when it failed: files of ``/sys/fs/pstore`` -> a log in order.

The kernel writes the end of its log in parts, the newest first, each below a line such as
``Panic#2 Part15`` (``fs/pstore/platform.c``). systemd-pstore gathers the parts in a file
``dmesg.txt`` below ``/var/lib/systemd/pstore`` and puts the name of each before it.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from logtrace.errors import SourceError
from logtrace.record import decode_printed

JOINED = "dmesg.txt"
"""Name of the file in which systemd-pstore joins parts."""

_HEADER = re.compile(
    rb"(?P<why>Panic|Oops|Emergency|Restart|Halt|Poweroff|Shutdown|Unknown)"
    rb"#(?P<count>\d{1,9}) Part(?P<part>\d{1,9})"
)
_NAME = re.compile(rb"(?P<name>dmesg-[\w-]+-(?P<id>\d+)):")
# EFI and others: seconds since 1970, two digits of the part, three of the count
_DATED_ID = re.compile(rb"(?P<seconds>\d{9,11})\d{5}")
_STAMP = re.compile(rb"(?:<(?P<priority>\d{1,3})>)?\[ *(?P<seconds>\d{1,12})\.(?P<usec>\d{6})\] ?")
# What ramoops appends to a part that it has checked
_CHECKED = re.compile(
    rb"ECC: (?:No errors detected|-?\d+ Corrected bytes, \d+ unrecoverable blocks)"
)
_HEAD_BYTES = 256
_COMPRESSED = ".enc.z"


@dataclass
class _Part:
    count: int
    number: int
    lines: list[bytes] = field(default_factory=list)


def check_readable(path: Path) -> None:
    """Raise `SourceError` for a file that only the kernel which wrote it can decompress."""
    if path.name.endswith(_COMPRESSED):
        raise SourceError(
            f"{path}: compressed by a kernel, which could not decompress it itself",
            "boot with the same pstore.compress= as the kernel that failed, or with none",
        )


def unfold(stream: BinaryIO, name: str, form: str | None) -> tuple[BinaryIO, str | None]:
    """Put what a file of pstore has into the order in which the kernel printed it.

    Parameters
    ----------
    stream
        A log, at its beginning: a part, or several with or without their names.
    name
        Name of the file; the names of some parts tell when they were written.
    form
        ``pstore``, one of ``forms.FORMS``, or None, so that it is recognised.

    Returns
    -------
    stream : typing.BinaryIO
        The log as ``journalctl -o json`` prints it, what is in several dumps once; the
        stream that was handed in, where that is not of pstore.
    form : str or None
        Its form, where it has a line.

    Raises
    ------
    SourceError
        If the form is ``pstore`` and no line begins a part.
    """
    if form not in (None, "pstore") or not (form or _is_pstore(stream)):
        return stream, form
    lines = stream.read().split(b"\n")
    parts = _parts(lines)
    if not parts:
        raise SourceError(
            f"{name}: has no line such as Panic#1 Part1", "leave --format out, or take another"
        )
    ordered = list(_in_order(parts))
    started = _boot_time([f"{name}:".encode(), *lines], ordered)
    entries = b"".join(_entry(line, started) for line in ordered)
    return io.BytesIO(entries), "json" if entries else None


def without_joined(paths: Iterable[Path]) -> list[Path]:
    """Leave out the parts that are in a `JOINED` file of the same folder.

    Parameters
    ----------
    paths
        Files.

    Returns
    -------
    list of pathlib.Path
        The files in their order.
    """
    paths = list(paths)
    joined = {
        path.with_name(match["name"].decode())
        for path in paths
        if path.name == JOINED
        for match in map(_NAME.fullmatch, path.read_bytes().split(b"\n"))
        if match
    }
    return [path for path in paths if path not in joined]


def _is_pstore(stream: BinaryIO) -> bool:
    lines = stream.read(_HEAD_BYTES).split(b"\n")
    stream.seek(0)
    first = lines[1:2] if _NAME.fullmatch(lines[0]) else lines[:1]
    return any(_HEADER.fullmatch(line) for line in first)


def _parts(lines: Iterable[bytes]) -> list[_Part]:
    parts: list[_Part] = []
    for line in lines:
        if match := _HEADER.fullmatch(line):
            parts.append(_Part(int(match["count"]), int(match["part"])))
        elif parts and line and not (_NAME.fullmatch(line) or _CHECKED.fullmatch(line)):
            parts[-1].lines.append(line)
    return parts


# A later dump of the same boot begins with what the earlier one has, too. Where the clock stood
# still, a line may be there twice.
def _in_order(parts: list[_Part]) -> Iterator[bytes]:
    ordered = sorted(parts, key=lambda part: (part.count, -part.number))
    seen: Counter[bytes] = Counter()
    for _, dump in groupby(ordered, key=lambda part: part.count):
        lines = [line for part in dump for line in part.lines]
        known = seen.copy()
        for line in lines:
            if known[line] > 0:
                known[line] -= 1
            else:
                yield line
        seen |= Counter(filter(_STAMP.match, lines))


# The last line was printed when the dump was written.
def _boot_time(named: Iterable[bytes], ordered: Iterable[bytes]) -> int | None:
    ids = [_DATED_ID.fullmatch(match["id"]) for match in map(_NAME.fullmatch, named) if match]
    written = max((int(dated["seconds"]) for dated in ids if dated), default=None)
    stamps = [_usec(match) for match in map(_STAMP.match, ordered) if match]
    return written * 1_000_000 - stamps[-1] if written is not None and stamps else None


def _usec(stamp: re.Match[bytes]) -> int:
    return int(stamp["seconds"]) * 1_000_000 + int(stamp["usec"])


def _entry(line: bytes, started: int | None) -> bytes:
    entry = {"_TRANSPORT": "kernel"}
    if stamp := _STAMP.match(line):
        usec = _usec(stamp)
        entry["_SOURCE_MONOTONIC_TIMESTAMP"] = str(usec)
        if started is not None:
            entry["__REALTIME_TIMESTAMP"] = str(started + usec)
        if stamp["priority"]:
            facility, level = divmod(int(stamp["priority"]), 8)
            entry |= {"SYSLOG_FACILITY": str(facility), "PRIORITY": str(level)}
        line = line[stamp.end() :]
    return json.dumps({**entry, "MESSAGE": decode_printed(line)}).encode() + b"\n"
