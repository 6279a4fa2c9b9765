"""The loop that joins sources to the store; it holds no knowledge of its own."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from logtrace.errors import StoreError
from logtrace.modules import ModuleMonitor
from logtrace.record import Loss, Record
from logtrace.runs import Row, Rows, RunAssembler
from logtrace.source import Source
from logtrace.store import HostTables, Position

_COMMIT_AFTER_S = 0.5
_RETRY_AFTER_S = 5.0
_STOP, _COMMITTED = b"s", b"c"


@dataclass
class Progress:
    """What a watch has seen so far, for whoever shows it.

    Parameters
    ----------
    since
        When it began, UTC.
    runs, losses
        How many rows were found; the newest are in `latest`.
    records
        How many records were read.
    lost_records
        How many records were not seen, or not understood.
    latest
        Rows of ``schema.RUNS`` that have just ended; whoever shows them may clear it.
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
    records: int = 0
    lost_records: int = 0
    latest: list[Row] = field(default_factory=list)
    open_runs: list[tuple[int, Record]] = field(default_factory=list)
    loaded: set[str] | None = None
    trouble: str | None = None


class _Batch(NamedTuple):
    source: str
    position: Position
    rows: Rows = Rows([], [])
    tracer: Sequence[Row] = ()


@dataclass
class _Watched:
    source: Source
    assembler: RunAssembler
    name: str
    reached: Position = field(default_factory=lambda: Position(-1, -1))
    pending: Rows = field(default_factory=lambda: Rows([], []))

    def feed(self, items: list[Record | Loss]) -> Rows:
        rows = self.assembler.feed(items)
        self.pending.runs.extend(rows.runs)
        self.pending.losses.extend(rows.losses)
        seen = self.source.position
        needed = self.assembler.resume_before
        self.reached = Position(seen, seen if needed is None else min(seen, needed - 1))
        return rows

    def take_pending(self) -> _Batch:
        rows, self.pending = self.pending, Rows([], [])
        return _Batch(self.name, self.reached, rows)


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
        Called with the progress after every change, from the same thread.
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
        self._watched = [
            _Watched(source, RunAssembler(host, self._seen(source.name)), source.name)
            for source in sources
        ]
        self._modules = modules
        self._module_rows: list[Row] = modules.present() if modules else []
        self._show = show
        self._bell, self._ringer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._queue: list[_Batch] = []
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
        for watched in self._watched:
            while self._take(watched):
                pass
        self._queue_pending()
        if self._committing is not None:
            wait([self._committing])  # what it failed to store is still in the queue
        self._commit()

    def follow(self) -> None:
        """Read and store what comes until `stop` is called.

        Where the store can't be written, rows are kept and tried again.

        Raises
        ------
        SourceError
            If a source can't be read.
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
            self._show(self.progress)
            while not self._turn(selector):
                pass
        self.drain()
        self.progress.trouble = None
        self._show(self.progress)

    def close(self) -> None:
        """Let go of the sources."""
        for watched in self._watched:
            watched.source.close()
        self._writer.shutdown()
        os.close(self._bell)
        os.close(self._ringer)

    def _ring(self, why: bytes) -> None:
        os.write(self._ringer, why)

    # Wait for something, and take it; say whether it is time to stop.
    def _turn(self, selector: selectors.BaseSelector) -> bool:
        idle = None if self._commit_at is None else max(0.0, self._commit_at - time.monotonic())
        ready = selector.select(idle)
        bells = b""
        for key, _ in ready:
            if isinstance(key.data, _Watched):
                while self._take(key.data):
                    pass
            elif isinstance(key.data, ModuleMonitor):
                self._module_rows += key.data.drain()
            else:
                bells = os.read(self._bell, 64)
        if self._committing and self._committing.done():
            self._note_commit()
        self._plan_commit()
        if self._commit_at is not None and time.monotonic() >= self._commit_at:
            self._start_commit()
        if ready:
            self._show(self.progress)
        return _STOP in bells

    # Drain a source once; say whether there may be more.
    def _take(self, watched: _Watched) -> bool:
        items = watched.source.drain()
        if watched.source.name != watched.name:
            self._switch(watched)
        rows = watched.feed(items)
        self._note(rows, len(items))
        return bool(items)

    # Another file has the name now: what its predecessor gave is stored under its own.
    def _switch(self, watched: _Watched) -> None:
        if watched.reached.seen >= 0:
            self._queue.append(watched.take_pending())
        watched.name = watched.source.name
        watched.assembler.seen = self._seen(watched.name)

    def _note(self, rows: Rows, records: int) -> None:
        progress = self.progress
        progress.records += records
        progress.runs += len(rows.runs)
        progress.losses += len(rows.losses)
        progress.lost_records += sum(row["records"] for row in rows.losses)
        progress.latest += rows.runs
        progress.open_runs = [
            run for watched in self._watched for run in watched.assembler.open_runs
        ]

    def _plan_commit(self) -> None:
        waiting = (
            self._queue
            or self._module_rows
            or any(watched.pending.runs or watched.pending.losses for watched in self._watched)
        )
        if waiting and self._commit_at is None and self._committing is None:
            self._commit_at = time.monotonic() + _COMMIT_AFTER_S

    # Storing takes its time, and records are to be read when they come: a thread of its own.
    def _start_commit(self) -> None:
        self._queue_pending()
        self._commit_at = None
        self._committing = self._writer.submit(self._commit)
        self._committing.add_done_callback(lambda _: self._ring(_COMMITTED))

    def _note_commit(self) -> None:
        assert self._committing is not None
        error = self._committing.exception()
        self._committing = None
        if error is None:
            self.progress.trouble = None
        elif isinstance(error, StoreError):
            self.progress.trouble = str(error)
            self._commit_at = time.monotonic() + _RETRY_AFTER_S
        else:
            raise error

    def _queue_pending(self) -> None:
        self._queue += [w.take_pending() for w in self._watched if w.reached.seen >= 0]
        if self._modules and self._module_rows:
            seq = self._modules.seq
            self._queue.append(
                _Batch(self._modules.name, Position(seq, seq), tracer=self._module_rows)
            )
            self._module_rows = []

    # What can't be stored stays queued for the next try.
    def _commit(self) -> None:
        while self._queue:
            batch = self._queue[0]
            if batch.tracer:
                self._tables.append_tracer(batch.source, batch.position.seen, batch.tracer)
            else:
                runs, losses = batch.rows
                self._tables.append(batch.source, batch.position, runs=runs, losses=losses)
            del self._queue[0]

    def _seen(self, name: str) -> int:
        position = self._tables.position(name)
        return -1 if position is None else position.seen
