"""A report on a thousand machines is one page, and takes no more questions than one of few."""

import json
import re
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from lab_samples import NOW, Lab
from test_report import page_of

from logtrace import hosts, schema
from logtrace.engine import Engine, Filters
from logtrace.overview import gather, is_of_many, machines
from logtrace.report import read_csv, write_report

SEOUL = ZoneInfo("Asia/Seoul")
GROUPINGS = [["owner"], ["program"], ["host"], ["file"]]


def gathered(engine, filters=None):
    return gather(engine, filters or Filters(), GROUPINGS, zone=SEOUL, now=NOW, most_runs=10_000)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A report on a thousand machines, and where its files are."""
    data = gathered(Engine(Lab(tmp_path_factory.mktemp("lab"), 1000), "Asia/Seoul"))
    out = tmp_path_factory.mktemp("out")
    write_report(data, out)
    return data, out


def table(out, name):
    return pd.read_csv(out / f"{name}.csv", parse_dates=["last_sign"], keep_default_na=False)


def test_a_thousand_machines_are_on_one_page_of_less_than_two_megabytes(thousand):
    _, out = thousand
    assert (out / "index.html").stat().st_size < 2_000_000


def test_the_page_has_each_machine_as_the_csv_has_it(thousand):
    data, out = thousand
    carried = page_of(data).payload["hosts"]
    told = table(out, "hosts").set_index("host")
    names = [carried["host"]["values"][code] for code in carried["host"]["codes"]]
    assert sorted(names) == sorted(told.index)
    assert carried["runs"] == told.loc[names, "runs"].tolist()
    assert carried["incidents"] == told.loc[names, "incidents"].tolist()
    last = pd.Series(carried["last_sign"]["ms"]) + carried["last_sign"]["base"]
    local = told.loc[names, "last_sign"].dt.tz_convert(SEOUL).dt.tz_localize(None)
    assert last.tolist() == (local.astype("datetime64[ms]").astype("int64")).tolist()
    states = [carried["state"]["values"][code] for code in carried["state"]["codes"]]
    assert [state.startswith("silent") for state in states] == told.loc[names, "silent"].tolist()
    assert states == sorted(states, key=lambda state: state == "as usual")


def test_the_counts_of_the_page_are_those_of_pandas(thousand):
    data, out = thousand
    runs = read_csv(out / "runs.csv", schema.RUNS)
    told = table(out, "hosts").set_index("host")
    assert told["runs"].equals(runs.groupby("host").size().rename("runs"))
    incomplete = (runs["status"] != "complete").groupby(runs["host"]).sum()
    assert told["incomplete"].tolist() == incomplete.tolist()
    owners = pd.read_csv(out / "by-owner.csv", dtype={"owner": "str"}).set_index("owner")
    counted = runs.groupby("owner")["host"].nunique()
    assert owners["hosts"].sort_index().tolist() == counted.sort_index().tolist()
    page = page_of(data)
    said = re.search(r"In the store (\S+) .*? Silent (\S+) Clock off (\S+)", page.text)
    counts = len(told), (told["silent"]).sum(), (told["clock"] != "").sum()
    assert said.groups() == tuple(f"{count:,}" for count in counts)
    assert "20 machines are silent. 10 clocks are off." in page.text


def test_versions_and_modules_are_counted_across_machines(thousand):
    data, out = thousand
    found = pd.read_csv(out / "versions.csv")
    assert found["hosts"].sum() == 1000
    assert found.loc[found["version"].isna(), "hosts"].tolist() == [100]
    faulty = pd.read_csv(out / "incidents-by-module.csv")
    each = data.incidents
    assert dict(zip(faulty["module"].fillna(""), faulty["hosts"], strict=True)) == {
        module: each.loc[each["module"].fillna("") == module, "host"].nunique()
        for module in each["module"].fillna("").unique()
    }
    page = page_of(data)
    rows = page.tables["Incidents by module, most frequent first"][1:]
    assert [row[1] for row in rows] == faulty["incidents"].tolist()
    (first, *_) = page.tables["Machines by module and kernel, most machines first"][1:]
    assert first[3] == found["hosts"].max()


def test_of_many_machines_those_stand_first_of_which_something_is_missing(thousand):
    data, _ = thousand
    rows = page_of(data).tables["What is missing by host and boot"]
    headings = rows[0]
    whole = [row[headings.index("Runs")] == row[headings.index("Complete")] for row in rows[1:]]
    lost = [row[headings.index("Records lost")] for row in rows[1:]]
    assert len(whole) == 100
    assert all(not each or number for each, number in zip(whole, lost, strict=True))


@pytest.mark.parametrize("ask", [gathered, lambda engine: machines(engine, Filters(), NOW)])
def test_more_machines_are_no_more_questions(tmp_path, monkeypatch, ask):
    asked = []
    for count in (2, 20):
        folder = tmp_path / str(count)
        folder.mkdir()
        engine = Engine(Lab(folder, count), "Asia/Seoul")
        parts = Mock(wraps=engine._parts, database=engine._parts.database)
        monkeypatch.setattr(engine, "_parts", parts)
        ask(engine)
        asked.append(parts.ask.call_count)
    assert asked[0] == asked[1] > 0


def test_one_machine_is_no_lab(tmp_path):
    engine = Engine(Lab(tmp_path, 3))
    assert is_of_many(engine, Filters())
    data = gathered(engine, Filters(host="lab0001"))
    assert data.hosts is None
    page = page_of(data)
    assert "#machines" not in page.links
    assert page.payload["hosts"] is None


def test_usage_by_host_has_how_each_stands_and_those_without_runs(tmp_path):
    from click.testing import CliRunner
    from report_samples import run_row
    from store_samples import store_with

    from logtrace.cli import cli

    runs = [run_row(0), run_row(1, host="lab02", owner="b"), run_row(2, host="lab03", owner="b")]
    store_with(tmp_path, runs)

    def told(*options):
        arguments = ["stats", "--by", "host", "--store", str(tmp_path), *options]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        return done.stdout

    rows = json.loads(told("--json", "--since", "2026-11-22T15:01Z"))
    assert [(row["host"], row["runs"]) for row in rows] == [
        ("lab02", 1),
        ("lab03", 1),
        ("lab01", 0),
    ]
    assert set(hosts.COLUMNS) <= set(rows[0])
    assert {row["first_run"] for row in rows} == {
        f"2026-11-22T15:0{n}:00.000000Z" for n in range(3)
    }
    assert [row["host"] for row in json.loads(told("--json", "--owner", "2021202045"))] == ["lab01"]
    assert re.search(r"Host +Runs .*State .*Kernel", told())
