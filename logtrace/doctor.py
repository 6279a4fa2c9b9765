"""Examine what of logtrace works on this machine, and what to do about the rest."""

from __future__ import annotations

import ctypes
import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from logtrace import kmod, ways
from logtrace.errors import KernelModuleError, StoreError

if TYPE_CHECKING:
    from logtrace.store import Store

State = Literal["ok", "warning", "failed"]

NEEDED_OPTIONS = ("MODULES", "MODULE_UNLOAD", "KPROBES", "TRACEPOINTS", "HAVE_SYSCALL_TRACEPOINTS")
"""What the modules need of a kernel's configuration, without CONFIG_."""

SMALL_RING_BYTES = 128 * 1024
"""A ring buffer below this loses records of a burst before anybody can read them."""

FREE_BYTES = 100 * 1024 * 1024
"""Less free space than this is worth a warning."""

_SYSLOG_ACTION_SIZE_BUFFER = 10
_DKMS_KEY = "var/lib/dkms/mok.pub"
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ROOT_OR_CAPABILITY = "run it as root, or with the capability CAP_SYSLOG"


@dataclass(frozen=True)
class Check:
    """What was found in one respect.

    Parameters
    ----------
    name
        What was examined.
    state
        ``ok``; ``warning`` where a part of logtrace won't work or works worse; ``failed``
        where tracing, reading or keeping runs can't work.
    found
        What is there.
    remedy
        What to do about it; None where nothing is to be done.
    """

    name: str
    state: State
    found: str
    remedy: str | None = None


def ring_bytes() -> int:
    """Ask the kernel for the size of its ring buffer.

    Returns
    -------
    int
        The size in bytes.

    Raises
    ------
    OSError
        If the kernel does not tell this process.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    size = int(libc.klogctl(_SYSLOG_ACTION_SIZE_BUFFER, None, 0))
    if size < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return size


def missing_packages(distribution: str = "logtrace") -> list[str]:
    """List the Python packages that logtrace requires and that are not installed.

    Parameters
    ----------
    distribution
        The installed package whose requirements are meant.

    Returns
    -------
    list of str
        Their names.
    """
    missing = []
    for requirement in metadata.requires(distribution) or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement and not _is_installed(name):
            missing.append(name)
    return missing


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def watch_module_events() -> None:
    """Open the kernel's channel for module events, and close it again.

    Raises
    ------
    ImportError
        If libudev is missing.
    OSError
        If the kernel does not open the channel.
    """
    import pyudev

    pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel").filter_by("module")


def watch_files() -> None:
    """Open an inotify instance, and close it again.

    Raises
    ------
    OSError
        If the kernel has no inotify or gives no further instance.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    os.close(descriptor)


def find_tool(name: str) -> str | None:
    """Find a program in ``$PATH`` or beside the running Python, where pip puts programs.

    Parameters
    ----------
    name
        The program.

    Returns
    -------
    str or None
        Its path.
    """
    return shutil.which(name) or shutil.which(name, path=os.path.dirname(sys.executable))


