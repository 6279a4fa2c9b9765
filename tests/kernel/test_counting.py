"""What the two modules print about a traced process, line by line."""

import re

import pytest
from contract_lines import OWNER, ops, run_of, runs, settled, stats, without_pids
from in_guest import KINDS, calls, require_kind

pytestmark = pytest.mark.kernel


@pytest.fixture
def data(tracer):
    """A file of 1000 bytes."""
    tracer.run("head -c 1000 /dev/zero > data")
    return "data"


def test_the_exercise_prints_exactly_the_four_lines_of_the_lab(tracer):
    tracer.run("cd exercise && ./test")
    lines = tracer.log()
    pid = re.fullmatch(r"OS Assignment2 ftrace \[(\d+)\] Start", lines[0].text)[1]
    assert lines == [
        ("info", f"OS Assignment2 ftrace [{pid}] Start"),
        ("info", "[2021202045] test file[abc.txt] stats [x] read - 20 / written - 26"),
        ("info", "open[1] close[1] read[4] write[5] lseek[9]"),
        ("info", f"OS Assignment2 ftrace [{pid}] End"),
    ]


def test_two_runs_of_one_process_do_not_add_up(tracer, data):
    once = ["start", f"open:{data}", "read:3:7", "close", "end"]
    tracer.calls(*once, *once)
    assert without_pids(tracer.texts()) == 2 * run_of(stats(file=data, read=21), ops(1, 1, 3))


def test_calls_outside_the_trace_do_not_count(tracer, data):
    around = [f"open:{data}", "read:5:7", "write:5:7", "lseek:5", "close"]
    tracer.calls(*around, "start", "end", *around)
    assert without_pids(tracer.texts()) == run_of(stats(), ops())


def test_bytes_are_what_the_calls_returned_not_what_was_asked_for(tracer, data):
    # 1000 bytes are 142 reads of 7 and one of 6; the next two are at the end and read nothing.
    tracer.calls("start", f"open:{data}", "read:145:7", "close", "end")
    assert without_pids(tracer.texts()) == run_of(stats(file=data, read=1000), ops(1, 1, 145))


def test_failed_calls_count_but_for_a_failed_close(tracer):
    answers = tracer.calls(
        *("start", "open:missing", "use:99", "read:2:7", "write:3:7", "lseek:4", "close", "end")
    )
    errors = ["open ENOENT", "use 99", "read EBADF", "write EBADF", "lseek EBADF", "close EBADF"]
    assert answers == ["start 0", *errors, "end 0"]
    assert without_pids(tracer.texts()) == run_of(stats(file="missing"), ops(1, 0, 2, 3, 4))


def test_the_traced_programs_results_do_not_change(tracer, data):
    work = [
        *(f"open:{data}", "read:145:7", "lseek:1", "write:3:11", "read:1:65536", "close"),
        *("open:missing", "open-nowhere", "open-edge:data", "use:99", "read:1:1", "close"),
    ]
    bare = tracer.calls(*work)
    tracer.run(f"head -c 1000 /dev/zero > {data}")
    assert tracer.calls("start", *work, "end") == ["start 0", *bare, "end 0"]


@pytest.mark.parametrize("crowd", [8, 300])
def test_processes_that_are_traced_at_once_have_each_their_own_exact_counts(tracer, crowd):
    printed = tracer.run(f"crowd {crowd}").stdout.splitlines()
    expected = dict(line.split(" ", 1) for line in printed)
    assert len(expected) == crowd
    texts = tracer.texts()
    assert len(texts) == 4 * crowd
    # All of them were traced at the same time.
    assert all(text.endswith("Start") for text in texts[:crowd])

    shown = {}
    for pid, ((stats_line, ops_line, _),) in runs(texts).items():
        before = f"[{OWNER}] crowd file[/dev/null] stats [x] "
        assert stats_line.startswith(before)
        shown[str(pid)] = f"{stats_line.removeprefix(before)} {ops_line}"
    assert shown == expected


def test_threads_count_as_their_process(tracer):
    tracer.calls("open:/dev/zero", "start", "threads:7:101", "end")
    assert without_pids(tracer.texts()) == run_of(stats(read=707), ops(reads=707))


def test_a_thread_id_traces_the_whole_process(tracer):
    tracer.run(
        "calls open:/dev/zero threads-start:1 stop read:13:1 end & await T $!; "
        "calls start:$(ls /proc/$!/task | grep -vx $!); kill -CONT $!; wait $!"
    )
    assert without_pids(tracer.texts()) == run_of(stats(read=13), ops(reads=13))


def test_counts_agree_with_what_the_kernel_itself_accounts(tracer):
    answers = tracer.calls(
        *("open:/dev/zero", "io", "start", "read:211:3", "end"),
        *("open:/dev/null", "start", "write:223:5", "end", "io"),
    )
    before, after = (int(line.split()[1]) for line in answers if line.startswith("io "))
    reads, writes = divmod(after - before, 1_000_000)
    # The first look at the account is itself a read, and shows only afterwards.
    assert (reads - 1, writes) == (211, 223)
    texts = tracer.texts()
    assert (texts[2], texts[6]) == (ops(reads=211), ops(writes=223))


