from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import START, run_row
from store_samples import rows_of, store_with

from logtrace import schema, stats
from logtrace.contents import TOTALS, ReportData, reasons_of, totals_of
from logtrace.engine import Engine, Filters
from logtrace.errors import QueryError

HALF = 2**62


def engine_with(folder, rows, zone="UTC"):
    return Engine(store_with(folder, rows), zone)


def started(*stamps):
    moments = [datetime.fromisoformat(stamp).astimezone(UTC) for stamp in stamps]
    return rows_of(*({"started_at": moment, "ended_at": None} for moment in moments))


def local_starts(engine, zone, filters=None):
    frame, width = stats.timeline(engine, filters)
    return [str(start) for start in frame["start"].dt.tz_convert(zone)], width


# Totals by key


def test_usage_totals_each_group_most_runs_first(tmp_path):
    rows = rows_of(
        {"owner": "b", "comm": "test", "file": "x"},
        {"owner": "a", "comm": "test", "file": "x", "status": "no_end", "read_bytes": None},
        {"owner": "b", "comm": "cat", "file": "y"},
        {"owner": "b", "comm": None, "file": "y", "started_at": None},
        {"owner": None},
    )
    frame = stats.usage(engine_with(tmp_path, rows), ["owner"])
    assert frame["owner"].fillna("none").tolist() == ["b", "a", "none"]
    assert frame["runs"].tolist() == [3, 1, 1]
    assert frame["programs"].tolist() == [2, 1, 1]
    assert frame["files"].tolist() == [2, 1, 1]
    assert frame["incomplete"].tolist() == [0, 1, 0]
    assert frame["written_bytes"].tolist() == [78, 26, 26]
    assert frame["lseek_calls"].tolist() == [27, 9, 9]
    assert frame["read_bytes"].tolist() == [60, pd.NA, 20]
    assert frame["first_seen"].iloc[0] == START
    assert frame["last_seen"].iloc[0] == rows[3]["ended_at"]


def test_usage_has_documented_columns_and_types(tmp_path):
    frame = stats.usage(engine_with(tmp_path, rows_of({})), ["host", "day"])
    numbers = ["runs", "programs", "files", "incomplete", *schema.COUNTERS]
    assert frame.columns.tolist() == ["host", "day", *numbers, "first_seen", "last_seen"]
    assert {str(frame[name].dtype) for name in numbers} == {"Int64"}
    assert frame["host"].dtype == "str"
    times = {str(frame[name].dtype) for name in ("day", "first_seen", "last_seen")}
    assert times == {"datetime64[us, UTC]"}


@pytest.mark.parametrize("key", stats.KEYS)
def test_every_key_groups(tmp_path, key):
    frame = stats.usage(engine_with(tmp_path, rows_of({}, {})), [key])
    assert frame["runs"].tolist() == [2]
    assert frame[key].notna().all()


def test_no_key_makes_one_row_of_all_runs_even_of_none(tmp_path):
    engine = engine_with(tmp_path, rows_of({}))
    assert stats.usage(engine, [])["runs"].tolist() == [1]
    nobody = stats.usage(engine, [], Filters(host="nobody"))
    assert nobody[["runs", "programs", "files", "incomplete"]].values.tolist() == [[0, 0, 0, 0]]
    assert nobody[["read_bytes", "first_seen"]].isna().all(axis=None)


def test_no_runs_make_no_groups(tmp_path):
    engine = engine_with(tmp_path, [])
    assert len(stats.usage(engine, ["owner"])) == 0


def test_an_unknown_key_lists_the_known_ones(tmp_path):
    with pytest.raises(QueryError, match="--by weekday") as caught:
        stats.usage(engine_with(tmp_path, []), ["owner", "weekday"])
    assert all(key in caught.value.remedy for key in stats.KEYS)


def test_days_are_those_of_the_zone(tmp_path):
    rows = started("2026-11-22T14:59:59.999999Z", "2026-11-22T15:00Z")  # midnight in Seoul
    days = stats.usage(engine_with(tmp_path, rows, "Asia/Seoul"), ["day"])["day"]
    assert sorted(days.dt.tz_convert("Asia/Seoul").dt.strftime("%F %T")) == [
        "2026-11-22 00:00:00",
        "2026-11-23 00:00:00",
    ]


def test_an_hour_that_comes_twice_is_two_hours(tmp_path):
    rows = started("2026-11-01T05:10Z", "2026-11-01T06:10Z")  # 01:10 twice
    hours = stats.usage(engine_with(tmp_path, rows, "America/New_York"), ["hour"])["hour"]
    assert sorted(hours) == sorted(row["started_at"] - timedelta(minutes=10) for row in rows)


