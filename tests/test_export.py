import csv
import io
import json
import os
import stat

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import HOSTILE, lab_rows, run_row, runs_frame

from logtrace import schema
from logtrace.errors import ReportError
from logtrace.export import read_csv, replace_file, write_csv, write_table

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
