"""What is kept of answers changes nothing but the time that a report takes."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import START, detail_row, loss_row, run_row, tracer_row

from logtrace import cache, history, kept, stats
from logtrace.engine import Engine, Filters
from logtrace.overview import gather
from logtrace.report import write_report
from logtrace.store import Position, Store

NOW = datetime(2026, 11, 27, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
GROUPINGS = [["owner"], ["program"], ["host", "day"], ["file"]]


@pytest.fixture(autouse=True)
def _small_stores_are_large(monkeypatch, tmp_path):
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "_LEAST_BYTES", 0)
    monkeypatch.setattr(kept, "_AT_REST_S", 0)
    monkeypatch.setattr(kept, "_MOST_SHARE", 1000)  # of a small store, answers are as large


@pytest.fixture
def asked(monkeypatch):
    """Give the files of runs that are asked from now on."""
    files = []
    open_some = kept.views.open_some

    def noted(database, name, some):
        files.extend(some["runs"])
        open_some(database, name, some)

    monkeypatch.setattr(kept.views, "open_some", noted)
    return files


def row(number, host="lab01", **changes):
    """Give one of many runs, an hour after the one before, that are seldom alike."""
    at = START - timedelta(days=40) + number * HOUR
    values = {
        "host": host,
        "run_id": f"{number:010x}{host[-2:]:>06}",
        "started_at": at,
        "ended_at": at + timedelta(microseconds=number * number),
        "owner": f"2021{number % 3}",
        "comm": f"prog{number % 4}",
        "file": f"file{number % 5}",
        "read_bytes": number**4,
        "write_calls": 10 + number,
        "open_calls": 1 + number % 7,
        "status": "complete" if number % 6 else "no_end",
    }
    return run_row(number, **values | changes)


def commit(lab, *numbers, host="lab01", **changes):
    """Store runs, every second one with a line a file and a line a call."""
    runs = [row(number, host, detail=number % 2 == 0, **changes) for number in numbers]
    detailed = [run for run in runs if run["detail"]]
    files = [
        detail_row(run, descriptor=3, path="/f", opens=2, reads=0, writes=1, open_at_end=True)
        for run in detailed
    ]
    calls = [detail_row(run, call="read", calls=9, errors=run["pid"] % 9) for run in detailed]
    seen = max(numbers) * 4 + 3
    lab.host(host).append(
        "kmsg:b", Position(seen, seen), before="any", runs=runs, files=files, calls=calls
    )
    return lab


@pytest.fixture
def lab(tmp_path):
    """Give a store of two hosts, of two commits each."""
    store = Store(str(tmp_path / "lab"))
    for host in ("lab01", "lab02"):
        commit(store, *range(30), host=host)
        commit(store, *range(30, 90), host=host)
    store.host("lab01").append_tracer("modules:b", 9, [tracer_row()])
    store.host("lab02").append("log:d", Position(9, 9), losses=[loss_row(host="lab02")])
    return store


def opened(lab, zone="UTC"):
    return Engine(Store(str(lab)), zone)


def unkept(lab, zone="UTC"):
    with patch.object(kept, "_LEAST_BYTES", 1 << 60):
        return Engine(Store(str(lab)), zone)


def reported(engine, out, zone="UTC", filters=None, groupings=GROUPINGS, formats=("csv",)):
    """Give the bytes of all files of a report."""
    data = gather(
        engine,
        filters or Filters(),
        groupings,
        zone=ZoneInfo(zone),
        now=NOW,
        most_runs=50,
        pages="html" in formats,
    )
    return {file.name: file.read_bytes() for file in write_report(data, out, formats)}


def usage(engine, **filters):
    return stats.statistics(engine, ["owner", "hour-of-day"], Filters(**filters)).to_csv()


def answers():
    return sorted(cache.folder("answers").glob("*/*.arrow"))


def test_a_report_has_the_same_bytes_at_first_again_and_after_a_commit(lab, tmp_path):
    for number in (100, 101):
        plain = reported(unkept(lab), tmp_path / "plain", formats=("html", "csv"))
        assert reported(opened(lab), tmp_path / "first", formats=("html", "csv")) == plain
        assert reported(opened(lab), tmp_path / "again", formats=("html", "csv")) == plain
        commit(lab, number)
    assert answers()


def test_what_was_asked_before_is_asked_of_no_file(lab, tmp_path, asked):
    reported(opened(lab), tmp_path / "first")
    assert set(asked) == set(lab.files("runs"))
    asked.clear()
    reported(opened(lab), tmp_path / "again")
    assert not asked


def test_after_a_commit_the_new_file_is_asked(lab, asked):
    usage(opened(lab))
    before = set(lab.files("runs"))
    asked.clear()
    commit(lab, 100)
    assert usage(opened(lab)) == usage(unkept(lab))
    assert set(asked) == set(Store(str(lab)).files("runs")) - before


@pytest.mark.parametrize("most", [0, 1, 2, 59, 60, 61, 183, 184, 1000])
@pytest.mark.parametrize("filters", [Filters(), Filters(host="lab01"), Filters(comm="prog1")])
def test_the_newest_runs_are_found_by_times_that_are_kept(lab, most, filters):
    commit(lab, *range(5, 9), host="lab02", first_seq=9_000)  # as old as others
    commit(lab, *range(90, 94), started_at=None, ended_at=None)
    expected = unkept(lab).newest_runs(filters, most)
    assert len(expected) > 0 or most == 0
    for _ in range(2):
        pd.testing.assert_frame_equal(opened(lab).newest_runs(filters, most), expected)


def test_of_old_files_only_the_rows_of_new_runs_that_are_listed_are_asked(lab, tmp_path, asked):
    reported(opened(lab), tmp_path / "first")
    asked.clear()
    commit(lab, 100)
    with patch.object(Engine, "set_aside", lambda *_: "facts"):
        reported(opened(lab), tmp_path / "again")
    assert len(set(asked)) == 1


def test_files_of_many_commits_are_asked_together_before_long(lab, asked):
    for number in range(100, 130):
        commit(lab, number)
        usage(opened(lab))
    assert all(len(groups_of(place)) <= kept._MOST_GROUPS for place in answers())
    assert usage(opened(lab)) == usage(unkept(lab))


def groups_of(place):
    import pyarrow as pa

    reader = pa.ipc.open_file(kept._read(place))
    return json.loads(reader.schema.metadata[b"groups"])[1]


def test_a_host_that_changes_leaves_the_others_as_they_are(lab, asked, monkeypatch):
    monkeypatch.setattr(kept, "_SETTLED_BYTES", 1)  # a group of each file
    usage(opened(lab))
    asked.clear()
    lab.host("lab01").compact()
    assert usage(opened(lab)) == usage(unkept(lab))
    assert all("host=lab01" in file for file in asked)


@pytest.mark.parametrize("gone", ["retained", "removed", "all"])
def test_runs_that_are_gone_are_told_no_more(lab, tmp_path, gone):
    reported(opened(lab), tmp_path / "first")
    if gone == "retained":
        lab.host("lab01").retain(START - timedelta(days=38))
    elif gone == "removed":
        lab.host("lab01").remove("runs", "comm = 'prog1'")
    else:
        lab.host("lab01").remove("runs", "true")
    plain = reported(unkept(lab), tmp_path / "plain")
    assert reported(opened(lab), tmp_path / "kept") == plain


@pytest.mark.parametrize("table", ["files", "calls"])
def test_details_that_are_gone_while_their_runs_are_there_are_told_no_more(lab, tmp_path, table):
    first = reported(opened(lab), tmp_path / "first")
    lab.host("lab02").remove(table, "true")
    plain = reported(unkept(lab), tmp_path / "plain")
    assert reported(opened(lab), tmp_path / "kept") == plain != first


def test_what_details_say_is_kept_when_they_are_sure_to_be_seen(lab, monkeypatch, asked):
    old = set(lab.files("runs"))
    for file in old:
        os.utime(file, (0, 0))
    commit(lab, 100)
    monkeypatch.setattr(kept, "_AT_REST_S", 600)
    usage(opened(lab))
    for _ in range(2):
        asked.clear()
        usage(opened(lab))
        assert set(asked) == set(Store(str(lab)).files("runs")) - old
    monkeypatch.setattr(kept, "_AT_REST_S", 0)
    usage(opened(lab))
    asked.clear()
    usage(opened(lab))
    assert not asked


def test_a_file_that_is_gone_is_kept_no_longer(lab):
    usage(opened(lab))
    old = {name.rpartition("/")[2].encode() for name in lab.files("runs")}
    lab.host("lab01").compact()
    lab.host("lab02").compact()
    usage(opened(lab))
    kept_now = b"".join(place.read_bytes() for place in answers())
    assert not any(name in kept_now for name in old)


def test_files_within_a_range_are_not_asked_by_it(lab, asked):
    since = START - timedelta(days=40) + 10 * HOUR  # in the first file of each host
    history.of_store(opened(lab))
    usage(opened(lab))
    asked.clear()
    assert usage(opened(lab), since=since) == usage(unkept(lab), since=since)
    wide = START - timedelta(days=100)
    asked.clear()
    assert usage(opened(lab), since=wide) == usage(unkept(lab), since=wide) == usage(unkept(lab))
    assert not asked
    assert usage(opened(lab), until=wide) == usage(unkept(lab), until=wide)
    assert not asked


def test_runs_without_time_are_in_no_range(lab):
    commit(lab, 95, started_at=None, ended_at=None, clock="none")
    for wide in (START - timedelta(days=100), None):
        assert usage(opened(lab), since=wide) == usage(unkept(lab), since=wide)
        assert usage(opened(lab), since=wide) == usage(unkept(lab), since=wide)


def test_each_zone_has_answers_of_its_own(lab, tmp_path):
    for zone in ("UTC", "Asia/Seoul", "America/St_Johns", "UTC"):
        plain = reported(unkept(lab, zone), tmp_path / "plain", zone)
        assert reported(opened(lab, zone), tmp_path / "kept", zone) == plain


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "of another question"])
def test_what_is_damaged_is_asked_anew(lab, asked, damage):
    expected = usage(opened(lab))
    for place in cache.folder("answers").glob("*/*"):
        content = bytearray(place.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 1
        whole = {"cut": content[:-9], "empty": b"", "foreign": b"x" * 100}
        place.write_bytes(whole.get(damage, content))
        if damage == "of another question":
            kept._write(place, json.dumps([1, 2, 3]).encode())
    asked.clear()
    assert usage(opened(lab)) == expected
    assert set(asked) == set(lab.files("runs"))
    asked.clear()
    assert usage(opened(lab)) == expected
    assert not asked


def test_where_nothing_can_be_written_nothing_is_kept(lab, tmp_path, monkeypatch, asked):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path / "file" / "cache"))
    assert usage(opened(lab)) == usage(opened(lab)) == usage(unkept(lab))
    assert len(asked) > len(lab.files("runs"))


def test_of_a_small_store_nothing_is_kept(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_LEAST_BYTES", 1 << 20)
    reported(opened(lab), tmp_path / "first")
    assert not cache.folder("answers").exists()


def test_answers_that_are_as_large_as_the_runs_are_not_kept(lab, monkeypatch):
    monkeypatch.setattr(kept, "_MOST_SHARE", 0)
    assert usage(opened(lab)) == usage(unkept(lab))
    assert not answers()


def test_what_was_not_used_for_longest_is_forgotten(lab, tmp_path, monkeypatch):
    reported(opened(lab), tmp_path / "first")
    most = sum(place.stat().st_size for place in answers()) // 2
    monkeypatch.setattr(kept, "_MOST_BYTES", most)
    lately = usage(opened(lab, "Asia/Seoul"))
    assert sum(place.stat().st_size for place in answers()) <= most
    with patch.object(kept, "_write") as written:
        assert usage(opened(lab, "Asia/Seoul")) == lately
    assert not written.called


def counting(host):
    """Give the runs of a module that never sets its counters back."""
    counters = ("open_calls", "close_calls", "read_calls", "write_calls", "lseek_calls")
    return [
        run_row(
            number,
            host=host,
            run_id=f"{number:06x}{host}",
            dialect="contract",
            read_bytes=20 * (number + 1),
            written_bytes=26 * (number + 1),
            **dict.fromkeys(counters, number + 1),
        )
        for number in range(5)
    ]


def test_where_counters_are_totals_nothing_is_kept(lab, tmp_path, asked):
    reported(opened(lab), tmp_path / "first")
    lab.host("lab03").append("kmsg:b", Position(99, 99), runs=counting("lab03"))
    asked.clear()
    for _ in range(2):
        plain = reported(unkept(lab), tmp_path / "plain")
        assert b"totals" in plain["runs.csv"]
        assert reported(opened(lab), tmp_path / "kept") == plain
    assert not asked


def test_totals_are_looked_for_where_files_are_new(lab, monkeypatch):
    usage(opened(lab))
    commit(lab, 100, host="lab02")
    looked = []
    in_process = kept.InProcess

    def noted(files, zone, never):
        if never is not None:
            looked.append({kept._machine(file) for file in files["runs"]})
        return in_process(files, zone, never)

    monkeypatch.setattr(kept, "InProcess", noted)
    usage(opened(lab))
    usage(opened(lab))
    assert looked == [{"lab02"}]


def test_reports_at_once_do_each_other_no_harm(lab, tmp_path):
    plain = reported(unkept(lab), tmp_path / "plain")

    def report(number):
        return reported(opened(lab), tmp_path / f"kept{number % 4}-{number}")

    with ThreadPoolExecutor(4) as pool:
        assert all(each == plain for each in pool.map(report, range(8)))


def test_answers_of_a_store_in_a_bucket_are_kept_too(s3, asked):
    lab = Store(f"s3://{s3.bucket}/lab")
    commit(lab, *range(30))
    first = usage(opened(lab))
    assert len(set(asked)) == 1
    asked.clear()
    assert usage(opened(lab)) == first
    assert not asked
    commit(Store(str(lab)), 40)
    assert usage(opened(lab)) == usage(unkept(lab)) != first


HOSTS = st.sampled_from(["lab01", "lab02"])
DAYS = st.integers(-41, -36)
STEPS = st.one_of(
    st.tuples(st.just("commit"), HOSTS, st.integers(1, 20)),
    st.tuples(st.just("compact"), HOSTS, st.none()),
    st.tuples(st.just("retain"), HOSTS, DAYS),
    st.tuples(
        st.just("ask"),
        st.lists(st.sampled_from([*stats.KEYS]), min_size=1, max_size=1),
        st.tuples(st.none() | DAYS, st.none() | st.integers(-35, -33)),
    ),
)


@settings(max_examples=8)
@given(steps=st.lists(STEPS, min_size=2, max_size=5), whole=st.booleans())
def test_whatever_becomes_of_a_store_reports_are_as_if_nothing_were_kept(
    tmp_path_factory, steps, whole
):
    folder = tmp_path_factory.mktemp("any")
    lab = Store(str(folder / "lab"))
    with (
        patch.dict("os.environ", {"LOGTRACE_CACHE": str(folder / "cache")}),
        patch.object(kept, "_SETTLED_BYTES", 1 << 20 if whole else 1),
    ):
        number = 30
        commit(lab, *range(number))
        for name, what, how in [*steps, ("ask", ["owner"], (None, None))]:
            if name == "commit":
                commit(lab, *range(number, number + how), host=what)
                number += how
            elif what == "lab02" and not (folder / "lab" / "host=lab02").exists():
                continue
            elif name == "compact":
                lab.host(what).compact()
            elif name == "retain":
                lab.host(what).retain(START + timedelta(days=how))
            else:
                since, until = (day and START + timedelta(days=day) for day in how)
                asked = {
                    "filters": Filters(since=since, until=until),
                    "groupings": [what],
                }
                plain = reported(unkept(lab), folder / "plain", **asked)
                assert reported(opened(lab), folder / "kept", **asked) == plain
