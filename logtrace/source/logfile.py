"""Text logs: opened, decompressed, and cut into records."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from logtrace.errors import SourceError
from logtrace.record import Record, decode_printed, parse_bare
from logtrace.source.forms import FORMS, Dating, Line, Objects, boot_id_of, dmesg, recognise

LINE_BYTES = 1 << 20
"""What is behind so many bytes of a line is left out."""

_RECORD_BYTES = 8192
_USER_FACILITY = 1
_HEAD_LINES = 100
_BOOT = re.compile(rb"-- (?:Boot ([0-9a-f]{32})|Reboot)(?= --)")
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
    form
        One of `FORMS`; without it, the form of the first line that has one.
    dating
        How stamps without year or zone are read.
    """

    def __init__(
        self,
        source: str,
        boot_id: str | None = None,
        form: str | None = None,
        dating: Dating | None = None,
    ) -> None:
        self._source = source
        self._boot_id = boot_id
        self._form = form
        self._dating = dating or Dating()
        self._objects = Objects()
        self._record: Record | None = None
        self._lines: list[str] = []
        self._indent = self._room = 0

    @property
    def source(self) -> str:
        """The source of the records."""
        return self._source

    @property
    def boot_id(self) -> str | None:
        """The boot of the next record."""
        return self._boot_id

    @property
    def form(self) -> str | None:
        """The form of the log; None until it is known."""
        return self._form

    def feed(self, seq: int, line: bytes) -> Record | None:
        """Take the line at offset `seq`; give the record that it shows to be complete."""
        if self._form is None:
            self._form = recognise([line]) if not line.startswith(b"[") else "dmesg"
            if self._form == "dmesg" and dmesg(line, self._dating) is None:
                self._form = None
        if self._form == "json":
            whole = self._objects.join(line)
            if whole is None:
                return None
            line = whole
        elif self._form == "syslog" and (boot := _BOOT.match(line)):
            self._boot_id = boot_id_of(boot[1].decode()) if boot[1] else None
            return None
        parsed = FORMS[self._form](line, self._dating) if self._form else None
        if parsed is None and self._form and not line[:1].strip():
            self._continue(line)
            return None
        complete = self.finish()
        self._record = self._unstamped(seq, line) if parsed is None else self._made(seq, parsed)
        self._lines = [self._record.text]
        self._indent = parsed.indent if parsed else 0
        self._room = _RECORD_BYTES - len(line) if parsed else 0
        return complete

    def finish(self) -> Record | None:
        """Give the last record."""
        record, self._record = self._record, None
        lines, self._lines = self._lines, []
        if record is None or len(lines) == 1:
            return record
        return replace(record, text="\n".join(lines))

    def _made(self, seq: int, line: Line) -> Record:
        bare = Record(self._source, self._boot_id, seq, None, None, None, None, line.text)
        return replace(bare, **line.fields)

    def _unstamped(self, seq: int, line: bytes) -> Record:
        record = parse_bare(line, source=self._source, seq=seq, boot_id=self._boot_id)
        return replace(record, facility=_USER_FACILITY) if self._form else record

    # More than fits in a record is no part of it; behind one of kmsg stands its dictionary.
    def _continue(self, line: bytes) -> None:
        self._room -= len(line) + 1
        if self._lines and self._room >= 0 and self._form != "kmsg":
            blanks = b" " * self._indent
            self._lines.append(decode_printed(line.removeprefix(blanks)))


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
    while chunk := stream.read(LINE_BYTES):
        digest.update(chunk)
    stream.seek(0)
    return digest.hexdigest()


def read_log(
    stream: BinaryIO,
    source: str,
    boot_id: str | None = None,
    form: str | None = None,
    dating: Dating | None = None,
) -> Iterator[Record]:
    """Read the records of a finished log.

    Parameters
    ----------
    stream
        The log, seekable; read from its beginning.
    source, boot_id
        As in `Record`.
    form
        One of ``forms.FORMS``; without it, the form of most of its first 100 lines.
    dating
        How stamps without year or zone are read.

    Returns
    -------
    iterator of Record
        In the order of the log; `Record.seq` is the byte offset of its first line.

    Raises
    ------
    SourceError
        If the kernels of several machines speak in it, or the given form is not its.
    """
    return read_records(stream, begin_log(stream, source, boot_id, form, dating))


def begin_log(
    stream: BinaryIO,
    source: str,
    boot_id: str | None = None,
    form: str | None = None,
    dating: Dating | None = None,
) -> LogText:
    """Find the form of a log; parameters and errors as for `read_log`."""
    head = [line.rstrip(b"\r\n") for line in islice(_whole_lines(stream), _HEAD_LINES)]
    stream.seek(0)
    found = recognise(head)
    if form not in (None, found) and not any(FORMS[form](line, Dating()) for line in head):
        raise SourceError(
            f"{source.rpartition('@')[0]}: none of its first lines has the form {form}",
            f"leave --format out, or take another of {', '.join(FORMS)}",
        )
    return LogText(source, boot_id, form or found, dating)


def read_records(stream: BinaryIO, text: LogText) -> Iterator[Record]:
    """Cut a log into records, see `read_log`."""
    offset, whole, host = 0, True, None
    while line := stream.readline(LINE_BYTES):
        # what is behind the first part of a line that is longer than any is no line
        record = text.feed(offset, line.rstrip(b"\r\n")) if whole else None
        whole = line.endswith(b"\n")
        offset += len(line)
        if record is not None:
            host = _one_host(record, host)
            yield record
    if (last := text.finish()) is not None:
        _one_host(last, host)
        yield last


# Lines of several machines would make runs of none of them
def _one_host(record: Record, host: str | None) -> str | None:
    if record.host is None or not record.from_kernel:
        return host
    if host not in (None, record.host):
        raise SourceError(
            f"{record.source.rpartition('@')[0]}: has lines of {host} and of {record.host}",
            "split it by machine, and import each part with --host NAME",
        )
    return record.host


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    whole = True
    while line := stream.readline(LINE_BYTES):
        if whole:
            yield line
        whole = line.endswith(b"\n")


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