def test_a_sum_beyond_64_bits_is_null_and_the_others_stand(tmp_path):
    rows = rows_of(*({"owner": "a", "read_bytes": HALF} for _ in range(2)), {"owner": "b"})
    frame = stats.usage(engine_with(tmp_path, rows), ["owner"])
    assert frame["read_bytes"].tolist() == [pd.NA, 20]
    assert frame["written_bytes"].tolist() == [52, 26]


def test_the_largest_sum_of_64_bits_is_exact(tmp_path):
    rows = rows_of({"read_bytes": HALF}, {"read_bytes": HALF - 1})
    frame = stats.usage(engine_with(tmp_path, rows), ["owner"])
    assert frame["read_bytes"].tolist() == [2**63 - 1]


# Totals of all


def test_totals_are_those_of_the_runs_and_exact_beyond_64_bits(tmp_path):
    unknown = {"started_at": None, "ended_at": None, "owner": None, "status": "ambiguous"}
    rows = rows_of({"read_bytes": HALF}, {"read_bytes": HALF, "host": "b"}, unknown)
    totals = stats.totals(engine_with(tmp_path, rows))
    assert totals == {
        "runs": 3,
        "incomplete": 1,
        "unclocked": 1,
        "hosts": 2,
        "owners": 1,
        "programs": 1,
        "files": 1,
        "read_bytes": 2**63 + 20,
        "written_bytes": 78,
    }


def test_totals_of_no_runs_are_zero(tmp_path):
    assert stats.totals(engine_with(tmp_path, [])) == dict.fromkeys(TOTALS, 0)


def test_totals_and_reasons_equal_those_counted_from_the_runs(tmp_path):
    rows = rows_of(
        {"status": "no_end", "note": "n"},
        {"status": "no_end", "note": "n"},
        {"status": "no_end", "note": None},
        {"status": "ambiguous", "note": "m"},
        {},
    )
    engine = engine_with(tmp_path, rows)
    fields = dict.fromkeys(ReportData.__dataclass_fields__)
    data = ReportData(**(fields | {"runs": engine.rows("runs")}))
    assert stats.totals(engine) == totals_of(data)
    counted = reasons_of(data).fillna("").astype({"runs": "Int64"})
    given = stats.reasons(engine).fillna("")
    assert sorted(map(tuple, given.values)) == sorted(map(tuple, counted.values))
    assert given["runs"].is_monotonic_decreasing


# Partial and merge


NAMES = st.sampled_from(["a", "b", "", None])
COUNTS = st.sampled_from([-1, 0, 1, 7, None])
HOURS = st.sampled_from([0, 1, 2, None])
ROWS = st.tuples(NAMES, NAMES, NAMES, COUNTS, COUNTS, HOURS, HOURS, st.booleans())


def row(owner, comm, file, count, other, start, end, complete):
    at = {n: START + timedelta(hours=n) for n in range(3)}
    counters = {name: (count, other)[n % 2] for n, name in enumerate(schema.COUNTERS)}
    status = "complete" if complete else "no_end"
    times = {"started_at": at.get(start), "ended_at": at.get(end)}
    return run_row(0, owner=owner, comm=comm, file=file, status=status, **times, **counters)


@pytest.fixture(scope="module")
def database():
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        yield database


def merged(database, parts, keys, measures):
    """Take each part's partial, and merge them, as several workers would."""
    partials = []
    for number, rows in enumerate(parts):
        name = f"part{number}"
        database.register(name, schema.to_table(rows, schema.RUNS))
        columns = ", ".join(f'{measure.partial} AS "{measure.name}"' for measure in measures)
        partials.append(f"SELECT {keys}, {columns} FROM {name} GROUP BY ALL")
    columns = ", ".join(f'{measure.merge} AS "{measure.name}"' for measure in measures)
    query = f"SELECT {keys}, {columns} FROM ({' UNION ALL '.join(partials)}) GROUP BY ALL"
    return schema.to_frame(database.sql(query).to_arrow_table())


def by_pandas(rows):
    runs = schema.to_frame(schema.to_table(rows, schema.RUNS))
    runs["at"] = runs["started_at"].fillna(runs["ended_at"])
    runs["odd"] = runs["status"] != "complete"
    groups = runs.groupby("owner", dropna=False)
    frame = groups.agg(
        runs=("run_id", "size"),
        programs=("comm", "nunique"),
        files=("file", "nunique"),
        incomplete=("odd", "sum"),
    )
    sums = groups[list(schema.COUNTERS)].sum(min_count=1)
    seen = groups["at"].agg(first_seen="min", last_seen="max")
    return frame.join(sums).join(seen).reset_index()


