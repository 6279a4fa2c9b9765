"""What ``logtrace watch`` stores in the guest is what the programs really did."""

import shlex
import sys
from pathlib import Path

import pytest

from logtrace.engine import Engine
from logtrace.store import Store

pytestmark = pytest.mark.kernel

LOGTRACE = shlex.quote(str(Path(sys.prefix) / "bin" / "logtrace"))
SLOW = 300  # seconds; Python starts slowly in emulation

# Store in the guest's memory, and copy what is stored to the machine when the watch has ended.
WATCH = f"""\
{LOGTRACE} watch --from now --store /run/store > watch.out 2>&1 &
echo $! > watch.pid
until ls -l /proc/$!/fd 2> /dev/null | grep -q kmsg; do
    kill -0 $! || {{ cat watch.out; exit 1; }}
    sleep 0.2
done
sleep 1  # the device is open; what comes from here on is new
"""
STOP = """\
kill -TERM $(cat watch.pid)
while kill -0 $(cat watch.pid) 2> /dev/null; do sleep 0.1; done
rm -rf store && cp -r /run/store store && rm -r /run/store
"""


@pytest.fixture
def watch(machine):
    """A function that runs a command while logtrace watches, and gives the engine."""
    machine.load("ftracehooking", "iotracehooking")

    def watch_while(command: str) -> Engine:
        machine.run(WATCH, timeout=SLOW)
        machine.run(command, timeout=SLOW)
        machine.run(STOP, timeout=SLOW)
        return Engine(Store(str(machine.folder / "store")))

    return watch_while


def counted(run) -> str:
    return (
        f"read - {run['read_bytes']} / written - {run['written_bytes']} open[{run['open_calls']}]"
        f" close[{run['close_calls']}] read[{run['read_calls']}] write[{run['write_calls']}]"
        f" lseek[{run['lseek_calls']}]"
    )


def test_what_is_stored_equals_what_the_programs_did(machine, watch):
    engine = watch(
        "crowd > crowd.out; (cd exercise && ./test);"
        " date +%s > date;"
        f" {LOGTRACE} run -- cat exercise/abc.txt > run.out 2> run.err; rmmod iotracehooking"
    )
    machine.loaded.remove("iotracehooking")
    runs = engine.rows("runs")
    assert set(runs["status"]) == {"complete"}

    crowd = runs[runs["comm"] == "crowd"]
    expected = dict(
        line.split(" ", 1) for line in (machine.folder / "crowd.out").read_text().splitlines()
    )
    assert len(expected) == 8
    assert {str(run["pid"]): counted(run) for _, run in crowd.iterrows()} == expected

    (exercise,) = (run for _, run in runs[runs["comm"] == "test"].iterrows())
    assert exercise["file"] == "abc.txt"
    assert counted(exercise) == (
        "read - 20 / written - 26 open[1] close[1] read[4] write[5] lseek[9]"
    )
    assert exercise["clock"] == "received"
    written = int((machine.folder / "date").read_text())
    assert abs(exercise["ended_at"].timestamp() - written) < 30

    (cat,) = (run for _, run in runs[runs["comm"] == "cat"].iterrows())
    text = (machine.folder / "exercise/abc.txt").read_text()
    assert (machine.folder / "run.out").read_text() == text
    summary = (machine.folder / "run.err").read_text()
    assert f"cat [{cat['pid']}]" in summary
    assert f"read {cat['read_calls']} · write {cat['write_calls']}" in summary

    tracer = engine.rows("tracer", order='"at"')
    assert list(zip(tracer["module"].fillna(""), tracer["action"], strict=True)) == [
        ("", "begin"),
        ("ftracehooking", "present"),
        ("iotracehooking", "present"),
        ("iotracehooking", "remove"),
        ("", "end"),
    ]
