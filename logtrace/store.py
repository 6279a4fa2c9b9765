"""Rows -> tables, exactly once.

A store is a folder or in a bucket; every host writes Delta tables of its own below
``host=NAME/``. A commit carries the position in the source that its rows reach (a Delta application
transaction), so after a crash the last commit says where to go on.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import starmap
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from arro3.core import Array, ChunkedArray, DataType, Field, Table

from logtrace import columns, config
from logtrace.backoff import pause_s
from logtrace.errors import ConflictError, StoreError
from logtrace.listings import list_files
from logtrace.location import (
    SCHEMA,
    SCHEMA_KEY,
    Folder,
    Location,
    folder_name,
    host_name,
    open_folder,
)
from logtrace.mounts import refuse_absent
from logtrace.positions import Position as Position
from logtrace.positions import Positions
from logtrace.record import printable

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, WriterProperties

    from logtrace.bucket import Bucket
    from logtrace.spool import Room

_COMPACT_EVERY = 64
_SMALL_ROWS = 10_000  # a file of more is not joined with others, which would take much memory
_COMPACTED_BYTES = 16 << 20  # larger files are left alone, or each round would rewrite them all
_KEEP_REPLACED_FILES = timedelta(hours=1)  # a reader that opened them before may still read
# Two commits a second would be five million files of Delta's log in its usual month
_CONFIGURATION: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.dataSkippingNumIndexedCols": "5",
    "delta.checkpointInterval": "25",
    SCHEMA_KEY: str(SCHEMA),
}

# The column that tells which record a row came with, of the tables that are committed before
# the runs; losses are told by their ranges
_REACHED_BY = {
    "files": "ended_seq",
    "calls": "ended_seq",
    "incidents": "ended_seq",
}

# SQL of when it ended what a row is of, of the tables that have it; the others have runs' details
_ENDED = {
    "runs": "coalesce(ended_at, started_at)",
    "losses": "noticed_at",
    "incidents": '"at"',
    "tracer": '"at"',
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Numbers of runs that hardly ever come again: a dictionary of them makes larger files, slowly
_VARIED = ("first_seq", "last_seq", "started_us", "ended_us", "pid", "read_bytes", "written_bytes")

# The transaction that keeps a table's last number in `columns.STORED_US`
_NUMBER = "stored"
# Those that tell how many rows were stored since the commit of a number; a removal begins anew
_COUNTED = "counted"
_COUNTED_AFTER = "counted-after"

# How often something is begun anew that another's commit was in the way of
_TRIES = 6

Row = Mapping[str, Any]
_T = TypeVar("_T")


# delta-rs decodes the percent sign, and fails or panics at the others
_NOT_IN_PATHS = re.compile(r"[%\[\]^|\\\x00-\x1f\x7f\ud800-\udfff]")


def default_url(environ: Mapping[str, str] = os.environ, *, uid: int | None = None) -> str:
    """Find the store that is used where none is named.

    Parameters
    ----------
    environ
        ``LOGTRACE_STORE`` goes first, then the configuration, then ``XDG_DATA_HOME``.
    uid
        User id; root's store is ``/var/lib/logtrace``. Default: that of this process.

    Returns
    -------
    str
        Path or URL.

    Raises
    ------
    ConfigError
        If a file of the configuration makes no sense.
    """
    if named := environ.get("LOGTRACE_STORE"):
        return named
    if configured := config.load(config.places(environ)).store:
        return configured
    return _usual_url(environ, uid)


def _usual_url(environ: Mapping[str, str], uid: int | None = None) -> str:
    if (os.geteuid() if uid is None else uid) == 0:
        return "/var/lib/logtrace"
    data = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(data) / "logtrace")


def open_to_store(url: str | None, environ: Mapping[str, str] = os.environ) -> Store:
    """Open a store to put something in; it is made if it is not there.

    Parameters
    ----------
    url
        As for `Store`, or None for that of `default_url`.
    environ
        As for `default_url`.

    Raises
    ------
    StoreError
        As for `Store`; also if it is not there and its disk seems to be away.
    ConfigError
        As for `default_url`.
    """
    store = Store(url or default_url(environ))
    if not store.is_remote:
        refuse_absent(store.root, named=store.root != Store(_usual_url(environ)).root)
    return store


def hostname() -> str:
    """Name this machine, as its tables are named."""
    return socket.gethostname()


class Store:
    """The tables of one host or many.

    Parameters
    ----------
    url
        A path, a ``file://`` URL, or ``s3://BUCKET/PREFIX``.
    room
        Tells whether rows may be added; None: in any case.

    Raises
    ------
    StoreError
        If the URL is of another kind, or has a character that delta-rs can't have in a path.
    """

    def __init__(self, url: str, room: Room | None = None) -> None:
        self._room = room
        self._bucket: Bucket | None = None
        self._looked_s = -math.inf
        parts = urlsplit(url)
        if parts.scheme == "s3":
            from logtrace.bucket import Bucket

            self._bucket = Bucket(url)
            return
        if parts.scheme not in ("", "file"):
            raise StoreError(
                f"store {url}: {parts.scheme}:// is not supported",
                "name a folder, --store /PATH, or a bucket, --store s3://BUCKET/PREFIX",
            )
        self._folder = Path(parts.path if parts.scheme else url).expanduser().absolute()
        if match := _NOT_IN_PATHS.search(str(self._folder)):
            raise StoreError(
                f"store {printable(url)}: {printable(match[0])!r} can't be in its path",
                "name another folder",
            )

    def __str__(self) -> str:
        return self._bucket.url if self._bucket else str(self._folder)

    @property
    def root(self) -> Path:
        """The folder that is read: of a store in a bucket, that of the copies."""
        return self._bucket.copies if self._bucket else self._folder

    @property
    def is_remote(self) -> bool:
        """Whether it is in a bucket."""
        return self._bucket is not None

    def is_there(self) -> bool:
        """Say whether its folder exists; raises StoreError if its bucket can't be read."""
        if self._bucket:
            self._bucket.require()
            return True
        return self.root.is_dir()

    def host(self, name: str) -> HostTables:
        """Give the tables of a host, to write to."""
        place = self._bucket.host(name) if self._bucket else Folder(self.root / folder_name(name))
        return HostTables(place, self._room)

    def refresh(self, after_s: float = 0.0) -> None:
        """Look again at a store in a bucket, which is else read as it was at the first look.

        Parameters
        ----------
        after_s
            How many seconds must have passed since it was looked at.

        Raises
        ------
        StoreError
            If it can't be read.
        """
        if self._bucket and time.monotonic() >= self._looked_s + after_s:
            self._bucket.refresh()
            self._looked_s = time.monotonic()

    def require(self) -> None:
        """Raise StoreError if there is no store."""
        if not (self._host_folders() if self._bucket else self.root.is_dir()):
            raise StoreError(
                f"store {self} does not exist",
                "fill it with `logtrace watch` or `logtrace import`, or name another with --store",
            )

    def hosts(self) -> list[str]:
        """Name the hosts that have tables here, sorted."""
        return sorted(host_name(path.name) for path in self._host_folders())

    def positions(self, hosts: Collection[str] | None = None) -> Positions:
        """Say how far each source that is watched has been stored.

        Parameters
        ----------
        hosts
            For which of them. Default: for every host.

        Returns
        -------
        Positions
            All that the tables know of, but imported logs.

        Raises
        ------
        StoreError
            If a table can't be read.
        """
        self._look()
        positions = Positions()
        for host in self.hosts() if hosts is None else hosts:
            reached = _transactions(self.root / folder_name(host) / "runs")
            for source in reached:
                resume = reached.get(_resume(source))
                if resume is not None and not source.startswith("log:"):
                    position = Position(reached[source], resume, reached.get(_check(source)))
                    positions.note(host, source, position)
        return positions

    def files(self, table: str) -> list[str]:
        """List the Parquet files of a table, of all hosts.

        Parameters
        ----------
        table
            One of ``schema.TABLES``.

        Returns
        -------
        list of str
            Paths, or URLs in a bucket, see `logtrace.location.local_files`; together they are the
            table's rows.

        Raises
        ------
        StoreError
            If the store does not exist or a table can't be read.
        """
        self.require()
        hosts = [path.name for path in self._host_folders()]

        def look(host: str) -> list[str]:
            delta = self.open(host_name(host), table)
            return [unquote(file) for file in delta.file_uris()] if delta else []

        files = list_files(self.root, hosts, table, look)
        return [self._url_of(file) for file in files] if self._bucket else files

    def open(self, host: str, table: str) -> DeltaTable | None:
        """Open a table to read its log.

        Parameters
        ----------
        host, table
            Whose, and which of ``columns.TABLES``.

        Returns
        -------
        DeltaTable or None
            None if there is none. Of a store in a bucket it is that of the copies: its rows are
            read from `files`.

        Raises
        ------
        StoreError
            If it can't be read.
        """
        self._look()
        return open_folder(self.root / folder_name(host) / table)

    def file(self, host: str, table: str, path: str) -> str:
        """Name one of `files` by the path that a table's log has of it."""
        return f"{self}/{folder_name(host)}/{table}/{unquote(path)}"

    def size(self, file: str) -> int | None:
        """Give the size in bytes of one of `files` as it is there; None if it is missing."""
        if self._bucket:
            self._look()
            return self._bucket.sizes.get(file)
        try:
            return Path(file).stat().st_size
        except FileNotFoundError:
            return None

    def _url_of(self, copy: str) -> str:
        return copy.replace(str(self.root), str(self), 1)

    def is_watched(self, host: str, watch: int) -> bool:
        """Say whether a watch that began once still goes on, see `HostTables.hold`."""
        if self._bucket:
            return False  # what goes on there is told by its last rows
        try:
            with self.host(host).sign.open("rb") as sign:
                fcntl.lockf(sign, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, watch)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _look(self) -> None:
        if self._bucket and self._looked_s == -math.inf:
            self.refresh()

    def _host_folders(self) -> list[Path]:
        self._look()
        return sorted(path for path in self.root.glob("host=*") if path.is_dir())


