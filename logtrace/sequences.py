"""Modules that never set their counters back, found from the sequence of their runs.

One run tells nothing: a program that does more prints the same as a module that goes on
counting. But where the first three runs since the counters began are of one program and one
file, and print once, twice and three times the same in every counter, opens and closes among
them, a program would have to repeat all that it does, as often as it was run. So they are
totals, and so are those behind them until a counter of calls goes down. This is looked up when
runs are asked for, for all runs at once: what is stored stays as it was printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from logtrace.dialects import COUNTERS

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

NOTE = "its counters are totals, of which the runs before it are taken off"
"""What a run's note says."""

_CALLS = [name for name in COUNTERS if name.endswith("_calls")]
_MODULE = ("host", "boot_id", "source", "owner", "dialect")
_LOG = _MODULE[:3]
_OF_A_RUN = (
    *_MODULE, "run_id", "first_seq", "last_seq", "started_us", "comm", "file", "status", *COUNTERS
)  # fmt: skip


def _and(form: str, names: Iterable[str]) -> str:
    return " AND ".join(form.format(name=name) for name in names)


def _or(form: str, names: Iterable[str]) -> str:
    return " OR ".join(form.format(name=name) for name in names)


def _list(form: str, names: Iterable[str] = COUNTERS) -> str:
    return ", ".join(form.format(name=name) for name in names)


_SAME = "one.{name} IS NOT DISTINCT FROM other.{name}"


def _key(form: str) -> str:
    return f"hash({_list(form)}, {', '.join(_MODULE)})"


# Only runs that print three times what another one of their module does, and one and a half times
# what a third one does, can be evidence: few are, so that a store without such modules costs a
# look at its counters. They are told by a hash first: what it takes for equal is looked at again.
_THIRDS = f"""
    SELECT {", ".join(_MODULE)}, {_key("{name} // 3")} AS once, {_key("{name} // 3 * 2")} AS twice
    FROM stored_runs
    WHERE status = 'complete' AND raw_open_calls IS NULL AND owner IS NOT NULL
        AND open_calls >= 3 AND close_calls >= 3 AND greatest(read_calls, write_calls) >= 3
        AND {_and("coalesce({name} % 3 = 0, true)", COUNTERS)}
"""
_MODULES = f"""
    WITH wanted AS (SELECT once AS key FROM thirds UNION SELECT twice FROM thirds),
        printed AS (
            SELECT DISTINCT key FROM (SELECT {_key("{name}")} AS key FROM stored_runs)
            WHERE key IN (SELECT key FROM wanted)
        )
    SELECT DISTINCT {", ".join(_MODULE)} FROM thirds
    WHERE once IN (SELECT key FROM printed) AND twice IN (SELECT key FROM printed)
"""

# What may have counted unseen: runs that name no owner, and what was lost or not understood.
_UNKNOWN = f"""
    SELECT {_list("one.{name}", _LOG)}, one.first_seq FROM
        (SELECT {_list("{name}", _LOG)}, first_seq FROM stored_runs WHERE owner IS NULL
            UNION ALL SELECT {_list("{name}", _LOG)}, first_seq FROM losses) AS one
        SEMI JOIN modules AS other ON {_and(_SAME, _LOG)}
"""

_OWN = """
    CASE WHEN one.place = 1 THEN one.{name}
        WHEN NOT one.doubtful THEN TRY_CAST(one.{name}::HUGEINT - one.before_{name} AS BIGINT) END
    AS {name}
"""
_OF_MODULES = f"""
    SELECT {_list("one.{name}", _OF_A_RUN)} FROM stored_runs AS one
    SEMI JOIN modules AS other ON {_and(_SAME, _MODULE)}
    WHERE one.raw_open_calls IS NULL
"""
# Of these modules those with three runs right behind each other that may be evidence
_LIKELY = f"""
    SELECT DISTINCT {", ".join(_MODULE)} FROM (
        SELECT *, lag(printed) OVER sequence = {_key("{name} // 3 * 2")}
            AND lag(printed, 2) OVER sequence = {_key("{name} // 3")} AS evident
        FROM (SELECT *, {_key("{name}")} AS printed FROM runs_of_modules)
        WINDOW sequence AS (PARTITION BY {", ".join(_MODULE)} ORDER BY first_seq)
    ) WHERE evident
"""
_TAKEN = f"""
    WITH steps AS (
        SELECT *, lag(first_seq) OVER sequence AS before_seq,
            coalesce(lag(last_seq) OVER sequence > first_seq, false) AS overlaps,
            {_list("lag({name}) OVER sequence AS before_{name}")},
            coalesce({_or("{name} < lag({name}) OVER sequence", [*_CALLS, "started_us"])}, false)
                OR lag(first_seq) OVER sequence IS NULL AS begins
        FROM runs_of_modules
        WINDOW sequence AS (PARTITION BY {", ".join(_MODULE)} ORDER BY first_seq)
    ), loads AS (
        SELECT *, count(*) FILTER (begins) OVER
            (PARTITION BY {", ".join(_MODULE)} ORDER BY first_seq) AS load
        FROM steps
    ), doubts AS (
        SELECT one.*, coalesce(one.overlaps OR unknown.first_seq > one.before_seq, false)
            OR {_or("(one.{name} IS NOT NULL AND one.before_{name} IS NULL)", COUNTERS)} AS doubtful
        FROM loads AS one ASOF LEFT JOIN unknown
            ON {_and("coalesce(one.{name}, '') = coalesce(unknown.{name}, '')", _LOG)}
            AND one.last_seq >= unknown.first_seq
    ), places AS (
        SELECT *, row_number() OVER load_of AS place,
            {_list("first_value({name}) OVER load_of AS first_{name}", [*COUNTERS, "comm", "file"])}
        FROM doubts WINDOW load_of AS (PARTITION BY {", ".join(_MODULE)}, load ORDER BY first_seq)
    ), evidence AS (
        SELECT {", ".join(_MODULE)}, load FROM places WHERE place <= 3 GROUP BY ALL
        HAVING count(*) = 3 AND bool_and(
            status = 'complete' AND (place = 1 OR NOT doubtful)
            AND {_and("{name} IS NOT DISTINCT FROM first_{name}", ["comm", "file"])}
            AND {_and("{name} IS NOT DISTINCT FROM first_{name}::HUGEINT * place", COUNTERS)}
            AND least(first_open_calls, first_close_calls) > 0
            AND greatest(first_read_calls, first_write_calls) > 0
        )
    )
    SELECT one.host, one.run_id, one.first_seq, one.place > 1 AND one.doubtful AS doubtful,
        {_list("one.{name} AS raw_{name}")}, {_list(_OWN)}
    FROM places AS one SEMI JOIN evidence AS other ON {_and(_SAME, [*_MODULE, "load"])}
"""

