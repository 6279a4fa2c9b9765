"""The lines of a trace as they must be."""

import re
import time

OWNER = "2021202045"
WORD = "OS Assignment2 ftrace"
PATIENCE = 20  # seconds for the lines of processes that have exited


def stats(comm="calls", file="", read=0, written=0, owner=OWNER):
    return f"[{owner}] {comm} file[{file}] stats [x] read - {read} / written - {written}"


def ops(opens=0, closes=0, reads=0, writes=0, lseeks=0):
    return f"open[{opens}] close[{closes}] read[{reads}] write[{writes}] lseek[{lseeks}]"


def call(name, calls=1, errors=0, moved=0, ns="NS"):
    return f"ftrace/1 [PID] call[{name}] calls[{calls}] errors[{errors}] bytes[{moved}] ns[{ns}]"


def used(fd, path, *, opens=0, closes=0, reads=0, writes=0, seeks=0, read=0, written=0, left=0):
    return (
        f"ftrace/1 [PID] fd[{fd}] opens[{opens}] closes[{closes}] reads[{reads}] writes[{writes}]"
        f" seeks[{seeks}] read[{read}] written[{written}] open[{left}] path[{path}]"
    )


def extra(options, *lines, parent=0, lost_files=0, lost_children=0, untimed=0):
    """The extra lines of a trace with these options, the words of which are divided by +."""
    wide, detail, follow = (int(word in options) for word in ("wide", "detail", "follow"))
    calls = sum(" call[" in line for line in lines)
    return [
        f"ftrace/1 [PID] trace wide[{wide}] detail[{detail}] follow[{follow}] parent[{parent}]"
        f" calls[{calls}] files[{len(lines) - calls}] lost_files[{lost_files}]"
        f" lost_children[{lost_children}] untimed[{untimed}]",
        *lines,
    ]


def run_of(stats_line, ops_line, extra_lines=()):
    start, end = (f"{WORD} [PID] {word}" for word in ("Start", "End"))
    return [start, stats_line, ops_line, *extra_lines, end]


def without_pids(texts):
    """Lines with PID for whose they are, and with NS for every time but none."""
    bare = (re.sub(r"^(OS Assignment2 ftrace|ftrace/1) \[\d+\]", r"\1 [PID]", t) for t in texts)
    return [re.sub(r" ns\[[1-9]\d*\]$", " ns[NS]", text) for text in bare]


def settled(machine):
    """What the modules printed since the last look, as soon as every run in it has ended."""
    texts = []
    patience = time.monotonic() + PATIENCE * machine.patience
    while time.monotonic() < patience:
        texts += machine.texts()
        starts, ends = (
            re.findall(rf"(?m)\] {word}$", "\n".join(texts)) for word in ("Start", "End")
        )
        if len(starts) == len(ends):
            return texts
    raise AssertionError("runs that did not end:\n" + "\n".join(texts))


def runs(texts):
    """The lines of each run but its Start, by its pid; every line must belong to one.

    What a start of a process that is gone says belongs to none, and may stand between two.
    """
    found, lines = {}, []
    for text in texts:
        if text.endswith("] Start") and text.startswith(WORD):
            continue
        if not lines and text.startswith("Failed to find task for pid: "):
            continue
        lines.append(text)
        if ended := re.fullmatch(rf"{WORD} \[(\d+)\] End", text):
            found.setdefault(int(ended[1]), []).append(lines)
            lines = []
    assert not lines
    return found


def field(lines, pattern):
    """The only number that a pattern finds in lines."""
    (number,) = re.findall(pattern, "\n".join(lines), re.MULTILINE)
    return int(number)
