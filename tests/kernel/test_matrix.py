"""The table that tells how the tests went on each kernel."""

import sys

import matrix
import pytest
from matrix import BEGIN, END, PAGE, main, read, rows, table, with_table

JUNIT = """\
<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests">
  <testsuite name="quick" errors="1" failures="2" skipped="3" tests="90" time="415.6"
      timestamp="2026-11-23T04:10:59.5+00:00" hostname="lab">
    <properties>
      <property name="release" value="5.10.0-46-amd64"/>
      <property name="compiler" value="gcc (Debian 10.2.1-6) 10.2.1 20210110"/>
    </properties>
  </testsuite>
</testsuites>
"""
NEVER_BOOTED = """\
<testsuites><testsuite name="all" errors="84" failures="0" skipped="1" tests="85" time="3.0"
  timestamp="2026-11-23T04:10:59.5+00:00"/></testsuites>
"""


@pytest.fixture
def results(tmp_path):
    def of(xml):
        file = tmp_path / "results.xml"
        file.write_text(xml)
        return read(file)

    return of


def test_a_row_says_what_ran_on_what_and_how_it_went(results):
    assert table({"5.10": results(JUNIT)}).splitlines()[2] == (
        "| `5.10` | 5.10.0-46-amd64 | gcc (Debian 10.2.1-6) 10.2.1 20210110 "
        "| 84 | 3 | 3 | 6 min 56 s | quick | 2026-11-23 04:10 UTC |"
    )


def test_a_kernel_that_did_not_boot_and_one_without_results_are_told_apart(results, tmp_path):
    shown = table({"a": results(NEVER_BOOTED), "b": read(tmp_path / "missing")})
    assert shown.splitlines()[2:4] == [
        "| `a` | did not boot |  | 0 | 84 | 1 | 0 min 03 s | all | 2026-11-23 04:10 UTC |",
        "| `b` | no results |  |  |  |  |  |  |  |",
    ]


def test_a_row_stays_until_there_are_results_of_its_kernel(results):
    row = table({"5.10": results(JUNIT)}).splitlines()[2]
    page = with_table(
        f"| `x` | other |\n{BEGIN}{END}", table({"5.10": results(JUNIT), "6.1": None})
    )
    earlier = rows(page)
    assert set(earlier) == {"5.10", "6.1"}
    assert table({"5.10": None}, earlier).splitlines()[2] == row
    other = results(JUNIT.replace('failures="2"', 'failures="0"'))
    assert table({"5.10": other}, earlier).splitlines()[2] != row


def test_a_run_without_results_leaves_no_row_of_an_earlier_one(cache, tmp_path, monkeypatch):
    cache("sys.exit(2)")
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n| `5.10` | old |\n| `6.1` | old |\n{END}\n")
    monkeypatch.setattr(matrix, "PAGE", page)
    main(["5.10"])
    assert "| `6.1` | old |" in page.read_text()
    assert "| `5.10` | no results |" in page.read_text()


def test_only_what_is_between_the_markers_is_written():
    page = f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    once = with_table(page, "| new |")
    assert once == f"# Title\n\n{BEGIN}\n\n| new |\n\n{END}\n\nafter\n"
    assert with_table(once, "| new |") == once


def test_a_page_without_markers_is_left_alone():
    with pytest.raises(ValueError, match="lacks"):
        with_table("# Title\n", "| new |")


def test_the_page_has_a_place_for_the_table():
    assert with_table(PAGE.read_text(), "| new |")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where results are kept, and a function that puts a stand-in in pytest's place."""
    monkeypatch.setenv("LOGTRACE_CACHE", str(tmp_path))
    (tmp_path / "matrix").mkdir()

    def stand_in(code):
        script = f"import sys, time, pathlib; xml = sys.argv[-1].split('=')[1]\n{code}"
        monkeypatch.setattr(matrix, "PYTEST", (sys.executable, "-c", script))
        return tmp_path / "matrix"

    return stand_in


@pytest.mark.parametrize("status", [0, 1])
def test_the_results_of_a_run_that_ended_are_kept(cache, status):
    folder = cache(f"pathlib.Path(xml).write_text(str(sys.argv[1:3])); sys.exit({status})")
    assert matrix.run("5.10") == status
    assert (folder / "5.10.xml").read_text() == "['--kernel', '5.10']"


def test_a_run_that_hangs_is_stopped_and_leaves_no_results_for_whole(cache, monkeypatch, capfd):
    folder = cache("pathlib.Path(xml).write_text(''); time.sleep(1000)")
    (folder / "5.10.xml").write_text("of an earlier run")
    monkeypatch.setattr(matrix, "LONGEST", 0.5)
    assert matrix.run("5.10") not in (0, 1)
    assert not (folder / "5.10.xml").exists()
    assert "stopped: not ended after 0.5 s" in capfd.readouterr().err


def test_an_unknown_kernel_is_a_usage_error(capsys):
    assert main(["5.10", "2.4"]) == 2
    assert "no such kernel: 2.4" in capsys.readouterr().err
