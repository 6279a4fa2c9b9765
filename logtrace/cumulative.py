"""Counters that a module never sets back: what of the printed totals is a run's own.

Here totals are taken apart where a dialect says ``cumulative = true``, and only where the log
shows the run before; `logtrace.sequences` finds them where nobody says so. `suspects` names
modules of which it may be true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from logtrace.dialects import COUNTERS

CALLS = tuple(name for name in COUNTERS if name.endswith("_calls"))
FEWEST_RUNS = 3
"""Runs of a module before it is suspected."""

_MOST_MODULES = 100

Row = dict[str, Any]


class Span(NamedTuple):
    """Where the lines of a run stand.

    Parameters
    ----------
    first, last
        Places of its first and last line among all trace lines.
    needed_from
        Number of the record from which a reader comes to know the run again.
    """

    first: int
    last: int
    needed_from: int


@dataclass(frozen=True, slots=True)
class _Last:
    totals: Mapping[str, int | None]
    span: Span


class Totals:
    """What modules that never set their counters back printed last."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str | None], _Last] = {}
        self._loaded: dict[str, Span] = {}

    @property
    def needed_from(self) -> int | None:
        """Number of the first record that is needed again to know all of it; None for none."""
        spans = [last.span for last in self._last.values()] + list(self._loaded.values())
        return min((span.needed_from for span in spans), default=None)

    def carry_on(self, first: int) -> None:
        """Go on in another log, of which `first` is the first record; what was before is needed."""
        self._last = {
            key: _Last(last.totals, last.span._replace(needed_from=first))
            for key, last in self._last.items()
        }
        self._loaded = {
            dialect: span._replace(needed_from=first) for dialect, span in self._loaded.items()
        }

    def forget(self) -> None:
        """Know nothing more, as runs may have gone unseen."""
        self._last.clear()
        self._loaded.clear()

    def load(self, dialect: str, span: Span) -> None:
        """Let the module of a dialect begin at zero."""
        self._last = {key: last for key, last in self._last.items() if key[0] != dialect}
        self._loaded[dialect] = span

    def take_apart(self, row: Row, dialect: str, span: Span) -> None:
        """Turn the totals of a run into what is its own.

        Parameters
        ----------
        row
            Of ``schema.RUNS``. Its counters go to the columns ``raw_*``, and become the
            differences to the run before; null, and the run ``ambiguous``, where that is
            not known or was open at the same time.
        dialect
            That of the lines with the totals.
        span
            Where its lines stand.
        """
        key = dialect, row.get("owner")
        raw = {name: row.get(name) for name in COUNTERS}
        row |= {f"raw_{name}": value for name, value in raw.items()}
        before, doubt = self._before(key, span)
        own = {name: _less(value, before.get(name)) for name, value in raw.items()}
        if doubt is None and any((own[name] or 0) < 0 for name in CALLS):
            own = raw  # calls can't become fewer: it was loaded anew
        row |= own
        if any(own[name] is None for name, value in raw.items() if value is not None):
            row["status"] = "ambiguous"
            doubt = doubt or "the run before it lacks some of its counters"
            row["note"] = "; ".join(filter(None, (doubt, row["note"])))
        self._last.pop(key, None)
        if any(value is not None for value in raw.values()):
            self._last[key] = _Last(raw, span)
        while len(self._last) > _MOST_MODULES:
            del self._last[next(iter(self._last))]

    # Totals before a run, and why they are not known.
    def _before(
        self, key: tuple[str, str | None], span: Span
    ) -> tuple[Mapping[str, int | None], str | None]:
        last, loaded = self._last.get(key), self._loaded.get(key[0])
        before = last.span if last else loaded
        if before is None:
            return {}, "its counters are totals of all runs, and those before it are not known"
        if before.last > span.first:
            return {}, "its counters are totals of all runs, and another was open beside it"
        return (last.totals if last else dict.fromkeys(COUNTERS, 0)), None


def _less(value: int | None, before: int | None) -> int | None:
    return None if value is None or before is None else value - before


class Suspect(NamedTuple):
    """A module that may never set its counters back.

    Parameters
    ----------
    owner, dialect
        Of its runs.
    runs
        How many.
    repeats
        Whether every run adds the same, as one program run over and over does.
    """

    owner: str | None
    dialect: str | None
    runs: int
    repeats: bool


def suspects(rows: Iterable[Mapping[str, Any]]) -> list[Suspect]:
    """Find modules of which no counter ever goes down.

    Parameters
    ----------
    rows
        Runs of one machine, of ``schema.RUNS``, in the order of the log.

    Returns
    -------
    list of Suspect
        Those with `FEWEST_RUNS` runs or more, whose every run has counters at least as high
        as the run before it, and some higher. Programs that do more each time look the same.
    """
    modules: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
    for row in rows:
        counters = tuple(row.get(name) for name in COUNTERS)
        if row["status"] == "complete" and row.get(f"raw_{COUNTERS[0]}") is None:
            key = row["boot_id"], row.get("owner"), row["dialect"]
            modules.setdefault(key, []).append(tuple(value or 0 for value in counters))
    return [
        Suspect(owner, dialect, len(runs), _repeats(runs))
        for (_, owner, dialect), runs in modules.items()
        if len(runs) >= FEWEST_RUNS and _only_grows(runs)
    ]


def _only_grows(runs: list[tuple[int, ...]]) -> bool:
    return all(
        new != old and all(after >= before for before, after in zip(old, new, strict=True))
        for old, new in pairwise(runs)
    )


def _repeats(runs: list[tuple[int, ...]]) -> bool:
    return all(
        run == tuple(number * value for value in runs[0]) for number, run in enumerate(runs, 1)
    )
