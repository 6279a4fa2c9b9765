from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from log_samples import end, ops, record, start, stats

from logtrace.machines import MOST_IDLE, Machines
from logtrace.runs import RunAssembler


def of(host, *lines, first=0):
    return [record(line, first + n, host=host) for n, line in enumerate(lines)]


def briefs(found):
    return {host: [(run["pid"], run["status"]) for run in each.rows.runs] for host, each in found}


def test_runs_of_machines_that_speak_by_turns_are_never_joined():
    machines = Machines("here")
    lines = [start(7), stats(), ops(), end(7)]
    turns = [item for line in lines for item in (*of("a", line), *of(None, line))]
    assert briefs(machines.feed(turns).items()) == {
        "a": [(7, "complete")],
        "here": [(7, "complete")],
    }


def test_of_many_machines_those_that_have_nothing_open_are_forgotten():
    asked = []
    machines = Machines("here", lambda host: asked.append(host) or -1)
    machines.feed([*of("open", start(7), stats(), ops()), *of("idle", "usb")])
    for number in range(2 * MOST_IDLE + 2):
        machines.feed(of(f"other{number}", "usb"))
    asked.clear()
    found = machines.feed([*of("open", end(7), first=3), *of("idle", start(8), first=4)])
    assert asked == ["idle"]
    assert briefs(found.items()) == {"open": [(7, "complete")], "idle": []}
    assert briefs(machines.finish(9))["idle"] == [(8, "no_end")]


def test_what_was_stored_of_a_machine_is_not_given_again():
    machines = Machines("here", {"a": 3, "b": -1, "done": 9}.__getitem__)
    for host in ("a", "b", "done"):
        lines = [start(7), stats(), ops(), end(7), start(8)]
        found = machines.feed(of(host, *lines))
        assert len(found[host].rows.runs) == (host == "b")
    assert briefs(machines.finish(9)) == {"a": [(8, "no_end")], "b": [(8, "no_end")]}


PIDS = st.integers(1, 2)
LINE = st.one_of(
    st.builds(start, PIDS), st.builds(stats), st.builds(ops), st.builds(end, PIDS), st.just("usb")
)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), LINE), max_size=40),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_each_machine_gives_what_it_would_give_alone(spoken, cuts):
    records = [record(line, seq, host=host) for seq, (host, line) in enumerate(spoken)]
    machines, together = Machines("here"), {}
    stops = [0, *sorted(cuts), len(records)]
    for first, last in pairwise(stops):
        for host, found in machines.feed(records[first:last]).items():
            together.setdefault(host, []).extend(found.rows.runs)
    for host, found in machines.finish(len(records)):
        together.setdefault(host, []).extend(found.rows.runs)
    for host, rows in together.items():
        alone = RunAssembler(host)
        own = [each for each in records if (each.host or "here") == host]
        assert rows == alone.feed(own).runs + alone.finish().runs
