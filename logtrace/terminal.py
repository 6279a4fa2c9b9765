"""Tables and the live view for the terminal."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from logtrace.display import bytes_text, count_text, time_text, visible

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.doctor import Check
    from logtrace.kmod import ModuleStatus
    from logtrace.record import Record
    from logtrace.watch import Progress

_STATE_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red"}
_CALLS = ("open_calls", "close_calls", "read_calls", "write_calls", "lseek_calls")
_MOST_LIVE_RUNS = 100
_FEWEST_LIVE_RUNS = 3
_MOST_NAMED = 8  # runs under way
_AT_ONCE = 200  # lines printed in one go
_NOTHING = "–"  # noqa: RUF001


def console(*, stderr: bool = False) -> Console:
    """Give a console that shows text as it is: names in logs are no markup."""
    options: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    console = Console(stderr=stderr, **options)
    # what is piped is cut nowhere
    return console if console.is_terminal else Console(stderr=stderr, width=sys.maxsize, **options)


def print_runs(console: Console, runs: pd.DataFrame, zone: tzinfo) -> None:
    """Print a table of runs.

    Parameters
    ----------
    console
        Where to.
    runs
        Rows of ``schema.RUNS``.
    zone
        The zone in which to show times.
    """
    _print_lines(console, _run_lines(_records(runs), zone, console.width))
    _print_caption(
        console,
        f"{_plural(len(runs), 'run')} · o/c/r/w/s: open, close, read, write, lseek calls"
        f" · times in {zone}",
    )


def print_usage(console: Console, usage: pd.DataFrame, keys: Iterable[str], zone: tzinfo) -> None:
    """Print a table of usage statistics.

    Parameters
    ----------
    console
        Where to.
    usage
        What ``stats.usage`` gave.
    keys
        Its key columns.
    zone
        The zone in which to show times.
    """
    rows = _records(usage)
    columns = [
        *(_key_column(rows, key, zone) for key in keys),
        *(_count_column(rows, title, name) for title, name in _USAGE_COUNTS.items()),
        _column(rows, "Read", lambda row: _bytes(row["read_bytes"]), right=True),
        _column(rows, "Written", lambda row: _bytes(row["written_bytes"]), right=True),
        _column(rows, "Calls", _calls_together, right=True),
        _column(rows, "Last seen", lambda row: _cell(row["last_seen"], zone)),
    ]
    _print_lines(console, _lines(columns, console.width))
    _print_caption(console, f"odd: runs that are not complete · times in {zone}")


def print_checks(console: Console, checks: Iterable[Check]) -> None:
    """Print what the doctor found, with the remedies."""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        found = Text(check.found)
        if check.remedy:
            found.append(f"\n→ {check.remedy}", style="italic")
        table.add_row(Text(check.state, style=_STATE_STYLE[check.state]), Text(check.name), found)
    console.print(table)


def print_modules(console: Console, modules: Iterable[ModuleStatus]) -> None:
    """Print how the modules stand."""
    rows = [vars(module) for module in modules]
    counted = {True: "wide", False: "lab", None: _NOTHING}
    matches = {True: "the same", False: "another", None: _NOTHING}
    columns = [
        _column(rows, "Module", lambda row: row["name"]),
        _column(
            rows,
            "State",
            lambda row: "loaded" if row["loaded"] else "not loaded",
            style=lambda row: "green" if row["loaded"] else "dim",
        ),
        _column(rows, "Used by", lambda row: ", ".join(row["users"]) or _NOTHING),
        _column(rows, "Id", lambda row: _cell(row["owner"])),
        _column(rows, "Call", lambda row: _cell(row["number"])),
        _column(rows, "Counts", lambda row: counted[row["wide"]]),
        _column(rows, "Version", lambda row: _cell(row["version"])),
        _column(rows, "Built file", lambda row: matches[row["matches"]]),
    ]
    _print_lines(console, _lines(columns, console.width))


class LiveView:
    """Show a watch on a terminal: what is under way, and what has just ended.

    Parameters
    ----------
    console
        A terminal.
    store
        What is written to.
    zone
        The zone in which to show times.
    """

    def __init__(self, console: Console, store: str, zone: tzinfo) -> None:
        self._store = store
        self._zone = zone
        self._runs: deque[Mapping[str, Any]] = deque(maxlen=_MOST_LIVE_RUNS)
        # it redraws when something happens: an idle watch wakes nobody
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Draw the progress anew."""
        self._runs.extendleft(progress.latest)
        self._live.update(self._draw(progress), refresh=True)

    def _draw(self, progress: Progress) -> Group:
        above = [self._headline(progress), _modules_line(progress)]
        if progress.open_runs:
            above.append(self._open_runs(progress.open_runs))
        below = [Text(visible(progress.trouble), style="bold red")] if progress.trouble else []
        if not self._runs:
            idle = Text("no run has ended yet; Ctrl-C ends watching", style="dim")
            return Group(*above, idle, *below)
        console = self._live.console
        taken = sum(len(text.wrap(console, console.width)) for text in (*above, *below))
        room = max(_FEWEST_LIVE_RUNS, console.height - taken - 2)  # the headings and the cursor
        newest = list(islice(self._runs, room))
        return Group(*above, *_run_lines(newest, self._zone, console.width), *below)

    def _headline(self, progress: Progress) -> Text:
        lost = Text(
            f" · {_plural(progress.lost_records, 'record')} lost or not understood",
            style="yellow" if progress.lost_records else "dim",
        )
        return Text.assemble(
            ("logtrace watch", "bold"),
            f" → {visible(self._store)} · since {time_text(progress.since, self._zone)}"
            f" ({self._zone}) · {_plural(progress.runs, 'run')}",
            lost,
        )

    def _open_runs(self, open_runs: Sequence[tuple[int, Record]]) -> Text:
        shown = ", ".join(
            f"{pid} since {time_text(record.at, self._zone)}" if record.at else str(pid)
            for pid, record in open_runs[-_MOST_NAMED:]
        )
        more = len(open_runs) - _MOST_NAMED
        return Text.assemble(
            ("under way: ", "bold cyan"), shown, f" and {more} more" if more > 0 else ""
        )


