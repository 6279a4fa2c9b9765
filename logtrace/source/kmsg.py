"""The running kernel's log, ``/dev/kmsg``."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from logtrace.errors import SourceError
from logtrace.record import Loss, Record, parse_kmsg

# The kernel gives at most 8 KiB; a smaller buffer would lose the record
_RECORD_BYTES = 8192
# The ring buffer of 128 KiB holds some 1500 lines: so few are understood while none are read,
# and so many wait for it in memory, before the kernel overwrites those behind them
_AT_ONCE = 50
_MOST_WAITING = 200_000
# Some machines' clocks take longer to read than a record
_OF_ONE_TIME = 64


# A record, when it was read (in seconds since 1970), whether records before it were overwritten,
# and whether it may have been there before the source was opened. Nothing more is done as long as
# there are others to read.
_Raw = tuple[bytes, float, bool, bool]


class KmsgSource:
    """The running kernel's log.

    Parameters
    ----------
    boot_id
        The running boot, from ``/proc/sys/kernel/random/boot_id``.
    resume_after
        Records up to this number are skipped.
    seen
        Records up to this number have been seen before: if the oldest of them are gone
        from the ring buffer, that is no loss.
    only_new
        Begin at the end of the ring buffer.
    path
        The device.
    now
        Wall clock, seconds since 1970.
    uptime
        The kernel's clock, seconds since boot.

    Raises
    ------
    SourceError
        If the device can't be opened.
    """

    def __init__(
        self,
        boot_id: str,
        *,
        resume_after: int = -1,
        seen: int = -1,
        only_new: bool = False,
        path: Path = Path("/dev/kmsg"),
        now: Callable[[], float] = time.time,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
    ) -> None:
        self.name = f"kmsg:{boot_id}"
        self._boot_id = boot_id
        self._seen = seen
        self._only_new = only_new
        self._now = now
        # nobody noted when the backlog came: it is placed by the kernel's clock
        self._booted_at = datetime.fromtimestamp(now() - uptime(), UTC)
        self._backlog = not only_new
        self._overrun = not only_new  # before the first record, the ring buffer was overwritten
        self._last: int | None = None
        self._position = resume_after
        self._waiting: deque[_Raw] = deque()
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            raise SourceError(
                f"{path}: permission denied",
                "run as root, give the service CAP_SYSLOG, or set kernel.dmesg_restrict=0",
            ) from None
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        if only_new:
            os.lseek(self._descriptor, 0, os.SEEK_END)
        # readable when the device is, or when records wait here
        self._more = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ready = select.epoll()
        self._ready.register(self._descriptor, select.EPOLLIN)
        self._ready.register(self._more, select.EPOLLIN)

    @property
    def position(self) -> int:
        """Sequence number of the last record drained."""
        return self._position

    def fileno(self) -> int:
        """Give a descriptor that is readable when there is something to drain."""
        return self._ready.fileno()

    def drain(self) -> list[Record | Loss]:
        """Read all records there are, as one read each, and give the oldest of them.

        Returns
        -------
        list of Record or Loss
            In the order of their numbers; a loss stands before the record behind it. A
            loss up to `seen` was given before; it is repeated, as its records are. Empty only
            if there are no more.
        """
        items: list[Record | Loss] = []
        # read first and parse later: the kernel overwrites what waits for too long
        self._read()
        while self._waiting and len(items) < _AT_ONCE:
            self._parse(self._waiting.popleft(), items)
        self._tell_of_waiting()
        return items

    def close(self) -> None:
        """Close the device."""
        self._ready.close()
        os.close(self._more)
        os.close(self._descriptor)

    def _read(self) -> None:
        while len(self._waiting) < _MOST_WAITING and self._read_some(self._now()):
            pass

    # Say whether there may be more.
    def _read_some(self, at: float) -> bool:
        read, keep = os.read, self._waiting.append
        try:
            for _ in range(min(_OF_ONE_TIME, _MOST_WAITING - len(self._waiting))):
                keep((read(self._descriptor, _RECORD_BYTES), at, self._overrun, self._backlog))
                self._overrun = False
        except BlockingIOError:
            self._backlog = False
            return False
        except BrokenPipeError:  # EPIPE: the next record was overwritten
            self._overrun = True
        except OSError as error:
            if not self._waiting:
                raise SourceError(
                    f"/dev/kmsg: {error.strerror} behind record {self._position}"
                ) from None
            return False  # the same is said again when these have been given
        return True

    def _parse(self, raw: _Raw, items: list[Record | Loss]) -> None:
        text, read_at, overrun, backlog = raw
        at = datetime.fromtimestamp(read_at, UTC)
        record = parse_kmsg(
            text,
            boot_id=self._boot_id,
            at=at,
            clock="received",
            booted_at=self._booted_at if backlog else None,
        )
        if self._last is None or record.seq != self._last + 1:
            items += self._missing_before(record, "overrun" if overrun else "gap", at)
        self._last = record.seq
        if record.seq > self._position:
            items.append(record)
            self._position = record.seq

    def _tell_of_waiting(self) -> None:
        if self._waiting:
            os.eventfd_write(self._more, 1)
            return
        with suppress(BlockingIOError):  # it was not told before
            os.eventfd_read(self._more)

    def _missing_before(self, record: Record, reason: str, at: datetime) -> Iterator[Loss]:
        if self._last is None:
            # what was seen before may be gone by now
            first = record.seq if self._only_new else self._seen + 1
        else:
            first = max(self._last, self._position) + 1
        last = record.seq - 1
        for start, end in ((first, min(last, self._seen)), (max(first, self._seen + 1), last)):
            if start <= end:
                number = end - start + 1
                yield Loss(record.source, record.boot_id, start, end, number, reason, at)
