"""What traces cost, in instructions of the guest: exact counts, whatever else the machine does.

With ``-icount shift=0`` QEMU's clock advances by one nanosecond an instruction.
"""

import pytest
from kernels import stock_kernel

from logtrace import kmod
from logtrace.vm import Guest

pytestmark = pytest.mark.kernel

EXACT = ["getpid", "close", "read", "write", "lseek"]
# An open takes three instructions more or less from time to time, whatever is loaded.
NEARLY_EXACT = 12

# A probe that does nothing costs 60.
BYSTANDER_LIMIT = 64
TRACED_LIMIT = 100
# Of what a one-byte read takes without a trace.
TRACED_READ_LIMIT = 1.15
# The name of the file is copied.
TRACED_OPENAT_LIMIT = 420


@pytest.fixture(scope="module")
def counts(bootable, programs, tmp_path_factory):
    """The instructions of each call in each state."""
    image, tree = stock_kernel()
    modules = kmod.build(tree)
    folder = tmp_path_factory.mktemp("icount")
    (folder / "cost").write_bytes((programs / "cost").read_bytes())
    (folder / "cost").chmod(0o755)
    counting = {"cpus": 1, "boot_timeout": 600, "qemu_options": "-cpu max -icount shift=0"}
    with Guest(image, folder, folders=[modules], **counting) as guest:

        def count(state):
            lines = guest.run(f"{folder}/cost {state}", timeout=300).stdout.splitlines()
            return {name: int(number) for name, number in map(str.split, lines)}

        def count_disarmed(idle):
            # a kernel worker takes the probes down, soon after the last trace
            for _ in range(20):
                ended = count("bare")
                if ended["getpid"] == idle["getpid"]:
                    break
                guest.run("sleep 0.2")
            return ended

        counts = {"bare": count("bare"), "again": count("bare")}
        for name in ("ftracehooking", "iotracehooking"):
            guest.run(f"insmod {modules}/{name}.ko")
        counts["idle"] = count("bare")
        counts["bystander"] = count("other")
        counts["traced"] = count("self")
        # with all options, which need one more probe
        counts["detailed"] = count("self 3")
        counts["ended"] = count_disarmed(counts["idle"])
        guest.run("rmmod iotracehooking ftracehooking")
        counts["unloaded"] = count("bare")
    return counts


def added(counts, state):
    """What calls take more than bare; the open apart."""
    more = {call: counts[state][call] - bare for call, bare in counts["bare"].items()}
    return more.pop("openat"), more


@pytest.mark.parametrize("state", ["again", "idle", "ended", "unloaded"])
def test_without_a_trace_no_call_takes_one_instruction_more(counts, state):
    openat, others = added(counts, state)
    assert others == dict.fromkeys(EXACT, 0)
    assert abs(openat) <= NEARLY_EXACT


def test_a_trace_of_another_process_costs_little_more_than_an_empty_probe(counts):
    openat, others = added(counts, "bystander")
    assert all(0 < more <= BYSTANDER_LIMIT for more in others.values())
    assert openat <= BYSTANDER_LIMIT + NEARLY_EXACT


def test_a_traced_call_stays_within_its_limit(counts):
    openat, others = added(counts, "traced")
    assert all(BYSTANDER_LIMIT < more <= TRACED_LIMIT for more in others.values())
    assert openat <= TRACED_OPENAT_LIMIT


def test_a_traced_read_of_one_byte_takes_little_more_than_a_bare_one(counts):
    assert counts["traced"]["read"] <= TRACED_READ_LIMIT * counts["bare"]["read"], counts
