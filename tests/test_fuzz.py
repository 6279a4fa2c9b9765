"""What the fuzzer of logs starts from: it finds nothing there yet, and has logs of every form."""

import pytest
from fuzz.both_ways import CORPUS, FORCED, assert_can_be_shown, check, rows, taken_apart

from logtrace.source.forms import FORMS, recognise

SEEDS = sorted(CORPUS.iterdir())
OF_A_FORM = [path for path in SEEDS if path.name.startswith("form-")]


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.name)
def test_the_fuzzer_finds_nothing_in_what_it_starts_from(path):
    check(path.read_bytes())


@pytest.mark.parametrize("path", OF_A_FORM, ids=lambda path: path.name)
def test_a_log_of_a_form_has_a_run_that_is_read_in_its_form(path):
    form, _, log = taken_apart(path.read_bytes())
    assert form == recognise(log.splitlines())
    assert "complete" in [run["status"] for run in rows(log, form)[0]]


def test_every_form_is_forced_and_has_a_log_that_the_fuzzer_starts_from():
    assert set(FORCED) == {None, *FORMS}
    assert {taken_apart(path.read_bytes())[0] for path in OF_A_FORM} == set(FORCED)
    assert all(path.read_bytes()[0] % 16 < len(FORCED) for path in SEEDS)


@pytest.mark.parametrize("row", [{"file": "a\nb"}, {"lines": "a\x1b\nb"}, {"report": "a\nb\x07"}])
def test_the_fuzzer_finds_what_a_terminal_would_obey_in_each_line(row):
    with pytest.raises(AssertionError, match="can't be shown"):
        assert_can_be_shown(row)
