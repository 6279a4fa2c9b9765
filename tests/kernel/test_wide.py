"""The lines of a trace with the option wide: every call of the family, exactly."""

import pytest
from contract_lines import call, extra, field, ops, run_of, settled, stats, used, without_pids
from in_guest import FRESH, KINDS, calls, narrow_program, require_kind

pytestmark = pytest.mark.kernel

# A call as programs/by_name.h takes it, the name it counts under where that is another, what it
# returns, and the bytes it moves. Those from another folder are the same for every kind of program.
OPENS = [
    ("openat -100 data 2", 3),
    ("open data 2", 4),
    ("creat made 384", 5),
    ("openat2 -100 data how=2 24", 6),
    ("open . 0x10000", 7),
]
PIPES = [("pipe @", 8), ("pipe @", 10)]
SAME = [
    ("read 3 @ 10", 10),
    ("readv 3 [3,4] 2", 7),
    ("preadv 3 [5] 1 0 0", 5),
    ("preadv2 3 [6] 1 0 0 0", 6),
    ("write 5 @ 11", 11),
    ("writev 5 [6,7] 2", 13),
    ("pwritev 5 [8] 1 0 0", 8),
    ("pwritev2 5 [9] 1 0 0 0", 9),
    ("lseek 3 0 0", 0),
    ("sendfile 5 6 0 20", 20),
    ("splice 6 *0 9 0 30 0", 30),
    ("tee 8 11 40 0", 30),
    ("vmsplice 9 [4,4] 2 0", 8),
    ("copy_file_range 6 *0 5 *100 50 0", 50),
    ("fsync 5", 0),
    ("fdatasync 5", 0),
    ("truncate made 500", 0),
    ("ftruncate 5 400", 0),
    ("io_uring_enter 99 1 1 0 0 0", None),
    ("dup 3", 12),
    ("dup2 3 20", 20),
    ("dup3 3 21 0", 21),
    ("close 12", 0),
    ("close 12", "EBADF"),
    ("close_range 20 21 0", 0),
    ("execve missing 0 0", "ENOENT"),
    ("execveat -100 missing 0 0 0", "ENOENT"),
]
OWN = {
    "sys": [
        ("pread64 3 @ 7 0", 7),
        ("pwrite64 5 @ 12 0", 12),
        ("mmap 0 5000 1 2 6 0", None),
        ("mmap 0 8192 3 0x22 -1 0", None),  # anonymous: no file, not counted
        ("mmap 0 4096 1 2 99 0", "EBADF"),
        ("sync_file_range 5 0 0 0", 0),
        ("fallocate 5 0 0 600", 0),
        ("getdents64 7 @ 1000", None),
        ("getdents 7 @ 1000", 0),
    ],
    "ia32": [
        ("pread64 3 @ 7 0 0", 7),
        ("pwrite64 5 @ 12 0 0", 12),
        ("_llseek 3 0 5 @ 0", 0),
        ("sendfile64 5 6 0 20", 20),
        ("mmap2 0 5000 1 2 6 0", None),
        ("mmap2 0 8192 3 0x22 -1 0", None),
        ("mmap2 0 4096 1 2 99 0", "EBADF"),
        ("sync_file_range 5 0 0 0 0 0", 0),
        ("truncate64 made 450 0", 0),
        ("ftruncate64 5 420 0", 0),
        ("fallocate 5 0 0 0 600 0", 0),
        ("getdents64 7 @ 1000", None),
        ("getdents 7 @ 1000", 0),
    ],
}
OWN["x32"] = OWN["sys"]

# In the order of their lines: calls, errors, bytes.
COUNTS = {
    "openat": (1, 0, 0),
    "close": (2, 1, 0),
    "read": (1, 0, 10),
    "write": (1, 0, 11),
    "lseek": (1, 0, 0),
    "open": (2, 0, 0),
    "creat": (1, 0, 0),
    "openat2": (1, 0, 0),
    "close_range": (1, 0, 0),
    "dup": (1, 0, 0),
    "dup2": (1, 0, 0),
    "dup3": (1, 0, 0),
    "pread64": (1, 0, 7),
    "readv": (1, 0, 7),
    "preadv": (1, 0, 5),
    "preadv2": (1, 0, 6),
    "pwrite64": (1, 0, 12),
    "writev": (1, 0, 13),
    "pwritev": (1, 0, 8),
    "pwritev2": (1, 0, 9),
    "sendfile": (1, 0, 20),
    "splice": (1, 0, 30),
    "tee": (1, 0, 30),
    "vmsplice": (1, 0, 8),
    "copy_file_range": (1, 0, 50),
    "mmap": (2, 1, 5000),
    "fsync": (1, 0, 0),
    "fdatasync": (1, 0, 0),
    "sync_file_range": (1, 0, 0),
    "truncate": (1, 0, 0),
    "ftruncate": (1, 0, 0),
    "fallocate": (1, 0, 0),
    "getdents": (1, 0, 0),
    "getdents64": (1, 0, 0),
    "io_uring_enter": (1, 1, 0),
    "execve": (1, 1, 0),
    "execveat": (1, 1, 0),
}
MORE = {
    "ia32": {
        "lseek": (2, 0, 0),
        "sendfile": (2, 0, 40),
        "truncate": (2, 0, 0),
        "ftruncate": (2, 0, 0),
    },
}


