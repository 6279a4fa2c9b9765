"""Calls that signals interrupt: which of them count, how often, and as what."""

import re

import pytest
from contract_lines import call, extra, field, ops, run_of, settled, stats, without_pids

pytestmark = pytest.mark.kernel

HELD_NS = 100_000_000

RESTARTED = ("5", {"moved": 5})
INTERRUPTED = ("EINTR", {"errors": 1})


@pytest.mark.parametrize("kind", ["sys", "ia32"])
@pytest.mark.parametrize(
    ("first", "second", "steps", "outcome", "handled"),
    [
        ("restart", "default", "rh1rw", RESTARTED, "1 0"),
        ("restart", "default", "rh1r1r1rw", RESTARTED, "3 0"),
        ("plain", "default", "rh1", INTERRUPTED, "1 0"),
        ("ignore", "default", "rh1rw", RESTARTED, "0 0"),
        ("default", "default", "rhscrw", RESTARTED, "0 0"),
        ("default", "default", "rhscrscrw", RESTARTED, "0 0"),
        # Of two that are there at once the one with the lower number decides.
        ("restart", "plain", "rhs12crw", RESTARTED, "1 1"),
        ("plain", "restart", "rhs12c", INTERRUPTED, "1 1"),
        ("plain", "plain", "rhs12c", INTERRUPTED, "1 1"),
        # The first read never returns; the second one does.
        ("jump", "default", "rh1rw", RESTARTED, "1 0"),
    ],
)
def test_a_call_that_signals_interrupt_counts_as_what_it_returned(
    tracer, kind, first, second, steps, outcome, handled
):
    result, counts = outcome
    printed = tracer.run(f"signals {kind} {first} {second} {steps}").stdout
    *printed, inside = printed.split()
    assert " ".join(printed) == f"{result} {handled}"
    texts = tracer.texts()
    assert without_pids(texts) == run_of(
        stats(comm="signals", read=counts.get("moved", 0)),
        ops(reads=1),
        extra("wide", call("read", **counts)),
    )
    # What it did between a read that a jump left and the next one is not time in calls.
    ns = field(texts, r" call\[read\] .* ns\[(\d+)\]")
    assert HELD_NS <= ns <= int(inside)


@pytest.mark.parametrize("kind", ["sys", "ia32"])
def test_a_call_that_a_deadly_signal_interrupts_does_not_count(tracer, kind):
    tracer.run(f"signals {kind} default default rk", check=False)
    texts = without_pids(settled(tracer))
    assert texts == run_of(stats(comm="signals"), ops(), extra("wide"))
    assert not re.search(r"\bns\[", "\n".join(texts))
