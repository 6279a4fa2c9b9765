"""What a report tells: the frames it is made from, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.cube import Cube
    from logtrace.history import History

Flow = Callable[[], "Iterator[pd.DataFrame]"]
"""Gives all rows of a table batch by batch, each time that it is called; at least one batch."""

NEAR = timedelta(minutes=1)
"""How long before and behind a run an incident may be to be near to it."""

MOST_RUN_PAGES = 10_000
"""Up to how many runs each has a page of its own."""

NEWEST_RUN_PAGES = 1_000
"""How many of more runs have one."""

TOTALS = (
    "runs",
    "incomplete",
    "unclocked",
    "hosts",
    "owners",
    "programs",
    "files",
    "read_bytes",
    "written_bytes",
)
"""The totals of a report; ``unclocked`` counts the runs without wall-clock time."""


@dataclass(frozen=True, eq=False)
class OfPages:
    """What only the pages of runs show.

    Parameters
    ----------
    lines
        What each run logged: ``run_id`` -> lines.
    near
        The view `logtrace.schema.HITS`: the incidents that may be near to the runs, whosever
        they are.
    history
        The other runs of their programs.
    """

    lines: Mapping[str, Sequence[str]]
    near: pd.DataFrame
    history: History


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report is made from. All times are UTC.

    Parameters
    ----------
    runs
        The table `logtrace.schema.RUNS`, newest first: every run, or, of very many, the newest.
    usage
        One frame a grouping, by its key (``owner``, or ``host,owner`` for two), as
        `logtrace.stats.statistics` gives it.
    timeline
        One row a bucket of time: ``start``, ``runs``, ``incomplete``, ``read_bytes``,
        ``written_bytes``.
    losses, tracer
        The tables `logtrace.schema.LOSSES` and `logtrace.schema.TRACER`.
    since, until
        The range that was asked for, ``[since, until)``; None where it has no bound.
    zone
        The zone in which every time is shown.
    generated_at
        When the report was made.
    width
        The width of a bucket of the timeline: ``1h``, ``1d``.
    totals
        The `TOTALS` over all runs; counted from ``runs`` where not given.
    reasons
        ``status``, ``note`` and ``runs`` for the incomplete ones among all runs; counted from
        ``runs`` where not given.
    files, calls
        The tables `logtrace.schema.FILES` and `logtrace.schema.CALLS` of the runs; None for none.
    coverage
        For which part of the range programs could have been traced: `logtrace.coverage.Span`.
    stands_out
        ``rule`` and ``runs``: how many runs each rule of `logtrace.findings` finds.
    findings
        What stands out in single runs, as `logtrace.findings.of_runs` gives it: everything, or
        that of most weight and of the runs with pages.
    incidents
        The view `logtrace.schema.HITS`, newest first.
    of_pages
        What only the pages of runs show; None without such pages.
    completeness
        What is missing of each host and boot, see `completeness`.
    cube
        The runs in cells, by which the page can be filtered; None for a page without filters
        and charts.
    hosts
        How each machine stands, as `logtrace.hosts.of_store` gives it; None where the report is of
        one machine.
    flows
        What gives all rows of ``runs`` and ``findings``, and of ``files`` and ``calls`` where they
        have some; the frames of these names may then have only what the pages show. None where
        the frames have everything.
    """

    runs: pd.DataFrame
    usage: dict[str, pd.DataFrame]
    timeline: pd.DataFrame
    losses: pd.DataFrame
    tracer: pd.DataFrame
    since: datetime | None
    until: datetime | None
    zone: ZoneInfo
    generated_at: datetime
    width: str
    totals: Mapping[str, int] | None = None
    reasons: pd.DataFrame | None = None
    files: pd.DataFrame | None = None
    calls: pd.DataFrame | None = None
    coverage: pd.DataFrame | None = None
    stands_out: pd.DataFrame | None = None
    findings: pd.DataFrame | None = None
    incidents: pd.DataFrame | None = None
    of_pages: OfPages | None = None
    completeness: pd.DataFrame | None = None
    cube: Cube | None = None
    hosts: pd.DataFrame | None = None
    flows: Mapping[str, Flow] | None = None

    def details(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Give the names and frames of the tables of details that have rows."""
        for name, frame in (("files", self.files), ("calls", self.calls)):
            if frame is not None and len(frame):
                yield name, frame

    def detailed(self) -> list[str]:
        """Name the tables of details that have rows, of whichever runs."""
        if self.flows is not None:
            return [name for name in ("files", "calls") if name in self.flows]
        return [name for name, _ in self.details()]


def totals_of(data: ReportData) -> dict[str, int]:
    """Give the totals of a report.

    Parameters
    ----------
    data
        The report's contents.

    Returns
    -------
    dict
        Each of `TOTALS`; bytes for the last two, counts for the others.
    """
    if data.totals is not None:
        return {name: int(data.totals[name]) for name in TOTALS}
    runs = data.runs
    return {
        "runs": len(runs),
        "incomplete": int((runs["status"] != "complete").sum()),
        "unclocked": int(times_of(runs).isna().sum()),
        "hosts": int(runs["host"].nunique()),
        "owners": int(runs["owner"].nunique()),
        "programs": int(runs["comm"].nunique()),
        "files": int(runs["file"].nunique()),
        "read_bytes": int(runs["read_bytes"].sum()),
        "written_bytes": int(runs["written_bytes"].sum()),
    }


def pages_of(runs: int) -> int:
    """Say how many of so many runs have a page of their own."""
    return runs if runs <= MOST_RUN_PAGES else NEWEST_RUN_PAGES


def times_of(runs: pd.DataFrame) -> pd.Series:
    """Give the time at which each run stands: its start or, where that was not seen, its end.

    Parameters
    ----------
    runs
        The table `logtrace.schema.RUNS`.

    Returns
    -------
    pandas.Series
        Times in UTC, null for a run without wall-clock time.
    """
    return runs["started_at"].fillna(runs["ended_at"])


def reasons_of(data: ReportData) -> pd.DataFrame:
    """Count the incomplete runs by what is missing of them and why.

    Parameters
    ----------
    data
        The report's contents.

    Returns
    -------
    pandas.DataFrame
        ``status``, ``note`` (str, null where none was noted) and ``runs`` (int), most first.
    """
    if data.reasons is not None:
        return data.reasons
    incomplete = data.runs[data.runs["status"] != "complete"]
    counted = incomplete.groupby(["status", "note"], dropna=False, observed=True).size()
    return (
        counted.reset_index(name="runs")
        .sort_values(["runs", "status"], ascending=[False, True])
        .reset_index(drop=True)
    )


# Of counts that are all unknown, the sum is too.
def _sum_of_known(counts: pd.Series) -> Any:
    return counts.sum(min_count=1)


def losses_by_place(losses: pd.DataFrame) -> pd.DataFrame:
    """Sum up what was lost by host, boot, source and reason.

    Parameters
    ----------
    losses
        The table `logtrace.schema.LOSSES`.

    Returns
    -------
    pandas.DataFrame
        ``host``, ``boot_id``, ``source``, ``reason`` (str), ``records`` (int, null where not
        one count is known) and ``ranges`` (int), ``first_noticed`` and
        ``last_noticed`` (UTC), most records first.
    """
    keys = ["host", "boot_id", "source", "reason"]
    grouped = losses.groupby(keys, dropna=False, observed=True)
    summed = grouped.agg(
        records=("records", _sum_of_known),
        ranges=("reason", "size"),
        first_noticed=("noticed_at", "min"),
        last_noticed=("noticed_at", "max"),
    )
    return summed.reset_index().sort_values("records", ascending=False).reset_index(drop=True)


# Reasons of losses whose lines were seen; all others are of records that were not.
_SEEN = {"rejected": "rejected", "truncated": "cut"}
_LOST = ("lost", "rejected", "cut")
_SHARES = ("traced", "untraced")


def completeness(
    by_boot: pd.DataFrame, losses: pd.DataFrame, coverage: pd.DataFrame | None
) -> pd.DataFrame:
    """Say of each host and boot what is missing.

    Parameters
    ----------
    by_boot
        What `logtrace.stats.by_boot` gives.
    losses
        The table `logtrace.schema.LOSSES`.
    coverage
        Columns of `logtrace.coverage.Span`.

    Returns
    -------
    pandas.DataFrame
        The columns of `by_boot`; lost (records that were not seen), rejected (lines that were
        not understood), cut (lines that were cut short; ``Int64``, null where some number is
        not known); traced and untraced, the shares of the host's whole range in which programs
        could be traced in this boot and could not (``Float64``, null where nobody watched). Also
        hosts and boots without runs have a row, and hosts that nobody watched, without boot.
    """
    what = losses["reason"].map(_SEEN).fillna("lost")
    frame = by_boot
    for name in _LOST:
        frame = frame.merge(_lost(losses[what == name], name), on=["host", "boot_id"], how="outer")
    frame = frame.merge(_shares(coverage), on=["host", "boot_id"], how="outer")
    frame = frame.fillna(dict.fromkeys([*by_boot.columns[2:], *_LOST], 0))
    for name in _LOST:
        unknown = frame.pop(f"unknown_{name}").fillna(value=False).astype(bool)
        frame[name] = frame[name].astype("Int64").mask(unknown)
    return frame.reset_index(drop=True)


# How many records of each host and boot, and whether of some of them the number is not known.
def _lost(losses: pd.DataFrame, name: str) -> pd.DataFrame:
    groups = losses.assign(unknown=losses["records"].isna()).groupby(
        ["host", "boot_id"], dropna=False
    )
    summed = groups.agg(records=("records", "sum"), unknown=("unknown", "any"))
    return summed.reset_index().rename(columns={"records": name, "unknown": f"unknown_{name}"})


# Of a host's whole range; where it is not known, that belongs to neither, and to no boot.
def _shares(coverage: pd.DataFrame | None) -> pd.DataFrame:
    import pandas as pd

    if coverage is None or coverage.empty:
        kinds = dict.fromkeys(("host", "boot_id"), "str") | dict.fromkeys(_SHARES, "Float64")
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
    took = (coverage["end"] - coverage["start"]).dt.total_seconds()
    share = took / took.groupby(coverage["host"]).transform("sum")
    known = coverage["state"].isin(_SHARES)
    watched = coverage.loc[known, "host"].unique()
    shares = (
        coverage[["host", "boot_id"]]
        .astype("str")
        .assign(
            **{
                name: share.where(coverage["state"] == name, 0).astype("Float64")
                for name in _SHARES
            }
        )
    )
    shares = shares[known | ~coverage["host"].isin(watched)]
    return shares.groupby(["host", "boot_id"], dropna=False).sum().reset_index()
