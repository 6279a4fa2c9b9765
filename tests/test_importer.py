import bz2
import gzip
import io
import lzma
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from click.testing import CliRunner
from store_samples import CONTRACT, log_of

from logtrace import bulk, importer, schema
from logtrace.cli import cli
from logtrace.engine import Engine
from logtrace.errors import SourceError, StoreError
from logtrace.importer import find_logs, import_log
from logtrace.source import redelivery
from logtrace.store import HostTables, Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "dmesg.txt"
    path.write_text(CONTRACT)
    return path


def imported(store, path, host="lab01", **options):
    return import_log(store.host(host), Path(path), host, **options)


def rows(store, table="runs"):
    return Engine(store).rows(table, order="host, first_seq")


def pids(store):
    return list(rows(store)["pid"])


def test_the_contracts_four_lines_become_one_run_joined_and_typed(store, log):
    done = imported(store, log, boot_id="b")
    assert (done.path, done.records, done.runs, done.losses) == (log, 4, 1, 0)
    frame = rows(store)
    pd.testing.assert_series_equal(frame.dtypes, schema.empty_frame(schema.RUNS).dtypes)
    (run,) = frame.to_dict("records")
    known = {name: value for name, value in run.items() if not pd.isna(value)}
    assert known.pop("source").startswith(f"{log}@")
    assert len(known.pop("run_id")) == 16
    assert known == {
        "host": "lab01",
        "boot_id": "b",
        "first_seq": 0,
        "last_seq": CONTRACT.index("[33047.244402] OS"),
        "started_us": 33047244330,
        "ended_us": 33047244402,
        "clock": "none",
        "pid": 47283,
        "owner": "2021202045",
        "comm": "test",
        "file": "abc.txt",
        "read_bytes": 20,
        "written_bytes": 26,
        "open_calls": 1,
        "close_calls": 1,
        "read_calls": 4,
        "write_calls": 5,
        "lseek_calls": 9,
        "dialect": "contract",
        "status": "complete",
    }


def test_iso_stamps_give_the_wall_clock(store, tmp_path):
    log = tmp_path / "iso"
    stamp = "2026-11-23T10:00:00,125000+09:00"
    log.write_text("".join(f"{stamp} {line[15:]}\n" for line in CONTRACT.splitlines()))
    imported(store, log)
    run = rows(store).iloc[0]
    assert (run["started_at"], run["clock"]) == (
        datetime(2026, 11, 23, 1, 0, 0, 125000, UTC),
        "boot",
    )


def test_a_log_imported_twice_is_stored_once(store, log, tmp_path):
    imported(store, log)
    assert imported(store, log).already_stored
    copy = tmp_path / "copy.gz"
    copy.write_bytes(gzip.compress(log.read_bytes()))
    assert imported(store, copy).already_stored
    assert pids(store) == [47283]


def test_the_same_log_of_two_hosts_is_stored_for_each(store, log):
    imported(store, log, "a")
    imported(store, log, "b")
    frame = rows(store)
    assert list(frame["host"]) == ["a", "b"]
    assert frame["run_id"].nunique() == 2


@pytest.mark.parametrize(
    ("name", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_compressed_log_is_read_like_a_plain_one(store, tmp_path, name, pack):
    path = tmp_path / f"log.{name}"
    path.write_bytes(pack(CONTRACT.encode()))
    assert imported(store, path).runs == 1


def test_standard_input_is_a_log(store, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CONTRACT.encode())))
    assert imported(store, "-").runs == 1
    assert rows(store)["source"].iloc[0].startswith("stdin@")


def test_an_empty_log_has_no_runs_and_is_known_the_next_time(store, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    done = imported(store, empty)
    assert (done.records, done.runs, done.already_stored) == (0, 0, False)
    assert imported(store, empty).already_stored


def test_a_folders_logs_are_found_in_order_at_any_depth(tmp_path):
    for name in ("b.log", "a/z.log", "a/b/c.log", ".lock", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path) for path in find_logs([tmp_path])]
    assert found == [Path("a/b/c.log"), Path("a/z.log"), Path("b.log")]
    assert find_logs([Path("-"), tmp_path / "b.log"]) == [Path("-"), tmp_path / "b.log"]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_path_without_a_log_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=name):
        find_logs([tmp_path / name])


