import errno
import itertools
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from store_samples import CONTRACT

from logtrace import traced
from logtrace.cli import cli
from logtrace.errors import SourceError, TraceError
from logtrace.record import parse_kmsg
from logtrace.traced import Traced, attach_traced, run_traced, summary
from logtrace.ways import Options

PID = 47283


def lines_of(pid, *, parent=0, extra=(), flags="wide[0] detail[0] follow[1]", calls=0, files=0):
    trace = f"ftrace/1 [{pid}] trace {flags} parent[{parent}] calls[{calls}] files[{files}]"
    return [
        f"OS Assignment2 ftrace [{pid}] Start",
        f"[7] prog{pid} file[f] stats [x] read - {pid} / written - 1",
        "open[1] close[1] read[1] write[1] lseek[0]",
        f"{trace} lost_files[0] lost_children[0] untimed[0]",
        *extra,
        f"OS Assignment2 ftrace [{pid}] End",
    ]


class Numbered:
    """Gives records numbers in the order in which they are made."""

    def __init__(self):
        self.numbers = itertools.count(1)

    def __call__(self, lines):
        return [
            parse_kmsg(f"6,{number},{number},-;{line}\n".encode(), boot_id="b")
            for line, number in zip(lines, self.numbers, strict=False)
        ]


def records(text=CONTRACT):
    return Numbered()([line[15:] for line in text.splitlines()])


class FakeLog:
    """The kernel's log from now on: each drain gives the next batch."""

    batches = ()

    def __init__(self, boot_id, *, only_new):
        assert only_new
        self.left = iter(type(self).batches)
        self.closed = False
        self.bell = os.eventfd(0)
        type(self).last = self

    def fileno(self):
        return self.bell

    def drain(self):
        batch = next(self.left, [])
        if isinstance(batch, Exception):
            raise batch
        return batch

    def close(self):
        self.closed = True
        os.close(self.bell)


@pytest.fixture
def log(monkeypatch):
    """Trace nothing really: the program has run, and the log is what the test makes it."""

    class Log(FakeLog):
        pass

    clock = itertools.count()
    monkeypatch.setattr(traced, "KmsgSource", Log)
    monkeypatch.setattr(traced.family, "pids_are_the_log_s", lambda: True)
    monkeypatch.setattr(traced.trace, "run", ended_with(0))
    monkeypatch.setattr(traced.time, "monotonic", lambda: float(next(clock)) / 10)
    monkeypatch.setattr(traced.time, "sleep", lambda seconds: None)
    return Log


def ended_with(code, commands=None):
    def run(command, options=Options.NONE, meanwhile=None):
        if commands is not None:
            commands.append((command, options))
        if meanwhile:
            ended = os.eventfd(1)
            meanwhile(PID, ended)
            os.close(ended)
        return PID, code

    return run


def test_the_run_of_the_program_is_found_when_its_last_line_comes(log):
    others = records(CONTRACT.replace(str(PID), "1"))
    log.batches = [others, [], records()[:3], records()[3:]]
    told = run_traced(["prog"])
    assert (told.run["pid"], told.run["read_bytes"], told.run["status"]) == (PID, 20, "complete")
    assert told.run["host"] == platform.node()
    assert (told.code, told.why_not, told.children) == (0, None, [])
    assert log.last.closed


def test_lines_that_do_not_come_are_waited_for_a_while_only(log):
    log.batches = [records()[:3]]
    assert run_traced(["prog"]) == Traced(code=0, why_not=f"no End line of {PID} came within 2 s")
    assert log.last.closed


def test_the_log_is_read_while_the_program_runs(log, monkeypatch):
    def run(command, options, meanwhile):
        ended = os.eventfd(0)
        with subprocess.Popen(["sleep", "0.2"]) as process:
            os.eventfd_write(log.last.bell, 1)
            watched = os.pidfd_open(process.pid)
            meanwhile(PID, watched)
            os.close(watched)
        os.close(ended)
        assert not any(True for _ in log.last.left)
        return PID, 0

    monkeypatch.setattr(traced.trace, "run", run)
    log.batches = [records()]
    assert run_traced(["prog"]).run["pid"] == PID


