"""Usage statistics: what was run, how often, and what it moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from logtrace import local_time, quantiles, schema
from logtrace.engine import Engine, Filters, Measure, of_grouping, place_of
from logtrace.errors import QueryError
from logtrace.local_time import TIME

if TYPE_CHECKING:
    import pandas as pd

_MOST_BUCKETS = 120

KEYS = {
    "owner": "owner",
    "student": "owner",
    "program": "comm",
    "host": "host",
    "comm": "comm",
    "file": '"file"',
    "status": "status",
    "dialect": "dialect",
    "day": local_time.bucket("1d"),
    "hour": local_time.bucket("1h"),
    "weekday": local_time.WEEKDAY,
    "hour-of-day": local_time.HOUR,
}
"""What runs can be grouped by: name -> SQL."""

OF_TIME = ("day", "hour", "weekday", "hour-of-day")
"""The keys that say when: groups by them are in order of time."""


def _distinct(name: str, column: str, values: str = "list(DISTINCT {})") -> Measure:
    merge = f'len(list_distinct(flatten(list("{name}"))))'
    return Measure(name, values.format(f'"{column}"'), merge)


def _sum(name: str, partial: str) -> Measure:
    # DuckDB adds up to 128 bits, which pandas has no type for; what goes beyond 64 is null
    return Measure(name, partial, f'TRY_CAST(sum("{name}") AS BIGINT)')


_RUNS = _sum("runs", "count(*)")
_INCOMPLETE = _sum("incomplete", "count(*) FILTER (status <> 'complete')")
_RANGE = (
    Measure("first_seen", f"min({TIME})", "min(first_seen)"),
    Measure("last_seen", f"max({TIME})", "max(last_seen)"),
)

USAGE = (
    _RUNS,
    _distinct("programs", "comm"),
    _distinct("files", "file"),
    _INCOMPLETE,
    *(_sum(name, f"sum({name})") for name in schema.COUNTERS),
    *_RANGE,
)
"""The measures of `usage`."""

_TIMELINE = (
    _RUNS,
    _INCOMPLETE,
    _sum("read_bytes", "sum(read_bytes)"),
    _sum("written_bytes", "sum(written_bytes)"),
)


_TOTALS = (
    _RUNS,
    _INCOMPLETE,
    _sum("unclocked", f"count(*) FILTER ({TIME} IS NULL)"),
    _distinct("hosts", "host"),
    _distinct("owners", "owner"),
    _distinct("programs", "comm"),
    _distinct("files", "file"),
    *(
        Measure(name, f"sum({name})", f"coalesce(sum({name}), 0)::DECIMAL(38, 0)")
        for name in ("read_bytes", "written_bytes")
    ),
)


def totals(engine: Engine, filters: Filters | None = None) -> dict[str, int]:
    """Total all runs.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.

    Returns
    -------
    dict
        Each of ``contents.TOTALS``: counts, and bytes for the last two, exact beyond 64 bits.
    """
    (row,) = engine.aggregate({}, _TOTALS, filters).to_dict("records")
    return {str(name): int(number) for name, number in row.items()}


def reasons(engine: Engine, filters: Filters | None = None) -> pd.DataFrame:
    """Count the incomplete runs by what is missing of them and why.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.

    Returns
    -------
    pandas.DataFrame
        status, note (``str``), runs (``Int64``), most runs first.
    """
    keys = {"status": "status", "note": "note"}
    frame = engine.aggregate(keys, (_RUNS,), filters, order="runs DESC, status, note")
    return frame[frame["status"] != "complete"].reset_index(drop=True)


def by_boot(engine: Engine, filters: Filters | None = None) -> pd.DataFrame:
    """Count the runs of each host and boot by what is known of them.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.

    Returns
    -------
    pandas.DataFrame
        host, boot_id (``str``), runs, and one column for each of ``schema.STATUSES``
        (``Int64``); by host, the boot of the last runs first.
    """
    measures = [_RUNS, _RANGE[1]]
    measures += [_sum(each, f"count(*) FILTER (status = '{each}')") for each in schema.STATUSES]
    keys = {"host": "host", "boot_id": "boot_id"}
    order = "host, last_seen DESC NULLS LAST, boot_id"
    frame = engine.aggregate(keys, measures, filters, order=order)
    return frame.drop(columns="last_seen")


def usage(engine: Engine, by: Sequence[str], filters: Filters | None = None) -> pd.DataFrame:
    """Total the runs of each group.

    Parameters
    ----------
    engine
        The store's engine.
    by
        Names out of `KEYS`; none gives one row over all.
    filters
        Which runs.

    Returns
    -------
    pandas.DataFrame
        The keys; then runs, programs, files (distinct), incomplete (runs that are not
        ``complete``), the sums of ``schema.COUNTERS`` (bytes, calls): ``Int64``; then
        first_seen and last_seen: ``datetime64[us, UTC]``. Most runs first.

    Raises
    ------
    QueryError
        If a key is unknown.
    """
    return _in_order(engine.aggregate(_keys(by), USAGE, filters), by)


def _keys(by: Iterable[str]) -> dict[str, str]:
    for key in by:
        if key not in KEYS:
            raise QueryError(f"--by {key}: unknown", f"use one of {', '.join(KEYS)}")
    return {key: KEYS[key] for key in by}


# Most runs first; by time, in its order. Groups that are gone stand behind all others.
def _in_order(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    if by and by[0] in OF_TIME:
        frame = frame.sort_values([*by])
        return frame.sort_values(
            "runs", key=lambda runs: runs == 0, kind="stable", ignore_index=True
        )
    order = ["runs", *by]
    return frame.sort_values(order, ascending=[name != "runs" for name in order], ignore_index=True)


# A run's bytes: of two numbers the one that is known, if only one is
_SIZE = f"""
    CASE WHEN read_bytes IS NULL OR written_bytes IS NULL THEN coalesce(read_bytes, written_bytes)
        WHEN greatest(read_bytes, written_bytes) < {2**62} THEN read_bytes + written_bytes
    END
