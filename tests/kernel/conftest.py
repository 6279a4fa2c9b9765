"""Boot each kernel once and hand it to the tests of this folder.

``--kernel NAME`` chooses the kernels; without it tests run on the few of `kernels.DEFAULT`.
What a machine lacks skips these tests and says the remedy; with ``LOGTRACE_REQUIRE_ALL=1``
it fails them.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import kernels
import pytest
from kernels import HOST, KMOD, need

from logtrace import vm
from logtrace.errors import LogtraceError
from logtrace.vm import Guest

HERE = Path(__file__).parent

# What the project's modules and programs print, and nothing else that a kernel says.
OURS = re.compile(
    r"OS Assignment2|ftrace/\d+ |\[|open\[|Failed to find|ORIGINAL|os_ftrace\(\)"
    r"|\w*tracehooking: (?!loading|module)"
)
FAULT = re.compile(
    r"\b(?:BUG|Oops|WARNING|INFO: (?:task|lockdep|trying)|general protection|rcu.*stalls?"
    r"|soft lockup|hard LOCKUP|(?:circular|recursive) locking|inconsistent lock state"
    r"|invalid wait context|held lock freed|suspicious RCU|sleeping function"
    r"|KASAN|KFENCE|UBSAN|ODEBUG|refcount_t|list_(?:add|del) corruption"
    r"|Call Trace|page fault)\b"
)
# A function of our modules in what kmemleak shows; of an unloaded one only its address is left.
OUR_FRAME = re.compile(r"\[\w*tracehooking\]|\] 0xffffffff[0-9a-f]{8}$", re.MULTILINE)

# Tests of logtrace's own side of the device are slow in emulation, and a kernel more shows nothing
# new; on "patched", whose locks are checked, Python takes nearly three times as long. Where kernels
# are named all tests run on each.
OF_FEW_KERNELS = {
    **dict.fromkeys(("test_faulty", "test_python", "test_watch"), ("6.1",)),
    **dict.fromkeys(("test_burst", "test_journald"), ("newest",)),
    **dict.fromkeys(
        (
            "test_children",
            "test_churn",
            "test_detail",
            "test_device",
            "test_faults",
            "test_names",
            "test_signals",
            "test_wide",
        ),
        ("6.1", "newest"),
    ),
}
KMEMLEAK = "/sys/kernel/debug/kmemleak"

# Shell functions: await STATE PID, a letter of /proc/PID/status; reading PID, a read of 3 sleeps
PRELUDE = """\
until_true() {
    for _ in $(seq 1000); do "$@" && return; sleep 0.02; done
    echo "never came true: $*" >&2; exit 1
}
await() { until_true grep -q "^State:.$1" "/proc/$2/status"; }
reading() { until_true grep -q "^0 0x3 " "/proc/$1/syscall"; }
"""


def pytest_generate_tests(metafunc):
    if "kernel" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("kernel")
    module = metafunc.module.__name__
    names = chosen or OF_FEW_KERNELS.get(module, kernels.DEFAULT)
    names = [name for name in names if name != HOST]
    # Of several processes that test at the same time, one boots the kernel.
    params = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
    metafunc.parametrize("kernel", params, indirect=True, scope="session")


def pytest_collection_modifyitems(config, items):
    chosen = config.getoption("kernel")
    if not chosen:
        return
    kernels_chosen = set(chosen) - {HOST}
    unwanted = [
        item
        for item in items
        if HERE in item.path.parents
        and not (kernels_chosen if "kernel" in item.fixturenames else HOST in chosen)
    ]
    items[:] = [item for item in items if item not in unwanted]
    config.hook.pytest_deselected(items=unwanted)


class Line(NamedTuple):
    level: str
    text: str


class Machine:
    """A booted guest, its modules, and what its kernel has said.

    Parameters
    ----------
    guest
        The guest.
    modules
        Where the modules for its kernel are.
    folder
        Where the test programs are; shared with the guest for writing.
    patience
        What to multiply times by that are enough on an ordinary kernel.

    Attributes
    ----------
    release
        What ``uname -r`` says.
    patched
        Whether the kernel has ``os_ftrace``.
    number
        The system call that ftracehooking answers by default: 336, or 0 where the kernel uses
        336 for ``uprobe``.
    sanitizer
        Whether the kernel looks for leaks.
    """

    def __init__(self, guest: Guest, modules: Path, folder: Path, patience: int = 1) -> None:
        self.guest = guest
        self.modules = modules
        self.folder = folder
        self.patience = patience
        self.history: list[str] = []
        self.loaded: list[str] = []
        self.release = self.run("uname -r").stdout.strip()
        self.patched = self._kernel_has("__x64_sys_os_ftrace")
        self.number = 0 if self._kernel_has("__x64_sys_uprobe") else 336
        self.sanitizer = self.run(f"test -e {KMEMLEAK}", check=False).returncode == 0

    def _kernel_has(self, symbol: str) -> bool:
        return self.run(f"grep -q ' {symbol}$' /proc/kallsyms", check=False).returncode == 0

    def run(self, command: str, *, check: bool = True, timeout: float = 120) -> vm.Completed:
        place = f"cd {self.folder}; PATH=$PATH:{self.folder}; export LC_ALL=C.UTF-8\n"
        return self.guest.run(
            PRELUDE + place + command, timeout=timeout * self.patience, check=check
        )

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
        """The same without notices, as there is one where the number is taken."""
        return [line.text for line in self.log() if line.level != "notice"]

    def _dmesg(self) -> str:
        said = self.run("dmesg --read-clear --decode").stdout
        self.history += said.splitlines()
        return said

    def take_faults(self) -> list[str]:
        self._dmesg()
        history, self.history = self.history, []
        return [line for line in history if FAULT.search(line)]

    def forget_leaks(self) -> None:
        """Let kmemleak, where the kernel has it, report only what leaks from now on."""
        if self.sanitizer:
            self.run(f"echo scan=off > {KMEMLEAK}; echo clear > {KMEMLEAK}")

    def leaks(self) -> list[str]:
        """Give kmemleak's reports about what functions of our modules allocated."""
        if not self.sanitizer:
            return []
        # An object counts from its sixth second; a pointer on its way may hide from one scan.
        scan = f"sleep 6; echo scan > {KMEMLEAK}; "
        found = self.run(f"{scan}{scan}cat {KMEMLEAK}", timeout=300).stdout
        reports = found.split("unreferenced object ")[1:]
        return [report for report in reports if OUR_FRAME.search(report)]


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


