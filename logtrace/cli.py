"""The commands: parse options, call one library function, print.

What is heavy is imported by the command that needs it.
"""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from logtrace.errors import LogtraceError, QueryError, SourceError
from logtrace.options import (
    Selection,
    engine_options,
    filter_options,
    format_options,
    host_option,
    is_quiet,
    store_option,
    trace_options,
    verbosity_options,
    zone_option,
)
from logtrace.ship_command import own_store, ship, shipper
from logtrace.sparing import spare_memory
from logtrace.store_command import store as store_command

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    import pandas as pd

    from logtrace.cluster import Cluster
    from logtrace.engine import Engine, Filters
    from logtrace.fresh import FreshReport
    from logtrace.importer import Imported
    from logtrace.modules import ModuleMonitor
    from logtrace.repeated import Repeated
    from logtrace.source import LogTree, Source
    from logtrace.source.follow import Begin, Beginning
    from logtrace.traced import Traced
    from logtrace.watch import Progress, Watch
    from logtrace.ways import Options

_NOTHING_MATCHED = 3
_MOST_NAMED = 8
_INTERRUPTED = 128 + signal.SIGINT
_RUN_ID = re.compile("[0-9a-f]{1,16}", re.IGNORECASE)
_REPORT_FORMATS = ("html", "csv", "json", "parquet")


class _Group(click.Group):
    # The one place where an error of the library becomes a line and an exit code.
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except LogtraceError as error:
            if ctx.find_root().meta.get("verbose"):
                raise
            kind = click.UsageError if isinstance(error, QueryError) else click.ClickException
            raise kind(_visible(str(error))) from error


def _visible(text: str) -> str:
    from logtrace.display import visible

    return "\n".join(map(visible, text.split("\n")))


@click.group("logtrace", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="logtrace")
def cli() -> None:
    """Trace what programs do to their files, and report it.

    Kernel modules count the file calls of a process and print them to the kernel's log;
    logtrace reads the log, keeps the runs, and makes reports of them.
    """


cli.add_command(ship)
cli.add_command(store_command)


@cli.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@store_option
@click.option(
    "--from",
    "start",
    type=click.Choice(["resume", "oldest", "now"]),
    default="resume",
    show_default=True,
    help="Where to begin. Nothing is stored twice in any case.",
)
@click.option("--once", is_flag=True, help="Store what is there, then stop.")
@click.option(
    "--report",
    "report_to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep a report in this folder fresh.",
)
@click.option(
    "--report-since",
    metavar="TIME",
    default="today",
    show_default=True,
    help="Where the report begins, understood anew each time it is written; all: nowhere.",
)
@click.option(
    "--ship-to",
    metavar="URL",
    help="Ship what is stored to the lab's store. Default: ship.to in logtrace.toml.",
)
@host_option
@zone_option
@click.option("--json", "as_json", is_flag=True, help="Print each run as a line of JSON.")
@verbosity_options
@click.pass_context
def watch(
    ctx: click.Context,
    sources: tuple[str, ...],
    url: str | None,
    start: Begin,
    once: bool,
    report_to: Path | None,
    report_since: str,
    ship_to: str | None,
    host: str,
    zone: ZoneInfo,
    as_json: bool,
) -> None:
    """Follow the kernel's log and store the runs that it tells of.

    SOURCE is kmsg (the default), journal (this machine's), a log file, a folder of log files or of
    journals, or a path with * for any name and {host} for a machine's. Ctrl-C ends it; started
    again, it goes on where it was.
    """
    spare_memory(at_once=True)
    # each read of a record may let the thread that stores go on for so long
    sys.setswitchinterval(0.0005)
    from logtrace.source.follow import Beginning
    from logtrace.store import hostname
    from logtrace.watch import Watch

    beside: list[Repeated] = []

    def note_stored() -> None:
        for each in beside:
            each.note()

    store, lab = own_store(url, ship_to)
    names = dict.fromkeys(map(_source_name, sources or ("kmsg",)))
    _refuse_same_messages(names)
    fresh = _fresh_report(ctx, report_to, str(store), zone, report_since)
    is_own = host == hostname() or not names.keys().isdisjoint(("kmsg", "journal"))
    beginning = Beginning(
        store.positions(),
        start,
        host,
        forced=ctx.get_parameter_source("host") is not click.core.ParameterSource.DEFAULT,
        zone=zone,
    )
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(source))
            for name in names
            for source in _open_sources(ctx, name, beginning)
        ]
        modules = _module_monitor(ctx, host) if is_own and not once else None
        if modules:
            stack.enter_context(closing(modules))
        page = str(report_to / "index.html") if report_to else None
        show = _view(ctx, stack, str(store), zone, page, plain=once, as_json=as_json)
        watch = Watch(
            store.host,
            host,
            opened,
            modules,
            show,
            positions=beginning.positions,
            note_stored=note_stored,
        )
        watching = stack.enter_context(closing(watch))
        shipping = shipper(store, lab, zone, watching) if lab else None
        beside += [each for each in (fresh, shipping) if each]
        if once:
            watching.drain()
        with fresh or nullcontext(), shipping or nullcontext():
            if not once:
                _follow(watching)
            if fresh and fresh.is_behind:
                _note(ctx, "writing the last report; Ctrl-C leaves it out")
        if shipping and shipping.trouble:
            _note(ctx, f"not shipped: {shipping.trouble}")
    progress = watching.progress
    _note(ctx, f"{_many(progress.runs, 'run')} in {_many(progress.records, 'record')}")


