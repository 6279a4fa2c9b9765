"""Modules that never set their counters back, found from the sequence of their runs.

One run tells nothing: a program that does more prints the same as a module that goes on
counting. But where the first three runs since the counters began are of one program and one
file, and print once, twice and three times the same in every counter, opens and closes among
them, a program would have to repeat all that it does, as often as it was run. So they are
totals, and so are those behind them until a counter of calls goes down. This is looked up when
runs are asked for, for all runs at once: what is stored stays as it was printed. The parts of a
log that was followed are one log, in the order of its times.
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
_LOG = ("host", "boot_id", "log")
_MODULE = (*_LOG, "owner", "dialect")
_ANYWHERE = ("host", "boot_id", "owner", "dialect")  # a module, in whatever log
_PART = ("host", "boot_id", "source")
_OF_A_RUN = (
    *_ANYWHERE, "source", "run_id", "first_seq", "last_seq", "started_us", "ended_us",
    "started_at", "ended_at", "comm", "file", "status", *COUNTERS,
)  # fmt: skip


def _and(form: str, names: Iterable[str]) -> str:
    return " AND ".join(form.format(name=name) for name in names)


def _or(form: str, names: Iterable[str]) -> str:
    return " OR ".join(form.format(name=name) for name in names)


def _list(form: str, names: Iterable[str] = COUNTERS) -> str:
    return ", ".join(form.format(name=name) for name in names)


_SAME = "one.{name} IS NOT DISTINCT FROM other.{name}"


def _key(form: str) -> str:
    return f"hash({_list(form)}, {', '.join(_ANYWHERE)})"


# Only runs that print three times what another one of their module does, and one and a half times
# what a third one does, can be evidence: few are, so that a store without such modules costs a
# look at its counters. They are told by a hash first: what it takes for equal is looked at again.
_THIRDS = f"""
    SELECT {", ".join(_ANYWHERE)}, {_key("{name} // 3")} AS once, {_key("{name} // 3 * 2")} AS twice
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
    SELECT DISTINCT {", ".join(_ANYWHERE)} FROM thirds
    WHERE once IN (SELECT key FROM printed) AND twice IN (SELECT key FROM printed)
