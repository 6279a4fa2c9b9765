"""Records -> runs: a state machine that attributes a line only where the log leaves no doubt.

The stats and calls lines carry no pid. They belong to the End line behind them if they
stand between it and the End line before, once each; or to the End line before them, if no
other run can have printed them; everything else is marked ``ambiguous``. Extra lines carry
the pid, and stand behind the calls line. What was lost, cut off or not understood becomes
a `Loss`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NamedTuple

from logtrace import grammar
from logtrace.cumulative import Span, Totals
from logtrace.extras import Extras
from logtrace.lines import line_pattern, pattern
from logtrace.record import Loss, Record, is_of_another_boot, printable
from logtrace.run_id import run_id

_LONGEST_BLOCK = 1000  # stats and calls lines that wait for an End line
_MOST_OPEN = 100_000  # the tracing modules trace fewer at a time
_ANOTHER_START = "another Start of the same pid came before its End"
_AT_ONCE_US = 1_000_000  # what one call prints, it prints in less

_OF_A_RUN = ("host", "boot_id", "run_id", "pid", "comm")

Row = dict[str, Any]
"""A row of one of the tables in `logtrace.schema`."""


class Rows(NamedTuple):
    """What a stretch of the log gave.

    Parameters
    ----------
    runs
        Rows of ``schema.TABLES["runs"]``, in the order in which they ended.
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
    event: grammar.Event | None  # None for a line of a run that was cut off, or is not understood
    order: int  # counts lines; the numbers of records begin anew in another log
    place: int = 0  # in a record of several lines
    timed: bool = True  # whether the record's time is its own
    named: int | None = None  # the pid of the first extra line behind a stats or calls line
    disputed: bool = False  # whether it may be of a run of which no End line came


