"""Quantiles that partial counts can be merged for: histograms of buckets that grow with the value.

A bucket is named by its smallest value. Up to 127 each value has one of its own; above, the
highest seven bits of a value tell its bucket, so that what is given for a quantile is within
0.8 % of a value that stands there. HdrHistogram divides values in the same way
(https://hdrhistogram.github.io/HdrHistogram/).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_BITS = 7


def bucket(value: str) -> str:
    """Write the SQL of a value's bucket.

    Parameters
    ----------
    value
        SQL of a whole number of 64 bits that is not negative, or null.

    Returns
    -------
    str
        SQL; null for null.
    """
    power = f"floor(log2(greatest({value}, 1)))::INTEGER"
    # the logarithm of one less than a power of two is rounded up to it
    shift = f"greatest({power} - (({value}) >> {power} = 0)::INTEGER - {_BITS - 1}, 0)"
    return f"(({value}) >> {shift}) << {shift}"


def quantiles(counts: pd.DataFrame, bucket: str, percents: Sequence[int]) -> pd.DataFrame:
    """Find quantiles of each group from the counts of its buckets.

    Parameters
    ----------
    counts
        The columns `bucket` (``Int64``, its smallest value) and ``runs`` (``Int64``): one row a
        group and bucket, with the group as its index. Rows without a bucket are left out.
    bucket
        The column of buckets.
    percents
        Which quantiles: 50 is the median.

    Returns
    -------
    pandas.DataFrame
        For each group that has a bucket a column for each of `percents`: the middle of the
        bucket of the smallest value that so many of a hundred values do not exceed (``Int64``).
    """
    import pandas as pd

    known = counts[counts[bucket].notna()].sort_values(bucket, kind="stable")
    runs = known["runs"].groupby(level=0)
    reached, total = runs.cumsum(), runs.transform("sum")
    found = {}
    for percent in percents:
        there = known.loc[reached * 100 >= total * percent, bucket]
        found[percent] = _middle(there[~there.index.duplicated()])
    return pd.DataFrame(found)


def bucket_of(value: int) -> int:
    """Give the bucket of a value, as the SQL of `bucket` does."""
    shift = max(value.bit_length() - _BITS, 0)
    return value >> shift << shift


def middle(smallest: int) -> int:
    """Give the middle of a bucket."""
    width = 1 << max(smallest.bit_length() - _BITS, 0)
    return smallest + (width - 1) // 2


def _middle(smallest: pd.Series) -> pd.Series:
    return smallest.map(lambda value: middle(int(value))).astype("Int64")