class HostTables:
    """The tables of one host; there must be one writer at a time.

    Parameters
    ----------
    place
        Where they are.
    room
        Tells whether rows may be added; None: in any case.
    """

    def __init__(self, place: Location, room: Room | None = None) -> None:
        self._place = place
        self._room = room
        self._small_commits = 0
        self._reached: dict[str, Position | None] = {}

    @property
    def sign(self) -> Path:
        """The file of which `hold` locks a byte; raises StoreError if there can be none."""
        if isinstance(self._place, Folder):
            return self._place.sign
        raise StoreError(
            f"store {self._place}: what is watched is stored in a folder first",
            "name one with --store, and this one with --ship-to",
        )

    def beside(self, host: str) -> HostTables:
        """Give the tables of another host in the same store."""
        return HostTables(self._place.beside(host), self._room)

    def position(self, source: str) -> Position | None:
        """Say how far a source of records has been stored.

        Parameters
        ----------
        source
            The name under which `append` kept the position.

        Returns
        -------
        Position or None
            None if nothing of it has been stored.
        """
        # runs are committed last, so no other table is behind
        return position_in(self.open("runs"), source)

    def append(
        self,
        source: str,
        position: Position,
        *,
        before: Position | Literal["any"] | None = "any",
        runs: Iterable[Row] | pa.Table = (),
        losses: Iterable[Row] = (),
        files: Iterable[Row] = (),
        calls: Iterable[Row] = (),
        incidents: Iterable[Row] = (),
    ) -> None:
        """Store what a source's records gave, and how far they reach, exactly once.

        Parameters
        ----------
        source
            Name of the source.
        position
            How far it has been read with these rows. Nothing is done for a table that has
            come as far before.
        before
            How far it had been stored when reading it began, None for not at all: what another
            process has stored since then is in these rows too. ``"any"``: that can't be.
        runs, losses, files, calls, incidents
            Rows of the tables; runs may be an Arrow table of ``schema.RUNS``.

        Raises
        ------
        StoreError
            If the store can't be written (what was committed before stays), or another
            process has stored the same source meanwhile.
        """
        runs = columns.to_table(runs, columns.TABLES["runs"])
        now = _now_us()
        with self._place.locked():
            if before != "any":
                self._reached.setdefault(source, before)
            delta = self.open("runs")
            self._refuse_other_writer(source, delta)
            others = {"losses": losses, "files": files, "calls": calls, "incidents": incidents}
            for name, rows in others.items():
                if rows := list(rows):
                    self._append(name, source, position, rows, self.open(name), now)
            self._reached[source] = self._append("runs", source, position, runs, delta, now)
            if len(runs) < _SMALL_ROWS:
                self._small_commits += 1
                if self._small_commits % _COMPACT_EVERY == 0:
                    self._compact()

    def append_tracer(self, source: str, seq: int, rows: Iterable[Row]) -> None:
        """Store what became of the tracing modules, exactly once.

        Parameters
        ----------
        source
            Name of the source of events.
        seq
            Number of the last of the events.
        rows
            Rows of ``schema.TRACER``.

        Raises
        ------
        StoreError
            As for `append`.
        """
        with self._place.locked():
            delta = self.open("tracer")
            self._append("tracer", source, Position(seq, seq), rows, delta, _now_us())

    def open(self, name: str) -> DeltaTable | None:
        """Open one of the tables, as it is now.

        Parameters
        ----------
        name
            One of ``columns.TABLES``.

        Returns
        -------
        DeltaTable or None
            None if there is none yet.

        Raises
        ------
        StoreError
            If it can't be read.
        """
        return self._place.open(name)

    def open_log(self, name: str) -> DeltaTable | None:
        """Open one of the tables to read its log, and to `receive` rows.

        Parameters
        ----------
        name
            One of ``columns.TABLES``.

        Returns
        -------
        DeltaTable or None
            None if there is none yet. Of a store in a bucket its rows can't be read, but each look
            into its log asks the server for nothing.

        Raises
        ------
        StoreError
            If it can't be read.
        """
        return self._place.open_log(name)

    def receive(
        self, name: str, delta: DeltaTable | None, rows: Table, transactions: Mapping[str, int]
    ) -> DeltaTable:
        """Append rows of another store, unless anything was committed since a table was opened.

        Parameters
        ----------
        name
            One of ``columns.TABLES``.
        delta
            What `open_log` or this gave: the state in which these rows are to be appended.
        rows
            Rows with the table's columns; none for a commit of transactions only.
        transactions
            Application transactions of the same commit.

        Returns
        -------
        DeltaTable
            The log of the table with these rows, and with what came since.

        Raises
        ------
        ConflictError
            If the table has changed, or was made, meanwhile.
        StoreError
            If the store can't be written.
        """
        transactions = dict(transactions)
        if len(rows):
            numbering = _numbering(delta, len(rows), _now_us())
            transactions |= numbering
            rows = _numbered(rows, numbering[_NUMBER])
        with self._place.locked():
            return self._commit(name, rows, transactions, delta, alone=True)

    def remove(self, name: str, predicate: str) -> None:
        """Remove rows, but none of the transactions that tell how far sources were stored.

        Parameters
        ----------
        name
            One of ``columns.TABLES``.
        predicate
            SQL: which rows.

        Raises
        ------
        StoreError
            If the store can't be written.
        """
        with self._place.locked():
            self._anew(
                name,
                "written",
                lambda delta: delta.delete(predicate, commit_properties=_count_anew(delta)),
            )

    def retain(self, since: datetime) -> int:
        """Remove rows of what ended before a time, but no transactions.

        Files and calls go with their runs; a row that has no time goes by when it was stored, and
        what a watch saw of the modules with the last that it saw.

        Parameters
        ----------
        since
            The time, aware.

        Returns
        -------
        int
            How many runs were removed.

        Raises
        ------
        StoreError
            If the store can't be written.
        """
        removed = 0
        for name in ("files", "calls", *_ENDED):
            with self._place.locked():
                removed += (
                    self._anew(name, "written", partial(self._retain, name, since=since)) or 0
                )
        return removed

    def hold(self, watch: int) -> IO[bytes]:
        """Show others that a watch goes on, without waking up for it.

        Parameters
        ----------
        watch
            Its number, as in ``schema.TRACER``. A byte at this place of a file is locked, which
            needs not be there.

        Returns
        -------
        file object
            To be closed when the watch ends; the kernel closes it where the process is killed.

        Raises
        ------
        StoreError
            If the store can't be written.
        """
        with self._place.locked():
            sign = self.sign.open("ab")
            try:
                fcntl.lockf(sign, fcntl.LOCK_EX, 1, watch)
            except OSError:
                sign.close()
                raise
            return sign

    def compact(self) -> None:
        """Join small files; remove those over an hour old that were replaced or never committed.

        Raises
        ------
        StoreError
            If the store can't be written.
        """
        with self._place.locked():
            self._compact()

    def vacuum(self) -> int:
        """Remove files over an hour old that were replaced or never committed.

        The log of each table begins anew with one file, so that the next who opens it reads little.

        Returns
        -------
        int
            How many files were removed.

        Raises
        ------
        StoreError
            If the store can't be written.
        """
        removed = 0
        with self._place.locked():
            for name in columns.TABLES:
                removed += self._anew(name, "cleaned", _vacuum_and_sum_up) or 0
        return removed

    def _refuse_other_writer(self, source: str, runs: DeltaTable | None) -> None:
        if source in self._reached and position_in(runs, source) != self._reached[source]:
            raise ConflictError(
                f"store {self._place}: another process stores {source} too", "stop one of them"
            )

    def _compact(self) -> None:
        for name in columns.TABLES:
            self._anew(name, "compacted", partial(self._join_files, name), self.open_log)

    # delta-rs compares a compaction with what was committed meanwhile, but of two that join the
    # same files at once it keeps both results, and so each row twice. So this is done alone.
    def _join_files(self, name: str, delta: DeltaTable) -> None:
        files = delta.get_add_actions(flatten=True)
        if len(files) < 2:
            return
        sizes = zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True)
        self._place.bring_files(name, [path for path, size in sizes if size < _COMPACTED_BYTES])
        delta.optimize.compact(target_size=_COMPACTED_BYTES, max_concurrent_tasks=1)
        self._place.publish(name)
        if (joined := self.open(name)) is not None:
            _vacuum(joined)

    # Details go first: killed in between, a run that is there tells that it is to be removed.
    def _retain(self, name: str, delta: DeltaTable, since: datetime) -> int:
        if name in _ENDED:
            done = delta.delete(
                _ended_before(name, delta, since),
                writer_properties=_encoding(name),
                commit_properties=_count_anew(delta),
            )
            return int(done["num_deleted_rows"] or 0) if name == "runs" else 0
        runs = self.open("runs")
        if runs is not None:
            where = _ended_before("runs", runs, since)
            ended = _query(runs, f"SELECT run_id FROM rows WHERE {where}")
            if len(ended):
                matched = delta.merge(
                    ended,
                    "row.run_id = ended.run_id",
                    source_alias="ended",
                    target_alias="row",
                    commit_properties=_count_anew(delta),
                )
                matched.when_matched_delete().execute()
        return 0

    # Does something to a table as it is, and again where another's commit was in its way: a bucket
    # has no lock. None if there is no table.
    def _anew(
        self,
        table: str,
        what: str,
        do: Callable[[DeltaTable], _T],
        opened: Callable[[str], DeltaTable | None] | None = None,
    ) -> _T | None:
        from deltalake.exceptions import CommitFailedError, DeltaError

        failures = 0
        while (delta := (opened or self.open)(table)) is not None:
            version = delta.version()
            try:
                return do(delta)
            except ConflictError:
                pass
            except (DeltaError, OSError) as error:
                is_refused = isinstance(error, CommitFailedError)
                if not (is_refused and self._is_changed(table, version)):
                    raise self._place.error(table, what, error) from None
            failures += 1
            if failures == _TRIES:
                raise ConflictError(
                    f"store {self._place.url(table)} can't be {what}: others wrote to it each of"
                    f" {_TRIES} times",
                    "see who else looks after this store, or try again when less is shipped",
                )
            time.sleep(pause_s(failures))
        return None

    def _is_changed(self, table: str, version: int) -> bool:
        there = self.open(table)
        return there is not None and there.version() > version

    # Gives the position that the table has then.
    def _append(
        self,
        name: str,
        source: str,
        position: Position,
        new: Iterable[Row] | pa.Table,
        delta: DeltaTable | None,
        now_us: int,
    ) -> Position:
        stored = position_in(delta, source)
        if stored is not None and stored.seen >= position.seen:
            return stored
        if stored is not None:
            # after a crash between two commits this table has come further than the runs
            assert delta is not None
            if name == "losses":
                new = _not_told(new, delta, stored)
            elif name in _REACHED_BY:
                new = [row for row in new if _is_behind(row[_REACHED_BY[name]], stored)]
        table = columns.to_table(new, columns.TABLES[name])
        transactions = transactions_of(source, position)
        if len(table):
            if self._room:
                self._room.require()
            numbering = _numbering(delta, len(table), now_us)
            transactions |= numbering
            table = _numbered(table, numbering[_NUMBER])
        delta = self._commit(name, table, transactions, delta)
        if self._room and len(table):
            self._room.note(delta)
        return position

    # Alone: in the very state of the table's log that is given, or not at all.
    def _commit(
        self,
        name: str,
        table: Table,
        transactions: Mapping[str, int],
        delta: DeltaTable | None,
        *,
        alone: bool = False,
    ) -> DeltaTable:
        from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
        from deltalake.exceptions import DeltaError

        properties = CommitProperties(
            max_commit_retries=0 if alone else None,
            app_transactions=list(starmap(Transaction, transactions.items())),
        )
        version = -1 if delta is None else delta.version()
        try:
            self._place.prepare(name, table.nbytes)
            if delta is None:
                delta = DeltaTable.create(
                    self._place.draft(name) if alone else self._place.url(name),
                    columns.STORED[name],
                    mode="error" if alone else "ignore",
                    configuration=_CONFIGURATION,
                    raise_if_key_not_exists=False,  # of `SCHEMA_KEY`
                    storage_options=None if alone else self._place.options,
                )
                version = delta.version()
            if len(table):
                write_deltalake(
                    delta,
                    table,
                    mode="append",
                    schema_mode=None if set(table.column_names) <= _columns(delta) else "merge",
                    commit_properties=properties,
                    writer_properties=_encoding(name),
                )
            else:
                delta.create_write_transaction(
                    [], "append", delta.schema(), commit_properties=properties
                )
                delta.update_incremental()
            if alone:
                self._place.publish(name)
        except (DeltaError, OSError) as error:
            if alone and self._is_changed(name, version):
                place = self._place.url(name)
                raise ConflictError(f"store {place}: another process writes to it too") from None
            raise self._place.error(name, "written", error) from None
        return delta


