"""Runs that number themselves, streamed through a guest's log, and what a watch stored of them."""

import shlex
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from deltalake import DeltaTable

from logtrace import vm

Run = tuple[int, int]
"""Pid and bytes written."""

Row = dict[str, Any]

LINES = 4  # of a run
SLOW_S = 600  # Python starts slowly in emulation
HOST = "guest"
STORE = "/run/store"

_LOGTRACE = shlex.quote(str(Path(sys.prefix) / "bin" / "logtrace"))
_WATCH = f"{_LOGTRACE} watch --quiet --host {HOST} --store {STORE}"
# A run that is stored says where a watch that is killed goes on
_BEGIN = """\
rm -rf {store}
{watch} --from now > watch.out 2>&1 &
echo $! > watch.pid
until ls -l /proc/$!/fd 2> /dev/null | grep -q kmsg; do
    kill -0 $! || {{ cat watch.out >&2; exit 1; }}
    sleep 0.2
done
sleep 1  # the device is open; what comes from here on is new
"""
_COMMITS = f"ls {STORE}/*/runs/_delta_log/*[0-9].json 2> /dev/null | wc -l"
_LAST_NUMBER = """\
import os
log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
last = b""
while True:
    try:
        last = os.read(log, 8192)
    except BrokenPipeError:
        continue
    except BlockingIOError:
        break
print(last.split(b",")[1].decode())
"""


class Account(NamedTuple):
    """What became of the runs that were streamed.

    Parameters
    ----------
    truth, whole
        How many runs there were, and how many of them are stored as they were.
    counted
        How many runs have a line in a range of the table of losses.
    lost_records
        How many records these ranges have.
    wrong
        What is stored and can't be.
    """

    truth: int
    whole: int
    counted: int
    lost_records: int
    wrong: list[str]

    @property
    def is_even(self) -> bool:
        return self.truth == self.whole + self.counted and not self.wrong


def account_of(truth: list[Run], runs: list[Row], losses: list[Row], last_number: int) -> Account:
    """Compare what is stored with what was streamed.

    The lines of runs are numbered on and on, but for records of others among them: how many
    those are, up to a run, is known from the runs stored around it.

    Parameters
    ----------
    truth
        The runs in their order; the first one must be stored.
    runs, losses
        The tables.
    last_number
        The number of the newest record.
    """
    complete = [row for row in runs if row["status"] == "complete"]
    whole = {(row["pid"], row["written_bytes"]): row["first_seq"] for row in complete}
    lost = sorted((row["first_seq"], row["last_seq"]) for row in losses)
    others = pd.Series(
        [whole[run] - LINES * place if run in whole else None for place, run in enumerate(truth)],
        dtype="Int64",
    )
    # so many other records stand before a run at least, and at most
    fewest, most = others.ffill(), others.bfill().fillna(last_number + 1 - LINES * len(truth))
    spans = [
        (LINES * place + few, LINES * place + many + LINES - 1)
        for place, (few, many) in enumerate(zip(fewest, most, strict=True))
    ]
    counted = sum(
        any(start <= last and end >= first for start, end in lost) for first, last in spans
    )
    return Account(
        truth=len(truth),
        whole=len(whole.keys() & set(truth)),
        counted=counted,
        lost_records=sum(row["records"] for row in losses),
        wrong=[
            *(f"never was: {run}" for run in whole.keys() - set(truth)),
            *(["stored twice"] if len(complete) > len(whole) else []),
            *(
                f"a loss is told twice: {one} {other}"
                for one, other in pairwise(lost)
                if other[0] <= one[1]
            ),
            *(
                f"a loss has another count than range: {row}"
                for row in losses
                if row["records"] != row["last_seq"] - row["first_seq"] + 1
            ),
        ],
    )


class Streams:
    """A guest in which programs/stream runs and a watch lives and dies.

    Parameters
    ----------
    run
        Runs a command in the guest, where `stream` is on the PATH.
    folder
        The working folder of these commands, shared with the guest.
    """

    def __init__(self, run: Callable[..., vm.Completed], folder: Path) -> None:
        self._run = run
        self._folder = folder
        self.truth: list[Run] = []

    def begin(self) -> None:
        """Begin to watch from now on, and have a run stored."""
        self._run(_BEGIN.format(store=STORE, watch=_WATCH), timeout=SLOW_S)
        self.stream(1)
        self._run(f"until [ $({_COMMITS}) -ge 2 ]; do sleep 0.1; done", timeout=SLOW_S)

    def stream(self, count: int) -> None:
        """Have runs printed as fast as can be."""
        first = len(self.truth) + 1
        pid = int(self._run(f"stream {first} {count}", timeout=SLOW_S).stdout)
        self.truth += [(pid, number) for number in range(first, first + count)]

    def start(self) -> None:
        self._run(f"{_WATCH} > watch.out 2>&1 & echo $! > watch.pid")

    def await_commit(self, at_most_s: int, more_s: float) -> None:
        """Wait until something more is stored, and then for a moment."""
        self._run(
            f"before=$({_COMMITS}); for _ in $(seq {10 * at_most_s}); do"
            f" [ $({_COMMITS}) -gt $before ] && break; sleep 0.1; done; sleep {more_s:.3f}",
            timeout=SLOW_S + 10 * at_most_s,
        )

    def stop(self, signal: str = "TERM") -> None:
        pid = "$(cat watch.pid)"
        self._run(
            f"kill -0 {pid} || {{ cat watch.out >&2; exit 1; }}; kill -{signal} {pid};"
            f" while kill -0 {pid} 2> /dev/null; do sleep 0.05; done",
            timeout=SLOW_S,
        )

    def catch_up(self) -> None:
        """Let a watch store all there is."""
        self._run(f"{_WATCH} --once", timeout=SLOW_S)

    def account(self) -> Account:
        """Compare what is stored with what was streamed."""
        script = self._folder / "last_number.py"
        script.write_text(_LAST_NUMBER)
        last = int(self._run(f"{shlex.quote(sys.executable)} {script}", timeout=SLOW_S).stdout)
        self._run(f"rm -rf store && cp -r {STORE} store", timeout=SLOW_S)
        host = self._folder / "store" / f"host={HOST}"
        return account_of(self.truth, _rows(host, "runs"), _rows(host, "losses"), last)


def _rows(host: Path, table: str) -> list[Row]:
    if not (host / table / "_delta_log").is_dir():
        return []
    rows: list[Row] = DeltaTable(str(host / table)).to_pyarrow_table().to_pylist()
    return rows