def test_without_permission_to_read_the_log_the_program_runs_all_the_same(log, monkeypatch):
    def refused(*_args, **_options):
        raise SourceError("/dev/kmsg: permission denied", "run as root")

    monkeypatch.setattr(traced, "KmsgSource", refused)
    told = run_traced(["prog"])
    assert told == Traced(code=0, why_not="/dev/kmsg: permission denied (run as root)")


def test_where_the_log_has_other_process_ids_no_run_is_looked_for(log, monkeypatch):
    monkeypatch.setattr(traced.family, "pids_are_the_log_s", lambda: False)
    told = run_traced(["prog"])
    assert (told.run, told.code) == (None, 0)
    assert "container" in told.why_not
    assert "logtrace watch" in told.why_not


@pytest.mark.parametrize("before", [[], [[]]])
def test_a_log_that_breaks_does_not_hide_the_programs_exit_code(log, monkeypatch, before):
    monkeypatch.setattr(traced.trace, "run", ended_with(7))
    log.batches = [*before, SourceError("/dev/kmsg: Input/output error")]
    told = run_traced(["prog"])
    assert told == Traced(code=7, why_not="/dev/kmsg: Input/output error")
    assert log.last.closed


def test_a_program_that_cannot_be_traced_is_an_error_and_the_log_is_closed(log, monkeypatch):
    def refused(*_args, **_options):
        raise TraceError("the module ftracehooking is not loaded")

    monkeypatch.setattr(traced.trace, "run", refused)
    with pytest.raises(TraceError):
        run_traced(["prog"])
    assert log.last.closed


def test_files_and_calls_of_the_run_are_told_and_no_others(log):
    number = Numbered()
    call = "ftrace/1 [{}] call[read] calls[4] errors[1] bytes[20] ns[81234]"
    fd = (
        "ftrace/1 [{}] fd[3] opens[1] closes[1] reads[4] writes[5] seeks[9] read[20]"
        " written[26] open[0] path[/f]"
    )
    asked = {"flags": "wide[1] detail[1] follow[0]", "calls": 1, "files": 1}
    log.batches = [
        number(lines_of(pid, extra=[call.format(pid), fd.format(pid)], **asked))
        for pid in (5, PID, 6)
    ]
    told = run_traced(["prog"], Options.WIDE | Options.DETAIL)
    assert [(row["pid"], row["call"], row["time_ns"]) for row in told.calls] == [
        (PID, "read", 81234)
    ]
    assert [(row["pid"], row["path"], row["seeks"]) for row in told.files] == [(PID, "/f", 9)]


def test_a_program_that_traces_itself_again_is_told_as_it_was_first(log):
    log.batches = [Numbered()([*lines_of(PID, parent=0), *lines_of(PID, parent=0)])]
    assert run_traced(["prog"]).run["first_seq"] == 1


# Children


def test_children_and_their_children_are_told_and_no_others(log):
    number = Numbered()
    log.batches = [
        number(lines_of(12, parent=11)),  # ends before its parent is known
        number(lines_of(21, parent=20)),
        number(lines_of(11, parent=PID)),
        number(lines_of(PID)),
    ]
    told = run_traced(["prog"], Options.FOLLOW)
    assert [child["pid"] for child in told.children] == [12, 11]
    assert told.running == []


def test_a_child_that_has_ended_is_waited_for_and_one_that_runs_is_not(log):
    with subprocess.Popen(["sleep", "60"]) as running:
        gone = subprocess.Popen(["true"])
        gone.wait()
        number = Numbered()
        starts = [lines_of(running.pid)[0], lines_of(gone.pid)[0]]
        log.batches = [
            number([*starts, *lines_of(PID)]),
            [],
            number(lines_of(gone.pid, parent=PID)[1:]),
        ]
        told = run_traced(["prog"], Options.FOLLOW)
        running.kill()
    assert [child["pid"] for child in told.children] == [gone.pid]


def test_a_child_that_outlives_the_program_is_told_to_run(log, monkeypatch):
    log.batches = [Numbered()([lines_of(4711)[0], *lines_of(PID)])]
    place = traced.family.Place(parent=PID, parent_group=1, group=1, session=1)
    monkeypatch.setattr(traced.family, "place_of", lambda pid: place)
    monkeypatch.setattr(traced.family, "runs", lambda pid: True)
    assert run_traced(["prog"], Options.FOLLOW).running == [4711]


