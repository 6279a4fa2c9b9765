"""The command ``doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from logtrace.commands.options import form_option, store_option, verbosity_options


@click.command()
@click.argument("logs", nargs=-1, metavar="[LOG]...", type=click.Path(path_type=Path))
@form_option()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@verbosity_options
@click.pass_context
def doctor(
    ctx: click.Context, logs: tuple[Path, ...], form: str | None, url: str | None, as_json: bool
) -> None:
    """Say what works on this machine, or which lines of logs are not understood.

    The exit code is 1 if something is missing that tracing or reading needs; with logs, if a
    line looks like one of a run and is not understood.
    """
    from logtrace import terminal
    from logtrace.doctor import examine, examine_bucket
    from logtrace.store import Store, default_url

    if logs:
        from logtrace.understanding import describe, examine_log, summarize

        found = [examine_log(path, form=form) for path in logs]
        for check in found:
            text = json.dumps(summarize(check)) if as_json else "\n".join(describe(check))
            click.echo(text)
        ctx.exit(int(any(check.not_understood for check in found)))
    if form:
        raise click.UsageError("--format is the form of a log: name one, as in logtrace doctor LOG")
    store = Store(url or default_url())
    checks = examine(None if store.is_remote else store.root)
    if store.is_remote:
        checks.append(examine_bucket(store))
    if as_json:
        click.echo(json.dumps([vars(check) for check in checks], indent=2))
    else:
        terminal.print_checks(terminal.console(), checks)
    ctx.exit(int(any(check.state == "failed" for check in checks)))
