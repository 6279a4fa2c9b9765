"""Trace a program or a running process, and read from the kernel's log what it did."""

from __future__ import annotations

import os
import platform
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from logtrace import family, trace
from logtrace.display import bytes_text, duration_text, visible
from logtrace.errors import SourceError, TraceError
from logtrace.runs import Rows, RunAssembler
from logtrace.source import boot_id
from logtrace.source.kmsg import KmsgSource
from logtrace.ways import Options

Row = dict[str, Any]

_PATIENCE_S = 2.0
_LOOK_AGAIN_S = 0.01
_BUSY_LOG_S = 0.05  # so often at most is a log read that grows all the time
_CALLS = ("open", "close", "read", "write", "lseek")
_ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Traced:
    """What a trace told.

    Parameters
    ----------
    run
        The run, a row of ``schema.RUNS``; None if its lines could not be read.
    code
        The program's exit code, or the negative number of the signal that ended it; None if
        that is not known.
    why_not
        Why there is no run.
    children
        Runs of the processes that were followed from it, in the order in which they ended.
    files, calls
        Rows of ``schema.FILES`` and ``schema.CALLS`` of all those runs.
    running
        The processes followed from it whose traces had not ended yet.
    """

    run: Row | None = None
    code: int | None = None
    why_not: str | None = None
    children: list[Row] = field(default_factory=list)
    files: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    running: list[int] = field(default_factory=list)


def run_traced(command: Sequence[str], options: Options = Options.NONE) -> Traced:
    """Run a program under a trace until it ends.

    With `Options.FOLLOW` it is not waited for children that outlive the program: their
    traces go on.

    Parameters
    ----------
    command
        The program and its arguments.
    options
        What the trace does beyond counting the calls of the lab.

    Returns
    -------
    Traced
        What is known of it.

    Raises
    ------
    TraceError
        If the program can't be run or traced.
    """
    try:
        log = _open_log()
    except SourceError as error:
        _, code = trace.run(command, options)
        return Traced(code=code, why_not=str(error))
    with closing(log):
        story = _Story(log, options, os.getpgrp())
        _, code = trace.run(command, options, meanwhile=story.read)
        told = story.told()
    told.code = code
    return told


def attach_traced(
    pid: int, options: Options = Options.NONE, *, started: Callable[[], None] = lambda: None
) -> Traced:
    """Trace a running process until it ends, or until SIGINT or SIGTERM ends the trace.

    Parameters
    ----------
    pid
        The process.
    options
        What the trace does beyond counting the calls of the lab.
    started
        Is called when the trace has started.

    Returns
    -------
    Traced
        What is known of it; without an exit code.

    Raises
    ------
    TraceError
        If there is no such process, or it can't be traced.
    """
    with ExitStack() as stack:
        process = stack.enter_context(_process(pid))
        ending = stack.enter_context(_told_to_end())
        story, why_not = None, None
        try:
            story = _Story(stack.enter_context(closing(_open_log())), options)
        except SourceError as error:
            why_not = str(error)
        trace.start(pid, options)
        started()
        if story:
            story.read(pid, process, ending, until_told=True)
        else:
            _ready({process, ending})
        with suppress(TraceError):  # it has ended by itself
            trace.stop(pid, options & Options.FOLLOW)
        return story.told() if story else Traced(why_not=why_not)


def _open_log() -> KmsgSource:
    if not family.pids_are_the_log_s():
        raise SourceError(
            "the kernel's log names the machine's process ids, which this container has not",
            "read them outside: logtrace watch",
        )
    return KmsgSource(boot_id(), only_new=True)


@contextmanager
def _process(pid: int) -> Iterator[int]:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        # EINVAL: the id of a thread that is not its process's first
        why = "no such process" if pid <= 0 or isinstance(error, ProcessLookupError) else "a thread"
        raise TraceError(
            f"process {pid} can't be traced: {why}", "look the process id up again: ps -e"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# A descriptor that becomes readable when a signal comes, however shortly before a wait begins.
@contextmanager
def _told_to_end() -> Iterator[int]:
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _ENDING}
    before = signal.set_wakeup_fd(writable)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(writable)


def _ready(descriptors: set[int], seconds: float | None = None) -> set[int]:
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        return {key.fd for key, _ in selector.select(seconds)}


