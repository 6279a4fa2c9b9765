"""The tables of a store as views of DuckDB: of all machines, or of some of them.

No view joins what is of different machines. So what is asked of runs can be asked of any groups of
machines, and merged.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from logtrace import schema, sequences
from logtrace.errors import QueryError, StoreError
from logtrace.location import local_files
from logtrace.record import printable
from logtrace.store import Store

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb
    import pyarrow as pa

Files = Mapping[str, list[str]]
"""The Parquet files of each of ``schema.TABLES``."""

_THREADS = "SELECT current_setting('threads')"
_SORT_MIB_A_THREAD = 128  # what is sorted beyond that waits on the disk
_READ_ONCE_BYTES = 8 << 20  # of a table's files: in memory they take some times as much
_KINDS = {
    "string": "VARCHAR",
    "int64": "BIGINT",
    "bool": "BOOLEAN",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}


# An incident hit the run of its process that was open then: of the runs of this process in the
# same log, the one that began last before it, if it had not ended. What its note says had no End
# line is open until the next run of the process, but the process id may be another's by then.
_HITS = """
    SELECT * EXCLUDE (hit, found_run, found_owner),
        CASE WHEN hit THEN found_run END AS run_id,
        CASE WHEN hit THEN found_owner END AS owner
    FROM (
        SELECT incidents.*, found.run_id AS found_run, found.owner AS found_owner,
            incidents.first_seq <= found.last_seq OR (
                coalesce(contains(found.note, 'the End line is missing'), false)
                AND coalesce(incidents.comm = found.comm, true)
                AND coalesce(incidents.us >= found.started_us, true)
            ) AS hit
        FROM incidents ASOF LEFT JOIN (SELECT *, coalesce(boot_id, '') AS boot FROM runs) AS found
            ON incidents.host = found.host AND coalesce(incidents.boot_id, '') = found.boot
            AND incidents.source = found.source AND incidents.pid = found.pid
            AND incidents.first_seq >= found.first_seq
    )
"""

# What the lines a file and a call say of a run as a whole: how many files, and three of them.
# Standard streams are left open as a matter of course.
_OF_FILES = """
    SELECT run_id, sum(unclosed)::BIGINT AS unclosed,
        list(path ORDER BY path) FILTER (unclosed > 0)[:3] AS unclosed_paths,
        count(*) FILTER (opens > 0 AND reads + writes = 0) AS unused,
        list(path ORDER BY path) FILTER (opens > 0 AND reads + writes = 0)[:3] AS unused_paths,
        count(*) FILTER (opens > 1 AND writes > 0) AS rewritten,
        list(path ORDER BY path) FILTER (opens > 1 AND writes > 0)[:3] AS rewritten_paths
    FROM (
        SELECT run_id, path, sum(opens) AS opens, sum(reads) AS reads, sum(writes) AS writes,
            count(*) FILTER (open_at_end AND opens > 0 AND descriptor > 2) AS unclosed
        FROM files GROUP BY run_id, path
    ) GROUP BY run_id
"""
_OF_CALLS = """
    SELECT run_id, sum(calls)::BIGINT AS every_call, sum(errors)::BIGINT AS failed_calls,
        coalesce(sum(errors) FILTER (call = 'openat'), 0)::BIGINT AS failed_opens,
        coalesce(sum(errors) FILTER (call = 'read'), 0)::BIGINT AS failed_reads,
        bool_or(call = 'mmap') AS mapped,
        arg_max(call, row(errors, calls, call)) FILTER (errors IS NOT NULL) AS failing_call,
        max(errors) AS failing_errors,
        arg_max(calls, row(errors, calls, call)) FILTER (errors IS NOT NULL) AS failing_calls
    FROM calls GROUP BY run_id
