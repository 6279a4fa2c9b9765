"""Ids of runs: what is known of a run's first line -> 16 hexadecimal digits.

An id is a number of 64 bits, made of the place of the line by a permutation that the source
chooses. So no two runs of a source have the same one, and of many runs NumPy makes all at once.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Words = NDArray[Any]  # of 64 bits, unsigned

_Numbers = TypeVar("_Numbers", int, "Words")

MOST_LINES = 16
"""Of runs in one record."""

_ALL = (1 << 64) - 1


def run_id(host: str, boot_id: str | None, source: str, seq: int, place: int = 0) -> str:
    """Make the id of a run.

    Parameters
    ----------
    host, boot_id, source
        Of the run.
    seq
        The number of its first record.
    place
        That of its first line in this record.

    Returns
    -------
    str
        The column ``run_id``.
    """
    return f"{_mixed(seq * MOST_LINES + place, _key(host, boot_id, source)):016x}"


def run_ids(host: str, boot_id: str | None, source: str, seqs: Words) -> bytes:
    """Make the ids of runs, see `run_id`; those of lines that are records, one behind the other."""
    numbers = _mixed(seqs * MOST_LINES, _key(host, boot_id, source))
    halves = numbers.astype(">u8").view(">u4").astype("u8")
    return _eight_digits(halves).astype(">u8").tobytes()


# A text log is known by the digest of its content, wherever it lies.
@lru_cache(1000)
def _key(host: str, boot_id: str | None, source: str) -> int:
    text = f"{host}\n{boot_id}\n{source.rpartition('@')[2]}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8])


# Twice what the generator splitmix64 ends with; each step can be undone.
def _mixed(number: _Numbers, key: int) -> _Numbers:
    for before in (0, key):
        number = number ^ before
        number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
        number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _ALL
        number = number ^ (number >> 31)
    return number


# A digit in each byte of a word, of a number of 32 bits.
def _eight_digits(numbers: Words) -> Words:
    numbers = (numbers | numbers << 16) & 0x0000FFFF0000FFFF
    numbers = (numbers | numbers << 8) & 0x00FF00FF00FF00FF
    numbers = (numbers | numbers << 4) & 0x0F0F0F0F0F0F0F0F
    letters = (numbers + 0x0606060606060606) >> 4 & 0x0101010101010101
    numbers += 0x3030303030303030 + letters * (ord("a") - ord("0") - 10)
    return numbers
