"""What is said of the machines of a lab."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from report_samples import run_row, tracer_row
from store_samples import fill

from logtrace import coverage, hosts, schema, stats
from logtrace.config import HostRules
from logtrace.contents import completeness
from logtrace.engine import Engine, Filters
from logtrace.incident_list import incidents
from logtrace.store import Store

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)  # a monday, 17:00 in Seoul
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BOOTED = NOW - timedelta(days=30)


def run_at(at, number=0, **changes):
    """Give a run that a right clock places at a time, and the kernel's clock too."""
    us = (at - BOOTED) // timedelta(microseconds=1)
    times = {"started_at": at, "ended_at": at, "started_us": us, "ended_us": us + 71}
    return run_row(number, **times | changes)


def off_by(error, at, **changes):
    """Give the same where the clock is ahead by `error`."""
    return run_at(at, **changes) | {"started_at": at + error, "ended_at": at + error}


def table(folder, of_hosts, filters=None, rules=None, **more):
    """Give what is said of machines that had these runs; the name is the index."""
    store = Store(str(folder))
    for host, runs in of_hosts.items():
        own = {name: rows.get(host, ()) for name, rows in more.items()}
        for name, rows in own.items():
            own[name] = [row | {"host": host} for row in rows]
        fill(store, [run | {"host": host} for run in runs], host=host, **own)
    return of_store(Engine(store), filters, rules).set_index("host")


def of_store(engine, filters=None, rules=None):
    filters = filters or Filters()
    watched = coverage.known(engine, filters, NOW)
    by_boot = stats.by_boot(engine, filters)
    losses = engine.rows("losses", filters)
    spans = coverage.of_rows(watched, filters, NOW)
    return hosts.of_store(
        engine,
        filters,
        NOW,
        by_boot=by_boot,
        completeness=completeness(by_boot, losses, spans),
        incidents=incidents(engine, filters),
        tracer=watched,
        rules=rules,
    )


def working_hours(until, weeks=4):
    """Give a run in each hour from 9 to 18 of the working days of Seoul before a time."""
    begin = NOW - timedelta(weeks=weeks)
    times = (begin + number * HOUR for number in range(weeks * 7 * 24))
    local = ((at, at + 9 * HOUR) for at in times)
    return [
        run_at(at) for at, seoul in local if seoul.weekday() < 5 and 9 <= seoul.hour < 18
        and at < until
    ]  # fmt: skip


def always(until, weeks=4, every=HOUR):
    begin = NOW - timedelta(weeks=weeks)
    return [run_at(begin + n * every) for n in range(10**4) if begin + n * every < until]


SILENT = {
    "an office machine after a weekend and a monday off": (working_hours(NOW - 3 * DAY), False),
    "an office machine after two days off": (working_hours(NOW - 4 * DAY - HOUR), True),
    "a server for 20 hours": (always(NOW - 20 * HOUR), False),
    "a server for 26 hours": (always(NOW - 26 * HOUR), True),
    "a course once a week, in the week after": (
        [run_at(NOW - n * 7 * DAY - 3 * DAY) for n in range(4)],
        False,
    ),
    "a course once a week that was left out": (
        [run_at(NOW - n * 7 * DAY - 11 * DAY) for n in range(3)],
        True,
    ),
    "a new machine after its first weekend": ([run_at(NOW - 70 * HOUR)], False),
    "a new machine after two days more": ([run_at(NOW - 120 * HOUR)], True),
    "nothing for five weeks, whatever was before": (
        [run_at(NOW - 35 * DAY), run_at(NOW - 300 * DAY)],
        True,
    ),
}


@pytest.mark.parametrize("name", SILENT)
def test_silent_is_what_is_quiet_for_longer_than_usual(tmp_path, name):
    runs, silent = SILENT[name]
    assert table(tmp_path, {"a": runs}).loc["a", "silent"] == silent


