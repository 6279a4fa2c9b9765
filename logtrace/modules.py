"""When the tracing modules come and go, as the kernel tells through udev."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyudev

from logtrace.errors import SourceError
from logtrace.runs import Row

TRACING_MODULES = ("os_ftracehooking", "ftracehooking", "iotracehooking")
"""The modules that print trace lines, in the order in which they are loaded."""


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
        events: Callable[[], Any] = _kernel_events,
    ) -> None:
        self.name = f"modules:{boot_id}"
        self._host = host
        self._boot_id = boot_id
        self._sys = sys
        self._now = now
        try:
            self.seq = self._last_event()
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

    def present(self) -> list[Row]:
        """Give a row of ``schema.TRACER`` for each module that was loaded at the start."""
        return [self._row(name, "present") for name in TRACING_MODULES if name in self.loaded]

    def drain(self) -> list[Row]:
        """Give a row of ``schema.TRACER`` for each event since the last call; never waits."""
        rows: list[Row] = []
        try:
            while device := self._events.poll(timeout=0):
                rows += self._take(device)
        except OSError:  # ENOBUFS: events came faster than they were read, and some are lost
            rows += self._changes()
        return rows

    def close(self) -> None:
        """Stop following; pyudev closes its descriptor with the last reference."""
        del self._events

    def _take(self, event: Any) -> list[Row]:
        name, action = event.sys_name, event.action
        self.seq = max(self.seq, int(event.properties.get("SEQNUM", 0)))
        if name not in TRACING_MODULES or action not in ("add", "remove"):
            return []
        (self.loaded.add if action == "add" else self.loaded.discard)(name)
        return [self._row(name, action)]

    # What the lost events would have told, from what is in the kernel now.
    def _changes(self) -> list[Row]:
        self.seq = self._last_event()
        changed = self.loaded ^ self._in_kernel()
        rows = [self._row(name, "remove" if name in self.loaded else "add") for name in changed]
        self.loaded ^= changed
        return rows

    def _last_event(self) -> int:
        return int((self._sys / "kernel" / "uevent_seqnum").read_text())

    def _in_kernel(self) -> set[str]:
        return {name for name in TRACING_MODULES if (self._sys / "module" / name).is_dir()}

    def _row(self, module: str, action: str) -> Row:
        return {
            "host": self._host,
            "boot_id": self._boot_id,
            "at": self._now(),
            "module": module,
            "action": action,
            "kernel": platform.release(),
        }
