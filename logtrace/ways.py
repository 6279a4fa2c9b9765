"""The ways in to the tracing modules: their device, and their system call.

The device is there on every kernel and takes options. The system call is what programs of
the lab use; its number is a parameter of the module, and 0 where the kernel needs the
number for itself.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from enum import IntFlag
from pathlib import Path
from typing import Protocol

from logtrace.errors import TraceError

NUMBER = 336
"""The system call's number, unless the loaded module was given another one."""

DEVICE = Path("/dev/os_ftrace")
"""The device, while ``ftracehooking`` is loaded."""

START_REQUEST, STOP_REQUEST = 0x40084C01, 0x40084C02
"""``OS_FTRACE_START`` and ``OS_FTRACE_STOP`` of ``kmod/os_ftrace.h``."""

LOAD_REMEDY = "load the modules: sudo logtrace kmod load"

_ROOT = Path("/")
_REQUEST = struct.Struct("=iI")  # struct os_ftrace_request


class Options(IntFlag):
    """What a trace does beyond counting the calls of the lab, as ``kmod/os_ftrace.h`` has it."""

    NONE = 0
    WIDE = 1
    """Count more calls, with their errors and times: a line a call."""
    DETAIL = 2
    """Count for each file: a line a file."""
    FOLLOW = 4
    """Trace the children too, each as a run of its own."""


class Way(Protocol):
    """A way in to the modules. Its calls raise OSError with the kernel's errno."""

    def start(self, pid: int, options: Options) -> None:
        """Start the trace of a process."""

    def stop(self, pid: int, options: Options) -> None:
        """End the trace of a process; 0 is the caller's own."""

    def close(self) -> None:
        """Let go of it."""


class Device:
    """The modules' device, opened.

    Parameters
    ----------
    path
        Where it is.

    Raises
    ------
    OSError
        If it can't be opened.
    """

    def __init__(self, path: Path = DEVICE) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def start(self, pid: int, options: Options) -> None:
        """Start the trace of a process."""
        self._ask(START_REQUEST, pid, options)

    def stop(self, pid: int, options: Options) -> None:
        """End the trace of a process; 0 is the caller's own."""
        self._ask(STOP_REQUEST, pid, options)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _ask(self, request: int, pid: int, options: Options) -> None:
        fcntl.ioctl(self._descriptor, request, _REQUEST.pack(pid, options))


class SystemCall:
    """The modules' system call, which takes no options and ends the caller's own trace only.

    Parameters
    ----------
    number
        The number that the module answers.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._libc = ctypes.CDLL(None, use_errno=True)

    def start(self, pid: int, options: Options) -> None:
        """Start the trace of a process."""
        if options:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        self._call(pid)

    def stop(self, pid: int, options: Options) -> None:
        """End the caller's own trace."""
        if options or pid not in (0, os.getpid()):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        self._call(0)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _call(self, pid: int) -> None:
        if self._libc.syscall(ctypes.c_long(self._number), ctypes.c_long(pid)) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def find_way(*, only_device: bool = False, root: Path = _ROOT) -> Way:
    """Find the way in that is in force: the device, else the system call.

    To find it, files are opened and read, which counts in a trace that runs: who traces
    itself finds the way before the start, and closes it after the end.

    Parameters
    ----------
    only_device
        Whether the system call would not do, as for a trace with options.
    root
        Where the machine's files are.

    Returns
    -------
    Way
        To be closed after use.

    Raises
    ------
    TraceError
        If the tracing modules are not loaded, or only the system call is there and it would
        not do.
    """
    device = root / DEVICE.relative_to("/")
    try:
        return Device(device)
    except OSError as error:
        found = error
    if _is_missing(found) and not (root / "sys/module/ftracehooking").is_dir():
        raise TraceError("the module ftracehooking is not loaded", LOAD_REMEDY) from None
    number = None if only_device else number_in_force(root)
    if number is None:
        what = f"{DEVICE} can't be opened: {os.strerror(found.errno or 0)}"
        raise TraceError(what, _device_remedy(found)) from None
    return SystemCall(number)


def _is_missing(error: OSError) -> bool:
    return error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO)


def _device_remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"see who may: ls -l {DEVICE}; or run it as root"
    return (
        f"where another's module is loaded, load logtrace's; in a container, pass --device {DEVICE}"
    )


def number_in_force(root: Path = _ROOT) -> int | None:
    """Tell which system call the loaded module answers.

    Parameters
    ----------
    root
        Where the machine's files are.

    Returns
    -------
    int or None
        The number; None where the module answers none, so that there is the device alone.

    Raises
    ------
    TraceError
        If another's module is loaded where 336 is a system call of the kernel that has
        nothing to do with tracing.
    """
    try:
        # logtrace's module takes no number that the kernel uses itself.
        return int((root / "sys/module/ftracehooking/parameters/nr").read_text()) or None
    except FileNotFoundError:
        if number_is_uprobe(root):
            raise TraceError(
                f"system call {NUMBER} is uprobe in this kernel", "load logtrace's own modules"
            ) from None
        return NUMBER


def number_is_uprobe(root: Path = _ROOT) -> bool:
    """Say whether the kernel uses number 336 for ``uprobe``, as Linux does from 6.18 on.

    Parameters
    ----------
    root
        Where the machine's files are.

    Returns
    -------
    bool
        Whether ``/proc/kallsyms`` has that system call; false where it can't be read.
    """
    return has_symbol("__x64_sys_uprobe", root)


def has_symbol(name: str, root: Path = _ROOT) -> bool:
    """Say whether the running kernel has a symbol.

    Parameters
    ----------
    name
        The symbol.
    root
        Where the machine's files are.

    Returns
    -------
    bool
        Whether ``/proc/kallsyms`` lists it; false where it can't be read.
    """
    wanted = f" {name}\n".encode()
    try:
        return wanted in (root / "proc/kallsyms").read_bytes()
    except OSError:
        return False
