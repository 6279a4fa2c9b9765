"""The commands that list and total what is stored: ``runs``, ``incidents``, ``stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logtrace.commands.options import (
    Selection,
    filter_options,
    format_options,
    names_of,
    verbosity_options,
)
from logtrace.commands.output import (
    NOTHING_MATCHED,
    fail_if_none,
    note,
    visible,
    write,
    write_flow,
)

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from logtrace.engine import Engine, Filters


@click.command()
@filter_options
@format_options
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many runs.")
@verbosity_options
@click.pass_context
def runs(ctx: click.Context, selection: Selection, output: str, limit: int | None) -> None:
    """List runs, newest first."""
    from logtrace.engine import NEWEST_FIRST

    engine, filters = selection.engine(), selection.filters
    if output != "table" and limit is None:
        found = write_flow(engine.rows_in_batches("runs", filters, order=NEWEST_FIRST), output)
    else:
        frame = engine.newest_runs(filters, limit)
        found = len(frame)
        if output == "table":
            from logtrace import terminal

            terminal.print_runs(terminal.console(), frame, selection.zone)
        else:
            write(frame, output)
    fail_if_none(ctx, selection.by_name and limit != 0, found)


@click.command()
@filter_options
@click.option(
    "--by",
    type=click.Choice(["fingerprint", "module"]),
    help="Count those of one cause, or of one module.",
)
@click.option("--id", "incident_id", metavar="ID", help="Print the report whose id begins so.")
@format_options
@verbosity_options
@click.pass_context
def incidents(
    ctx: click.Context, selection: Selection, by: str | None, incident_id: str | None, output: str
) -> None:
    """List what the kernel reported of faults, newest first."""
    from logtrace import incident_list, terminal

    frame = incident_list.incidents(selection.engine(), selection.filters, incident_id)
    if by:
        count = incident_list.by_module if by == "module" else incident_list.by_fingerprint
        frame = count(frame)
    if output != "table":
        write(frame, output)
    elif by:
        terminal.print_causes(terminal.console(), frame, selection.zone)
    elif incident_id is not None:
        for report in frame["report"]:
            click.echo(visible(report))
    else:
        terminal.print_incidents(terminal.console(), frame, selection.zone)
    if (selection.by_name or incident_id is not None) and not len(frame):
        note(ctx, "no incident matches")
        ctx.exit(NOTHING_MATCHED)


@click.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    default="owner",
    show_default=True,
    help="What to total by: owner (or student), program (or comm), host, file, status, dialect,"
    " day, hour, weekday, hour-of-day.",
)
@format_options
@verbosity_options
@click.pass_context
def stats(ctx: click.Context, selection: Selection, by: str, output: str) -> None:
    """Total the runs: how many, of what, how many bytes and calls."""
    from logtrace.stats import period_before, statistics
    from logtrace.when import utc_now

    engine, filters, now = selection.engine(), selection.filters, utc_now()
    keys = names_of(by)
    frame = statistics(engine, keys, filters, period_before(filters, now))
    if keys == ["host"]:
        frame = _with_machines(engine, frame, filters, now)
    if output == "table":
        from logtrace import terminal
        from logtrace.trend import trend

        over_time = trend(engine, frame, keys, filters, now)
        terminal.print_usage(terminal.console(), frame, keys, selection.zone, over_time)
    else:
        write(frame, output)
    fail_if_none(ctx, selection.by_name, len(frame))


# How each machine stands; those without runs, too, unless it is asked for runs of one kind only.
def _with_machines(
    engine: Engine, usage: pd.DataFrame, filters: Filters, now: datetime
) -> pd.DataFrame:
    from dataclasses import replace

    from logtrace import config, hosts
    from logtrace.engine import Filters
    from logtrace.overview import machines

    found = machines(engine, filters, now, config.load().hosts)
    any_runs = replace(filters, since=None, until=None, host=None) == Filters()
    return hosts.beside(usage, found, all_hosts=any_runs)
