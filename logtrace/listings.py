"""The files of a store's tables, as they were listed last.

To read the log of a Delta table takes a processor milliseconds, however little it says, and of the
thousands of tables of a lab few change from one look to the next. So a listing is kept in the
cache, and holds as long as nothing comes into the folder of the table's log, or leaves it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from logtrace import cache
from logtrace.location import SCHEMA

# What changes twice within the clock's tick, at either end of a network, looks the same after both
_AT_REST_NS = 2_000_000_000


class _Listing(NamedTuple):
    changed_ns: int
    inode: int
    files: list[str]


def list_files(
    root: Path, hosts: Collection[str], table: str, look: Callable[[str], list[str]]
) -> list[str]:
    """List the files of a table of several hosts, those that have changed by their logs.

    Parameters
    ----------
    root
        The store's folder.
    hosts
        The folders of the hosts: ``host=NAME``.
    table
        One of ``columns.TABLES``.
    look
        Reads the log of a host's table and gives the paths of its files; called by several
        threads. What it raises is passed on.

    Returns
    -------
    list of str
        Paths, in the order of the hosts.
    """
    kept = _kept(root, table)
    known = _read(kept)
    # reading a log takes a processor most of the time, and leaves Python alone
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda host: _list(root / host / table, known.get(host), look), hosts)
        listings = dict(zip(hosts, found, strict=True))
    limit_ns = time.time_ns() - _AT_REST_NS
    at_rest = {host: each for host, each in listings.items() if each.changed_ns < limit_ns}
    if at_rest != known:
        cache.keep(kept, json.dumps([SCHEMA, at_rest]).encode())
    return [file for listing in listings.values() for file in listing.files]


def _list(folder: Path, known: _Listing | None, look: Callable[[str], list[str]]) -> _Listing:
    host = folder.parent.name
    try:
        log = (folder / "_delta_log").stat()
    except OSError:
        return _Listing(time.time_ns(), 0, look(host))  # there is none, or that is told
    if known and (known.changed_ns, known.inode) == (log.st_mtime_ns, log.st_ino):
        return known
    return _Listing(log.st_mtime_ns, log.st_ino, look(host))


def _kept(root: Path, table: str) -> Path:
    store = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
    return cache.folder("listings", store, f"{table}.json")


# What can't be read is made again.
def _read(kept: Path) -> dict[str, _Listing]:
    try:
        schema, hosts = json.loads(kept.read_bytes())
        return {host: _Listing(*each) for host, each in hosts.items()} if schema == SCHEMA else {}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
