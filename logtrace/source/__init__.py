"""Where records come from: ``/dev/kmsg``, finished logs, and logs that still grow.

errno is understood in this package and nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from logtrace.record import Loss, Record


class Source(Protocol):
    """A log that is watched: it can be waited for and then drained."""

    name: str
    """Where the source's position is kept in the store."""

    def fileno(self) -> int:
        """Give a descriptor that becomes readable when there is something to drain."""

    def drain(self) -> list[Record | Loss]:
        """Give what has come since the last call; never waits."""

    @property
    def position(self) -> int:
        """Sequence number (or offset) of what was drained last; -1 before anything was."""

    def close(self) -> None:
        """Let go of descriptors and threads."""


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Give the id of the running boot."""
    return path.read_text().strip()
