"""Lines of a run that no dialect foresees, read by their words.

Hardly two modules print their lines alike, so a pattern a spelling is never enough. Here a
line is looked through for what it has to say (a process and a word for beginning or end, two
numbers of bytes, the numbers of calls), and it is understood if all that stands around that
is known to mean nothing: signs, brackets, units, names of modules, times. The words are in the
table ``wording`` of ``dialects.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

from logtrace.dialects import Field, Kind

DIALECT = "loose"
"""The name of the dialect that has no patterns of its own: what is read here."""

_LONGEST_ASIDE = 80  # characters behind what a line has to say, or before its calls
_MOST_WORDS = 2  # of no known meaning in a Start or End line: a program's name
_LARGEST_PID = 1 << 22
_NAMED = {"owner", "comm", "file"}  # what a line has whose numbers are told by a letter each
_FEWEST_CALLS = 3  # named in a line that may have other words as well

# Characters that are written for others, one for one; all values keep their places
_PLAIN = str.maketrans(
    "\u00a0\u3000\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\uff0f\uff1a\uff1d\uff0c\uff3b\uff3d\uff08\uff09"
    "\u201c\u201d",
    '  --------/:=,[]()""',
)
_BEFORE_NAME = re.compile(r"\s*+(?:[|:,>-]{1,2}\s++)?/?\s*+", re.ASCII)
_FROM_ONE_TO_ANOTHER = re.compile(r"[\])}>][^\[({<]*+[\[({<]")
_WORD = re.compile(r"[a-z_]\w*+", re.ASCII | re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_ID = re.compile(r"\D{0,2}\d{5,12}", re.ASCII)
_SURE_TITLE = re.compile(r"\d|trac|\Aos|\Aoperating", re.IGNORECASE)
_NO_NUMBER = re.compile(r"\d|[\[({<]\s*+\w")
_BROKEN_DASH = re.compile(r"\\xe2\\x80\\x9[0-5]|\\xe2\\x88\\x92|\u00e2\u20ac[\u201c\u201d]")
_COLOUR = re.compile(r"(?:\x1b|\\x1b)\[[\d;]{0,9}m")


def _plain(line: str) -> str:
    line = _BROKEN_DASH.sub(lambda dash: "-".ljust(len(dash[0])), line)
    if not line.isascii():
        line = line.translate(_PLAIN)
    return _COLOUR.sub(lambda colour: " " * len(colour[0]), line).rstrip()


# A value: a sign and brackets are its own, a minus touches it behind another sign or a blank.
_VALUE = r"""
    (?:\(\)(?=\s*+[\[:=\d-])|[\])}>"'])? \s*+
    (?:(?P<sign>--(?!\d)|[:=]=?>?|->|[~-]|[x*\#](?=\d))\s*+)?
    (?:{null}|(?P<bracket>[\[({<"']{1,2}\s*+)?(?:(?P<number>-?\d++)(?![.,]?\d)|{null}|(?!-?\d)))
"""
_CALLS = ("open", "close", "read", "write", "lseek")
_MARKS = "[](){}<>\"'"
_OPENED = r"[\[({<\"']"
_CLOSED = r"[\])}>\"']"


class Wording:
    """What lines of a run are known by.

    Parameters
    ----------
    words
        The table ``wording``: patterns of words.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        flags = re.ASCII | re.IGNORECASE | re.DOTALL | re.VERBOSE

        def pattern(text: str) -> re.Pattern[str]:
            named = {f"{{{name}}}": f"(?:{word})" for name, word in words.items()}
            text = text.replace("{value}", _VALUE)
            for name, word in named.items():
                text = text.replace(name, word)
            return re.compile(text, flags)

        # numbers behind a name, or before it
        moved = r"(?:(?P<read>{was_read})|(?P<written>{was_written}))"
        called = "(?:" + "|".join(f"(?P<{name}>{{{name}}})" for name in _CALLS) + ")"
        self._bytes = pattern(
            rf"""(?<![^\W_]) (?:{{of_bytes}}[\s_]*+){{0,2}} {moved} (?:[\s_(]*+{{of_bytes}}\)?)?
            (?![a-z_]) {{value}}"""
        )
        self._moved = pattern(
            rf"(?<![\w.])(?P<number>-?\d++)\s*+(?:{{of_bytes}}\s*+)?{moved}(?![a-z_\d])"
        )
        self._letters = pattern(
            r"(?<![^\W_])(?:(?P<read>r)|(?P<written>w))(?![a-z_])(?=[\s:=\[({<~-]){value}"
        )
        self._calls = pattern(
            rf"""(?<![^\W_]) (?:\w{{1,20}}?_)?? {called} (?:[\s_]?{{of_calls}})? (?![a-z_])
            {{value}}"""
        )
        self._counted = pattern(rf"(?<![\w.])(?P<number>-?\d++)\s*+x?\s*+{called}(?![a-z_\d])")
        self._scaled = pattern(r"\s*+[kmgt]i?b(?![a-z_])")
        # what may stand before a line, between two numbers, and behind the last one
        self._tags = pattern(r"\s*+(?:{tag}\s*+){0,4}")
        self._between = pattern(
            r"(?:\W|\d++|{unit}(?![a-z_])|and\b|[a-z]\w{1,15}\s*+[\[(:=]\s*+(?=\d)){0,40}"
        )
        unit = (
            rf"(?:\s*+{_CLOSED}){{0,2}}(?:\s*+[\[(]?(?:\d++(?:\.\d++)?\s*+)?{{unit}}[\])]?(?![a-z_]))?"
            rf"(?:[^\x00-\x7f]{{1,8}})?(?:\s*+{_CLOSED}){{0,2}}"
        )
        self._tail = pattern(rf"{unit}(?P<more>(?:[\s,;:/|(\[.#*=~<>+-].{{0,80}})?)")
        self._bare_tail = pattern(rf"{unit}[\s.]*+")
        # a stats line up to its numbers: owner, file and keyword; the program is between them
        self._owner = pattern(
            r"""(?:{owner}[\s:=.\#]*+)?(?:\[\s*+(?:{owner}\s*+[:=.\#]\s*+|\#)?(?P<owner>[^\s\[\]](?:[^\[\]]{0,30}?[^\s\[\]])?)\s*+\]
            |[({<]\s*+(?:{owner}\s*+[:=.\#]\s*+|\#)?(?P<other>[^\s\[\](){}<>]{1,32})\s*+[)}>]
            |(?P<number>\d{5,12})(?=[\s:,])) [\s:,]*+ (?:-\s++)?"""
        )
        boxed = r"[\[(]\s*+(?P<boxed>{stats})\s*+[\])]"
        time = r"\d++(?:\.\d++)?\s*+"
        self._keyword = pattern(
            rf"""(?<![\w/.]) (?:(?:(?P<word>(?:i/?o\s)?(?!x\b)[a-z]{{1,16}})|{boxed})\s*+:?\s*+)?
            (?P<mark>{_OPENED}\s*+(?:[^\s\w]|\w|{{mark}})?\s*+[\])}}>]|(?<=\s)x)? [\s:,;|>-]*+
            (?:(?:time|elapsed)[\s:=-]{{0,3}}{time}{{unit}}?|{time}{{unit}})?
            [\s:,;/|>-]*+[\[({{]?\s*+\Z"""
        )
        self._stat = pattern(r"(?:i/?o\s)?{stats}")
        self._file = pattern(
            rf"(?<![\w/.]){{file}}\s*+(?:[:=-]\s*+)?(?:(?P<bracket>{_OPENED})(?P<name>.*){_CLOSED}"
            r"|(?P<bare>[^\s\[\](){}<>,;]{0,255}?))[\s,;:/|-]*+\Z"
        )
        self._file_behind = pattern(
            rf"(?<![\w/.]){{file}}\s*+{_OPENED}(?P<name>[^\[\]]*+)[\])}}>]\s*+\Z"
        )
        # the first of two lines
        self._name = pattern(
            r"[\[(]\s*+(?P<owner>\d{5,12})\s*+[\])](?P<comm>[^\[\]]{1,40}?)(?<![\w/.])file"
            r"\s*+\[(?P<file>[^\[\]]*+)\][\s,;:/|-]*+"
        )
        self._unnamed = pattern(r"\[(?P<name>.*)\][\s,;:/|-]*+\Z")
        # what shows that another line begins, or this one goes on
        self._another = pattern(
            r"assignment|ftrace\s*+\[|(?:{open}|{close}|{read}|{write}|{lseek})\W?\Z"
            r"|\A\W*+(?:o|op|ope|os|a|as|ass\w{0,7}|f|ft|ftr\w{0,3}|c|cl|clo|clos|r|re|rea)[\[({<]?\Z"
        )
        self._call = pattern(r"{open}|{close}|{read}|{write}|{lseek}")
        self._call_like = pattern(r"(?:{open}|{close}|{read}|{write}|{lseek})\s*+[\[({<]")
        # Start and End lines
        self._key = pattern(
            r"""(?<![\w.])(?:(?P<begins>{begins})|(?P<ends>{ends})|(?P<enters>{enters})|(?P<leaves>{leaves}))
            (?![\w-]|\.\w)"""
        )
        self._titled = pattern(r"(?<![a-z]){title}")
        self._untitled = pattern(r"\w{0,16}ftrace\w{0,16}(?:\(\))?(?![.\w-])")
        self._program = pattern(r"[\w.@/-]{1,40}\[\d++\]:")
        label = r"(?<![a-z]){pid}[\s:=\#.]*+"
        inside = r"(?:{pid}[\s:=\#.]*+)?(?P<pid>-?\d++)?\s*+(?:[\s:,/][\w./:-]{0,24})?"
        self._named_pid = pattern(
            rf"{label}(?:[\[({{<]\s*+)?(?P<pid>-?\d++)(?:\s*+[\])}}>])?(?![.\w])"
        )
        self._bracketed_pid = pattern(rf"[\[({{<]\s*+{inside}\s*+[\])}}>]")
        self._bare_pid = pattern(r"(?<![\w.\x00])\#?(?P<pid>\d++)(?![.\w])(?!\s*+{unit}(?![a-z_]))")
        self._aside = pattern(r"{aside}|{unit}|{pid}|\w{0,16}trac\w{0,16}|kern_[a-z]{4,7}|os")
        self._of_another = pattern(
            r"{open}|{close}|{read}|{write}|{lseek}|{was_written}|file|stats"
        )
        self._readers: Mapping[Kind, Callable[[str], list[Field] | None]] = {
            "start": lambda line: self._read_end("start", line),
            "stats": self._read_stats,
            "ops": self._read_calls,
            "end": lambda line: self._read_end("end", line),
        }

    def read(self, kind: Kind, line: str) -> list[Field] | None:
        """Read a line of one kind.

        Parameters
        ----------
        kind
            One of ``dialects.KINDS``.
        line
            Without blanks at its end.

        Returns
        -------
        list of Field
            Where its values stand; None if it is no such line.
        """
        return self._readers[kind](_plain(line))

    # Start and End: the exercise or the call, a word for beginning or end, a process, in any order.
    def _read_end(self, kind: Kind, line: str) -> list[Field] | None:
        title = self._titled.search(line)
        titled = title is not None
        title = title or self._untitled.search(line)
        if title is None or "\n" in line.strip() or not (titled or not self._program.match(line)):
            return None
        text = _blanked(line, title.span())
        if self._titled.search(text):
            return None  # two lines
        keys = [key for key in self._key.finditer(text) if titled or key["begins"] or key["ends"]]
        if len(keys) != 1 or (kind == "start") is not bool(keys[0]["begins"] or keys[0]["enters"]):
            return None
        (key,) = keys
        text = _blanked(text, key.span())
        pid = self._find_pid(text, title, key, titled=titled)
        if not _SURE_TITLE.search(title[0]):
            return None
        rest = _blanked(text, pid.span()) if pid else text
        if pid is None and _NO_NUMBER.search(rest):
            return None  # something else stands where the number should
        rest = rest[self._tags.match(rest).end() :]  # type: ignore[union-attr]  # it fits nothing, too
        words = [word for word in _WORD.findall(rest) if not self._aside.fullmatch(word)]
        if pid is None and not (titled and (key["begins"] or key["ends"])):
            return None
        if (
            len(words) > (_MOST_WORDS if titled and pid else 0)
            or len(rest.strip()) > 2 * _LONGEST_ASIDE
        ):
            return None
        if any(self._of_another.fullmatch(word) for word in words):
            return None
        named = pid is not None and pid["pid"] is not None
        return [Field("pid", True, *pid.span("pid"))] if pid and named else []

    # A process id is named so, or stands in brackets, or stands alone beside the other words.
    def _find_pid(
        self, text: str, title: re.Match[str], key: re.Match[str], *, titled: bool
    ) -> re.Match[str] | None:
        for form in (self._named_pid, self._bracketed_pid):
            found = list(form.finditer(text))
            if len(found) > 1:
                found = [each for each in found if _may_be_pid(each["pid"])] or found
            if not titled:
                found = [each for each in found if each.start() >= title.end()]
            before = [each for each in found if each.end() <= key.start()]
            if found:
                return before[-1] if before else found[0]
        bare = [each for each in self._bare_pid.finditer(text) if _may_be_pid(each["pid"])]
        return bare[0] if titled and bare else None

    # Bytes, and before them owner, program, file and keyword.
    def _read_stats(self, line: str) -> list[Field] | None:
        items = _valued(self._bytes.finditer(line)) or self._numbers_before(self._moved, line)
        if not items:
            return self._read_letters(line) or self._read_name(line)
        return self._read_moved(line, items)

    # A letter tells little: all else of the line must be there.
    def _read_letters(self, line: str) -> list[Field] | None:
        items = _valued(self._letters.finditer(line))
        if len(items) != 2 or not all(item["number"] for item in items):
            return None
        fields = self._read_moved(line, items)
        return fields if fields and {field.name for field in fields} >= _NAMED else None

    def _read_moved(self, line: str, items: Sequence[re.Match[str]]) -> list[Field] | None:
        if len(items) < 2:
            return None
        first, second = items[-2:]
        if (first["read"] is None) is (second["read"] is None):
            return None
        numbers = [item.end("number") for item in (first, second) if item["number"]]
        if any(self._scaled.match(line, stop) for stop in numbers):
            return None  # a number of something else than bytes
        tail = line[second.end() :]
        if not self._is_between(line, first, second) or self._tells_more(tail):
            return None
        if second["number"] is None and _DIGIT.search(tail):
            return None
        head = self._read_head(line, first.start(), exact=_exact(first, second))
        if head is None:
            return None
        if not any(field.name == "file" for field in head):
            behind = self._file_behind.search(line, second.end())
            head += [Field("file", False, *behind.span("name"))] if behind else []
        if len(items) > 2 and not (_within(head, items[:-2]) and self._bare_tail.fullmatch(tail)):
            return None  # a name may forge what looks like numbers of bytes
        read, written = (first, second) if first["read"] else (second, first)
        for name, item in (("read_bytes", read), ("written_bytes", written)):
            if item["number"] is not None:
                head.append(Field(name, True, *item.span("number")))
        return head

    # The first half of a stats line that is printed as two.
    def _read_name(self, line: str) -> list[Field] | None:
        found = self._name.fullmatch(line)
        if found is None:
            return None
        comm = _stripped(line, *found.span("comm"))
        if comm is None or comm[0] == comm[1]:
            return None
        spans = {"owner": found.span("owner"), "comm": comm, "file": found.span("file")}
        return [Field(name, False, *span) for name, span in spans.items()]

    # Owner, program and file; None if what stands there may be before any other numbers.
    def _read_head(self, line: str, stop: int, *, exact: bool) -> list[Field] | None:
        tags = self._tags.match(line, 0, stop)
        begin = tags.end() if tags else 0
        owner = self._owner.match(line, begin, stop)
        begin = owner.end() if owner else begin
        keyword = self._find_keyword(line, begin, stop)
        end = keyword.start() if keyword else stop
        named = self._file.search(line, begin, end)
        place = named or self._unnamed.search(line, begin, end)
        comm = _stripped(line, begin, place.start() if place else end)
        if comm is None:
            return None
        known = keyword is not None and self._is_stat(keyword)
        marked = keyword is not None and bool(keyword["mark"])
        has_id = owner is not None and _ID.fullmatch(line, *_span(owner)) is not None
        evidence = known + marked + bool(named) + has_id
        if not evidence or not (exact or (known and marked) or evidence > 2):
            return None
        fields = []
        if owner is not None:
            if comm[0] == comm[1] and not (place or has_id):
                return None  # what the name of a file or a keyword begins
            fields.append(Field("owner", False, *_span(owner)))
        elif not (known and marked and exact and (named or begin == end)):
            return None
        if owner is not None or comm[0] < comm[1]:
            fields.append(Field("comm", False, *comm))
        if place:
            span = place.span("name" if place["name"] is not None else "bare")
            if _FROM_ONE_TO_ANOTHER.search(line, *span):
                return None  # rather two brackets than one that has both
            fields.append(Field("file", False, *span))
        return fields

    def _is_stat(self, keyword: re.Match[str]) -> bool:
        word = keyword["boxed"] or keyword["word"]
        return bool(word) and self._stat.fullmatch(word) is not None

    def _find_keyword(self, line: str, begin: int, stop: int) -> re.Match[str] | None:
        for found in self._keyword.finditer(line, begin, stop):
            mark = found["mark"]
            if self._is_stat(found) or (found["word"] and mark):
                return found
            if mark and mark.strip(_MARKS + " ").lower() == "x":
                return found
        return None

    def _begins_or_ends(self, text: str) -> bool:
        return any(key["begins"] or key["ends"] for key in self._key.finditer(text))

    # Whether what stands between two values means nothing.
    def _is_between(self, line: str, first: re.Match[str], second: re.Match[str]) -> bool:
        gap = line[first.end() : second.start()]
        if first["number"] is None and _DIGIT.search(gap):
            return False  # its number is one that is not understood
        return self._between.fullmatch(gap) is not None

    # Whether behind a line's own values stands what is another line's, or cut off.
    def _tells_more(self, tail: str) -> bool:
        found = self._tail.fullmatch(tail)
        if found is None:
            return True
        more = found["more"]
        return bool(_valued(self._calls.finditer(more)) or self._another.search(more))

    # Calls: numbers behind their names, or before them.
    def _read_calls(self, line: str) -> list[Field] | None:
        items = _valued(self._calls.finditer(line))
        if len(items) < _FEWEST_CALLS:
            items = self._numbers_before(self._counted, line) or items
        names = [_call_of(item) for item in items]
        if not items or len(set(names)) != len(names):
            return None
        if not all(self._is_between(line, *pair) for pair in pairwise(items)):
            return None
        head, tail = line[: items[0].start()], line[items[-1].end() :]
        if _is_bare(items[0]) and head.rstrip()[-1:].isdigit():
            return None  # a number before each name and one behind it
        if len(head) > _LONGEST_ASIDE:
            return None
        if self._tells_more(tail) or not self._is_sure_of_calls(names, items, head, tail):
            return None
        return [
            Field(f"{name}_calls", True, *item.span("number"))
            for name, item in sorted(zip(names, items, strict=True), key=_place)
            if item["number"] is not None
        ]

    # Numbers before their names: none may stand behind the last name, nor a name before them.
    def _numbers_before(self, form: re.Pattern[str], line: str) -> list[re.Match[str]]:
        items = list(form.finditer(line))
        if not items or _DIGIT.search(line, items[-1].end()):
            return []
        return [] if self._call.search(line, 0, items[0].start()) else items

    def _is_sure_of_calls(
        self, names: Sequence[str], items: Sequence[re.Match[str]], head: str, tail: str
    ) -> bool:
        if not any(item["number"] for item in items):
            return False
        tags = self._tags.match(head)
        rest = head[tags.end() if tags else 0 :].strip()
        if len(names) < _FEWEST_CALLS and "bracket" not in items[0].re.groupindex:
            return False
        if len(names) < _FEWEST_CALLS:  # one line of several that have the numbers together
            return not head.strip() and all(map(_is_named, items)) and not tail.strip("])}> \t\n")
        alone = not rest.strip(_MARKS + " \t\n,:|-")
        if len(names) < 4 and not alone:
            return False
        pairs = {"open", "close"}, {"read", "write"}
        mixed = self._begins_or_ends(head) or self._call_like.search(head)
        return any(pair <= set(names) for pair in pairs) and not mixed


def _valued(found: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    return [each for each in found if each["sign"] or each["bracket"] or each["number"]]


def _call_of(item: re.Match[str]) -> str:
    return next(name for name in _CALLS if item[name])


def _place(named: tuple[str, re.Match[str]]) -> int:
    return _CALLS.index(named[0])


# Whether a number stands in brackets behind its name, which has no prefix.
def _is_named(item: re.Match[str]) -> bool:
    start, stop = item.span(_call_of(item))
    return (
        bool(item["number"] and item["bracket"])
        and item.start() == start
        and item.string[stop] in " \t[({<"
    )


def _is_bare(item: re.Match[str]) -> bool:
    return "bracket" in item.re.groupindex and not (item["sign"] or item["bracket"])


def _exact(first: re.Match[str], second: re.Match[str]) -> bool:
    words = {(item["read"] or item["written"]).lower() for item in (first, second)}
    return words == {"read", "written"}


def _span(owner: re.Match[str]) -> tuple[int, int]:
    return owner.span(owner.lastgroup or 0)


def _within(fields: Sequence[Field], items: Sequence[re.Match[str]]) -> bool:
    names = [field for field in fields if field.name == "file"]
    return bool(names) and all(
        names[0].start <= item.start() and item.end() <= names[0].stop for item in items
    )


# The program's name, without the slash before it and the signs behind it.
def _stripped(line: str, begin: int, stop: int) -> tuple[int, int] | None:
    text = line[begin:stop]
    kept = text.rstrip(" \t\n,:;|-")
    if len(kept) > _LONGEST_ASIDE or "]" in kept.strip("[]"):
        return None
    before = _BEFORE_NAME.match(text)
    assert before is not None
    return begin + before.end(), max(begin + before.end(), stop - len(text) + len(kept))


# The same text with nothing in a place; what was there is no part of a number or a word.
def _blanked(text: str, span: tuple[int, int]) -> str:
    return text[: span[0]] + "\0" * (span[1] - span[0]) + text[span[1] :]


def _may_be_pid(number: str | None) -> bool:
    return number is None or (len(number) < 8 and int(number) <= _LARGEST_PID)
