"""A text log that other programs append to, followed with watchdog."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from logtrace.errors import SourceError
from logtrace.record import Loss, Record, printable
from logtrace.source.logfile import LogText

_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 4096


class FileSource:
    """A text log that other programs append to, followed with watchdog.

    A file that is renamed away is read to its end before the new one of its name, also if
    it was renamed while nobody watched; one that is cut to nothing is read from its
    beginning again. A last line without its
    newline waits for the rest. `name` holds a digest of the file's first line: when it
    changes, `position` begins anew.

    Parameters
    ----------
    path
        The file; it may not exist yet.
    resume_after
        Called with `name` when a file is opened: the offset of the last record that is
        already known of it, or None.
    only_new
        Begin at the end.
    boot_id
        As in `Record`.

    Raises
    ------
    SourceError
        If its folder does not exist or can't be watched.
    """

    def __init__(
        self,
        path: Path,
        *,
        resume_after: Callable[[str], int | None] = lambda _name: None,
        only_new: bool = False,
        boot_id: str | None = None,
    ) -> None:
        self.path = path.absolute()
        self._prefix = printable(f"file:{self.path}:")
        self.name = self._prefix
        self._resume_after = resume_after
        self._only_new = only_new
        self._looked_back = only_new
        self._boot_id = boot_id
        self._stream: IO[bytes] | None = None
        self._text = LogText("")
        self._rest = b""
        self._offset = 0
        self._position = -1
        self._head = b""
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._observer = Observer()
        try:
            self._observer.schedule(_Waker(self.path, self._ring), str(self.path.parent))
            self._observer.start()
        except OSError as error:
            self._observer.stop()
            self._close_pipe()
            raise SourceError(f"{self.path.parent}: {error.strerror}") from None
        self._ring()

    @property
    def position(self) -> int:
        """Offset of the last record drained."""
        return self._position

    def fileno(self) -> int:
        """Give the pipe that watchdog rings."""
        return self._woken

    def drain(self) -> list[Record | Loss]:
        """Read lines that have been completed.

        Returns
        -------
        list of Record or Loss
            In the order of the file, all of the file that `name` is about; empty if there
            is nothing more for now.

        Raises
        ------
        SourceError
            If the file can't be read.
        """
        self._silence()
        try:
            return self._drain()
        except FileNotFoundError:
            self._only_new = False
            return []  # it was renamed between two looks at it
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror}") from None

    def close(self) -> None:
        """Stop watching and close the file."""
        self._observer.stop()
        self._observer.join()
        self._forget()
        self._close_pipe()

    def _ring(self) -> None:
        try:
            os.write(self._wake, b"!")
        except BlockingIOError:
            return  # enough bells are waiting

    def _silence(self) -> None:
        try:
            while os.read(self._woken, 4096):
                pass
        except BlockingIOError:
            return

    def _close_pipe(self) -> None:
        os.close(self._woken)
        os.close(self._wake)

    def _drain(self) -> list[Record | Loss]:
        items = self._leave() if self._was_cut() else self._read()
        while not items:
            if self._was_renamed():
                items = self._read() or self._leave()
            elif self._stream is None and self._open():
                items = self._read()
            else:
                break
        if items:
            self._ring()  # there may be more
        return items

    # The file's first line tells it from the file that had its name before.
    def _open(self) -> bool:
        path = self._renamed_meanwhile() or self.path
        head = _head(path)
        if head is None:
            self._only_new = False
            return False
        self._stream, self._head = path.open("rb"), head
        digest = _digest(head)
        self._text = LogText(printable(f"{self.path}@{digest[:12]}"), self._boot_id)
        self._find_place(self._prefix + digest)
        return True

    # The file that was read the last time may have been renamed while nobody watched.
    def _renamed_meanwhile(self) -> Path | None:
        looked_back, self._looked_back = self._looked_back, True
        if looked_back or self._is_known(self.path):
            return None
        siblings = [
            path
            for path in self.path.parent.iterdir()
            if path.name.startswith(self.path.name) and path.is_file() and os.access(path, os.R_OK)
        ]
        known = [path for path in siblings if self._is_known(path)]
        return max(known, key=lambda path: path.stat().st_mtime, default=None)

    def _is_known(self, path: Path) -> bool:
        head = _head(path)
        return head is not None and self._resume_after(self._prefix + _digest(head)) is not None

    def _find_place(self, name: str) -> None:
        assert self._stream is not None
        known = self._resume_after(name)
        if name != self.name:
            self.name, self._position = name, -1
        self._position = max(self._position, -1 if known is None else known)
        if self._only_new:
            self._offset = self._stream.seek(0, os.SEEK_END)
        else:
            self._offset = self._stream.seek(max(self._position, 0))
        self._only_new = False

    def _read(self) -> list[Record | Loss]:
        if self._stream is None:
            return []
        items: list[Record | Loss] = []
        while not items:
            chunk = self._stream.read(_CHUNK_BYTES)
            if not chunk:
                self._add(self._text.finish(), items)
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._add(self._text.feed(self._offset, line.rstrip(b"\r")), items)
                self._offset += len(line) + 1
            if len(self._rest) > _CHUNK_BYTES:
                self._add(self._text.feed(self._offset, self._rest), items)
                self._offset += len(self._rest)
                self._rest = b""
        return items

    def _add(self, record: Record | None, items: list[Record | Loss]) -> None:
        if record is not None and record.seq > self._position:
            items.append(record)
            self._position = record.seq

    # Whether the file was cut to nothing, and perhaps filled again.
    def _was_cut(self) -> bool:
        if self._stream is None:
            return False
        return os.pread(self._stream.fileno(), len(self._head), 0) != self._head

    # An empty file may have the name before its writer has turned to it.
    def _was_renamed(self) -> bool:
        if self._stream is None:
            return False
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._stream.fileno())
        return there.st_size > 0 and not os.path.samestat(mine, there)

    # Close the file; what it still gives is a last line that was never completed.
    def _leave(self) -> list[Record | Loss]:
        items: list[Record | Loss] = []
        if self._rest:
            self._add(self._text.feed(self._offset, self._rest), items)
        last = self._text.finish()
        self._add(replace(last, truncated=True) if last and self._rest else last, items)
        self._forget()
        return items

    def _forget(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._rest = b""


# A file's first line, if it is complete.
def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            head = stream.readline(_HEAD_BYTES)
    except FileNotFoundError:
        return None
    return head if head.endswith(b"\n") or len(head) == _HEAD_BYTES else None


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()


class _Waker(FileSystemEventHandler):
    def __init__(self, path: Path, ring: Callable[[], None]) -> None:
        self._path = os.fsencode(path)
        self._ring = ring

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring if the event is about the file."""
        if event.event_type in ("opened", "closed_no_write"):
            return
        if self._path in (os.fsencode(event.src_path), os.fsencode(event.dest_path)):
            self._ring()
