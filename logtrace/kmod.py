"""Build, load and unload the kernel modules, and say how they stand.

``ftracehooking`` has the system call and the device, ``iotracehooking`` counts and needs it;
``os_ftracehooking`` is the hook of the lab's first exercise, on its own.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from logtrace import cache
from logtrace.errors import KernelModuleError
from logtrace.ways import DEVICE

MODULES = ("os_ftracehooking", "ftracehooking", "iotracehooking")
"""All modules, each after the ones it needs."""

NEEDS = {"iotracehooking": ("ftracehooking",)}
"""Which modules must be loaded before a module."""

HAS_DEVICE = "ftracehooking"
"""The module that has the device."""

_NOT_A_SOURCE = shutil.ignore_patterns(
    *("__pycache__", "__init__.py", "exercise", "kernel", "patches", "*.ko", "*.o", "*.mod"),
    *("*.mod.c", ".*", "Module.symvers", "modules.order", "logtrace.conf"),
)
_OWNER = re.compile(r"[\w.@+-]{1,32}", re.ASCII)
_SYS_FINIT_MODULE = 313  # x86-64; the C library has no function of that name
_SYS_DELETE_MODULE = 176
_ROOT = Path("/")


@dataclass(frozen=True)
class ModuleStatus:
    """How one module stands on this machine.

    Parameters
    ----------
    name
        The module's name.
    loaded
        Whether it is in the kernel and ready.
    refcount
        How often it is in use; None while it is not loaded.
    users
        The modules that use it.
    owner
        The id it prints in the stats line; None where it has none.
    version
        What its ``MODULE_VERSION`` says.
    number
        The system call it answers; 0 where it has a device alone, None where it has neither.
    matches
        Whether it is the built file; None where that is not known.
    device
        Whether its device is there; None where it has none.
    wide, detail, follow
        What traces do that ask for nothing: count more calls than those of the lab, count
        for each file, trace the children too; None where that is not its business.
    files
        How many files a detailed trace lists; None where that is not its business.
    """

    name: str
    loaded: bool
    refcount: int | None = None
    users: tuple[str, ...] = ()
    owner: str | None = None
    version: str | None = None
    number: int | None = None
    matches: bool | None = None
    device: bool | None = None
    wide: bool | None = None
    detail: bool | None = None
    follow: bool | None = None
    files: int | None = None


# Building


def source() -> Path:
    """Find the sources of the kernel modules.

    Returns
    -------
    pathlib.Path
        The folder that holds the modules' ``Kbuild`` and ``Makefile``.

    Raises
    ------
    KernelModuleError
        If this installation of logtrace has no sources.
    """
    folder = resources.files("logtrace.kmod_source")
    if not isinstance(folder, Path) or not (folder / "Kbuild").is_file():
        raise KernelModuleError(
            f"no module sources in {folder}", "install logtrace from its wheel or its repository"
        )
    return folder


def copy_source(folder: Path) -> None:
    """Copy what a build of the modules needs, without what an earlier build left there.

    Parameters
    ----------
    folder
        Where to, made where it is missing.

    Raises
    ------
    KernelModuleError
        If this installation of logtrace has no sources.
    OSError
        If they can't be read or written.
    """
    shutil.copytree(source(), folder, ignore=_NOT_A_SOURCE, dirs_exist_ok=True)


def kernel_tree(root: Path = _ROOT) -> Path:
    """Name the build tree of the running kernel; it need not exist.

    Parameters
    ----------
    root
        Where the machine's files are.

    Returns
    -------
    pathlib.Path
        ``/lib/modules/RELEASE/build``.
    """
    return root / "lib/modules" / os.uname().release / "build"


def built(kdir: Path | None = None) -> Path | None:
    """Find modules that were built before, without building them.

    Parameters
    ----------
    kdir
        Build tree of the kernel, by default that of the running one.

    Returns
    -------
    pathlib.Path or None
        What `build` would return at once, or None where it would have to build.
    """
    tree = kdir or kernel_tree()
    if not (tree / "Makefile").exists():
        return None
    folder = _target(tree)
    return folder if folder.is_dir() else None


def build(kdir: Path | None = None) -> Path:
    """Build the modules for a kernel, once for each kernel and state of the sources.

    Parameters
    ----------
    kdir
        Build tree of the kernel, by default that of the running one.

    Returns
    -------
    pathlib.Path
        A folder in the cache that holds one ``.ko`` file for each of `MODULES`.

    Raises
    ------
    KernelModuleError
        If the kernel's headers, the compiler or make are missing, or the build fails.
    LogtraceError
        If the cache can't be written.
    """
    tree = kdir or kernel_tree()
    _require_tools(tree)
    return cache.make_once(_target(tree), lambda draft: _make(draft, tree))


def _require_tools(tree: Path) -> None:
    if not (tree / "Makefile").exists():
        raise KernelModuleError(
            f"no kernel headers in {tree}", f"apt-get install {_headers_package(tree)}"
        )
    missing = [tool for tool in ("make", "gcc") if not shutil.which(tool)]
    if missing:
        raise KernelModuleError(
            f"{' and '.join(missing)} not found", f"apt-get install {' '.join(missing)}"
        )


def _headers_package(tree: Path) -> str:
    # A tree under /lib/modules is named after its release; any other can be for any kernel.
    return f"linux-headers-{tree.parent.name if tree.name == 'build' else 'amd64'}"


def _target(tree: Path) -> Path:
    """Name the cache folder after everything that goes into a build."""
    digest = hashlib.sha256()
    for part in _ingredients(tree):
        digest.update(len(part).to_bytes(8, "big") + part)
    return cache.folder("kmod", digest.hexdigest()[:24])


def _ingredients(tree: Path) -> Iterator[bytes]:
    folder = source()
    for path in _source_files(folder):
        yield str(path.relative_to(folder)).encode()
        yield path.read_bytes()
    for name in ("include/config/kernel.release", ".config", "Module.symvers"):
        path = tree / name
        yield path.read_bytes() if path.is_file() else b""
    yield _compiler()


def _source_files(folder: Path) -> list[Path]:
    names = os.listdir(folder)
    kept = sorted(set(names) - _NOT_A_SOURCE(str(folder), names))
    paths = [folder / name for name in kept]
    return [file for path in paths for file in (_source_files(path) if path.is_dir() else [path])]


def _compiler() -> bytes:
    gcc = shutil.which("gcc")
    return subprocess.run([gcc, "--version"], capture_output=True).stdout if gcc else b""


def _make(draft: Path, tree: Path) -> None:
    copy_source(draft)
    # Inside another make its variables would reach this one.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-C", draft, "modules", f"KDIR={tree.absolute()}", f"-j{os.cpu_count() or 1}"],
        env=inherited | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    missing = [name for name in MODULES if not (draft / f"{name}.ko").is_file()]
    if done.returncode or missing:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise KernelModuleError(
            f"the modules can't be built for {tree}:\n{tail}",
            f"headers and compiler come with: apt-get install {_headers_package(tree)} gcc make",
        )


# Loading and unloading


def load(
    folder: Path,
    *,
    owner: str | None = None,
    number: int | None = None,
    wide: bool = False,
    detail: bool = False,
    follow: bool = False,
    files: int | None = None,
    module: str = "iotracehooking",
    root: Path = _ROOT,
    insert: Callable[[Path, str], None] | None = None,
    delete: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Load a module and the ones it needs; what is loaded already stays.

    Parameters
    ----------
    folder
        Where the built modules are, as `build` returns it.
    owner
        The id that the stats line is to show, by default the module's own.
    number
        The system call to answer, by default 336, or none where the kernel has that for
        ``uprobe``, as Linux from 6.18 on; 0 for none.
    wide
        Whether to count ``open``, ``pread64``, ``writev`` and their like too, not only the
        calls of the lab.
    detail
        Whether to count for each file.
    follow
        Whether to trace the children of a traced process too.
    files
        How many files a detailed trace lists, by default 256.
    module
        The module wanted.
    root
        Where the machine's files are.
    insert, delete
        Put a module file with its parameters into the kernel, and take a module out by
        name; by default the system calls ``finit_module`` and ``delete_module``.

    Returns
    -------
    tuple of str
        The modules that were loaded by this call, in that order.

    Raises
    ------
    KernelModuleError
        If the kernel refuses, with what it said, or if a module is already loaded with
        other parameters. Nothing stays loaded that was not before.
    """
    insert, delete = insert or _finit_module, delete or _delete_module
    _check_owner(owner)
    switches = {"wide": wide, "detail": detail, "follow": follow}
    wanted = {"owner": owner, "nr": number, "files": files}
    wanted |= {name: "Y" for name, on in switches.items() if on}
    parameters = {name: str(value) for name, value in wanted.items() if value is not None}
    done: list[str] = []
    try:
        for name in (*NEEDS.get(module, ()), module):
            if _load_one(folder / f"{name}.ko", parameters, root, insert):
                done.append(name)
    except KernelModuleError:
        for name in reversed(done):
            _unload_one(name, root, delete)
        raise
    return tuple(done)


