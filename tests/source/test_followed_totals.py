"""Totals of a module of which a dialect says that it never resets, over rotations and restarts."""

import pytest
from log_samples import end, ops, start, stats
from memory_store import MemoryStore, watch_once

from logtrace import dialects, grammar

TIMES = [1, 2, 5, 7, 8]


@pytest.fixture
def never_reset(tmp_path, monkeypatch):
    path = tmp_path / "d.toml"
    contract = next(each for each in dialects.load() if each.name == "contract")
    lines = [f"{kind} = '''{pattern.pattern}'''" for kind, pattern in contract.patterns.items()]
    path.write_text("\n".join(["[[dialect]]", 'name = "kim"', "cumulative = true", *lines[:4]]))
    known = grammar.Grammar(dialects.load([path]))
    monkeypatch.setattr(grammar, "default", lambda: known)


def lines_of(pid, times):
    counters = ops(*(times * each for each in (1, 1, 4, 5, 9)))
    lines = [start(pid), stats(20 * times, 26 * times), counters, end(pid)]
    return [f"[{100 + pid:5d}.00000{at}] {line}\n".encode() for at, line in enumerate(lines)]


LINES = [line for pid, times in enumerate(TIMES) for line in lines_of(pid, times)]


def rotate(path):
    for number in (3, 2, 1):
        old = path.with_name(f"kern.log.{number}")
        if old.exists():
            old.rename(path.with_name(f"kern.log.{number + 1}"))
    path.rename(path.with_name("kern.log.1"))


def followed(folder, rotations, restarts):
    folder.mkdir()
    path, store = folder / "kern.log", MemoryStore()
    for number, line in enumerate(LINES):
        with path.open("ab") as file:
            file.write(line)
        if number in restarts:
            watch_once(store, path)
        if number in rotations:
            rotate(path)
    if path.exists():
        watch_once(store, path)
    return [
        (row["pid"], row["open_calls"], row["raw_open_calls"], row["status"])
        for row in store.rows["runs"]
    ]


OWN = [
    (0, None, 1, "ambiguous"),
    (1, 1, 2, "complete"),
    (2, 3, 5, "complete"),
    (3, 2, 7, "complete"),
    (4, 1, 8, "complete"),
]


@pytest.mark.parametrize("rotations", [{3}, {7, 11}, {5}, {5, 9, 13}, {7, 8}])
def test_totals_go_on_in_the_next_part_wherever_the_watch_is_started_anew(
    tmp_path, never_reset, rotations
):
    assert followed(tmp_path / "once", rotations, {0}) == OWN
    for number in range(1, len(LINES)):
        assert followed(tmp_path / str(number), rotations, {0, number}) == OWN, number
    assert followed(tmp_path / "each", rotations, set(range(len(LINES)))) == OWN
