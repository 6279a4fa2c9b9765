"""The same log in many forms, as dmesg (util-linux 2.38) and journalctl (252) print it."""

import io
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from logtrace.errors import SourceError
from logtrace.runs import RunAssembler
from logtrace.source.forms import Dating, recognise
from logtrace.source.logfile import read_log

FORMS = Path(__file__).parent.parent / "data" / "forms"
NAMES = sorted(path.name for path in FORMS.iterdir())
EXPECTED = [
    (47283, "2021202045", "test", "abc.txt", 20, 26, "complete"),
    (50002, "2020123456", "my prog", r"a\x0ab\x5cé한.txt", 0, 4096, "complete"),
    (60000, "7", "kernel:", r"\x1b[31mred", 1, 2, "complete"),
    (50001, None, None, None, None, None, "no_end"),
]
COLUMNS = ("pid", "owner", "comm", "file", "read_bytes", "written_bytes", "status")


def records(name, **options):
    dating = Dating(ZoneInfo("Asia/Seoul"), datetime(2026, 11, 24, tzinfo=UTC))
    return list(read_log(io.BytesIO((FORMS / name).read_bytes()), "log@0", dating=dating))


# The journals begin with a boot before, which left a run open
def of_last_boot(items):
    first = [n for n, item in enumerate(items) if item.text.startswith("Linux version")][-1]
    return items[first:]


@pytest.mark.parametrize("name", NAMES)
def test_a_log_gives_the_same_runs_in_every_form(name):
    assembler = RunAssembler("lab7")
    rows = assembler.feed(of_last_boot(records(name)))
    rows.add(assembler.finish())
    assert [tuple(run.get(column) for column in COLUMNS) for run in rows.runs] == EXPECTED
    assert [loss["text"] for loss in rows.losses] == ["OS Assignment2 ftrace [61000] Strat"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dmesg-notime"])
def test_the_form_is_recognised(name):
    form = recognise((FORMS / name).read_bytes().splitlines())
    expected = "json" if "json" in name else {"k": "kmsg", "j": "syslog"}.get(name[0], "dmesg")
    assert form == expected


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("journal")])
def test_a_journal_names_host_and_boot(name):
    found = of_last_boot(records(name))
    assert {record.host for record in found if record.from_kernel} == {"lab7"}
    assert {record.boot_id for record in found if record.from_kernel} == {
        "0c5e2f0a-4b1d-4f6e-9a7b-8c9d0e1f2a3b"
    }


STAMPED = [
    "dmesg-ctime", "dmesg-ctime-delta", "dmesg-ctime-korean", "dmesg-iso", "dmesg-reltime",
    "journal-short", "journal-short-precise", "journal-short-iso", "journal-short-full",
    "journal-short-unix", "journal-json",
]  # fmt: skip


@pytest.mark.parametrize("name", STAMPED)
def test_a_stamp_is_a_time_in_utc(name):
    (end,) = [item for item in records(name) if item.text == "OS Assignment2 ftrace [50002] End"]
    if name == "dmesg-reltime":
        assert end.at is None or end.at.minute == 0
    else:
        assert end.at.replace(microsecond=0) == datetime(2026, 11, 23, 10, 0, 2, tzinfo=UTC)


def test_a_log_of_several_machines_is_refused_and_both_are_named():
    text = b"Nov 23 10:00:00 a kernel: one\nNov 23 10:00:00 b kernel: two\n"
    with pytest.raises(SourceError, match=r"log: has lines of a and of b"):
        list(read_log(io.BytesIO(text), "log@0"))


def test_a_program_in_a_syslog_file_is_not_the_kernel():
    text = b"Nov 23 10:00:00 a kernel: [    1.500000] one\nNov 23 10:00:00 a sshd[1]: two\n"
    kernel, program = read_log(io.BytesIO(text), "log@0")
    assert (kernel.usec, kernel.text, kernel.from_kernel) == (1_500_000, "one", True)
    assert not program.from_kernel


@pytest.mark.parametrize(
    "stamp",
    [
        b"Nov 23 10:00:02 a kernel:",
        b"2026-11-23T19:00:02.000000+09:00 a kernel:",
        b"<6>1 2026-11-23T10:00:02Z a kernel - - -",
        b"Nov 23 10:00:02 a kern.info kernel:",
    ],
)
def test_a_line_of_syslog_has_host_time_and_kernel_clock(stamp):
    dating = Dating(UTC, datetime(2026, 11, 24, tzinfo=UTC))
    (record,) = read_log(io.BytesIO(stamp + b" [   12.345678] text#011x\n"), "log@0", dating=dating)
    assert (record.host, record.usec, record.text) == ("a", 12_345_678, "text\tx")
    assert (record.at, record.clock) == (datetime(2026, 11, 23, 10, 0, 2, tzinfo=UTC), "log")
    assert record.from_kernel


def test_a_stamp_without_year_is_not_in_the_future():
    dating = Dating(UTC, datetime(2027, 1, 5, tzinfo=UTC))
    log = b"Dec 31 23:59:59 a kernel: one\nJan  1 00:00:01 a kernel: two\n"
    years = [record.at.year for record in read_log(io.BytesIO(log), "log@0", dating=dating)]
    assert years == [2026, 2027]
