from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import cube_of, lab_rows, run_row, runs_frame
from store_samples import store_with

from logtrace import cube, schema, stats
from logtrace.cube import OTHER
from logtrace.engine import Engine, Filters

SEOUL = "Asia/Seoul"
KEYS = ["bucket", "host", "owner", "comm"]
BY_NAMES = [["owner"], ["program"]]


def engine_of(folder, rows, zone=SEOUL):
    return Engine(store_with(folder, rows), zone)


def cube_in(engine, groupings=BY_NAMES, filters=Filters()):  # noqa: B008
    timeline, width = stats.timeline(engine, filters)
    return cube.of_store(engine, filters, groupings, timeline, width)


def in_order(cells):
    return cells.sort_values(KEYS, na_position="last").reset_index(drop=True)


def over_a_year(count):
    """Give runs of 2 hosts, 40 owners and 5 programs, the same number on each day of a year."""
    start = datetime(2025, 11, 1, tzinfo=UTC)
    for number in range(count):
        names = {"host": f"h{number % 2}", "owner": f"o{number % 40:02d}", "comm": f"p{number % 5}"}
        at = start + timedelta(hours=(number * 8760) // count)
        yield run_row(number, **names, started_at=at, ended_at=at + timedelta(seconds=1))


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    return engine_of(tmp_path_factory.mktemp("year"), list(over_a_year(1201)))


def test_cells_are_those_that_pandas_counts(tmp_path):
    rows = lab_rows(97)
    rows[3] |= {"owner": None, "comm": None, "read_bytes": None}
    rows[5] |= {"started_at": None, "ended_at": None, "clock": "none"}
    found = cube_in(engine_of(tmp_path, rows))
    assert found.width == "1min"
    expected = cube_of(runs_frame(rows), "1min").cells
    pd.testing.assert_frame_equal(
        in_order(found.cells)[expected.columns], in_order(expected), check_dtype=False
    )
    assert (found.folded, found.week) == ({}, None)


def test_filters_narrow_the_cells(tmp_path):
    found = cube_in(engine_of(tmp_path, lab_rows(97)), filters=Filters(owner="2021202003"))
    assert set(found.cells["owner"]) == {"2021202003"}


def test_a_store_without_runs_has_no_cells(tmp_path):
    found = cube_in(engine_of(tmp_path, []))
    assert (len(found.cells), found.hours(ZoneInfo(SEOUL))) == (0, {})


def test_a_further_key_of_a_grouping_has_cells_of_its_own(tmp_path):
    rows = [run_row(number, file=f"f{number % 3}") for number in range(7)]
    found = cube_in(engine_of(tmp_path, rows), [["host", "file"]])
    assert found.cells.groupby("file")["runs"].sum().to_dict() == {"f0": 3, "f1": 2, "f2": 2}


def test_a_further_key_that_would_take_too_many_cells_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cube, "MOST_CELLS", 5)
    rows = [run_row(0, file=f"f{number}", run_id=f"{number:012x}") for number in range(7)]
    found = cube_in(engine_of(tmp_path, rows), [["file"]])
    assert "file" not in found.cells
    assert found.cells["runs"].tolist() == [7]


def test_further_keys_can_be_taken_out_again(tmp_path):
    rows = [
        run_row(n, file=f"f{n % 7}", owner=None if n % 3 else "o", run_id=f"{n:012x}")
        for n in range(40)
    ]
    rows[3] |= {"read_bytes": None, "started_at": None, "ended_at": None}
    for row, other in zip(rows[4::2], rows[5::2], strict=True):
        other |= {name: row[name] for name in ("owner", "started_at", "ended_at")}
    rows[4]["read_bytes"] = rows[5]["read_bytes"] = rows[7]["written_bytes"] = 2**63 - 1
    engine = engine_of(tmp_path, rows)
    found = cube_in(engine, [["file"]])
    assert "file" in found.cells
    expected = cube_in(engine)
    pd.testing.assert_frame_equal(
        in_order(found.by_names().cells), in_order(expected.cells), check_dtype=False
    )


@pytest.mark.parametrize(("most", "has_files"), [(7, True), (6, False)])
def test_far_too_many_combinations_are_counted_and_not_brought(
    tmp_path, monkeypatch, most, has_files
):
    monkeypatch.setattr(cube, "_MOST_COMBINATIONS", most)
    rows = [run_row(n, file=f"f{n % 7}", run_id=f"{n:012x}") for n in range(21)]
    found = cube_in(engine_of(tmp_path, rows), [["file"]])
    assert ("file" in found.cells) == has_files
    assert found.cells["runs"].sum() == 21


