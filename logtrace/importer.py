"""Finished logs -> store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from logtrace import process_import
from logtrace.errors import SourceError
from logtrace.machines import Batch, Found, Machines
from logtrace.record import Loss, Record, printable
from logtrace.source.dating import Dating
from logtrace.source.journal import first_host_of, is_journal, read_journal
from logtrace.source.logfile import (
    begin_log,
    digest_log,
    first_host,
    open_log,
    read_records,
)
from logtrace.source.pstore import check_readable, unfold, without_joined
from logtrace.source.redelivery import once
from logtrace.store import HostTables, Position, Store

if TYPE_CHECKING:
    from logtrace.cluster import Cluster

_BATCH_RECORDS = 20_000
_WAITING_ROWS = 20_000  # are stored before more are read
_END_OF_JOURNAL = 1 << 62  # behind any entry's number, which is none of the file's offsets


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Parameters
    ----------
    path
        The log.
    records
        How many records it has.
    runs
        How many runs were stored.
    losses
        How many lines were truncated or not understood.
    already_stored
        Whether a log with this content had been imported before; then nothing was done.
    hosts
        The machines whose tables got rows, and the one that the log begins with; sorted.
    assumed
        What its stamps lack and was assumed: ``"zone"``, and the years.
    """

    path: Path
    records: int
    runs: int
    losses: int
    already_stored: bool
    hosts: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def find_logs(paths: Iterable[Path]) -> list[Path]:
    """List the files that are meant by files and folders.

    Parameters
    ----------
    paths
        Files, folders (all files below them but hidden ones), or ``-`` for standard input.

    Returns
    -------
    list of pathlib.Path
        Files, those of a folder sorted by name.

    Raises
    ------
    SourceError
        If a path does not exist or a folder has no file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if str(path) != "-" and not path.exists():
                raise SourceError(f"{path}: no such file or folder")
            found.append(path)
            continue
        files = sorted(item for item in path.rglob("*") if _is_log(item, path))
        if not files:
            raise SourceError(f"{path}: no file in this folder")
        found += without_joined(files)
    return found


def _is_log(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.is_file()


def import_log(
    tables: HostTables,
    path: Path,
    host: str,
    boot_id: str | None = None,
    *,
    form: str | None = None,
    zone: tzinfo = UTC,
    year: int | None = None,
) -> Imported:
    """Store the runs of a finished log, once however often it is imported.

    Parameters
    ----------
    tables
        The tables of `host`; those of other machines that speak in the log are beside them.
    path
        A log in one of ``forms.FORMS`` or without stamps, or a file of systemd's journal;
        ``-`` is standard input.
    host
        Name of the machine whose log it is, where the log does not say. What names no machine
        in a log that names one is of the machine that is named first.
    boot_id
        The boot it is from, where known; see `read_log`.
    form
        Its form, or ``pstore``; without it, it is recognised.
    zone
        The zone of stamps without one.
    year
        The year of the first stamp without one; without it, the last of them is of the latest
        year in which it is not behind the time when the file was written.

    Returns
    -------
    Imported
        What was found.

    Raises
    ------
    SourceError
        If the log can't be read.
    StoreError
        If the store can't be written.
    """
    with opened(path, host, boot_id, form=form, zone=zone, year=year) as log:
        store = _LogStore(tables, host, f"log:{log.digest}")
        if store.seen(log.host) >= log.size:
            return Imported(path, 0, 0, 0, already_stored=True)
        records = 0
        for batch in log.batches(store.seen):
            for each, found in batch.found.items():
                store.add(each, found)
            records += batch.records
            if store.waiting >= _WAITING_ROWS and not batch.is_last:
                store.store(batch.seen)
        store.finish(log.size, log.host)
    return Imported(
        path,
        records,
        store.runs,
        store.losses,
        already_stored=False,
        hosts=tuple(sorted(store.hosts)),
        assumed=tuple(sorted(log.dating.assumed)),
    )


class Importing(NamedTuple):
    """How logs are imported; see `import_log`."""

    host: str
    boot_id: str | None = None
    form: str | None = None
    zone: tzinfo = UTC
    year: int | None = None

    def import_logs(
        self, store: Store, paths: Sequence[Path], cluster: Cluster | None = None
    ) -> Iterator[Imported | SourceError]:
        """Store the runs of finished logs.

        Parameters
        ----------
        store
            Where to.
        paths
            The logs.
        cluster
            Whose workers do it, see `logtrace.cluster_import`; without it, this machine does, see
            `logtrace.process_import`.

        Yields
        ------
        Imported or SourceError
            What was found in each, or why it can't be read, as they are done.

        Raises
        ------
        StoreError
            If the store can't be written.
        """
        if cluster:
            from logtrace.cluster_import import import_logs

            return import_logs(cluster, store, self, paths)
        if process_import.is_worthwhile(store, paths):
            return process_import.import_logs(store, self, paths)
        tables = store.host(self.host)
        return (self.import_log(tables, path) for path in paths)

    def import_log(self, tables: HostTables, path: Path) -> Imported | SourceError:
        """Store the runs of a finished log, or say why it can't be read."""
        how = self._asdict()
        try:
            return import_log(tables, path, how.pop("host"), **how)
        except SourceError as error:
            return error


