"""The commands that trace a program: ``run`` and ``attach``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logtrace.commands.options import trace_options, verbosity_options
from logtrace.commands.output import json_line, note

if TYPE_CHECKING:
    from logtrace.traced import Traced
    from logtrace.ways import Options


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@trace_options
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@verbosity_options
@click.pass_context
def run(ctx: click.Context, command: tuple[str, ...], options: Options, as_json: bool) -> None:
    """Trace a program and print what it did to its files.

    The program's output and exit code stay its own; the summary goes to standard error. Put
    -- before a program whose name begins with a dash.
    """
    from logtrace.traced import run_traced

    told = run_traced(command, options)
    _print_told(ctx, told, as_json=as_json, err=True)
    code = told.code or 0
    ctx.exit(128 - code if code < 0 else code)


@click.command()
@click.argument("pid", type=click.IntRange(min=1))
@trace_options
@click.option(
    "--end", is_flag=True, help="End a trace that was started before, instead of starting one."
)
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@verbosity_options
@click.pass_context
def attach(ctx: click.Context, pid: int, options: Options, end: bool, as_json: bool) -> None:
    """Trace a process that runs, until it ends or until Ctrl-C.

    Ctrl-C ends the trace, not the process. What it did meanwhile is printed.
    """
    from logtrace import trace, ways
    from logtrace.traced import attach_traced

    if end:
        trace.stop(pid, options & ways.Options.FOLLOW)
        note(ctx, f"the trace of {pid} has ended")
        return
    told = attach_traced(
        pid, options, started=lambda: note(ctx, f"tracing {pid}; Ctrl-C ends the trace")
    )
    _print_told(ctx, told, as_json=as_json, err=False)
    ctx.exit(int(told.run is None))


def _print_told(ctx: click.Context, told: Traced, *, as_json: bool, err: bool) -> None:
    from logtrace.traced import as_row, summary

    if told.run is None:
        note(ctx, f"no summary: {told.why_not}")
    elif as_json:
        click.echo(json_line(as_row(told)), err=err)
    else:
        click.echo(summary(told), err=err)
        if any(told.run.get(name) for name in ("detail", "wide", "follow")):
            from logtrace import summary as tables
            from logtrace import terminal

            tables.print_details(terminal.console(stderr=err), told)
