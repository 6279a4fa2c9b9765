"""What runs are graded against: a TOML file of tasks -> `Expectation`.

docs/grading.md shows the file. Text, numbers and their ranges are plain enough to be read by
hand, and so each mistake can be told with its key and its remedy.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

from logtrace.columns import COUNTERS, STATUSES
from logtrace.errors import ExpectationError
from logtrace.findings import RULES
from logtrace.naming import instead_of

Counts = Literal["best", "last", "all"]

COUNTS: tuple[Counts, ...] = ("best", "last", "all")
"""Which of the runs of an owner decides."""

NUMBERS = (*COUNTERS, "parent_pid", "lost_file_calls", "lost_children", "untimed_calls")
"""Columns of runs that a number or a range is expected of."""

TEXTS = ("comm", "file", "dialect", "status", "host")
"""Columns of runs that a text is expected of."""

FLAGS = ("wide", "detail", "follow")
"""Columns of runs that are yes or no."""

SELECTING = ("comm", "file", "dialect", "host", "owner", "boot_id")
"""Columns of runs that tell what a run is of."""

_RANGE = re.compile(r"(\d*)\.\.(\d*)")
_MOST_BYTES = 1 << 20


class Range(NamedTuple):
    """Numbers from `least` to `most`, both included; None is no bound."""

    least: int | None
    most: int | None

    def __contains__(self, number: object) -> bool:
        return (
            isinstance(number, int)
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
        )

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.least)
        return "..".join("" if bound is None else str(bound) for bound in self)


@dataclass(frozen=True)
class OneOf:
    """Values of which a column has to have one.

    Parameters
    ----------
    values
        Ranges of numbers, patterns of text, or yes and no.
    """

    values: tuple[Range | str | bool, ...]

    def fits(self, found: object) -> bool:
        """Whether a value is one of these."""
        return any(_fits(value, found) for value in self.values)

    def __str__(self) -> str:
        return " or ".join(map(value_text, self.values))


def _fits(value: Range | str | bool, found: object) -> bool:
    if isinstance(value, str):
        return fnmatchcase(str(found), value)
    if isinstance(value, bool):
        return found is value
    return found in value


def value_text(value: object) -> str:
    """Write a value as the file has it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Task:
    """What is expected of the runs of a task.

    Parameters
    ----------
    name
        Its name.
    runs
        What tells that a run is of it, by column.
    expect
        What has to stand in a column.
    opened, not_opened
        Patterns of files of which each, or none, must have been opened.
    findings
        The rules that may find something; None where findings are nothing to it.
    points
        What it is worth.
    counts
        Which of the runs of an owner decides.
    """

    name: str
    runs: Mapping[str, OneOf] = field(default_factory=dict)
    expect: Mapping[str, OneOf] = field(default_factory=dict)
    opened: tuple[str, ...] = ()
    not_opened: tuple[str, ...] = ()
    findings: frozenset[str] | None = None
    points: float = 1
    counts: Counts = "best"


@dataclass(frozen=True)
class Expectation:
    """What is expected of everybody.

    Parameters
    ----------
    tasks
        At least one, in the order of the file.
    roster
        The owners of whom runs are expected; None for all who have some.
    """

    tasks: tuple[Task, ...]
    roster: tuple[str, ...] | None = None

    @property
    def asks_for_files(self) -> bool:
        """Whether what a run did with each file matters."""
        return any(task.opened or task.not_opened for task in self.tasks)

    @property
    def asks_for_findings(self) -> bool:
        """Whether findings matter."""
        return any(task.findings is not None for task in self.tasks)


def read_expectation(path: Path) -> Expectation:
    """Read a file of expectations.

    Parameters
    ----------
    path
        A TOML file, as docs/grading.md shows.

    Returns
    -------
    Expectation
        What it expects.

    Raises
    ------
    ExpectationError
        If the file can't be read, or something in it makes no sense; the message names the
        line or the key, and what may stand there.
    """
    place = _Place(str(path))
    table = place.table(_parsed(path), ("roster", "counts", "tasks"))
    tasks = place.at("tasks").table(table.get("tasks", {}))
    if not tasks:
        raise place.at("tasks").error("no task", "write [tasks.NAME] and below it what is expected")
    counts = _counts(place.at("counts"), table.get("counts", "best"))
    read = (_task(place.at("tasks", name), name, each, counts) for name, each in tasks.items())
    roster = table.get("roster")
    return Expectation(
        tuple(read), None if roster is None else _roster(place.at("roster"), roster, path)
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ExpectationError(
            f"{path}: no TOML: {error}", "texts stand between quotes: comm = 'test'"
        ) from None
    except RecursionError:
        raise ExpectationError(f"{path}: no TOML: nested too deeply", "write it flat") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ExpectationError(
            f"{path}: {error.strerror}", "name a file that you may read"
        ) from None
    if len(content) > _MOST_BYTES:
        raise ExpectationError(f"{path}: larger than 1 MiB", "name a file of expectations")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ExpectationError(
            f"{path}: no UTF-8 at byte {error.start}", "save it as UTF-8"
        ) from None


class _Place(NamedTuple):
    # Where in the file something stands, for what is wrong with it.
    path: str
    key: str = ""

    def at(self, *names: str) -> _Place:
        return self._replace(key=".".join(filter(None, (self.key, *map(_key, names)))))

    def error(self, what: str, remedy: str) -> ExpectationError:
        where = f"{self.path}: {self.key}" if self.key else self.path
        return ExpectationError(f"{where}: {what}", remedy)

    def table(self, value: object, known: Collection[str] | None = None) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error("no table", f"write [{self.key}] above what belongs to it")
        for name in value:
            if known is not None and name not in known:
                raise self.at(name).error("no such key", instead_of(name, known))
        return value

    def texts(self, value: object) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str) and each for each in values):
            raise self.error("neither a text nor a list of texts", "write 'a' or ['a', 'b']")
        return tuple(values)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else repr(name)


