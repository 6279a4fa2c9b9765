"""What is known of each machine of a store: whether it is silent, its clock, what it traces with.

What is stored has the times of the machine's own clock, whoever stored it. So a clock is called off
only where the times contradict the present, the kernel's own clock, or each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from logtrace.config import HostRules
from logtrace.engine import Engine, Filters, Measure

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.coverage import Row

MEMORY = timedelta(weeks=4)
"""How far back it is looked how long a machine is usually quiet."""

CLOCKS = {
    "ahead": "it tells times that are still to come",
    "early": "it tells times of before 2026, when this program began to receive any",
    "set": "it was set while the machine ran",
    "two_boots": "it makes two boots overlap, or two machines have one name",
}
"""What can be wrong with a clock, the worst first."""

_WEEK = timedelta(days=7)
_WEEKEND = timedelta(hours=72)  # with a night before and behind it
_HOUR_US = 3_600_000_000
_OFFSET = '(epoch_us("at") - us)'  # when the machine booted, as its clock tells


def of_store(
    engine: Engine,
    filters: Filters,
    now: datetime,
    *,
    by_boot: pd.DataFrame,
    completeness: pd.DataFrame,
    incidents: pd.DataFrame,
    tracer: Iterable[Row],
    rules: HostRules | None = None,
) -> pd.DataFrame:
    """Say of each machine how it stands.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs are counted; of the machines themselves, which ones.
    now
        The present.
    by_boot
        What `logtrace.stats.by_boot` gives for these runs.
    completeness
        What `logtrace.contents.completeness` gives for them.
    incidents
        Those of the range.
    tracer
        What `logtrace.coverage.known` gives.
    rules
        From where on a machine is silent, and a clock off.

    Returns
    -------
    pandas.DataFrame
        One row a machine, by name. Of the range: runs, incomplete, incidents (``Int64``), lost
        (records that were not seen, ``Int64``, null where some number is not known), traced and
        untraced (``Float64``): the shares in which programs could be traced and could not. Of all
        that is stored: last_sign (``datetime64[us, UTC]``), the last time up to `now`; silent
        (``boolean``, null where no time is known); longest_quiet_us (``Int64``): how long it was
        quiet in `MEMORY` at most, to the hour, before it went quiet last; clock (``str``): the
        worst of `CLOCKS`, null where nothing is known to be wrong; clock_off_us (``Int64``): by how
        much, where that is known; version, srcversion (of ``iotracehooking``) and kernel
        (``str``): the last ones that were seen in the range or before; first_run and last_run
        (UTC); days (``Float64``): how long the time between them is.
    """
    import pandas as pd

    rules = rules or HostRules()
    signs = _signs(engine, Filters(host=filters.host), now)
    hosts = signs.groupby("host").agg(
        last_sign=("last_sign", "max"),
        newest=("newest", "max"),
        first_run=("first_run", "min"),
        last_run=("last_run", "max"),
    )
    there = {*hosts.index, *by_boot["host"], *completeness["host"]}
    hosts = hosts.reindex(pd.Index(sorted(there), name="host", dtype="str"))
    boots = completeness.groupby("host")
    unknown = completeness["runs"].notna() & completeness["lost"].isna()
    unknown = unknown.groupby(completeness["host"]).any()
    hosts["runs"] = by_boot.groupby("host")["runs"].sum()
    hosts["incomplete"] = hosts["runs"] - by_boot.groupby("host")["complete"].sum()
    hosts["incidents"] = incidents.groupby("host").size()
    hosts["lost"] = boots["lost"].sum()
    hosts = hosts.fillna({"runs": 0, "incomplete": 0, "incidents": 0, "lost": 0})
    unknown = unknown.reindex(hosts.index, fill_value=False)
    hosts["lost"] = hosts["lost"].astype("Int64").mask(unknown)
    for name in ("traced", "untraced"):
        hosts[name] = boots[name].sum(min_count=1)
    hosts = hosts.join(_quiet(signs)).join(_tracing(tracer)).join(_clocks(signs, hosts, now, rules))
    hosts["silent"] = _silent(hosts, now, rules)
    hosts["days"] = (hosts["last_run"] - hosts["first_run"]).dt.total_seconds() / 86_400
    counts = dict.fromkeys(("runs", "incomplete", "incidents"), "Int64")
    shares = dict.fromkeys(("traced", "untraced", "days"), "Float64")
    return hosts.reset_index().astype(counts | shares)[list(COLUMNS)]


COLUMNS = (
    "host",
    "runs",
    "incomplete",
    "incidents",
    "lost",
    "traced",
    "untraced",
    "last_sign",
    "silent",
    "longest_quiet_us",
    "clock",
    "clock_off_us",
    "version",
    "srcversion",
    "kernel",
    "first_run",
    "last_run",
    "days",
)
"""The columns of `of_store`."""


def versions(hosts: pd.DataFrame) -> pd.DataFrame:
    """Count the machines by what they trace with.

    Parameters
    ----------
    hosts
        What `of_store` gives.

    Returns
    -------
    pandas.DataFrame
        version, srcversion, kernel (``str``, null where no watch has told it), hosts (``Int64``),
        last_sign (UTC: of any of them); most machines first.
    """
    keys = ["version", "srcversion", "kernel"]
    groups = hosts.groupby(keys, dropna=False, as_index=False)
    counted = groups.agg(hosts=("host", "size"), last_sign=("last_sign", "max"))
    counted = counted.sort_values(["hosts", *keys], ascending=[False, True, True, True])
    return counted.astype({"hosts": "Int64"}).reset_index(drop=True)


def summary(hosts: pd.DataFrame) -> dict[str, int]:
    """Count the machines of a lab by how they stand.

    Parameters
    ----------
    hosts
        What `of_store` gives.

    Returns
    -------
    dict
        ``hosts``; in the range ``with_runs``, ``traced`` (whose programs could be traced for some
        of it) and ``watched`` (of which that is known); ``silent``; ``clock_off``.
    """
    return {
        "hosts": len(hosts),
        "with_runs": int((hosts["runs"] > 0).sum()),
        "traced": int((hosts["traced"] > 0).sum()),
        "watched": int((hosts["traced"].fillna(0) + hosts["untraced"].fillna(0) > 0).sum()),
        "silent": int(hosts["silent"].sum()),
        "clock_off": int(hosts["clock"].notna().sum()),
    }


def beside(usage: pd.DataFrame, hosts: pd.DataFrame, *, all_hosts: bool) -> pd.DataFrame:
    """Put what is known of machines beside the usage of each.

    Parameters
    ----------
    usage
        What `logtrace.stats.statistics` gives by host.
    hosts
        What `of_store` gives for the same runs.
    all_hosts
        Whether machines without runs have a row, too.

    Returns
    -------
    pandas.DataFrame
        The columns of `usage`, and behind them those of `hosts` that it does not have.
    """
    further = hosts[["host", *(name for name in hosts if name not in usage)]]
    joined = usage.merge(further, on="host", how="outer" if all_hosts else "left", sort=False)
    joined = joined.sort_values(["runs", "host"], ascending=[False, True], ignore_index=True)
    counts = [name for name in ("runs", "incomplete", "runs_before") if name in joined]
    return joined.fillna(dict.fromkeys(counts, 0))


# Of each hour of the last weeks in which a boot gave a sign, and of all that it gave together: the
# latter needs to be asked of new files only.
def _signs(engine: Engine, filters: Filters, now: datetime) -> pd.DataFrame:
    import pandas as pd

    own = "clock IN ('received', 'boot')"
    # when it was read: what computes the time from the kernel's clock says nothing of another
    compared = "clock = 'received' AND us IS NOT NULL AND sign <> 'watch'"
    watch = "sign = 'watch' AND us IS NOT NULL"
    ever = (
        _least("first_sign", '"at"'),
        _most("newest", '"at"'),
        _least("first_run", '"at"', "sign = 'run'"),
        _most("last_run", '"at"', "sign = 'run'"),
        _least("early", '"at"', f"{own} AND \"at\" < TIMESTAMPTZ '2026-01-01'"),
        _least("begun_first", _OFFSET, watch),
        _most("begun_last", _OFFSET, watch),
    )
    lately = (
        _most("last_sign", '"at"'),
        _least("us", "us", compared),
        _least("offset_us", _OFFSET, compared),
    )
    boots = {"host": "host", "boot_id": "boot_id"}
    hours = boots | {"hour": f'epoch_us("at") // {_HOUR_US}'}
    upto = now + timedelta(microseconds=1)
    recent = replace(filters, since=now - MEMORY, until=upto)
    found = [
        engine.aggregate(boots, ever, filters, table="signs"),
        engine.aggregate(hours, lately, recent, table="signs"),
    ]
    # of what was silent for longer, the last one may not be the newest, which is still to come
    quiet = ~found[0]["host"].isin(found[1]["host"].unique())
    if (quiet & (found[0]["newest"] > now)).any():
        before = replace(filters, until=upto)
        found.append(engine.aggregate(boots, lately[:1], before, table="signs"))
    elif quiet.any():
        found.append(
            found[0].loc[quiet, [*boots, "newest"]].rename(columns={"newest": "last_sign"})
        )
    return pd.concat(found, ignore_index=True)


def _least(name: str, value: str, condition: str = "true") -> Measure:
    return Measure(name, f"min({value}) FILTER ({condition})", f'min("{name}")')


def _most(name: str, value: str, condition: str = "true") -> Measure:
    return Measure(name, f"max({value}) FILTER ({condition})", f'max("{name}")')


# How long each machine was quiet at most between two hours in which it gave signs, and between
# which hours that is known.
def _quiet(signs: pd.DataFrame) -> pd.DataFrame:
    hours = signs.loc[signs["hour"].notna(), ["host", "hour"]].drop_duplicates()
    hours = hours.sort_values(["host", "hour"])
    hours["quiet"] = hours.groupby("host")["hour"].diff()
    groups = hours.groupby("host")
    quiet = groups.agg(longest=("quiet", "max"), first=("hour", "min"), last=("hour", "max"))
    quiet["longest_quiet_us"] = quiet.pop("longest").astype("Int64") * _HOUR_US
    quiet["known_us"] = (quiet.pop("last") - quiet.pop("first")).astype("Int64") * _HOUR_US
    return quiet


# Whether nothing has come for longer than is usual. What was not there for so long that nothing is
# remembered of it is silent.
def _silent(hosts: pd.DataFrame, now: datetime, rules: HostRules) -> pd.Series:
    import pandas as pd

    least = pd.Series(timedelta(hours=rules.silent_hours), hosts.index)
    # of less than a week it is not known whether the machine is off at weekends
    new = hosts["known_us"].fillna(0) < _WEEK // timedelta(microseconds=1)
    least = least.mask(new & (least < _WEEKEND), pd.Timedelta(_WEEKEND))
    usual = pd.to_timedelta(hosts["longest_quiet_us"].fillna(0).astype("int64"), "us")
    allowed = least.combine(usual * rules.silent_factor, max)
    quiet = now - hosts["last_sign"]
    silent = ((quiet > allowed) | (quiet > MEMORY)).astype("boolean")
    return silent.mask(hosts["last_sign"].isna())


# The module and the kernel that were seen last.
def _tracing(tracer: Iterable[Row]) -> pd.DataFrame:
    import pandas as pd

    found: dict[str, dict[str, Any]] = {}
    for row in sorted(tracer, key=lambda row: row["at"]):
        own = found.setdefault(row["host"], {})
        if row["kernel"] is not None:
            own["kernel"] = row["kernel"]
        if row["module"] == "iotracehooking" and row["action"] in ("present", "add"):
            own |= {name: row[name] for name in ("version", "srcversion")}
    names = ["version", "srcversion", "kernel"]
    frame = pd.DataFrame.from_dict(found, "index", columns=names)
    frame = frame.astype("str").where(frame.notna()) if len(frame) else frame.astype("str")
    return frame.rename_axis("host")


# The worst that is known of each clock, and by how much it was off.
def _clocks(
    signs: pd.DataFrame, hosts: pd.DataFrame, now: datetime, rules: HostRules
) -> pd.DataFrame:
    import pandas as pd

    tolerance = pd.Timedelta(seconds=rules.clock_seconds)
    boots = signs.groupby(["host", "boot_id"], dropna=False).agg(
        first=("first_sign", "min"),
        last=("newest", "max"),
        early=("early", "min"),
        begun_first=("begun_first", "min"),
        begun_last=("begun_last", "max"),
        recent=("hour", "count"),
    )
    dated = hosts.index[hosts["known_us"].notna()] if "known_us" in hosts else hosts.index[:0]
    boots = boots.reset_index()
    boots = boots[(boots["recent"] > 0) | ~boots["host"].isin(dated)]
    moved = (boots["begun_last"] - boots["begun_first"]).groupby(boots["host"]).max()
    found = {
        "ahead": hosts["newest"] - now,
        "early": _by_host(boots[boots["early"].notna()], "early").rsub(now),
        "set": pd.concat([_timedelta(_set_back(signs)), _timedelta(moved)]).groupby("host").max(),
        "two_boots": _overlap(boots[boots["boot_id"].notna()]),
    }
    frame = pd.DataFrame(index=hosts.index, columns=["clock", "clock_off_us"])
    for name in reversed(CLOCKS):
        by = found[name].reindex(hosts.index)
        is_off = (by > tolerance).fillna(value=False).astype(bool)
        frame.loc[is_off, "clock"] = name
        frame.loc[is_off, "clock_off_us"] = by[is_off] // pd.Timedelta(microseconds=1)
    return frame.astype({"clock": "string", "clock_off_us": "Int64"})


def _by_host(boots: pd.DataFrame, name: str) -> pd.Series:
    least: pd.Series = boots.groupby("host")[name].min()
    return least


def _timedelta(microseconds: pd.Series) -> pd.Series:
    import pandas as pd

    known = microseconds.dropna().astype("int64")
    return pd.Series(pd.to_timedelta(known, "us"), known.index)


# By how much a clock fell behind the kernel's. What was read late stands too late, so of each hour
# counts what was read soonest.
def _set_back(signs: pd.DataFrame) -> pd.Series:
    known = signs[signs["offset_us"].notna() & signs["hour"].notna() & signs["boot_id"].notna()]
    known = known.sort_values(["host", "boot_id", "us"])
    before = known.groupby(["host", "boot_id"])["offset_us"].cummax()
    fell: pd.Series = (before - known["offset_us"]).groupby(known["host"]).max()
    return fell


# How long two boots of a machine overlap, of the two that do most.
def _overlap(boots: pd.DataFrame) -> pd.Series:
    boots = boots[boots["first"].notna()].sort_values(["host", "first"])
    before = boots.groupby("host")["last"].cummax().groupby(boots["host"]).shift()
    common = boots["last"].where(boots["last"] < before, before) - boots["first"]
    longest: pd.Series = common.groupby(boots["host"]).max()
    return longest