@pytest.mark.parametrize("content", [b"\0" * 100, b"\x1f\x8b broken"])
def test_what_is_no_log_is_named_and_nothing_is_stored(store, tmp_path, content):
    path = tmp_path / "blob"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="blob"):
        imported(store, path)
    assert not store.root.exists() or pids(store) == []


def test_a_broken_import_goes_on_where_it_was(store, tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.write_text(log_of(*range(1, 12)))
    monkeypatch.setattr(bulk, "can_read", lambda form: False)
    monkeypatch.setattr(importer, "_BATCH_RECORDS", 7)
    monkeypatch.setattr(importer, "_WAITING_ROWS", 1)
    tables = store.host("lab01")
    append, commits = tables.append, []

    def break_off(*args, **rows):
        if len(commits) == 3:
            raise StoreError("no space")
        commits.append(args)
        append(*args, **rows)

    tables.append = break_off
    with pytest.raises(StoreError):
        import_log(tables, log, "lab01")
    stored = pids(store)
    assert stored == [1, 2, 3, 4, 5]  # 21 records make five runs and a beginning
    done = imported(store, log)
    assert not done.already_stored
    assert pids(store) == list(range(1, 12))
    assert done.runs == 6
    assert imported(store, log).already_stored


@pytest.mark.parametrize("host", ["lab 7", "käse/é", "..", "a=b", "~", "007", "=cmd()", "한국"])
def test_any_host_name_comes_back_as_it_was(store, log, host):
    imported(store, log, host)
    assert list(rows(store)["host"]) == store.hosts() == [host]
    assert {path.parent for path in store.root.parent.glob("*/host=*")} == {store.root}


def test_a_file_name_that_is_no_text_is_kept_escaped(store, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/log\xff\x1b"))
    path.write_text(CONTRACT)
    imported(store, path)
    assert "log\\xff\\x1b@" in rows(store)["source"].iloc[0]


def test_lines_that_are_not_understood_are_counted_and_kept(store, tmp_path):
    log = tmp_path / "log"
    broken = "[  99.000000] OS Assignment2 ftrace [12] Strat\n"
    log.write_text(broken + CONTRACT + "[  100.0] usb 1-1: new device\n" + broken)
    done = imported(store, log)
    assert (done.runs, done.losses) == (1, 2)
    lost = rows(store, "losses")
    assert list(lost["reason"]) == ["rejected", "rejected"]
    assert list(lost["text"]) == ["OS Assignment2 ftrace [12] Strat"] * 2
    assert list(lost["records"]) == [1, 1]


def test_what_is_open_at_the_end_of_a_log_is_a_run_without_end(store, tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(CONTRACT.splitlines(keepends=True)[:3]))
    assert imported(store, log).runs == 1
    assert list(rows(store)["status"]) == ["no_end"]


SYSLOG = "".join(
    f"Nov 23 23:30:00 lab7 kernel: {line}\n" for line in CONTRACT.splitlines(keepends=False)
)


def written(path, text, at):
    path.write_text(text)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, datetime(2025, 11, 23, 23, 30, tzinfo=UTC)),
        ({"zone": ZoneInfo("Asia/Seoul")}, datetime(2025, 11, 23, 14, 30, tzinfo=UTC)),
        ({"year": 2019}, datetime(2019, 11, 23, 23, 30, tzinfo=UTC)),
    ],
)
def test_what_stamps_lack_is_given_or_follows_from_when_the_log_was_written(
    store, tmp_path, options, expected
):
    log = written(tmp_path / "kern.log", SYSLOG, datetime(2026, 1, 2, tzinfo=UTC))
    done = imported(store, log, **options)
    assert done.assumed == (str(expected.year), "zone")
    (run,) = rows(store).to_dict("records")
    assert (run["started_at"], run["clock"]) == (expected, "log")


def test_stamps_that_lack_nothing_need_no_assumption(store, log):
    assert imported(store, log).assumed == ()


