import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from store_samples import CONTRACT, log_of

from logtrace.cli import cli
from logtrace.engine import Engine
from logtrace.fresh import ALL, FreshReport, report_command
from logtrace.store import Store

PATIENCE_S = 60
NOTES_ITS_PRIORITY = """\
import os, sys, time
time.sleep(0.2)
with open(sys.argv[1], 'a') as file:
    print(os.nice(0), os.getsid(0) == os.getpid(), file=file)
"""
FAILS_WHILE_THERE_IS = """\
import os, sys
if os.path.exists(sys.argv[1]):
    sys.exit('Usage: x\\nError: the disk is full')
open(sys.argv[2], 'a').write('!')
"""


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def script(text, *arguments):
    return [sys.executable, "-c", text, *map(str, arguments)]


@pytest.fixture
def told():
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "written"


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_a_report_is_written_at_the_lowest_priority_and_out_of_reach_of_ctrl_c(path, told):
    with FreshReport(script(NOTES_ITS_PRIORITY, path), told.append):
        pass
    assert (lines(path), told) == (["19 True"], [])


def test_a_report_is_written_at_the_beginning_and_then_only_when_something_was_stored(path, told):
    with FreshReport(script(NOTES_ITS_PRIORITY, path), told.append, apart_s=0) as fresh:
        wait_for(lambda: len(lines(path)) == 1)
        time.sleep(0.5)
        assert len(lines(path)) == 1
        fresh.note()
        wait_for(lambda: len(lines(path)) == 2)
    assert len(lines(path)) == 2


def test_all_that_is_stored_while_a_report_must_wait_gives_one_more(path, told):
    with FreshReport(script(NOTES_ITS_PRIORITY, path), told.append, apart_s=3600) as fresh:
        wait_for(lambda: len(lines(path)) == 1)
        for _ in range(1000):
            fresh.note()
        assert len(lines(path)) == 1
    assert len(lines(path)) == 2


def test_a_report_that_the_last_one_overtakes_is_given_up(path, told):
    slow_at_first = f"import os, time; os.path.exists({str(path)!r}) or time.sleep(3600)"
    begun = time.monotonic()
    with FreshReport(script(slow_at_first), told.append) as fresh:
        wait_for(lambda: fresh._process)
        path.touch()
        fresh.note()
        assert fresh.is_behind
    assert not fresh.is_behind
    assert told == []
    assert time.monotonic() - begun < PATIENCE_S


def test_a_report_that_fails_is_told_once_and_tried_again(tmp_path, path, told):
    full = tmp_path / "full"
    full.touch()
    with FreshReport(script(FAILS_WHILE_THERE_IS, full, path), told.append, apart_s=0) as fresh:
        wait_for(lambda: told)
        time.sleep(0.5)
        assert told == ["the disk is full"]
        full.unlink()
        wait_for(path.exists)
        full.touch()
        fresh.note()
        wait_for(lambda: len(told) == 2)
    assert told == ["the disk is full"] * 2


def test_a_report_that_can_not_be_begun_or_is_killed_is_told(tmp_path, told):
    with FreshReport([str(tmp_path / "absent")], told.append):
        pass
    with FreshReport(script("import os; os.kill(os.getpid(), 9)"), told.append):
        pass
    assert told == [
        "no process for the report: No such file or directory",
        "the report was ended by SIGKILL",
    ]


def test_who_is_in_a_hurry_does_not_wait_for_a_report(told):
    fresh = FreshReport(script("import time; time.sleep(3600)"), told.append)

    def interrupted():
        with fresh:
            wait_for(lambda: fresh._process)
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - begun < PATIENCE_S


def test_the_command_has_what_is_chosen(tmp_path):
    assert report_command("/s", "Asia/Seoul", "2 hours ago", tmp_path)[4:] == [
        *("report", "--quiet", "--store=/s", "--tz=Asia/Seoul"),
        *(f"--out={tmp_path}", "--since=2 hours ago"),
    ]
    assert not any("since" in word for word in report_command("/s", "UTC", ALL, tmp_path))


# Of a watch


def kernel_lines(*pids):
    """Give lines that have a wall-clock time, today's."""
    stamp = time.strftime("%b %d %H:%M:%S")
    return "".join(f"{stamp} lab kernel: {line}\n" for line in log_of(*pids).splitlines())


def test_a_report_follows_what_is_stored_and_has_the_last_of_it(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    log.write_text(kernel_lines(71))
    command = [sys.executable, "-m", "logtrace", "watch", "--from", "oldest", str(log)]
    options = ["--store", str(tmp_path / "store"), "--report", str(out)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE) as watch:
        try:
            wait_for(lambda: any("prog71" in line for line in lines(out / "runs.csv")))
            with log.open("a") as file:
                file.write(kernel_lines(72))
            store = Store(str(tmp_path / "store"))
            wait_for(lambda: len(Engine(store).rows("runs")) == 2)
            watch.send_signal(signal.SIGTERM)
            watch.communicate(timeout=PATIENCE_S)
        finally:
            watch.kill()
    assert watch.returncode == 0
    assert "prog72" in (out / "runs.csv").read_text()
    assert "prog72" in (out / "index.html").read_text()


def watch_once(tmp_path, *options):
    log = tmp_path / "log"
    log.write_text(CONTRACT)
    store = ("--store", str(tmp_path / "store"))
    return CliRunner().invoke(cli, ["watch", "--once", *store, *options, str(log)])


def test_a_watch_goes_on_where_no_report_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    done = watch_once(tmp_path, "--report", str(tmp_path / "file" / "out"))
    assert done.exit_code == 0
    assert "1 run in 4 records" in done.stderr
    assert "file/out: the folder can't be made: Not a directory" in done.stderr
    assert "with --report)" in done.stderr


def test_a_report_of_all_has_runs_without_wall_clock_time_too(tmp_path):
    out = tmp_path / "out"
    watch_once(tmp_path, "--report", str(out), "--report-since", "all")
    assert "abc.txt" in (out / "runs.csv").read_text()
    watch_once(tmp_path, "--report", str(out))
    assert "abc.txt" not in (out / "runs.csv").read_text()


def test_a_word_that_no_report_understands_ends_the_watch_before_it_begins(tmp_path):
    done = watch_once(tmp_path, "--report", str(tmp_path / "out"), "--report-since", "noon-ish")
    assert done.exit_code == 2
    assert "noon-ish" in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_program_in_the_folder_that_somebody_is_in_is_not_taken_for_this_one(
    tmp_path, monkeypatch
):
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'hit')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    watch_once(tmp_path, "--report", "out")
    assert os.listdir(tmp_path / "out")
    assert not (tmp_path / "hit").exists()