def key_is_enrolled(key: Path) -> bool | None:
    """Ask mokutil whether the firmware knows a key, so that modules signed with it load.

    Parameters
    ----------
    key
        The public key, DER.

    Returns
    -------
    bool or None
        None where mokutil is missing or can't tell.
    """
    if not find_tool("mokutil"):
        return None
    done = subprocess.run(
        ["mokutil", "--test-key", key], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if "already enrolled" in done.stdout:
        return True
    return False if "is not enrolled" in done.stdout else None


@dataclass(frozen=True)
class Machine:
    """What the checks touch; each part can be replaced.

    Parameters
    ----------
    root
        Where the machine's files are.
    release
        The kernel's release.
    python
        The version of Python.
    find_tool, missing_packages, key_is_enrolled, ring_bytes, watch_module_events, watch_files
        What the functions of the same names do.
    """

    root: Path = Path("/")
    release: str = field(default_factory=lambda: os.uname().release)
    python: tuple[int, ...] = sys.version_info[:3]
    find_tool: Callable[[str], str | None] = find_tool
    missing_packages: Callable[[], list[str]] = missing_packages
    key_is_enrolled: Callable[[Path], bool | None] = key_is_enrolled
    ring_bytes: Callable[[], int] = ring_bytes
    watch_module_events: Callable[[], None] = watch_module_events
    watch_files: Callable[[], None] = watch_files

    def read(self, path: str) -> str | None:
        """Read a small file below the root; None where that is not possible."""
        try:
            return (self.root / path).read_text().strip()
        except OSError:
            return None


def examine(store: Path | None = None, machine: Machine | None = None) -> list[Check]:
    """Examine this machine.

    Parameters
    ----------
    store
        The folder the store is or would be in; None leaves it out, as for a store that is
        not a folder.
    machine
        What is examined, by default the machine this runs on.

    Returns
    -------
    list of Check
        One for each thing examined, what tracing needs first.
    """
    host = machine or Machine()
    checks = [check(host) for check in _CHECKS]
    return checks if store is None else [*checks, _store(store)]


# Python


def _python(host: Machine) -> Check:
    found = "Python " + ".".join(map(str, host.python))
    if host.python < (3, 11):
        return Check("python", "failed", found, "install Python 3.11 or later")
    return Check("python", "ok", found)


def _packages(host: Machine) -> Check:
    if missing := host.missing_packages():
        remedy = "pip install " + " ".join(missing)
        return Check("packages", "failed", "not installed: " + ", ".join(missing), remedy)
    return Check("packages", "ok", "all that logtrace requires are installed")


# Building the modules


def _headers(host: Machine) -> Check:
    if (_kernel_tree(host) / "Makefile").exists():
        return Check("kernel headers", "ok", f"kernel {host.release}, with headers")
    found = f"kernel {host.release}, without headers in {_kernel_tree(host)}"
    return Check(
        "kernel headers", "warning", found, f"apt-get install linux-headers-{host.release}"
    )


def _kernel_tree(host: Machine) -> Path:
    return host.root / "lib/modules" / host.release / "build"


def _compiler(host: Machine) -> Check:
    missing = [tool for tool in ("gcc", "make") if not host.find_tool(tool)]
    if missing:
        found = f"{' and '.join(missing)} not found"
        return Check("compiler", "warning", found, f"apt-get install {' '.join(missing)}")
    return Check("compiler", "ok", "gcc and make")


# Loading the modules


def _configuration(host: Machine) -> Check:
    name = "kernel configuration"
    options = _options(host)
    if options is None:
        found = f"neither /proc/config.gz nor /boot/config-{host.release} can be read"
        return Check(name, "warning", found, "try it: sudo logtrace kmod load")
    missing = [f"CONFIG_{option}" for option in NEEDED_OPTIONS if options.get(option) != "y"]
    if missing:
        found = "the kernel was built without " + ", ".join(missing)
        return Check(name, "failed", found, "boot a kernel that has them, as Debian's have")
    return Check(name, "ok", "loadable modules, kprobes and tracepoints")


def _options(host: Machine) -> Mapping[str, str] | None:
    try:
        text = gzip.decompress((host.root / "proc/config.gz").read_bytes()).decode()
    except FileNotFoundError:
        text = host.read(f"boot/config-{host.release}") or ""
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.MULTILINE)) or None


def _loading(host: Machine) -> Check:
    for hindrance in (_no_modules, _modules_disabled, _signed_only):
        if check := hindrance(host):
            return check
    return Check("module loading", "ok", "allowed to root")


def _no_modules(host: Machine) -> Check | None:
    if (host.root / "proc/modules").exists():
        return None
    found = "this kernel can't load modules at all"
    return Check("module loading", "failed", found, "boot another kernel, or use a virtual machine")


