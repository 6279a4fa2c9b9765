"""What stands before the messages of kernels that print no caller: when the kernel said them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from logtrace.shapes import (
    COLUMNS,
    Blanks,
    Flags,
    Ints,
    Number,
    Shape,
    Text,
    match,
    match_columns,
    read_numbers,
)

_STAMPS: Mapping[str, Shape] = {
    "dmesg": Shape(
        (b"[", Blanks(), Number("seconds", most=12), b".", Number("usec", least=6, most=6), b"]")
    ),
    "kmsg": Shape((Number("priority", most=1), b",", Number("seq"), b",", Number("usec"), b",-;")),
}
FORMS = frozenset(_STAMPS)
"""The forms that have such stamps: their records name no machine and have the kernel's clock."""

_DMESG = re.compile(rb"\[ *(?P<seconds>\d+)\.\d{6}\]")
_FIRST_OTHER_PRIORITY = 8  # the first that is of another facility than the kernel's
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class Stamps:
    """When the kernel said the lines of a part of a log.

    Parameters
    ----------
    text
        The part.
    form
        One of `FORMS`.
    fits
        Of which lines it is known that the kernel said them, and when.
    seconds
        That time, in whole seconds; of other lines it means nothing.
    stops
        Where the stamp stops, as an offset in the text; of other lines, where they start.
    """

    text: Text
    form: str
    fits: Flags
    seconds: Ints
    stops: Ints

    def usec(self, lines: Ints) -> Ints:
        """Give when some lines that fit were said, in microseconds."""
        if self.form == "dmesg":
            fractions = read_numbers(self.text, self.stops[lines] - len("123456]"))
            return self.seconds[lines] * _SECOND_US + fractions
        return match(_STAMPS[self.form], self.text, self.text.starts[lines]).numbers["usec"]


def read_stamps(text: Text, form: str) -> Stamps:
    """Read the stamps of a part of a log.

    Parameters
    ----------
    text
        The part.
    form
        One of `FORMS`.

    Returns
    -------
    Stamps
        Those of its lines.
    """
    fits, seconds, stops = _usual(text, form)
    rest = np.flatnonzero(~fits)
    found = match(_STAMPS[form], text, text.starts[rest])
    if form == "dmesg":
        seconds[rest] = found.numbers["seconds"]
    else:
        found.fits &= found.numbers["priority"] < _FIRST_OTHER_PRIORITY
        seconds[rest] = found.numbers["usec"] // _SECOND_US
    fits[rest] = found.fits
    stops[rest] = np.where(found.fits, found.stops, text.starts[rest])
    return Stamps(text, form, fits, seconds, stops)


# Those that have as many blanks and digits as the first one, as nearly all of a part have.
def _usual(text: Text, form: str) -> tuple[Flags, Ints, Ints]:
    usual = _DMESG.match(text.data) if form == "dmesg" else None
    if usual is None or usual.end() > COLUMNS or usual.end("seconds") > 8:
        return np.zeros(len(text), np.bool_), np.zeros(len(text), np.int64), text.starts.copy()
    fits, seconds = match_columns(text, text.starts, usual[0], usual.span("seconds"))
    return fits, seconds, text.starts + usual.end()
