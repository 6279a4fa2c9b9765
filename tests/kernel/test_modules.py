"""Loading and unloading the modules, in every order and at every moment."""

import re

import pytest
from contract_lines import ops, run_of, stats, without_pids

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
    assert machine.log() == [("err", "ftracehooking: nothing counts: load iotracehooking first")]


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
    ("parameter", "expected"),
    [
        ("wide=0", run_of(stats(), ops(closes=3))),
        ("wide=1", run_of(stats(file="data", read=19, written=41), ops(3, 3, 3, 3))),
    ],
)
def test_calls_like_those_of_the_lab_count_where_that_is_asked_for(machine, parameter, expected):
    machine.run("head -c 1000 /dev/zero > data")
    machine.load("ftracehooking", "iotracehooking", parameter=parameter)
    assert machine.calls("start", "wide:data", "end") == ["start 0", "wide 0", "end 0"]
    assert without_pids(machine.texts()) == expected


def test_unloading_the_child_ends_the_traces_that_run(tracer):
    tracer.run(
        "calls open:/dev/zero start read:3:1 stop end > answers & await T $!; "
        "rmmod iotracehooking; kill -CONT $!; wait $!"
    )
    tracer.loaded = ["ftracehooking"]
    assert without_pids(tracer.texts()) == run_of(stats(read=3), ops(reads=3))
    assert tracer.run("cat answers").stdout.splitlines()[-1] == "end ESRCH"


def test_unloading_while_traced_processes_sleep_in_read_leaves_them_and_the_kernel_alone(tracer):
    tracer.run(
        "mkfifo /tmp/slow; exec 3<> /tmp/slow; rm /tmp/slow; "
        + "calls use:3 start read:1:5 > sleeper$i & reading $!; ".join(
            f"i={i}; " for i in range(SLEEPERS + 1)
        )
        + "rmmod iotracehooking ftracehooking; printf helloHELLOhelloHELLOhello >&3; wait"
    )
    tracer.loaded = []
    answers = tracer.run("cat sleeper*").stdout.splitlines()
    assert answers == ["use 3", "start 0", "read 5"] * SLEEPERS
    assert sorted(without_pids(tracer.texts())) == sorted(SLEEPERS * run_of(stats(), ops()))


def test_the_number_is_the_kernels_again_after_unloading(tracer):
    tracer.unload()
    assert tracer.calls("end") == ["end 0" if tracer.patched else "end ENOSYS"]


def test_a_module_can_be_loaded_after_a_refused_load(machine):
    machine.run(f"insmod {machine.modules}/ftracehooking.ko owner=", check=False)
    machine.load("ftracehooking", "iotracehooking")
    assert machine.calls("start", "end") == ["start 0", "end 0"]


def test_each_of_many_short_traces_is_complete_and_unmixed(tracer):
    tracer.run("storm 25 4")
    texts = without_pids(tracer.texts())
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


@pytest.mark.parametrize(
    ("rounds", "names"),
    [(20, ["os_ftracehooking"]), (100, ["ftracehooking", "iotracehooking"])],
)
def test_rounds_of_loading_and_unloading_under_load_leave_the_kernel_as_it_was(
    machine, rounds, names
):
    files = " ".join(f"{machine.modules}/{name}.ko" for name in names)
    machine.run(
        f"nice -n 19 setsid storm 1000000 2 & sleep 0.3; churn {rounds} {files}; status=$?; "
        "kill -KILL -$!; exit $status",
        timeout=400,
    )
    assert not any(is_loaded(machine, name) for name in names)
    assert machine.calls("end") == ["end 0" if machine.patched else "end ENOSYS"]