def _modules_disabled(host: Machine) -> Check | None:
    if host.read("proc/sys/kernel/modules_disabled") != "1":
        return None
    found = "switched off until the next boot (kernel.modules_disabled=1)"
    return Check(
        "module loading", "failed", found, "boot again, and load before it is switched off"
    )


def _signed_only(host: Machine) -> Check | None:
    reason = _why_signed_only(host)
    if reason is None:
        return None
    found = f"signed modules only ({reason})"
    key = host.root / _DKMS_KEY
    if not key.exists():
        remedy = "let DKMS sign them: sudo logtrace kmod install; see docs/modules.md"
        return Check("module loading", "warning", found, remedy)
    if host.key_is_enrolled(key) is False:
        remedy = f"enrol DKMS's key, and boot again: sudo mokutil --import /{_DKMS_KEY}"
        return Check("module loading", "warning", f"{found}, and DKMS's key is unknown", remedy)
    return Check("module loading", "ok", f"{found}, as DKMS signs them")


def _why_signed_only(host: Machine) -> str | None:
    lockdown = host.read("sys/kernel/security/lockdown") or ""
    reasons = {
        "module.sig_enforce": host.read("sys/module/module/parameters/sig_enforce") == "Y",
        "lockdown": "[" in lockdown and "[none]" not in lockdown,
    }
    given = [name for name, holds in reasons.items() if holds]
    if given and _secure_boot(host):
        given.insert(0, "Secure Boot")
    return ", ".join(given) or None


# Four bytes of attributes, then the value.
def _secure_boot(host: Machine) -> bool:
    try:
        return (host.root / _SECURE_BOOT).read_bytes()[4:] == b"\1"
    except OSError:
        return False


def _number(host: Machine) -> Check:
    answered = host.read("sys/module/ftracehooking/parameters/nr")
    uprobe = f"{ways.NUMBER} is uprobe in this kernel"
    if answered is not None:
        if int(answered):
            return Check("system call", "ok", f"{answered} is answered by ftracehooking")
        why = f": {uprobe}" if ways.number_is_uprobe(host.root) else ""
        return Check("system call", "ok", f"none is answered{why}; the device is there")
    if not os.access(host.root / "proc/kallsyms", os.R_OK):
        found = f"whether {ways.NUMBER} is free can't be told without /proc/kallsyms"
        return Check("system call", "warning", found, "try it: sudo logtrace kmod load")
    if ways.number_is_uprobe(host.root):
        found = f"{uprobe}: logtrace takes the device, programs that call it need another number"
        remedy = "take another number for them: sudo logtrace kmod load --number NUMBER"
        return Check("system call", "warning", found, remedy)
    if ways.has_symbol("__x64_sys_os_ftrace", host.root):
        return Check("system call", "ok", f"{ways.NUMBER} is os_ftrace in this kernel")
    return Check("system call", "ok", f"{ways.NUMBER} is free")


def _device(host: Machine) -> Check:
    path = host.root / ways.DEVICE.relative_to("/")
    if not path.exists():
        if not (host.root / "sys/module/ftracehooking").is_dir():
            found = f"{ways.DEVICE} comes with the modules"
            return Check("device", "warning", found, "sudo logtrace kmod load")
        remedy = f"in a container, pass it in: --device {ways.DEVICE}; else load logtrace's modules"
        return Check("device", "warning", f"no {ways.DEVICE} though a module is loaded", remedy)
    if not os.access(path, os.R_OK | os.W_OK):
        remedy = f"see who may: ls -l {ways.DEVICE}; or run it as root"
        return Check("device", "warning", f"{ways.DEVICE} may not be opened", remedy)
    return Check("device", "ok", str(ways.DEVICE))


def _modules(host: Machine) -> Check:
    loaded = [module.name for module in kmod.status(root=host.root) if module.loaded]
    if "iotracehooking" in loaded:
        return Check("modules", "ok", "loaded: " + ", ".join(loaded))
    found = "built" if _are_built(host) else "not built"
    if loaded:
        found += ", loaded: " + ", ".join(loaded)
    return Check("modules", "warning", f"{found}; tracing is off", "sudo logtrace kmod load")


