"""What the modules do when the kernel has no memory for them, and when they are asked nonsense."""

import re
from collections import Counter

import pytest
from contract_lines import field, runs, settled

pytestmark = pytest.mark.kernel

MODULES = ["ftracehooking", "iotracehooking"]
WIDE, DETAIL, FOLLOW = 1, 2, 4
COSTS = {"untimed": WIDE, "lost_files": DETAIL}  # what a call loses without memory
CLEAN = {"ok", "ENOMEM", "EFAULT"}
DEBUG = "/sys/kernel/debug"
ATTEMPTS = 20  # the kernel's own checks allocate too, now and then, and may take the chance

# What a kernel says of its own failures: of memory, and of a probe that it then doesn't place.
EXPECTED = re.compile(r"Call Trace|WARNING: .* at kernel/kprobes\.c")


@pytest.fixture
def failing(machine):
    """A guest whose kernel fails what it is told to, and says nothing of it."""
    able = machine.run(f"test -d {DEBUG}/failslab && test -e /proc/self/fail-nth", check=False)
    if able.returncode:
        pytest.skip("this kernel injects no faults (`--kernel sanitizer` does)")
    machine.run(
        f"echo N > {DEBUG}/failslab/ignore-gfp-wait; for what in failslab fail_page_alloc "
        f"fail_usercopy; do echo 0 > {DEBUG}/$what/verbose; done"
    )
    yield machine
    assert [fault for fault in machine.take_faults() if not EXPECTED.search(fault)] == []


def fail_each(machine, *arguments):
    """What came of an act whose first, second and so on chance to fail was taken."""
    answers = machine.run(f"failnth {' '.join(arguments)}", timeout=900).stdout.split()
    assert answers[-1] == "ok"
    # Which error a load gives is the kernel's to choose.
    assert arguments[0] == "load" or set(answers) <= CLEAN
    return answers


def assert_works(machine):
    assert machine.calls("start", "end") == ["start 0", "end 0"]


@pytest.mark.parametrize("name", ["os_ftracehooking", *MODULES])
def test_a_load_that_fails_anywhere_leaves_nothing_and_may_be_repeated(failing, name):
    if name == "iotracehooking":
        failing.load("ftracehooking")
    if name == "os_ftracehooking" and not failing.number:
        pytest.skip("the kernel uses the number")
    answers = fail_each(failing, "load", f"{failing.modules}/{name}.ko", "''")
    assert answers.count("ENOMEM") > 10
    failing.unload()
    failing.load(*MODULES)
    assert_works(failing)


@pytest.mark.parametrize("flags", range(8))
def test_a_start_that_fails_anywhere_leaves_no_trace(failing, flags):
    failing.load(*MODULES)
    answers = fail_each(failing, "start", str(flags))
    assert "ENOMEM" in answers
    assert "EFAULT" in answers
    found = runs(settled(failing))
    assert sum(map(len, found.values())) == answers.count("ok")
    assert_works(failing)


def test_a_call_that_fails_anywhere_leaves_no_trace(failing):
    failing.load(*MODULES)
    answers = fail_each(failing, "call", str(failing.number))
    assert "ENOMEM" in answers
    assert sum(map(len, runs(settled(failing)).values())) == answers.count("ok")
    assert_works(failing)


@pytest.mark.parametrize("flags", [0, WIDE | DETAIL | FOLLOW])
def test_an_end_needs_no_memory(failing, flags):
    failing.load(*MODULES)
    assert set(fail_each(failing, "stop", str(flags))) <= {"ok", "EFAULT"}
    settled(failing)
    assert_works(failing)


@pytest.mark.parametrize("flags", [FOLLOW, FOLLOW | WIDE, FOLLOW | DETAIL])
def test_children_for_which_there_is_no_memory_are_counted(failing, flags):
    failing.load(*MODULES)
    for _ in range(ATTEMPTS):
        forked = Counter(fail_each(failing, "fork", str(flags)))["ok"]
        everyone = [lines for of_pid in runs(settled(failing)).values() for lines in of_pid]
        lost = sum(field(lines, r"lost_children\[(\d+)\]") for lines in everyone)
        # The parent's run is one of them.
        assert len(everyone) - 1 + lost == forked
        if lost:
            return
    pytest.fail("no child was lost")


@pytest.mark.parametrize("call", ["read", "open"])
@pytest.mark.parametrize("flags", [WIDE, DETAIL, WIDE | DETAIL])
def test_calls_for_which_there_is_no_memory_count_but_for_time_and_file(failing, call, flags):
    failing.load(*MODULES)
    wanted = {what for what, flag in COSTS.items() if flags & flag}
    for _ in range(ATTEMPTS):
        answers = fail_each(failing, call, str(flags))
        everyone = [lines for of_pid in runs(settled(failing)).values() for lines in of_pid]
        assert len(everyone) == len(answers)
        lost = Counter()
        for lines in everyone:
            assert_counted(lines, call, flags)
            lost += Counter({what: field(lines, rf"{what}\[(\d+)\]") for what in COSTS})
        assert set(lost) <= wanted
        if set(lost) == wanted:
            return
    pytest.fail(f"{wanted} were never lost")


def assert_counted(lines, call, flags):
    column = {"read": r" read\[(\d+)\] write", "open": r"\bopen\[(\d+)\] close"}[call]
    assert field(lines, column) == 1
    assert all(field(lines, rf"{what}\[(\d+)\]") <= 1 for what in COSTS)
    if flags & DETAIL:
        listed = len(re.findall(r"(?m)^ftrace/1 \[\d+\] fd\[", "\n".join(lines)))
        assert listed + field(lines, r"lost_files\[(\d+)\]") <= 1


def test_random_requests_of_several_users_give_only_documented_errors(machine):
    machine.load(*MODULES)
    answers = machine.run(f"fuzz 700 {machine.number}", timeout=400).stdout.split()
    counts = dict(zip(answers[::2], map(int, answers[1::2]), strict=True))
    assert set(counts) >= {"ok", "ESRCH", "EPERM", "EBUSY", "EFAULT", "EINVAL", "ENOTTY"}
    machine.unload()
    machine.log()
    machine.load(*MODULES)
    assert_works(machine)
