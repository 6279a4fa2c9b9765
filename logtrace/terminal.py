"""Tables and the live view for the terminal."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
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
_MOST_LIVE_RUNS = 15
_WIDE = 250  # columns
_ROOM_FOR_TIMES = 110  # columns


def console(*, stderr: bool = False) -> Console:
    """Give a console that shows text as it is: names in logs are no markup."""
    options: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    console = Console(stderr=stderr, **options)
    # what is piped is cut nowhere
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDE, **options)


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
    table = _runs_table(_records(runs), zone, console.width)
    table.caption = (
        f"{_plural(len(runs), 'run')} · o/c/r/w/s: open, close, read, write, lseek calls"
        f" · times in {zone}"
    )
    console.print(table)


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
    keys = list(keys)
    counts = ("runs", "incomplete", "programs", "files")
    rows: list[list[str | Text]] = [
        [
            *(_cell(row[key], zone) for key in keys),
            *(count_text(row[name]) for name in counts),
            *(_bytes(row[name]) for name in ("read_bytes", "written_bytes")),
            _count(sum(row[name] for name in _CALLS if not _missing(row[name]))),
            _cell(row["last_seen"], zone),
        ]
        for row in _records(usage)
    ]
    columns = ("Runs", "Odd", "Programs", "Files", "Read", "Written", "Calls", "Last seen")
    caption = f"odd: runs that are not complete · times in {zone}"
    console.print(_table([*(key.capitalize() for key in keys), *columns], rows, caption=caption))


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
    rows: list[list[str | Text]] = [
        [
            module.name,
            Text("loaded", style="green") if module.loaded else Text("not loaded", style="dim"),
            ", ".join(module.users) or _NOTHING,
            visible(module.owner) if module.owner else _NOTHING,
            _plain_count(module.number),
            module.version or _NOTHING,
            {True: "the same", False: "another", None: _NOTHING}[module.matches],
        ]
        for module in modules
    ]
    columns = ("Module", "State", "Used by", "Id", "Call", "Version", "Built file")
    console.print(_table(columns, rows))


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
        progress.latest.clear()
        self._live.update(self._draw(progress), refresh=True)

    def _draw(self, progress: Progress) -> RenderableType:
        parts: list[RenderableType] = [self._headline(progress), _modules_line(progress)]
        if progress.open_runs:
            parts.append(self._open_runs(progress.open_runs))
        if self._runs:
            parts.append(_runs_table(self._runs, self._zone, self._live.console.width))
        else:
            parts.append(Text("no run has ended yet; Ctrl-C ends watching", style="dim"))
        if progress.trouble:
            parts.append(Text(visible(progress.trouble), style="bold red"))
        return Group(*parts)

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

    def _open_runs(self, open_runs: list[tuple[int, Record]]) -> Text:
        newest = open_runs[-8:]
        shown = ", ".join(f"{pid} since {_cell(record.at, self._zone)}" for pid, record in newest)
        more = f" and {len(open_runs) - len(newest)} more" if len(open_runs) > len(newest) else ""
        return Text.assemble(("under way: ", "bold cyan"), f"{shown}{more}")


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
        progress.latest.clear()
        if progress.trouble and progress.trouble != self._trouble:
            self._console.print(Text(visible(progress.trouble)), soft_wrap=True)
        self._trouble = progress.trouble

    def _line(self, run: Mapping[str, Any]) -> str:
        calls = " ".join(f"{name}={_plain_count(run.get(name))}" for name in _CALLS)
        return (
            f"{_cell(run.get('ended_at'), self._zone)}"
            f" {visible(run.get('comm') or '?')}[{_plain_count(run['pid'])}]"
            f" owner={visible(run.get('owner') or '?')} file={visible(run.get('file') or '')}"
            f" read_bytes={_plain_count(run.get('read_bytes'))}"
            f" written_bytes={_plain_count(run.get('written_bytes'))} {calls} {run['status']}"
        )


_NUMBERS = {"Pid", "Read", "Written", "o/c/r/w/s", "Runs", "Odd", "Programs", "Files", "Calls"}
_NAMES = {"Owner", "Program", "File", "Host"}
_NOTHING = "–"  # noqa: RUF001


# Names give way where the terminal is narrow, numbers never do.
def _table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], **options: Any) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, caption_justify="left", **options)
    rows = list(rows)
    for index, name in enumerate(columns):
        widest = max((Text(name), *(_text(row[index]) for row in rows)), key=lambda t: t.cell_len)
        table.add_column(
            name,
            no_wrap=name not in _NAMES,
            overflow="ellipsis",
            justify="right" if name in _NUMBERS else "left",
            min_width=None if name in _NAMES else widest.cell_len,
        )
    for row in rows:
        table.add_row(*row)
    return table


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _runs_table(runs: Iterable[Mapping[str, Any]], zone: tzinfo, width: int) -> Table:
    with_times = width >= _ROOM_FOR_TIMES
    columns = ["Run", "Owner", "Pid", "Program", "File", "Read", "Written", "o/c/r/w/s", "Status"]
    rows: list[list[str | Text]] = [
        [
            Text(str(run["run_id"])[:8], style="dim"),
            _cell(run.get("owner"), zone),
            _plain_count(run.get("pid")),
            _cell(run.get("comm"), zone),
            _cell(run.get("file"), zone),
            *(_bytes(run.get(name)) for name in ("read_bytes", "written_bytes")),
            "/".join(_plain_count(run.get(name)) for name in _CALLS),
            Text(run["status"], style="green" if run["status"] == "complete" else "yellow"),
            *([_cell(run.get("ended_at"), zone)] if with_times else []),
        ]
        for run in runs
    ]
    return _table([*columns, *(["Ended"] if with_times else [])], rows)


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


def _cell(value: Any, zone: tzinfo) -> str:
    if _missing(value):
        return _NOTHING
    return time_text(value, zone) if isinstance(value, datetime) else visible(str(value))


def _bytes(value: Any) -> str:
    return _NOTHING if _missing(value) else bytes_text(int(value))


def _count(value: Any) -> str:
    return _NOTHING if _missing(value) else count_text(int(value))


def _plain_count(value: Any) -> str:
    return _NOTHING if _missing(value) else str(value)


def _plural(count: int, thing: str) -> str:
    return f"{count_text(count)} {thing}{'' if count == 1 else 's'}"
