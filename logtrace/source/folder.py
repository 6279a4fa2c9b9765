"""Logs that are watched together, by watchdog: the files of a folder, or one of them."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify_c import InotifyConstants, inotify_add_watch, inotify_init
from watchdog.observers.polling import PollingObserver

from logtrace.errors import SourceError
from logtrace.record import printable
from logtrace.source.follow import Beginning, GrowingLog, Moved
from logtrace.source.rotation import Folders, is_log, place_of

_MOST_OPEN = 200  # files; a process may usually have 1024
_MOST_AT_ONCE = 50  # logs that are given at a time, so that other sources are not kept waiting
_POLL_S = 1.0
# not notified of what another machine, or the layer below, does
_POLLED = re.compile(
    r"nfs4?|cifs|smb\w*|9p|virtiofs|overlay|ceph|lustre|afs|gpfs|fuse(?:\.\w+)?|fuseblk"
)
_WORTH_A_LOOK: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
_WATCHDOG = logging.getLogger("watchdog.observers.inotify_c")
_TOO_FEW = {
    errno.ENOSPC: "there are too few inotify watches",
    errno.EMFILE: "there are too few inotify instances",
}
_NO_ROOM = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches with sysctl",
    errno.EMFILE: "raise fs.inotify.max_user_instances with sysctl",
}


class Layout(NamedTuple):
    """Which files are logs, and whose.

    Parameters
    ----------
    root
        The folder that is watched.
    names
        Matches the paths of logs below it, without what rotation adds to their names; its
        group ``host`` is the machine.
    recursive
        Whether the folders in it are watched too.
    """

    root: Path
    names: re.Pattern[str]
    recursive: bool

    @classmethod
    def of(cls, source: str) -> Layout:
        """Read what names logs.

        Parameters
        ----------
        source
            A file; a folder, all of whose files are logs, those in a folder ``NAME`` of it
            of the machine ``NAME``; or a path with ``*`` for any name and ``{host}`` for the
            machine's.
        """
        path = Path(source).absolute()
        if path.is_dir():
            return cls(path, re.compile(r"(?:(?P<host>[^/]+)/)?.+", re.DOTALL), True)
        parts = path.parts
        first = next((at for at, part in enumerate(parts) if _is_pattern(part)), None)
        if first is None:
            path = path.parent.resolve() / path.name
            if path.is_symlink():
                path = path.resolve()
            name = place_of(path.name).base
            return cls(path.parent, re.compile(re.escape(name)), False)
        root = Path(*parts[:first])
        names = "/".join(map(_pattern, parts[first:]))
        return cls(root, re.compile(names), len(parts) - first > 1)

    def log_of(self, path: Path) -> Path | None:
        """Give the log that a file is a part of; None if it is none of these."""
        log = path.parent / place_of(path.name).base
        return log if self._match(log) else None

    @property
    def many(self) -> bool:
        """Whether it may be more than one log."""
        return self.recursive or self.names.groups > 0 or "*" in self.names.pattern

    def host_of(self, log: Path) -> str | None:
        """Give the machine that a log's path names."""
        match = self._match(log)
        host = match.groupdict().get("host") if match else None
        return None if host is None else printable(host)

    def _match(self, log: Path) -> re.Match[str] | None:
        return self.names.fullmatch(str(log.relative_to(self.root)))


def _is_pattern(part: str) -> bool:
    return "*" in part or "{host}" in part


def _pattern(part: str) -> str:
    pieces = re.split(r"(\*|\{host\})", part)
    meaning = {"*": "[^/]*", "{host}": "(?P<host>[^/]+)"}
    return "".join(meaning.get(piece, re.escape(piece)) for piece in pieces)


