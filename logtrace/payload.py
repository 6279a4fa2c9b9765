"""The data that a page carries for its script, in little room.

Ten thousand runs repeat few names: text is written once and referred to by number, and a
column is one array, so that no name of a column is repeated either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from logtrace.contents import ReportData, times_of
from logtrace.cube import OTHER
from logtrace.display import state_text, visible
from logtrace.page_script import pack
from logtrace.schema import COUNTERS, to_rows

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.cube import Cube

_TEXTS = ("host", "owner", "comm", "file", "status")
_OF_HOSTS = ("host", "state", "version", "srcversion", "kernel")
_NUMBERS_OF_HOSTS = (
    "runs",
    "incomplete",
    "incidents",
    "lost",
    "traced",
    "untraced",
    "days",
)
_NUMBERS = ("pid", *COUNTERS)
_MEASURES = ("runs", "incomplete", *COUNTERS)
# Of the room, where there is too little: for cells of more keys than a page is filtered by
_SHARE_OF_CELLS = 0.5
_FEWEST_RUNS = 250  # that a page carries, however large it gets
_EXACT = 2**53  # where the whole numbers end that JavaScript's hold exactly


def packed_payload(
    data: ReportData, width: int, most: int, room: int, pages: int
) -> tuple[str, int]:
    """Pack what the page's script works on, with as many of the newest runs as have room.

    Parameters
    ----------
    data
        The report's contents.
    width
        The width of a bucket of its cells in seconds.
    most
        How many runs at most.
    room
        How many bytes it may take.
    pages
        How many of the runs, from the newest, have a page of their own.

    Returns
    -------
    tuple of str and int
        JSON of ``runs``, ``cube``, ``week`` and ``hosts``, packed, and the number of runs in it.
    """
    shared: dict[str, Any] = {"cube": None, "week": None, "hosts": None}
    if data.hosts is not None:
        shared["hosts"] = hosts_payload(data.hosts, data.zone)
    if data.cube is not None:
        shared |= {
            "cube": cube_payload(data.cube, data.zone, width),
            "week": week_payload(data.cube, data.zone),
        }

    def packed_with(count: int) -> str:
        runs = runs_payload(data.runs.head(count), data.zone) | {"pages": min(pages, count)}
        return pack(_json(shared | {"runs": runs}))

    count = min(len(data.runs), most)
    packed = packed_with(count)
    if (
        len(packed) > room
        and data.cube is not None
        and len(pack(_json(shared["cube"]))) > room * _SHARE_OF_CELLS
    ):
        shared["cube"] = cube_payload(data.cube.by_names(), data.zone, width)
        packed = packed_with(count)
    while len(packed) > room and count > _FEWEST_RUNS:
        smaller = int(count * room / len(packed) * 0.98)
        count = max(min(count - 1, smaller), _FEWEST_RUNS)
        packed = packed_with(count)
    return packed, count


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def runs_payload(runs: pd.DataFrame, zone: tzinfo) -> dict[str, Any]:
    """Lay out runs as columns.

    Parameters
    ----------
    runs
        The table `logtrace.schema.RUNS`.
    zone
        The zone in which times are shown.

    Returns
    -------
    dict
        ``count``; ``id``; ``at``, see `wall_times`, and the rows for which it is the ``ended``
        time because the start was not seen; text columns as ``values`` and ``codes``
        (-1 for null); numbers as arrays; ``took``, microseconds of the kernel's clock.
    """
    runs = runs.reset_index(drop=True)
    took = runs["ended_us"] - runs["started_us"]
    no_start = runs["started_at"].isna() & runs["ended_at"].notna()
    return {
        "count": len(runs),
        "id": _list(runs["run_id"]),
        "at": wall_times(times_of(runs), zone),
        "ended": no_start.index[no_start].tolist(),
        "took": _list(took),
        **{name: _text(runs[name]) for name in _TEXTS},
        **{name: _list(runs[name]) for name in _NUMBERS},
    }


def hosts_payload(hosts: pd.DataFrame, zone: tzinfo) -> dict[str, Any]:
    """Lay out how machines stand as columns, those first that need a look.

    Parameters
    ----------
    hosts
        What `logtrace.hosts.of_store` gives.
    zone
        The zone in which times are shown.

    Returns
    -------
    dict
        ``count``; times as ``last_sign`` and ``first_run``, see `wall_times`; texts as ``values``
        and ``codes`` (-1 for null), ``state`` as `logtrace.display.state_text` says it; numbers as
        arrays.
    """
    import pandas as pd

    fine = hosts["clock"].isna() & ~hosts["silent"].fillna(value=False).astype(bool)
    order = fine.sort_values(kind="stable").index
    hosts = hosts.loc[order].reset_index(drop=True)
    hosts["state"] = pd.Series(map(state_text, to_rows(hosts)), dtype="str")
    texts = {name: _text(hosts[name]) for name in _OF_HOSTS}
    times = {name: wall_times(hosts[name], zone) for name in ("last_sign", "first_run")}
    numbers = {name: _list(hosts[name]) for name in _NUMBERS_OF_HOSTS}
    return {"count": len(hosts)} | texts | times | numbers


def cube_payload(cube: Cube, zone: tzinfo, width: int) -> dict[str, Any]:
    """Lay out the cells of a report over the time that a clock on the wall shows.

    When clocks are put back an hour comes twice; cells of the two are in one bucket here.

    Parameters
    ----------
    cube
        The cells.
    zone
        The zone in which times are shown.
    width
        The width of a bucket in seconds.

    Returns
    -------
    dict
        ``width`` (ms); ``at`` (ms of wall-clock time, null for none) and ``last_s``, seconds
        from there to the last run, one a cell; ``names``, see `_text`, with how many are
        ``folded``; ``measures``, an array each; of those that are ``large`` as strings, because
        their sum is more than JavaScript's numbers hold exactly.
    """
    cells = cube.cells
    at = _local_ms(cells["bucket"], zone)
    last = (_local_ms(cells["last_seen"], zone) - at) // 1000
    return {"width": width * 1000, "at": _list(at), "last_s": _list(last)} | _columns(
        cells.drop(columns=["bucket", "last_seen"]), cube.folded, zone
    )


def week_payload(cube: Cube, zone: tzinfo) -> dict[str, Any] | None:
    """Lay out the runs by the hour of the week, where the cells do not tell it.

    Parameters
    ----------
    cube
        The cells.
    zone
        The zone in which times are shown.

    Returns
    -------
    dict or None
        For each kind of names ``hour`` (0 to 167, null for no time), else as `cube_payload`.
    """
    if cube.week is None:
        return None
    return {
        name: {"at": [None] * len(cells), "hour": _list(cells["hour"])}
        | _columns(cells.drop(columns="hour"), {}, zone)
        for name, cells in cube.week.items()
    }


def _columns(cells: pd.DataFrame, folded: Mapping[str, int], zone: tzinfo) -> dict[str, Any]:
    columns = list(map(str, cells))
    measures = [name for name in columns if name in _MEASURES]
    # in Python's own numbers, which have no limit
    sums = {name: sum(abs(n) for n in _list(cells[name]) if n is not None) for name in measures}
    large = [name for name in measures if sums[name] >= _EXACT]
    names = [name for name in columns if name not in measures]
    return {
        "names": {
            name: _text(_shown(cells[name], zone)) | {"folded": folded.get(name, 0)}
            for name in names
        },
        "large": large,
        "measures": {
            name: [None if n is None else str(n) for n in _list(cells[name])]
            if name in large
            else _list(cells[name])
            for name in measures
        },
    }


# Keys that are times are shown to the minute, as in the tables of usage.
def _shown(keys: pd.Series, zone: tzinfo) -> pd.Series:
    if keys.dtype.kind != "M":
        return keys
    shown: pd.Series = keys.dt.tz_convert(zone).dt.strftime("%Y-%m-%d %H:%M")
    return shown


def wall_times(times: pd.Series, zone: tzinfo) -> dict[str, Any]:
    """Lay out times as a clock on the wall shows them.

    Parameters
    ----------
    times
        Times in UTC, with nulls.
    zone
        The zone to show them in.

    Returns
    -------
    dict
        ``base`` and ``ms``: wall-clock time as milliseconds is their sum (null for null);
        ``zones``: ``values`` and ``codes`` of the zone's abbreviations, and ``minutes`` east
        of UTC for each of the values.
    """
    times = times.reset_index(drop=True)
    local = times.dt.tz_convert(zone)
    ms = _local_ms(times, zone)
    base = int(ms.min()) if len(ms) and ms.notna().any() else 0
    offsets = (ms - _utc_ms(times)) // 60_000
    zones = _text(local.dt.strftime("%Z"))
    minutes = [int(offsets[row]) for row in _first_rows(zones["codes"])]
    if len(zones["values"]) < 2:
        zones.pop("codes")  # one zone throughout: nothing to tell apart
    return {"base": base, "ms": _list(ms - base), "zones": zones | {"minutes": minutes}}


def _first_rows(codes: list[int]) -> list[int]:
    return [codes.index(code) for code in range(max(codes, default=-1) + 1)]


def _local_ms(times: pd.Series, zone: tzinfo) -> pd.Series:
    return _ms(times.dt.tz_convert(zone).dt.tz_localize(None))


def _utc_ms(times: pd.Series) -> pd.Series:
    return _ms(times.dt.tz_localize(None))


def _ms(naive: pd.Series) -> pd.Series:
    numbers = naive.astype("datetime64[ms]").astype("int64").astype("Int64")
    return numbers.mask(naive.isna())


def _list(column: pd.Series) -> list[Any]:
    import pyarrow as pa

    return pa.array(column, from_pandas=True).to_pylist()  # type: ignore[no-any-return]


# Text as ``values`` and ``codes``, -1 for null.
def _text(column: pd.Series) -> dict[str, Any]:
    codes, values = column.factorize()
    shown = [OTHER if v == OTHER else visible(str(v)) for v in values]
    return {"values": shown, "codes": codes.tolist()}
