"""Records -> runs: a state machine that attributes a line only where the log leaves no doubt.

The stats and calls lines carry no pid. They belong to the End line behind them if they
stand between it and the End line before, once each; everything else is marked
``ambiguous``. What was lost, cut off or not understood becomes a `Loss`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from logtrace import grammar
from logtrace.record import Loss, Record, printable

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
    """

    runs: list[Row]
    losses: list[Row]


@dataclass(slots=True)
class _Line:
    record: Record
    event: grammar.Event | None  # None for a line of a run that was cut off


@dataclass(slots=True)
class _Run:
    lines: list[_Line]
    notes: list[str] = field(default_factory=list)
    ambiguous: bool = False


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
        self._unsure_ends = 0  # End lines that a mixed block still belongs to

    @property
    def open_runs(self) -> list[tuple[int, Record]]:
        """Pid and Start record of each run that has not ended."""
        return [(pid, run.lines[0].record) for pid, run in self._open.items()]

    @property
    def resume_before(self) -> int | None:
        """Sequence number of the oldest line still needed; None if none is."""
        lines = [run.lines[0] for run in self._open.values()] + self._block[:1]
        return min((line.record.seq for line in lines), default=None)

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
        rows = Rows([], [])
        for item in items:
            if isinstance(item, Loss):
                self._lose(item, rows if item.last_seq > self.seen else Rows([], []))
            else:
                self._take(item, rows if item.seq > self.seen else Rows([], []))
        return rows

    def finish(self) -> Rows:
        """Close what is still open at the end of a finished log.

        Returns
        -------
        Rows
            Runs without an End line, and stats lines that no End line followed.
        """
        rows = Rows([], [])
        if len(self._open) == 1 and self._is_one_run(self._block):
            (run,) = self._open.values()
            run.lines += self._block
            self._block = []
        self._flush_block(rows)
        for pid in list(self._open):
            self._close(self._open.pop(pid), rows, pid, "the log ends before its End line")
        return rows

    def _take(self, record: Record, rows: Rows) -> None:
        event = grammar.parse(record.text) if record.from_kernel else None
        if event is None:
            self._reject(record, rows)
        elif event.kind == "start":
            self._start(_Line(record, event), rows)
        elif event.kind == "end":
            self._end(_Line(record, event), rows)
        else:
            self._add_to_block(_Line(record, event), rows)

    def _reject(self, record: Record, rows: Rows) -> None:
        if not grammar.looks_like_trace(record.text):
            return
        if record.truncated:
            self._block.append(_Line(record, None))
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
        if (open_run := self._open.pop(pid, None)) is not None:
            self._close(open_run, rows, pid, "another Start of the same pid came before its End")
        self._open[pid] = _Run([line])

    def _add_to_block(self, line: _Line, rows: Rows) -> None:
        # a module that prints neither Start nor End: every stats line begins a run
        if not self._open and _kind(line) == "stats" and self._is_one_run(self._block):
            self._flush_block(rows)
        self._block.append(line)

    def _end(self, line: _Line, rows: Rows) -> None:
        pid = _pid(line)
        run = self._open.pop(pid, None) or _Run([])
        block, self._block = self._block, []
        cut = any(item.event is None for item in block)
        if self._unsure_ends and not block:
            self._unsure_ends -= 1
            run.ambiguous = True
            run.notes.append("its stats lines were mixed with those of another run")
        elif not block or self._is_one_run(block) or cut:
            run.lines += block
            self._compare_callers([*block, line], run)
        else:
            self._unsure_ends = max(_count(block, "stats"), _count(block, "ops")) - 1
            run.ambiguous = True
            run.notes.append("several runs' stats lines stand before its End line")
        run.lines.append(line)
        self._close(run, rows, pid)

    # The lines between are printed by one task: where the kernel says who, it must be one.
    def _compare_callers(self, lines: list[_Line], run: _Run) -> None:
        if len({line.record.caller for line in lines}) > 1:
            run.ambiguous = True
            run.notes.append("its lines were printed by different tasks")

    def _lose(self, loss: Loss, rows: Rows) -> None:
        rows.losses.append(self._loss_row(loss))
        self._flush_block(rows)
        for run in self._open.values():
            run.ambiguous = True
            run.notes.append(f"{loss.records} records were lost while it ran")

    @staticmethod
    def _is_one_run(block: list[_Line]) -> bool:
        return [_kind(line) for line in block] in (["stats", "ops"], ["stats"], ["ops"])

    # Stats lines that no End line claims: a run of their own if they are those of one run.
    def _flush_block(self, rows: Rows) -> None:
        block, self._block = self._block, []
        self._unsure_ends = 0
        if not any(line.event for line in block):
            return
        run = _Run([line for line in block if line.event])
        if self._open or not self._is_one_run(block):
            run.ambiguous = True
            run.notes.append("no End line says which run its stats lines belong to")
        self._close(run, rows, None)

    def _close(self, run: _Run, rows: Rows, pid: int | None, why: str | None = None) -> None:
        rows.runs.append(_run_row(self._host, run, pid, why))

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


def _kind(line: _Line) -> str:
    return line.event.kind if line.event else "cut"


def _count(block: list[_Line], kind: str) -> int:
    return sum(_kind(line) == kind for line in block)


def _pid(line: _Line) -> int:
    assert line.event is not None
    pid = line.event.values["pid"]
    assert isinstance(pid, int)
    return pid


def _run_row(host: str, run: _Run, pid: int | None, why: str | None) -> Row:
    lines = [line for line in run.lines if line.event is not None]
    first, last = lines[0].record, lines[-1].record
    values = _values(run, lines)
    status, missing = _status(run, lines)
    started = first if _kind(lines[0]) == "start" else None
    ended = last if _kind(lines[-1]) == "end" else None
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
        "dialect": max((line.event for line in lines if line.event), key=lambda e: e.rank).dialect,
        "status": status,
        "source": first.source,
        "run_id": _run_id(host, first),
        "note": "; ".join(filter(None, (*run.notes, *missing, why))) or None,
    }


# A mixed block's values are nobody's: an ambiguous run without an End keeps none of them.
def _values(run: _Run, lines: list[_Line]) -> Row:
    if run.ambiguous and _count(lines, "stats") + _count(lines, "ops") > 2:
        return {}
    values: Row = {}
    for line in lines:
        if line.event is not None and line.event.kind in ("stats", "ops"):
            values |= line.event.values
    return values


def _status(run: _Run, lines: list[_Line]) -> tuple[str, list[str]]:
    kinds = {_kind(line) for line in run.lines}
    name_cut = any(
        str(line.event.values.get("file", "")).endswith("\\...") for line in lines if line.event
    )
    found = {
        "ambiguous": (run.ambiguous, None),
        "truncated": (
            "cut" in kinds or name_cut or any(line.record.truncated for line in lines),
            "the file name is longer than a log line" if name_cut else "one of its lines is cut",
        ),
        "no_start": ("start" not in kinds, "the Start line is missing"),
        "no_end": ("end" not in kinds, "the End line is missing"),
        "no_stats": (
            not {"stats", "ops"} <= kinds,
            "the stats line is missing" if "stats" not in kinds else "the calls line is missing",
        ),
    }
    applying = [name for name, (applies, _) in found.items() if applies]
    notes = [note for applies, note in found.values() if applies and note]
    return (applying[0] if applying else "complete"), notes


def _run_id(host: str, first: Record) -> str:
    identity = f"{host}\n{first.boot_id}\n{first.source.rpartition('@')[2]}\n{first.seq}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
