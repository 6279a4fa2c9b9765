"""The kernels that are booted: the distribution's and the patched one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from logtrace import vm

KMOD = Path(__file__).parents[2] / "kmod"


def need(missing: str | None) -> None:
    if not missing:
        return
    if os.environ.get("LOGTRACE_REQUIRE_ALL") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def stock_kernel() -> tuple[Path, Path]:
    image = vm.newest_kernel()
    return image, Path("/lib/modules") / image.name.removeprefix("vmlinuz-") / "build"


def build_kernel(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run kmod/kernel/build, with vng of this Python on its PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [KMOD / "kernel/build", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **environment},
    )


def patched_kernel() -> tuple[Path, Path]:
    done = build_kernel()
    need(done.stderr if done.returncode else None)
    tree = Path(done.stdout.strip())
    return tree / "arch/x86/boot/bzImage", tree
