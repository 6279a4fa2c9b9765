"""How far sources have been stored: what the tables say, and what is on its way to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Position(NamedTuple):
    """How far a source has been stored.

    Parameters
    ----------
    seen
        Sequence number (or offset) of the last record whose rows are stored.
    resume_after
        Where reading goes on: before `seen` if a run was open then, as its lines are
        needed again; the rows that were stored already are left out.
    check
        A digest of the line at `seen`, by which a file is known again; 0 where there is
        none, None of sources that need none.
    """

    seen: int
    resume_after: int
    check: int | None = None


class Positions:
    """The positions of all sources, by source and host."""

    def __init__(self) -> None:
        self._positions: dict[str, dict[str, Position]] = {}
        self._paths: set[str] = set()

    def note(self, host: str, source: str, position: Position) -> None:
        """Remember how far a source has been stored for a host."""
        self._positions.setdefault(source, {})[host] = position
        self._paths.add(source.rpartition(":")[0])

    def of(self, source: str) -> Mapping[str, Position]:
        """Give the positions of a source, by host."""
        return self._positions.get(source, {})

    def hosts(self) -> set[str]:
        """Name the hosts that have a position of any source."""
        return {host for positions in self._positions.values() for host in positions}

    def knows_below(self, folder: str) -> bool:
        """Whether any path below a folder has a position."""
        below = f"file:{folder.rstrip('/')}/"
        return any(path.startswith(below) for path in self._paths)

    def knows_path(self, path: str) -> bool:
        """Whether any source ``PATH:DIGEST`` has a position."""
        return path in self._paths
