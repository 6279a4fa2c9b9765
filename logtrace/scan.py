"""A part of a finished log -> what is regular in it, many lines at once.

The lines are found that may be of a run or an incident, and among them the blocks of four
lines that are a whole run in one spelling, see `logtrace.blocks`. What is not regular, or may show
that the machine was started anew, is left to be read record by record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from logtrace import grammar
from logtrace.blocks import TELLS_MORE, Blocks, Spelling, find_beside, find_blocks, in_order
from logtrace.grammar import KINDS
from logtrace.lines import line_pattern, pattern
from logtrace.record import FIRST_MESSAGE
from logtrace.shapes import (
    LONGEST_LINE,
    Flags,
    Ints,
    Shape,
    Text,
    flags,
    shape_of,
    slices,
)
from logtrace.source import forms
from logtrace.stamps import Stamps, read_stamps

# The patterns of these dialects, the most exact first, read any values in the places of a shape;
# those of the more general ones may look at a value's length
_DIALECTS = ("contract", "lab")
_LEARNED_FROM = 64  # lines
_MOST_SPELLINGS = 8

_BEHIND_STAMP: Mapping[str, bytes] = {"dmesg": b" ", "kmsg": b""}
# What a kernel says first, or may say where it is written with escapes
_SAYS_FIRST = rf"{FIRST_MESSAGE}|\\x[2-7]"
# Words, and what forms decode or leave out: escapes of the kernel and of terminals
_MAY_MEAN = rf"{grammar.MAY_MEAN}|{TELLS_MORE}|\\x|\x1b"


class Scan(NamedTuple):
    """What a part of a log has.

    Parameters
    ----------
    offset
        Where it begins.
    text
        Its lines.
    blocks
        The runs in it that are whole and regular.
    candidates
        The numbers of the other lines that may mean something.
    """

    offset: int
    text: Text
    blocks: Blocks
    candidates: Ints


class Scanner:
    """Finds what may mean something in the parts of a log; several at a time, in threads.

    What spellings it has learned from one part it looks for in the next.

    Parameters
    ----------
    form
        ``dmesg`` or ``kmsg``.

    Attributes
    ----------
    is_dense
        Whether most lines of the part scanned last are of runs; at first that is supposed.
    is_ordinary
        Whether most of them mean nothing; at first it is not supposed.
    """

    def __init__(self, form: str) -> None:
        self.is_dense = True
        self.is_ordinary = False
        self._form = form
        self._known: tuple[Spelling, ...] = ()

    def scan(self, offset: int, buffer: bytearray, size: int) -> Scan:
        """Find what may mean something in a part of a log.

        Parameters
        ----------
        offset
            Where it begins.
        buffer, size
            Whole lines, as `Text` has them.

        Returns
        -------
        Scan
            The first and the last line are always among the candidates, as another part may
            go on there.
        """
        text = Text(buffer, size)
        stamps = read_stamps(text, self._form)
        kernel = _of_kernel(text, self._form, stamps.fits)
        apart = _continued(text, stamps.fits)
        apart[kernel[_may_begin_boot(stamps, kernel)]] = True
        found = self._find(text, stamps, apart)
        # whether a boot began with a first message is told by the record before it
        places = np.searchsorted(kernel, _firsts(text, found[1]))
        before = kernel[places[places > 0] - 1]
        if not apart[before].all():
            apart[before] = True
            found = self._find(text, stamps, apart)
        in_blocks, others = len(KINDS) * len(found[0]), len(found[1])
        self.is_dense = in_blocks > len(text) // 2
        self.is_ordinary = in_blocks + others < len(text) // 2
        return Scan(offset, text, *found)

    def _find(self, text: Text, stamps: Stamps, apart: Flags) -> tuple[Blocks, Ints]:
        regular = stamps.fits & ~apart & (text.stops - text.starts <= LONGEST_LINE)
        everything = np.arange(len(text))
        blocks: list[Blocks] = []
        known = self._known

        def find(spellings: Iterable[Spelling], lines: Ints) -> Ints:
            for each in spellings:
                found = find_blocks(stamps, each, lines, regular, blocks)
                blocks.append(found)
                lines = _without(lines, found)
            return lines

        # where most lines are of runs, to look for these first saves to look at each line
        rest = find(known, everything) if self.is_dense else everything
        left = _may_mean(text, stamps, rest, apart)
        # also what has lines of nothing between its own
        left = find(known, left)
        learned = [each for each in _learn(text, self._form, left) if each not in known]
        if learned:
            known = self._known = (*learned, *known)[:_MOST_SPELLINGS]
            left = find(learned, left)
        beside = find_beside(stamps, known, left, regular, blocks)
        for each in beside:
            left = _without(left, each)
        return in_order([*blocks, *beside]), left


# The lines that are no part of a record before them, and that no program has written.
def _of_kernel(text: Text, form: str, fits: Flags) -> Ints:
    lines = np.ones(len(text), np.bool_)
    rest = np.flatnonzero(~fits)
    starts = text.starts[rest]
    first, second = text.bytes[starts], text.bytes[starts + 1]
    if form == "dmesg":
        lines[rest] = (starts != text.stops[rest]) & (first != 32) & (first != 9)
    else:
        above_seven = (first > ord("0")) & (second >= ord("0")) & (second <= ord("9"))
        lines[rest] = ~(above_seven | (first < ord("0")) | (first > ord("7")))
    return np.flatnonzero(lines)


# Whether a line is no record, or not all of one.
def _continued(text: Text, fits: Flags) -> Flags:
    found = np.zeros(len(text), np.bool_)
    rest = np.flatnonzero(~fits)
    starts = text.starts[rest]
    more = rest[(text.bytes[starts] <= 32) | (starts == text.stops[rest])]
    found[more] = found[np.maximum(more - 1, 0)] = True
    found[-1:] = True
    return found


# Which lines of the kernel may be its first of another boot, or stand before such a one: the
# clock goes back or is not known. All others go on from the one that was read last.
def _may_begin_boot(stamps: Stamps, kernel: Ints) -> Flags:
    unsure, seconds = ~stamps.fits[kernel], stamps.seconds[kernel]
    begins: Flags = unsure.copy()
    begins[1:] |= unsure[:-1] | (seconds[1:] < seconds[:-1])
    begins[:-1] |= begins[1:]
    begins[:1] = begins[-1:] = True  # other parts may go on
    return begins


def _firsts(text: Text, lines: Ints) -> Ints:
    found = pc.match_substring_regex(
        slices(text, text.starts[lines], text.stops[lines]), _SAYS_FIRST
    )
    kept: Ints = lines[flags(found)]
    return kept


def _may_mean(text: Text, stamps: Stamps, lines: Ints, apart: Flags) -> Ints:
    messages = slices(text, stamps.stops[lines], text.stops[lines])
    found = pc.match_substring_regex(messages, _MAY_MEAN)
    kept: Ints = lines[flags(found) | apart[lines]]
    return kept


def _without(lines: Ints, blocks: Blocks) -> Ints:
    if not len(blocks):
        return lines
    kept: Ints = lines[~np.isin(lines, blocks.lines, kind="table")]
    return kept


# The spellings of runs whose four lines stand together among some lines.
def _learn(text: Text, form: str, lines: Ints) -> list[Spelling]:
    said = [_understood(text.line(number), form) for number in lines[:_LEARNED_FROM].tolist()]
    learned: dict[Spelling, None] = {}
    for place in range(len(said) - len(KINDS) + 1):
        run = [each for each in said[place : place + len(KINDS)] if each]
        if spelling := _spelling(form, run):
            learned[spelling] = None
    return [*learned]


def _understood(line: bytes, form: str) -> tuple[str, grammar.Event] | None:
    parsed = forms.FORMS[form](line, forms.Dating()) if len(line) <= LONGEST_LINE else None
    event = grammar.default().parse(parsed.text) if parsed else None
    return (parsed.text, event) if parsed and event else None


# None if they are not the lines of one run, or if others might mean something else with other
# values in their places.
def _spelling(form: str, run: Sequence[tuple[str, grammar.Event]]) -> Spelling | None:
    if [event.kind for _, event in run] != [*KINDS]:
        return None
    pid, *_, last_pid = (event.values.get("pid") for _, event in run)
    if pid is None or pid != last_pid:
        return None
    found: list[Shape] = []
    named: list[str] = []
    for said, event in run:
        shape = shape_of(said, event.fields) if event.dialect in _DIALECTS else None
        if shape is None or re.search(TELLS_MORE, said):
            return None
        begin, *parts = shape.parts
        assert isinstance(begin, bytes)
        found.append(Shape((_BEHIND_STAMP[form] + begin, *parts)))
        named.append(line_pattern(said, event.fields, None))
    dialect = max((event for _, event in run), key=lambda event: event.rank).dialect
    return Spelling(dialect, tuple(found), pattern(named))
