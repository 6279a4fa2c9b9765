"""A part of a finished log -> what is regular in it, many lines at once.

The lines are found that may be of a run or an incident, and among them the blocks of four
lines that are a whole run in one spelling, see `logtrace.shapes`, also where they stand beside
those of other runs. What is not regular, or may show that the machine was started anew, is left to
be read record by record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logtrace import grammar, incident_grammar, schema, shapes
from logtrace.grammar import KINDS
from logtrace.lines import line_pattern, pattern
from logtrace.record import FIRST_MESSAGE
from logtrace.shapes import (
    COLUMNS,
    LONGEST_LINE,
    Blanks,
    Flags,
    Ints,
    Number,
    Shape,
    Text,
    arrow,
    ends_with,
    match,
    match_columns,
    read_numbers,
    shape_of,
    slices,
)
from logtrace.source import forms

# The patterns of these dialects, the most exact first, read any values in the places of a shape;
# those of the more general ones may look at a value's length
_DIALECTS = ("contract", "lab")
_LEARNED_FROM = 64  # lines
_MOST_SPELLINGS = 8

# What stands before the messages of kernels that print no caller: a stamp, and what is behind it
_STAMPS: Mapping[str, Shape] = {
    "dmesg": Shape(
        (b"[", Blanks(), Number("seconds", most=12), b".", Number("usec", least=6, most=6), b"]")
    ),
    "kmsg": Shape((Number("priority", most=1), b",", Number("seq"), b",", Number("usec"), b",-;")),
}
FORMS = frozenset(_STAMPS)
"""The forms that can be scanned: their records name no machine and have the kernel's clock."""

_DMESG_STAMP = re.compile(rb"\[ *(?P<seconds>\d+)\.\d{6}\]")
_BEHIND_STAMP: Mapping[str, bytes] = {"dmesg": b" ", "kmsg": b""}
_FIRST_OTHER_PRIORITY = 8  # the first that is of another facility than the kernel's
_SECOND_US = 1_000_000

# Of such a line, a run is not all that may be said
_TELLS_MORE = f"{incident_grammar.MAY_BEGIN}|{FIRST_MESSAGE}"
# Of a name with such characters, a record does not have all as it is
_ODD = r"[^ -\[\]-~]"
# What a kernel says first, or may say where it is written with escapes
_SAYS_FIRST = rf"{FIRST_MESSAGE}|\\x[2-7]"
# Words, and what forms decode or leave out: escapes of the kernel and of terminals
_MAY_MEAN = rf"{grammar.MAY_MEAN}|{_TELLS_MORE}|\\x|\x1b"


class Spelling(NamedTuple):
    """How one version of the module writes the lines of a run.

    Parameters
    ----------
    dialect
        The most general one that understands them.
    shapes
        Of the lines, in their order.
    lines
        What the column ``lines`` of such runs has.
    """

    dialect: str
    shapes: tuple[Shape, ...]
    lines: str | None


@dataclass
class Blocks:
    """Whole runs in a part of a log.

    Some stand beside each other: between the first line of these and the last one there is
    nothing but their own lines and lines of nothing.

    Parameters
    ----------
    lines
        The numbers of their four lines, in the order of the first ones.
    ends
        The number of the last line of those that stand beside each other; of a run that stands
        alone, that of its own.
    pids
        Their processes.
    values
        The columns of ``schema.RUNS`` that their lines give, but for offsets.
    """

    lines: Ints
    ends: Ints
    pids: Ints
    values: pa.Table

    def __len__(self) -> int:
        return len(self.lines)


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


class _Stamps(NamedTuple):
    """When the kernel said the lines of a part.

    Only of a line that `fits` it is known that the kernel said it, when, in whole seconds, and
    where its stamp stops, as an offset in the text; of others, that is where they start.
    """

    fits: Flags
    seconds: Ints
    stops: Ints


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
        stamps = _stamps(text, self._form)
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

    def _find(self, text: Text, stamps: _Stamps, apart: Flags) -> tuple[Blocks, Ints]:
        regular = stamps.fits & ~apart & (text.stops - text.starts <= LONGEST_LINE)
        everything = np.arange(len(text))
        blocks: list[Blocks] = []
        known = self._known

        def find(spellings: Iterable[Spelling], lines: Ints) -> Ints:
            for each in spellings:
                found = _find_blocks(text, self._form, stamps, each, lines, regular, blocks)
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
        beside = _find_beside(text, self._form, stamps, known, left, regular, blocks)
        for each in beside:
            left = _without(left, each)
        return _in_order([*blocks, *beside]), left


