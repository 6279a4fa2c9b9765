"""Whether a store that is not there may be made, or its disk is away."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from logtrace.errors import StoreError

_FSTAB = Path("/etc/fstab")
_UNITS = Path("/etc/systemd/system")
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_WHERE = re.compile(r"^Where=(/.*?)\s*$", re.MULTILINE)


def refuse_absent(root: Path, *, named: bool, fstab: Path = _FSTAB, units: Path = _UNITS) -> None:
    """Refuse to make a store whose disk seems to be away.

    Parameters
    ----------
    root
        The store's folder. Nothing is refused if it has tables.
    named
        Whether somebody named it, so that the folder that it is in must be there.
    fstab, units
        The table and the folder of units that say what is to be mounted where.

    Raises
    ------
    StoreError
        If it is at or below a configured mount point where nothing is mounted, or if it was
        named and neither it nor the folder that it is in exists.
    """
    if any(root.glob("host=*")):
        return
    for place in _mount_points(fstab, units):
        if root.is_relative_to(place) and not os.path.ismount(place):
            raise StoreError(
                f"store {root} is not there, and nothing is mounted at {place}",
                f"mount {place}, or name another with --store",
            )
    if named and not root.is_dir() and not root.parent.is_dir():
        raise StoreError(
            f"store {root} is not there, and neither is the folder {root.parent}",
            f"mount its disk; or, for a new store, mkdir -p {root.parent}",
        )


def _mount_points(fstab: Path, units: Path) -> Iterator[Path]:
    for line in _text(fstab).splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1].startswith("/") and not line.lstrip().startswith("#"):
            yield Path(_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), fields[1]))
    for unit in sorted(units.glob("*.mount")):
        yield from map(Path, _WHERE.findall(_text(unit)))


# A machine may have none, and what may not be read tells nothing.
def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
