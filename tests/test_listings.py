"""A table's log is read again only when it has changed."""

import json
import os
import time

import pytest
from store_samples import log_of

from logtrace import location
from logtrace import store as storing
from logtrace.engine import Engine
from logtrace.errors import StoreError
from logtrace.importer import import_log
from logtrace.store import Store


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Give the folders of the tables that are opened from now on."""
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "cache"))
    folders = []

    def open_folder(folder):
        folders.append("/".join(folder.parts[-2:]))
        return location.open_folder(folder)

    monkeypatch.setattr(storing, "open_folder", open_folder)
    return folders


@pytest.fixture
def lab(tmp_path, opened):
    """Give the store of two hosts that have been at rest for an hour."""
    for host in ("alpha", "beta"):
        add_run(tmp_path, host, 7)
    rest(tmp_path / "lab")
    opened.clear()
    return tmp_path / "lab"


def add_run(folder, host, pid):
    log = folder / f"{host}-{pid}"
    log.write_text(log_of(pid))
    import_log(Store(str(folder / "lab")).host(host), log, host)


def rest(lab, hours=1):
    when = time.time() - 3600 * hours
    for log in lab.glob("*/*/_delta_log"):
        os.utime(log, (when, when))


def pids(lab):
    return sorted(Engine(Store(str(lab))).rows("runs")["pid"])


def test_a_second_look_opens_no_table(lab, opened):
    assert pids(lab) == [7, 7]
    assert opened.count("host=alpha/runs") == opened.count("host=beta/runs") == 1
    opened.clear()

    assert pids(lab) == [7, 7]
    assert not {"host=alpha/runs", "host=beta/runs"} & {*opened}


def test_of_all_tables_the_one_that_has_changed_is_opened(lab, opened, tmp_path):
    pids(lab)
    add_run(tmp_path, "beta", 8)
    opened.clear()

    assert pids(lab) == [7, 7, 8]
    assert "host=beta/runs" in opened
    assert "host=alpha/runs" not in opened


def test_a_log_that_changed_just_now_is_read_again_as_it_may_change_within_a_tick(lab, opened):
    log = lab / "host=beta" / "runs" / "_delta_log"
    os.utime(log)
    pids(lab)
    opened.clear()

    pids(lab)
    assert opened.count("host=beta/runs") == 1


def test_files_that_were_joined_are_not_listed_any_more(lab, tmp_path):
    add_run(tmp_path, "beta", 8)
    rest(lab)
    store = Store(str(lab))
    before = store.files("runs")
    store.host("beta").compact()

    assert len(before) == 3
    assert len(store.files("runs")) == 2
    assert pids(lab) == [7, 7, 8]


def test_a_table_that_is_gone_is_not_listed_any_more(lab, tmp_path):
    pids(lab)
    (lab / "host=beta").rename(tmp_path / "away")

    assert pids(lab) == [7]
    (tmp_path / "away").rename(lab / "host=beta")
    assert pids(lab) == [7, 7]


def test_a_log_that_was_put_back_from_a_backup_is_read_again(lab, tmp_path):
    pids(lab)
    backup = tmp_path / "backup"
    (lab / "host=beta").rename(backup)
    add_run(tmp_path, "beta", 9)
    rest(lab)
    assert pids(lab) == [7, 9]


@pytest.mark.parametrize("kept", [b"", b"{", b"[1]", b'[1, {"host=beta": [1]}]', b'["x", 3]'])
def test_a_listing_that_is_damaged_is_made_again(lab, tmp_path, kept):
    pids(lab)
    listings = list((tmp_path / "cache" / "listings").glob("*/runs.json"))
    assert len(listings) == 1
    listings[0].write_bytes(kept)

    assert pids(lab) == [7, 7]
    assert len(json.loads(listings[0].read_bytes())[1]) == 2


def test_without_a_cache_every_table_is_opened(lab, opened, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "file"))
    pids(lab)
    opened.clear()

    assert pids(lab) == [7, 7]
    assert opened.count("host=alpha/runs") == 1


def test_a_table_that_cannot_be_read_is_told_each_time(lab):
    log = lab / "host=beta" / "runs" / "_delta_log"
    for commit in log.glob("*.json"):
        commit.write_text("{")
    for _ in range(2):
        with pytest.raises(StoreError, match="host=beta/runs can't be read"):
            pids(lab)
