"""The device: what it answers, to whom, and how it holds its module."""

import pytest
from contract_lines import extra, ops, run_of, settled, stats, without_pids
from in_guest import KINDS, calls, require_kind

pytestmark = pytest.mark.kernel

DEVICE = "/dev/os_ftrace"
START, STOP = "ioctl 100 0x40084c01", "ioctl 100 0x40084c02"


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_answered_and_wrong_ones_refused(tracer, kind):
    require_kind(tracer, kind)
    requests = [
        (f"{START} request=0,8", "EINVAL"),
        (f"{START} request=0,0xffffffff", "EINVAL"),
        (f"{STOP} request=0,1", "EINVAL"),
        (f"{STOP} request=0,2", "EINVAL"),
        (f"{START} 8", "EFAULT"),
        (f"{STOP} 8", "EFAULT"),
        ("ioctl 100 0x40084c03 request=0,0", "ENOTTY"),
        ("ioctl 100 0x5401 @", "ENOTTY"),
        (f"{START} request=4000000,0", "ESRCH"),
        (f"{START} request=-1,1", "ESRCH"),
        (f"{STOP} request=4000000,0", "ESRCH"),
        (f"{STOP} request=0,0", "ESRCH"),
        (f"{STOP} request=0,4", "ESRCH"),
        (f"{START} request=2,0", "EPERM"),
        (f"{STOP} request=2,0", "EPERM"),
        ("read 100 @ 5", "EINVAL"),
        ("write 100 @ 5", "EINVAL"),
        (f"{START} request=0,3", "0"),
        (f"{START} request=0,0", "EBUSY"),
        (f"{STOP} request=0,0", "0"),
    ]
    answers = calls(tracer, "with:", *(f"{kind}:{text}" for text, _ in requests))
    assert [
        (text, answer.split()[1]) for (text, _), answer in zip(requests, answers[1:], strict=True)
    ] == requests
    lines = tracer.log()
    unknown = [f"Failed to find task for pid: {pid}" for pid in (4000000, -1)]
    assert lines[:2] == [("err", text) for text in unknown]
    assert without_pids(line.text for line in lines[2:]) == run_of(
        stats(), ops(), extra("wide+detail")
    )


def test_everybody_may_open_it_while_the_module_is_loaded_and_only_then(machine):
    machine.load("ftracehooking")
    assert machine.run(f"stat -c '%a %F' {DEVICE}").stdout == "666 character special file\n"
    machine.unload()
    assert machine.run(f"test -e {DEVICE}", check=False).returncode == 1


def test_without_the_child_no_trace_starts(machine):
    machine.load("ftracehooking")
    verbs = ["with:wide", "start", "with:", f"sys:{STOP} request=0,0"]
    assert machine.calls(*verbs)[1::2] == ["start ENODEV", "ioctl ESRCH"]


def test_an_open_device_keeps_the_module(machine):
    machine.load("ftracehooking")
    done = machine.run(f"exec 9<> {DEVICE}; rmmod ftracehooking", check=False)
    assert "in use" in done.stderr
    machine.unload()


def test_who_may_start_a_trace_may_end_it_and_nobody_else(tracer):
    done = tracer.run(
        "calls user:1000 stop kill & await T $!; calls with: user:1000 start:$!; "
        "calls with: user:1001 end:$! start:$!; calls with: user:1000 end:$! end:$!; "
        "calls with: start:$! end:$!; kill -KILL $!; wait $!",
        check=False,
    )
    answers = [line for line in done.stdout.splitlines() if line.split()[0] in ("start", "end")]
    assert answers == [
        *("start 0", "end EPERM", "start EPERM", "end 0", "end ESRCH", "start 0", "end 0")
    ]
    assert without_pids(tracer.texts()) == 2 * run_of(stats(), ops())


def test_root_of_an_inner_user_namespace_is_nobody_outside(tracer):
    done = tracer.run(
        "cp calls /tmp/users-calls; calls stop kill & await T $!; calls user:1000 "
        '"exec:unshare --user --map-root-user /tmp/users-calls with: start:$! end:$! start end"; '
        "kill -KILL $!; wait $!",
        check=False,
    )
    assert done.stdout.splitlines() == ["with 0", "start EPERM", "end EPERM", "start 0", "end 0"]


def test_pids_are_those_of_the_callers_namespace(tracer):
    done = tracer.run(
        "calls stop kill & await T $!; "
        "unshare --fork --pid calls with:wide start:1 end:1 start:$! end:$!; "
        "kill -KILL $!; wait $!",
        check=False,
    )
    assert done.stdout.splitlines()[1:] == ["start 0", "end 0", "start ESRCH", "end ESRCH"]
    texts = without_pids(tracer.texts())
    assert texts[:5] == run_of(stats(), ops(), extra("wide"))


def test_a_process_in_an_inner_namespace_is_ended_by_its_outer_pid(tracer):
    tracer.run(
        # Not the first process there, which no signal of its own stops.
        "unshare --fork --pid sh -c 'calls start stop; true' & until_true pgrep -x calls; "
        "inner=$(pgrep -x calls); await T $inner; calls end:$inner; kill -KILL $inner; wait $!",
        check=False,
    )
    assert without_pids(tracer.texts()) == run_of(stats(), ops())


@pytest.mark.parametrize("option", ["wide", "detail", "follow"])
def test_what_the_module_was_told_is_added_to_what_a_trace_asks_for(tracer, option):
    parameter = f"/sys/module/ftracehooking/parameters/{option}"
    tracer.run(
        f"echo 1 > {parameter}; calls start end; calls with:wide start end; echo 0 > {parameter}"
    )
    asked = "wide" if option == "wide" else f"wide+{option}"
    assert without_pids(settled(tracer)) == [
        *run_of(stats(), ops(), extra(option)),
        *run_of(stats(), ops(), extra(asked)),
    ]


def test_a_pid_that_comes_again_is_another_process(tracer):
    pids = tracer.run("reuse 20").stdout.split()
    assert len(pids) == 20
    texts = settled(tracer)
    for pid in pids:
        lines = [text for text in texts if f"[{pid}] " in text]
        words = [line.split()[-1] for line in lines]
        assert words == ["Start", "End", "Start", "End"]
    ends = [i for i, text in enumerate(texts) if text.endswith("] End")]
    reads = {}
    for i in ends:
        reads.setdefault(texts[i].split()[3], []).append(texts[i - 1])
    assert all(reads[f"[{pid}]"] == [ops(reads=3), ops(reads=5)] for pid in pids)
