"""Queries over the tables of a store.

A statistic is defined once, as *partial* (over a group of machines) and *merge* (of the
partials). DuckDB does both inside this process, or the first where `logtrace.cluster` asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace import kept, local_time, schema, views
from logtrace.errors import QueryError
from logtrace.record import printable
from logtrace.views import Lasting, Query

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from logtrace.cluster import Cluster
    from logtrace.store import Store


_FACTS = re.compile(r"\bFROM facts\b")
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


RUNS = Measure("runs", "count(*)", "sum(runs)::BIGINT")
"""How many runs there are."""

BATCH_ROWS = 50_000
"""How many rows a batch has at most."""

NEWEST_FIRST = f"{local_time.TIME} DESC NULLS LAST, host, boot_id, first_seq DESC"
"""The order of runs in reports and tables."""

OF_RUNS = ("files", "calls")
"""Tables whose rows are details of runs: filters mean the runs."""

_COLUMN_OF = {"boot": "boot_id", "run": "run_id"}
_TIME_OF = {
    "runs": local_time.TIME,
    "losses": "noticed_at",
    "tracer": '"at"',
    "incidents": '"at"',
    "hits": '"at"',
    "signs": '"at"',
}


class Engine:
    """Queries over all files of a store.

    Parameters
    ----------
    store
        Where the tables are.
    zone
        Name of the time zone in which days and hours are cut.
    never_totals
        Gives the dialects whose counters are never totals: see `logtrace.sequences`.
    cluster
        Where parts of the store are asked; without it, DuckDB in this process asks all of it.

    Raises
    ------
    StoreError
        If the store does not exist or can't be read; queries raise it too.
    QueryError
        If the zone is unknown.
    """

    def __init__(
        self,
        store: Store,
        zone: str = "UTC",
        never_totals: Callable[[], Iterable[str]] = tuple,
        cluster: Cluster | None = None,
    ) -> None:
        self.store = store
        files = {table: store.files(table) for table in schema.TABLES}
        self._empty = {table for table, own in files.items() if not own}
        if "incidents" in self._empty:
            self._empty.add("hits")
        open_parts = cluster.parts if cluster else kept.open_parts
        self._parts: views.Parts = open_parts(files, zone, never_totals)
        self._calendars: dict[Filters, pa.Table] = {}

    def interrupt(self) -> None:
        """End a query that is under way; from any thread."""
        self._parts.interrupt()

    def rows(
        self,
        table: str,
        filters: Filters | None = None,
        *,
        order: str = "ALL",
        limit: int | None = None,
        among: pd.Series | None = None,
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
        among
            Of the tables `OF_RUNS`: the ids of runs that have been chosen; `filters` do not matter.

        Returns
        -------
        pandas.DataFrame
            Columns and types of the table's schema.
        """
        if table in self._empty:
            return schema.empty_frame(schema.VIEWS[table])
        query = _rows(table, filters, order, limit, among)
        return schema.to_frame(self._parts.ask(query).cast(schema.VIEWS[table]))

    def newest_runs(self, filters: Filters | None = None, most: int | None = None) -> pd.DataFrame:
        """Give the newest runs.

        Parameters
        ----------
        filters
            Among which runs.
        most
            How many at most; None for all.

        Returns
        -------
        pandas.DataFrame
            What `rows` gives of ``runs``, in the order of `NEWEST_FIRST`.
        """
        filters = filters or Filters()
        # so many whole rows of each part would be far more than are wanted
        if most is not None and self._parts.several:
            filters = self._since_newest(filters, most)
        return self.rows("runs", filters, order=NEWEST_FIRST, limit=most)

    # Narrows filters to a range that has so many runs, if so many have a time.
    def _since_newest(self, filters: Filters, most: int) -> Filters:
        newest = f"ORDER BY stands DESC NULLS LAST LIMIT {most:d}"
        times = f"SELECT {local_time.TIME} AS stands FROM runs"
        merge = f"SELECT min(stands) AS stands FROM (FROM parts {newest})"
        merge += f" HAVING count(stands) = {most:d}"
        query = _query(lambda where: f"{times} {where} {newest}", merge, filters)
        found = _utc(self._parts.ask(query))["stands"].to_pylist()
        return replace(filters, since=found[0]) if found else filters

    def rows_in_batches(
        self, table: str, filters: Filters | None = None, *, order: str = "ALL"
    ) -> Iterator[pd.DataFrame]:
        """Give rows of a table, however many they are, without holding all of them.

        Nothing else can be asked before the last batch is taken, or the iterator closed.

        Parameters
        ----------
        table, filters, order
            As of `rows`.

        Yields
        ------
        pandas.DataFrame
            The next rows of what `rows` gives, about `BATCH_ROWS` at most; where there are none,
            one frame without rows.
        """
        if table in self._empty:
            yield schema.empty_frame(schema.VIEWS[table])
            return
        for rows in self._parts.flow(_rows(table, filters, order), BATCH_ROWS):
            yield schema.to_frame(rows.cast(schema.VIEWS[table]))

    def aggregate(
        self,
        keys: Mapping[str, str],
        measures: Sequence[Measure],
        filters: Filters | None = None,
        *,
        order: str = "ALL",
        beside: Mapping[str, pd.DataFrame] | None = None,
        table: str = "runs",
    ) -> pd.DataFrame:
        """Group the runs, or the rows of another table, and measure each group.

        Parameters
        ----------
        keys
            Name -> SQL of each column to group by; none makes one group of all.
        measures
            What to measure. Beside the columns of ``schema.RUNS`` runs have ``left_open``,
            how many descriptors the run left open, and, of runs with a line a call,
            ``every_call`` and ``failed_calls``.
        filters
            Which rows.
        order
            SQL of the order.
        beside
            Columns to join, as of `select`.
        table
            One of ``schema.VIEWS``.

        Returns
        -------
        pandas.DataFrame
            One row a group: the keys, then the measures, in the order given.
        """
        source = _source(keys.values(), measures) if table == "runs" else table

        def partial(where: str, source: str = source) -> str:
            return _select(
                [(sql, name) for name, sql in keys.items()],
                [(measure.partial, measure.name) for measure in measures],
                f"{_joined(source, beside)} {where}",
            )

        merge = _select(
            [(f'"{name}"', name) for name in keys],
            [(measure.merge, measure.name) for measure in measures],
            "parts",
        )
        frames = self._calendar(keys.values(), filters) | _beside(beside)
        query = _query(partial, f"{merge} ORDER BY {order}", filters, frames, table)
        if table == "signs" and query.lasting:
            where, _ = _where(table, filters or Filters())
            rest = partial(where, "other_signs")
            query = query._replace(lasting=query.lasting._replace(rest=rest))
        return schema.to_frame(_utc(self._parts.ask(query)))

    def aggregate_each(
        self,
        groupings: Sequence[Mapping[str, str]],
        measures: Sequence[Measure],
        filters: Filters | None = None,
        *,
        further: Mapping[str, str] | None = None,
        finer: Mapping[str, str] | None = None,
    ) -> pd.DataFrame:
        """Group the runs in several ways, in one look at them.

        Parameters
        ----------
        groupings
            The keys of each way, as of `aggregate`; one name means the same in all.
        measures, filters
            As of `aggregate`.
        further
            Keys that each way has too.
        finer
            Further keys: the runs are measured in groups by these and all the others together, and
            each way is merged from them. That pays where they are few: see `groups`.

        Returns
        -------
        pandas.DataFrame
            What `aggregate` gives for each, in no order, one below the other: ``place``, which way
            it is, see `of_grouping`; all keys, null where they are none of the way's; the measures.
        """
        every = {**(further or {}), **_all_keys(groupings)}
        query = self._each(groupings, measures, filters, further or {}, finer)
        found = schema.to_frame(_utc(self._parts.ask(query)))
        found.columns = ["place", *every, *found.columns[1 + len(every) :]]
        return found

    def distribution_of_each(
        self,
        groupings: Sequence[Mapping[str, str]],
        value: str,
        filters: Filters | None = None,
    ) -> pd.DataFrame:
        """Group the runs in several ways, and count how often each group has which values.

        Parameters
        ----------
        groupings, filters
            As of `aggregate_each`.
        value
            SQL of a whole number.

        Returns
        -------
        pandas.DataFrame
            In no order, one row for each group in which a value is known: ``place`` and all keys
            as of `aggregate_each`; ``value``, the values, ascending; ``runs``, how many runs have
            each (arrays of ``int64``).
        """
        keys = _all_keys(groupings)
        query = self._each(groupings, (RUNS,), filters, {"value": value}, None)
        columns = "".join(f', "by {name}"' for name in keys)
        lists = ", ".join(
            f'list("{name}" ORDER BY "by value") AS "{name}"' for name in ("by value", "runs")
        )
        merge = f'SELECT place{columns}, {lists} FROM ({query.merge}) WHERE "by value" IS NOT NULL'
        query = query._replace(merge=f"{merge} GROUP BY place{columns}")
        found = schema.to_frame(_utc(self._parts.ask(query)))
        found.columns = ["place", *keys, "value", "runs"]
        return found

    # Names of keys have "by" before them: no column of runs has.
    def _each(
        self,
        groupings: Sequence[Mapping[str, str]],
        measures: Sequence[Measure],
        filters: Filters | None,
        further: Mapping[str, str],
        finer: Mapping[str, str] | None,
    ) -> Query:
        keys = _all_keys(groupings)
        every = {**further, **keys}
        finest = every | dict(finer or {})
        named = ", ".join(f'{sql} AS "by {name}"' for name, sql in finest.items())
        rows = f"SELECT *{named and ', '}{named} FROM {_source(every.values(), measures)}"
        sets = ", ".join(f"({_names([*further, *grouping])})" for grouping in groupings)
        place = f"GROUPING({_names(keys)})" if keys else "0"
        partials = ", ".join(f'{each.partial} AS "{each.name}"' for each in measures)
        columns = "".join(f', "by {name}"' for name in every)
        merges = ", ".join(f'{each.merge} AS "{each.name}"' for each in measures)
        if finer is None:
            first, group = f"{place} AS place{columns}", f"GROUPING SETS ({sets})"
            merge = f"SELECT place{columns}, {merges} FROM parts GROUP BY place{columns}"
        else:
            first, group = _names(finest), "ALL"
            merge = f"SELECT {place} AS place{columns}, {merges} FROM parts"
            merge += f" GROUP BY GROUPING SETS ({sets})"

        def partial(where: str) -> str:
            return f"SELECT {first}, {partials} FROM ({rows} {where}) GROUP BY {group}"

        return _query(partial, merge, filters, self._calendar(finest.values(), filters))

    def groups(self, keys: Iterable[str], most: int, filters: Filters | None = None) -> int:
        """Count the groups of runs.

        Parameters
        ----------
        keys
            SQL of each column to group by.
        most
            Up to which number it is exact; where there are more, some number above it is given.
        filters
            Which runs.

        Returns
        -------
        int
            How many combinations of values runs have.
        """
        named = ", ".join(f"{sql} AS key{place}" for place, sql in enumerate(keys))

        def partial(where: str) -> str:
            return f"SELECT DISTINCT {named} FROM runs {where} LIMIT {most + 1:d}"

        merge = "SELECT count(*) AS groups FROM (SELECT DISTINCT * FROM parts)"
        return int(self._parts.ask(_query(partial, merge, filters))["groups"][0].as_py())

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
            SQL of the order, over these columns.
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
        query = _selection(columns, filters, where, order, limit, beside, among)
        if among == _ASIDE:
            return schema.to_frame(_utc(views.run(self._parts.database, query.whole, query)))
        return schema.to_frame(_utc(self._parts.ask(query)))

    def select_in_batches(
        self,
        columns: Mapping[str, str],
        filters: Filters | None = None,
        *,
        where: str = "true",
        order: str = "ALL",
        beside: Mapping[str, pd.DataFrame] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """Look at runs one by one, however many they are, without holding all of them.

        Nothing else can be asked before the last batch is taken, or the iterator closed.

        Parameters
        ----------
        columns, filters, where, order, beside
            As of `select`.

        Yields
        ------
        pandas.DataFrame
            The next rows of what `select` gives, as of `rows_in_batches`.
        """
        query = _selection(columns, filters, where, order, None, beside, "facts")
        for rows in self._parts.flow(query, BATCH_ROWS):
            yield schema.to_frame(_utc(rows))

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
        # of all runs, what their details say would be joined before these were chosen
        facts = views.facts("(SELECT * FROM runs SEMI JOIN wanted USING (run_id))")
        lasting = Lasting(facts, details=True)
        frames = {"wanted": _of_ids(run_ids)}
        found = self._parts.ask(Query(facts, "FROM parts", frames=frames, lasting=lasting))
        views.keep(self._parts.database, _ASIDE, found)
        return _ASIDE

    # The days and hours of runs, where keys speak of them.
    def _calendar(self, keys: Iterable[str], filters: Filters | None) -> dict[str, pa.Table]:
        if not local_time.is_in(" ".join(keys)):
            return {}
        filters = filters or Filters()
        if filters not in self._calendars:
            merge = "SELECT DISTINCT quarter FROM parts"
            of_runs = _query(lambda where: f"{local_time.QUARTERS} {where}", merge, filters)
            quarters = self._parts.ask(of_runs)
            named = Query("", local_time.CALENDAR, frames={"quarters": quarters})
            self._calendars[filters] = views.run(self._parts.database, named.merge, named)
        return {"calendar": self._calendars[filters]}


_ASIDE = "aside"


def _all_keys(groupings: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {name: sql for grouping in groupings for name, sql in grouping.items()}


def _names(keys: Iterable[str]) -> str:
    return ", ".join(f'"by {name}"' for name in keys)


def of_grouping(
    found: pd.DataFrame, groupings: Iterable[Iterable[str]], grouping: Iterable[str]
) -> pd.DataFrame:
    """Take the groups of one way out of what `Engine.aggregate_each` gave.

    Parameters
    ----------
    found
        Its frame.
    groupings
        The names of the keys of all ways.
    grouping
        Those of the way.

    Returns
    -------
    pandas.DataFrame
        Its rows, with all columns.
    """
    return found[found["place"] == place_of(groupings, grouping)]


def place_of(groupings: Iterable[Iterable[str]], grouping: Iterable[str]) -> int:
    """Give the number of a way in the column ``place``, see `of_grouping`."""
    own = {*grouping}
    keys = list(dict.fromkeys(key for each in groupings for key in each))
    # GROUPING has a bit for each key that a row is not grouped by, the first one the highest
    return sum(1 << len(keys) - 1 - at for at, key in enumerate(keys) if key not in own)


# Most statistics need nothing of the details, and to join them takes longer than the rest.
def _source(keys: Iterable[str], measures: Iterable[Measure]) -> str:
    said = " ".join([*keys, *(measure.partial for measure in measures)])
    source = "facts" if _OF_DETAILS.search(said) else "runs"
    return f"{source} {local_time.JOIN}" if local_time.is_in(said) else source


def _joined(source: str, beside: Mapping[str, pd.DataFrame] | None) -> str:
    return " ".join([source, *(f'LEFT JOIN by_{name} USING ("{name}")' for name in beside or {})])


def _beside(beside: Mapping[str, pd.DataFrame] | None) -> dict[str, pa.Table]:
    import pyarrow as pa

    return {
        f"by_{name}": pa.Table.from_pandas(frame, preserve_index=False)
        for name, frame in (beside or {}).items()
    }


def _of_ids(run_ids: pd.Series) -> pa.Table:
    import pyarrow as pa

    ids = run_ids.rename("run_id").drop_duplicates().to_frame()
    return pa.Table.from_pandas(ids, preserve_index=False)


# What is asked of runs, and gives few rows of many, may be kept.
def _query(
    partial: Callable[[str], str],
    merge: str,
    filters: Filters | None,
    frames: Mapping[str, pa.Table] | None = None,
    table: str = "runs",
) -> Query:
    filters = filters or Filters()
    where, values = _where(table, filters)
    query = Query(partial(where), merge, values, frames or {})
    if table not in ("runs", "signs"):
        return query
    always, others = _where(table, replace(filters, since=None, until=None))
    sql = partial(always)
    details = _FACTS.search(sql) is not None
    return query._replace(lasting=Lasting(sql, others, filters.since, filters.until, details))


def _rows(
    table: str,
    filters: Filters | None,
    order: str,
    limit: int | None = None,
    among: pd.Series | None = None,
) -> Query:
    names = ", ".join(f'"{name}"' for name in schema.VIEWS[table].names)
    rows = f"SELECT {names} FROM {table}"
    if among is not None:
        frames = {"wanted": _of_ids(among)}
        return _in_order(f"{rows} SEMI JOIN wanted USING (run_id)", order, limit, [], frames)
    where, values = _where(table, filters or Filters())
    return _in_order(f"{rows} {where}", order, limit, values, {})


def _selection(
    columns: Mapping[str, str],
    filters: Filters | None,
    where: str,
    order: str,
    limit: int | None,
    beside: Mapping[str, pd.DataFrame] | None,
    among: str,
) -> Query:
    chosen, values = _where("runs", filters or Filters())
    names = ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())
    source = f"{_joined(among, beside)} {chosen or 'WHERE true'} AND ({where})"
    return _in_order(f"SELECT {names} FROM {source}", order, limit, values, _beside(beside))


# The first rows of all are among the first ones of each part. Rows that are alike in what is asked
# for are in the order of all columns, so that it never matters who is asked.
def _in_order(
    rows: str, order: str, limit: int | None, values: Sequence[Any], frames: Mapping[str, pa.Table]
) -> Query:
    order = order if order == "ALL" else f"{order}, COLUMNS(*)"
    merge = f"SELECT * FROM parts ORDER BY {order}"
    if limit is None:
        return Query(rows, merge, values, frames)
    first = f" LIMIT {limit:d}"
    partial = f"SELECT * FROM ({rows}) ORDER BY {order}"
    return Query(partial + first, merge + first, values, frames)


def _select(
    keys: Iterable[tuple[str, str]], measures: Iterable[tuple[str, str]], source: str
) -> str:
    keys = list(keys)
    columns = ", ".join(f'{sql} AS "{name}"' for sql, name in (*keys, *measures))
    grouping = "GROUP BY ALL" if keys else ""
    return f"SELECT {columns} FROM {source} {grouping}"


def _where(table: str, filters: Filters) -> tuple[str, list[Any]]:
    if table in OF_RUNS:
        of_runs, values = _where("runs", filters)
        return (f"WHERE run_id IN (SELECT run_id FROM runs {of_runs})" if of_runs else ""), values
    conditions: list[str] = []
    values = []
    names = set(schema.VIEWS[table].names)
    for entry in fields(filters):
        value = getattr(filters, entry.name)
        column = _COLUMN_OF.get(entry.name, entry.name)
        if value is None:
            continue
        if entry.name in ("since", "until"):
            within = f"{'>=' if entry.name == 'since' else '<'} ?"
            conditions.append(f"{_TIME_OF[table]} {within}")
            if table in ("runs", "signs"):
                # what the first one implies of a single column tells which parts of files to read
                conditions.append(f"(started_at {within} OR started_at IS NULL)")
                values.append(value)
        elif entry.name == "run" and column in names:
            conditions.append('starts_with("run_id", ?)')
        elif column in names:
            conditions.append(f'"{column}" = ?')
        else:
            continue  # a loss has no owner: it may have been anybody's
        # the tables keep what is not printable as \\xNN
        values.append(printable(value) if isinstance(value, str) else value)
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values


# DuckDB gives times in the session's zone; the tables keep them in UTC.
def _utc(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    columns = [
        column.cast(pa.timestamp("us", tz="UTC")) if pa.types.is_timestamp(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)
