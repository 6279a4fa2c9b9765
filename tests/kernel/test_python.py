"""The modules handled from Python: loaded, asked, called and unloaded."""

import json
import shlex
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel


def python(machine, source):
    """Run a script in the guest and give the lines that it and our modules printed."""
    script = "from pathlib import Path\nfrom logtrace import doctor, kmod, trace, ways\n"
    script += f"folder = Path({str(machine.modules)!r})\n" + textwrap.dedent(source)
    done = machine.run(f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}")
    return done.stdout.splitlines(), machine.texts()


def test_modules_are_loaded_told_and_unloaded(machine):
    printed, _ = python(
        machine,
        """
        print(kmod.load(folder, owner="2021", wide=True, files=9), kmod.load(folder))
        for module in kmod.status(folder):
            print(module.name, module.users, module.owner, module.device, module.matches)
            print(module.wide, module.detail, module.follow, module.files)
        print(kmod.unload(), kmod.unload(), ways.DEVICE.exists())
        """,
    )
    assert printed == [
        "('ftracehooking', 'iotracehooking') ()",
        "os_ftracehooking () None None None",
        "None None None None",
        "ftracehooking ('iotracehooking',) 2021 True True",
        "True False False 9",
        "iotracehooking () None None True",
        "None None None None",
        "('iotracehooking', 'ftracehooking') () False",
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
        kmod.load(folder, module="ftracehooking")
        attempt(trace.start, 1)
        kmod.load(folder)
        attempt(kmod.load, folder, owner="2021")
        attempt(kmod.unload, "ftracehooking")
        attempt(trace.start, 4194304)
        attempt(trace.stop)
        attempt(trace.stop, 1)
        trace.start(1)
        attempt(trace.start, 1)
        trace.stop(1)
        kmod.unload()
        other = Path("other")
        other.mkdir()
        (other / "os_ftracehooking.ko").write_bytes(b"no module at all")
        attempt(kmod.load, other, module="os_ftracehooking")
        """,
    )
    *told, refused = printed
    assert told == [
        "the module ftracehooking is not loaded",
        "process 1 can't be traced: No such device",
        "ftracehooking is already loaded with owner=2021202045",
        "ftracehooking can't be unloaded, it is in use by iotracehooking: "
        "Resource temporarily unavailable",
        "process 4194304 can't be traced: No such process",
        "no trace was ended: it is not traced",
        "the trace of process 1 can't be ended: it is not traced",
        "process 1 can't be traced: it is traced already",
    ]
    what, words = refused.split("; the kernel says: ")
    assert what == "os_ftracehooking can't be loaded: Exec format error"
    assert "ELF" in words
    assert any(line.endswith(f"] {words}") for line in machine.history)


def test_a_program_is_counted_from_its_first_call_to_its_last_and_nothing_else_is(tracer):
    tracer.run("printf 0123456789 > data")
    printed, lines = python(
        tracer,
        """
        print(*trace.run(["./plain", "data"]))
        """,
    )
    pid, code = printed[0].split()
    assert code == "-9"
    assert lines == [
        f"OS Assignment2 ftrace [{pid}] Start",
        "[2021202045] plain file[missing] stats [x] read - 6 / written - 0",
        "open[2] close[1] read[3] write[0] lseek[2]",
        f"OS Assignment2 ftrace [{pid}] End",
    ]


@pytest.mark.parametrize("way", ["ways.find_way()", "ways.SystemCall(ways.number_in_force())"])
def test_a_process_traces_itself_from_python(tracer, way):
    if "SystemCall" in way and not tracer.number:
        pytest.skip("this kernel needs the number for itself")
    printed, lines = python(
        tracer,
        f"""
        import os

        way = {way}
        descriptor = os.open("/dev/zero", os.O_RDWR)
        trace.start(os.getpid(), way=way)
        for _ in range(7):
            os.read(descriptor, 11)
        os.write(descriptor, b"12345")
        trace.stop(way=way)
        print(os.getpid())
        """,
    )
    assert lines == [
        f"OS Assignment2 ftrace [{printed[0]}] Start",
        f"[2021202045] {Path(sys.executable).name} file[] stats [x] read - 77 / written - 5",
        "open[0] close[0] read[7] write[1] lseek[0]",
        f"OS Assignment2 ftrace [{printed[0]}] End",
    ]


def test_files_and_calls_of_a_program_are_told(tracer):
    tracer.run("printf 0123456789 > data")
    printed, _ = python(
        tracer,
        """
        from logtrace.traced import run_traced

        told = run_traced(["./plain", "data", "open"], ways.Options.WIDE | ways.Options.DETAIL)
        print(told.code, told.run["status"], told.run["wide"], told.run["detail"])
        for row in told.files:
            if row["path"].endswith("/data"):
                print(row["opens"], row["closes"], row["reads"], row["seeks"], row["read_bytes"])
                print(row["open_at_end"])
        calls = {row["call"]: row for row in told.calls}
        for name in ("openat", "read", "lseek"):
            print(name, calls[name]["calls"], calls[name]["errors"], calls[name]["moved_bytes"])
        print(min(row["time_ns"] for row in told.calls) > 0)
        """,
    )
    assert printed == [
        *("-9 complete True True", "1 0 3 2 6", "True"),
        *("openat 2 1 0", "read 3 0 6", "lseek 2 0 0", "True"),
    ]


def test_children_are_told_with_the_program_and_one_that_outlives_it_is_counted(tracer):
    printed, _ = python(
        tracer,
        """
        from logtrace.traced import run_traced

        script = "./plain /dev/zero; setsid sleep 1000 & ./plain /dev/zero & wait $!"
        told = run_traced(["sh", "-c", script], ways.Options.FOLLOW)
        print(told.code, told.run["comm"], told.run["follow"])
        for row in told.children:
            print(row["comm"], row["parent_pid"] == told.run["pid"], row["read_bytes"])
        print(len(told.running))
        trace.stop(*told.running, ways.Options.FOLLOW)
        """,
    )
    assert printed == ["137 sh True", "plain True 6", "plain True 6", "1"]
    tracer.run("kill $(pidof sleep)")


ATTACH = """\
tail -f /dev/null & process=$!
{logtrace} attach --detail --json $process > told 2> note &
attached=$!
until grep -q Ctrl-C note; do kill -0 $attached; sleep 0.1; done
{end}
wait $attached; echo $?
kill $process
cat note; cat told
"""


@pytest.mark.parametrize(
    "end", ["kill -INT $attached", "kill $process", "{logtrace} attach --end $process"]
)
def test_a_running_process_is_traced_until_one_ends_it(tracer, end):
    logtrace = shlex.quote(str(Path(sys.executable).parent / "logtrace"))
    script = ATTACH.format(logtrace=logtrace, end=end.format(logtrace=logtrace))
    code, note, told = tracer.run(script, timeout=300).stdout.splitlines()
    run = json.loads(told)
    assert (code, run["comm"], run["status"], run["detail"]) == ("0", "tail", "complete", True)
    assert note == f"tracing {run['pid']}; Ctrl-C ends the trace"


def test_others_processes_are_refused_and_without_the_log_the_program_runs(tracer):
    logtrace = shlex.quote(str(Path(sys.executable).parent / "logtrace"))
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups "
    done = tracer.run(f"{nobody} {logtrace} attach $$", check=False)
    assert done.returncode == 1
    assert "can't be traced: Operation not permitted (trace your own processes" in done.stderr
    # as Debian's kernels have it
    tracer.run("echo 1 > /proc/sys/kernel/dmesg_restrict")
    done = tracer.run(f"{nobody} {logtrace} run --detail -- sh -c 'exit 3'", check=False)
    assert done.returncode == 3
    assert "no summary: /dev/kmsg: permission denied" in done.stderr


def test_a_device_that_only_some_may_open_is_told_with_a_remedy(tracer):
    logtrace = shlex.quote(str(Path(sys.executable).parent / "logtrace"))
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups "
    tracer.run("chmod 660 /dev/os_ftrace")
    done = tracer.run(f"{nobody} {logtrace} run --wide -- true", check=False)
    tracer.run("chmod 666 /dev/os_ftrace")
    assert done.returncode == 1
    assert "/dev/os_ftrace can't be opened: Permission denied (see who may" in done.stderr


def test_the_machine_is_found_in_order_while_the_modules_are_loaded(tracer):
    printed, _ = python(
        tracer,
        """
        for check in doctor.examine():
            print(check.state, check.found)
        """,
    )
    number = "336 is answered" if tracer.number else "none is answered: 336 is uprobe"
    assert any(line.startswith(f"ok {number}") for line in printed)
    assert "ok /dev/os_ftrace" in printed
    assert "ok loaded: ftracehooking, iotracehooking" in printed
    assert "ok allowed to root" in printed
    assert "ok /dev/kmsg can be read" in printed