def _task(place: _Place, name: str, value: object, counts: Counts) -> Task:
    table = place.table(value, ("runs", "expect", "points", "counts"))
    of, wanted = place.at("runs"), place.at("expect")
    runs = {
        column: OneOf(of.at(column).texts(each))
        for column, each in of.table(table.get("runs", {}), SELECTING).items()
    }
    expect = wanted.table(table.get("expect", {}), (*NUMBERS, *TEXTS, *FLAGS, "files", "findings"))
    if not expect:
        raise wanted.error("nothing is expected", f"write [{wanted.key}] and below it a column")
    files = wanted.at("files").table(expect.get("files", {}), ("opened", "not_opened"))
    opened, not_opened = (
        wanted.at("files", key).texts(files[key]) if key in files else ()
        for key in ("opened", "not_opened")
    )
    return Task(
        name,
        runs,
        {
            column: _one_of(wanted.at(column), column, each)
            for column, each in expect.items()
            if column not in ("files", "findings")
        },
        opened,
        not_opened,
        _findings(wanted.at("findings"), expect["findings"]) if "findings" in expect else None,
        _points(place.at("points"), table.get("points", 1)),
        _counts(place.at("counts"), table.get("counts", counts)),
    )


def _one_of(place: _Place, column: str, value: object) -> OneOf:
    if column in NUMBERS:
        return _each(place, value, _range)
    if column in FLAGS:
        if not isinstance(value, bool):
            raise place.error("neither true nor false", "write true or false")
        return OneOf((value,))
    texts = place.texts(value)
    if column == "status":
        for text in texts:
            if text not in STATUSES:
                raise place.error(f"no status is {text!r}", instead_of(text, STATUSES))
    return OneOf(texts)


def _each(place: _Place, value: object, read: Callable[[_Place, object], Range]) -> OneOf:
    if value == []:
        raise place.error("an empty list", "write the values that are allowed")
    values = value if isinstance(value, list) else [value]
    return OneOf(tuple(read(place, each) for each in values))


def _range(place: _Place, value: object) -> Range:
    if isinstance(value, int) and not isinstance(value, bool):
        return Range(value, value)
    least = most = None
    if isinstance(value, dict):
        bounds = place.table(value, ("min", "max"))
        least, most = (
            _bound(place.at(name), bounds[name]) if name in bounds else None
            for name in ("min", "max")
        )
    elif isinstance(value, str) and (match := _RANGE.fullmatch(value.replace(" ", ""))):
        least, most = (int(bound) if bound else None for bound in match.groups())
    if least is None and most is None:
        raise place.error(
            "no number and no range", "write 20, '20..30', '20..', {min = 20, max = 30} or a list"
        )
    if least is not None and most is not None and least > most:
        raise place.error(f"{least} is more than {most}", "write the smaller number first")
    return Range(least, most)


def _bound(place: _Place, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise place.error("no whole number", "write one, as in {min = 20}")
    return value


# As a list is what is allowed everywhere, one of rules says what may be found.
def _findings(place: _Place, value: object) -> frozenset[str]:
    if value in ("none", []):
        return frozenset()
    if not isinstance(value, list):
        raise place.error(
            "neither 'none' nor a list", "write 'none', or the rules that may find something"
        )
    for rule in place.texts(value):
        if rule not in RULES:
            raise place.error(f"no rule is {rule!r}", instead_of(rule, RULES))
    return frozenset(value)


def _points(place: _Place, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise place.error("no number of points", "write 0 or more, as in points = 10")
    return value


def _counts(place: _Place, value: object) -> Counts:
    for known in COUNTS:
        if value == known:
            return known
    raise place.error(f"{value!r} is none", instead_of(str(value), COUNTS))


# A list, or the name of a file beside this one with an owner a line.
def _roster(place: _Place, value: object, path: Path) -> tuple[str, ...]:
    if isinstance(value, str) and value:
        lines = _text(path.parent / value).splitlines()
        owners = [line.strip() for line in lines if not line.lstrip().startswith("#")]
        value = [owner for owner in owners if owner]
    if not value:
        raise place.error("nobody is on it", "write ['2021202045', ...], or an owner a line")
    return tuple(dict.fromkeys(place.texts(value)))