"""


def facts(runs: str) -> str:
    """Write the SQL of runs with what their details say.

    Parameters
    ----------
    runs
        SQL of a table with the columns of ``schema.RUNS``.

    Returns
    -------
    str
        SQL of a query that gives what the view ``facts`` has, of these runs.
    """
    # where the trace has no line a call, a failed openat can't be told from one not closed
    return f"""
        SELECT runs.*, of_files.* EXCLUDE (run_id), of_calls.* EXCLUDE (run_id),
            coalesce(started_at, ended_at) AS "at",
            CASE WHEN detail THEN coalesce(unclosed, 0)
                ELSE greatest(open_calls - close_calls - coalesce(failed_opens, 0), 0)
            END AS left_open
        FROM {runs} AS runs LEFT JOIN ({_OF_FILES}) AS of_files USING (run_id)
            LEFT JOIN ({_OF_CALLS}) AS of_calls USING (run_id)
    """


_AS_STORED = "CREATE VIEW runs AS SELECT * FROM stored_runs"
_RUN_SIGNS = """
    SELECT host, boot_id, started_at, coalesce(started_at, ended_at) AS "at",
        CASE WHEN started_at IS NULL THEN ended_us ELSE started_us END AS us, clock, 'run' AS sign
    FROM stored_runs
"""
_OTHER_SIGNS = """
    SELECT host, boot_id, NULL::TIMESTAMPTZ AS started_at, "at", us, clock, 'incident' AS sign
    FROM incidents
    UNION ALL SELECT host, boot_id, NULL, "at", CASE WHEN action = 'begin' THEN watch END, NULL,
        'watch'
    FROM tracer
"""


OF_RUNS = (facts("runs"), _RUN_SIGNS)
"""SQL of the views of runs that `open_some` creates, by which answers of another version differ."""


class Lasting(NamedTuple):
    """What is asked of files of runs in place of a partial query, for as long as they are there.

    A file of a table never changes, and the details of a run are stored before it. So what this
    gives for files may be kept, see `logtrace.kept`.

    Parameters
    ----------
    partial
        SQL over the views ``runs``, ``facts`` and ``signs`` of these files and the query's frames.
    values
        Of its question marks.
    since, until
        It gives what the query's own partial does where all runs are in this range; where none
        are, there is nothing to ask.
    details
        Whether it is asked of ``facts``.
    rest
        SQL of what is asked, with the query's values, of what is not in files of runs.
    """

    partial: str
    values: Sequence[Any] = ()
    since: datetime | None = None
    until: datetime | None = None
    details: bool = False
    rest: str | None = None


class Query(NamedTuple):
    """What is asked of the views of each part of a store, and of all that the parts gave.

    Parameters
    ----------
    partial
        SQL over the views and `frames`.
    merge
        SQL over ``parts``, the rows that all parts gave.
    values
        Of the question marks of `partial`.
    frames
        Tables that `partial` joins, by name.
    lasting
        Where it is asked of runs, and gives few rows.
    """

    partial: str
    merge: str
    values: Sequence[Any] = ()
    frames: Mapping[str, pa.Table] = {}
    lasting: Lasting | None = None

    @property
    def whole(self) -> str:
        """SQL of the answer where there is one part."""
        return f"WITH parts AS NOT MATERIALIZED ({self.partial}) {self.merge}"


class Parts(Protocol):
    """The parts of a store, wherever they are asked.

    Parameters
    ----------
    database
        Is in the zone of days and hours; what is kept of answers is kept here.
    several
        Whether the rows of several parts are merged.
    """

    database: duckdb.DuckDBPyConnection
    several: bool

    def ask(self, query: Query) -> pa.Table:
        """Give the merged rows; raises StoreError where a file can't be read."""

    def flow(self, query: Query, most: int) -> Iterator[pa.Table]:
        """Give the merged rows, which have an order, at most so many at a time.

        There is always a first table, with or without rows. Until the last one, or until the
        iterator is closed, nothing else can be asked.
        """

    def interrupt(self) -> None:
        """End a query that is under way; from any thread."""


