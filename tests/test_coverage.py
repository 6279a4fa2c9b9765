import itertools
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report_samples import tracer_row
from store_samples import store_with

from logtrace.cli import cli
from logtrace.coverage import Span, coverage, of_store, to_frame
from logtrace.engine import Engine, Filters

DAY = datetime(2026, 11, 23, tzinfo=UTC)
UNTIL = DAY + timedelta(days=1)


def at(hour, minute=0):
    return DAY + timedelta(hours=hour, minutes=minute)


def row(hour, action, module=None, **changes):
    return tracer_row(at=at(hour), action=action, module=module, **({"watch": 1} | changes))


def loaded(hour, action="add", **changes):
    modules = ("ftracehooking", "iotracehooking")
    return [row(hour, action, module, **changes) for module in modules]


def states(rows, since=DAY, until=UNTIL):
    """Write spans as (hour of start, hour of end, state)."""
    hours = timedelta(hours=1)
    return [
        ((span.start - DAY) / hours, (span.end - DAY) / hours, span.state)
        for span in coverage(rows, since, until)
    ]


def test_a_day_is_cut_into_what_was_traced_untraced_and_unknown():
    rows = [row(8, "begin"), *loaded(9), row(17, "remove", "iotracehooking"), row(18, "end")]
    assert states(rows) == [
        (0, 8, "unknown"),
        (8, 9, "untraced"),
        (9, 17, "traced"),
        (17, 18, "untraced"),
        (18, 24, "unknown"),
    ]


@pytest.mark.parametrize("one", ["ftracehooking", "iotracehooking"])
def test_one_of_the_two_modules_traces_nothing_and_the_first_exercises_neither(one):
    rows = [
        row(8, "begin"),
        row(8, "present", "os_ftracehooking"),
        row(9, "add", one),
        row(10, "end"),
    ]
    assert states(rows, at(8), at(10)) == [(8, 10, "untraced")]


def test_what_was_loaded_when_the_watch_began_traces_from_then_on():
    rows = [row(8, "begin"), *loaded(8, "present"), row(10, "end")]
    assert states(rows, at(7), at(10)) == [(7, 8, "unknown"), (8, 10, "traced")]


def test_a_watch_that_was_killed_is_known_up_to_its_last_row():
    rows = [row(8, "begin"), *loaded(8, "present"), row(9, "alive"), row(12, "begin", watch=2)]
    rows += [row(13, "end", watch=2)]
    assert states(rows, at(8), at(13)) == [
        (8, 9, "traced"),
        (9, 12, "unknown"),
        (12, 13, "untraced"),
    ]


def test_of_two_watches_at_once_the_one_that_knows_of_the_modules_tells():
    rows = [row(8, "begin"), *loaded(8, "present"), row(12, "end")]
    rows += [row(9, "begin", watch=2), row(13, "end", watch=2)]
    assert states(rows, at(8), at(13)) == [(8, 12, "traced"), (12, 13, "untraced")]


def test_modules_unloaded_while_nobody_watched_are_unknown_in_between():
    rows = [row(8, "begin"), *loaded(8, "present"), row(9, "end")]
    rows += [row(11, "begin", watch=2), row(12, "end", watch=2)]
    assert states(rows, at(8), at(12)) == [
        (8, 9, "traced"),
        (9, 11, "unknown"),
        (11, 12, "untraced"),
    ]


def test_a_boot_begins_with_nothing_of_the_boot_before():
    rows = [row(8, "begin"), *loaded(8, "present"), row(9, "alive")]
    rows += [row(10, "begin", boot_id="b2"), row(11, "alive", boot_id="b2")]
    assert states(rows, at(8), at(11)) == [
        (8, 9, "traced"),
        (9, 10, "unknown"),
        (10, 11, "untraced"),
    ]


def test_what_was_loaded_before_the_range_counts_in_it():
    rows = [row(-30, "begin"), *loaded(-29), row(30, "alive")]
    assert states(rows) == [(0, 24, "traced")]


def test_without_a_beginning_the_range_begins_at_each_machines_first_row():
    rows = [
        row(8, "begin"),
        row(9, "end"),
        row(3, "begin", host="lab2"),
        row(4, "end", host="lab2"),
    ]
    spans = coverage(rows, None, at(10))
    assert [(span.host, span.start, span.state) for span in spans] == [
        ("lab01", at(8), "untraced"),
        ("lab01", at(9), "unknown"),
        ("lab2", at(3), "untraced"),
        ("lab2", at(4), "unknown"),
    ]


def test_watches_that_overlap_are_known_together():
    rows = [row(8, "begin"), *loaded(8, "present"), row(10, "end")]
    rows += [row(9, "begin", watch=2), *loaded(9, "present", watch=2)]
    rows += [row(11, "remove", "iotracehooking", watch=2), row(12, "end", watch=2)]
    assert states(rows, at(8), at(12)) == [(8, 11, "traced"), (11, 12, "untraced")]


