from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pytest
from hypothesis import example, given, settings
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
    with pytest.raises(QueryError, match="--by moon") as caught:
        stats.usage(engine_with(tmp_path, []), ["owner", "moon"])
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


@pytest.mark.parametrize("before", [None, Filters(owner="gone")])
def test_what_was_seen_before_gives_the_same_timeline(tmp_path, before):
    rows = rows_of(
        {"started_at": START + timedelta(days=3)},
        {"comm": "other"},
        {"started_at": None, "ended_at": None, "comm": None},
        {"owner": "gone", "comm": "old", "started_at": START - timedelta(days=90)},
    )
    engine, mine = engine_with(tmp_path, rows), Filters(owner=rows[0]["owner"])
    seen = stats.statistics(engine, ["program"], mine, before)
    frame, width = stats.timeline(engine, mine, seen)
    expected, expected_width = stats.timeline(engine, mine)
    pd.testing.assert_frame_equal(frame, expected)
    assert width == expected_width


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


# All statistics


def test_statistics_tell_how_runs_are_distributed(tmp_path):
    rows = rows_of(
        {"owner": "b", "read_bytes": 1000, "written_bytes": 0, "ended_us": 100, "started_us": 0},
        {"owner": "b", "read_bytes": 0, "written_bytes": 20, "ended_us": 50, "started_us": 0},
        {"owner": "b", "read_bytes": None, "written_bytes": None, "ended_us": None},
        {"owner": "a", "read_bytes": 3, "written_bytes": 4, "open_calls": 7, "close_calls": 5},
    )
    b, a = stats.statistics(engine_with(tmp_path, rows), ["owner"]).to_dict("records")
    assert (b["runs"], b["share"], b["leaky"], b["leak_rate"]) == (3, 0.75, 0, 0)
    assert (a["runs"], a["share"], a["leaky"], a["leak_rate"]) == (1, 0.25, 1, 1)
    assert (b["mean_bytes"], b["max_bytes"]) == (510, 1000)
    assert (b["p50_bytes"], b["p95_bytes"]) == (20, 1003), "1000 to 1007 are one bucket"
    assert (b["mean_took_us"], b["p50_took_us"], b["max_took_us"]) == (75, 50, 100)
    assert (a["mean_bytes"], a["p50_bytes"], a["p95_bytes"], a["max_bytes"]) == (7, 7, 7, 7)
    assert pd.isna(a["error_rate"]), "no run has a line a call"


def test_calls_that_failed_are_of_the_runs_with_a_line_a_call(tmp_path):
    rows = rows_of({"run_id": "01"}, {"run_id": "02"}, {"run_id": "03"})
    calls = [
        {"run_id": "01", "call": "read", "calls": 6, "errors": 1},
        {"run_id": "01", "call": "openat", "calls": 2, "errors": 0},
        {"run_id": "02", "call": "read", "calls": 2, "errors": 1},
    ]
    store = store_with(tmp_path, rows, calls=calls)
    (row,) = stats.statistics(Engine(store), []).to_dict("records")
    assert (row["runs"], row["failed_calls"], row["error_rate"]) == (3, 2, 0.2)


def test_a_failed_open_is_not_left_open_where_the_trace_tells(tmp_path):
    counts = {"open_calls": 5, "close_calls": 3}
    rows = rows_of(*({"run_id": f"0{number}"} | counts for number in range(3)))
    rows[2]["detail"] = True
    calls = [{"run_id": "01", "call": "openat", "calls": 5, "errors": 2}]
    of_file = {"run_id": "02", "path": "/a", "opens": 1, "open_at_end": True}
    files = [of_file | {"descriptor": number} for number in (1, 3)]
    store = store_with(tmp_path, rows, calls=calls, files=files)
    frame = Engine(store).aggregate(
        {"run_id": "run_id"}, [stats.Measure("left", "max(left_open)", 'max("left")')]
    )
    assert frame["left"].tolist() == [2, 0, 1], "standard output is left open by all"


def test_the_busiest_hour_is_of_the_zone_and_the_first_of_several(tmp_path):
    rows = started("2026-11-22T15:10Z", "2026-11-23T15:20Z", "2026-11-23T03:00Z")
    (row,) = stats.statistics(engine_with(tmp_path, rows, "Asia/Seoul"), []).to_dict("records")
    assert row["busiest_hour"] == 0
    (row,) = stats.statistics(engine_with(tmp_path / "2", rows[1:]), []).to_dict("records")
    assert row["busiest_hour"] == 3


def test_change_is_against_the_period_before(tmp_path):
    now = START + timedelta(days=2)
    at = {"now": now - timedelta(hours=1), "then": now - timedelta(hours=30)}
    rows = rows_of(
        *({"owner": "more", "started_at": at["now"]} for _ in range(3)),
        {"owner": "more", "started_at": at["then"]},
        {"owner": "new", "started_at": at["now"]},
        {"owner": "gone", "started_at": at["then"]},
        {"owner": None, "started_at": at["now"]},
        {"owner": None, "started_at": at["then"]},
    )
    engine = engine_with(tmp_path, rows)
    filters = Filters(since=now - timedelta(days=1))
    before = stats.period_before(filters, now)
    frame = stats.statistics(engine, ["owner"], filters, before)
    found = {row["owner"]: row for row in frame.fillna({"owner": "none"}).to_dict("records")}
    assert (*found,)[:: len(found) - 1] == ("more", "gone")
    assert [found["more"][name] for name in ("runs", "runs_before", "change")] == [3, 1, 2]
    assert found["new"]["runs_before"] == 0
    assert pd.isna(found["new"]["change"])
    assert [found["gone"][name] for name in ("runs", "runs_before", "change")] == [0, 1, -1]
    assert found["none"]["change"] == 0
    assert "change" not in stats.statistics(engine, ["day"], filters, before)


