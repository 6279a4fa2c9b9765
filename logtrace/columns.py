"""The tables that logtrace keeps: their columns, types and units.

Arrow types are the single definition; `logtrace.schema` gives the same as schemas of pyarrow and
as pandas frames. They are arro3's, which delta-rs comes with: pyarrow, with numpy behind it, is
half of what a watch would keep in memory. What a log line did not print is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from arro3.core import Array, DataType, Field, Schema, Table

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _schema(*columns: tuple[str, DataType]) -> Schema:
    return Schema([Field(name, kind) for name, kind in columns])


_TEXT = DataType.utf8()
_COUNT = DataType.int64()
_FLAG = DataType.bool()
_TIME = DataType.timestamp("us", tz="UTC")

COUNTERS = (
    "read_bytes",
    "written_bytes",
    "open_calls",
    "close_calls",
    "read_calls",
    "write_calls",
    "lseek_calls",
)
"""What a run counts, in the order in which tables show it."""

STATUSES = ("complete", "no_start", "no_stats", "no_end", "ambiguous", "truncated")
"""What is known of a run: all of it, or which of its lines is missing or in doubt."""

RUNS = _schema(
    ("host", _TEXT),
    ("boot_id", _TEXT),  # null for a text log that was imported without one
    ("first_seq", _COUNT),  # record number in the ring buffer; byte offset in a text log
    ("last_seq", _COUNT),
    ("started_at", _TIME),  # null where the log has no wall-clock time
    ("ended_at", _TIME),
    ("started_us", _COUNT),  # the kernel's own clock, microseconds since boot
    ("ended_us", _COUNT),
    ("clock", _TEXT),  # how the wall time was found: received, boot, log, none
    ("pid", _COUNT),
    ("owner", _TEXT),  # the id in the first bracket of the stats line
    ("comm", _TEXT),  # process name
    ("file", _TEXT),  # as printed: see docs/format.md for its escapes
    *((name, _COUNT) for name in COUNTERS),
    ("dialect", _TEXT),
    ("status", _TEXT),  # one of STATUSES
    ("source", _TEXT),  # "kmsg", or "PATH@DIGEST" of a text log
    ("run_id", _TEXT),  # 16 hex digits, made of the identity of the first line
    ("note", _TEXT),  # why a run is not complete, or what its values are; else null
    # of the trace line of version 1; null for a run that has none
    ("wide", _FLAG),  # whether it was asked for a line a call,
    ("detail", _FLAG),  # a line a file,
    ("follow", _FLAG),  # and the same of its children
    ("parent_pid", _COUNT),  # whom it was followed from; 0 if it was started by hand
    ("lost_file_calls", _COUNT),  # calls on files that there was no room to list
    ("lost_children", _COUNT),  # child processes that could not be traced
    ("untimed_calls", _COUNT),  # calls whose beginning was not seen: without time
    # the counters as printed, of a module that never sets them back; null for all others
    *((f"raw_{name}", _COUNT) for name in COUNTERS),
)
"""One row a run."""

# ended_seq is the number of the record with which the run's end was known: its End line, or
# what showed that none would come; null where the log ended before
_OF_A_RUN = [
    ("host", _TEXT),
    ("boot_id", _TEXT),
    ("run_id", _TEXT),  # of the run's row in RUNS
    ("ended_seq", _COUNT),
    ("pid", _COUNT),
    ("comm", _TEXT),
]

FILES = _schema(
    *_OF_A_RUN,
    ("descriptor", _COUNT),
    ("path", _TEXT),  # as printed: see docs/format.md for its escapes
    ("opens", _COUNT),  # how often the descriptor was opened or duplicated for this file
    ("closes", _COUNT),
    ("reads", _COUNT),  # calls of any kind that read, and came through
    ("writes", _COUNT),
    ("seeks", _COUNT),
    ("read_bytes", _COUNT),
    ("written_bytes", _COUNT),
    ("open_at_end", _FLAG),  # whether it was open when the trace ended
)
"""One row for each file of a run, that is for each pair of descriptor and path."""

CALLS = _schema(
    *_OF_A_RUN,
    ("call", _TEXT),  # name of the system call
    ("calls", _COUNT),
    ("errors", _COUNT),  # how many of them failed
    ("moved_bytes", _COUNT),  # what they returned, of calls that move bytes
    ("time_ns", _COUNT),  # wall time inside the calls, waiting included
)
"""One row for each system call that a run used."""

LOSSES = _schema(
    ("host", _TEXT),
    ("boot_id", _TEXT),
    ("source", _TEXT),
    ("first_seq", _COUNT),
    ("last_seq", _COUNT),
    ("records", _COUNT),  # how many records or lines; null where nobody knows
    ("reason", _TEXT),  # overrun, gap, vacuumed, emptied, rebooted, truncated, rejected
    ("noticed_at", _TIME),
    ("text", _TEXT),  # the rejected or truncated line
)
"""One row for each range of records that was not seen or not understood."""

TRACER = _schema(
    ("host", _TEXT),
    ("boot_id", _TEXT),
    ("at", _TIME),
    ("module", _TEXT),
    # add, remove; present (when the watch began); of the watch: begin, alive, end
    ("action", _TEXT),
    ("kernel", _TEXT),  # the kernel's release
    ("version", _TEXT),  # the module's, and that of its source
    ("srcversion", _TEXT),
    ("watch", _COUNT),  # who saw it: microseconds since boot when that watch began
)
"""One row for each time a tracing module came or went, and for what was watched."""

_INCIDENT = [
    ("host", _TEXT),
    ("boot_id", _TEXT),
    ("incident_id", _TEXT),  # 16 hex digits of a digest over where it stands
    ("ended_seq", _COUNT),  # the record that showed its end; null at the end of a log
    ("first_seq", _COUNT),
    ("last_seq", _COUNT),
    ("at", _TIME),
    ("us", _COUNT),  # the kernel's own clock, microseconds since boot
    ("clock", _TEXT),
    ("type", _TEXT),  # one of incident_grammar.KINDS
    ("cpu", _COUNT),
    ("pid", _COUNT),
    ("comm", _TEXT),
    ("module", _TEXT),
    ("function", _TEXT),
    ("offset", _COUNT),  # bytes from the function's beginning
    ("message", _TEXT),  # the line that tells its type
    ("fingerprint", _TEXT),  # equal for incidents of one cause: see docs/incidents.md
    ("report", _TEXT),  # all of its lines
    ("truncated", _FLAG),  # whether lines of it are cut or left out
    ("mixed", _FLAG),  # whether its lines can't be told from those of another report
    ("source", _TEXT),
]

INCIDENTS = _schema(*_INCIDENT)
"""One row for each report of the kernel that something went wrong."""

HITS = _schema(
    *_INCIDENT,
    ("run_id", _TEXT),  # of the run that it hit; null where the log leaves that in doubt
    ("owner", _TEXT),  # that run's
)
"""Incidents, with what is looked up when they are asked for."""

SIGNS = _schema(
    ("host", _TEXT),
    ("boot_id", _TEXT),
    ("at", _TIME),
    # the kernel's own clock at that time, microseconds since boot: of `watch`, which counts the
    # time that the machine was suspended, where it began, else null
    ("us", _COUNT),
    ("clock", _TEXT),
    ("sign", _TEXT),  # run, incident; watch: a row of TRACER
)
"""What shows that a machine was there: one row a run, incident, and row of the tracer."""

TABLES: Mapping[str, Schema] = {
    "runs": RUNS.append(Field("lines", _TEXT)),  # see logtrace.lines
    "files": FILES,
    "calls": CALLS,
    "losses": LOSSES,
    "tracer": TRACER,
    "incidents": INCIDENTS,
}
"""What a store keeps."""

STORED_US = "stored_us"
"""The column that stored tables have besides: when the row was stored, microseconds since 1970.

