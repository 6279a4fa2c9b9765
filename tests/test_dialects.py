import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logtrace import dialects, schema
from logtrace.errors import DialectError
from logtrace.grammar import Grammar

OF_A_LAB = r"""
[words]
who = '<{_}(?P<owner>\d{10}){_}>'

[[dialect]]
name = "lab7"
start = 'tracer {pid} on'
stats = '{who} (?P<comm>\S+) moved {read_bytes}/{written_bytes}'
end = 'tracer {pid} off'
load = 'tracer loaded.*'
cumulative = true
"""


def understand(path, text=OF_A_LAB):
    path.write_text(text)
    return Grammar(dialects.load([path]))


def refused(tmp_path, text):
    """Give what is said of a file that makes no sense."""
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(DialectError) as caught:
        dialects.load([path])
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dialect(line, name="mine"):
    return f"[[dialect]]\nname = '{name}'\n{line}\n"


def test_a_dialect_of_a_file_is_understood_before_those_that_are_built_in(tmp_path):
    grammar = understand(tmp_path / "lab.toml")
    event = grammar.parse("tracer 7 on")
    assert (event.kind, event.dialect, event.values) == ("start", "lab7", {"pid": 7})
    assert grammar.parse("< 2021202045 > test moved 20/-3").values == {
        "owner": "2021202045",
        "comm": "test",
        "read_bytes": 20,
        "written_bytes": -3,
    }
    assert grammar.parse("tracer loaded: 1.0").kind == "load"
    contract = grammar.parse("OS Assignment2 ftrace [7] Start")
    assert contract.dialect == "contract"
    assert contract.rank > event.rank
    assert (event.cumulative, contract.cumulative) == (True, False)


def test_files_add_to_each_other_in_their_order(tmp_path):
    paths = []
    for name in "ab":
        paths.append(tmp_path / name)
        paths[-1].write_text(dialect("start = 'go {pid}'", name))
    assert [each.name for each in dialects.load(paths)][:3] == ["a", "b", "contract"]
    assert Grammar(dialects.load(paths)).parse("go 7").dialect == "a"


def test_users_have_three_places_for_their_files():
    everything, required = dialects.places(
        {"XDG_CONFIG_HOME": "/home/kim/.cfg", "LOGTRACE_DIALECTS": "/srv/d.toml"}
    )
    assert [str(path) for path in everything] == [
        "/srv/d.toml",
        "/home/kim/.cfg/logtrace/dialects.toml",
        "/etc/logtrace/dialects.toml",
    ]
    assert [str(path) for path in required] == ["/srv/d.toml"]
    without, none = dialects.places({})
    assert (len(without), none) == (2, [])


def test_a_file_that_is_named_must_exist_and_others_need_not(tmp_path):
    missing = tmp_path / "none.toml"
    assert dialects.load([missing]) == dialects.load()
    with pytest.raises(DialectError, match=r"none\.toml: No such file"):
        dialects.load([missing], [missing])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[dialect]\n", "no TOML: "),
        ('[[dialect]]\nname = "mine"\nstart = "\\d {pid}"', "single quotes"),
        ("dialect = 1", "write [[dialect]]"),
        ("[other]\na = 1", "'other' is not known"),
        ("[words]\n_ = 'x'", "the word '_' can't be defined"),
        ("[[dialect]]\nstart = 'go {pid}'", "dialect 1 has no name"),
        (dialect("starts = 'go {pid}'"), "dialect 'mine': 'starts' is not known"),
        (dialect("trace = 'go'"), "'trace' is not known"),
        (dialect(""), "it has no pattern"),
        (dialect("cumulative = 1\nstart = 'go {pid}'"), "cumulative = true"),
        (dialect("start = 7"), "dialect 'mine', start: the pattern is no text"),
        (dialect("start = 'go {pid}('"), "dialect 'mine', start: no regular expression: missing )"),
        (dialect("start = '{pids}'"), "there is no word {pids}"),
        (dialect("start = 'go'"), "it has no group pid"),
        (dialect("stats = '(?P<process>.*) x'"), "no column for the group 'process'"),
        (dialect("start = 'go {pid} (a|b)'"), "a group has no name"),
        (dialect("ops = '.*'"), "it fits an empty line"),
        (dialect("start = 'go {pid}'") * 2, "has one of that name"),
        (dialect("start = 'go {pid}'", "lab"), "dialect 'lab': logtrace has one of that name"),
        (dialect("ops = '(?:a+)+b'"), "exponential time"),
        (dialect("ops = 'x(?:a|aa)*b'"), "exponential time"),
        (dialect("ops = 'x(?:a|.)*b'"), "exponential time"),
        (dialect(r"ops = 'x(?:\s*,?\s*a)*b'"), "exponential time"),
        (dialect("ops = '.*a.*b.*c'"), "very long"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_name_and_a_remedy(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_a_file_that_is_no_text_or_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DialectError, match="UTF-8"):
        dialects.load([path])
    with pytest.raises(DialectError, match="Is a directory"):
        dialects.load([tmp_path], [tmp_path])


@pytest.mark.parametrize(
    "pattern",
    [r"(?:a++)+b", r"(?:\s*+a)*b", "(?:a|b)*c", "(?:(?>a+)b)*", "(?:[^]]{3})*", ".*a.*b", "a{1,9}"],
)
def test_a_pattern_that_decides_at_each_character_is_taken(pattern):
    assert dialects.slow(pattern) is None


@given(st.text(max_size=60) | st.text("(?P<pid>\\d+*+{}[]|.)", max_size=30))
def test_any_text_is_a_pattern_or_refused(tmp_path_factory, pattern):
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"any-{os.getpid()}.toml"
    quoted = "".join(f"\\U{ord(c):08x}" for c in pattern if not "\ud800" <= c <= "\udfff")
    path.write_text(dialect(f'ops = "{quoted}"'), "utf-8")
    try:
        (mine, *_) = dialects.load([path])
    except DialectError:
        return
    assert mine.name == "mine"


def test_groups_are_columns():
    assert dialects.GROUPS["ops"] == set(schema.COUNTERS)
    for names in dialects.GROUPS.values():
        assert names <= set(schema.RUNS.names)


def test_a_place_that_can_not_be_looked_into_has_no_dialects():
    # as another user's home, which root that runs the tests may look into
    places = dialects.places({"XDG_CONFIG_HOME": "/" + "too-long" * 40})
    assert dialects.load(*places) == dialects.load()
