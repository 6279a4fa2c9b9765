"""A burst that is larger than the ring buffer is stored or counted as lost, to the record."""

import pytest
from conftest import Machine
from streams import LINES, Streams

from logtrace.vm import Guest

pytestmark = pytest.mark.kernel


@pytest.fixture
def streams(bootable, kernel, programs, tmp_path):
    """A guest whose ring buffer has the size that the kernel gives it."""
    modules = kernel.modules(tmp_path)
    with Guest(kernel.image, programs, folders=[modules], boot_timeout=600) as guest:
        machine = Machine(guest, modules, programs, patience=2)
        machine.load("ftracehooking", "iotracehooking")
        yield Streams(machine.run, programs)


# A hundred thousand lines, or a fifth of them, which take emulation a fifth of the time
@pytest.mark.parametrize("runs", [5_000, pytest.param(25_000, marks=pytest.mark.matrix)])
def test_each_line_of_a_burst_is_stored_or_counted_as_lost(streams, runs):
    streams.begin()
    streams.stream(runs)
    streams.await_commit(20, 2)
    streams.stop("KILL")
    streams.stream(2_000)  # while nobody watches: most of it is overwritten
    streams.catch_up()

    account = streams.account()
    assert account.truth == runs + 2_001
    assert account.wrong == []
    assert account.lost_records > 2_000 * LINES / 2
    assert account.is_even, account