# Attaching


class Kernel:
    """Stands in for the modules: notes what it is asked, and has the log tell the run."""

    def __init__(self, log, refuses=None):
        self.log = log
        self.refuses = refuses
        self.asked = []

    def start(self, pid, options):
        self.asked.append(("start", pid, options))
        if self.refuses:
            raise TraceError(os.strerror(self.refuses))

    def stop(self, pid, options):
        self.asked.append(("stop", pid, options))


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def kernel(log, sleeper, monkeypatch):
    monkeypatch.undo()
    kernel = Kernel(log)
    monkeypatch.setattr(traced, "KmsgSource", log)
    monkeypatch.setattr(traced.family, "pids_are_the_log_s", lambda: True)
    monkeypatch.setattr(traced.trace, "start", kernel.start)
    monkeypatch.setattr(traced.trace, "stop", kernel.stop)
    log.batches = [Numbered()(lines_of(sleeper.pid))]
    return kernel


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_trace_and_not_the_process(kernel, sleeper, number):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    told = attach_traced(
        sleeper.pid,
        Options.FOLLOW | Options.DETAIL,
        started=lambda: os.kill(os.getpid(), number),
    )
    assert told.run["pid"] == sleeper.pid
    assert told.code is None
    assert kernel.asked == [("start", sleeper.pid, 6), ("stop", sleeper.pid, 4)]
    assert sleeper.poll() is None
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_attaching_ends_when_the_process_does(kernel, sleeper):
    assert attach_traced(sleeper.pid, started=sleeper.kill).run["pid"] == sleeper.pid


def test_attaching_ends_when_another_ends_the_trace(kernel, sleeper):
    told = attach_traced(sleeper.pid, started=lambda: os.eventfd_write(kernel.log.last.bell, 1))
    assert told.run["pid"] == sleeper.pid
    assert sleeper.poll() is None


def test_attaching_waits_without_work(kernel, sleeper):
    before = resource.getrusage(resource.RUSAGE_SELF)
    with subprocess.Popen(["sh", "-c", f"sleep 0.5; kill {sleeper.pid}"]):
        attach_traced(sleeper.pid)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_nvcsw - before.ru_nvcsw < 50, "it looked over and over"


def test_a_process_is_traced_although_the_log_may_not_be_read(kernel, sleeper, monkeypatch):
    def refused(*_args, **_options):
        raise SourceError("/dev/kmsg: permission denied", "run as root")

    monkeypatch.setattr(traced, "KmsgSource", refused)
    told = attach_traced(sleeper.pid, started=sleeper.kill)
    assert told == Traced(why_not="/dev/kmsg: permission denied (run as root)")
    assert [what for what, *_ in kernel.asked] == ["start", "stop"]


def test_a_trace_that_is_refused_is_not_ended(kernel, sleeper):
    kernel.refuses = errno.EBUSY
    with pytest.raises(TraceError):
        attach_traced(sleeper.pid)
    assert [what for what, *_ in kernel.asked] == ["start"]
    assert kernel.log.last.closed


def test_a_process_that_is_not_there_is_told(kernel):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(TraceError, match=f"process {gone.pid} can't be traced: no such process"):
        attach_traced(gone.pid)
    assert kernel.asked == []


# What is printed


def summary_of(**changes):
    run = {"pid": 5, "comm": "cat", "file": "f", "status": "complete", "note": None}
    counters = {"read_bytes": 2048, "written_bytes": 0, "open_calls": 1, "close_calls": 1}
    code = changes.pop("code", None)
    return summary(Traced(run | counters | changes, code)).splitlines()


def test_a_summary_tells_bytes_calls_and_the_last_file():
    assert summary_of(read_calls=2, write_calls=0, lseek_calls=0) == [
        "cat [5]",
        "  read 2.0 KiB, wrote 0 B",
        "  open 1 · close 1 · read 2 · write 0 · lseek 0",
        "  last file: f",
    ]


