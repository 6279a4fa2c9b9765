"""What is kept of each machine, and keeping it small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from logtrace import columns
from logtrace.location import SCHEMA_KEY

if TYPE_CHECKING:
    import pandas as pd
    from deltalake import DeltaTable

    from logtrace.store import HostTables, Store

_AT_ONCE = 8  # machines: most of the time is waiting for a server

T = TypeVar("T")


class TableInfo(NamedTuple):
    """What a table of a machine is.

    Parameters
    ----------
    host, table
        Whose, and which of ``columns.TABLES``.
    rows, files, bytes
        How many rows there are, in how many Parquet files, of what size together.
    commits
        How many commits made it what it is; each commit of rows makes a file.
    changed
        When rows were stored, removed or joined last; UTC. None if there are none.
    schema
        Of which version its rows are, see ``location.SCHEMA``.
    """

    host: str
    table: str
    rows: int
    files: int
    bytes: int
    commits: int
    changed: datetime | None
    schema: int


def info(store: Store, hosts: Sequence[str]) -> pd.DataFrame:
    """Say what is stored of machines; reads no rows.

    Parameters
    ----------
    store
        Any store.
    hosts
        Which machines.

    Returns
    -------
    pandas.DataFrame
        A row a table with the columns of `TableInfo`.

    Raises
    ------
    StoreError
        If a table can't be read.
    """
    import pandas as pd

    rows = [
        _info(host, table, delta)
        for host in hosts
        for table in columns.TABLES
        if (delta := store.open(host, table)) is not None
    ]
    return pd.DataFrame(rows, columns=list(TableInfo._fields)).astype(
        {"changed": "datetime64[us, UTC]"}
    )


def for_each(
    store: Store, hosts: Sequence[str], do: Callable[[HostTables], T]
) -> Iterator[tuple[str, T]]:
    """Do something to the tables of machines, several at once.

    Parameters
    ----------
    store
        Any store.
    hosts
        Which machines.
    do
        Is given the tables of one.

    Yields
    ------
    tuple
        A host, and what `do` gave; in the order of the hosts.

    Raises
    ------
    StoreError
        What `do` raised; machines that were not begun are left.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            yield from zip(hosts, pool.map(lambda host: do(store.host(host)), hosts), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _info(host: str, table: str, delta: DeltaTable) -> TableInfo:
    files = delta.get_add_actions(flatten=True)
    changed = max(files["modification_time"].to_pylist(), default=None)
    return TableInfo(
        host,
        table,
        sum(files["num_records"].to_pylist()),
        len(files),
        sum(files["size_bytes"].to_pylist()),
        delta.version() + 1,
        None
        if changed is None
        else datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=changed),
        int(delta.metadata().configuration.get(SCHEMA_KEY) or 1),
    )
