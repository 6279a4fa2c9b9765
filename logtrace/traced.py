"""Run a program under a trace, and read from the kernel's log what it did."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import closing

from logtrace import trace
from logtrace.display import bytes_text, visible
from logtrace.errors import SourceError
from logtrace.runs import Row, RunAssembler
from logtrace.source import boot_id
from logtrace.source.kmsg import KmsgSource

_PATIENCE_S = 2.0
_CALLS = ("open", "close", "read", "write", "lseek")


def run_traced(command: Sequence[str]) -> tuple[Row | None, int, str | None]:
    """Run a program under a trace until it ends.

    Parameters
    ----------
    command
        The program and its arguments.

    Returns
    -------
    run : Row or None
        The run, a row of ``schema.RUNS``; None if its lines could not be read.
    code : int
        The program's exit code, or the negative number of the signal that ended it.
    why_not : str or None
        Why there is no run.

    Raises
    ------
    TraceError
        If the program can't be run or traced.
    """
    try:
        log = KmsgSource(boot_id(), only_new=True)
    except SourceError as error:
        _, code = trace.run(command)
        return None, code, str(error)
    with closing(log):
        pid, code = trace.run(command)
        try:
            run = _find_run(log, pid)
        except SourceError as error:
            return None, code, str(error)
    return run, code, None if run else f"no End line of {pid} came within {_PATIENCE_S:g} s"


def summary(run: Row) -> str:
    """Say on a few lines what a run did to its files.

    Parameters
    ----------
    run
        A row of ``schema.RUNS``.

    Returns
    -------
    str
        Program and pid, bytes and calls, the last file, and what is in doubt.
    """
    calls = " · ".join(f"{name} {_known(run.get(f'{name}_calls'))}" for name in _CALLS)
    lines = [
        f"{visible(run.get('comm') or '?')} [{run['pid']}]",
        f"  read {_size(run.get('read_bytes'))}, wrote {_size(run.get('written_bytes'))}",
        f"  {calls}",
        f"  last file: {visible(run['file'])}" if run.get("file") else "  no file was opened",
    ]
    if run["status"] != "complete":
        lines.append(f"  {run['status']}: {run['note']}")
    return "\n".join(lines)


def _size(number: int | None) -> str:
    return "?" if number is None else bytes_text(number)


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


# The modules print the lines when the process exits, which may be just after it was waited for.
def _find_run(log: KmsgSource, pid: int) -> Row | None:
    assembler = RunAssembler(platform.node())
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        ended = [row for row in assembler.feed(log.drain()).runs if row["pid"] == pid]
        if ended or time.monotonic() > deadline:
            return ended[-1] if ended else None
        time.sleep(0.01)
