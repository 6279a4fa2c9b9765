"""What compiler, sparse and checkpatch have to say about the modules: nothing."""

import os
import re
import shutil
import subprocess

import pytest
from kernels import KMOD, need, patched_kernel

from logtrace import kmod

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def build(kernel, tmp_path_factory):
    """What a build with all checks says, and its folder."""
    if kernel.root is None:
        need(None if shutil.which("sparse") else "sparse is not installed (apt-get install sparse)")
    folder = tmp_path_factory.mktemp("checked")
    kmod.copy_source(folder)
    return kernel.make(folder, "W=1", "C=2", f"-j{os.cpu_count()}"), folder


def complaints(output: str) -> list[str]:
    return re.findall(r"^.*\b(?:warning|error)\b.*$", output, re.IGNORECASE | re.MULTILINE)


def test_neither_the_compiler_nor_sparse_warns_of_anything(build):
    done, folder = build
    assert complaints(done.stdout) == []
    assert done.returncode == 0
    assert {path.stem for path in folder.glob("*.ko")} == set(kmod.MODULES)


def test_sparse_looks_at_every_file(build):
    done, folder = build
    if "sparse is not available" in done.stdout:
        pytest.skip("this kernel's headers lack the script that looks for sparse")
    checked = re.findall(r"^  CHECK +(?:.*/)?(\w+)\.c$", done.stdout, re.MULTILINE)
    compiled = [path.stem for path in folder.glob("*.o") if path.with_suffix(".c").exists()]
    assert sorted(checked) == sorted(name for name in compiled if not name.endswith(".mod"))


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
