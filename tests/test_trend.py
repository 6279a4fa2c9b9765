from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import START, run_row
from store_samples import rows_of, store_with

from logtrace import stats
from logtrace.engine import Engine, Filters
from logtrace.trend import PARTS, trend

HOUR = timedelta(hours=1)
HOURS = Filters(since=START, until=START + PARTS * HOUR)


def hour(number, **changes):
    at = START + number * HOUR
    return {"started_at": at, "ended_at": at} | changes


def trends(tmp_path, rows, by=("owner",), filters=HOURS, now=START):
    engine = Engine(store_with(tmp_path, rows))
    table = stats.usage(engine, by, filters)
    found = trend(engine, table, by, filters, now)
    keys = [tuple(str(value) for value in row) for row in table[list(by)].itertuples(index=False)]
    return found and dict(zip(keys, found.counts, strict=True))


def counts(**parts):
    return [parts.get(f"h{number}", 0) for number in range(PARTS)]


def test_runs_are_counted_for_each_group_in_the_part_of_the_range_in_which_they_began(tmp_path):
    rows = rows_of(hour(0, owner="a"), hour(0, owner="a"), hour(15, owner="a"), hour(3, owner="b"))
    assert trends(tmp_path, rows) == {("a",): counts(h0=2, h15=1), ("b",): counts(h3=1)}


def test_a_group_without_a_name_is_counted_too(tmp_path):
    rows = rows_of(hour(1, owner=None), hour(2, owner=None, started_at=None))
    assert trends(tmp_path, rows) == {("nan",): counts(h1=1, h2=1)}


def test_groups_of_several_keys_and_of_none_are_counted(tmp_path):
    rows = rows_of(hour(1, comm="x"), hour(2, comm="y"), hour(2, comm="y"))
    assert trends(tmp_path / "a", rows, by=("owner", "program")) == {
        ("2021202045", "y"): counts(h2=2),
        ("2021202045", "x"): counts(h1=1),
    }
    assert trends(tmp_path / "b", rows, by=()) == {(): counts(h1=1, h2=2)}


def test_without_a_range_the_time_is_from_the_first_run_to_the_last(tmp_path):
    engine = Engine(store_with(tmp_path, rows_of(hour(0), hour(8), hour(16))))
    found = trend(engine, stats.usage(engine, []), [], Filters(), START)
    assert (found.start, found.end) == (START, START + 16 * HOUR)
    assert found.counts == [counts(h0=1, h8=1, h15=1)]


def test_a_range_that_goes_on_ends_now(tmp_path):
    rows = rows_of(hour(0), hour(1))
    assert trends(tmp_path, rows, by=(), filters=Filters(since=START), now=START + 32 * HOUR) == {
        (): counts(h0=2)
    }


@pytest.mark.parametrize("by", [["day"], ["hour"], ["owner", "day"]])
def test_days_and_hours_have_no_trend(tmp_path, by):
    assert trends(tmp_path, rows_of(hour(0)), by) is None


def test_what_has_no_time_has_no_trend(tmp_path):
    no_time = {"started_at": None, "ended_at": None}
    assert trends(tmp_path / "a", rows_of(no_time), filters=Filters()) is None
    assert trends(tmp_path / "b", rows_of(no_time, hour(1)), filters=Filters()) == {
        ("2021202045",): counts(h0=1)
    }
    assert trends(tmp_path / "c", []) is None


@given(st.lists(st.datetimes(min_value=START.replace(tzinfo=None)), min_size=1, max_size=20))
def test_no_run_with_a_time_is_left_out(tmp_path_factory, times):
    rows = [
        run_row(n, started_at=at.replace(tzinfo=UTC), ended_at=None) for n, at in enumerate(times)
    ]
    engine = Engine(store_with(tmp_path_factory.mktemp("t"), rows))
    found = trend(engine, stats.usage(engine, []), [], Filters(), START)
    assert sum(found.counts[0]) == len(times)
