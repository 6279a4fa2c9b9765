import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace import backoff
from logtrace.errors import StoreError


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_pause_is_of_the_second_half_of_twice_the_one_before_up_to_five_minutes(failures, chance):
    longest = min(300, 2 ** min(failures - 1, 20))
    pause = backoff.pause_s(failures, lambda: chance)
    assert longest / 2 <= pause <= longest


def test_pauses_are_not_the_same_on_all_machines():
    assert len({backoff.pause_s(9) for _ in range(20)}) > 1


@pytest.fixture
def clock(monkeypatch):
    """Make time pass only while somebody sleeps."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def failing(times):
    left = itertools.count()

    def attempt():
        if next(left) < times:
            raise StoreError("away")
        return "done"

    return attempt


def test_it_is_tried_until_it_succeeds(clock):
    told = []
    tell = lambda error, pause_s: told.append((str(error), pause_s))  # noqa: E731
    assert backoff.try_for(300, failing(4), tell) == "done"
    assert [error for error, _ in told] == ["away"] * 4
    assert clock[0] == sum(pause for _, pause in told)


def test_it_is_given_up_when_the_next_try_would_be_too_late(clock):
    told = []
    with pytest.raises(StoreError, match="away"):
        backoff.try_for(60, failing(10**6), lambda *each: told.append(each))
    assert 20 <= clock[0] <= 60
    with pytest.raises(StoreError):
        backoff.try_for(0, failing(1), lambda *each: told.append(each))


def test_what_is_no_fault_of_the_store_is_not_tried_again(clock):
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        backoff.try_for(300, broken, lambda *_: None)
