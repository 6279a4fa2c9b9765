"""Finished logs in bulk: what is regular is read many lines at once, all else record by record.

A log is cut into parts. In each, in threads, the lines are found that may be of a run or an
incident, and among them the blocks of four lines that are a whole run in one spelling, see
`logtrace.scan`. Then, in the order of the log, blocks become rows as they are wherever
nothing that the assemblers keep could have a part in them; the other lines that may be of
something, or that may show that the machine was started anew, are read as
`logtrace.source.logfile.read_log` would read them; and lines of nothing are counted. So the
rows are those that reading all records would give.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count, islice, pairwise
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logtrace import grammar, schema
from logtrace.blocks import repeated
from logtrace.incidents import IncidentAssembler
from logtrace.machines import Batch, Found
from logtrace.record import Record
from logtrace.run_id import run_ids
from logtrace.runs import RunAssembler
from logtrace.scan import Scan, Scanner
from logtrace.shapes import PADDING, Ints, arrow
from logtrace.source.logfile import LINE_BYTES, LogText, begin_text
from logtrace.stamps import FORMS

PART_BYTES = 4 << 20
BATCH_BYTES = 8 << 20
"""How much of a log is read between two commits."""
_MOST_ROWS = 2_000  # are kept as such, which takes ten times the room of a table


def can_read(form: str | None) -> bool:
    """Say whether logs of a form can be read in bulk.

    They are those whose records name no machine and have the kernel's clock. Of added dialects
    it is not known by which words to find their lines.
    """
    return form in FORMS and not grammar.default().has_added


def read(
    stream: BinaryIO,
    log: LogText,
    host: str,
    seen: int = -1,
    *,
    workers: int | None = None,
    part_bytes: int = PART_BYTES,
) -> Iterator[Batch]:
    """Read a finished log.

    Parameters
    ----------
    stream
        The log, seekable; read from its beginning.
    log
        What cuts lines into records; its form is one that `can_read` says yes to.
    host
        Name of the machine whose log it is.
    seen
        Up to which sequence number its rows were stored before; they are left out.
    workers
        How many threads; by default, as many as there are processors for this process.
    part_bytes
        How much of it a thread takes at a time.

    Yields
    ------
    Batch
        In the order of the log; the last one has what was open at its end.
    """
    workers = workers or len(os.sched_getaffinity(0))
    reader = _Reader(log, host, seen)
    assert log.form is not None
    scans = _scans(stream, log.form, part_bytes)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[pa.Table]] = deque()
        done = 0
        for found in _ahead(pool, scans, workers + 1):
            taken = list(reader.take(found))
            pending.append(pool.submit(_table, found, taken, log.source, host, seen))
            done += len(found.text.data)
            if done >= BATCH_BYTES:
                yield reader.batch([each.result() for each in pending])
                pending.clear()
                done = 0
        reader.finish()
        yield reader.batch([each.result() for each in pending])._replace(is_last=True)


# Keeps some calls running ahead of the one whose result is wanted.
def _ahead(
    pool: ThreadPoolExecutor, calls: Iterator[Callable[[], Scan]], count: int
) -> Iterator[Scan]:
    running = deque(pool.submit(call) for call in islice(calls, count))
    while running:
        result = running.popleft().result()
        running.extend(pool.submit(call) for call in islice(calls, 1))
        yield result


def _scans(stream: BinaryIO, form: str, size: int) -> Iterator[Callable[[], Scan]]:
    scanner = Scanner(form)
    # of lines that mean nothing more fit into the same memory
    sizes = (2 * size if scanner.is_ordinary else size for _ in count())
    for part in parts(stream, sizes):
        yield partial(scanner.scan, *part)


class Part(NamedTuple):
    """Whole lines of a log.

    Parameters
    ----------
    offset
        Where they begin in it.
    buffer, size
        The lines, as `logtrace.shapes.Text` has them.
    """

    offset: int
    buffer: bytearray
    size: int

    @property
    def text(self) -> bytes:
        """The lines, as a copy."""
        return bytes(self.buffer[: self.size])


def parts(stream: BinaryIO, sizes: Iterable[int]) -> Iterator[Part]:
    """Cut a log into parts of whole lines.

    Parameters
    ----------
    stream
        The log, seekable; read from its beginning.
    sizes
        Of each part, in bytes; a longer line is longer.

    Yields
    ------
    Part
        Of a line that is longer than `LINE_BYTES` there may be no more.
    """
    offset, rest = begin_text(stream), b""
    for size in sizes:
        # each line is copied once, into a buffer that is never used again: others may look at it
        buffer = bytearray(len(rest) + size + PADDING)
        buffer[: len(rest)] = rest
        read = stream.readinto(memoryview(buffer)[len(rest) : len(rest) + size])  # type: ignore[attr-defined]
        have = len(rest) + read
        if not read:
            break
        cut = buffer.rfind(b"\n", 0, have) + 1
        if cut:
            yield Part(offset, buffer, cut)
            offset, rest = offset + cut, bytes(memoryview(buffer)[cut:have])
        elif have <= LINE_BYTES:
            rest = bytes(memoryview(buffer)[:have])
        else:
            yield Part(offset, buffer, LINE_BYTES)
            offset += have + _skip_line(stream)
            rest = b""
    if rest:
        yield Part(offset, buffer, len(rest))


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while part := stream.readline(LINE_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


class _Reader:
    """Goes through what was found in the order of the log.

    Parameters are those of `read`.
    """

    def __init__(self, log: LogText, host: str, seen: int) -> None:
        self._log = log
        self._host = host
        self._assembler = RunAssembler(host, seen)
        self._reports = IncidentAssembler(host, seen)
        self._scan: Scan
        self._next = 0  # the first line of the part that is not read
        self._seen = -1
        self._records = 0
        self._found = Found()

    def take(self, found: Scan) -> Iterator[_Taken]:
        """Read a part; give the blocks in it that are runs."""
        self._scan, self._next = found, 0
        candidates, lines = found.candidates, found.blocks.lines
        before = np.searchsorted(candidates, lines[:, 0])
        edges = [0, *(np.flatnonzero(np.diff(before)) + 1), len(lines)]
        pids = found.blocks.pids.tolist()
        done = 0
        for first, stop in pairwise(edges) if len(lines) else ():
            self._read_each(candidates[done : before[first]])
            done = before[first]
            yield from self._take_blocks(int(first), pids[first:stop])
        self._read_each(candidates[done:])

    def finish(self) -> None:
        """Read what is left at the end of the log."""
        self._complete()
        self._found.add(Found(self._assembler.finish(), self._reports.finish()))

    def batch(self, tables: list[pa.Table]) -> Batch:
        """Give what was found since the last one, with the runs of blocks."""
        found, records = self._found, self._records
        found.tables += tables
        self._found, self._records = Found(), 0
        return Batch(self._seen, records, {self._host: found})

    def _read_each(self, candidates: Ints) -> None:
        for line in candidates.tolist():
            self._pass(line)
            self._read_line()

    # Lines that mean nothing are read only where something waits for the next record.
    def _pass(self, stop: int) -> None:
        while self._next < stop:
            self._complete()
            if not (self._assembler.waits or self._reports.waits):
                self._skip(stop)
            else:
                self._read_line()

    def _skip(self, stop: int) -> None:
        self._records += stop - self._next
        self._seen = self._scan.offset + int(self._scan.text.starts[stop - 1])
        self._next = stop

    def _read_line(self) -> None:
        text = self._scan.text
        start = int(text.starts[self._next])
        line = bytes(text.data[start : min(int(text.stops[self._next]), start + LINE_BYTES)])
        self._next += 1
        self._feed(self._log.feed(self._scan.offset + start, line.rstrip(b"\r\n")))

    # No line that goes on with it follows.
    def _complete(self) -> None:
        self._feed(self._log.finish())

    def _feed(self, record: Record | None) -> None:
        if record is None:
            return
        self._records += 1
        self._seen = record.seq
        self._found.add(Found(self._assembler.feed([record]), self._reports.feed([record])))
        if len(self._found.rows.runs) >= _MOST_ROWS:
            self._found.pack()

    def _take_blocks(self, place: int, pids: Sequence[int]) -> Iterator[_Taken]:
        blocks, stop = self._scan.blocks, place + len(pids)
        ends = blocks.ends
        while place < stop:
            self._pass(int(blocks.lines[place, 0]))
            self._complete()
            sure = 0 if self._reports.waits else self._assembler.count_sure(pids[place - stop :])
            taken = place + sure
            if taken < stop:  # those that stand beside each other go together
                taken = int(np.searchsorted(ends, ends[taken]))
            if taken > place:
                self._assembler.pass_runs(taken - place)
                yield _Taken(place, taken, self._log.boot_id)
                self._skip(int(ends[taken - 1]) + 1)
                place = taken
                continue
            while self._next <= ends[place]:
                self._read_line()
            place = int(np.searchsorted(ends, ends[place], "right"))


class _Taken(NamedTuple):
    """Blocks that became runs, and the boot they are of."""

    first: int
    stop: int
    boot_id: str | None


# Rows of blocks that are runs.
def _table(found: Scan, taken: list[_Taken], source: str, host: str, seen: int) -> pa.Table:
    tables = [schema.to_table([], schema.TABLES["runs"])]
    for boot_id in dict.fromkeys(each.boot_id for each in taken):
        of_boot = [each for each in taken if each.boot_id == boot_id]
        places = np.concatenate([np.arange(each.first, each.stop) for each in of_boot])
        values = found.blocks.values
        if len(places) < len(values):
            values = values.take(arrow(places))
        constants = {
            "host": host,
            "boot_id": boot_id,
            "clock": "none",
            "status": "complete",
            "source": source,
        }
        columns = dict(zip(values.column_names, values.columns, strict=True))
        columns |= {name: repeated(value, len(values)) for name, value in constants.items()}
        starts, lines = found.text.starts, found.blocks.lines[places]
        first_seqs = found.offset + starts[lines[:, 0]]
        columns["first_seq"] = arrow(first_seqs)
        columns["last_seq"] = arrow(found.offset + starts[lines[:, -1]])
        columns["run_id"] = _ids(host, boot_id, source, first_seqs)
        tables.append(_of_schema(columns, len(values)))
    table = pa.concat_tables(tables)
    return table.filter(pc.field("last_seq") > seen) if seen >= 0 else table


def _ids(host: str, boot_id: str | None, source: str, seqs: Ints) -> pa.Array:
    offsets = np.arange(0, 16 * len(seqs) + 1, 16, dtype=np.int32)
    ids = run_ids(host, boot_id, source, seqs.view(np.uint64))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(ids)]
    return pa.Array.from_buffers(pa.string(), len(seqs), buffers)


def _of_schema(columns: Mapping[str, Any], count: int) -> pa.Table:
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(count, field.type)
        for field in schema.TABLES["runs"]
    ]
    return pa.Table.from_arrays(arrays, schema=schema.TABLES["runs"])