class InProcess:
    """All of a store as one part, in this process.

    Parameters
    ----------
    files, zone, never_totals
        As of `open_views`.

    Attributes
    ----------
    totals
        Whether runs were found whose counters are totals: then a run's row depends on others.
    """

    several = False

    def __init__(
        self, files: Files, zone: str, never_totals: Callable[[], Iterable[str]] | None
    ) -> None:
        self.database = connect(zone)
        self.totals = open_views(self.database, files, never_totals)
        self._beside: str | None = None

    def ask(self, query: Query) -> pa.Table:
        """Give the merged rows."""
        return run(self.database, query.whole, query)

    def flow(self, query: Query, most: int) -> Iterator[pa.Table]:
        """Give the merged rows in tables; DuckDB sorts on the disk what is large."""
        with self._sparing(), _framed(self.database, query), store_errors():
            found = self.database.sql(query.whole, params=query.values)
            yield from _streamed(found.to_arrow_reader(most))

    @contextmanager
    def _sparing(self) -> Iterator[None]:
        import duckdb

        if self._beside is None:
            # one for as long as this lives: DuckDB keeps to the folder that it has used
            self._beside = mkdtemp(prefix="logtrace-")
            weakref.finalize(self, shutil.rmtree, self._beside, ignore_errors=True)
            self.database.execute("SET temp_directory = ?", [self._beside])
        limit = f"{_SORT_MIB_A_THREAD * self.database.sql(_THREADS).fetchall()[0][0]:d}MiB"
        self.database.execute(f"SET memory_limit = '{limit}'")
        try:
            yield
        except duckdb.OutOfMemoryException:
            raise QueryError(
                f"there is no room to sort the rows in {self._beside}",
                "make some, or name another folder with TMPDIR",
            ) from None
        finally:
            self.database.execute("RESET memory_limit")

    def interrupt(self) -> None:
        """End a query that is under way; from any thread."""
        self.database.interrupt()


