"""Tables and the live view for the terminal."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from logtrace.display import (
    USUAL,
    bytes_text,
    clock_text,
    count_text,
    duration_text,
    state_text,
    time_text,
    visible,
)
from logtrace.tables import Column, column, print_lines, room_for, table_lines
from logtrace.ways import DEVICE

if TYPE_CHECKING:
    import pandas as pd

    from logtrace.doctor import Check
    from logtrace.kmod import ModuleStatus
    from logtrace.record import Record
    from logtrace.trend import Trend
    from logtrace.watch import Progress

_STATE_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red"}
_CALLS = ("open_calls", "close_calls", "read_calls", "write_calls", "lseek_calls")
_MOST_LIVE_RUNS = 100
_FEWEST_LIVE_RUNS = 3
_MOST_NAMED = 8  # runs under way
_RATE_S = 60
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
    rows = _records(runs)
    print_lines(console, _run_lines(rows, zone, console.width))
    _print_caption(
        console,
        f"{_plural(len(runs), 'run')}{'' if _is_plain(console) else _over_time(rows, zone)}"
        f" · o/c/r/w/s: open, close, read, write, lseek calls · times in {zone}",
    )


def print_usage(
    console: Console,
    usage: pd.DataFrame,
    keys: Iterable[str],
    zone: tzinfo,
    trend: Trend | None = None,
) -> None:
    """Print a table of usage statistics, with as many columns as there is room for.

    Parameters
    ----------
    console
        Where to.
    usage
        What ``stats.usage`` or ``stats.statistics`` gave.
    keys
        Its key columns.
    zone
        The zone in which to show times.
    trend
        The runs of each row over time.
    """
    rows = _records(usage)
    plain = _is_plain(console)
    for row, counts in zip(rows, trend.counts if trend and not plain else (), strict=False):
        row["trend"] = sparkline(counts)
    named = [_key_column(rows, key, zone) for key in keys]
    columns = {
        column.title: column
        for column in _usage_columns(rows, zone, _percent if plain else share_bar)
    }
    layouts = [
        [*named, *(columns[title] for title in layout.split(",") if title in columns)]
        for layout in (*(_HOST_LAYOUTS if "silent" in usage else ()), *_USAGE_LAYOUTS)
    ]
    fitting = (layout for layout in layouts if room_for(layout) <= console.width)
    shown = next(fitting, layouts[-1])
    print_lines(console, table_lines(shown, console.width))
    _print_caption(console, " · ".join(_explained({one.title for one in shown}, trend, zone)))


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as a line of bars, a cell each; those that are 0 are left blank.

    Parameters
    ----------
    counts
        Counts, of which the largest gets a whole cell.

    Returns
    -------
    str
        As many characters as there are counts.
    """
    largest = max(counts, default=0)
    return "".join(
        _BARS[math.ceil(count / largest * len(_BARS)) - 1] if count else " " for count in counts
    )


def share_bar(share: float) -> str:
    """Draw a share of the whole as a bar and in percent, ten cells wide.

    Parameters
    ----------
    share
        From 0 to 1.

    Returns
    -------
    str
        What is not nothing gets an eighth of a cell at least.
    """
    eighths = min(max(round(share * 8 * _SHARE_CELLS), int(share > 0)), 8 * _SHARE_CELLS)
    whole, rest = divmod(eighths, 8)
    bar = "█" * whole + (_EIGHTHS[rest - 1] if rest else "")
    return f"{bar:<{_SHARE_CELLS}}{_percent(share):>5}"


def print_incidents(console: Console, incidents: pd.DataFrame, zone: tzinfo) -> None:
    """Print a table of incidents.

    Parameters
    ----------
    console
        Where to.
    incidents
        Rows of ``schema.HITS``.
    zone
        The zone in which to show times.
    """
    rows = _records(incidents)
    columns = [
        column(rows, "Incident", lambda row: row["incident_id"][:8], style=lambda _row: "dim"),
        column(rows, "Time", lambda row: _moment(row, zone)),
        column(rows, "Host", lambda row: _cell(row["host"]), name=True),
        column(rows, "Type", lambda row: _cell(row["type"])),
        column(rows, "CPU", lambda row: _cell(row["cpu"]), right=True),
        column(rows, "Pid", lambda row: _cell(row["pid"]), right=True),
        column(rows, "Program", lambda row: _cell(row["comm"]), name=True),
        column(rows, "Run", lambda row: _cell(row["run_id"])[:8], style=lambda _row: "dim"),
        column(rows, "Module", lambda row: _cell(row["module"]), name=True),
        column(rows, "Function", _place, name=True),
    ]
    print_lines(console, table_lines(columns, console.width))
    _print_caption(
        console, f"{_plural(len(rows), 'incident')} · times in {zone}, or in seconds since boot"
    )