def _fresh_report(
    ctx: click.Context, out: Path | None, store: str, zone: ZoneInfo, since: str
) -> FreshReport | None:
    if out is None:
        return None
    from logtrace.fresh import ALL, FreshReport, report_command
    from logtrace.when import booted, parse_time, utc_now

    if since != ALL:
        parse_time(since, now=utc_now(), zone=zone, booted=booted())  # or it is told now

    def tell(trouble: str) -> None:
        # what this option is called here, report calls --out
        _note(ctx, f"--report {out}: {trouble.replace('--out', '--report')}")

    return FreshReport(report_command(store, str(zone), since, out.absolute()), tell)


# The first Ctrl-C, or a service manager's SIGTERM, ends it in order; the next one at once.
def _follow(watching: Watch) -> None:
    def stop(*_: object) -> None:
        restore()
        watching.stop()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        watching.follow()
    finally:
        restore()


def _view(
    ctx: click.Context,
    stack: ExitStack,
    store: str,
    zone: ZoneInfo,
    page: str | None,
    *,
    plain: bool,
    as_json: bool,
) -> Callable[[Progress], None]:
    if is_quiet(ctx):
        return lambda _progress: None
    if as_json:
        return _print_as_json
    from logtrace import terminal

    console = terminal.console()
    if console.is_interactive and not plain:
        return stack.enter_context(terminal.LiveView(console, store, zone, page)).show
    return terminal.PlainView(console, zone).show


def _print_as_json(progress: Progress) -> None:
    for notice in progress.notices:
        click.echo(_visible(notice), err=True)
    for row in progress.latest:
        click.echo(_json_line({name: value for name, value in row.items() if name != "lines"}))


# A path is made absolute, so that a file named twice is watched once.
def _source_name(name: str) -> str:
    return name if name in ("kmsg", "journal") else str(Path(name).absolute())


# What reads this machine's kernel in two ways would store each run twice.
def _refuse_same_messages(names: Collection[str]) -> None:
    if len(names) == 1:
        return
    from logtrace.source.journal import is_own_folder

    same = [name for name in names if name in ("kmsg", "journal") or is_own_folder(Path(name))]
    if len(same) > 1:
        raise click.UsageError(
            f"{_visible(' and '.join(same))} have the same messages of this machine's kernel; name "
            "one of them, and of a folder of journals only those that other machines sent"
        )


def _open_sources(
    ctx: click.Context, name: str, beginning: Beginning
) -> Sequence[Source | LogTree]:
    from logtrace.positions import Position
    from logtrace.source import boot_id

    if name == "kmsg":
        from logtrace.source.kmsg import KmsgSource

        boot = boot_id()
        known = beginning.positions.of(f"kmsg:{boot}")
        stored = known.get(beginning.host, Position(-1, -1))
        kmsg = KmsgSource(
            boot,
            resume_after=-1 if beginning.begin == "oldest" else stored.resume_after,
            seen=stored.seen,
            only_new=beginning.begin == "now",
        )
        return [kmsg]
    from logtrace.source.folder import FileTree, Layout
    from logtrace.source.journal import is_journal_folder, open_journals

    path = Path(name)
    if name == "journal" or (path.is_dir() and is_journal_folder(path)):
        return [open_journals(None if name == "journal" else path, beginning)]
    layout = Layout.of(name)
    if not layout.many and not path.exists() and layout.root.is_dir():
        _note(ctx, f"{name} does not exist yet; waiting for it")
    return [FileTree(layout, beginning)]


