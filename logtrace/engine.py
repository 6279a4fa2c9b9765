"""Queries over the tables of a store.

A statistic is defined once, as *partial* (over a group of files) and *merge* (of the
partials). Here DuckDB does both inside this process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace import schema, sequences
from logtrace.errors import QueryError, StoreError
from logtrace.location import local_files
from logtrace.record import printable

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

    from logtrace.store import Store


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
        arg_max(call, errors) AS failing_call, max(errors) AS failing_errors,
        arg_max(calls, errors) AS failing_calls
    FROM calls GROUP BY run_id
"""
# Where the trace has no line a call, a failed openat can't be told from one that was not closed
_FACTS = """
    SELECT runs.*, of_files.* EXCLUDE (run_id), of_calls.* EXCLUDE (run_id),
        coalesce(started_at, ended_at) AS "at",
        CASE WHEN detail THEN coalesce(unclosed, 0)
            ELSE greatest(open_calls - close_calls - coalesce(failed_opens, 0), 0)
        END AS left_open
    FROM runs LEFT JOIN ({files}) AS of_files USING (run_id)
        LEFT JOIN ({calls}) AS of_calls USING (run_id)
"""

_OF_DETAILS = re.compile(
    r"\b(?:left_open|unclosed|unused|rewritten|every_call|failed_\w+|failing_\w+|mapped|\w+_paths)\b"
    r'|"at"'
)


@dataclass(frozen=True)
class Filters:
    """Which rows are meant; None everywhere means all.

    Parameters
    ----------
    since, until
        The range ``[since, until)`` in which a run started (or, without a Start line,
        ended); aware. With either, runs without wall-clock time are left out.
    host, owner, comm, file, pid, status, boot, source
        Exact values of the columns; `boot` is that of ``boot_id``.
    run
        The beginning of ``run_id``.
    """

    since: datetime | None = None
    until: datetime | None = None
    host: str | None = None
    owner: str | None = None
    comm: str | None = None
    file: str | None = None
    pid: int | None = None
    status: str | None = None
    boot: str | None = None
    source: str | None = None
    run: str | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.since >= self.until:
            raise QueryError(
                f"--since {self.since.isoformat()} is not before --until {self.until.isoformat()}"
            )


class Measure(NamedTuple):
    """A statistic of a group of rows.

    Parameters
    ----------
    name
        Its column.
    partial
        SQL over rows.
    merge
        SQL over the partials, which are the column ``name``.
    """

    name: str
    partial: str
    merge: str


OF_RUNS = ("files", "calls")
"""Tables whose rows are details of runs: filters mean the runs."""

_COLUMN_OF = {"boot": "boot_id", "run": "run_id"}
_TIME_OF = {
    "runs": "coalesce(started_at, ended_at)",
    "losses": "noticed_at",
    "tracer": '"at"',
    "incidents": '"at"',
    "hits": '"at"',
}