def comparable(frame):
    plain = frame.astype(object).where(frame.notna(), None)
    return sorted(map(str, plain.to_dict("records")))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(ROWS, min_size=1, max_size=5), min_size=1, max_size=4))
def test_merged_partials_of_any_parts_equal_pandas_over_all_rows(database, parts):
    parts = [[row(*values) for values in part] for part in parts]
    by_duckdb = merged(database, parts, "owner", stats.USAGE)
    expected = by_pandas([row for part in parts for row in part])
    assert comparable(by_duckdb) == comparable(expected[by_duckdb.columns])


# Over time


def test_a_short_range_is_cut_finely_and_a_long_one_coarsely(tmp_path):
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    spans = {
        "1min": timedelta(minutes=100),
        "10min": timedelta(hours=19),
        "1h": timedelta(days=4),
        "1d": timedelta(days=100),
        "1w": timedelta(weeks=100),
        "4w": timedelta(weeks=400),
        "52w": timedelta(weeks=2000),
    }
    rows = rows_of({"started_at": begin}, *({"started_at": begin + t} for t in spans.values()))
    engine = engine_with(tmp_path, rows)
    for expected, span in spans.items():
        until = begin + span + timedelta(microseconds=1)
        frame, width = stats.timeline(engine, Filters(until=until))
        assert width == expected
        assert frame["start"].iloc[0] <= begin
        assert frame["runs"].sum() == list(spans).index(expected) + 2


def test_buckets_count_runs_and_bytes_and_leave_out_empty_ones(tmp_path):
    rows = rows_of(
        {},
        {"status": "no_end", "read_bytes": None},
        {"started_at": START + timedelta(days=3)},
        {"started_at": None, "ended_at": None},
    )
    frame, width = stats.timeline(engine_with(tmp_path, rows))
    assert width == "1h"
    assert frame.values.tolist() == [
        [pd.Timestamp(START), 2, 1, 20, 52],
        [pd.Timestamp(START + timedelta(days=3)), 1, 0, 20, 26],
    ]


def test_days_begin_at_midnight_in_winter_and_in_summer(tmp_path):
    zone = "America/New_York"
    noons = [datetime(2026, 3, day, 12, tzinfo=ZoneInfo(zone)) for day in range(1, 16)]
    ends = [noons[7].replace(hour=0), noons[7].replace(hour=23, minute=59)]
    rows = rows_of(*({"started_at": moment} for moment in [*noons, *ends]))
    starts, width = local_starts(engine_with(tmp_path, rows, zone), zone)
    assert width == "1d"
    assert starts == [
        f"2026-03-{day:02d} 00:00:00-0{5 if day < 9 else 4}:00" for day in range(1, 16)
    ]


def test_a_day_without_midnight_begins_at_its_first_instant(tmp_path):
    zone = "America/Sao_Paulo"
    rows = started("2018-11-01T15:00Z", "2018-11-04T03:00Z", "2018-11-04T20:00Z", "2018-11-09T15Z")
    starts, _ = local_starts(engine_with(tmp_path, rows, zone), zone)
    assert starts[1] == "2018-11-04 01:00:00-02:00"


def test_weeks_begin_on_monday_at_midnight(tmp_path):
    zone = "Europe/Berlin"
    rows = started("2026-03-01T12:00+01:00", "2026-07-05T23:59+02:00", "2026-07-06T00:00+02:00")
    starts, width = local_starts(engine_with(tmp_path, rows, zone), zone)
    assert width == "1w"
    assert starts == [
        "2026-02-23 00:00:00+01:00",
        "2026-06-29 00:00:00+02:00",
        "2026-07-06 00:00:00+02:00",
    ]


def test_hours_are_those_of_a_zone_with_three_quarters(tmp_path):
    zone = "Asia/Kathmandu"
    rows = started("2026-01-01T00:20Z", "2026-01-02T00:10Z")
    starts, width = local_starts(engine_with(tmp_path, rows, zone), zone)
    assert width == "1h"
    assert [start[11:] for start in starts] == ["06:00:00+05:45", "05:00:00+05:45"]


def test_runs_without_wall_clock_time_have_no_timeline(tmp_path):
    rows = rows_of({"started_at": None, "ended_at": None})
    frame, width = stats.timeline(engine_with(tmp_path, rows))
    assert (len(frame), width) == (0, "1h")
    assert frame.columns.tolist() == ["start", "runs", "incomplete", "read_bytes", "written_bytes"]
    assert str(frame["start"].dtype) == "datetime64[us, UTC]"
