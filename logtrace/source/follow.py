"""A text log that grows, across its rotations."""

from __future__ import annotations

import hashlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from logtrace.errors import SourceError
from logtrace.positions import Position, Positions, part_name, part_source
from logtrace.record import Loss, Record, printable
from logtrace.source.forms import Dating, Recogniser, not_followed
from logtrace.source.logfile import LogText, open_log
from logtrace.source.redelivery import LOOK_BACK_BYTES, Deliveries
from logtrace.source.rotation import Folders

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 4096
_FORM_BYTES = 1 << 16  # at the beginning of a log, where its form is looked for
_CHECKED_BYTES = 4000  # of a line: less than is read of it, whatever ends it
_REMEMBERED_PARTS = 8
_REMEMBERED_LINES = 1000
_PACKINGS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")

Begin = Literal["resume", "oldest", "now"]


@dataclass
class Beginning:
    """Where the logs that are followed begin, and whose they are.

    Parameters
    ----------
    positions
        What is already known of them.
    begin
        Behind what is known, at the oldest part there is, or at the end.
    host
        The machine of records that name none.
    forced
        Whether all records are that machine's, whatever they name.
    zone
        The zone of stamps without one.
    boot_id
        As in `Record`.
    followed
        The logs that are followed: one that several sources name is followed once.
    """

    positions: Positions = field(default_factory=Positions)
    begin: Begin = "resume"
    host: str = ""
    forced: bool = False
    zone: tzinfo = UTC
    boot_id: str | None = None
    followed: set[Path] = field(default_factory=set)


class Moved(NamedTuple):
    """Where a log was before its folder was renamed.

    Parameters
    ----------
    log
        What read it there; None if that was another watch.
    path, to
        Its paths, before and now.
    hosts
        The machines of its records that name none, before and now.
    """

    log: GrowingLog | None
    path: str
    to: str
    hosts: tuple[str, str]


def _refuse(_path: Path, text: str) -> None:
    raise SourceError(text)


