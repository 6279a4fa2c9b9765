"""Logs that somebody wrote to do harm: no exception, no run that was not there, bounded state."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_samples import REPORTS
from log_samples import call, end, fd, log, ops, start, stats, trace

from logtrace import bulk, importer, runs, schema
from logtrace.cli import cli
from logtrace.errors import SourceError
from logtrace.machines import Machines
from logtrace.runs import RunAssembler
from logtrace.source.forms import FORMS, Objects
from logtrace.source.logfile import begin_log, read_records

WORDS = re.compile(rb"race|ssign|read|open", re.IGNORECASE)


def rows_of(data, form=None, in_bulk=False):
    stream = io.BytesIO(data)
    text = begin_log(stream, "log@0", None, form)
    if in_bulk and bulk.can_read(text.form):
        batches = bulk.read(stream, text, "lab", workers=1)
    else:
        batches = importer._read(read_records(stream, text), Machines("lab"), len(data))
    found = (each for batch in batches for each in batch.found.values())
    tables = (schema.to_table(each.runs, schema.TABLES["runs"]) for each in found)
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.parametrize("in_bulk", [False, True])
@pytest.mark.parametrize("form", [None, *FORMS])
@settings(max_examples=25)
@given(data=st.binary(max_size=2000))
def test_random_bytes_are_no_run(form, in_bulk, data):
    beginning = {None: b"", "dmesg": b"[    1.000000] usb\n", "kmsg": b"6,1,1,-;usb\n"}
    beginning |= {"verbose": b"Mon 2026-11-23 10:00:00.000000 UTC [s=1]\n    MESSAGE=usb\n"}
    beginning |= {"export": b"__CURSOR=s=1\nMESSAGE=usb\n\n"}
    beginning |= {"syslog": b"Nov 23 10:00:00 lab kernel: usb\n", "json": b'{"MESSAGE":"usb"}\n'}
    try:
        rows = rows_of(beginning[form] + data, form, in_bulk)
    except SourceError:
        return  # of several machines
    assert rows == [] or WORDS.search(data)


def stamped(*said, form="dmesg"):
    stamps = {"dmesg": "[{:5d}.000000] ", "kmsg": "6,1,{},-;"}
    stamps |= {"dated": "2026-11-23T10:00:{:02d},000000+00:00 "}
    return b"".join(
        stamps[form].format(second).encode() + (text if isinstance(text, bytes) else text.encode())
        for second, text in enumerate(f"{line}\n" if isinstance(line, str) else line + b"\n"
                                      for line in said)
    )  # fmt: skip


@pytest.mark.parametrize("in_bulk", [False, True])
@pytest.mark.parametrize("form", ["dmesg", "kmsg"])
@pytest.mark.parametrize(
    "name", [b"\\", b"\\x", b"\\x0", b"\\xe2\\x80", b"\xff\xfe", b"\xed\xa0\x80"]
)
def test_cut_escapes_and_bytes_that_are_no_utf_8_are_kept_in_the_run_s_name(form, name, in_bulk):
    said = stats(file="FILE").encode().replace(b"FILE", name)
    # a run like any other stands before it, as such are read in bulk
    other = [start(6), stats(), ops(), end(6)]
    _, row = rows_of(
        stamped(*other, start(7), said, ops(), end(7), "usb", form=form), None, in_bulk
    )
    assert (row["pid"], row["read_bytes"], row["status"]) == (7, 20, "complete")
    assert row["file"].isprintable()
    assert row["file"] != ""


@pytest.mark.parametrize("in_bulk", [False, True])
@given(number=st.integers(2**63 - 2, 10**40))
@settings(max_examples=25)
def test_a_number_beyond_64_bits_is_nobody_s(in_bulk, number):
    other = [start(6), stats(), ops(), end(6)]
    lines = [start(7), stats(read=number), ops(number), end(7), start(number), end(number), "usb"]
    rows = rows_of(stamped(*other, *lines), in_bulk=in_bulk)
    assert {row["pid"] for row in rows} == {6, 7} | ({number} if number < 2**63 else set())
    assert {row["read_bytes"] for row in rows if row["pid"] == 7} == (
        {number} if number < 2**63 else {None}
    )


@pytest.mark.parametrize("in_bulk", [False, True])
def test_megabyte_lines_are_no_run_and_hide_none(in_bulk):
    run = [start(7), stats(), ops(), end(7)]
    huge = [("OS Assignment2 ftrace [" * 100_000), "[" * 3_000_000, stats(file="x" * 2_000_000)]
    rows = rows_of(stamped(*run, huge[0], *run, huge[1], *run, huge[2], "usb"), in_bulk=in_bulk)
    assert [(row["pid"], row["status"]) for row in rows] == [(7, "complete")] * 3


def test_of_very_many_open_runs_the_oldest_are_closed_and_all_are_stored(monkeypatch):
    monkeypatch.setattr(runs, "_MOST_OPEN", 50)
    assembler = RunAssembler("lab")
    rows = assembler.feed(log(*map(start, range(1, 131))))
    assert len(assembler.open_runs) == 50
    assert [row["pid"] for row in rows.runs] == list(range(1, 81))
    assert {row["note"].split(";")[-1] for row in rows.runs} == {
        " 50 other runs began before its End line"
    }
    assert len(rows.runs) + len(assembler.finish().runs) == 130


def test_many_open_runs_are_read_in_bulk_as_record_by_record(monkeypatch):
    monkeypatch.setattr(runs, "_MOST_OPEN", 3)
    whole = [line for pid in range(90, 95) for line in (start(pid), stats(), ops(), end(pid))]
    data = stamped(*whole, *map(start, range(1, 5)), *whole, "usb")
    assert sorted(rows_of(data, in_bulk=True), key=repr) == sorted(rows_of(data), key=repr)


@pytest.mark.parametrize("in_bulk", [False, True])
@given(st.integers(0, 10**12), st.lists(st.integers(0, 1_000_000), min_size=8, max_size=8))
def test_time_that_goes_back_by_up_to_a_second_makes_no_run_and_loses_none(in_bulk, first, steps):
    times = [first + step for step in steps]
    said = [line for pid in (1, 2) for line in (start(pid), stats(), ops(), end(pid))]
    data = "".join(
        f"[{at // 10**6:5d}.{at % 10**6:06d}] {text}\n"
        for at, text in zip(times, said, strict=True)
    )
    rows = sorted(rows_of(data.encode(), in_bulk=in_bulk), key=lambda row: row["first_seq"])
    assert [row["pid"] for row in rows] == [1, 2]
    assert [row["started_us"] for row in rows] == [times[0], times[4]]


def test_objects_that_never_end_are_given_up():
    objects = Objects()
    assert objects.join(b"{") is None
    for _ in range(1 << 20):
        objects.join(b"")
    assert objects.join(b"}") in (None, b"}")


EVIL = "a\x1b]0;pwned\x07\x9b31m\u202e\u2066\rb"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store in which every text that a log can choose is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    head = "BUG: KASAN: use-after-free in evil+0x1/0x2 [m]"
    said = [
        *(start(7), stats(file=EVIL, comm=EVIL), ops(), trace(7, 1, 1), call(7), fd(7, path=EVIL)),
        *(end(7), start(8), stats(file=EVIL, comm=EVIL), f"OS Assignment2 ftrace [{EVIL}] End"),
        *(head + EVIL, f"CPU: 1 PID: 3 Comm: {EVIL} Tainted: G", *REPORTS["BUG"][0], EVIL),
    ]
    path = folder / f"log{EVIL}.txt"
    path.write_bytes(stamped(*(line.replace("\n", " ") for line in said), form="dated"))
    options = ["--store", str(folder / "store"), "--host", f"h{EVIL}"]
    done = CliRunner().invoke(cli, ["import", *options, str(path)])
    assert done.exit_code == 0, done.output
    meant = {"{log}": str(path)}
    meant["{run}"], meant["{other run}"] = ids_of("runs", folder / "store")
    _, meant["{incident}"] = ids_of("incidents", folder / "store")
    return folder / "store", meant, done


def ids_of(listing, folder):
    rows = json.loads(CliRunner().invoke(cli, [listing, "--json", "--store", str(folder)]).stdout)
    return [row[listing.removesuffix("s") + "_id"] for row in rows]


EXPECTED = f"""
roster = ["2021202045", {json.dumps(EVIL)}]
[tasks.{json.dumps(EVIL)}.expect]
file = {json.dumps(EVIL)}
"""
COMMANDS = [
    (0, ["runs"]),
    (0, ["runs", "--limit", "1"]),
    (0, ["runs", "--file", EVIL]),
    (3, ["runs", "--host", EVIL]),
    (2, ["runs", "--since", EVIL]),
    (2, ["runs", "--tz", EVIL]),
    (0, ["incidents"]),
    *((0, ["incidents", "--by", column]) for column in ("fingerprint", "module")),
    (2, ["incidents", "--by", EVIL]),
    (0, ["incidents", "--id", "{incident}"]),
    (3, ["incidents", "--id", EVIL]),
    *((0, ["stats", "--by", column]) for column in ("owner", "host", "comm", "file")),
    (2, ["stats", "--by", EVIL]),
    (0, ["compare", "{run}", "{other run}"]),
    (0, ["compare", "--by", "file", "2026-10", "2026-11"]),
    (2, ["compare", EVIL, EVIL]),
    (1, ["check", "expected.toml"]),
    (1, ["check", "--grades", "expected.toml"]),
    (2, ["check", "{log}"]),
    (2, ["check", EVIL]),
    (0, ["report", "--out", "report"]),
    (3, ["report", "--host", EVIL]),
    (1, ["report", "--out", "{log}/" + EVIL]),
    (2, ["report", "--format", EVIL]),
    (1, ["doctor", "{log}"]),
    (0, ["import", "{log}"]),
    (0, ["import", "--format", "dmesg", "{log}"]),
    (1, ["import", "--format", "kmsg", "{log}"]),
    (1, ["import", "{log}" + EVIL]),
    (2, ["import", "--format", EVIL, "{log}"]),
    (0, ["watch", "--once", "{log}"]),
    (0, ["watch", "--once", EVIL]),
    (2, ["watch", "--from", EVIL]),
    (0, ["store", "info"]),
    (3, ["store", "info", "--host", EVIL]),
    (0, ["store", "verify"]),
    (3, ["store", "verify", "--host", EVIL]),
    (0, ["store", "compact"]),
    (2, ["store", "retain", "--keep", EVIL]),
    (1, ["run", "--", EVIL]),
    (2, ["attach", EVIL]),
    (0, ["kmod", "history"]),
    (3, ["kmod", "history", "--host", EVIL]),
    (1, ["kmod", "build", "--kdir", EVIL]),
    (1, ["kmod", "install", "--kernel", EVIL]),
    (2, [EVIL]),
    (2, ["--" + EVIL]),
]


def in_words(command):
    return " ".join(command).replace(EVIL, "EVIL")


@pytest.mark.parametrize(
    ("status", "command"), COMMANDS, ids=[in_words(command) for _, command in COMMANDS]
)
def test_no_command_writes_what_a_terminal_would_obey(
    store, tmp_path, monkeypatch, status, command
):
    folder, meant, _ = store
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGTRACE_STORE", str(tmp_path / "store"))
    shutil.copytree(folder, tmp_path / "store")  # some commands write to it
    Path("expected.toml").write_text(EXPECTED, "utf-8")
    for name, value in meant.items():
        command = [part.replace(name, value) for part in command]
    done = CliRunner().invoke(cli, command)
    assert_harmless(done)
    assert done.exit_code == status, done.output
    if status == 2:  # it is the value that was refused, not the name of an option
        assert "pwned" in done.stderr


def test_an_import_tells_of_a_hostile_log_what_is_harmless(store):
    assert_harmless(store[2])


def assert_harmless(done):
    for text in (done.stdout, done.stderr):
        assert text.replace("\n", "").isprintable(), ascii(text)
    assert done.exception is None or isinstance(done.exception, SystemExit)
