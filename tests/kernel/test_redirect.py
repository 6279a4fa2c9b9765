"""System call 336, with and without the module that answers it."""

import re

import pytest

pytestmark = pytest.mark.kernel

HOOKED = "os_ftrace() hooked! os_ftrace -> my_ftrace"
INFO = "info"


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


def test_the_kernels_own_call_logs_the_pid_of_each_caller_where_it_exists(machine):
    answers = call336(machine, times=3)
    if machine.patched:
        assert len(set(answers)) == 3
    else:
        assert answers == ["sys_os_ftrace failed: Function not implemented"] * 3
    assert machine.log() == original_lines(machine, answers)


def test_the_module_answers_in_place_of_the_kernel_until_it_is_unloaded(machine):
    before = call336(machine)
    machine.log()

    machine.load("os_ftracehooking")
    assert len(call336(machine, times=2)) == 2
    assert machine.log() == [(INFO, HOOKED)] * 2

    machine.unload()
    after = call336(machine)
    assert len(after) == len(before) == 1
    assert after[0].isdigit() == before[0].isdigit() == machine.patched
    assert machine.log() == original_lines(machine, after)


def test_other_unused_numbers_stay_unimplemented_while_a_module_is_loaded(machine):
    machine.load("os_ftracehooking")
    assert machine.calls("number:337", "number:340", "number:1000") == ["number ENOSYS"] * 3
    assert machine.log() == []


def test_a_32_bit_caller_is_left_to_the_kernel(machine):
    machine.load("os_ftracehooking")
    # For 32-bit programs 336 is perf_event_open(), which finds no attributes at the address.
    assert machine.calls("ia32-call") == ["ia32-call EFAULT"]
    assert machine.log() == []


def test_of_two_modules_the_one_loaded_last_answers(machine):
    machine.load("os_ftracehooking", "ftracehooking", "iotracehooking")
    assert machine.calls("end") == ["end ESRCH"]
    machine.run("rmmod iotracehooking ftracehooking")
    machine.loaded = ["os_ftracehooking"]
    assert machine.calls("end") == ["end 0"]
    assert machine.log() == [(INFO, HOOKED)]


def test_the_number_is_a_parameter_and_can_be_read_back(machine):
    machine.load("os_ftracehooking", parameter="nr=337")
    number = machine.run("cat /sys/module/os_ftracehooking/parameters/nr").stdout
    assert number == "337\n"
    assert machine.calls("number:337", "number:338") == ["number 0", "number ENOSYS"]
    assert machine.log() == [(INFO, HOOKED)]
    assert call336(machine)[0].isdigit() == machine.patched
