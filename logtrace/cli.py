"""The commands: parse options, call one library function, print.

What is heavy is imported by the command that needs it.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from logtrace.errors import LogtraceError, QueryError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from logtrace.engine import Filters
    from logtrace.source import Source
    from logtrace.store import HostTables

P = ParamSpec("P")
R = TypeVar("R")

_NOTHING_MATCHED = 3


class _Group(click.Group):
    # The one place where an error of the library becomes a line and an exit code.
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LogtraceError as error:
            if ctx.find_root().meta.get("verbose"):
                raise
            kind = click.UsageError if isinstance(error, QueryError) else click.ClickException
            raise kind(_visible(str(error))) from error


def _visible(text: str) -> str:
    from logtrace.display import visible

    return "\n".join(map(visible, text.split("\n")))


def verbosity_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``-q`` and ``-v``."""

    def remember(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
            ctx.find_root().meta[name] = value

        return callback

    quiet = click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=remember("quiet"),
        help="Print results only, no notes.",
    )  # fmt: skip
    verbose = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=remember("verbose"),
        help="Show where an error came from.",
    )  # fmt: skip
    return quiet(verbose(command))


def store_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--store``."""
    return click.option(
        "--store",
        "url",
        metavar="URL",
        default=None,
        help="Folder of the store. Default: $LOGTRACE_STORE, else /var/lib/logtrace for root"
        " and ~/.local/share/logtrace for a user.",
    )(command)


def zone_option(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--tz``."""
    return click.option(
        "--tz",
        "zone",
        metavar="ZONE",
        callback=lambda _ctx, _option, value: _zone(value),
        help="Time zone of times given and shown, such as Asia/Seoul. Default: the machine's.",
    )(command)


