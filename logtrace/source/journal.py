"""Journals of systemd: the machine's own, and those that others sent to a folder.

An entry is known by its number in the journal's own numbering, which goes on from file to
file as they are rotated, and over reboots.
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from logtrace.errors import SourceError
from logtrace.record import Loss, Record, decode_text, printable
from logtrace.source.follow import Beginning
from logtrace.source.redelivery import Deliveries
from logtrace.source.sdjournal import Journal, Place

_DRAIN_ENTRIES = 20_000
_OWN_FOLDERS = (Path("/var/log/journal"), Path("/run/log/journal"))
_MACHINE_ID = Path("/etc/machine-id")
_MAGIC = b"LPKSHHRH"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USER_FACILITY = 1
# What journald itself says when the ring buffer was overwritten before it read on
_MISSED_ID = "e9bf28e6e834481bb6f48f548ad13606"
_MISSED = re.compile(rb"Missed (\d{1,18}) kernel messages")

Stored = Callable[[str], tuple[int, int] | None]
"""Of a source's name: up to which number it has been seen, and behind which to go on."""


class JournalSource:
    """The kernel's messages of one machine in a journal.

    `name` holds the id of the journal's numbering: when that changes, as after damage,
    `position` begins anew.

    Parameters
    ----------
    path
        A folder of journal files, or one file; None is the machine's own journal.
    host
        The machine whose entries are read, as the field ``_HOSTNAME`` names it; None is any.
    stored
        Called with a `name`: how far it has been stored, or None.
    only_new
        Begin at the end.

    Raises
    ------
    SourceError
        If the journal can't be read.
    """

    def __init__(
        self,
        path: Path | None = None,
        host: str | None = None,
        *,
        stored: Stored = lambda _name: None,
        only_new: bool = False,
    ) -> None:
        self._where = "journal" if path is None else printable(str(path))
        self._is_own = path is None
        of_host = [] if host is None else [f"_HOSTNAME={host}"]
        self._of_host = of_host
        self.name = _name("")
        self._stored = stored
        self._numbering = ""
        self._passed: set[str] = set()  # numberings before this one
        self._deliveries = Deliveries()
        self._position = -1
        self._certain = -1  # the last entry, of any program, before which nothing is unseen
        self._held: tuple[Place, Record | Loss] | None = None
        _require_readable(path)
        with ExitStack() as opened, _told(self._where):
            self._kernel = opened.enter_context(closing(Journal(path, _kernel_entries(of_host))))
            self._all = opened.enter_context(closing(Journal(path, [of_host] if host else ())))
            self._epoll = opened.enter_context(closing(select.epoll()))
            self._bell = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            opened.callback(os.close, self._bell)
            self._epoll.register(self._bell, select.EPOLLIN)
            self._epoll.register(self._kernel.fileno(), select.EPOLLIN)
            self._all.fileno()  # from now on it takes note of changes
            self._find_place(only_new)
            self._opened = opened.pop_all()

    @property
    def position(self) -> int:
        """Number of the last entry drained."""
        return self._position

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when the journal grows."""
        return self._epoll.fileno()

    def drain(self) -> list[Record | Loss]:
        """Read the entries that have come, all of the numbering that `name` is about.

        Returns
        -------
        list of Record or Loss
            In the order of the journal. A loss is what journald missed of the kernel's ring
            buffer (``overrun``), or entries that were removed before they were read
            (``vacuumed``): its count is of entries of any program.

        Raises
        ------
        SourceError
            If the journal can't be read.
        """
        with _told(self._where):
            return self._drain()

    def close(self) -> None:
        """Close the journal."""
        self._opened.close()

    # Behind the newest entry that is known: all before it was given before it.
    def _find_place(self, only_new: bool) -> None:
        known: dict[str, int] = {}
        self._kernel.seek_tail()
        while self._kernel.previous():
            place = self._kernel.place()
            if place.numbering not in known:
                stored = self._stored(_name(place.numbering))
                known[place.numbering] = -1 if stored is None else stored[1]
            if only_new or place.seq <= known[place.numbering]:
                self._enter(place.numbering)
                self._position = self._certain = place.seq
                return
        self._kernel.seek_head()

    def _drain(self) -> list[Record | Loss]:
        self._silence()
        files_changed = self._kernel.process()
        self._all.process()
        newest = self._last_of_all()
        items: list[Record | Loss] = list(self._vacuumed()) if files_changed else []
        while len(items) < _DRAIN_ENTRIES:
            entry = self._held or self._next()
            self._held = None
            if entry is None:
                if newest and newest.numbering == self._numbering:
                    self._certain = max(self._certain, newest.seq)
                return items
            place, item = entry
            if place.numbering != self._numbering:
                if items:  # of the numbering before
                    self._held = entry
                    break
                self._enter(place.numbering)
                items += self._vacuumed()
            if place.seq > self._position:
                if not self._came_again(place, item):
                    items.append(item)
                self._position = place.seq
                self._certain = max(self._certain, place.seq)
        os.eventfd_write(self._bell, 1)  # there may be more
        return items

    def _silence(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return

    # What a machine sent again, as its connection broke, has a number of its own.
    def _came_again(self, place: Place, item: Record | Loss) -> bool:
        if self._is_own or isinstance(item, Loss):
            return False
        if self._deliveries.may_have_come(item) and self._has_before(place, item):
            return True
        self._deliveries.note(item)
        return False

    def _has_before(self, place: Place, record: Record) -> bool:
        boot = "" if record.boot_id is None else UUID(record.boot_id).hex
        stamps = [f"_BOOT_ID={boot}", f"_SOURCE_MONOTONIC_TIMESTAMP={record.usec}"]
        self._all.choose([["_TRANSPORT=kernel", *stamps, *self._of_host]])
        try:
            self._all.seek_head()
            while self._all.next():
                other = self._all.place()
                if self._was_before(other, place):
                    found = _item(self._all, other, self._where)
                    if isinstance(found, Record) and record == found._replace(
                        source=record.source, seq=record.seq
                    ):
                        return True
            return False
        finally:
            self._all.choose([self._of_host] if self._of_host else ())

    def _was_before(self, other: Place, place: Place) -> bool:
        if other.numbering == place.numbering:
            return other.seq < place.seq
        return other.numbering in self._passed or self._stored(_name(other.numbering)) is not None

    def _enter(self, numbering: str) -> None:
        if self._numbering:
            self._passed.add(self._numbering)
        self._numbering = numbering
        self.name = _name(numbering)
        seen, self._position = self._stored(self.name) or (-1, -1)
        self._certain = self._position if self._position >= 0 else seen

    def _next(self) -> tuple[Place, Record | Loss] | None:
        if not self._kernel.next():
            return None
        place = self._kernel.place()
        item = _item(self._kernel, place, self._where)
        if self._is_own and isinstance(item, Record):
            item = item._replace(host=None)  # this machine, whatever it was called then
        return place, item

    def _last_of_all(self) -> Place | None:
        self._all.seek_tail()
        return self._all.place() if self._all.previous() else None

    # The oldest files are removed first, so what is missing is missing before the first entry.
    # What of it had been seen is told apart, as it may have been stored.
    def _vacuumed(self) -> Iterator[Loss]:
        self._all.seek_head()
        if self._certain < 0 or not self._all.next():
            return
        oldest = self._all.place()
        if oldest.numbering != self._numbering:
            return
        seen, _ = self._stored(self.name) or (-1, -1)
        first, last = self._certain + 1, oldest.seq - 1
        for start, end in ((first, min(last, seen)), (max(first, seen + 1), last)):
            if start <= end:
                source, now = _source(self._where, oldest), datetime.now(UTC)
                yield Loss(source, None, start, end, end - start + 1, "vacuumed", now)
                self._position = self._certain = end


class JournalTree:
    """The machines of a folder of journals, each a log of its own.

    One whose first entry comes later is noticed when it comes.

    Parameters
    ----------
    path
        The folder.
    beginning
        Where to begin; what comes later is new as a whole.

    Raises
    ------
    SourceError
        If the journals can't be read.
    """

    def __init__(self, path: Path, beginning: Beginning) -> None:
        self._path = path
        self._where = printable(str(path))
        self._beginning = beginning
        self._sources: dict[int, JournalSource] = {}
        self._hosts: set[str] = set()
        _require_readable(path)
        with ExitStack() as opened, _told(self._where):
            self._opened = opened
            self._folder = opened.enter_context(closing(Journal(path)))
            self._epoll = opened.enter_context(closing(select.epoll()))
            self._epoll.register(self._folder.fileno(), select.EPOLLIN)
            self._open_new()
            self._opened = opened.pop_all()
        if beginning.begin == "now":
            self._beginning = replace(beginning, begin="resume")

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when a journal grows or comes."""
        return self._epoll.fileno()

    def ready(self) -> Sequence[JournalSource]:
        """Give the machines that may have new entries."""
        with _told(self._where):
            self._folder.process()
            self._open_new()
        grown = (descriptor for descriptor, _ in self._epoll.poll(0))
        return [self._sources[each] for each in grown if each in self._sources]

    def take_notices(self) -> list[str]:
        """Give what can't be followed: nothing, as what can't be read is raised."""
        return []

    def close(self) -> None:
        """Close the journals."""
        self._opened.close()

    def _open_new(self) -> None:
        for host in sorted(_hosts_of(self._folder) - self._hosts):
            source = _source_of(self._path, host, self._beginning)
            self._opened.enter_context(closing(source))
            self._epoll.register(source.fileno(), select.EPOLLIN)
            self._sources[source.fileno()] = source
            self._hosts.add(host)


