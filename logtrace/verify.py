"""Whether a store has all that its tables' logs say, each row once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace import columns
from logtrace.columns import STORED_US
from logtrace.errors import StoreError
from logtrace.location import local_files
from logtrace.store import counted, last_number

if TYPE_CHECKING:
    import pandas as pd
    from deltalake import DeltaTable

    from logtrace.store import Store

_AT_MOST = 1000  # rows of one kind of trouble in a table
# The runs are opened last, as a watch stores them
_ORDER = [*(table for table in columns.TABLES if table != "runs"), "runs"]


class Trouble(NamedTuple):
    """Something that is not as it should be.

    Parameters
    ----------
    host, table
        Whose, and in which table.
    problem
        ``unreadable`` (the table's log), ``missing`` (a file), ``damaged`` (a file),
        ``hole`` (rows that are gone from sound files), ``doubled`` (rows), ``overlap`` (ranges of
        records that exclude each other) or ``without run`` (details).
    boot_id, first_seq, last_seq
        Which records the rows are of; None if that is not known.
    since, until
        When that was, UTC; None if that is not known.
    rows
        How many rows there are of it, or were.
    what
        In words.
    """

    host: str
    table: str
    problem: str
    boot_id: str | None
    first_seq: int | None
    last_seq: int | None
    since: datetime | None
    until: datetime | None
    rows: int | None
    what: str


# Each gives the columns of `Trouble` from `boot_id` on.
_CHECKS = {
    ("runs", "doubled"): """
        SELECT any_value(boot_id), min(first_seq), max(last_seq),
            min(coalesce(started_at, ended_at)), max(coalesce(ended_at, started_at)), count(*),
            'run ' || run_id || ' is stored ' || count(*) || ' times'
        FROM runs WHERE run_id IS NOT NULL GROUP BY run_id HAVING count(*) > 1
    """,
    # the log of a boot read in two ways, as by a watch of kmsg and an import
    ("runs", "overlap"): """
        SELECT boot_id, min(first_seq), max(last_seq), min(coalesce(started_at, ended_at)),
            max(coalesce(ended_at, started_at)), count(*),
            'one run of pid ' || pid || ' is stored from ' || string_agg(DISTINCT source, ' and '
            ORDER BY source)
        FROM runs WHERE boot_id IS NOT NULL AND pid IS NOT NULL AND started_us IS NOT NULL
        GROUP BY boot_id, pid, started_us, comm HAVING count(DISTINCT source) > 1
    """,
    # records that nobody saw are told once, and are of no run that was seen to begin or end there
    ("losses", "overlap"): """
        WITH unseen AS (
            SELECT *, row_number() OVER () AS place FROM losses
            WHERE text IS NULL AND records = last_seq - first_seq + 1
        )
        SELECT one.boot_id, greatest(one.first_seq, other.first_seq),
            least(one.last_seq, other.last_seq), least(one.noticed_at, other.noticed_at),
            greatest(one.noticed_at, other.noticed_at), 2, 'records are lost twice'
        FROM unseen AS one JOIN unseen AS other
            ON one.source IS NOT DISTINCT FROM other.source
            AND one.boot_id IS NOT DISTINCT FROM other.boot_id AND one.place < other.place
            AND one.first_seq <= other.last_seq AND other.first_seq <= one.last_seq
        UNION ALL
        SELECT runs.boot_id, unseen.first_seq, unseen.last_seq, min(unseen.noticed_at),
            max(unseen.noticed_at), count(*), 'lines of ' || count(*)
            || ' runs are of records that are told as lost'
        FROM runs JOIN unseen ON runs.source IS NOT DISTINCT FROM unseen.source
            AND runs.boot_id IS NOT DISTINCT FROM unseen.boot_id
            AND (runs.first_seq BETWEEN unseen.first_seq AND unseen.last_seq
                OR runs.last_seq BETWEEN unseen.first_seq AND unseen.last_seq)
        GROUP BY runs.boot_id, unseen.source, unseen.first_seq, unseen.last_seq
    """,
    ("incidents", "doubled"): """
        SELECT any_value(boot_id), min(first_seq), max(last_seq), min("at"), max("at"), count(*),
            'incident ' || incident_id || ' is stored ' || count(*) || ' times'
        FROM incidents WHERE incident_id IS NOT NULL GROUP BY incident_id HAVING count(*) > 1
    """,
    # runs are stored after their details: one that is to come yet is not missing
    **{
        (table, "without run"): f"""
            SELECT any_value(boot_id), min(ended_seq), max(ended_seq), NULL, NULL, count(*),
                'run ' || run_id || ' is not there'
            FROM {table} ANTI JOIN runs USING (run_id)
            WHERE {STORED_US} IS NULL OR {STORED_US} <= (SELECT max({STORED_US}) FROM runs)
            GROUP BY run_id
        """
        for table in ("files", "calls")
    },
    ("files", "doubled"): """
        SELECT any_value(boot_id), min(ended_seq), max(ended_seq), NULL, NULL, count(*),
            coalesce(path, 'a file') || ' of run ' || run_id || ' is stored ' || count(*)
            || ' times'
        FROM files GROUP BY run_id, descriptor, path HAVING count(*) > 1
    """,
    ("calls", "doubled"): """
        SELECT any_value(boot_id), min(ended_seq), max(ended_seq), NULL, NULL, count(*),
            'call ' || call || ' of run ' || run_id || ' is stored ' || count(*) || ' times'
        FROM calls GROUP BY run_id, call HAVING count(*) > 1
    """,
}


def verify(store: Store, hosts: Sequence[str]) -> Iterator[Trouble]:
    """Find what is missing, damaged or stored twice.

    Parameters
    ----------
    store
        Any store; all of its rows are read.
    hosts
        Which machines.

    Yields
    ------
    Trouble
        By machine, those of files first. Of rows it is looked for in what can be read.

    Raises
    ------
    StoreError
        If the store can't be reached.
    """
    for host in hosts:
        files: dict[str, list[str]] = {}
        is_whole = True
        for table in _ORDER:
            found = _Files.of(store, host, table)
            yield from found.troubles
            files[table] = found.sound
            is_whole = not (table == "runs" and found.troubles)
        yield from _of_rows(host, files, is_whole)


def to_frame(found: Iterable[Trouble]) -> pd.DataFrame:
    """Give what was found as a frame with the columns of `Trouble`; times UTC."""
    import pandas as pd

    frame = pd.DataFrame(list(found), columns=list(Trouble._fields))
    numbers = dict.fromkeys(("first_seq", "last_seq", "rows"), "Int64")
    times = dict.fromkeys(("since", "until"), "datetime64[us, UTC]")
    return frame.astype(numbers | times)


class _Files(NamedTuple):
    sound: list[str]  # paths
    troubles: list[Trouble]

    @classmethod
    def of(cls, store: Store, host: str, table: str) -> _Files:
        try:
            delta = store.open(host, table)
        except StoreError as error:
            return cls(
                [],
                [
                    Trouble(
                        host, table, "unreadable", None, None, None, None, None, None, error.message
                    )
                ],
            )
        if delta is None:
            return cls([], [])
        logged = _rows(delta.get_add_actions(flatten=True))
        troubles = []
        whole = {}
        for row in logged:
            file = store.file(host, table, row["path"])
            size = store.size(file)
            if size is None:
                troubles.append(_of_file(host, table, "missing", row, f"{file} is missing"))
            elif size != row["size_bytes"]:
                what = f"{file} has {size:,} bytes; {row['size_bytes']:,} were written"
                troubles.append(_of_file(host, table, "damaged", row, what))
            else:
                whole[file] = row
        sound = []
        for (file, row), path in zip(whole.items(), local_files(list(whole)), strict=True):
            if (why := _unsound(path, row["num_records"])) is None:
                sound.append(path)
            else:
                troubles.append(_of_file(host, table, "damaged", row, f"{file}: {why}"))
        if not troubles:
            troubles = list(_hole(host, table, delta, sound))
        return cls(sound, troubles)


# Each commit of rows tells how many there are with it.
def _hole(host: str, table: str, delta: DeltaTable, files: list[str]) -> Iterator[Trouble]:
    import duckdb

    after, count = counted(delta)
    found = 0
    if count and files:
        with duckdb.connect() as database:
            stored = database.read_parquet(files, union_by_name=True, hive_partitioning=False)
            ((found,),) = stored.filter(f"{STORED_US} > {after}").aggregate("count(*)").fetchall()
    if found < count:
        what = f"{count - found:,} of the {count:,} rows that were stored in this time are gone"
        first = _moment(after) if after else None
        last = _moment(last_number(delta))
        yield Trouble(host, table, "hole", None, None, None, first, last, count - found, what)


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)


def _rows(table: Any) -> list[dict[str, Any]]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = pa.RecordBatchReader.from_stream(table).read_all().to_pylist()
    return rows


def _unsound(path: str, rows: int) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            found = 0
            for batch in parquet.iter_batches():
                batch.validate(full=True)
                found += len(batch)
    except (pa.ArrowException, OSError) as error:
        return str(error).strip()
    return None if found == rows else f"it has {found:,} rows; {rows:,} were written"


def _of_file(host: str, table: str, problem: str, row: dict[str, Any], what: str) -> Trouble:
    boots = {row.get("min.boot_id"), row.get("max.boot_id")}
    first = row.get("min.first_seq", row.get("min.ended_seq"))
    last = row.get("max.last_seq", row.get("max.ended_seq"))
    since = row.get("min.started_at", row.get("min.at"))
    until = row.get("max.started_at", row.get("max.at"))
    stored = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=row["modification_time"])
    return Trouble(
        host,
        table,
        problem,
        boots.pop() if len(boots) == 1 else None,
        first,
        last,
        since or stored,
        until or stored,
        row["num_records"],
        what,
    )


def _of_rows(host: str, files: dict[str, list[str]], is_whole: bool) -> Iterator[Trouble]:
    import duckdb
    import pyarrow as pa

    with duckdb.connect() as database:
        for table, own in files.items():
            empty = pa.schema(columns.STORED[table]).empty_table()
            database.from_arrow(empty).create_view(f"no_{table}")
            rows = f"SELECT * FROM no_{table}"
            if own:
                stored = database.read_parquet(own, union_by_name=True, hive_partitioning=False)
                stored.create_view(f"stored_{table}")
                rows += f" UNION ALL BY NAME SELECT * FROM stored_{table}"
            database.execute(f"CREATE VIEW {table} AS {rows}")
        for (table, problem), query in _CHECKS.items():
            if problem != "without run" or is_whole:
                found = database.sql(f"SELECT * FROM ({query}) ORDER BY ALL LIMIT {_AT_MOST}")
                for row in found.fetchall():
                    yield Trouble(host, table, problem, *row)
