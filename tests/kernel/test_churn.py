"""The modules come and go, and traces with them, while everything is under way."""

import re

import pytest
from contract_lines import WORD, field, runs, settled

pytestmark = pytest.mark.kernel

MODULES = ["ftracehooking", "iotracehooking"]
SLEEPERS = 64
WIDE, DETAIL, FOLLOW = 1, 2, 4
EXTRA = re.compile(
    r"ftrace/1 \[(?P<pid>\d+)\] trace .* parent\[\d+\] calls\[(?P<calls>\d+)\]"
    r" files\[(?P<files>\d+)\] lost_files\[\d+\] lost_children\[\d+\] untimed\[\d+\]"
)


def files(machine, *names):
    return " ".join(f"{machine.modules}/{name}.ko" for name in names)


def in_storm(machine, command):
    """The command while processes do everything at once, traced or not."""
    storm = f"nice -n 19 setsid tempest 3 {machine.number} & sleep 1"
    return f"{storm}; {command}; status=$?; kill -KILL -$!; exit $status"


def memory(machine):
    """What the kernel has allocated, in KiB, when it needs no more than it must."""
    # What KASAN keeps of freed objects is given back when their caches shrink.
    said = machine.run(
        "sync; echo 3 > /proc/sys/vm/drop_caches; sleep 2; "
        "for cache in /sys/kernel/slab/*/shrink; do echo 1 > $cache; done; cat /proc/meminfo",
        timeout=300,
    ).stdout
    return sum(field([said], rf"\b{what}: +(\d+)") for what in ("SUnreclaim", "Percpu"))


def assert_whole(lines, pid):
    """The lines of a run belong to it, as many as it says."""
    assert " stats [x] read - " in lines[0]
    assert re.fullmatch(r"open\[\d+\] close\[\d+\] read\[\d+\] write\[\d+\] lseek\[\d+\]", lines[1])
    assert lines[-1] == f"{WORD} [{pid}] End"
    if extra := lines[2:-1]:
        said = EXTRA.fullmatch(extra[0])
        kinds = re.findall(rf"(?m)^ftrace/1 \[{pid}\] (trace|call|fd)\b", "\n".join(extra))
        assert int(said["pid"]) == pid
        assert kinds == ["trace"] + ["call"] * int(said["calls"]) + ["fd"] * int(said["files"])


def assert_gone(machine):
    loaded = machine.run("cat /proc/modules").stdout
    assert "tracehooking" not in loaded
    if machine.number:
        answer = "end 0" if machine.patched else "end ENOSYS"
        assert machine.calls("end") == [answer]


@pytest.mark.parametrize(
    ("rounds", "storm"), [(10, True), pytest.param(1000, False, marks=pytest.mark.matrix)]
)
def test_rounds_of_unloading_under_traced_sleepers_leave_processes_and_kernel_alone(
    machine, rounds, storm
):
    if machine.sanitizer and not storm:
        pytest.skip("a thousand rounds take hours on this kernel")

    def churn(rounds):
        command = f"rounds {rounds} {SLEEPERS} {machine.number} {files(machine, *MODULES)}"
        command = in_storm(machine, command) if storm else command
        return map(int, machine.run(command, timeout=300 + rounds * 20).stdout.split())

    churn(2)
    before = memory(machine)
    started, answered = churn(rounds)
    assert started == rounds * SLEEPERS
    assert answered == rounds * SLEEPERS // 4
    assert_gone(machine)
    # A session and its files lost in each round would be more by far.
    assert memory(machine) - before < 4096 + rounds * 2
    machine.load(*MODULES)
    assert machine.calls("start", "end") == ["start 0", "end 0"]


def test_of_many_who_end_a_trace_at_once_one_does(tracer):
    tracer.log()
    for chunk in range(4):
        done = tracer.run(f"contend 30 {tracer.number}", timeout=200).stdout
        started, ended = map(int, done.split())
        texts = settled(tracer)
        found = runs(texts)
        by_hand = [
            lines
            for of_pid in found.values()
            for lines in of_pid
            if not any(re.search(r"parent\[[1-9]", line) for line in lines)
        ]
        assert started == len(by_hand) == 30, chunk
        assert ended <= sum(map(len, found.values()))
        for pid, of_pid in found.items():
            assert len(of_pid) == 1
            assert_whole(of_pid[0], pid)


def test_a_trace_ends_once_when_its_counter_goes_at_the_same_moment(tracer):
    tracer.log()
    for _ in range(4):
        tracer.run(f"contend 30 {tracer.number} {files(tracer, MODULES[1])}", timeout=400)
        for pid, of_pid in runs(settled(tracer)).items():
            assert len(of_pid) == 1
            assert_whole(of_pid[0], pid)


def test_lines_of_runs_are_whole_whatever_processes_do(tracer):
    tracer.log()
    # A few at a time: the kernel's log holds so many lines and no more.
    for seed in range(8):
        tracer.run(f"tempest 2 {tracer.number} 6 {seed}")
        for pid, of_pid in runs(settled(tracer)).items():
            for lines in of_pid:
                assert_whole(lines, pid)


@pytest.mark.parametrize("flags", [0, WIDE | DETAIL])
def test_signals_that_interrupt_calls_neither_lose_counts_nor_lock_up(tracer, flags):
    done = tracer.run(f"interrupted 200 {flags}", timeout=200).stdout
    reads, opens = map(int, done.split())
    assert reads + opens == 200
    ((lines,),) = runs(settled(tracer)).values()
    total, completed = (
        field(lines, pattern) for pattern in (r" read\[(\d+)\] write", r"read - (\d+)")
    )
    assert total - completed == reads
    if flags & WIDE:
        assert field(lines, r"call\[read\] calls\[\d+\] errors\[(\d+)\]") == reads
        assert field(lines, r"call\[openat\] calls\[\d+\] errors\[(\d+)\]") == opens
        assert field(lines, r"untimed\[(\d+)\]") == 0


@pytest.mark.parametrize("flags", [FOLLOW, FOLLOW | WIDE | DETAIL])
def test_every_child_of_a_burst_is_followed_or_said_to_be_lost(tracer, flags):
    children = 60
    tracer.run(f"burst {children} {flags}", timeout=200)
    found = runs(settled(tracer))
    everyone = [lines for of_pid in found.values() for lines in of_pid]
    parents = [lines for lines in everyone if field(lines, r"parent\[(\d+)\]") == 0]
    assert len(parents) == 1
    assert len(everyone) - 1 + field(parents[0], r"lost_children\[(\d+)\]") == children
    for lines in everyone:
        if lines is not parents[0]:
            assert field(lines, r" read\[(\d+)\] write") == 2
