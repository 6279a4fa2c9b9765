"""Rows that a store has already: read a second time, as after a host's own store was lost.

Rows are known by what they stand for and not by all of their columns: what is read a second time
may be placed by another clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from deltalake import DeltaTable

Row = dict[str, Any]

# What tells rows apart, and where they stand in their boot: the files of the tables have
# statistics of these, so that those of other boots and earlier times are not opened.
_IDENTITY = {
    "runs": ("run_id",),
    "files": ("run_id",),  # the rows of a run are stored together
    "calls": ("run_id",),
    "incidents": ("incident_id",),
    "tracer": ("boot_id", "at", "module", "action", "watch"),
    "losses": ("boot_id", "source", "first_seq", "last_seq", "records", "reason", "text"),
}
_PLACE = {
    "runs": ("first_seq", "last_seq"),
    "files": ("ended_seq", "ended_seq"),
    "calls": ("ended_seq", "ended_seq"),
    "incidents": ("first_seq", "last_seq"),
    "tracer": ("at", "at"),
    "losses": ("first_seq", "last_seq"),
}
_OF_RUNS = ("boot_id", "source", "pid", "first_seq", "last_seq", "status")


def without_known(
    name: str, rows: pa.Table, known: DeltaTable | None, read_up_to: Callable[[str], int]
) -> pa.Table:
    """Leave out what a table has already.

    Parameters
    ----------
    name
        Which table.
    rows
        Rows of this table.
    known
        The table; None if there is none.
    read_up_to
        Gives how far the kernel's log of a boot was read by whoever stored what is known; -1 if
        that is not known.

    Returns
    -------
    pyarrow.Table
        The other rows. Of a loss, the part that was not read by the others either.
    """
    if not len(rows):
        return rows
    identity = _IDENTITY[name]
    others = _read_near(name, rows, known)
    ids = set(zip(*(others[column].to_pylist() for column in identity), strict=True))
    own = zip(*(rows[column].to_pylist() for column in identity), strict=True)
    rows = rows.filter(pa.array([each not in ids for each in own], pa.bool_()))
    if name == "runs":
        return _without_overlapping(rows, others)
    if name == "losses":
        return pa.Table.from_pylist(
            list(_not_read(rows.to_pylist(), read_up_to)), schema=rows.schema
        )
    return rows


def _read_near(name: str, rows: pa.Table, known: DeltaTable | None) -> pa.Table:
    columns = dict.fromkeys((*_IDENTITY[name], *(_OF_RUNS if name == "runs" else ())))
    if known is None:
        return rows.schema.empty_table().select(list(columns))
    dataset = known.to_pyarrow_dataset()
    first, last = _PLACE[name]
    boots = pc.unique(rows["boot_id"])
    field = pc.field("boot_id")
    where = field.isin(boots.drop_null())
    if boots.null_count:
        where |= field.is_null()
    least, most = pc.min(rows[first]), pc.max(rows[last])
    if least.is_valid and most.is_valid:
        near = (pc.field(last) >= least) & (pc.field(first) <= most)
        where &= near | pc.field(first).is_null() | pc.field(last).is_null()
    return dataset.to_table(columns=list(columns), filter=where)


# A run whose first lines were overwritten when it was read again has another id
def _without_overlapping(rows: pa.Table, others: pa.Table) -> pa.Table:
    places: dict[tuple[Any, ...], list[Row]] = {}
    for other in others.select(_OF_RUNS).to_pylist():
        places.setdefault(_process(other), []).append(other)

    def is_new(run: Row) -> bool:
        near = () if run["pid"] is None else places.get(_process(run), ())
        return not any(_overlap(run, other) for other in near)

    return rows.filter(pa.array(map(is_new, rows.select(_OF_RUNS).to_pylist()), pa.bool_()))


def _process(run: Row) -> tuple[Any, ...]:
    return run["boot_id"], run["source"], run["pid"]


# One record may end a run and begin the next of its process.
def _overlap(run: Row, other: Row) -> bool:
    first = max(run["first_seq"], other["first_seq"])
    last = min(run["last_seq"], other["last_seq"])
    whole = run["status"] == other["status"] == "complete"
    return bool(first < last if whole else first <= last)


# What others have read of the kernel's log was no loss.
def _not_read(losses: list[Row], read_up_to: Callable[[str], int]) -> Iterator[Row]:
    for loss in losses:
        if loss["source"] != "kmsg" or not _is_range(loss):
            yield loss
            continue
        first = max(loss["first_seq"], read_up_to(loss["boot_id"]) + 1)
        if first == loss["first_seq"]:
            yield loss
        elif first <= loss["last_seq"]:
            yield loss | {"first_seq": first, "records": loss["last_seq"] - first + 1}


def _is_range(loss: Row) -> bool:
    first, last = loss["first_seq"], loss["last_seq"]
    return None not in (first, last) and loss["records"] == last - first + 1 and not loss["text"]
