"""What a trace told, as tables for a terminal: files, system calls, processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from logtrace.display import bytes_text, count_text, duration_text, nanoseconds_text, visible
from logtrace.tables import Column, column, print_lines, room_for, table_lines
from logtrace.traced import Row, Traced

_MOST_FILES = 100  # of several processes together, on a terminal
_MOST_PROCESSES = 50  # in a tree; more are shown by program
_DEEPEST = 8
_LEAST_PATH = 28
_INDENT = "  "
_USES = {
    "Opens": "opens",
    "Closes": "closes",
    "Reads": "reads",
    "Writes": "writes",
    "Seeks": "seeks",
}
_CALLS = {
    "Opens": "open_calls",
    "Closes": "close_calls",
    "Reads": "read_calls",
    "Writes": "write_calls",
    "Seeks": "lseek_calls",
}
_TOGETHER = "o/c/r/w/s"
_LAST_STANDARD_STREAM = 2  # which programs leave open as a matter of course
_MAPS = "mmap"


def print_details(console: Console, told: Traced) -> None:
    """Print the tables of a trace: of processes, files and calls, as far as it has them.

    Parameters
    ----------
    console
        Where to. What is no terminal gets everything; on a terminal long lists are cut, and
        paths shortened in their middle.
    told
        What was told; it has a run.
    """
    run = told.run
    assert run is not None
    if run.get("follow"):
        _print_processes(console, told, run)
    if run.get("detail"):
        _print_files(console, told)
    if run.get("wide"):
        _print_calls(console, told)


# Processes


def _print_processes(console: Console, told: Traced, run: Row) -> None:
    runs = [run, *told.children]
    many = len(runs) > _MOST_PROCESSES
    shown, name = (_by_program(runs), "Program") if many else (_tree(runs), "Process")
    total = _sum(runs, (*_CALLS.values(), "read_bytes", "written_bytes"))
    total |= {"shown": _plural(len(runs), "process", "processes"), "pid": None, "total": True}
    rows = [*shown, total]
    first = _count_column(rows, "Procs", "count") if many else _pid_column(rows)
    _print_table(
        console,
        [
            [
                first,
                column(rows, name, lambda row: row["shown"], style=_bold_total, name=True),
                *counts,
                _bytes_column(rows, "Read", "read_bytes"),
                _bytes_column(rows, "Written", "written_bytes"),
                column(rows, "Time", _elapsed, style=_bold_total, right=True),
            ]
            for counts in _counts(rows, _CALLS)
        ],
    )
    _print_notes(console, _process_notes(told, runs))


# Each process below its parent, in the order of their starts.
def _tree(runs: Sequence[Row]) -> list[Row]:
    by_parent: dict[Any, list[Row]] = defaultdict(list)
    for run in sorted(runs[1:], key=lambda run: run["first_seq"]):
        by_parent[run.get("parent_pid")].append(run)
    rows: list[Row] = []

    def add(run: Row, depth: int) -> None:
        name = visible(run.get("comm") or "?")
        rows.append(run | {"shown": _INDENT * min(depth, _DEEPEST) + name})
        for child in by_parent.pop(run["pid"], ()):
            add(child, depth + 1)

    add(runs[0], 0)
    return rows


def _by_program(runs: Sequence[Row]) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for run in runs:
        groups[visible(run.get("comm") or "?")].append(run)
    rows = [
        _sum(some, (*_CALLS.values(), "read_bytes", "written_bytes"))
        | {"shown": name, "count": len(some)}
        for name, some in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["shown"]))


def _pid_column(rows: Sequence[Row]) -> Column:
    return column(
        rows, "Pid", lambda row: "" if row["pid"] is None else str(row["pid"]), right=True
    )


def _elapsed(row: Mapping[str, Any]) -> str:
    started, ended = row.get("started_us"), row.get("ended_us")
    return "" if started is None or ended is None else duration_text(ended - started)


def _process_notes(told: Traced, runs: Sequence[Row]) -> Iterator[str]:
    if told.running:
        pids = ", ".join(map(str, told.running[:_DEEPEST])) + ", …" * (len(told.running) > _DEEPEST)
        yield f"{_plural(len(told.running), 'process', 'processes')} still traced: {pids}"
    if lost := sum(run.get("lost_children") or 0 for run in runs):
        yield f"{_plural(lost, 'child', 'children')} could not be traced"
    odd = [run for run in runs[1:] if run["status"] != "complete"]
    for run in odd[:_DEEPEST]:
        yield f"{visible(run.get('comm') or '?')} [{run['pid']}] {run['status']}: {run['note']}"
    if len(odd) > _DEEPEST:
        yield f"and {_plural(len(odd) - _DEEPEST, 'other run')} incomplete"


# Files


def _print_files(console: Console, told: Traced) -> None:
    several = len({row["run_id"] for row in told.files}) > 1
    rows = _by_path(told.files) if several else list(told.files)
    most = _MOST_FILES if several and console.is_terminal else len(rows)
    total = _sum(told.files, (*_USES.values(), "read_bytes", "written_bytes"))
    left = _left_open(told.files)
    paths = len({row["path"] for row in told.files})
    total |= {"path": _plural(paths, "file"), "total": True, "left": left}
    shown = [*rows[:most], total]
    layouts = [
        [
            _processes_column(shown) if several else _descriptor_column(shown),
            column(shown, "Path", _path, style=_bold_total, middle=True),
            *counts,
            _bytes_column(shown, "Read", "read_bytes"),
            _bytes_column(shown, "Written", "written_bytes"),
            column(shown, "At end", _state, style=_state_style),
        ]
        for counts in _counts(shown, _USES)
    ]
    _print_table(console, layouts)
    _print_notes(console, _file_notes(told, len(rows) - most))


# Several processes' use of a file, most bytes first.
def _by_path(files: Iterable[Row]) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in files:
        groups[row["path"]].append(row)
    rows = [
        _sum(some, (*_USES.values(), "read_bytes", "written_bytes"))
        | {
            "path": path,
            "processes": len({row["run_id"] for row in some}),
            "left": _left_open(some),
        }
        for path, some in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["read_bytes"] - row["written_bytes"], row["path"]))


def _left_open(files: Iterable[Mapping[str, Any]]) -> int:
    return sum(map(_is_left_open, files))


# What the program opened and did not close.
def _is_left_open(row: Mapping[str, Any]) -> bool:
    return bool(row["open_at_end"] and row["opens"] and row["descriptor"] > _LAST_STANDARD_STREAM)


def _descriptor_column(rows: Sequence[Row]) -> Column:
    return column(rows, "Fd", lambda row: str(row.get("descriptor", "")), right=True)


def _processes_column(rows: Sequence[Row]) -> Column:
    return _count_column(rows, "Procs", "processes")


def _path(row: Mapping[str, Any]) -> str:
    return visible(row["path"])


def _state(row: Mapping[str, Any]) -> str:
    if "left" in row:
        return f"{row['left']} left open" if row["left"] else ""
    if _is_left_open(row):
        return "left open"
    return "open" if row["open_at_end"] else ""


def _state_style(row: Mapping[str, Any]) -> str:
    return "bold yellow" if "left" in _state(row) else "dim"


def _file_notes(told: Traced, hidden: int) -> Iterator[str]:
    if hidden > 0:
        yield f"and {_plural(hidden, 'file')} with fewer bytes; --json or a pipe shows all"
    runs = [run for run in (told.run, *told.children) if run]
    if lost := sum(run.get("lost_file_calls") or 0 for run in runs):
        yield (
            f"{_plural(lost, 'call')} on files that there was no room to list:"
            " logtrace kmod load --files N makes more"
        )


# Calls


def _print_calls(console: Console, told: Traced) -> None:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in told.calls:
        groups[row["call"]].append(row)
    numbers = ("calls", "errors", "moved_bytes", "time_ns")
    rows = [_sum(some, numbers) | {"call": call} for call, some in groups.items()]
    rows.sort(key=lambda row: (-row["time_ns"], -row["calls"], row["call"]))
    total = _sum(rows, numbers) | {"call": "total", "total": True}
    total["moved_bytes"] -= sum(row["moved_bytes"] for row in rows if row["call"] == _MAPS)
    rows.append(total)
    whole = total["time_ns"]
    _print_table(
        console,
        [
            [
                column(
                    rows, "Call", lambda row: visible(row["call"]), style=_bold_total, name=True
                ),
                _count_column(rows, "Calls", "calls"),
                _count_column(rows, "Errors", "errors", "red"),
                _bytes_column(rows, "Bytes", "moved_bytes"),
                column(rows, "Time", _time, style=_bold_total, right=True),
                column(rows, "Each", _time_each, style=_bold_total, right=True),
                column(rows, "Share", lambda row: _share(row["time_ns"], whole), right=True),
            ]
        ],
    )
    if any(row["call"] == _MAPS for row in rows):
        _print_caption(console, f"bytes of {_MAPS}: the length mapped, which the total leaves out")
    _print_notes(console, _call_notes(told))


def _time(row: Mapping[str, Any]) -> str:
    return nanoseconds_text(row["time_ns"])


def _time_each(row: Mapping[str, Any]) -> str:
    return nanoseconds_text(row["time_ns"] // row["calls"]) if row["calls"] else ""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _call_notes(told: Traced) -> Iterator[str]:
    runs = [run for run in (told.run, *told.children) if run]
    if untimed := sum(run.get("untimed_calls") or 0 for run in runs):
        yield f"{_plural(untimed, 'call')} counted without time: begun before the trace"


# All tables


def _sum(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> Row:
    rows = list(rows)
    return {name: sum(row.get(name) or 0 for row in rows) for name in names}


# The same counts as columns of their own, as one column where there is less room, and as their
# sum where there is hardly any.
def _counts(rows: Sequence[Row], names: Mapping[str, str]) -> Iterator[list[Column]]:
    yield [_count_column(rows, title, name) for title, name in names.items()]

    def together(row: Mapping[str, Any]) -> str:
        return "/".join(str(row.get(name, "?")) for name in names.values())

    def added(row: Mapping[str, Any]) -> str:
        return count_text(sum(row.get(name) or 0 for name in names.values()))

    yield [column(rows, _TOGETHER, together, style=_bold_total, right=True)]
    yield [column(rows, "Calls", added, style=_bold_total, right=True)]


def _count_column(rows: Sequence[Row], title: str, name: str, style: str | None = None) -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        value = row.get(name)
        return "" if value is None else count_text(value)

    def styled(row: Mapping[str, Any]) -> str:
        return (row.get(name) and style) or _quiet_zero(name)(row)

    return column(rows, title, cell, style=styled, right=True)


def _bytes_column(rows: Sequence[Row], title: str, name: str) -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        value = row.get(name)
        return "" if value is None else bytes_text(value) if value else "0"

    return column(rows, title, cell, style=_quiet_zero(name), right=True)


def _quiet_zero(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: _bold_total(row) if row.get(name) else "dim"


def _bold_total(row: Mapping[str, Any]) -> str:
    return "bold" if row.get("total") else ""


# The first layout that leaves names some room.
def _print_table(console: Console, layouts: Sequence[Sequence[Column]]) -> None:
    fitting = (layout for layout in layouts if _wanted(layout) <= console.width)
    columns = [each for each in next(fitting, layouts[-1]) if any(each.cells)]
    console.print()
    print_lines(console, table_lines(columns, console.width))
    if any(each.title == _TOGETHER for each in columns):
        _print_caption(console, f"{_TOGETHER}: opens, closes, reads, writes, seeks")


def _wanted(columns: Sequence[Column]) -> int:
    more = sum(max(0, min(each.width, _LEAST_PATH) - each.least) for each in columns)
    return room_for(columns) + more


def _print_caption(console: Console, text: str) -> None:
    console.print(Text(text, style="dim"), soft_wrap=not console.is_terminal)


def _print_notes(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        console.print(Text(visible(note), style="yellow"), soft_wrap=not console.is_terminal)


def _plural(count: int, thing: str, things: str | None = None) -> str:
    return f"{count_text(count)} {thing if count == 1 else things or thing + 's'}"