def print_causes(console: Console, causes: pd.DataFrame, zone: tzinfo) -> None:
    """Print how many incidents each cause, or each module, had.

    Parameters
    ----------
    console
        Where to.
    causes
        What ``incident_list.by_fingerprint`` or ``by_module`` gave.
    zone
        The zone in which to show times.
    """
    rows = _records(causes)
    by_module = "causes" in causes
    columns = [column(rows, "Module", lambda row: _cell(row["module"]), name=True)]
    if not by_module:
        columns = [
            column(rows, "Fingerprint", lambda row: row["fingerprint"], style=lambda _row: "dim"),
            column(rows, "Type", lambda row: _cell(row["type"])),
            *columns,
            column(rows, "Function", lambda row: _cell(row["function"]), name=True),
        ]
    columns += [
        column(rows, "Incidents", lambda row: _count(row["incidents"]), right=True),
        column(rows, "Hosts", lambda row: _count(row["hosts"]), right=True),
        column(rows, "Latest", lambda row: _cell(row["latest"], zone)),
    ]
    print_lines(console, table_lines(columns, console.width))
    counted = _plural(len(rows), "module" if by_module else "cause")
    _print_caption(console, f"{counted} · times in {zone}")


def print_coverage(console: Console, coverage: pd.DataFrame, zone: tzinfo) -> None:
    """Print when programs could have been traced.

    Parameters
    ----------
    console
        Where to.
    coverage
        What ``coverage.of_store`` gave.
    zone
        The zone in which to show times.
    """
    rows = _records(coverage)
    columns = [
        column(rows, "Host", lambda row: visible(row["host"])),
        column(rows, "From", lambda row: _cell(row["start"], zone)),
        column(rows, "To", lambda row: _cell(row["end"], zone)),
        column(rows, "State", lambda row: row["state"]),
        column(rows, "Kernel", lambda row: _cell(row["kernel"], zone)),
        column(rows, "Source version", lambda row: _cell(row["version"], zone)),
    ]
    print_lines(console, table_lines(columns, console.width))
    _print_caption(console, f"unknown: nobody watched · times in {zone}")


def print_tables(console: Console, tables: pd.DataFrame, zone: tzinfo) -> None:
    """Print what is stored of machines.

    Parameters
    ----------
    console
        Where to.
    tables
        What ``upkeep.info`` gave.
    zone
        The zone in which to show times.
    """
    rows = _records(tables)
    columns = [
        column(rows, "Host", lambda row: _cell(row["host"]), name=True),
        column(rows, "Table", lambda row: row["table"]),
        column(rows, "Rows", lambda row: _count(row["rows"]), right=True),
        column(rows, "Files", lambda row: _count(row["files"]), right=True),
        column(rows, "Bytes", lambda row: _count(row["bytes"]), right=True),
        column(rows, "Commits", lambda row: _count(row["commits"]), right=True),
        column(rows, "Changed", lambda row: _cell(row["changed"], zone)),
    ]
    print_lines(console, table_lines(columns, console.width))
    whole = sum(row["bytes"] for row in rows)
    machines = _plural(len({row["host"] for row in rows}), "machine")
    _print_caption(console, f"{machines} · {whole:,} bytes · times in {zone}")


def print_troubles(console: Console, troubles: pd.DataFrame, zone: tzinfo) -> None:
    """Print what is not as it should be in a store.

    Parameters
    ----------
    console
        Where to.
    troubles
        What ``verify.to_frame`` gave.
    zone
        The zone in which to show times.
    """
    rows = _records(troubles)
    columns = [
        column(rows, "Host", lambda row: _cell(row["host"]), name=True),
        column(rows, "Table", lambda row: row["table"]),
        column(rows, "Problem", lambda row: row["problem"], style=lambda _row: "red"),
        column(rows, "Records", _range, right=True),
        column(rows, "From", lambda row: _cell(row["since"], zone)),
        column(rows, "To", lambda row: _cell(row["until"], zone)),
        column(rows, "Rows", lambda row: _count(row["rows"]), right=True),
        column(rows, "What", lambda row: _cell(row["what"]), name=True, middle=True),
    ]
    print_lines(console, table_lines(columns, console.width))
    _print_caption(console, f"{_plural(len(rows), 'problem')} · times in {zone}")


