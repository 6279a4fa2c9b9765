"""Options that several commands share."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from logtrace.errors import QueryError

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from logtrace.cluster import Cluster
    from logtrace.engine import Engine, Filters

P = ParamSpec("P")
R = TypeVar("R")


def verbosity_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``-q`` and ``-v``."""

    def remember(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
            ctx.find_root().meta[name] = value

        return callback

    quiet = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=remember("quiet"),
        help="Print results only, no notes.",
    )  # fmt: skip
    verbose = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=remember("verbose"),
        help="Show where an error came from.",
    )  # fmt: skip
    return quiet(verbose(command))


def is_quiet(ctx: click.Context) -> bool:
    """Whether ``-q`` was given."""
    return bool(ctx.find_root().meta.get("quiet"))


def names_of(text: str) -> list[str]:
    """Give the names that commas separate, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def store_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--store``."""
    return click.option(
        "--store",
        "url",
        metavar="URL",
        default=None,
        help="Folder of the store, or s3://BUCKET/PREFIX. Default: $LOGTRACE_STORE, else"
        " /var/lib/logtrace for root and ~/.local/share/logtrace for a user.",
    )(command)


def zone_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--tz``."""
    return click.option(
        "--tz",
        "zone",
        metavar="ZONE",
        callback=lambda _ctx, _option, value: _zone(value),
        help="Time zone of times given and shown, such as Asia/Seoul. Default: the machine's.",
    )(command)


def host_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--host`` for what is stored."""

    def named(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str:
        from logtrace.record import printable

        if value == "":
            raise click.BadParameter("a machine's name can't be empty")
        return printable(value or socket.gethostname())

    return click.option(
        "--host",
        metavar="NAME",
        callback=named,
        help="Whose log it is, where the log does not say. Default: this machine's name.",
    )(command)


def engine_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--engine`` and ``--scheduler``; the command gets what connects to the cluster."""

    @functools.wraps(command)
    def with_cluster(engine: str | None, scheduler: str | None, **rest: Any) -> R:
        if engine == "local" and scheduler:
            raise click.UsageError("--scheduler is of --engine dask, and the engine is local")
        if engine != "dask" and not scheduler:
            return command(connect=lambda: None, **rest)
        ctx = click.get_current_context()

        @functools.cache
        def connect() -> Cluster:
            from logtrace.cluster import Cluster, default_scheduler

            cluster = Cluster(scheduler or default_scheduler())
            ctx.call_on_close(cluster.close)
            return cluster

        return command(connect=connect, **rest)

    choose = click.option(
        "--engine",
        type=click.Choice(["local", "dask"]),
        help="Who does the work: this process, or a Dask cluster. Default: local, and dask with"
        " --scheduler.",
    )
    address = click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="The cluster's scheduler, such as tcp://lab:8786. Default: $LOGTRACE_SCHEDULER.",
    )
    return choose(address(with_cluster))


def form_option(*more: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add ``--format`` for the form of a log: one of ``forms.FORMS``, or of some more."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["kmsg", "json", "syslog", "dmesg", "verbose", "export", *more]),
        help="The log's form. Default: that of its first lines.",
    )


def format_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--format`` and ``--json`` for a table."""
    json_too = click.option("--json", "output", flag_value="json", help="Same as --format json.")
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "csv", "json", "parquet"]),
        default="table",
        show_default=True,
        help="How to print it; parquet only into a file or pipe.",
    )(json_too(command))


