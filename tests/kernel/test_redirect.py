"""System call 336, with and without the module that answers it."""

import re

import pytest

pytestmark = pytest.mark.kernel

HOOKED = "os_ftrace() hooked! os_ftrace -> my_ftrace"
INFO = "info"
ANOTHER = 337


def call336(machine, times=1):
    """Run the exercise's program; give the pids it printed, or what it said went wrong."""
    done = machine.run("exercise/call336;" * times, check=False)
    return re.findall(r"^sys_os_ftrace success! PID: (\d+)$", done.stdout, re.MULTILINE) or (
        done.stderr.splitlines()
    )


def original_lines(machine, pids):
    """What the kernel's own function prints for calls by these pids."""
    if not machine.patched:
        return []
    return [(INFO, f"ORIGINAL ftrace() called! PID is [{pid}]") for pid in pids]


def hook(machine):
    """Load os_ftracehooking for a number that the kernel leaves free; give the number."""
    number = machine.number or ANOTHER
    machine.load("os_ftracehooking", parameter=f"nr={number}")
    return number


def test_the_kernels_own_call_logs_the_pid_of_each_caller_where_it_exists(machine):
    answers = call336(machine, times=3)
    if machine.patched:
        assert len(set(answers)) == 3
    elif machine.number:
        assert answers == ["sys_os_ftrace failed: Function not implemented"] * 3
    else:
        assert answers == ["336 is uprobe in this kernel, and os_ftracehooking is not loaded"] * 3
    assert machine.log() == original_lines(machine, answers)


def test_where_the_kernel_uses_the_number_itself_the_hook_is_refused(machine):
    if machine.number:
        pytest.skip("336 is free here")
    done = machine.run(f"insmod {machine.modules}/os_ftracehooking.ko", check=False)
    assert "Device or resource busy" in done.stderr
    assert [line.level for line in machine.log()] == ["err"]


def test_the_module_answers_in_place_of_the_kernel_until_it_is_unloaded(machine):
    before = call336(machine)
    machine.log()

    hook(machine)
    assert all(answer.isdigit() for answer in call336(machine, times=2))
    assert machine.log() == [(INFO, HOOKED)] * 2

    machine.unload()
    after = call336(machine)
    assert len(after) == len(before) == 1
    assert after[0].isdigit() == before[0].isdigit() == machine.patched
    assert machine.log() == original_lines(machine, after)


def test_other_unused_numbers_stay_unimplemented_while_a_module_is_loaded(machine):
    hook(machine)
    assert machine.calls("number:338", "number:340", "number:1000") == ["number ENOSYS"] * 3
    assert machine.log() == []


def test_a_32_bit_caller_is_left_to_the_kernel(machine):
    hook(machine)
    # For 32-bit programs 336 is perf_event_open(), which finds no attributes at the address.
    assert machine.calls("ia32-call") == ["ia32-call EFAULT"]
    assert machine.log() == []


def test_of_two_modules_the_one_loaded_last_answers(machine):
    number = hook(machine)
    machine.load("ftracehooking", parameter=f"nr={number}")
    machine.load("iotracehooking")
    assert machine.calls("end") == ["end ESRCH"]
    machine.run("rmmod iotracehooking ftracehooking")
    machine.loaded = ["os_ftracehooking"]
    assert machine.calls(f"number:{number}") == ["number 0"]
    assert machine.log() == [(INFO, HOOKED)]


def test_the_number_is_a_parameter_and_can_be_read_back(machine):
    machine.load("os_ftracehooking", parameter=f"nr={ANOTHER}")
    number = machine.run("cat /sys/module/os_ftracehooking/parameters/nr").stdout
    assert number == f"{ANOTHER}\n"
    assert machine.calls(f"number:{ANOTHER}", "number:338") == ["number 0", "number ENOSYS"]
    assert machine.log() == [(INFO, HOOKED)]
