import csv
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from report_samples import HOSTILE, START, run_row
from store_samples import CONTRACT, log_of, rows_of, store_with

from logtrace import dkms, doctor, kmod, schema
from logtrace.cli import cli
from logtrace.commands import watch as watch_command
from logtrace.errors import KernelModuleError, SourceError, StoreError
from logtrace.source.journal import is_own_folder
from logtrace.store import hostname

COMMAND = [sys.executable, "-m", "logtrace"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The folder of a store with runs, a hostile one among them."""
    runs = rows_of(
        {"run_id": "ab00", "owner": "2021202045"},
        {"run_id": "ab11", "owner": "lisa", "host": "lab02", "status": "no_end"},
        {"run_id": "cd00", "owner": HOSTILE[4], "comm": HOSTILE[5], "file": HOSTILE[3]},
    )
    return str(store_with(tmp_path_factory.mktemp("store"), runs).root)


@pytest.fixture
def logtrace(monkeypatch, tmp_path):
    """Run a command in this process, in an empty folder, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGTRACE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("tzlocal.get_localzone", lambda: ZoneInfo("Asia/Seoul"))

    def run(*arguments, **options):
        return CliRunner().invoke(cli, list(map(str, arguments)), **options)

    return run


def of_store(logtrace, folder):
    return lambda *arguments: logtrace(*arguments, "--store", folder)


@pytest.fixture
def read(logtrace, filled):
    return of_store(logtrace, filled)


def ids(done):
    return [row["run_id"] for row in json.loads(done.stdout)]


# Reading


def test_runs_are_a_table_newest_first_with_the_zone_named(read):
    done = read("runs", "--tz", "Asia/Seoul")
    assert done.exit_code == 0
    _, *lines, caption = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["cd00", "ab11", "ab00"]
    assert "2026-11-23 00:00:00" in lines[-1]
    assert "Asia/Seoul" in caption


def test_the_machines_zone_is_used_where_none_is_named(read):
    assert "times in Asia/Seoul" in read("runs").stdout


def test_csv_has_the_columns_of_the_table_in_order_header_first(read):
    done = read("runs", "--format", "csv")
    header, *rows = csv.reader(io.StringIO(done.stdout))
    assert header == schema.RUNS.names
    assert len(rows) == 3
    assert done.stderr == ""


def test_csv_is_safe_for_a_spreadsheet(read):
    newest = next(csv.DictReader(io.StringIO(read("runs", "--format", "csv").stdout)))
    assert newest["file"] == "'" + HOSTILE[3]


def test_parquet_goes_to_a_pipe(read):
    table = pq.read_table(io.BytesIO(read("runs", "--format", "parquet").stdout_bytes))
    assert table.schema.names == schema.RUNS.names
    assert table.num_rows == 3


def test_json_has_two_spellings(read):
    assert ids(read("runs", "--json")) == ids(read("runs", "--format", "json"))
    assert json.loads(read("stats", "--json", "--by", "host").stdout)[0]["host"] == "lab01"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--owner", "lisa"], ["ab11"]),
        (["--host", "lab01"], ["cd00", "ab00"]),
        (["--comm", "test", "--status", "complete"], ["ab00"]),
        (["--pid", "47284"], ["ab11"]),
        (["--file", HOSTILE[3]], ["cd00"]),
        (["--boot", run_row(0)["boot_id"]], ["cd00", "ab11", "ab00"]),
        (["--since", "2026-11-23T00:01"], ["cd00", "ab11"]),
        (["--until", "2026-11-23T00:01"], ["ab00"]),
        (["--since", "2026-11-23T00:01", "--until", "2026-11-23T00:02"], ["ab11"]),
        (["--since", "2026-11-22T15:01", "--tz", "UTC"], ["cd00", "ab11"]),
        (["--limit", "1"], ["cd00"]),
    ],
)
def test_filters_select_runs(read, filters, expected):
    assert ids(read("runs", "--json", *filters)) == expected


def test_words_for_times_are_those_of_now(logtrace, tmp_path):
    folder = store_with(tmp_path / "s", rows_of({"started_at": datetime.now(UTC)}, {})).root
    recent = of_store(logtrace, folder)
    assert len(ids(recent("runs", "--json", "--since", "5 minutes ago"))) == 1
    assert len(ids(recent("runs", "--json", "--until", "yesterday"))) in (0, 1)