class FileTree:
    """Logs that are watched together.

    One inotify instance watches all of it. Where the file system gives no notice, or there
    is no room for more watches, it is looked at every second instead. Of many files the
    quiet ones are closed, and opened again when they grow.

    Parameters
    ----------
    layout
        Which files, and whose.
    beginning
        Where they begin; its host is that of files whose path names none.
    most_open
        How many files may be open.

    Raises
    ------
    SourceError
        If the folder does not exist or can't be watched.
    """

    def __init__(
        self, layout: Layout, beginning: Beginning, *, most_open: int = _MOST_OPEN
    ) -> None:
        self._layout = layout
        self._beginning = beginning
        self._most_open = most_open
        self._folders = Folders()
        self._logs: dict[Path, GrowingLog] = {}
        self._waiting: dict[GrowingLog, None] = {}
        self._recent: dict[GrowingLog, None] = {}
        self._gone: dict[str, list[Path]] | None = None  # logs without files, by their names
        self._notices: list[str] = []
        self._noticed: set[str] = set()
        self._lock = threading.Lock()
        self._changed: dict[Path, bool] = {}  # paths, and whether they are folders
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._observer = self._watch()
        except OSError as error:
            self._close_pipe()
            raise SourceError(printable(f"{layout.root}: {error.strerror}")) from None
        self._overflows = _Overflows(lambda: self._note_change(layout.root, is_folder=True))
        _WATCHDOG.addHandler(self._overflows)
        # what comes later, while it is watched or was not, is new as a whole
        below = printable(str(layout.root))
        self._whole = layout.many and beginning.positions.knows_below(below)
        self._scan(layout.root)
        self._whole = True
        if beginning.begin == "now":
            self._beginning = replace(beginning, begin="resume")
        self._ring()

    def fileno(self) -> int:
        """Give the pipe that watchdog rings."""
        return self._woken

    def ready(self) -> Sequence[GrowingLog]:
        """Give logs that may have grown or come, some of them if there are many."""
        self._silence()
        self._take_changes()
        self._park_quiet()
        logs = list(self._waiting)[:_MOST_AT_ONCE]
        for log in logs:
            del self._waiting[log]
            self._recent.pop(log, None)
            self._recent[log] = None
        if self._waiting:
            self._ring()
        return logs

    def _park_quiet(self) -> None:
        while len(self._recent) > self._most_open:
            quiet = next(iter(self._recent))
            del self._recent[quiet]
            quiet.park()

    def take_notices(self) -> list[str]:
        """Give what can't be followed and why, each once."""
        notices, self._notices = self._notices, []
        return notices

    def close(self) -> None:
        """Stop watching and close the files."""
        _WATCHDOG.removeHandler(self._overflows)
        self._stop(self._observer)
        for log in self._logs.values():
            log.close()
        self._beginning.followed.difference_update(self._logs)
        self._close_pipe()

    # Watching

    def _watch(self) -> BaseObserver:
        root = self._layout.root
        if _POLLED.fullmatch(file_system(root)):
            return self._observed(PollingObserver(timeout=_POLL_S))
        try:
            observer = self._observed(Observer())
        except OSError as error:
            return self._polled_instead(error)
        if self._layout.recursive and (lack := _no_more_watches(root)):
            self._stop(observer)
            return self._polled_instead(lack)
        return observer

    def _polled_instead(self, error: OSError) -> BaseObserver:
        if error.errno not in _NO_ROOM:
            raise error
        self._note(
            f"{self._layout.root}: {_TOO_FEW[error.errno]}; looking every second instead"
            f" ({_NO_ROOM[error.errno]})"
        )
        return self._observed(PollingObserver(timeout=_POLL_S))

    def _observed(self, observer: BaseObserver) -> BaseObserver:
        # watchdog warns where a folder is noticed twice, as it is when it comes with others in it
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        try:
            observer.schedule(
                _Handler(self._note_change),
                str(self._layout.root),
                recursive=self._layout.recursive,
                event_filter=_WORTH_A_LOOK,
            )
            observer.start()
        except BaseException:
            observer.stop()
            raise
        return observer

    def _stop(self, observer: BaseObserver) -> None:
        observer.stop()
        observer.join()

    # Called in a thread of watchdog
    def _note_change(self, path: Path, *, is_folder: bool) -> None:
        with self._lock:
            self._changed[path] = is_folder
        self._ring()

    def _take_changes(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, {}
        self._gone = None
        for path, is_folder in changed.items():
            if path == self._layout.root:
                if not path.exists():
                    self._note(f"{path}: the folder is gone")
                self._scan(path)
            elif not is_folder:
                self._look_at(path)
            elif self._layout.recursive:
                self._scan(path)
                self._ensure_room()

    def _ensure_room(self) -> None:
        if isinstance(self._observer, PollingObserver):
            return
        if error := _no_more_watches(self._layout.root):
            self._stop(self._observer)
            self._observer = self._polled_instead(error)
            self._scan(self._layout.root)

    # Finding

    def _scan(self, folder: Path) -> None:
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._note(f"{folder}: {error.strerror}")
            return
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                if self._layout.recursive and not entry.name.startswith("."):
                    self._scan(Path(entry))
            elif is_log(entry):
                self._look_at(Path(entry))
            elif not entry.name.startswith(".") and self._layout.log_of(Path(entry)):
                self._note(f"{Path(entry)}: {_kind(entry)}, not followed")

    def _look_at(self, path: Path) -> None:
        name = self._layout.log_of(path)
        if name is None or self._is_hidden(path):
            return
        if name not in self._logs:
            if not path.is_file() or path.is_symlink() or name in self._beginning.followed:
                return
            self._beginning.followed.add(name)
            self._logs[name] = self._new_log(name)
            self._find_moved(name)
        self._waiting[self._logs[name]] = None

    # A log whose folder was renamed goes on where it was under its old name.
    def _find_moved(self, path: Path) -> None:
        log = self._logs[path]
        for old in self._gone_logs().get(path.name, ()):
            other = self._logs.get(old)
            if old != path and log.goes_on_with(printable(str(old)), other):
                names = printable(str(old)), printable(str(path))
                log.moved.append(Moved(other, *names, (self._host_of(old), self._host_of(path))))
                if other is not None:
                    self._forget(old, other)

    def _forget(self, path: Path, log: GrowingLog) -> None:
        log.close()
        del self._logs[path]
        self._waiting.pop(log, None)
        self._recent.pop(log, None)
        self._beginning.followed.discard(path)

    def _gone_logs(self) -> dict[str, list[Path]]:
        if self._gone is None:
            self._gone = {}
            known = map(Path, self._beginning.positions.logs())
            below = (path for path in known if path.is_relative_to(self._layout.root))
            for path in dict.fromkeys([*self._logs, *below]):
                if not self._folders.parts(path):
                    self._gone.setdefault(path.name, []).append(path)
        return self._gone

    def _host_of(self, path: Path) -> str:
        named = None if self._beginning.forced else self._layout.host_of(path)
        return named or self._beginning.host

    def _is_hidden(self, path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(self._layout.root).parts)

    # The one file that was asked for must be readable; of many, the others go on.
    def _new_log(self, path: Path) -> GrowingLog:
        beginning = replace(self._beginning, host=self._host_of(path))

        def wake() -> None:
            self._waiting[log] = None
            self._ring()

        def tell(part: Path, text: str) -> None:
            if part == path and not self._layout.many:
                raise SourceError(text)
            self._note(text)

        log = GrowingLog(path, beginning, self._folders, whole=self._whole, trouble=tell, wake=wake)
        return log

    def _note(self, text: str) -> None:
        text = printable(text)
        if text not in self._noticed:
            self._noticed.add(text)
            self._notices.append(text)
            self._ring()

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


class _Handler(FileSystemEventHandler):
    def __init__(self, note_change: Callable[..., None]) -> None:
        self._note_change = note_change

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note the paths that the event is about."""
        for path in (event.src_path, event.dest_path):
            if path:
                self._note_change(Path(os.fsdecode(path)), is_folder=event.is_directory)


# When the kernel drops notices, watchdog says so in its log only.
class _Overflows(logging.Handler):
    def __init__(self, look_at_all: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._look_at_all = look_at_all

    def emit(self, record: logging.LogRecord) -> None:
        """Look at everything, whatever watchdog complains of."""
        self._look_at_all()


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Name the type of the file system that a path is on; empty if it can't be known."""
    try:
        device = path.stat().st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in mounts.read_text(errors="replace").splitlines():
            mount, _, file_system = line.partition(" - ")
            if mount.split()[2] == number:
                return file_system.split()[0]
    except (OSError, IndexError):
        return ""
    return ""


# A sub-folder that there was no room for is passed over by watchdog without a word.
def _no_more_watches(folder: Path) -> OSError | None:
    descriptor = inotify_init()
    failed = descriptor == -1
    if not failed:
        failed = (
            inotify_add_watch(descriptor, os.fsencode(folder), InotifyConstants.IN_CREATE) == -1
        )
    code = ctypes.get_errno()
    if descriptor != -1:
        os.close(descriptor)
    return OSError(code, _TOO_FEW[code]) if failed and code in _TOO_FEW else None


def _kind(entry: os.DirEntry[str]) -> str:
    return "a symbolic link" if entry.is_symlink() else "not a plain file"
