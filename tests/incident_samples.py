"""Reports in the forms in which kernels print them, with what is to be found in each."""

TRACE = ["Call Trace:", " <TASK>", " ? __die+0x1a/0x60", " faulty_init+0x10/0x1000 [faulty]",
         " do_one_initcall+0x5c/0x300", " do_init_module+0x4c/0x200", " </TASK>"]  # fmt: skip
CPU = "CPU: 1 PID: 214 Comm: insmod Tainted: G           OE      6.1.0 #1"
NEW_CPU = "CPU: 1 UID: 0 PID: 214 Comm: insmod Tainted: G           OE      6.12.0 #1"
RIP = "RIP: 0010:faulty_init+0x10/0x1000 [faulty]"
END = "---[ end trace 0000000000000000 ]---"
CUT = "------------[ cut here ]------------"
IN_FAULTY = {"cpu": 1, "pid": 214, "comm": "insmod", "module": "faulty", "function": "faulty_init",
             "offset": 16}  # fmt: skip

REPORTS = {
    "BUG": (
        [CUT, "kernel BUG at /tmp/faulty.c:12!", "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
         CPU, RIP, *TRACE, END],
        {"type": "bug", **IN_FAULTY},
    ),
    "null dereference": (
        ["BUG: kernel NULL pointer dereference, address: 0000000000000008",
         "#PF: supervisor write access in kernel mode", "PGD 0 P4D 0 ",
         "Oops: 0002 [#1] PREEMPT SMP NOPTI", CPU, RIP, *TRACE, END],
        {"type": "page_fault", **IN_FAULTY},
    ),
    "page fault of 4.x": (
        ["BUG: unable to handle kernel paging request at ffffffffc0001000",
         "Oops: 0000 [#1] SMP", CPU, "RIP: 0010:[<ffffffffc0000010>]  [<ffffffffc0000010>] "
         "faulty_init+0x10/0x1000 [faulty]", "Call Trace:",
         " [<ffffffff81002144>] do_one_initcall+0xb4/0x1e0", END],
        {"type": "page_fault", **IN_FAULTY},
    ),
    "page fault of arm64": (
        ["Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
         "Internal error: Oops: 0000000096000004 [#1] SMP", CPU,
         "pc : faulty_init+0x10/0x1000 [faulty]", "Call trace:",
         " faulty_init+0x10/0x1000 [faulty]", END],
        {"type": "page_fault", **IN_FAULTY},
    ),
    "external abort of arm64": (
        ["Internal error: synchronous external abort: 0000000096000210 [#1] SMP", CPU,
         "pc : faulty_init+0x10/0x1000 [faulty]", "Call trace:",
         " faulty_init+0x10/0x1000 [faulty]", END],
        {"type": "oops", **IN_FAULTY},
    ),
    "general protection": (
        ["general protection fault, probably for non-canonical address 0xdead000000000000: 0000 "
         "[#1] PREEMPT SMP NOPTI", CPU, RIP, *TRACE, END],
        {"type": "general_protection", **IN_FAULTY},
    ),
    "general protection of 6.12": (
        ["Oops: general protection fault, probably for non-canonical address 0xdead000000000000: "
         "0000 [#1] PREEMPT SMP NOPTI", NEW_CPU, RIP, *TRACE, END],
        {"type": "general_protection", **IN_FAULTY},
    ),
    "Oops whose first line was lost": (
        ["Oops: 0002 [#1] PREEMPT SMP NOPTI", CPU, RIP, *TRACE, END],
        {"type": "oops", **IN_FAULTY},
    ),
    "divide error": (
        ["divide error: 0000 [#1] PREEMPT SMP NOPTI", CPU, RIP, *TRACE, END],
        {"type": "oops", **IN_FAULTY},
    ),
    "WARNING": (
        [CUT, "WARNING: CPU: 1 PID: 214 at /tmp/faulty.c:12 faulty_init+0x10/0x1000 [faulty]",
         "Modules linked in: faulty(OE+)", CPU, RIP, *TRACE, END],
        {"type": "warning", **IN_FAULTY},
    ),
    "WARNING of 7.0": (
        [CUT, "WARNING: /tmp/faulty.c:12 at faulty_init+0x10/0x1000 [faulty], CPU#1: insmod/214",
         NEW_CPU, RIP, *TRACE, END],
        {"type": "warning", **IN_FAULTY},
    ),
    "list corruption": (
        [CUT, "list_add corruption. prev->next should be next (1), but was 2. (prev=3).",
         "kernel BUG at lib/list_debug.c:30!", "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", CPU,
         "RIP: 0010:__list_add_valid+0x7d/0x90", *TRACE, END],
        {"type": "bug", "function": "__list_add_valid", "module": "faulty", "pid": 214},
    ),
    "soft lockup": (
        ["watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [insmod:214]", CPU, RIP, *TRACE],
        {"type": "soft_lockup", **IN_FAULTY},
    ),
    "hard lockup": (
        ["NMI watchdog: Watchdog detected hard LOCKUP on cpu 1", CPU, RIP, *TRACE],
        {"type": "hard_lockup", **IN_FAULTY},
    ),
    "hung task": (
        ["INFO: task insmod:214 blocked for more than 120 seconds.",
         "      Tainted: G           OE      6.1.0 #1",
         "task:insmod          state:D stack:0     pid:214   ppid:1      flags:0x00004000",
         "Call Trace:", " <TASK>", " faulty_init+0x10/0x1000 [faulty]", " </TASK>"],
        {"type": "hung_task", "pid": 214, "comm": "insmod", "module": "faulty"},
    ),
    "RCU stall": (
        ["rcu: INFO: rcu_preempt self-detected stall on CPU",
         "rcu: \t1-....: (5249 ticks this GP) idle=b3a4/1/0x4000000000000000", CPU, RIP, *TRACE],
        {"type": "rcu_stall", **IN_FAULTY},
    ),
    "panic": (
        ["Kernel panic - not syncing: faulty", CPU, *TRACE,
         "---[ end Kernel panic - not syncing: faulty ]---"],
        {"type": "panic", **IN_FAULTY, "offset": None},
    ),
    "KASAN": (
        ["BUG: KASAN: slab-out-of-bounds in faulty_init+0x10/0x1000 [faulty]",
         "Write of size 1 at addr ffff888003a5f2c0 by task insmod/214", "", CPU, *TRACE],
        {"type": "kasan", **IN_FAULTY},
    ),
    "lockdep": (
        ["WARNING: possible recursive locking detected", "insmod/214 is trying to acquire lock:",
         "stack backtrace:", CPU, *TRACE],
        {"type": "lockdep", "pid": 214, "module": "faulty"},
    ),
    "KASAN whole": (
        ["BUG: KASAN: slab-use-after-free in use_after_free+0x2d/0x40 [faulty]",
         "Write of size 1 at addr ffff888003a5f2c0 by task insmod/214", "", NEW_CPU,
         "Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE", "Hardware name: QEMU", *TRACE, "",
         "Allocated by task 214:", " kasan_save_stack+0x24/0x50", " __kasan_kmalloc+0x8f/0xa0",
         " use_after_free+0x1c/0x40 [faulty]", "", "Freed by task 214:",
         " kasan_save_stack+0x24/0x50", " kfree+0x123/0x3b0", "",
         "The buggy address belongs to the object at ffff888003a5f2c0",
         " which belongs to the cache kmalloc-128 of size 128",
         "The buggy address is located 0 bytes inside of",
         " freed 128-byte region [ffff888003a5f2c0, ffff888003a5f340)", "",
         "The buggy address belongs to the physical page:",
         "page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x3a5f",
         "flags: 0x100000000000000(node=0|zone=1)", "page_type: f5(slab)",
         "raw: 0100000000000000 ffff888001041a00 dead000000000122 0000000000000000",
         "page dumped because: kasan: bad access detected", "",
         "Memory state around the buggy address:",
         " ffff888003a5f180: fc fc fc fc fc fc fc fc fc fc fc fc fc fc fc fc",
         ">ffff888003a5f280: fc fc fc fc fc fc fc fc fa fb fb fb fb fb fb fb",
         "                                           ^",
         " ffff888003a5f300: fb fb fb fb fb fb fb fb fc fc fc fc fc fc fc fc",
         "=================================================================="],
        {"type": "kasan", "pid": 214, "cpu": 1, "module": "faulty", "function": "use_after_free"},
    ),
    "KFENCE": (
        ["BUG: KFENCE: use-after-free write in use_after_free+0x2d/0x40 [faulty]", "",
         "Use-after-free write at 0x00000000f2a1e3c1 (in kfence-#97):",
         " use_after_free+0x2d/0x40 [faulty]", " faulty_write+0xa1/0xd0 [faulty]", "",
         "kfence-#97: 0x00000000f2a1e3c1-0x000000001b2c3d4e, size=100, cache=kmalloc-128", "",
         "allocated by task 214 on cpu 1 at 40.123456s (0.000012s ago):",
         " use_after_free+0x1c/0x40 [faulty]", "", NEW_CPU,
         "=================================================================="],
        {"type": "kfence", "pid": 214, "cpu": 1, "module": "faulty", "function": "use_after_free"},
    ),
    "UBSAN": (
        ["UBSAN: shift-out-of-bounds in /tmp/faulty.c:12:8",
         "shift exponent 32 is too large for 32-bit type 'int'", NEW_CPU, *TRACE,
         "---[ end trace ]---"],
        {"type": "ubsan", "pid": 214, "module": "faulty", "function": "faulty_init"},
    ),
    "circular locking": (
        ["WARNING: possible circular locking dependency detected",
         "6.1.0 #1 Tainted: G           OE     ",
         "------------------------------------------------------",
         "insmod/214 is trying to acquire lock:",
         "ffffffffc0203080 (first){+.+.}-{3:3}, at: circular_locking+0x4d/0x80 [faulty]", "",
         "but task is already holding lock:",
         "ffffffffc0203020 (second){+.+.}-{3:3}, at: circular_locking+0x41/0x80 [faulty]", "",
         "which lock already depends on the new lock.", "", "",
         "the existing dependency chain (in reverse order) is:", "",
         "-> #1 (second){+.+.}-{3:3}:", "       lock_acquire+0xd5/0x2e0",
         "       circular_locking+0x1e/0x80 [faulty]", "", "-> #0 (first){+.+.}-{3:3}:",
         "       check_prev_add+0x9b/0xc00", "", "other info that might help us debug this:", "",
         " Possible unsafe locking scenario:", "", "       CPU0                    CPU1",
         "       ----                    ----", "  lock(second);",
         "                               lock(first);",
         "                               lock(second);",
         "  lock(first);", "", " *** DEADLOCK ***", "", "3 locks held by insmod/214:",
         " #0: ffff888003d3a438 (sb_writers#4){.+.+}-{0:0}, at: ksys_write+0x6b/0xf0", "",
         "stack backtrace:", CPU, "Hardware name: QEMU", *TRACE],
        {"type": "lockdep", "pid": 214, "cpu": 1, "module": "faulty"},
    ),
    "RCU stall seen by another": (
        ["rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
         "rcu: \t1-....: (5249 ticks this GP) idle=b3a4/1/0x4000000000000000 softirq=3/3 fqs=2601",
         "rcu: \t(detected by 0, t=5252 jiffies, g=1109, q=46 ncpus=2)",
         "Sending NMI from CPU 0 to CPUs 1:", "NMI backtrace for cpu 1", CPU, RIP, *TRACE],
        {"type": "rcu_stall", **IN_FAULTY},
    ),
    "stack overflow": (
        ["BUG: TASK stack guard page was hit at 00000000f2a1e3c1 (stack is 0000000011112222"
         "..0000000033334444)", "stack guard page: 0000 [#1] PREEMPT SMP NOPTI", CPU, RIP, *TRACE,
         END],
        {"type": "bug", **IN_FAULTY},
    ),
    "processor's number where it may change": (
        ["BUG: using smp_processor_id() in preemptible [00000000] code: insmod/214",
         "caller is faulty_init+0x10/0x1000 [faulty]", CPU, "Call Trace:", " <TASK>",
         " dump_stack_lvl+0x4c/0x63", " check_preemption_disabled+0xe3/0xf0",
         " faulty_init+0x10/0x1000 [faulty]", " </TASK>"],
        {"type": "bug", "pid": 214, "comm": "insmod", "module": "faulty",
         "function": "faulty_init"},
    ),
    "OOM kill": (
        ["bash invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0",
         "CPU: 0 PID: 99 Comm: bash Not tainted 6.1.0 #1", "Call Trace:",
         " oom_kill_process+0xf9/0x190",
         "Out of memory: Killed process 214 (eater) total-vm:4096kB, anon-rss:1kB"],
        {"type": "oom_kill", "pid": 214, "comm": "eater", "cpu": 0},
    ),
    "out-of-tree": (
        ["faulty: loading out-of-tree module taints kernel."],
        {"type": "taint", "module": "faulty"},
    ),
    "unsigned": (
        ["faulty: module verification failed: signature and/or required key missing - tainting "
         "kernel"],
        {"type": "signature", "module": "faulty"},
    ),
    "unknown symbol": (
        ["faulty: Unknown symbol nothing (err -2)"],
        {"type": "module_load", "module": "faulty"},
    ),
}  # fmt: skip
"""Name -> lines, and columns of the incident."""


def taken(lines, spans):
    """Give the lines from and to which, counted from 1, the spans say, one behind the other."""
    borders = zip(spans[::2], spans[1::2], strict=True)
    return [line for first, last in borders for line in lines[first - 1 : last]]