def test_stats_total_by_keys(read):
    done = read("stats", "--by", "host,owner", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {(row["host"], row["runs"]) for row in rows} == {("lab01", "1"), ("lab02", "1")}
    heading = read("stats", "--by", "host,owner,host").stdout.splitlines()[0]
    assert heading.split()[:3] == ["Host", "Owner", "Runs"]


def test_a_hostile_name_is_printed_escaped(read):
    for arguments in (["runs"], ["stats"], ["stats", "--by", "program,file"]):
        text = read(*arguments).stdout
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_an_empty_store_has_no_runs_and_that_is_fine(logtrace, tmp_path):
    (tmp_path / "store").mkdir()
    for command in ("runs", "stats"):
        done = logtrace(command)
        assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(logtrace("runs", "--json").stdout) == []


@pytest.mark.parametrize("command", ["runs", "stats", "report"])
def test_nothing_by_a_name_is_exit_code_3(read, command):
    done = read(command, "--owner", "nobody")
    assert (done.exit_code, done.stderr) == (3, "no run matches\n")
    assert read(command, "--owner", "nobody", "-q").stderr == ""
    assert read(command, "--since", "now").exit_code == 0


# Wrong usage, and failures


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs", "--since", "teatime"], ["--since: time", "teatime", "2 hours ago"]),
        (["runs", "--since", ""], ["today"]),
        (["runs", "--since", "now", "--until", "yesterday"], ["--since now", "--until yesterday"]),
        (["runs", "--status", "fine"], ["--status fine", "no_end"]),
        (["runs", "--tz", "Mars/Olympus"], ["--tz", "Mars/Olympus", "Asia/Seoul"]),
        (["runs", "--pid", "x"], ["--pid"]),
        (["runs", "--limit", "-1"], ["--limit"]),
        (["runs", "--nonsense"], ["--nonsense"]),
        (["stats", "--by", "moon"], ["--by moon", "owner"]),
        (["stats", "--by", ""], ["owner"]),
        (["report", "--format", "pdf"], ["--format", "pdf", "parquet"]),
        (["report", "--run", "ab"], ["run ab", "ab00", "ab11"]),
        (["nonsense"], ["nonsense"]),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(read, arguments, told):
    done = read(*arguments) if arguments != ["nonsense"] else CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert all(word in done.stderr for word in told)


def test_a_store_that_does_not_exist_is_one_line_with_the_remedy(logtrace, tmp_path):
    for command in ("runs", "stats", "report"):
        done = logtrace(command)
        assert (done.exit_code, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("Error: store ")
        assert str(tmp_path / "store") in line
        assert "logtrace import" in line


def test_verbose_shows_where_an_error_came_from(logtrace):
    assert isinstance(logtrace("runs", "-v").exception, StoreError)


def test_an_error_is_printed_with_nothing_hidden_in_it(logtrace):
    done = logtrace("import", "no\x1b[31m\u202e")
    assert (done.exit_code, done.stderr) == (
        1,
        "Error: no\\x1b[31m\\u202e: no such file or folder\n",
    )


def test_a_machine_whose_zone_has_no_name_asks_for_one(read, monkeypatch):
    def conflicting():
        raise ZoneInfoNotFoundError("Multiple conflicting time zone configurations found")

    monkeypatch.setattr("tzlocal.get_localzone", conflicting)
    done = read("runs")
    assert done.exit_code == 2
    assert "--tz" in done.stderr


def test_an_interrupt_ends_quietly(read, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("logtrace.engine.Engine.rows", interrupt)
    done = read("runs")
    assert (done.exit_code, done.output) == (130, "")


# Reports


def test_a_report_prints_the_path_of_its_page_and_notes_beside_it(read, tmp_path):
    done = read("report", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert done.stdout == f"{tmp_path}/out/index.html\n"
    assert done.stderr.startswith("3 runs, ")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"index.html", "runs", "runs.csv", "by-owner.csv", "by-program.csv"} <= names
    assert read("report", "--out", tmp_path / "out", "-q").stderr == ""


def test_a_report_of_one_run_totals_that_run_only(read, tmp_path):
    out = tmp_path / "out"
    done = read("report", "--run", "ab1", "--out", out, "--by", "host", "--format", "csv,json")
    assert done.exit_code == 0
    assert [row["run_id"] for row in json.loads((out / "runs.json").read_text())] == ["ab11"]
    (total,) = json.loads((out / "by-host.json").read_text())
    assert (total["host"], total["runs"], total["incomplete"]) == ("lab02", 1, 1)
    (bucket,) = json.loads((out / "timeline.json").read_text())
    assert bucket["runs"] == 1


def test_a_report_of_a_run_that_is_not_there_writes_nothing(read, tmp_path):
    done = read("report", "--run", "ee", "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (3, "")
    assert not (tmp_path / "out").exists()


def test_only_the_page_is_written_where_only_html_is_asked_for(read, tmp_path):
    read("report", "--out", tmp_path / "out", "--format", "html")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "runs"}


def test_a_report_that_cannot_be_written_is_named_with_the_remedy(read, tmp_path):
    (tmp_path / "file").touch()
    done = read("report", "--out", tmp_path / "file" / "out")
    assert done.exit_code == 1
    assert "--out" in done.stderr


# Importing


def test_import_stores_a_log_and_says_so(logtrace, tmp_path):
    log = tmp_path / "log"
    log.write_text(CONTRACT)
    assert logtrace("import", log, "--host", "lab07").stdout == f"{log}: 1 run in 4 records\n"
    assert "nothing to do" in logtrace("import", log, "--host", "lab07").stdout
    (run,) = json.loads(logtrace("runs", "--json").stdout)
    assert (run["host"], run["pid"], run["boot_id"]) == ("lab07", 47283, None)


def test_import_says_what_it_assumed_of_stamps(logtrace, tmp_path):
    log = tmp_path / "kern.log"
    log.write_text("Nov 23 10:00:00 lab7 kernel: OS Assignment2 ftrace [5] Start\n")
    done = logtrace("import", str(log), "--tz", "Asia/Seoul", "--year", "2025")
    assert done.stderr == (
        f"{log}: its stamps' year is taken as 2025 (--year) and zone as Asia/Seoul (--tz)\n"
    )
    assert done.exit_code == 0


def test_import_of_standard_input_can_be_told_as_json(logtrace):
    done = logtrace("import", "-", "--json", "--boot-id", "b7", input=CONTRACT)
    assert json.loads(done.stdout) == {
        "path": "-",
        "records": 4,
        "runs": 1,
        "losses": 0,
        "already_stored": False,
        "hosts": [hostname()],
        "assumed": [],
    }
    assert json.loads(logtrace("runs", "--json").stdout)[0]["boot_id"] == "b7"


def test_a_file_that_is_no_log_does_not_keep_the_rest_out(logtrace, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"\0" * 64)
    (folder / "b\x1b[31m.log").write_text(CONTRACT)
    done = logtrace("import", folder)
    assert done.exit_code == 1
    assert done.stdout == f"{folder}/b\\x1b[31m.log: 1 run in 4 records\n"
    assert done.stderr.startswith(f"Error: {folder}/a.bin: not a text log")


@pytest.mark.parametrize("command", [["import", "-"], ["watch", "log"]])
def test_a_machine_has_a_name(logtrace, command):
    assert logtrace(*command, "--host", "").exit_code == 2


def test_a_hosts_name_that_is_no_text_is_kept_escaped(logtrace):
    logtrace("import", "-", "--host", "a\x1b\udcff", input=CONTRACT)
    assert json.loads(logtrace("runs", "--json").stdout)[0]["host"] == "a\\x1b\\xff"
    assert len(json.loads(logtrace("runs", "--json", "--host", "a\x1b\udcff").stdout)) == 1


# Watching


def test_watch_once_prints_what_it_stored_and_goes_on_there(logtrace, tmp_path):
    log = tmp_path / "log"
    log.write_text(log_of(1, 2))
    done = logtrace("watch", "--once", log)
    assert done.exit_code == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["prog1[1]", "prog2[2]"]
    assert done.stderr == "2 runs in 8 records\n"
    with log.open("a") as file:
        file.write(log_of(3, second=200))
    done = logtrace("watch", "--once", "--json", log)
    assert [json.loads(line)["pid"] for line in done.stdout.splitlines()] == [3]
    assert [run["pid"] for run in json.loads(logtrace("runs", "--json").stdout)] == [3, 2, 1]


def test_a_log_that_was_rotated_while_nobody_watched_is_read_to_its_end(logtrace, tmp_path):
    log = tmp_path / "log"
    log.write_text(log_of(1))
    logtrace("watch", "--once", log)
    with log.open("a") as file:
        file.write(log_of(2, second=200))
    log.rename(tmp_path / "log.1")
    log.write_text(log_of(3, second=300))
    done = logtrace("watch", "--once", "--json", log)
    assert [json.loads(line)["pid"] for line in done.stdout.splitlines()] == [2, 3]


def test_watch_from_oldest_stores_nothing_twice(logtrace, tmp_path):
    log = tmp_path / "log"
    log.write_text(log_of(1, 2))
    for _ in range(2):
        assert logtrace("watch", "--once", "--from", "oldest", log).exit_code == 0
    assert len(json.loads(logtrace("runs", "--json").stdout)) == 2


def test_watch_from_now_leaves_out_what_is_there(logtrace, tmp_path):
    log = tmp_path / "log"
    log.write_text(log_of(1, 2))
    done = logtrace("watch", "--once", "--from", "now", "-q", log)
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize("folder", ["own", "own/7c29", "kept/../own", "link"])
@pytest.mark.parametrize("device", ["kmsg", "journal"])
def test_this_machines_messages_are_not_read_in_two_ways(
    logtrace, tmp_path, monkeypatch, device, folder
):
    (tmp_path / "own/7c29").mkdir(parents=True)
    (tmp_path / "own/remote").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("own")
    (tmp_path / "id").write_text("7c29\n")
    monkeypatch.setattr("logtrace.source.journal._OWN_FOLDERS", (tmp_path / "own",))
    monkeypatch.setattr("logtrace.source.journal._MACHINE_ID", tmp_path / "id")
    done = logtrace("watch", "--once", device, tmp_path / folder)
    assert done.exit_code == 2
    assert "name one of them" in " ".join(done.stderr.split())
    assert logtrace("watch", "--once", "kmsg", "journal").exit_code == 2
    assert not is_own_folder(tmp_path / "own/remote")
    assert not (tmp_path / "store").exists()


def test_a_source_named_twice_is_watched_once(logtrace, tmp_path):
    (tmp_path / "log").write_text(CONTRACT)
    done = logtrace("watch", "--once", "log", "./log", tmp_path / "log")
    assert done.stderr == "1 run in 4 records\n"


def test_a_file_that_is_not_there_yet_is_waited_for_and_that_is_said(logtrace, tmp_path):
    done = logtrace("watch", "--once", "log")
    assert done.exit_code == 0
    assert f"{tmp_path}/log does not exist yet" in done.stderr


def write_hosts(folder, **pids):
    for host, pid in pids.items():
        (folder / host).mkdir(parents=True, exist_ok=True)
        with (folder / host / "kern.log").open("a") as file:
            file.write(log_of(pid))


def hosts_of(logtrace):
    runs = json.loads(logtrace("runs", "--json").stdout)
    return sorted((run["host"], run["pid"]) for run in runs)


def test_the_logs_of_a_folder_are_stored_for_the_machines_that_it_names(logtrace, tmp_path):
    remote = tmp_path / "remote"
    write_hosts(remote, pc1=1, pc2=2)
    logtrace("watch", "--once", remote)
    write_hosts(remote, pc1=3, pc3=4)
    logtrace("watch", "--once", remote)
    assert hosts_of(logtrace) == [("pc1", 1), ("pc1", 3), ("pc2", 2), ("pc3", 4)]


def test_logs_are_chosen_by_a_pattern(logtrace, tmp_path):
    write_hosts(tmp_path / "remote", pc1=1, pc2=2)
    (tmp_path / "remote" / "pc1" / "messages").write_text(log_of(1))
    logtrace("watch", "--once", tmp_path / "remote" / "{host}" / "kern.log")
    assert hosts_of(logtrace) == [("pc1", 1), ("pc2", 2)]


def test_a_machine_that_is_given_is_that_of_all_records(logtrace, tmp_path):
    write_hosts(tmp_path / "remote", pc1=1, pc2=2)
    logtrace("watch", "--once", "--host", "lab", tmp_path / "remote")
    assert hosts_of(logtrace) == [("lab", 1), ("lab", 2)]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_can_not_be_read_in_a_folder_is_told_and_the_rest_stored(logtrace, tmp_path, options):
    write_hosts(tmp_path / "remote", pc1=1)
    (tmp_path / "remote" / "x.journal").write_bytes(b"LPKSHHRH\0")
    done = logtrace("watch", "--once", *options, tmp_path / "remote")
    assert (done.exit_code, "x.journal: not a text log" in done.output) == (0, True)
    assert hosts_of(logtrace) == [("pc1", 1)]


def test_a_log_in_a_folder_that_is_not_there_is_an_error(logtrace):
    done = logtrace("watch", "-q", "nowhere/log")
    assert done.exit_code == 1
    assert "nowhere" in done.stderr


def test_this_machines_log_can_be_watched_and_is_read_once(logtrace):
    done = logtrace("watch", "--once", "kmsg")
    if "permission denied" in done.stderr:
        pytest.skip("root or CAP_SYSLOG is needed")
    counts = [
        int(watch.stderr.split()[-2].replace(",", ""))
        for watch in (done, logtrace("watch", "--once"))
    ]
    assert counts[0] == 0 or counts[1] < counts[0]


# Modules and the machine


def test_kmod_commands_call_the_library_and_tell(logtrace, monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(kmod, "build", lambda kdir=None: asked.update(kdir=kdir) or tmp_path)
    monkeypatch.setattr(kmod, "built", lambda kdir=None: None)
    monkeypatch.setattr(kmod, "load", lambda folder, **how: asked.update(how) or ["a", "b"])
    monkeypatch.setattr(kmod, "unload", list)
    monkeypatch.setattr(dkms, "install", lambda kernel: asked.update(kernel=kernel) or tmp_path)
    monkeypatch.setattr(dkms, "remove", lambda: True)
    assert logtrace("kmod", "build", "--kdir", tmp_path).stdout == f"{tmp_path}\n"
    assert asked.pop("kdir") == tmp_path
    options = ["--owner", "7", "--number", "500", "--wide", "--files", "9"]
    assert logtrace("kmod", "load", *options).stderr == "loaded a, b\n"
    assert logtrace("kmod", "unload").stderr == "no tracing module is loaded\n"
    assert logtrace("kmod", "unload", "-q").stderr == ""
    assert logtrace("kmod", "install", "--kernel", "6.1").stdout == f"{tmp_path}\n"
    assert logtrace("kmod", "remove").stderr == "removed from DKMS\n"
    assert asked == {
        "kdir": None,
        "owner": "7",
        "number": 500,
        "wide": True,
        "detail": False,
        "follow": False,
        "files": 9,
        "module": "iotracehooking",
        "kernel": "6.1",
    }


def test_kmod_status_is_shown_without_headers_too(logtrace, monkeypatch):
    def no_headers():
        raise KernelModuleError("no headers")

    modules = [kmod.ModuleStatus("ftracehooking", True, number=336)]
    monkeypatch.setattr(kmod, "built", no_headers)
    monkeypatch.setattr(kmod, "status", lambda folder: modules if folder is None else [])
    assert "ftracehooking  loaded" in logtrace("kmod", "status").stdout
    (told,) = json.loads(logtrace("kmod", "status", "--json").stdout)
    assert (told["name"], told["loaded"], told["number"]) == ("ftracehooking", True, 336)


def test_a_failure_in_a_group_of_commands_is_one_line_too(logtrace, monkeypatch):
    def fail():
        raise KernelModuleError("can't be unloaded", "end the traces")

    monkeypatch.setattr(kmod, "unload", fail)
    done = logtrace("kmod", "unload")
    assert (done.exit_code, done.stderr) == (1, "Error: can't be unloaded (end the traces)\n")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("failed", 1)])
def test_doctor_fails_if_something_needed_is_missing(logtrace, monkeypatch, state, code):
    checks = [doctor.Check("a", "ok", "b"), doctor.Check("log", state, "c", "do d")]
    monkeypatch.setattr(doctor, "examine", lambda store: checks)
    done = logtrace("doctor")
    assert done.exit_code == code
    assert "do d" in done.stdout
    assert json.loads(logtrace("doctor", "--json").stdout)[1]["state"] == state


# The process


def test_module_events_that_cannot_be_had_are_a_note(monkeypatch, capsys):
    def refused(*_arguments):
        raise SourceError("no module events")

    monkeypatch.setattr("logtrace.modules.ModuleMonitor", refused)
    with click.Context(cli) as ctx:
        assert watch_command._module_monitor(ctx, "h") is None
    assert capsys.readouterr().err == "no module events\n"


def test_the_version_is_told():
    assert "logtrace" in CliRunner().invoke(cli, ["--version"]).stdout


def process(*arguments, **options):
    options = {"capture_output": True, "timeout": 60, **options}
    return subprocess.run([*COMMAND, *map(str, arguments)], **options)


@pytest.mark.parametrize("output", ["table", "csv"])
def test_a_reader_that_has_enough_ends_it_quietly(tmp_path, output):
    runs = [run_row(number, file="x" * 200) for number in range(3000)]
    folder = store_with(tmp_path, runs).root
    command = [*COMMAND, "runs", "--store", str(folder), "--format", output]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout.readline()
        started.stdout.close()
        assert started.stderr.read() == b""


def test_a_terminal_that_cannot_show_a_character_gets_its_escape(filled):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "TZ": "UTC"}
    done = process("runs", "--store", filled, env=environment)
    assert done.returncode == 0
    assert b"3 runs \\xb7" in done.stdout


@contextmanager
def terminal_of(*arguments, columns=100, kind="xterm"):
    """Run a command on a terminal of its own; gives the process and a reader of its screen."""
    screen, terminal = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "30", "TERM": kind, "TZ": "UTC"}
    started = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        **dict.fromkeys(("stdin", "stdout", "stderr"), terminal),
        env=os.environ | size,
    )
    os.close(terminal)
    seen = bytearray()

    def read_until(text):
        while text.encode() not in seen:
            assert select.select([screen], [], [], 30)[0], bytes(seen).decode()
            seen.extend(os.read(screen, 65536))
        return bytes(seen).decode()

    try:
        yield started, read_until
    finally:
        started.kill()
        started.wait()
        os.close(screen)


