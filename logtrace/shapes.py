"""Lines of one spelling, read all at once with NumPy.

A `Shape` is learned from a line that the grammar has understood: the bytes between its
values, which other lines of that spelling have too. So the dialects stay the only
definition of the lines; what has no shape, or does not fit one exactly, is nobody's here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logtrace.grammar import Field

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Words = NDArray[np.uint64]

COLUMNS = 16
"""How many bytes `match_columns` can look at."""

LONGEST_LINE = 1024
"""Bytes; a longer line is not regular."""

PADDING = 8 * LONGEST_LINE
"""How many bytes may be looked at behind a line."""

_LONGEST_NAME = 512
_MOST_DIGITS = 18  # always fit 64 bits
_OWNER = re.compile(r"[^\[\]\s]{1,32}")
_NAME = re.compile(r"[^\[\]\s/](?:[^\[\]]*[^\[\]\s])?")
_FILE = re.compile(r"[^\[\]]*")
_TEXTS = {"owner": _OWNER, "comm": _NAME, "file": _FILE}


@dataclass(frozen=True)
class Blanks:
    """Up to seven blanks."""


@dataclass(frozen=True)
class Number:
    """Decimal digits.

    Parameters
    ----------
    name
        The column.
    least, most
        How many there are.
    padded
        Whether zeros may stand before others.
    """

    name: str
    least: int = 1
    most: int = _MOST_DIGITS
    padded: bool = True


@dataclass(frozen=True)
class Name:
    """A text without brackets, as the pattern of its column in `shape_of` has it.

    Parameters
    ----------
    name
        The column.
    """

    name: str


Part = bytes | Blanks | Number | Name


@dataclass(frozen=True)
class Shape:
    """What lines of one spelling look like.

    Parameters
    ----------
    parts
        From the beginning of a line to its end: literal bytes, and what varies.
    """

    parts: tuple[Part, ...]

    @property
    def tail(self) -> bytes:
        """The literal bytes that a line ends with."""
        last = self.parts[-1]
        return last if isinstance(last, bytes) else b""


@dataclass
class Found:
    """What the lines of a shape say.

    Parameters
    ----------
    fits
        Which lines have the shape; what is said of others means nothing.
    stops
        Where the shape ended in each, as an offset in the text.
    numbers
        Column -> value.
    names
        Column -> offsets of its first byte and of the one behind its last.
    """

    fits: Flags
    stops: Ints
    numbers: dict[str, Ints] = field(default_factory=dict)
    names: dict[str, tuple[Ints, Ints]] = field(default_factory=dict)


class Text:
    """Some bytes, cut into lines.

    Parameters
    ----------
    buffer
        Begins with the bytes, the last line of which need not have a newline; behind them it has
        `PADDING` bytes more.
    size
        How many they are.
    """

    def __init__(self, buffer: bytearray, size: int) -> None:
        self.data = memoryview(buffer)[:size]
        self.bytes = padded = np.frombuffer(buffer, np.uint8)
        self.words: Words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
        newlines = np.flatnonzero(padded[:size] == 10)
        if size and padded[size - 1] != 10:
            newlines = np.append(newlines, size)
        self.stops: Ints = newlines
        self.starts: Ints = np.concatenate(([0], newlines[:-1] + 1))[: len(newlines)]

    def __len__(self) -> int:
        return len(self.starts)

    def rows(self, at: Ints, count: int) -> Words:
        """Give some words of eight bytes from each of some offsets on."""
        size = 8 * count
        every = np.ndarray((len(self.bytes) - size + 1,), f"V{size}", self.bytes, strides=(1,))
        return every[at].view("<u8").reshape(-1, count)

    def line(self, number: int) -> bytes:
        """Give a line without its newline."""
        return bytes(self.data[self.starts[number] : self.stops[number]])


def shape_of(text: str, fields: Iterable[Field]) -> Shape | None:
    """Learn the shape of a line.

    Parameters
    ----------
    text
        The line.
    fields
        Where its values stand.

    Returns
    -------
    Shape or None
        None if lines with other values in their places need not mean the same.
    """
    if not text.isascii() or not text.isprintable() or "\\" in text:
        return None
    parts: list[Part] = []
    done = 0
    for each in fields:
        value = text[each.start : each.stop]
        if each.is_number:
            if not value.isdigit() or len(value) > _MOST_DIGITS or value != str(int(value)):
                return None
            part: Part = Number(each.name, padded=False)
        elif each.name in _TEXTS and _TEXTS[each.name].fullmatch(value):
            part = Name(each.name)
        else:
            return None
        parts += [text[done : each.start].encode(), part]
        done = each.stop
    parts.append(text[done:].encode())
    return Shape(tuple(parts)) if _is_certain(parts) else None


# A number must end where no digit follows, and a name where a character follows that it lacks;
# a bracket with blanks could be that of a stamp's caller.
def _is_certain(parts: list[Part]) -> bool:
    if parts[0][:2] == b"[ " if isinstance(parts[0], bytes) else False:
        return False
    for part, behind in zip(parts[1::2], parts[2::2], strict=True):
        assert isinstance(behind, bytes)
        if isinstance(part, Number) and behind[:1].isdigit():
            return False
        if isinstance(part, Name) and not _bracket_in(part, behind):
            return False
    return True


def _enders(part: Name) -> bytes:
    return b"[] " if part.name == "owner" else b"[]"


def _bracket_in(part: Name, behind: bytes) -> re.Match[bytes] | None:
    return re.search(b"[" + re.escape(_enders(part)) + b"]", behind)


def match(shape: Shape, text: Text, at: Ints) -> Found:
    """Read the lines of a shape.

    Parameters
    ----------
    shape
        What they look like.
    text
        Where they are.
    at
        Offsets at which the shape has to begin.

    Returns
    -------
    Found
        What stands there.
    """
    found = Found(np.ones(len(at), np.bool_), at)
    ahead: Words | None = None  # the words where the shape goes on, if they have been read
    for number, part in enumerate(shape.parts):
        if isinstance(part, bytes):
            equal, ahead = _equals(text, found.stops, part)
            found.fits &= equal
            found.stops = found.stops + len(part)
            continue
        words = text.words[found.stops] if ahead is None else ahead
        ahead = None
        if isinstance(part, Blanks):
            found.stops = found.stops + _bytes_before(words ^ _BLANKS)
        elif isinstance(part, Number):
            value, digits = _read_number(text, found.stops, words)
            found.fits &= (digits >= part.least) & (digits <= part.most)
            if not part.padded:
                found.fits &= (digits == 1) | (words & np.uint64(0xFF) != np.uint64(ord("0")))
            found.numbers[part.name] = value
            found.stops = found.stops + digits
        else:
            behind = shape.parts[number + 1]
            assert isinstance(behind, bytes)
            _read_name(part, behind, text, found, words)
    return found


def read_numbers(text: Text, at: Ints) -> Ints:
    """Read the decimal digits, if there are any, from each of some offsets on."""
    value, _ = _read_number(text, at, text.words[at])
    return value


def match_columns(
    text: Text, at: Ints, sample: bytes, number: tuple[int, int]
) -> tuple[Flags, Ints]:
    """Read what has digits in the same places as a sample, and elsewhere the same bytes.

    Parameters
    ----------
    text
        Where it is.
    at
        Offsets at which it has to begin.
    sample
        At most `COLUMNS` bytes of ASCII.
    number
        Where a number begins and stops among the first eight of them.

    Returns
    -------
    tuple
        What fits, and the number; of what does not fit that means nothing.
    """
    is_digit = [bytes((code,)).isdigit() for code in sample]
    same = bytes(ord("0") if digit else code for digit, code in zip(is_digit, sample, strict=True))
    # what has to be added to a byte that differs too much, to set its highest bit
    excess = bytes(0x80 - 10 if digit else 0x7F for digit in is_digit)
    first = np.zeros(len(at), np.uint64)
    misfits = np.zeros(len(at), np.uint64)
    columns = zip(text.rows(at, COLUMNS // 8).T, *map(_words, (same, excess)), strict=True)
    for place, (word, wanted, add) in enumerate(columns):
        size = 8 * min(len(sample) - 8 * place, 8)
        different = (word ^ wanted) & np.uint64((1 << size) - 1)
        misfits |= ((different + add) | different) & _HIGH
        first = first if place else different
    begin, stop = number
    shifted = first >> np.uint64(8 * begin) << np.uint64(64 - 8 * (stop - begin))
    return misfits == 0, _joined(shifted)


# Bytes as words of eight, the last one filled up with zeros.
def _words(some: bytes) -> Words:
    return np.frombuffer(some.ljust(-len(some) // 8 * -8, b"\0"), "<u8")


def _read_name(part: Name, behind: bytes, text: Text, found: Found, words: Words) -> None:
    bracket = _bracket_in(part, behind)
    assert bracket is not None
    begin = found.stops
    length = _find(text, begin, words, _enders(part)) - bracket.start()
    found.fits &= length >= 0
    stop = begin + np.maximum(length, 0)
    if part.name == "owner":
        found.fits &= (length > 0) & (length <= 32)
    elif part.name == "comm":
        first, last = text.bytes[begin], text.bytes[stop - 1]
        found.fits &= (length > 0) & (first != 32) & (first != 47) & (last != 32)
    found.names[part.name] = begin, stop
    found.stops = stop


_ONES = np.uint64(0x0101010101010101)
_BLANKS = _ONES * np.uint64(ord(" "))
_ZEROS = _ONES * np.uint64(ord("0"))
_OVER_NINE = _ONES * np.uint64(0x80 - 10)  # sets the highest bit of what is no digit's value
_HIGH = np.uint64(0x8080808080808080)
_WHOLE = np.uint64(0xFFFFFFFFFFFFFFFF)
_POWERS = 10 ** np.arange(9, dtype=np.int64)


# Also gives the words behind the literal: to read them at once is cheaper than to go there again.
def _equals(text: Text, at: Ints, literal: bytes) -> tuple[Flags, Words]:
    wanted, masks = _words(literal), _words(b"\xff" * len(literal))
    rows = text.rows(at, len(literal) // 8 + 2)
    equal: Flags = np.ones(len(at), np.bool_)
    for word, each, mask in zip(rows.T, wanted, masks, strict=False):
        equal &= (word if mask == _WHOLE else word & mask) == each
    behind = rows.view(np.uint8)[:, len(literal) : len(literal) + 8]
    return equal, behind.view("<u8")[:, 0]


# How many whole bytes stand before the first bit that is set.
def _bytes_before(marks: Words) -> NDArray[np.uint8]:
    lowest = np.negative(marks)
    lowest &= marks
    lowest -= np.uint64(1)
    return np.bitwise_count(lowest) >> np.uint8(3)


def _eight_digits(words: Words) -> tuple[Ints, NDArray[np.uint8]]:
    values = words ^ _ZEROS
    others = values + _OVER_NINE
    others |= values
    others &= _HIGH
    digits = _bytes_before(others)
    values <<= np.uint8(64) - digits * np.uint8(8)
    return _joined(values), digits


# Eight digits in three multiplications: pairs, fours, all.
def _joined(values: Words) -> Ints:
    values *= np.uint64(2561)
    values >>= np.uint64(8)
    values &= np.uint64(0x00FF00FF00FF00FF)
    values *= np.uint64(6553601)
    values >>= np.uint64(16)
    values &= np.uint64(0x0000FFFF0000FFFF)
    values *= np.uint64(42949672960001)
    values >>= np.uint64(32)
    return values.view(np.int64)


def _read_number(text: Text, at: Ints, words: Words) -> tuple[Ints, NDArray[np.uint8]]:
    value, digits = _eight_digits(words)
    long = np.flatnonzero(digits == 8)
    while len(long):
        more, count = _eight_digits(text.words[at[long] + digits[long]])
        value[long] = value[long] * _POWERS[count] + more
        digits[long] += count
        long = long[(count == 8) & (digits[long] <= _MOST_DIGITS)]
    return value, digits


# The distance to the first of some bytes; a negative one if it is too far.
def _find(text: Text, at: Ints, words: Words, wanted: bytes) -> Ints:
    distance = np.full(len(at), -PADDING, np.int64)
    left = np.arange(len(at))
    for step in range(8, _LONGEST_NAME, 8):
        marks = np.zeros(len(words), np.uint64)
        for code in wanted:
            different = words ^ (_ONES * np.uint64(code))
            marks |= (different - _ONES) & ~different
        marks &= _HIGH
        here = marks != 0
        distance[left[here]] = _bytes_before(marks[here]) + np.int64(step - 8)
        left = left[~here]
        if not len(left):
            break
        words = text.words[at[left] + step]
    return distance


def slices(text: Text, starts: Ints, stops: Ints, *, ascii: bool = False) -> Any:
    """Copy slices of a text into an Arrow array.

    Parameters
    ----------
    text
        Where they are from.
    starts, stops
        Offsets of their first byte and of the one behind their last, ascending.
    ascii
        Whether they are known to be ASCII, and so are text.

    Returns
    -------
    pyarrow.BinaryArray or pyarrow.StringArray
        One value a slice.
    """
    import pyarrow as pa

    offsets = np.empty(2 * len(starts) + 1, np.int32)
    offsets[0:-1:2], offsets[1:-1:2] = starts, stops
    offsets[-1] = offsets[-2:-1].max(initial=0)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text.data)]
    both = pa.Array.from_buffers(pa.string() if ascii else pa.binary(), 2 * len(starts), buffers)
    return both.take(arrow(np.arange(0, 2 * len(starts), 2)))


def arrow(values: Ints) -> Any:
    """Give integers as an Arrow array; ``pyarrow.array`` would import pandas."""
    import pyarrow as pa

    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.int64(), len(values), [None, buffer])


def flags(values: Any) -> Flags:
    """Give an Arrow array of booleans as NumPy has them; ``to_numpy`` would import pandas."""
    import pyarrow as pa

    if not len(values):
        return np.zeros(0, np.bool_)
    return np.frombuffer(values.cast(pa.uint8()).buffers()[1], np.bool_, len(values))


def ends_with(text: Text, lines: Ints, literal: bytes) -> Flags:
    """Say which lines have some bytes before their end, or before it and in the line before."""
    # most lines are told by their last bytes
    last = literal[-8:]
    word = np.uint64(int.from_bytes(last, "little"))
    equal: Flags = _word_before(text, text.stops[lines], len(last)) == word
    if len(literal) > 8:
        rest = np.flatnonzero(equal)
        begins = np.maximum(text.stops[lines[rest]] - len(literal), 0)
        equal[rest], _ = _equals(text, begins, literal)
    return equal


def _word_before(text: Text, at: Ints, size: int) -> Words:
    words = text.words[np.maximum(at - size, 0)]
    return words & np.uint64((1 << 8 * size) - 1)