def _vacuum_and_sum_up(delta: DeltaTable) -> int:
    removed = len(_vacuum(delta))
    delta.create_checkpoint()
    delta.cleanup_metadata()
    return removed


def _vacuum(delta: DeltaTable) -> list[str]:
    return delta.vacuum(
        retention_hours=int(_KEEP_REPLACED_FILES / timedelta(hours=1)),
        enforce_retention_duration=False,
        dry_run=False,
        full=True,  # also what was written before a commit that did not come
    )


# SQL of delta-rs for the rows of what ended before a time.
def _ended_before(name: str, delta: DeltaTable, since: datetime) -> str:
    us = (since - _EPOCH) // timedelta(microseconds=1)
    time = f"arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')"
    ended = _ENDED[name]
    if name == "tracer":
        last_seen = "SELECT watch, max(at) AS last FROM rows WHERE watch IS NOT NULL GROUP BY watch"
        going = _query(delta, f"SELECT watch FROM ({last_seen}) WHERE last >= {time}")
        watches = ", ".join(map(str, going["watch"].to_pylist()))
        return f"{ended} < {time}" + (f" AND watch NOT IN ({watches})" if watches else "")
    if columns.STORED_US not in _columns(delta):
        return f"{ended} < {time}"
    return f"({ended} < {time} OR ({ended} IS NULL AND {columns.STORED_US} < {us}))"


