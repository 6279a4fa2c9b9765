"""When the tracing modules come and go, as the kernel tells through udev."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyudev

from logtrace.errors import SourceError
from logtrace.runs import Row

TRACING_MODULES = ("os_ftracehooking", "ftracehooking", "iotracehooking")
"""The modules that print trace lines, in the order in which they are loaded."""


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
    ) -> None:
        self.name = f"modules:{boot_id}"
        self._host = host
        self._boot_id = boot_id
        self._sys = sys
        self._now = now
        try:
            self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
            self._monitor.filter_by("module")
            self._monitor.start()
        except OSError as error:
            raise SourceError(
                f"the kernel's module events can't be followed: {error.strerror}"
            ) from None
        self.loaded = {name for name in TRACING_MODULES if (sys / "module" / name).is_dir()}
        self.seq = self._last_event()

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when an event comes."""
        return int(self._monitor.fileno())

    def present(self) -> list[Row]:
        """Give a row of ``schema.TRACER`` for each module that was loaded at the start."""
        return [self._row(name, "present") for name in TRACING_MODULES if name in self.loaded]

    def drain(self) -> list[Row]:
        """Give a row of ``schema.TRACER`` for each event since the last call; never waits."""
        devices = iter(lambda: self._monitor.poll(timeout=0), None)
        return self._rows((device.action, device.sys_name, device.properties) for device in devices)

    def _rows(self, events: Iterable[tuple[str, str, Any]]) -> list[Row]:
        rows = []
        for action, name, properties in events:
            self.seq = max(self.seq, int(properties.get("SEQNUM", self.seq)))
            if name in TRACING_MODULES and action in ("add", "remove"):
                (self.loaded.add if action == "add" else self.loaded.discard)(name)
                rows.append(self._row(name, action))
        return rows

    def _last_event(self) -> int:
        return int((self._sys / "kernel" / "uevent_seqnum").read_text())

    def _row(self, module: str, action: str) -> Row:
        return {
            "host": self._host,
            "boot_id": self._boot_id,
            "at": self._now(),
            "module": module,
            "action": action,
            "kernel": platform.release(),
        }
