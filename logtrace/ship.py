"""A host's own store -> the lab's store, exactly once.

Rows of a table have the number of their commit (`columns.STORED_US`). What the lab's table has
is told by an application transaction of the table itself, under the id of the table that the rows
come from, raised in the commit that brings them. So nothing needs to be remembered here, and a
ship that is killed, repeated or run twice at once brings each row once.

Where rows were brought from another table too (the host's store was lost, or set back to an earlier
state, or a copy of the machine ships as well), rows are compared with what is there.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
from arro3.core import Table

from logtrace.backoff import try_for
from logtrace.columns import STORED_US
from logtrace.doubles import without_known
from logtrace.errors import ConflictError, StoreError
from logtrace.machine import Machine
from logtrace.schema import TABLES, to_table
from logtrace.spool import Note, numbers, trim
from logtrace.store import HostTables, Store, last_number, position_in, transactions_of

if TYPE_CHECKING:
    from deltalake import DeltaTable

_BATCH_ROWS = 100_000
_COMPACT_EVERY = 64  # commits
_CONFLICT_S = 0.2  # at most, until another writer has done its commit
_ORDER = [*(name for name in TABLES if name != "runs"), "runs"]  # as they were stored
# Application transactions of the lab's tables
_MACHINE = "machine"  # whose the folder is
_SHIPPERS = "shippers"  # from how many tables rows came
_WITHOUT_NUMBER = "#without-number"  # how many of a table's rows came that have no number


@dataclass
class Progress:
    """What was brought so far.

    Parameters
    ----------
    rows
        How many rows the lab's tables did not have, by host of this store and table.
    done, whole
        How many rows were looked at, of how many that are known of by now.
    names
        What hosts are called in the lab's store: those of other machines' names are not
        called as they are here.
    removed
        How many shipped rows were removed from the host's own store.
    """

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    done: int = 0
    whole: int = 0
    removed: int = 0
    names: dict[str, str] = field(default_factory=dict)


def ship(
    store: Store,
    lab: Store,
    machine: Machine,
    show: Callable[[Progress], None] = lambda _progress: None,
    progress: Progress | None = None,
) -> Progress:
    """Bring what is new in a store to the lab's.

    Parameters
    ----------
    store
        A host's own store, of which others may be writing.
    lab
        The lab's store.
    machine
        Which machine this is.
    show
        Called with the progress when something has changed.
    progress
        What was brought before this.

    Returns
    -------
    Progress
        What was brought.

    Raises
    ------
    StoreError
        If either store can't be read, or the lab's can't be written. What was brought before
        stays, and the next call goes on from there.
    """
    _require_lab(store, lab)
    progress = progress or Progress()
    for host in store.hosts():
        _Shipment(store.host(host), lab, host, machine, progress, show).bring()
    return progress


def ship_all(
    store: Store,
    lab: Store,
    machine: Machine,
    *,
    spool_bytes: int | None = None,
    retry_for_s: float = 0,
    show: Callable[[Progress], None] = lambda _progress: None,
    tell: Callable[[StoreError, float], None] = lambda _error, _pause_s: None,
) -> Progress:
    """Ship, again where the lab's store can't be reached, and keep within the room that there is.

    Parameters
    ----------
    store, lab, machine, show
        As of `ship`.
    spool_bytes
        How much the rows of the store may take, see `logtrace.spool`.
    retry_for_s
        For how long it is tried again.
    tell
        Called with why it failed, and in how many seconds it is tried again.

    Returns
    -------
    Progress
        What was brought.

    Raises
    ------
    StoreError
        As `ship`, in the end.
    """
    progress = Progress()

    def attempt() -> None:
        # also of what was shipped before, where nothing can be now
        for step in (_trim, _ship, _trim):
            step()

    def _trim() -> None:
        if spool_bytes is not None:
            progress.removed += trim(store, str(lab), spool_bytes)

    def _ship() -> None:
        ship(store, lab, machine, show, progress)

    try_for(retry_for_s, attempt, tell)
    return progress


# A folder on a disk that is not mounted would be filled in its place.
def _require_lab(store: Store, lab: Store) -> None:
    if not lab.is_there():
        raise StoreError(f"the lab's store {lab} is not there", "mount it, or make the folder")
    if str(lab) == str(store):
        raise StoreError(f"store {store} can't be shipped to itself", "name another, --to URL")


class _Batch(NamedTuple):
    rows: pa.Table
    reached: Mapping[str, int]  # transactions of its commit
    compare: bool  # whether some of it may be there
    is_last: bool


class _Shipment:
    """What one host has stored here."""

    def __init__(
        self,
        tables: HostTables,
        lab: Store,
        host: str,
        machine: Machine,
        progress: Progress,
        show: Callable[[Progress], None],
    ) -> None:
        self._host = host
        self._lab_url = str(lab)
        self._note = Note.beside(tables)
        self._progress = progress
        self._show = show
        self._boots: set[str] = set()
        # of what is in the runs, the other tables have all that belongs to it: runs go first
        opened = {name: tables.open(name) for name in reversed(_ORDER)}
        self._local = {
            name: delta
            for name in _ORDER
            if (delta := opened[name]) is not None and not self._is_known_there(name, delta)
        }
        self._lab, self._name, self._machine = lab, host, machine

    # The lab's store is not asked where nothing is new.
    def _is_known_there(self, name: str, delta: DeltaTable) -> bool:
        return self._note.reached(self._lab_url, name) == last_number(delta) > 0

    def bring(self) -> None:
        name = self._note.name(self._lab_url) or _claim(self._lab, self._host, self._machine)
        self._name = self._progress.names[self._host] = name
        tables = self._lab.host(name)
        is_due = [self._bring_table(tables, *each) for each in self._local.items()]
        if any(is_due):
            # who else is at it joins them, or the next time does; the rows are there
            with suppress(ConflictError):
                tables.compact()

    # Says whether its small files should be joined.
    def _bring_table(self, tables: HostTables, name: str, delta: DeltaTable) -> bool:
        while (commits := self._bring(tables, name, delta)) is None:
            time.sleep(random.uniform(0, _CONFLICT_S))
        last = last_number(delta)
        # a table whose writer was killed before its first rows has brought nothing yet
        if commits or last:
            self._note.keep(self._lab_url, self._name, name, last)
        return any(version % _COMPACT_EVERY == 0 for version in commits)

    # What is remembered of the lab's store holds as long as that is the same.
    def _require_the_same(self, name: str, lab: DeltaTable | None) -> None:
        if self._note.reached(self._lab_url, name) is None:
            return
        if lab is None or lab.transaction_version(_MACHINE) != self._machine.number:
            raise StoreError(
                f"the lab's store {self._lab_url} has none of the {name} that were brought there",
                f"mount it, or remove {self._note.path} if it was begun anew",
            )

    # Gives the versions that its commits made; None if somebody else wrote to it meanwhile.
    def _bring(self, tables: HostTables, name: str, delta: DeltaTable) -> list[int] | None:
        commits: list[int] = []
        lab = tables.open_log(name)
        self._require_the_same(name, lab)
        count, batches = _news(delta, lab)
        self._progress.whole = self._progress.done + count
        for batch in batches:
            self._boots.update(filter(None, batch.rows["boot_id"].unique().to_pylist()))
            rows = _as_stored(name, batch.rows)
            if self._name != self._host:
                rows = _told_apart(rows, self._name, self._machine)
            # of losses it may be known that they are none, whatever is there
            if batch.compare or name == "losses":
                known = tables.open(name) if batch.compare else None
                rows = without_known(name, rows, known, partial(_read_up_to, tables))
            reached = {**batch.reached, _MACHINE: self._machine.number}
            if name == "runs" and batch.is_last:
                reached.update(self._positions(delta, lab if batch.compare else None))
            try:
                lab = tables.receive(name, lab, Table.from_arrow(rows), reached)
            except ConflictError:
                return None
            commits.append(lab.version())
            self._progress.rows[self._host, name] += len(rows)
            self._progress.done += len(batch.rows)
            self._show(self._progress)
        return commits

    # Of the kernel's log of these boots, so that a store that reads it again knows what is no loss.
    def _positions(self, delta: DeltaTable, lab: DeltaTable | None) -> Iterator[tuple[str, int]]:
        for boot in self._boots:
            source = f"kmsg:{boot}"
            position = position_in(delta, source)
            known = position_in(lab, source)
            if position and (known is None or known.seen < position.seen):
                yield from transactions_of(source, position).items()


# How far the kernel's log of a boot is known to have been read.
def _read_up_to(tables: HostTables, boot_id: str) -> int:
    position = tables.position(f"kmsg:{boot_id}")
    return -1 if position is None else position.resume_after


# The first machine of a name has it; the name of another gets digits of its id.
def _claim(lab: Store, host: str, machine: Machine) -> str:
    names = (host, f"{host}~{machine.digits}", f"{host}~{machine.id}")
    return next(name for name in names if _owner(lab.host(name), machine) == machine.number)


def _owner(tables: HostTables, machine: Machine) -> int:
    while True:
        delta = tables.open_log("runs")
        owner = delta.transaction_version(_MACHINE) if delta else None
        if owner is not None:
            return owner
        try:
            tables.receive("runs", delta, to_table([], TABLES["runs"]), {_MACHINE: machine.number})
        except ConflictError:
            time.sleep(random.uniform(0, _CONFLICT_S))


# How many rows a table has that the lab's has not, or may not have, and the rows.
def _news(delta: DeltaTable, lab: DeltaTable | None) -> tuple[int, Iterator[_Batch]]:
    key = f"ship:{delta.metadata().id}"
    shipped, shippers = (
        lab.transaction_version(each) if lab else None for each in (key, _SHIPPERS)
    )
    last = last_number(delta)
    if shipped is not None and shipped == last > 0:
        return 0, iter(())
    shippers = shippers or 0
    counts = numbers(delta, shipped or None)
    if shipped is None:
        is_first = not (shippers or (lab and lab.file_uris()))
        shippers += 1 if shippers or is_first else 2
    elif shipped and shipped not in counts:
        # the table was set back, or it is a copy: its numbers do not tell what is there
        counts, shipped, shippers = numbers(delta), None, max(2, shippers)
    without, brought = counts[None], None
    if without and lab:
        brought = lab.transaction_version(f"{key}{_WITHOUT_NUMBER}")
        without = without if without != brought else 0
    news = {number: rows for number, rows in counts.items() if number and number > (shipped or 0)}
    always = {key: shipped or 0, _SHIPPERS: shippers}

    def batches() -> Iterator[_Batch]:
        dataset: Any = delta.to_pyarrow_dataset()
        groups = list(_groups(news))
        if without:
            # there is no telling one part from another, if they were not brought all at once
            compare = shippers > 1 or brought is not None
            for rows, is_last in _in_parts(dataset):
                reached = {f"{key}{_WITHOUT_NUMBER}": without if is_last else -1}
                yield _Batch(rows, always | reached, compare, is_last and not groups)
        stored = ds.field(STORED_US)
        for first, end in groups:
            rows = dataset.to_table(filter=(stored >= first) & (stored <= end))
            yield _Batch(rows, always | {key: end}, shippers > 1, end == groups[-1][1])

    return without + sum(news.values()), batches()


# The first and last number of each batch.
def _groups(counts: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    group: list[int] = []
    rows = 0
    for number in sorted(counts):
        if group and rows + counts[number] > _BATCH_ROWS:
            yield group[0], group[-1]
            group, rows = [], 0
        group.append(number)
        rows += counts[number]
    if group:
        yield group[0], group[-1]


# The rows without a number, and whether they are the last.
def _in_parts(dataset: Any) -> Iterator[tuple[pa.Table, bool]]:
    where = ds.field(STORED_US).is_null() if STORED_US in dataset.schema.names else None
    part: list[pa.RecordBatch] = []
    for batch in dataset.to_batches(filter=where):
        if sum(map(len, part)) + len(batch) > _BATCH_ROWS and part:
            yield pa.Table.from_batches(part), False
            part = []
        part.append(batch)
    yield pa.Table.from_batches(part), True


def _as_stored(name: str, rows: pa.Table) -> pa.Table:
    kinds = TABLES[name]
    arrays = [
        rows[kind.name].cast(kind.type)
        if kind.name in rows.column_names
        else pa.nulls(len(rows), kind.type)
        for kind in kinds
    ]
    return pa.Table.from_arrays(arrays, schema=kinds)


# Two machines of one name may have imported the same log: ids made of a name are made others.
def _told_apart(rows: pa.Table, name: str, machine: Machine) -> pa.Table:
    changed = {"host": pa.array([name] * len(rows), pa.string())}
    for column in ("run_id", "incident_id"):
        if column in rows.column_names:
            changed[column] = pa.array(
                [
                    each and f"{int(each, 16) ^ machine.number:016x}"
                    for each in rows[column].to_pylist()
                ],
                pa.string(),
            )
    for column, values in changed.items():
        rows = rows.set_column(rows.column_names.index(column), rows.schema.field(column), values)
    return rows
