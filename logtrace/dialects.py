"""How versions of the tracing module spell their lines: data, built in and added in TOML files."""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from re import _constants as opcodes  # type: ignore[attr-defined]  # there is no public parser
from re import _parser as regex_parser  # type: ignore[attr-defined]
from typing import Any, Literal, NamedTuple

from logtrace.errors import DialectError

Kind = Literal["start", "stats", "ops", "end", "trace", "call", "fd", "load"]

KINDS: tuple[Kind, ...] = ("start", "stats", "ops", "end")
"""The lines of a run, in the order of the contract."""

EXTRA_KINDS: tuple[Kind, ...] = ("trace", "call", "fd")
"""The lines that a run has between its calls line and its End line when more is asked for."""

ADDED_KINDS: tuple[Kind, ...] = (*KINDS, "load")
"""What a file may add; a load line says that the module begins to count from zero."""

COUNTERS = (
    *("read_bytes", "written_bytes"),
    *("open_calls", "close_calls", "read_calls", "write_calls", "lseek_calls"),
)
"""Those of `logtrace.schema`, which is slow to import."""

GROUPS: Mapping[Kind, frozenset[str]] = {
    "start": frozenset({"pid"}),
    "end": frozenset({"pid"}),
    "stats": frozenset({"owner", "comm", "file", *COUNTERS}),
    "ops": frozenset(COUNTERS),
    "load": frozenset(),
}
"""The groups that the patterns of a file may have; a Start and an End line need theirs."""

MOST_DIALECTS = 200

_SETTINGS = {"name", "cumulative"}
_WORD = re.compile(r"\{([a-z_]+)\}")
_NAME = re.compile(r"[\w.+-]{1,40}")
_LONGEST_PATTERN = 10_000
_FREE_REPEATS = 2  # of anything; each is another power of the line's length


class Field(NamedTuple):
    """Where a value stands in a line.

    Parameters
    ----------
    name
        Its column.
    is_number
        Whether it is one.
    start, stop
        Places of its first character and of the one behind its last.
    """

    name: str
    is_number: bool
    start: int
    stop: int


@dataclass(frozen=True)
class Dialect:
    """How one version, or many, spell the lines.

    Parameters
    ----------
    name
        As the column ``dialect`` names it.
    patterns
        What fits a whole line of each kind; of the one whose lines `logtrace.wording` reads, none.
    cumulative
        Whether the module never sets its counters back: a run's are totals since it was loaded.
        None if nobody says so: then the sequence of its runs may show it.
    origin
        The file that it is from.
    """

    name: str
    patterns: Mapping[Kind, re.Pattern[str]]
    cumulative: bool | None = None
    origin: str = "logtrace"


def places(environ: Mapping[str, str] = os.environ) -> tuple[list[Path], list[Path]]:
    """Find the files that users add dialects in.

    Parameters
    ----------
    environ
        ``XDG_CONFIG_HOME`` says where a user's is; ``LOGTRACE_DIALECTS`` names another file,
        which has to exist.

    Returns
    -------
    tuple of list of pathlib.Path
        All of them, whether they exist or not, in the order in which they are asked; and
        those that have to exist.
    """
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    named = [Path(path) for path in [environ.get("LOGTRACE_DIALECTS")] if path]
    files = Path(home) / "logtrace" / "dialects.toml", Path("/etc/logtrace/dialects.toml")
    return [*named, *files], named


def load(paths: Iterable[Path] = (), required: Iterable[Path] = ()) -> tuple[Dialect, ...]:
    """Read dialects.

    Parameters
    ----------
    paths
        Files that add dialects; one that does not exist is left out.
    required
        Those of them that have to exist.

    Returns
    -------
    tuple of Dialect
        The most exact first: those of the files in their order, then those built in.

    Raises
    ------
    DialectError
        If a file can't be read, or what is in it makes no sense.
    """
    required = set(required)
    data = _built_in()
    words = _numbers() | data["words"]
    built_in = [
        Dialect(
            each["name"], {kind: _compile(each[kind], words) for kind in each if kind != "name"}
        )
        for each in data["dialect"]
    ]
    added: list[Dialect] = []
    for path in dict.fromkeys(paths):
        # a place that may not be looked into, as another user's home, is as one without a file
        if path in required or os.path.isfile(path):
            added += _read_file(path, words, [*built_in, *added])
    return (*added, *built_in)


def wording() -> dict[str, str]:
    """Give the words by which lines are read that no pattern fits, see `logtrace.wording`."""
    words: dict[str, str] = _built_in()["wording"]
    return words


