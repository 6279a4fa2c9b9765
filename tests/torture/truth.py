"""Runs that are made up here, so that every number is known, and the log that tells of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import BinaryIO, NamedTuple

CALLS = ("openat", "close", "read", "write", "lseek", "pread64", "mmap")
KEPT_LOGS = 3


class Call(NamedTuple):
    call: str
    calls: int
    errors: int
    moved_bytes: int
    time_ns: int


class File(NamedTuple):
    descriptor: int
    path: str
    opens: int
    closes: int
    reads: int
    writes: int
    seeks: int
    read_bytes: int
    written_bytes: int
    open_at_end: bool


class Run(NamedTuple):
    """What the log says of a run; the fields are columns of the table of runs.

    Calls and files are sorted.
    """

    pid: int
    comm: str
    file: str
    read_bytes: int
    written_bytes: int
    open_calls: int
    close_calls: int
    read_calls: int
    write_calls: int
    lseek_calls: int
    calls: tuple[Call, ...] = ()
    files: tuple[File, ...] = ()

    def end_lines(self) -> list[str]:
        lines = [
            f"[7] {self.comm} file[{self.file}] stats [x] read - {self.read_bytes}"
            f" / written - {self.written_bytes}",
            f"open[{self.open_calls}] close[{self.close_calls}] read[{self.read_calls}]"
            f" write[{self.write_calls}] lseek[{self.lseek_calls}]",
        ]
        if self.calls or self.files:
            lines += [
                f"ftrace/1 [{self.pid}] trace wide[1] detail[1] follow[0] parent[0]"
                f" calls[{len(self.calls)}] files[{len(self.files)}] lost_files[0]"
                " lost_children[0] untimed[0]",
                *(self._call_line(call) for call in self.calls),
                *(self._file_line(file) for file in self.files),
            ]
        return [*lines, f"OS Assignment2 ftrace [{self.pid}] End"]

    def _call_line(self, call: Call) -> str:
        return (
            f"ftrace/1 [{self.pid}] call[{call.call}] calls[{call.calls}] errors[{call.errors}]"
            f" bytes[{call.moved_bytes}] ns[{call.time_ns}]"
        )

    def _file_line(self, file: File) -> str:
        return (
            f"ftrace/1 [{self.pid}] fd[{file.descriptor}] opens[{file.opens}]"
            f" closes[{file.closes}] reads[{file.reads}] writes[{file.writes}]"
            f" seeks[{file.seeks}] read[{file.read_bytes}] written[{file.written_bytes}]"
            f" open[{int(file.open_at_end)}] path[{file.path}]"
        )


class Story:
    """Make up runs, several under way at once, and write what a kernel would print.

    Parameters
    ----------
    random
        What decides.
    write
        Where bytes of the log go.

    Attributes
    ----------
    truth
        The runs in the order in which they ended.
    """

    def __init__(self, random: Random, write: Callable[[bytes], object]) -> None:
        self.truth: list[Run] = []
        self._random = random
        self._write = write
        self._open: list[Run] = []
        self._serial = 0
        self._us = 100_000_000

    def go_on(self, steps: int) -> None:
        """Begin and end some runs, in pieces that end anywhere."""
        text = "".join(self._step() for _ in range(steps)).encode()
        cut = self._random.randrange(len(text))
        self._write(text[:cut])
        self._write(text[cut:])

    def end_all(self) -> None:
        """End the runs that are under way."""
        while self._open:
            self._write(self._end().encode())

    def _step(self) -> str:
        if self._random.random() < 0.1:
            return self._line("usb 1-1: new high-speed USB device number 7 using xhci_hcd")
        if not self._open or (len(self._open) < 5 and self._random.random() < 0.5):
            return self._start()
        return self._end()

    def _start(self) -> str:
        run = self._made_up()
        self._open.append(run)
        return self._line(f"OS Assignment2 ftrace [{run.pid}] Start")

    def _end(self) -> str:
        run = self._open.pop(self._random.randrange(len(self._open)))
        self.truth.append(run)
        return "".join(map(self._line, run.end_lines()))

    def _line(self, text: str) -> str:
        self._us += self._random.randint(1, 9000)
        return f"[{self._us // 10**6:5d}.{self._us % 10**6:06d}] {text}\n"

    # No two runs are the same: the bytes read number them
    def _made_up(self) -> Run:
        number = self._random.randint
        self._serial += 1
        pids = {run.pid for run in self._open}
        pid = next(pid for pid in iter(lambda: number(2, 32768), None) if pid not in pids)
        detailed = self._random.random() < 0.3
        names = sorted(self._random.sample(CALLS, number(0, 4))) if detailed else []
        return Run(
            pid,
            f"prog{number(1, 40)}",
            f"data {number(1, 9)}.txt",
            self._serial,
            number(0, 2**40),
            *(number(0, 999) for _ in range(5)),
            tuple(Call(name, *(number(0, 10**9) for _ in range(4))) for name in names),
            tuple(
                File(
                    3 + place,
                    f"/home/s{number(1, 99)}/{place}",
                    *(number(0, 999) for _ in range(7)),
                    self._random.random() < 0.1,
                )
                for place in range(number(0, 3) if detailed else 0)
            ),
        )


class RotatedLog:
    """A log file as a logger writes it and logrotate rotates it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.renames = self.truncations = 0
        self._stream: BinaryIO = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def close(self) -> None:
        self._stream.close()

    def rename(self) -> None:
        """Give the file another name; what is written still goes there until `reopen`."""
        self._shift()
        self.path.rename(self._older(1))
        self.renames += 1

    def reopen(self) -> None:
        self._stream.close()
        self._stream = self.path.open("ab", buffering=0)

    def copy_and_truncate(self) -> None:
        self._shift()
        shutil.copy2(self.path, self._older(1))
        self._stream.truncate(0)
        self.truncations += 1

    def _shift(self) -> None:
        for number in range(KEPT_LOGS, 0, -1):
            if self._older(number).exists():
                self._older(number).rename(self._older(number + 1))
        self._older(KEPT_LOGS + 1).unlink(missing_ok=True)

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
