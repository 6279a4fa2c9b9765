"""Run a program under a trace, and read from the kernel's log what it did."""

from __future__ import annotations

import time
from collections.abc import Sequence

from logtrace import trace
from logtrace.errors import SourceError
from logtrace.runs import Row, RunAssembler
from logtrace.source import boot_id
from logtrace.source.kmsg import KmsgSource
from logtrace.store import hostname

_PATIENCE_S = 2.0


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
    try:
        pid, code = trace.run(command)
        run = _find_run(log, pid)
    finally:
        log.close()
    return run, code, None if run else f"no End line of {pid} came within {_PATIENCE_S:g} s"


# The modules print the lines when the process exits, which may be just after it was waited for.
def _find_run(log: KmsgSource, pid: int) -> Row | None:
    assembler = RunAssembler(hostname())
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        ended = [row for row in assembler.feed(log.drain()).runs if row["pid"] == pid]
        if ended or time.monotonic() > deadline:
            return ended[-1] if ended else None
        time.sleep(0.01)
