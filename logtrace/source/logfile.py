"""Text logs: opened, decompressed, and cut into records."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from blake3 import blake3

from logtrace.errors import SourceError
from logtrace.record import Record, decode_printed, is_of_another_boot, parse_bare
from logtrace.source.dating import Dating, yearless_stamp
from logtrace.source.forms import (
    FORMS,
    HEAD_LINES,
    Line,
    Objects,
    Recogniser,
    journal_entry,
    recognise,
)
from logtrace.source.journal_text import (
    Entry,
    begins_entry,
    boot_id_of,
    is_export,
    read_export,
)

LINE_BYTES = 1 << 20
"""What is behind so many bytes of a line is left out."""

_DIGESTED_BYTES = 8 << 20
_RECORD_BYTES = 8192
_USER_FACILITY = 1
_HEAD_BYTES = 8192
_BOOT = re.compile(rb"-- (?:Boot ([0-9a-f]{32})|Reboot)(?= --)")
_BOOT_BYTES = 64  # more than such a line has
_FORMS_WITH_BOOTS = (None, "syslog", "verbose")  # those that journalctl writes between boots
_ZSTD = b"\x28\xb5\x2f\xfd"
_UTF8 = codecs.BOM_UTF8
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as Windows writes what ssh gave

_OPENERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda plain: cast(BinaryIO, gzip.open(plain)),  # noqa: SIM115
    b"BZh": lambda plain: cast(BinaryIO, bz2.open(plain)),  # noqa: SIM115
    b"\xfd7zXZ": lambda plain: cast(BinaryIO, lzma.open(plain)),  # noqa: SIM115
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
        One of `FORMS`; without it, each line is read in the form of most lines down to it. Of
        ``export``, entries are taken in place of lines.
    dating
        How stamps without year or zone are read.
    recogniser
        What has seen the lines before those that are fed, where no form is given.
    """

    def __init__(
        self,
        source: str,
        boot_id: str | None = None,
        form: str | None = None,
        dating: Dating | None = None,
        recogniser: Recogniser | None = None,
    ) -> None:
        self._source = source
        self._boot_id: str | None = None  # that the log told last
        self._given_boot_id = boot_id
        self._before: Record | None = None  # of the boot that was given
        self._recogniser = None if form else recogniser or Recogniser()
        self._form = self._recogniser.form if self._recogniser else form
        self._dating = dating or Dating()
        self._objects = Objects()
        self._entry: Entry | None = None
        self._record: Record | None = None
        self._lines: list[str] = []
        self._indent = self._room = 0

    @property
    def source(self) -> str:
        """The source of the records."""
        return self._source

    @property
    def boot_id(self) -> str | None:
        """The boot of the next record, if it is of the same as the one before."""
        return self._given_boot_id if self._boot_id is None else self._boot_id

    @property
    def form(self) -> str | None:
        """The form of the log; None until it is known."""
        return self._form

    def feed(self, seq: int, line: bytes) -> Record | None:
        """Take the line at offset `seq`; give the record that it shows to be complete."""
        if self._recogniser is not None:
            self._recognise(line)
        if self._form == "json":
            whole = self._objects.join(line)
            if whole is None:
                return None
            line = whole
        elif self._form in _FORMS_WITH_BOOTS and (boot := _BOOT.match(line)):
            complete = self.finish()
            self._begin_boot(boot)
            return complete
        elif self._form == "verbose" and (self._entry or begins_entry(line)):
            return self._add_to_entry(seq, line)
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

    def _recognise(self, line: bytes) -> None:
        assert self._recogniser is not None
        self._recogniser.take(line)
        self._form = self._recogniser.form
        if self._recogniser.is_settled:
            self._recogniser = None

    def go_on(self, stream: BinaryIO, offset: int) -> None:
        """Know the boot of what follows, where reading begins inside a log.

        Parameters
        ----------
        stream
            The log; it is where it was again.
        offset
            Where the next line begins. All that stands before it is looked through.
        """
        if self._form in _FORMS_WITH_BOOTS and (boot := _last_boot(stream, offset)):
            self._begin_boot(boot)

    def _begin_boot(self, told: re.Match[bytes]) -> None:
        self._boot_id = boot_id_of(told[1].decode()) if told[1] else None
        self._given_boot_id = None

    def entry(self, seq: int, fields: Mapping[str, Any]) -> Record | None:
        """Give the record of an entry of the journal; None if it has no message."""
        line = journal_entry(fields)
        return None if line is None else self._made(seq, line)

    def finish(self) -> Record | None:
        """Give the last record."""
        if self._entry is not None:
            entry, self._entry = self._entry, None
            return self.entry(entry.seq, entry.fields)
        record, self._record = self._record, None
        lines, self._lines = self._lines, []
        if record is None or len(lines) == 1:
            return record
        return record._replace(text="\n".join(lines))

    def _add_to_entry(self, seq: int, line: bytes) -> Record | None:
        if self._entry is not None and not begins_entry(line):
            self._entry.add(line)
            return None
        complete = self.finish()
        self._entry = Entry(seq, line)
        return complete

    def _made(self, seq: int, line: Line) -> Record:
        bare = Record(self._source, self._boot_id, seq, None, None, None, None, line.text)
        return self._booted(bare._replace(**line.fields))

    def _unstamped(self, seq: int, line: bytes) -> Record:
        record = parse_bare(line, source=self._source, seq=seq, boot_id=self._boot_id)
        return self._booted(record._replace(facility=_USER_FACILITY) if self._form else record)

    # The boot that was given is that of the first machine, until it is started anew.
    def _booted(self, record: Record) -> Record:
        if self._given_boot_id is None or record.boot_id is not None:
            return record
        if record.from_kernel:
            before = self._before or record
            if record.host != before.host:
                return record
            if is_of_another_boot(before, record):
                self._given_boot_id = None
                return record
            self._before = record
        return record._replace(boot_id=self._given_boot_id)

    # More than fits in a record is no part of it; behind one of kmsg stands its dictionary.
    def _continue(self, line: bytes) -> None:
        self._room -= len(line) + 1
        if self._lines and self._room >= 0 and self._form != "kmsg":
            blanks = b" " * self._indent
            self._lines.append(decode_printed(line.removeprefix(blanks)))


