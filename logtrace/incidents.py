"""Records -> incidents: a state machine that gathers the lines of each of the kernel's reports.

A report begins with a line of its type's form, or with ``cut here``, and ends with ``end
trace``, with the next report, or where none of its lines came for a while. Lines of others
stand between its own: where the kernel prints who called, that tells them apart, else only
lines of a report's forms are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from logtrace import incident_grammar as grammar
from logtrace.record import Loss, Record, printable

_QUIET_US = 1_000_000  # a report is printed in one go
_QUIET_RECORDS = 200  # the same where there is no clock
_MOST_LINES = 1000
_LONGEST_LINE = 2000
_MOST_OPEN = 64
_FRAMES = 5  # of the trace that make the fingerprint
_DETAILS = ("cpu", "pid", "comm")
# A line of the first kind, behind which one of the second tells more of the same
_GOES_ON = {
    "bug": {"oops"},
    "page_fault": {"oops"},
    "kasan": {"bug"},
}

Row = dict[str, Any]
"""A row of ``schema.INCIDENTS``."""


@dataclass(slots=True)
class _Report:
    first: Record
    last: Record
    place: int  # counts the items fed, at its last line
    kind: str | None = None  # None behind ``cut here``, until its type is known
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    cut: bool = False
    known: dict[str, Any] = field(default_factory=dict)
    frames: list[tuple[str, str | None]] = field(default_factory=list)

    def add(self, record: Record, text: str, sign: grammar.Sign, place: int) -> None:
        self.last, self.place = record, place
        self.cut |= record.truncated or len(text) > _LONGEST_LINE
        if len(self.lines) < _MOST_LINES:
            self.lines.append(printable(text[:_LONGEST_LINE]))
        else:
            self.cut = True
        for name in _DETAILS:
            value = getattr(sign, name)
            if value is not None and (sign.ends or name not in self.known):
                self.known[name] = value
        if sign.function is None:
            return
        if sign.frame:
            function = grammar.function_name(sign.function)
            if function and len(self.frames) < _FRAMES:
                self.frames.append((function, sign.module))
        elif "function" not in self.known:
            self.known |= {
                "function": sign.function,
                "offset": sign.offset,
                "module": sign.module,
            }


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
        self._open: dict[str | None, _Report] = {}
        self._needed_from = 0
        self._place = 0
        self._source: tuple[str, str | None] | None = None

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
                continue
            ended: list[Row] = []
            self._take(item, ended)
            if item.seq > self.seen:
                rows += ended
        return rows

    def finish(self) -> list[Row]:
        """Give what is still open at the end of a finished log, as `feed` does."""
        rows: list[Row] = []
        for caller in list(self._open):
            self._close(caller, None, rows)
        return rows

    def _take(self, record: Record, rows: list[Row]) -> None:
        self._place += 1
        if (record.source, record.boot_id) != self._source:
            self._source = record.source, record.boot_id
            for caller in list(self._open):
                self._close(caller, record.seq, rows)
        self._close_quiet(record, rows)
        if not record.from_kernel:
            return
        for text in record.text.split("\n"):
            self._take_line(record, text, rows)

    def _take_line(self, record: Record, text: str, rows: list[Row]) -> None:
        if not self._open and not grammar.may_begin(text):
            return
        sign = grammar.parse(text)
        caller = record.caller
        report = self._open.get(caller)
        if sign is None:
            # behind ``cut here`` stands the message of who warns
            if report and report.kind is None and caller is not None:
                report.add(record, text, grammar.Sign(), self._place)
            return
        if sign.kind in grammar.ONE_LINE:
            rows.append(self._row(_begun(record, text, sign, self._place), record.seq))
        elif text == grammar.CUT_HERE or _is_new(report, sign):
            self._begin(record, text, sign, rows)
        elif report:
            if sign.kind and report.kind is None:
                report.kind, report.message = sign.kind, text
            report.add(record, text, sign, self._place)
            if sign.ends:
                self._close(caller, record.seq, rows)

    def _begin(self, record: Record, text: str, sign: grammar.Sign, rows: list[Row]) -> None:
        if record.caller in self._open:
            self._close(record.caller, record.seq, rows)
        elif len(self._open) == _MOST_OPEN:
            self._close(next(iter(self._open)), record.seq, rows)
        if not self._open:
            self._needed_from = record.seq
        self._open[record.caller] = _begun(record, text, sign, self._place)

    def _close_quiet(self, record: Record, rows: list[Row]) -> None:
        for caller, report in list(self._open.items()):
            if _is_quiet(report, record, self._place):
                self._close(caller, record.seq, rows)

    # Nothing is known of what was cut here and has no type.
    def _close(self, caller: str | None, ended: int | None, rows: list[Row]) -> None:
        report = self._open.pop(caller)
        if report.kind is not None:
            rows.append(self._row(report, ended))

    def _row(self, report: _Report, ended: int | None) -> Row:
        first = report.first
        module = report.known.get("module")
        if "function" not in report.known and report.frames:
            module = report.frames[0][1]
            report.known["function"] = report.frames[0][0]
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
            "function": report.known.get("function"),
            "offset": report.known.get("offset"),
            "message": printable((report.message or "")[:_LONGEST_LINE]),
            "fingerprint": _fingerprint(report, module),
            "report": "\n".join(report.lines),
            "truncated": report.cut,
            "source": first.source,
        }


def _begun(record: Record, text: str, sign: grammar.Sign, place: int) -> _Report:
    report = _Report(record, record, place, sign.kind, text if sign.kind else None)
    report.add(record, text, sign, place)
    if sign.module and "module" not in report.known:
        report.known["module"] = sign.module
    return report


def _is_new(report: _Report | None, sign: grammar.Sign) -> bool:
    if sign.kind is None:
        return False
    if report is None:
        return True
    return report.kind is not None and sign.kind not in _GOES_ON.get(report.kind, ())


def _is_quiet(report: _Report, record: Record, place: int) -> bool:
    before, now = report.last.usec, record.usec
    late = before is not None and now is not None and now - before > _QUIET_US
    return late or place - report.place > _QUIET_RECORDS


# What stays the same in another boot, build or process: type, names of functions, module.
def _fingerprint(report: _Report, module: str | None) -> str:
    at = report.known.get("function")
    names = [name for name, _ in report.frames]
    if at and (name := grammar.function_name(at)) and name not in names:
        names = [name, *names][:_FRAMES]
    if not names:
        names = [grammar.without_numbers(report.message or "")]
    return _digest(report.kind, module, *names)


def _digest(*parts: object) -> str:
    text = "\n".join(map(str, parts))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _clean(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
