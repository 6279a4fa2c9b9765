"""Shipping beside a watch: when, and what is said of it."""

import sys
import time
from datetime import UTC

import pytest
from test_fresh import FAILS_WHILE_THERE_IS, lines, script, wait_for

from logtrace import backoff
from logtrace.shipper import Shipper, ship_command


@pytest.fixture
def told():
    return []


def shipper(command, told, apart_s=0):
    return Shipper(command, "/lab", UTC, lambda *each: told.append(each), apart_s=apart_s)


def test_it_ships_by_a_process_that_tries_once():
    command = ship_command("/own", "s3://lab/x")
    assert command[0] == sys.executable
    assert command[4:] == ["ship", "--quiet", "--store=/own", "--to=s3://lab/x", "--retry-for=0"]


def test_what_keeps_it_from_shipping_is_news_once_and_so_is_its_end(tmp_path, told, monkeypatch):
    monkeypatch.setattr(backoff, "pause_s", lambda _failures: 0)
    cause, path = tmp_path / "cause", tmp_path / "shipped"
    cause.touch()
    with shipper(script(FAILS_WHILE_THERE_IS, cause, path), told) as shipping:
        wait_for(lambda: len(told) >= 3)
        assert shipping.trouble == "the disk is full"
        cause.unlink()
        wait_for(lambda: lines(path))
        wait_for(lambda: not told[-1][0].endswith("full"))
        assert shipping.trouble is None
    failed = [each for each in told if each[0] == "ship to /lab: the disk is full"]
    assert [is_news for _, is_news in failed] == [True] + [False] * (len(failed) - 1)
    done = told[len(failed) :]
    assert done[0][0].startswith("ship to /lab: all until 20")
    assert [is_news for _, is_news in done] == [True] + [False] * (len(done) - 1)


def test_pauses_grow_while_it_fails_and_only_then(tmp_path, told, monkeypatch):
    failures = []
    monkeypatch.setattr(backoff, "pause_s", lambda count: failures.append(count) or 0)
    cause, path = tmp_path / "cause", tmp_path / "shipped"
    cause.touch()
    with shipper(script(FAILS_WHILE_THERE_IS, cause, path), told) as shipping:
        wait_for(lambda: len(failures) >= 3)
        cause.unlink()
        wait_for(lambda: lines(path))
        cause.touch()
        count = len(failures)
        shipping.note()
        wait_for(lambda: len(failures) > count)
        cause.unlink()
    assert failures[:3] == [1, 2, 3]
    assert failures[count] == 1


def test_one_that_is_under_way_when_the_watch_ends_is_let_finish(tmp_path, told):
    path = tmp_path / "shipped"
    slow = "import sys, time; time.sleep(1); open(sys.argv[1], 'a').write('!')"
    with shipper(script(slow, path), told) as shipping:
        wait_for(lambda: shipping._process is not None)
        shipping.note()
    assert path.read_text() == "!!"
    assert [is_news for _, is_news in told] == [False, False]


def test_ctrl_c_leaves_it_for_the_next_time(tmp_path, told):
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), shipper(script("import time; time.sleep(600)"), told):
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 60
