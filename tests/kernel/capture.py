"""Make a kernel fail in a guest and keep what it prints, as its device and ``dmesg`` give it.

    python tests/kernel/capture.py KERNEL FOLDER [OPTION]... -- FAULT...

KERNEL is a name or image as in `kernels`, each OPTION a word more for the kernel's command
line, each FAULT a name that ``faulty/faulty.c`` or `HOW` knows. FOLDER then has ``FAULT.kmsg``
and ``FAULT.dmesg``, with everything that the kernel printed from the fault on until it was
quiet, and the same of the loading of the module. Some faults leave the kernel such that it
does not report others: no hung task is told of after an Oops, and only one fault of locks.
"""

import shutil
import sys
from pathlib import Path

import kernels

from logtrace.vm import Guest

HERE = Path(__file__).parent
MODULE = Path("/usr/src/faulty")  # some reports name the source file
HAPPEN = "sh -c 'echo {fault} > /proc/faulty'"
STALL = "echo 3 > /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout\n"
KFENCE = "echo 5 > /sys/module/kfence/parameters/sample_interval\n"
# The faults that need more than to be asked for
HOW = {
    "soft_lockup": f"echo 1 > /proc/sys/kernel/watchdog_thresh\n{HAPPEN}",
    "hard_lockup": f"echo 1 > /proc/sys/kernel/watchdog_thresh\n{HAPPEN}",
    "hung_task": f"echo 2 > /proc/sys/kernel/hung_task_timeout_secs\n{HAPPEN}",
    "hung_on_mutex": "echo 2 > /proc/sys/kernel/hung_task_timeout_secs\n"
    f"{HAPPEN} & sleep 0.5; {HAPPEN}; wait",
    "rcu_stall": f"{STALL}{HAPPEN}",
    "rcu_sleep": f"{STALL}{HAPPEN}",
    # the processor that waits tells of the one that hears nothing
    "rcu_others": STALL + HAPPEN.format(fault="hard_lockup"),
    "rcu_expedited": f"{STALL}echo 1 > /sys/kernel/rcu_expedited\n"
    f"{HAPPEN.format(fault='rcu_stall')} & sleep 0.5\n"
    f"{HAPPEN.format(fault='rcu_wait')}; wait; echo 0 > /sys/kernel/rcu_expedited",
    "kfence_use_after_free": KFENCE + HAPPEN,
    "kfence_out_of_bounds": KFENCE + HAPPEN,
    "kfence_corruption": KFENCE + HAPPEN,
    "load": "insmod faulty.ko seconds=12",
    "unknown_symbol": "insmod unresolved.ko",
    "oom_cgroup": """\
mkdir /tmp/cgroup && mount -t cgroup2 none /tmp/cgroup
echo +memory > /tmp/cgroup/cgroup.subtree_control
mkdir /tmp/cgroup/small && echo 20M > /tmp/cgroup/small/memory.max
sh -c 'echo $$ > /tmp/cgroup/small/cgroup.procs; exec tail /dev/zero'""",
}
# As far as possible only one of the kernel's watchdogs barks at a time.
QUIET = """\
echo 0 > /proc/sys/kernel/panic_on_oops
echo 60 > /proc/sys/kernel/watchdog_thresh
echo 0 > /proc/sys/kernel/hung_task_timeout_secs
echo 300 > /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
"""


def main(name: str, target: str, *more: str) -> None:
    options, faults = more[: more.index("--")], more[more.index("--") + 1 :]
    kernel = kernels.find(name)
    shared = Path(target).resolve()
    shared.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "faulty", MODULE)
    try:
        built = kernel.make(MODULE, "KBUILD_MODPOST_WARN=1")
        for module in MODULE.glob("*.ko"):
            shutil.copy(module, shared)
    finally:
        shutil.rmtree(MODULE)
    if built.returncode:
        sys.exit(built.stdout)
    with Guest(
        kernel.image,
        shared,
        memory="2G" if kernel.slow else "1G",
        boot_timeout=1200,
        kernel_options=["log_buf_len=8M", *options],
    ) as guest:
        for fault in ("load", *faults):
            happen = HOW.get(fault, HAPPEN).format(fault=fault)
            guest.run(
                f"cd {shared}; ({QUIET}) 2> /dev/null; dmesg --clear\n"
                f"echo 'before {fault}' > /dev/kmsg\n{happen}\nsleep 3\n"
                f"dmesg > {fault}.dmesg\n"
                f"dd if=/dev/kmsg of={fault}.kmsg bs=8192 iflag=nonblock; true",
                timeout=300,
            )
            _leave(shared / f"{fault}.kmsg", f";before {fault}\n", fault)
            _leave(shared / f"{fault}.dmesg", f"] before {fault}\n", fault)
            print(fault, (shared / f"{fault}.kmsg").stat().st_size, flush=True)


def _leave(log: Path, mark: str, fault: str) -> None:
    _, found, after = log.read_bytes().partition(mark.encode())
    if not found:
        raise ValueError(f"{log}: the kernel's buffer has overrun where {fault} began")
    log.write_bytes(after)


if __name__ == "__main__":
    main(*sys.argv[1:])
