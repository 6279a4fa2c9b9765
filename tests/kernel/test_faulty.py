"""A fault in the guest's kernel becomes a row of ``logtrace incidents``.

The kernel is broken afterwards: it is a guest of this test alone.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from logtrace.cli import cli
from logtrace.vm import Guest

pytestmark = pytest.mark.kernel

HERE = Path(__file__).parent
LOGTRACE = shlex.quote(str(Path(sys.prefix) / "bin" / "logtrace"))
SLOW = 600  # seconds; Python starts slowly in emulation

FAULTS = f"""\
insmod faulty.ko seconds=5
insmod unresolved.ko
{LOGTRACE} run -- sh -c 'echo null > /proc/faulty'
sh -c 'echo warn > /proc/faulty'
mkdir /tmp/cgroup && mount -t cgroup2 none /tmp/cgroup
echo +memory > /tmp/cgroup/cgroup.subtree_control
mkdir /tmp/cgroup/small && echo 20M > /tmp/cgroup/small/memory.max
sh -c 'echo $$ > /tmp/cgroup/small/cgroup.procs; exec tail /dev/zero'
echo 1 > /proc/sys/kernel/watchdog_thresh
sh -c 'echo soft_lockup > /proc/faulty'
"""


@pytest.fixture(scope="module")
def store(bootable, kernel, tmp_path_factory):
    """The store of a watch during which the faults happened."""
    modules = kernel.modules(tmp_path_factory.mktemp("modules"))
    shared = tmp_path_factory.mktemp("shared")
    shutil.copytree(HERE / "faulty", shared, dirs_exist_ok=True)
    built = kernel.make(shared, "KBUILD_MODPOST_WARN=1")
    assert built.returncode == 0, built.stdout
    memory = "2G" if kernel.slow else "1G"
    with Guest(kernel.image, shared, folders=[modules], memory=memory, boot_timeout=1200) as guest:
        guest.run(
            f"""\
cd {shared}
insmod {modules}/ftracehooking.ko && insmod {modules}/iotracehooking.ko
echo 0 > /proc/sys/kernel/panic_on_oops
{LOGTRACE} watch --from now --store /run/store > watch.out 2>&1 &
until ls -l /proc/$!/fd 2> /dev/null | grep -q kmsg; do
    kill -0 $! || {{ cat watch.out; exit 1; }}
    sleep 0.2
done
sleep 1  # the device is open; what comes from here on is new
{{ {FAULTS} }} > faults.out 2>&1
sleep 2
echo '<4>the end' > /dev/kmsg
sleep 2  # it is committed
kill -TERM $!; wait $!
cp -r /run/store store
""",
            timeout=SLOW,
        )
    return shared / "store"


def told(store, command):
    arguments = [command, "--store", str(store), "--json"]
    shown = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    return json.loads(shown.output)[::-1]  # the oldest first


def test_every_fault_becomes_a_row_that_names_process_module_and_function(store):
    rows = [row for row in told(store, "incidents") if row["type"] != "taint"]
    *others, oom_kill = [row for row in rows if row["type"] != "soft_lockup"]
    assert [(row["type"], row["comm"], row["module"], row["function"]) for row in others] == [
        ("module_load", None, "unresolved", None),
        ("page_fault", "sh", "faulty", "null_dereference"),
        ("warning", "sh", "faulty", "warn"),
    ]
    assert (oom_kill["type"], oom_kill["comm"]) == ("oom_kill", "tail")
    # it is said again while it lasts
    lockups = {(row["comm"], row["module"]) for row in rows if row["type"] == "soft_lockup"}
    assert ("sh", "faulty") in lockups


def test_the_fault_of_a_traced_program_names_its_run(store):
    (run,) = told(store, "runs")
    hit = [row for row in told(store, "incidents") if row["run_id"] is not None]
    assert [(row["type"], row["pid"], row["run_id"]) for row in hit] == [
        ("page_fault", run["pid"], run["run_id"])
    ]
