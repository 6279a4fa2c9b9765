"""Text logs: what ``dmesg`` has printed into a file."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from logtrace.errors import SourceError
from logtrace.record import Record, parse_bare, parse_line

_LINE_BYTES = 1 << 20
_RECORD_BYTES = 8192
_USER_FACILITY = 1
_ZSTD = b"\x28\xb5\x2f\xfd"

_OPENERS: dict[bytes, Callable[[Path], BinaryIO]] = {
    b"\x1f\x8b": lambda path: cast(BinaryIO, gzip.open(path)),  # noqa: SIM115
    b"BZh": lambda path: cast(BinaryIO, bz2.open(path)),  # noqa: SIM115
    b"\xfd7zXZ": lambda path: cast(BinaryIO, lzma.open(path)),  # noqa: SIM115
}


class LogText:
    """Cut text into records.

    Until a line has a stamp, every line is a record. From then on an indented or blank
    line without one goes on with the record before it, as ``dmesg`` prints records of
    several lines; other lines without one, such as a shell's prompt, are not the kernel's.

    Parameters
    ----------
    source, boot_id
        As in `Record`.
    """

    def __init__(self, source: str, boot_id: str | None = None) -> None:
        self._source = source
        self._boot_id = boot_id
        self._record: Record | None = None
        self._lines: list[bytes] = []
        self._room = 0
        self._stamped = False

    def feed(self, seq: int, line: bytes) -> Record | None:
        """Take the line at offset `seq`; give the record that it shows to be complete."""
        record = parse_line(line, source=self._source, seq=seq, boot_id=self._boot_id)
        if record is None and self._stamped and not line[:1].strip():
            self._continue(line)
            return None
        complete = self.finish()
        self._room = _RECORD_BYTES - len(line) if record else 0
        self._lines = [line]
        self._record = record or self._unstamped(seq, line)
        self._stamped = self._stamped or record is not None
        return complete

    def finish(self) -> Record | None:
        """Give the last record."""
        record, self._record = self._record, None
        lines, self._lines = self._lines, []
        if record is None or len(lines) == 1:
            return record
        text = b"\n".join(lines)
        return parse_line(text, source=self._source, seq=record.seq, boot_id=self._boot_id)

    def _unstamped(self, seq: int, line: bytes) -> Record:
        record = parse_bare(line, source=self._source, seq=seq, boot_id=self._boot_id)
        return replace(record, facility=_USER_FACILITY) if self._stamped else record

    # More than fits in a record is no part of it.
    def _continue(self, line: bytes) -> None:
        self._room -= len(line) + 1
        if self._lines and self._room >= 0:
            self._lines.append(line)


@contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Open a finished log, decompressing it if need be.

    Parameters
    ----------
    path
        A file, plain or compressed with gzip, bzip2, xz or zstd; ``-`` is standard input.

    Yields
    ------
    typing.BinaryIO
        A seekable stream of the text.

    Raises
    ------
    SourceError
        If it can't be read, or is no text.
    """
    try:
        with _opened(path) as stream:
            if b"\0" in stream.read(8192):
                raise SourceError(f"{path}: not a text log", "give a file that dmesg has printed")
            stream.seek(0)
            yield stream
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path}: {reason}") from None


def digest_log(stream: BinaryIO) -> str:
    """Digest a whole log: SHA-256 in hexadecimal; the stream is at its beginning again."""
    digest = hashlib.sha256()
    while chunk := stream.read(_LINE_BYTES):
        digest.update(chunk)
    stream.seek(0)
    return digest.hexdigest()


def read_log(stream: BinaryIO, source: str, boot_id: str | None = None) -> Iterator[Record]:
    """Read the records of a finished log.

    Parameters
    ----------
    stream
        The text of ``dmesg``, with seconds since boot or with ISO stamps, or without any.
    source, boot_id
        As in `Record`.

    Yields
    ------
    Record
        In the order of the log; `Record.seq` is the byte offset of its first line.
    """
    text = LogText(source, boot_id)
    offset = 0
    while line := stream.readline(_LINE_BYTES):
        record = text.feed(offset, line.rstrip(b"\r\n"))
        offset += len(line)
        if record is not None:
            yield record
    if (last := text.finish()) is not None:
        yield last


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        with _spooled(sys.stdin.buffer) as spool:
            yield spool
        return
    with path.open("rb") as plain:
        magic = plain.read(6)
        plain.seek(0)
        if magic.startswith(_ZSTD):
            import pyarrow

            with pyarrow.CompressedInputStream(plain, "zstd") as text, _spooled(text) as spool:
                yield spool
            return
        for beginning, opener in _OPENERS.items():
            if magic.startswith(beginning):
                with opener(path) as stream:
                    yield stream
                return
        yield plain


# What can't be sought in is copied, as a log is read twice.
@contextmanager
def _spooled(stream: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(stream, spool)
        spool.seek(0)
        yield spool