def _module_monitor(ctx: click.Context, host: str) -> ModuleMonitor | None:
    from logtrace.modules import ModuleMonitor
    from logtrace.source import boot_id

    try:
        return ModuleMonitor(host, boot_id())
    except SourceError as error:
        _note(ctx, str(error))
        return None


@cli.command("import")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@store_option
@host_option
@click.option("--boot-id", metavar="ID", help="The boot that the log is of; of several, the first.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["kmsg", "json", "syslog", "dmesg", "verbose", "export", "pstore"]),
    help="The log's form. Default: that of its first lines.",
)
@zone_option
@click.option(
    "--year",
    type=click.IntRange(1991, 9999),
    metavar="YYYY",
    help="The year of the first stamp without one. Default: the latest that fits the file's time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as lines of JSON.")
@engine_options
@verbosity_options
@click.pass_context
def import_(
    ctx: click.Context,
    paths: tuple[Path, ...],
    url: str | None,
    host: str,
    boot_id: str | None,
    form: str | None,
    zone: ZoneInfo,
    year: int | None,
    as_json: bool,
    connect: Callable[[], Cluster | None],
) -> None:
    """Store the runs of finished logs of dmesg, journalctl, syslog, consoles or /dev/kmsg.

    PATH is a file (plain, .gz, .bz2, .xz or .zst), a folder, or - for standard input. What a log
    says of several machines goes into the tables of each. A log that was imported before is left
    out. What can't be read is named, and the rest imported.
    """
    spare_memory()
    from logtrace.importer import Importing, find_logs
    from logtrace.store import open_to_store

    store, how = open_to_store(url), Importing(host, boot_id, form, zone, year)
    failed = False
    for done in how.import_logs(store, find_logs(paths), connect()):
        if isinstance(done, SourceError):
            click.echo(f"Error: {_visible(str(done))}", err=True)
            failed = True
            continue
        click.echo(_json_line(vars(done)) if as_json else _visible(_told(done)))
        if assumed := _assumed(done, zone):
            _note(ctx, _visible(f"{done.path}: {assumed}"))
    ctx.exit(int(failed))


def _told(done: Imported) -> str:
    if done.already_stored:
        return f"{done.path}: imported before, nothing to do"
    lost = f", {_many(done.losses, 'line')} not understood" if done.losses else ""
    machines = f" of {len(done.hosts)} machines" if len(done.hosts) > 1 else ""
    told = f"{_many(done.runs, 'run')} in {_many(done.records, 'record')}"
    return f"{done.path}: {told}{machines}{lost}"


def _assumed(done: Imported, zone: ZoneInfo) -> str | None:
    if not done.assumed:
        return None
    years = [year for year in done.assumed if year != "zone"]
    taken = [f"year is taken as {' or '.join(years)} (--year)"] if years else []
    return f"its stamps' {' and '.join([*taken, f'zone as {zone} (--tz)'])}"


@cli.command()
@filter_options
@format_options
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many runs.")
@verbosity_options
@click.pass_context
def runs(ctx: click.Context, selection: Selection, output: str, limit: int | None) -> None:
    """List runs, newest first."""
    from logtrace.overview import NEWEST_FIRST

    frame = selection.engine().rows("runs", selection.filters, order=NEWEST_FIRST, limit=limit)
    if output == "table":
        from logtrace import terminal

        terminal.print_runs(terminal.console(), frame, selection.zone)
    else:
        _write(frame, output)
    _fail_if_none(ctx, selection.by_name and limit != 0, len(frame))


@cli.command()
@filter_options
@click.option(
    "--by",
    type=click.Choice(["fingerprint", "module"]),
    help="Count those of one cause, or of one module.",
)
@click.option("--id", "incident_id", metavar="ID", help="Print the report whose id begins so.")
@format_options
@verbosity_options
@click.pass_context
def incidents(
    ctx: click.Context, selection: Selection, by: str | None, incident_id: str | None, output: str
) -> None:
    """List what the kernel reported of faults, newest first."""
    from logtrace import incident_list, terminal

    frame = incident_list.incidents(selection.engine(), selection.filters, incident_id)
    if by:
        count = incident_list.by_module if by == "module" else incident_list.by_fingerprint
        frame = count(frame)
    if output != "table":
        _write(frame, output)
    elif by:
        terminal.print_causes(terminal.console(), frame, selection.zone)
    elif incident_id is not None:
        for report in frame["report"]:
            click.echo(_visible(report))
    else:
        terminal.print_incidents(terminal.console(), frame, selection.zone)
    if (selection.by_name or incident_id is not None) and not len(frame):
        _note(ctx, "no incident matches")
        ctx.exit(_NOTHING_MATCHED)


