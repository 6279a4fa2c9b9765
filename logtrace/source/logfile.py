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
from pathlib import Path
from typing import BinaryIO, cast

from logtrace.errors import SourceError
from logtrace.record import Record, parse_bare, parse_line

_LINE_BYTES = 1 << 20

_OPENERS: dict[bytes, Callable[[Path], BinaryIO]] = {
    b"\x1f\x8b": lambda path: cast(BinaryIO, gzip.open(path)),  # noqa: SIM115
    b"BZh": lambda path: cast(BinaryIO, bz2.open(path)),  # noqa: SIM115
    b"\xfd7zXZ": lambda path: cast(BinaryIO, lzma.open(path)),  # noqa: SIM115
}


class LogText:
    """Cut text into records: a line without a stamp goes on with the record before it.

    Parameters
    ----------
    source, boot_id
        As in `Record`.
    """

    def __init__(self, source: str, boot_id: str | None = None) -> None:
        self._source = source
        self._boot_id = boot_id
        self._lines: list[bytes] = []
        self._seq = 0
        self._stamped: bool | None = None

    def feed(self, seq: int, line: bytes) -> Record | None:
        """Take the line at offset `seq`; give the record that it shows to be complete."""
        record = parse_line(line, source=self._source, seq=seq, boot_id=self._boot_id)
        if self._stamped is None and line.strip():
            self._stamped = record is not None
        if self._stamped and record is None:
            if self._lines:
                self._lines.append(line)
            return None
        complete = self.finish()
        self._lines, self._seq = [line], seq
        return complete

    def finish(self) -> Record | None:
        """Give the last record."""
        lines, self._lines = self._lines, []
        if not lines:
            return None
        text = b"\n".join(lines)
        parse = parse_line if self._stamped else parse_bare
        return parse(text, source=self._source, seq=self._seq, boot_id=self._boot_id)


@contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Open a finished log, decompressing it if need be.

    Parameters
    ----------
    path
        A file, plain or ``.gz``, ``.bz2``, ``.xz``; ``-`` is standard input.

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
        with tempfile.TemporaryFile() as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.seek(0)
            yield spool
        return
    with path.open("rb") as plain:
        magic = plain.read(6)
        for beginning, opener in _OPENERS.items():
            if magic.startswith(beginning):
                with opener(path) as stream:
                    yield stream
                return
        plain.seek(0)
        yield plain
