"""Keep the kernel modules built for every kernel that this machine gets, with DKMS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from logtrace import kmod
from logtrace.errors import KernelModuleError

NAME = "logtrace"
"""What DKMS calls the modules."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

_ROOT = Path("/")


def version() -> str:
    """Give the version under which DKMS keeps the modules: that of this logtrace."""
    return metadata.version("logtrace")


def install(kernel: str | None = None, *, root: Path = _ROOT, run: Run | None = None) -> Path:
    """Hand the sources to DKMS, which builds and installs the modules.

    DKMS builds them again for each kernel that is installed later, and signs them where the
    machine has a key for that. An installed module is loaded by ``modprobe iotracehooking``.

    Parameters
    ----------
    kernel
        Release of the kernel to build for now, by default the running one.
    root
        Where the machine's files are.
    run
        Runs a command and gives its output, by default as a process of its own.

    Returns
    -------
    pathlib.Path
        The folder where DKMS finds the sources.

    Raises
    ------
    KernelModuleError
        If DKMS is missing, its folder can't be written, or it fails.
    """
    folder = _folder(root, version())
    remove(root=root, run=run)
    try:
        kmod.copy_source(folder)
        (folder / "dkms.conf").write_text(configuration())
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise KernelModuleError(
            f"{folder} can't be written: {error.strerror}", "run it as root"
        ) from error
    release = kernel or os.uname().release
    _dkms(["install", f"{NAME}/{version()}", "-k", release], run, f"linux-headers-{release}")
    return folder


def remove(*, root: Path = _ROOT, run: Run | None = None) -> bool:
    """Take the modules and their sources away from DKMS, whatever version they have.

    Parameters
    ----------
    root
        Where the machine's files are.
    run
        Runs a command and gives its output, by default as a process of its own.

    Returns
    -------
    bool
        Whether DKMS had them.

    Raises
    ------
    KernelModuleError
        If DKMS is missing or fails.
    """
    status = _dkms(["status", NAME], run)
    versions = set(re.findall(rf"^{NAME}[/,] ?([^\s,:]+)", status, re.MULTILINE))
    for known in sorted(versions):
        _dkms(["remove", f"{NAME}/{known}", "--all"], run)
        shutil.rmtree(_folder(root, known), ignore_errors=True)
    return bool(versions)


def configuration() -> str:
    """Write what DKMS has to know, its ``dkms.conf``.

    Returns
    -------
    str
        The file's text.
    """
    modules = "".join(
        f'BUILT_MODULE_NAME[{number}]="{module}"\nDEST_MODULE_LOCATION[{number}]="/updates/dkms"\n'
        for number, module in enumerate(kmod.MODULES)
    )
    return (
        f'PACKAGE_NAME="{NAME}"\nPACKAGE_VERSION="{version()}"\nAUTOINSTALL="yes"\n'
        f'MAKE[0]="make modules KDIR=$kernel_source_dir"\n{modules}'
    )


def _folder(root: Path, number: str) -> Path:
    return root / "usr/src" / f"{NAME}-{number}"


def _dkms(arguments: Sequence[str], run: Run | None, *packages: str) -> str:
    needed = " ".join(("dkms", *packages))
    try:
        done = (run or _run)(["dkms", *arguments])
    except FileNotFoundError as error:
        raise KernelModuleError("dkms not found", f"apt-get install {needed}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        remedy = f"run it as root, with installed: {needed}"
        raise KernelModuleError(f"dkms {arguments[0]} failed:\n{tail}", remedy)
    return done.stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