@cli.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    default="owner",
    show_default=True,
    help="What to total by: owner (or student), program (or comm), host, file, status, dialect,"
    " day, hour, weekday, hour-of-day.",
)
@format_options
@verbosity_options
@click.pass_context
def stats(ctx: click.Context, selection: Selection, by: str, output: str) -> None:
    """Total the runs: how many, of what, how many bytes and calls."""
    from logtrace.stats import period_before, statistics
    from logtrace.when import utc_now

    engine, filters, now = selection.engine(), selection.filters, utc_now()
    keys = _names(by)
    frame = statistics(engine, keys, filters, period_before(filters, now))
    if keys == ["host"]:
        frame = _with_machines(engine, frame, filters, now)
    if output == "table":
        from logtrace import terminal
        from logtrace.trend import trend

        over_time = trend(engine, frame, keys, filters, now)
        terminal.print_usage(terminal.console(), frame, keys, selection.zone, over_time)
    else:
        _write(frame, output)
    _fail_if_none(ctx, selection.by_name, len(frame))


# How each machine stands; those without runs, too, unless it is asked for runs of one kind only.
def _with_machines(
    engine: Engine, usage: pd.DataFrame, filters: Filters, now: datetime
) -> pd.DataFrame:
    from dataclasses import replace

    from logtrace import config, hosts
    from logtrace.engine import Filters
    from logtrace.overview import machines

    found = machines(engine, filters, now, config.load().hosts)
    any_runs = replace(filters, since=None, until=None, host=None) == Filters()
    return hosts.beside(usage, found, all_hosts=any_runs)


@cli.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    help="What to total by, as for stats. Default: by owner, by program, by host and by file.",
)
@click.option(
    "--run", "run_id", metavar="ID", help="Only the run whose id begins so; it must be one run."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("logtrace-report"),
    show_default=True,
    help="Folder to write into.",
)
@click.option(
    "--format",
    "formats",
    metavar="FORMAT[,FORMAT]",
    default="html,csv",
    show_default=True,
    callback=lambda _ctx, _option, value: _report_formats(value),
    help="Any of html, csv, json, parquet.",
)
@verbosity_options
@click.pass_context
def report(
    ctx: click.Context,
    selection: Selection,
    by: str | None,
    run_id: str | None,
    out: Path,
    formats: list[str],
) -> None:
    """Write a report: a page to look at, a page a run, and the tables as files.

    It prints the path of the first file. Where nothing was found of what is asked for by
    name, nothing is written.
    """
    from logtrace import config
    from logtrace.contents import totals_of
    from logtrace.overview import gather, narrow_to_run
    from logtrace.page import MOST_RUNS
    from logtrace.report import write_report
    from logtrace.when import utc_now

    engine, filters = selection.engine(), selection.filters
    if run_id is not None:
        filters = narrow_to_run(engine, filters, run_id)
    configured = config.load()
    data = gather(
        engine,
        filters,
        _groupings(by),
        zone=selection.zone,
        now=utc_now(),
        most_runs=MOST_RUNS if formats == ["html"] else None,
        pages="html" in formats,
        thresholds=configured.findings,
        rules=configured.hosts,
    )
    _fail_if_none(ctx, selection.by_name or run_id is not None, len(data.runs))
    written = write_report(data, out, formats)
    found = totals_of(data)["runs"]
    _note(ctx, f"{_many(found, 'run')}, {_many(len(written), 'file')} in {out}")
    click.echo(written[0])


@cli.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    help="What to total by, as for stats. Default: by owner, by program, by host and by file.",
)
@click.option(
    "--listen",
    "address",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; 0.0.0.0 for other machines too, who then need a token.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="Its port."
)
@verbosity_options
@click.pass_context
def serve(
    ctx: click.Context, selection: Selection, by: str | None, address: str, port: int
) -> None:
    """Show the live report in a browser.

    It prints the address to open. The page follows what is stored. Ctrl-C ends it.
    """
    from logtrace.board import Board
    from logtrace.serve import serve as serve_until_stopped  # says what is not installed

    board = Board(selection.engine, selection.choose, _groupings(by), selection.zone)
    board.snapshot()  # what is wrong with the store or the keys is told now
    serve_until_stopped(board, address, port, click.echo)


