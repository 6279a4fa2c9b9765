import itertools
import json
import platform
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from store_samples import CONTRACT

from logtrace import traced
from logtrace.cli import cli
from logtrace.errors import SourceError, TraceError
from logtrace.record import parse_kmsg

PID = 47283


def records(text=CONTRACT):
    return [
        parse_kmsg(f"6,{number},{number},-;{line[15:]}\n".encode(), boot_id="b")
        for number, line in enumerate(text.splitlines())
    ]


class FakeLog:
    """The kernel's log from now on: each drain gives the next batch."""

    batches = ()

    def __init__(self, boot_id, *, only_new):
        assert only_new
        self.left = iter(type(self).batches)
        self.closed = False
        type(self).last = self

    def drain(self):
        batch = next(self.left, [])
        if isinstance(batch, Exception):
            raise batch
        return batch

    def close(self):
        self.closed = True


@pytest.fixture
def log(monkeypatch):
    """Trace nothing really: the program has run, and the log is what the test makes it."""

    class Log(FakeLog):
        pass

    clock = itertools.count()
    monkeypatch.setattr(traced, "KmsgSource", Log)
    monkeypatch.setattr(traced.trace, "run", lambda command: (PID, 0))
    monkeypatch.setattr(traced.time, "monotonic", lambda: float(next(clock)) / 10)
    monkeypatch.setattr(traced.time, "sleep", lambda seconds: None)
    return Log


def test_the_run_of_the_program_is_found_when_its_last_line_comes(log):
    others = records(CONTRACT.replace(str(PID), "1"))
    log.batches = [others, [], records()[:3], records()[3:]]
    run, code, why_not = traced.run_traced(["prog"])
    assert (run["pid"], run["read_bytes"], run["status"]) == (PID, 20, "complete")
    assert run["host"] == platform.node()
    assert (code, why_not) == (0, None)
    assert log.last.closed


def test_lines_that_do_not_come_are_waited_for_a_while_only(log):
    log.batches = [records()[:3]]
    assert traced.run_traced(["prog"]) == (None, 0, f"no End line of {PID} came within 2 s")
    assert log.last.closed


def test_without_permission_to_read_the_log_the_program_runs_all_the_same(log, monkeypatch):
    def refused(*_args, **_options):
        raise SourceError("/dev/kmsg: permission denied", "run as root")

    monkeypatch.setattr(traced, "KmsgSource", refused)
    assert traced.run_traced(["prog"]) == (None, 0, "/dev/kmsg: permission denied (run as root)")


def test_a_log_that_breaks_does_not_hide_the_programs_exit_code(log, monkeypatch):
    monkeypatch.setattr(traced.trace, "run", lambda command: (PID, 7))
    log.batches = [SourceError("/dev/kmsg: Input/output error")]
    assert traced.run_traced(["prog"]) == (None, 7, "/dev/kmsg: Input/output error")
    assert log.last.closed


def test_a_program_that_cannot_be_traced_is_an_error_and_the_log_is_closed(log, monkeypatch):
    def refused(command):
        raise TraceError("the module iotracehooking is not loaded")

    monkeypatch.setattr(traced.trace, "run", refused)
    with pytest.raises(TraceError):
        traced.run_traced(["prog"])
    assert log.last.closed


def summary_of(**changes):
    run = {"pid": 5, "comm": "cat", "file": "f", "status": "complete", "note": None}
    counters = {"read_bytes": 2048, "written_bytes": 0, "open_calls": 1, "close_calls": 1}
    return traced.summary(run | counters | changes).splitlines()


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


def test_a_summary_shows_a_hostile_name_escaped():
    assert all(line.isprintable() for line in summary_of(comm="\x1b[31m", file="a\nb\u202e"))


# The command


@pytest.fixture
def run(log):
    def run(*arguments):
        return CliRunner().invoke(cli, ["run", *arguments])

    log.batches = [records()]
    return run


def test_run_prints_the_summary_beside_the_programs_output(run):
    done = run("--", "prog", "-x")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "test [47283]\n  read 20 B, wrote 26 B" in done.stderr


def test_run_takes_the_programs_options_for_the_programs(run, monkeypatch):
    commands = []
    monkeypatch.setattr(traced.trace, "run", lambda command: commands.append(command) or (PID, 0))
    run("ls", "-l", "--help", "-q")
    run("-q", "--", "-odd", "--", "x")
    assert commands == [("ls", "-l", "--help", "-q"), ("-odd", "--", "x")]


@pytest.mark.parametrize(("code", "status"), [(0, 0), (3, 3), (-9, 137), (-2, 130)])
def test_run_ends_with_the_programs_exit_code(run, monkeypatch, code, status):
    monkeypatch.setattr(traced.trace, "run", lambda command: (PID, code))
    assert run("prog").exit_code == status


def test_run_prints_json_on_request(run):
    told = json.loads(run("--json", "prog").stderr)
    assert (told["pid"], told["written_bytes"], told["boot_id"]) == (PID, 26, "b")


def test_run_says_why_there_is_no_summary_unless_quiet(run, log):
    log.batches = []
    assert "no summary: no End line" in run("prog").stderr
    assert run("-q", "prog").stderr == ""


def test_run_without_a_program_is_wrong_usage(run):
    assert run().exit_code == 2


def test_run_without_the_modules_names_the_remedy():
    if Path("/sys/module/iotracehooking").exists():
        pytest.skip("the modules are loaded here")
    done = CliRunner().invoke(cli, ["run", "--", sys.executable, "--version"])
    assert done.exit_code == 1
    assert "sudo logtrace kmod load" in done.stderr
