import csv
import io
import itertools
import json
import os
import stat
import subprocess
import weakref

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import HOSTILE, START, lab_rows, run_row, runs_frame

from logtrace import schema
from logtrace.errors import ReportError, StoreError
from logtrace.export import read_csv, replace_file, write_batches, write_csv, write_table

UNUSUAL = (
    *HOSTILE,
    "",
    "'",
    "''",
    "'quoted'",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "\u2003\x85=1",
    "\r=1",
    "\uff1d1",
    "a,b",
    "a;b",
    'say "hi"',
    "two\nlines",
    "two\r\nlines",
    "NA",
    "null",
    "nan",
    "None",
    "0012",
    "1e5",
    "2026-11-23",
    "한글",
    None,
)
FORMULA_SIGNS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def unusual_runs():
    rows = [run_row(i, file=text, comm=text, note=text) for i, text in enumerate(UNUSUAL)]
    return runs_frame(rows)


def csv_bytes(frame):
    buffer = io.BytesIO()
    write_csv(frame, buffer)
    return buffer.getvalue()


def text_of_names(names):
    return csv_bytes(pd.DataFrame({"file": pd.Series(names, dtype="str")}))


def test_csv_read_back_is_the_same_table():
    runs = unusual_runs()
    back = read_csv(io.BytesIO(csv_bytes(runs)), schema.RUNS)
    pd.testing.assert_frame_equal(back, runs)


def test_csv_read_back_keeps_nulls_of_every_type():
    runs = runs_frame([dict.fromkeys(schema.RUNS.names)])
    back = read_csv(io.BytesIO(csv_bytes(runs)), schema.RUNS)
    pd.testing.assert_frame_equal(back, runs)
    assert back.isna().all(axis=None)


def test_csv_of_an_empty_table_is_its_header_and_reads_back():
    runs = schema.empty_frame(schema.RUNS)
    assert csv_bytes(runs).decode() == ",".join(schema.RUNS.names) + "\n"
    back = read_csv(io.BytesIO(csv_bytes(runs)), schema.RUNS)
    pd.testing.assert_frame_equal(back, runs)


def test_csv_reads_back_with_pandas_alone_as_documented():
    runs = unusual_runs()
    back = pd.read_csv(
        io.BytesIO(csv_bytes(runs)),
        dtype={"pid": "Int64", "file": "str"},
        keep_default_na=False,
        na_values=[""],
        parse_dates=["started_at"],
    )
    back["file"] = back["file"].str.replace(r"\A'", "", regex=True)
    pd.testing.assert_series_equal(back["file"], runs["file"])
    pd.testing.assert_series_equal(back["pid"], runs["pid"])
    pd.testing.assert_series_equal(back["started_at"], runs["started_at"])


def test_no_cell_of_a_csv_begins_as_a_formula():
    rows = csv.reader(io.StringIO(csv_bytes(unusual_runs()).decode(), newline=""))
    for row in rows:
        for cell in row:
            assert not cell.strip().startswith(FORMULA_SIGNS), cell


@settings(deadline=None)  # a busy machine is no fault of the code
@given(
    st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
)
def test_any_text_survives_and_none_begins_as_a_formula(names):
    frame = pd.DataFrame({"pid": pd.Series(range(len(names)), dtype="Int64")})
    frame["file"] = pd.Series(names, dtype="str")
    text = csv_bytes(frame)
    wanted = schema.RUNS.empty_table().select(["pid", "file"]).schema
    pd.testing.assert_frame_equal(read_csv(io.BytesIO(text), wanted), frame)
    cells = [row[1] for row in csv.reader(io.StringIO(text.decode(), newline=""))][1:]
    assert not [cell for cell in cells if cell.strip().startswith(FORMULA_SIGNS)]


def test_numbers_stay_numbers_even_below_zero():
    frame = pd.DataFrame({"change": pd.Series([-5, None], dtype="Int64"), "ratio": [-0.5, 2.0]})
    assert csv_bytes(frame).decode() == "change,ratio\n-5,-0.5\n,2\n"


def test_times_are_iso_8601_in_utc():
    lines = csv_bytes(runs_frame([run_row(0)])[["started_at", "pid"]]).decode().splitlines()
    assert lines[1] == '"2026-11-22T15:00:00.000000Z",47283'


def test_the_first_columns_of_a_runs_csv_are_those_of_the_schema_in_order():
    header = csv_bytes(runs_frame(lab_rows(3))).decode().splitlines()[0]
    assert header.split(",") == schema.RUNS.names