@cli.command()
@click.argument("expected", metavar="EXPECTED.toml", type=click.Path(path_type=Path))
@filter_options
@click.option(
    "--grades", is_flag=True, help="What each owner gets for each task, not a line a run."
)
@format_options
@verbosity_options
@click.pass_context
def check(
    ctx: click.Context, selection: Selection, expected: Path, grades: bool, output: str
) -> None:
    """Grade runs against a file that says what is expected of them.

    The exit code is 0 only if everybody did everything that is expected.
    """
    from logtrace import config
    from logtrace.check import grade
    from logtrace.expectation import read_expectation
    from logtrace.findings import of_runs

    expectation = read_expectation(expected)
    engine, filters = selection.engine(), selection.filters
    graded = grade(
        expectation,
        engine.rows("runs", filters),
        engine.rows("files", filters) if expectation.asks_for_files else None,
        of_runs(engine, filters, config.load().findings) if expectation.asks_for_findings else None,
        only_owner=filters.owner,
    )
    if strangers := graded.strangers:
        named = ", ".join(strangers[:_MOST_NAMED])
        more = len(strangers) - _MOST_NAMED
        _note(ctx, f"not on the roster, left out: {named}{f' and {more} more' if more > 0 else ''}")
    if output != "table":
        _write(graded.grades if grades else graded.runs, output)
    else:
        from logtrace import terminal
        from logtrace.check_tables import print_graded_runs, print_grades

        if not grades:
            print_graded_runs(terminal.console(), graded.runs, selection.zone)
            click.echo()
        print_grades(terminal.console(), graded.grades)
    _fail_if_none(ctx, True, len(graded.runs))
    ctx.exit(int(not graded.all_match))


@cli.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@filter_options
@click.option("--by", metavar="KEY[,KEY]", help="Compare periods by this, as for stats.")
@format_options
@verbosity_options
@click.pass_context
def compare(
    ctx: click.Context,
    selection: Selection,
    first: str,
    second: str,
    by: str | None,
    output: str,
) -> None:
    """Show what differs between two runs, or between two periods.

    A and B are both the beginning of a run's id, or both a period: a day, week, month or year
    (yesterday, last-week, 2026-11), or FROM..TO.
    """
    names = first, second
    are_runs = [_RUN_ID.fullmatch(name) is not None for name in names]
    if len(set(are_runs)) == 2:
        raise click.UsageError("one is a run, one a period: name two of a kind")
    keys = ["part", "name"] if are_runs[0] else _names(by) if by else []
    if are_runs[0]:
        if by:
            raise click.UsageError("--by is of periods: two runs are compared whole")
        frame = _compared_runs(ctx, selection, names)
    else:
        frame = _compared_periods(ctx, selection, names, keys)
    if output != "table":
        _write(frame, output)
        return
    from logtrace import terminal
    from logtrace.compare_tables import print_comparison

    if are_runs[0] and frame["name"].isna().all():
        keys = []
    print_comparison(terminal.console(), frame, keys, names, selection.zone)


def _compared_runs(
    ctx: click.Context, selection: Selection, names: tuple[str, str]
) -> pd.DataFrame:
    from logtrace.compare import compare_runs
    from logtrace.overview import narrow_to_run

    engine = selection.engine()
    filters = [narrow_to_run(engine, selection.filters, name) for name in names]
    first, second = (
        {table: engine.rows(table, each) for table in ("runs", "files", "calls")}
        for each in filters
    )
    for name, found in zip(names, (first, second), strict=True):
        if found["runs"].empty:
            _note(ctx, f"no run's id begins with {name}")
            ctx.exit(_NOTHING_MATCHED)
    return compare_runs(*((first[table], second[table]) for table in ("runs", "files", "calls")))


