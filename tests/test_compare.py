import io

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report_samples import HOSTILE, START, detail_row, run_row, runs_frame, usage_frame
from rich.console import Console
from store_samples import rows_of, store_with

from logtrace import schema
from logtrace.cli import cli
from logtrace.compare import compare_runs, compare_usage
from logtrace.compare_tables import print_comparison
from logtrace.errors import QueryError

COLUMNS = ["what", "a", "b", "difference", "ratio", "change"]


def frame_of(rows, table):
    return schema.to_frame(schema.to_table(rows, schema.TABLES[table]))


def runs(first, second, files=((), ()), calls=((), ())):
    """Compare two runs that differ from the contract's in these."""
    return compare_runs(
        tuple(runs_frame([run_row(0, **changes)]) for changes in (first, second)),
        tuple(frame_of(rows, "files") for rows in files),
        tuple(frame_of(rows, "calls") for rows in calls),
    )


def row_of(frame, **where):
    """Give the only row that fits as plain values."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    (row,) = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return row


def values(frame, **where):
    return [row_of(frame, **where)[name] for name in COLUMNS[1:]]


def test_equal_runs_have_all_columns_and_no_difference():
    compared = runs({}, {})
    assert list(compared["what"]) == [*schema.RUNS.names, "duration_us"]
    assert set(compared["change"]) == {"same"}
    assert values(compared, what="duration_us") == ["71", "71", 0, 1, "same"]
    assert values(compared, what="note") == [None, None, None, None, "same"]


@pytest.mark.parametrize(
    ("name", "first", "second", "expected"),
    [
        ("read_bytes", 20, 50, ["20", "50", 30, 2.5, "changed"]),
        ("read_bytes", 0, 50, ["0", "50", 50, None, "changed"]),
        ("read_bytes", None, 50, [None, "50", None, None, "changed"]),
        ("read_bytes", 2**62, 2**62 + 1, [str(2**62), str(2**62 + 1), 1, 1, "changed"]),
        ("comm", "test", None, ["test", None, None, None, "changed"]),
        ("owner", "7", "8", ["7", "8", None, None, "changed"]),
        ("pid", 7, 14, ["7", "14", None, None, "changed"]),
        ("detail", False, True, ["false", "true", None, None, "changed"]),
    ],
)
def test_numbers_have_a_difference_and_a_ratio_and_names_have_none(name, first, second, expected):
    assert values(runs({name: first}, {name: second}), what=name) == expected


def test_times_differ_by_seconds():
    compared = runs({}, {"started_at": run_row(2)["started_at"]})
    assert values(compared, what="started_at") == [
        *("2026-11-22T15:00:00.000000Z", "2026-11-22T15:02:00.000000Z", 120, None, "changed"),
    ]


ASKED = {"detail": True, "wide": True}


def opened(path, descriptor=3, **changes):
    numbers = dict.fromkeys(("opens", "closes", "reads", "writes", "seeks"), 1)
    numbers |= {"read_bytes": 5, "written_bytes": 0, "open_at_end": False}
    return detail_row(run_row(0), descriptor=descriptor, path=path, **numbers | changes)


def test_files_and_calls_are_compared_where_both_have_them():
    files = [opened("/a"), opened("/a", 4)], [opened("/a", reads=4, open_at_end=True), opened("/b")]
    called = [
        [detail_row(run_row(0), call=name, calls=number, errors=0, moved_bytes=0, time_ns=9)]
        for name, number in (("read", 4), ("pread64", 8))
    ]
    compared = runs(ASKED, ASKED, files, called)
    assert list(compared["part"].unique()) == ["run", "files", "calls"]
    assert values(compared, name="/a", what="reads") == ["2", "4", 2, 2, "changed"]
    assert values(compared, name="/a", what="open_at_end") == ["0", "1", 1, None, "changed"]
    assert values(compared, name="/b", what="reads") == [None, "1", None, None, "new"]
    assert values(compared, name="read", what="calls") == ["4", None, None, None, "gone"]
    assert set(runs(ASKED, {}, files, called)["part"]) == {"run"}


def usage(*changes, by="owner", column="owner"):
    return usage_frame(runs_frame(rows_of(*changes)), by, column)


def test_groups_are_new_or_gone_or_changed_or_the_same():
    a = usage({"owner": "a"}, {"owner": "b"}, {"owner": "c"})
    b = usage({"owner": "d"}, {"owner": "c", "read_bytes": 40}, {"owner": "b"})
    compared = compare_usage(a, b, ["owner"])
    assert list(compared.columns) == ["owner", *COLUMNS]
    assert list(compared["owner"].unique()) == ["b", "c", "d", "a"]
    assert values(compared, owner="b", what="runs") == ["1", "1", 0, 1, "same"]
    assert values(compared, owner="c", what="read_bytes") == ["20", "40", 20, 2, "changed"]
    assert values(compared, owner="d", what="runs") == [None, "1", None, None, "new"]
    assert values(compared, owner="a", what="runs") == ["1", None, None, None, "gone"]


def test_a_group_without_a_name_is_compared_with_one_without():
    compared = compare_usage(usage({"owner": None}), usage({"owner": None}), ["owner"])
    assert set(compared.loc[compared["what"] == "runs", "change"]) == {"same"}
    assert compared["owner"].isna().all()


def test_periods_are_not_compared_by_their_days():
    frame = pd.DataFrame({"day": pd.to_datetime(["2026-11-22"], utc=True), "runs": [1]})
    with pytest.raises(QueryError, match="--by day: two periods have no day in common"):
        compare_usage(frame, frame, ["day"])


def test_what_is_empty_is_compared_too():
    assert set(compare_usage(usage(), usage({}), ["owner"])["change"]) == {"new"}
    compared = compare_usage(usage(), usage(), ["owner"])
    assert list(compared.columns) == ["owner", *COLUMNS]
    assert compared.empty


GROUPS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10**15), max_size=4)


@given(GROUPS, GROUPS)
def test_every_group_of_either_is_there_once_and_differences_add_up(a, b):
    frames = (
        pd.DataFrame({"owner": list(each), "runs": list(each.values())}).astype(
            {"owner": "str", "runs": "Int64"}
        )
        for each in (a, b)
    )
    compared = compare_usage(*frames, ["owner"])
    assert sorted(compared["owner"]) == sorted(a.keys() | b.keys())
    for row in compared.to_dict("records"):
        owner = row["owner"]
        kinds = {(True, False): "gone", (False, True): "new"}
        kind = kinds.get(
            (owner in a, owner in b), "same" if a.get(owner) == b.get(owner) else "changed"
        )
        assert row["change"] == kind
        if owner in a and owner in b:
            assert row["difference"] == b[owner] - a[owner]


# The terminal


def printed(compared, keys=(), names=("A", "B"), width=100):
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, highlight=False)
    print_comparison(console, compared, keys, names, START.tzinfo)
    return file.getvalue()


def test_only_what_changed_is_shown_and_how_much_is_the_same():
    lines = printed(runs({}, {"read_bytes": 1234, "status": "no_end", "first_seq": 9})).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["What", "A", "B", "Difference", "Ratio"],
        ["bytes", "read", "20", "1,234", "+1,214", "61.70"],
        ["status", "complete", "no_end", *"––"],  # noqa: RUF001
    ]
    assert lines[3].endswith("values are the same · times in UTC")
    assert printed(runs({}, {})) == "nothing has changed\n"


def test_times_and_lengths_of_time_are_shown_as_such():
    text = printed(runs({}, {"started_at": run_row(2)["started_at"], "ended_us": 33047245330}))
    assert "started   2026-11-22 15:00:00  2026-11-22 15:02:00  +2 min 0 s" in text
    assert "duration                71 µs               1.0 ms     +929 µs  14.08" in text


def test_numbers_are_whole_however_large_and_times_of_calls_are_in_nanoseconds():
    a, b = (
        pd.DataFrame([{"runs": 2**62 + number, "mean_bytes": 1e17 * number}]) for number in (1, 2)
    )
    text = printed(compare_usage(a, b, []))
    assert "4,611,686,018,427,387,905  4,611,686,018,427,387,906" in text
    assert "100,000,000,000,000,000    200,000,000,000,000,000" in text
    assert "4,611,686,018,427,387,905" in printed(compare_usage(a, b, []), width=40)
    called = [
        [detail_row(run_row(0), call="read", calls=1, errors=0, moved_bytes=0, time_ns=number)]
        for number in (900, 81200)
    ]
    lines = printed(runs(ASKED, ASKED, calls=called), ["part", "name"]).splitlines()
    assert " ".join(lines[1].split()) == "calls read time 900 ns 81.2 µs +80.3 µs 90.22"


def test_a_group_is_named_once_and_what_only_one_has_is_a_line():
    a = usage({"owner": "a"}, {"owner": "b"})
    b = usage({"owner": "b", "read_bytes": 7, "written_bytes": 3}, {"owner": "c"})
    lines = printed(compare_usage(a, b, ["owner"]), ["owner"]).splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["Owner", "b", "bytes", "c", "a"]
    assert [line.split()[-1] for line in lines[3:5]] == ["new", "gone"]
    assert len(lines) == 6


def measures(**changes):
    """Give the statistics of one owner."""
    row = {"owner": "a", "runs": 10, "leak_rate": 0.25, "p50_took_us": 1500, "opens": 3} | changes
    return pd.DataFrame([row]).astype({"owner": "str"})


def test_of_groups_the_main_values_are_shown_and_shares_and_durations_as_such():
    a, b = measures(), measures(leak_rate=0.5, p50_took_us=3_000_000, opens=4)
    lines = printed(compare_usage(a, b, ["owner"]), ["owner"]).splitlines()
    assert " ".join(lines[1].split()) == "a share that left open 25.0 % 50.0 % +25.0 % 2.00"
    assert " ".join(lines[2].split()) == "median duration 1.5 ms 3.000 s +2.998 s 2000.00"
    assert len(lines) == 4
    lines = printed(
        compare_usage(a.drop(columns="owner"), b.drop(columns="owner"), [])
    ).splitlines()
    assert lines[3].split() == ["opens", "3", "4", "+1", "1.33"]


def test_it_fits_a_narrow_terminal():
    a, b = usage({"owner": "x" * 90}), usage({"owner": "x" * 90, "read_bytes": 7})
    text = printed(compare_usage(a, b, ["owner"]), ["owner"], ("y" * 60, "z" * 60), width=60)
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "7" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert_on_a_terminal(name):
    changes = {"owner": name, "comm": name, "file": name, **ASKED}
    files = [opened("/a")], [opened(name)]
    for text in (
        printed(runs(ASKED, changes, files), ["part", "name"], (name, name)),
        printed(compare_usage(usage({}), usage(changes), ["owner"]), ["owner"]),
    ):
        assert text.replace("\n", "").isprintable()


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    changes = [{"run_id": "ab00"}, {"run_id": "ab11", "read_bytes": 40}, {"run_id": "cd00"}]
    changes.append({"run_id": "ee00", "started_at": run_row(24 * 60)["started_at"]})
    return str(store_with(tmp_path_factory.mktemp("store"), rows_of(*changes)).root)


@pytest.fixture
def compare(folder):
    def run(*arguments):
        return CliRunner().invoke(cli, ["compare", *arguments, "--store", folder, "--tz", "UTC"])

    return run


def test_two_runs_are_named_by_the_beginning_of_their_ids(compare):
    done = compare("ab0", "AB1")
    assert done.exit_code == 0, done.output
    assert "bytes read" in done.stdout
    assert "Part" not in done.stdout


def test_two_periods_are_named_by_words_or_by_their_ends(compare):
    for a, b in (
        ("2026-11-22", "2026-11-23"),
        ("2026-11-22T00:00..2026-11-23", "2026-11-23.."),
        ("..2026-11-23", "2026-W48"),
    ):
        done = compare(a, b, "--format", "csv")
        assert done.exit_code == 0, done.output
        assert '"runs","3","1",-2,0.333' in done.stdout


def test_periods_are_compared_by_group(compare):
    done = compare("2026-11-22", "2026-11-23", "--by", "owner,program", "--json")
    assert '{"owner":"2021202045","program":"test","what":"runs","a":"3","b":"1"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["ab0", "ff"], 3, "no run's id begins with ff"),
        (["ab", "cd"], 2, "ab00, ab11"),
        (["ab0", "today"], 2, "one is a run, one a period"),
        (["ab0", "ab1", "--by", "owner"], 2, "--by is of periods"),
        (["today", "10:30"], 2, "'10:30' is a moment, no period"),
        (["today", "yestarday"], 2, "did you mean 'yesterday'"),
        (["today", "yesterday", "--since", "monday"], 2, "the periods say when"),
        (["today", "yesterday", "--by", "size"], 2, "--by size: unknown"),
        (["2026-11-22", "2026-11-23", "--owner", "nobody"], 3, "no run matches"),
    ],
)
def test_what_can_not_be_compared_is_told(compare, arguments, code, told):
    done = compare(*arguments)
    assert done.exit_code == code
    assert told in done.stderr
