"""The bound of a host's own store, whose rows wait there to be shipped.

What was shipped is removed, oldest first, before there is no room; what was not is never removed.
If that alone takes all the room there is, nothing more is stored until some was shipped, as on
a full disk.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logtrace import columns
from logtrace.display import bytes_text
from logtrace.errors import StoreError

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from logtrace.store import HostTables, Store

_TRIMMED_FROM = 3 / 4  # of the room that there is
_TRIMMED_TO = 1 / 2
_MEASURED_FOR_S = 10.0
_SHARE = 20  # of the time, one part at most goes into measuring


class Note:
    """What a host's folder remembers of what was shipped from it.

    It tells which rows may be removed, and that a lab's store must be there; which rows are
    new is told by the lab's store itself.

    Parameters
    ----------
    path
        Its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, tables: HostTables) -> Note:
        """Give the note of a host's tables."""
        return cls(tables.sign.with_name(".shipped"))

    def reached(self, lab: str, table: str) -> int | None:
        """Say up to which number a table's rows are in a lab's store; None if none are."""
        reached: Mapping[str, int] = self._read().get(lab, {}).get("reached", {})
        return reached.get(table)

    def name(self, lab: str) -> str | None:
        """Say what the host is called in a lab's store; None if it was not shipped there."""
        name: str | None = self._read().get(lab, {}).get("name")
        return name

    def keep(self, lab: str, name: str, table: str, number: int) -> None:
        """Remember that a table's rows up to a number are in a lab's store, under a name."""
        known = self._read()
        before = known.get(lab, {})
        known[lab] = {"name": name, "reached": {**before.get("reached", {}), table: number}}
        if known[lab] == before:
            return
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(known))
            draft.replace(self.path)
        except OSError as error:
            raise StoreError(
                f"{self.path} can't be written: {error.strerror}",
                "check its permissions and free space",
            ) from None

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            known: dict[str, dict[str, Any]] = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path} can't be read: {error}", "remove it") from None
        return known


class Room:
    """How much room there is in a host's own store.

    Parameters
    ----------
    store
        The store.
    most_bytes
        How much its rows may take, as files.
    lab
        Where they are shipped to.
    """

    def __init__(self, store: Store, most_bytes: int, lab: str) -> None:
        self._store = store
        self._most_bytes = most_bytes
        self._lab = lab
        self._taken: dict[str, int] = {}  # by table
        self._measured_until = 0.0

    def require(self) -> None:
        """Raise StoreError if there is none left."""
        is_measured = time.monotonic() < self._measured_until
        if is_measured and sum(self._taken.values()) < self._most_bytes:
            return
        begun = time.monotonic()
        self._taken = {delta.table_uri: _bytes(delta) for _, _, delta in _tables(self._store)}
        took_s = time.monotonic() - begun
        taken = sum(self._taken.values())
        if taken >= self._most_bytes:
            raise StoreError(
                f"store {self._store} is full: rows of {bytes_text(taken)} wait to be shipped to"
                f" {self._lab}, and {bytes_text(self._most_bytes)} may",
                "see that it can be reached, or raise ship.spool_bytes in logtrace.toml",
            )
        # what others remove meanwhile is noticed then, what is added at once
        self._measured_until = time.monotonic() + max(_MEASURED_FOR_S, _SHARE * took_s)

    def note(self, delta: DeltaTable) -> None:
        """Take notice of what a table takes now."""
        self._taken[delta.table_uri] = _bytes(delta)


def taken_bytes(store: Store) -> int:
    """Say how much the rows of a store take, as files; not those that were replaced."""
    return sum(_bytes(delta) for _, _, delta in _tables(store))


def trim(store: Store, lab: str, most_bytes: int) -> int:
    """Remove the oldest of the rows that were shipped, if the room that there is is used up.

    Parameters
    ----------
    store
        A host's own store.
    lab
        Where they were shipped to.
    most_bytes
        How much its rows may take, as files.

    Returns
    -------
    int
        How many rows were removed.

    Raises
    ------
    StoreError
        If the store can't be read or written.
    """
    taken = taken_bytes(store)
    if taken <= most_bytes * _TRIMMED_FROM:
        return 0
    sizes: Counter[int] = Counter()  # bytes of rows, by their number
    counts: Counter[int] = Counter()
    reached: list[tuple[HostTables, str, int]] = []
    for tables, name, delta in _tables(store):
        shipped = Note.beside(tables).reached(lab, name)
        if shipped is None:
            continue
        reached.append((tables, name, shipped))
        rows = numbers(delta)
        of_row = _bytes(delta) / max(1, rows.total())
        for number, count in rows.items():
            # the last one that was shipped tells that this table is the one that was
            if (number or 0) < shipped:
                sizes[number or 0] += round(count * of_row)
                counts[number or 0] += count
    end = _end(sizes, taken - most_bytes * _TRIMMED_TO)
    if end is None:
        return 0
    for tables, name, shipped in reached:
        below = f"{columns.STORED_US} <= {min(end, shipped - 1)}"
        tables.remove(name, f"{below} OR {columns.STORED_US} IS NULL" if shipped > 0 else "false")
    return sum(count for number, count in counts.items() if number <= end)


def numbers(delta: DeltaTable, since: int | None = None) -> Counter[int | None]:
    """Count the rows of a table by their number, see `columns.STORED_US`.

    Parameters
    ----------
    delta
        A table.
    since
        The least number to count; rows without a number are counted in any case.

    Returns
    -------
    Counter
        How many rows have each number, and None.
    """
    import pyarrow.dataset as ds

    dataset: Any = delta.to_pyarrow_dataset()
    if columns.STORED_US not in dataset.schema.names:
        return Counter({None: dataset.count_rows()})
    field = ds.field(columns.STORED_US)
    where = None if since is None else (field >= since) | field.is_null()
    found: Counter[int | None] = Counter()
    for batch in dataset.to_batches(columns=[columns.STORED_US], filter=where):
        counted = batch.column(0).value_counts()
        for number, count in zip(*(part.to_pylist() for part in counted.flatten()), strict=True):
            found[number] += count
    return found


# Up to which number rows are to be removed, for so many bytes.
def _end(sizes: Mapping[int, int], wanted: float) -> int | None:
    end = None
    for number in sorted(sizes):
        if wanted <= 0:
            break
        wanted -= sizes[number]
        end = number
    return end


def _tables(store: Store) -> Iterator[tuple[HostTables, str, DeltaTable]]:
    for host in store.hosts():
        tables = store.host(host)
        for name in columns.TABLES:
            if (delta := tables.open(name)) is not None:
                yield tables, name, delta


def _bytes(delta: DeltaTable) -> int:
    return sum(delta.get_add_actions(flatten=True)["size_bytes"].to_pylist())