class GrowingLog:
    """A text log that grows, across its rotations.

    Its parts are the files of one folder whose names differ only in a number, a date or a
    packing (`rotation.place_of`). They are read in order, each to its end; the newest is
    followed. A part is known by its first line and by the last line that was read of it,
    whatever its name, so one that is renamed, copied or compressed is not read again. Of one
    that was cut to nothing the copy is read on; where there is none, a loss is noted. A last
    line without its newline waits for the rest. Parts that are older than what is known, or
    than the newest where nothing is known, are left alone.

    Parameters
    ----------
    path
        The folder, and the name that the parts have in common; none may exist yet.
    beginning
        Where it begins, and whose it is.
    folders
        Lists the parts; may be shared.
    whole
        Whether all of its parts are wanted if nothing is known of it.
    trouble
        Called with the file that can't be read, and that and why as text. Default: it is
        raised as a `SourceError`.
    wake
        Called when there may be more to drain.
    """

    def __init__(
        self,
        path: Path,
        beginning: Beginning | None = None,
        folders: Folders | None = None,
        *,
        whole: bool = False,
        trouble: Callable[[Path, str], None] = _refuse,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path.absolute()
        self.check: int | None = None
        """A digest of the line at `position`; 0 where none can be given."""
        self.moved: list[Moved] = []
        """Where it was before; its positions there are to be its own before it is drained."""
        self._from = beginning or Beginning()
        self._begin = self._from.begin
        self._positions = self._from.positions
        self._folders = folders or Folders()
        self._whole = whole or self._begin == "oldest"
        self._trouble = trouble
        self._wake = wake
        self._prefix = printable(part_name(str(self.path), ""))
        self.name = self._prefix
        self._part: _Part | None = None
        self._left: _Part | None = None  # the part that was read last, when it has been left
        self._anew = False  # whether that very file is to be read from its beginning
        self._alone: set[_Identity] | None = None  # older parts that nobody wants
        self._lost = False
        self._reached: dict[str, _Reached] = {}
        self._after: Mapping[str, int] = {}
        self._settled: dict[str, set[str]] = {}  # machines that need a part no more, by its name
        self._others: set[str] = set()  # those of the part that is read
        self._position = -1
        self._dating = Dating(self._from.zone)
        self._deliveries = Deliveries()

    @property
    def position(self) -> int:
        """Offset of the last record drained."""
        return self._position

    @property
    def is_open(self) -> bool:
        """Whether it holds a descriptor."""
        return self._part is not None and self._part.is_open

    def drain(self) -> list[Record | Loss]:
        """Read lines that have been completed.

        Returns
        -------
        list of Record or Loss
            In the order of the log, all of the part that `name` is about; empty if there
            is nothing more for now.

        Raises
        ------
        SourceError
            If it can't be read, and no `trouble` was given to tell it to.
        """
        try:
            items = self._drain()
        except FileNotFoundError:
            return []  # it was renamed between two looks at it
        except OSError as error:
            self._tell(self.path, error)
            return []
        if items:
            self._wake()
        return items

    def goes_on_with(self, path: str, log: GrowingLog | None) -> bool:
        """Say whether a part of it is known as one of a log of another path.

        Parameters
        ----------
        path
            Of the other log.
        log
            What read it, if it was this watch.
        """
        for part in map(self._opened, reversed(self._folders.parts(self.path))):
            if part is None:
                continue
            with closing(part):
                assert part.head is not None
                name = part_name(path, hashlib.sha256(part.head).hexdigest())
                count = 0
                while last := self._last_of(name + (f"+{count}" if count else ""), log):
                    if last.check and part.check_at(last.seen) == last.check:
                        return True
                    count += 1
        return False

    def _last_of(self, name: str, log: GrowingLog | None) -> Position | _Reached | None:
        if log and (reached := log._reached.get(name)):
            return reached
        return max(self._positions.of(name).values(), key=lambda at: at.seen, default=None)

    def park(self) -> None:
        """Let go of the descriptor until there is more to read."""
        if self._part is not None:
            self._part.close()

    close = park

    def _drain(self) -> list[Record | Loss]:
        while part := self._part or self._open_next():
            self._part = part
            if not part.is_open:
                items = [] if self._reopen(part) else self._leave_gone(part)
            elif part.was_cut():
                items = [] if self._go_on_in_copy(part) else self._leave_cut(part)
            else:
                items = self._read(part)
                if not items:
                    if part.was_cut():
                        continue
                    if not self._newer(part):
                        return []
                    # what was written until that was noticed
                    items = self._read(part) or self._leave(part)
            if items:
                return items
        return []

    # Opening

    def _open_next(self) -> _Part | None:
        paths = self._first() if self._left is None else self._next(self._left)
        part = next(filter(None, map(self._opened, paths)), None)
        if part is None:
            if self._begin == "now":
                self._begin = "resume"  # what is not there yet is new as a whole
            return None
        self._enter(part)
        return part

    # A file that was cut to nothing is read anew, unless it was left as it was.
    def _next(self, left: _Part) -> Iterator[Path]:
        if self._anew and (path := self._found(left)):
            yield path
        yield from self._newer(left)

    # What can't be read is passed over for the next one.
    def _first(self) -> Iterator[Path]:
        parts = self._folders.parts(self.path)
        if self._begin == "resume" and self._positions.knows_path(self._prefix[:-1]):
            return iter(parts[self._resumed(parts) :])
        if self._alone is None:
            older = [] if self._whole else parts[:-1]
            self._alone = {_identity(path.stat()) for path in older}
        wanted = (path for path in parts if _identity(path.stat()) not in self._alone)
        return (path for path in wanted if path.stat().st_size)

    # The newest part that is known, or one before it for those machines whose runs were open
    # all through it; what is not known is newer than it.
    def _resumed(self, parts: list[Path]) -> int:
        start = None
        settled: set[str] = set()
        for place in reversed(range(len(parts))):
            name, known = self._known(parts[place])
            if known:
                if start is not None:
                    self._settled[name] = set(settled)
                start = place
                open_runs = {host for host, at in known.items() if at.resume_after < 0}
                if not open_runs - settled:
                    return start
                settled |= known.keys() - open_runs
            elif start is not None and name:  # what has no line yet was read by nobody
                return start
        if start is None:
            self._lost = True
        return start or 0

    def _known(self, path: Path) -> tuple[str, Mapping[str, Position]]:
        part = self._opened(path)
        if part is None:
            return "", {}
        with closing(part):
            return part.name, self._positions.of(part.name)

    # None if it has no whole line yet, or can't be read.
    def _opened(self, path: Path) -> _Part | None:
        part = None
        try:
            part = _Part(path)
            _check_followed(path, part.beginning)
            if part.head is not None:
                part.name = self._name_of(part)
                return part
        except FileNotFoundError:
            pass
        except (OSError, EOFError, lzma.LZMAError, zlib.error, SourceError) as error:
            if part is not None:
                part.close()
            self._tell(path, error)
        if part is not None:
            part.close()
        return None

    # Another log may begin with the same line, as those of all boots of a kernel do.
    def _name_of(self, part: _Part) -> str:
        assert part.head is not None
        first = name = self._prefix + hashlib.sha256(part.head).hexdigest()
        count = 0
        while not self._continues(part, name):
            count += 1
            name = f"{first}+{count}"
        return name

    def _continues(self, part: _Part, name: str) -> bool:
        known = self._positions.of(name).values()
        last = self._reached.get(name) or max(known, key=lambda at: at.seen, default=None)
        return not (last and last.check) or part.check_at(last.seen) == last.check

    def _enter(self, part: _Part) -> None:
        self._left, self._anew = None, False
        reached = self._reached.get(part.name)
        known = self._positions.of(part.name)
        if self._lost and (reached or known):
            self._lost = False  # it goes on where it was
        oldest = self._begin == "oldest"
        self._after = {} if oldest else {host: at.resume_after for host, at in known.items()}
        self._others = self._settled.pop(part.name, set())
        resume = min(
            (at for host, at in self._after.items() if host not in self._others), default=-1
        )
        self.name = part.name
        self._position = reached.seen if reached else resume
        source = part_source(part.name)
        part.go_to(None if self._begin == "now" else max(self._position, 0))
        before = part.recognise_before(part.offset)
        part.text = LogText(source, self._from.boot_id, None, self._dating, before)
        self._begin = "resume" if self._begin == "now" else self._begin

    # Following

    # The newer parts, which are to be read when this one has been read; an empty file may be
    # there before its writer has turned to it.
    def _newer(self, part: _Part) -> list[Path]:
        if _stat_identity(self.path) == part.identity:
            return []
        parts = self._folders.parts(self.path)
        here = self._found(part, parts)
        if here is not None:
            newer = parts[parts.index(here) + 1 :]
        else:
            newer = [path for path in parts if path.stat().st_mtime_ns >= part.read_ns]
        return [path for path in newer if path.stat().st_size]

    # Where a part is now: it may have been renamed, or compressed.
    def _found(self, part: _Part, parts: list[Path] | None = None) -> Path | None:
        parts = self._folders.parts(self.path) if parts is None else parts
        for path in [part.path, *parts]:
            if path in parts and _stat_identity(path) == part.identity:
                return path
        return None if self._anew else self._copy_of(part, parts)

    def _copy_of(self, part: _Part, parts: list[Path]) -> Path | None:
        for path in reversed(parts):
            if _stat_identity(path) == part.identity:
                continue
            other = self._opened(path)
            if other is not None:
                with closing(other):
                    if other.name == part.name:
                        return path
        return None

    def _reopen(self, part: _Part) -> bool:
        path = self._found(part)
        if path is not None and _stat_identity(path) == part.identity:
            part.open(path)
            return True
        return path is not None and self._go_on_in(path)

    def _go_on_in_copy(self, part: _Part) -> bool:
        path = self._copy_of(part, self._folders.parts(self.path))
        return path is not None and self._go_on_in(path)

    # The last record is read once more: lines may have come that go on with it.
    def _go_on_in(self, path: Path) -> bool:
        other = self._opened(path)
        if other is None:
            return False
        assert self._part is not None
        self._part.close()
        self._enter(other)
        self._part = other
        return True

    def _read(self, part: _Part) -> list[Record | Loss]:
        items: list[Record | Loss] = []
        self._dating.latest = part.written
        try:
            while not items and (chunk := part.read()):
                if part.was_cut():  # since that was looked at: it is of another log
                    return []
                for offset, line in part.lines(chunk):
                    self._feed(part, offset, line, items)
            if not items:
                self._add(part, part.text.finish(), items)
        except (EOFError, lzma.LZMAError, zlib.error) as error:
            self._tell(part.path, error)
            self._lost = True
        return items

    def _tell(self, path: Path, error: Exception) -> None:
        reason = f"{path}: {getattr(error, 'strerror', None) or error}"
        self._trouble(path, str(error) if isinstance(error, SourceError) else printable(reason))

    def _feed(self, part: _Part, offset: int, line: bytes, items: list[Record | Loss]) -> None:
        if not part.is_placed and offset > self._position:
            part.place(offset)
        self._add(part, part.text.feed(offset, line), items)

    def _add(self, part: _Part, record: Record | None, items: list[Record | Loss]) -> None:
        if record is None:
            return
        host = self._from.host if self._from.forced or not record.host else record.host
        if record.seq <= max(self._position, self._after.get(host, -1)) or host in self._others:
            return
        if self._came_again(part, record):
            return
        if self._lost:
            self._lost = False
            items.append(self._emptied(record))
        items.append(record if record.host == host else record._replace(host=host))
        self._position = record.seq
        self.check = part.check_of(record.seq)
        self._reached[part.name] = _Reached(record.seq, self.check)

    def _came_again(self, part: _Part, record: Record) -> bool:
        if part.text.form != "syslog":
            return False
        line = part.noted_line(record.seq) if self._deliveries.may_have_come(record) else None
        if line is not None and any(
            b"\n%b\n" % line in b"\n" + earlier for earlier in self._before(part, record.seq)
        ):
            return True
        self._deliveries.note(record)
        return False

    # What stands before a line, in its part and in those before it, nearest first.
    def _before(self, part: _Part, offset: int) -> Iterator[bytes]:
        earlier = part.before(offset)
        yield earlier
        if len(earlier) == LOOK_BACK_BYTES:
            return
        parts = self._folders.parts(self.path)
        here = self._found(part, parts)
        left = LOOK_BACK_BYTES - len(earlier)
        for path in reversed(parts[: parts.index(here)] if here else []):
            older = self._opened(path) if left > 0 else None
            if older is not None:
                with closing(older):
                    earlier = older.before(None)
                yield earlier
                left -= len(earlier)

    def _emptied(self, record: Record) -> Loss:
        at = datetime.now(UTC)
        return Loss(record.source, record.boot_id, record.seq, record.seq, None, "emptied", at)

    # What a part still gives when it is left is a last line that was never completed.
    def _leave(self, part: _Part) -> list[Record | Loss]:
        items: list[Record | Loss] = []
        rest, part.rest = part.rest, b""
        if rest and not part.is_told:
            self._feed(part, part.offset, rest, items)
        last = part.text.finish()
        self._add(part, last._replace(truncated=True) if last and rest else last, items)
        part.close()
        self._part, self._left = None, part
        while len(self._reached) > _REMEMBERED_PARTS:
            del self._reached[next(iter(self._reached))]
        return items

    # It was removed while it was closed: what came in between, if anything did, is gone.
    def _leave_gone(self, part: _Part) -> list[Record | Loss]:
        items = self._leave(part)
        self._lost = True
        return items

    def _leave_cut(self, part: _Part) -> list[Record | Loss]:
        items = self._leave(part)
        self._anew = self._lost = True
        return items


_Identity = tuple[int, int]


@dataclass
class _Reached:
    seen: int
    check: int


class _Part:
    """A file of a log, and how far it has been read."""

    def __init__(self, path: Path) -> None:
        self.name = ""
        self.text = LogText("")
        self.offset = 0  # of the line that `rest` begins
        self.rest = b""
        self.is_placed = False  # whether it is known what was told before the next line
        self.is_told = False  # whether that is what is left of a line too long to wait for its end
        self.read_ns = 0
        self._lines: dict[int, bytes] = {}
        self._last: tuple[int, bytes] | None = None
        self.open(path)
        try:
            self.head = self._line_at(0)
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    def open(self, path: Path) -> None:
        """Open the file, or open it again where it is now."""
        self.path = path
        self._files = ExitStack()
        raw = self._files.enter_context(path.open("rb"))
        try:
            status = os.fstat(raw.fileno())
            self.identity = _identity(status)
            self.packed = raw.peek(6).startswith(_PACKINGS)
            stream = self._files.enter_context(open_log(path)) if self.packed else raw
        except BaseException:
            self._files.close()
            raise
        self._raw = raw
        self._stream: BinaryIO | None = stream
        stream.seek(self.offset + len(self.rest))

    @property
    def beginning(self) -> bytes:
        at = self.stream.tell()
        self.stream.seek(0)
        beginning = self.stream.read(_HEAD_BYTES)
        self.stream.seek(at)
        return beginning

    def close(self) -> None:
        if self._stream is not None:
            self._stream = None
            self._files.close()

    @property
    def stream(self) -> BinaryIO:
        assert self._stream is not None
        return self._stream

    @property
    def written(self) -> datetime:
        """When it was written last, UTC."""
        return datetime.fromtimestamp(os.fstat(self._raw.fileno()).st_mtime, UTC)

    def go_to(self, offset: int | None) -> None:
        """Read on from an offset, or from the end."""
        self.rest, self.is_told = b"", False
        end = os.SEEK_END
        self.offset = self.stream.seek(0, end) if offset is None else self.stream.seek(offset)

    # Left until there is a new line, as for most of many logs there is none for long.
    def place(self, offset: int) -> None:
        """Know what the lines before an offset tell of those behind it."""
        self.is_placed = True
        self.text.go_on(self.stream, offset)

    def read(self) -> bytes:
        chunk = self.stream.read(_CHUNK_BYTES)
        self.read_ns = os.fstat(self._raw.fileno()).st_mtime_ns
        return chunk

    def lines(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Cut what was read into whole lines with their offsets; what is too long is cut off."""
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            offset, self.offset = self.offset, self.offset + len(line) + 1
            if not self.is_told:
                yield self._noted(offset, line.rstrip(b"\r"))
            self.is_told = False
        if len(self.rest) > _CHUNK_BYTES:
            line, self.rest = self.rest, b""
            offset, self.offset = self.offset, self.offset + len(line)
            if not self.is_told:
                yield self._noted(offset, line)
            self.is_told = True

    def _noted(self, offset: int, line: bytes) -> tuple[int, bytes]:
        if len(self._lines) == _REMEMBERED_LINES:
            self._lines.clear()
        self._lines[offset] = line[:_CHECKED_BYTES]
        return offset, line

    def noted_line(self, seq: int) -> bytes | None:
        """Give the line of a record; None if it is too long to be kept."""
        line = self._lines.get(seq)
        return line if line and len(line) < _CHECKED_BYTES else None

    def before(self, offset: int | None) -> bytes:
        """Give what stands before an offset, or at the end, as far as one looks back."""
        at = self.stream.tell()
        end = self.stream.seek(0, os.SEEK_END) if offset is None else offset
        start = self.stream.seek(max(end - LOOK_BACK_BYTES, 0))
        text = self.stream.read(end - start)
        self.stream.seek(at)
        return text

    def check_of(self, seq: int) -> int:
        """Digest the line of a record, and forget the lines up to it."""
        line = self._lines.get(seq)
        self._lines = {offset: line for offset, line in self._lines.items() if offset > seq}
        self._last = None if line is None else (seq, line)
        return 0 if line is None else _check(line)

    def check_at(self, seq: int) -> int | None:
        """Digest the line at an offset; None if there is no whole one."""
        line = self._line_at(seq)
        return None if line is None else _check(line.rstrip(b"\r\n"))

    def recognise_before(self, offset: int) -> Recogniser:
        """Give what has seen the lines before an offset, by which others are read."""
        recogniser = Recogniser()
        at = self.stream.tell()
        self.stream.seek(0)
        # one whose end alone is behind the offset is not read either
        *lines, _ = self.stream.read(min(offset + 1, _FORM_BYTES)).split(b"\n")
        self.stream.seek(at)
        for line in lines:
            if recogniser.is_settled:
                break
            recogniser.take(line.rstrip(b"\r"))
        return recogniser

    def _line_at(self, offset: int) -> bytes | None:
        at = self.stream.tell()
        self.stream.seek(offset)
        line = self.stream.readline(_HEAD_BYTES)
        self.stream.seek(at)
        return line if line.endswith(b"\n") or len(line) == _HEAD_BYTES else None

    def was_cut(self) -> bool:
        """Whether the file was cut to nothing, and perhaps filled again."""
        if self.packed:
            return False
        descriptor = self._raw.fileno()
        if os.fstat(descriptor).st_size < self.offset + len(self.rest):
            return True
        expected = [(0, self.head or b""), *([self._last] if self._last else [])]
        return any(os.pread(descriptor, len(text), at) != text for at, text in expected)


def _check_followed(path: Path, beginning: bytes) -> None:
    *lines, _ = beginning.split(b"\n")
    if form := not_followed(lines):
        raise SourceError(
            printable(f"{path}: a log in this form can't be followed: {form}"),
            printable(f"read it when it is complete: logtrace import {path}"),
        )
    if b"\0" in beginning:
        raise SourceError(printable(f"{path}: not a text log"))


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _stat_identity(path: Path) -> _Identity | None:
    try:
        return _identity(path.stat())
    except FileNotFoundError:
        return None


def _check(line: bytes) -> int:
    digest = hashlib.sha256(line[:_CHECKED_BYTES]).digest()
    return int.from_bytes(digest[:7]) or 1
