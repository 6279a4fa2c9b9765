"""Which files of a folder are one log: its rotated parts differ in a number, a date, a packing."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

_PACKED = re.compile(r"\.(?:gz|bz2|xz|zst)\Z")
_COUNT = re.compile(r"(?<=[^.])\.(?P<count>\d{1,3}|old)\Z")
_DAY = r"(?:19|20)\d\d(?P<dash>-?)(?:0[1-9]|1[0-2])(?P=dash)(?:0[1-9]|[12]\d|3[01])"
_DATE = rf"(?P<date>{_DAY}(?:\d{{6}}|[-_T.]\d{{1,10}}(?:[-:.]\d\d){{0,2}})?|1\d{{9}})"
_DATED_LAST = re.compile(rf"(?P<base>.+?)[-._]{_DATE}\Z")
_DATED_FIRST = re.compile(rf"(?P<base>.*?)[-._]?(?<!\d){_DATE}(?P<extension>(?:\.[A-Za-z]+)?)\Z")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}\Z")
_SETTLED_NS = 2_000_000_000  # a folder's time is this coarse at worst


class Place(NamedTuple):
    """Where a file stands among the parts of its log.

    Parameters
    ----------
    base
        The name of the log, common to its parts.
    age
        Orders the parts, oldest first.
    packed
        Whether its name says that it is compressed.
    """

    base: str
    age: tuple[bool, str, int]
    packed: bool


def place_of(name: str) -> Place:
    """Take apart the name of a file.

    ``kern.log``, ``kern.log.1``, ``kern.log.2.gz``, ``kern.log-20261124.xz`` and
    ``kern-2026-11-24.log`` are parts of one log. A name that is an IPv4 address has no number.
    """
    plain = _PACKED.sub("", name)
    packed = plain != name
    if _ADDRESS.match(plain):
        return Place(plain, (True, "", 0), packed)
    count = 0
    if match := _COUNT.search(plain):
        count = 1 if match["count"] == "old" else int(match["count"]) + 1
        plain = plain[: match.start()]
    base, date = plain, ""
    if match := _DATED_LAST.match(plain):
        base, date = match["base"], match["date"]
    elif match := _DATED_FIRST.match(plain):
        base, date = match["base"] + match["extension"], match["date"]
    if not base:
        return Place(plain, (True, "", -count), packed)
    newest = not (count or date)
    return Place(base, (newest, re.sub(r"\D", "", date), -count), packed)


class Folders:
    """List the parts of logs; a folder that has not changed is not read again."""

    def __init__(self) -> None:
        self._listed: dict[Path, tuple[int, dict[str, list[str]]]] = {}

    def parts(self, log: Path) -> list[Path]:
        """List the files that are parts of a log.

        Parameters
        ----------
        log
            The folder, and the name that the parts have in common.

        Returns
        -------
        list of pathlib.Path
            Oldest first; of a part that is there twice, the one that is not compressed.
        """
        names = self._names(log.parent).get(log.name, ())
        parts: dict[tuple[bool, str, int], str] = {}
        for name in sorted(names, key=lambda name: place_of(name).packed, reverse=True):
            parts[place_of(name).age] = name
        return [log.parent / parts[age] for age in sorted(parts)]

    def _names(self, folder: Path) -> dict[str, list[str]]:
        try:
            changed = folder.stat().st_mtime_ns
        except FileNotFoundError:
            self._listed.pop(folder, None)
            return {}
        listed = self._listed.get(folder)
        if listed is not None and listed[0] == changed:
            return listed[1]
        names: dict[str, list[str]] = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_log(entry):
                    names.setdefault(place_of(entry.name).base, []).append(entry.name)
        if time.time_ns() - changed > _SETTLED_NS:
            self._listed[folder] = changed, names
        return names


def is_log(entry: os.DirEntry[str]) -> bool:
    """Whether a file can be a log: it is a plain one, and its name is not hidden."""
    return not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