def _query(delta: DeltaTable, query: str) -> Table:
    from deltalake import QueryBuilder

    return Table.from_arrow(QueryBuilder().register("rows", delta).execute(query))


# A row without a number is of the end of its log, which comes behind every record.
def _is_behind(number: int | None, stored: Position) -> bool:
    return number is None or number > stored.seen


# What was read before a crash and is gone since is a loss too, around those that were told then.
def _not_told(losses: Iterable[Row], delta: DeltaTable, stored: Position) -> Iterator[Row]:
    @cache
    def told() -> list[Row]:
        columns = ["source", "boot_id", "first_seq", "last_seq"]
        rows: list[Row] = delta.to_pyarrow_table(columns=columns).to_pylist()
        return sorted((row for row in rows if row["first_seq"] is not None), key=_first)

    for loss in losses:
        if _is_behind(loss["first_seq"], stored):
            yield loss
        elif _is_range(loss):
            yield from _rest(loss, told())


# Records that nobody saw, and no line that was read and not understood.
def _is_range(loss: Row) -> bool:
    count: int = loss["last_seq"] - loss["first_seq"] + 1
    return loss.get("text") is None and loss["records"] == count


def _rest(loss: Row, told: Iterable[Row]) -> Iterator[Row]:
    first, last = loss["first_seq"], loss["last_seq"]
    for other in told:
        if any(other[name] != loss.get(name) for name in ("source", "boot_id")):
            continue
        if other["last_seq"] < first or last < other["first_seq"]:
            continue
        if first < other["first_seq"]:
            yield _part(loss, first, other["first_seq"] - 1)
        first = other["last_seq"] + 1
    if first == loss["first_seq"]:
        yield loss
    elif first <= last:
        yield _part(loss, first, last)


