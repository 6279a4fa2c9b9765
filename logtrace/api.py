"""logtrace for Python: logs and stores -> pandas frames.

Integers are nullable ``Int64``, text is ``str``, times are ``datetime64[us, UTC]``, yes and no is
nullable ``boolean``; what no line printed is null. docs/format.md says what the columns mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack
from zoneinfo import ZoneInfo

import pyarrow as pa

from logtrace import schema, stats
from logtrace.engine import Engine, Filters
from logtrace.errors import QueryError
from logtrace.naming import instead_of
from logtrace.store import Store, default_url, hostname
from logtrace.when import booted, parse_time, utc_now

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.machines import Found


class Log(NamedTuple):
    """What stands in a log.

    Parameters
    ----------
    runs
        ``schema.RUNS``: one row a run, in the order in which they began.
    files, calls
        ``schema.FILES`` and ``schema.CALLS``: what runs did with each file and in each system
        call, where they were asked for it.
    losses
        ``schema.LOSSES``: what is missing of the log, or was not understood.
    incidents
        ``schema.INCIDENTS``: the kernel's reports of faults.
    """

    runs: pd.DataFrame
    files: pd.DataFrame
    calls: pd.DataFrame
    losses: pd.DataFrame
    incidents: pd.DataFrame


class Selecting(TypedDict, total=False):
    """Which runs of a store are meant; without any, all.

    Parameters
    ----------
    since, until
        The range ``[since, until)`` in which a run started: a time, or a word such as
        ``"monday"``, ``"2 hours ago"``; what has no zone is in that of `tz`.
    tz
        Name of a time zone, such as ``"Asia/Seoul"``. Default: that of this machine.
    host, owner, comm, file, pid, status, boot
        Exact values.
    """

    since: str | datetime | None
    until: str | datetime | None
    tz: str | None
    host: str | None
    owner: str | None
    comm: str | None
    file: str | None
    pid: int | None
    status: str | None
    boot: str | None


def read_log(
    path: str | os.PathLike[str],
    *,
    host: str | None = None,
    boot_id: str | None = None,
    form: str | None = None,
    tz: str | None = None,
    year: int | None = None,
) -> Log:
    """Read a finished log, without a store.

    Parameters
    ----------
    path
        A log in any form that ``logtrace import`` reads, plain or compressed, a journal file of
        systemd, or a folder of them.
    host
        The machine whose log it is, where the log does not say. Default: this one.
    boot_id
        The boot that it is of; of several, the first.
    form
        Its form, see docs/forms.md. Default: that of its first lines.
    tz
        Name of the zone of stamps without one. Default: that of this machine.
    year
        The year of the first stamp without one. Default: the latest that fits the file's time.

    Returns
    -------
    Log
        Frames of runs, files, calls, losses and incidents.

    Raises
    ------
    SourceError
        If a log can't be read.
    QueryError
        If the zone is not known.
    """
    from logtrace.grammar import never_totals
    from logtrace.sequences import take_apart

    tables = {name: schema.TABLES[name].empty_table() for name in Log._fields}
    for found in _found(Path(path), host or hostname(), boot_id, form, _zone(tz), year):
        rows = found.rows._asdict() | {"runs": found.runs, "incidents": found.incidents}
        for name, table in tables.items():
            own = schema.to_table(rows[name], table.schema)
            # what is read in bulk is found before what is not
            own = own.sort_by("first_seq" if "first_seq" in own.column_names else "ended_seq")
            tables[name] = pa.concat_tables([table, own])
    runs = take_apart(tables["runs"], tables["losses"], never_totals)
    tables["runs"] = runs.select(schema.RUNS.names)
    return Log(**{name: schema.to_frame(table) for name, table in tables.items()})


# What stands in each log. One that is there twice, as by another name, is read once.
def _found(
    path: Path, host: str, boot_id: str | None, form: str | None, zone: ZoneInfo, year: int | None
) -> Iterator[Found]:
    from logtrace.importer import find_logs, opened
    from logtrace.machines import Found

    read: set[str] = set()
    for each in find_logs([path]):
        with opened(each, host, boot_id, form=form, zone=zone, year=year) as log:
            if log.digest in read:
                continue
            read.add(log.digest)
            whole = Found()
            for batch in log.batches(lambda _host: -1):
                for found in batch.found.values():
                    whole.add(found)
        yield whole


def load_runs(
    store: str | os.PathLike[str] | None = None, **which: Unpack[Selecting]
) -> pd.DataFrame:
    """Load the runs of a store, newest first.

    Parameters
    ----------
    store
        Its folder. Default: ``$LOGTRACE_STORE``, else the one that the commands use.
    **which
        ``since``, ``until``, ``tz``, ``host``, ``owner``, ``comm``, ``file``, ``pid``, ``status``,
        ``boot``: see `Selecting`.

    Returns
    -------
    pandas.DataFrame
        ``schema.RUNS``: one row a run.

    Raises
    ------
    StoreError
        If the store does not exist or can't be read.
    QueryError
        If a time, the zone or the status is not understood.
    """
    engine, filters = _engine(store, which)
    return engine.newest_runs(filters)


def statistics(
    store: str | os.PathLike[str] | None = None,
    by: str | Sequence[str] = (),
    **which: Unpack[Selecting],
) -> pd.DataFrame:
    """Total the runs of a store.

    Parameters
    ----------
    store
        Its folder. Default: ``$LOGTRACE_STORE``, else the one that the commands use.
    by
        What to total by, one of ``stats.KEYS`` or several: ``"owner"``, ``["host", "day"]``.
        Default: all in one row.
    **which
        ``since``, ``until``, ``tz`` (in which days begin, too), ``host``, ``owner``, ``comm``,
        ``file``, ``pid``, ``status``, ``boot``: see `Selecting`.

    Returns
    -------
    pandas.DataFrame
        As `logtrace.stats.statistics` gives: a row a group, most runs first. With `since`, also
        the change against the period before.

    Raises
    ------
    StoreError
        If the store does not exist or can't be read.
    QueryError
        If a key, a time, the zone or the status is not understood.
    """
    engine, filters = _engine(store, which)
    keys = [by] if isinstance(by, str) else list(by)
    return stats.statistics(engine, keys, filters, stats.period_before(filters, utc_now()))


def _engine(store: str | os.PathLike[str] | None, which: Selecting) -> tuple[Engine, Filters]:
    from logtrace.grammar import never_totals

    zone = _zone(which.get("tz"))
    exact: dict[str, Any] = {name: value for name, value in which.items() if name != "tz"}
    exact |= {name: _moment(which.get(name), zone) for name in ("since", "until")}
    status = exact.get("status")
    if status is not None and status not in schema.STATUSES:
        raise QueryError(f"status {status}: unknown", instead_of(str(status), schema.STATUSES))
    url = default_url() if store is None else os.fspath(store)
    return Engine(Store(url), str(zone), never_totals), Filters(**exact)


def _moment(said: object, zone: ZoneInfo) -> datetime | None:
    if isinstance(said, str):
        return parse_time(said, now=utc_now(), zone=zone, booted=booted())
    if isinstance(said, datetime):
        return (said if said.tzinfo else said.replace(tzinfo=zone)).astimezone(UTC)
    if said is None:
        return None
    raise TypeError(f"a time is a text or a datetime, and {said!r} is neither")


def _zone(name: str | None) -> ZoneInfo:
    from tzlocal import get_localzone

    try:
        return ZoneInfo(str(get_localzone()) if name is None else name)
    except (OSError, ValueError, KeyError):
        told = "this machine's time zone has no name" if name is None else f"no zone is {name!r}"
        raise QueryError(told, "name one with tz, such as 'Asia/Seoul' or 'UTC'") from None
