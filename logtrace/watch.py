"""The loop that joins sources to the store; it holds no knowledge of its own."""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from logtrace.errors import SourceError, StoreError
from logtrace.incidents import IncidentAssembler
from logtrace.modules import ModuleMonitor
from logtrace.positions import Position, Positions
from logtrace.record import Loss, Record
from logtrace.runs import Row, Rows, RunAssembler
from logtrace.source import Log, LogTree, Source
from logtrace.store import HostTables

if TYPE_CHECKING:
    from logtrace.source.follow import Moved

_COMMIT_AFTER_S = 0.5
_RETRY_AFTER_S = 5.0
_SHOW_WITHIN_S = 0.1
# In the long run it is shown four times a second; a few runs close together are shown at once
_SHOW_APART_S = 0.25
_SHOWN_AT_ONCE = 4
# A log that grows while it is read to its end must not keep that from ending
_FEW_RECORDS = 100
_MOST_DRAINS_OF_FEW = 1000
_MANY_ROWS = 10_000  # are stored before more are read
_LAG = 1 << 24  # bytes of a log that are read again after a crash, if it had no rows
_LONGEST_HOST = 200  # as a folder's name
_STOP, _COMMITTED, _SHIPPING = b"s", b"c", b"h"


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
        Rows of ``schema.RUNS`` that were found since it was shown before.
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
    shipping
        How the shipping of what is stored stands, if it is shipped.
    notices
        What can't be read and why, since it was shown before; each once.
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
    shipping: str | None = None
    notices: list[str] = field(default_factory=list)


class _Batch(NamedTuple):
    host: str
    source: str
    position: Position
    before: Position | None = None  # how far it had been stored
    rows: Rows = Rows.none()
    tracer: Sequence[Row] = ()
    incidents: Sequence[Row] = ()


class _Stream:
    """What one machine prints into a log."""

    def __init__(self, host: str, stored: Position | None) -> None:
        self.host = host
        self.stored = stored  # or on its way to the store
        seen = -1 if stored is None else stored.seen
        self.assembler = RunAssembler(host, seen)
        self._incidents = IncidentAssembler(host, seen)
        self._rows = Rows.none()
        self._found: list[Row] = []
        self._first: int | None = None  # what was fed first of the log's present part
        self._carried = False  # whether lines of the part before may still be needed

    @property
    def waiting(self) -> int:
        """How many rows are to be stored."""
        return sum(map(len, self._rows)) + len(self._found)

    @property
    def is_open(self) -> bool:
        """Whether records are needed again to go on from here."""
        return self._needed_from is not None

    @property
    def _needed_from(self) -> int | None:
        needed = (self.assembler.resume_before, self._incidents.resume_before)
        return min((number for number in needed if number is not None), default=None)

    def feed(self, items: Sequence[Record | Loss]) -> Rows:
        if self._first is None:
            self._first = _number(items[0])
        rows = self.assembler.feed(items)
        self._rows.add(rows)
        self._found += self._incidents.feed(items)
        self._carried = self._carried and self._needed_from == self._first
        return rows

    def resume_after(self, seen: int) -> int:
        needed = self._needed_from
        if self._carried:
            return -1
        return seen if needed is None else min(seen, needed - 1)

    # Whether the store must know of it before another's position may be stored
    @property
    def is_new(self) -> bool:
        return self.stored is None and (self._first is not None or self._carried)

    def take(self, source: str, seen: int, check: int | None) -> _Batch:
        position = Position(seen, self.resume_after(seen), check)
        rows, self._rows = self._rows, Rows.none()
        found, self._found = self._found, []
        before, self.stored = self.stored, position
        self.assembler.seen = self._incidents.seen = seen
        return _Batch(self.host, source, position, before, rows, incidents=found)

    # The log has another part now.
    def carry_on(self, stored: Position | None) -> None:
        self._carried, self._first = True, None
        self.stored = stored
        self.assembler.seen = self._incidents.seen = -1 if stored is None else stored.seen


