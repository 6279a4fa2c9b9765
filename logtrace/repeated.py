"""A command that is run again and again beside a watch, by processes of the lowest priority.

What takes seconds and hundreds of megabytes, or waits for a network, is done by a process that
ends with it: the watch reads on meanwhile, and has its memory for itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Thread
from typing import Self

SHARE = 5
"""At most one part of so many of the time goes into a command."""

_LOWEST_PRIORITY = 19


class Repeated:
    """Run a command whenever something new is stored.

    It is run when the ``with`` block begins and, if it is behind, when that ends; not so
    where the block ends with a `KeyboardInterrupt`.

    Parameters
    ----------
    command
        The command; says on standard error why it failed.
    what
        What it does, for messages.
    pause_s
        Gives how many seconds there are after a command, at least: takes how many seconds it
        took, and how often in a row it has failed.
    tell
        Called when a command has ended, with why it failed or None, and with what it said on
        standard error. From a thread of its own.
    restart
        Whether one that is under way when the block ends is left for one that has all.
    """

    def __init__(
        self,
        command: Sequence[str],
        what: str,
        pause_s: Callable[[float, int], float],
        tell: Callable[[str | None, str], None],
        *,
        restart: bool,
    ) -> None:
        self._command = command
        self._what = what
        self._pause_s = pause_s
        self._tell = tell
        self._restart = restart
        self._changed = Condition()
        self._behind = True
        self._ending = False
        self._process: subprocess.Popen[str] | None = None
        self._given_up = False
        self._killed: list[subprocess.Popen[str]] = []
        self._failures = 0
        self._thread = Thread(target=self._keep, name=what)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self._give_up()
        with self._changed:
            self._ending = True
            self._changed.notify()
            if self._behind and self._restart:
                self._kill()  # the last one has all of it
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._give_up()
            self._thread.join()
            raise

    @property
    def is_behind(self) -> bool:
        """Whether the command is to be run, or running."""
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
            trouble, said = self._run()
            ended = time.monotonic()
            self._failures = self._failures + 1 if trouble else 0
            earliest = ended + self._pause_s(ended - begun, self._failures)
            self._tell(trouble, said)
            with self._changed:
                if trouble and not self._ending:
                    self._behind = True

    # Gives why it can't, and what it said.
    def _run(self) -> tuple[str | None, str]:
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
            return f"no process for the {self._what}: {error.strerror}", ""
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
        with self._changed:
            self._process = process
            if self._given_up:  # while it was being started
                self._kill()
        said = process.communicate()[1].strip()
        with self._changed:
            self._process = None
        if process.returncode == 0 or process in self._killed:
            return None, said
        if process.returncode < 0:
            ended_by = signal.Signals(-process.returncode).name
            return f"the {self._what} was ended by {ended_by}", said
        last = (said.splitlines() or ["it is not said why"])[-1]
        return last.removeprefix("Error: "), said

    def _give_up(self) -> None:
        with self._changed:
            self._behind = False
            self._ending = self._given_up = True
            self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._killed.append(self._process)
            self._process.kill()
