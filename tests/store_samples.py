"""Stores and logs small enough to check by hand."""

from log_samples import call, end, fd, ops, start, stats, trace
from report_samples import run_row

from logtrace.store import Position, Store

CONTRACT = """\
[33047.244330] OS Assignment2 ftrace [47283] Start
[33047.244401] [2021202045] test file[abc.txt] stats [x] read - 20 / written - 26
[33047.244402] open[1] close[1] read[4] write[5] lseek[9]
[33047.244402] OS Assignment2 ftrace [47283] End
"""


def log_of(*pids, second=100):
    """Write the log of a run a pid, each a second after the one before."""
    lines = []
    for at, pid in enumerate(pids, second):
        lines += [
            f"[{at:5d}.000001] OS Assignment2 ftrace [{pid}] Start\n",
            f"[{at:5d}.000002] [7] prog{pid} file[f] stats [x] read - {pid} / written - 1\n",
            f"[{at:5d}.000003] open[1] close[1] read[1] write[1] lseek[0]\n",
            f"[{at:5d}.000004] OS Assignment2 ftrace [{pid}] End\n",
        ]
    return "".join(lines)


def detailed_log_of(*pids):
    """Write the log of a run a pid, with two calls and as many files as the pid's last digit."""
    lines = []
    for at, pid in enumerate(pids, 100):
        files = [fd(pid, 3 + number) for number in range(pid % 10)]
        calls = [call(pid, "read", calls=pid), call(pid, "openat")]
        run = [start(pid), stats(pid), ops(), trace(pid, 2, len(files)), *calls, *files, end(pid)]
        lines += [f"[{at:5d}.{number:06d}] {line}\n" for number, line in enumerate(run)]
    return "".join(lines)


def fill(store, runs=(), losses=(), tracer=(), host="lab01", **details):
    """Store rows as one commit of a host."""
    tables = store.host(host)
    tables.append("kmsg:b", Position(10**6, 10**6), runs=runs, losses=losses, **details)
    if tracer:
        tables.append_tracer("modules:b", 10**6, tracer)
    return store


def store_with(folder, runs, **tables):
    """Make a store; the runs' hosts each get tables of their own."""
    store = Store(str(folder))
    hosts = dict.fromkeys(run["host"] for run in runs) or {"lab01": None}
    for number, host in enumerate(hosts):
        own = [run for run in runs if run["host"] == host]
        fill(store, own, **(tables if number == 0 else {}), host=host)
    return store


def rows_of(*changes):
    """Give a run for each set of changes, a minute apart."""
    return [run_row(number, **change) for number, change in enumerate(changes)]
