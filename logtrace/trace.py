"""Start and end traces through the modules' system call, and run programs under one."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from logtrace.errors import TraceError

NUMBER = 336
"""The system call's number, unless the loaded module was given another one."""

Call = Callable[[int], None]
"""Invoke the system call with a process id; raises OSError with the kernel's errno."""

_ROOT = Path("/")
_LOAD_REMEDY = "load the modules: sudo logtrace kmod load"
_START_REMEDIES = {
    errno.ENOSYS: _LOAD_REMEDY,
    errno.ENODEV: _LOAD_REMEDY,
    errno.ESRCH: "look the process id up again: ps -e",
    errno.EPERM: "trace your own processes, or run it as root",
    errno.EBUSY: "it is traced already: end that trace first",
}
_STOP_REMEDIES = _START_REMEDIES | {errno.ESRCH: "start a trace of this process first"}


def start(pid: int, *, call: Call | None = None) -> None:
    """Start a trace of a process.

    Parameters
    ----------
    pid
        The process; all its threads are counted.
    call
        Invokes the system call, by default that of the running kernel.

    Raises
    ------
    TraceError
        If the modules are not loaded, there is no such process, it belongs to somebody
        else, or it is traced already.
    """
    if pid <= 0:
        raise TraceError(f"{pid} is not a process id")
    try:
        (call or system_call())(pid)
    except OSError as error:
        raise _failure(f"process {pid} can't be traced", error.errno, _START_REMEDIES) from error


def stop(*, call: Call | None = None) -> None:
    """End the trace of the calling process.

    Parameters
    ----------
    call
        Invokes the system call, by default that of the running kernel. To find that one,
        files are read, which counts: who traces itself passes in what `system_call` gave
        before the start.

    Raises
    ------
    TraceError
        If the calling process is not traced, or the modules are not loaded.
    """
    try:
        (call or system_call())(0)
    except OSError as error:
        raise _failure("the trace can't be ended", error.errno, _STOP_REMEDIES) from error


def _failure(what: str, code: int | None, remedies: Mapping[int, str]) -> TraceError:
    return TraceError(f"{what}: {os.strerror(code or 0)}", remedies.get(code or 0))


def system_call(root: Path = _ROOT) -> Call:
    """Find the system call that the loaded modules answer.

    Parameters
    ----------
    root
        Where the machine's files are.

    Returns
    -------
    Call
        Invokes it.

    Raises
    ------
    TraceError
        If the tracing module is not loaded: the number would reach nothing, the kernel's
        own ``os_ftrace``, or a system call that has nothing to do with tracing.
    """
    if not (root / "sys/module/iotracehooking").is_dir():
        raise TraceError("the module iotracehooking is not loaded", _LOAD_REMEDY)
    number = _number_in_force(root)
    libc = ctypes.CDLL(None, use_errno=True)

    def call(pid: int) -> None:
        if libc.syscall(ctypes.c_long(number), ctypes.c_long(pid)) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return call


def _number_in_force(root: Path) -> int:
    try:
        # logtrace's module refuses a number that the kernel uses itself.
        return int((root / "sys/module/ftracehooking/parameters/nr").read_text())
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


# Running a program


def run(
    argv: Sequence[str],
    *,
    call: Call | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[int, int]:
    """Run a program until it ends, under a trace that begins right before it does.

    Between the start of the trace and the program's own first instruction its process makes
    no system call but ``execve``, so that nothing of logtrace is counted. The program keeps
    the caller's standard streams, terminal, working directory and process group; what the
    terminal's keys send ends the program and not the caller, as in a shell.

    Parameters
    ----------
    argv
        The program, looked up in ``$PATH``, and its arguments.
    call
        Invokes the system call, by default that of the running kernel.
    environ
        The program's environment.

    Returns
    -------
    pid : int
        The process id it had.
    code : int
        Its exit code, or the negative number of the signal that ended it.

    Raises
    ------
    TraceError
        If there is no such program, its trace can't be started, or it can't be executed.
    """
    program = _find(argv, environ)
    invoke = call or system_call()
    with _terminal_left_to_program() as handlers:
        readable, writable = os.pipe()  # both are closed by a successful exec
        pid = os.fork()
        if pid == 0:
            _restore(handlers)
            _become(program, list(argv), dict(environ), invoke, writable)
        os.close(writable)
        with open(readable, "rb") as report:
            failure = report.read()
        _, status = os.waitpid(pid, 0)
    if failure:
        step, code = failure.decode().split()
        raise _failure(f"{program} can't be {step}", int(code), _START_REMEDIES)
    return pid, os.waitstatus_to_exitcode(status)


def _find(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    if not argv:
        raise TraceError("no program is named", "logtrace run -- PROGRAM ARGUMENTS")
    program = shutil.which(argv[0], path=environ.get("PATH"))
    if program is None:
        raise TraceError(f"{argv[0]}: no such program", "give its path, or set PATH")
    return program


def _become(
    program: str, argv: list[str], environ: dict[str, str], call: Call, report: int
) -> NoReturn:
    step = "traced"
    try:
        gc.disable()  # nothing may be closed by a finalizer once the trace has started
        pid = os.getpid()
        call(pid)
        step = "run"
        os.execve(program, argv, environ)
    except OSError as error:
        os.write(report, f"{step} {error.errno}".encode())
    finally:
        os._exit(127)


_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
# Python ignores these for itself; an ignored signal stays ignored across execve.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_Handlers = dict[signal.Signals, Any]


@contextmanager
def _terminal_left_to_program() -> Iterator[_Handlers]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _FROM_TERMINAL}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _restore(handlers: _Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else signal.SIG_DFL)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
