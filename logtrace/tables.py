"""Tables of text that fit a terminal.

Rich's own table takes seconds for ten thousand rows, and cuts numbers; here numbers are shown
whole, and names give way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

_LEAST_NAME = 8
_GAP = 2
_AT_ONCE = 200  # lines printed in one go

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table.

    Parameters
    ----------
    title
        Its heading.
    cells, styles
        Text and Rich style of each row.
    right
        Whether cells stand at the right.
    name
        Whether it gives way where the terminal is narrow, as a number never does.
    middle
        Whether it then loses its middle, as a path does whose end says most.
    """

    title: str
    cells: list[str]
    styles: list[str]
    right: bool = False
    name: bool = False
    middle: bool = False

    @property
    def width(self) -> int:
        """How many cells of the terminal it would take."""
        return max(map(cell_len, (self.title, *self.cells)))

    @property
    def least(self) -> int:
        """How many it takes at least."""
        return min(self.width, _LEAST_NAME) if self.name else self.width


def column(
    rows: Iterable[Row],
    title: str,
    cell: Callable[[Row], str],
    *,
    style: Callable[[Row], str] = lambda _row: "",
    right: bool = False,
    name: bool = False,
    middle: bool = False,
) -> Column:
    """Make a column of rows.

    Parameters
    ----------
    rows
        What the table shows.
    title
        The heading.
    cell, style
        Give text and Rich style for a row.
    right, name, middle
        As of `Column`.

    Returns
    -------
    Column
        With a cell a row.
    """
    rows = list(rows)
    cells, styles = [cell(row) for row in rows], [style(row) for row in rows]
    return Column(title, cells, styles, right, name or middle, middle)


def table_lines(columns: Sequence[Column], room: int) -> Iterator[Text]:
    """Lay out a table.

    Parameters
    ----------
    columns
        Its columns, all of the same number of rows.
    room
        How wide it may be; where numbers alone are wider, so is the table.

    Yields
    ------
    rich.text.Text
        The headings, then a line a row.
    """
    widths = _widths(columns, room)
    yield _line([column.title for column in columns], ["bold"] * len(columns), columns, widths)
    cells, styles = (zip(*(column[index] for column in columns), strict=True) for index in (1, 2))
    for row_cells, row_styles in zip(cells, styles, strict=True):
        yield _line(row_cells, row_styles, columns, widths)


def room_for(columns: Sequence[Column]) -> int:
    """Say how wide a table is at least."""
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines as they are, many at once."""
    rest = iter(lines)
    while some := list(islice(rest, _AT_ONCE)):
        console.print(Text("\n").join(some), soft_wrap=True)


def without_middle(text: str, width: int) -> str:
    """Shorten a path from its middle, so that the names at its end stay.

    Parameters
    ----------
    text
        The path, or any text.
    width
        How many cells of a terminal it may take, at least one.

    Returns
    -------
    str
        The text, or its beginning, ``…`` and its end.
    """
    if cell_len(text) <= width:
        return text
    tail = _whole_names(text, width - 1) or _last_cells(text, width - 1 - (width - 1) // 3)
    return set_cell_size(text, width - 1 - cell_len(tail)) + "…" + tail


# As many of a path's last names as have room.
def _whole_names(path: str, room: int) -> str:
    slashes = [at for at, letter in enumerate(path) if letter == "/"]
    return next((path[at:] for at in slashes if cell_len(path[at:]) <= room), "")


def _last_cells(text: str, room: int) -> str:
    while cell_len(text) > room:
        text = text[1:]
    return text


def _line(
    cells: Sequence[str], styles: Sequence[str], columns: Sequence[Column], widths: Sequence[int]
) -> Text:
    texts = list(map(_fitted, cells, widths, columns))
    line = Text((" " * _GAP).join(texts), no_wrap=True)
    begin = 0
    for text, style in zip(texts, styles, strict=True):
        if style:
            line.stylize(style, begin, begin + len(text))
        begin += len(text) + _GAP
    line.rstrip()
    return line


def _fitted(text: str, width: int, column: Column) -> str:
    if cell_len(text) > width:
        text = without_middle(text, width) if column.middle else _without_end(text, width)
    missing = " " * (width - cell_len(text))
    return missing + text if column.right else text + missing


def _without_end(text: str, width: int) -> str:
    return set_cell_size(text, width - 1) + "…"


# The widest name gives way first.
def _widths(columns: Sequence[Column], room: int) -> list[int]:
    widths = [column.width for column in columns]
    least = [column.least for column in columns]
    excess = sum(widths) + _GAP * (len(columns) - 1) - room
    while excess > 0:
        widest = max(range(len(widths)), key=lambda n: (widths[n] > least[n], widths[n]))
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
        excess -= 1
    return widths