class _Watched:
    """A log, and what each machine prints into it.

    Where reading goes on is the least of what any machine needs. So a machine of which the
    store does not know is stored before those that it knows, and these hold the place
    meanwhile.
    """

    def __init__(self, log: Log, host: str, positions: Positions) -> None:
        self.log = log
        self.name = log.name
        self.streams: dict[str, _Stream] = {}
        self._host = host
        self._positions = positions
        self._seen = -1
        self._check: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._seen = -1
        known = self._positions.of(self.name)
        carried = {host: stream for host, stream in self.streams.items() if stream.is_open}
        for host, stream in carried.items():
            stream.carry_on(known.get(host))
        self.streams = {host: _Stream(host, stored) for host, stored in known.items()} | carried

    # A log that is printed into the same file once more gives the same records again.
    def only_new(self, items: Iterable[Record | Loss]) -> list[Record | Loss]:
        return [item for item in items if _number(item) > self._seen]

    def feed(self, items: Sequence[Record | Loss]) -> list[tuple[_Stream, Rows]]:
        parts = self._by_host(items)
        self._seen = _number(items[-1])
        self._check = getattr(self.log, "check", None)  # of records with numbers there is none
        return [(self.streams[host], self.streams[host].feed(part)) for host, part in parts.items()]

    # What no kernel has printed makes no machine known.
    def _by_host(self, items: Sequence[Record | Loss]) -> dict[str, list[Record | Loss]]:
        parts: dict[str, list[Record | Loss]] = {}
        named = (_usable(item.host) for item in items if isinstance(item, Record))
        whose = self.streams or [next(filter(None, named), self._host)]
        for item in items:
            if isinstance(item, Loss):
                for host in whose:
                    parts.setdefault(host, []).append(item)
                continue
            host = _usable(item.host) or self._host
            if host in self.streams or host in parts or item.from_kernel:
                parts.setdefault(host, []).append(item)
        for host in parts:
            if host not in self.streams:
                self.streams[host] = _Stream(host, None)
        return parts

    @property
    def is_due(self) -> bool:
        return any(stream.waiting or stream.is_new for stream in self.streams.values())

    def take(self, *, everything: bool = False) -> list[_Batch]:
        """Give what is to be stored, in the order in which it must be."""
        ahead = [stream for stream in self.streams.values() if stream.is_new]
        known = [stream for stream in self.streams.values() if stream.stored]
        lag = 0 if everything else _LAG
        moved = [
            stream
            for stream in known
            if stream.stored and self._seen - stream.stored.seen > (0 if stream.waiting else lag)
        ]
        batches: list[_Batch] = []
        if len(ahead) > 1 and not known:
            first, *others = ahead
            batches.append(_Batch(first.host, self.name, Position(-1, -1)))
            ahead = [*others, first]
        batches += [stream.take(self.name, self._seen, self._check) for stream in ahead + moved]
        for batch in batches:
            self._positions.note(batch.host, batch.source, batch.position)
        return batches

    # Another file is read now.
    def turn(self) -> list[_Batch]:
        batches = self.take(everything=True)
        self.name = self.log.name
        self._begin()
        return batches


def _number(item: Record | Loss) -> int:
    return item.last_seq if isinstance(item, Loss) else item.seq


# Whatever a log names must be fit for the name of a folder.
def _usable(host: str | None) -> str | None:
    return host if host and len(quote(host, safe="")) <= _LONGEST_HOST else None