def _part(loss: Row, first: int, last: int) -> Row:
    return {**loss, "first_seq": first, "last_seq": last, "records": last - first + 1}


def _first(loss: Row) -> int:
    number: int = loss["first_seq"]
    return number


def last_number(delta: DeltaTable | None) -> int:
    """Give the last number that rows of a table have in `columns.STORED_US`; 0 if none has one."""
    return (delta and delta.transaction_version(_NUMBER)) or 0


def counted(delta: DeltaTable) -> tuple[int, int]:
    """Say how many rows a table must have of those that were stored after a number.

    Parameters
    ----------
    delta
        A table.

    Returns
    -------
    tuple of int
        The number, see `columns.STORED_US`, and how many rows have a higher one. Nobody has removed
        any of them but behind the store's back.
    """
    after, count = (delta.transaction_version(each) for each in (_COUNTED_AFTER, _COUNTED))
    return after or 0, count or 0


# The transactions of a commit of so many rows.
def _numbering(delta: DeltaTable | None, rows: int, now_us: int) -> dict[str, int]:
    last = last_number(delta)
    count = delta and delta.transaction_version(_COUNTED)
    begin = {_COUNTED_AFTER: last} if count is None else {}
    return {_NUMBER: max(now_us, last + 1), _COUNTED: (count or 0) + rows, **begin}


