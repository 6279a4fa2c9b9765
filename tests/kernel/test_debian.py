"""How kernels of other Debian releases are got; a stand-in unpacks nothing."""

import os
import shutil
from pathlib import Path

import debian
import pytest
from debian import DebianKernelError
from kernels import need

MMDEBSTRAP = """\
#!/bin/sh
echo run >> "$(dirname "$0")/runs"
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
for folder; do
    if [ -d "$folder" ]; then mkdir -p "$folder/usr/bin" "$folder/boot"; fi
done
"""
UNREACHABLE = """\
#!/bin/sh
echo 'E: Could not connect to mirror.test' >&2
exit 1
"""
APT = """\
#!/bin/sh
echo 'Debian|Debian|http://mirror.test/debian/'
echo 'Somebody|Else|http://else.test/debian/'
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A function that puts a program on the PATH; root's rights and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def put(name, script):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
        debian._configured_mirrors.cache_clear()
        return folder

    yield put
    debian._configured_mirrors.cache_clear()


def test_a_kernel_is_unpacked_once(tools):
    folder = tools("mmdebstrap", MMDEBSTRAP)
    first = debian.root("5.10")
    assert (first / "boot").is_dir()
    assert debian.root("5.10") == first != debian.root("6.12")
    assert (folder / "runs").read_text().splitlines() == ["run"] * 2


def test_the_mirrors_are_those_of_this_machine_where_it_has_any(tools):
    tools("mmdebstrap", MMDEBSTRAP)
    folder = tools("apt-get", APT)
    debian.root("newest")
    assert (folder / "arguments").read_text().splitlines()[-3:] == [
        "deb http://mirror.test/debian/ trixie main",
        f"deb {debian.FALLBACK_MIRROR}/debian-security trixie-security main",
        "deb http://mirror.test/debian/ trixie-backports main",
    ]


def test_a_mirror_that_does_not_answer_is_told_and_leaves_nothing_half_made(tools, tmp_path):
    tools("mmdebstrap", UNREACHABLE)
    with pytest.raises(DebianKernelError, match="Could not connect") as caught:
        debian.root("5.10")
    assert "mirror" in caught.value.remedy
    assert list((tmp_path / "cache/debian").iterdir()) == []


def test_without_mmdebstrap_the_package_is_named(tools, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DebianKernelError) as caught:
        debian.root("5.10")
    assert caught.value.remedy == "apt-get install mmdebstrap"


def test_without_root_the_remedy_is_named(tools, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DebianKernelError, match="run this as root"):
        debian.root("5.10")
    with pytest.raises(DebianKernelError, match="run this as root"):
        debian.enter(Path("/"), Path("/tmp"), "true")


@pytest.mark.kernel
def test_a_command_inside_a_root_finds_the_folder_and_leaves_nothing_mounted(tmp_path):
    need("only root can enter a root folder" if os.geteuid() else None)
    before = Path("/proc/self/mountinfo").read_text()
    (tmp_path / "here").touch()
    done = debian.enter(Path("/"), tmp_path, "sh", "-c", "ls /mnt; echo $0 >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "here\nsh\n")
    assert Path("/proc/self/mountinfo").read_text() == before
