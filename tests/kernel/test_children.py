"""The option follow: every child has a run of its own."""

import re

import pytest
from contract_lines import field, runs, settled

pytestmark = pytest.mark.kernel


def seen(texts):
    """The parent and the reads of each run, by its pid."""
    return {
        pid: (
            field(lines, r"^ftrace/1 .* follow\[1\] parent\[(\d+)\]"),
            field(lines, r"^open.* read\[(\d+)\]"),
        )
        for pid, (lines,) in runs(texts).items()
    }


def expected(printed):
    members = (tuple(map(int, line.split())) for line in printed.splitlines())
    return {pid: (parent, reads) for pid, parent, reads in members}


@pytest.mark.parametrize(
    ("case", "processes"),
    [
        ("fork", 2),
        ("vfork", 2),
        ("spawn", 2),
        ("execute", 2),
        ("clone-parent", 3),
        ("thread", 2),
        ("threads-only", 1),
        ("generations", 5),
        ("many 40", 41),
        pytest.param("many 200", 201, marks=pytest.mark.matrix),
        ("childs-trace-has-ended", 2),
        ("parent-ends-first", 2),
        ("all-end", 4),
        ("thread-executes", 1),
    ],
)
def test_each_process_of_a_family_has_its_own_run_with_exact_counts(tracer, case, processes):
    printed = tracer.run(f"family {case}").stdout
    members = expected(printed)
    assert len(members) == processes
    texts = settled(tracer)
    assert seen(texts) == members
    # A wide line says the same as the lab's, so the options go with the children.
    for (lines,) in runs(texts).values():
        assert field(lines, r" call\[read\] calls\[(\d+)\]") == field(lines, r"^open.* read\[(\d+)")
        assert re.search(r" lost_files\[0\] lost_children\[0\] ", "\n".join(lines))


def test_a_followed_childs_start_stands_behind_its_parents(tracer):
    printed = tracer.run("family generations").stdout
    starts = re.findall(r"(?m)\[(\d+)\] Start$", "\n".join(settled(tracer)))
    assert starts == [line.split()[0] for line in printed.splitlines()]


def test_children_are_not_traced_unless_that_is_asked_for(tracer):
    tracer.run("calls with:wide start 'exec:head -c 5 /dev/zero | cat > /dev/null; true'")
    texts = settled(tracer)
    assert len(runs(texts)) == 1
    assert " follow[0] parent[0] " in texts[3]