def all_work(kind):
    pipes = [(f"sys:{text}", 0) for text, _ in PIPES]
    ours = [(f"{kind}:{text}", result) for text, result in [*SAME, *OWN[kind]]]
    return [(f"{kind}:{text}", result) for text, result in OPENS] + pipes + ours


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_of_the_family_has_a_line_with_its_calls_errors_and_bytes(tracer, kind):
    require_kind(tracer, kind)
    work = all_work(kind)
    answers = calls(tracer, "with:wide", "start", *(verb for verb, _ in work), "end")
    told = zip(work, answers[2:-1], strict=True)
    assert [(verb, answer.split()[1]) for (verb, result), answer in told if result is not None] == [
        (verb, str(result)) for verb, result in work if result is not None
    ]

    counts = COUNTS | MORE.get(kind, {})
    lines = [call(name, *numbers) for name, numbers in counts.items()]
    assert without_pids(tracer.texts()) == run_of(
        stats(file="data", read=10, written=11),
        ops(1, 1, 1, 1, counts["lseek"][0]),
        extra("wide", *lines),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_of_the_lab_are_the_same_with_and_without_options(tracer, kind):
    require_kind(tracer, kind)
    work = [verb for verb, _ in all_work(kind)]
    calls(tracer, "start", *work, "end")
    bare = without_pids(tracer.texts())
    assert len(bare) == 4
    calls(tracer, "with:wide+detail+follow", "start", *work, "end")
    lines = without_pids(tracer.texts())
    assert [line for line in lines if not line.startswith("ftrace/")] == bare


def test_calls_that_move_nothing_or_fail_move_no_bytes(tracer):
    calls(
        tracer,
        *("with:wide", "start", "sys:open data 2", "sys:lseek 3 0 2", "sys:read 3 @ 10"),
        *("sys:pread64 3 @ 10 990", "sys:pread64 3 @ 20 990", "sys:pread64 9 @ 10 0"),
        *("sys:readv 3 [5] -1", "sys:write 9 @ 4", "sys:writev 3 8 1", "end"),
    )
    lines = [
        *(call("read"), call("write", errors=1), call("lseek"), call("open")),
        *(call("pread64", 3, errors=1, moved=20), call("readv", errors=1)),
        call("writev", errors=1),
    ]
    assert without_pids(tracer.texts()) == run_of(
        stats(), ops(reads=1, writes=1, lseeks=1), extra("wide", *lines)
    )


def test_an_execve_counts_and_the_trace_goes_on_in_the_new_program(tracer):
    tracer.run(f"{FRESH}calls with:wide start 'exec:exec /usr/bin/head -c 0 data'")
    texts = without_pids(tracer.texts())
    assert call("execve", calls=2) in texts
    assert "] head file[" in texts[1]
    assert " untimed[0]" in texts[3]


def test_an_execve_into_a_32_bit_program_is_timed(tracer):
    assert tracer.calls("with:wide", "start", f"sys:execve {narrow_program(tracer)} 0 0") == []
    assert without_pids(settled(tracer)) == run_of(
        stats(comm="narrow"), ops(), extra("wide", call("execve"))
    )


def test_time_in_calls_is_what_they_took_waiting_included(tracer):
    tracer.run(
        "mkfifo /tmp/slow; exec 3<> /tmp/slow; rm /tmp/slow; "
        "calls use:3 with:wide start read:1:5 end & "
        "reading $!; sleep 0.3; printf hello >&3; wait $!"
    )
    assert field(tracer.texts(), r" call\[read\] .* ns\[(\d+)\]$") >= 300_000_000


@pytest.mark.parametrize("options", ["", "wide", "wide+detail"])
def test_a_call_in_flight_when_its_trace_starts_counts_when_it_returns(tracer, options):
    tracer.run(
        "mkfifo /tmp/slow; exec 3<> /tmp/slow; rm /tmp/slow; calls use:3 read:1:5 stop read:1:5 "
        f"kill & reading $!; calls with:{options} start:$!; printf hello >&3; await T $!; "
        "printf again >&3; kill -CONT $!; wait $!",
        check=False,
    )
    lines = [call("read", 2, moved=10)] if "wide" in options else []
    if "detail" in options:
        lines.append(used(3, "/tmp/slow (deleted)", reads=2, read=10, left=1))
    more = extra(options, *lines, untimed=1) if options else ()
    assert without_pids(tracer.texts()) == run_of(stats(read=10), ops(reads=2), more)


def test_a_call_in_flight_when_its_trace_ends_does_not_count(tracer):
    tracer.run(
        "mkfifo /tmp/slow; exec 3<> /tmp/slow; rm /tmp/slow; "
        "calls use:3 with:wide+detail start read:1:5 stop read:1:5 & printf hello >&3; "
        "await T $!; kill -CONT $!; reading $!; calls end:$!; printf again >&3; wait $!"
    )
    lines = [call("read", moved=5), used(3, "/tmp/slow (deleted)", reads=1, read=5, left=1)]
    assert without_pids(tracer.texts()) == run_of(
        stats(read=5), ops(reads=1), extra("wide+detail", *lines)
    )


READS = ("read", "pread64", "readv", "preadv", "preadv2", "sendfile")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile")


@pytest.mark.parametrize("seed", range(1, 6))
def test_sums_agree_with_what_the_kernel_itself_accounts(tracer, seed):
    done = tracer.run(f"{FRESH}account {seed} 1000")
    texts = tracer.texts()

    def total(names, number):
        return sum(
            field([text], rf" {number}\[(\d+)\]")
            for text in texts
            if any(f" call[{name}] " in text for name in names)
        )

    kernels = [int(word) for word in done.stdout.split()]
    assert min(kernels) > 300
    assert kernels == [
        *(total(READS, "bytes"), total(WRITES, "bytes")),
        *(total(READS, "calls"), total(WRITES, "calls")),
    ]
    files = [text for text in texts if " fd[" in text]
    assert kernels == [
        sum(field([text], rf" {number}\[(\d+)\]") for text in files)
        for number in ("read", "written", "reads", "writes")
    ]
