"""The loop that joins sources to the store; it holds no knowledge of its own."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from logtrace.errors import StoreError
from logtrace.modules import ModuleMonitor
from logtrace.record import Record
from logtrace.runs import Row, Rows, RunAssembler
from logtrace.source import Source
from logtrace.store import HostTables, Position

_COMMIT_AFTER_S = 0.5
_RETRY_AFTER_S = 5.0


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


@dataclass
class _Watched:
    source: Source
    assembler: RunAssembler
    name: str
    pending: Rows = field(default_factory=lambda: Rows([], []))


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
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._commit_at: float | None = None
        self.progress = Progress(loaded=modules.loaded if modules else None)

    def stop(self) -> None:
        """Make `follow` end; may be called from a signal handler."""
        os.write(self._stop_write, b"!")

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
            selector.register(self._stop_read, selectors.EVENT_READ)
            self._plan_commit()
            self._show(self.progress)
            while not self._turn(selector):
                pass
        self.drain()
        self._show(self.progress)

    def close(self) -> None:
        """Let go of the sources."""
        for watched in self._watched:
            watched.source.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    # Wait for something, and take it; say whether it is time to stop.
    def _turn(self, selector: selectors.BaseSelector) -> bool:
        wait = None if self._commit_at is None else max(0.0, self._commit_at - time.monotonic())
        ready = selector.select(wait)
        stopping = False
        for key, _ in ready:
            if isinstance(key.data, _Watched):
                while self._take(key.data):
                    pass
            elif isinstance(key.data, ModuleMonitor):
                self._module_rows += key.data.drain()
            else:
                stopping = True
        self._plan_commit()
        if self._commit_at is not None and time.monotonic() >= self._commit_at:
            self._try_commit()
        if ready:
            self._show(self.progress)
        return stopping

    # Drain a source once; say whether there may be more.
    def _take(self, watched: _Watched) -> bool:
        items = watched.source.drain()
        if watched.source.name != watched.name:
            self._switch(watched)
        rows = watched.assembler.feed(items)
        watched.pending.runs.extend(rows.runs)
        watched.pending.losses.extend(rows.losses)
        self._note(rows, len(items))
        return bool(items)

    # Another file has the name now: what its predecessor gave is stored under its own.
    def _switch(self, watched: _Watched) -> None:
        if watched.pending.runs or watched.pending.losses:
            self._commit()
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
        waiting = self._module_rows or any(
            watched.pending.runs or watched.pending.losses for watched in self._watched
        )
        if waiting and self._commit_at is None:
            self._commit_at = time.monotonic() + _COMMIT_AFTER_S

    def _try_commit(self) -> None:
        try:
            self._commit()
        except StoreError as error:
            self.progress.trouble = str(error)
            self._commit_at = time.monotonic() + _RETRY_AFTER_S
            self._show(self.progress)

    def _commit(self) -> None:
        for watched in self._watched:
            self._commit_source(watched)
        if self._modules and self._module_rows:
            self._tables.append_tracer(self._modules.name, self._modules.seq, self._module_rows)
            self._module_rows = []
        self._commit_at = None
        self.progress.trouble = None

    def _commit_source(self, watched: _Watched) -> None:
        seen = watched.source.position
        if seen < 0:
            return
        needed = watched.assembler.resume_before
        resume_after = seen if needed is None else min(seen, needed - 1)
        self._tables.append(
            watched.name,
            Position(seen, resume_after),
            runs=watched.pending.runs,
            losses=watched.pending.losses,
        )
        watched.pending = Rows([], [])

    def _seen(self, name: str) -> int:
        position = self._tables.position(name)
        return -1 if position is None else position.seen
