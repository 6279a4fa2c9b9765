"""Logs imported by the workers of a Dask cluster.

Each log is a task, and waits for the log before it of the same machine, so that one worker at a
time stores rows of a machine. What a worker has stored before it died is not stored again: the
next one goes on where the tables say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from logtrace.errors import SourceError
from logtrace.importer import Imported, Importing, machine_of

if TYPE_CHECKING:
    from distributed import Future

    from logtrace.cluster import Cluster

    Done = Imported | SourceError

_RETRIES = 2  # where a worker that was taken for dead has stored the same log meanwhile
_COMPACT_EVERY = 64  # logs of a machine


def import_logs(
    cluster: Cluster, store: str, how: Importing, paths: Sequence[Path]
) -> Iterator[Done]:
    """Store the runs of finished logs.

    Parameters
    ----------
    cluster
        Its workers see the store and the logs at the same places as this machine.
    store
        URL of the store.
    how
        How they are imported.
    paths
        The logs.

    Yields
    ------
    Imported or SourceError
        What was found in each, or why it can't be read, as they are done. Of a log that a worker
        had begun when it died, only what was left is counted.

    Raises
    ------
    SourceError
        If standard input is among them.
    StoreError
        If the store can't be written.
    ClusterError
        As of `Cluster.gather`.
    """
    if Path("-") in paths:
        raise SourceError("workers can't read standard input", "import it with --engine local")
    places = {path.absolute(): path for path in paths}
    of_machine: defaultdict[str, list[Future[Done]]] = defaultdict(list)
    for path, machine in sorted(_machines(cluster, how, list(places))):
        own = of_machine[machine]
        behind = own[-1] if own else None
        compact = len(own) % _COMPACT_EVERY == _COMPACT_EVERY - 1
        task = (store, how._replace(host=machine), path, compact, behind)
        own.append(cluster.client.submit(import_log, *task, pure=False, retries=_RETRIES))
    for done in cluster.gather(future for own in of_machine.values() for future in own):
        yield replace(done, path=places[done.path]) if isinstance(done, Imported) else done


def _machines(
    cluster: Cluster, how: Importing, paths: Sequence[Path]
) -> Iterator[tuple[Path, str]]:
    shares = min(len(paths), 4 * cluster.threads())
    futures = [
        cluster.client.submit(machines, how, paths[number::shares], pure=False)
        for number in range(shares)
    ]
    for pairs in cluster.gather(futures):
        yield from pairs


# What follows runs in workers.


def machines(how: Importing, paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Name the machine of each log."""
    return [(path, _machine(how, path)) for path in paths]


def _machine(how: Importing, path: Path) -> str:
    try:
        return machine_of(path, how.host, how.form)
    except SourceError:
        return how.host  # why it can't be read is told by its import


def import_log(store: str, how: Importing, path: Path, compact: bool, _behind: object) -> Done:
    """Import a log, when the one before it of the same machine has been."""
    from distributed import get_worker

    from logtrace.store import Store

    tables = Store(store).host(how.host)
    done = how.import_log(tables, path)
    if compact:
        tables.compact()
    if isinstance(done, SourceError):
        return SourceError(f"worker {get_worker().address}: {done.message}", done.remedy)
    return done