"""

# Which log each part is of, and by how much its numbers are moved to go on behind those of the
# parts before. Those of a followed log are in order by the times in them; where one has none,
# each is a log of its own.
_PARTS = f"""
    WITH said AS (
        SELECT {", ".join(_PART)}, coalesce(started_at, ended_at) AS "at",
            greatest(first_seq, last_seq) AS seq FROM stored_runs
        UNION ALL
        SELECT {", ".join(_PART)}, CASE WHEN reason <> 'emptied' THEN noticed_at END, last_seq
        FROM losses
    ), known AS (
        SELECT {", ".join(_PART)}, min("at") AS since, max(seq) AS size
        FROM said AS one SEMI JOIN modules AS other ON {_and(_SAME, _PART[:2])} GROUP BY ALL
    ), logs AS (
        SELECT known.*, coalesce(path, source) AS whole, bool_and(since IS NOT NULL) OVER
            (PARTITION BY host, boot_id, coalesce(path, source)) AS dated
        FROM known LEFT JOIN followed USING (host, source)
    )
    SELECT {", ".join(_PART)}, size, CASE WHEN dated THEN whole ELSE source END AS log,
        CASE WHEN dated THEN coalesce(sum(size::HUGEINT + 1) OVER (
            PARTITION BY host, boot_id, whole ORDER BY since, source
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0)::BIGINT ELSE 0 END AS moved
    FROM logs
"""

# What may have counted unseen: runs that name no owner, and what was lost or not understood.
_UNKNOWN = f"""
    SELECT {_list("other.{name}", _LOG)}, other.moved + one.first_seq AS first FROM
        (SELECT {_list("{name}", _PART)}, first_seq FROM stored_runs WHERE owner IS NULL
            UNION ALL SELECT {_list("{name}", _PART)}, first_seq FROM losses) AS one
        JOIN parts AS other ON {_and(_SAME, _PART)}
    WHERE EXISTS (SELECT 1 FROM modules AS one WHERE {_and(_SAME, _LOG)})
"""

_OWN = """
    CASE WHEN one.place = 1 THEN one.{name}
        WHEN NOT one.doubtful THEN TRY_CAST(one.{name}::HUGEINT - one.before_{name} AS BIGINT) END
    AS {name}
"""
_OF_MODULES = f"""
    SELECT {_list("one.{name}", _OF_A_RUN)}, parts.log, moved + one.first_seq AS first,
        CASE WHEN one.last_seq < one.first_seq THEN size + 1 ELSE 0 END + moved + one.last_seq
            AS last
    FROM stored_runs AS one
    SEMI JOIN modules AS other ON {_and(_SAME, _ANYWHERE)}
    JOIN parts ON {_and("one.{name} IS NOT DISTINCT FROM parts.{name}", _PART)}
    WHERE one.raw_open_calls IS NULL
"""
# Of these modules those with three runs right behind each other that may be evidence
_LIKELY = f"""
    SELECT DISTINCT {", ".join(_MODULE)} FROM (
        SELECT *, lag(printed) OVER sequence = {_key("{name} // 3 * 2")}
            AND lag(printed, 2) OVER sequence = {_key("{name} // 3")} AS evident
        FROM (SELECT *, {_key("{name}")} AS printed FROM runs_of_modules)
        WINDOW sequence AS (PARTITION BY {", ".join(_MODULE)} ORDER BY first)
    ) WHERE evident
"""
# Of a run that ends in the part behind its own, only the times tell that.
_BEGAN_BEFORE_ITS_END = """
    coalesce(
        lag(ended_us) OVER sequence > started_us, lag(ended_at) OVER sequence > started_at, false
    )
"""
_NARROWED = f"""
    SELECT one.* FROM runs_of_modules AS one
    SEMI JOIN modules AS other ON {_and(_SAME, _MODULE)}
"""
_TAKEN = f"""
    WITH steps AS (
        SELECT *, lag(first) OVER sequence AS before,
            coalesce(lag(last) OVER sequence > first, false) OR lag(source) OVER sequence <> source
                AND {_BEGAN_BEFORE_ITS_END} AS overlaps,
            {_list("lag({name}) OVER sequence AS before_{name}")},
            coalesce({_or("{name} < lag({name}) OVER sequence", [*_CALLS, "started_us"])}, false)
                OR lag(first) OVER sequence IS NULL AS begins
        FROM runs_of_modules
        WINDOW sequence AS (PARTITION BY {", ".join(_MODULE)} ORDER BY first)
    ), loads AS (
        SELECT *, count(*) FILTER (begins) OVER
            (PARTITION BY {", ".join(_MODULE)} ORDER BY first) AS load
        FROM steps
    ), doubts AS (
        SELECT one.*, coalesce(one.overlaps OR unknown.first > one.before, false)
            OR {_or("(one.{name} IS NOT NULL AND one.before_{name} IS NULL)", COUNTERS)} AS doubtful
        FROM loads AS one ASOF LEFT JOIN unknown
            ON {_and("coalesce(one.{name}, '') = coalesce(unknown.{name}, '')", _LOG)}
            AND one.last >= unknown.first
    ), places AS (
        SELECT *, row_number() OVER load_of AS place,
            {_list("first_value({name}) OVER load_of AS first_{name}", [*COUNTERS, "comm", "file"])}
        FROM doubts WINDOW load_of AS (PARTITION BY {", ".join(_MODULE)}, load ORDER BY first)
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
    database: duckdb.DuckDBPyConnection,
    never: Callable[[], Iterable[str]] = tuple,
    followed: Callable[[set[str]], Iterable[tuple[str, str]]] = lambda _hosts: (),
) -> bool:
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
    followed
        Gives, of some hosts, host and source of each part of a followed log, of which nothing is
        missing between one and the next that ``losses`` does not name; asked only then, too.

    Returns
    -------
    bool
        Whether there are any.
    """
    if _find_modules(database, never, followed):
        database.execute(f"CREATE TEMP TABLE unknown AS {_UNKNOWN}")
        database.execute(f"CREATE TEMP TABLE taken AS {_TAKEN}")
        database.execute(f"CREATE VIEW runs AS {_RUNS}")
        return True
    for table in ("thirds", "modules", "followed", "parts", "runs_of_modules"):
        database.execute(f"DROP TABLE IF EXISTS temp.{table}")
    database.execute("CREATE VIEW runs AS SELECT * FROM stored_runs")
    return False


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


def _find_modules(
    database: duckdb.DuckDBPyConnection,
    never: Callable[[], Iterable[str]],
    followed: Callable[[set[str]], Iterable[tuple[str, str]]],
) -> bool:
    database.execute(f"CREATE TEMP TABLE thirds AS {_THIRDS}")
    if not _any(database, "thirds"):
        return False
    database.execute(f"CREATE TEMP TABLE modules AS {_MODULES}")
    if not _any(database, "modules"):
        return False
    database.execute("DELETE FROM modules WHERE list_contains(?::VARCHAR[], dialect)", [[*never()]])
    if not _any(database, "modules"):
        return False
    hosts = database.execute("SELECT DISTINCT host FROM modules").fetchall()
    _note_followed(database, followed({host for (host,) in hosts}))
    database.execute(f"CREATE TEMP TABLE parts AS {_PARTS}")
    database.execute(f"CREATE TEMP TABLE runs_of_modules AS {_OF_MODULES}")
    database.execute(f"CREATE OR REPLACE TEMP TABLE modules AS {_LIKELY}")
    database.execute(f"CREATE OR REPLACE TEMP TABLE runs_of_modules AS {_NARROWED}")
    return _any(database, "modules")


def _note_followed(
    database: duckdb.DuckDBPyConnection, followed: Iterable[tuple[str, str]]
) -> None:
    database.execute("CREATE TEMP TABLE followed (host VARCHAR, source VARCHAR, path VARCHAR)")
    rows = [[host, source, source.rpartition("@")[0]] for host, source in followed]
    if rows:
        database.executemany("INSERT INTO followed VALUES (?, ?, ?)", rows)


def _any(database: duckdb.DuckDBPyConnection, table: str) -> bool:
    return database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None
