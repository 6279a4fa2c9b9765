"""Text of a record -> `Event`: what a tracing module says in it.

The lines are described in ``docs/format.md``; how versions of the module spell them is
data, see `logtrace.dialects`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from logtrace import dialects
from logtrace.dialects import ADDED_KINDS, EXTRA_KINDS, KINDS, Dialect, Field, Kind
from logtrace.record import printable
from logtrace.run_id import MOST_LINES
from logtrace.wording import DIALECT, Wording

__all__ = [
    "EXTRA_KINDS",
    "KINDS",
    "Event",
    "Field",
    "Grammar",
    "Kind",
    "default",
    "events",
    "is_extra",
    "looks_like_trace",
    "never_totals",
    "parse",
]

_EXTRA = "ftrace/"  # and the version; how every extra line begins, and no other

_TEXT_GROUPS = frozenset({"owner", "comm", "file", "call", "path"})
_FLAG_GROUPS = frozenset({"wide", "detail", "follow", "open_at_end"})
_INT64 = range(-(2**63), 2**63)
_SURE_DIGITS = 19  # fewer always fit

# A record has at most 1 KiB, and four characters for each byte where dmesg escaped it; a
# longer text is a broken log, on which the patterns could take for ever
_LONGEST = 4096

_CALL = r"(?:open(?:at)?|close|read|write|l?seek)"
_LOOKS_LIKE = re.compile(
    rf"OS[\s_-]*+Ass\w{{3,9}}[\s_#-]*+\d|ftrace\s*+\[\s*+-?\d*+\s*+\](?!:)|\Aftrace/\d"
    r"|ftrace\s*+[(<{]\d++[)>}]\W{0,4}(?:start|end|stop)|ftrace:?\s++(?:pid\W{0,3})?\d++\s++(?:start|end|stop)|ftrace\s++(?:start|end|stop)\w{0,3}\W{1,3}\d"
    rf"|(?<!\")\bopen\s*+\[-?\d++\]|\b{_CALL}\s*+\[\s*+-?\d++\s*+\][\s,;/|&-]*+{_CALL}\s*+\["
    rf"|\bopen\w{{0,8}}\s*+[:=]\s*+\d++[\s,;/|&-]*+close|\bread\s*+[-\u2010-\u2015\u2212]\s*+-?\d++\s*+[/,]?\s*+writ"
    r"|\[x\][\s:,]*+\w{0,8}[\s_]*+read.{0,60}wr[iot]|\A\W{0,8}\[\s*+\d{5,12}\s*+\].{0,80}\bread.{0,40}wr[iot]"
    r"|\A\[[^\[\]]{1,34}\][^\[\]]{0,40}file\s*+\[",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)

# Where a line of a run may begin inside a record. A longer record may have been cut off where
# somebody chose, so it is not taken apart.
_BEGINNING = re.compile(
    r"(?:[\w.-]{1,40}:\s++)?(?:OS\s*+)?Assignment|(?<!\w)ftrace\s*+\["
    r"|(?:\[[^\[\]]{1,60}\]\s*+)?open(?:at)?\s*+[\[({<:=]"
    r"|\[[^\[\]]{1,34}\](?=[^\[\]]{0,90}\[|[^\[\]]{0,90}read)",
    re.ASCII | re.IGNORECASE,
)
_LONGEST_JOINT = 900


class Event(NamedTuple):
    """One line of a run.

    Parameters
    ----------
    kind
        Which of the run's lines it is; ``load`` is of none: the module begins to count.
    dialect
        The dialect that understood it.
    rank
        The dialect's place among all; a larger one is more general.
    values
        Columns of ``schema.RUNS``, ``CALLS`` or ``FILES`` that the line gives; of a trace line
        also ``call_lines`` and ``fd_lines``, how many of them follow.
    cumulative
        Whether the counters are totals of all runs since the module was loaded.
    fields
        Where the values stand in the text; of a line that is a part of a text, nothing.
    """

    kind: Kind
    dialect: str
    rank: int
    values: dict[str, int | str]
    cumulative: bool = False
    fields: Sequence[Field] = ()

    @property
    def extra(self) -> bool:
        """Whether it is one of `EXTRA_KINDS`."""
        return self.kind in EXTRA_KINDS


class _Reader:
    """What reads the lines of one kind in one dialect."""

    def __init__(self, kind: Kind, dialect: Dialect, rank: int) -> None:
        self.kind, self.dialect, self.rank = kind, dialect, rank

    def fields(self, line: str) -> list[Field] | None:
        """Say where the values of a line stand; None if it is no such line."""
        raise NotImplementedError

    def read(self, line: str) -> Event | None:
        """Give what a line says; None if it is no such line, or a number is too large."""
        fields = self.fields(line)
        if fields is None:
            return None
        values: dict[str, int | str] = {}
        for name, is_number, start, stop in fields:
            value = line[start:stop]
            if not is_number:
                values[name] = value == "1" if name in _FLAG_GROUPS else printable(value)
            elif len(value) < _SURE_DIGITS or int(value) in _INT64:
                values[name] = int(value)
            else:
                return None
        cumulative = self.dialect.cumulative is True
        return Event(self.kind, self.dialect.name, self.rank, values, cumulative, fields)


class _PatternReader(_Reader):
    def __init__(self, kind: Kind, dialect: Dialect, rank: int) -> None:
        super().__init__(kind, dialect, rank)
        self._regex = dialect.patterns[kind]
        names = sorted(self._regex.groupindex, key=self._regex.groupindex.__getitem__)
        self._groups = [(name, name not in _TEXT_GROUPS | _FLAG_GROUPS) for name in names]

    def fields(self, line: str) -> list[Field] | None:
        match = self._regex.fullmatch(line)
        if match is None:
            return None
        named = zip(self._groups, match.regs[1:], strict=True)
        return [Field(*group, *span) for group, span in named if span != (-1, -1)]


class _WordReader(_Reader):
    def __init__(self, kind: Kind, dialect: Dialect, rank: int, wording: Wording) -> None:
        super().__init__(kind, dialect, rank)
        self._wording = wording

    def fields(self, line: str) -> list[Field] | None:
        return self._wording.read(self.kind, line)


def _readers(known: tuple[Dialect, ...]) -> Iterator[_Reader]:
    for rank, dialect in enumerate(known):
        if dialect.name == DIALECT:
            wording = Wording(dialects.wording())
            yield from (_WordReader(kind, dialect, rank, wording) for kind in KINDS)
        for kind in (*ADDED_KINDS, *EXTRA_KINDS):
            if kind in dialect.patterns:
                yield _PatternReader(kind, dialect, rank)


class Grammar:
    """The lines that some dialects understand.

    Parameters
    ----------
    known
        The dialects, the most exact first.
    """

    def __init__(self, known: tuple[Dialect, ...]) -> None:
        self.dialects = known
        readers = list(_readers(known))
        # what users add may have other words than those that `_may_be` looks for
        self._added = tuple(each for each in readers if each.dialect.origin != "logtrace")
        self._extra = tuple(each for each in readers if each.kind in EXTRA_KINDS)
        self._of_bits = tuple(
            tuple(each for each in readers if _BITS.get(each.kind, 0) & bits)
            for bits in range(1 << len(_BITS))
        )

    @property
    def has_added(self) -> bool:
        """Whether users have added dialects."""
        return bool(self._added)

    def parse(self, text: str) -> Event | None:
        """Understand a text that is one line of a run.

        Parameters
        ----------
        text
            The decoded text of one record, or of a part of one.

        Returns
        -------
        Event or None
            None if no dialect has such a line, if it is longer than any record, or if a number
            in it has more than 64 bits.
        """
        return self._parse(text, _may_be(text))

    def _parse(self, text: str, bits: int) -> Event | None:
        if len(text) > _LONGEST:
            return None
        line = text.rstrip()
        if self._added and (event := _first(self._added, line)):
            return event
        if not bits:
            return None
        return _first(self._extra if text.startswith(_EXTRA) else self._of_bits[bits], line)

    def events(self, text: str) -> tuple[Event, ...]:
        """Understand the text of a record.

        Parameters
        ----------
        text
            The decoded text of one record.

        Returns
        -------
        tuple of Event
            Most often one. More if the record is nothing but several lines, as modules make
            them that print no newline or one inside a record, and can be taken apart in one
            way only. None of them if it is not understood.
        """
        bits = _may_be(text)
        if not bits and not self._added:
            return ()
        if event := self._parse(text, bits):
            return (event,)
        if len(text) > _LONGEST_JOINT or text.startswith(_EXTRA) or not bits:
            return ()
        return self._take_apart(text)

    # Counts the ways to take the text apart: a name may hold what looks like lines.
    def _take_apart(self, text: str) -> tuple[Event, ...]:
        cuts = [match.start() for match in _BEGINNING.finditer(text)]
        if not 1 < len(cuts) <= 2 * MOST_LINES or text[: cuts[0]].strip():
            return ()
        cuts.append(len(text))
        ways: dict[int, list[tuple[Event, ...]]] = {len(text): [()]}
        for place in range(len(cuts) - 2, -1, -1):
            found: list[tuple[Event, ...]] = []
            for stop in cuts[place + 1 :]:
                if not ways.get(stop):
                    continue
                if event := self.parse(text[cuts[place] : stop].strip(" \t\r\n,;|")):
                    part = event._replace(fields=())
                    found += [(part, *rest) for rest in ways[stop][:2]]
            ways[cuts[place]] = found[:2]
        (*lines,) = ways[cuts[0]]
        return lines[0] if len(lines) == 1 and len(lines[0]) <= MOST_LINES else ()


def never_totals() -> list[str]:
    """Name the dialects of which users say that their counters are never totals."""
    return [dialect.name for dialect in default().dialects if dialect.cumulative is False]


@cache
def default() -> Grammar:
    """Give the grammar of the dialects that are built in and those that users have added.

    Raises
    ------
    DialectError
        If a file of dialects can't be read, or what is in it makes no sense.
    """
    return Grammar(dialects.load(*dialects.places()))


def parse(text: str) -> Event | None:
    """Understand a text that is one line of a run, see `Grammar.parse`."""
    return default().parse(text)


def events(text: str) -> tuple[Event, ...]:
    """Understand the text of a record, see `Grammar.events`."""
    return default().events(text)


def is_extra(text: str) -> bool:
    """Whether a line is an extra line, of this version or another, understood or not."""
    return text.startswith(_EXTRA)


def looks_like_trace(text: str) -> bool:
    """Whether a line that no dialect understands seems to be meant as a trace line."""
    return bool(_may_be(text)) and _LOOKS_LIKE.search(text) is not None


MAY_MEAN = (
    r"(?i:ead(?s:.*)wr[iot]|wr[iot](?s:.*)ead|ead(?s:.*)wirt|pen(?s:.*)los|los(?s:.*)pen"
    r"|race|as{1,2}(?:ig|gin|ingm|gn)|(?:open(?:at)?|close|read|write|seek|file)[\s\v]*[\[({<])"
)
"""A pattern, also of RE2, that is in every text of which `events` or `looks_like_trace` knows
something, if no dialects were added; in most others it is not."""

_WORDS = "open", "close", "read", "write", "seek", "file"
_BITS: dict[Kind, int] = {"stats": 1, "ops": 2, "start": 4, "end": 4}


_NAMED = re.compile(r"(?:open(?:at)?|close|read|write|seek|file)\s*+[\[({<]")


def _may_be(text: str) -> int:
    low = text.lower()
    bits = 0
    if "ead" in low and ("wr" in low or "wirt" in low):
        bits = 3
    elif "pen" in low and "los" in low:
        bits = 2
    elif any(word in low for word in _WORDS) and _NAMED.search(low):
        bits = 3
    if "race" in low or "ass" in low or "asig" in low:
        bits |= 4
    return bits


def _first(readers: tuple[_Reader, ...], line: str) -> Event | None:
    for reader in readers:
        if event := reader.read(line):
            return event
    return None