It rises from commit to commit even where the clock does not, so that it numbers the commits of a
table. Null in rows that were stored before there was this column.
"""

STORED: Mapping[str, Schema] = {
    name: each.append(Field(STORED_US, _COUNT)) for name, each in TABLES.items()
}
"""The same as their files have it."""

VIEWS: Mapping[str, Schema] = {**TABLES, "runs": RUNS, "hits": HITS, "signs": SIGNS}
"""What can be asked for."""


def to_table(rows: Iterable[Mapping[str, Any]] | pa.Table, schema: Schema) -> Table:
    """Gather rows into an Arrow table.

    Parameters
    ----------
    rows
        Mappings with the schema's columns; a missing column is null. An Arrow table is
        given as it is.
    schema
        One of the schemas above.

    Returns
    -------
    arro3.core.Table
        The rows in their order, with exactly the schema's columns.
    """
    if hasattr(rows, "__arrow_c_stream__"):
        table: Any = rows
        return Table.from_arrow(table)
    rows = list(rows)
    columns = zip(schema.names, schema.types, strict=True)
    arrays = [to_array([row.get(name) for row in rows], kind) for name, kind in columns]
    return Table.from_arrays(arrays, schema=schema)


def to_array(values: Sequence[Any], kind: DataType) -> Array:
    """Gather values, of which some may be None, into an Arrow array of a type."""
    if kind != _TIME:
        return Array(values, kind)
    numbers = [None if value is None else _microseconds(value) for value in values]
    return Array(numbers, DataType.int64()).cast(kind)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
