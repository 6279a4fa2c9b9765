"""The command ``check``."""

from __future__ import annotations

from pathlib import Path

import click

from logtrace.commands.options import Selection, filter_options, format_options, verbosity_options
from logtrace.commands.output import fail_if_none, note, write

_MOST_NAMED = 8


@click.command()
@click.argument("expected", metavar="EXPECTED.toml", type=click.Path(path_type=Path))
@filter_options
@click.option(
    "--grades", is_flag=True, help="What each owner gets for each task, not a line a run."
)
@format_options
@verbosity_options
@click.pass_context
def check(
    ctx: click.Context, selection: Selection, expected: Path, grades: bool, output: str
) -> None:
    """Grade runs against a file that says what is expected of them.

    The exit code is 0 only if everybody did everything that is expected.
    """
    from logtrace import config
    from logtrace.check import grade
    from logtrace.expectation import read_expectation
    from logtrace.findings import of_runs

    expectation = read_expectation(expected)
    engine, filters = selection.engine(), selection.filters
    graded = grade(
        expectation,
        engine.rows("runs", filters),
        engine.rows("files", filters) if expectation.asks_for_files else None,
        of_runs(engine, filters, config.load().findings) if expectation.asks_for_findings else None,
        only_owner=filters.owner,
    )
    if strangers := graded.strangers:
        named = ", ".join(strangers[:_MOST_NAMED])
        more = len(strangers) - _MOST_NAMED
        note(ctx, f"not on the roster, left out: {named}{f' and {more} more' if more > 0 else ''}")
    if output != "table":
        write(graded.grades if grades else graded.runs, output)
    else:
        from logtrace import terminal
        from logtrace.check_tables import print_graded_runs, print_grades

        if not grades:
            print_graded_runs(terminal.console(), graded.runs, selection.zone)
            click.echo()
        print_grades(terminal.console(), graded.grades)
    fail_if_none(ctx, True, len(graded.runs))
    ctx.exit(int(not graded.all_match))
