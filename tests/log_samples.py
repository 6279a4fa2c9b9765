"""The lines of runs, and records of them, for the tests of what is made of them."""

from datetime import UTC, datetime

from logtrace.record import Loss, Record
from logtrace.runs import RunAssembler

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def start(pid):
    return f"OS Assignment2 ftrace [{pid}] Start"


def stats(read=20, written=26, file="abc.txt", comm="test"):
    return f"[2021202045] {comm} file[{file}] stats [x] read - {read} / written - {written}"


def ops(opened=1, closed=1, reads=4, writes=5, seeks=9):
    return f"open[{opened}] close[{closed}] read[{reads}] write[{writes}] lseek[{seeks}]"


def end(pid):
    return f"OS Assignment2 ftrace [{pid}] End"


def record(text, seq, **changes):
    values = {
        "source": "kmsg",
        "boot_id": "b1",
        "seq": seq,
        "usec": 1_000_000 + seq,
        "facility": 0,
        "level": 6,
        "caller": None,
        "text": text,
        "at": AT,
        "clock": "received",
    }
    return Record(**values | changes)


def log(*lines):
    """Number lines, which are texts, or functions from a number to an item."""
    return [line(seq) if callable(line) else record(line, seq) for seq, line in enumerate(lines)]


def lost(records, reason="overrun"):
    return lambda seq: Loss("kmsg", "b1", seq, seq, records, reason, AT)


def cut(text):
    return lambda seq: record(text, seq, truncated=True)


def by(caller, text):
    return lambda seq: record(text, seq, caller=caller)


def read(*lines, finish=True):
    assembler = RunAssembler("lab1")
    rows = assembler.feed(log(*lines))
    if finish:
        rows.add(assembler.finish())
    return rows


def trace(pid, calls=0, files=0, wide=1, detail=1, follow=0, parent=0, lost=(0, 0, 0)):
    files_lost, children, untimed = lost
    return (
        f"ftrace/1 [{pid}] trace wide[{wide}] detail[{detail}] follow[{follow}] parent[{parent}]"
        f" calls[{calls}] files[{files}] lost_files[{files_lost}] lost_children[{children}]"
        f" untimed[{untimed}]"
    )


def call(pid, name="openat", calls=1, errors=0, moved=0, ns=4321):
    return f"ftrace/1 [{pid}] call[{name}] calls[{calls}] errors[{errors}] bytes[{moved}] ns[{ns}]"


def fd(pid, descriptor=3, path="/root/abc.txt", numbers=(1, 1, 4, 5, 9, 20, 26), still_open=0):
    opens, closes, reads, writes, seeks, read_bytes, written = numbers
    return (
        f"ftrace/1 [{pid}] fd[{descriptor}] opens[{opens}] closes[{closes}] reads[{reads}]"
        f" writes[{writes}] seeks[{seeks}] read[{read_bytes}] written[{written}]"
        f" open[{still_open}] path[{path}]"
    )