def open_journals(path: Path | None, beginning: Beginning) -> JournalSource | JournalTree:
    """Open what the machines of a journal say.

    Parameters
    ----------
    path
        A folder of journal files; None is the machine's own journal.
    beginning
        Where to begin; of a folder, a forced host is the only one that is read.

    Returns
    -------
    JournalSource or JournalTree
        Of one machine, or of all that there are and come later.

    Raises
    ------
    SourceError
        If the journal can't be read, or has no entries of a machine that is asked for.
    """
    if path is None:
        return _source_of(None, beginning.host, beginning)
    found = journal_hosts(path)
    if not found or (beginning.forced and beginning.host not in found):
        whose = f" of {beginning.host}" if beginning.forced else ""
        there = f", but of {', '.join(found)}" if found else ""
        raise SourceError(
            printable(f"{path}: has no entries{whose}{there}"),
            "name one of them with --host" if found else None,
        )
    if beginning.forced:
        return _source_of(path, beginning.host, beginning)
    return JournalTree(path, beginning)


def _source_of(path: Path | None, host: str, beginning: Beginning) -> JournalSource:
    def stored(source: str) -> tuple[int, int] | None:
        known = beginning.positions.of(source).get(host)
        if known is None:
            return None
        return known.seen, -1 if beginning.begin == "oldest" else known.resume_after

    return JournalSource(
        path, host if path else None, stored=stored, only_new=beginning.begin == "now"
    )


