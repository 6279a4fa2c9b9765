r"""Tables written to files: CSV, JSON and Parquet.

CSV is exact for programs and safe for spreadsheets. Times are ISO 8601 in UTC, numbers are
bare, text is quoted, null is an empty cell. A spreadsheet takes a cell that begins with
``= + - @`` for a formula, and the names in a log are chosen by whoever ran the program, so
one rule guards them:

    A text cell that is empty, or begins with an apostrophe, a tab or a line break, or whose
    first visible character is one of ``= + - @``, gets an apostrophe in front.

Spreadsheets read that apostrophe as "this is text"; to get the text back, drop one
apostrophe from every text cell that begins with one. `read_csv` does so. With pandas alone::

    runs = pd.read_csv(path, dtype={"pid": "Int64", "owner": "str"},
                       keep_default_na=False, na_values=[""], parse_dates=["started_at"])
    runs["owner"] = runs["owner"].str.replace(r"\A'", "", regex=True)
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from logtrace.errors import ReportError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TABLE_FORMATS = ("csv", "json", "parquet")
"""What `write_table` writes."""

# Spaces before the sign do not protect: some spreadsheets drop them on import. The wide
# forms are what an East Asian input method types, and are taken for the plain ones.
_UNSAFE_START = r"\A(?:['\t\r\n]|\z|[\p{Z}\p{C}]*[=+\-@\x{ff0b}\x{ff0d}\x{ff1d}\x{ff20}])"


def write_csv(frame: pd.DataFrame, path_or_buffer: str | os.PathLike[str] | IO[Any]) -> None:
    """Write a table as CSV, by the rules above.

    Parameters
    ----------
    frame
        Any table; its index is not written.
    path_or_buffer
        A path, which is replaced as a whole or not at all, or an open text or binary file.

    Raises
    ------
    ReportError
        If the path can't be written.
    """
    write_table(frame, path_or_buffer, "csv")


def write_table(
    frame: pd.DataFrame, path_or_buffer: str | os.PathLike[str] | IO[Any], table_format: str
) -> None:
    """Write a table in one of `TABLE_FORMATS`.

    Parameters
    ----------
    frame
        Any table; its index is not written.
    path_or_buffer
        A path, which is replaced as a whole or not at all, or an open file: text or binary
        for CSV and JSON, binary for Parquet.
    table_format
        ``csv``; ``json``, an array of objects with times in ISO 8601 UTC; or ``parquet``.

    Raises
    ------
    ReportError
        If the format is not known or the path can't be written.
    """
    write_batches([frame], path_or_buffer, table_format)


def write_batches(
    frames: Iterable[pd.DataFrame],
    path_or_buffer: str | os.PathLike[str] | IO[Any],
    table_format: str,
) -> int:
    """Write a table that comes batch by batch, of which one is held at a time.

    The file is the same whatever the batches are; only the row groups of Parquet are theirs.

    Parameters
    ----------
    frames
        The rows of the table in order: at least one frame, all with the same columns and types.
    path_or_buffer, table_format
        As of `write_table`.

    Returns
    -------
    int
        How many rows were written.

    Raises
    ------
    ReportError
        If the format is not known or the path can't be written.
    """
    if table_format not in _WRITERS:
        known = ", ".join(TABLE_FORMATS)
        raise ReportError(f"unknown table format {table_format!r}", f"use one of {known}")
    write = _WRITERS[table_format]
    if isinstance(path_or_buffer, (str, os.PathLike)):
        with _replacing(Path(path_or_buffer)) as file:
            return write(frames, _Onward(file))
    return write(frames, _Onward(path_or_buffer))


def read_csv(path_or_buffer: str | os.PathLike[str] | IO[bytes], schema: pa.Schema) -> pd.DataFrame:
    """Read a table that `write_csv` wrote, exactly as it was.

    Parameters
    ----------
    path_or_buffer
        A path or an open binary file.
    schema
        The table's columns and types, `logtrace.schema.RUNS` for instance.

    Returns
    -------
    pandas.DataFrame
        The schema's columns in its order, with the types of `logtrace.schema.to_frame`.

    Raises
    ------
    ReportError
        If the file can't be read or does not hold the schema's columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    from logtrace.schema import to_frame

    options = csv.ConvertOptions(
        column_types=schema,
        include_columns=schema.names,
        null_values=[""],
        strings_can_be_null=True,
    )
    source = path_or_buffer if hasattr(path_or_buffer, "read") else os.fspath(path_or_buffer)
    try:
        table = csv.read_csv(
            source,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise ReportError(f"{path_or_buffer}: can't be read as a table: {error}") from error
    for index, field in enumerate(schema):
        if pa.types.is_string(field.type):
            plain = pc.replace_substring_regex(table[index], r"\A'", "", max_replacements=1)
            table = table.set_column(index, field, plain)
    return to_frame(table)


def replace_file(path: Path, content: bytes | pa.Buffer) -> None:
    """Put a file in place as a whole: a reader sees the old one or the new one, never a part.

    Parameters
    ----------
    path
        The file to write.
    content
        What it holds from now on.

    Raises
    ------
    ReportError
        If the file can't be written.
    """
    with _replacing(path) as file:
        file.write(content)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    with _as_report_error(path):
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


@contextmanager
def _as_report_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"{path}: can't be written: {error.strerror or error}",
            "choose a folder that you may write to, with room left, with --out",
        ) from error


