"""A report that is kept fresh while its store grows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from logtrace.repeated import SHARE, Repeated

APART_S = 10.0
"""How long after a report was written the next one is begun, at least."""

ALL = "all"
"""The word for a report without a beginning."""


def report_command(store: str, zone: str, since: str, out: Path) -> list[str]:
    """Give the command that writes a report.

    Parameters
    ----------
    store
        The store's folder.
    zone
        Name of the time zone.
    since
        A word for where the report begins, which each report understands anew; `ALL` for a
        report on everything, also on runs without wall-clock time.
    out
        The folder to write into.

    Returns
    -------
    list of str
        Program and arguments.
    """
    options = {"--store": store, "--tz": zone, "--out": str(out)}
    if since != ALL:
        options["--since"] = since
    # -P: what lies in the folder that somebody is in must not be taken for this program
    program = [sys.executable, "-P", "-m", "logtrace", "report", "--quiet"]
    return [*program, *(f"{name}={value}" for name, value in options.items())]


class FreshReport(Repeated):
    """Write a report whenever something new is stored, at most every `APART_S` seconds.

    Parameters
    ----------
    command
        Writes the report; says on standard error why it can't.
    tell
        Called with why the report can't be written, once until it can be again. From a thread
        of this report's own.
    apart_s
        Seconds between two reports.
    """

    def __init__(
        self, command: Sequence[str], tell: Callable[[str], None], apart_s: float = APART_S
    ) -> None:
        told: list[str | None] = [None]

        def tell_once(trouble: str | None, _said: str) -> None:
            if trouble and trouble != told[0]:
                tell(trouble)
            told[0] = trouble

        def pause_s(took_s: float, _failures: int) -> float:
            return max(apart_s, (SHARE - 1) * took_s)

        super().__init__(command, "report", pause_s, tell_once, restart=True)
