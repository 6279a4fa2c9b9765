"""What compiler, sparse and checkpatch have to say about the modules: nothing."""

import re
import shutil
import subprocess

import pytest
from kernels import KMOD, need, patched_kernel

from logtrace import kmod

pytestmark = pytest.mark.kernel


@pytest.fixture
def sources(tmp_path):
    kmod.copy_source(tmp_path)
    return tmp_path


def complaints(output: str) -> list[str]:
    return re.findall(r"^.*\b(?:warning|error)\b.*$", output, re.IGNORECASE | re.MULTILINE)


def test_the_compiler_warns_of_nothing(kernel, sources):
    done = kernel.make(sources, "W=1")
    assert complaints(done.stdout) == []
    assert done.returncode == 0
    assert {path.stem for path in sources.glob("*.ko")} == set(kmod.MODULES)


def test_sparse_warns_of_nothing(kernel, sources):
    if kernel.root is None:
        need(None if shutil.which("sparse") else "sparse is not installed (apt-get install sparse)")
    done = kernel.make(sources, "C=2")
    if "sparse is not available" in done.stdout:
        pytest.skip("this kernel's headers lack the script that looks for sparse")
    assert "CHECK" in done.stdout
    assert complaints(done.stdout) == []


def test_the_style_is_that_of_the_kernel():
    _, tree = patched_kernel()
    files = sorted(KMOD.rglob("*.[ch]"))
    done = subprocess.run(
        [
            *("perl", tree / "scripts/checkpatch.pl", "--strict", "--no-tree"),
            *("--terse", "--no-summary", "--show-types", "--file", *files),
        ],
        capture_output=True,
        text=True,
    )
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0