# The line by which journalctl told a boot last, before an offset.
def _last_boot(stream: BinaryIO, offset: int) -> re.Match[bytes] | None:
    place, found = stream.tell(), None
    stream.seek(0)
    left, text = offset, b"\n"
    while left > 0 and (chunk := stream.read(min(left, LINE_BYTES))):
        left -= len(chunk)
        text += chunk
        end = len(text)
        while (end := text.rfind(b"\n-- ", 0, end)) >= 0:
            if boot := _BOOT.match(text, end + 1):
                found = boot
                break
        text = text[-_BOOT_BYTES:]
    stream.seek(place)
    return found


@contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Open a finished log, decompressing it if need be.

    Parameters
    ----------
    path
        A file, plain or compressed with gzip, bzip2, xz or zstd; ``-`` is standard input, which
        may be compressed as well.

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
            head = stream.read(_HEAD_BYTES)
            if b"\0" in head and not is_export(head):
                raise SourceError(
                    f"{path}: not a text log",
                    "give what dmesg, journalctl (any -o), a syslog daemon or a console wrote, or"
                    " a copy of /dev/kmsg; plain, .gz, .bz2, .xz or .zst",
                )
            stream.seek(0)
            yield stream
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path}: {reason}") from None


def digest_log(stream: BinaryIO) -> str:
    """Digest a whole log: BLAKE3 in hexadecimal; the stream is at its beginning again."""
    digest, buffer = blake3(), memoryview(bytearray(_DIGESTED_BYTES))
    while size := stream.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:size])
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
    source
        As in `Record`.
    boot_id
        The boot of the first machine in it, until that is started anew. What the log itself
        says goes first.
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
        If the given form is not its.
    """
    return read_records(stream, begin_log(stream, source, boot_id, form, dating))


def begin_log(
    stream: BinaryIO,
    source: str,
    boot_id: str | None = None,
    form: str | None = None,
    dating: Dating | None = None,
) -> LogText:
    """Find the form of a log, and the year of its first stamp; as for `read_log`."""
    head = _head(stream)
    form = _form(head, source, form)
    dating = dating or Dating()
    if form == "syslog" and any(map(yearless_stamp, head)):
        dating = dating.of(_whole_lines(stream))
        stream.seek(0)
    return LogText(source, boot_id, form, dating)


def read_records(stream: BinaryIO, text: LogText) -> Iterator[Record]:
    """Cut a log from its beginning into records."""
    return (_entries if text.form == "export" else _records)(stream, text)


def first_host(stream: BinaryIO, source: str, form: str | None = None) -> str | None:
    """Name the machine of the first record of a kernel in a log.

    Parameters
    ----------
    stream
        The log, seekable; it is at its beginning again.
    source, form
        As for `read_log`.

    Returns
    -------
    str or None
        None if that record does not say, or there is none.

    Raises
    ------
    SourceError
        If the given form is not its.
    """
    form = _form(_head(stream), source, form)
    records = read_records(stream, LogText(source, form=form))
    host = next((record.host for record in records if record.from_kernel), None)
    stream.seek(0)
    return host


def _head(stream: BinaryIO) -> list[bytes]:
    begin_text(stream)
    head = [line.rstrip(b"\r\n") for line in islice(_whole_lines(stream), HEAD_LINES)]
    stream.seek(0)
    return head


def _form(head: list[bytes], source: str, given: str | None) -> str | None:
    found = recognise(head)
    if given in (None, found):
        return found
    if given not in FORMS or not any(FORMS[given](line, Dating()) for line in head):
        raise SourceError(
            f"{source.rpartition('@')[0]}: none of its first lines has the form {given}",
            f"leave --format out, or take another of {', '.join(FORMS)}",
        )
    return given


def _records(stream: BinaryIO, text: LogText) -> Iterator[Record]:
    offset, whole = begin_text(stream), True
    while line := stream.readline(LINE_BYTES):
        # what is behind the first part of a line that is longer than any is no line
        record = text.feed(offset, line.rstrip(b"\r\n")) if whole else None
        whole = line.endswith(b"\n")
        offset += len(line)
        if record is not None:
            yield record
    if (last := text.finish()) is not None:
        yield last


def begin_text(stream: BinaryIO) -> int:
    """Go to the first line of a log, behind the mark with which Windows begins UTF-8."""
    stream.seek(0)
    return stream.seek(len(_UTF8) if stream.read(len(_UTF8)) == _UTF8 else 0)


def _entries(stream: BinaryIO, text: LogText) -> Iterator[Record]:
    for offset, fields in read_export(stream):
        if (record := text.entry(offset, fields)) is not None:
            yield record


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    whole = True
    while line := stream.readline(LINE_BYTES):
        if whole:
            yield line
        whole = line.endswith(b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    given = _spooled(sys.stdin.buffer) if str(path) == "-" else path.open("rb")
    with given as plain, _unpacked(plain) as text:
        yield text


@contextmanager
def _unpacked(plain: BinaryIO) -> Iterator[BinaryIO]:
    magic = plain.read(6)
    plain.seek(0)
    if magic.startswith(_ZSTD):
        import pyarrow

        with pyarrow.CompressedInputStream(plain, "zstd") as text, _spooled(text) as spool:
            yield spool
        return
    for beginning, opener in _OPENERS.items():
        if magic.startswith(beginning):
            with opener(plain) as stream:
                yield stream
            return
    if magic.startswith(_UTF16):
        with _recoded(plain) as spool:
            yield spool
        return
    yield plain


# What can't be sought in is copied, as a log is read twice.
@contextmanager
def _spooled(stream: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(stream, spool)
        spool.seek(0)
        yield spool


@contextmanager
def _recoded(stream: BinaryIO) -> Iterator[BinaryIO]:
    decoder = codecs.getincrementaldecoder("utf-16")("backslashreplace")
    with tempfile.TemporaryFile() as spool:
        while chunk := stream.read(LINE_BYTES):
            spool.write(decoder.decode(chunk).encode("utf-8", "backslashreplace"))
        spool.write(decoder.decode(b"", final=True).encode())
        spool.seek(0)
        yield spool