@dataclass(frozen=True)
class OpenLog:
    """A finished log that is open to be read once.

    Parameters
    ----------
    digest, size
        Of its content; the size is that of its numbers, behind any of its records.
    host
        The machine that it begins with.
    dating
        What its stamps mean.
    batches
        Gives what stands in it, in its order. Takes what tells up to which number the rows of
        a machine were stored before, which are left out.
    """

    digest: str
    size: int
    host: str
    dating: Dating
    batches: Callable[[Callable[[str], int]], Iterator[Batch]]


@contextmanager
def opened(
    path: Path,
    host: str,
    boot_id: str | None = None,
    *,
    form: str | None = None,
    zone: tzinfo = UTC,
    year: int | None = None,
) -> Iterator[OpenLog]:
    """Open a finished log; see `import_log`.

    Yields
    ------
    OpenLog
        The log.

    Raises
    ------
    SourceError
        If the log can't be read.
    """
    check_readable(path)
    journal = is_journal(path)
    with path.open("rb") if journal else open_log(path) as log:
        stream, form = (log, None) if journal else unfold(log, path.name, form)
        digest, bulk = _digest_and_load(stream)
        size = _END_OF_JOURNAL if journal else stream.seek(0, os.SEEK_END)
        name = "stdin" if str(path) == "-" else printable(str(path.resolve()))
        source = f"{name}@{digest[:12]}"
        named = first_host_of(path) if journal else first_host(stream, source, form)
        dating = Dating(zone, _written(path), year)

        def batches(seen: Callable[[str], int]) -> Iterator[Batch]:
            text = None if journal else begin_log(stream, source, boot_id, form, dating)
            if text and bulk.can_read(text.form):
                each: Iterator[Batch] = bulk.read(stream, text, named or host, seen(named or host))
                return each
            items = read_records(stream, text) if text else read_journal(path)
            return _read(once(items), Machines(named or host, seen), size)

        yield OpenLog(digest, size, named or host, dating, batches)


def machine_of(path: Path, host: str, form: str | None = None) -> str:
    """Name the machine that a log begins with, without reading more of it.

    Parameters
    ----------
    path, host, form
        As of `import_log`.

    Returns
    -------
    str
        Its name; `host` where the log names none.

    Raises
    ------
    SourceError
        If the log can't be read.
    """
    check_readable(path)
    if is_journal(path):
        return first_host_of(path) or host
    with open_log(path) as log:
        stream, form = unfold(log, path.name, form)
        return first_host(stream, str(path), form) or host


# What reads and stores logs takes as long to import as a large log to digest.
def _digest_and_load(stream: BinaryIO) -> tuple[str, ModuleType]:
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(digest_log, stream)
        import_module("deltalake")
        bulk = import_module("logtrace.bulk")
        return digest.result(), bulk


def _read(items: Iterator[Record | Loss], machines: Machines, size: int) -> Iterator[Batch]:
    seen = -1
    while batch := list[Record | Loss](islice(items, _BATCH_RECORDS)):
        seen = _number(batch[-1])
        yield Batch(seen, len(batch), machines.feed(batch))
    yield Batch(seen, 0, dict(machines.finish(size)), is_last=True)


def _number(item: Record | Loss) -> int:
    return item.last_seq if isinstance(item, Loss) else item.seq


class _LogStore:
    """Stores what the machines of a log did, each in its own tables.

    Each table knows how far it has come. The log is done when the machine that it begins
    with has come to its end, which is stored last.
    """

    def __init__(self, tables: HostTables, host: str, source: str) -> None:
        self._tables = tables
        self._source = source
        self._of_host = {host: tables}
        self._before: dict[str, Position | None] = {}
        self._waiting: dict[str, Found] = {}
        self.waiting = self.runs = self.losses = 0
        self.hosts: set[str] = set()

    def seen(self, host: str) -> int:
        """Say how far a machine's part of the log was stored before; -1 if not at all."""
        if host not in self._before:
            self._before[host] = self._host_tables(host).position(self._source)
        position = self._before[host]
        return -1 if position is None else position.seen

    def add(self, host: str, found: Found) -> None:
        """Keep what was found until it is stored."""
        if found:
            found.pack()
            self._waiting.setdefault(host, Found()).add(found)
            self.waiting += len(found)

    def store(self, seen: int) -> None:
        """Store what waits."""
        waiting, self._waiting, self.waiting = self._waiting, {}, 0
        for host, found in waiting.items():
            self._append(host, seen, found)

    def finish(self, size: int, first: str) -> None:
        """Store the rest; of the first machine behind all others, even if it is nothing."""
        rest = self._waiting.pop(first, Found())
        self.store(size)
        self._append(first, size, rest)

    def _append(self, host: str, seen: int, found: Found) -> None:
        self.seen(host)
        tables = self._of_host.setdefault(host, self._host_tables(host))
        rows = found.rows._asdict() | {"runs": found.runs, "incidents": found.incidents}
        before = self._before[host]
        tables.append(self._source, Position(seen, seen), before=before, **rows)
        self.hosts.add(host)
        self.runs += len(found.runs)
        self.losses += len(found.rows.losses)

    def _host_tables(self, host: str) -> HostTables:
        return self._of_host.get(host) or self._tables.beside(host)


# When the last line of a log was written, as far as that can be known.
def _written(path: Path) -> datetime:
    if str(path) == "-":
        return datetime.now(UTC)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