def connect(zone: str, name: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """Open a database without tables, in which days and hours are those of a zone.

    Raises
    ------
    QueryError
        If the zone is unknown.
    """
    import duckdb

    database = duckdb.connect(name)
    # files never change: what is where in them is read once, not by each query
    database.execute("SET parquet_metadata_cache = true")
    try:
        database.execute("SET TimeZone = ?", [zone])
    except duckdb.Error:
        raise QueryError(
            f"time zone {zone} is not known", "name one such as Asia/Seoul or UTC with --tz"
        ) from None
    return database


def open_views(
    database: duckdb.DuckDBPyConnection,
    files: Files,
    never_totals: Callable[[], Iterable[str]] | None = tuple,
) -> bool:
    """Create the views of `logtrace.schema.VIEWS`, and ``facts``: runs with what details say.

    Parameters
    ----------
    database
        Where they are created.
    files
        Those of whole machines; those in a bucket are brought here.
    never_totals
        Gives the dialects whose counters are never totals: see `logtrace.sequences`. None where it
        is known that no counters are.

    Returns
    -------
    bool
        Whether counters are totals.

    Raises
    ------
    StoreError
        If a file can't be read.
    """
    files = {table: local_files(own) for table, own in files.items()}
    with store_errors():
        _create_tables(database, files)
        if totals := never_totals is not None:
            totals = sequences.create_view(
                database, never_totals, lambda hosts: _followed(files, hosts)
            )
        else:
            database.execute(_AS_STORED)
        database.execute(f"CREATE VIEW hits AS {_HITS}")
        database.execute(f"CREATE VIEW other_signs AS {_OTHER_SIGNS}")
        database.execute(f"CREATE VIEW signs AS {_RUN_SIGNS} UNION ALL FROM other_signs")
        database.execute(f"CREATE VIEW facts AS {facts('runs')}")
    return totals


def open_some(database: duckdb.DuckDBPyConnection, name: str, files: Files) -> None:
    """Create ``runs``, ``facts`` and ``signs`` of some files of runs in a schema of their own.

    Parameters
    ----------
    database
        Where they are created.
    name
        The schema.
    files
        Files of runs without totals, and those that have the details of these runs.

    Raises
    ------
    StoreError
        If a file can't be read.
    """
    with store_errors():
        database.execute(f"CREATE SCHEMA {name}")
        with in_schema(database, name):
            _create_tables(database, files)
            database.execute(_AS_STORED)
            database.execute(f"CREATE VIEW facts AS {facts('runs')}")
            database.execute(f"CREATE VIEW signs AS {_RUN_SIGNS}")


@contextmanager
def in_schema(database: duckdb.DuckDBPyConnection, name: str) -> Iterator[None]:
    """Have the names in queries mean what is in a schema."""
    database.execute(f"SET schema = '{name}'")
    try:
        yield
    finally:
        database.execute("SET schema = 'main'")


def _create_tables(database: duckdb.DuckDBPyConnection, files: Files) -> None:
    # rows have no order of their own, and to keep one would have them read one after another
    database.execute("SET preserve_insertion_order = false")
    for table, own in files.items():
        name = "stored_runs" if table == "runs" else table
        _create(database, name, schema.TABLES[table], own)
    database.execute("RESET preserve_insertion_order")


# The parts of followed logs that the stores of these files have positions of.
def _followed(files: Files, hosts: set[str]) -> Iterator[tuple[str, str]]:
    for url in {file.rpartition("/host=")[0] for file in files["runs"]}:
        yield from Store(url).positions(hosts).parts()


def run(database: duckdb.DuckDBPyConnection, sql: str, query: Query) -> pa.Table:
    """Run SQL with a query's values and frames.

    Raises
    ------
    StoreError
        If a file can't be read.
    """
    with _framed(database, query), store_errors():
        found: pa.Table = database.sql(sql, params=query.values).to_arrow_table()
    return found


@contextmanager
def _framed(database: duckdb.DuckDBPyConnection, query: Query) -> Iterator[None]:
    for name, frame in query.frames.items():
        database.register(name, frame)
    try:
        yield
    finally:
        for name in query.frames:
            database.unregister(name)


def _streamed(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    import duckdb
    import pyarrow as pa

    rows = pa.Table.from_batches([], reader.schema)
    with reader:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                if not len(rows):
                    yield rows
                return
            except OSError as error:  # all that Arrow tells of what DuckDB raised
                told = str(error)
                if told.startswith("INTERRUPT"):
                    raise duckdb.InterruptException(told) from None
                if told.startswith("Out of Memory"):
                    raise duckdb.OutOfMemoryException(told) from None
                raise duckdb.IOException(told) from None
            rows = pa.Table.from_batches([batch])
            yield rows


def keep(database: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Keep rows as a table, in place of those that were kept by this name."""
    database.register("kept", rows)
    database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM kept")
    database.unregister("kept")


def keep_answer(database: duckdb.DuckDBPyConnection, name: str, query: Query) -> None:
    """Keep the answer of a query as `keep` does, without bringing it into this process's memory.

    Raises
    ------
    StoreError
        If a file can't be read.
    """
    with _framed(database, query), store_errors():
        database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query.whole}", query.values)


# What goes wrong with a file's reading or its contents; any other error is one of a query.
@contextmanager
def store_errors() -> Iterator[None]:
    """Turn errors of reading files into those of the store."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        # what is wrong within a file is often told by no class of its own
        known = isinstance(error, duckdb.IOException | duckdb.InvalidInputException)
        if known or type(error) is duckdb.Error:
            raise _unreadable(error) from None
        raise


def _unreadable(error: Exception) -> StoreError:
    return StoreError(
        f"the store can't be read: {printable(str(error))}",
        "`logtrace store verify` names the file: restore it, or import its log anew",
    )


# A table that takes little is read once, a large one by each query, those columns that it needs.
# The columns are named here, or each file would have to be opened to learn which ones it has:
# older ones have fewer.
def _create(
    database: duckdb.DuckDBPyConnection, table: str, columns: pa.Schema, files: list[str]
) -> None:
    kinds = {field.name: _KINDS[str(field.type)] for field in columns}
    if not files:
        named = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
        database.execute(f"CREATE TABLE {table} ({named})")
        return
    known = ", ".join(
        f"'{name}': {{name: '{name}', type: '{kind}', default_value: NULL}}"
        for name, kind in kinds.items()
    )
    # a folder's name is an escaped form of the host's: the column in the files is exact
    options = f"schema = MAP {{{known}}}, hive_partitioning = false"
    names = ", ".join(_quoted(file) for file in files)
    kept = "TABLE" if sum(sizes_of(files).values()) <= _READ_ONCE_BYTES else "VIEW"
    database.execute(f"CREATE {kept} {table} AS FROM read_parquet([{names}], {options})")


def sizes_of(files: Iterable[str]) -> dict[str, int]:
    """Give the bytes of each file.

    Raises
    ------
    StoreError
        If one is not there.
    """
    try:
        return {file: os.stat(file).st_size for file in files}
    except OSError as error:
        raise _unreadable(error) from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