def _range(row: Mapping[str, Any]) -> str:
    numbers = [_cell(row[name]) for name in ("first_seq", "last_seq")]
    return numbers[0] if numbers[0] == numbers[1] else "..".join(numbers)


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
    table = Table.grid(padding=(0, 2))
    for module in modules:
        state = Text("loaded", "green") if module.loaded else Text("not loaded", "dim")
        facts = Text("\n").join(Text(line) for line in _module_facts(module))
        table.add_row(Text(module.name), state, facts)
    console.print(table)


def _module_facts(module: ModuleStatus) -> Iterator[str]:
    if not module.loaded:
        return
    matches = {True: "the file built here", False: "not the file built here", None: None}
    users = f"used by {', '.join(module.users)}" if module.users else None
    version = f"version {visible(module.version)}" if module.version else None
    yield _listed(users, version, matches[module.matches])
    if module.number is not None:
        owner = f"id {visible(module.owner)}" if module.owner else None
        number = f"system call {module.number}" if module.number else "no system call"
        device = {True: str(DEVICE), False: f"no {DEVICE}", None: None}
        yield _listed(owner, number, device[module.device])
    if module.wide is not None:
        yield _traces(module)


def _listed(*facts: str | None) -> str:
    return " · ".join(filter(None, facts))


def _traces(module: ModuleStatus) -> str:
    asked = {"wide": module.wide, "detail": module.detail, "follow": module.follow}
    on = ", ".join(name for name, value in asked.items() if value) or "the calls of the lab"
    files = "" if module.files is None else f" · up to {count_text(module.files)} files"
    return f"each trace: {on}{files}"