def trace_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add ``--detail``, ``--wide`` and ``--follow``; the command gets them as `ways.Options`."""

    @functools.wraps(command)
    def with_options(detail: bool, wide: bool, follow: bool, **rest: Any) -> R:
        from logtrace.ways import Options

        asked = {Options.DETAIL: detail, Options.WIDE: wide, Options.FOLLOW: follow}
        options = sum((option for option, on in asked.items() if on), Options.NONE)
        return command(options=Options(options), **rest)

    options = [
        click.option("--detail", is_flag=True, help="Show each file: calls, bytes, and whether it"
                     " was left open."),
        click.option("--wide", is_flag=True, help="Show each system call that works on files:"
                     " how often, errors, bytes, time."),
        click.option("--follow", is_flag=True, help="Trace the children too, each as a run of its"
                     " own, and show them together."),
    ]  # fmt: skip
    for option in reversed(options):
        with_options = option(with_options)
    return with_options


def filter_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the filters, store, zone and engine; the command gets them as `Selection`."""

    @functools.wraps(command)
    def with_selection(
        url: str | None,
        zone: ZoneInfo,
        since: str | None,
        until: str | None,
        connect: Callable[[], Cluster | None],
        **rest: Any,
    ) -> R:
        names = ("host", "owner", "comm", "file", "pid", "status", "boot")
        exact = {name: rest.pop(name) for name in names}
        by_name = any(value is not None for value in exact.values())
        choose = functools.partial(_filters, since, until, zone, exact)
        return command(Selection(url, zone, choose(), by_name, choose, connect), **rest)

    options: list[Callable[..., Any]] = [
        click.option("--since", metavar="TIME", help="Only runs from this time on: today,"
                     " monday, '2 hours ago', 10:30, 2026-11-23, boot, @epoch, ..."),
        click.option("--until", metavar="TIME", help="Only runs before this time."),
        click.option("--host", metavar="NAME", help="Only runs of this machine."),
        click.option("--owner", metavar="ID", help="Only runs with this id in the stats line."),
        click.option("--comm", metavar="NAME", help="Only runs of this program."),
        click.option("--file", metavar="NAME", help="Only runs that opened this file last."),
        click.option("--pid", type=int, metavar="PID", help="Only runs of this process id."),
        click.option("--status", metavar="STATUS", help="Only runs of this status: complete,"
                     " no_start, no_stats, no_end, ambiguous, truncated."),
        click.option("--boot", metavar="ID", help="Only runs of this boot id."),
        zone_option,
        store_option,
        engine_options,
    ]  # fmt: skip
    for option in reversed(options):
        with_selection = option(with_selection)
    return with_selection


@dataclass(frozen=True)
class Selection:
    """What the filter options select.

    Parameters
    ----------
    url
        The store's URL, or None for the default.
    zone
        The zone of times.
    filters
        Which rows.
    by_name
        Whether something is asked for by name, so that finding nothing is a failure.
    choose
        Gives the filters anew, with what words for times mean by then.
    connect
        Gives the cluster to ask, if it is one, always the same.
    """

    url: str | None
    zone: ZoneInfo
    filters: Filters
    by_name: bool
    choose: Callable[[], Filters]
    connect: Callable[[], Cluster | None]

    def engine(self) -> Engine:
        """Open the store to read it."""
        from logtrace.engine import Engine
        from logtrace.store import Store, default_url

        store = Store(self.url or default_url())
        return Engine(store, str(self.zone), _never_totals, self.connect())


# Reading the dialects is put off: most stores have no runs of which it must be known.
def _never_totals() -> list[str]:
    from logtrace.grammar import never_totals

    return never_totals()


def _filters(
    since: str | None, until: str | None, zone: ZoneInfo, exact: dict[str, Any]
) -> Filters:
    from logtrace import schema
    from logtrace.engine import Filters
    from logtrace.when import booted, parse_time, utc_now

    status = exact["status"]
    if status is not None and status not in schema.STATUSES:
        raise QueryError(f"--status {status}: unknown", f"use {', '.join(schema.STATUSES)}")
    now, boot = utc_now(), booted()

    def time_of(option: str, word: str | None) -> datetime | None:
        try:
            return None if word is None else parse_time(word, now=now, zone=zone, booted=boot)
        except QueryError as error:
            raise QueryError(f"{option}: {error.message}", error.remedy) from None

    since_at, until_at = time_of("--since", since), time_of("--until", until)
    if since_at and until_at and since_at >= until_at:
        raise QueryError(f"--since {since} is not before --until {until}")
    return Filters(since_at, until_at, **exact)


def _zone(name: str | None) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        if name is not None:
            return ZoneInfo(name)
        from tzlocal import get_localzone

        return ZoneInfo(str(get_localzone()))
    except (OSError, ValueError, KeyError):
        told = "this machine's time zone has no name" if name is None else f"no zone is {name!r}"
        raise click.BadParameter(f"{told}; name one such as Asia/Seoul or UTC") from None