def _are_built(host: Machine) -> bool:
    try:
        return kmod.built(_kernel_tree(host)) is not None
    except KernelModuleError:
        return False


# Reading


def _kernel_log(host: Machine) -> Check:
    try:
        os.close(os.open(host.root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return Check("kernel log", "failed", _why_unreadable(host), _ROOT_OR_CAPABILITY)
    except OSError as error:
        found = f"/dev/kmsg can't be opened: {error.strerror}"
        return Check("kernel log", "failed", found, "in a container, pass the device in")
    return Check("kernel log", "ok", "/dev/kmsg can be read")


def _why_unreadable(host: Machine) -> str:
    restricted = host.read("proc/sys/kernel/dmesg_restrict") == "1"
    return "/dev/kmsg may not be read" + (" (kernel.dmesg_restrict=1)" if restricted else "")


def _ring(host: Machine) -> Check:
    try:
        size = host.ring_bytes()
    except OSError as error:
        found = f"its size is not told: {error.strerror}"
        return Check("ring buffer", "warning", found, _ROOT_OR_CAPABILITY)
    if size < SMALL_RING_BYTES:
        remedy = "boot with log_buf_len=1M"
        return Check("ring buffer", "warning", f"{size // 1024} KiB: bursts get lost", remedy)
    return Check("ring buffer", "ok", f"{size // 1024} KiB")


def _module_events(host: Machine) -> Check:
    try:
        host.watch_module_events()
    except ImportError as error:
        return Check("module events", "warning", str(error), "apt-get install libudev1")
    except OSError as error:
        found = f"the kernel gives none: {error.strerror}"
        return Check("module events", "warning", found, "allow netlink sockets, as in a container")
    return Check("module events", "ok", "through libudev")


def _file_events(host: Machine) -> Check:
    try:
        host.watch_files()
    except OSError as error:
        found = f"no inotify: {error.strerror}"
        remedy = "sysctl fs.inotify.max_user_instances=1024"
        return Check("file events", "warning", found, remedy)
    return Check("file events", "ok", "through inotify")


# Keeping, and the rest


def _virtual_machine(host: Machine) -> Check:
    remedies = {
        "qemu-system-x86_64": "apt-get install qemu-system-x86",
        "busybox": "apt-get install busybox-static",
        "file": "apt-get install file",
        "vng": "pip install 'logtrace[vm]'",
    }
    missing = [tool for tool in remedies if not host.find_tool(tool)]
    if missing:
        remedy = " && ".join(remedies[tool] for tool in missing)
        found = f"{' and '.join(missing)} not found (only the demo and the tests need them)"
        return Check("virtual machine", "warning", found, remedy)
    return Check("virtual machine", "ok", "qemu and virtme-ng")


def examine_bucket(store: Store) -> Check:
    """Say whether a store in a bucket can be read.

    Parameters
    ----------
    store
        The store.

    Returns
    -------
    Check
        Failed with what a command would say that reads it.
    """
    try:
        store.is_there()
    except StoreError as error:
        return Check("store", "failed", error.message, error.remedy)
    return Check("store", "ok", f"{store} can be read")


def _store(store: Path) -> Check:
    there = next(path for path in (store, *store.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = "name another one: --store or $LOGTRACE_STORE"
        return Check("store", "failed", f"{store} can't be written", remedy)
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES:
        remedy = "make room, or name another folder: --store"
        return Check("store", "warning", f"{store} has {free >> 20} MiB left", remedy)
    return Check("store", "ok", f"{store}, {free / (1 << 30):.1f} GiB free")


_CHECKS: tuple[Callable[[Machine], Check], ...] = (
    _python,
    _packages,
    _headers,
    _compiler,
    _configuration,
    _loading,
    _modules,
    _device,
    _number,
    _kernel_log,
    _ring,
    _module_events,
    _file_events,
    _virtual_machine,
)