class Engine:
    """DuckDB over all files of a store.

    Parameters
    ----------
    store
        Where the tables are.
    zone
        Name of the time zone in which days and hours are cut.
    never_totals
        Gives the dialects whose counters are never totals: see `logtrace.sequences`.

    Raises
    ------
    StoreError
        If the store does not exist or can't be read; queries raise it too.
    QueryError
        If the zone is unknown.
    """

    def __init__(
        self, store: Store, zone: str = "UTC", never_totals: Callable[[], Iterable[str]] = tuple
    ) -> None:
        import duckdb

        self.store = store
        self._database = duckdb.connect()
        try:
            self._database.execute("SET TimeZone = ?", [zone])
        except duckdb.Error:
            raise QueryError(
                f"time zone {zone} is not known", "name one such as Asia/Seoul or UTC with --tz"
            ) from None
        self._empty: set[str] = set()
        with _store_errors():
            for table, columns in schema.TABLES.items():
                files = local_files(store.files(table))
                name = "stored_runs" if table == "runs" else table
                _create_view(self._database, name, columns, files)
                if not files:
                    self._empty.add(table)
            sequences.create_view(self._database, never_totals)
            self._database.execute(f"CREATE VIEW hits AS {_HITS}")
            of_details = _FACTS.format(files=_OF_FILES, calls=_OF_CALLS)
            self._database.execute(f"CREATE VIEW facts AS {of_details}")
        if "incidents" in self._empty:
            self._empty.add("hits")

    def interrupt(self) -> None:
        """End a query that is under way; from any thread."""
        self._database.interrupt()

    def rows(
        self,
        table: str,
        filters: Filters | None = None,
        *,
        order: str = "1",
        limit: int | None = None,
        of_first: tuple[str, int] | None = None,
    ) -> pd.DataFrame:
        """Give rows of a table.

        Parameters
        ----------
        table
            One of ``schema.VIEWS``.
        filters
            Which rows; of the tables `OF_RUNS`, the rows of which runs.
        order
            SQL of the order.
        limit
            At most how many.
        of_first
            Of the tables `OF_RUNS`: SQL of an order of the runs, and of how many of them.

        Returns
        -------
        pandas.DataFrame
            Columns and types of the table's schema.
        """
        if table in self._empty:
            return schema.empty_frame(schema.VIEWS[table])
        where, values = _where(table, filters or Filters(), of_first)
        names = ", ".join(f'"{name}"' for name in schema.VIEWS[table].names)
        query = f"SELECT {names} FROM {table} {where} ORDER BY {order}"
        if limit is not None:
            query += f" LIMIT {limit:d}"
        return schema.to_frame(self._arrow(query, values).cast(schema.VIEWS[table]))

    def aggregate(
        self,
        keys: Mapping[str, str],
        measures: Sequence[Measure],
        filters: Filters | None = None,
        *,
        order: str = "ALL",
        beside: Mapping[str, pd.DataFrame] | None = None,
    ) -> pd.DataFrame:
        """Group the runs and measure each group.

        Parameters
        ----------
        keys
            Name -> SQL of each column to group by; none makes one group of all.
        measures
            What to measure. Beside the columns of ``schema.RUNS`` the rows have ``left_open``,
            how many descriptors the run left open, and, of runs with a line a call,
            ``every_call`` and ``failed_calls``.
        filters
            Which runs.
        order
            SQL of the order.
        beside
            Columns to join, as of `select`.

        Returns
        -------
        pandas.DataFrame
            One row a group: the keys, then the measures, in the order given.
        """
        where, values = _where("runs", filters or Filters())
        partial = _select(
            [(sql, name) for name, sql in keys.items()],
            [(measure.partial, measure.name) for measure in measures],
            f"{self._beside(beside, _source(keys.values(), measures))} {where}",
        )
        merged = _select(
            [(f'"{name}"', name) for name in keys],
            [(measure.merge, measure.name) for measure in measures],
            f"({partial})",
        )
        return schema.to_frame(_utc(self._arrow(f"{merged} ORDER BY {order}", values)))

    def aggregate_each(
        self,
        groupings: Sequence[Mapping[str, str]],
        measures: Sequence[Measure],
        filters: Filters | None = None,
    ) -> list[pd.DataFrame]:
        """Group the runs in several ways, in one look at them.

        Parameters
        ----------
        groupings
            The keys of each way, as of `aggregate`; one name means the same in all.
        measures, filters
            As of `aggregate`.

        Returns
        -------
        list of pandas.DataFrame
            What `aggregate` gives for each, in no order.
        """
        keys = {name: sql for grouping in groupings for name, sql in grouping.items()}
        named = ", ".join(f'{sql} AS "by {name}"' for name, sql in keys.items())
        where, values = _where("runs", filters or Filters())
        rows = f"(SELECT *{named and ', '}{named} FROM {_source(keys.values(), measures)} {where})"
        sets = ", ".join(f"({_names(grouping)})" for grouping in groupings)
        place = f"GROUPING({_names(keys)})" if keys else "0"
        partials = ", ".join(f'{each.partial} AS "{each.name}"' for each in measures)
        columns = "".join(f'"by {name}", ' for name in keys)
        partial = f"SELECT {columns}{place} AS place, {partials} FROM {rows} GROUP BY"
        merges = ", ".join(f'{each.merge} AS "{each.name}"' for each in measures)
        query = f"SELECT {columns}place, {merges} FROM ({partial} GROUPING SETS ({sets}))"
        found = schema.to_frame(_utc(self._arrow(f"{query} GROUP BY {columns}place", values)))
        found.columns = [*keys, *found.columns[len(keys) :]]
        return [_of_grouping(found, [*keys], grouping) for grouping in groupings]

    def select(
        self,
        columns: Mapping[str, str],
        filters: Filters | None = None,
        *,
        where: str = "true",
        order: str = "ALL",
        limit: int | None = None,
        beside: Mapping[str, pd.DataFrame] | None = None,
        among: str = "facts",
    ) -> pd.DataFrame:
        """Look at runs one by one.

        Parameters
        ----------
        columns
            Name -> SQL of each column, over the rows that `aggregate` has.
        filters
            Which runs.
        where
            SQL of a further condition.
        order
            SQL of the order.
        limit
            At most how many.
        beside
            Columns to join, by their frames: those of runs that have no row there are null.
        among
            The name that `set_aside` gave, for these runs only.

        Returns
        -------
        pandas.DataFrame
            One row a run, with the columns in their order.
        """
        chosen, values = _where("runs", filters or Filters())
        names = ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())
        source = self._beside(beside, among)
        query = f"SELECT {names} FROM {source} {chosen or 'WHERE true'} AND ({where})"
        query += f" ORDER BY {order}" + ("" if limit is None else f" LIMIT {limit:d}")
        return schema.to_frame(_utc(self._arrow(query, values)))

    def set_aside(self, run_ids: pd.Series) -> str:
        """Set runs aside that are looked at again and again.

        Parameters
        ----------
        run_ids
            Which ones.

        Returns
        -------
        str
            What `select` knows them by, until others are set aside.
        """
        self._database.register("wanted", run_ids.rename("run_id").drop_duplicates().to_frame())
        with _store_errors():
            self._database.execute(
                "CREATE OR REPLACE TEMP TABLE aside AS"
                " SELECT * FROM facts SEMI JOIN wanted USING (run_id)"
            )
        return "aside"

    def _beside(self, beside: Mapping[str, pd.DataFrame] | None, source: str = "facts") -> str:
        for column, frame in (beside or {}).items():
            self._database.register(f"by_{column}", frame)
            source += f' LEFT JOIN by_{column} USING ("{column}")'
        return source

    def _arrow(self, query: str, values: Sequence[Any]) -> pa.Table:
        with _store_errors():
            return self._database.sql(query, params=values).to_arrow_table()


