"""The kernels that the modules are tested on: how each is got, and how modules are built for it.

Run as a script it prints where a kernel's image is, or builds modules:

    python tests/kernel/kernels.py NAME
    python tests/kernel/kernels.py NAME make FOLDER [ARGUMENT]...
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import debian
import pytest

from logtrace import kmod, vm
from logtrace.errors import LogtraceError

KMOD = Path(__file__).parents[2] / "kmod"
MODULES = Path("/lib/modules")


def need(missing: str | None) -> None:
    if not missing:
        return
    if os.environ.get("LOGTRACE_REQUIRE_ALL") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass(frozen=True)
class Kernel:
    """An image and what modules for it are built with.

    Parameters
    ----------
    image
        What boots.
    tree
        Build tree for modules, as seen from inside the root.
    root
        A root folder that has the kernel's own compiler; None where this machine's does.
    slow
        Whether it checks itself so much that everything takes several times as long.
    """

    image: Path
    tree: Path
    root: Path | None = None
    slow: bool = False

    def make(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
        """Build the modules whose sources are in the folder, there."""
        place = folder if self.root is None else Path("/mnt")
        command = ["make", "-C", str(self.tree), f"M={place}", "modules", *arguments]
        if self.root:
            return debian.enter(self.root, folder, *command)
        return _run(command, stderr=subprocess.STDOUT)

    def compiler(self) -> str:
        """Give the first line of what the compiler says of itself."""
        command = ["gcc", "--version"]
        done = debian.enter(self.root, Path("/mnt"), *command) if self.root else _run(command)
        return done.stdout.splitlines()[0]

    def modules(self, folder: Path) -> Path:
        """Give a folder of built modules; it may be the empty one that is handed in."""
        if self.root is None:
            return kmod.build(self.tree)
        kmod.copy_source(folder)
        done = self.make(folder)
        assert done.returncode == 0, done.stdout
        return folder


def _run(command: list[str], **options) -> subprocess.CompletedProcess:
    # Inside another make its variables would reach this one.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        command,
        env=clean | {"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options,
    )


# The kernels by name


def stock_kernel() -> tuple[Path, Path]:
    image = vm.newest_kernel()
    return image, MODULES / image.name.removeprefix("vmlinuz-") / "build"


def build_kernel(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run kmod/kernel/build, with vng of this Python on its PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [KMOD / "kernel/build", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
    )


def patched_kernel(*arguments: str) -> tuple[Path, Path]:
    done = build_kernel(*arguments)
    need(done.stderr if done.returncode else None)
    tree = Path(done.stdout.strip())
    return tree / "arch/x86/boot/bzImage", tree


def _debian_kernel(name: str) -> Kernel:
    root = debian.root(name)
    (modules,) = (root / "lib/modules").iterdir()
    images = (root / "boot" / f"vmlinuz-{modules.name}", modules / "vmlinuz")
    (image,) = (image for image in images if image.exists())
    return Kernel(image, MODULES / modules.name / "build", root)


KERNELS: dict[str, Callable[[], Kernel]] = {
    "5.10": partial(_debian_kernel, "5.10"),
    "6.1": lambda: Kernel(*stock_kernel()),
    "6.12": partial(_debian_kernel, "6.12"),
    "newest": partial(_debian_kernel, "newest"),
    "patched": lambda: Kernel(*patched_kernel()),
    "sanitizer": lambda: Kernel(*patched_kernel("--sanitizer"), slow=True),
}
"""All of them; a path of an image names one more."""

DEFAULT = ("6.1", "patched", "newest")

HOST = "host"
"""In place of a kernel's name: the tests that boot none."""


def find(name: str) -> Kernel:
    """Get a kernel, unless it is there, by its name or by the path of its image.

    Raises
    ------
    LogtraceError
        If it can't be had here; the message says the remedy.
    """
    return KERNELS[name]() if name in KERNELS else _of_image(Path(name).resolve())


def _of_image(image: Path) -> Kernel:
    if image.name == "bzImage":
        return Kernel(image, image.parents[3])
    release = image.name.removeprefix("vmlinuz-")
    release = image.parent.name if release == image.name else release
    tree = MODULES / release / "build"
    if not image.is_file() or not tree.exists():
        raise LogtraceError(
            f"no kernel is called {image}, or no headers are in {tree}",
            f"name one of {', '.join(KERNELS)}, or a vmlinuz whose headers are installed",
        )
    return Kernel(image, tree)


def main(name: str, *command: str) -> int:
    kernel = find(name)
    if not command:
        print(kernel.image)
        return 0
    _, folder, *arguments = command
    done = kernel.make(Path(folder).resolve(), *arguments)
    print(done.stdout, end="")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
