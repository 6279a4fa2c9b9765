"""The command ``ship``, and what ``watch`` needs to ship."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from logtrace.commands.options import is_quiet, store_option, verbosity_options
from logtrace.commands.output import note, visible, warn
from logtrace.sparing import spare_memory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from logtrace.errors import StoreError
    from logtrace.ship import Progress
    from logtrace.shipper import Shipper
    from logtrace.store import Store
    from logtrace.watch import Watch

_BAR_AFTER_S = 1.0
_RETRY_FOR_S = 300.0


@click.command()
@click.option(
    "--to",
    "lab_url",
    metavar="URL",
    help="The lab's store. Default: ship.to in logtrace.toml.",
)
@store_option
@click.option(
    "--retry-for",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=_RETRY_FOR_S,
    show_default=True,
    help="How long to try again where the lab's store can't be reached.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as lines of JSON.")
@verbosity_options
@click.pass_context
def ship(
    ctx: click.Context, lab_url: str | None, url: str | None, retry_for: float, as_json: bool
) -> None:
    """Bring what is new in this machine's store to the lab's, each row once.

    It may be repeated, killed, and run beside a watch. Where the lab has another machine of this
    name, rows get a name of their own, which is told.
    """
    spare_memory()
    from logtrace import config
    from logtrace.machine import this_machine
    from logtrace.ship import ship_all
    from logtrace.store import Store, default_url

    settings = config.load().ship
    lab_url = lab_url or settings.to
    if lab_url is None:
        raise click.UsageError("name the lab's store: --to URL, or ship.to in logtrace.toml")
    store, lab = Store(url or default_url()), Store(lab_url)

    def tell(error: StoreError, pause_s: float) -> None:
        note(ctx, f"{error}; trying again in {pause_s:.0f} s")

    with ExitStack() as stack:
        done = ship_all(
            store,
            lab,
            this_machine(),
            spool_bytes=settings.spool_bytes,
            retry_for_s=retry_for,
            show=_bar(ctx, stack, str(lab)),
            tell=tell,
        )
    for host, name in done.names.items():
        rows = {table: count for (whose, table), count in done.rows.items() if whose == host}
        if as_json:
            click.echo(json.dumps({"host": host, "name": name, "rows": rows}))
        elif not is_quiet(ctx):
            click.echo(visible(f"{host}: {_told(rows)}"))
        if name != host:
            warn(f"{host} is another machine in {lab}; what this one stored is {name} there")
    if done.removed:
        note(ctx, f"{done.removed:,} shipped rows were removed here, oldest first")


def own_store(url: str | None, lab_url: str | None) -> tuple[Store, Store | None]:
    """Open the store that a watch writes to, and the one that it is shipped to, if any.

    Parameters
    ----------
    url
        The host's own store, as of `logtrace.store.open_to_store`.
    lab_url
        The lab's; None for what the configuration says.

    Returns
    -------
    tuple
        Both stores; rows are refused by the first where it is full, see `logtrace.spool`.

    Raises
    ------
    ConfigError
        If the configuration makes no sense.
    StoreError
        If they can't be opened.
    """
    from logtrace import config
    from logtrace.spool import Room
    from logtrace.store import Store, open_to_store

    settings = config.load().ship
    lab_url = lab_url or settings.to
    store = open_to_store(url)
    if lab_url is None:
        return store, None
    lab = Store(lab_url)
    if settings.spool_bytes is None:
        return store, lab
    room = Room(store, settings.spool_bytes, str(lab))
    return Store(str(store), room), lab


def shipper(store: Store, lab: Store, zone: tzinfo, watching: Watch) -> Shipper:
    """Give what ships while a watch goes on, and shows it there."""
    from logtrace.shipper import Shipper, ship_command

    def tell(state: str, is_news: bool) -> None:
        watching.note_shipping(state, is_news=is_news)

    return Shipper(ship_command(str(store), str(lab)), str(lab), zone, tell)


def _told(rows: Mapping[str, int]) -> str:
    brought = [f"{count:,} {table}" for table, count in sorted(rows.items()) if count]
    return ", ".join(brought) or "nothing new"


# A bar on a terminal, for what takes over a second.
def _bar(ctx: click.Context, stack: ExitStack, lab: str) -> Callable[[Progress], None]:
    from logtrace import terminal

    console = terminal.console(stderr=True)
    if is_quiet(ctx) or not console.is_interactive:
        return lambda _progress: None
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Bar(*columns, TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task(visible(f"rows to {lab}"))
    show_at = time.monotonic() + _BAR_AFTER_S

    def show(progress: Progress) -> None:
        bar.update(task, completed=progress.done, total=progress.whole)
        if not bar.live.is_started and time.monotonic() > show_at:
            stack.enter_context(bar)

    return show