@pytest.mark.parametrize(("most", "width"), [(600, "1h"), (400, "1d"), (60, "1w")])
def test_buckets_are_as_fine_as_there_is_room_for(tmp_path, monkeypatch, most, width):
    monkeypatch.setattr(cube, "MOST_CELLS", most)
    shared = {"host": "h", "owner": "o", "comm": "p"}
    found = cube_in(engine_of(tmp_path, [row | shared for row in over_a_year(500)]))
    assert (found.width, found.folded) == (width, {})
    assert found.cells["runs"].sum() == 500


def test_names_with_the_fewest_runs_are_put_together_where_there_are_too_many(year, monkeypatch):
    monkeypatch.setattr(cube, "MOST_CELLS", 750)
    monkeypatch.setattr(cube, "_KEPT", (100, 6, 3))
    found = cube_in(year)
    assert len(found.cells) <= 750
    assert found.folded == {"owner": 34}
    owners = found.cells.groupby("owner")["runs"].sum()
    assert owners[OTHER] == 1201 - owners.drop(OTHER).sum()
    assert sorted(owners.index.drop(OTHER)) == ["o00", "o01", "o02", "o03", "o04", "o05"]
    assert found.cells["runs"].sum() == 1201


def test_a_name_with_a_quote_can_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(cube, "_KEPT", (1,))
    rows = [run_row(0, comm=name, run_id=f"{n:012x}") for n, name in enumerate(["o'x", "o'x", "y"])]
    found = cube_in(engine_of(tmp_path, rows))
    assert dict(zip(found.cells["comm"], found.cells["runs"], strict=True)) == {"o'x": 2, OTHER: 1}


def test_hours_are_counted_apart_where_buckets_are_longer(year, monkeypatch):
    fine = cube_in(year)
    monkeypatch.setattr(cube, "MOST_CELLS", 750)
    monkeypatch.setattr(cube, "_KEPT", (100, 6, 3))
    monkeypatch.setattr(cube, "_NAMES_OF_WEEK", 2)
    coarse = cube_in(year)
    assert (fine.width, fine.week) == ("1h", None)
    assert coarse.width == "1w"
    assert coarse.hours(ZoneInfo(SEOUL)) == fine.hours(ZoneInfo(SEOUL))
    for name, cells in coarse.week.items():
        assert cells["runs"].sum() == 1201
        own = set(cells[name]) - {OTHER}
        assert len(own) == 2
        for each in own:
            of_name = fine.cells[fine.cells[name] == each]
            assert cells[cells[name] == each]["runs"].sum() == of_name["runs"].sum()


def test_hours_are_those_of_the_zone():
    at = datetime(2026, 11, 29, 15, 30, tzinfo=UTC)  # a Sunday; in Seoul it is Monday
    cells = cube_of(runs_frame([run_row(0, started_at=at, ended_at=at)]), "1h")
    assert cells.hours(ZoneInfo("UTC")) == {6 * 24 + 15: 1}
    assert cells.hours(ZoneInfo(SEOUL)) == {0: 1}


names = st.sampled_from(["a", "b", "c", None])
runs_of = st.lists(st.tuples(names, names, names, st.integers(0, 400)), min_size=1, max_size=30)


@given(runs_of, st.sampled_from([8, 20, 1000]))
@settings(max_examples=20)
def test_folded_or_not_the_cells_sum_up_to_all_runs(tmp_path_factory, runs, most):
    rows = [
        run_row(day, host=host or "h", owner=owner, comm=comm, run_id=f"{number:012x}")
        | dict.fromkeys(
            ("started_at", "ended_at"), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(day)
        )
        for number, (host, owner, comm, day) in enumerate(runs)
    ]
    engine = engine_of(tmp_path_factory.mktemp("any"), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cube, "MOST_CELLS", most * 120)
        patch.setattr(cube, "_KEPT", (3, 2, 1))
        found = cube_in(engine)
    assert len(found.cells) <= most * 120
    totals = stats.usage(engine, ["program"])
    for column in ("runs", "incomplete", *schema.COUNTERS):
        assert found.cells[column].sum() == totals[column].sum()
