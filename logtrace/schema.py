"""The tables of `logtrace.columns` for pyarrow and pandas.

`empty_frame` and `to_frame` give them as pandas frames: integers as nullable ``Int64``, text as
``str``, times as ``datetime64[us, UTC]``, yes and no as nullable ``boolean``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from arro3.core import DataType, Schema, Table

from logtrace import columns
from logtrace.columns import COUNTERS as COUNTERS
from logtrace.columns import STATUSES as STATUSES

if TYPE_CHECKING:
    import pandas as pd

VIEWS: Mapping[str, pa.Schema] = {name: pa.schema(each) for name, each in columns.VIEWS.items()}
"""What can be asked for."""

TABLES: Mapping[str, pa.Schema] = {name: pa.schema(each) for name, each in columns.TABLES.items()}
"""What a store keeps."""

RUNS, FILES, CALLS = VIEWS["runs"], TABLES["files"], TABLES["calls"]
LOSSES, TRACER, INCIDENTS = TABLES["losses"], TABLES["tracer"], TABLES["incidents"]
HITS = VIEWS["hits"]

_FEW_ROWS = 10_000


def to_table(rows: Iterable[Mapping[str, Any]] | pa.Table, schema: pa.Schema) -> pa.Table:
    """Gather rows into an Arrow table, see `logtrace.columns.to_table`.

    Parameters
    ----------
    rows
        Mappings with the schema's columns; a missing column is null. A table is given as it is.
    schema
        One of the schemas above.

    Returns
    -------
    pyarrow.Table
        The rows in their order, with exactly the schema's columns.
    """
    if isinstance(rows, pa.Table):
        return rows
    return _of_arro3(columns.to_table(rows, Schema(schema)))


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Gather values, of which some may be None, into an Arrow array of a type."""
    array = columns.to_array(values, DataType.from_arrow(kind))
    return _of_arro3(Table.from_arrays([array], names=["values"]))["values"].combine_chunks()


# As a stream: pyarrow's array() and table() import pandas if it is there
def _of_arro3(table: Table) -> pa.Table:
    return pa.RecordBatchReader.from_stream(table).read_all()


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Convert an Arrow table to a pandas frame with nullable types.

    Parameters
    ----------
    table
        Any table; integers become ``Int64``, floats ``Float64``, text ``str``, booleans
        ``boolean``.

    Returns
    -------
    pandas.DataFrame
        The same rows and columns.
    """
    import pandas as pd

    mapper = {
        pa.int64(): pd.Int64Dtype(),
        pa.int32(): pd.Int64Dtype(),
        pa.float64(): pd.Float64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    # to give threads the columns of a few rows takes longer than to convert them
    frame = table.to_pandas(types_mapper=mapper.get, use_threads=len(table) > _FEW_ROWS)
    assert isinstance(frame, pd.DataFrame)
    return frame


def empty_frame(schema: pa.Schema) -> pd.DataFrame:
    """Give a frame of no rows with the columns and types of a schema."""
    return to_frame(schema.empty_table())


def to_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a frame's rows with plain values: null is None, times are aware.

    Parameters
    ----------
    frame
        Any table.

    Returns
    -------
    list of dict
        One a row, by column.
    """
    rows: list[dict[str, Any]] = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    return rows