def _umask() -> int:
    # There is no way to ask for the mask but to set it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


class _Onward:
    """An open file, text or binary, maybe a pipe; text comes in pieces that are whole UTF-8."""

    closed = False

    def __init__(self, file: IO[Any]) -> None:
        self._file = file
        self._is_text = isinstance(file, io.TextIOBase)
        self._written = 0

    def write(self, piece: bytes | pa.Buffer) -> int:
        self._file.write(bytes(piece).decode() if self._is_text else piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._file.flush()


def _write_csv(frames: Iterable[pd.DataFrame], file: _Onward) -> int:
    written = 0
    for number, frame in enumerate(frames):
        file.write(_csv(frame, header=number == 0))
        written += len(frame)
    return written


def _write_json(frames: Iterable[pd.DataFrame], file: _Onward) -> int:
    written = 0
    file.write(b"[")
    for frame in frames:
        if len(frame):
            file.write((b"," if written else b"") + _json(frame))
            written += len(frame)
    file.write(b"]\n")
    return written


def _write_parquet(frames: Iterable[pd.DataFrame], file: _Onward) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = iter(frames)
    table = pa.Table.from_pandas(next(batches), preserve_index=False)
    written = len(table)
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        for frame in batches:
            writer.write_table(pa.Table.from_pandas(frame, table.schema, preserve_index=False))
            written += len(frame)
    return written


_WRITERS: Mapping[str, Callable[[Iterable[pd.DataFrame], _Onward], int]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
}


def _csv(frame: pd.DataFrame, *, header: bool) -> pa.Buffer:
    import pyarrow as pa
    from pyarrow import csv

    table = pa.Table.from_pandas(frame, preserve_index=False)
    for index, field in enumerate(table.schema):
        table = table.set_column(index, field.name, _csv_column(table[index]))
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink, csv.WriteOptions(include_header=header, quoting_header="none"))
    return sink.getvalue()


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _csv_column(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        suffix = "Z" if kind.tz else ""
        return pc.strftime(column, format=f"%Y-%m-%dT%H:%M:%S{suffix}")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _guarded(column)
    return column


def _guarded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    # A log repeats few names many times: asking the distinct ones first spares most columns.
    if not pc.any(pc.match_substring_regex(column.unique(), _UNSAFE_START), min_count=0).as_py():
        return column
    unsafe = pc.match_substring_regex(column, _UNSAFE_START)
    guarded = pc.binary_replace_slice(column, start=0, stop=0, replacement="'")
    return pc.if_else(unsafe, guarded, column)


# The objects of an array, without its brackets.
def _json(frame: pd.DataFrame) -> bytes:
    text = frame.to_json(orient="records", date_format="iso", date_unit="us", force_ascii=False)
    return text[1:-1].encode(errors="backslashreplace")
