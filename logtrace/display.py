"""Numbers, times and text from logs as people read them.

Text from a log is somebody else's: control characters and bidirectional overrides are
shown as escapes, so that a name can't hide or rearrange what stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

USUAL = "as usual"
"""How a machine stands of which nothing is to be said."""

_CLOCKS = {
    "ahead": "clock ahead",
    "early": "clock behind",
    "set": "clock set",
    "two_boots": "boots overlap",
}
_DAY_US = 86_400_000_000
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    r"""Show what would not be seen: ``\x1b`` for an escape character, ``\u202e`` for an override.

    Parameters
    ----------
    text
        Text as it stood in a log.

    Returns
    -------
    str
        The text with control, formatting and lone surrogate characters written as escapes.
    """
    return _INVISIBLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def count_text(number: int) -> str:
    """Write a count with thousands separated: ``12,345``."""
    return f"{number:,}"


def bytes_text(number: int) -> str:
    """Write a number of bytes in the unit that suits its size: ``20 B``, ``1.5 MiB``.

    Parameters
    ----------
    number
        Bytes.

    Returns
    -------
    str
        At most one decimal; units are powers of 1024.
    """
    if abs(number) < 1024:
        return f"{number} B"
    size = float(number)
    steps = 0
    while abs(size) >= 1023.95 and steps < len(_UNITS):
        size /= 1024
        steps += 1
    return f"{size:.1f} {_UNITS[steps - 1]}"


def duration_text(microseconds: int) -> str:
    """Write a length of time in the unit that suits it: ``812 µs``, ``1.250 s``, ``2 h 5 min``."""
    if abs(microseconds) < 1_000:
        return f"{microseconds} µs"
    if abs(microseconds) < 1_000_000:
        return f"{microseconds / 1e3:.1f} ms"
    if abs(microseconds) < 60_000_000:
        return f"{microseconds / 1e6:.3f} s"
    minutes, seconds = divmod(microseconds // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def state_text(host: Mapping[str, Any]) -> str | None:
    """Say in words what needs a look of a machine.

    Parameters
    ----------
    host
        ``silent``, ``clock`` and ``clock_off_us`` as of `logtrace.hosts.of_store`, None for null.

    Returns
    -------
    str or None
        `USUAL` if nothing does; None where no time is known of it.
    """
    said = ["silent"] if host["silent"] else []
    if host["clock"] is not None:
        said.append(f"{_CLOCKS[host['clock']]} by {_long_text(int(host['clock_off_us']))}")
    return ", ".join(said) or (None if host["silent"] is None else USUAL)


def _long_text(microseconds: int) -> str:
    days = microseconds / _DAY_US
    return duration_text(microseconds) if days < 2 else f"{count_text(round(days))} days"


def nanoseconds_text(nanoseconds: int) -> str:
    """Write a length of time in the unit that suits it: ``812 ns``, ``81.2 µs``, ``1.250 s``."""
    if abs(nanoseconds) < 1_000:
        return f"{nanoseconds} ns"
    if abs(nanoseconds) < 1_000_000:
        return f"{nanoseconds / 1e3:.1f} µs"
    return duration_text(nanoseconds // 1_000)


def time_text(moment: datetime, zone: tzinfo) -> str:
    """Write a moment to the second, in a zone that is named elsewhere.

    Parameters
    ----------
    moment
        An aware time.
    zone
        The zone to show it in.

    Returns
    -------
    str
        ``2026-11-23 09:30:00``.
    """
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def exact_time_text(moment: datetime, zone: tzinfo) -> str:
    """Write a moment to the microsecond with the zone's offset and name.

    Parameters
    ----------
    moment
        An aware time.
    zone
        The zone to show it in.

    Returns
    -------
    str
        ``2026-11-23 09:30:00.000125 +09:00 (KST)``.
    """
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S.%f} {offset_text(local)} ({local:%Z})"


def offset_text(local: datetime) -> str:
    """Write the offset of an aware time from UTC: ``+09:00``."""
    digits = local.strftime("%z")
    return f"{digits[:3]}:{digits[3:5]}"


def clock_text(microseconds: int) -> str:
    """Write a time of the kernel's own clock as ``dmesg`` does: ``33047.244330``."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{seconds}.{rest:06d}"
