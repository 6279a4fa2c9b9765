"""Parts of a store, asked on the workers of an existing Dask cluster.

A part is the tables of some machines. A worker opens its files, and answers from the same views by
the same SQL as one process does that has them all. What a worker that died had to answer is
asked of another one.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import json
import logging
import os
import threading
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

from logtrace import config, schema, views
from logtrace.errors import ClusterError, QueryError, StoreError
from logtrace.views import Files, Query

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from distributed import Client, Future

T = TypeVar("T")
_Versions = Mapping[str, str | None]

SAME = ("python", "logtrace", "dask", "distributed", "duckdb", "pandas", "pyarrow", "deltalake")
"""What has to be of one version everywhere."""

_CONNECT_S = 5
_ANSWER_S = 5
_CLOSE_S = 2
_ALONE_S = 60  # without any worker; one that is started again needs less
_LOOK_S = 5
_PARTS_A_THREAD = 3  # of a worker: so that none of them waits long for another
_OPEN_PARTS = 64  # in a worker
_LARGE_BYTES = 100_000  # of a query, that are not sent for each part
# Of a worker's memory, for DuckDB: at 0.8 of it Dask lets the worker rest until it has less
_SHARE = 0.7
_WITHOUT_DUCKDB_BYTES = 300 << 20  # that a worker takes with all libraries
_LEAST_BYTES = 64 << 20
_BESIDE = "logtrace"  # what DuckDB has no memory for, in the worker's folder
_PART = "part"
_NAMED = 3


class Cluster:
    """An existing Dask cluster.

    Parameters
    ----------
    scheduler
        Its scheduler's address, such as ``tcp://lab:8786``.

    Raises
    ------
    ClusterError
        If Dask is not installed, the scheduler can't be reached or has no workers, or what is
        installed there is of other versions.
    """

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler
        self.client = _connected(scheduler)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        from distributed.versions import get_versions

        scheduler, workers = self.client.sync(_versions, self.client.scheduler)
        if not workers:
            raise ClusterError(
                f"scheduler {self.scheduler} has no worker that answers",
                f"start some: dask worker {self.scheduler}",
            )
        here = get_versions(SAME[1:])["packages"]
        others = {"the scheduler": scheduler}
        others |= {f"worker {address}": each for address, each in workers.items()}
        if differing := differences(here, others):
            raise ClusterError(
                f"scheduler {self.scheduler}: versions differ: {'; '.join(differing)}",
                "install the same everywhere, logtrace[dask] too",
            )

    def parts(
        self, files: Files, zone: str, never_totals: Callable[[], Iterable[str]]
    ) -> views.Parts:
        """Spread the files of a store over the workers, those of a machine in one part."""
        return _Spread(self, files, zone, tuple(never_totals()))

    def threads(self) -> int:
        """Count what can be done at a time."""
        each: Iterable[int] = self.client.nthreads().values()
        return max(1, sum(each))

    def gather(self, futures: Iterable[Future[T]]) -> Iterator[T]:
        """Give results as they come.

        Raises
        ------
        ClusterError
            If the scheduler or all workers are gone, or workers die of this work.
        """
        from distributed import CancelledError
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        waiting = set(futures)
        done: SimpleQueue[Future[T]] = SimpleQueue()
        alone_s = 0
        try:
            for future in waiting:
                future.add_done_callback(done.put)
            while waiting:
                try:
                    future = done.get(timeout=_LOOK_S)
                except Empty:
                    alone_s = 0 if self.client.nthreads() else alone_s + _LOOK_S
                    if alone_s >= _ALONE_S:
                        raise ClusterError(
                            f"scheduler {self.scheduler} has no worker any more",
                            f"start some: dask worker {self.scheduler}",
                        ) from None
                    continue
                yield future.result()
                waiting.remove(future)
        except KilledWorker as error:
            raise ClusterError(
                f"scheduler {self.scheduler}: workers died of the same task, the last one "
                f"{error.last_worker.address}",
                "see their logs, and give them more memory: dask worker --memory-limit",
            ) from None
        except (CancelledError, CommClosedError):
            raise ClusterError(
                f"scheduler {self.scheduler} went away", "start it, and the command again"
            ) from None
        finally:
            self.client.cancel(list(waiting))

    def close(self) -> None:
        """Leave the cluster."""
        with suppress(TimeoutError):  # it is gone
            self.client.close(timeout=_CLOSE_S)


def default_scheduler(environ: Mapping[str, str] = os.environ) -> str:
    """Find the scheduler that is used where none is named.

    Parameters
    ----------
    environ
        ``LOGTRACE_SCHEDULER`` goes first, then the configuration.

    Returns
    -------
    str
        Its address.

    Raises
    ------
    QueryError
        If neither names one.
    ConfigError
        If a file of the configuration makes no sense.
    """
    named = environ.get("LOGTRACE_SCHEDULER") or config.load(config.places(environ)).scheduler
    if not named:
        raise QueryError(
            "--engine dask: no scheduler is named",
            "name it with --scheduler tcp://HOST:8786 or $LOGTRACE_SCHEDULER",
        )
    return named


def differences(here: _Versions, others: Mapping[str, _Versions]) -> list[str]:
    """Say which versions differ, and where.

    Parameters
    ----------
    here
        Version of each of `SAME`; None for what is not installed.
    others
        The same of others, by what they are called.

    Returns
    -------
    list of str
        One for each of `SAME` that is not the same everywhere.
    """
    told = []
    for package in SAME:
        own = here.get(package)
        where: defaultdict[str | None, list[str]] = defaultdict(list)
        for name, versions in others.items():
            if versions.get(package) != own:
                where[versions.get(package)].append(name)
        for version, names in where.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            on = f"on {', '.join(names[:_NAMED])}{more}"
            told.append(f"{package} is {own} here, and {version or 'missing'} {on}")
    return told


def _connected(scheduler: str) -> Client:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
        from distributed.versions import VersionMismatchWarning
    except ImportError as error:
        raise ClusterError(
            f"--engine dask needs {error.name}, which is not installed",
            "pip install 'logtrace[dask]'",
        ) from None
    # what it logs of a scheduler that goes away, tracebacks too, is told by an error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # an error, later
        try:
            get_address_host_port(scheduler)  # a client of no address is never closed
            return Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise ClusterError(
                f"scheduler {scheduler} can't be reached: {error}",
                "start it with `dask scheduler`, or name another with --scheduler",
            ) from None


# What is installed at the scheduler, and at each worker that answers. One that hangs would let all
# wait, as its scheduler does for minutes.
async def _versions(scheduler: Any) -> tuple[_Versions, dict[str, _Versions]]:
    message = {"op": "versions", "packages": SAME[1:]}

    async def of(worker: str) -> Any:
        asked = scheduler.broadcast(msg=message, workers=[worker], on_error="ignore")
        try:
            return await asyncio.wait_for(asked, _ANSWER_S)
        except TimeoutError:
            return {}

    known = await scheduler.identity()
    own = await scheduler.versions(packages=SAME[1:])
    answers = await asyncio.gather(*map(of, known["workers"]))
    workers = {name: each["packages"] for answer in answers for name, each in answer.items()}
    return own["packages"], workers


class Part(NamedTuple):
    """The tables of some machines.

    Parameters
    ----------
    files
        Their files.
    zone
        The zone of days and hours.
    never_totals
        Dialects whose counters are never totals.
    """

    files: Files
    zone: str
    never_totals: tuple[str, ...]

    @property
    def name(self) -> str:
        """The same for the same files, zone and dialects."""
        text = json.dumps(self, sort_keys=True)
        return f"part-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


class _Spread:
    several = True

    def __init__(
        self, cluster: Cluster, files: Files, zone: str, never_totals: tuple[str, ...]
    ) -> None:
        self.database = views.connect(zone)
        self._cluster = cluster
        self._asked: list[Future[Any]] = []
        most = cluster.threads() * _PARTS_A_THREAD
        parts = [Part(own, zone, never_totals) for own in grouped(files, most)]
        # that a worker has opened a part draws what is asked of it to this worker
        self._parts = [
            cluster.client.submit(opened, part, key=f"opened-{part.name}") for part in parts
        ]

    def ask(self, query: Query) -> pa.Table:
        said = self._said(query)
        submit = self._cluster.client.submit
        asked = [submit(answer, part, said, pure=False) for part in self._parts]
        return self._here(query.merge, *self._answers(asked))

    # Each part is sorted by a worker, and comes page by page. Here are the next rows of each: they
    # are in order up to the first of the last rows of those parts that have more.
    def flow(self, query: Query, most: int) -> Iterator[pa.Table]:
        import numpy as np

        said, name = self._said(query), uuid4().hex
        submit = self._cluster.client.submit
        rows = max(1, most // len(self._parts))
        more = dict.fromkeys(range(len(self._parts)), 0)  # how many rows of each came
        here: list[pa.Table] = []
        places = np.array([], dtype=np.int64)
        while more:
            lacking = [part for part in more if 2 * np.count_nonzero(places == part) < rows]
            asked = [
                submit(page, self._parts[part], part, said, name, more[part], rows, pure=False)
                for part in lacking
            ]
            for part, came in self._answers(asked):
                here.append(self._here(f"SELECT *, {part:d} AS {_PART} FROM parts", came))
                more[part] += len(came)
                if len(came) < rows:
                    del more[part]
            merged = self._here(query.merge, *here)
            places = merged[_PART].to_numpy()
            lasts = [int(np.flatnonzero(places == part)[-1]) for part in more]
            ready = min(lasts) + 1 if more else len(merged)
            yield merged.slice(0, ready).drop_columns(_PART)
            here, places = [merged.slice(ready)], places[ready:]

    def _said(self, query: Query) -> Any:
        if sum(frame.nbytes for frame in query.frames.values()) <= _LARGE_BYTES:
            return query
        # goes to the scheduler once
        return self._cluster.client.submit(as_it_is, query, pure=False)

    def _answers(self, asked: list[Future[T]]) -> Iterator[T]:
        self._asked = asked
        try:
            yield from self._cluster.gather(asked)
        finally:
            self._asked = []

    def _here(self, sql: str, *parts: pa.Table) -> pa.Table:
        import pyarrow as pa

        frames = {"parts": pa.concat_tables(parts)}
        return views.run(self.database, sql, Query("", "", frames=frames))

    def interrupt(self) -> None:
        self._cluster.client.cancel(self._asked)


def file_size(file: str) -> int:
    """Give the bytes of a file; of what is in no folder, of which it is not known, 1."""
    try:
        return 1 if "://" in file else os.stat(file).st_size
    except OSError:
        return 0  # whoever reads it tells


def grouped(files: Files, most: int, size_of: Callable[[str], int] = file_size) -> list[Files]:
    """Group files by machines into parts of about as many bytes.

    Parameters
    ----------
    files
        Of each table.
    most
        How many parts at most. A machine is never divided.
    size_of
        Gives the bytes of a file.

    Returns
    -------
    list of dict
        The files of each part, of each table; at least one part.
    """
    machines: defaultdict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for table, own in files.items():
        for file in own:
            machines[file.rpartition(f"/{table}/")[0]][table].append(file)
    sizes = {name: sum(map(size_of, chain(*own.values()))) for name, own in machines.items()}
    parts: list[dict[str, list[str]]] = [
        {table: [] for table in schema.TABLES} for _ in range(max(1, min(most, len(machines))))
    ]
    lightest = [(0, number) for number in range(len(parts))]
    for name in sorted(machines, key=lambda name: (-sizes[name], name)):
        size, number = heapq.heappop(lightest)
        for table, own in machines[name].items():
            parts[number][table] += own
        heapq.heappush(lightest, (size + sizes[name], number))
    return list(parts)


# What follows runs in workers. All parts share one instance of DuckDB, so that its memory and its
# threads are a worker's, however many parts there are; each is a database of its own in it.


class _Opened:
    def __init__(self, part: Part) -> None:
        self.lock = threading.Lock()
        self._part = part
        self._name = uuid4().hex
        self._database: duckdb.DuckDBPyConnection | None = None
        self.in_order: str | None = None  # whose rows are kept in order, to be given by and by

    def database(self) -> duckdb.DuckDBPyConnection:
        if self._database is None:
            self._database = _connect_in_worker(self._part.zone)
            self._database.execute(f"ATTACH ':memory:' AS \"{self._name}\"")
            self._database.execute(f'USE "{self._name}"')
            try:
                never = self._part.never_totals
                views.open_views(self._database, self._part.files, lambda: never)
            except BaseException:
                self.close()
                raise
        return self._database

    def close(self) -> None:
        if self._database is not None:
            self._database.execute("USE memory")
            self._database.execute(f'DETACH "{self._name}"')
            self._database.close()
            self._database = self.in_order = None


_opened: OrderedDict[str, _Opened] = OrderedDict()
_guard = threading.Lock()


def opened(part: Part) -> Part:
    """Open a part, to be asked soon."""
    with _in_worker(part) as own:
        own.database()
        return part


def as_it_is(query: Query) -> Query:
    """Give a query to other workers."""
    return query


def answer(part: Part, query: Query) -> pa.Table:
    """Give the partial rows of a query."""
    with _in_worker(part) as own:
        return views.run(own.database(), query.partial, query)


def page(
    part: Part, number: int, query: Query, flow: str, start: int, rows: int
) -> tuple[int, pa.Table]:
    """Give some rows of a query's answer for one part, and the part's number.

    They are kept in order until the last ones are given; a worker that has not kept them, as
    another one did so, sorts them anew.
    """
    with _in_worker(part) as own:
        database = own.database()
        if own.in_order != flow:
            views.keep_answer(database, "in_order", query)
            own.in_order = flow
        chosen = f"rowid >= {start:d} AND rowid < {start + rows:d}"
        some = f"SELECT * FROM in_order WHERE {chosen} ORDER BY rowid"
        found = views.run(database, some, Query("", ""))
        if len(found) < rows:
            database.execute("DROP TABLE in_order")
            own.in_order = None
        return number, found


@contextmanager
def _in_worker(part: Part) -> Iterator[_Opened]:
    from distributed import get_worker

    with _guard:
        own = _opened.setdefault(part.name, _Opened(part))
        _opened.move_to_end(part.name)
        _close_oldest()
    with own.lock:
        try:
            yield own
        except StoreError as error:
            raise StoreError(
                f"worker {get_worker().address}: {error.message}",
                "each worker has to see the store at the same place as this machine",
            ) from None


# Those that are being asked stay.
def _close_oldest() -> None:
    for name, each in [*_opened.items()][: max(0, len(_opened) - _OPEN_PARTS)]:
        if each.lock.acquire(blocking=False):
            each.close()
            each.lock.release()
            del _opened[name]


def _connect_in_worker(zone: str) -> duckdb.DuckDBPyConnection:
    from distributed import get_worker

    worker = get_worker()
    database = views.connect(zone, ":memory:logtrace")
    database.execute("SET arrow_lossless_conversion = true")  # a sum has 128 bits
    database.execute(f"SET threads = {worker.state.nthreads:d}")
    # once: DuckDB keeps to the folder that it has used
    ((beside,),) = database.execute("SELECT current_setting('temp_directory')").fetchall()
    if Path(beside).name != _BESIDE:
        database.execute("SET temp_directory = ?", [str(Path(worker.local_directory) / _BESIDE)])
    if limit := worker.memory_manager.memory_limit:
        own = max(int(limit * _SHARE) - _WITHOUT_DUCKDB_BYTES, _LEAST_BYTES)
        database.execute(f"SET memory_limit = '{own:d}B'")
    return database
