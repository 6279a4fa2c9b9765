"""The script that builds the patched kernel."""

import tarfile

import pytest
from kernels import build_kernel, patched_kernel

pytestmark = pytest.mark.kernel

PATCHED = ("arch/x86/entry/syscalls/syscall_64.tbl", "include/linux/syscalls.h")


@pytest.fixture
def other_source(tmp_path):
    """The sources of a kernel that no patch fits."""
    tree = tmp_path / "linux"
    for name in ("Makefile", "Kbuild", *PATCHED):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("obj-y += init/\n")
    tarball = tmp_path / "linux.tar.xz"
    with tarfile.open(tarball, "w:xz") as archive:
        archive.add(tree, "linux")
    return tarball


def test_a_missing_source_names_the_package(tmp_path):
    done = build_kernel("--source", str(tmp_path / "missing.tar.xz"))
    assert done.returncode == 1
    assert "apt-get install linux-source-6.1" in done.stderr
    assert done.stdout == ""


def test_a_source_that_the_patch_does_not_fit_leaves_nothing_half_made(
    bootable, tmp_path, other_source
):
    cache = tmp_path / "cache"
    done = build_kernel("--source", str(other_source), LOGTRACE_CACHE=str(cache))
    assert done.returncode == 1
    assert "none of the patches fits" in done.stderr
    assert f"{other_source} can't be patched; nothing was built" in done.stderr
    assert done.stdout == ""
    assert [path.name for path in (cache / "kernels").iterdir() if path.is_dir()] == []


def test_each_kind_of_kernel_has_a_place_of_its_own(bootable, tmp_path, other_source):
    for options in ([], ["--sanitizer"], ["--sanitizer"]):
        build_kernel(*options, "--source", str(other_source), LOGTRACE_CACHE=str(tmp_path))
    assert len(list((tmp_path / "kernels").glob(".*.lock"))) == 2


def test_a_wrong_option_is_a_usage_error():
    assert build_kernel("--bogus").returncode == 2


def test_a_built_kernel_is_found_again(bootable):
    image, tree = patched_kernel()
    assert image.is_file()
    assert (image, tree) == patched_kernel()
