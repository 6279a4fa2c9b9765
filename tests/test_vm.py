"""What of the virtual machine needs no guest: a stand-in runs the agent on this machine."""

import os
import platform
import re
import shutil
import sys
from pathlib import Path

import pytest

from logtrace import vm
from logtrace.errors import GuestError

# Runs the agent that it is to run in the guest, but for the line that sets up a kernel.
STAND_IN = """\
#!/bin/sh
echo "$@" > "$(dirname "$0")/arguments"
echo "[    0.000000] Linux version 6.1" >&2
for agent; do :; done
eval "set -- ${agent#exec sh }"
exec sh -c "$(grep -v /proc/sys "$1")" agent "$2"
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder of kernels and of headers, and a function that adds one of each."""
    boot, modules = tmp_path / "boot", tmp_path / "modules"
    boot.mkdir()

    def add(release, *, headers=True, age=0):
        image = boot / f"vmlinuz-{release}"
        image.touch()
        os.utime(image, (10**9 - age, 10**9 - age))
        if headers:
            (modules / release / "build").mkdir(parents=True)

    add.folders = boot, modules
    return add


@pytest.fixture
def vng(tmp_path, monkeypatch):
    script = tmp_path / "bin" / "vng"
    script.parent.mkdir()
    script.write_text(STAND_IN)
    script.chmod(0o755)
    monkeypatch.setattr(vm, "_virtme_ng", lambda: script)
    return script


def guest(tmp_path, **options):
    return vm.Guest(Path("/boot/vmlinuz"), tmp_path / "shared", boot_timeout=30, **options)


# What is needed


def test_the_newest_kernel_with_headers_is_taken(machine):
    machine("6.1.0-50", age=200)
    machine("6.1.0-56", age=100)
    machine("6.1.0-57", headers=False)
    assert vm.newest_kernel(*machine.folders).name == "vmlinuz-6.1.0-56"


def test_of_kernels_installed_together_the_name_decides(machine):
    machine("6.1.0-56")
    machine("6.1.0-57")
    assert vm.newest_kernel(*machine.folders).name == "vmlinuz-6.1.0-57"


def test_without_a_kernel_with_headers_the_remedy_is_named(machine):
    machine("6.1.0-57", headers=False)
    with pytest.raises(GuestError) as caught:
        vm.newest_kernel(*machine.folders)
    assert "linux-headers" in caught.value.remedy


@pytest.fixture
def nothing_missing(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda program, path=None: f"/usr/bin/{program}")
    monkeypatch.setattr(vm, "newest_kernel", lambda: Path("/boot/vmlinuz"))


def test_nothing_is_missing_where_all_is_there(nothing_missing):
    assert vm.missing_requirement() is None


def test_what_is_missing_is_named_with_the_remedy(nothing_missing, monkeypatch):
    def no_kernel():
        raise GuestError("no kernel with headers in /boot", "apt-get install linux-image-amd64")

    monkeypatch.setattr(vm, "newest_kernel", no_kernel)
    assert "apt-get install linux-image-amd64" in vm.missing_requirement()
    monkeypatch.setattr(vm, "_virtme_ng", lambda: None)
    assert "logtrace[vm]" in vm.missing_requirement()
    monkeypatch.setattr(shutil, "which", lambda program, path=None: None)
    assert "qemu-system-x86" in vm.missing_requirement()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "aarch64" in vm.missing_requirement()


def test_only_folders_that_the_guest_hides_are_handed_in(tmp_path):
    hidden = {Path("/var/tmp/a"), Path("/run/user/0"), Path("/dev/shm/x")}
    seen = {Path("/usr/lib"), Path("/var/lib"), Path("/var/tmpfiles"), tmp_path.parent.root}
    assert vm._hidden(map(Path, (*hidden, *seen))) == {path.resolve() for path in hidden}


