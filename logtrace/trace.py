"""Start and end traces, and run programs under one."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from logtrace.errors import TraceError
from logtrace.ways import DEVICE, LOAD_REMEDY, Options, Way, find_way

_VERSION_REMEDY = "the loaded modules are of another version: logtrace kmod unload, then load"
_START_REMEDIES = {
    errno.ENOSYS: LOAD_REMEDY,
    errno.ENODEV: LOAD_REMEDY,
    errno.ESRCH: "look the process id up again: ps -e",
    errno.EPERM: "trace your own processes, or run it as root",
    errno.EBUSY: "end that trace first: logtrace attach --end PID",
    errno.EAGAIN: "as many processes are traced as may be: end some, or raise the parameter traces",
    errno.EOPNOTSUPP: f"that takes the device {DEVICE}",
    errno.EINVAL: _VERSION_REMEDY,
    errno.ENOTTY: _VERSION_REMEDY,
}
_STOP_REMEDIES = _START_REMEDIES | {errno.ESRCH: "start a trace of this process first"}
_START_REASONS = {errno.EBUSY: "it is traced already"}
_STOP_REASONS = {errno.ESRCH: "it is not traced"}


def start(pid: int, options: Options = Options.NONE, *, way: Way | None = None) -> None:
    """Start a trace of a process.

    Parameters
    ----------
    pid
        The process; all its threads are counted.
    options
        What the trace does beyond what the module's parameters ask for; any takes the device.
    way
        The way in to the modules, by default the one in force.

    Raises
    ------
    TraceError
        If the modules are not loaded, there is no such process, it belongs to somebody
        else, or it is traced already.
    """
    if pid <= 0:
        raise TraceError(f"{pid} is not a process id")
    with _opened(way, only_device=bool(options)) as used:
        try:
            used.start(pid, options)
        except OSError as error:
            raise _not_traced(f"process {pid}", error.errno) from error


def stop(pid: int = 0, options: Options = Options.NONE, *, way: Way | None = None) -> None:
    """End a trace, and have its lines printed.

    Parameters
    ----------
    pid
        The process, by default the calling one; any other takes the device.
    options
        `Options.FOLLOW` ends the traces of all processes that were followed from it too.
    way
        The way in to the modules, by default the one in force. To find that one, files are
        opened and read, which counts: who traces itself passes in what `find_way` gave
        before the start.

    Raises
    ------
    TraceError
        If the process is not traced or belongs to somebody else, or the modules are not
        loaded.
    """
    with _opened(way, only_device=bool(pid or options)) as used:
        try:
            used.stop(pid, options)
        except OSError as error:
            what = f"the trace of process {pid} can't be ended" if pid else "no trace was ended"
            raise _failure(what, error.errno, _STOP_REMEDIES, _STOP_REASONS) from error


@contextmanager
def _opened(way: Way | None, *, only_device: bool) -> Iterator[Way]:
    if way is not None:
        yield way
        return
    found = find_way(only_device=only_device)
    try:
        yield found
    finally:
        found.close()


def _not_traced(what: str, code: int | None) -> TraceError:
    return _failure(f"{what} can't be traced", code, _START_REMEDIES, _START_REASONS)


def _failure(
    what: str, code: int | None, remedies: Mapping[int, str], reasons: Mapping[int, str]
) -> TraceError:
    number = code or 0
    return TraceError(f"{what}: {reasons.get(number) or os.strerror(number)}", remedies.get(number))


# Running a program


def run(
    argv: Sequence[str],
    options: Options = Options.NONE,
    *,
    way: Way | None = None,
    environ: Mapping[str, str] = os.environ,
    meanwhile: Callable[[int, int], None] = lambda _pid, _process: None,
) -> tuple[int, int]:
    """Run a program until it ends, under a trace that begins right before it does.

    Between the start of the trace and the program's own first instruction its process makes
    no system call but ``execve``, so that nothing of logtrace is counted. The program keeps
    the caller's standard streams, terminal, working directory and process group; what the
    terminal's keys send ends the program and not the caller, as in a shell, and what would
    end the caller (SIGTERM and its like) is passed on to the program.

    Parameters
    ----------
    argv
        The program, looked up in ``$PATH``, and its arguments.
    options
        What the trace does beyond what the module's parameters ask for; any takes the device.
    way
        The way in to the modules, by default the one in force.
    environ
        The program's environment.
    meanwhile
        What to do while the program runs, given its process id and a descriptor that becomes
        readable when it ends.

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
    with _opened(way, only_device=bool(options)) as used, _terminal_left_to_program() as handlers:
        readable, writable = os.pipe()  # both are closed by a successful exec
        pid = os.fork()
        if pid == 0:
            _restore(handlers)
            _become(program, list(argv), dict(environ), used, options, writable)
        os.close(writable)
        with open(readable, "rb") as report:
            failure = report.read()
        status = _wait_for(pid, meanwhile if not failure else None)
    if failure:
        step, code = failure.decode().split()
        if step == "start":
            raise _not_traced(program, int(code))
        raise _failure(f"{program} can't be run", int(code), {}, {})
    return pid, os.waitstatus_to_exitcode(status)


def _find(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    if not argv:
        raise TraceError("no program is named", "logtrace run -- PROGRAM ARGUMENTS")
    program = shutil.which(argv[0], path=environ.get("PATH"))
    if program is None:
        raise TraceError(f"{argv[0]}: no such program", "give its path, or set PATH")
    return program


def _become(
    program: str,
    argv: list[str],
    environ: dict[str, str],
    way: Way,
    options: Options,
    report: int,
) -> NoReturn:
    step = "start"
    try:
        gc.disable()  # nothing may be closed by a finalizer once the trace has started
        pid = os.getpid()
        way.start(pid, options)
        step = "exec"
        os.execve(program, argv, environ)
    except OSError as error:
        os.write(report, f"{step} {error.errno}".encode())
    finally:
        os._exit(127)


def _wait_for(pid: int, meanwhile: Callable[[int, int], None] | None) -> int:
    process = os.pidfd_open(pid)
    try:
        with _signals_passed_on(process):
            try:
                if meanwhile:
                    meanwhile(pid, process)
            finally:
                _, status = os.waitpid(pid, 0)
    finally:
        os.close(process)
    return status


_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
# Python ignores these for itself; an ignored signal stays ignored across execve.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_Handlers = dict[signal.Signals, Any]


@contextmanager
def _terminal_left_to_program() -> Iterator[_Handlers]:
    with _handled(_FROM_TERMINAL, signal.SIG_IGN) as before:
        yield before


@contextmanager
def _signals_passed_on(process: int) -> Iterator[None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            signal.pidfd_send_signal(process, number)

    heard = [number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    with _handled(heard, pass_on):
        yield


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handler: Any) -> Iterator[_Handlers]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _restore(handlers: _Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else signal.SIG_DFL)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
