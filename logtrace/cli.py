"""The command line: all commands, and how an error ends one.

What is heavy is imported by the command that needs it, see `logtrace.commands`.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import signal
import sys
from typing import Any

import click

from logtrace.commands.check import check
from logtrace.commands.compare import compare
from logtrace.commands.doctor import doctor
from logtrace.commands.import_logs import import_
from logtrace.commands.kmod import kmod
from logtrace.commands.lists import incidents, runs, stats
from logtrace.commands.output import visible
from logtrace.commands.report import report, serve
from logtrace.commands.ship import ship
from logtrace.commands.store import store
from logtrace.commands.trace import attach, run
from logtrace.commands.watch import watch
from logtrace.errors import LogtraceError, QueryError

_INTERRUPTED = 128 + signal.SIGINT
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class _Group(click.Group):
    # The one place where an error of the library becomes a line and an exit code.
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except LogtraceError as error:
            if ctx.find_root().meta.get("verbose"):
                raise
            kind = click.UsageError if isinstance(error, QueryError) else click.ClickException
            raise kind(visible(str(error))) from error
        except OSError as error:
            # of the open streams alone: the library says which of its files can't be written
            if error.errno not in _NO_ROOM or error.filename is not None:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is buffered
            raise click.ClickException(
                f"the output can't be written: {error.strerror} (make room where it goes, or send"
                " it elsewhere)"
            ) from error


@click.group("logtrace", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="logtrace")
def cli() -> None:
    """Trace what programs do to their files, and report it.

    Kernel modules count the file calls of a process and print them to the kernel's log;
    logtrace reads the log, keeps the runs, and makes reports of them.
    """


_READING = (watch, import_, runs, incidents, stats, report, serve, check, compare)
_TRACING = (run, attach, kmod)
_UPKEEP = (ship, store, doctor)
for _command in (*_READING, *_TRACING, *_UPKEEP):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; the entry point of ``logtrace``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal can't show
    atexit.register(gc.freeze)  # to look for garbage at the end takes as long as much of the work
    cli(prog_name="logtrace")
