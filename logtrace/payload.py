"""The data that a page carries for its script, in little room.

Ten thousand runs repeat few names: text is written once and referred to by number, and a
column is one array, so that no name of a column is repeated either.
"""

from __future__ import annotations

import json
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from logtrace.contents import times_of
from logtrace.display import visible
from logtrace.schema import COUNTERS

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = ("host", "owner", "comm", "file", "status")
_NUMBERS = ("pid", *COUNTERS)
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def to_json(value: object) -> str:
    """Write JSON that can stand inside an HTML script element.

    Parameters
    ----------
    value
        What `json.dumps` takes.

    Returns
    -------
    str
        JSON without ``<``, ``>``, ``&`` and line separators: nothing in it can end the element.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES)


def newest_runs(
    runs: pd.DataFrame, zone: tzinfo, most: int, room: int, pages: int
) -> tuple[str, int]:
    """Write the newest runs, as many as there is room for.

    Parameters
    ----------
    runs
        The table `logtrace.schema.RUNS`, newest first.
    zone
        The zone in which times are shown.
    most
        How many runs at most.
    room
        How many bytes the JSON may take.
    pages
        How many of the runs, from the newest, have a page of their own.

    Returns
    -------
    tuple of str and int
        The JSON and the number of runs in it.
    """
    count = min(len(runs), most)
    while True:
        text = to_json(runs_payload(runs.head(count), zone) | {"pages": min(pages, count)})
        size = len(text.encode(errors="surrogatepass"))
        if size <= room or count == 0:
            return text, count
        count = min(count - 1, int(count * room / size * 0.98))


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


def timeline_payload(timeline: pd.DataFrame, zone: tzinfo, width: int) -> dict[str, Any]:
    """Lay out the timeline as columns over the time that a clock on the wall shows.

    When clocks are put back an hour comes twice; the two are one bucket here.

    Parameters
    ----------
    timeline
        ``start`` (UTC), ``runs``, ``incomplete``, ``read_bytes``, ``written_bytes``.
    zone
        The zone in which times are shown.
    width
        The width of a bucket in seconds.

    Returns
    -------
    dict
        ``width`` (ms), ``at`` (ms of wall-clock time), and an array for each number.
    """
    numbers = ["runs", "incomplete", "read_bytes", "written_bytes"]
    known = timeline[timeline["start"].notna()]
    local = _local_ms(known["start"], zone)
    merged = known[numbers].groupby(local.to_numpy()).sum().sort_index()
    return {
        "width": width * 1000,
        "at": [int(at) for at in merged.index],
        **{name: [int(n) for n in merged[name]] for name in numbers},
    }


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


def _text(column: pd.Series) -> dict[str, Any]:
    codes, values = column.factorize()
    return {"values": [visible(str(v)) for v in values], "codes": codes.tolist()}