def test_what_is_silent_may_be_set(tmp_path):
    found = {"a": always(NOW - 5 * HOUR), "b": always(NOW - 5 * HOUR, every=6 * HOUR)}
    assert list(table(tmp_path, found)["silent"]) == [False, False]
    engine = Engine(Store(str(tmp_path)))
    rules = HostRules(silent_hours=4)
    assert list(of_store(engine, rules=rules)["silent"]) == [True, False]
    rules = HostRules(silent_hours=4, silent_factor=0.5)
    assert list(of_store(engine, rules=rules)["silent"]) == [True, True]


def test_a_machine_without_any_time_is_not_said_to_be_silent_or_not(tmp_path):
    unclocked = run_row(0, started_at=None, ended_at=None, clock="none")
    found = table(tmp_path, {"a": [unclocked]})
    assert found[["last_sign", "silent", "clock", "first_run", "days"]].isna().all(axis=None)
    assert found.loc["a", "runs"] == 1


def test_watches_and_incidents_are_signs_too(tmp_path):
    week = always(NOW - 40 * HOUR)
    told = tracer_row(at=NOW - HOUR, action="alive", module=None)
    assert table(tmp_path, {"a": week, "b": week, "c": week}, incidents={"b": [incident()]})[
        "silent"
    ].tolist() == [True, False, True]
    Store(str(tmp_path)).host("c").append_tracer("modules:b", 9, [told | {"host": "c"}])
    assert of_store(Engine(Store(str(tmp_path))))["silent"].tolist() == [True, False, False]


def incident(**changes):
    row = dict.fromkeys(schema.INCIDENTS.names) | {
        "incident_id": "1f",
        "at": NOW - HOUR,
        "type": "warning",
        "module": "nfs",
        "fingerprint": "f",
        "message": "m",
        "report": "r",
        "clock": "received",
    }
    return row | changes


