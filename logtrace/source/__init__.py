"""Where records come from: ``/dev/kmsg``, finished logs, and logs that still grow.

errno is understood in this package and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from logtrace.record import Loss, Record


class Log(Protocol):
    """A log that can be drained again and again."""

    name: str
    """Where the position of what was drained last is kept in the store."""

    def drain(self) -> list[Record | Loss]:
        """Give what has come since the last call, all of it of `name`; never waits."""

    @property
    def position(self) -> int:
        """Sequence number (or offset) of what was drained last; -1 before anything was."""


class Source(Log, Protocol):
    """A log that is watched: it can be waited for and then drained."""

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to drain."""

    def close(self) -> None:
        """Let go of descriptors and threads."""


@runtime_checkable
class LogTree(Protocol):
    """Many logs that are watched together: they can be waited for, and some then be drained."""

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when `ready` has logs."""

    def ready(self) -> Sequence[Log]:
        """Give logs that may have something to drain, each once; never waits."""

    def take_notices(self) -> list[str]:
        """Give what could not be followed and why, each once."""

    def close(self) -> None:
        """Let go of descriptors and threads."""


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Give the id of the running boot."""
    return path.read_text().strip()