@cache
def _built_in() -> dict[str, Any]:
    return tomllib.loads(resources.files("logtrace").joinpath("dialects.toml").read_text("utf-8"))


# A column of numbers in a pattern: {pid} is any number, put into the column.
def _numbers() -> dict[str, str]:
    names = ("pid", *COUNTERS)
    return {name: rf"(?P<{name}>-?\d++)" for name in names} | {
        "_": r"\s*+",
        "dash": r"(?:[-\u2010-\u2015\u2212]|\\xe2\\x80\\x9[0-5]|\u00e2\u20ac[\u201c\u201d])",
    }


def _expand(pattern: str, words: Mapping[str, str], depth: int = 5) -> str:
    for _ in range(depth):
        if not _WORD.search(pattern) or len(pattern) > _LONGEST_PATTERN:
            break
        pattern = _WORD.sub(lambda match: words[match[1]], pattern)
    return pattern


def _compile(pattern: str, words: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile(_expand(pattern, words), re.ASCII | re.DOTALL)


def _read_file(path: Path, words: Mapping[str, str], known: Sequence[Dialect]) -> list[Dialect]:
    data = _parse_file(path)
    if unknown := set(data) - {"dialect", "words"}:
        raise DialectError(
            f"{path}: {_any(unknown)!r} is not known", "name a table [[dialect]] or [words]"
        )
    words = {**words, **_own_words(path, data.get("words", {}), words)}
    tables = data.get("dialect", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DialectError(f"{path}: dialect is no list of tables", "write [[dialect]] above each")
    if len(tables) > MOST_DIALECTS:
        raise DialectError(
            f"{path}: more than {MOST_DIALECTS} dialects", "join those that are alike"
        )
    names = {dialect.name: dialect.origin for dialect in known}
    dialects = []
    for number, table in enumerate(tables, 1):
        dialect = _read_dialect(path, number, table, words)
        if dialect.name in names:
            raise DialectError(
                f"{path}: dialect {dialect.name!r}: {names[dialect.name]} has one of that name",
                "give it another name",
            )
        names[dialect.name] = str(path)
        dialects.append(dialect)
    return dialects


def _parse_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DialectError(
            f"{path}: {error.strerror}", "see $LOGTRACE_DIALECTS and the file's permissions"
        ) from None
    except UnicodeDecodeError as error:
        raise DialectError(f"{path}: no UTF-8 at byte {error.start}", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise DialectError(
            f"{path}: no TOML: {error}", "write patterns between single quotes: start = '...'"
        ) from None
    except RecursionError:
        raise DialectError(f"{path}: no TOML: nested too deeply", "write it flat") from None


def _own_words(path: Path, table: object, words: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(table, dict):
        raise DialectError(f"{path}: words is no table", "write [words] above them")
    for name, value in table.items():
        if not isinstance(value, str) or not re.fullmatch(r"[a-z_]+", name) or name in words:
            raise DialectError(
                f"{path}: the word {name!r} can't be defined",
                "name it in lower-case letters, not as one that is built in, and give it a text",
            )
    return table


def _read_dialect(
    path: Path, number: int, table: Mapping[str, Any], words: Mapping[str, str]
) -> Dialect:
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DialectError(
            f"{path}: dialect {number} has no name", 'write name = "...", letters, digits, . _ + -'
        )
    where = f"{path}: dialect {name!r}"
    if unknown := set(table) - _SETTINGS - set(ADDED_KINDS):
        raise DialectError(
            f"{where}: {_any(unknown)!r} is not known",
            f"it may have {', '.join(ADDED_KINDS)}, cumulative",
        )
    cumulative = table.get("cumulative")
    if not isinstance(cumulative, bool | None):
        raise DialectError(
            f"{where}: cumulative is neither true nor false", "write cumulative = true"
        )
    kinds = [kind for kind in ADDED_KINDS if kind in table]
    if not kinds:
        raise DialectError(f"{where}: it has no pattern", f"give one of {', '.join(ADDED_KINDS)}")
    patterns = {kind: _checked(f"{where}, {kind}", kind, table[kind], words) for kind in kinds}
    return Dialect(name, patterns, cumulative, str(path))


def _checked(where: str, kind: Kind, pattern: object, words: Mapping[str, str]) -> re.Pattern[str]:
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _LONGEST_PATTERN:
        raise DialectError(f"{where}: the pattern is no text, or empty, or too long", "shorten it")
    if unknown := set(_WORD.findall(pattern)) - set(words):
        raise DialectError(
            f"{where}: there is no word {{{_any(unknown)}}}",
            "define it in [words], or take one of " + ", ".join(sorted(words)),
        )
    try:
        with warnings.catch_warnings(action="error"):
            regex = _compile(pattern, words)
    except (re.error, OverflowError, RecursionError, KeyError, Warning) as error:
        raise DialectError(f"{where}: no regular expression: {error}", "mend the pattern") from None
    if unknown := set(regex.groupindex) - GROUPS[kind]:
        raise DialectError(
            f"{where}: no column for the group {_any(unknown)!r}",
            "name groups " + (", ".join(sorted(GROUPS[kind])) or "not at all"),
        )
    if regex.groups != len(regex.groupindex):
        raise DialectError(f"{where}: a group has no name", "write (?:...) for what is no column")
    if kind in ("start", "end") and "pid" not in regex.groupindex:
        raise DialectError(f"{where}: it has no group pid", r"put {pid} where the number stands")
    if regex.fullmatch(""):
        raise DialectError(f"{where}: it fits an empty line", "put in words that the line has")
    if reason := slow(regex.pattern):
        raise DialectError(
            f"{where}: {reason}", "make the inner repetition possessive, as in \\s*+"
        )
    return regex


def _any(names: Iterable[str]) -> str:
    return min(names)


def slow(pattern: str) -> str | None:
    """Say why a pattern could take very long on some line.

    Parameters
    ----------
    pattern
        A regular expression that compiles.

    Returns
    -------
    str or None
        None if nothing is known against it. Found are repetitions within repetitions and
        alternatives within repetitions, which may take exponential time, and more than two
        repetitions of any character, unless they are possessive or atomic.
    """
    parsed = regex_parser.parse(pattern, re.ASCII | re.DOTALL)
    if _nested(parsed, repeated=False):
        return "a repetition within a repetition can take exponential time"
    if _count_free(parsed) > _FREE_REPEATS:
        return f"more than {_FREE_REPEATS} repetitions of any character can take very long"
    return None


_BACKTRACKING = (opcodes.MAX_REPEAT, opcodes.MIN_REPEAT)
_MANY = 20  # a repetition up to here, within another, is no danger in practice


# What is atomic or possessive is never tried another way once it has matched.
def _nested(items: Any, *, repeated: bool) -> bool:
    for code, value in items:
        if code in _BACKTRACKING:
            unbounded = value[1] > _MANY
            if repeated and (unbounded or value[0] != value[1]):
                return True
            if _nested(value[2], repeated=repeated or unbounded):
                return True
        elif code is opcodes.POSSESSIVE_REPEAT:
            if _nested(value[2], repeated=False):
                return True
        elif code is opcodes.BRANCH:
            if repeated and _overlap(value[1]):
                return True
            if any(_nested(branch, repeated=repeated) for branch in value[1]):
                return True
        else:
            inner = repeated and code is opcodes.SUBPATTERN
            if any(_nested(part, repeated=inner) for part in _parts(code, value)):
                return True
    return False


# Alternatives of a repetition are harmless where the next character decides between them.
def _overlap(branches: Any) -> bool:
    beginnings = [branch[0] if len(branch) else None for branch in branches]
    literals = [item[1] for item in beginnings if item and item[0] is opcodes.LITERAL]
    return len(literals) != len(branches) or len(set(literals)) != len(literals)


def _count_free(items: Any) -> int:
    count = 0
    for code, value in items:
        if code in _BACKTRACKING and value[1] > 1000 and value[2][0][0] is opcodes.ANY:
            count += 1
        elif code is opcodes.BRANCH:
            count += max(_count_free(branch) for branch in value[1])
        elif code not in (opcodes.ASSERT, opcodes.ASSERT_NOT):  # tried once each
            count += sum(_count_free(part) for part in _parts(code, value))
    return count


# The patterns inside one item of a parsed pattern.
def _parts(code: Any, value: Any) -> list[Any]:
    if code is opcodes.SUBPATTERN:
        return [value[3]]
    if code is opcodes.ATOMIC_GROUP:
        return [value]
    if code in (opcodes.ASSERT, opcodes.ASSERT_NOT):
        return [value[1]]
    if code in (*_BACKTRACKING, opcodes.POSSESSIVE_REPEAT):
        return [value[2]]
    if code is opcodes.GROUPREF_EXISTS:
        return [part for part in value[1:] if part]
    return []
