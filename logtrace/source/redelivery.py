"""Lines that a collector of syslog was given a second time.

A sender that was told of no receipt when its connection broke sends the line again: RELP, and
whatever else loses nothing. The line is the same to the last byte, also its two stamps in
microseconds: the kernel's, and that of the machine's own syslog.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime

from logtrace.record import Loss, Record

LOOK_BACK_BYTES = 1 << 20
"""How far before a line the same one is looked for."""

_MOST_HOSTS = 1000
_REMEMBERED = 10_000  # records of a finished log, as many as stand in what a watch looks back


class Deliveries:
    """Tell lines that can't have come before from those that may have.

    Nothing needs to be known of what came before a restart: a machine's first line may be
    any.
    """

    def __init__(self) -> None:
        self._latest: dict[str, tuple[datetime, int]] = {}

    def may_have_come(self, record: Record) -> bool:
        """Whether a record is no later than the one before of its machine."""
        if record.host is None or record.at is None or record.usec is None:
            return False
        latest = self._latest.get(record.host)
        return latest is None or (record.at, record.usec) <= latest

    def note(self, record: Record) -> None:
        """Remember a record that came for the first time."""
        if record.host is None or record.at is None or record.usec is None:
            return
        if len(self._latest) == _MOST_HOSTS:
            self._latest.clear()
        self._latest[record.host] = record.at, record.usec


def once(items: Iterable[Record | Loss]) -> Iterator[Record | Loss]:
    """Leave out what a finished log was given a second time.

    Parameters
    ----------
    items
        Records and losses in the order of the log.

    Yields
    ------
    Record or Loss
        All but the records that are like one of the same machine shortly before, with its
        stamps.
    """
    recent: OrderedDict[tuple[object, ...], None] = OrderedDict()
    for item in items:
        if isinstance(item, Record) and None not in (item.host, item.at, item.usec):
            key = item.host, item.boot_id, item.at, item.usec, item.text
            if key in recent:
                continue
            recent[key] = None
            if len(recent) > _REMEMBERED:
                recent.popitem(last=False)
        yield item