class PlainView:
    """Show a watch where there is no terminal: a line for each run that has ended.

    Parameters
    ----------
    console
        Where to.
    zone
        The zone in which to show times.
    """

    def __init__(self, console: Console, zone: tzinfo) -> None:
        self._console = console
        self._zone = zone
        self._trouble: str | None = None

    def show(self, progress: Progress) -> None:
        """Print what is new."""
        for run in progress.latest:
            self._console.print(Text(self._line(run)), soft_wrap=True)
        if progress.trouble and progress.trouble != self._trouble:
            self._console.print(Text(visible(progress.trouble)), soft_wrap=True)
        self._trouble = progress.trouble

    def _line(self, run: Mapping[str, Any]) -> str:
        calls = " ".join(f"{name}={_cell(run.get(name))}" for name in _CALLS)
        return (
            f"{_cell(run.get('ended_at'), self._zone)}"
            f" {visible(run.get('comm') or '?')}[{_cell(run['pid'])}]"
            f" owner={visible(run.get('owner') or '?')} file={visible(run.get('file') or '')}"
            f" read_bytes={_cell(run.get('read_bytes'))}"
            f" written_bytes={_cell(run.get('written_bytes'))} {calls} {run['status']}"
        )


# Tables


class _Column(NamedTuple):
    title: str
    cells: list[str]
    styles: list[str]
    right: bool
    name: bool  # a name gives way where the terminal is narrow, a number never does

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.cells)))

    @property
    def least(self) -> int:
        return min(self.width, _LEAST_NAME) if self.name else self.width


_LEAST_NAME = 8
_GAP = 2
_USAGE_COUNTS = {"Runs": "runs", "Odd": "incomplete", "Programs": "programs", "Files": "files"}
_RUN_LAYOUTS = (
    "Run,Owner,Pid,Program,File,Read,Written,o/c/r/w/s,Status,Ended",
    "Run,Owner,Pid,Program,File,Read,Written,o/c/r/w/s,Status",
    "Run,Owner,Pid,Program,File,Read,Written,Calls,Status",
    "Run,Pid,Program,File,Read,Written,Status",
    "Run,Program,File,Status",
)


def _column(
    rows: Iterable[Mapping[str, Any]],
    title: str,
    cell: Callable[[Mapping[str, Any]], str],
    *,
    style: Callable[[Mapping[str, Any]], str] = lambda _row: "",
    right: bool = False,
    name: bool = False,
) -> _Column:
    rows = list(rows)
    return _Column(title, [cell(row) for row in rows], [style(row) for row in rows], right, name)


def _key_column(rows: Iterable[Mapping[str, Any]], key: str, zone: tzinfo) -> _Column:
    return _column(rows, key.capitalize(), lambda row: _cell(row[key], zone), name=True)


def _count_column(rows: Iterable[Mapping[str, Any]], title: str, name: str) -> _Column:
    return _column(rows, title, lambda row: _count(row[name]), right=True)


