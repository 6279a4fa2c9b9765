"""What is heavy is imported by what needs it, and by nothing else."""

import json
import os
import subprocess
import sys

import pytest
from deltalake import DeltaTable
from log_samples import call, end, fd, ops, start, stats, trace
from store_samples import CONTRACT

HEAVY = {
    *("altair", "deltalake", "duckdb", "jinja2"),
    *("numpy", "pandas", "pyarrow", "rich", "watchdog"),
}

EXTRAS = f"""\
[33050.000001] {start(7)}
[33050.000002] {stats()}
[33050.000003] {ops()}
[33050.000004] {trace(7, calls=1, files=1)}
[33050.000005] {call(7)}
[33050.000006] {fd(7)}
[33050.000007] {end(7)}
[33050.000008] ftrace/2 [7]
"""

_RUN = """\
import json, sys
from click.testing import CliRunner
from logtrace.cli import cli
done = CliRunner().invoke(cli, sys.argv[1:])
print(json.dumps([done.exit_code, sorted(set(sys.modules))]))
"""


def modules_after(*arguments, code=_RUN):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ | {"TZ": "UTC"},
    )
    exit_code, modules = json.loads(done.stdout)
    assert exit_code == 0
    return HEAVY.intersection(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["watch", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    assert modules_after(*arguments) == set()


_TRACE = """\
import json, sys
from logtrace import trace, traced
trace.run = lambda command, options, meanwhile: (1, 0)
traced._PATIENCE_S = 0
from click.testing import CliRunner
from logtrace.cli import cli
done = CliRunner().invoke(cli, ["run", "true"])
print(json.dumps([done.exit_code, sorted(set(sys.modules))]))
"""


def test_running_a_program_imports_nothing_heavy():
    assert modules_after(code=_TRACE) == set()


def test_watching_imports_no_engine_and_no_frames(tmp_path):
    log = tmp_path / "log"
    log.write_text(CONTRACT + EXTRAS)
    watch = ("watch", "--once", "--store", str(tmp_path / "store"), str(log))
    assert modules_after(*watch) <= {"deltalake", "rich", "watchdog"}
    tables = {path.name for path in tmp_path.glob("store/host=*/*") if path.is_dir()}
    assert tables == {"runs", "files", "calls", "losses"}
    DeltaTable(next(tmp_path.glob("store/host=*/runs"))).create_checkpoint()
    assert modules_after(*watch) <= {"deltalake", "rich", "watchdog"}


def test_importing_a_log_imports_no_engine_and_no_terminal(tmp_path):
    log = tmp_path / "log"
    log.write_text(CONTRACT)
    imported = modules_after("import", "--store", str(tmp_path / "store"), str(log))
    assert imported <= {"deltalake", "numpy", "pyarrow"}


def test_a_report_of_a_store_at_rest_reads_no_log_of_a_table(tmp_path):
    log, store = tmp_path / "log", tmp_path / "store"
    log.write_text(CONTRACT)
    modules_after("import", "--store", str(store), str(log))
    for folder in store.glob("host=*/*/_delta_log"):
        os.utime(folder, (0, 0))  # what has changed just now is listed again
    report = ("report", "--store", str(store), "--out", str(tmp_path / "out"))
    assert "deltalake" in modules_after(*report)
    assert "deltalake" not in modules_after(*report)
