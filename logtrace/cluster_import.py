"""Logs imported by the workers of a Dask cluster.

Each log is a task, and waits for the log before it of the same machine, so that one worker at a
time stores rows of a machine. What a worker has stored before it died is not stored again: the
next one goes on where the tables say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from logtrace.errors import SourceError, StoreError
from logtrace.importer import Imported, Importing, machine_of
from logtrace.store import Store

if TYPE_CHECKING:
    from distributed import Future

    from logtrace.cluster import Cluster

    Done = Imported | SourceError

_RETRIES = 2  # where a worker that was taken for dead has stored the same log meanwhile
_COMPACT_EVERY = 64  # logs of a machine


class Task(NamedTuple):
    """What a worker is to do.

    Parameters
    ----------
    store, sign
        URL of the store, and a file that is in it while logs are imported.
    how, path
        How which log is imported.
    number
        Which one of its machine it is, from 1 on.
    """

    store: str
    sign: Path
    how: Importing
    path: Path
    number: int


def import_logs(
    cluster: Cluster, store: Store, how: Importing, paths: Sequence[Path]
) -> Iterator[Done]:
    """Store the runs of finished logs.

    Parameters
    ----------
    cluster
        Its workers see the store and the logs at the same places as this machine.
    store
        Where to.
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
    with _sign(store) as sign:
        of_machine: defaultdict[str, list[Future[Done]]] = defaultdict(list)
        for path, machine in sorted(_machines(cluster, how, list(places))):
            own = of_machine[machine]
            task = Task(str(store), sign, how._replace(host=machine), path, len(own) + 1)
            behind = own[-1] if own else None
            own.append(
                cluster.client.submit(import_log, task, behind, pure=False, retries=_RETRIES)
            )
        for done in cluster.gather(future for own in of_machine.values() for future in own):
            yield replace(done, path=places[done.path]) if isinstance(done, Imported) else done


# A worker on which the store's disk is not mounted would make a store of its own, unseen.
@contextmanager
def _sign(store: Store) -> Iterator[Path]:
    sign = store.root / f".{uuid4().hex}"
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        sign.touch()
    except OSError as error:
        raise StoreError(
            f"store {store} can't be written: {error.strerror}",
            "check its permissions and free space, or name another with --store",
        ) from None
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)


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


def import_log(task: Task, _behind: object) -> Done:
    """Import a log, when the one before it of the same machine has been."""
    from distributed import get_worker

    worker = f"worker {get_worker().address}"
    if not task.sign.exists():
        raise StoreError(
            f"{worker}: store {task.store} is not that of this machine",
            "each worker has to see the store at the same place",
        )
    tables = Store(task.store).host(task.how.host)
    done = task.how.import_log(tables, task.path)
    if task.number % _COMPACT_EVERY == 0:
        tables.compact()
    if isinstance(done, SourceError):
        return SourceError(f"{worker}: {done.message}", done.remedy)
    return done