class Watch:
    """Read sources as they grow, and store what they give.

    Parameters
    ----------
    tables
        Gives the tables of a host.
    host
        Name of the machine of records that name none.
    sources
        What to read.
    modules
        Whom to ask about the tracing modules; None where that can't be known.
    show
        Called with the progress when something has changed, from the thread that follows.
    positions
        How far sources have been stored.
    note_stored
        Called when rows were stored, from the thread that stores.
    """

    def __init__(
        self,
        tables: Callable[[str], HostTables],
        host: str,
        sources: Sequence[Source | LogTree],
        modules: ModuleMonitor | None = None,
        show: Callable[[Progress], None] = lambda _progress: None,
        *,
        positions: Positions,
        note_stored: Callable[[], None] = lambda: None,
    ) -> None:
        self._tables = cache(tables)
        for known in {host, *positions.hosts()}:
            self._tables(known)  # before they may be away
        self._host = host
        self._sources = sources
        self._positions = positions
        self._modules = modules
        self._module_rows: list[Row] = modules.begin() if modules else []
        self._sign: IO[bytes] | None = None
        self._show = show
        self._note_stored = note_stored
        self._of_shipping: deque[tuple[str, bool]] = deque()
        self._queue: deque[_Batch] = deque()
        self._watched: dict[Log, _Watched] = {}
        self._due: dict[_Watched, None] = {}
        self._open: dict[_Stream, list[tuple[int, Record]]] = {}
        self._bell, self._ringer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._commit_at: float | None = None
        self._show_by: float | None = None  # something has changed
        self._shown_until = 0.0  # when all that was shown would have had its time
        self._committing: Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.progress = Progress(loaded=modules.loaded if modules else None)

    def stop(self) -> None:
        """Make `follow` end; may be called from a signal handler."""
        self._ring(_STOP)

    def note_shipping(self, state: str, *, is_news: bool) -> None:
        """Show how shipping stands; may be called from any thread until `close`.

        Parameters
        ----------
        state
            How it stands.
        is_news
            Whether those are told too who only see notices.
        """
        self._of_shipping.append((state, is_news))
        self._ring(_SHIPPING)

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
            for source in self._sources:
                self._read_to_end(source)
        finally:
            self._tell()
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
            for source in self._sources:
                selector.register(source, selectors.EVENT_READ, source)
            if self._modules:
                selector.register(self._modules, selectors.EVENT_READ, self._modules)
            selector.register(self._bell, selectors.EVENT_READ)
            self._plan_commit()
            self._tell()
            try:
                while not self._turn(selector):
                    pass
                for source in self._sources:
                    self._take_from(source)  # what comes later is for the next watch
            except SourceError:
                self._end()
                raise
        self._end()
        self.progress.trouble = None
        self._tell()

    def tell_of_shipping(self) -> None:
        """Show how shipping ended, when neither `drain` nor `follow` goes on any more."""
        self._take_note_of_shipping()
        self._tell()

    def close(self) -> None:
        """Let go of its thread and descriptors; the sources stay open."""
        self._writer.shutdown()
        os.close(self._bell)
        os.close(self._ringer)
        if self._sign:
            self._sign.close()

    def _ring(self, why: bytes) -> None:
        os.write(self._ringer, why)

    # Wait for something, and take it; say whether it is time to stop.
    def _turn(self, selector: selectors.BaseSelector) -> bool:
        # records go first: what they gave is shown when there are no more
        ready = selector.select(self._next_in_s)
        if self._show_in_s == 0 and (not ready or time.monotonic() >= (self._show_by or 0)):
            self._tell()
        bells = b""
        for key, _ in ready:
            # one drain each: no source keeps the others waiting
            if key.fileobj == self._bell:
                bells = os.read(self._bell, 64)
            elif self._modules and key.data is self._modules:
                self._module_rows += self._modules.drain()
                self._note_change()
            else:
                self._take_from(key.data)
        if self._modules:
            self._module_rows += self._modules.alive()
        self._take_note_of_shipping()
        if self._committing and self._committing.done():
            self._note_commit()
        self._plan_commit()
        if self._commit_in_s == 0:
            self._start_commit()
        return _STOP in bells

    def _take_note_of_shipping(self) -> None:
        while self._of_shipping:
            state, is_news = self._of_shipping.popleft()
            self.progress.shipping = state
            if is_news:
                self.progress.notices.append(state)
            self._note_change()

    def _read_to_end(self, source: Source | LogTree) -> None:
        drains_of_few = 0
        while drains_of_few < _MOST_DRAINS_OF_FEW and (records := self._take_from(source)):
            self._tell()
            drains_of_few = drains_of_few + 1 if records < _FEW_RECORDS else 0
            if sum(stream.waiting for each in self._due for stream in each.streams.values()) >= (
                _MANY_ROWS
            ):
                self._store_due()

    # Drain what is ready once; say how many records it gave, which is 0 if there are no more.
    def _take_from(self, source: Source | LogTree) -> int:
        if not isinstance(source, LogTree):
            return self._take(source)
        records = sum(map(self._take, source.ready()))
        if notices := source.take_notices():
            self.progress.notices += notices
            self._note_change()
        return records

    def _take(self, log: Log) -> int:
        if log not in self._watched:
            for moved in getattr(log, "moved", ()):
                self._move(moved)
        items = log.drain()
        watched = self._watched.get(log)
        if watched is None:
            self._close_other_boots(log.name)
            watched = self._watched[log] = _Watched(log, self._host, self._positions)
        elif log.name != watched.name:
            self._queue += watched.turn()
        if new := watched.only_new(items):
            self._feed(watched, new)
        return len(items)

    # What is known of a log goes with it when its folder is renamed, and is stored so.
    def _move(self, moved: Moved) -> None:
        if moved.log and (old := self._watched.pop(moved.log, None)):
            self._queue += old.take(everything=True)
            self._due.pop(old, None)
            for stream in old.streams.values():
                self._open.pop(stream, None)
        known = self._positions.move(moved.path, moved.to, moved.hosts)
        self._queue += [_Batch(*each) for each in known]

    # What was under way then can't be read again: a kernel keeps its records until it ends.
    def _close_other_boots(self, source: str) -> None:
        kind, _, _ = source.partition(":")
        if kind != "kmsg":
            return
        for name, position in self._positions.open_in_other_boots(source, self._host):
            boot, behind = name.removeprefix("kmsg:"), position.seen + 1
            loss = Loss(kind, boot, behind, behind, None, "rebooted", datetime.now(UTC))
            rows = RunAssembler(self._host).feed([loss])
            batch = _Batch(self._host, name, Position(behind, behind), position, rows)
            self._positions.note(batch.host, batch.source, batch.position)
            self._queue.append(batch)
            self.progress.losses += 1
            self._note_change()

    def _feed(self, watched: _Watched, items: Sequence[Record | Loss]) -> None:
        fed = watched.feed(items)
        progress = self.progress
        progress.records += sum(isinstance(item, Record) for item in items)
        for stream, rows in fed:
            progress.runs += len(rows.runs)
            progress.losses += len(rows.losses)
            progress.lost_records += sum(row["records"] or 0 for row in rows.losses)
            if stream.assembler.open_runs:
                self._open[stream] = stream.assembler.open_runs
            else:
                self._open.pop(stream, None)
        progress.open_runs = [run for runs in self._open.values() for run in runs]
        if watched.is_due:
            self._due[watched] = None
        progress.latest += [run for _, rows in fed for run in rows.runs]
        self._note_change()

    def _note_change(self) -> None:
        self._show_by = self._show_by or time.monotonic() + _SHOW_WITHIN_S

    # None where there is nothing to show.
    @property
    def _show_in_s(self) -> float | None:
        if self._show_by is None:
            return None
        at = self._shown_until - (_SHOWN_AT_ONCE - 1) * _SHOW_APART_S
        return max(0, at - time.monotonic())

    @property
    def _next_in_s(self) -> float | None:
        times = [self._show_in_s, self._commit_in_s]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _tell(self) -> None:
        self._show(self.progress)
        self._show_by = None
        self._shown_until = max(self._shown_until, time.monotonic()) + _SHOW_APART_S
        self.progress.latest, self.progress.notices = [], []

    # What comes during a commit waits no longer for that.
    def _plan_commit(self) -> None:
        on_its_way = self._queue and self._committing is None
        if (on_its_way or self._module_rows or self._due) and self._commit_at is None:
            self._commit_at = time.monotonic() + _COMMIT_AFTER_S

    # None where nothing is planned, or a commit is on its way and will tell.
    @property
    def _commit_in_s(self) -> float | None:
        if self._commit_at is None or self._committing is not None:
            return None
        return max(0, self._commit_at - time.monotonic())

    # Storing takes its time, and records are to be read when they come: a thread of its own.
    def _start_commit(self) -> None:
        if not self._queue:  # else rows gather until the store is back
            self._enqueue_due()
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
            self._note_change()

    def _end(self) -> None:
        self._tell()
        if self._modules:
            self._module_rows += self._modules.end()
        self._store_rest()

    def _store_due(self) -> None:
        self._wait_for_commit()
        self._enqueue_due()
        self._commit()

    def _store_rest(self) -> None:
        self._wait_for_commit()
        self._enqueue_due(everything=True)
        self._commit()

    # What it failed to store is still in the queue.
    def _wait_for_commit(self) -> None:
        if self._committing is not None:
            wait([self._committing])

    def _enqueue_due(self, *, everything: bool = False) -> None:
        for watched in self._watched.values() if everything else self._due:
            self._queue += watched.take(everything=everything)
        self._due.clear()
        if self._modules and self._module_rows:
            seq = self._modules.seq
            rows, self._module_rows = self._module_rows, []
            position = Position(seq, seq)
            self._queue.append(_Batch(self._host, self._modules.name, position, tracer=rows))

    # What can't be stored stays queued for the next try.
    def _commit(self) -> None:
        while self._queue:
            batch = self._queue[0]
            news = batch.tracer or batch.incidents or any(batch.rows)
            tables = self._tables(batch.host)
            if batch.tracer:
                tables.append_tracer(batch.source, batch.position.seen, batch.tracer)
                self._show_that_it_goes_on(tables)
            else:
                tables.append(
                    batch.source,
                    batch.position,
                    before=batch.before,
                    **batch.rows._asdict(),
                    incidents=batch.incidents,
                )
            self._queue.popleft()
            if news:
                self._note_stored()

    def _show_that_it_goes_on(self, tables: HostTables) -> None:
        if self._modules and self._sign is None:
            self._sign = tables.hold(self._modules.watch)
