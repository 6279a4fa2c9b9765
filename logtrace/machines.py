"""Records of several machines -> rows of each, as in the file of a central syslog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from logtrace import grammar, schema
from logtrace.incidents import IncidentAssembler
from logtrace.record import Loss, Record
from logtrace.runs import Row, Rows, RunAssembler

if TYPE_CHECKING:
    import pyarrow as pa

MOST_IDLE = 1000
"""How many machines with nothing open are remembered; one that is forgotten begins anew."""


@dataclass
class Found:
    """What the records of a machine gave.

    Parameters
    ----------
    rows
        Of its runs and losses.
    incidents
        Rows of ``schema.INCIDENTS``.
    tables
        More runs: tables of ``schema.TABLES["runs"]``.
    """

    rows: Rows = field(default_factory=Rows.none)
    incidents: list[Row] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, (*self.rows, self.incidents, *self.tables)))

    @property
    def runs(self) -> list[Row] | pa.Table:
        """All runs: rows, or one such table."""
        if not self.tables:
            return self.rows.runs
        import pyarrow as pa

        return pa.concat_tables([*self.tables, self._table()])

    def pack(self) -> None:
        """Make a table of the rows of runs, which take ten times its room."""
        if self.rows.runs:
            self.tables.append(self._table())
            self.rows.runs.clear()

    def _table(self) -> pa.Table:
        return schema.to_table(self.rows.runs, schema.TABLES["runs"])

    def add(self, other: Found) -> None:
        """Put what was found later behind this."""
        self.rows.add(other.rows)
        self.incidents += other.incidents
        self.tables += other.tables


class Batch(NamedTuple):
    """What a stretch of a log gave.

    Parameters
    ----------
    seen
        Number of its last record; -1 if there was none up to there.
    records
        How many records it has.
    found
        What was found of each machine, by its name.
    is_last
        Whether the log ends with it; then it has what was open at the end.
    """

    seen: int
    records: int
    found: dict[str, Found]
    is_last: bool = False


class Machines:
    """Join the lines of the runs and incidents of each machine that speaks in a log.

    Parameters
    ----------
    host
        The machine of the records that name none.
    seen
        Tells up to which sequence number the rows of a machine were stored before.
    known
        What understands lines. Default: the dialects built in and those that users added.
    """

    def __init__(
        self,
        host: str,
        seen: Callable[[str], int] = lambda _host: -1,
        known: grammar.Grammar | None = None,
    ) -> None:
        self._host = host
        self._seen = seen
        self._known = known or grammar.default()
        self._assemblers: dict[str, tuple[RunAssembler, IncidentAssembler]] = {}
        self._most = MOST_IDLE

    def feed(self, items: Iterable[Record | Loss]) -> dict[str, Found]:
        """Take the next records.

        Parameters
        ----------
        items
            Records and losses in the order of the log; a loss is of `host`.

        Returns
        -------
        dict
            What was found of each machine that spoke, by its name.
        """
        spoken: dict[str, list[Record | Loss]] = {}
        for item in items:
            named = item.host if isinstance(item, Record) else None
            spoken.setdefault(named or self._host, []).append(item)
        found = {}
        for host, own in spoken.items():
            runs, incidents = self._of(host)
            found[host] = Found(runs.feed(own), incidents.feed(own))
        self._forget_idle()
        return found

    def finish(self, end: int) -> Iterator[tuple[str, Found]]:
        """Close what is still open at the end of a finished log.

        Parameters
        ----------
        end
            The position behind the last record; what was stored up to there is left out.

        Yields
        ------
        tuple
            A machine, and what was found of it.
        """
        for host, (runs, incidents) in self._assemblers.items():
            if runs.seen < end:
                yield host, Found(runs.finish(), incidents.finish())

    # The one that spoke last stands last.
    def _of(self, host: str) -> tuple[RunAssembler, IncidentAssembler]:
        assemblers = self._assemblers.pop(host, None)
        if assemblers is None:
            seen = self._seen(host)
            assemblers = RunAssembler(host, seen, self._known), IncidentAssembler(host, seen)
        self._assemblers[host] = assemblers
        return assemblers

    def _forget_idle(self) -> None:
        if len(self._assemblers) <= self._most:
            return
        for host, each in list(self._assemblers.items())[:-MOST_IDLE]:
            if all(assembler.resume_before is None for assembler in each):
                del self._assemblers[host]
        self._most = len(self._assemblers) + MOST_IDLE