"""
_TOOK = "CASE WHEN ended_us >= started_us THEN ended_us - started_us END"
_SPREAD = {"bytes": _SIZE, "took_us": _TOOK}
_BUCKETS = {name: quantiles.bucket(value) for name, value in _SPREAD.items()}
_PERCENTS = (50, 95)


_RATES = (
    _distinct("hosts", "host"),
    _sum("leaky", "count(*) FILTER (left_open > 0)"),
    _sum("_leaks_known", "count(left_open)"),
    _sum("failed_calls", "sum(failed_calls)"),
    _sum("_every_call", "sum(every_call)"),
)
_SPREADS = tuple(
    measure
    for name, value in _SPREAD.items()
    for measure in (
        _sum(f"_{name}_known", f"count({value})"),
        Measure(f"_{name}_total", f"sum({value})", f'sum("_{name}_total")::DOUBLE'),
        Measure(f"max_{name}", f"max({value})", f'max("max_{name}")'),
    )
)


_BEHIND = (
    "share",
    "leaky",
    "leak_rate",
    "failed_calls",
    "error_rate",
    *(f"{what}_{name}" for name in _SPREAD for what in ("mean", "p50", "p95", "max")),
    "busiest_hour",
    "runs_before",
    "change",
    "hosts",
)


def statistics(
    engine: Engine,
    by: Sequence[str],
    filters: Filters | None = None,
    before: Filters | None = None,
) -> pd.DataFrame:
    """Measure the runs of each group: all that `usage` has, and how it is distributed.

    Parameters
    ----------
    engine
        The store's engine.
    by
        Names out of `KEYS`; none gives one row over all.
    filters
        Which runs.
    before
        The runs to compare with, see `period_before`; None for none. No day and no hour is in
        both, so with these keys nothing is compared.

    Returns
    -------
    pandas.DataFrame
        The columns of `usage`, in its order, and behind them:

        - share (``Float64``): of all runs that `filters` mean, from 0 to 1;
        - leaky (``Int64``): runs that left descriptors open; leak_rate: their share of those of
          which it is known;
        - failed_calls (``Int64``) of the runs with a line a call; error_rate: their share of
          all calls of these;
        - mean_bytes (``Float64``), p50_bytes, p95_bytes, max_bytes (``Int64``): what a run read
          and wrote, in bytes; mean_took_us, p50_took_us, p95_took_us, max_took_us: how long it
          was traced, in microseconds. Quantiles are within 0.8 %, see `logtrace.quantiles`;
        - busiest_hour (``Int64``): the hour of the day, 0 to 23, in which most runs began;
        - with `before`, runs_before (``Int64``): runs of the group among those of `before`; change
          (``Float64``): how many more there are now, as a share of these. Groups that had runs
          only then have a row, with 0 runs;
        - hosts (``Int64``): on how many machines the runs were.

        What nothing is known of is null.

    Raises
    ------
    QueryError
        If a key is unknown.
    """
    (frame,) = statistics_of_each(engine, [by], filters, before)
    return frame


def statistics_of_each(
    engine: Engine,
    groupings: Sequence[Sequence[str]],
    filters: Filters | None = None,
    before: Filters | None = None,
) -> list[pd.DataFrame]:
    """Measure the runs by several groupings, in as few looks at them as by one.

    Parameters
    ----------
    engine
        The store's engine.
    groupings
        The keys of each, as of `statistics`.
    filters, before
        As of `statistics`.

    Returns
    -------
    list of pandas.DataFrame
        What `statistics` gives for each.

    Raises
    ------
    QueryError
        If a key is unknown.
    """
    ways = [_keys(by) for by in groupings]
    compared = [by for by in groupings if before and not {*by} & {*_ONCE}]
    asked = [_measured(engine, ways, (*USAGE, *_RATES, *_SPREADS), filters)]
    for name, sql in _BUCKETS.items():
        asked.append(_with_quantiles(engine.distribution_of_each(ways, sql, filters), name))
    hours = engine.distribution_of_each(ways, KEYS["hour-of-day"], filters)
    asked.append(_with_busiest_hour(hours))
    if before and compared:
        found = engine.aggregate_each(ways, (_RUNS,), before)
        places = [place_of(ways, by) for by in compared]
        asked.append(found[found["place"].isin(places)])
    groups, (frame, *others) = _numbered(asked, ["place", *dict.fromkeys(chain(*ways))])
    distributions, earlier = others[: len(_BUCKETS) + 1], others[len(_BUCKETS) + 1 :]
    frame = _with_rates(frame, groups["place"])
    for distribution in distributions:
        frame = frame.join(distribution)
    if compared:
        frame = _with_change(frame, earlier[0]["runs"])
    frame = groups.join(frame, how="right")
    measured = [measure.name for measure in USAGE]
    frames = []
    for by in groupings:
        behind = [name for name in _BEHIND if by in compared or name not in _CHANGE]
        own = _in_order(of_grouping(frame, ways, by), by)
        frames.append(own[[*by, *measured, *behind]])
    return frames


_ONCE = ("day", "hour")  # which no two periods have in common
_CHANGE = ("runs_before", "change")
_FEW_GROUPS = 50_000
_COUNTED = {"programs": "comm", "files": "file", "hosts": "host"}  # how many there are of them


# To merge each grouping from what runs of the same names have in common takes a third of the time,
# where these are few. Times are many.
def _measured(
    engine: Engine,
    ways: Sequence[Mapping[str, str]],
    measures: Sequence[Measure],
    filters: Filters | None,
) -> pd.DataFrame:
    names = {column: f'"{column}"' for column in _COUNTED.values()}
    all_keys = {name: sql for keys in ways for name, sql in keys.items()} | names
    if (
        len(ways) == 1
        or not all(keys and not {*keys} & {*OF_TIME} for keys in ways)
        or engine.groups(all_keys.values(), _FEW_GROUPS, filters) > _FEW_GROUPS
    ):
        return engine.aggregate_each(ways, measures, filters)
    measures = [
        _distinct(each.name, _COUNTED[each.name], "[any_value({})]")
        if each.name in _COUNTED
        else each
        for each in measures
    ]
    return engine.aggregate_each(ways, measures, filters, finer=names)


def period_before(filters: Filters, now: datetime) -> Filters | None:
    """Give the filters of the period before, which is as long.

    Parameters
    ----------
    filters
        With or without a range.
    now
        Where a range without end ends.

    Returns
    -------
    Filters or None
        None if the range has no beginning.
    """
    if filters.since is None:
        return None
    length = (filters.until or now) - filters.since
    if length <= timedelta(0):
        return None
    return replace(filters, since=filters.since - length, until=filters.since)


# Gives the groups of all frames by number, and the frames with these in place of the names. Null is
# a name too.
def _numbered(
    frames: Sequence[pd.DataFrame], names: list[str]
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    import pandas as pd

    groups = pd.concat([frame[names] for frame in frames], ignore_index=True)
    numbers = groups.groupby(names, dropna=False, sort=False).ngroup()
    ends = accumulate(map(len, frames))
    numbered = [
        frame.drop(columns=names).set_axis(numbers.iloc[end - len(frame) : end].rename("group"))
        for frame, end in zip(frames, ends, strict=True)
    ]
    return groups.set_axis(numbers)[~numbers.duplicated().to_numpy()], numbered


def _with_rates(frame: pd.DataFrame, places: pd.Series) -> pd.DataFrame:
    frame["share"] = _ratio(frame["runs"], frame["runs"].groupby(places).transform("sum"))
    frame["leak_rate"] = _ratio(frame["leaky"], frame["_leaks_known"])
    frame["error_rate"] = _ratio(frame["failed_calls"], frame["_every_call"])
    for name in _SPREAD:
        frame[f"mean_{name}"] = _ratio(frame[f"_{name}_total"], frame[f"_{name}_known"])
    return frame


# Of nothing there is no share.
def _ratio(part: pd.Series, whole: Any) -> pd.Series:
    wholes: pd.Series = (part * 0 + whole).astype("Float64")
    ratio: pd.Series = part.astype("Float64") / wholes.mask(wholes == 0)
    return ratio


def _with_quantiles(found: pd.DataFrame, name: str) -> pd.DataFrame:
    smallest, counts = ([each.tolist() for each in found.pop(of)] for of in ("value", "runs"))
    reached = [list(accumulate(each)) for each in counts]
    for percent in _PERCENTS:
        known = [quantiles.quantile(*each, percent) for each in zip(smallest, reached, strict=True)]
        found[f"p{percent}_{name}"] = known
    return found.astype({f"p{percent}_{name}": "Int64" for percent in _PERCENTS})


# Of several, the first
def _with_busiest_hour(found: pd.DataFrame) -> pd.DataFrame:
    hours, runs = found.pop("value"), found.pop("runs")
    busiest = [own[most.argmax()] for own, most in zip(hours, runs, strict=True)]
    return found.assign(busiest_hour=busiest).astype({"busiest_hour": "Int64"})


def _with_change(frame: pd.DataFrame, before: pd.Series) -> pd.DataFrame:
    frame = frame.reindex(frame.index.union(before.index))
    frame["runs_before"] = before
    frame = frame.fillna({"runs": 0, "runs_before": 0, "hosts": 0})
    frame["change"] = _ratio(frame["runs"] - frame["runs_before"], frame["runs_before"])
    return frame


def timeline(
    engine: Engine, filters: Filters | None = None, seen: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, str]:
    """Count the runs over time, in buckets that suit the range.

    Parameters
    ----------
    engine
        The store's engine; days begin in its zone.
    filters
        Which runs; those without wall-clock time are left out.
    seen
        What `usage` or `statistics` gives for these runs by any key, if it was asked before.

    Returns
    -------
    frame : pandas.DataFrame
        start (``datetime64[us, UTC]``), runs, incomplete, read_bytes, written_bytes
        (``Int64``); only buckets with runs, in order.
    width : str
        The width of a bucket, such as ``1h``.
    """
    ends = engine.aggregate({}, _RANGE, filters) if seen is None else seen
    covered = ends["last_seen"].max() - ends["first_seen"].min()
    width = _width(covered.to_pytimedelta()) if covered == covered else "1h"
    start = {"start": local_time.bucket(width)}
    frame = engine.aggregate(start, _TIMELINE, filters, order="start")
    return frame[frame["start"].notna()].reset_index(drop=True), width


def _width(covered: timedelta) -> str:
    fitting = (
        name for name, width in local_time.BUCKETS.items() if covered / width <= _MOST_BUCKETS
    )
    return next(fitting, "52w")