@pytest.fixture(scope="session")
def kernel(request):
    """One kernel after the other."""
    try:
        return kernels.find(request.param)
    except LogtraceError as error:
        need(str(error))


@pytest.fixture(scope="session")
def booted(request, bootable, kernel, programs, tmp_path_factory, record_testsuite_property):
    modules = kernel.modules(tmp_path_factory.mktemp("modules"))
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(programs, folder, dirs_exist_ok=True)
    # twice: what is enough on a machine that does nothing else
    patience = 10 if kernel.slow else 2
    with Guest(
        kernel.image,
        folder,
        folders=[modules],
        memory="2G" if kernel.slow else "1G",
        boot_timeout=1200 if kernel.slow else 600,
        # what a storm prints must still be there when it is read
        kernel_options=["log_buf_len=8M"],
    ) as guest:
        guest.run("echo 1 > /proc/sys/kernel/panic_on_oops")
        booted = Machine(guest, modules, folder, patience)
        record_testsuite_property("release", booted.release)
        record_testsuite_property("compiler", kernel.compiler())
        yield booted


@pytest.fixture(scope="module")
def no_faults(booted):
    """The kernel must have nothing to complain about after the tests of a file."""
    booted.take_faults()
    booted.forget_leaks()
    yield
    booted.unload()
    assert booted.take_faults() == []
    assert booted.leaks() == []


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
