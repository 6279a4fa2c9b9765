"""How far sources have been stored: what the tables say, and what is on its way to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_FILE = "file:"
_DIGEST, _SHORT_DIGEST = 64, 12  # characters


def part_name(path: str, digest: str) -> str:
    """Give the name by which the position of a part of a followed log is kept.

    Parameters
    ----------
    path
        Of the log.
    digest
        Of the part, in hexadecimal, and what tells it from others with the same one.
    """
    return f"{_FILE}{path}:{digest}"


def part_source(name: str) -> str:
    """Give the source of what is read of a part of a followed log, by its `part_name`."""
    path, _, digest = name.removeprefix(_FILE).rpartition(":")
    return f"{path}@{digest[:_SHORT_DIGEST]}{digest[_DIGEST:]}"


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

    def open_in_other_boots(self, source: str, host: str) -> list[tuple[str, Position]]:
        """Say in which earlier boots something was under way when the kernel's log was read last.

        Parameters
        ----------
        source
            That of this boot.
        host
            The machine.

        Returns
        -------
        list of tuple
            The source of each boot, and its position.
        """
        kind = source.partition(":")[0]
        return [
            (other, position)
            for other, hosts in self._positions.items()
            if other != source and other.partition(":")[0] == kind
            for position in [hosts.get(host)]
            if position is not None and position.resume_after < position.seen
        ]

    def hosts(self) -> set[str]:
        """Name the hosts that have a position of any source."""
        return {host for positions in self._positions.values() for host in positions}

    def logs(self) -> list[str]:
        """Give the paths of the followed logs that have a position."""
        return [path.removeprefix(_FILE) for path in self._paths if path.startswith(_FILE)]

    def move(
        self, log: str, to: str, hosts: tuple[str, str]
    ) -> list[tuple[str, str, Position, Position | None]]:
        """Know a followed log, whose folder was renamed, by its new path too.

        Parameters
        ----------
        log, to
            Its paths, before and now.
        hosts
            The machines of its records that name none, before and now: what is known of the one
            is known of the other then.

        Returns
        -------
        list of tuple
            What is to be stored of that: a host, the name of a part, its position, and the one
            that was known before.
        """
        moved = []
        before, now = part_name(log, ""), part_name(to, "")
        for old in [source for source in self._positions if source.startswith(before)]:
            name = now + old.removeprefix(before)
            found = dict(self._positions[old])
            if hosts[0] in found:
                found.setdefault(hosts[1], found[hosts[0]])
            for host, position in found.items():
                known = self.of(name).get(host)
                if known is None or known.seen < position.seen:
                    self.note(host, name, position)
                    moved.append((host, name, position, known))
        return moved

    def parts(self) -> list[tuple[str, str]]:
        """Name the parts of followed logs that have a position.

        Returns
        -------
        list of tuple
            A host, and the source of its rows.
        """
        return [
            (host, part_source(source))
            for source, hosts in self._positions.items()
            if source.startswith(_FILE)
            for host in hosts
        ]

    def knows_below(self, folder: str) -> bool:
        """Whether any path below a folder has a position."""
        below = f"{_FILE}{folder.rstrip('/')}/"
        return any(path.startswith(below) for path in self._paths)

    def knows_path(self, path: str) -> bool:
        """Whether any source ``PATH:DIGEST`` has a position."""
        return path in self._paths