def test_a_live_view_follows_a_log_on_a_terminal_until_ctrl_c(tmp_path):
    log = tmp_path / "log"
    log.touch()
    with terminal_of("watch", "--store", tmp_path / "s", log, columns=140) as started:
        watching, read_until = started
        read_until("no run has ended yet")
        log.write_text(CONTRACT.replace("abc.txt", "a\x1b]0;pwned\x07.txt"))
        read_until("2021202045")
        watching.send_signal(signal.SIGINT)
        shown = read_until("1 run in 4 records")
        assert watching.wait(30) == 0
    assert "a\\x1b]0;pwned\\x07.txt" in shown
    assert "]0;pwned\x07" not in shown


def test_a_terminal_that_cannot_be_redrawn_gets_a_line_a_run(tmp_path):
    log = tmp_path / "log"
    log.write_text(CONTRACT)
    with terminal_of("watch", "--store", tmp_path / "s", log, kind="dumb") as started:
        _, read_until = started
        assert "test[47283] owner=2021202045" in read_until("complete\r\n")


def test_parquet_does_not_go_to_a_terminal(filled):
    with terminal_of("runs", "--store", filled, "--format", "parquet") as (started, read_until):
        read_until("parquet is no text")
        assert started.wait(30) == 2


def test_the_times_shown_are_those_stored(read):
    (oldest,) = json.loads(read("runs", "--json", "--until", "2026-11-23T00:01").stdout)
    assert datetime.fromisoformat(oldest["started_at"]) == START


@pytest.mark.parametrize(
    "command",
    [["runs"], *(["runs", "--format", each] for each in ("csv", "json", "parquet")), ["stats"]],
)
def test_output_that_there_is_no_room_for_is_told_in_one_line(logtrace, tmp_path, command):
    store_with(tmp_path / "store", rows_of({}, {}))
    whole = [sys.executable, "-m", "logtrace", *command, "--store", str(tmp_path / "store")]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(whole, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: the output can't be written: No space left on device (make room where it goes, or"
        " send it elsewhere)\n"
    )