# What goes wrong with a file's reading or its contents; any other error is one of a query.
@contextmanager
def _store_errors() -> Iterator[None]:
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise StoreError(
            f"the store can't be read: {error}", "restore the file, or import its log anew"
        ) from None


def _names(keys: Iterable[str]) -> str:
    return ", ".join(f'"by {name}"' for name in keys)


# GROUPING has a bit for each key that a row is not grouped by, the first one the highest.
def _of_grouping(found: pd.DataFrame, keys: list[str], grouping: Iterable[str]) -> pd.DataFrame:
    own = list(grouping)
    place = sum(1 << len(keys) - 1 - at for at, key in enumerate(keys) if key not in own)
    rows = found[found["place"] == place].reset_index(drop=True)
    return rows[[*own, *found.columns[len(keys) + 1 :]]]


# Most statistics need nothing of the details, and to join them takes longer than the rest.
def _source(keys: Iterable[str], measures: Iterable[Measure]) -> str:
    said = " ".join([*keys, *(measure.partial for measure in measures)])
    return "facts" if _OF_DETAILS.search(said) else "runs"


def _create_view(
    database: duckdb.DuckDBPyConnection, table: str, columns: pa.Schema, files: list[str]
) -> None:
    empty = database.from_arrow(columns.empty_table())
    if not files:
        empty.create_view(table)
        return
    # a folder's name is an escaped form of the host's: the column in the files is exact
    stored = database.read_parquet(files, union_by_name=True, hive_partitioning=False)
    missing = [
        f'CAST(NULL AS {kind}) AS "{name}"'
        for name, kind in zip(empty.columns, empty.types, strict=True)
        if name not in stored.columns
    ]
    stored.project(", ".join(["*", *missing])).create_view(table)


def _select(
    keys: Iterable[tuple[str, str]], measures: Iterable[tuple[str, str]], source: str
) -> str:
    keys = list(keys)
    columns = ", ".join(f'{sql} AS "{name}"' for sql, name in (*keys, *measures))
    grouping = "GROUP BY ALL" if keys else ""
    return f"SELECT {columns} FROM {source} {grouping}"


def _where(
    table: str, filters: Filters, of_first: tuple[str, int] | None = None
) -> tuple[str, list[Any]]:
    if table in OF_RUNS:
        return _where_of_runs(filters, of_first)
    conditions: list[str] = []
    values: list[Any] = []
    names = set(schema.VIEWS[table].names)
    for entry in fields(filters):
        value = getattr(filters, entry.name)
        column = _COLUMN_OF.get(entry.name, entry.name)
        if value is None:
            continue
        if entry.name in ("since", "until"):
            conditions.append(f"{_TIME_OF[table]} {'>=' if entry.name == 'since' else '<'} ?")
        elif entry.name == "run" and column in names:
            conditions.append('starts_with("run_id", ?)')
        elif column in names:
            conditions.append(f'"{column}" = ?')
        else:
            continue  # a loss has no owner: it may have been anybody's
        # the tables keep what is not printable as \\xNN
        values.append(printable(value) if isinstance(value, str) else value)
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values


def _where_of_runs(filters: Filters, of_first: tuple[str, int] | None) -> tuple[str, list[Any]]:
    where, values = _where("runs", filters)
    if of_first:
        where += " ORDER BY {} LIMIT {:d}".format(*of_first)
    return (f"WHERE run_id IN (SELECT run_id FROM runs {where})" if where else ""), values


# DuckDB gives times in the session's zone; the tables keep them in UTC.
def _utc(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    columns = [
        column.cast(pa.timestamp("us", tz="UTC")) if pa.types.is_timestamp(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)
