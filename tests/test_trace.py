import errno
import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest

from logtrace import trace
from logtrace.errors import TraceError
from logtrace.ways import Options


class Kernel:
    """Stands in for a way in to a kernel that starts every trace, or refuses with an error."""

    def __init__(self, refuses=None):
        self.refuses = refuses
        self.asked = []

    def start(self, pid, options):
        self._ask("start", pid, options)

    def stop(self, pid, options):
        self._ask("stop", pid, options)

    def close(self):
        self.asked.append("close")

    def _ask(self, *what):
        self.asked.append(what)
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))


def run(program, options=Options.NONE, *, kernel=None, **rest):
    return trace.run(program, options, way=kernel or Kernel(), **rest)


def is_inheritable(descriptor):
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # it was the folder being listed
        return False


def python(source):
    return [sys.executable, "-c", textwrap.dedent(source)]


def test_start_passes_process_and_options_to_the_kernel():
    kernel = Kernel()
    trace.start(4711, Options.WIDE | Options.FOLLOW, way=kernel)
    assert kernel.asked == [("start", 4711, 5)]


def test_stop_ends_the_caller_s_own_trace_unless_a_process_is_named():
    kernel = Kernel()
    trace.stop(way=kernel)
    trace.stop(4711, Options.FOLLOW, way=kernel)
    assert kernel.asked == [("stop", 0, 0), ("stop", 4711, 4)]


def test_a_way_that_was_found_is_closed_again(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(trace, "find_way", lambda only_device: kernel)
    trace.start(4711)
    assert kernel.asked == [("start", 4711, 0), "close"]


@pytest.mark.parametrize(
    ("act", "only_device"),
    [
        (lambda: trace.start(4711), False),
        (lambda: trace.start(4711, Options.DETAIL), True),
        (lambda: trace.stop(), False),
        (lambda: trace.stop(4711), True),
        (lambda: trace.run(["true"]), False),
        (lambda: trace.run(["true"], Options.FOLLOW), True),
    ],
)
def test_what_the_system_call_can_t_do_asks_for_the_device(monkeypatch, act, only_device):
    asked = []
    find = lambda only_device: asked.append(only_device) or Kernel()  # noqa: E731
    monkeypatch.setattr(trace, "find_way", find)
    act()
    assert asked == [only_device]


@pytest.mark.parametrize("pid", [0, -1])
def test_start_refuses_what_is_no_process_id(pid):
    with pytest.raises(TraceError, match="not a process id"):
        trace.start(pid, way=Kernel())


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        (errno.ENOSYS, os.strerror(errno.ENOSYS), "kmod load"),
        (errno.ENODEV, os.strerror(errno.ENODEV), "kmod load"),
        (errno.ESRCH, os.strerror(errno.ESRCH), "process id"),
        (errno.EPERM, os.strerror(errno.EPERM), "root"),
        (errno.EBUSY, "it is traced already", "--end"),
        (errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), "/dev/os_ftrace"),
        (errno.ENOTTY, os.strerror(errno.ENOTTY), "kmod unload"),
    ],
)
def test_what_the_kernel_refuses_is_told_with_a_remedy(code, reason, remedy):
    with pytest.raises(TraceError) as raised:
        trace.start(4711, way=Kernel(code))
    assert raised.value.message == f"process 4711 can't be traced: {reason}"
    assert remedy in raised.value.remedy


def test_ending_a_trace_that_was_not_started_is_told_as_such():
    with pytest.raises(TraceError, match="it is not traced") as raised:
        trace.stop(way=Kernel(errno.ESRCH))
    assert "start a trace" in raised.value.remedy


def test_an_unknown_error_is_told_without_a_remedy():
    with pytest.raises(TraceError, match=os.strerror(errno.ENOMEM)) as raised:
        trace.stop(4711, way=Kernel(errno.ENOMEM))
    assert raised.value.message.startswith("the trace of process 4711")
    assert raised.value.remedy is None


def test_a_program_keeps_its_streams_and_its_exit_code(capfd):
    pid, code = run(python("import os; print(os.getpid()); exit(7)"))
    assert code == 7
    assert capfd.readouterr().out == f"{pid}\n"


def test_a_trace_is_started_by_the_program_s_own_process_with_its_options(tmp_path):
    class Noting(Kernel):
        def start(self, pid, options):
            (tmp_path / "started").write_text(f"{pid} {os.getpid()} {options:d}")

    pid, _ = run(["true"], Options.DETAIL, kernel=Noting())
    assert (tmp_path / "started").read_text() == f"{pid} {pid} 2"


