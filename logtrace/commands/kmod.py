"""The commands ``kmod ...``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from logtrace.commands.options import Selection, filter_options, format_options, verbosity_options
from logtrace.commands.output import NOTHING_MATCHED, note, write


@click.group()
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
    note(ctx, f"loaded {', '.join(done)}" if done else f"{module} is loaded already")


@kmod.command()
@verbosity_options
@click.pass_context
def unload(ctx: click.Context) -> None:
    """Unload the modules; what is being traced ends with its lines printed."""
    from logtrace import kmod as library

    done = library.unload()
    note(ctx, f"unloaded {', '.join(done)}" if done else "no tracing module is loaded")


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
        write(frame, output)
    if selection.by_name and frame.empty:
        note(ctx, "no watch has seen the modules")
        ctx.exit(NOTHING_MATCHED)


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

    note(ctx, "removed from DKMS" if dkms.remove() else "DKMS does not have the modules")
