"""Loading and unloading the modules, in every order and at every moment."""

import re

import pytest
from contract_lines import call, extra, ops, run_of, settled, stats, used, without_pids
from in_guest import FOLDER, calls

pytestmark = pytest.mark.kernel

SLEEPERS = 5


def is_loaded(machine, name):
    return machine.run(f"test -d /sys/module/{name}", check=False).returncode == 0


def test_the_child_is_refused_without_its_parent(machine):
    done = machine.run(f"insmod {machine.modules}/iotracehooking.ko", check=False)
    assert done.returncode != 0
    assert "Unknown symbol" in done.stderr
    assert not is_loaded(machine, "iotracehooking")


def test_the_parent_stays_while_its_child_is_loaded(tracer):
    done = tracer.run("rmmod ftracehooking", check=False)
    assert done.returncode != 0
    assert "in use by: iotracehooking" in done.stderr
    assert is_loaded(tracer, "ftracehooking")


def test_without_the_child_no_trace_starts_and_the_log_says_why(machine):
    machine.load("ftracehooking")
    assert machine.calls("start", "end") == ["start ENODEV", "end ESRCH"]
    errors = [line.text for line in machine.log() if line.level == "err"]
    assert errors == ["ftracehooking: nothing counts: load iotracehooking first"]


def test_the_owner_is_a_parameter(machine):
    owner = "~A.b-c_" + "9" * 25
    machine.load("ftracehooking", parameter=f"owner={owner}")
    machine.load("iotracehooking")
    machine.calls("start", "end")
    assert without_pids(machine.texts()) == run_of(stats(owner=owner), ops())


@pytest.mark.parametrize("owner", ["", "9" * 33, '"a b"', "a[b", "a]b", "ä", "a\x7f"])
def test_an_owner_that_would_make_lines_ambiguous_is_refused(machine, owner):
    done = machine.run(f"insmod {machine.modules}/ftracehooking.ko 'owner={owner}'", check=False)
    assert "Invalid parameters" in done.stderr
    assert not is_loaded(machine, "ftracehooking")
    assert [line.level for line in machine.log()] == ["err"]


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ("", ""),
        ("wide=1", "wide"),
        ("detail=1", "detail"),
        ("follow=Y", "follow"),
        ("wide=1 detail=1 follow=1 files=1", "wide+detail+follow"),
        ("wide=0", ""),
    ],
)
def test_what_traces_are_like_is_a_matter_of_parameters(machine, parameters, options):
    machine.load("ftracehooking", parameter=parameters)
    machine.load("iotracehooking")
    calls(machine, "start", "open:data", "sys:dup 3", "sys:pread64 3 @ 7 0", "end")
    lines, lost = [], 0
    if "wide" in options:
        lines += [call("openat"), call("dup"), call("pread64", moved=7)]
    if "detail" in options:
        lost = int("files=1" in parameters)
        lines += [used(3, f"{FOLDER}/data", opens=1, reads=1, read=7, left=1)]
        lines += [] if lost else [used(4, f"{FOLDER}/data", opens=1, left=1)]
    more = extra(options, *lines, lost_files=lost) if options else ()
    assert without_pids(machine.texts()) == run_of(stats(file="data"), ops(1), more)


@pytest.mark.parametrize("parameter", ["files", "traces"])
def test_limits_are_numbers_from_1_to_4096(machine, parameter):
    for number in ("0", "4097", "-1", "many"):
        done = machine.run(
            f"insmod {machine.modules}/ftracehooking.ko {parameter}={number}", check=False
        )
        assert done.returncode != 0
    said = f"ftracehooking: {parameter}= takes a number from 1 to 4096"
    assert machine.texts().count(said) == 4

    machine.load("ftracehooking", parameter=f"{parameter}=4096")
    place = f"/sys/module/ftracehooking/parameters/{parameter}"
    assert machine.run(f"echo 0 > {place}", check=False).returncode != 0
    assert machine.run(f"cat {place}").stdout == "4096\n"
    assert machine.texts() == [said]


def test_more_traces_than_the_limit_are_refused_until_one_has_ended(machine):
    machine.load("ftracehooking", parameter="traces=2")
    machine.load("iotracehooking")
    done = machine.run(
        'for i in 1 2; do calls start stop end & await T $!; pids="$pids $!"; done; '
        "calls start; kill -CONT $pids; wait; calls start end"
    )
    ended = ["start 0", "stop 0", "end 0"]
    assert done.stdout.splitlines() == ["start EAGAIN", *ended, *ended, "start 0", "end 0"]
    assert without_pids(machine.texts()).count("OS Assignment2 ftrace [PID] End") == 3


