"""The command ``watch``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from logtrace.commands.options import (
    host_option,
    is_quiet,
    store_option,
    verbosity_options,
    zone_option,
)
from logtrace.commands.output import json_line, many, note, visible, warn
from logtrace.commands.ship import own_store, shipper
from logtrace.errors import SourceError
from logtrace.sparing import spare_memory

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from logtrace.fresh import FreshReport
    from logtrace.modules import ModuleMonitor
    from logtrace.repeated import Repeated
    from logtrace.source import LogTree, Source
    from logtrace.source.follow import Begin, Beginning
    from logtrace.watch import Progress, Watch


@click.command()
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
                note(ctx, "writing the last report; Ctrl-C leaves it out")
        if shipping:
            watching.tell_of_shipping()
            if shipping.trouble:
                note(ctx, "not all is shipped; the next watch or ship goes on with it")
    progress = watching.progress
    note(ctx, f"{many(progress.runs, 'run')} in {many(progress.records, 'record')}")


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
        note(ctx, f"--report {out}: {trouble.replace('--out', '--report')}")

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
        return _Troubles().show
    if as_json:
        return _JsonView().show
    from logtrace import terminal

    console = terminal.console()
    if console.is_interactive and not plain:
        return stack.enter_context(terminal.LiveView(console, store, zone, page)).show
    return terminal.PlainView(console, zone).show


class _Troubles:
    """Say on standard error what keeps a watch from reading, storing or shipping, each once."""

    def __init__(self) -> None:
        self._trouble: str | None = None

    def show(self, progress: Progress) -> None:
        news = [*progress.notices]
        if progress.trouble and progress.trouble != self._trouble:
            news.append(progress.trouble)
        self._trouble = progress.trouble
        with suppress(OSError):  # where that is on the same full disk, it watches on
            for each in news:
                warn(each)


class _JsonView:
    """Print each run as a line of JSON."""

    def __init__(self) -> None:
        self._troubles = _Troubles()

    def show(self, progress: Progress) -> None:
        self._troubles.show(progress)
        for row in progress.latest:
            click.echo(json_line({name: value for name, value in row.items() if name != "lines"}))


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
            f"{visible(' and '.join(same))} have the same messages of this machine's kernel; name "
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
        note(ctx, f"{name} does not exist yet; waiting for it")
    return [FileTree(layout, beginning)]


def _module_monitor(ctx: click.Context, host: str) -> ModuleMonitor | None:
    from logtrace.modules import ModuleMonitor
    from logtrace.source import boot_id

    try:
        return ModuleMonitor(host, boot_id())
    except SourceError as error:
        note(ctx, str(error))
        return None
