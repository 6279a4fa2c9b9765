r"""Lines with which a kernel reports that something went wrong -> `Sign`.

The forms are those of Linux 4.x to 7.x on x86-64 and arm64: ``lib/bug.c``,
``kernel/panic.c``, ``kernel/watchdog.c``, ``kernel/hung_task.c``, ``kernel/rcu``,
``mm/oom_kill.c``, ``mm/kasan/report.c``, ``kernel/locking/lockdep.c``, ``kernel/module``
and the architectures' ``traps.c`` and ``fault.c``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = (
    "bug",
    "oops",
    "general_protection",
    "page_fault",
    "warning",
    "soft_lockup",
    "hard_lockup",
    "hung_task",
    "rcu_stall",
    "panic",
    "kasan",
    "kfence",
    "ubsan",
    "lockdep",
    "oom_kill",
    "module_load",
    "taint",
    "signature",
)
"""Types of incidents."""

ONE_LINE = frozenset({"module_load", "taint", "signature"})
"""Types whose report is a single line."""

RULED = frozenset({"kasan", "kfence", "ubsan"})
"""Types whose report ends with a line of ``=``."""

CUT_HERE = "------------[ cut here ]------------"

_SYMBOL = r"(?P<function>[A-Za-z_.$][\w.$]*)\+0x(?P<offset>[0-9a-f]+)/0x[0-9a-f]+"
_IN_MODULE = r"(?: \[(?P<module>[\w-]+)[^\]]*\])?"
_PLACE = _SYMBOL + _IN_MODULE
_TASK = r"(?P<comm>.{1,64}):(?P<pid>\d{1,10})"
_TASK_SLASH = r"(?P<comm>.{1,64})/(?P<pid>\d{1,10})"
_NAME = r"(?P<module>[\w-]{1,55})"

HEADS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("panic", r"Kernel panic - not syncing"),
        ("kasan", rf"BUG: KASAN: [\w -]+ in (?:{_PLACE})?"),
        ("kfence", rf"BUG: KFENCE: [\w ()-]+ in (?:{_PLACE})?"),
        ("ubsan", r"UBSAN: [\w -]+ in \S+"),
        ("page_fault", r"BUG: kernel NULL pointer dereference, address:"),
        ("page_fault", r"BUG: unable to handle (?:page fault|kernel )"),
        ("page_fault", r"Unable to handle kernel .* at virtual address "),
        ("general_protection", r"(?:Oops: )?general protection fault(?:, |: ).*\[#\d+\]"),
        (
            "soft_lockup",
            r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#(?P<cpu>\d{1,5}) stuck for "
            rf"\d+s! \[{_TASK}\]",
        ),
        (
            "hard_lockup",
            r"(?:NMI )?(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP on cpu "
            r"(?P<cpu>\d{1,5})",
        ),
        ("hung_task", rf"INFO: task {_TASK} (?:is )?blocked (?:for more than|in I/O wait)"),
        (
            "rcu_stall",
            r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls? on "
            r"(?:CPU|tasks)(?:s/tasks: \{ P(?P<pid>\d{1,10}))?",
        ),
        ("oom_kill", r"(?P<asked>.{1,64}) invoked oom-killer: "),
        (
            "lockdep",
            r"(?:WARNING: |\[ (?:INFO|BUG): |BUG: )"
            r"(?:possible (?:circular|recursive|irq|\S+ deadlock)"
            r"|inconsistent (?:lock|\{)|bad unlock balance|suspicious RCU usage|held lock freed"
            r"|\S+-safe -> \S+-unsafe|lock held when|nested lock was not|Invalid wait context"
            r"|MAX_LOCK|bad contention)"
            r"|INFO: trying to register non-static key\.",
        ),
        (
            "warning",
            rf"WARNING: CPU: (?P<cpu>\d{{1,5}}) PID: (?P<pid>\d{{1,10}}) at (?:\S+:\d+ )?{_PLACE}",
        ),
        (
            "warning",
            rf"WARNING: (?:\S+:\d+ )?at {_PLACE}, CPU#(?P<cpu>\d{{1,5}}): "
            rf"{_TASK_SLASH}",
        ),
        ("bug", r"kernel BUG at \S+:\d+!"),
        ("bug", rf"BUG: scheduling while atomic: {_TASK_SLASH}/0x"),
        ("bug", rf"BUG: using \w+\(\) in preemptible \[[0-9a-f]+\] code: {_TASK_SLASH}"),
        ("bug", r"BUG: (?:sleeping function called|Bad |workqueue lockup|stack guard|TASK stack)"),
        ("oops", r"(?:Oops: )?(?:Oops|invalid opcode|divide error|stack segment|\w+ fault)"
                 r".*\[#\d+\]"),
        ("oops", r"Internal error: .*\[#\d+\]"),
        ("signature", rf"{_NAME}: module verification failed: "),
        ("signature", r"Loading of (?:unsigned |\w+ with )?\S.* is rejected$"),
        ("taint", rf"{_NAME}: (?:loading out-of-tree module|module license '.*'|module is from the "
                  r"staging directory.*) taints kernel"),
        ("taint", r"Disabling lock debugging due to kernel taint$"),
        ("module_load", rf"{_NAME}: (?:Unknown symbol |disagrees about version of symbol |"
                        r"version magic '|no symbol version for )"),
    )
)  # fmt: skip

# Every line that begins a report has one of these: looking for them spares others the patterns
_WORDS = (
    *("BUG", "WARNING: ", "INFO: ", "[#", "panic", "taint", "cut here", "LOCKUP", "oom-killer"),
    *("Unable to handle", "verification failed", "is rejected", "symbol ", "version magic"),
    *("UBSAN", "list_", "usercopy: ", "buffer overflow", "execute"),
)


MAY_BEGIN = "|".join(map(re.escape, _WORDS))
"""A pattern, also of RE2, that is in every line of which `may_begin` says yes."""

_CPU_LINE = (
    r"CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,10}) "
    r"Comm: (?P<comm>.{1,64}?) (?:Kdump: loaded )?(?:Tainted|Not tainted)"
)
_VICTIM = r".*[Oo]ut of memory.*: Kill(?:ed)? process (?P<pid>\d{1,10}) \((?P<comm>.{1,64}?)\)"
_KASAN_TASK = rf"(?:Read|Write|Free) (?:of size \d+ at|of) addr \S+ by task {_TASK_SLASH}"
_LOCK_TASK = rf"{_TASK_SLASH} (?:is (?:trying|leaving|freeing|exiting) |\[HC\d)"
_TASK_STATE = r"task:(?P<comm>\S.{0,63}?) +state:.+? stack: *\d+ +pid: *(?P<pid>\d{1,10}) "
_POINTER = r"(?:\[<\w+>\]\s+)*"
_SOURCE = r"(?: \S+:\d+)?(?: \[inline\])?"  # as scripts/decode_stacktrace.sh adds
_FRAME = re.compile(rf"\s*{_POINTER}(?P<guess>\? )?(?:\w+ from )?{_PLACE}(?: \(\w+\))?{_SOURCE}\s*")
_DETAILS = tuple(
    (part, re.compile(pattern))
    for part, pattern in (
        ("victim", _VICTIM),
        (None, _CPU_LINE),
        (None, _KASAN_TASK),
        (None, _TASK_STATE),
        (None, _LOCK_TASK),
        ("backtrace", r"stack backtrace:$"),
        ("asks", r"\s*Sending NMI "),
        ("answers", r"\s*NMI backtrace for cpu \d"),
        ("summary", rf"RIP: [0-9a-f]{{4}}:{_POINTER}{_PLACE}"),
        (None, rf"pc : {_PLACE}"),
        (
            "summary",
            r"(?:RIP|Code|RSP|R[A-DS][XIP]|RBP|R\d\d|FS|CS|CR\d|DR\d|PKRU|EIP|E[A-D]X|ESI): ",
        ),
        ("last", r"note: .{1,64}\[\d{1,10}\] exited with "),
        ("death", r".*\[#\d+\]"),
        ("rule", r"={10,}$"),
    )
)
_PREFACE = re.compile(
    r"list_\w+(?: double add| corruption)|usercopy: Kernel memory |detected buffer overflow in "
    r"|kernel tried to execute NX-protected page|unable to execute userspace code"
)
_DEATH = re.compile(r"\[#\d+\]")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_BODY = re.compile(
    r"\s*(?:Call [Tt]race:|</?(?:TASK|IRQ|NMI|SOFTIRQ|EOI|#DF)>|Modules linked in:|"
    r"\[last unloaded:|Hardware name:|Workqueue:|Tainted: |PGD |P[4UM]D |PTE |#PF: |"
    r"EFLAGS|task:|lr :|sp :|x\d+\s*:|pstate:|Mem abort info|Stack:|"
    r"\t\d+-\.|\(detected by|\(t=|rcu: |irq event stamp|hardirqs last|"
    r"softirqs last|Preemption disabled|in_atomic\(\)|preempt_count|"
    r"refcount_t: |Kernel Offset|Not tainted|\"echo 0|Mem-Info|"
    r"INFO: task .{1,80} is blocked on a |Future hung task reports|RCU nest depth: |"
    r"oom-kill:|oom_reaper|(?:memory|swap|memory\+swap|kmem): usage |Out of memory|"
    r"Memory cgroup out|Node \d|Tasks state|active_anon|"
    r"\[ *pid *\]|\[ *\d+\] +\d+|Allocated by task|Freed by task|The buggy address|"
    r"page: refcount:|flags: 0x|page_type: |raw: [0-9a-f]|head: [0-9a-f]|page dumped because: |"
    r"Memory state around|[ >][0-9a-f]{8,16}: |which lock already|but task is|the existing "
    r"dependency|other info that|Possible unsafe|\*\*\* DEADLOCK|-> #\d|"
    r"\d+ locks? held by|#\d+: |-----|show_signal_msg)"
)
# As most messages do: usb 1-1: ..., EXT4-fs (vda): ..., systemd[1]: ..., [drm] ...
_NAMED = re.compile(r"\[\w+\] |[\w.@/-]+(?: [\w.:@/-]+){0,2}(?: ?\([^)]*\)|\[\d+\])?: ")

_REPORTERS = re.compile(
    r"(?:__)?(?:dump_stack(?:_lvl)?|show_stack|warn|report_bug|handle_bug|die(?:_body)?|"
    r"(?:nmi_)?panic|oops_end|page_fault_oops|(?:asm_)?exc_\w+|do_error_trap|do_trap|no_context|bad_area\w*|"
    r"print_report|print_address_description|ubsan_\w+|__ubsan_\w+|kasan_report\w*|asan_\w+|show_regs|ret_from_\w+|"
    r"page_fault|general_protection|invalid_op|error_entry|__schedule_bug|(?:__|io_)?schedule"
    r"(?:_\w+)?|_?cond_resched|bit_wait\w*|__wait_on_bit\w*|wait_for_completion\w*|__switch_to"
    r"|(?:__)?might_(?:sleep|resched)|debug_smp_processor_id|check_preemption_disabled"
    r"|lockdep_\w+|(?:__)?lock_acquire|mark_(?:lock|usage)\w*|register_lock_class|validate_chain"
    r"|check_(?:noncircular|prevs?_add|deadlock|irq_usage)"
    r"|print_(?:circular|deadlock|usage|irq_inversion|bad_irq_dependency|unlock_imbalance)\w*"
    r"|_raw_(?:spin|read|write)_lock\w*"
    r"|delay_(?:tsc|loop|tpause|halt|halt_\w+|mwaitx?)|(?:const_)?[nu]?delay"
    r"|dump_header|oom_kill_process|(?:mem_cgroup_)?out_of_memory|__alloc_pages_(?:may_oom|slowpath)"
    r"|(?:__)?(?:ww_|rt_)?mutex_(?:slow)?lock\w*|rwsem_\w+|(?:__)?down(?:_\w+)?)(?:\.\w+)*"
)
_NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+")
_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm)\b.*")


@dataclass(frozen=True, slots=True)
class Sign:
    """What a line says of an incident.

    Parameters
    ----------
    kind
        One of `KINDS` for a line that begins a report, else None.
    cpu, pid, comm
        CPU number, process id and name, where the line has them.
    module, function, offset
        Where it happened; the offset in bytes from the function's beginning.
    part
        ``cut`` (``cut here``), ``preface`` (of a report whose type the next lines tell),
        ``death`` (an Oops with its number), ``frame`` (of a call trace; one with ``?`` is a
        guess and tells nothing), ``backtrace`` (before the call trace of who reports; those
        before it are of others), ``asks`` (other processors for their call traces), ``answers``
        (one of them, from where its lines have another caller), ``end``, ``summary`` (what may
        come once more behind the end), ``last`` (behind that), ``rule`` (a line of ``=``),
        ``victim`` (the last line of an out-of-memory report, which names the process that it
        hit), or None.
    """

    kind: str | None = None
    cpu: int | None = None
    pid: int | None = None
    comm: str | None = None
    module: str | None = None
    function: str | None = None
    offset: int | None = None
    part: str | None = None


def may_begin(text: str) -> bool:
    """Whether a line may begin a report; quickly, as nearly all lines do not."""
    return any(map(text.__contains__, _WORDS))


def parse(text: str) -> Sign | None:
    """Understand a line of the kernel.

    Parameters
    ----------
    text
        The message, of one line.

    Returns
    -------
    Sign or None
        None for a line that is of no report.
    """
    text = text[:2000]
    if text == CUT_HERE:
        return Sign(part="cut")
    if _PREFACE.match(text):
        return Sign(part="preface")
    if _END.match(text):
        return Sign(part="end")
    for kind, pattern in HEADS:
        if match := pattern.match(text):
            return _sign(match, kind, "death" if _DEATH.search(text) else None)
    if match := _FRAME.fullmatch(text):
        return Sign() if match["guess"] else _sign(match, part="frame")
    for part, pattern in _DETAILS:
        if match := pattern.match(text):
            return _sign(match, part=part)
    return Sign() if _BODY.match(text) else None


def is_of_others(text: str) -> bool:
    """Whether a line that `parse` does not know names a subsystem or device at its beginning."""
    return _NAMED.match(text) is not None


def tells_something(name: str) -> bool:
    """Whether a function did something of its own: others only report, or wait."""
    return _REPORTERS.fullmatch(name) is None


def source_name(name: str) -> str:
    """Give a function's name as its source has it, without what a compiler appends."""
    return _SUFFIX.sub("", name)


def without_numbers(text: str) -> str:
    """Write a message so that it is equal for other addresses, processes and counts."""
    return _NUMBER.sub("N", text)


def _sign(match: re.Match[str], kind: str | None = None, part: str | None = None) -> Sign:
    found = match.groupdict()
    cpu, pid, offset = found.get("cpu"), found.get("pid"), found.get("offset")
    return Sign(
        kind,
        int(cpu) if cpu else None,
        int(pid) if pid else None,
        found.get("comm"),
        found.get("module"),
        found.get("function"),
        int(offset, 16) if offset and len(offset) < 16 else None,
        part,
    )