def is_journal(path: Path) -> bool:
    """Whether a file is a journal of systemd."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def journal_files(folder: Path) -> list[Path]:
    """List the journal files of a folder, and of the folders of machines in it; or the file."""
    if folder.is_file():
        return [folder]
    return sorted(
        path
        for pattern in ("*.journal", "*/*.journal")
        for path in folder.glob(pattern)
        if path.is_file()
    )


def is_journal_folder(folder: Path) -> bool:
    """Whether a folder has journal files, and no others that could be logs."""
    names = [
        path.name
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file() and not path.name.startswith(".")
    ]
    return bool(names) and all(name.endswith((".journal", ".journal~")) for name in names)


def is_own_folder(folder: Path) -> bool:
    """Say whether a folder holds this machine's own journal, perhaps beside those of others."""
    own = [place.resolve() for place in _OWN_FOLDERS]
    folder = folder.resolve()
    return folder in own or any(
        folder.parent == place and folder.name == _machine_id() for place in own
    )


def _machine_id() -> str | None:
    try:
        return _MACHINE_ID.read_text("ascii").strip()
    except OSError:
        return None


def journal_hosts(folder: Path) -> list[str]:
    """Name the machines that have entries in a folder's journals, sorted.

    Raises
    ------
    SourceError
        If they can't be read.
    """
    _require_readable(folder)
    with _told(printable(str(folder))), closing(Journal(folder)) as journal:
        return sorted(_hosts_of(journal))


