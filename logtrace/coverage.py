"""For which part of the time programs could have been traced: rows of the tracer -> spans.

Only a watch sees modules come and go. So what is known is between the first and the last
row of one watch; everything else is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace.engine import Measure

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.engine import Engine, Filters
    from logtrace.store import Store

NEEDED = frozenset({"ftracehooking", "iotracehooking"})
"""The modules that print the lines of runs only together."""

TRACED, UNTRACED, UNKNOWN = "traced", "untraced", "unknown"

Row = Mapping[str, Any]

# of a watch only the last row that says `alive` says something
_KEYS = {
    name: f'"{name}"'
    for name in ("host", "boot_id", "watch", "action", "module", "kernel", "version", "srcversion")
} | {"when": "CASE WHEN action <> 'alive' THEN \"at\" END"}
_AT = Measure("at", 'max("at")', 'max("at")')


class Span(NamedTuple):
    """A stretch of time of one machine.

    Parameters
    ----------
    host
        The machine.
    start, end
        The range ``[start, end)``, UTC.
    state
        ``traced`` (programs could be), ``untraced`` (not all modules were loaded), or
        ``unknown`` (nobody watched).
    kernel
        Release of the kernel that had the modules; None where it was not traced.
    version
        Source version of ``iotracehooking``, where known.
    boot_id
        The boot that it was watched in; None where nobody watched.
    """

    host: str
    start: datetime
    end: datetime
    state: str
    kernel: str | None = None
    version: str | None = None
    boot_id: str | None = None


class _Known(NamedTuple):
    state: str
    kernel: str | None = None
    version: str | None = None
    boot_id: str | None = None


def coverage(tracer: Iterable[Row], since: datetime | None, until: datetime) -> list[Span]:
    """Say for each part of a range whether programs could have been traced.

    Parameters
    ----------
    tracer
        Rows of ``schema.TRACER`` of any machines, also those before the range: they say
        what was loaded at its beginning. Those of one watch between the first and last
        that are ``alive`` say nothing more and may be left out.
    since, until
        The range ``[since, until)``, aware; without `since` it begins at each machine's
        first row.

    Returns
    -------
    list of Span
        By machine, then time; neighbours differ, and together they are the whole range
        of every machine that has rows.
    """
    watches: dict[str, dict[tuple[Any, Any], list[Row]]] = {}
    for row in tracer:
        of_host = watches.setdefault(row["host"], {})
        of_host.setdefault((row["boot_id"], row["watch"]), []).append(row)
    spans: list[Span] = []
    for host, of_host in sorted(watches.items()):
        known = [span for rows in of_host.values() for span in _of_watch(host, rows)]
        begin = since or min(row["at"] for rows in of_host.values() for row in rows)
        spans += _merge(_join(host, known, begin, until))
    return spans


def of_store(engine: Engine, filters: Filters, now: datetime) -> pd.DataFrame:
    """Say it of the machines of a store.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which machines and boots, and the range.
    now
        Where a range without end, or with one that is still to come, ends.

    Returns
    -------
    pandas.DataFrame
        Columns of `Span`; no row of a machine that no watch was run on.
    """
    return of_rows(known(engine, filters, now), filters, now)


def known(engine: Engine, filters: Filters, now: datetime) -> list[Row]:
    """Give what watches have told of the modules of the machines of a store.

    Parameters
    ----------
    engine, filters, now
        As of `of_store`.

    Returns
    -------
    list of mappings
        Rows of ``schema.TRACER`` up to the end of the range, by time; of those of a watch that are
        ``alive`` the last one.
    """
    until = min(filters.until or now, now)
    rows = engine.aggregate(
        _KEYS, (_AT,), replace(filters, since=None, until=until), order='"at"', table="tracer"
    )
    plain = rows.drop(columns="when").astype(object)
    found: list[Any] = plain.where(plain.notna(), None).to_dict("records")
    return found + _going_on(found, engine.store, now)


def of_rows(rows: Iterable[Row], filters: Filters, now: datetime) -> pd.DataFrame:
    """Say it of what `known` gave.

    Parameters
    ----------
    rows, filters, now
        As of `known`.

    Returns
    -------
    pandas.DataFrame
        What `of_store` gives.
    """
    until = min(filters.until or now, now)
    if filters.since and filters.since >= until:
        return to_frame([])
    return to_frame(coverage(rows, filters.since, until))


# A watch that nothing happens to writes nothing.
def _going_on(rows: Iterable[Row], store: Store, now: datetime) -> list[Row]:
    last = {(row["host"], row["watch"]): row for row in rows}
    return [
        {**row, "at": now, "module": None, "action": "alive"}
        for (host, watch), row in last.items()
        if row["action"] != "end" and watch is not None and store.is_watched(host, watch)
    ]


def to_frame(spans: Iterable[Span]) -> pd.DataFrame:
    """Give spans as a frame with the columns of `Span`; times UTC."""
    import pandas as pd

    frame = pd.DataFrame(list(spans), columns=list(Span._fields))
    times = dict.fromkeys(("start", "end"), "datetime64[us, UTC]")
    texts = dict.fromkeys(("host", "state", "kernel", "version", "boot_id"), "string")
    return frame.astype(times | texts)


# What one watch knew, from its first row to its last.
def _of_watch(host: str, rows: list[Row]) -> Iterator[Span]:
    loaded: dict[str, Row] = {}
    rows = sorted(rows, key=lambda row: row["at"])
    for row, following in pairwise(rows):
        if row["action"] in ("present", "add"):
            loaded[row["module"]] = row
        elif row["action"] == "remove":
            loaded.pop(row["module"], None)
        known = _Known(UNTRACED, boot_id=row["boot_id"])
        if loaded.keys() >= NEEDED:
            counts = loaded["iotracehooking"]
            known = _Known(TRACED, counts["kernel"], counts["srcversion"], row["boot_id"])
        yield Span(host, row["at"], following["at"], *known)


# Several watches at once know the same; where their clocks differ, what one saw traced was.
def _join(host: str, known: list[Span], since: datetime, until: datetime) -> Iterator[Span]:
    known = [span for span in known if span.start < span.end]
    edges = {edge for span in known for edge in (span.start, span.end)}
    cuts = sorted({edge for edge in edges if since < edge < until} | {since, until})
    waiting = sorted(known, key=lambda span: span.start, reverse=True)
    going: list[Span] = []
    for start, end in pairwise(cuts):
        while waiting and waiting[-1].start <= start:
            going.append(waiting.pop())
        going = [span for span in going if span.end > start]
        best = min(going, key=lambda span: span.state, default=None)  # traced before untraced
        state = best[3:] if best else _Known(UNKNOWN)
        yield Span(host, start, end, *state)


def _merge(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1][3:] == span[3:]:
            merged[-1] = merged[-1]._replace(end=span.end)
        else:
            merged.append(span)
    return merged
