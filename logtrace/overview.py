"""Gather from a store what a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from logtrace import stats
from logtrace.contents import ReportData
from logtrace.engine import Engine, Filters

if TYPE_CHECKING:
    import pandas as pd

NEWEST_FIRST = "coalesce(started_at, ended_at) DESC NULLS LAST, host, boot_id, first_seq DESC"
"""The order of runs in reports and tables."""


def gather(
    engine: Engine,
    filters: Filters,
    groupings: Sequence[Sequence[str]],
    *,
    zone: ZoneInfo,
    now: datetime,
    run_id: str | None = None,
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
    run_id
        Beginning of the id of the only run wanted.

    Returns
    -------
    ReportData
        The frames of the report.

    Raises
    ------
    QueryError
        If a grouping is unknown.
    """
    runs = engine.rows("runs", filters, order=NEWEST_FIRST)
    if run_id is not None:
        runs = runs[runs["run_id"].str.startswith(run_id)].reset_index(drop=True)
    timeline, width = stats.timeline(engine, filters)
    return ReportData(
        runs=runs,
        usage={",".join(by): stats.usage(engine, by, filters) for by in groupings},
        timeline=timeline,
        losses=_losses(engine, filters),
        tracer=engine.rows("tracer", filters, order='"at" DESC'),
        since=filters.since,
        until=filters.until,
        zone=zone,
        generated_at=now,
        width=width,
    )


def _losses(engine: Engine, filters: Filters) -> pd.DataFrame:
    return engine.rows("losses", filters, order="noticed_at DESC NULLS LAST, first_seq")
