"""A real journald keeps what the modules print, and logtrace reads it as it was printed."""

import shlex
import shutil
import struct
import sys
from pathlib import Path

import pytest
from kernels import need

from logtrace.engine import Engine
from logtrace.importer import find_logs, import_log
from logtrace.store import Store

pytestmark = pytest.mark.kernel

LOGTRACE = shlex.quote(str(Path(sys.prefix) / "bin" / "logtrace"))
JOURNALD = Path("/lib/systemd/systemd-journald")
SLOW = 300  # seconds; Python starts slowly in emulation
COUNTED = [
    "pid", "comm", "file", "status", "started_us", "ended_us", "read_bytes", "written_bytes",
    "open_calls", "close_calls", "read_calls", "write_calls", "lseek_calls",
]  # fmt: skip

# The number of the kernel's next record is where a journald that is started again goes on: what
# other tests have printed is not read.
START = f"""\
[ -s /etc/machine-id ] || echo 0c5e2f0a4b1d4f6e9a7b8c9d0e1f2a3b > /etc/machine-id
mkdir -p /run/systemd/journal
cp kernel-seqnum /run/systemd/journal
{JOURNALD} > journald.out 2>&1 &
echo $! > journald.pid
until_true sh -c "test -e /run/log/journal/*/system.journal"
"""
# As `journalctl --rotate` does; what is in the old file by then is whole lines, not whole runs.
PRELUDE = """\
ended() { [ "$(journalctl --quiet --output cat | grep -c 'ftrace .* End$')" = "$1" ]; }
rotate() {
    kill -USR2 $(cat journald.pid)
    for _ in $(seq 500); do
        [ "$(ls /run/log/journal/*/system@*.journal 2> /dev/null | wc -l)" = $1 ] && return
        sleep 0.02
    done
    exit 1
}
"""
WATCH = f"""\
{LOGTRACE} watch journal --store /run/store > watch.out 2>&1 &
echo $! > watch.pid
until ls -l /proc/$!/fd 2> /dev/null | grep -q eventfd; do
    kill -0 $! || {{ cat watch.out; exit 1; }}
    sleep 0.2
done
"""
# Runs, one of them across a rotation, while it is watched and while it is not
RUN = f"""\
crowd > crowd.1
calls open:/dev/zero start read:13:1 stop end > calls.out & split=$!
await T $split
crowd > crowd.2
until_true ended 16
rotate 1
until_true sh -c 'ls /run/store/*/runs/_delta_log/*.json > /dev/null 2>&1'
kill -KILL $(cat watch.pid)
crowd > crowd.3
kill -CONT $split
wait $split
until_true ended 25
rotate 2
(cd exercise && ./test)
until_true ended 26
{LOGTRACE} watch --once journal --store /run/store
"""
STOP = """\
kill $(cat journald.pid)
while kill -0 $(cat journald.pid) 2> /dev/null; do sleep 0.1; done
rm -rf store journal
cp -r /run/store store
cp -r /run/log/journal journal
rm -r /run/store /run/log/journal /run/systemd/journal
"""


@pytest.fixture(scope="module")
def journald():
    found = JOURNALD.exists() and shutil.which("journalctl")
    need(None if found else "systemd is not installed (apt-get install systemd)")


def counted(run) -> str:
    return (
        f"read - {run['read_bytes']} / written - {run['written_bytes']} open[{run['open_calls']}]"
        f" close[{run['close_calls']}] read[{run['read_calls']}] write[{run['write_calls']}]"
        f" lseek[{run['lseek_calls']}]"
    )


def test_what_journald_keeps_is_stored_once_across_its_rotations_and_a_kill(journald, machine):
    machine.load("ftracehooking", "iotracehooking")
    last = machine.run("dd if=/dev/kmsg iflag=nonblock bs=8k 2> /dev/null | grep ^[0-9] | tail -1")
    next_number = int(last.stdout.split(",")[1]) + 1
    (machine.folder / "kernel-seqnum").write_bytes(struct.pack("<Q", next_number))
    machine.run(START + WATCH, timeout=SLOW)
    machine.run(PRELUDE + RUN, timeout=SLOW)
    machine.run(STOP)

    watched = Engine(Store(str(machine.folder / "store"))).rows("runs", order="first_seq")
    assert len(watched) == 26
    assert set(watched["status"]) == {"complete"}
    printed = [
        line.split(" ", 1)
        for number in (1, 2, 3)
        for line in (machine.folder / f"crowd.{number}").read_text().splitlines()
    ]
    crowd = watched[watched["comm"] == "crowd"]
    found = [[str(run["pid"]), counted(run)] for _, run in crowd.iterrows()]
    assert sorted(found) == sorted(printed)
    (exercise,) = (run for _, run in watched[watched["comm"] == "test"].iterrows())
    assert counted(exercise) == (
        "read - 20 / written - 26 open[1] close[1] read[4] write[5] lseek[9]"
    )
    assert exercise["clock"] == "log"

    # each file is a log of its own, so the run that two of them have parts of is in doubt
    store = Store(str(machine.folder / "imported"))
    for path in find_logs([machine.folder / "journal"]):
        import_log(store.host("lab"), path, "lab")
    imported = Engine(store).rows("runs", order="started_us, pid")
    whole = imported[imported["status"] == "complete"]
    split = watched[watched["comm"] == "calls"]
    expected = watched[watched["comm"] != "calls"].sort_values(["started_us", "pid"])
    assert whole[COUNTED].values.tolist() == expected[COUNTED].values.tolist()
    assert sorted(imported[imported["status"] != "complete"]["pid"]) == [*split["pid"]] * 2
