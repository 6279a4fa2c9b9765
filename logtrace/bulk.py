"""Finished logs in bulk: what is regular is read many lines at once, all else record by record.

A log is cut into chunks. In each, in threads, the lines are found that may be of a run or an
incident, and among them the blocks of four lines that are a whole run in one spelling, see
`logtrace.shapes`. Then, in the order of the log, blocks become rows as they are wherever
nothing that the assemblers keep could have a part in them; the other lines that may be of
something, or that may show that the machine was started anew, are read as
`logtrace.source.logfile.read_log` would read them; and lines of nothing are counted. So the
rows are those that reading all records would give.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logtrace import grammar, incident_grammar, schema, shapes
from logtrace.grammar import KINDS
from logtrace.incidents import IncidentAssembler
from logtrace.machines import Batch, Found
from logtrace.record import FIRST_MESSAGE, Record
from logtrace.runs import RunAssembler, run_ids
from logtrace.shapes import (
    LONGEST_LINE,
    Blanks,
    Flags,
    Ints,
    Number,
    Shape,
    Text,
    arrow,
    ends_with,
    match,
    shape_of,
    slices,
)
from logtrace.source.forms import FORMS, Dating
from logtrace.source.logfile import LINE_BYTES, LogText, begin_text

CHUNK_BYTES = 2 << 20
BATCH_BYTES = 16 << 20
"""How much of a log is read between two commits."""

# The patterns of these dialects, the most exact first, read any values in the places of a shape;
# those of the more general ones may look at a value's length
_DIALECTS = ("contract", "lab")
_LEARNED_FROM = 64  # lines

# What stands before the messages of kernels that print no caller: a stamp, and what is behind it
_STAMPS: Mapping[str, Shape] = {
    "dmesg": Shape(
        (b"[", Blanks(), Number("seconds", most=12), b".", Number("usec", least=6, most=6), b"]")
    ),
    "kmsg": Shape((Number("priority", most=1), b",", Number("seq"), b",", Number("usec"), b",-;")),
}
_BEHIND_STAMP: Mapping[str, bytes] = {"dmesg": b" ", "kmsg": b""}
_FIRST_OTHER_PRIORITY = 8  # the first that is of another facility than the kernel's

# Of such a line, a run is not all that may be said
_TELLS_MORE = f"{incident_grammar.MAY_BEGIN}|{FIRST_MESSAGE}"
# What a kernel says first, or may say where it is written with escapes; each is sought by itself,
# as that is many times as fast
_SAYS_FIRST = re.compile(FIRST_MESSAGE.encode()), re.compile(rb"\\x[2-7]")
# Words, and what forms decode or leave out: escapes of the kernel and of terminals
_MAY_MEAN = rf"{grammar.MAY_MEAN}|{_TELLS_MORE}|\\\\x|\x1b"


class _Spelling(NamedTuple):
    """How one version of the module writes the lines of a run, in their order."""

    dialect: str
    shapes: tuple[Shape, ...]


@dataclass
class _Blocks:
    """Whole runs in a chunk: the numbers of their four lines, and columns of ``schema.RUNS``.

    Offsets, ``first_seq`` and ``last_seq``, are those in the chunk.
    """

    lines: Ints
    values: pa.Table

    def __len__(self) -> int:
        return len(self.lines)

    def pids(self) -> list[int]:
        pids: list[int] = self.values["pid"].to_pylist()
        return pids


class _Stamps(NamedTuple):
    """When the kernel said the lines of a chunk.

    Only of a line that `fits` it is known that the kernel said it, when, and where its stamp
    stops, as an offset in the text.
    """

    fits: Flags
    usec: Ints
    stops: Ints


class _Scan(NamedTuple):
    offset: int
    text: Text
    blocks: _Blocks
    candidates: Ints  # other lines that may mean something


def can_read(form: str | None) -> bool:
    """Say whether logs of a form can be read in bulk.

    They are those whose records name no machine and have the kernel's clock. Of added dialects
    it is not known by which words to find their lines.
    """
    return form in _STAMPS and not grammar.default().has_added


def read(
    stream: BinaryIO,
    log: LogText,
    host: str,
    seen: int = -1,
    *,
    workers: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
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
    chunk_bytes
        How much of it a thread takes at a time.

    Yields
    ------
    Batch
        In the order of the log; the last one has what was open at its end.
    """
    workers = workers or len(os.sched_getaffinity(0))
    reader = _Reader(log, host, seen)
    assert log.form is not None
    scans = _scans(stream, log.form, chunk_bytes)
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
    pool: ThreadPoolExecutor, calls: Iterator[Callable[[], _Scan]], count: int
) -> Iterator[_Scan]:
    running = deque(pool.submit(call) for call in islice(calls, count))
    while running:
        result = running.popleft().result()
        running.extend(pool.submit(call) for call in islice(calls, 1))
        yield result


