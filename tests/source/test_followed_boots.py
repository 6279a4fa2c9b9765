"""Boots that a followed text of journalctl tells between its lines, over restarts."""

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import MemoryStore, watch_once
from store_samples import log_of

from logtrace.source import logfile

BOOTS = ["0f0e0d0c0b0a09080706050403020100", "a" * 32]
BOOT_IDS = ["0f0e0d0c-0b0a-0908-0706-050403020100", "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"]


def short(*pids):
    """Give the lines of runs as ``journalctl -o short`` has them."""
    texts = [line.partition("] ")[2] for line in log_of(*pids).splitlines()]
    return [f"Nov 24 10:00:00 pc1 kernel: {text}\n".encode() for text in texts]


def boot(number):
    return b"-- Boot %s --\n" % BOOTS[number].encode()


REBOOT = b"-- Reboot --\n"


def watched(path, *parts):
    """Write a log in parts, and start a watch anew behind each; give the rows of the store."""
    store = MemoryStore()
    path.unlink(missing_ok=True)
    for part in parts:
        with path.open("ab") as file:
            file.write(part)
        watch_once(store, path)
    return store.rows


def cut(log, places):
    places = [0, *sorted(place for place in places if place <= len(log)), len(log)]
    return [log[start:stop] for start, stop in pairwise(places)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("boots") / "journal.log"


LOG = b"".join(
    [
        *short(1),
        boot(0),
        *short(2, 3),
        *short(4)[:2],  # was under way when the machine was started anew
        boot(1),
        *short(4)[2:],
        *short(5),
        b"Nov 24 10:00:01 pc1 su[7]: (to root) -- Boot on pts/0\n",
        REBOOT,
        *short(6),
    ]
)


def test_runs_are_of_the_boot_that_was_told_before_them(path):
    runs = watched(path, LOG)["runs"]
    assert {row["pid"]: row["boot_id"] for row in runs if row["status"] == "complete"} == {
        1: None,
        2: BOOT_IDS[0],
        3: BOOT_IDS[0],
        5: BOOT_IDS[1],
        6: None,
    }


def test_a_watch_that_is_started_anew_behind_any_line_stores_what_one_that_went_on_stores(path):
    lines = LOG.splitlines(keepends=True)
    whole = watched(path, LOG)
    for number in range(1, len(lines)):
        parts = b"".join(lines[:number]), b"".join(lines[number:])
        assert watched(path, *parts) == whole, f"cut behind line {number}"


BLOCKS = st.lists(
    st.one_of(
        st.integers(0, 1).map(boot),
        st.just(REBOOT),
        st.integers(1, 9).map(lambda pid: b"".join(short(pid))),
        st.tuples(st.integers(1, 9), st.integers(1, 3)).map(
            lambda run: b"".join(short(run[0])[: run[1]])
        ),
    ),
    max_size=8,
).map(b"".join)


@given(BLOCKS, st.sets(st.integers(0, 4000), max_size=4))
def test_wherever_a_log_of_boots_is_cut_the_rows_are_the_same(path, log, places):
    assert watched(path, *cut(log, places)) == watched(path, log)


def test_the_boot_is_looked_for_however_far_back_it_was_told(path, monkeypatch):
    monkeypatch.setattr(logfile, "LINE_BYTES", 100)
    log = [*short(1), boot(0), *short(*range(2, 30)), boot(1), *short(*range(30, 60))]
    whole = watched(path, b"".join(log))
    assert watched(path, *log) == whole
    assert {row["boot_id"] for row in whole["runs"]} == {None, *BOOT_IDS}


def test_a_last_line_without_end_is_of_the_boot_that_was_told_before_it(tmp_path):
    path = tmp_path / "journal.log"
    lines = short(1)
    path.write_bytes(b"".join([boot(0), *lines[:3]]))
    store = MemoryStore()
    watch_once(store, path)
    with path.open("ab") as file:
        file.write(lines[3].rstrip(b"\n"))
    path.rename(path.with_name("journal.log.1"))
    path.write_bytes(b"".join(short(2)))
    watch_once(store, path)
    assert [row["boot_id"] for row in store.rows["runs"]] == [BOOT_IDS[0], None]


def test_the_boot_is_looked_for_in_a_part_that_was_compressed_meanwhile(tmp_path):
    path = tmp_path / "journal.log"
    path.write_bytes(b"".join([boot(0), *short(1)]))
    store = MemoryStore()
    watch_once(store, path)
    rotated = b"".join([boot(0), *short(1, 2)])
    (tmp_path / "journal.log.1.gz").write_bytes(gzip.compress(rotated))
    path.write_bytes(b"".join(short(3)))
    watch_once(store, path)
    assert [(row["pid"], row["boot_id"]) for row in store.rows["runs"]] == [
        (1, BOOT_IDS[0]),
        (2, BOOT_IDS[0]),
        (3, None),
    ]