class _Story:
    """What the log tells from now on of a process and of those followed from it."""

    def __init__(self, log: KmsgSource, options: Options, group: int = 0) -> None:
        self._log = log
        self._follow = bool(options & Options.FOLLOW)
        self._group = group
        self._assembler = RunAssembler(platform.node())
        self._pid = 0
        self._rows = Rows.none()
        self._places: dict[int, family.Place | None] = {}
        self._trouble: str | None = None

    def read(self, pid: int, *until: int, until_told: bool = False) -> None:
        """Read until a descriptor is readable, as the log overwrites what waits for too long.

        With `until_told`, also until the run has ended, as when another ends the trace.
        """
        self._pid, ends = pid, set(until)
        while not _ready(ends if self._trouble else ends | {self._log.fileno()}) & ends:
            self._take()
            if _ready(ends, _BUSY_LOG_S) or (until_told and self._run()):
                return

    def told(self) -> Traced:
        """Give what was told, once it is complete or patience has an end."""
        # The lines are printed when the process exits, which may be just after it was waited for
        deadline = time.monotonic() + _PATIENCE_S
        self._take()
        while not (self._trouble or self._complete() or time.monotonic() > deadline):
            time.sleep(_LOOK_AGAIN_S)
            self._take()
        return self._traced()

    def _take(self) -> None:
        try:
            rows = self._assembler.feed(self._log.drain())
        except SourceError as error:
            self._trouble = str(error)
            return
        self._rows.add(_only(rows, self._is_wanted))
        if self._follow:
            self._note_places({row["pid"] for row in rows.runs})

    # A child's run may end before it is known whose child its parent is.
    def _is_wanted(self, run: Row) -> bool:
        return run["pid"] == self._pid or (self._follow and bool(run.get("parent_pid")))

    def _note_places(self, ended: set[int | None]) -> None:
        open_now = {pid for pid, _ in self._assembler.open_runs}
        known = self._places.keys() & open_now - ended
        self._places = {
            pid: self._places[pid] if pid in known else family.place_of(pid) for pid in open_now
        }

    def _complete(self) -> bool:
        return self._run() is not None and all(map(family.runs, self._places))

    # The first one, if the program traces itself later on.
    def _run(self) -> Row | None:
        return next((run for run in self._rows.runs if run["pid"] == self._pid), None)

    def _traced(self) -> Traced:
        run = self._run()
        if run is None:
            waited = f"no End line of {self._pid} came within {_PATIENCE_S:g} s"
            return Traced(why_not=self._trouble or waited)
        children = _children(run, self._rows.runs)
        known = {row["run_id"] for row in (run, *children)}
        told = _only(self._rows, lambda row: row["run_id"] in known)
        running = self._still_running({row["pid"] for row in (run, *children)})
        return Traced(run, None, None, children, told.files, told.calls, running)

    def _still_running(self, family_pids: set[int]) -> list[int]:
        alive = {pid: place for pid, place in self._places.items() if place and family.runs(pid)}
        return sorted(family.followed(alive, family_pids, self._group))


def _only(rows: Rows, wanted: Callable[[Row], bool]) -> Rows:
    runs = [run for run in rows.runs if wanted(run)]
    known = {run["run_id"] for run in runs}
    files, calls = (
        [row for row in some if row["run_id"] in known] for some in (rows.files, rows.calls)
    )
    return Rows(runs, [], files, calls)


def _children(first: Row, runs: Sequence[Row]) -> list[Row]:
    pids = {first["pid"]}
    while new := {run["pid"] for run in runs if run.get("parent_pid") in pids} - pids:
        pids |= new
    return [run for run in runs if run is not first and run.get("parent_pid") in pids]


def summary(told: Traced) -> str:
    """Say on a few lines what a run did to its files.

    Parameters
    ----------
    told
        What was told of it; it has a run.

    Returns
    -------
    str
        Program and pid, how it ended, bytes and calls, the last file, and what is in doubt.
    """
    run = told.run
    assert run is not None
    calls = " · ".join(f"{name} {_known(run.get(f'{name}_calls'))}" for name in _CALLS)
    lines = [" · ".join([f"{visible(run.get('comm') or '?')} [{run['pid']}]", *_ending(told)])]
    if not told.children:  # the table of the processes has the sums
        size = f"read {_size(run.get('read_bytes'))}, wrote {_size(run.get('written_bytes'))}"
        lines += [f"  {size}", f"  {calls}"]
    if not (run.get("detail") or told.children):
        file = run.get("file")
        lines.append(f"  last file: {visible(file)}" if file else "  no file was opened")
    if run["status"] != "complete":
        lines.append(f"  {run['status']}: {run['note']}")
    return "\n".join(lines)


def as_row(told: Traced) -> Row:
    """Put all that was told into one row, for JSON.

    Parameters
    ----------
    told
        What was told; it has a run.

    Returns
    -------
    dict
        The run, and behind its columns ``exit_code`` (None where it is not known; 128 and
        the signal's number for a program that a signal ended), ``children``, ``files``,
        ``calls`` and ``running``.
    """
    assert told.run is not None
    code = told.code
    run = {name: value for name, value in told.run.items() if name != "lines"}
    return run | {
        "exit_code": 128 - code if code is not None and code < 0 else code,
        "children": told.children,
        "files": told.files,
        "calls": told.calls,
        "running": told.running,
    }


def _ending(told: Traced) -> Iterator[str]:
    assert told.run is not None
    started, ended = told.run.get("started_us"), told.run.get("ended_us")
    if started is not None and ended is not None:
        yield duration_text(ended - started)
    if told.code is not None and told.code < 0:
        yield f"killed by {_signal_name(-told.code)}"
    elif told.code:
        yield f"exit code {told.code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _size(number: int | None) -> str:
    return "?" if number is None else bytes_text(number)


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)
