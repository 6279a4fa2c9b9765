"""A text log that other programs append to, followed with watchdog."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from logtrace.errors import SourceError
from logtrace.record import Loss, Record
from logtrace.source.logfile import LogText

_CHUNK_BYTES = 1 << 20


class FileSource:
    """A text log that other programs append to, followed with watchdog.

    A file that is renamed away is read to its end before the new one of its name; one
    that is cut to nothing is read from its beginning again. A last line without its
    newline waits for the rest.

    Parameters
    ----------
    path
        The file; it may not exist yet.
    resume_after
        Offset of the last record that is already known, by the name that `name_of` gives.
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
        self.name = f"file:{self.path}:"
        self._resume_after = resume_after
        self._only_new = only_new
        self._boot_id = boot_id
        self._stream: IO[bytes] | None = None
        self._text = LogText("")
        self._rest = b""
        self._offset = 0
        self._position = -1
        self._skip_to = -1
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._observer = Observer()
        try:
            self._observer.schedule(_Waker(self.path, self._ring), str(self.path.parent))
            self._observer.start()
        except OSError as error:
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
        """Read the lines that have been completed.

        Returns
        -------
        list of Record or Loss
            In the order of the file.
        """
        self._silence()
        items: list[Record | Loss] = []
        if self._stream is None and not self._open():
            return items
        self._read_lines(items)
        if self._replaced():
            self._add(self._text.finish(), items)
            self._forget()
            self._only_new = False
            if self._open():
                self._read_lines(items)
        return items

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

    # The file's first line tells it from the file that had its name before.
    def _open(self) -> bool:
        try:
            stream = self.path.open("rb")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror}") from None
        head = stream.readline(4096)
        if not head.endswith(b"\n") and len(head) < 4096:
            stream.close()
            return False
        digest = hashlib.sha256(head).hexdigest()
        self.name = f"file:{self.path}:{digest}"
        self._stream = stream
        self._text = LogText(f"{self.path}@{digest[:12]}", self._boot_id)
        known = self._resume_after(self.name)
        self._skip_to = -1 if known is None else known
        self._offset = stream.seek(0, os.SEEK_END if self._only_new else os.SEEK_SET)
        self._only_new = False
        return True

    def _read_lines(self, items: list[Record | Loss]) -> None:
        assert self._stream is not None
        while chunk := self._stream.read(_CHUNK_BYTES):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._add(self._text.feed(self._offset, line.rstrip(b"\r")), items)
                self._offset += len(line) + 1
        self._add(self._text.finish(), items)

    def _add(self, record: Record | None, items: list[Record | Loss]) -> None:
        if record is not None and record.seq > self._skip_to:
            items.append(record)
            self._position = record.seq

    def _replaced(self) -> bool:
        assert self._stream is not None
        mine = os.fstat(self._stream.fileno())
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return there.st_ino != mine.st_ino or there.st_size < self._offset

    def _forget(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._rest = b""


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
