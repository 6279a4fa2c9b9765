"""Logs imported side by side, by a process for each processor of this machine.

Most forms of a log are read record by record, which takes one processor all its time. Each log is
a source of its own, and a host's tables are locked while rows are stored, so that it makes no
difference which process reads which log.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from logtrace.errors import ConflictError, SourceError
from logtrace.store import Store

if TYPE_CHECKING:
    from logtrace.importer import Imported, Importing

_WORTH_BYTES = 16 << 20  # of logs: a process takes a second to start


def is_worthwhile(store: Store, paths: Sequence[Path]) -> bool:
    """Say whether it takes less time to import logs side by side.

    Parameters
    ----------
    store
        Where to; no two processes can write to the same host's tables in a bucket.
    paths
        The logs; another process can't read standard input.

    Returns
    -------
    bool
        Whether they are several, in files, large together, and there are processors for it.
    """
    several = min(len(paths), len(os.sched_getaffinity(0))) > 1
    if not several or "://" in str(store) or Path("-") in paths:
        return False
    return sum(map(_size, paths)) >= _WORTH_BYTES


def _size(path: Path) -> int:
    with suppress(OSError):  # its import says why
        return path.stat().st_size
    return 0


def import_logs(
    store: Store, how: Importing, paths: Sequence[Path]
) -> Iterator[Imported | SourceError]:
    """Store the runs of finished logs.

    Parameters
    ----------
    store
        A folder.
    how
        How the logs are imported.
    paths
        The logs; the largest are begun first.

    Yields
    ------
    Imported or SourceError
        What was found in each, or why it can't be read, as they are done.

    Raises
    ------
    SourceError
        If a process was killed. What it had stored is not stored again by the next import.
    StoreError
        If the store can't be written.
    """
    others = set(active_children())
    count = min(len(paths), len(os.sched_getaffinity(0)))
    # not forked: this process has threads
    pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin)
    try:
        largest_first = sorted(paths, key=_size, reverse=True)
        log_of = {pool.submit(_import_log, str(store), how, path): path for path in largest_first}
        copies = []
        for future in as_completed(log_of):
            try:
                yield future.result()
            except ConflictError:  # two logs of the same content, which is one source
                copies.append(log_of[future])
        for path in copies:
            yield how.import_log(store.host(how.host), path)
    except BrokenProcessPool:
        raise SourceError(
            "a process that imported logs was killed",
            "start the import again, which goes on from there; with less memory, one log at a time",
        ) from None
    finally:
        for child in set(active_children()) - others:
            child.terminate()
        pool.shutdown(cancel_futures=True)


# What follows runs in these processes.


# Ctrl-C ends all of them at once, and none outlives the one that began them.
def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _import_log(store: str, how: Importing, path: Path) -> Imported | SourceError:
    return how.import_log(Store(store).host(how.host), path)
