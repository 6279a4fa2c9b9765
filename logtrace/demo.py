"""``make run``: a real kernel, traced programs, a watch, and a report, in one command.

Where no virtual machine can be booted, the same pipeline runs on a log that was recorded
in one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

from tzlocal import get_localzone

from logtrace import cache, kmod, terminal, vm
from logtrace.display import visible
from logtrace.engine import Engine, Filters
from logtrace.errors import GuestError, LogtraceError
from logtrace.importer import import_log
from logtrace.overview import gather
from logtrace.report import write_report
from logtrace.store import Store
from logtrace.when import utc_now

_GUEST_STORE = "/var/lib/logtrace"
_BIN = Path(sys.prefix) / "bin"
_RUN = (str(_BIN / "logtrace"), "run")
_LOGTRACE = shlex.quote(_RUN[0])
_SLOW_S = 300  # Python starts slowly in emulation

_SCRIPT = """\
with open("notes.txt", "w") as notes:
    for number in range(100):
        notes.write(f"line {number}\\n")
with open("notes.txt") as notes:
    print(len(notes.readlines()), "lines")
"""

_PROGRAMS = (
    ((), ("cat", "abc.txt")),
    (("--detail", "--wide"), ("cp", "--reflink=never", "abc.txt", "copy.txt")),
    ((), ("dd", "if=/dev/zero", "of=zeros.bin", "bs=4096", "count=64", "status=none")),
    ((), (sys.executable, "-I", "-S", "script.py")),
)


def main(out: Path = Path("out")) -> None:
    """Run the demonstration, and print its runs and the path of its report.

    Parameters
    ----------
    out
        Folder of the demonstration; what was in it is removed.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    store = Store(str(out.resolve() / "store"))
    missing = vm.missing_requirement()
    with ExitStack() as stack:
        if missing is None:
            try:
                guest = stack.enter_context(_boot(out))
            except GuestError as error:
                missing = str(error).partition("\n")[0]
            else:
                trace_in_guest(guest, store, out / "work")
    if missing is not None:
        _say(f"No virtual machine: {missing}. Using a recorded log instead.")
        import_recorded_log(store)
    show(store, out / "report")


def trace_in_guest(guest: vm.Guest, store: Store, work: Path) -> None:
    """Trace programs in a guest, and store what they did.

    Parameters
    ----------
    guest
        The booted guest, whose modules have been built.
    store
        Where the guest's store is copied to; in the guest's shared folder.
    work
        Folder that the programs work in; in the guest's shared folder.

    Raises
    ------
    GuestError
        If something in the guest fails.
    """
    test_program = _prepare(work)
    shared = shlex.quote(str(guest.shared))

    def run(command: str) -> None:
        _say(f"[guest] {command.replace(f'{_BIN}/', '')}")
        place = f"cd {shlex.quote(str(work.resolve()))}; export LOGTRACE_CACHE={_quoted_cache()}\n"
        done = guest.run(place + command, timeout=_SLOW_S)
        _say("\n".join(filter(None, (done.stdout.rstrip("\n"), done.stderr.rstrip("\n")))))

    run(f"{_LOGTRACE} kmod load")
    _say("[guest] logtrace watch")
    guest.run(_START_WATCH.format(shared=shared), timeout=_SLOW_S)
    run(shlex.quote(str(test_program)))
    for options, program in _PROGRAMS:
        run(shlex.join((*_RUN, *options, "--", *program)))
    guest.run(_STOP_WATCH.format(shared=shared), timeout=_SLOW_S)
    guest.run(f"cp -r {_GUEST_STORE} {shlex.quote(str(store))}")


def import_recorded_log(store: Store) -> None:
    """Store the runs of the log that ships with logtrace."""
    with resources.as_file(resources.files("logtrace") / "recorded.log") as path:
        import_log(store.host("recorded"), path, "recorded")


def show(store: Store, out: Path) -> None:
    """Print a store's runs, write a report of them, and print its path."""
    zone = get_localzone()
    engine = Engine(store, str(zone))
    groupings = [["owner"], ["program"]]
    data = gather(engine, Filters(), groupings, zone=zone, now=utc_now(), pages=True)
    written = write_report(data, out)
    console = terminal.console()
    console.print()
    terminal.print_runs(console, engine.newest_runs(), zone)
    console.print(f"\nReport: {written[0].resolve()}", soft_wrap=True)


# The watch reads from where the kernel's log begins, so waiting for it only makes it live.
_START_WATCH = (
    _LOGTRACE
    + """ watch > {shared}/watch.log 2>&1 &
echo $! > {shared}/watch.pid
until ls -l /proc/$!/fd 2> /dev/null | grep -q kmsg; do
    kill -0 $! || {{ cat {shared}/watch.log; exit 1; }}
    sleep 0.2
done
"""
)
_STOP_WATCH = """\
pid=$(cat {shared}/watch.pid)
kill -TERM $pid
while kill -0 $pid 2> /dev/null; do sleep 0.1; done
"""


def _boot(out: Path) -> vm.Guest:
    kernel = vm.newest_kernel()
    release = kernel.name.removeprefix("vmlinuz-")
    _say(f"Building the kernel modules for {release}")
    kmod.build(Path("/lib/modules") / release / "build")
    _say(f"Booting {release} in a virtual machine")
    return vm.Guest(kernel, out, folders=[cache.folder()])


def _quoted_cache() -> str:
    return shlex.quote(str(cache.folder()))


# The exercise's test program, its file, and a script; gives the program's path.
def _prepare(work: Path) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    source = kmod.source() / "exercise"
    shutil.copytree(source, work / "exercise", dirs_exist_ok=True)
    subprocess.run(
        ["make", "--silent", "--always-make", "-C", str(work / "exercise")],
        check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    shutil.copy(source / "abc.txt", work)
    (work / "script.py").write_text(_SCRIPT)
    return (work / "exercise" / "test").resolve()


def _say(text: str) -> None:
    seconds = time.monotonic() - _BEGAN
    for line in text.splitlines():
        print(f"{seconds:5.0f} s  {visible(line)}", file=sys.stderr, flush=True)


_BEGAN = time.monotonic()

if __name__ == "__main__":
    try:
        main()
    except LogtraceError as error:
        sys.exit(f"Error: {error}")
