"""Quantiles that partial counts can be merged for: histograms of buckets that grow with the value.

A bucket is named by its smallest value. Up to 127 each value has one of its own; above, the
highest seven bits of a value tell its bucket, so that what is given for a quantile is within
0.8 % of a value that stands there. HdrHistogram divides values in the same way
(https://hdrhistogram.github.io/HdrHistogram/).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

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


def bucket_of(value: int) -> int:
    """Give the bucket of a value, as the SQL of `bucket` does."""
    shift = max(value.bit_length() - _BITS, 0)
    return value >> shift << shift


def middle(smallest: int) -> int:
    """Give the middle of a bucket."""
    width = 1 << max(smallest.bit_length() - _BITS, 0)
    return smallest + (width - 1) // 2


def quantile(smallest: Sequence[int], reached: Sequence[int], percent: int) -> int:
    """Find a quantile from the counts of buckets.

    Parameters
    ----------
    smallest
        The buckets that have values, ascending.
    reached
        How many values each of them and those before it have; at least one.
    percent
        Which quantile: 50 is the median.

    Returns
    -------
    int
        The middle of the bucket of the smallest value that so many of a hundred values do not
        exceed.
    """
    rank = -(-reached[-1] * percent // 100)
    return middle(smallest[bisect_left(reached, rank)])