def _stamps(text: Text, form: str) -> _Stamps:
    fits, seconds, stops = _usual_stamps(text, form)
    rest = np.flatnonzero(~fits)
    found = match(_STAMPS[form], text, text.starts[rest])
    if form == "dmesg":
        seconds[rest] = found.numbers["seconds"]
    else:
        found.fits &= found.numbers["priority"] < _FIRST_OTHER_PRIORITY
        seconds[rest] = found.numbers["usec"] // _SECOND_US
    fits[rest] = found.fits
    stops[rest] = np.where(found.fits, found.stops, text.starts[rest])
    return _Stamps(fits, seconds, stops)


# Those that have as many blanks and digits as the first one, as nearly all of a part have.
def _usual_stamps(text: Text, form: str) -> tuple[Flags, Ints, Ints]:
    usual = _DMESG_STAMP.match(text.data) if form == "dmesg" else None
    if usual is None or usual.end() > COLUMNS or usual.end("seconds") > 8:
        return np.zeros(len(text), np.bool_), np.zeros(len(text), np.int64), text.starts.copy()
    fits, seconds = match_columns(text, text.starts, usual[0], usual.span("seconds"))
    return fits, seconds, text.starts + usual.end()


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
def _may_begin_boot(stamps: _Stamps, kernel: Ints) -> Flags:
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
    kept: Ints = lines[_flags(found)]
    return kept


def _may_mean(text: Text, stamps: _Stamps, lines: Ints, apart: Flags) -> Ints:
    messages = slices(text, stamps.stops[lines], text.stops[lines])
    found = pc.match_substring_regex(messages, _MAY_MEAN)
    kept: Ints = lines[_flags(found) | apart[lines]]
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
        if shape is None or re.search(_TELLS_MORE, said):
            return None
        begin, *parts = shape.parts
        assert isinstance(begin, bytes)
        found.append(Shape((_BEHIND_STAMP[form] + begin, *parts)))
        named.append(line_pattern(said, event.fields, None))
    dialect = max((event for _, event in run), key=lambda event: event.rank).dialect
    return Spelling(dialect, tuple(found), pattern(named))


# Runs whose lines stand together among some lines, with no other block between them.
def _find_blocks(
    text: Text,
    form: str,
    stamps: _Stamps,
    spelling: Spelling,
    among: Ints,
    regular: Flags,
    others: Iterable[Blocks],
) -> Blocks:
    begins = np.flatnonzero(ends_with(text, among, spelling.shapes[0].tail))
    begins = begins[begins + len(KINDS) <= len(among)]
    lines = among[begins[:, None] + np.arange(len(KINDS))]
    lines = lines[regular[lines].all(axis=1)]
    lines = lines[~_has_others(lines[:, 0], lines[:, -1], others)]
    if not len(lines):
        return _no_blocks()
    found = [
        _match_line(text, stamps, shape, lines[:, place])
        for place, shape in enumerate(spelling.shapes)
    ]
    start, *_, end = found
    fits = start.numbers["pid"] == end.numbers["pid"]
    for line in found:
        fits &= line.fits
    kept = slice(None) if fits.all() else fits
    lines = lines[kept]
    return _blocks(text, form, stamps, spelling, found, [kept] * len(KINDS), lines, lines[:, -1])


# Whether other blocks begin between two lines.
def _has_others(first: Ints, last: Ints, others: Iterable[Blocks]) -> Flags:
    found = np.zeros(len(first), np.bool_)
    for each in others:
        starts = each.lines[:, 0]
        found |= np.searchsorted(starts, first) != np.searchsorted(starts, last)
    return found


