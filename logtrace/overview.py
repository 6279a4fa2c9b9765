"""Gather from a store what a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from logtrace import coverage, cube, findings, history, hosts, schema, stats
from logtrace.contents import NEAR, Flow, OfPages, ReportData, completeness, pages_of
from logtrace.engine import NEWEST_FIRST, OF_RUNS, Engine, Filters, Measure
from logtrace.errors import QueryError
from logtrace.incident_list import incidents
from logtrace.lines import as_logged

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.config import HostRules, Thresholds

_BY_RUN = "host, boot_id, ended_seq, run_id, "
_ORDER_OF_DETAILS = {
    "files": _BY_RUN + 'descriptor, "path"',
    "calls": _BY_RUN + 'time_ns DESC, "call"',
}

_ROWS = Measure("rows", "count(*)", 'sum("rows")::BIGINT')

_NAMED = 5  # of the runs that a beginning of an id fits


def gather(
    engine: Engine,
    filters: Filters,
    groupings: Sequence[Sequence[str]],
    *,
    zone: ZoneInfo,
    now: datetime,
    most_runs: int | None = None,
    pages: bool = False,
    thresholds: Thresholds | None = None,
    rules: HostRules | None = None,
) -> ReportData:
    """Query everything that a report on a range shows.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.
    groupings
        What to total the runs by, each a sequence of names out of ``stats.KEYS``.
    zone
        The zone in which the report shows times.
    now
        When it is made.
    most_runs
        How many runs, the newest, the frames of the report list and detail, and that their
        findings are those of most weight; everything else is of all runs, the flows too.
    pages
        Whether runs have pages of their own.
    thresholds
        From where on something is a finding.
    rules
        From where on a machine is silent, and a clock off.

    Returns
    -------
    ReportData
        The frames of the report.

    Raises
    ------
    QueryError
        If a grouping is unknown.
    """
    import pandas as pd

    before = stats.period_before(filters, now)
    totalled = stats.statistics_of_each(engine, groupings, filters, before)
    usage = {",".join(by): frame for by, frame in zip(groupings, totalled, strict=True)}
    timeline, width = stats.timeline(engine, filters, next(iter(totalled), None))
    runs = engine.newest_runs(filters, most_runs)
    listed = None if most_runs is None else runs["run_id"]
    details = {
        table: engine.rows(table, filters, order=order, among=listed)
        for table, order in _ORDER_OF_DETAILS.items()
    }
    programs = history.of_store(engine)
    counts, heaviest = findings.survey(engine, filters, thresholds, programs)
    totals = stats.totals(engine, filters)
    paged = runs.head(pages_of(totals["runs"]) if pages else 0)
    aside = engine.set_aside(pd.concat([heaviest, paged["run_id"]]))
    among = "facts" if most_runs is None else aside
    losses = engine.rows("losses", filters, order="noticed_at DESC NULLS LAST, first_seq")
    watched = coverage.known(engine, filters, now)
    spans = coverage.of_rows(watched, filters, now)
    by_boot = stats.by_boot(engine, filters)
    missing = completeness(by_boot, losses, spans)
    faults = incidents(engine, filters)
    return ReportData(
        runs=runs,
        usage=usage,
        timeline=timeline,
        losses=losses,
        tracer=_of_modules(engine.rows("tracer", filters, order='"at" DESC')),
        since=filters.since,
        until=filters.until,
        zone=zone,
        generated_at=now,
        width=width,
        totals=totals,
        reasons=stats.reasons(engine, filters),
        coverage=spans,
        completeness=missing,
        cube=cube.of_store(engine, filters, groupings, timeline, width),
        stands_out=counts,
        findings=findings.of_runs(engine, filters, thresholds, programs, among, [*counts["rule"]]),
        incidents=faults,
        of_pages=_of_pages(engine, filters, aside, programs) if pages else None,
        files=details["files"],
        calls=details["calls"],
        hosts=hosts.of_store(
            engine,
            filters,
            now,
            by_boot=by_boot,
            completeness=missing,
            incidents=faults,
            tracer=watched,
            rules=rules,
        )
        if is_of_many(engine, filters)
        else None,
        flows=_flows(engine, filters, thresholds, programs),
    )


# They are long: what is written of them passes by in batches.
def _flows(
    engine: Engine, filters: Filters, thresholds: Thresholds | None, programs: history.History
) -> dict[str, Flow]:
    flows: dict[str, Flow] = {
        "runs": partial(engine.rows_in_batches, "runs", filters, order=NEWEST_FIRST),
        "findings": partial(findings.in_batches, engine, filters, thresholds, programs),
    }
    for name in OF_RUNS:
        if engine.aggregate({}, [_ROWS], filters, table=name)["rows"].iloc[0]:
            order = _ORDER_OF_DETAILS[name]
            flows[name] = partial(engine.rows_in_batches, name, filters, order=order)
    return flows


def machines(
    engine: Engine, filters: Filters, now: datetime, rules: HostRules | None = None
) -> pd.DataFrame:
    """Say how each machine stands.

    Parameters
    ----------
    engine, filters, now, rules
        As of `gather`.

    Returns
    -------
    pandas.DataFrame
        As `logtrace.hosts.of_store` gives it.
    """
    watched = coverage.known(engine, filters, now)
    by_boot = stats.by_boot(engine, filters)
    losses = engine.rows("losses", filters)
    spans = coverage.of_rows(watched, filters, now)
    return hosts.of_store(
        engine,
        filters,
        now,
        by_boot=by_boot,
        completeness=completeness(by_boot, losses, spans),
        incidents=incidents(engine, filters),
        tracer=watched,
        rules=rules,
    )


def is_of_many(engine: Engine, filters: Filters) -> bool:
    """Say whether a report may be of more than one machine."""
    return filters.host is None and len(engine.store.hosts()) > 1


# What only the pages of runs show.
def _of_pages(engine: Engine, filters: Filters, aside: str, programs: history.History) -> OfPages:
    around = replace(filters, owner=None, comm=None, file=None, pid=None, status=None, run=None)
    if around.since:
        around = replace(around, since=around.since - NEAR)
    if around.until:
        around = replace(around, until=around.until + NEAR)
    columns = {name: f'"{name}"' for name in (*schema.RUNS.names, "lines")}
    logged = engine.select(columns, among=aside)
    return OfPages(
        lines={row["run_id"]: as_logged(row) for row in schema.to_rows(logged)},
        near=incidents(engine, around),
        history=programs,
    )


# The others are of the watch, and tell what is known.
def _of_modules(tracer: pd.DataFrame) -> pd.DataFrame:
    return tracer[tracer["module"].notna()].reset_index(drop=True)


def narrow_to_run(engine: Engine, filters: Filters, beginning: str) -> Filters:
    """Narrow filters to one run, and to the log that tells of it.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Among which runs to look.
    beginning
        The beginning of the run's id.

    Returns
    -------
    Filters
        The filters of that run; nothing fits them if there is none.

    Raises
    ------
    QueryError
        If the ids of several runs begin so.
    """
    wanted = replace(filters, run=beginning.lower())
    runs = engine.rows("runs", wanted, order="run_id", limit=_NAMED + 1)
    ids = list(dict.fromkeys(runs["run_id"]))
    if len(ids) > 1:
        named = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
        raise QueryError(f"run {beginning}: several runs begin so: {named}", "add a digit")
    if not ids:
        return wanted
    run = runs.iloc[0]
    boot = run["boot_id"] if isinstance(run["boot_id"], str) else filters.boot
    return replace(wanted, run=ids[0], host=run["host"], source=run["source"], boot=boot)
