import errno
import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest

from logtrace import doctor

RELEASE = "6.1.0-56-amd64"
CONFIG = "".join(f"CONFIG_{option}=y\n" for option in doctor.NEEDED_OPTIONS)


def deny(code):
    def ask():
        raise OSError(code, os.strerror(code))

    return ask


@pytest.fixture
def machine(tmp_path):
    """Give a machine on which everything works but that no module is loaded."""
    files = {
        f"lib/modules/{RELEASE}/build/Makefile": "",
        f"boot/config-{RELEASE}": CONFIG,
        "proc/modules": "",
        "proc/kallsyms": "0000000000000000 T __x64_sys_ni_syscall\n",
        "proc/sys/kernel/modules_disabled": "0\n",
        "proc/sys/kernel/dmesg_restrict": "1\n",
        "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
        "sys/module/module/parameters/sig_enforce": "N\n",
        "dev/kmsg": "",
    }
    for name, text in files.items():
        write(tmp_path / name, text)
    return doctor.Machine(
        root=tmp_path,
        release=RELEASE,
        find_tool=lambda name: f"/usr/bin/{name}",
        missing_packages=list,
        ring_bytes=lambda: 256 * 1024,
        watch_module_events=lambda: None,
        watch_files=lambda: None,
    )


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def look(machine, name):
    """Give the one check of that name."""
    (check,) = [check for check in doctor.examine(machine=machine) if check.name == name]
    return check


def load(machine, *modules, number=336):
    for module in modules:
        write(machine.root / "sys/module" / module / "initstate", "live\n")
    if "ftracehooking" in modules:
        write(machine.root / "sys/module/ftracehooking/parameters/nr", f"{number}\n")
        write(machine.root / "dev/os_ftrace", "")


def test_a_machine_with_the_modules_loaded_is_in_order(machine, tmp_path):
    load(machine, "ftracehooking", "iotracehooking")
    checks = doctor.examine(tmp_path / "store", machine)
    assert [check for check in checks if check.state != "ok"] == []
    assert [check for check in checks if check.remedy] == []


def test_whatever_is_not_in_order_has_a_remedy(tmp_path):
    bare = doctor.Machine(
        root=tmp_path,
        release=RELEASE,
        python=(3, 10, 4),
        find_tool=lambda name: None,
        missing_packages=lambda: ["duckdb"],
        ring_bytes=deny(errno.EPERM),
        watch_module_events=deny(errno.EPERM),
        watch_files=deny(errno.EMFILE),
    )
    checks = doctor.examine(Path("/proc/store"), bare)
    assert [check for check in checks if check.state == "ok" or not check.remedy] == []


def test_this_machine_is_examined(tmp_path):
    checks = doctor.examine(tmp_path)
    assert {check.state for check in checks} <= {"ok", "warning", "failed"}
    assert checks[0] == doctor.Check("python", "ok", checks[0].found)


def test_an_old_python_is_told_with_its_version(machine):
    check = look(replace(machine, python=(3, 10, 4)), "python")
    assert (check.state, check.found) == ("failed", "Python 3.10.4")


def test_packages_that_are_missing_are_named(machine):
    check = look(replace(machine, missing_packages=lambda: ["duckdb", "rich"]), "packages")
    assert (check.state, check.remedy) == ("failed", "pip install duckdb rich")


