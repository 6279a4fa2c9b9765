"""Runs that are whole and regular, among the lines of a part of a log, all of one spelling at once.

The four lines of such a run stand together, or beside those of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logtrace import incident_grammar, schema, shapes
from logtrace.grammar import KINDS
from logtrace.record import FIRST_MESSAGE
from logtrace.shapes import Flags, Ints, Shape, arrow, ends_with, flags, match, slices
from logtrace.stamps import Stamps

# Of such a line, a run is not all that may be said
TELLS_MORE = f"{incident_grammar.MAY_BEGIN}|{FIRST_MESSAGE}"
# Of a name with such characters, a record does not have all as it is
_ODD = r"[^ -\[\]-~]"


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


def find_blocks(
    stamps: Stamps, spelling: Spelling, among: Ints, regular: Flags, others: Iterable[Blocks]
) -> Blocks:
    """Find runs whose four lines stand together.

    Parameters
    ----------
    stamps
        Those of the part.
    spelling
        How the lines are written.
    among
        The numbers of the lines that are looked at: others may stand between them.
    regular
        Of each line of the part, whether it may be of such a run.
    others
        Blocks found before, none of which is to begin between the lines of one.

    Returns
    -------
    Blocks
        The runs.
    """
    begins = np.flatnonzero(ends_with(stamps.text, among, spelling.shapes[0].tail))
    begins = begins[begins + len(KINDS) <= len(among)]
    lines = among[begins[:, None] + np.arange(len(KINDS))]
    lines = lines[regular[lines].all(axis=1)]
    lines = lines[~_has_others(lines[:, 0], lines[:, -1], others)]
    if not len(lines):
        return _no_blocks()
    found = [
        _match_line(stamps, shape, lines[:, place]) for place, shape in enumerate(spelling.shapes)
    ]
    start, *_, end = found
    fits = start.numbers["pid"] == end.numbers["pid"]
    for line in found:
        fits &= line.fits
    kept = slice(None) if fits.all() else fits
    lines = lines[kept]
    return _blocks(stamps, spelling, found, [kept] * len(KINDS), lines, lines[:, -1])


# Whether other blocks begin between two lines.
def _has_others(first: Ints, last: Ints, others: Iterable[Blocks]) -> Flags:
    found = np.zeros(len(first), np.bool_)
    for each in others:
        starts = each.lines[:, 0]
        found |= np.searchsorted(starts, first) != np.searchsorted(starts, last)
    return found


def find_beside(
    stamps: Stamps,
    spellings: Sequence[Spelling],
    among: Ints,
    regular: Flags,
    others: Sequence[Blocks],
) -> list[Blocks]:
    """Find runs that stand beside each other.

    The last three lines of each stand together, its Start line somewhere before them, and from
    the first Start to the last End there is nothing else but blocks found before.

    Parameters
    ----------
    stamps, among, regular
        As of `find_blocks`.
    spellings
        How lines may be written.
    others
        Blocks found before. Those between lines of the runs found now will stand beside them.

    Returns
    -------
    list of Blocks
        The runs, those of each spelling in the order in which they end.
    """
    if not spellings or len(among) < len(KINDS):
        return []
    of_shape = {
        shape: _match_line(stamps, shape, among) for each in spellings for shape in each.shapes
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
            found.append(_blocks(stamps, spelling, of_lines, places, lines, ends))
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
    stamps: Stamps,
    spelling: Spelling,
    found: Sequence[shapes.Found],
    places: Sequence[Ints | Flags | slice],
    lines: Ints,
    ends: Ints,
) -> Blocks:
    columns = {
        "started_us": arrow(stamps.usec(lines[:, 0])),
        "ended_us": arrow(stamps.usec(lines[:, -1])),
        "dialect": repeated(spelling.dialect, len(lines)),
        "lines": repeated(spelling.lines, len(lines)),
    }
    for line, at in zip(found, places, strict=True):
        columns |= {name: arrow(values[at]) for name, values in line.numbers.items()}
        columns |= {
            name: slices(stamps.text, begin[at], stop[at], ascii=True)
            for name, (begin, stop) in line.names.items()
        }
    return Blocks(lines, ends, found[0].numbers["pid"][places[0]], pa.table(columns))


# A name may hold what is not as it was said, or words that tell more.
def _match_line(stamps: Stamps, shape: Shape, lines: Ints) -> shapes.Found:
    text = stamps.text
    stops = text.stops[lines]
    found = match(shape, text, stamps.stops[lines])
    found.fits &= found.stops == stops
    if found.names:
        tells_more = pc.match_substring_regex(
            slices(text, stamps.stops[lines], stops), f"{TELLS_MORE}|{_ODD}"
        )
        found.fits &= ~flags(tells_more)
    return found


def repeated(text: str | None, count: int) -> pa.Array:
    """Give an Arrow array that has one text, or null, over and over."""
    return pa.repeat(schema.to_array([text], pa.string())[0], count)


def _no_blocks() -> Blocks:
    none = np.empty(0, np.int64)
    return Blocks(
        none.reshape(0, len(KINDS)), none, none, schema.to_table([], schema.TABLES["runs"])
    )


def in_order(blocks: Iterable[Blocks]) -> Blocks:
    """Join blocks, in the order of their first lines."""
    found = [each for each in blocks if len(each)]
    if not found:
        return _no_blocks()
    lines = np.concatenate([each.lines for each in found])
    if len(found) == 1 and (np.diff(lines[:, 0]) > 0).all():
        return found[0]
    order = np.argsort(lines[:, 0])
    ends = np.concatenate([each.ends for each in found])
    pids = np.concatenate([each.pids for each in found])
    values = pa.concat_tables([each.values for each in found], promote_options="default")
    return Blocks(lines[order], ends[order], pids[order], values.take(arrow(order)))