def read_journal(path: Path) -> Iterator[Record | Loss]:
    """Read the kernel's messages of a journal file that is finished.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    Record or Loss
        As `JournalSource.drain` gives them.

    Raises
    ------
    SourceError
        If it can't be read.
    """
    _require_readable(path)
    where = printable(str(path))
    with _told(where), closing(Journal(path, _kernel_entries([]))) as journal:
        while journal.next():
            yield _item(journal, journal.place(), where)


def first_host_of(path: Path) -> str | None:
    """Name the machine of the first of the kernel's messages in a journal file, if it says."""
    return next((item.host for item in read_journal(path) if isinstance(item, Record)), None)


def _hosts_of(journal: Journal) -> set[str]:
    return set(map(decode_text, journal.unique("_HOSTNAME")))


def _kernel_entries(more: list[str]) -> list[list[str]]:
    return [
        ["_TRANSPORT=kernel", *more],
        ["_TRANSPORT=driver", f"MESSAGE_ID={_MISSED_ID}", *more],
    ]


def _item(entry: Journal, place: Place, where: str) -> Record | Loss:
    source, boot, at = _source(where, place), _boot_id(entry), _time(entry)
    message = entry.get("MESSAGE") or b""
    from_kernel = entry.get("_TRANSPORT") == b"kernel"
    if not from_kernel and (missed := _MISSED.match(message)):
        return Loss(source, boot, place.seq, place.seq, int(missed[1]), "overrun", at)
    host = entry.get("_HOSTNAME")
    return Record(
        source=source,
        boot_id=boot,
        seq=place.seq,
        usec=_integer(entry.get("_SOURCE_MONOTONIC_TIMESTAMP")),
        # programs that write to /dev/kmsg have facilities of their own
        facility=_integer(entry.get("SYSLOG_FACILITY")) if from_kernel else _USER_FACILITY,
        level=_integer(entry.get("PRIORITY")),
        caller=None,
        text=decode_text(message),
        at=at,
        clock="none" if at is None else "log",
        host=None if host is None else decode_text(host),
    )


# The id is unique, wherever the files are: two ways to one journal are one source.
def _name(numbering: str) -> str:
    return f"journal:{numbering}"


def _source(where: str, place: Place) -> str:
    return f"{where}@{place.numbering[:12]}"


def _boot_id(entry: Journal) -> str | None:
    try:
        return str(UUID((entry.get("_BOOT_ID") or b"").decode("ascii", "replace")))
    except ValueError:
        return None


def _time(entry: Journal) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=entry.received_us())
    except OverflowError:
        return None


def _integer(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) < 19 else None


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "install libsystemd0" if "libsystemd" in reason else None
        raise SourceError(f"{where}: {reason}", remedy) from None


# The library passes over what it may not read.
def _require_readable(path: Path | None) -> None:
    where = "journal" if path is None else printable(str(path))
    if path is not None and not path.exists():
        raise SourceError(f"{where}: no such file or folder")
    folders = _OWN_FOLDERS if path is None else (path,)
    files = [file for place in folders for file in journal_files(place)]
    if path is None and not files:
        raise SourceError(
            f"{where}: this machine keeps none", "start systemd-journald, or watch kmsg"
        )
    if files and not any(os.access(file, os.R_OK) for file in files):
        raise SourceError(
            f"{where}: permission denied", "run as root, or as one of the group systemd-journal"
        )
