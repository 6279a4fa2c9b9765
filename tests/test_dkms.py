import os
import re
import subprocess

import pytest

from logtrace import dkms, kmod
from logtrace.errors import KernelModuleError

KNOWN = f"logtrace/{dkms.version()}, 6.1.0-56-amd64, x86_64: installed\n"


class Dkms:
    """A DKMS that notes what it is asked to do."""

    def __init__(self, status="", refuses=None):
        self.status = status
        self.refuses = refuses
        self.calls = []

    def __call__(self, command):
        assert command[0] == "dkms"
        self.calls.append(command[1:])
        if command[1] == self.refuses:
            return subprocess.CompletedProcess(command, 3, "Error! Bad return status\n", None)
        return subprocess.CompletedProcess(
            command, 0, self.status if command[1] == "status" else "done\n", None
        )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "usr/src" / f"logtrace-{dkms.version()}"


def test_the_sources_are_handed_over_with_their_configuration(tmp_path, folder):
    run = Dkms()
    assert dkms.install("6.1.0-56-amd64", root=tmp_path, run=run) == folder
    assert run.calls[-1] == ["install", f"logtrace/{dkms.version()}", "-k", "6.1.0-56-amd64"]
    assert (folder / "Kbuild").read_bytes() == (kmod.source() / "Kbuild").read_bytes()
    assert (folder / "dkms.conf").read_text() == dkms.configuration()


def test_everything_that_a_build_includes_is_handed_over(tmp_path, folder):
    dkms.install("6.1.0-56-amd64", root=tmp_path, run=Dkms())
    handed = {path.name for path in folder.iterdir()}
    sources = [path for path in folder.iterdir() if path.suffix in (".c", ".h")]
    included = {
        name
        for path in sources
        for name in re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)
    }
    kbuild = (folder / "Kbuild").read_text()
    objects = {f"{name}.c" for name in re.findall(r"(\w+)\.o\b", kbuild)} - {
        f"{name}.c" for name in re.findall(r"^(\w+)-y", kbuild, re.MULTILINE)
    }
    probes = {f"{name}.c" for name in re.findall(r"call answer,(compat_\w+)", kbuild)}
    assert "os_ftrace.h" in included
    assert "compat_group_dead.c" in probes
    assert included | objects | probes <= handed


def test_nothing_is_handed_over_that_no_build_needs(tmp_path, folder):
    dkms.install("6.1.0-56-amd64", root=tmp_path, run=Dkms())
    suffixes = {path.suffix for path in folder.iterdir()}
    assert suffixes <= {".c", ".h", ".conf", ""}
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_every_new_kernel_gets_the_modules():
    assert 'AUTOINSTALL="yes"' in dkms.configuration().splitlines()


def test_the_running_kernel_is_the_one_built_for_first(tmp_path):
    run = Dkms()
    dkms.install(root=tmp_path, run=run)
    assert run.calls[-1][-1] == os.uname().release


def test_every_module_is_configured():
    lines = dkms.configuration().splitlines()
    assert [line for line in lines if line.startswith("BUILT_MODULE_NAME")] == [
        'BUILT_MODULE_NAME[0]="os_ftracehooking"',
        'BUILT_MODULE_NAME[1]="ftracehooking"',
        'BUILT_MODULE_NAME[2]="iotracehooking"',
    ]


def test_an_earlier_installation_is_replaced(tmp_path, folder):
    folder.mkdir(parents=True)
    (folder / "old.c").write_text("")
    run = Dkms(status=KNOWN)
    dkms.install("6.1.0-56-amd64", root=tmp_path, run=run)
    assert [call[0] for call in run.calls] == ["status", "remove", "install"]
    assert not (folder / "old.c").exists()


def test_what_is_removed_leaves_no_sources(tmp_path, folder):
    run = Dkms(status=KNOWN)
    folder.mkdir(parents=True)
    assert dkms.remove(root=tmp_path, run=run)
    assert run.calls[-1] == ["remove", f"logtrace/{dkms.version()}", "--all"]
    assert not folder.exists()


@pytest.mark.parametrize("line", ["logtrace/0.0.9, 6.1.0: added\n", "logtrace, 0.0.9: added\n"])
def test_other_versions_are_removed_too(tmp_path, line):
    run = Dkms(status=line + KNOWN)
    (tmp_path / "usr/src/logtrace-0.0.9").mkdir(parents=True)
    assert dkms.remove(root=tmp_path, run=run)
    removed = [call[1] for call in run.calls if call[0] == "remove"]
    assert removed == ["logtrace/0.0.9", f"logtrace/{dkms.version()}"]
    assert list((tmp_path / "usr/src").iterdir()) == []


def test_removing_what_was_not_installed_does_nothing(tmp_path):
    run = Dkms()
    assert not dkms.remove(root=tmp_path, run=run)
    assert [call[0] for call in run.calls] == ["status"]


def test_a_failure_tells_the_end_of_the_output_and_the_packages(tmp_path):
    with pytest.raises(KernelModuleError, match="Bad return status") as raised:
        dkms.install("6.1.0-56-amd64", root=tmp_path, run=Dkms(refuses="install"))
    assert "dkms linux-headers-6.1.0-56-amd64" in raised.value.remedy


def test_a_missing_dkms_is_told_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelModuleError, match="dkms not found") as raised:
        dkms.remove(root=tmp_path)
    assert raised.value.remedy == "apt-get install dkms"