def test_a_guest_applies_only_the_udev_rules_that_its_boot_needs(tmp_path, vng, monkeypatch):
    rules = tmp_path / "rules.d"
    rules.mkdir()
    for name in ("50-udev-default.rules", "60-persistent-storage.rules", "80-drivers.rules"):
        (rules / name).write_text(f"# {name}\n")
    monkeypatch.setattr(vm, "_UDEV_RULES", rules)
    with guest(tmp_path):
        arguments = (vng.parent / "arguments").read_text()
        (folder,) = re.findall(rf"--rodir={rules}=(\S+)", arguments)
        copied = {path.name: path.read_text() for path in Path(folder).iterdir()}
    assert copied == {
        "50-udev-default.rules": "# 50-udev-default.rules\n",
        "80-drivers.rules": "# 80-drivers.rules\n",
    }


def test_where_there_are_no_such_rules_a_guest_sees_what_there_is(tmp_path, vng, monkeypatch):
    monkeypatch.setattr(vm, "_UDEV_RULES", tmp_path / "none")
    with guest(tmp_path):
        assert "udev" not in (vng.parent / "arguments").read_text()


# How a guest is spoken with


def test_a_command_hands_back_what_it_did(tmp_path, vng):
    with guest(tmp_path) as booted:
        done = booted.run("echo out; echo err >&2; exit 3", check=False)
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
        assert booted.run("printf 'a\\377b'").stdout == "a\udcffb"
        assert booted.run("cat").stdout == ""
        assert booted.run("true\nfalse\ntrue").returncode == 0


def test_a_command_that_fails_is_an_error_with_its_output(tmp_path, vng):
    with guest(tmp_path) as booted, pytest.raises(GuestError, match="status 2") as caught:
        booted.run("echo why; exit 2")
    assert "why" in str(caught.value)


def test_a_command_that_hangs_ends_the_guest(tmp_path, vng):
    with guest(tmp_path) as booted:
        with pytest.raises(GuestError, match=r"did not end within 0\.2 s") as caught:
            booted.run("sleep 1000", timeout=0.2)
        assert "Linux version" in str(caught.value)
        with pytest.raises(GuestError, match="not running"):
            booted.run("true")


def test_a_guest_that_stops_is_an_error_with_the_end_of_its_console(tmp_path, vng):
    with guest(tmp_path) as booted, pytest.raises(GuestError, match="the guest stopped") as caught:
        booted.run("kill -9 $PPID")
    assert "Linux version" in str(caught.value)


def test_a_guest_that_does_not_boot_is_an_error_with_its_console(tmp_path, vng):
    vng.write_text("#!/bin/sh\necho 'Kernel panic' >&2\n")
    with pytest.raises(GuestError, match="did not boot") as caught, guest(tmp_path):
        pass
    assert "Kernel panic" in str(caught.value)


def test_a_guest_is_switched_off_and_its_files_go(tmp_path, vng):
    with guest(tmp_path) as booted:
        pid = booted._process.pid
    assert not Path(f"/proc/{pid}").exists()
    assert list((tmp_path / "shared").iterdir()) == []


def test_this_python_and_what_is_named_are_handed_in_where_hidden(tmp_path, vng, monkeypatch):
    monkeypatch.setattr(vm, "_HIDDEN_IN_GUEST", (tmp_path, Path(sys.prefix)))
    with guest(tmp_path, folders=[tmp_path / "cache"], cpus=3, memory="2G"):
        pass
    arguments = (vng.parent / "arguments").read_text().split()
    assert f"--rodir={tmp_path}/cache" in arguments
    assert f"--rodir={Path(sys.prefix).resolve()}" in arguments
    assert f"--rwdir={tmp_path}/shared" in arguments
    assert arguments[arguments.index("--cpus") + 1] == "3"
    assert arguments[arguments.index("--memory") + 1] == "2G"
    assert "--disable-kvm" in arguments


def test_without_virtme_ng_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(vm, "_virtme_ng", lambda: None)
    with pytest.raises(GuestError, match="virtme-ng") as caught, guest(tmp_path):
        pass
    assert "pip install" in caught.value.remedy
