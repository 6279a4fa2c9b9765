import errno
import os
import subprocess

import pytest

from logtrace import kmod, ways
from logtrace.errors import TraceError
from logtrace.ways import Options

# No kernel has that many system calls: it answers ENOSYS and does nothing.
UNUSED = 4000


@pytest.fixture
def machine(tmp_path):
    """Give the root of a machine with both tracing modules loaded, but no device."""
    (tmp_path / "sys/module/iotracehooking").mkdir(parents=True)
    (tmp_path / "sys/module/ftracehooking/parameters").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_ni_syscall\n")
    return tmp_path


def give_number(machine, number):
    (machine / "sys/module/ftracehooking/parameters/nr").write_text(f"{number}\n")


def refuse_device(monkeypatch, code):
    # Root may open anything: only the kernel itself could refuse it.
    def refused(path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(ways, "Device", refused)


def test_the_requests_are_those_of_the_header(tmp_path):
    source = tmp_path / "requests.c"
    source.write_text(
        '#include <stdio.h>\n#include "os_ftrace.h"\n'
        "int main(void)\n{\n"
        'printf("%x %x %zu %d %d %d %s", (int)OS_FTRACE_START, (int)OS_FTRACE_STOP,\n'
        "       sizeof(struct os_ftrace_request), OS_FTRACE_WIDE, OS_FTRACE_DETAIL,\n"
        "       OS_FTRACE_FOLLOW, OS_FTRACE_DEVICE);\nreturn 0;\n}\n"
    )
    program = tmp_path / "requests"
    options = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{kmod.source()}"]
    subprocess.run(["gcc", *options, "-o", program, source], check=True)
    told = subprocess.run([program], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert told == (
        f"{ways.START_REQUEST:x} {ways.STOP_REQUEST:x} 8 "
        f"{Options.WIDE:d} {Options.DETAIL:d} {Options.FOLLOW:d} {ways.DEVICE}"
    )


def test_the_device_comes_first(machine):
    give_number(machine, UNUSED)
    (machine / "dev/os_ftrace").write_text("")
    way = ways.find_way(root=machine)
    assert isinstance(way, ways.Device)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
        way.start(1, Options.NONE)  # that file is no device
    way.close()


def test_the_device_is_not_inherited_by_programs(machine):
    (machine / "dev/os_ftrace").write_text("")
    way = ways.find_way(root=machine)
    listing = ["ls", "-l", "/proc/self/fd"]
    told = subprocess.run(listing, close_fds=False, stdout=subprocess.PIPE, check=True).stdout
    way.close()
    assert b"os_ftrace" not in told


def test_without_the_device_the_system_call_in_force_is_called(machine):
    give_number(machine, UNUSED)
    way = ways.find_way(root=machine)
    for act in (lambda: way.start(1, Options.NONE), lambda: way.stop(0, Options.NONE)):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
            act()


def test_the_system_call_takes_no_options_and_no_other_process(machine):
    give_number(machine, UNUSED)
    way = ways.find_way(root=machine)
    for act in (
        lambda: way.start(1, Options.WIDE),
        lambda: way.stop(0, Options.FOLLOW),
        lambda: way.stop(1, Options.NONE),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            act()


def test_where_only_the_system_call_is_there_the_remedy_for_the_device_is_named(machine):
    give_number(machine, UNUSED)
    with pytest.raises(TraceError, match="/dev/os_ftrace can't be opened: No such file") as raised:
        ways.find_way(only_device=True, root=machine)
    assert "--device /dev/os_ftrace" in raised.value.remedy


def test_a_device_that_others_may_open_leaves_the_system_call(machine, monkeypatch):
    give_number(machine, UNUSED)
    refuse_device(monkeypatch, errno.EACCES)
    assert isinstance(ways.find_way(root=machine), ways.SystemCall)
    with pytest.raises(TraceError, match="Permission denied") as raised:
        ways.find_way(only_device=True, root=machine)
    assert "ls -l /dev/os_ftrace" in raised.value.remedy


def test_where_the_module_answers_no_number_only_the_device_is_left(machine):
    give_number(machine, 0)
    assert ways.number_in_force(machine) is None
    with pytest.raises(TraceError, match="/dev/os_ftrace can't be opened"):
        ways.find_way(root=machine)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV, errno.ENXIO])
def test_nothing_is_called_while_the_tracing_module_is_not_loaded(tmp_path, monkeypatch, code):
    refuse_device(monkeypatch, code)
    for only_device in (False, True):
        with pytest.raises(TraceError, match="ftracehooking is not loaded") as raised:
            ways.find_way(only_device=only_device, root=tmp_path)
        assert "kmod load" in raised.value.remedy


def test_another_s_module_is_called_by_the_number_of_the_lab(machine):
    assert ways.number_in_force(machine) == 336


def test_another_s_module_is_not_called_where_the_number_is_uprobe(machine):
    (machine / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobe\n")
    with pytest.raises(TraceError, match="336 is uprobe"):
        ways.find_way(root=machine)


def test_a_symbol_that_only_begins_like_uprobe_is_not_uprobe(machine):
    (machine / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobes\n")
    assert not ways.number_is_uprobe(machine)


def test_a_module_with_another_number_is_called_although_336_is_uprobe(machine):
    (machine / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobe\n")
    give_number(machine, UNUSED)
    assert ways.number_in_force(machine) == UNUSED