def _check_owner(owner: str | None) -> None:
    if owner is not None and not _OWNER.fullmatch(owner):
        raise KernelModuleError(
            f"owner {owner!r} is not usable", "use up to 32 of the characters A-Z a-z 0-9 _ . @ + -"
        )


def _load_one(
    file: Path, wanted: Mapping[str, str], root: Path, insert: Callable[[Path, str], None]
) -> bool:
    if not file.is_file():
        raise KernelModuleError(f"no module {file}", "build it: logtrace kmod build")
    taken = _parameters(file)
    parameters = {name: value for name, value in wanted.items() if name in taken}
    if _status(file.stem, None, root).loaded:
        _check_in_force(file.stem, parameters, root)
        return False
    with _KernelLog(root) as log:
        try:
            insert(file, " ".join(f"{name}={value}" for name, value in parameters.items()))
        except OSError as error:
            raise _refusal(f"{file.stem} can't be loaded", error, log, _LOAD_REMEDIES) from error
    return True


def _check_in_force(name: str, parameters: Mapping[str, str], root: Path) -> None:
    for parameter, value in parameters.items():
        present = _read(root / "sys/module" / name / "parameters" / parameter)
        if present != value:
            raise KernelModuleError(
                f"{name} is already loaded with {parameter}={present}", "logtrace kmod unload"
            )


