"""What several commands print: frames, notes, and that nothing was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from logtrace.commands.options import is_quiet

if TYPE_CHECKING:
    import pandas as pd

NOTHING_MATCHED = 3
"""The exit code where nothing is found of what is asked for by name."""


def write(frame: pd.DataFrame, output: str) -> None:
    """Print a frame as CSV, JSON or Parquet."""
    write_flow([frame], output)


def write_flow(frames: Iterable[pd.DataFrame], output: str) -> int:
    """Print frames, one after another, as one table; give how many rows there were."""
    from logtrace.export import write_batches

    if output == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is no text: send it to a file or a pipe")
    written = write_batches(frames, sys.stdout.buffer, output)
    sys.stdout.buffer.flush()  # what can't be written is told now
    return written


def json_line(row: Mapping[str, Any]) -> str:
    """Give a row as a line of JSON."""
    return json.dumps(row, default=lambda value: getattr(value, "isoformat", value.__str__)())


def fail_if_none(ctx: click.Context, by_name: bool, found: int) -> None:
    """End the command where no run was found of what is asked for by name."""
    if by_name and not found:
        note(ctx, "no run matches")
        ctx.exit(NOTHING_MATCHED)


def note(ctx: click.Context, text: str) -> None:
    """Tell something beside the results, unless it is to be quiet."""
    if not is_quiet(ctx):
        click.echo(visible(text), err=True)


def warn(text: str) -> None:
    """Tell what must be known, on standard error, also where it is to be quiet."""
    click.echo(visible(text), err=True)


def visible(text: str) -> str:
    """Give lines as a terminal may show them."""
    from logtrace import display

    return "\n".join(map(display.visible, text.split("\n")))


def many(count: int, thing: str) -> str:
    """Say how many there are of a thing."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
