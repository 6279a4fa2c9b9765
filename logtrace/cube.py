"""Runs counted by time and names at once, in so few cells that a page can carry them.

A page that is filtered sums up cells. There is one for each bucket of time and combination of
host, owner and program that a run has; where that would be too many, buckets are longer, and
the names with fewest runs are put together as `OTHER`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo
from typing import TYPE_CHECKING

from logtrace import local_time, schema, stats
from logtrace.engine import Engine, Filters, Measure, of_grouping

if TYPE_CHECKING:
    import pandas as pd

OTHER = "\n"
"""Stands for all names that have no cells of their own; no name in a table has a line break."""

NAMES = {"host": "host", "owner": "owner", "comm": "program"}
"""The names by which every cube can be filtered: the column, and its key out of ``stats.KEYS``."""

MOST_CELLS = 20_000
"""How many cells a cube has at most."""

_MOST_COMBINATIONS = 50_000  # of names and further keys, of which some may be put together
_NAMES_OF_WEEK = 100  # of each kind
_MOST_BUCKETS = 10_000
_KEPT = (
    1000,
    300,
    100,
    60,
    40,
    25,
    15,
    10,
    6,
    3,
)  # names of each kind that have cells of their own
_HOUR_OF_WEEK = f"({local_time.WEEKDAY} - 1) * 24 + {local_time.HOUR}"
_MEASURES = ("runs", "incomplete", *schema.COUNTERS, "last_seen")


@dataclass(frozen=True, eq=False)
class Cube:
    """The cells of a report.

    Parameters
    ----------
    cells
        ``bucket`` (UTC, null for runs without wall-clock time); the columns of `NAMES` and
        further keys that the report groups by; runs, incomplete, the sums of
        `logtrace.schema.COUNTERS`; ``last_seen`` (UTC).
    width
        The width of a bucket: ``1h``, ``1d``.
    folded
        How many names of each column are put together as `OTHER`.
    week
        Where buckets are longer than an hour, for each of the columns of `NAMES`: ``hour`` (of
        the week, from Monday's midnight, 0 to 167, null for no time), the column, ``runs``;
        names are folded here, too. Else None.
    """

    cells: pd.DataFrame
    width: str
    folded: Mapping[str, int]
    week: Mapping[str, pd.DataFrame] | None = None

    def by_names(self) -> Cube:
        """Give the same cells without further keys; a sum beyond 64 bits is null."""
        added = [name for name in _MEASURES if name != "last_seen"]
        keys = ["bucket", *NAMES]
        groups = self.cells.groupby(keys, dropna=False, sort=False)
        sums = groups[added].sum(min_count=1)
        floats = self.cells.assign(**{name: self.cells[name].astype("Float64") for name in added})
        about = floats.groupby(keys, dropna=False, sort=False)[added].sum()
        cells = sums.mask((sums.astype("Float64") - about).abs() > 2**62).join(
            groups["last_seen"].max()
        )
        return replace(self, cells=cells.reset_index())

    def hours(self, zone: tzinfo) -> dict[int, int]:
        """Count the runs of each hour of the week, from Monday's midnight: 0 to 167.

        Parameters
        ----------
        zone
            The zone in which days begin.

        Returns
        -------
        dict of int to int
            Runs by hour, without hours that have none.
        """
        if self.week is None:
            start = self.cells["bucket"].dt.tz_convert(zone)
            hours = start.dt.day_of_week * 24 + start.dt.hour
            runs = self.cells["runs"].groupby(hours).sum()
        else:
            runs = next(iter(self.week.values())).groupby("hour")["runs"].sum()
        return dict(zip(runs.index.astype("int64").tolist(), runs.tolist(), strict=True))


def hours_of_week(runs: Mapping[int, int]) -> pd.DataFrame:
    """Lay out what `Cube.hours` gives as a table.

    Returns
    -------
    pandas.DataFrame
        weekday (1 for Monday), hour (0 to 23), runs (``Int64``), in order.
    """
    import pandas as pd

    rows = [(hour // 24 + 1, hour % 24, number) for hour, number in sorted(runs.items())]
    return pd.DataFrame(rows, columns=["weekday", "hour", "runs"]).astype("Int64")


def of_store(
    engine: Engine,
    filters: Filters,
    groupings: Sequence[Sequence[str]],
    timeline: pd.DataFrame,
    width: str,
) -> Cube:
    """Count the runs of a report in cells.

    Parameters
    ----------
    engine
        The store's engine; days and hours are those of its zone.
    filters
        Which runs.
    groupings
        What the report groups by: further keys have cells of their own where there is room.
    timeline, width
        What `logtrace.stats.timeline` gives; buckets are never longer.

    Returns
    -------
    Cube
        At most `MOST_CELLS` cells.
    """
    further = {key: key for by in groupings for key in by if stats.KEYS[key] not in _own()}
    every = {**NAMES, **further}
    tried = (every, NAMES) if further and _is_room(engine, filters, every, timeline) else (NAMES,)
    for keys in tried:
        combinations = engine.aggregate(_sql(keys), _measures("runs"), filters)
        widths = dict(_widths(timeline, width))
        kept = _KEPT[:1] if len(keys) > len(NAMES) else _KEPT
        if plan := _plan(combinations, widths, MOST_CELLS, kept):
            break
    assert plan  # a few names of each kind over the buckets of a timeline always fit
    chosen, most = plan
    names, folded = _folded(combinations, keys, most)
    bucket = {"bucket": local_time.bucket(chosen)}
    cells = engine.aggregate(bucket | names, _measures(*_MEASURES), filters)
    if local_time.BUCKETS[chosen] <= timedelta(hours=1):
        return Cube(cells, chosen, folded)
    return Cube(cells, chosen, folded, _week(engine, filters, combinations))


# Where combinations are far too many, they need not all be brought here to be dropped.
def _is_room(
    engine: Engine, filters: Filters, keys: Mapping[str, str], timeline: pd.DataFrame
) -> bool:
    most = _MOST_COMBINATIONS
    return (
        int(timeline["runs"].sum()) <= most
        or engine.groups(_sql(keys).values(), most, filters) <= most
    )


# Of each kind of names alone: with all of them at once there would be too many cells.
def _week(
    engine: Engine, filters: Filters, combinations: pd.DataFrame
) -> Mapping[str, pd.DataFrame]:
    columns = _sql(NAMES)
    groupings = [{name: columns[name]} for name in NAMES]
    counted = engine.aggregate_each(
        groupings, _measures("runs"), filters, further={"hour": _HOUR_OF_WEEK}
    )
    week = {}
    for name in NAMES:
        cells = of_grouping(counted, groupings, [name])
        own = _with_most_runs(combinations, name, _NAMES_OF_WEEK)
        folded = cells[name].where(cells[name].isin(own) | cells[name].isna(), OTHER)
        week[name] = (
            cells["runs"].groupby([cells["hour"], folded], dropna=False).sum().reset_index()
        )
    return week


def _own() -> set[str]:
    return {stats.KEYS[key] for key in NAMES.values()}


def _sql(keys: Mapping[str, str]) -> dict[str, str]:
    return {name: stats.KEYS[key] for name, key in keys.items()}


def _measures(*names: str) -> list[Measure]:
    return [measure for measure in stats.USAGE if measure.name in names]


# The widths of buckets from the finest that makes sense to the timeline's, and how many of each.
def _widths(timeline: pd.DataFrame, width: str) -> Iterator[tuple[str, int]]:
    covered = local_time.BUCKETS[width]
    if len(timeline):
        covered += (timeline["start"].iloc[-1] - timeline["start"].iloc[0]).to_pytimedelta()
    for name, each in local_time.BUCKETS.items():
        buckets = math.ceil(covered / each) + 1
        if buckets <= _MOST_BUCKETS or name == width:
            yield name, buckets
        if name == width:
            return


# The finest buckets and the most names of which there are few enough cells: a combination of
# names has no more of them than it has runs, and than there are buckets.
def _plan(
    combinations: pd.DataFrame, widths: Mapping[str, int], cells: int, kept: Sequence[int]
) -> tuple[str, int] | None:
    for most in kept:
        runs = _fold(combinations, most)
        for width, buckets in widths.items():
            if runs.clip(upper=buckets).sum() <= cells:
                return width, most
    return None


def _fold(combinations: pd.DataFrame, most: int) -> pd.Series:
    names = combinations.drop(columns="runs")
    for name in NAMES:
        own = _with_most_runs(combinations, name, most)
        names[name] = names[name].where(names[name].isin(own) | names[name].isna(), OTHER)
    return combinations["runs"].groupby([names[name] for name in names], dropna=False).sum()


def _with_most_runs(combinations: pd.DataFrame, name: str, most: int) -> list[str]:
    runs = combinations.groupby(name)["runs"].sum().reset_index()
    return runs.sort_values(["runs", name], ascending=[False, True])[name].head(most).tolist()


# SQL of the columns of names, and how many names each puts together.
def _folded(
    combinations: pd.DataFrame, keys: Mapping[str, str], most: int
) -> tuple[dict[str, str], dict[str, int]]:
    columns, folded = _sql(keys), {}
    for name in NAMES:
        there = combinations[name].nunique()
        if there > most:
            folded[name] = there - most
            own = ", ".join(map(_quoted, _with_most_runs(combinations, name, most)))
            sql = columns[name]
            kept = f"{sql} IS NULL OR {sql} IN ({own})" if own else f"{sql} IS NULL"
            columns[name] = f"CASE WHEN {kept} THEN {sql} ELSE {_quoted(OTHER)} END"
    return columns, folded


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