def unload(
    module: str | None = None,
    *,
    root: Path = _ROOT,
    delete: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Unload a module, or all of them, the dependent ones first.

    Parameters
    ----------
    module
        The one module to unload, by default all that are loaded.
    root
        Where the machine's files are.
    delete
        Take a module out of the kernel by name; by default ``delete_module``.

    Returns
    -------
    tuple of str
        The modules that were unloaded, in that order; empty where none was loaded.

    Raises
    ------
    KernelModuleError
        If the kernel refuses, with what it said.
    """
    names = [module] if module else reversed(MODULES)
    loaded = [name for name in names if _status(name, None, root).loaded]
    for name in loaded:
        _unload_one(name, root, delete or _delete_module)
    return tuple(loaded)


def _unload_one(name: str, root: Path, delete: Callable[[str], None]) -> None:
    with _KernelLog(root) as log:
        try:
            delete(name)
        except OSError as error:
            users = ", ".join(_status(name, None, root).users)
            by = f", it is in use by {users}" if users else ""
            raise _refusal(f"{name} can't be unloaded{by}", error, log, _UNLOAD_REMEDIES) from error


def _finit_module(file: Path, parameters: str) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _system_call(_SYS_FINIT_MODULE, descriptor, parameters.encode(), 0)
    finally:
        os.close(descriptor)


def _delete_module(name: str) -> None:
    _system_call(_SYS_DELETE_MODULE, name.encode(), os.O_NONBLOCK)


def _system_call(number: int, *arguments: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


_ROOT_REMEDY = "run it as root; where you are root, see: logtrace doctor"
_SIGNED_REMEDY = (
    "this kernel takes signed modules only: let DKMS sign them (logtrace kmod install), and load"
    " them by modprobe iotracehooking; see docs/modules.md"
)
_LOAD_REMEDIES = {
    errno.EPERM: _ROOT_REMEDY,
    errno.EACCES: _ROOT_REMEDY,
    errno.ENOSYS: "this kernel can't load modules at all: use another kernel",
    errno.ENOEXEC: "it was built for another kernel: logtrace kmod build",
    errno.ENOENT: "load the module it needs first",
    errno.EKEYREJECTED: _SIGNED_REMEDY,
    errno.ENOKEY: _SIGNED_REMEDY,
    errno.EBUSY: "the system call's number is taken: give another one, and see: logtrace doctor",
}
_UNLOAD_REMEDIES = {
    errno.EPERM: _ROOT_REMEDY,
    errno.ENOSYS: "this kernel can't unload modules",
    errno.EAGAIN: "end what uses it first",
    errno.EBUSY: "end what uses it first",
}


def _refusal(
    what: str, error: OSError, log: _KernelLog, remedies: dict[int, str]
) -> KernelModuleError:
    said = "".join(f"; the kernel says: {line}" for line in log.new_lines()[-5:])
    code = error.errno or 0
    reason = os.strerror(code) if code else str(error)
    return KernelModuleError(f"{what}: {reason}{said}", remedies.get(code))


class _KernelLog:
    """What the kernel prints from here on; nothing where its log may not be read."""

    def __init__(self, root: Path) -> None:
        self._path = root / "dev/kmsg"
        self._descriptor: int | None = None

    def __enter__(self) -> _KernelLog:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError:
            self.__exit__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def new_lines(self) -> list[str]:
        lines = []
        while self._descriptor is not None:
            try:
                record = os.read(self._descriptor, 8192)
            except OSError:  # EAGAIN: no more records
                break
            if not record:
                break
            lines += [
                line.partition(";")[2] for line in record.decode(errors="replace").splitlines()[:1]
            ]
        return lines


# Looking


def status(folder: Path | None = None, *, root: Path = _ROOT) -> list[ModuleStatus]:
    """Say of each module how it stands.

    Parameters
    ----------
    folder
        Where built modules are, to compare the loaded ones with.
    root
        Where the machine's files are.

    Returns
    -------
    list of ModuleStatus
        One for each of `MODULES`, in that order.
    """
    return [_status(name, folder, root) for name in MODULES]


def _status(name: str, folder: Path | None, root: Path) -> ModuleStatus:
    here = root / "sys/module" / name
    if _read(here / "initstate") != "live":
        return ModuleStatus(name, loaded=False)
    holders, parameters = here / "holders", here / "parameters"
    return ModuleStatus(
        name,
        loaded=True,
        refcount=_number(here / "refcnt"),
        users=tuple(sorted(os.listdir(holders))) if holders.is_dir() else (),
        owner=_read(parameters / "owner"),
        version=_read(here / "version"),
        number=_number(parameters / "nr"),
        matches=_is_loaded_from(folder / f"{name}.ko", here) if folder else None,
        device=(root / DEVICE.relative_to("/")).exists() if name == HAS_DEVICE else None,
        wide=_switch(parameters / "wide"),
        detail=_switch(parameters / "detail"),
        follow=_switch(parameters / "follow"),
        files=_number(parameters / "files"),
    )


def _number(path: Path) -> int | None:
    text = _read(path)
    return None if text is None else int(text)


def _switch(path: Path) -> bool | None:
    text = _read(path)
    return None if text is None else text == "Y"


def _is_loaded_from(file: Path, here: Path) -> bool | None:
    try:
        return (here / "notes/.note.gnu.build-id").read_bytes() in file.read_bytes()
    except OSError:
        return None


def _parameters(file: Path) -> set[str]:
    """Read which parameters a module file takes, from its section .modinfo."""
    return {name.decode() for name in re.findall(rb"(?<=\0)parm=(\w+):", file.read_bytes())}


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