def test_a_form_can_be_given_and_one_that_is_not_the_logs_is_refused(store, tmp_path):
    log = tmp_path / "kern.log"
    log.write_text(SYSLOG)
    with pytest.raises(SourceError, match=r"kern\.log: none .* form kmsg.*\n?.*take another of"):
        imported(store, log, form="kmsg")
    assert imported(store, log, form="syslog").runs == 1
    assert len(rows(store)) == 1


def central_log(*machines):
    """Runs of several machines whose lines alternate; all have the same process ids."""
    logs = [[f"Nov 23 23:30:00 {name} kernel: {line}\n" for line in lines.splitlines()]
            for name, lines in machines]  # fmt: skip
    return "".join(line for lines in zip(*logs, strict=True) for line in lines)


def found(store, table="runs"):
    columns = ["host", "first_seq", "pid", "status"]
    return sorted(map(tuple, rows(store, table)[columns].to_dict("split")["data"]))


def test_each_machine_of_a_central_log_has_tables_of_its_own(store, tmp_path):
    log = tmp_path / "central.log"
    log.write_text(central_log(("lab1", log_of(7)), ("lab2.example", log_of(7))))
    done = imported(store, log, host="here")
    assert (done.runs, done.hosts) == (2, ("lab1", "lab2.example"))
    assert [row[0::3] for row in found(store)] == [
        ("lab1", "complete"),
        ("lab2.example", "complete"),
    ]
    assert store.hosts() == ["lab1", "lab2.example"]
    assert imported(store, log, host="elsewhere").already_stored


def test_the_command_says_of_how_many_machines_a_log_was(store, tmp_path):
    log = tmp_path / "central.log"
    log.write_text(central_log(("lab1", log_of(7)), ("lab2", log_of(7))))
    done = CliRunner().invoke(cli, ["import", "--store", str(store), str(log)])
    assert done.stdout == f"{log}: 2 runs in 8 records of 2 machines\n"


def test_a_machine_that_says_nothing_of_runs_has_no_tables(store, tmp_path):
    log = tmp_path / "central.log"
    log.write_text(SYSLOG + "Nov 23 23:30:01 lab8 kernel: usb 1-1: new device\n")
    assert imported(store, log).hosts == ("lab7",)
    assert store.hosts() == ["lab7"]


def test_a_line_that_names_no_machine_is_of_the_one_that_the_log_names_first(store, tmp_path):
    log = tmp_path / "kern.log"
    log.write_text(SYSLOG + "OS Assignment2 ftrace [12] Strat\n")
    imported(store, log, host="here")
    assert list(rows(store, "losses")["host"]) == ["lab7"]


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    ("waiting", "commits"), [(1, number) for number in range(1, 7)] + [(99, 0), (99, 1), (99, 2)]
)
def test_an_import_that_is_killed_between_the_tables_of_two_machines_goes_on_exactly_once(
    store, tmp_path, monkeypatch, waiting, commits
):
    log = tmp_path / "central.log"
    logs = [(name, log_of(1, 2, 3)) for name in ("lab2", "lab1", "lab3")]
    log.write_text(central_log(*logs))
    monkeypatch.setattr(importer, "_BATCH_RECORDS", 15)
    monkeypatch.setattr(importer, "_WAITING_ROWS", waiting)
    left = [commits]

    def killed(tables, *args, _append=HostTables.append, **rows):
        if not left[0]:
            raise KilledError
        left[0] -= 1
        _append(tables, *args, **rows)

    with monkeypatch.context() as patch:
        patch.setattr(HostTables, "append", killed)
        with pytest.raises(KilledError):
            imported(store, log)
    again = imported(store, log)
    assert not again.already_stored
    assert [row[0::2] for row in found(store)] == [
        (name, pid) for name in ("lab1", "lab2", "lab3") for pid in (1, 2, 3)
    ]
    assert imported(store, log).already_stored


