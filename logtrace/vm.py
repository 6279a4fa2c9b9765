"""Boot a real kernel in a virtual machine, run commands in it, hand back what they did.

The guest sees this machine's files at the same paths, read-only below a writable
overlay that is gone with the guest; one folder is shared for writing by both. virtme-ng
does the booting; hardware virtualisation is never used, so that a guest behaves the
same on every machine.
"""

from __future__ import annotations

import compileall
import os
import platform
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from logtrace.errors import GuestError

_CONSOLE_TAIL_LINES = 40

# Before 8.1 QEMU can miss that one CPU changes code while another one's thread translates it.
# Kernels change code where tracepoints are switched: now and then a guest hung there.
_ACCELERATOR = "-accel tcg,thread=single"

# What a distribution's Python needs (x86-64-v2) and nobody's drivers: whatever else a machine has
# loads modules at boot (disks, ciphers, virtualisation), which takes emulation its time.
_HARDWARE = (
    "-nodefaults -machine sata=off -cpu qemu64,-svm,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm"
)

# The rules that name virtme-ng's ports and load modules: the others took a third of a boot.
_UDEV_RULES = Path("/usr/lib/udev/rules.d")
_NEEDED_RULES = ("50-udev-default.rules", "80-drivers.rules")

# virtme-ng mounts an empty file system over each of these
_HIDDEN_IN_GUEST = tuple(map(Path, ("/var/tmp", "/var/log", "/var/cache", "/run", "/dev/shm")))

# Reads the number of a command from its standard input, a line each, runs the command
# and answers with the number. It starts by quieting the console to warnings, as every
# line on a serial port costs time in emulation.
_AGENT = """\
echo 5 > /proc/sys/kernel/printk
echo ready
while read -r number; do
    sh "$1/$number.command" > "$1/$number.stdout" 2> "$1/$number.stderr" < /dev/null
    echo $? > "$1/$number.status"
    echo "done $number"
done
"""


@dataclass(frozen=True)
class Completed:
    """What a command in the guest did."""

    command: str
    returncode: int
    stdout: str
    stderr: str


