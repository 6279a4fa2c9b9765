"""Two runs, or the runs of two periods, side by side.

Each comparison is a frame of one row a value::

    what        str       the column
    a, b        str       its values, as text; null where one side has none, or where it is unknown
    difference  Float64   b - a; of times in seconds; null where there is none
    ratio       Float64   b / a; null also where a is 0
    change      str       same, changed, new (only b has it), gone (only a has it)

Before ``what`` stands what it is of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from logtrace.errors import QueryError
from logtrace.schema import to_rows

if TYPE_CHECKING:
    import pandas as pd

_COMPARED = {
    "what": "str",
    "a": "str",
    "b": "str",
    "difference": "Float64",
    "ratio": "Float64",
    "change": "str",
}
_OF_FILES = (
    *("opens", "closes", "reads", "writes", "seeks", "read_bytes", "written_bytes"),
    "open_at_end",
)
_OF_CALLS = ("calls", "errors", "moved_bytes", "time_ns")
_NAMING = frozenset(
    ("pid", "parent_pid", "first_seq", "last_seq", "started_us", "ended_us", "busiest_hour")
)

Row = Mapping[str, Any]
_Groups = dict[tuple[Any, ...], Row]


def compare_runs(
    runs: tuple[pd.DataFrame, pd.DataFrame],
    files: tuple[pd.DataFrame, pd.DataFrame],
    calls: tuple[pd.DataFrame, pd.DataFrame],
) -> pd.DataFrame:
    """Compare two runs.

    Parameters
    ----------
    runs
        ``schema.RUNS`` of each, one row.
    files, calls
        ``schema.FILES`` and ``schema.CALLS`` of each. Either is compared where both runs were
        asked for it.

    Returns
    -------
    pandas.DataFrame
        ``part`` (``run``, ``files`` or ``calls``), ``name`` (of the file or the call, null for
        the run), and the columns above. Of the run all columns of ``schema.RUNS`` and
        ``duration_us``.
    """
    first, second = (_run_row(run) for run in runs)
    rows = [("run", None, *row) for row in _values(first, second)]
    for part, both, key, columns, flag in (
        ("files", files, "path", _OF_FILES, "detail"),
        ("calls", calls, "call", _OF_CALLS, "wide"),
    ):
        if first[flag] and second[flag]:
            summed = (_groups(_sums(frame, key, columns), (key,)) for frame in both)
            rows += ((part, *row) for row in _side_by_side(*summed))
    return _frame({"part": "str", "name": "str"}, rows)


def compare_usage(a: pd.DataFrame, b: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Compare the statistics of two periods.

    Parameters
    ----------
    a, b
        What ``stats.statistics`` gave of each.
    keys
        The key columns.

    Returns
    -------
    pandas.DataFrame
        The keys (``str``) and the columns above; a row for each group and measure. Groups in
        the order of `b`, then those that only `a` has.

    Raises
    ------
    QueryError
        If a key is a time, of which two periods have none in common.
    """
    for key in keys:
        if b[key].dtype.kind == "M":
            raise QueryError(
                f"--by {key}: two periods have no {key} in common", "group by something else"
            )
    rows = _side_by_side(_groups(a, keys), _groups(b, keys))
    return _frame(dict.fromkeys(keys, "str"), rows)


def _run_row(run: pd.DataFrame) -> Row:
    (row,) = to_rows(run)
    times = row["started_us"], row["ended_us"]
    known = None not in times
    return row | {"duration_us": times[1] - times[0] if known else None}


# A file may have had several descriptors.
def _sums(frame: pd.DataFrame, key: str, columns: Sequence[str]) -> pd.DataFrame:
    numbers = frame[list(columns)].astype("Int64")
    return numbers.groupby(frame[key], sort=False).sum(min_count=1).reset_index()


def _groups(frame: pd.DataFrame, keys: Sequence[str]) -> _Groups:
    return {
        tuple(row[key] for key in keys): {name: row[name] for name in row if name not in keys}
        for row in to_rows(frame)
    }


def _side_by_side(a: _Groups, b: _Groups) -> Iterator[tuple[Any, ...]]:
    for key in dict.fromkeys([*b, *a]):
        for row in _values(a.get(key), b.get(key)):
            yield *map(_text, key), *row


def _values(a: Row | None, b: Row | None) -> Iterator[tuple[Any, ...]]:
    for what in b or a or {}:
        pair = (a or {}).get(what), (b or {}).get(what)
        if a is None or b is None:
            change = "new" if a is None else "gone"
        else:
            change = "same" if pair[0] == pair[1] else "changed"
        yield what, *map(_text, pair), *_difference(what, *pair), change


def _difference(what: str, a: Any, b: Any) -> tuple[float | None, float | None]:
    if isinstance(a, datetime) and isinstance(b, datetime):
        return (b - a).total_seconds(), None
    if what in _NAMING or not (_is_number(a) and _is_number(b)):
        return None, None
    return b - a, b / a if a else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _frame(keys: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    import pandas as pd

    types = {**keys, **_COMPARED}
    return pd.DataFrame(list(rows), columns=list(types)).astype(types)
