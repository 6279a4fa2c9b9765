import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from logtrace import trace
from logtrace.errors import TraceError


def refuse(code):
    def call(pid):
        raise OSError(code, os.strerror(code))

    return call


def accept(pid):
    """Stand in for a kernel that starts every trace."""


@pytest.fixture
def machine(tmp_path):
    """Give the root of a machine with both tracing modules loaded."""
    (tmp_path / "sys/module/iotracehooking").mkdir(parents=True)
    (tmp_path / "sys/module/ftracehooking/parameters").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_ni_syscall\n")
    return tmp_path


def is_inheritable(descriptor):
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # it was the folder being listed
        return False


def python(source):
    return [sys.executable, "-c", textwrap.dedent(source)]


def test_start_passes_the_process_id_to_the_kernel():
    seen = []
    trace.start(4711, call=seen.append)
    assert seen == [4711]


def test_stop_passes_zero_to_the_kernel():
    seen = []
    trace.stop(call=seen.append)
    assert seen == [0]


@pytest.mark.parametrize("pid", [0, -1])
def test_start_refuses_what_is_no_process_id(pid):
    with pytest.raises(TraceError, match="not a process id"):
        trace.start(pid, call=accept)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSYS, "kmod load"),
        (errno.ENODEV, "kmod load"),
        (errno.ESRCH, "process id"),
        (errno.EPERM, "root"),
        (errno.EBUSY, "traced already"),
    ],
)
def test_what_the_kernel_refuses_is_told_with_a_remedy(code, remedy):
    with pytest.raises(TraceError) as raised:
        trace.start(4711, call=refuse(code))
    assert "4711" in raised.value.message
    assert os.strerror(code) in raised.value.message
    assert remedy in raised.value.remedy


def test_ending_a_trace_that_was_not_started_is_told_as_such():
    with pytest.raises(TraceError, match="can't be ended") as raised:
        trace.stop(call=refuse(errno.ESRCH))
    assert "start a trace" in raised.value.remedy


def test_an_unknown_error_is_told_without_a_remedy():
    with pytest.raises(TraceError, match=os.strerror(errno.ENOMEM)) as raised:
        trace.stop(call=refuse(errno.ENOMEM))
    assert raised.value.remedy is None


def test_nothing_is_called_while_the_tracing_module_is_not_loaded(tmp_path):
    with pytest.raises(TraceError, match="iotracehooking is not loaded") as raised:
        trace.system_call(tmp_path)
    assert "kmod load" in raised.value.remedy


def test_another_s_module_is_not_called_where_the_number_is_uprobe(machine):
    (machine / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobe\n")
    with pytest.raises(TraceError, match="336 is uprobe"):
        trace.system_call(machine)


def test_a_symbol_that_only_begins_like_uprobe_is_not_uprobe(machine):
    (machine / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobes\n")
    assert not trace.number_is_uprobe(machine)


def test_a_module_with_another_number_is_called_although_336_is_uprobe(machine):
    (machine / "proc/kallsyms").write_text("0000000000000000 T __x64_sys_uprobe\n")
    # No kernel has that many system calls: it answers ENOSYS and does nothing.
    (machine / "sys/module/ftracehooking/parameters/nr").write_text("4000\n")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        trace.system_call(machine)(4711)


def test_a_program_keeps_its_streams_and_its_exit_code(capfd):
    pid, code = trace.run(python("import os; print(os.getpid()); exit(7)"), call=accept)
    assert code == 7
    assert capfd.readouterr().out == f"{pid}\n"


def test_a_trace_is_started_by_the_program_s_own_process(tmp_path):
    def call(pid):
        (tmp_path / "started").write_text(f"{pid} {os.getpid()}")

    pid, _ = trace.run(["true"], call=call)
    assert (tmp_path / "started").read_text() == f"{pid} {pid}"


def test_a_program_ended_by_a_signal_gives_its_negative_number():
    program = python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert trace.run(program, call=accept)[1] == -signal.SIGTERM


def test_a_program_gets_the_environment_it_is_given(capfd):
    trace.run(["env"], call=accept, environ={"PATH": os.environ["PATH"], "LAB": "os 2"})
    assert "LAB=os 2" in capfd.readouterr().out.splitlines()


def test_a_program_finds_its_signals_as_a_shell_would_leave_them(capfd):
    trace.run(["grep", "^SigIgn:", "/proc/self/status"], call=accept)
    ignored = int(capfd.readouterr().out.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_a_program_inherits_no_descriptor_of_logtrace(capfd):
    kept = {number for number in map(int, os.listdir("/proc/self/fd")) if is_inheritable(number)}
    trace.run(["ls", "/proc/self/fd"], call=accept)
    seen = {int(number) for number in capfd.readouterr().out.split()}
    own = min(set(range(len(kept) + 1)) - kept)  # the folder that ls itself reads
    assert seen == kept | {own}


def test_ctrl_c_ends_the_program_and_not_the_one_that_waits():
    terminal, program_side = os.openpty()
    waiting = python(
        """
        import signal
        from logtrace import trace
        # Whoever started the tests in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        program = ["sh", "-c", "echo ready; exec sleep 60"]
        print(trace.run(program, call=lambda pid: None)[1], "was told")
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
    seen = []
    with pytest.raises(TraceError, match="no-such-program"):
        trace.run(["no-such-program"], call=seen.append)
    assert seen == []


def test_an_empty_command_is_refused():
    with pytest.raises(TraceError, match="no program is named"):
        trace.run([], call=accept)


def test_a_trace_that_cannot_be_started_keeps_the_program_from_running(tmp_path):
    with pytest.raises(TraceError, match="can't be traced") as raised:
        trace.run(["touch", str(tmp_path / "ran")], call=refuse(errno.ENODEV))
    assert "kmod load" in raised.value.remedy
    assert not (tmp_path / "ran").exists()


def test_a_file_that_cannot_be_executed_is_told(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("no program, and no interpreter is named\n")
    broken.chmod(0o755)
    with pytest.raises(TraceError, match=f"{broken} can't be run: Exec format error"):
        trace.run([str(broken)], call=accept)