# Of a commit that removes rows.
def _count_anew(delta: DeltaTable) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    begin = {_COUNTED_AFTER: last_number(delta), _COUNTED: 0}
    return CommitProperties(app_transactions=list(starmap(Transaction, begin.items())))


def _now_us() -> int:
    return time.time_ns() // 1000


def _numbered(table: Table, number: int) -> Table:
    numbers = ChunkedArray([Array([number] * len(table), DataType.int64())])
    return table.append_column(Field(columns.STORED_US, DataType.int64()), numbers)


def _columns(delta: DeltaTable) -> set[str]:
    return {field.name for field in delta.schema().fields}


def _encoding(table: str) -> WriterProperties:
    from deltalake import ColumnProperties, WriterProperties

    if table != "runs":
        return WriterProperties()
    number = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    run_id = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(column_properties=dict.fromkeys(_VARIED, number) | {"run_id": run_id})


def _seen(source: str) -> str:
    return source


def _resume(source: str) -> str:
    return f"{source}#resume"


def _check(source: str) -> str:
    return f"{source}#check"


def transactions_of(source: str, position: Position) -> dict[str, int]:
    """Give the application transactions that keep how far a source has been stored."""
    reached = {
        _seen(source): position.seen,
        _resume(source): position.resume_after,
        _check(source): position.check,
    }
    return {key: number for key, number in reached.items() if number is not None}


