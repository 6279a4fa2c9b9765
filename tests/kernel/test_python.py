"""The modules handled from Python: loaded, asked, called and unloaded."""

import shlex
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel


def python(machine, source):
    """Run a script in the guest and give the lines that it and our modules printed."""
    script = "from pathlib import Path\nfrom logtrace import doctor, kmod, trace\n"
    script += f"folder = Path({str(machine.modules)!r})\n" + textwrap.dedent(source)
    done = machine.run(f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}")
    return done.stdout.splitlines(), machine.texts()


def test_modules_are_loaded_told_and_unloaded(machine):
    printed, _ = python(
        machine,
        """
        print(kmod.load(folder, owner="2021", wide=True), kmod.load(folder))
        for module in kmod.status(folder):
            print(module.name, module.users, module.owner, module.wide, module.matches)
        print(kmod.unload(), kmod.unload())
        """,
    )
    assert printed == [
        "('ftracehooking', 'iotracehooking') ()",
        "os_ftracehooking () None None None",
        "ftracehooking ('iotracehooking',) 2021 None True",
        "iotracehooking () None True True",
        "('iotracehooking', 'ftracehooking') ()",
    ]


def test_refusals_are_told_in_the_kernels_words(machine):
    printed, _ = python(
        machine,
        """
        from logtrace.errors import LogtraceError

        def attempt(action, *arguments, **options):
            try:
                print(action(*arguments, **options))
            except LogtraceError as error:
                print(error.message)

        attempt(trace.start, 1)
        kmod.load(folder)
        attempt(kmod.load, folder, owner="2021")
        attempt(kmod.unload, "ftracehooking")
        attempt(trace.start, 4194304)
        attempt(trace.stop)
        kmod.unload()
        other = Path("other")
        other.mkdir()
        (other / "os_ftracehooking.ko").write_bytes(b"no module at all")
        attempt(kmod.load, other, module="os_ftracehooking")
        """,
    )
    assert printed == [
        "the module iotracehooking is not loaded",
        "ftracehooking is already loaded with owner=2021202045",
        "ftracehooking can't be unloaded, it is in use by iotracehooking: "
        "Resource temporarily unavailable",
        "process 4194304 can't be traced: No such process",
        "the trace can't be ended: No such process",
        "os_ftracehooking can't be loaded: Exec format error; "
        "the kernel says: Invalid ELF header len 16",
    ]


def test_a_program_is_counted_from_its_first_call_to_its_last_and_nothing_else_is(tracer):
    tracer.run("printf 0123456789 > data")
    printed, lines = python(
        tracer,
        """
        print(*trace.run(["./calls", "open:data", "read:3,2", "lseek:2,0", "close", "kill"]))
        """,
    )
    pid, code = printed[0].split()
    assert code == "-9"
    assert lines == [
        f"OS Assignment2 ftrace [{pid}] Start",
        "[2021202045] calls file[data] stats [x] read - 6 / written - 0",
        "open[1] close[1] read[3] write[0] lseek[2]",
        f"OS Assignment2 ftrace [{pid}] End",
    ]


def test_a_process_traces_itself_from_python(tracer):
    printed, lines = python(
        tracer,
        """
        import os

        call = trace.system_call()
        descriptor = os.open("/dev/zero", os.O_RDWR)
        trace.start(os.getpid(), call=call)
        for _ in range(7):
            os.read(descriptor, 11)
        os.write(descriptor, b"12345")
        trace.stop(call=call)
        print(os.getpid())
        """,
    )
    assert lines == [
        f"OS Assignment2 ftrace [{printed[0]}] Start",
        f"[2021202045] {Path(sys.executable).name} file[] stats [x] read - 77 / written - 5",
        "open[0] close[0] read[7] write[1] lseek[0]",
        f"OS Assignment2 ftrace [{printed[0]}] End",
    ]


def test_the_machine_is_found_in_order_while_the_modules_are_loaded(tracer):
    printed, _ = python(
        tracer,
        """
        for check in doctor.examine():
            print(check.state, check.found)
        """,
    )
    number = "is os_ftrace in this kernel" if tracer.patched else "is free"
    assert f"ok 336 {number}" in printed
    assert "ok loaded: ftracehooking, iotracehooking" in printed
    assert "ok allowed to root" in printed
    assert "ok /dev/kmsg can be read" in printed
