"""A report that is kept fresh while its store grows, by processes of the lowest priority.

A report over a large store takes seconds and hundreds of megabytes. So each is made by a process
that ends with it: the watch reads on meanwhile, and has its memory for itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Self

APART_S = 10.0
"""How long after a report was written the next one is begun, at least."""

ALL = "all"
"""The word for a report without a beginning."""

_SHARE = 5  # at most one fifth of the time goes into reports
_LOWEST_PRIORITY = 19


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


class FreshReport:
    """Write a report whenever something new is stored, at most every `APART_S` seconds.

    It is written when the ``with`` block begins and, if it is behind, when that ends; not so
    where the block ends with a `KeyboardInterrupt`.

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
        self._command = command
        self._tell = tell
        self._apart_s = apart_s
        self._changed = Condition()
        self._behind = True
        self._ending = False
        self._process: subprocess.Popen[str] | None = None
        self._killed: list[subprocess.Popen[str]] = []
        self._told: str | None = None
        self._thread = Thread(target=self._keep, name="report")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self._give_up()
        with self._changed:
            self._ending = True
            self._changed.notify()
            if self._behind:
                self._kill()  # the last one has all of it
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._give_up()
            self._thread.join()
            raise

    @property
    def is_behind(self) -> bool:
        """Whether a report is to be written, or being written."""
        with self._changed:
            return self._behind or self._process is not None

    def note(self) -> None:
        """Take notice that something was stored; costs next to nothing."""
        with self._changed:
            self._behind = True
            self._changed.notify()

    # Waits without waking up where nothing comes.
    def _keep(self) -> None:
        earliest = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._behind or self._ending)
                self._changed.wait_for(lambda: self._ending, earliest - time.monotonic())
                if not self._behind:
                    return
                self._behind = False
            begun = time.monotonic()
            trouble = self._write()
            ended = time.monotonic()
            earliest = ended + max(self._apart_s, (_SHARE - 1) * (ended - begun))
            if trouble and trouble != self._told:
                self._tell(trouble)
            self._told = trouble
            with self._changed:
                if trouble and not self._ending:
                    self._behind = True

    # Gives why it can't.
    def _write(self) -> str | None:
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                start_new_session=True,  # Ctrl-C is for the watch, which ends it in order
            )
        except OSError as error:
            return f"no process for the report: {error.strerror}"
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
        with self._changed:
            self._process = process
        told = process.communicate()[1].strip()
        with self._changed:
            self._process = None
        if process.returncode == 0 or process in self._killed:
            return None
        if process.returncode < 0:
            return f"the report was ended by {signal.Signals(-process.returncode).name}"
        return (told.splitlines() or ["it is not said why"])[-1].removeprefix("Error: ")

    def _give_up(self) -> None:
        with self._changed:
            self._behind = False
            self._ending = True
            self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._killed.append(self._process)
            self._process.kill()