# As many columns as there is room for.
def _run_lines(runs: Sequence[Mapping[str, Any]], zone: tzinfo, room: int) -> Iterator[Text]:
    columns = {column.title: column for column in _run_columns(runs, zone)}
    layouts = [[columns[title] for title in layout.split(",")] for layout in _RUN_LAYOUTS]
    fitting = (layout for layout in layouts if _room_for(layout) <= room)
    return _lines(next(fitting, layouts[-1]), room)


def _run_columns(runs: Sequence[Mapping[str, Any]], zone: tzinfo) -> list[_Column]:
    return [
        _column(runs, "Run", lambda run: str(run["run_id"])[:8], style=lambda _run: "dim"),
        _column(runs, "Owner", lambda run: _cell(run.get("owner")), name=True),
        _column(runs, "Pid", lambda run: _cell(run.get("pid")), right=True),
        _column(runs, "Program", lambda run: _cell(run.get("comm")), name=True),
        _column(runs, "File", lambda run: _cell(run.get("file")), name=True),
        _column(runs, "Read", lambda run: _bytes(run.get("read_bytes")), right=True),
        _column(runs, "Written", lambda run: _bytes(run.get("written_bytes")), right=True),
        _column(
            runs, "o/c/r/w/s", lambda run: "/".join(_cell(run.get(c)) for c in _CALLS), right=True
        ),
        _column(runs, "Calls", _calls_together, right=True),
        _column(
            runs,
            "Status",
            lambda run: run["status"],
            style=lambda run: "green" if run["status"] == "complete" else "yellow",
        ),
        _column(runs, "Ended", lambda run: _cell(run.get("ended_at"), zone)),
    ]


# Rich's own table takes seconds for ten thousand rows, and cuts numbers.
def _lines(columns: Sequence[_Column], room: int) -> Iterator[Text]:
    widths = _widths(columns, room)
    yield _line([column.title for column in columns], ["bold"] * len(columns), columns, widths)
    cells, styles = (zip(*(column[index] for column in columns), strict=True) for index in (1, 2))
    for row_cells, row_styles in zip(cells, styles, strict=True):
        yield _line(row_cells, row_styles, columns, widths)


def _line(
    cells: Sequence[str], styles: Sequence[str], columns: Sequence[_Column], widths: Sequence[int]
) -> Text:
    line = Text(no_wrap=True)
    for cell, style, column, width in zip(cells, styles, columns, widths, strict=True):
        if line:
            line.append(" " * _GAP)
        line.append(_fitted(cell, width, column.right), style or None)
    line.rstrip()
    return line


def _fitted(text: str, width: int, right: bool) -> str:
    missing = width - cell_len(text)
    if missing < 0:
        return set_cell_size(text, width - 1) + "…"
    return " " * missing + text if right else text + " " * missing


def _room_for(columns: Sequence[_Column]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


# The widest name gives way first.
def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    widths = [column.width for column in columns]
    least = [column.least for column in columns]
    excess = sum(widths) + _GAP * (len(columns) - 1) - room
    while excess > 0:
        widest = max(range(len(widths)), key=lambda n: (widths[n] > least[n], widths[n]))
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _print_lines(console: Console, lines: Iterator[Text]) -> None:
    while some := list(islice(lines, _AT_ONCE)):
        console.print(Text("\n").join(some), soft_wrap=True)


def _print_caption(console: Console, text: str) -> None:
    console.print(Text(text, style="dim"), soft_wrap=not console.is_terminal)


def _modules_line(progress: Progress) -> Text:
    if progress.loaded is None:
        return Text("modules: not known here", style="dim")
    if not progress.loaded:
        return Text("no tracing module is loaded: sudo logtrace kmod load", style="yellow")
    return Text(f"modules: {', '.join(sorted(progress.loaded))}", style="dim")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


# Without pandas: a watch has no need of it.
def _missing(value: Any) -> bool:
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    )


def _cell(value: Any, zone: tzinfo | None = None) -> str:
    if _missing(value):
        return _NOTHING
    return time_text(value, zone) if zone and isinstance(value, datetime) else visible(str(value))


def _bytes(value: Any) -> str:
    return _NOTHING if _missing(value) else bytes_text(int(value))


def _count(value: Any) -> str:
    return _NOTHING if _missing(value) else count_text(int(value))


def _calls_together(row: Mapping[str, Any]) -> str:
    known = [row[name] for name in _CALLS if not _missing(row.get(name))]
    return _count(sum(known)) if known else _NOTHING


def _plural(count: int, thing: str) -> str:
    return f"{count_text(count)} {thing}{'' if count == 1 else 's'}"