@pytest.mark.parametrize("commits", range(5))
def test_an_import_in_bulk_that_is_killed_goes_on_exactly_once(
    store, tmp_path, monkeypatch, commits
):
    log = tmp_path / "log"
    log.write_text(log_of(*range(1, 30)))
    monkeypatch.setattr(bulk, "BATCH_BYTES", 1)
    monkeypatch.setattr(bulk, "read", partial(bulk.read, part_bytes=500))
    monkeypatch.setattr(importer, "_WAITING_ROWS", 1)
    left = [commits]

    def killed(tables, *args, _append=HostTables.append, **rows):
        if not left[0]:
            raise KilledError
        left[0] -= 1
        _append(tables, *args, **rows)

    with monkeypatch.context() as patch:
        patch.setattr(HostTables, "append", killed)
        with pytest.raises(KilledError):
            imported(store, log)
    before = len(pids(store)) if commits else 0
    assert before < 29
    assert bool(before) == bool(commits)
    assert imported(store, log).runs == 29 - before
    assert sorted(pids(store)) == list(range(1, 30))
    assert imported(store, log).already_stored


def test_what_was_open_when_the_machine_was_started_anew_ended_there(store, tmp_path):
    start, *rest = CONTRACT.splitlines(keepends=True)
    log = tmp_path / "console.log"
    log.write_text(start + "[    0.000000] Linux version 6.1.0\n" + start + "".join(rest))
    imported(store, log, boot_id="b")
    unended, whole = rows(store).to_dict("records")
    assert (unended["status"], whole["status"]) == ("no_end", "complete")
    assert unended["note"].endswith("the machine was started anew before its End line")
    assert unended["boot_id"] == "b"
    assert pd.isna(whole["boot_id"])  # the boot that was named is over
    assert unended["run_id"] != whole["run_id"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, [2025, 2026]), ({"year": 2019}, [2019, 2020])],
)
def test_stamps_without_year_go_on_over_new_year(store, tmp_path, options, expected):
    before, after = (line.replace("Nov 23", "Dec 31") for line in (SYSLOG, SYSLOG))
    log = tmp_path / "kern.log"
    written(log, before + after.replace("Dec 31", "Jan  1"), datetime(2026, 3, 2, tzinfo=UTC))
    done = imported(store, log, **options)
    assert [row["started_at"].year for row in rows(store).to_dict("records")] == expected
    assert done.assumed == (*map(str, expected), "zone")


def collected(*numbers, host="pc7"):
    """Runs of a machine as a collector of syslog writes them; a line for each number of one."""
    lines = []
    for number in numbers:
        run, place = divmod(number, 4)
        text = CONTRACT.splitlines()[place].split("] ", 1)[1].replace("47283", f"{5000 + run}")
        stamp = f"2026-11-28T10:{run:02}:00.{place:06}+00:00"
        lines.append(f"{stamp} {host} kernel: [{60 * run:5}.{place:06}] {text}\n")
    return "".join(lines)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([0, 1, 2, 2, 3, 4, 5, 6, 7], id="a line"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7], id="whole runs"),
        pytest.param([0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7], id="between the lines of a run"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 7, 7], id="the last line"),
    ],
)
def test_what_a_collector_was_given_again_is_imported_once(store, tmp_path, numbers):
    log = tmp_path / "kern.log"
    log.write_text(collected(*numbers) + collected(*numbers, host="pc8"))
    assert imported(store, log).records == 16
    frame = rows(store)
    assert list(zip(frame["host"], frame["pid"], frame["status"], strict=True)) == [
        (host, pid, "complete") for host in ("pc7", "pc8") for pid in (5000, 5001)
    ]


def test_what_is_said_again_at_another_time_is_imported_again(store, tmp_path):
    log = tmp_path / "kern.log"
    log.write_text(collected(*range(4)) + collected(*range(4)).replace("[    0", "[    1"))
    assert imported(store, log).runs == 2


def test_a_copy_is_looked_for_among_so_many_records(store, tmp_path, monkeypatch):
    monkeypatch.setattr(redelivery, "_REMEMBERED", 8)
    near, far = tmp_path / "near", tmp_path / "far"
    near.write_text(collected(*range(8), *range(4)))
    far.write_text(collected(*range(12), *range(4)))
    assert imported(store, near, "near").runs == 2
    assert imported(store, far, "far").runs == 4
