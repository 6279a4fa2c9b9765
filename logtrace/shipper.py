"""What a watch stores is shipped beside it, see `logtrace.repeated`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo

from logtrace import backoff
from logtrace.display import time_text
from logtrace.repeated import SHARE, Repeated

APART_S = 5.0
"""How long after rows were shipped the next are, at least."""


def ship_command(store: str, lab: str) -> list[str]:
    """Give the command that ships what is new, and fails at once where that can't be.

    Parameters
    ----------
    store
        The host's own store.
    lab
        URL of the lab's store.

    Returns
    -------
    list of str
        Program and arguments.
    """
    options = (f"--store={store}", f"--to={lab}", "--retry-for=0")
    return [sys.executable, "-P", "-m", "logtrace", "ship", "--quiet", *options]


class Shipper(Repeated):
    """Ship whenever something new is stored, and again where that failed, for ever.

    Parameters
    ----------
    command
        Ships; says on standard error why it can't, or what must be known though it can.
    lab
        URL of the lab's store.
    zone
        The zone in which to show times.
    tell
        Called with how it stands, and whether that is news: what keeps it from being shipped,
        once, and that it can be again, and what the command said of it. From a thread of its own.
    apart_s
        Seconds between two commands.
    """

    def __init__(
        self,
        command: Sequence[str],
        lab: str,
        zone: tzinfo,
        tell: Callable[[str, bool], None],
        apart_s: float = APART_S,
    ) -> None:
        self.trouble: str | None = None

        warnings: list[str] = []

        def note(trouble: str | None, said: str) -> None:
            if trouble is None:
                before, warnings[:] = [*warnings], said.splitlines()
                for warning in warnings:
                    if warning not in before:
                        tell(warning, True)
            is_news = trouble != self.trouble
            self.trouble = trouble
            at = time_text(datetime.now(UTC), zone)
            tell(f"ship to {lab}: {trouble or f'all until {at} is there'}", is_news)

        def pause_s(took_s: float, failures: int) -> float:
            return backoff.pause_s(failures) if failures else max(apart_s, (SHARE - 1) * took_s)

        super().__init__(command, "ship", pause_s, note, restart=False)
