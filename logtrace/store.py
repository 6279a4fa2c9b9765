"""Rows -> tables, exactly once.

A store is a folder; every host writes Delta tables of its own below ``host=NAME/``. A
commit carries the position in the source that its rows reach (a Delta application
transaction), so after a crash the last commit says where to go on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from arro3.core import Table

from logtrace import columns, config
from logtrace.errors import StoreError
from logtrace.mounts import refuse_absent
from logtrace.positions import Position as Position
from logtrace.positions import Positions
from logtrace.record import printable

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable, WriterProperties

_COMMIT_BYTES = 64 * 1024  # what a commit needs beside its rows, amply
_COMPACT_EVERY = 64
_SMALL_ROWS = 10_000  # a file of more is not joined with others, which would take much memory
_COMPACTED_BYTES = 16 << 20  # larger files are left alone, or each round would rewrite them all
_KEEP_REPLACED_FILES = timedelta(hours=1)  # a reader that opened them before may still read
# Two commits a second would be five million files of Delta's log in its usual month
_CONFIGURATION: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.dataSkippingNumIndexedCols": "5",
    "delta.checkpointInterval": "25",
}

# The column that tells which record a row came with, of the tables that are committed before
# the runs; losses are told by their ranges
_REACHED_BY = {
    "files": "ended_seq",
    "calls": "ended_seq",
    "incidents": "ended_seq",
}

# Numbers of runs that hardly ever come again: a dictionary of them makes larger files, slowly
_VARIED = ("first_seq", "last_seq", "started_us", "ended_us", "pid", "read_bytes", "written_bytes")

Row = Mapping[str, Any]


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
    refuse_absent(store.root, named=store.root != Store(_usual_url(environ)).root)
    return store


def hostname() -> str:
    """Name this machine, as its tables are named."""
    return socket.gethostname()


class Store:
    """A folder with the tables of one host or many.

    Parameters
    ----------
    url
        A path, or a ``file://`` URL.

    Raises
    ------
    StoreError
        If the URL is of another kind, or has a character that delta-rs can't have in a path.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("", "file"):
            raise StoreError(
                f"store {url}: {parts.scheme}:// is not supported", "name a folder, --store /PATH"
            )
        self.root = Path(parts.path if parts.scheme else url).expanduser().absolute()
        if match := _NOT_IN_PATHS.search(str(self.root)):
            raise StoreError(
                f"store {printable(url)}: {printable(match[0])!r} can't be in its path",
                "name another folder",
            )

    def __str__(self) -> str:
        return str(self.root)

    def host(self, name: str) -> HostTables:
        """Give the tables of a host, to write to."""
        return HostTables(self.root / f"host={_folder_name(name)}")

    def hosts(self) -> list[str]:
        """Name the hosts that have tables here, sorted."""
        return sorted(_host_name(path) for path in self._host_folders())

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
        positions = Positions()
        for folder in self._host_folders():
            if hosts is not None and _host_name(folder) not in hosts:
                continue
            reached = _transactions(folder / "runs")
            for source in reached:
                resume = reached.get(_resume(source))
                if resume is not None and not source.startswith("log:"):
                    position = Position(reached[source], resume, reached.get(_check(source)))
                    positions.note(_host_name(folder), source, position)
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
            Paths; together they are the table's rows.

        Raises
        ------
        StoreError
            If the store does not exist or a table can't be read.
        """
        if not self.root.is_dir():
            raise StoreError(
                f"store {self.root} does not exist",
                "fill it with `logtrace watch` or `logtrace import`, or name another with --store",
            )
        files: list[str] = []
        for folder in self._host_folders():
            delta = _open(folder / table)
            if delta is not None:
                files += map(unquote, delta.file_uris())
        return files

    def is_watched(self, host: str, watch: int) -> bool:
        """Say whether a watch that began once still goes on, see `HostTables.hold`."""
        try:
            with self.host(host).sign.open("rb") as sign:
                fcntl.lockf(sign, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, watch)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _host_folders(self) -> Iterable[Path]:
        return sorted(path for path in self.root.glob("host=*") if path.is_dir())


class HostTables:
    """The tables of one host; there must be one writer at a time.

    Parameters
    ----------
    folder
        ``STORE/host=NAME``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sign = folder / ".watched"
        self._there = next((path for path in (folder, folder.parent) if path.is_dir()), None)
        self._small_commits = 0
        self._reached: dict[str, Position | None] = {}

    def beside(self, host: str) -> HostTables:
        """Give the tables of another host in the same store."""
        return HostTables(self._folder.parent / f"host={_folder_name(host)}")

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
        return _position(_open(self._folder / "runs"), source)

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
        with self._locked():
            if before != "any":
                self._reached.setdefault(source, before)
            delta = _open(self._folder / "runs")
            self._refuse_other_writer(source, delta)
            others = {"losses": losses, "files": files, "calls": calls, "incidents": incidents}
            for name, rows in others.items():
                if rows := list(rows):
                    self._append(name, source, position, rows, _open(self._folder / name))
            self._reached[source] = self._append("runs", source, position, runs, delta)
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
        with self._locked():
            delta = _open(self._folder / "tracer")
            self._append("tracer", source, Position(seq, seq), rows, delta)

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
        with self._locked():
            sign = self.sign.open("ab")
            try:
                fcntl.lockf(sign, fcntl.LOCK_EX, 1, watch)
            except OSError:
                sign.close()
                raise
            return sign

    def compact(self) -> None:
        """Join small files; remove those over an hour old that were replaced or never committed."""
        with self._locked():
            self._compact()

    # A Delta table takes several writers, but they would conflict over and over.
    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._require_what_was_there()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._there = self._folder
            with (self._folder / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StoreError(
                f"store {self._folder} can't be written: {error.strerror}",
                "check its permissions and free space, or name another with --store",
            ) from None

    # What is stored while a disk is not mounted would be under it when it is.
    def _require_what_was_there(self) -> None:
        if self._there is not None and not self._there.is_dir():
            raise StoreError(
                f"store {self._there} is not there any more", "mount it, or move it back"
            )

    def _refuse_other_writer(self, source: str, runs: DeltaTable | None) -> None:
        if source in self._reached and _position(runs, source) != self._reached[source]:
            raise StoreError(
                f"store {self._folder}: another process stores {source} too", "stop one of them"
            )

    def _compact(self) -> None:
        from deltalake.exceptions import DeltaError

        for name in columns.TABLES:
            delta = _open(self._folder / name)
            if delta is None or len(delta.file_uris()) < 2:
                continue
            try:
                delta.optimize.compact(target_size=_COMPACTED_BYTES, max_concurrent_tasks=1)
                delta.vacuum(
                    retention_hours=int(_KEEP_REPLACED_FILES / timedelta(hours=1)),
                    enforce_retention_duration=False,
                    dry_run=False,
                    full=True,  # also what was written before a commit that did not come
                )
            except (DeltaError, OSError) as error:
                raise StoreError(
                    f"store {self._folder / name} can't be compacted: {error}",
                    "check its permissions and free space",
                ) from None

    # Gives the position that the table has then.
    def _append(
        self,
        name: str,
        source: str,
        position: Position,
        new: Iterable[Row] | pa.Table,
        delta: DeltaTable | None,
    ) -> Position:
        from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
        from deltalake.exceptions import DeltaError

        folder = self._folder / name
        stored = _position(delta, source)
        if stored is not None and stored.seen >= position.seen:
            return stored
        if stored is not None:
            # after a crash between two commits this table has come further than the runs
            assert delta is not None
            if name == "losses":
                new = _not_told(new, delta, stored)
            elif name in _REACHED_BY:
                new = [row for row in new if _is_behind(row[_REACHED_BY[name]], stored)]
        reached = {
            _seen(source): position.seen,
            _resume(source): position.resume_after,
            _check(source): position.check,
        }
        properties = CommitProperties(
            app_transactions=[
                Transaction(key, number) for key, number in reached.items() if number is not None
            ]
        )
        table = columns.to_table(new, columns.TABLES[name])
        older = delta is not None and not set(table.column_names) <= _columns(delta)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _require_room(folder, table.nbytes)
            if delta is None:
                delta = DeltaTable.create(
                    str(folder), columns.TABLES[name], mode="ignore", configuration=_CONFIGURATION
                )
            if len(table):
                write_deltalake(
                    delta,
                    table,
                    mode="append",
                    schema_mode="merge" if older else None,
                    commit_properties=properties,
                    writer_properties=_encoding(name),
                )
            else:
                delta.create_write_transaction(
                    [], "append", delta.schema(), commit_properties=properties
                )
        except (DeltaError, OSError) as error:
            raise StoreError(
                f"store {folder} can't be written: {error}", "check its permissions and free space"
            ) from None
        return position


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


def _columns(delta: DeltaTable) -> set[str]:
    return {field.name for field in delta.schema().fields}


def _encoding(table: str) -> WriterProperties:
    from deltalake import ColumnProperties, WriterProperties

    if table != "runs":
        return WriterProperties()
    number = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    run_id = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(column_properties=dict.fromkeys(_VARIED, number) | {"run_id": run_id})


# On a full disk delta-rs panics in a thread of its own, with a trace of it on the terminal.
def _require_room(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size + _COMMIT_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# delta-rs decodes a percent sign in a path, so another sign marks what is escaped
def _folder_name(host: str) -> str:
    return quote(host, safe="").replace("~", "%7E").replace("%", "~")


def _host_name(folder: Path) -> str:
    return unquote(folder.name.removeprefix("host=").replace("~", "%"))


def _seen(source: str) -> str:
    return source


def _resume(source: str) -> str:
    return f"{source}#resume"


def _check(source: str) -> str:
    return f"{source}#check"


def _position(delta: DeltaTable | None, source: str) -> Position | None:
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

    delta = _open(folder)
    if delta is None:
        return {}
    log = folder / "_delta_log"
    found: dict[str, int] = {}
    try:
        checkpoint = -1
        if (last := log / "_last_checkpoint").exists():
            checkpoint = json.loads(last.read_bytes())["version"]
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


def _open(folder: Path) -> DeltaTable | None:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        if not (folder / "_delta_log").is_dir():
            return None
        return DeltaTable(str(folder))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise StoreError(
            f"store {folder} can't be read: {error}", "check its permissions"
        ) from None