def position_in(delta: DeltaTable | None, source: str) -> Position | None:
    """Say how far a source has been stored in a table; None if not at all."""
    if delta is None:
        return None
    seen = delta.transaction_version(_seen(source))
    resume = delta.transaction_version(_resume(source))
    if seen is None or resume is None:
        return None
    return Position(seen, resume, delta.transaction_version(_check(source)))


# delta-rs tells of a transaction only by its name: all of them stand in the table's log
def _transactions(folder: Path) -> dict[str, int]:
    from deltalake.exceptions import DeltaError

    delta = open_folder(folder)
    if delta is None:
        return {}
    log = folder / "_delta_log"
    found: dict[str, int] = {}
    try:
        checkpoints = log.glob("*.checkpoint*.parquet")
        checkpoint = max((int(file.name[:20]) for file in checkpoints), default=-1)
        for file in sorted(log.glob(f"{checkpoint:020}.checkpoint*.parquet")):
            found |= _checkpointed(file)
        for version in range(checkpoint + 1, delta.version() + 1):
            for line in (log / f"{version:020}.json").read_bytes().splitlines():
                if txn := json.loads(line).get("txn"):
                    found[txn["appId"]] = txn["version"]
    except (DeltaError, OSError, ValueError) as error:
        raise StoreError(
            f"store {folder} can't be read: {error}", "check its permissions"
        ) from None
    return found


# Read by delta-rs: pyarrow would stay in the memory of a watch
def _checkpointed(file: Path) -> dict[str, int]:
    from deltalake import QueryBuilder

    query = QueryBuilder()
    location = file.as_uri().replace("'", "%27")
    query.execute(f"CREATE EXTERNAL TABLE log STORED AS PARQUET LOCATION '{location}'")
    rows = query.execute("SELECT txn['appId'], txn['version'] FROM log WHERE txn IS NOT NULL")
    names, versions = Table.from_arrow(rows).columns
    return dict(zip(names.to_pylist(), versions.to_pylist(), strict=True))
