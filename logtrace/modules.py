"""When the tracing modules come and go, as the kernel tells through udev."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyudev

from logtrace.errors import SourceError
from logtrace.runs import Row

TRACING_MODULES = ("os_ftracehooking", "ftracehooking", "iotracehooking")
"""The modules that print trace lines, in the order in which they are loaded."""


_ALIVE_EVERY_US = 600_000_000


def _uptime_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def _kernel_events() -> Any:
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.filter_by("module")
    monitor.start()
    return monitor


class ModuleMonitor:
    """Follow the kernel's own events about modules; no udev daemon is needed.

    Parameters
    ----------
    host, boot_id
        As in ``schema.TRACER``.
    sys
        Where sysfs is.
    now
        Wall clock, UTC.
    uptime_us
        The kernel's clock, microseconds since boot, suspended or not.
    events
        Opens a ``pyudev.Monitor``, which is what has `fileno` and `poll`.

    Raises
    ------
    SourceError
        If the kernel's events can't be had here.
    """

    def __init__(
        self,
        host: str,
        boot_id: str,
        *,
        sys: Path = Path("/sys"),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        uptime_us: Callable[[], int] = _uptime_us,
        events: Callable[[], Any] = _kernel_events,
    ) -> None:
        self._host = host
        self._boot_id = boot_id
        self._sys = sys
        self._now = now
        self._uptime_us = uptime_us
        self.watch = self.seq = uptime_us()
        self.name = f"modules:{boot_id}:{self.watch}"
        try:
            self._events = events()
        except (OSError, ImportError) as error:
            raise SourceError(
                f"the kernel's module events can't be followed: {error}",
                "install libudev1" if isinstance(error, ImportError) else None,
            ) from None
        # looked up last: what comes or goes before that is an event too, or seen here
        self.loaded = self._in_kernel()

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when an event comes."""
        return int(self._events.fileno())

    def begin(self) -> list[Row]:
        """Give the first rows of ``schema.TRACER``: the watch, and each module there is."""
        present = [name for name in TRACING_MODULES if name in self.loaded]
        return [self._row(None, "begin"), *(self._row(name, "present") for name in present)]

    def drain(self) -> list[Row]:
        """Give a row of ``schema.TRACER`` for each event since the last call; never waits."""
        rows: list[Row] = []
        try:
            while device := self._events.poll(timeout=0):
                rows += self._take(device)
        except OSError:  # ENOBUFS: events came faster than they were read, and some are lost
            rows += self._changes()
        return rows

    def alive(self) -> list[Row]:
        """Give a row that says that somebody still watches, if none has come for long."""
        for_long = self._uptime_us() - self.seq >= _ALIVE_EVERY_US
        return [self._row(None, "alive")] if for_long else []

    def end(self) -> list[Row]:
        """Give the last row: that nobody watches any more."""
        return [self._row(None, "end")]

    def close(self) -> None:
        """Stop following; pyudev closes its descriptor with the last reference."""
        del self._events

    def _take(self, event: Any) -> list[Row]:
        name, action = event.sys_name, event.action
        if name not in TRACING_MODULES or action not in ("add", "remove"):
            return []
        (self.loaded.add if action == "add" else self.loaded.discard)(name)
        return [self._row(name, action)]

    # What the lost events would have told, from what is in the kernel now.
    def _changes(self) -> list[Row]:
        changed = self.loaded ^ self._in_kernel()
        rows = [self._row(name, "remove" if name in self.loaded else "add") for name in changed]
        self.loaded ^= changed
        return rows

    def _in_kernel(self) -> set[str]:
        return {name for name in TRACING_MODULES if (self._sys / "module" / name).is_dir()}

    # Rows are numbered by the kernel's clock, which tells them apart and goes on after a restart.
    def _row(self, module: str | None, action: str) -> Row:
        self.seq = max(self.seq + 1, self._uptime_us())
        return {
            "host": self._host,
            "boot_id": self._boot_id,
            "at": self._now(),
            "module": module,
            "action": action,
            "kernel": platform.release(),
            "version": self._told(module, "version"),
            "srcversion": self._told(module, "srcversion"),
            "watch": self.watch,
        }

    # Of a module that has gone nothing is told.
    def _told(self, module: str | None, name: str) -> str | None:
        if module is None:
            return None
        try:
            return (self._sys / "module" / module / name).read_text().strip() or None
        except OSError:
            return None