class LiveView:
    """Show a watch on a terminal: what is under way, how much comes, and what has just ended.

    Parameters
    ----------
    console
        A terminal.
    store
        What is written to.
    zone
        The zone in which to show times.
    report
        The page that is kept fresh, if one is.
    clock
        Gives seconds.
    processes
        Where the kernel shows this machine's processes.
    """

    def __init__(
        self,
        console: Console,
        store: str,
        zone: tzinfo,
        report: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        processes: Path = Path("/proc"),
    ) -> None:
        self._store = store
        self._zone = zone
        self._report = report
        self._processes = processes
        self._rates = _Rates(clock)
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
        self._rates.note(progress)
        for notice in progress.notices:
            self._live.console.print(Text(visible(notice), style="yellow"), soft_wrap=True)
        self._live.update(self._draw(progress), refresh=True)

    def _draw(self, progress: Progress) -> Group:
        console = self._live.console
        above = [self._headline(progress), self._totals(progress), _modules_line(progress)]
        if rates := self._rates.text(self._zone):
            above.insert(2, Text(rates))
        if self._report:
            above.append(Text(f"report: {visible(self._report)}", style="dim"))
        if progress.shipping:
            above.append(Text(visible(progress.shipping), style="dim"))
        above += self._under_way(progress.open_runs)
        below = [Text(visible(progress.trouble), style="bold red")] if progress.trouble else []
        if not self._runs:
            idle = Text("no run has ended yet; Ctrl-C ends watching", style="dim")
            return Group(*above, idle, *below)
        taken = sum(len(text.wrap(console, console.width)) for text in (*above, *below))
        room = max(_FEWEST_LIVE_RUNS, console.height - taken - 2)  # the headings and the cursor
        newest = list(islice(self._runs, room))
        return Group(*above, *_run_lines(newest, self._zone, console.width), *below)

    def _headline(self, progress: Progress) -> Text:
        return Text.assemble(
            ("logtrace watch", "bold"),
            f" → {visible(self._store)} · since {time_text(progress.since, self._zone)}"
            f" ({self._zone})",
        )

    def _totals(self, progress: Progress) -> Text:
        lost = progress.lost_records
        return Text.assemble(
            (_plural(progress.runs, "run"), "bold"),
            f" of {_plural(progress.records, 'record')} · ",
            (
                f"{_plural(lost, 'record')} lost or not understood" if lost else "none lost",
                "yellow" if lost else "dim",
            ),
        )

    # Of this machine's own kernel, the processes can be asked who they are.
    def _under_way(self, open_runs: Sequence[tuple[int, Record]]) -> list[Text]:
        if not open_runs:
            return []
        console = self._live.console
        room = max(1, min(_MOST_NAMED, console.height // 4))
        rows: list[dict[str, Any]] = [
            {"pid": pid or None, "at": record.at, "host": record.host}
            for pid, record in open_runs[: -room - 1 : -1]
        ]
        for row, (pid, record) in zip(rows, reversed(open_runs), strict=False):
            if record.source == "kmsg":
                row |= _process(self._processes / str(pid))
        columns = [
            column(rows, "Under way", lambda row: _cell(row["pid"]), right=True),
            column(rows, "Program", lambda row: _cell(row.get("comm")), name=True),
            column(rows, "User", lambda row: _cell(row.get("user")), name=True),
            column(rows, "Host", lambda row: _cell(row["host"]), name=True),
            column(rows, "Since", lambda row: _cell(row["at"], self._zone)),
        ]
        known = [one for one in columns if any(cell != _NOTHING for cell in one.cells)]
        lines = list(table_lines(known or columns[:1], console.width))
        lines[0].stylize("cyan")
        more = len(open_runs) - len(rows)
        return lines + ([Text(f"and {count_text(more)} more under way", style="dim")] * (more > 0))


class _Rates:
    """How much came in the minute before what came last, which stays true when nothing comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bytes = 0
        self._marks: deque[tuple[float, int, int, int]] = deque()
        self._begun = clock()
        self._at = datetime.now(UTC)

    def note(self, progress: Progress) -> None:
        now = self._clock()
        self._bytes += sum(_moved(run) for run in progress.latest)
        mark = (now, progress.runs, progress.records, self._bytes)
        if self._marks and self._marks[-1][1:] == mark[1:]:
            return  # what is shown anew is not what is read
        self._at = datetime.now(UTC)
        self._marks.append(mark)
        while len(self._marks) > 1 and self._marks[1][0] <= now - _RATE_S:
            self._marks.popleft()

    def text(self, zone: tzinfo) -> str:
        if len(self._marks) < 2:
            return ""
        now, runs, records, moved = self._marks[-1]
        _, *before = self._marks[0]
        seconds = max(1, min(_RATE_S, now - self._begun))
        return (
            f"minute to {self._at.astimezone(zone):%H:%M:%S}: {_plural(runs - before[0], 'run')},"
            f" {(records - before[1]) / seconds:,.1f} records/s, {bytes_text(moved - before[2])}"
        )


def _moved(run: Mapping[str, Any]) -> int:
    return sum(run.get(name) or 0 for name in ("read_bytes", "written_bytes"))


# Its name and its user's; a process may have ended just now.
def _process(folder: Path) -> dict[str, str]:
    import pwd

    try:
        comm, uid = (folder / "comm").read_bytes(), folder.stat().st_uid
    except OSError:
        return {}
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return {"comm": comm.decode(errors="backslashreplace").removesuffix("\n"), "user": user}


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
        for notice in progress.notices:
            self._console.print(Text(visible(notice)), soft_wrap=True)
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


_BARS = "▁▂▃▄▅▆▇█"
_EIGHTHS = "▏▎▍▌▋▊▉"
_SHARE_CELLS = 5
_RUN_PARTS = 16
_TIMES = ("started_at", "ended_at")
_USAGE_COUNTS = {
    "Runs": "runs",
    "Odd": "incomplete",
    "Leaky": "leaky",
    "Programs": "programs",
    "Files": "files",
}
_USAGE_LAYOUTS = (
    "Runs,Change,Share,Trend,Odd,Leaky,Programs,Files,Read,Written,Calls,Bytes 50 %,Bytes 95 %,"
    "Time 50 %,Time 95 %,Busiest,Last seen",
    "Runs,Change,Share,Trend,Odd,Leaky,Programs,Files,Read,Written,Calls,Last seen",
    "Runs,Change,Share,Trend,Odd,Leaky,Read,Written,Calls,Last seen",
    "Runs,Change,Share,Trend,Odd,Leaky,Read,Written,Calls",
    "Runs,Share,Trend,Odd,Read,Written",
    "Runs,Share,Trend",
    "Runs,Trend",
    "Runs",
)
_HOST_LAYOUTS = (
    "Runs,Change,Share,Trend,State,Last sign,Traced,Faults,Lost,Module,Kernel,Oldest,Odd,Leaky,"
    "Read,Written,Calls",
    "Runs,Change,Trend,State,Last sign,Traced,Faults,Lost,Module,Kernel,Oldest",
    "Runs,Trend,State,Last sign,Traced,Faults,Lost,Kernel",
    "Runs,Trend,State,Last sign,Traced,Faults",
    "Runs,State,Last sign,Traced",
    "Runs,State,Last sign",
    "Runs,State",
)
_RUN_LAYOUTS = (
    "Run,Owner,Pid,Program,File,Read,Written,o/c/r/w/s,Status,Ended",
    "Run,Owner,Pid,Program,File,Read,Written,o/c/r/w/s,Status",
    "Run,Owner,Pid,Program,File,Read,Written,Calls,Status",
    "Run,Pid,Program,File,Read,Written,Status",
    "Run,Program,File,Status",
)


def _key_column(rows: Iterable[Mapping[str, Any]], key: str, zone: tzinfo) -> Column:
    return column(rows, key.capitalize(), lambda row: _cell(row[key], zone), name=True)


# A kernel that failed may have left no time but its own.
def _moment(row: Mapping[str, Any], zone: tzinfo) -> str:
    if _missing(row["at"]) and not _missing(row["us"]):
        return clock_text(int(row["us"]))
    return _cell(row["at"], zone)


def _place(row: Mapping[str, Any]) -> str:
    offset = "" if _missing(row["offset"]) else f"+{int(row['offset']):#x}"
    return _cell(row["function"]) + offset


def _count_column(rows: Iterable[Mapping[str, Any]], title: str, name: str) -> Column:
    return column(rows, title, lambda row: _count(row[name]), right=True)


def _usage_columns(
    rows: Sequence[Mapping[str, Any]], zone: tzinfo, share: Callable[[float], str]
) -> Iterator[Column]:
    whole = sum(int(row["runs"]) for row in rows)
    for title, name in _USAGE_COUNTS.items():
        if _has(rows, name):
            yield _count_column(rows, title, name)
    if whole:
        yield column(rows, "Share", lambda row: share(row["runs"] / whole))
    if _has(rows, "change"):
        yield column(rows, "Change", lambda row: _signed(row["change"]), right=True)
    if _has(rows, "trend"):
        yield column(rows, "Trend", lambda row: row["trend"], style=lambda _row: "cyan")
    yield column(rows, "Read", lambda row: _bytes(row["read_bytes"]), right=True)
    yield column(rows, "Written", lambda row: _bytes(row["written_bytes"]), right=True)
    yield column(rows, "Calls", _calls_together, right=True)
    for percent in (50, 95):
        if _has(rows, f"p{percent}_bytes"):
            yield _value_column(rows, f"Bytes {percent} %", f"p{percent}_bytes", _bytes)
        if _has(rows, f"p{percent}_took_us"):
            yield _value_column(rows, f"Time {percent} %", f"p{percent}_took_us", _duration)
    if _has(rows, "busiest_hour"):
        yield _value_column(rows, "Busiest", "busiest_hour", _hour)
    yield column(rows, "Last seen", lambda row: _cell(row["last_seen"], zone))
    if rows and "silent" in rows[0]:
        yield from _host_columns(rows, zone)


def _host_columns(rows: Sequence[Mapping[str, Any]], zone: tzinfo) -> Iterator[Column]:
    states = {row["host"]: _state(row) for row in rows}
    yield column(
        rows,
        "State",
        lambda row: states[row["host"]],
        style=lambda row: "" if states[row["host"]] in (USUAL, _NOTHING) else "yellow",
    )
    yield column(rows, "Last sign", lambda row: _minute(row["last_sign"], zone))
    yield _value_column(rows, "Traced", "traced", _share)
    yield _count_column(rows, "Faults", "incidents")
    yield _count_column(rows, "Lost", "lost")
    yield column(rows, "Module", lambda row: _cell(row["version"]), name=True)
    yield column(rows, "Kernel", lambda row: _cell(row["kernel"]), name=True)
    yield column(rows, "Oldest", lambda row: _minute(row["first_run"], zone))


def _state(row: Mapping[str, Any]) -> str:
    plain = {n: None if _missing(row[n]) else row[n] for n in ("silent", "clock", "clock_off_us")}
    return state_text(plain) or _NOTHING


def _minute(value: Any, zone: tzinfo) -> str:
    return _cell(value, zone)[:16]


def _share(value: Any) -> str:
    return _NOTHING if _missing(value) else _percent(value)


# When the runs of a list began; nothing where it is one moment.
def _over_time(runs: Iterable[Mapping[str, Any]], zone: tzinfo) -> str:
    times = [next((run[n] for n in _TIMES if not _missing(run[n])), None) for run in runs]
    known = [moment for moment in times if moment is not None]
    start, end = min(known, default=None), max(known, default=None)
    if start is None or end is None or start == end:
        return ""
    counts = [0] * _RUN_PARTS
    for moment in known:
        counts[min(int((moment - start) / (end - start) * _RUN_PARTS), _RUN_PARTS - 1)] += 1
    ends = " to ".join(time_text(moment, zone)[:16] for moment in (start, end))
    return f" ▕{sparkline(counts)}▏ {ends}"


def _has(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(not _missing(row.get(name)) for row in rows)


# Whether it can't show bars.
def _is_plain(console: Console) -> bool:
    return console.options.ascii_only


def _value_column(
    rows: Iterable[Mapping[str, Any]], title: str, name: str, text: Callable[[Any], str]
) -> Column:
    return column(rows, title, lambda row: text(row[name]), right=True)


def _duration(value: Any) -> str:
    return _NOTHING if _missing(value) else duration_text(int(value))


def _hour(value: Any) -> str:
    return _NOTHING if _missing(value) else f"{int(value):02}:00"


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def _signed(share: Any) -> str:
    return _NOTHING if _missing(share) else f"{share:+.0%}".replace("%", " %")


def _explained(titles: Collection[str], trend: Trend | None, zone: tzinfo) -> Iterator[str]:
    if trend and "Trend" in titles:
        start, end = (time_text(moment, zone)[:16] for moment in (trend.start, trend.end))
        yield f"trend: runs from {start} to {end}"
    if "Change" in titles:
        yield "change: of runs, against the time as long before"
    if "Odd" in titles:
        yield "odd: not complete"
    if "Traced" in titles:
        yield "traced: for this part of the range programs could be"
    if "Leaky" in titles:
        yield "leaky: left files open"
    if "Bytes 50 %" in titles:
        yield "50 %, 95 %: so many runs have at most this"
    yield f"times in {zone}"


# As many columns as there is room for.
def _run_lines(runs: Sequence[Mapping[str, Any]], zone: tzinfo, room: int) -> Iterator[Text]:
    columns = {column.title: column for column in _run_columns(runs, zone)}
    layouts = [[columns[title] for title in layout.split(",")] for layout in _RUN_LAYOUTS]
    fitting = (layout for layout in layouts if room_for(layout) <= room)
    return table_lines(next(fitting, layouts[-1]), room)


def _run_columns(runs: Sequence[Mapping[str, Any]], zone: tzinfo) -> list[Column]:
    return [
        column(runs, "Run", lambda run: str(run["run_id"])[:8], style=lambda _run: "dim"),
        column(runs, "Owner", lambda run: _cell(run.get("owner")), name=True),
        column(runs, "Pid", lambda run: _cell(run.get("pid")), right=True),
        column(runs, "Program", lambda run: _cell(run.get("comm")), name=True),
        column(runs, "File", lambda run: _cell(run.get("file")), name=True),
        column(runs, "Read", lambda run: _bytes(run.get("read_bytes")), right=True),
        column(runs, "Written", lambda run: _bytes(run.get("written_bytes")), right=True),
        column(
            runs, "o/c/r/w/s", lambda run: "/".join(_cell(run.get(c)) for c in _CALLS), right=True
        ),
        column(runs, "Calls", _calls_together, right=True),
        column(
            runs,
            "Status",
            lambda run: run["status"],
            style=lambda run: "green" if run["status"] == "complete" else "yellow",
        ),
        column(runs, "Ended", lambda run: _cell(run.get("ended_at"), zone)),
    ]


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