def _compared_periods(
    ctx: click.Context, selection: Selection, names: tuple[str, str], keys: list[str]
) -> pd.DataFrame:
    from dataclasses import replace

    from logtrace.compare import compare_usage
    from logtrace.stats import statistics
    from logtrace.when import booted, parse_period, utc_now

    if selection.filters.since or selection.filters.until:
        raise click.UsageError("--since and --until are of runs: the periods say when")
    now, boot = utc_now(), booted()
    periods = [parse_period(name, now=now, zone=selection.zone, booted=boot) for name in names]
    engine = selection.engine()
    first, second = (
        statistics(engine, keys, replace(selection.filters, since=since, until=until))
        for since, until in periods
    )
    _fail_if_none(ctx, selection.by_name, int(first["runs"].sum() + second["runs"].sum()))
    return compare_usage(first, second, keys)


@cli.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@trace_options
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@verbosity_options
@click.pass_context
def run(ctx: click.Context, command: tuple[str, ...], options: Options, as_json: bool) -> None:
    """Trace a program and print what it did to its files.

    The program's output and exit code stay its own; the summary goes to standard error. Put
    -- before a program whose name begins with a dash.
    """
    from logtrace.traced import run_traced

    told = run_traced(command, options)
    _print_told(ctx, told, as_json=as_json, err=True)
    code = told.code or 0
    ctx.exit(128 - code if code < 0 else code)


@cli.command()
@click.argument("pid", type=click.IntRange(min=1))
@trace_options
@click.option(
    "--end", is_flag=True, help="End a trace that was started before, instead of starting one."
)
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@verbosity_options
@click.pass_context
def attach(ctx: click.Context, pid: int, options: Options, end: bool, as_json: bool) -> None:
    """Trace a process that runs, until it ends or until Ctrl-C.

    Ctrl-C ends the trace, not the process. What it did meanwhile is printed.
    """
    from logtrace import trace, ways
    from logtrace.traced import attach_traced

    if end:
        trace.stop(pid, options & ways.Options.FOLLOW)
        _note(ctx, f"the trace of {pid} has ended")
        return
    told = attach_traced(
        pid, options, started=lambda: _note(ctx, f"tracing {pid}; Ctrl-C ends the trace")
    )
    _print_told(ctx, told, as_json=as_json, err=False)
    ctx.exit(int(told.run is None))


def _print_told(ctx: click.Context, told: Traced, *, as_json: bool, err: bool) -> None:
    from logtrace.traced import as_row, summary

    if told.run is None:
        _note(ctx, f"no summary: {told.why_not}")
    elif as_json:
        click.echo(_json_line(as_row(told)), err=err)
    else:
        click.echo(summary(told), err=err)
        if any(told.run.get(name) for name in ("detail", "wide", "follow")):
            from logtrace import summary as tables
            from logtrace import terminal

            tables.print_details(terminal.console(stderr=err), told)


@cli.group()
def kmod() -> None:
    """Build, load and unload the kernel modules."""


@kmod.command()
@click.option(
    "--kdir",
    type=click.Path(path_type=Path),
    help="Build tree or headers of the kernel. Default: those of the running kernel.",
)
@verbosity_options
def build(kdir: Path | None) -> None:
    """Build the modules and print the folder that they are in."""
    from logtrace import kmod as library

    click.echo(library.build(kdir))


@kmod.command()
@click.option("--owner", metavar="ID", help="The id that the stats line shows.")
@click.option(
    "--number",
    type=click.IntRange(min=0),
    metavar="N",
    help="The system call to answer, 0 for none. Default: 336, or none from Linux 6.18 on, where"
    " 336 is the kernel's own.",
)
@click.option("--wide", is_flag=True, help="Have each trace print a line a system call.")
@click.option("--detail", is_flag=True, help="Have each trace print a line a file.")
@click.option("--follow", is_flag=True, help="Have each trace take in the children.")
@click.option(
    "--files",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="How many files a detailed trace lists. Default: 256.",
)
@click.option(
    "--module",
    type=click.Choice(["iotracehooking", "ftracehooking", "os_ftracehooking"]),
    default="iotracehooking",
    show_default=True,
    help="The module wanted; those it needs are loaded too.",
)
@verbosity_options
@click.pass_context
def load(
    ctx: click.Context,
    owner: str | None,
    number: int | None,
    wide: bool,
    detail: bool,
    follow: bool,
    files: int | None,
    module: str,
) -> None:
    """Load the modules, building them first if need be."""
    from logtrace import kmod as library

    folder = library.built() or library.build()
    done = library.load(
        folder,
        owner=owner,
        number=number,
        wide=wide,
        detail=detail,
        follow=follow,
        files=files,
        module=module,
    )
    _note(ctx, f"loaded {', '.join(done)}" if done else f"{module} is loaded already")