def newest_kernel(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Path:
    """Find this distribution's newest kernel whose headers are installed too.

    Parameters
    ----------
    boot
        Folder of the ``vmlinuz-RELEASE`` files.
    modules
        Folder of the ``RELEASE/build`` links to the headers.

    Returns
    -------
    pathlib.Path
        The kernel image.

    Raises
    ------
    GuestError
        If there is none.
    """
    images = [
        image
        for image in boot.glob("vmlinuz-*")
        if (modules / image.name.removeprefix("vmlinuz-") / "build").exists()
    ]
    if not images:
        raise GuestError(
            f"no kernel with headers in {boot}",
            "apt-get install linux-image-amd64 linux-headers-amd64",
        )
    return max(images, key=lambda image: (image.stat().st_mtime, image.name))


def missing_requirement() -> str | None:
    """Say what keeps this machine from booting a guest, and the remedy; None if nothing."""
    if platform.machine() != "x86_64":
        return f"guests are x86-64, this machine is {platform.machine()}"
    if shutil.which("qemu-system-x86_64") is None:
        return "QEMU is not installed (apt-get install qemu-system-x86)"
    if _virtme_ng() is None:
        return "virtme-ng is not installed (pip install 'logtrace[vm]')"
    try:
        newest_kernel()
    except GuestError as error:
        return str(error)
    return None


class Guest:
    """A booted virtual machine; leaving the ``with`` block switches it off.

    Parameters
    ----------
    kernel
        The image to boot (``vmlinuz-...`` or ``bzImage``).
    shared
        A folder that host and guest both write, at the same path.
    folders
        Folders that the guest must see; beside them it always sees this Python and
        logtrace. Only matters for what lies where the guest hides this machine's files.
    cpus, memory
        The size of the guest; memory as QEMU takes it.
    boot_timeout
        Seconds until the guest must answer.
    qemu_options
        More options for QEMU, as on its command line; the last of a kind counts.
    kernel_options
        More words for the kernel's command line.

    Raises
    ------
    GuestError
        If the guest can't be booted, does not answer in time, hangs or panics; the end
        of its console is in the message.
    """

    def __init__(
        self,
        kernel: Path,
        shared: Path,
        *,
        folders: Iterable[Path] = (),
        cpus: int = 2,
        memory: str = "1G",
        boot_timeout: float = 180,
        qemu_options: str = "",
        kernel_options: Iterable[str] = (),
    ) -> None:
        self.kernel = kernel
        self.shared = shared.resolve()
        # not the folder above them, which may hold the shared one and would hide it
        packages = ("logtrace", "logtrace.kmod_source", "logtrace.templates")
        installed = [Path(str(resources.files(package))) for package in packages]
        self._folders = [Path(sys.prefix), *installed, *folders]
        self._cpus = cpus
        self._memory = memory
        self._boot_timeout = boot_timeout
        self._qemu_options = f"{_ACCELERATOR} {_HARDWARE} {qemu_options}".rstrip()
        self._kernel_options = list(kernel_options)
        self._commands = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> Self:
        self.shared.mkdir(parents=True, exist_ok=True)
        self._control = Path(tempfile.mkdtemp(prefix=".guest-", dir=self.shared))
        self._console_path = self._control / "console"
        (self._control / "agent").write_text(_AGENT)
        # the guest can't keep what it compiles: each of its commands would do so anew
        compileall.compile_dir(Path(__file__).parent, quiet=2)
        self._boot()
        try:
            self._await(b"ready", self._boot_timeout, "the guest did not boot")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._power_off()
        shutil.rmtree(self._control, ignore_errors=True)

    def run(self, command: str, *, timeout: float = 60, check: bool = True) -> Completed:
        """Run a shell command in the guest as root.

        Parameters
        ----------
        command
            Text for ``sh``; its standard input is empty.
        timeout
            Seconds, after which the guest is switched off.
        check
            Whether an exit status other than 0 is an error.

        Returns
        -------
        Completed
            Exit status and output.

        Raises
        ------
        GuestError
            If the command fails (with `check`), runs too long, or the kernel panics.
        """
        self._commands += 1
        number = str(self._commands)
        base = self._control / number
        base.with_suffix(".command").write_text(command + "\n")
        stdin = self._running().stdin
        assert stdin is not None
        try:
            stdin.write(number.encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._failure(f"the guest is gone before `{command}`") from None
        self._await(f"done {number}".encode(), timeout, f"`{command}` did not end")
        completed = Completed(
            command,
            int(base.with_suffix(".status").read_text()),
            base.with_suffix(".stdout").read_text(errors="surrogateescape"),
            base.with_suffix(".stderr").read_text(errors="surrogateescape"),
        )
        if check and completed.returncode != 0:
            raise GuestError(
                f"`{command}` ended with status {completed.returncode} in the guest:\n"
                f"{completed.stdout}{completed.stderr}"
            )
        return completed

    def console(self) -> str:
        """Give what the guest's serial console has shown so far."""
        return self._console_path.read_text(errors="replace").replace("\r", "")

    def _boot(self) -> None:
        vng = _virtme_ng()
        if vng is None:
            raise GuestError("virtme-ng is not installed", "pip install 'logtrace[vm]'")
        agent = f"exec sh {shlex.quote(str(self._control / 'agent'))} " + shlex.quote(
            str(self._control)
        )
        # vng calls its companion virtme-run, which stands beside it
        path = f"{vng.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        with self._console_path.open("wb") as console:
            self._process = subprocess.Popen(
                [
                    *(str(vng), "--verbose", "--run", str(self.kernel)),
                    *("--disable-kvm", f"--qemu-opts={self._qemu_options}"),
                    *("--force-9p", "--user", "root"),
                    *("--cpus", str(self._cpus), "--memory", self._memory),
                    *(f"--append={option}" for option in self._kernel_options),
                    *(f"--rodir={folder}" for folder in _hidden(self._folders)),
                    *_rules_option(self._control / "rules.d"),
                    *("--cwd", "/", f"--rwdir={self.shared}", "--", agent),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                env={**os.environ, "PATH": path},
                start_new_session=True,
            )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise GuestError("the guest is not running")
        return self._process

    # Read the agent's answers until one is the wanted line.
    def _await(self, wanted: bytes, timeout: float, otherwise: str) -> None:
        stdout = self._running().stdout
        assert stdout is not None
        deadline = time.monotonic() + timeout
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if newline:
                self._pending = rest
                if line.strip() == wanted:
                    return
                continue
            chunk = _read_before(stdout, deadline)
            if chunk is None:
                failure = self._failure(f"{otherwise} within {timeout:g} s")
                self._power_off()
                raise failure
            if not chunk:
                raise self._failure(f"{otherwise}: the guest stopped")
            self._pending += chunk

    def _failure(self, message: str) -> GuestError:
        tail = "\n".join(self.console().splitlines()[-_CONSOLE_TAIL_LINES:])
        return GuestError(f"{message}; the end of its console:\n{tail}")

    def _power_off(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                _close(stream)


def _hidden(folders: Iterable[Path]) -> set[Path]:
    return {
        folder
        for folder in map(Path.resolve, folders)
        if any(folder.is_relative_to(hidden) for hidden in _HIDDEN_IN_GUEST)
    }


def _rules_option(folder: Path) -> list[str]:
    rules = [_UDEV_RULES / name for name in _NEEDED_RULES]
    if not all(rule.exists() for rule in rules):
        return []
    folder.mkdir()
    for rule in rules:
        shutil.copy(rule, folder)
    return [f"--rodir={_UDEV_RULES}={folder}"]


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        # what was still to be written went with the guest
        return


# Bytes that arrive before the deadline; b"" at the end of the stream, None if none came.
def _read_before(stream: IO[bytes], deadline: float) -> bytes | None:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(max(0, deadline - time.monotonic())):
            return None
    return os.read(stream.fileno(), 65536)


def _virtme_ng() -> Path | None:
    beside_python = Path(sys.executable).parent / "vng"
    found = str(beside_python) if beside_python.exists() else shutil.which("vng")
    return Path(found) if found else None