CLOCKS = {
    "right": ([run_at(NOW - n * HOUR) for n in range(5)], None, None),
    "right, and read late": (
        [run_at(NOW - n * HOUR / 2) for n in range(10)]
        + [off_by(timedelta(minutes=9), NOW - 4 * HOUR - timedelta(minutes=10))],
        None,
        None,
    ),
    "right, while the machine was suspended": (
        [run_at(NOW - 9 * HOUR), off_by(7 * HOUR, NOW - 8 * HOUR)],
        None,
        None,
    ),
    "right, of which the log tells no more": (
        [off_by(5 * HOUR, NOW - 9 * HOUR, clock="log"), run_at(NOW - 2 * HOUR, clock="log")],
        None,
        None,
    ),
    "ahead of the present": ([off_by(HOUR, NOW)], "ahead", HOUR),
    "ahead by less than matters": ([off_by(timedelta(seconds=59), NOW)], None, None),
    "set back by two hours": (
        [off_by(2 * HOUR, NOW - 9 * HOUR), run_at(NOW - 3 * HOUR)],
        "set",
        2 * HOUR,
    ),
    "set back across midnights": (
        [off_by(2 * DAY, NOW - 3 * DAY), run_at(NOW - 3 * DAY + HOUR), run_at(NOW - HOUR)],
        "set",
        2 * DAY,
    ),
    "of an empty battery": (
        [
            run_at(NOW - HOUR),
            run_at(NOW, started_at=datetime(2000, 1, 1, tzinfo=UTC), ended_at=None),
        ],
        "early",
        NOW - datetime(2000, 1, 1, tzinfo=UTC),
    ),
    "of two boots at a time": (
        [
            run_at(NOW - 9 * HOUR),
            run_at(NOW - 3 * HOUR),
            run_at(NOW - 5 * HOUR, boot_id="b2"),
            run_at(NOW, boot_id="b2"),
        ],
        "two_boots",
        2 * HOUR,
    ),
    "of one boot behind the other": (
        [run_at(NOW - 9 * HOUR), run_at(NOW - 3 * HOUR), run_at(NOW - 2 * HOUR, boot_id="b2")],
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_a_clock_is_off_where_the_times_contradict_something(tmp_path, name):
    runs, clock, off = CLOCKS[name]
    found = table(tmp_path, {"a": runs}).loc["a"]
    assert (None if pd.isna(found["clock"]) else found["clock"]) == clock
    if off is not None:
        assert timedelta(microseconds=int(found["clock_off_us"])) == off


def test_a_clock_that_was_ahead_does_not_hide_that_the_machine_is_silent(tmp_path):
    runs = [*always(NOW - 60 * HOUR), off_by(400 * DAY, NOW - 60 * HOUR)]
    found = table(tmp_path, {"a": runs}).loc["a"]
    assert (found["silent"], found["clock"]) == (True, "ahead")
    assert found["last_sign"] < NOW - 60 * HOUR


def test_a_clock_that_was_set_between_two_watches_of_a_boot_was_off(tmp_path):
    fill(Store(str(tmp_path)), [run_at(NOW - HOUR)])
    booted = NOW - 20 * HOUR
    for error, begun in ((0 * HOUR, 2), (HOUR, 6)):
        at = booted + begun * HOUR
        row = tracer_row(
            at=at + error, action="begin", module=None, watch=begun * 3_600_000_000, boot_id="b"
        )
        Store(str(tmp_path)).host("lab01").append_tracer(f"modules:{begun}", begun, [row])
    (found,) = of_store(Engine(Store(str(tmp_path)))).to_dict("records")
    assert (found["clock"], found["clock_off_us"]) == ("set", 3_600_000_000)


def test_modules_kernel_coverage_incidents_losses_and_what_is_kept_are_told(tmp_path):
    store = Store(str(tmp_path))
    fill(store, [run_at(NOW - 3 * DAY), run_at(NOW - DAY, status="no_end")], host="lab01")
    fill(store, [], host="lab02", incidents=[incident(host="lab02")])
    rows = [tracer_row(at=NOW - 2 * DAY, action="begin", module=None)]
    for module in ("ftracehooking", "iotracehooking"):
        rows.append(tracer_row(at=NOW - 2 * DAY, module=module, action="present"))
    rows.append(tracer_row(at=NOW - DAY, module="iotracehooking", action="remove", version=None))
    rows.append(tracer_row(at=NOW - HOUR, module=None, action="end", kernel="6.1.0-57-amd64"))
    rows = [row | {"boot_id": run_row(0)["boot_id"]} for row in rows]
    store.host("lab01").append_tracer("modules:b", 9, rows)
    found = of_store(Engine(store), Filters(since=NOW - 2 * DAY)).set_index("host")
    first, second = found.loc["lab01"], found.loc["lab02"]
    assert (first["runs"], first["incomplete"], first["incidents"]) == (1, 1, 0)
    assert (first["traced"], first["untraced"]) == (0.5, 23 / 48)
    assert (first["version"], first["kernel"]) == ("1", "6.1.0-57-amd64")
    assert (first["first_run"], first["last_run"]) == (NOW - 3 * DAY, NOW - DAY)
    assert first["days"] == 2
    assert (second["runs"], second["incidents"], second["lost"]) == (0, 1, 0)
    assert second["last_sign"] == NOW - HOUR
    assert second[["version", "kernel", "traced", "days"]].isna().all()
    assert hosts.summary(found.reset_index()) == {
        "hosts": 2,
        "with_runs": 1,
        "traced": 1,
        "watched": 1,
        "silent": 0,
        "clock_off": 0,
    }
    counted = hosts.versions(found.reset_index())
    assert counted["hosts"].tolist() == [1, 1]
    assert counted.loc[0, "srcversion"] == rows[1]["srcversion"]


def test_a_machine_without_runs_in_the_range_is_still_there(tmp_path):
    found = table(tmp_path, {"a": [run_at(NOW)], "b": [run_at(NOW - 9 * DAY)]}, Filters(since=NOW))
    assert found["runs"].tolist() == [1, 0]
    assert found["silent"].tolist() == [False, True]


def test_an_empty_store_has_no_machines(tmp_path):
    found = of_store(Engine(Store(str(tmp_path))))
    assert list(found) == list(hosts.COLUMNS)
    assert found.empty
    assert hosts.versions(found).empty
    assert not any(hosts.summary(found).values())