def test_csv_goes_to_text_files_too():
    buffer = io.StringIO()
    write_csv(pd.DataFrame({"file": ["=1"]}), buffer)
    assert buffer.getvalue() == 'file\n"\'=1"\n'


def test_json_holds_every_value_and_null(tmp_path):
    runs = unusual_runs()
    write_table(runs, tmp_path / "runs.json", "json")
    rows = json.loads((tmp_path / "runs.json").read_text(encoding="utf-8"))
    assert [row["file"] for row in rows] == [
        None if pd.isna(name) else name for name in runs["file"]
    ]
    assert [row["read_bytes"] for row in rows] == runs["read_bytes"].tolist()
    assert pd.to_datetime([row["started_at"] for row in rows]).tolist() == list(runs["started_at"])


def test_parquet_reads_back_as_the_same_table(tmp_path):
    runs = unusual_runs()
    write_table(runs, tmp_path / "runs.parquet", "parquet")
    back = schema.to_frame(pq.read_table(tmp_path / "runs.parquet").cast(schema.RUNS))
    pd.testing.assert_frame_equal(back, runs)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ReportError, match="csv, json, parquet"):
        write_table(runs_frame([]), tmp_path / "runs.xls", "xls")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_folder_that_is_not_there_is_an_error_with_the_path(tmp_path):
    path = tmp_path / "no" / "runs.csv"
    with pytest.raises(ReportError, match=str(path)) as raised:
        write_csv(runs_frame([]), path)
    assert "--out" in str(raised.value.remedy)


def test_reading_what_is_no_table_is_an_error_with_the_path(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ReportError, match=str(path)):
        read_csv(path, schema.RUNS)


def test_a_replaced_file_keeps_nothing_of_the_old_one_and_leaves_no_other(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("a much longer old content")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    path = tmp_path / "page.html"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ReportError, match="No space left on device"):
        replace_file(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_mode_that_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        replace_file(tmp_path / "page.html", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o640


# In batches


def cut(frame, places):
    """Cut a frame at some places: batches as they come from a store."""
    places = [0, *sorted(places), len(frame)]
    return [
        frame.iloc[start:end].reset_index(drop=True) for start, end in itertools.pairwise(places)
    ]


WEIGHTS = st.one_of(st.none(), st.integers(0, 9).map(float), st.floats(0, 1e9))
TIMES = st.sampled_from([None, START, START.replace(microsecond=1)])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "pid": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "file": st.one_of(st.none(), st.sampled_from([name for name in UNUSUAL if name])),
            "detail": st.sampled_from([None, True, False]),
            "started_at": TIMES,
        }
    ),
    max_size=8,
)


@given(ROWS, st.data())
def test_a_table_in_batches_is_the_file_that_it_is_as_a_whole(rows, data):
    frame = runs_frame(rows)
    weights = data.draw(st.lists(WEIGHTS, min_size=len(rows), max_size=len(rows)))
    frame["weight"] = pd.Series(weights, dtype="Float64")
    batches = cut(frame, data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    for kind in ("csv", "json"):
        whole, by_and_by = io.BytesIO(), io.BytesIO()
        write_table(frame, whole, kind)
        assert write_batches(batches, by_and_by, kind) == len(rows)
        assert by_and_by.getvalue() == whole.getvalue()
    by_and_by = io.BytesIO()
    assert write_batches(batches, by_and_by, "parquet") == len(rows)
    back = pq.read_table(by_and_by)
    assert back.equals(pa.Table.from_pandas(frame, preserve_index=False))


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_one_batch_is_held_while_the_next_one_is_made(kind):
    made = []

    def batches():
        for _ in range(20):
            assert sum(ref() is not None for ref in made) <= 1
            frame = runs_frame(lab_rows(3))
            made.append(weakref.ref(frame))
            yield frame
            del frame

    assert write_batches(batches(), io.BytesIO(), kind) == 60


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path, kind):
    def batches():
        yield runs_frame(lab_rows(3))
        raise StoreError("the store can't be read")

    path = tmp_path / f"runs.{kind}"
    path.write_text("old")
    with pytest.raises(StoreError):
        write_batches(batches(), path, kind)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_full_disk_is_an_error_with_path_and_remedy(kind):
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        write_batches([runs_frame(lab_rows(3))], full, kind)


def test_a_pipe_takes_every_format():
    for kind in ("csv", "json", "parquet"):
        runs = runs_frame(lab_rows(3))
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
            assert write_batches([runs, runs], cat.stdin, kind) == 6
            cat.stdin.close()
            whole = io.BytesIO()
            write_batches([runs, runs], whole, kind)
            assert cat.stdout.read() == whole.getvalue()