_DOUBT = "its counters are totals, and what was counted before it is not known"

_RUNS = f"""
    SELECT one.* REPLACE (
        CASE WHEN taken.doubtful THEN 'ambiguous' ELSE one.status END AS status,
        CASE WHEN taken.doubtful THEN concat_ws('; ', '{_DOUBT}', one.note)
            WHEN taken.run_id IS NOT NULL THEN concat_ws('; ', '{NOTE}', one.note)
            ELSE one.note END AS note,
        {_list("CASE WHEN taken.run_id IS NULL THEN one.{name} ELSE taken.{name} END AS {name}")},
        {_list("coalesce(taken.raw_{name}, one.raw_{name}) AS raw_{name}")}
    )
    FROM stored_runs AS one LEFT JOIN taken ON one.host = taken.host
        AND one.run_id = taken.run_id AND one.first_seq = taken.first_seq
"""


def create_view(
    database: duckdb.DuckDBPyConnection, never: Callable[[], Iterable[str]] = tuple
) -> None:
    """Create the view ``runs``, in which detected totals are taken apart.

    Parameters
    ----------
    database
        Has ``stored_runs`` and ``losses``, of ``schema.RUNS`` and ``schema.LOSSES``. In the
        view, the counters of a run whose module goes on counting are what it added to them,
        the columns ``raw_*`` what was printed, and its note begins with `NOTE`; where runs
        overlap, or something between them was not understood, they are null, and the run
        ``ambiguous``.
    never
        Gives the dialects whose counters are never totals, whatever their sequence is; asked
        only where there may be some.
    """
    if _find_modules(database, never):
        database.execute(f"CREATE TEMP TABLE unknown AS {_UNKNOWN}")
        database.execute(f"CREATE TEMP TABLE taken AS {_TAKEN}")
        database.execute(f"CREATE VIEW runs AS {_RUNS}")
        return
    database.execute("CREATE VIEW runs AS SELECT * FROM stored_runs")


def take_apart(
    runs: pa.Table, losses: pa.Table, never: Callable[[], Iterable[str]] = tuple
) -> pa.Table:
    """Take detected totals apart in runs that are in no store.

    Parameters
    ----------
    runs, losses
        Tables of ``schema.TABLES``.
    never
        As of `create_view`.

    Returns
    -------
    pyarrow.Table
        The runs as the view has them, in their order.
    """
    import duckdb
    import pyarrow as pa

    with duckdb.connect() as database:
        in_order = runs.append_column("ordinal", pa.array(range(len(runs)), pa.int64()))
        database.from_arrow(in_order).create_view("stored_runs")
        database.from_arrow(losses).create_view("losses")
        create_view(database, never)
        taken = database.sql("SELECT * EXCLUDE (ordinal) FROM runs ORDER BY ordinal")
        return taken.to_arrow_table().cast(runs.schema)


def _find_modules(database: duckdb.DuckDBPyConnection, never: Callable[[], Iterable[str]]) -> bool:
    database.execute(f"CREATE TEMP TABLE thirds AS {_THIRDS}")
    if not _any(database, "thirds"):
        return False
    database.execute("DELETE FROM thirds WHERE list_contains(?::VARCHAR[], dialect)", [[*never()]])
    database.execute(f"CREATE TEMP TABLE modules AS {_MODULES}")
    if not _any(database, "modules"):
        return False
    database.execute(f"CREATE TEMP TABLE runs_of_modules AS {_OF_MODULES}")
    database.execute(f"CREATE OR REPLACE TEMP TABLE modules AS {_LIKELY}")
    database.execute(f"CREATE OR REPLACE TEMP TABLE runs_of_modules AS {_OF_MODULES}")
    return _any(database, "modules")


def _any(database: duckdb.DuckDBPyConnection, table: str) -> bool:
    return database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None