def test_what_is_done_meanwhile_sees_the_program_end(tmp_path):
    seen = []

    def meanwhile(pid, process):
        seen.append(bool(select.select([process], [], [], 0)[0]))
        (tmp_path / "fifo").write_text("go on\n")
        seen.append(bool(select.select([process], [], [], 60)[0]))

    os.mkfifo(tmp_path / "fifo")
    program = ["sh", "-c", f"read x < {tmp_path}/fifo; exit 3"]
    assert run(program, meanwhile=meanwhile)[1] == 3
    assert seen == [False, True]


def test_the_program_is_waited_for_although_what_is_done_meanwhile_fails(tmp_path):
    def fail(pid, process):
        raise ValueError("of the caller's")

    with pytest.raises(ValueError, match="of the caller's"):
        run(["sh", "-c", f"sleep 0.1; touch {tmp_path}/ran"], meanwhile=fail)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_what_would_end_the_waiting_caller_is_passed_on_to_the_program(number):
    before = signal.signal(number, signal.SIG_DFL)

    def meanwhile(pid, process):
        os.kill(os.getpid(), number)

    try:
        assert run(["sleep", "60"], meanwhile=meanwhile)[1] == -number
    finally:
        signal.signal(number, before)


def test_a_signal_that_the_caller_ignores_is_not_passed_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def meanwhile(pid, process):
        os.kill(os.getpid(), signal.SIGHUP)

    try:
        assert run(["sh", "-c", "sleep 0.1; exit 4"], meanwhile=meanwhile)[1] == 4
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_program_ended_by_a_signal_gives_its_negative_number():
    program = python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert run(program)[1] == -signal.SIGTERM


def test_a_program_gets_the_environment_it_is_given(capfd):
    run(["env"], environ={"PATH": os.environ["PATH"], "LAB": "os 2"})
    assert "LAB=os 2" in capfd.readouterr().out.splitlines()


def test_a_program_finds_its_signals_as_a_shell_would_leave_them(capfd):
    run(["grep", "^SigIgn:", "/proc/self/status"])
    ignored = int(capfd.readouterr().out.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_a_program_inherits_no_descriptor_of_logtrace(capfd):
    kept = {number for number in map(int, os.listdir("/proc/self/fd")) if is_inheritable(number)}
    run(["ls", "/proc/self/fd"])
    seen = {int(number) for number in capfd.readouterr().out.split()}
    own = min(set(range(len(kept) + 1)) - kept)  # the folder that ls itself reads
    assert seen == kept | {own}


def test_ctrl_c_ends_the_program_and_not_the_one_that_waits():
    terminal, program_side = os.openpty()
    waiting = python(
        """
        import signal
        from logtrace import trace

        class Way:
            def start(self, pid, options):
                pass

        # Whoever started the tests in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        program = ["sh", "-c", "echo ready; exec sleep 60"]
        print(trace.run(program, way=Way())[1], "was told")
        """
    )
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), program_side)
    with subprocess.Popen(["setsid", "--ctty", *waiting], **streams) as process:
        os.close(program_side)
        read_until(terminal, b"ready")
        os.write(terminal, b"\x03")
        assert b"-2 was told" in read_until(terminal, b"told")
    os.close(terminal)
    assert process.returncode == 0


def read_until(descriptor, wanted):
    seen = b""
    while wanted not in seen:
        seen += os.read(descriptor, 4096)
    return seen


def test_a_program_that_does_not_exist_is_refused_before_a_trace_starts():
    kernel = Kernel()
    with pytest.raises(TraceError, match="no-such-program"):
        run(["no-such-program"], kernel=kernel)
    assert kernel.asked == []


def test_an_empty_command_is_refused():
    with pytest.raises(TraceError, match="no program is named"):
        run([])


def test_a_trace_that_cannot_be_started_keeps_the_program_from_running(tmp_path):
    with pytest.raises(TraceError, match="can't be traced") as raised:
        run(["touch", str(tmp_path / "ran")], kernel=Kernel(errno.ENODEV))
    assert "kmod load" in raised.value.remedy
    assert not (tmp_path / "ran").exists()


def test_a_file_that_cannot_be_executed_is_told(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("no program, and no interpreter is named\n")
    broken.chmod(0o755)
    with pytest.raises(TraceError, match=f"{broken} can't be run: Exec format error"):
        run([str(broken)])
