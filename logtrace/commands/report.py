"""The commands ``report`` and ``serve``."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from logtrace.commands.options import Selection, filter_options, names_of, verbosity_options
from logtrace.commands.output import fail_if_none, many, note

_REPORT_FORMATS = ("html", "csv", "json", "parquet")
# Objects: a report makes little garbage, and to look for it takes a tenth of its time
_GARBAGE_AFTER = 100_000


@click.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    help="What to total by, as for stats. Default: by owner, by program, by host and by file.",
)
@click.option(
    "--run", "run_id", metavar="ID", help="Only the run whose id begins so; it must be one run."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("logtrace-report"),
    show_default=True,
    help="Folder to write into.",
)
@click.option(
    "--format",
    "formats",
    metavar="FORMAT[,FORMAT]",
    default="html,csv",
    show_default=True,
    callback=lambda _ctx, _option, value: _report_formats(value),
    help="Any of html, csv, json, parquet.",
)
@verbosity_options
@click.pass_context
def report(
    ctx: click.Context,
    selection: Selection,
    by: str | None,
    run_id: str | None,
    out: Path,
    formats: list[str],
) -> None:
    """Write a report: a page to look at, a page a run, and the tables as files.

    It prints the path of the first file. Where nothing was found of what is asked for by
    name, nothing is written.
    """
    gc.set_threshold(_GARBAGE_AFTER)
    from logtrace import config
    from logtrace.contents import totals_of
    from logtrace.overview import gather, narrow_to_run
    from logtrace.page import MOST_RUNS
    from logtrace.report import write_report
    from logtrace.when import utc_now

    engine, filters = selection.engine(), selection.filters
    if run_id is not None:
        filters = narrow_to_run(engine, filters, run_id)
    configured = config.load()
    data = gather(
        engine,
        filters,
        _groupings(by),
        zone=selection.zone,
        now=utc_now(),
        most_runs=MOST_RUNS,
        pages="html" in formats,
        thresholds=configured.findings,
        rules=configured.hosts,
    )
    fail_if_none(ctx, selection.by_name or run_id is not None, len(data.runs))
    written = write_report(data, out, formats)
    found = totals_of(data)["runs"]
    note(ctx, f"{many(found, 'run')}, {many(len(written), 'file')} in {out}")
    click.echo(written[0])


@click.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    help="What to total by, as for stats. Default: by owner, by program, by host and by file.",
)
@click.option(
    "--listen",
    "address",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; 0.0.0.0 for other machines too, who then need a token.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="Its port."
)
@verbosity_options
@click.pass_context
def serve(
    ctx: click.Context, selection: Selection, by: str | None, address: str, port: int
) -> None:
    """Show the live report in a browser.

    It prints the address to open. The page follows what is stored. Ctrl-C ends it.
    """
    from logtrace.board import Board
    from logtrace.serve import serve as serve_until_stopped  # says what is not installed

    board = Board(selection.engine, selection.choose, _groupings(by), selection.zone)
    board.snapshot()  # what is wrong with the store or the keys is told now
    serve_until_stopped(board, address, port, click.echo)


def _groupings(by: str | None) -> list[list[str]]:
    return [names_of(by)] if by else [["owner"], ["program"], ["host"], ["file"]]


def _report_formats(text: str) -> list[str]:
    names = names_of(text)
    for name in names:
        if name not in _REPORT_FORMATS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_REPORT_FORMATS)}")
    return names