def _scans(stream: BinaryIO, form: str, size: int) -> Iterator[Callable[[], _Scan]]:
    for offset, data in chunks(stream, size):
        yield partial(scan, offset, data, form)


def chunks(stream: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Cut a log into parts of whole lines.

    Parameters
    ----------
    stream
        The log, seekable; read from its beginning.
    size
        Of a part, in bytes; a longer line is longer.

    Yields
    ------
    tuple of int and bytes
        Offset and text. Of a line that is longer than `LINE_BYTES` there may be no more.
    """
    offset, rest = begin_text(stream), b""
    while data := stream.read(size):
        text = rest + data if rest else data
        cut = text.rfind(b"\n") + 1
        if cut:
            yield offset, text[:cut]
            offset, rest = offset + cut, text[cut:]
        elif len(text) <= LINE_BYTES:
            rest = text
        else:
            yield offset, text[:LINE_BYTES]
            offset += len(text) + _skip_line(stream)
            rest = b""
    if rest:
        yield offset, rest


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
        self._scan: _Scan
        self._next = 0  # the first line of the chunk that is not read
        self._seen = -1
        self._records = 0
        self._found = Found()

    def take(self, found: _Scan) -> Iterator[_Taken]:
        """Read a chunk; give the blocks in it that are runs."""
        self._scan, self._next = found, 0
        candidates, lines = found.candidates, found.blocks.lines
        before = np.searchsorted(candidates, lines[:, 0])
        edges = [0, *(np.flatnonzero(np.diff(before)) + 1), len(lines)]
        done = 0
        for first, stop in pairwise(edges) if len(lines) else ():
            self._read_each(candidates[done : before[first]])
            done = before[first]
            yield from self._take_blocks(int(first), int(stop))
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
        line = text.data[start : min(int(text.stops[self._next]), start + LINE_BYTES)]
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

    def _take_blocks(self, place: int, stop: int) -> Iterator[_Taken]:
        lines, pids = self._scan.blocks.lines, self._scan.blocks.pids()
        while place < stop:
            self._pass(int(lines[place, 0]))
            self._complete()
            ready = not self._reports.waits
            count = self._assembler.pass_runs(pids[place:stop]) if ready else 0
            if count:
                yield _Taken(place, place + count, self._log.boot_id)
                place += count
                self._skip(int(lines[place - 1, 3]) + 1)
                continue
            while self._next <= lines[place, 3]:
                self._read_line()
            place += 1


class _Taken(NamedTuple):
    """Blocks that became runs, and the boot they are of."""

    first: int
    stop: int
    boot_id: str | None


def scan(offset: int, data: bytes, form: str) -> _Scan:
    """Find what may mean something in a chunk of a log.

    Parameters
    ----------
    offset
        Where it begins.
    data
        Whole lines.
    form
        One that `can_read` says yes to.

    Returns
    -------
    tuple
        Offset, `Text`, the blocks in it that are whole runs, and the numbers of
        the other lines that may mean something. The first and the last line are always among
        those, as another chunk may go on there.
    """
    text = Text(data)
    stamps = _stamps(text, form)
    single = _single(text) & ~_may_begin_boot(text, form, stamps)
    regular = single & stamps.fits & ~text.odd & (text.stops - text.starts <= LONGEST_LINE)
    everything = np.arange(len(text))
    spellings = _learn(text, form, everything[:_LEARNED_FROM])
    blocks = [_find_blocks(text, stamps, each, everything, regular) for each in spellings]
    others = _without(everything, blocks)
    candidates = _may_mean(text, others, ~single)
    # what has lines of nothing between its own
    spellings = spellings or _learn(text, form, candidates[:_LEARNED_FROM])
    apart = [_find_blocks(text, stamps, each, candidates, regular, blocks) for each in spellings]
    return _Scan(offset, text, _in_order(blocks + apart), _without(candidates, apart))


def _stamps(text: Text, form: str) -> _Stamps:
    found = match(_STAMPS[form], text, text.starts)
    fits, usec = found.fits, found.numbers["usec"]
    if form == "dmesg":
        usec = found.numbers["seconds"] * 1_000_000 + usec
    else:
        fits &= found.numbers["priority"] < _FIRST_OTHER_PRIORITY
    return _Stamps(fits, usec, found.stops)


# Whether a line may be the kernel's first of another boot, or stands before such a one: the clock
# goes back or is not known, or it is what a kernel says first. All others go on from the one that
# was read last.
def _may_begin_boot(text: Text, form: str, stamps: _Stamps) -> Flags:
    lines = np.flatnonzero(~_of_no_kernel(text, form))
    unsure, usec = ~stamps.fits[lines], stamps.usec[lines]
    begins = unsure.copy()
    begins[1:] |= unsure[:-1] | (usec[1:] < usec[:-1])
    begins |= _says_first(text)[lines]
    begins[:-1] |= begins[1:]
    begins[:1] = begins[-1:] = True  # other chunks may go on
    found = np.zeros(len(text), np.bool_)
    found[lines] = begins
    return found


# What begins no record, or one that a program has written.
def _of_no_kernel(text: Text, form: str) -> Flags:
    first, second = text.bytes[text.starts], text.bytes[text.starts + 1]
    if form == "dmesg":
        blank: Flags = (text.starts == text.stops) | (first == 32) | (first == 9)
        return blank
    above_seven = (first > ord("0")) & (second >= ord("0")) & (second <= ord("9"))
    other: Flags = above_seven | (first < ord("0")) | (first > ord("7"))
    return other


def _says_first(text: Text) -> Flags:
    found = np.zeros(len(text), np.bool_)
    for pattern in _SAYS_FIRST:
        for each in pattern.finditer(text.data):
            found[np.searchsorted(text.stops, each.start())] = True
    return found


# Whether a line is a record, and all of it.
def _single(text: Text) -> Flags:
    first = text.bytes[text.starts]
    begins = (first > 32) & (text.starts < text.stops)
    single = begins.copy()
    single[:-1] &= begins[1:]
    single[-1:] = False
    return single


def _may_mean(text: Text, lines: Ints, irregular: Flags) -> Ints:
    found = pc.match_substring_regex(slices(text, text.starts[lines], text.stops[lines]), _MAY_MEAN)
    kept: Ints = lines[_flags(found) | irregular[lines]]
    return kept


def _without(lines: Ints, blocks: Iterable[_Blocks]) -> Ints:
    for each in blocks:
        lines = lines[~np.isin(lines, each.lines, kind="table")]
    return lines


# The spellings of which all four lines are among some.
def _learn(text: Text, form: str, lines: Ints) -> list[_Spelling]:
    known = grammar.default()
    learned: dict[str, dict[str, Shape]] = {dialect: {} for dialect in _DIALECTS}
    for number in lines.tolist():
        line = text.line(number)
        parsed = FORMS[form](line, Dating()) if len(line) <= LONGEST_LINE else None
        event = known.parse(parsed.text) if parsed else None
        if parsed and event and event.dialect in learned and event.kind in KINDS:
            shape = shape_of(parsed.text, known.fields(parsed.text, event))
            if shape and not re.search(_TELLS_MORE, parsed.text):
                behind_stamp = Shape((_BEHIND_STAMP[form], *shape.parts))
                learned[event.dialect].setdefault(event.kind, behind_stamp)
    spellings: list[_Spelling] = []
    usual: dict[str, Shape] = {}
    for dialect, own in learned.items():
        usual |= own  # a module that changes some lines leaves others as they were
        if own and len(usual) == len(KINDS):
            spellings.append(_Spelling(dialect, tuple(usual[kind] for kind in KINDS)))
    return spellings


# Runs whose lines stand together among some lines, with no other block between them.
def _find_blocks(
    text: Text,
    stamps: _Stamps,
    spelling: _Spelling,
    among: Ints,
    regular: Flags,
    others: Iterable[_Blocks] = (),
) -> _Blocks:
    begins = np.flatnonzero(ends_with(text, among, spelling.shapes[0].tail))
    begins = begins[begins + len(KINDS) <= len(among)]
    lines = among[begins[:, None] + np.arange(len(KINDS))]
    lines = lines[regular[lines].all(axis=1)]
    for each in others:
        starts = each.lines[:, 0]
        lines = lines[np.diff(np.searchsorted(starts, lines[:, [0, -1]]))[:, 0] == 0]
    found = [
        _match_line(text, stamps, shape, lines[:, place])
        for place, shape in enumerate(spelling.shapes)
    ]
    start, *_, end = found
    fits = start.numbers["pid"] == end.numbers["pid"]
    for line in found:
        fits &= line.fits
    stats = slices(text, text.starts[lines[:, 1]], text.stops[lines[:, 1]])
    more = pc.match_substring_regex(stats, _TELLS_MORE)
    fits &= ~_flags(more)
    places = np.flatnonzero(fits)
    lines = lines[places]
    return _Blocks(lines, _values(text, spelling.dialect, lines, found, places))


def _match_line(text: Text, stamps: _Stamps, shape: Shape, lines: Ints) -> shapes.Found:
    found = match(shape, text, stamps.stops[lines])
    found.fits &= found.stops == text.stops[lines]
    found.numbers["usec"] = stamps.usec[lines]
    return found


def _values(
    text: Text, dialect: str, lines: Ints, found: list[shapes.Found], places: Ints
) -> pa.Table:
    columns: dict[str, Any] = {
        "first_seq": arrow(text.starts[lines[:, 0]]),
        "last_seq": arrow(text.starts[lines[:, -1]]),
        "started_us": arrow(found[0].numbers["usec"][places]),
        "ended_us": arrow(found[-1].numbers["usec"][places]),
        "dialect": _repeated(dialect, len(places)),
    }
    for each in found:
        columns |= {
            name: arrow(values[places]) for name, values in each.numbers.items() if name != "usec"
        }
        columns |= {
            name: slices(text, begin[places], stop[places]).cast(pa.string())
            for name, (begin, stop) in each.names.items()
        }
    return pa.table(columns)


def _repeated(text: str | None, count: int) -> pa.Array:
    return schema.to_array([text], pa.string()).take(arrow(np.zeros(count, np.int64)))


# As numpy has them; `to_numpy` would import pandas.
def _flags(values: pa.BooleanArray) -> Flags:
    if not len(values):
        return np.zeros(0, np.bool_)
    return np.frombuffer(values.cast(pa.uint8()).buffers()[1], np.bool_, len(values))


def _in_order(blocks: list[_Blocks]) -> _Blocks:
    if not blocks:
        return _Blocks(np.empty((0, len(KINDS)), np.int64), schema.to_table([], schema.RUNS))
    if len(blocks) == 1:
        return blocks[0]
    lines = np.concatenate([each.lines for each in blocks])
    order = np.argsort(lines[:, 0])
    values = pa.concat_tables([each.values for each in blocks], promote_options="default")
    return _Blocks(lines[order], values.take(arrow(order)))


# Rows of blocks that are runs.
def _table(
    found: _Scan,
    taken: list[_Taken],
    source: str,
    host: str,
    seen: int,
) -> pa.Table:
    tables = [schema.to_table([], schema.RUNS)]
    for boot_id in dict.fromkeys(each.boot_id for each in taken):
        ranges = [range(each.first, each.stop) for each in taken if each.boot_id == boot_id]
        values = found.blocks.values.take(arrow(np.concatenate(ranges)))
        constants = {
            "host": host,
            "boot_id": boot_id,
            "clock": "none",
            "status": "complete",
            "source": source,
        }
        columns = dict(zip(values.column_names, values.columns, strict=True))
        columns |= {name: _repeated(value, len(values)) for name, value in constants.items()}
        offset = schema.to_array([found.offset], pa.int64())[0]
        columns |= {name: pc.add(columns[name], offset) for name in ("first_seq", "last_seq")}
        numbers = columns["first_seq"].to_pylist()
        columns["run_id"] = schema.to_array(run_ids(host, boot_id, source, numbers), pa.string())
        tables.append(_of_schema(columns, len(values)))
    table = pa.concat_tables(tables)
    return table.filter(pc.field("last_seq") > seen) if seen >= 0 else table


def _of_schema(columns: Mapping[str, Any], count: int) -> pa.Table:
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(count, field.type)
        for field in schema.RUNS
    ]
    return pa.Table.from_arrays(arrays, schema=schema.RUNS)
