"""Records -> incidents: a state machine that gathers the lines of each of the kernel's reports.

A report begins with a line of its type's form, or with ``cut here``, and ends with ``end
trace``, with the next report, or where none of its lines came for a while. Lines of others
stand between its own: where the kernel prints who called, that tells them apart, else what
a line looks like. What can't be told apart is marked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from logtrace import incident_grammar as grammar
from logtrace.grammar import looks_like_trace
from logtrace.record import Loss, Record, is_of_another_boot, printable

_QUIET_US = 1_000_000  # a report is printed in one go
_QUIET_RECORDS = 200  # the same where there is no clock
_MOST_LINES = 1000
_LONGEST_LINE = 2000
_MOST_OPEN = 64
_MOST_UNSURE = 200
_MOST_AT_ONCE = 8
_FRAMES = 5  # of the trace that make the fingerprint
_DETAILS = ("cpu", "pid", "comm")
# Types that an interrupt finds: it happened in what the interrupt stopped
_HELD_UP = frozenset({"soft_lockup", "hard_lockup", "rcu_stall"})
# A line of the first kind, directly behind which one of the second tells more of the same
_GOES_ON = {"bug": "oops", "page_fault": "oops", "kasan": "kasan"}

Row = dict[str, Any]
"""A row of ``schema.INCIDENTS``."""


@dataclass(slots=True, eq=False)
class _Report:
    first: Record
    last: Record
    place: int  # counts records, at its last line
    usec: int | None = None  # the latest; a processor that was held up has a clock that is late
    kind: str | None = None  # None behind ``cut here``, until its type is known
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    unsure: list[tuple[Record, str]] = field(default_factory=list)  # its own if more comes
    cut: bool = False
    bracketed: bool = False  # it has an end, ``end trace``
    died: bool = False  # behind its end the registers come once more
    asks: bool = False  # other processors print a part of it
    repeats: bool = False  # they have begun
    ended: bool = False
    mixed: bool = False
    known: dict[str, Any] = field(default_factory=dict)
    frames: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def only_line(self) -> str | None:
        return self.lines[0] if self.kind is None and len(self.lines) == 1 else None

    @property
    def unfinished(self) -> bool:
        return self.bracketed and not self.ended

    def add(self, record: Record, text: str, sign: grammar.Sign, place: int) -> None:
        for before, line in self.unsure:
            self._keep(before, line)
        self.unsure.clear()
        self._keep(record, text)
        self.place = place
        is_head = sign.kind is not None and self.kind is None
        if is_head:
            self.kind, self.message = sign.kind, text
        self.bracketed |= sign.part in ("cut", "death")
        self.died |= sign.part == "death"
        self.asks |= sign.part == "asks"
        self.repeats |= self.ended and sign.part == "summary"
        if not self.ended and (is_head or not self.mixed):
            self._learn(sign)

    def goes_on_with(self, sign: grammar.Sign) -> bool:
        """Whether a line that may begin a report tells more of this one."""
        if self.kind is None:
            return True
        begun = not (self.died or self.frames or "place" in self.known)
        return begun and _GOES_ON.get(self.kind) == sign.kind

    def add_unsure(self, record: Record, text: str) -> None:
        if len(self.unsure) < _MOST_UNSURE:
            self.unsure.append((record, text))
        else:
            self.unsure.clear()

    def _keep(self, record: Record, text: str) -> None:
        self.last = record
        if record.usec is not None:
            self.usec = max(self.usec or 0, record.usec)
        self.cut |= record.truncated or len(text) > _LONGEST_LINE
        if len(self.lines) < _MOST_LINES:
            self.lines.append(printable(text[:_LONGEST_LINE]))
        else:
            self.cut = True

    def _learn(self, sign: grammar.Sign) -> None:
        if sign.part == "victim" and self.kind != "oom_kill":
            return
        for name in _DETAILS:
            value = getattr(sign, name)
            if value is not None and (sign.part == "victim" or name not in self.known):
                self.known[name] = value
        if sign.part == "backtrace":
            self.frames.clear()
        if sign.function is None:
            if sign.module:
                self.known["place"] = (None, None, sign.module)
            return
        if sign.part != "frame":
            if "place" in self.known or (self.frames and self.kind not in _HELD_UP):
                return  # what the interrupt stopped in which it happened
            self.frames.clear()
            self.known["place"] = (grammar.source_name(sign.function), sign.offset, sign.module)
        elif len(self.frames) < _MOST_LINES and grammar.tells_something(sign.function):
            self.frames.append((grammar.source_name(sign.function), sign.module))

    # Function, offset and module. What the kernel's own functions found, those who called them did.
    def where(self) -> tuple[str | None, int | None, str | None]:
        function, offset, module = self.known.get("place", (None, None, None))
        if function is None and self.frames:
            function = self.frames[0][0]
        if self.kind != "oom_kill":  # who asked for memory did nothing wrong
            module = module or next((name for _, name in self.frames if name), None)
        return function, offset, module


class IncidentAssembler:
    """Gather the lines of incidents.

    Parameters
    ----------
    host
        Name of the machine whose log it is.
    seen
        Sequence number up to which rows were stored before: what ended up to there is
        left out.
    """

    def __init__(self, host: str, seen: int = -1) -> None:
        self._host = host
        self.seen = seen
        # of one caller, nearly always one; several callers may print the same
        self._open: dict[str | None, list[_Report]] = {}
        self._needed_from = 0
        self._place = 0
        self._before: Record | None = None  # the last of the kernel

    @property
    def resume_before(self) -> int | None:
        """Sequence number of the first record that is needed again; None if nothing is open."""
        return self._needed_from if self._open else None

    @property
    def waits(self) -> bool:
        """Whether a report is open, so that any record may tell something."""
        return bool(self._open)

    def feed(self, items: Iterable[Record | Loss]) -> list[Row]:
        """Take the next records.

        Parameters
        ----------
        items
            Records and losses of one source, in the order of the log.

        Returns
        -------
        list of dict
            Rows of ``schema.INCIDENTS``, in the order in which the incidents ended.
        """
        rows: list[Row] = []
        for item in items:
            if isinstance(item, Loss):
                self._lose()
                continue
            if not (self._open or grammar.may_begin(item.text)):
                continue
            ended: list[Row] = []
            self._take(item, ended)
            if item.seq > self.seen:
                rows += ended
        return rows

    def finish(self) -> list[Row]:
        """Give what is still open at the end of a finished log, as `feed` does."""
        rows: list[Row] = []
        self._close_all(None, rows)
        return rows

    # Lines of any report that goes on may be among what was lost.
    def _lose(self) -> None:
        for reports in self._open.values():
            for report in reports:
                report.cut |= not report.ended

    def _take(self, record: Record, rows: list[Row]) -> None:
        self._place += 1
        self._close_quiet(record, rows)
        if not record.from_kernel:
            return
        before, self._before = self._before, record
        if before and (before.source != record.source or is_of_another_boot(before, record)):
            self._close_all(record.seq, rows)
        # a name that somebody chose may hold lines: what begins, begins with the record
        may_begin = True
        for text in record.text.split("\n"):
            self._take_line(record, text, rows, may_begin=may_begin)
            may_begin = may_begin and not text.strip()

    def _take_line(self, record: Record, text: str, rows: list[Row], *, may_begin: bool) -> None:
        sign = grammar.parse(text)
        reports = self._open.get(record.caller, [])
        if reports and all(_is_over(report, sign) for report in reports):
            self._close(record.caller, record.seq, rows)
            reports = []
        if sign and sign.part == "answers" and not reports:
            reports = self._asked(record)
        if sign is None:
            for report in reports:
                self._take_unknown(report, record, text)
        elif sign.kind in grammar.ONE_LINE:
            if may_begin:
                rows.append(self._row(self._begun(record, text, sign), record.seq))
        elif _begins(reports, sign):
            if may_begin:
                self._begin(reports, record, text, sign, rows)
        elif reports:
            self._go_on(reports, record, text, sign, rows)

    # Where the caller is printed: a processor tells its call trace for a report of another.
    def _asked(self, record: Record) -> list[_Report]:
        asked = [
            reports
            for reports in self._open.values()
            if any(report.asks and not report.ended for report in reports)
        ]
        if not asked or len(self._open) >= _MOST_OPEN:
            return []
        return self._open.setdefault(record.caller, asked[-1])

    def _take_unknown(self, report: _Report, record: Record, text: str) -> None:
        if report.last is record:  # of several lines
            report.add(record, text, grammar.Sign(), self._place)
        elif not report.ended and (
            # behind ``cut here`` stands the message of who warns
            (report.only_line == grammar.CUT_HERE and not report.unsure)
            or (report.unsure and report.unsure[-1][0] is record)
            or record.caller is not None
            or not (grammar.is_of_others(text) or looks_like_trace(text))
        ):
            report.add_unsure(record, text)

    def _go_on(
        self, reports: list[_Report], record: Record, text: str, sign: grammar.Sign, rows: list[Row]
    ) -> None:
        going_on = [report for report in reports if not report.ended]
        untyped = [report for report in going_on if report.kind is None]
        for report in reports:
            of_another = sign.kind is not None and report in untyped[1:]
            report.add(record, text, grammar.Sign() if of_another else sign, self._place)
        if going_on and _ends(going_on[0], sign):
            going_on[0].ended = True
        last = sign.part == "last"
        if all(report.ended and (last or not report.died) for report in reports):
            self._close(record.caller, record.seq, rows)

    # Two processors report at the same time: whose the lines are that come is not known.
    def _begin(
        self,
        reports: list[_Report],
        record: Record,
        text: str,
        sign: grammar.Sign,
        rows: list[Row],
    ) -> None:
        at_once = (
            record.caller is None
            and sign.kind != "panic"  # which ends whatever was going on
            and any(report.unfinished for report in reports)
            and len(reports) < _MOST_AT_ONCE
        )
        if reports and not at_once:
            self._close(record.caller, record.seq, rows)
        elif len(self._open) == _MOST_OPEN:
            self._close(next(iter(self._open)), record.seq, rows)
        if not self._open:
            self._needed_from = record.seq
        together = self._open.setdefault(record.caller, [])
        for report in together:
            report.add(record, text, grammar.Sign(), self._place)
        together.append(self._begun(record, text, sign))
        for report in together:
            report.mixed = at_once

    def _begun(self, record: Record, text: str, sign: grammar.Sign) -> _Report:
        report = _Report(record, record, self._place)
        report.add(record, text, sign, self._place)
        return report

    def _close_quiet(self, record: Record, rows: list[Row]) -> None:
        for caller, reports in list(self._open.items()):
            if all(_is_quiet(report, record, self._place) for report in reports):
                self._close(caller, record.seq, rows)

    def _close_all(self, ended: int | None, rows: list[Row]) -> None:
        for caller in list(self._open):
            self._close(caller, ended, rows)

    # Nothing is known of what was cut here and has no type.
    def _close(self, caller: str | None, ended: int | None, rows: list[Row]) -> None:
        reports = self._open.get(caller, [])
        self._open = {other: rest for other, rest in self._open.items() if rest is not reports}
        rows += [self._row(report, ended) for report in reports if report.kind is not None]

    def _row(self, report: _Report, ended: int | None) -> Row:
        first = report.first
        function, offset, module = report.where()
        identity = (self._host, first.boot_id, first.source.rpartition("@")[2], first.seq)
        return {
            "host": self._host,
            "boot_id": first.boot_id,
            "incident_id": _digest(*identity, report.kind, report.message),
            "ended_seq": ended,
            "first_seq": first.seq,
            "last_seq": report.last.seq,
            "at": first.at,
            "us": first.usec,
            "clock": first.clock,
            "type": report.kind,
            **{name: _clean(report.known.get(name)) for name in _DETAILS},
            "module": module,
            "function": function,
            "offset": offset,
            "message": printable((report.message or "")[:_LONGEST_LINE]),
            "fingerprint": _fingerprint(report, function, module),
            "report": "\n".join(report.lines),
            "truncated": report.cut,
            "mixed": report.mixed,
            "source": first.source,
        }


def _begins(reports: list[_Report], sign: grammar.Sign) -> bool:
    if sign.part in ("cut", "preface"):
        before = reports[-1].only_line if reports else None
        return before is None or (before == grammar.CUT_HERE and sign.part == "cut")
    if sign.kind is None:
        return False
    return all(report.ended or not report.goes_on_with(sign) for report in reports)


def _ends(report: _Report, sign: grammar.Sign) -> bool:
    if sign.part == "rule":
        return report.kind in grammar.RULED
    return sign.part == "end" or (sign.part == "victim" and report.kind == "oom_kill")


# What keeps a log of the failure may print a line before the registers come once more.
def _is_over(report: _Report, sign: grammar.Sign | None) -> bool:
    if sign is None:
        return report.ended and (report.repeats or not report.died)
    return report.ended and sign.part not in ("summary", "last")


def _is_quiet(report: _Report, record: Record, place: int) -> bool:
    before, now = report.usec, record.usec
    late = before is not None and now is not None and now - before > _QUIET_US
    return late or place - report.place > _QUIET_RECORDS


# What stays the same in another boot, build or process: type, names of functions, module.
def _fingerprint(report: _Report, function: str | None, module: str | None) -> str:
    names = [name for name, _ in report.frames[:_FRAMES]]
    if function and grammar.tells_something(function) and function not in names:
        names = [function, *names][:_FRAMES]
    if not names:
        names = [grammar.without_numbers(report.message or "")]
    return _digest(report.kind, module, *names)


def _digest(*parts: object) -> str:
    text = "\n".join(map(str, parts))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _clean(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
