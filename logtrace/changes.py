"""Whether there is anything new in a store, asked often and cheaply."""

from __future__ import annotations

from pathlib import Path

from logtrace import columns


class Versions:
    """The versions of all tables of a store.

    A version of a Delta table is a file with its number for a name, so that it takes a look at
    one name a table to know that there is none newer.

    Parameters
    ----------
    root
        The store's folder, which need not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, int] = {}

    def look(self) -> dict[str, int]:
        """Give the newest version of each table.

        Returns
        -------
        dict
            By ``host=NAME/TABLE``; tables that do not exist are left out.
        """
        logs = [
            folder / table / "_delta_log"
            for folder in sorted(self._root.glob("host=*"))
            for table in columns.TABLES
        ]
        found = {log: _newest(log, self._known.get(log)) for log in logs}
        self._known = {log: version for log, version in found.items() if version is not None}
        return {
            str(log.parent.relative_to(self._root)): version for log, version in self._known.items()
        }


def _newest(log: Path, known: int | None) -> int | None:
    if known is None or not _commit(log, known).exists():  # old commits are cleared away
        numbers = [int(path.stem) for path in log.glob("*.json") if path.stem.isdecimal()]
        return max(numbers, default=None)
    while _commit(log, known + 1).exists():
        known += 1
    return known


def _commit(log: Path, version: int) -> Path:
    return log / f"{version:020}.json"