def test_groups_with_most_runs_come_first_beside_a_period_before(tmp_path):
    now = START + timedelta(hours=1)
    earlier, since = now - timedelta(days=2), now - timedelta(days=1)
    rows = rows_of(
        {"owner": "a", "started_at": now},
        *({"owner": "b", "started_at": now} for _ in range(2)),
        *({"owner": owner, "started_at": earlier} for owner in ("gone", "also gone", "b")),
    )
    filters = Filters(since=since)
    before = stats.period_before(filters, now)
    for by in (["owner"], ["owner", "host"]):
        frame = stats.statistics(engine_with(tmp_path / str(len(by)), rows), by, filters, before)
        assert frame["owner"].tolist() == ["b", "a", "also gone", "gone"]


def test_no_run_in_two_periods_gives_no_groups_by_several_keys(tmp_path):
    filters = Filters(since=START, owner="nobody")
    before = stats.period_before(filters, START + timedelta(hours=1))
    frame = stats.statistics(engine_with(tmp_path, rows_of({})), ["owner", "host"], filters, before)
    assert frame.empty
    assert {"owner", "host", "runs", "change"} < {*frame}


def test_the_period_before_is_as_long_and_ends_where_the_other_begins():
    end, day = START + timedelta(days=3), timedelta(days=1)
    closed = stats.period_before(Filters(START, end, host="a"), end + day)
    assert closed == Filters(START - 3 * day, START, host="a")
    assert stats.period_before(Filters(START), START + day) == Filters(START - day, START)
    assert stats.period_before(Filters(until=end), end) is None
    assert stats.period_before(Filters(since=end), START) is None


@pytest.mark.parametrize(
    ("key", "expected"), [("weekday", [1, 7, 7]), ("hour-of-day", [0, 14, 23])]
)
def test_groups_by_time_are_in_order_of_time(tmp_path, key, expected):
    rows = started("2026-11-22T14:30Z", "2026-11-22T05:00Z", "2026-11-22T15:00Z")
    frame = stats.usage(engine_with(tmp_path, rows, "Asia/Seoul"), [key, "hour"])
    assert frame[key].tolist() == expected


@pytest.mark.parametrize("before", [None, Filters(owner="a")])
def test_several_groupings_at_once_give_what_each_gives(tmp_path, before):
    rows = rows_of({"owner": "a"}, {"owner": None, "file": None}, {"owner": "a", "file": "y"})
    engine = engine_with(tmp_path, rows)
    groupings = [["owner"], [], ["file", "owner"], ["host", "weekday"], ["day"]]
    together = stats.statistics_of_each(engine, groupings, None, before)
    for by, frame in zip(groupings, together, strict=True):
        pd.testing.assert_frame_equal(frame, stats.statistics(engine, by, None, before))
        plain = stats.usage(engine, by)
        pd.testing.assert_frame_equal(frame[[*plain]].head(len(plain)), plain)


@pytest.mark.parametrize("few", [0, 50_000])
def test_several_names_at_once_give_what_each_gives_however_many_they_are(
    tmp_path, monkeypatch, few
):
    monkeypatch.setattr("logtrace.stats._FEW_GROUPS", few)
    rows = rows_of(
        {"owner": "b", "comm": "test", "file": "x", "open_calls": 9},
        {"owner": "a", "comm": "test", "file": "x", "status": "no_end", "read_bytes": None},
        {"owner": "b", "comm": "cat", "file": "y", "host": "lab02", "read_bytes": HALF},
        {"owner": "b", "comm": None, "file": "y", "started_at": None},
        {"owner": None, "file": None},
    )
    engine = engine_with(tmp_path, rows)
    groupings = [["owner"], ["program", "host"], ["file"], ["status"]]
    together = stats.statistics_of_each(engine, groupings)
    for by, frame in zip(groupings, together, strict=True):
        pd.testing.assert_frame_equal(frame, stats.statistics(engine, by))


COUNTS = st.one_of(st.none(), st.integers(0, 2**62))


@settings(max_examples=30, deadline=None)
@example([("a", 2**62, None)])
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), COUNTS, COUNTS), min_size=1, max_size=30)
)
def test_statistics_equal_those_that_pandas_computes_from_the_runs(tmp_path_factory, given_runs):
    rows = rows_of(
        *(
            {"owner": owner, "read_bytes": read, "written_bytes": 0 if read is None else None,
             "started_us": 0, "ended_us": took}
            for owner, read, took in given_runs
        )
    )  # fmt: skip
    engine = engine_with(tmp_path_factory.mktemp("store"), rows)
    frame = stats.statistics(engine, ["owner"]).fillna({"owner": "none"}).set_index("owner")
    runs = engine.rows("runs").fillna({"owner": "none"})
    runs["size"] = runs["read_bytes"].fillna(runs["written_bytes"])
    runs["took"] = runs["ended_us"] - runs["started_us"]
    for name, column in (("bytes", "size"), ("took_us", "took")):
        groups = runs.groupby("owner")[column]
        assert frame[f"max_{name}"].equals(groups.max().reindex(frame.index).rename(f"max_{name}"))
        for owner, values in groups:
            known = sorted(values.dropna())
            for percent in (50, 95):
                if not known:
                    assert frame.loc[owner, f"p{percent}_{name}"] is pd.NA
                    continue
                exact = known[-(-percent * len(known) // 100) - 1]
                error = abs(int(frame.loc[owner, f"p{percent}_{name}"]) - exact)
                assert error * 125 <= exact, "within 0.8 %"