def test_without_a_number_only_the_device_answers(machine):
    machine.load("ftracehooking", parameter="nr=0")
    machine.load("iotracehooking")
    assert machine.run("cat /sys/module/ftracehooking/parameters/nr").stdout == "0\n"
    assert machine.calls("start", "end") == ["start 0", "end 0"]
    assert without_pids(machine.texts()) == run_of(stats(), ops())
    if machine.number:
        answer = "0" if machine.patched else "ENOSYS"
        assert machine.calls(f"number:{machine.number}") == [f"number {answer}"]


def test_where_the_kernel_needs_the_number_the_module_leaves_it_alone(machine):
    if machine.number:
        pytest.skip("this kernel has no uprobe()")
    machine.load("ftracehooking", "iotracehooking")
    assert machine.run("cat /sys/module/ftracehooking/parameters/nr").stdout == "0\n"
    (line,) = machine.log()
    assert line.level == "notice"
    assert line.text.startswith("ftracehooking: system call 336 is the kernel's uprobe()")


def test_unloading_the_child_ends_the_traces_that_run(tracer):
    tracer.run(
        "calls open:/dev/zero start read:3:1 stop end > answers & await T $!; "
        "rmmod iotracehooking; kill -CONT $!; wait $!"
    )
    tracer.loaded = ["ftracehooking"]
    assert without_pids(settled(tracer)) == run_of(stats(read=3), ops(reads=3))
    assert tracer.run("cat answers").stdout.splitlines()[-1] == "end ESRCH"


def test_unloading_while_traced_processes_sleep_in_read_leaves_them_and_the_kernel_alone(tracer):
    # Another program starts their traces: one that has the device open keeps the module.
    tracer.run(
        "mkfifo /tmp/slow; exec 3<> /tmp/slow; rm /tmp/slow; "
        + "calls use:3 read:1:5 > sleeper$i & reading $!; calls start:$! > started$i; ".join(
            f"i={i}; " for i in range(SLEEPERS + 1)
        )
        + "rmmod iotracehooking ftracehooking; printf helloHELLOhelloHELLOhello >&3; wait"
    )
    tracer.loaded = []
    answers = tracer.run("cat sleeper* started*").stdout.splitlines()
    assert answers == ["use 3", "read 5"] * SLEEPERS + ["start 0"] * SLEEPERS
    assert sorted(without_pids(tracer.texts())) == sorted(SLEEPERS * run_of(stats(), ops()))


def test_the_number_is_the_kernels_again_after_unloading(tracer):
    if not tracer.number:
        pytest.skip("this kernel needs the number itself")
    tracer.unload()
    assert tracer.calls("end") == ["end 0" if tracer.patched else "end ENOSYS"]


def test_a_module_can_be_loaded_after_a_refused_load(machine):
    machine.run(f"insmod {machine.modules}/ftracehooking.ko owner=", check=False)
    machine.load("ftracehooking", "iotracehooking")
    assert machine.calls("start", "end") == ["start 0", "end 0"]


def test_each_of_many_short_traces_is_complete_and_unmixed(tracer):
    tracer.run("storm 25 4")
    texts = without_pids(settled(tracer))
    texts = [text for text in texts if not text.startswith("Failed to find task")]
    starts = [text for text in texts if text.endswith("Start")]
    assert len(starts) > 25
    # What is not a Start is whole groups of the three lines that belong together.
    rest = [text for text in texts if not text.endswith("Start")]
    kinds = [re.sub(r"\d+", "N", text) for text in rest]
    assert set(kinds[0::3]) <= {
        re.sub(r"\d+", "N", stats(comm="storm", file=file)) for file in ("", "/dev/zero")
    }
    assert set(kinds[1::3]) == {re.sub(r"\d+", "N", ops())}
    assert kinds[2::3] == ["OS AssignmentN ftrace [PID] End"] * len(starts)


# More of them, with traces under way, are in test_churn.py.
@pytest.mark.parametrize("names", [["os_ftracehooking"], ["ftracehooking", "iotracehooking"]])
def test_rounds_of_loading_and_unloading_under_load_leave_the_kernel_as_it_was(machine, names):
    if names == ["os_ftracehooking"] and not machine.number:
        pytest.skip("336 is the kernel's uprobe() here")
    files = " ".join(f"{machine.modules}/{name}.ko" for name in names)
    machine.run(
        f"nice -n 19 setsid storm 1000000 2 & sleep 0.3; churn 20 {files}; status=$?; "
        "kill -KILL -$!; exit $status",
        timeout=400,
    )
    assert not any(is_loaded(machine, name) for name in names)
    if machine.number:
        assert machine.calls("end") == ["end 0" if machine.patched else "end ENOSYS"]