# Runs that stand beside each other among some lines: the last three lines of each together, its
# Start line somewhere before them, and from the first Start to the last End nothing else but
# other blocks, which belong to them then.
def _find_beside(
    text: Text,
    form: str,
    stamps: _Stamps,
    spellings: Sequence[Spelling],
    among: Ints,
    regular: Flags,
    others: Sequence[Blocks],
) -> list[Blocks]:
    if not spellings or len(among) < len(KINDS):
        return []
    of_shape = {
        shape: _match_line(text, stamps, shape, among)
        for each in spellings
        for shape in each.shapes
    }
    matched = [[of_shape[shape] for shape in each.shapes] for each in spellings]
    start_of, spelling_of, pids = _pair(matched, regular[among])
    stops = np.flatnonzero(start_of >= 0)
    start_of[stops[_has_others(among[stops - 2], among[stops], others)]] = -1
    stops, firsts, lasts = _stretches(start_of)
    kept = _absorb(others, among[firsts], among[lasts], pids[stops])
    stops, lasts = stops[kept], lasts[kept]
    found: list[Blocks] = []
    for number, spelling in enumerate(spellings):
        is_own = spelling_of[stops] == number
        own = stops[is_own]
        if len(own):
            places = [start_of[own], own - 2, own - 1, own]
            lines, ends = among[np.stack(places, axis=1)], among[lasts[is_own]]
            of_lines = matched[number]
            found.append(_blocks(text, form, stamps, spelling, of_lines, places, lines, ends))
    return found


# Of each line, where the Start line stands of the run that ends with it, or -1; the number of
# that run's spelling, and its process. Lines that begin or end a run of the same process stand in
# between for none.
def _pair(matched: Sequence[Sequence[shapes.Found]], regular: Flags) -> tuple[Ints, Ints, Ints]:
    pids, begins, ends = np.zeros(len(regular), np.int64), [], []
    for start, stats, ops, end in matched:
        begins.append(start.fits & regular)
        ends.append(end.fits & regular)
        ends[-1][:2] = False
        ends[-1][2:] &= (stats.fits & regular)[:-2] & (ops.fits & regular)[1:-1]
        for line, is_theirs in ((start, begins[-1]), (end, ends[-1])):
            pids[is_theirs] = line.numbers["pid"][is_theirs]
    told = np.flatnonzero(np.logical_or.reduce([*begins, *ends]))
    told = told[np.lexsort((told, pids[told]))]
    first, last = told[:-1], told[1:]
    start_of, spelling_of = np.full(len(regular), -1), np.full(len(regular), -1)
    for number, (is_start, is_end) in enumerate(zip(begins, ends, strict=True)):
        pairs = is_start[first] & is_end[last] & (pids[first] == pids[last])
        start_of[last[pairs]], spelling_of[last[pairs]] = first[pairs], number
    return start_of, spelling_of, pids


# The places where runs end, of stretches of lines that are of whole runs only; and where the
# stretch of each begins and ends. Takes the place of the Start line of each that ends a run.
def _stretches(start_of: Ints) -> tuple[Ints, Ints, Ints]:
    stops = np.flatnonzero(start_of >= 0)
    depth, is_theirs = np.zeros(len(start_of), np.int64), np.zeros(len(start_of), np.bool_)
    depth[start_of[stops]], depth[stops] = 1, -1
    for places in (start_of[stops], stops - 2, stops - 1, stops):
        is_theirs[places] = True
    closes = np.cumsum(depth) == 0
    stretch = np.cumsum(closes) - closes
    is_whole = np.bincount(stretch, ~is_theirs) == 0
    own = stretch[stops]
    stops, own = stops[is_whole[own]], own[is_whole[own]]
    return stops, np.searchsorted(stretch, own), np.searchsorted(stretch, own, "right") - 1


