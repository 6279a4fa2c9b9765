"""The command ``import``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from logtrace.commands.options import (
    engine_options,
    form_option,
    host_option,
    store_option,
    verbosity_options,
    zone_option,
)
from logtrace.commands.output import json_line, many, note, visible
from logtrace.errors import SourceError
from logtrace.sparing import spare_memory

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from logtrace.cluster import Cluster
    from logtrace.importer import Imported


@click.command("import")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@store_option
@host_option
@click.option("--boot-id", metavar="ID", help="The boot that the log is of; of several, the first.")
@form_option("pstore")
@zone_option
@click.option(
    "--year",
    type=click.IntRange(1991, 9999),
    metavar="YYYY",
    help="The year of the first stamp without one. Default: the latest that fits the file's time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as lines of JSON.")
@engine_options
@verbosity_options
@click.pass_context
def import_(
    ctx: click.Context,
    paths: tuple[Path, ...],
    url: str | None,
    host: str,
    boot_id: str | None,
    form: str | None,
    zone: ZoneInfo,
    year: int | None,
    as_json: bool,
    connect: Callable[[], Cluster | None],
) -> None:
    """Store the runs of finished logs of dmesg, journalctl, syslog, consoles or /dev/kmsg.

    PATH is a file (plain, .gz, .bz2, .xz or .zst), a folder, or - for standard input. What a log
    says of several machines goes into the tables of each. A log that was imported before is left
    out. What can't be read is named, and the rest imported.
    """
    spare_memory()
    from logtrace.importer import Importing, find_logs
    from logtrace.store import open_to_store

    store, how = open_to_store(url), Importing(host, boot_id, form, zone, year)
    failed = False
    for done in how.import_logs(store, find_logs(paths), connect()):
        if isinstance(done, SourceError):
            click.echo(f"Error: {visible(str(done))}", err=True)
            failed = True
            continue
        click.echo(json_line(vars(done)) if as_json else visible(_told(done)))
        if assumed := _assumed(done, zone):
            note(ctx, visible(f"{done.path}: {assumed}"))
    ctx.exit(int(failed))


def _told(done: Imported) -> str:
    if done.already_stored:
        return f"{done.path}: imported before, nothing to do"
    lost = f", {many(done.losses, 'line')} not understood" if done.losses else ""
    machines = f" of {len(done.hosts)} machines" if len(done.hosts) > 1 else ""
    told = f"{many(done.runs, 'run')} in {many(done.records, 'record')}"
    return f"{done.path}: {told}{machines}{lost}"


def _assumed(done: Imported, zone: ZoneInfo) -> str | None:
    if not done.assumed:
        return None
    years = [year for year in done.assumed if year != "zone"]
    taken = [f"year is taken as {' or '.join(years)} (--year)"] if years else []
    return f"its stamps' {' and '.join([*taken, f'zone as {zone} (--tz)'])}"
