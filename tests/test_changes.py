import shutil

import pytest
from deltalake import DeltaTable
from store_samples import fill, rows_of, store_with

from logtrace.changes import Versions
from logtrace.store import Position, Store


@pytest.fixture
def store(tmp_path):
    return store_with(tmp_path / "store", rows_of({}))


def test_what_is_stored_changes_the_versions_and_nothing_else_does(store):
    versions = Versions(store.root)
    first = versions.look()
    assert versions.look() == first
    store.host("lab01").append("kmsg:c", Position(1, 1), runs=rows_of({"run_id": "2"}))
    second = versions.look()
    assert {name for name in second if second[name] != first.get(name)} == {"host=lab01/runs"}
    assert versions.look() == second


def test_the_versions_are_those_of_the_tables(store):
    versions = Versions(store.root)
    for number in range(3):
        store.host("lab01").append(f"kmsg:{number}", Position(1, 1), runs=rows_of({}))
        table = DeltaTable(store.root / "host=lab01/runs")
        assert versions.look()["host=lab01/runs"] == table.version()
        assert Versions(store.root).look() == versions.look()


def test_a_new_machine_is_seen_and_one_that_is_gone_too(store):
    versions = Versions(store.root)
    first = versions.look()
    fill(store, rows_of({"host": "lab02"}), host="lab02")
    assert set(versions.look()) > set(first)
    shutil.rmtree(store.root / "host=lab02")
    assert versions.look() == first


def test_versions_are_found_where_those_known_were_cleared_away_meanwhile(store):
    versions = Versions(store.root)
    versions.look()
    for number in range(3):
        store.host("lab01").append(f"kmsg:{number}", Position(1, 1), runs=rows_of({}))
    log = store.root / "host=lab01/runs/_delta_log"
    newest = max(log.glob("*.json"))
    for commit in log.glob("*.json"):
        if commit != newest:
            commit.unlink()
    assert versions.look()["host=lab01/runs"] == int(newest.stem)


def test_a_store_that_does_not_exist_has_no_versions(tmp_path):
    assert Versions(Store(str(tmp_path / "absent")).root).look() == {}