@dataclass(slots=True)
class _Run:
    lines: list[_Line]
    extras: Extras | None = None
    again: _Line | None = None  # its Start line once more, right behind it
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
    known
        What understands lines. Default: the dialects built in and those that users added.
    """

    def __init__(self, host: str, seen: int = -1, known: grammar.Grammar | None = None) -> None:
        self._host = host
        self.seen = seen
        self._open: dict[int | None, _Run] = {}
        self._block: list[_Line] = []  # stats and calls lines since the last End
        self._stray: tuple[int, _Run] | None = None  # extra lines of a run without Start
        self._unsure_ends = 0  # End lines that a mixed block still belongs to
        self._bare_end = 0  # the last End line, if it had no stats lines
        self._held: tuple[int | None, _Run] | None = None  # the stats lines may come behind its End
        self._ended: _Line | None = None  # the End line of a run whose lines all came twice
        self._totals = Totals()
        self._grammar = known or grammar.default()
        self._lines = 0
        self._number: int | None = None  # of the item that is taken; None at the end of the log
        self._source: str | None = None
        self._before: Record | None = None  # the last of the kernel
        self._needed_from = 0

    @property
    def open_runs(self) -> list[tuple[int, Record]]:
        """Pid (0 where none is printed) and Start record of each run that has not ended."""
        return [(pid or 0, run.lines[0].record) for pid, run in self._open.items()]

    @property
    def resume_before(self) -> int | None:
        """Sequence number of the first record that is needed again to go on from here.

        An assembler that is fed from there comes to the same state, as nothing was open
        before that record. None if nothing is open now.
        """
        needed = [] if self._idle else [self._needed_from]
        if (totals := self._totals.needed_from) is not None:
            needed.append(totals)
        return min(needed, default=None)

    @property
    def _idle(self) -> bool:
        waiting = self._open or self._block or self._stray or self._held or self._ended
        return not (waiting or self._unsure_ends or self._bare_end)

    @property
    def waits(self) -> bool:
        """Whether any record, of whatever it tells, may show that a run has ended."""
        return self._held is not None

    def count_sure(self, pids: Sequence[int]) -> int:
        """Count complete runs that may pass, as they are read elsewhere.

        Parameters
        ----------
        pids
            Of runs that follow each other, each of a Start, a stats, a calls and an End line by
            one caller, the last three together. Between their lines is nothing that `feed` would
            take note of but lines of the others.

        Returns
        -------
        int
            How many of them are runs without doubt, from the first on; the lines of the next
            one, and of all that stand beside it, have to be fed.
        """
        if self._block or self._stray or self._held or len(self._open) + len(pids) > _MOST_OPEN:
            return 0
        places = (place for place, pid in enumerate(pids) if pid in self._open)
        return next(places, len(pids)) if self._open else len(pids)

    def pass_runs(self, count: int) -> None:
        """Let some of the runs pass that `count_sure` has counted."""
        self._lines += len(grammar.KINDS) * count
        self._ended = None
        self._bare_end = 0
        if not self._open:
            self._unsure_ends = 0

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
                self._totals.carry_on(first)
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
        self._close_all(rows, "the log ends before its End line")
        return rows

    def _close_all(self, rows: Rows, why: str) -> None:
        self._settle(rows)
        self._flush_stray(rows)
        self._claim_block()
        self._flush_block(rows)
        for pid in list(self._open):
            run = self._restarted(self._open.pop(pid), rows)
            self._close(run, rows, pid, why)

    def _take(self, record: Record, rows: Rows) -> None:
        if record.from_kernel:
            if self._before and is_of_another_boot(self._before, record):
                self._begin_boot(rows)
            self._before = record
        if self._held and not _at_once(self._held[1].lines[-1].record, record):
            self._settle(rows)
        if self._ended and not _at_once(self._ended.record, record):
            self._ended = None
        events = self._events(record) if record.from_kernel else ()
        if not events or (record.truncated and events[0].extra):
            self._reject(record, rows)
        started = False
        for place, event in enumerate(events):
            if record.truncated and event.extra:
                break
            # the stamp is that of the record's first line; stats lines and End are one print
            timed = place == 0 or (event.kind == "end" and not started)
            started |= event.kind == "start"
            self._take_line(self._line(record, event, place, timed), event, rows)

    # Nothing of a run, and no counter of a module, is left when the machine is started anew.
    def _begin_boot(self, rows: Rows) -> None:
        self._close_all(rows, "the machine was started anew before its End line")
        self._unsure_ends = self._bare_end = 0
        self._ended = None
        self._totals.forget()

    # What was cut off may have been cut where somebody chose: it is one line or none.
    def _events(self, record: Record) -> tuple[grammar.Event, ...]:
        if not record.truncated:
            return self._grammar.events(record.text)
        event = self._grammar.parse(record.text)
        return (event,) if event else ()

    def _take_line(self, line: _Line, event: grammar.Event, rows: Rows) -> None:
        ended, self._ended = self._ended, None
        if ended and _is_again(ended, line):
            return
        if event.kind == "start":
            self._settle(rows)
            self._start(line, rows)
        elif event.kind == "end":
            self._settle(rows, claimed=True)
            self._end(line, rows)
        elif event.kind == "load":
            self._settle(rows)
            needed = line.record.seq if self._idle else self._needed_from
            self._totals.load(event.dialect, _span(line, line, needed))
        elif event.extra:
            self._settle(rows)
            self._add_extra(line, event, rows)
        else:
            self._add_to_block(line, rows)

    def _line(
        self, record: Record, event: grammar.Event | None, place: int = 0, timed: bool = True
    ) -> _Line:
        self._lines += 1
        return _Line(record, event, self._lines, place, timed)

    def _reject(self, record: Record, rows: Rows) -> None:
        if not grammar.looks_like_trace(record.text):
            return
        # of several runs it may be anybody's, and so may what stands beside it
        may_be_stats = record.truncated or len(self._open) > 1
        if may_be_stats and record.from_kernel and not grammar.is_extra(record.text):
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
        if run := self._open.get(pid):
            if not (run.again or run.ambiguous) and _is_again(run.lines[0], line):
                run.again = line
                return
            self._claim_block()
            self._give_up(pid, _ANOTHER_START, rows)
        if len(self._open) == _MOST_OPEN:
            why = f"{_MOST_OPEN} other runs began before its End line"
            self._give_up(next(iter(self._open)), why, rows)
        if not self._open:
            self._unsure_ends = 0
        self._note_need(line)
        self._open[pid] = _Run([line])

    # No End line will say which stats lines are its own.
    def _give_up(self, pid: int | None, why: str, rows: Rows) -> None:
        run = self._open.pop(pid)
        for line in self._block:
            line.disputed |= line.order > run.lines[0].order
        self._close(self._restarted(run, rows), rows, pid, why)

    # Whether a Start line that came twice began a second run is told by the lines behind it.
    def _restarted(self, run: _Run, rows: Rows) -> _Run:
        if run.again is None:
            return run
        self._close(_Run(run.lines[:1]), rows, _pid(run.lines[0]), _ANOTHER_START)
        return replace(run, lines=[run.again, *run.lines[1:]], again=None)

    def _add_to_block(self, line: _Line, rows: Rows) -> None:
        if self._held and not _may_follow(self._held[1], self._block, line):
            self._settle(rows)
        if self._stray:
            self._flush_stray(rows)
        # a module that prints neither Start nor End: every stats line begins a run
        begins_run = not self._open and _kind(line) == "stats" and _is_one_run(self._block)
        begins_run = begins_run and not _is_one_run([*self._block, line])
        if begins_run or len(self._block) == _LONGEST_BLOCK:
            self._flush_block(rows)
        self._note_need(line)
        self._block.append(line)

    # An extra line names the run that the stats lines before it are of.
    def _add_extra(self, line: _Line, event: grammar.Event, rows: Rows) -> None:
        pid = _pid(line)
        assert pid is not None
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
        pid = self._whose(_pid(line))
        run = self._open.pop(pid, None) or self._take_stray(pid, rows)
        block = self._take_block(run, rows)
        if all(_kind(line) == "odd" for line in block):
            block = []
        if run.again and not self._open and _comes_twice(block):
            run.again, self._ended, block = None, line, block[::2]
        run = self._restarted(run, rows)
        self._bare_end, bare_end = 0, self._bare_end
        if block:
            self._attribute(block, run, line, bare_end)
        elif self._unsure_ends:
            self._unsure_ends -= 1
            run.doubt("its stats lines were mixed with those of another run")
        else:
            # extra lines stand behind the calls line: none of these comes after them
            self._bare_end = 0 if run.extras else line.order
            if run.extras and run.extras.callers() != {line.record.caller}:
                run.doubt("its extra lines and its End line were printed by different tasks")
        if not (block or run.extras or run.ambiguous or self._open or self._block):
            if not run.lines:
                self._note_need(line)
            run.lines.append(line)
            self._held = pid, run
            return
        run.lines.append(line)
        self._close(run, rows, pid)

    # Some modules print no process at the end, or 0 or -1: the only one that is traced is meant.
    def _whose(self, pid: int | None) -> int | None:
        if (pid is None or pid <= 0) and pid not in self._open and len(self._open) == 1:
            return next(iter(self._open))
        return pid

    # A run whose End line stood alone: stats lines right behind it are its own, unless
    # another End line claims them.
    def _settle(self, rows: Rows, *, claimed: bool = False) -> None:
        if self._held is None:
            return
        (pid, run), self._held = self._held, None
        if self._block and claimed:
            run.doubt("the stats lines behind its End line may be those of the next run")
        elif self._block and _is_one_run(self._block):
            run.lines += self._block
            self._block = []
        if not claimed:
            self._bare_end = 0
        self._close(run, rows, pid)

    def _take_stray(self, pid: int | None, rows: Rows) -> _Run:
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
        elif any(line.disputed for line in block):
            doubt = "its stats lines may be those of a run without End line"
        elif bare_end and (not run.lines or run.lines[0].order < bare_end):
            doubt = "its stats lines may be those of the run that ended before them"
        elif not run.lines and not run.extras and self._is_global(end, block):
            doubt = "its Start line is missing, and its stats lines may be the open run's"
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
        self._unsure_ends = max(1, _runs_in(block) - 1)

    # A module that prints another pid at the end than at the start knows one run at a time only.
    def _is_global(self, end: _Line, block: list[_Line]) -> bool:
        pid = _pid(end)
        if pid is None or pid <= 0:
            return bool(self._open)
        return len(self._open) == 1 and all(
            run.lines[0].order < block[0].order for run in self._open.values()
        )

    # Without an End line, stats lines are a run's if extra lines say so, or if no other run was
    # open beside it.
    def _claim_block(self) -> None:
        if not _is_one_run(self._block) or any(line.disputed for line in self._block):
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
        self._settle(rows)
        self._totals.forget()
        self._ended = None
        self._flush_stray(rows)
        self._flush_block(rows)
        for run in self._open.values():
            run.ambiguous = True
            many = "an unknown number of" if loss.records is None else loss.records
            run.notes.append(f"{many} records were lost while it ran")

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
        if dialect := next((e.dialect for e in _events(run) if e.cumulative), None):
            span = _span(run.lines[0], max(run.lines, key=_order), self._needed_from)
            self._totals.take_apart(row, dialect, span)
        if lines := self._lines_of(run, row):
            row["lines"] = lines
        rows.runs.append(row)
        if run.extras:
            identity = {name: row.get(name) for name in _OF_A_RUN} | {"ended_seq": self._number}
            rows.files.extend(identity | file for file in run.extras.files())
            rows.calls.extend(identity | call for call in run.extras.calls())

    # Of a record that is several lines it is not known where values stand: it is kept as it is.
    def _lines_of(self, run: _Run, row: Row) -> str | None:
        events = {line.record.seq: line.event for line in run.lines}
        records = [line.record for line in run.lines] + (run.extras.records if run.extras else [])
        lines = []
        for seq, text in sorted({record.seq: record.text for record in records}.items()):
            event = events.get(seq)
            lines.append(line_pattern(text, event.fields if event else (), row))
        return pattern(lines)

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


# The stats line, the calls line, or both in this order; a line that was cut or is odd may be
# either. Some modules print one of them as several, each of which says something else.
def _is_one_run(block: list[_Line]) -> bool:
    kinds = [_kind(line) for line in block]
    if not {"cut", "odd"}.isdisjoint(kinds) or len(kinds) < 2:
        return len(kinds) == 1 or (
            len(kinds) == 2
            and kinds[0] in ("stats", "cut", "odd")
            and kinds[1] in ("ops", "cut", "odd")
        )
    stats = kinds.count("stats")
    return "stats" not in kinds[stats:] and all(map(_are_parts, (block[:stats], block[stats:])))


def _are_parts(lines: list[_Line]) -> bool:
    if len(lines) < 2:
        return True
    columns = Counter(name for line in lines for name in _columns(line))
    return all(map(_columns, lines)) and max(columns.values()) == 1


# Some modules, or the console beside them, print each line twice.
def _is_again(before: _Line, line: _Line) -> bool:
    return (
        line.order == before.order + 1
        and line.record is not before.record
        and line.record.text == before.record.text
        and line.record.caller == before.record.caller
        and _at_once(before.record, line.record)
    )


def _comes_twice(block: list[_Line]) -> bool:
    pairs = zip(block[::2], block[1::2], strict=False)
    return len(block) in (2, 4) and all(_is_again(*pair) for pair in pairs)


def _kind(line: _Line) -> str:
    if line.event:
        return line.event.kind
    return "cut" if line.record.truncated else "odd"


def _columns(line: _Line) -> Iterable[str]:
    return line.event.values if line.event else ()


# At least how many runs' lines they are.
def _runs_in(block: list[_Line]) -> int:
    said = Counter(name for line in block for name in _columns(line) or (_kind(line),))
    return max(said.values())


def _named(block: list[_Line]) -> set[int | None]:
    return {line.named for line in block}


def _has_extras_before(run: _Run, block: list[_Line]) -> bool:
    return run.extras is not None and run.extras.order < block[-1].order


def _callers(block: list[_Line], run: _Run, end: _Line) -> set[str | None]:
    callers = {line.record.caller for line in (*block, end)}
    return callers | run.extras.callers() if run.extras else callers


def _pid(line: _Line) -> int | None:
    assert line.event is not None
    pid = line.event.values.get("pid")
    assert pid is None or isinstance(pid, int)
    return pid


def _order(line: _Line) -> int:
    return line.order


# Only stats lines have counters.
def _events(run: _Run) -> Iterable[grammar.Event]:
    return (line.event for line in run.lines if line.event and _kind(line) in ("stats", "ops"))


def _span(first: _Line, last: _Line, needed_from: int) -> Span:
    return Span(first.order, last.order, needed_from)


def _at_once(before: Record, record: Record) -> bool:
    if before.usec is not None and record.usec is not None:
        return record.usec - before.usec <= _AT_ONCE_US
    if before.at is not None and record.at is not None:
        return record.at - before.at <= timedelta(microseconds=_AT_ONCE_US)
    return True


# Whether a stats line may belong to the End line before it: next in the block of one run, and
# printed by the same task.
def _may_follow(run: _Run, block: list[_Line], line: _Line) -> bool:
    same = run.lines[-1].record.caller == line.record.caller
    return same and line.event is not None and _is_one_run([*block, line])


def _run_row(host: str, run: _Run, pid: int | None, why: str | None) -> Row:
    lines = [line for line in run.lines if line.event is not None]
    values = _values(lines)
    first, last = _first_and_last(run, lines)
    started = _time_of(lines, "start")
    ended = _time_of(lines, "end")
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
        "run_id": run_id(
            host, first.boot_id, first.source, first.seq, lines[0].place if lines else 0
        ),
        "note": "; ".join(filter(None, (*run.notes, *missing, why))) or None,
    }


def _time_of(lines: list[_Line], kind: str) -> Record | None:
    return next((line.record for line in lines if _kind(line) == kind and line.timed), None)


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
