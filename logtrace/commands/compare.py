"""The command ``compare``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from logtrace.commands.options import (
    Selection,
    filter_options,
    format_options,
    names_of,
    verbosity_options,
)
from logtrace.commands.output import NOTHING_MATCHED, fail_if_none, note, write

if TYPE_CHECKING:
    import pandas as pd


_RUN_ID = re.compile("[0-9a-f]{1,16}", re.IGNORECASE)


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@filter_options
@click.option("--by", metavar="KEY[,KEY]", help="Compare periods by this, as for stats.")
@format_options
@verbosity_options
@click.pass_context
def compare(
    ctx: click.Context,
    selection: Selection,
    first: str,
    second: str,
    by: str | None,
    output: str,
) -> None:
    """Show what differs between two runs, or between two periods.

    A and B are both the beginning of a run's id, or both a period: a day, week, month or year
    (yesterday, last-week, 2026-11), or FROM..TO.
    """
    names = first, second
    are_runs = [_RUN_ID.fullmatch(name) is not None for name in names]
    if len(set(are_runs)) == 2:
        raise click.UsageError("one is a run, one a period: name two of a kind")
    keys = ["part", "name"] if are_runs[0] else names_of(by) if by else []
    if are_runs[0]:
        if by:
            raise click.UsageError("--by is of periods: two runs are compared whole")
        frame = _compared_runs(ctx, selection, names)
    else:
        frame = _compared_periods(ctx, selection, names, keys)
    if output != "table":
        write(frame, output)
        return
    from logtrace import terminal
    from logtrace.compare_tables import print_comparison

    if are_runs[0] and frame["name"].isna().all():
        keys = []
    print_comparison(terminal.console(), frame, keys, names, selection.zone)


def _compared_runs(
    ctx: click.Context, selection: Selection, names: tuple[str, str]
) -> pd.DataFrame:
    from logtrace.compare import compare_runs
    from logtrace.overview import narrow_to_run

    engine = selection.engine()
    filters = [narrow_to_run(engine, selection.filters, name) for name in names]
    first, second = (
        {table: engine.rows(table, each) for table in ("runs", "files", "calls")}
        for each in filters
    )
    for name, found in zip(names, (first, second), strict=True):
        if found["runs"].empty:
            note(ctx, f"no run's id begins with {name}")
            ctx.exit(NOTHING_MATCHED)
    return compare_runs(*((first[table], second[table]) for table in ("runs", "files", "calls")))


def _compared_periods(
    ctx: click.Context, selection: Selection, names: tuple[str, str], keys: list[str]
) -> pd.DataFrame:
    from dataclasses import replace

    from logtrace.compare import compare_usage
    from logtrace.stats import statistics
    from logtrace.when import booted, parse_period, utc_now

    if selection.filters.since or selection.filters.until:
        raise click.UsageError("--since and --until are of runs: the periods say when")
    now, boot = utc_now(), booted()
    periods = [parse_period(name, now=now, zone=selection.zone, booted=boot) for name in names]
    engine = selection.engine()
    first, second = (
        statistics(engine, keys, replace(selection.filters, since=since, until=until))
        for since, until in periods
    )
    fail_if_none(ctx, selection.by_name, int(first["runs"].sum() + second["runs"].sum()))
    return compare_usage(first, second, keys)
