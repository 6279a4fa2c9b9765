"""Boot each kernel once and hand it to the tests of this folder.

What a machine lacks skips these tests and says the remedy; with ``LOGTRACE_REQUIRE_ALL=1``
it fails them.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from kernels import KMOD, need, patched_kernel, stock_kernel

from logtrace import kmod, vm
from logtrace.vm import Guest

HERE = Path(__file__).parent

# What the project's modules and programs print, and nothing else that a kernel says.
OURS = re.compile(
    r"OS Assignment2|\[|open\[|Failed to find|ORIGINAL|os_ftrace\(\)"
    r"|\w*tracehooking: (?!loading|module)"
)
FAULT = re.compile(
    r"\b(?:BUG|Oops|WARNING|INFO: (?:task|lockdep|trying)|general protection|rcu.*stalls?"
    r"|soft lockup|hard LOCKUP|circular locking|suspicious RCU|Call Trace|page fault)\b"
)


# Shell functions: await STATE PID, a letter of /proc/PID/status; reading PID, a read of 3 sleeps
PRELUDE = """\
until_true() {
    for _ in $(seq 1000); do "$@" && return; sleep 0.02; done
    echo "never came true: $*" >&2; exit 1
}
await() { until_true grep -q "^State:.$1" "/proc/$2/status"; }
reading() { until_true grep -q "^0 0x3 " "/proc/$1/syscall"; }
"""


class Line(NamedTuple):
    level: str
    text: str


class Machine:
    """A booted guest, its modules, and what its kernel has said."""

    def __init__(self, guest: Guest, patched: bool, modules: Path, folder: Path) -> None:
        self.guest = guest
        self.patched = patched
        self.modules = modules
        self.folder = folder
        self.history: list[str] = []
        self.loaded: list[str] = []

    def run(self, command: str, *, check: bool = True, timeout: float = 120) -> vm.Completed:
        place = f"cd {self.folder}; PATH=$PATH:{self.folder}; export LC_ALL=C.UTF-8\n"
        return self.guest.run(PRELUDE + place + command, timeout=timeout, check=check)

    def calls(self, *verbs: str) -> list[str]:
        """Make the calls of programs/calls.c; give their results."""
        return self.run(shlex.join(["calls", *verbs])).stdout.splitlines()

    def load(self, *names: str, parameter: str = "") -> None:
        """Load modules in this order; the parameter is for the last one."""
        for name in names:
            last = parameter if name == names[-1] else ""
            self.run(f"insmod {self.modules}/{name}.ko {last}")
            self.loaded.append(name)

    def unload(self) -> None:
        while self.loaded:
            self.run(f"rmmod {self.loaded[-1]}")
            self.loaded.pop()

    def log(self) -> list[Line]:
        """What our modules have printed since the last call."""
        records = re.findall(r"^kern *:(\w+) *: \[ *[\d.]+\] (.*)$", self._dmesg(), re.MULTILINE)
        return [Line(level, text) for level, text in records if OURS.match(text)]

    def texts(self) -> list[str]:
        return [line.text for line in self.log()]

    def _dmesg(self) -> str:
        said = self.run("dmesg --read-clear --decode").stdout
        self.history += said.splitlines()
        return said

    def take_faults(self) -> list[str]:
        self._dmesg()
        history, self.history = self.history, []
        return [line for line in history if FAULT.search(line)]


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    need(None if shutil.which("gcc") else "gcc is not installed (apt-get install gcc)")
    folder = tmp_path_factory.mktemp("programs")
    for source in (HERE / "programs").glob("*.c"):
        options = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
        subprocess.run(["gcc", *options, "-o", folder / source.stem, source], check=True)
    shutil.copytree(KMOD / "exercise", folder / "exercise")
    subprocess.run(["make", "-s", "-B", "-C", folder / "exercise"], check=True)
    return folder


@pytest.fixture(scope="session")
def bootable():
    need(vm.missing_requirement())


@pytest.fixture(scope="session", params=["stock", "patched"])
def booted(request, bootable, programs, tmp_path_factory):
    image, tree = stock_kernel() if request.param == "stock" else patched_kernel()
    modules = kmod.build(tree)
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(programs, folder, dirs_exist_ok=True)
    with Guest(image, folder, folders=[modules]) as guest:
        guest.run("echo 1 > /proc/sys/kernel/panic_on_oops")
        yield Machine(guest, request.param == "patched", modules, folder)


@pytest.fixture(scope="module")
def no_faults(booted):
    """The kernel must have nothing to complain about after the tests of a file."""
    booted.take_faults()
    yield
    booted.unload()
    assert booted.take_faults() == []


@pytest.fixture
def machine(booted, no_faults):
    """A guest without the modules."""
    booted.unload()
    booted.log()
    yield booted
    booted.unload()


@pytest.fixture
def tracer(booted, no_faults):
    """A guest that traces; the modules stay for the next test that wants them."""
    if booted.loaded != ["ftracehooking", "iotracehooking"]:
        booted.unload()
        booted.load("ftracehooking", "iotracehooking")
    booted.log()
    return booted
