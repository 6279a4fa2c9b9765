import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_samples import end, log, lost, ops, record, start, stats

from logtrace import cumulative, dialects, schema
from logtrace.grammar import Grammar
from logtrace.runs import RunAssembler

OWNER = "2021202045"


@pytest.fixture(scope="module")
def never_reset(tmp_path_factory):
    """Give a grammar that knows that the module of an owner never sets its counters back."""
    path = tmp_path_factory.mktemp("dialects") / "d.toml"
    contract = next(each for each in dialects.load() if each.name == "contract")
    patterns = {kind: contract.patterns[kind].pattern for kind in ("start", "stats", "ops", "end")}
    lines = [f"{kind} = '''{pattern}'''" for kind, pattern in patterns.items()]
    load = "load = 'iotracehooking loaded.*'\n"
    path.write_text("\n".join(["[[dialect]]", 'name = "kim"', "cumulative = true", load, *lines]))
    return Grammar(dialects.load([path]))


def run(pid, times):
    """Give a run's lines, whose counters are totals of as many runs of the lab's test."""
    counters = ops(*(times * each for each in (1, 1, 4, 5, 9)))
    return [start(pid), stats(20 * times, 26 * times), counters, end(pid)]


def read(known, *lines):
    assembler = RunAssembler("lab1", known=known)
    rows = assembler.feed(log(*lines))
    rows.add(assembler.finish())
    return rows.runs


def counters(row, before=""):
    return tuple(row[f"{before}{name}"] for name in schema.COUNTERS)


ONE = (20, 26, 1, 1, 4, 5, 9)
NONE = (None,) * 7


def test_of_totals_only_the_difference_is_a_run_s_own(never_reset):
    first, *others = read(never_reset, *run(1, 1), *run(2, 2), *run(3, 5))
    assert (first["status"], counters(first), counters(first, "raw_")) == ("ambiguous", NONE, ONE)
    assert "those before it are not known" in first["note"]
    assert [counters(row) for row in others] == [ONE, tuple(3 * each for each in ONE)]
    assert [counters(row, "raw_")[0] for row in others] == [40, 100]
    assert [(row["status"], row["note"]) for row in others] == [("complete", None)] * 2


def test_a_load_line_says_that_the_module_begins_at_zero(never_reset):
    rows = read(never_reset, *run(1, 5), "iotracehooking loaded (ready)", *run(2, 6), *run(3, 7))
    assert [counters(row) for row in rows] == [NONE, tuple(6 * each for each in ONE), ONE]


def test_calls_that_become_fewer_show_that_the_module_was_loaded_anew(never_reset):
    assert [counters(row) for row in read(never_reset, *run(1, 5), *run(2, 1))] == [NONE, ONE]


def test_behind_a_loss_totals_are_not_known(never_reset):
    rows = read(never_reset, *run(1, 1), *run(2, 2), lost(3), *run(3, 3))
    assert [row["status"] for row in rows] == ["ambiguous", "complete", "ambiguous"]
    assert counters(rows[2]) == NONE


def test_totals_do_not_go_on_when_the_machine_is_started_anew(never_reset):
    def booted(text):
        return lambda seq: record(text, seq, boot_id="b2")

    first, second, third = read(never_reset, *run(1, 5), *map(booted, [*run(2, 7), *run(3, 9)]))
    assert [counters(row) for row in (first, second)] == [NONE, NONE]
    assert counters(third) == tuple(2 * each for each in ONE)


def test_runs_that_overlap_have_no_totals_of_their_own(never_reset):
    two, three = run(2, 2), run(3, 3)
    rows = read(never_reset, *run(1, 1), two[0], three[0], *two[1:], *three[1:])
    assert [counters(row) for row in rows] == [NONE, ONE, NONE]
    assert "another was open beside it" in rows[2]["note"]


def test_without_such_a_dialect_values_are_as_printed():
    rows = read(None, *run(1, 1), *run(2, 2))
    assert [row["read_bytes"] for row in rows] == [20, 40]
    assert not any("raw_read_bytes" in row for row in rows)


@given(st.lists(st.integers(1, 5), max_size=8), st.lists(st.integers(0, 40), max_size=3))
def test_totals_are_the_same_wherever_reading_stops_and_goes_on(never_reset, adds, cuts):
    total, lines = 0, []
    for pid, times in enumerate(adds):
        total += times
        lines += ["usb 1-1", *run(pid + 1, total)]
    items = log(*lines)
    found = []
    needed = seen = -1
    for stop in [*sorted(cuts), len(items)]:
        assembler = RunAssembler("lab1", seen, never_reset)
        part = [item for item in items[:stop] if item.seq > needed]
        found += assembler.feed(part).runs
        seen = max([seen, *(item.seq for item in part)])
        resume = assembler.resume_before
        needed = seen if resume is None else min(seen, resume - 1)
    assert found == read(never_reset, *lines)


def test_a_module_whose_counters_only_grow_is_suspected():
    rows = read(None, *run(1, 1), *run(2, 2), *run(3, 3))
    assert cumulative.suspects(rows) == [(OWNER, "contract", 3, True)]
    rows = read(None, *run(1, 1), *run(2, 3), *run(3, 7))
    assert cumulative.suspects(rows) == [(OWNER, "contract", 3, False)]


@pytest.mark.parametrize("times", [[1, 2], [1, 1, 1], [1, 2, 2], [1, 3, 2], [1, 2, 3, 1]])
def test_a_module_of_which_too_little_or_something_else_was_seen_is_not_suspected(times):
    lines = [line for pid, each in enumerate(times, 1) for line in run(pid, each)]
    assert cumulative.suspects(read(None, *lines)) == []


def test_a_module_that_is_known_is_not_suspected(never_reset):
    rows = read(never_reset, *run(1, 1), *run(2, 3), *run(3, 7), *run(4, 14))
    assert cumulative.suspects(rows) == []