def test_a_process_that_exits_ends_its_trace(tracer, data):
    answers = tracer.calls("start", f"open:{data}", "read:3:7")
    printed = len("\n".join(answers)) + 1
    assert without_pids(settled(tracer)) == run_of(
        stats(file=data, read=21, written=printed), ops(1, 0, 3, 1)
    )


def test_a_process_that_is_killed_ends_its_trace(tracer, data):
    tracer.run(f"calls start open:{data} read:3:7 kill", check=False)
    assert without_pids(settled(tracer)) == run_of(stats(file=data, read=21), ops(1, 0, 3))


def test_a_process_whose_many_threads_are_killed_ends_its_trace_once(tracer):
    tracer.run("calls open:/dev/zero threads-start:16 start read:3:1 kill", check=False)
    assert without_pids(settled(tracer)) == run_of(stats(read=3), ops(reads=3))


def test_a_process_that_another_one_starts_to_trace_is_traced(tracer, data):
    tracer.run(
        f"calls stop open:{data} read:3:7 close kill & "
        "await T $!; calls start:$!; kill -CONT $!; wait $!",
        check=False,
    )
    assert without_pids(settled(tracer)) == run_of(stats(file=data, read=21), ops(1, 1, 3))


def test_calls_of_other_processes_do_not_count(tracer):
    tracer.run(
        "calls start stop end & await T $!; calls open:/dev/zero read:1000:1 close; "
        "kill -CONT $!; wait $!"
    )
    assert without_pids(tracer.texts()) == run_of(stats(), ops())


@pytest.mark.parametrize("kind", KINDS)
def test_callers_of_every_kind_count(tracer, kind):
    require_kind(tracer, kind)
    seek = "_llseek 3 0 0 @ 0" if kind == "ia32" else "lseek 3 0 0"
    work = ["openat -100 data 2", *["read 3 @ 7"] * 2, *["write 3 @ 11"] * 3, seek]
    answers = calls(tracer, "start", *(f"{kind}:{call}" for call in [*work, "close 3"]), "end")
    results = [int(answer.split()[1]) for answer in answers]
    assert results == [0, 3, 7, 7, 11, 11, 11, 0, 0, 0]
    assert without_pids(tracer.texts()) == run_of(
        stats(file="data", read=14, written=33), ops(1, 1, 2, 3, 1)
    )


def test_a_read_that_stops_interrupt_counts_once(tracer):
    tracer.run(
        "mkfifo /tmp/slow; exec 3<> /tmp/slow; rm /tmp/slow; calls use:3 start read:1:5 end & "
        "for i in 1 2 3; do reading $!; kill -STOP $!; await T $!; kill -CONT $!; done; "
        "reading $!; printf hello >&3; wait $!"
    )
    assert without_pids(tracer.texts()) == run_of(stats(read=5), ops(reads=1))


@pytest.mark.parametrize("pid", [4_000_000, -1, -2_147_483_648])
def test_a_pid_that_does_not_exist_is_an_error(tracer, pid):
    assert tracer.calls(f"start:{pid}") == ["start ESRCH"]
    assert tracer.log() == [("err", f"Failed to find task for pid: {pid}")]


def test_a_process_that_has_exited_but_was_not_waited_for_does_not_exist(tracer):
    assert tracer.calls("start-zombie") == ["start-zombie ESRCH"]
    assert re.fullmatch(r"Failed to find task for pid: \d+", "\n".join(tracer.texts()))


def test_a_second_start_of_a_traced_process_is_refused(tracer):
    assert tracer.calls("start", "start", "end") == ["start 0", "start EBUSY", "end 0"]
    assert without_pids(tracer.texts()) == run_of(stats(), ops())


def test_an_end_without_a_trace_is_refused_without_a_line(tracer):
    assert tracer.calls("end") == ["end ESRCH"]
    assert tracer.log() == []


def test_another_users_process_is_refused_without_a_line(tracer):
    assert tracer.calls("user:1000", "start:1", "start", "end") == [
        *("user 0", "start EPERM", "start 0", "end 0")
    ]
    assert without_pids(tracer.texts()) == run_of(stats(), ops())


def test_an_ordinary_user_can_trace_an_own_process_and_nobody_elses(tracer):
    done = tracer.run(
        "calls user:1000 stop kill & await T $!; calls user:1001 start:$!; "
        "calls user:1000 start:$!; kill -CONT $!; wait $!",
        check=False,
    )
    assert done.stdout.splitlines() == ["user 0", "start EPERM", "user 0", "start 0"]
    assert without_pids(settled(tracer)) == run_of(stats(), ops())


def test_a_kernel_thread_is_refused(tracer):
    assert tracer.calls("start:2") == ["start EPERM"]
    assert tracer.log() == []


def test_a_pid_is_looked_up_in_the_callers_namespace_and_shown_in_the_initial_one(tracer):
    done = tracer.run("unshare --fork --pid calls start:1 end")
    assert done.stdout.splitlines() == ["start 0", "end 0"]
    shown = re.search(r"\[(\d+)\] Start", tracer.texts()[0])[1]
    assert int(shown) > 1
