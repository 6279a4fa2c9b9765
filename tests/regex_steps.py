"""How often a pattern looks at a character: what it costs, counted and not timed."""

import re
from re import _compiler as compiler
from re import _constants as op
from re import _parser as parser


class TooManyError(Exception):
    """A pattern looked at characters more often than it may."""


def count(pattern, line, most, *, search=False):
    """Count how often a backtracking matcher looks at a character of a line.

    Parameters
    ----------
    pattern
        A compiled pattern; without back references.
    line
        What it is to fit as a whole.
    most
        How often it may.
    search
        Whether it may fit anywhere.

    Returns
    -------
    tuple of int and bool
        How often; Python's own matcher knows short cuts, so it looks no more often than that.
        And whether the line fits.

    Raises
    ------
    TooManyError
        If it looks more often; it is not waited for how often in all.
    """
    matcher = _Matcher(pattern, line, most)
    parsed = parser.parse(pattern.pattern, pattern.flags)
    for begin in range(len(line) + 1 if search else 1):
        stops = matcher.match(list(parsed), begin)
        if any(search or stop == len(line) for stop in stops):
            return matcher.steps, True
    return matcher.steps, False


class _Matcher:
    def __init__(self, pattern, line, most):
        self.line, self.most, self.steps = line, most, 0
        self.flags = pattern.flags
        self.one = {}

    def match(self, items, at):
        """Give every place where the items may end, in the order in which they are tried."""
        if not items:
            yield at
            return
        (code, value), rest = items[0], items[1:]
        for stop in self.stops(code, value, at):
            yield from self.match(rest, stop)

    def stops(self, code, value, at):
        if code is op.SUBPATTERN:
            return self.with_flags(list(value[3]), at, value[1], value[2])
        if code is op.BRANCH:
            return (stop for branch in value[1] for stop in self.match(list(branch), at))
        if code is op.ATOMIC_GROUP:
            return self.first(self.match(list(value), at))
        if code in (op.ASSERT, op.ASSERT_NOT):
            found = self.look(value, at)
            return iter([at] if found is (code is op.ASSERT) else [])
        if code is op.AT:
            return iter([at] if self.is_at(value, at) else [])
        if code is op.POSSESSIVE_REPEAT:
            return self.first(self.repeat(value, at, greedy=True))
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self.repeat(value, at, greedy=code is op.MAX_REPEAT)
        return iter([at + 1] if self.fits(code, value, at) else [])

    def with_flags(self, items, at, add, remove):
        before = self.flags
        for stop in self.inside(items, at, (before | add) & ~remove):
            self.flags = before
            yield stop
        self.flags = before

    def inside(self, items, at, flags):
        self.flags = flags
        for stop in self.match(items, at):
            yield stop
            self.flags = flags

    @staticmethod
    def first(stops):
        for stop in stops:
            yield stop
            return

    def look(self, value, at):
        direction, items = value
        if direction > 0:
            return any(True for _ in self.match(list(items), at))
        low, high = items.getwidth()
        assert low == high
        return at >= low and any(True for _ in self.match(list(items), at - low))

    def is_at(self, where, at):
        if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return at == 0
        if where in (op.AT_END, op.AT_END_STRING):
            return at == len(self.line)
        around = [self.line[place : place + 1] for place in (at - 1, at) if place >= 0]
        words = [bool(re.fullmatch(r"\w", each, re.ASCII)) for each in [""] * (at == 0) + around]
        return (words[0] != words[1]) is (where is op.AT_BOUNDARY)

    def repeat(self, value, at, *, greedy):
        least, most, items = value
        if len(items) == 1 and items[0][0] in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            return self.repeat_one(least, most, items[0], at, greedy)
        return self.repeat_many(least, most, list(items), at, greedy)

    def repeat_one(self, least, most, item, at, greedy):
        if greedy:
            stop = at
            while stop - at < most and self.fits(*item, stop):
                stop += 1
            yield from range(stop, at + least - 1, -1)
            return
        stop = at
        while stop - at <= most:
            if stop - at >= least:
                yield stop
            if not self.fits(*item, stop):
                return
            stop += 1

    def repeat_many(self, least, most, items, at, greedy):
        if not greedy and least <= 0:
            yield at
        if most > 0:
            for stop in self.match(items, at):
                if stop != at or least > 0:
                    yield from self.repeat_many(least - 1, most - 1, items, stop, greedy)
        if greedy and least <= 0:
            yield at

    def fits(self, code, value, at):
        self.steps += 1
        if self.steps > self.most:
            raise TooManyError(self.line[:80])
        if at >= len(self.line):
            return False
        ignores_case = bool(self.flags & re.IGNORECASE)
        key = code, str(value), ignores_case, self.line[at]
        if key not in self.one:
            self.one[key] = self.fits_one(code, value, self.line[at])
        return self.one[key]

    def fits_one(self, code, value, character):
        parsed = parser.SubPattern(parser.State())
        parsed.state.str = ""
        parsed.append((code, value))
        return compiler.compile(parsed, self.flags).fullmatch(character) is not None