def test_the_kernel_and_the_modules_version_are_told_where_it_was_traced():
    rows = [row(8, "begin"), *loaded(8, "present", kernel="5.4.0", srcversion="A"), row(9, "end")]
    rows += [
        row(9, "begin", boot_id="b2"),
        *loaded(9, boot_id="b2", kernel="6.1.0", srcversion="B"),
    ]
    rows += [row(10, "end", boot_id="b2")]
    rows += loaded(9, boot_id="b2", kernel="6.1.0", srcversion="B")
    assert coverage(rows, at(8), at(10)) == [
        Span("lab01", at(8), at(9), "traced", "5.4.0", "A", "6f1c0e9a"),
        Span("lab01", at(9), at(10), "traced", "6.1.0", "B", "b2"),
    ]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_the_clock_is_changed_has_its_own_length(day, hours):
    """A day of Berlin, in which the hour from two to three is missing or comes twice."""
    zone = ZoneInfo("Europe/Berlin")
    since = datetime.fromisoformat(day).replace(tzinfo=zone)
    until = since + timedelta(days=1)  # on the clock
    rows = [tracer_row(at=since.astimezone(UTC), action="begin", module=None, watch=1)]
    rows += [tracer_row(at=until.astimezone(UTC), action="end", module=None, watch=1)]
    (span,) = coverage(rows, since.astimezone(UTC), until.astimezone(UTC))
    assert span.end - span.start == timedelta(hours=hours)


def test_a_row_alone_tells_nothing_of_the_time_around_it():
    assert states(loaded(8, "present"), at(7), at(9)) == [(7, 9, "unknown")]


def test_of_no_rows_nothing_is_said():
    assert coverage([], DAY, UNTIL) == []
    frame = to_frame([])
    assert list(frame) == list(Span._fields)
    assert str(frame["start"].dtype) == "datetime64[us, UTC]"


ROWS = st.lists(
    st.builds(
        lambda hour, action, module, watch, boot: row(
            hour, action, module, watch=watch, boot_id=boot
        ),
        st.integers(-5, 30),
        st.sampled_from(["begin", "present", "add", "remove", "alive", "end"]),
        st.sampled_from([None, "ftracehooking", "iotracehooking"]),
        st.integers(1, 3),
        st.sampled_from(["b1", "b2"]),
    ),
    min_size=1,
    max_size=12,
)


@given(ROWS)
def test_spans_are_the_whole_range_once_and_neighbours_differ(rows):
    spans = coverage(rows, DAY, UNTIL)
    assert spans[0].start == DAY
    assert spans[-1].end == UNTIL
    for before, after in itertools.pairwise(spans):
        assert before.end == after.start
        assert before[3:] != after[3:]


@given(ROWS)
def test_what_nobody_watched_is_unknown_and_nothing_else(rows):
    watches = {}
    for each in rows:
        watches.setdefault((each["boot_id"], each["watch"]), []).append(each["at"])
    for span in coverage(rows, DAY, UNTIL):
        middle = span.start + (span.end - span.start) / 2
        watched = any(min(times) <= middle < max(times) for times in watches.values())
        assert (span.state == "unknown") is not watched


NIGHT_AND_DAY = [
    row(-9, "begin"),
    *loaded(-9, "present"),
    row(-8, "alive"),
    row(9, "alive"),
    row(10, "remove", "iotracehooking"),
    row(11, "alive"),
]


def test_a_store_tells_it_of_the_range_up_to_now(tmp_path):
    engine = Engine(store_with(tmp_path / "store", [], tracer=NIGHT_AND_DAY))
    frame = of_store(engine, Filters(since=DAY, until=UNTIL), at(12))
    assert list(frame["state"]) == ["traced", "untraced", "unknown"]
    assert list(frame["end"]) == [at(10), at(11), at(12)]
    assert of_store(engine, Filters(since=at(13), until=UNTIL), at(12)).empty
    assert of_store(engine, Filters(host="lab77"), at(12)).empty


HOLD = """\
import sys
from logtrace.store import Store
with Store(sys.argv[1]).host("lab01").hold(int(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_watch_that_goes_on_is_known_up_to_now_though_nothing_happens(tmp_path):
    store = store_with(tmp_path / "store", [], tracer=NIGHT_AND_DAY)
    hold = [sys.executable, "-c", HOLD, str(store.root), str(NIGHT_AND_DAY[0]["watch"])]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watch:
        assert watch.stdout.readline() == b"held\n"
        going_on = of_store(Engine(store), Filters(since=DAY, until=UNTIL), at(12))
        before = of_store(Engine(store), Filters(since=DAY, until=at(10)), at(12))
        watch.kill()
    killed = of_store(Engine(store), Filters(since=DAY, until=UNTIL), at(12))
    assert list(going_on["state"]) == ["traced", "untraced"]
    assert list(going_on["end"]) == [at(10), at(12)]
    assert list(before["end"]) == [at(10)]
    assert list(killed["state"]) == ["traced", "untraced", "unknown"]


def test_the_command_prints_it(tmp_path):
    store_with(tmp_path / "store", [], tracer=NIGHT_AND_DAY)
    command = ["kmod", "history", "--store", str(tmp_path / "store"), "--tz", "Asia/Seoul"]
    told = CliRunner().invoke(cli, [*command, "--since", "2026-11-23", "--until", "2026-11-24"])
    assert told.exit_code == 0, told.output
    shown = [line for line in told.stdout.splitlines() if "lab01" in line]
    assert ["traced" in line.split() for line in shown] == [True, False, False]
    assert "untraced" in shown[1]
    assert "6.1.0-56-amd64" in shown[0]
    assert "Asia/Seoul" in told.stdout
    as_json = CliRunner().invoke(cli, [*command, "--json", "--until", "2026-11-24"])
    assert json.loads(as_json.stdout)[0]["state"] == "traced"
    nothing = CliRunner().invoke(cli, [*command, "--host", "lab77"])
    assert nothing.exit_code == 3