def test_a_summary_says_what_is_not_known_and_why():
    lines = summary_of(status="no_end", note="the End line is missing", read_bytes=None, file=None)
    assert lines[1:] == [
        "  read ?, wrote 0 B",
        "  open 1 · close 1 · read ? · write ? · lseek ?",
        "  no file was opened",
        "  no_end: the End line is missing",
    ]


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (None, []),
        (0, []),
        (3, ["exit code 3"]),
        (-9, ["killed by SIGKILL"]),
        (-35, ["killed by signal 35"]),
    ],
)
def test_a_summary_tells_how_long_it_took_and_how_it_ended(code, ending):
    heading = summary_of(code=code, started_us=100, ended_us=1_250_100)[0]
    assert heading.split(" · ") == ["cat [5]", "1.250 s", *ending]


def test_a_summary_with_its_files_below_names_no_last_file():
    assert len(summary_of(detail=True)) == 3


def test_a_summary_shows_a_hostile_name_escaped():
    assert all(line.isprintable() for line in summary_of(comm="\x1b[31m", file="a\nb\u202e"))


# The commands


@pytest.fixture
def run(log):
    def run(*arguments):
        return CliRunner().invoke(cli, ["run", *arguments])

    log.batches = [records()]
    return run


def test_run_prints_the_summary_beside_the_programs_output(run):
    done = run("--", "prog", "-x")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("test [47283] · ")
    assert "\n  read 20 B, wrote 26 B\n" in done.stderr


def test_run_takes_the_programs_options_for_the_programs(run, monkeypatch):
    commands = []
    monkeypatch.setattr(traced.trace, "run", ended_with(0, commands))
    run("ls", "-l", "--help", "-q")
    run("-q", "--detail", "--", "-odd", "--", "--wide")
    assert commands == [(("ls", "-l", "--help", "-q"), 0), (("-odd", "--", "--wide"), 2)]


@pytest.mark.parametrize(("code", "status"), [(0, 0), (3, 3), (-9, 137), (-2, 130)])
def test_run_ends_with_the_programs_exit_code(run, monkeypatch, code, status):
    monkeypatch.setattr(traced.trace, "run", ended_with(code))
    assert run("prog").exit_code == status
    assert json.loads(run("--json", "prog").stderr)["exit_code"] == status


def test_run_prints_json_on_request(run):
    told = json.loads(run("--json", "prog").stderr)
    assert (told["pid"], told["written_bytes"], told["boot_id"]) == (PID, 26, "b")
    assert (told["children"], told["files"], told["calls"], told["running"]) == ([], [], [], [])


def test_run_says_why_there_is_no_summary_unless_quiet(run, log):
    log.batches = []
    assert "no summary: no End line" in run("prog").stderr
    assert run("-q", "prog").stderr == ""


def test_run_without_a_program_is_wrong_usage(run):
    assert run().exit_code == 2


def test_run_prints_the_tables_that_are_asked_for(run, log):
    log.batches = [Numbered()(lines_of(PID))]
    assert run("--follow", "prog").stderr.splitlines()[5].split()[:2] == ["Pid", "Process"]


@pytest.mark.parametrize("command", [["run", "--", sys.executable], ["attach", "1"]])
def test_without_the_modules_the_remedy_is_named(command):
    if Path("/sys/module/ftracehooking").exists():
        pytest.skip("the modules are loaded here")
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1
    assert "sudo logtrace kmod load" in done.stderr


def test_attach_prints_the_summary_as_its_result(kernel, sleeper):
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; kill {sleeper.pid}"]):
        done = CliRunner().invoke(cli, ["attach", "--detail", str(sleeper.pid)])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"prog{sleeper.pid} [{sleeper.pid}]")
    assert done.stderr == f"tracing {sleeper.pid}; Ctrl-C ends the trace\n"
    assert kernel.asked[0] == ("start", sleeper.pid, 2)


def test_attach_without_a_summary_is_a_failure(kernel, sleeper, monkeypatch):
    monkeypatch.setattr(traced.family, "pids_are_the_log_s", lambda: False)
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; kill {sleeper.pid}"]):
        done = CliRunner().invoke(cli, ["attach", "-q", str(sleeper.pid)])
    assert (done.exit_code, done.output) == (1, "")


def test_attach_can_end_a_trace_that_others_started(kernel):
    done = CliRunner().invoke(cli, ["attach", "--end", "--follow", "--wide", "4711"])
    assert (done.exit_code, done.stdout) == (0, "")
    assert kernel.asked == [("stop", 4711, 4)]