@kmod.command()
@verbosity_options
@click.pass_context
def unload(ctx: click.Context) -> None:
    """Unload the modules; what is being traced ends with its lines printed."""
    from logtrace import kmod as library

    done = library.unload()
    _note(ctx, f"unloaded {', '.join(done)}" if done else "no tracing module is loaded")


@kmod.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@verbosity_options
def status(as_json: bool) -> None:
    """Show how the modules stand on this machine."""
    from logtrace import kmod as library
    from logtrace import terminal
    from logtrace.errors import KernelModuleError

    try:
        folder = library.built()
    except KernelModuleError:
        folder = None  # without headers nothing can have been built here
    modules = library.status(folder)
    if as_json:
        click.echo(json.dumps([vars(module) for module in modules], indent=2))
    else:
        terminal.print_modules(terminal.console(), modules)


@kmod.command()
@filter_options
@format_options
@verbosity_options
@click.pass_context
def history(ctx: click.Context, selection: Selection, output: str) -> None:
    """List when programs could have been traced: when both modules were loaded.

    Known is what a watch has seen; when none ran, it is unknown.
    """
    from logtrace.coverage import of_store
    from logtrace.when import utc_now

    frame = of_store(selection.engine(), selection.filters, utc_now())
    if output == "table":
        from logtrace import terminal

        terminal.print_coverage(terminal.console(), frame, selection.zone)
    else:
        _write(frame, output)
    if selection.by_name and frame.empty:
        _note(ctx, "no watch has seen the modules")
        ctx.exit(_NOTHING_MATCHED)


@kmod.command()
@click.option("--kernel", metavar="RELEASE", help="Default: the running kernel.")
@verbosity_options
def install(kernel: str | None) -> None:
    """Hand the modules to DKMS, which builds them anew for every kernel; prints their folder."""
    from logtrace import dkms

    click.echo(dkms.install(kernel))


@kmod.command()
@verbosity_options
@click.pass_context
def remove(ctx: click.Context) -> None:
    """Take the modules away from DKMS; what is loaded stays loaded."""
    from logtrace import dkms

    _note(ctx, "removed from DKMS" if dkms.remove() else "DKMS does not have the modules")


@cli.command()
@click.argument("logs", nargs=-1, metavar="[LOG]...", type=click.Path(path_type=Path))
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@verbosity_options
@click.pass_context
def doctor(ctx: click.Context, logs: tuple[Path, ...], url: str | None, as_json: bool) -> None:
    """Say what works on this machine, or which lines of logs are not understood.

    The exit code is 1 if something is missing that tracing or reading needs; with logs, if a
    line looks like one of a run and is not understood.
    """
    from logtrace import terminal
    from logtrace.doctor import examine
    from logtrace.store import Store, default_url

    if logs:
        from logtrace.understanding import describe, examine_log, summarize

        found = [examine_log(path) for path in logs]
        for check in found:
            text = json.dumps(summarize(check)) if as_json else "\n".join(describe(check))
            click.echo(text)
        ctx.exit(int(any(check.not_understood for check in found)))
    checks = examine(Store(url or default_url()).root)
    if as_json:
        click.echo(json.dumps([vars(check) for check in checks], indent=2))
    else:
        terminal.print_checks(terminal.console(), checks)
    ctx.exit(int(any(check.state == "failed" for check in checks)))


def main() -> None:
    """Run the command line; the entry point of ``logtrace``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal can't show
    cli(prog_name="logtrace")


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",")))


def _groupings(by: str | None) -> list[list[str]]:
    return [_names(by)] if by else [["owner"], ["program"], ["host"], ["file"]]


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _report_formats(text: str) -> list[str]:
    names = _names(text)
    for name in names:
        if name not in _REPORT_FORMATS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_REPORT_FORMATS)}")
    return names


def _write(frame: pd.DataFrame, output: str) -> None:
    from logtrace.export import write_table

    if output == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is no text: send it to a file or a pipe")
    write_table(frame, sys.stdout.buffer, output)


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, default=lambda value: getattr(value, "isoformat", value.__str__)())


def _fail_if_none(ctx: click.Context, by_name: bool, found: int) -> None:
    if by_name and not found:
        _note(ctx, "no run matches")
        ctx.exit(_NOTHING_MATCHED)


def _note(ctx: click.Context, text: str) -> None:
    if not is_quiet(ctx):
        click.echo(_visible(text), err=True)