def test_requirements_of_extras_are_not_missed(monkeypatch):
    wanted = ["pytest>=8", "no-such.package>=1", 'other-package>=2; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    assert doctor.missing_packages() == ["no-such.package"]


def test_missing_headers_are_told_with_their_package(machine):
    (machine.root / f"lib/modules/{RELEASE}/build/Makefile").unlink()
    check = look(machine, "kernel headers")
    assert check.state == "warning"
    assert check.remedy == f"apt-get install linux-headers-{RELEASE}"


def test_a_missing_compiler_is_named(machine):
    check = look(replace(machine, find_tool={"make": "/bin/make"}.get), "compiler")
    assert (check.state, check.remedy) == ("warning", "apt-get install gcc")


def test_the_kernel_s_own_configuration_is_believed_before_the_one_in_boot(machine):
    without = CONFIG.replace("CONFIG_KPROBES=y", "# CONFIG_KPROBES is not set")
    (machine.root / "proc/config.gz").write_bytes(gzip.compress(without.encode()))
    check = look(machine, "kernel configuration")
    assert check.state == "failed"
    assert "CONFIG_KPROBES" in check.found
    assert "CONFIG_TRACEPOINTS" not in check.found


def test_an_unreadable_configuration_is_not_guessed(machine):
    (machine.root / f"boot/config-{RELEASE}").unlink()
    assert look(machine, "kernel configuration").state == "warning"


@pytest.mark.parametrize(
    ("path", "text", "state", "word"),
    [
        ("proc/sys/kernel/modules_disabled", "1\n", "failed", "modules_disabled"),
        ("sys/module/module/parameters/sig_enforce", "Y\n", "warning", "sig_enforce"),
        ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n", "warning", "lockd"),
    ],
)
def test_what_keeps_modules_out_is_named(machine, path, text, state, word):
    (machine.root / path).write_text(text)
    check = look(machine, "module loading")
    assert (check.state, word in check.found) == (state, True)


def test_a_kernel_without_loadable_modules_is_told(machine):
    (machine.root / "proc/modules").unlink()
    assert look(machine, "module loading").state == "failed"


def test_a_kernel_without_lockdown_loads_modules(machine):
    (machine.root / "sys/kernel/security/lockdown").unlink()
    assert look(machine, "module loading").state == "ok"


@pytest.mark.parametrize(
    ("symbol", "state", "word"),
    [
        ("__x64_sys_uprobe", "warning", "uprobe"),
        ("__x64_sys_os_ftrace", "ok", "os_ftrace"),
        ("__x64_sys_read", "ok", "free"),
    ],
)
def test_who_has_the_number_is_told(machine, symbol, state, word):
    (machine.root / "proc/kallsyms").write_text(f"0000000000000000 T {symbol}\n")
    check = look(machine, "system call")
    assert (check.state, word in check.found) == (state, True)


@pytest.mark.parametrize(("number", "word"), [(336, "336 is answered"), (0, "none is answered")])
def test_the_number_that_a_loaded_module_answers_is_told(machine, number, word):
    load(machine, "ftracehooking", "iotracehooking", number=number)
    check = look(machine, "system call")
    assert (check.state, check.found.startswith(word)) == ("ok", True)


def test_that_no_number_is_answered_is_explained(machine):
    (machine.root / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobe\n")
    load(machine, "ftracehooking", number=0)
    assert "336 is uprobe" in look(machine, "system call").found


def test_the_device_comes_with_the_modules(machine):
    check = look(machine, "device")
    assert (check.state, check.remedy) == ("warning", "sudo logtrace kmod load")
    load(machine, "ftracehooking")
    assert look(machine, "device") == doctor.Check("device", "ok", "/dev/os_ftrace")


def test_a_device_that_a_container_was_not_given_is_told_with_the_remedy(machine):
    load(machine, "ftracehooking")
    (machine.root / "dev/os_ftrace").unlink()
    check = look(machine, "device")
    assert (check.state, "--device /dev/os_ftrace" in check.remedy) == ("warning", True)


def test_a_device_that_others_may_open_is_told(machine, monkeypatch):
    load(machine, "ftracehooking")
    # Root may open anything: only the kernel itself could refuse it.
    monkeypatch.setattr(os, "access", lambda path, mode: "os_ftrace" not in str(path))
    check = look(machine, "device")
    assert (check.state, "ls -l /dev/os_ftrace" in check.remedy) == ("warning", True)


def lock(machine, *, secure_boot=True):
    (machine.root / "sys/kernel/security/lockdown").write_text("none [integrity] confidentiality\n")
    variable = machine.root / doctor._SECURE_BOOT
    variable.parent.mkdir(parents=True)
    variable.write_bytes(b"\6\0\0\0" + bytes([secure_boot]))


def test_secure_boot_is_named_where_it_is_the_reason(machine):
    lock(machine)
    assert "(Secure Boot, lockdown)" in look(machine, "module loading").found


def test_without_a_key_of_dkms_the_remedy_is_dkms(machine):
    lock(machine, secure_boot=False)
    check = look(machine, "module loading")
    assert "(lockdown)" in check.found
    assert "kmod install" in check.remedy


@pytest.mark.parametrize(
    ("enrolled", "state", "remedy"),
    [(True, "ok", None), (None, "ok", None), (False, "warning", "mokutil --import")],
)
def test_a_key_of_dkms_has_to_be_enrolled(machine, enrolled, state, remedy):
    lock(machine)
    write(machine.root / "var/lib/dkms/mok.pub", "key")
    asked = []
    changed = replace(machine, key_is_enrolled=lambda key: asked.append(key) or enrolled)
    check = look(changed, "module loading")
    assert (check.state, remedy in check.remedy if remedy else check.remedy) == (
        state,
        True if remedy else None,
    )
    assert asked == [machine.root / "var/lib/dkms/mok.pub"]


@pytest.mark.parametrize(
    ("said", "enrolled"),
    [
        ("/k is already enrolled", True),
        ("/k is not enrolled", False),
        ("EFI variables are not supported on this system", None),
    ],
)
def test_mokutil_is_asked_for_the_key(tmp_path, monkeypatch, said, enrolled):
    tool = tmp_path / "mokutil"
    tool.write_text(f'#!/bin/sh\n[ "$1 $2" = "--test-key /k" ] && echo "{said}"\nexit 1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert doctor.key_is_enrolled(Path("/k")) is enrolled


def test_without_mokutil_nothing_is_known_of_keys(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.key_is_enrolled(Path("/k")) is None


def test_a_loaded_parent_without_its_child_does_not_trace(machine):
    load(machine, "ftracehooking")
    check = look(machine, "modules")
    assert check.state == "warning"
    assert "loaded: ftracehooking" in check.found


def test_a_kernel_log_that_may_not_be_read_is_told_with_the_reason(machine, monkeypatch):
    # Root may open anything: only the kernel itself could refuse it.
    monkeypatch.setattr(os, "open", lambda *_: deny(errno.EPERM)())
    check = look(machine, "kernel log")
    assert check.state == "failed"
    assert check.found == "/dev/kmsg may not be read (kernel.dmesg_restrict=1)"
    assert "CAP_SYSLOG" in check.remedy


def test_a_machine_without_a_kernel_log_is_told(machine):
    (machine.root / "dev/kmsg").unlink()
    check = look(machine, "kernel log")
    assert (check.state, "No such file" in check.found) == ("failed", True)


def test_a_small_ring_buffer_is_a_warning(machine):
    check = look(replace(machine, ring_bytes=lambda: 64 * 1024), "ring buffer")
    assert (check.state, check.remedy) == ("warning", "boot with log_buf_len=1M")


def test_a_missing_libudev_is_told_with_its_package(machine):
    def no_libudev():
        raise ImportError("No library named udev")

    check = look(replace(machine, watch_module_events=no_libudev), "module events")
    assert (check.state, check.remedy) == ("warning", "apt-get install libudev1")


def test_a_used_up_inotify_is_told(machine):
    check = look(replace(machine, watch_files=deny(errno.EMFILE)), "file events")
    assert (check.state, "Too many open files" in check.found) == ("warning", True)


def test_what_the_virtual_machine_lacks_is_named(machine):
    found = {"vng": "/bin/vng", "file": "/bin/file"}
    check = look(replace(machine, find_tool=found.get), "virtual machine")
    assert check.state == "warning"
    assert check.remedy == "apt-get install qemu-system-x86 && apt-get install busybox-static"


def test_a_store_that_is_a_file_cannot_be_written(machine, tmp_path):
    write(tmp_path / "store", "")
    check = doctor.examine(tmp_path / "store", machine)[-1]
    assert (check.name, check.state) == ("store", "failed")


def test_a_store_is_not_created_by_looking_at_it(machine, tmp_path):
    doctor.examine(tmp_path / "new" / "store", machine)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_a_warning(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "FREE_BYTES", 1 << 62)
    assert doctor.examine(tmp_path, machine)[-1].state == "warning"
