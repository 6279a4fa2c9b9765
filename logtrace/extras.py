"""The extra lines of one run -> what it did with each call and each file.

A trace line says which options were in force and how many lines follow it, so that none
can be missing unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from logtrace.grammar import EXTRA_KINDS, Event
from logtrace.record import Record

_MOST_LINES = 10_000  # the module prints half as many at most
_CUT = "\\..."  # the end of a path that was longer than its line

Values = dict[str, Any]
"""Columns of a table in `logtrace.schema`."""


class Extras:
    """The extra lines of a run, in the order of the log.

    Parameters
    ----------
    order
        The place of the first one among all lines of the log.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.records: list[Record] = []
        self._events: list[Event] = []

    def add(self, record: Record, event: Event) -> bool:
        """Take the next line; say whether it was taken, as a run can't have any number."""
        if len(self._events) == _MOST_LINES:
            return False
        self.records.append(record)
        self._events.append(event)
        return True

    def disown(self) -> None:
        """Forget what the lines say, as it may be of another run."""
        self._events = []

    def callers(self) -> set[str | None]:
        """Give the tasks that printed the lines, where the log names them."""
        return {record.caller for record in self.records}

    def doubt(self) -> str | None:
        """Say why they can't be the lines of one run; None if they can."""
        places = [EXTRA_KINDS.index(event.kind) for event in self._events]
        if places.count(0) > 1:
            return "trace lines of several runs stand before its End line"
        if places != sorted(places):
            return "its extra lines are out of order"
        for kind, announced in self._announced():
            if len(self._of(kind)) > announced:
                return f"there are more {kind} lines than its trace line announces"
        return None

    def missing(self) -> Iterator[str]:
        """Say what of them is not there, or was cut."""
        if any(str(event.values["path"]).endswith(_CUT) for event in self._of("fd")):
            yield "a path is longer than a log line"
        if self._events and not self._of("trace"):
            yield "the trace line is missing"
        for kind, announced in self._announced():
            if missing := announced - len(self._of(kind)):
                verb = "is" if missing == 1 else "are"
                yield f"{missing} of its {announced} {kind} lines {verb} missing"

    def options(self) -> Values:
        """Give the columns of ``schema.RUNS`` that the trace line gives."""
        return {
            name: value
            for event in self._of("trace")
            for name, value in event.values.items()
            if not name.endswith("_lines")
        }

    def files(self) -> list[Values]:
        """Give the columns of ``schema.FILES`` that each fd line gives."""
        return [event.values for event in self._of("fd")]

    def calls(self) -> list[Values]:
        """Give the columns of ``schema.CALLS`` that each call line gives."""
        return [event.values for event in self._of("call")]

    def _of(self, kind: str) -> list[Event]:
        return [event for event in self._events if event.kind == kind]

    def _announced(self) -> Iterator[tuple[str, int]]:
        for trace in self._of("trace"):
            yield "call", int(trace.values["call_lines"])
            yield "fd", int(trace.values["fd_lines"])
