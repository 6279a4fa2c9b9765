"""Which of the processes that are traced now were followed from one that has ended.

The log names a process's parent when its trace ends. Of one that still runs only ``/proc``
can tell, and it forgets a parent that has exited: then the process group and the session,
which children inherit, tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO
_ENDED = "ZX"


class Place(NamedTuple):
    """Where a process stands among the others.

    Parameters
    ----------
    parent, parent_group
        Its parent, and that one's process group; None where that is gone.
    group, session
        Its process group and session.
    """

    parent: int
    parent_group: int | None
    group: int
    session: int


def place_of(pid: int, proc: Path = _PROC) -> Place | None:
    """Find the place of a process.

    Parameters
    ----------
    pid
        The process.
    proc
        Where ``/proc`` is.

    Returns
    -------
    Place or None
        None if it has ended.
    """
    found = _stat(pid, proc)
    if found is None:
        return None
    parent = _stat(found[0], proc)
    return Place(found[0], parent[1] if parent else None, *found[1:])


def runs(pid: int, proc: Path = _PROC) -> bool:
    """Say whether a process runs: it is there, and no zombie."""
    return _stat(pid, proc) is not None


def followed(places: Mapping[int, Place], family: Iterable[int], group: int) -> set[int]:
    """Find which processes descend from a family.

    Parameters
    ----------
    places
        Processes, and where they stood when they were seen first.
    family
        Processes that are known to belong to it, ended ones too.
    group
        The process group that the first of them was started in.

    Returns
    -------
    set of int
        Those of `places` that descend from them.
    """
    found: set[int] = set()
    known = set(family)
    while new := {pid for pid in places.keys() - found if _descends(places[pid], known, group)}:
        found |= new
        known |= new
    return found


# The group is also that of other programs of a pipeline: their parent is in it.
def _descends(place: Place, family: set[int], group: int) -> bool:
    if family & {place.parent, place.group, place.session}:
        return True
    return place.group == group and place.parent_group != group


def pids_are_the_log_s(proc: Path = _PROC) -> bool:
    """Say whether the kernel's log names processes by the ids that they have here.

    Parameters
    ----------
    proc
        Where ``/proc`` is.

    Returns
    -------
    bool
        False in a container that has process ids of its own: the log has the machine's.
    """
    return (proc / "self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE


# Parent, group and session of a process that has not ended.
def _stat(pid: int, proc: Path) -> tuple[int, int, int] | None:
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, group, session = text.rpartition(")")[2].split()[:4]
    return None if state in _ENDED else (int(parent), int(group), int(session))