# Let other blocks belong to the stretches in which they stand; tell which runs may stay, as no
# other block of their stretch is of one of their processes.
def _absorb(others: Iterable[Blocks], firsts: Ints, lasts: Ints, pids: Ints) -> Flags:
    kept = np.ones(len(firsts), np.bool_)
    begins, stretch = np.unique(firsts, return_inverse=True)
    ends = np.zeros_like(begins)
    ends[stretch] = lasts
    inside = []
    for each in others:
        own = np.searchsorted(begins, each.lines[:, 0]) - 1
        within = (own >= 0) & (each.lines[:, 0] < np.append(ends, 0)[own])
        inside.append((each, own, within))
        _, number = np.unique(np.concatenate((pids, each.pids[within])), return_inverse=True)
        key = np.concatenate((stretch, own[within])) * (len(number) + 1) + number
        clashes = own[within][np.isin(key[len(pids) :], key[: len(pids)])]
        kept &= ~np.isin(stretch, clashes)
    stays = np.zeros(len(begins) + 1, np.bool_)
    stays[stretch[kept]] = True
    for each, own, within in inside:
        each.ends = np.where(within & stays[own], np.append(ends, 0)[own], each.ends)
    return kept


# Runs of one spelling, by their lines' numbers and where these are among those that were found.
def _blocks(
    text: Text,
    form: str,
    stamps: _Stamps,
    spelling: Spelling,
    found: Sequence[shapes.Found],
    places: Sequence[Ints | Flags | slice],
    lines: Ints,
    ends: Ints,
) -> Blocks:
    columns = {
        "started_us": arrow(_usec(text, form, stamps, lines[:, 0])),
        "ended_us": arrow(_usec(text, form, stamps, lines[:, -1])),
        "dialect": repeated(spelling.dialect, len(lines)),
        "lines": repeated(spelling.lines, len(lines)),
    }
    for line, at in zip(found, places, strict=True):
        columns |= {name: arrow(values[at]) for name, values in line.numbers.items()}
        columns |= {
            name: slices(text, begin[at], stop[at], ascii=True)
            for name, (begin, stop) in line.names.items()
        }
    return Blocks(lines, ends, found[0].numbers["pid"][places[0]], pa.table(columns))


# A name may hold what is not as it was said, or words that tell more.
def _match_line(text: Text, stamps: _Stamps, shape: Shape, lines: Ints) -> shapes.Found:
    stops = text.stops[lines]
    found = match(shape, text, stamps.stops[lines])
    found.fits &= found.stops == stops
    if found.names:
        tells_more = pc.match_substring_regex(
            slices(text, stamps.stops[lines], stops), f"{_TELLS_MORE}|{_ODD}"
        )
        found.fits &= ~_flags(tells_more)
    return found


def _usec(text: Text, form: str, stamps: _Stamps, lines: Ints) -> Ints:
    if form == "dmesg":
        fractions = read_numbers(text, stamps.stops[lines] - len("123456]"))
        return stamps.seconds[lines] * _SECOND_US + fractions
    return match(_STAMPS[form], text, text.starts[lines]).numbers["usec"]


def repeated(text: str | None, count: int) -> pa.Array:
    """Give an Arrow array that has one text, or null, over and over."""
    return pa.repeat(schema.to_array([text], pa.string())[0], count)


# As numpy has them; `to_numpy` would import pandas.
def _flags(values: pa.BooleanArray) -> Flags:
    if not len(values):
        return np.zeros(0, np.bool_)
    return np.frombuffer(values.cast(pa.uint8()).buffers()[1], np.bool_, len(values))


def _no_blocks() -> Blocks:
    none = np.empty(0, np.int64)
    return Blocks(
        none.reshape(0, len(KINDS)), none, none, schema.to_table([], schema.TABLES["runs"])
    )


def _in_order(blocks: list[Blocks]) -> Blocks:
    found = [each for each in blocks if len(each)]
    if not found:
        return _no_blocks()
    lines = np.concatenate([each.lines for each in found])
    if (np.diff(lines[:, 0]) > 0).all() and len(found) == 1:
        return found[0]
    order = np.argsort(lines[:, 0])
    ends = np.concatenate([each.ends for each in found])
    pids = np.concatenate([each.pids for each in found])
    values = pa.concat_tables([each.values for each in found], promote_options="default")
    return Blocks(lines[order], ends[order], pids[order], values.take(arrow(order)))
