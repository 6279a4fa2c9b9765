"""The loop that joins sources to the store; it holds no knowledge of its own."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from logtrace.errors import SourceError, StoreError
from logtrace.incidents import IncidentAssembler
from logtrace.modules import ModuleMonitor
from logtrace.record import Loss, Record
from logtrace.runs import Row, Rows, RunAssembler
from logtrace.source import Source
from logtrace.store import HostTables, Position

_COMMIT_AFTER_S = 0.5
_RETRY_AFTER_S = 5.0
# A log that grows while it is read to its end must not keep that from ending
_FEW_RECORDS = 100
_MOST_DRAINS_OF_FEW = 1000
_MANY_ROWS = 10_000  # are stored before more are read
_STOP, _COMMITTED = b"s", b"c"


@dataclass
class Progress:
    """What a watch has seen so far, for whoever shows it.

    Parameters
    ----------
    since
        When it began, UTC.
    runs, losses
        How many rows were found.
    latest
        Rows of ``schema.RUNS`` that the newest records gave.
    records
        How many records were read.
    lost_records
        How many records were not seen, or not understood.
    open_runs
        Pid and Start record of each run under way.
    loaded
        Tracing modules in the kernel; None where that can't be known.
    trouble
        Why rows can't be stored at the moment.
    """

    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    runs: int = 0
    losses: int = 0
    latest: list[Row] = field(default_factory=list)
    records: int = 0
    lost_records: int = 0
    open_runs: list[tuple[int, Record]] = field(default_factory=list)
    loaded: set[str] | None = None
    trouble: str | None = None


class _Batch(NamedTuple):
    source: str
    position: Position
    rows: Rows = Rows.none()
    tracer: Sequence[Row] = ()
    incidents: Sequence[Row] = ()


@dataclass
class _Watched:
    source: Source
    assembler: RunAssembler
    incidents: IncidentAssembler
    name: str
    log: str | None = None  # the source of the newest record
    reached: Position = field(default_factory=lambda: Position(-1, -1))
    pending: Rows = field(default_factory=Rows.none)
    found: list[Row] = field(default_factory=list)  # incidents that are pending

    # A log that is printed into the same file once more gives the same records again.
    def only_new(self, items: Iterable[Record | Loss]) -> list[Record | Loss]:
        return [item for item in items if _number(item) > self.reached.seen]

    def feed(self, items: Sequence[Record | Loss]) -> Rows:
        rows = self.assembler.feed(items)
        self.pending.add(rows)
        self.found += self.incidents.feed(items)
        seen = _number(items[-1])
        needed = (self.assembler.resume_before, self.incidents.resume_before)
        before = [number - 1 for number in needed if number is not None]
        self.reached = Position(seen, min([seen, *before]))
        self.log = items[-1].source
        return rows

    # What was stored before is not stored again, however far back reading began.
    def take_pending(self) -> list[_Batch]:
        if self.reached.seen <= self.assembler.seen:
            return []
        rows, self.pending = self.pending, Rows.none()
        found, self.found = self.found, []
        self.assembler.seen = self.incidents.seen = self.reached.seen
        return [_Batch(self.name, self.reached, rows, incidents=found)]

    def switch(self, name: str, seen: int) -> None:
        self.name = name
        self.assembler.seen = self.incidents.seen = seen
        self.reached = Position(-1, -1)


def _number(item: Record | Loss) -> int:
    return item.last_seq if isinstance(item, Loss) else item.seq


class Watch:
    """Read sources as they grow, and store what they give.

    Parameters
    ----------
    tables
        The tables of `host`.
    host
        Name of the machine whose logs they are.
    sources
        What to read.
    modules
        Whom to ask about the tracing modules; None where that can't be known.
    show
        Called with the progress after every change, from the thread that follows.
    """

    def __init__(
        self,
        tables: HostTables,
        host: str,
        sources: Sequence[Source],
        modules: ModuleMonitor | None = None,
        show: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        self._tables = tables
        self._modules = modules
        self._module_rows: list[Row] = modules.begin() if modules else []
        self._show = show
        self._queue: list[_Batch] = []
        self._queued: dict[str, int] = {}
        self._watched = [
            _Watched(source, RunAssembler(host, seen), IncidentAssembler(host, seen), source.name)
            for source in sources
            for seen in (self._seen(source.name),)
        ]
        self._bell, self._ringer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._commit_at: float | None = None
        self._committing: Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.progress = Progress(loaded=modules.loaded if modules else None)

    def stop(self) -> None:
        """Make `follow` end; may be called from a signal handler."""
        self._ring(_STOP)

    def drain(self) -> None:
        """Read and store what is there, without waiting for more.

        Raises
        ------
        SourceError
            If a source can't be read.
        StoreError
            If the store can't be written.
        """
        try:
            for watched in self._watched:
                self._read_to_end(watched)
        finally:
            self._store_rest()

    def follow(self) -> None:
        """Read and store what comes until `stop` is called.

        Where the store can't be written, rows are kept and tried again.

        Raises
        ------
        SourceError
            If a source can't be read; what was read before is stored.
        StoreError
            If the store can't be written at the end either.
        """
        with selectors.DefaultSelector() as selector:
            for watched in self._watched:
                selector.register(watched.source, selectors.EVENT_READ, watched)
            if self._modules:
                selector.register(self._modules, selectors.EVENT_READ, self._modules)
            selector.register(self._bell, selectors.EVENT_READ)
            self._plan_commit()
            self._tell()
            try:
                while not self._turn(selector):
                    pass
                for watched in self._watched:
                    self._take(watched)  # what comes later is for the next watch
            except SourceError:
                self._end()
                raise
        self._end()
        self.progress.trouble = None
        self._tell()

    def close(self) -> None:
        """Let go of its thread and descriptors; the sources stay open."""
        self._writer.shutdown()
        os.close(self._bell)
        os.close(self._ringer)

    def _ring(self, why: bytes) -> None:
        os.write(self._ringer, why)

    # Wait for something, and take it; say whether it is time to stop.
    def _turn(self, selector: selectors.BaseSelector) -> bool:
        waits = [] if self._commit_at is None else [max(0.0, self._commit_at - time.monotonic())]
        if self._modules:
            waits.append(self._modules.alive_in_s)
        bells = b""
        for key, _ in selector.select(min(waits, default=None)):
            # one drain each: no source keeps the others waiting
            if isinstance(key.data, _Watched):
                self._take(key.data)
            elif self._modules and key.data is self._modules:
                self._module_rows += self._modules.drain()
                self._tell()
            else:
                bells = os.read(self._bell, 64)
        if self._modules:
            self._module_rows += self._modules.alive()
        if self._committing and self._committing.done():
            self._note_commit()
        self._plan_commit()
        if self._commit_at is not None and time.monotonic() >= self._commit_at:
            self._start_commit()
        return _STOP in bells

    def _read_to_end(self, watched: _Watched) -> None:
        drains_of_few = 0
        while drains_of_few < _MOST_DRAINS_OF_FEW and (records := self._take(watched)):
            drains_of_few = drains_of_few + 1 if records < _FEW_RECORDS else 0
            if sum(map(len, watched.pending)) >= _MANY_ROWS:
                self._store_rest()

    # Drain a source once; say how many records it gave, which is 0 if there are no more.
    def _take(self, watched: _Watched) -> int:
        items = watched.source.drain()
        renamed = watched.source.name != watched.name
        for log, part in groupby(items, key=lambda item: item.source):
            if renamed and log != watched.log:
                self._switch(watched)
                renamed = False
            if new := watched.only_new(part):
                self._feed(watched, new)
        if renamed:
            self._switch(watched)
        return len(items)

    # Another file has the name now: what its predecessor gave is stored under its own.
    def _switch(self, watched: _Watched) -> None:
        self._enqueue(watched.take_pending())
        watched.switch(watched.source.name, self._seen(watched.source.name))

    def _feed(self, watched: _Watched, items: Sequence[Record | Loss]) -> None:
        rows = watched.feed(items)
        progress = self.progress
        progress.records += sum(isinstance(item, Record) for item in items)
        progress.runs += len(rows.runs)
        progress.losses += len(rows.losses)
        progress.lost_records += sum(row["records"] for row in rows.losses)
        progress.open_runs = [run for each in self._watched for run in each.assembler.open_runs]
        self._tell(rows.runs)

    def _tell(self, latest: Sequence[Row] = ()) -> None:
        self.progress.latest = list(latest)
        self._show(self.progress)

    def _plan_commit(self) -> None:
        waiting = (
            self._queue
            or self._module_rows
            or any(any((*watched.pending, watched.found)) for watched in self._watched)
        )
        if waiting and self._commit_at is None and self._committing is None:
            self._commit_at = time.monotonic() + _COMMIT_AFTER_S

    # Storing takes its time, and records are to be read when they come: a thread of its own.
    def _start_commit(self) -> None:
        if not self._queue:  # else rows gather until the store is back
            self._enqueue_all()
        self._commit_at = None
        self._committing = self._writer.submit(self._commit)
        self._committing.add_done_callback(lambda _: self._ring(_COMMITTED))

    def _note_commit(self) -> None:
        assert self._committing is not None
        error = self._committing.exception()
        self._committing = None
        if error is None:
            trouble = None
        elif isinstance(error, StoreError):
            trouble = str(error)
            self._commit_at = time.monotonic() + _RETRY_AFTER_S
        else:
            raise error
        if trouble != self.progress.trouble:
            self.progress.trouble = trouble
            self._tell()

    def _end(self) -> None:
        if self._modules:
            self._module_rows += self._modules.end()
        self._store_rest()

    def _store_rest(self) -> None:
        if self._committing is not None:
            wait([self._committing])  # what it failed to store is still in the queue
        self._enqueue_all()
        self._commit()

    def _enqueue_all(self) -> None:
        for watched in self._watched:
            self._enqueue(watched.take_pending())
        if self._modules and self._module_rows:
            seq = self._modules.seq
            rows, self._module_rows = self._module_rows, []
            self._enqueue([_Batch(self._modules.name, Position(seq, seq), tracer=rows)])

    def _enqueue(self, batches: Sequence[_Batch]) -> None:
        self._queue += batches
        self._queued |= {batch.source: batch.position.seen for batch in batches}

    # What can't be stored stays queued for the next try.
    def _commit(self) -> None:
        while self._queue:
            batch = self._queue[0]
            if batch.tracer:
                self._tables.append_tracer(batch.source, batch.position.seen, batch.tracer)
            else:
                self._tables.append(
                    batch.source,
                    batch.position,
                    **batch.rows._asdict(),
                    incidents=batch.incidents,
                )
            del self._queue[0]

    def _seen(self, name: str) -> int:
        stored = self._tables.position(name)
        return max(-1 if stored is None else stored.seen, self._queued.get(name, -1))