def filter_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the filters, ``--store`` and ``--tz``; the command gets them as `Selection`."""

    @functools.wraps(command)
    def with_selection(
        url: str | None,
        zone: ZoneInfo,
        since: str | None,
        until: str | None,
        **rest: Any,
    ) -> R:
        names = ("host", "owner", "comm", "file", "pid", "status", "boot")
        exact = {name: rest.pop(name) for name in names}
        return command(Selection(url, zone, since, until, exact), **rest)

    options: list[Callable[..., Any]] = [
        click.option("--since", metavar="TIME", help="Only runs from this time on: today,"
                     " monday, '2 hours ago', 10:30, 2026-11-23, boot, @epoch, ..."),
        click.option("--until", metavar="TIME", help="Only runs before this time."),
        click.option("--host", metavar="NAME", help="Only runs of this machine."),
        click.option("--owner", metavar="ID", help="Only runs with this id in the stats line."),
        click.option("--comm", metavar="NAME", help="Only runs of this program."),
        click.option("--file", metavar="NAME", help="Only runs that opened this file last."),
        click.option("--pid", type=int, metavar="PID", help="Only runs of this process id."),
        click.option("--status", metavar="STATUS", help="Only runs of this status."),
        click.option("--boot", metavar="ID", help="Only runs of this boot id."),
        zone_option,
        store_option,
    ]  # fmt: skip
    for option in reversed(options):
        with_selection = option(with_selection)
    return with_selection


class Selection:
    """What the filter options select.

    Parameters
    ----------
    url
        The store's URL, or None for the default.
    zone
        The zone of times.
    since, until
        The words of the range.
    exact
        The other filters by name.
    """

    def __init__(
        self,
        url: str | None,
        zone: ZoneInfo,
        since: str | None,
        until: str | None,
        exact: dict[str, Any],
    ) -> None:
        self.url = url
        self.zone = zone
        self._since = since
        self._until = until
        self._exact = exact

    @property
    def by_name(self) -> bool:
        """Whether something is asked for by name, so that finding nothing is a failure."""
        return any(value is not None for value in self._exact.values())

    def filters(self) -> Filters:
        """Give the filters, times looked up."""
        from logtrace import schema
        from logtrace.engine import Filters

        status = self._exact["status"]
        if status is not None and status not in schema.STATUSES:
            raise QueryError(f"--status {status}: unknown", f"use {', '.join(schema.STATUSES)}")
        return Filters(self._time(self._since), self._time(self._until), **self._exact)

    def _time(self, word: str | None) -> Any:
        from logtrace.when import booted, parse_time, utc_now

        return word and parse_time(word, now=utc_now(), zone=self.zone, booted=booted())


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="logtrace")
def cli() -> None:
    """Trace what programs do to their files, and report it.

    Kernel modules count the file calls of a process and print them to the kernel's log;
    logtrace reads the log, keeps the runs, and makes reports of them.
    """


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
@click.option("--host", metavar="NAME", help="Whose log it is. Default: this machine's name.")
@zone_option
@verbosity_options
@click.pass_context
def watch(
    ctx: click.Context,
    sources: tuple[str, ...],
    url: str | None,
    start: str,
    once: bool,
    host: str | None,
    zone: ZoneInfo,
) -> None:
    """Follow the kernel's log and store the runs that it tells of.

    SOURCE is kmsg (the default) or a text file that dmesg's output is appended to.
    """
    from logtrace import terminal
    from logtrace.store import Store, default_url, hostname
    from logtrace.watch import Watch

    host = host or hostname()
    store = Store(url or default_url())
    tables = store.host(host)
    modules = None if once else _module_monitor(ctx, host)
    opened = [_open_source(name, tables, start) for name in sources or ("kmsg",)]
    console = terminal.console()
    if once or _is_quiet(ctx):
        watching = Watch(tables, host, opened, modules)
        _follow(watching, once)
        _note(ctx, f"{watching.progress.runs} runs in {watching.progress.records} records")
    elif console.is_terminal:
        with terminal.LiveView(console, str(store), zone) as view:
            _follow(Watch(tables, host, opened, modules, view.show))
    else:
        _follow(Watch(tables, host, opened, modules, terminal.PlainView(console, zone).show))


def _follow(watching: Any, once: bool = False) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: watching.stop())
    try:
        watching.drain() if once else watching.follow()
    finally:
        watching.close()


def _open_source(name: str, tables: HostTables, start: str) -> Source:
    from logtrace.source import boot_id
    from logtrace.store import Position

    def position(source: str) -> Position:
        stored = tables.position(source) or Position(-1, -1)
        return Position(stored.seen, -1) if start == "oldest" else stored

    if name == "kmsg":
        from logtrace.source.kmsg import KmsgSource

        boot = boot_id()
        stored = position(f"kmsg:{boot}")
        return KmsgSource(
            boot,
            resume_after=stored.resume_after,
            seen=stored.seen,
            only_new=start == "now",
        )
    from logtrace.source.follow import FileSource

    if Path(name).is_dir():
        raise click.BadParameter(f"{name} is a folder; name the log files in it")
    return FileSource(
        Path(name),
        resume_after=lambda source: position(source).resume_after,
        only_new=start == "now",
    )


def _module_monitor(ctx: click.Context, host: str) -> Any:
    from logtrace.errors import SourceError
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
@click.option("--host", metavar="NAME", help="Whose log it is. Default: this machine's name.")
@click.option("--boot-id", metavar="ID", help="The boot that the log is of.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@verbosity_options
def import_(
    paths: tuple[Path, ...], url: str | None, host: str | None, boot_id: str | None, as_json: bool
) -> None:
    """Store the runs of finished logs, as dmesg prints them.

    PATH is a file (plain, .gz, .bz2 or .xz), a folder, or - for standard input. A log that
    was imported before is left out.
    """
    from logtrace.importer import find_logs, import_log
    from logtrace.store import Store, default_url, hostname

    host = host or hostname()
    tables = Store(url or default_url()).host(host)
    for path in find_logs(paths):
        done = import_log(tables, path, host, boot_id)
        if as_json:
            click.echo(json.dumps(vars(done) | {"path": str(path)}))
        elif done.already_stored:
            click.echo(f"{path}: imported before, nothing to do")
        else:
            lines = f", {done.losses} lines not understood" if done.losses else ""
            click.echo(f"{path}: {done.runs} runs in {done.records} records{lines}")


@cli.command()
@filter_options
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How to print them; parquet only into a file or pipe.",
)
@click.option("--json", "output", flag_value="json", help="The same as --format json.")
@verbosity_options
def runs(selection: Selection, output: str) -> None:
    """List runs, newest first."""
    from logtrace.engine import Engine
    from logtrace.overview import NEWEST_FIRST

    engine = _engine(Engine, selection)
    frame = engine.rows("runs", selection.filters(), order=NEWEST_FIRST)
    _print_frame(frame, output, lambda terminal, console: terminal.print_runs(
        console, frame, selection.zone
    ))  # fmt: skip
    _fail_if_none(selection, frame)


@cli.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    default="owner",
    show_default=True,
    help="What to total by: owner (or student), program, host, file, status, dialect, day.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How to print it; parquet only into a file or pipe.",
)
@click.option("--json", "output", flag_value="json", help="The same as --format json.")
@verbosity_options
def stats(selection: Selection, by: str, output: str) -> None:
    """Total the runs: how many, of what, how many bytes and calls."""
    from logtrace.engine import Engine
    from logtrace.stats import usage

    keys = _keys(by)
    frame = usage(_engine(Engine, selection), keys, selection.filters())
    _print_frame(frame, output, lambda terminal, console: terminal.print_usage(
        console, frame, keys, selection.zone
    ))  # fmt: skip
    _fail_if_none(selection, frame)


@cli.command()
@filter_options
@click.option(
    "--by",
    metavar="KEY[,KEY]",
    help="What to total by, as for stats. Default: once by owner and once by program.",
)
@click.option("--run", "run_id", metavar="ID", help="Only the run whose id begins so.")
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
    formats: str,
) -> None:
    """Write a report: a page to look at, a page a run, and the tables as files."""
    from logtrace.engine import Engine
    from logtrace.overview import gather
    from logtrace.report import write_report
    from logtrace.when import utc_now

    data = gather(
        _engine(Engine, selection),
        selection.filters(),
        [_keys(by)] if by else [["owner"], ["program"]],
        zone=selection.zone,
        now=utc_now(),
        run_id=run_id,
    )
    if run_id is not None and data.runs.empty:
        click.echo(f"no run has an id that begins with {run_id}", err=True)
        ctx.exit(_NOTHING_MATCHED)
    written = write_report(data, out, [name.strip() for name in formats.split(",")])
    _note(ctx, f"{len(data.runs)} runs, {len(written)} files in {out}")
    click.echo(written[0])
    _fail_if_none(selection, data.runs)


@cli.command()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@verbosity_options
@click.pass_context
def run(ctx: click.Context, command: tuple[str, ...], as_json: bool) -> None:
    """Trace a program and print what it did to its files.

    Put -- before the program. Its output and exit code stay its own; the summary goes to
    standard error.
    """
    from logtrace.traced import run_traced, summary

    run, code, why_not = run_traced(command)
    if run is None:
        _note(ctx, f"no summary: {why_not}")
    elif as_json:
        click.echo(json.dumps(run, default=str), err=True)
    else:
        click.echo(summary(run), err=True)
    ctx.exit(128 - code if code < 0 else code)


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
    "--module",
    type=click.Choice(["iotracehooking", "ftracehooking", "os_ftracehooking"]),
    default="iotracehooking",
    show_default=True,
    help="The module wanted; those it needs are loaded too.",
)
@verbosity_options
@click.pass_context
def load(ctx: click.Context, owner: str | None, module: str) -> None:
    """Load the modules, building them first if need be."""
    from logtrace import kmod as library

    done = library.load(library.built() or library.build(), owner=owner, module=module)
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


@cli.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@verbosity_options
@click.pass_context
def doctor(ctx: click.Context, url: str | None, as_json: bool) -> None:
    """Say what works on this machine, and the remedy for what does not.

    The exit code is 1 if something is missing that tracing or reading needs.
    """
    from logtrace import terminal
    from logtrace.doctor import examine
    from logtrace.store import Store, default_url

    checks = examine(Store(url or default_url()).root)
    if as_json:
        click.echo(json.dumps([vars(check) for check in checks], indent=2))
    else:
        terminal.print_checks(terminal.console(), checks)
    ctx.exit(int(any(check.state == "failed" for check in checks)))


def main() -> None:
    """Run the command line; the entry point of ``logtrace``."""
    cli(prog_name="logtrace")


def _engine(engine: Any, selection: Selection) -> Any:
    from logtrace.store import Store, default_url

    return engine(Store(selection.url or default_url()), str(selection.zone))


def _keys(by: str) -> list[str]:
    return [key.strip() for key in by.split(",")]


def _zone(name: str | None) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    if name is None:
        from tzlocal import get_localzone

        local: ZoneInfo = get_localzone()
        return local
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise click.BadParameter(
            f"no time zone is called {name!r}; try Asia/Seoul or UTC"
        ) from None


def _print_frame(frame: Any, output: str, as_table: Callable[[Any, Any], None]) -> None:
    if output == "table":
        from logtrace import terminal

        as_table(terminal, terminal.console())
        return
    from logtrace.export import write_table

    if output == "parquet" and sys.stdout.isatty():
        raise click.UsageError("parquet is no text: send it to a file or a pipe")
    write_table(frame, sys.stdout.buffer, output)


def _fail_if_none(selection: Selection, frame: Sequence[Any] | Any) -> None:
    if selection.by_name and len(frame) == 0:
        click.get_current_context().exit(_NOTHING_MATCHED)


def _is_quiet(ctx: click.Context) -> bool:
    return bool(ctx.find_root().meta.get("quiet"))


def _note(ctx: click.Context, text: str) -> None:
    if not _is_quiet(ctx):
        click.echo(text, err=True)
