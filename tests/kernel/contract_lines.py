"""The lines of a trace as they must be."""

import re

OWNER = "2021202045"


def stats(comm="calls", file="", read=0, written=0, owner=OWNER):
    return f"[{owner}] {comm} file[{file}] stats [x] read - {read} / written - {written}"


def ops(opens=0, closes=0, reads=0, writes=0, lseeks=0):
    return f"open[{opens}] close[{closes}] read[{reads}] write[{writes}] lseek[{lseeks}]"


def run_of(stats_line, ops_line):
    start, end = (f"OS Assignment2 ftrace [PID] {word}" for word in ("Start", "End"))
    return [start, stats_line, ops_line, end]


def without_pids(texts):
    return [re.sub(r"(?<=OS Assignment2 ftrace )\[\d+\]", "[PID]", text) for text in texts]
