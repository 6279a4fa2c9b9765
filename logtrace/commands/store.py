"""The commands ``logtrace store ...``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from logtrace.commands.options import format_options, store_option, verbosity_options, zone_option
from logtrace.commands.output import NOTHING_MATCHED, many, note, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

    from logtrace.store import HostTables, Store

T = TypeVar("T")

_only_host = click.option("--host", "only", metavar="NAME", help="Only this machine's tables.")


@click.group()
def store() -> None:
    """Look after a store: what is in it, whether it is whole, and how large it gets."""


@store.command()
@store_option
@_only_host
@zone_option
@format_options
@verbosity_options
@click.pass_context
def info(
    ctx: click.Context, url: str | None, only: str | None, zone: ZoneInfo, output: str
) -> None:
    """Say what is stored of each machine: rows, files, bytes, and since when nothing changed."""
    from logtrace import terminal
    from logtrace.upkeep import info

    opened, hosts = _open(ctx, url, only)
    frame = info(opened, hosts)
    if output == "table":
        terminal.print_tables(terminal.console(), frame, zone)
    else:
        write(frame, output)


@store.command()
@store_option
@_only_host
@verbosity_options
@click.pass_context
def compact(ctx: click.Context, url: str | None, only: str | None) -> None:
    """Join small files, which are slow to read; nothing changes in what is stored.

    What they were joined from is removed by the next compact or vacuum after an hour.
    """
    _for_each(ctx, url, only, lambda tables: tables.compact())


@store.command()
@store_option
@_only_host
@verbosity_options
@click.pass_context
def vacuum(ctx: click.Context, url: str | None, only: str | None) -> None:
    """Remove files over an hour old that no table needs any more."""
    removed = sum(_for_each(ctx, url, only, lambda tables: tables.vacuum()))
    note(ctx, f"{many(removed, 'file')} removed")


@store.command()
@click.option(
    "--keep",
    required=True,
    metavar="TIME",
    help="How long: 400d, 26w, '18 months', 2y.",
)
@store_option
@_only_host
@zone_option
@verbosity_options
@click.pass_context
def retain(
    ctx: click.Context, keep: str, url: str | None, only: str | None, zone: ZoneInfo
) -> None:
    """Remove what ended longer ago, for good: runs with their details, losses, incidents.

    How far logs have been read is kept, so that nothing of it is stored again. Files that held
    only such rows are removed after an hour, by the next vacuum.
    """
    from logtrace.errors import QueryError
    from logtrace.when import booted, parse_time, utc_now

    try:
        since = parse_time(f"{keep} ago", now=utc_now(), zone=zone, booted=booted())
    except QueryError:
        raise QueryError(f"--keep {keep}: not understood", "use 400d, 26w or 2y") from None

    def do(tables: HostTables) -> int:
        removed = tables.retain(since)
        tables.vacuum()
        return removed

    removed = sum(_for_each(ctx, url, only, do))
    note(ctx, f"{many(removed, 'run')} removed")


@store.command()
@store_option
@_only_host
@zone_option
@format_options
@verbosity_options
@click.pass_context
def verify(
    ctx: click.Context, url: str | None, only: str | None, zone: ZoneInfo, output: str
) -> None:
    """Find files that are missing or damaged, and rows that are gone or stored twice.

    Says of which machine, which records and when. The exit code is 1 if there is anything.
    """
    from logtrace import terminal
    from logtrace.verify import to_frame, verify

    opened, hosts = _open(ctx, url, only)
    frame = to_frame(verify(opened, hosts))
    if output != "table":
        write(frame, output)
    elif len(frame):
        terminal.print_troubles(terminal.console(), frame, zone)
    else:
        note(ctx, f"{many(len(hosts), 'machine')}: all is there, once")
    ctx.exit(int(len(frame) > 0))


def _open(ctx: click.Context, url: str | None, only: str | None) -> tuple[Store, list[str]]:
    from logtrace.store import Store, default_url

    opened = Store(url or default_url())
    opened.require()
    hosts = opened.hosts()
    if only is not None and only not in hosts:
        note(ctx, f"no machine {only} in {opened}")
        ctx.exit(NOTHING_MATCHED)
    return opened, hosts if only is None else [only]


def _for_each(
    ctx: click.Context, url: str | None, only: str | None, do: Callable[[HostTables], T]
) -> list[T]:
    from logtrace.upkeep import for_each

    opened, hosts = _open(ctx, url, only)
    return [done for _host, done in for_each(opened, hosts, do)]
