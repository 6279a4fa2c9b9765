"""Records -> runs: a state machine that attributes a line only where the log leaves no doubt.

The stats and calls lines carry no pid. They belong to the End line behind them if they
stand between it and the End line before, once each; everything else is marked
``ambiguous``. Extra lines carry the pid, and stand behind the calls line. What was lost, cut
off or not understood becomes a `Loss`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from logtrace import grammar
from logtrace.extras import Extras
from logtrace.record import Loss, Record, printable

_LONGEST_BLOCK = 1000  # stats and calls lines that wait for an End line

_OF_A_RUN = ("host", "boot_id", "run_id", "pid", "comm")

Row = dict[str, Any]
"""A row of one of the tables in `logtrace.schema`."""


class Rows(NamedTuple):
    """What a stretch of the log gave.

    Parameters
    ----------
    runs
        Rows of ``schema.RUNS``, in the order in which they ended.
    losses
        Rows of ``schema.LOSSES``.
    files, calls
        Rows of ``schema.FILES`` and ``schema.CALLS``; their ``run_id`` is that of one of the runs.
    """

    runs: list[Row]
    losses: list[Row]
    files: list[Row]
    calls: list[Row]

    @classmethod
    def none(cls) -> Rows:
        """Give lists of no rows, to add to."""
        return cls([], [], [], [])

    def add(self, other: Rows) -> None:
        """Put other rows behind these."""
        for rows, more in zip(self, other, strict=True):
            rows.extend(more)


@dataclass(slots=True)
class _Line:
    record: Record
    event: grammar.Event | None  # None for a line of a run that was cut off
    order: int  # counts lines; the numbers of records begin anew in another log
    named: int | None = None  # the pid of the first extra line behind a stats or calls line


@dataclass(slots=True)
class _Run:
    lines: list[_Line]
    extras: Extras | None = None
    notes: list[str] = field(default_factory=list)
    ambiguous: bool = False

    def doubt(self, why: str) -> None:
        """Mark it, and leave its extra lines to nobody."""
        self.ambiguous = True
        self.notes.append(why)
        if self.extras:
            self.extras.disown()


class RunAssembler:
    """Join the lines of runs.

    Parameters
    ----------
    host
        Name of the machine whose log it is.
    seen
        Sequence number up to which rows were stored before: records up to there only
        bring back the runs that were open then.
    """

    def __init__(self, host: str, seen: int = -1) -> None:
        self._host = host
        self.seen = seen
        self._open: dict[int, _Run] = {}
        self._block: list[_Line] = []  # stats and calls lines since the last End
        self._stray: tuple[int, _Run] | None = None  # extra lines of a run without Start
        self._unsure_ends = 0  # End lines that a mixed block still belongs to
        self._bare_end = 0  # the last End line, if it had no stats lines
        self._lines = 0
        self._number: int | None = None  # of the item that is taken; None at the end of the log
        self._source: str | None = None
        self._needed_from = 0

    @property
    def open_runs(self) -> list[tuple[int, Record]]:
        """Pid and Start record of each run that has not ended."""
        return [(pid, run.lines[0].record) for pid, run in self._open.items()]

    @property
    def resume_before(self) -> int | None:
        """Sequence number of the first record that is needed again to go on from here.

        An assembler that is fed from there comes to the same state, as nothing was open
        before that record. None if nothing is open now.
        """
        return None if self._idle else self._needed_from

    @property
    def _idle(self) -> bool:
        return not (self._open or self._block or self._stray or self._unsure_ends)

    def feed(self, items: Iterable[Record | Loss]) -> Rows:
        """Take the next records.

        Parameters
        ----------
        items
            Records and losses in the order of the log.

        Returns
        -------
        Rows
            The runs that ended with them, and what was lost or not understood.
        """
        rows, stored = Rows.none(), Rows.none()
        for item in items:
            first, last = _range(item)
            self._number = last
            if item.source != self._source:
                self._source, self._needed_from = item.source, first
            found = rows if last > self.seen else stored
            if isinstance(item, Loss):
                self._lose(item, found)
            else:
                self._take(item, found)
        return rows

    def finish(self) -> Rows:
        """Close what is still open at the end of a finished log.

        Returns
        -------
        Rows
            Runs without an End line, and stats lines that no End line followed.
        """
        rows = Rows.none()
        self._number = None
        self._flush_stray(rows)
        self._claim_block()
        self._flush_block(rows)
        for pid in list(self._open):
            self._close(self._open.pop(pid), rows, pid, "the log ends before its End line")
        return rows

    def _take(self, record: Record, rows: Rows) -> None:
        event = grammar.parse(record.text) if record.from_kernel else None
        if event is None or (record.truncated and event.extra):
            self._reject(record, rows)
            return
        line = self._line(record, event)
        if event.kind == "start":
            self._start(line, rows)
        elif event.kind == "end":
            self._end(line, rows)
        elif event.extra:
            self._add_extra(line, event, rows)
        else:
            self._add_to_block(line, rows)

    def _line(self, record: Record, event: grammar.Event | None) -> _Line:
        self._lines += 1
        return _Line(record, event, self._lines)

    def _reject(self, record: Record, rows: Rows) -> None:
        if not grammar.looks_like_trace(record.text):
            return
        if record.truncated and record.from_kernel and not grammar.is_extra(record.text):
            self._add_to_block(self._line(record, None), rows)
        self._note_rejected(record, rows)

    def _note_rejected(self, record: Record, rows: Rows) -> None:
        loss = Loss(
            record.source,
            record.boot_id,
            record.seq,
            record.seq,
            1,
            "truncated" if record.truncated else "rejected",
            record.at,
            record.text,
        )
        rows.losses.append(self._loss_row(loss))

    def _start(self, line: _Line, rows: Rows) -> None:
        pid = _pid(line)
        if self._stray and self._stray[0] == pid:
            self._flush_stray(rows)
        if pid in self._open:
            self._claim_block()
            why = "another Start of the same pid came before its End"
            self._close(self._open.pop(pid), rows, pid, why)
        if not self._open:
            self._unsure_ends = 0
        self._note_need(line)
        self._open[pid] = _Run([line])

    def _add_to_block(self, line: _Line, rows: Rows) -> None:
        if self._stray:
            self._flush_stray(rows)
        # a module that prints neither Start nor End: every stats line begins a run
        begins_run = not self._open and _kind(line) == "stats" and _is_one_run(self._block)
        if begins_run or len(self._block) == _LONGEST_BLOCK:
            self._flush_block(rows)
        self._note_need(line)
        self._block.append(line)

    # An extra line names the run that the stats lines before it are of.
    def _add_extra(self, line: _Line, event: grammar.Event, rows: Rows) -> None:
        pid = _pid(line)
        if self._block and self._block[-1].named is None:
            for waiting in self._block:
                waiting.named = pid if waiting.named is None else waiting.named
        run = self._run_of_extra(pid, line, rows)
        if run.extras is None:
            run.extras = Extras(line.order)
        if not run.extras.add(line.record, event):
            self._note_rejected(line.record, rows)

    def _run_of_extra(self, pid: int, line: _Line, rows: Rows) -> _Run:
        if run := self._open.get(pid):
            return run
        if self._stray is None or self._stray[0] != pid:
            self._flush_stray(rows)
            self._note_need(line)
            self._stray = pid, _Run([])
        return self._stray[1]

    def _note_need(self, line: _Line) -> None:
        if self._idle:
            self._needed_from = line.record.seq

    def _end(self, line: _Line, rows: Rows) -> None:
        pid = _pid(line)
        run = self._open.pop(pid, None) or self._take_stray(pid, rows)
        block = self._take_block(run, rows)
        self._bare_end, bare_end = 0, self._bare_end
        if block:
            self._attribute(block, run, line, bare_end)
        elif self._unsure_ends:
            self._unsure_ends -= 1
            run.doubt("its stats lines were mixed with those of another run")
        else:
            self._bare_end = line.order
            if run.extras and run.extras.callers() != {line.record.caller}:
                run.doubt("its extra lines and its End line were printed by different tasks")
        run.lines.append(line)
        self._close(run, rows, pid)

    def _take_stray(self, pid: int, rows: Rows) -> _Run:
        if self._stray and self._stray[0] == pid:
            run, self._stray = self._stray[1], None
            return run
        self._flush_stray(rows)
        return _Run([])

    # Extra lines of which neither Start nor End was seen: a run of their own, with the stats
    # lines before them.
    def _flush_stray(self, rows: Rows) -> None:
        if self._stray is None:
            return
        (pid, run), self._stray = self._stray, None
        if _is_one_run(self._block) and _named(self._block) == {pid}:
            run.lines, self._block = self._block, []
        self._close(run, rows, pid)

    # The stats lines that may be a run's. Those before its Start are not: they wait for
    # the End of a run that was open then.
    def _take_block(self, run: _Run, rows: Rows) -> list[_Line]:
        started = run.lines[0].order if run.lines else 0
        before = [line for line in self._block if line.order < started]
        after = self._block[len(before) :]
        if after and before and _kind(before[-1]) == "stats":
            before, after = [], self._block  # its calls line is among those behind
        self._block = before
        if not self._open:
            self._flush_block(rows)
        return after

    # What is printed before an End line is its run's if nothing speaks against it.
    def _attribute(self, block: list[_Line], run: _Run, end: _Line, bare_end: int) -> None:
        if not _is_one_run(block):
            doubt = "several runs' stats lines stand before its End line"
        elif run.lines and block[0].order < run.lines[0].order:
            doubt = "its Start line stands between stats lines"
        elif run.lines and run.lines[0].order < bare_end:
            doubt = "its stats lines may be those of the run that ended before them"
        elif _has_extras_before(run, block):
            doubt = "its extra lines do not stand behind its calls line"
        elif block[0].named is not None and _named(block) != {_pid(end)}:
            doubt = "extra lines of another run stand behind its stats lines"
        elif len(_callers(block, run, end)) > 1:
            # one task prints all of them: where the kernel says which, it must be one
            doubt = "its stats and End lines were printed by different tasks"
        else:
            run.lines += block
            return
        run.doubt(doubt)
        self._unsure_ends = max(1, _count(block, "stats") - 1, _count(block, "ops") - 1)

    # Without an End line, stats lines are a run's if extra lines say so, or if no other run was
    # open beside it.
    def _claim_block(self) -> None:
        if not _is_one_run(self._block):
            return
        named = _named(self._block)
        runs = [run for pid, run in self._open.items() if pid in named or named == {None}]
        if len(runs) != 1 or len(named) != 1:
            return
        (run,) = runs
        if run.lines[0].order < self._block[0].order and not _has_extras_before(run, self._block):
            run.lines += self._block
            self._block = []

    def _lose(self, loss: Loss, rows: Rows) -> None:
        rows.losses.append(self._loss_row(loss))
        self._flush_stray(rows)
        self._flush_block(rows)
        for run in self._open.values():
            run.ambiguous = True
            run.notes.append(f"{loss.records} records were lost while it ran")

    # Stats lines that no End line claims: a run of their own if they are those of one run.
    def _flush_block(self, rows: Rows) -> None:
        if self._block and self._block[-1].named is not None:
            self._claim_block()
        block, self._block = self._block, []
        if not any(line.event for line in block):
            return
        run = _Run(block)
        claimants = any(each.lines[0].order < block[-1].order for each in self._open.values())
        if claimants or not _is_one_run(block):
            run.ambiguous = True
            run.notes.append("no End line says which run its stats lines belong to")
        self._close(run, rows, None)

    def _close(self, run: _Run, rows: Rows, pid: int | None, why: str | None = None) -> None:
        if run.extras and (doubt := run.extras.doubt()):
            run.doubt(doubt)
        row = _run_row(self._host, run, pid, why)
        rows.runs.append(row)
        if run.extras:
            identity = {name: row.get(name) for name in _OF_A_RUN} | {"ended_seq": self._number}
            rows.files.extend(identity | file for file in run.extras.files())
            rows.calls.extend(identity | call for call in run.extras.calls())

    def _loss_row(self, loss: Loss) -> Row:
        return {
            "host": self._host,
            "boot_id": loss.boot_id,
            "source": loss.source,
            "first_seq": loss.first_seq,
            "last_seq": loss.last_seq,
            "records": loss.records,
            "reason": loss.reason,
            "noticed_at": loss.at,
            "text": None if loss.text is None else printable(loss.text),
        }


def _range(item: Record | Loss) -> tuple[int, int]:
    return (item.first_seq, item.last_seq) if isinstance(item, Loss) else (item.seq, item.seq)


# The stats line, the calls line, or both in this order; a line that was cut may be either.
def _is_one_run(block: list[_Line]) -> bool:
    kinds = [_kind(line) for line in block]
    return len(kinds) == 1 or (
        len(kinds) == 2 and kinds[0] in ("stats", "cut") and kinds[1] in ("ops", "cut")
    )


def _kind(line: _Line) -> str:
    return line.event.kind if line.event else "cut"


def _count(block: list[_Line], kind: str) -> int:
    return sum(_kind(line) == kind for line in block)


def _named(block: list[_Line]) -> set[int | None]:
    return {line.named for line in block}


def _has_extras_before(run: _Run, block: list[_Line]) -> bool:
    return run.extras is not None and run.extras.order < block[-1].order


def _callers(block: list[_Line], run: _Run, end: _Line) -> set[str | None]:
    callers = {line.record.caller for line in (*block, end)}
    return callers | run.extras.callers() if run.extras else callers


def _pid(line: _Line) -> int:
    assert line.event is not None
    pid = line.event.values["pid"]
    assert isinstance(pid, int)
    return pid


def _run_row(host: str, run: _Run, pid: int | None, why: str | None) -> Row:
    lines = [line for line in run.lines if line.event is not None]
    values = _values(lines)
    first, last = _first_and_last(run, lines)
    started = first if lines and _kind(lines[0]) == "start" else None
    ended = last if lines and _kind(lines[-1]) == "end" else None
    if run.extras:
        values |= run.extras.options()
    status, missing = _status(run, lines)
    return {
        **values,
        "host": host,
        "boot_id": first.boot_id,
        "first_seq": first.seq,
        "last_seq": last.seq,
        "started_at": started.at if started else None,
        "ended_at": ended.at if ended else None,
        "started_us": started.usec if started else None,
        "ended_us": ended.usec if ended else None,
        "clock": first.clock,
        "pid": pid,
        "dialect": _dialect(lines),
        "status": status,
        "source": first.source,
        "run_id": _run_id(host, first),
        "note": "; ".join(filter(None, (*run.notes, *missing, why))) or None,
    }


# Extra lines stand behind all others but the End line.
def _first_and_last(run: _Run, lines: list[_Line]) -> tuple[Record, Record]:
    if not run.extras:
        return lines[0].record, lines[-1].record
    others = [line.record for line in lines]
    behind = [others.pop()] if lines and _kind(lines[-1]) == "end" else []
    records = [*others, *run.extras.records, *behind]
    return records[0], records[-1]


# The most general one; extra lines alone, which no lab has changed, have none
def _dialect(lines: list[_Line]) -> str | None:
    events = [line.event for line in lines if line.event]
    return max(events, key=lambda event: event.rank).dialect if events else None


# A mixed block's values are nobody's.
def _values(lines: list[_Line]) -> Row:
    values: Row = {}
    body = [line for line in lines if _kind(line) in ("stats", "ops")]
    if _is_one_run(body):
        for line in body:
            assert line.event is not None
            values |= line.event.values
    return values


# The first thing that is wrong with a run is its status; its note names them all.
def _status(run: _Run, lines: list[_Line]) -> tuple[str, list[str]]:
    kinds = {_kind(line) for line in run.lines}
    name_cut = any(
        str(line.event.values.get("file", "")).endswith("\\...") for line in lines if line.event
    )
    found: list[tuple[str, str | None]] = []
    if run.ambiguous:
        found.append(("ambiguous", None))
    if name_cut:
        found.append(("truncated", "the file name is longer than a log line"))
    if "cut" in kinds or any(line.record.truncated for line in lines):
        found.append(("truncated", "one of its lines is cut"))
    if run.extras:
        found += [("truncated", missing) for missing in run.extras.missing()]
    if "start" not in kinds:
        found.append(("no_start", "the Start line is missing"))
    if "end" not in kinds:
        found.append(("no_end", "the End line is missing"))
    if not run.ambiguous and not kinds & {"stats", "cut"}:
        found.append(("no_stats", "the stats line is missing"))
    if not run.ambiguous and not kinds & {"ops", "cut"}:
        found.append(("no_stats", "the calls line is missing"))
    return (found[0][0] if found else "complete"), [note for _, note in found if note]


def _run_id(host: str, first: Record) -> str:
    identity = f"{host}\n{first.boot_id}\n{first.source.rpartition('@')[2]}\n{first.seq}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
