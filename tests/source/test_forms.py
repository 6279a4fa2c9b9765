"""The same log in many forms, as dmesg and journalctl print it.

They are those of util-linux 2.38 and systemd 252 where the name of a file says no other.
"""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from memory_store import MemoryStore, watch_once

from logtrace.errors import SourceError
from logtrace.runs import RunAssembler
from logtrace.source import forms
from logtrace.source.dating import Dating
from logtrace.source.forms import form_of, recognise
from logtrace.source.journal_text import plain
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


def read(text, **options):
    return list(read_log(io.BytesIO(text), "log@0", **options))


# What a journal or syslog keeps begins with a boot before, which left a run open
BOOT_BEFORE = (47283, None, None, None, None, None, "no_end")


def has_two_boots(name):
    return name.startswith(("journal", "syslog"))


@pytest.mark.parametrize("name", NAMES)
def test_a_log_gives_the_same_runs_in_every_form(name):
    assembler = RunAssembler("lab7")
    rows = assembler.feed(records(name))
    rows.add(assembler.finish())
    runs = [tuple(run.get(column) for column in COLUMNS) for run in rows.runs]
    assert runs == [BOOT_BEFORE] * has_two_boots(name) + EXPECTED
    assert [loss["text"] for loss in rows.losses] == ["OS Assignment2 ftrace [61000] Strat"]
    if has_two_boots(name):
        assert rows.runs[0]["note"].endswith("the machine was started anew before its End line")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("dmesg-notime", "journal-cat")]
)
def test_the_form_is_recognised(name):
    form = recognise((FORMS / name).read_bytes().splitlines())
    expected = {"k": "kmsg", "j": "syslog", "s": "syslog"}.get(name[0], "dmesg")
    special = [part for part in ("json", "verbose", "export") if part in name]
    assert form == (special or [expected])[0]


def test_messages_that_look_like_a_host_and_a_tag_are_still_those_of_dmesg():
    lines = [b"[    %d.000000] usb 1-1: new device" % number for number in range(100)]
    assert recognise(lines) == "dmesg"
    assert recognise([*lines, b"[  100.000000] odd kernel: one"]) == "dmesg"
    monotonic = [b"[    %d.000000] lab7 kernel: new device" % number for number in range(100)]
    assert recognise([*monotonic, b"[  100.000000] lab7 sshd[1]: one"]) == "syslog"


LINES = [line for name in NAMES for line in (FORMS / name).read_bytes().splitlines()]


def test_a_line_that_has_a_form_has_it_also_by_itself():
    for line in LINES:
        assert (form_of(line) is None) == (recognise([line]) is None), line


NOT_FOLLOWED = [name for name in NAMES if re.search("dmesg.*json|pretty|export", name)]


def watched(log, name, lines):
    """Follow a log that grows by so many lines at a time, by a new watch each time."""
    store = MemoryStore()
    text = (FORMS / name).read_bytes().splitlines(keepends=True)
    for first in range(0, len(text), lines):
        with log.open("ab") as file:
            file.write(b"".join(text[first : first + lines]))
        watch_once(store, log)
    return store.rows


@pytest.mark.parametrize("lines", [1, 7, 1000])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_FOLLOWED])
def test_a_log_that_is_followed_gives_the_same_runs_as_one_that_is_imported(name, lines, tmp_path):
    rows = watched(tmp_path / "kern.log", name, lines)
    runs = [tuple(run.get(column) for column in COLUMNS) for run in rows["runs"]]
    # the one without an End line may still come to one
    assert runs == [BOOT_BEFORE] * has_two_boots(name) + EXPECTED[:-1]
    assert [loss["text"] for loss in rows["losses"]] == ["OS Assignment2 ftrace [61000] Strat"]


@pytest.mark.parametrize("lines", [1, 1000])
@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_a_log_in_a_form_that_can_not_be_followed_is_refused(name, lines, tmp_path):
    log = tmp_path / "kern.log"
    with pytest.raises(SourceError) as error:
        watched(log, name, lines)
    form = "export" if "export" in name else "JSON over several lines"
    assert re.fullmatch(
        rf"{log}: a log in this form can't be followed: .*{form}.* \(.*logtrace import {log}\)",
        str(error.value),
    )


def test_a_form_that_is_told_only_by_later_lines_is_taken_from_there(tmp_path):
    log, store = tmp_path / "kern.log", MemoryStore()
    log.write_bytes(b"[    0.500000] lab7 systemd[1]: started\n")
    watch_once(store, log)
    lines = (FORMS / "journal-short-monotonic").read_bytes()
    with log.open("ab") as file:
        file.write(lines)
    watch_once(store, log)
    assert [run["status"] for run in store.rows["runs"]] == ["no_end", *["complete"] * 3]


def test_a_log_of_dmesg_that_begins_like_one_of_the_journal_is_read_as_what_it_is(tmp_path):
    log, store = tmp_path / "kern.log", MemoryStore()
    log.write_bytes(b"[    0.000000] odd kernel: one\n" + (FORMS / "dmesg").read_bytes())
    watch_once(store, log)
    assert [run["status"] for run in store.rows["runs"]] == ["complete"] * 3


UNNAMED = ("journal-cat", "journal-short-no-hostname", "journal-257-short-quiet")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith("journal") and name not in UNNAMED]
)
def test_a_journal_names_host_and_boot(name):
    found = [record for record in records(name) if record.from_kernel]
    assert {record.host for record in found} == {"lab7"}
    before = None if "short" in name or "unit" in name else "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"
    assert [record.boot_id for record in found] == [before] * 2 + [
        "0c5e2f0a-4b1d-4f6e-9a7b-8c9d0e1f2a3b"
    ] * (len(found) - 2)


STAMPED = [
    "dmesg-ctime", "dmesg-ctime-delta", "dmesg-ctime-korean", "dmesg-iso", "dmesg-reltime",
    "journal-short", "journal-short-precise", "journal-short-iso", "journal-short-full",
    "journal-short-unix", "journal-json", "journal-short-full-utc", "journal-with-unit",
    "journal-verbose", "journal-export", "syslog-traditional", "syslog-rfc3339", "syslog-rfc5424",
]  # fmt: skip


@pytest.mark.parametrize("name", STAMPED)
def test_a_stamp_is_a_time_in_utc(name):
    (end,) = [item for item in records(name) if item.text == "OS Assignment2 ftrace [50002] End"]
    if name == "dmesg-reltime":
        assert (end.at, end.clock) == (None, "none")  # it has the time since the line before
    else:
        # dmesg adds the kernel's clock to the time of the boot
        assert end.clock == ("boot" if name.startswith("dmesg") else "log")
        assert end.at.replace(microsecond=0) == datetime(2026, 11, 23, 10, 0, 2, tzinfo=UTC)


def test_each_record_of_a_log_of_several_machines_names_its_own():
    text = b"Nov 23 10:00:00 a kernel: one\nNov 23 10:00:00 b.example kernel: two\n"
    assert [(item.host, item.text) for item in read(text)] == [("a", "one"), ("b.example", "two")]


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


@pytest.mark.parametrize(
    ("line", "host", "facility"),
    [
        (b"Nov 23 10:00:02 kernel: one", None, None),
        (b"Nov 23 10:00:02 kernel: usb: one", None, None),
        (b"Nov 23 10:00:02 lab.example kernel: one", "lab.example", None),
        (b"Nov 23 10:00:02 fe80::1%eth0 kernel: one", "fe80::1%eth0", None),
        (b"Nov 23 10:00:02 " + b"long" * 60 + b" kernel: one", "long" * 60, None),
        (b"Nov 23 10:00:02 " + b":" * 100 + b"a kernel: one", None, None),
        (b"2026-11-23T10:00:02 a kernel: one", "a", None),
        (b"<6>1 2026-11-23T10:00:02Z - kernel - - - one", None, 0),
        (b'<6>1 2026-11-23T10:00:02Z a kernel 1 m [x y="\\]"][z] \xef\xbb\xbfone', "a", 0),
        (b"<14>1 2026-11-23T10:00:02Z a app 1 - - one", "a", 1),
        (b"<86>1 2026-11-23T10:00:02Z a sshd 1 - - one", "a", 10),
    ],
)
def test_a_machine_is_named_where_it_can_be_the_name_of_one(line, host, facility):
    (record,) = read(line + b"\n")
    assert (record.host, record.facility) == (host, facility)
    assert record.at is not None


@pytest.mark.parametrize(
    "before",
    [
        b"[root@lab7 ~]# ", b"root@lab7:~$ ls -", b"\x1b[01;32mme@lab7\x1b[0m:~$ ", b"lab7 login: ",
        b"\x1b]0;me@lab7: ~\x07me@lab7:~$ ", b"\x1b[?2004hbash-5.2# ", b"\r", b"\x1b[2K\r",
    ],
)  # fmt: skip
def test_the_kernel_is_heard_behind_a_prompt_on_a_console(before):
    log = b"[    1.000000] one\r\n" + before + b"[    2.000000] two [x] # [    9.000000] y\r\n"
    one, two = read(log)
    assert (two.usec, two.text, two.from_kernel) == (2_000_000, "two [x] # [    9.000000] y", True)
    assert one.text == "one"


def test_what_a_program_prints_behind_a_stamp_on_a_console_is_no_record():
    log = b"[    1.000000] one\nsaid: [    2.000000] OS Assignment2 ftrace [7] End\n"
    assert [record.from_kernel for record in read(log)] == [True, False]


# util-linux since 2.40 prints each --time-format that it was asked for
def test_dmesg_may_print_several_stamps_before_a_record():
    log = (
        b"[    1.500000] [Mon Nov 23 10:00:02 2026] [    0.5] text\n"
        b"                           goes on\n"
        b"kern  :info  : [<    0.000000>] 2026-11-23T10:00:03,000000+00:00 [ T12] next\n"
    )
    one, two = read(log)
    assert (one.usec, one.text) == (1_500_000, "[    0.5] text\ngoes on")
    assert (two.text, two.caller, two.level) == ("next", "T12", 6)
    assert [one.at.second, two.at.second] == [2, 3]


def test_a_message_that_begins_like_its_own_stamp_is_left_whole():
    (record,) = read(b"[    1.000000] [    2.000000] OS Assignment2 ftrace [7] Start\n")
    assert (record.usec, record.text[:15]) == (1_000_000, "[    2.000000] ")


def test_the_rest_of_a_record_is_indented_by_its_stamp_and_not_by_its_caller():
    (record,) = read(b"[    1.000000][ T123] one\n               two\n")
    assert (record.text, record.caller) == ("one\ntwo", "T123")


@pytest.mark.parametrize(
    ("prefix", "facility", "level"), [("<14>", 1, 6), ("<4>", 0, 4), ("user  :info  : ", 1, 6)]
)
def test_a_priority_before_the_stamp_says_whose_the_record_is(prefix, facility, level):
    (record,) = read(f"{prefix}[    1.000000] usb 1-1: new device\n".encode())
    assert (record.facility, record.level) == (facility, level)
    assert (record.usec, record.text) == (1_000_000, "usb 1-1: new device")


def test_a_message_that_the_journal_gives_as_numbers_is_read():
    message = list("file[é".encode() + b"\xff] stats")
    (record,) = read(json.dumps({"_TRANSPORT": "kernel", "MESSAGE": message}).encode())
    assert record.text == r"file[é\xff] stats"


def test_a_form_that_is_given_is_taken_where_another_fits_as_well():
    log = b"[    1.000000] lab7 kernel: OS Assignment2 ftrace [7] Start\n"
    assert [record.text for record in read(log, form="syslog")] == [
        "OS Assignment2 ftrace [7] Start"
    ]
    assert [record.text for record in read(log, form="dmesg")] == [
        "lab7 kernel: OS Assignment2 ftrace [7] Start"
    ]


def test_an_object_nested_without_end_is_none():
    assert forms.json_line(b'{"MESSAGE": ' + b"[" * 200_000, Dating()) is None


@pytest.mark.parametrize("value", [b"a\nb", b"a\r\nb", b"\n" * 300, b"\0\xff" + b"\r\n" * 500, b""])
def test_a_binary_field_of_an_export_is_read_byte_for_byte(value):
    field = len(value).to_bytes(8, "little") + value + b"\n"
    one = b"__CURSOR=x\n_TRANSPORT=kernel\nMESSAGE\n" + field + b"\n"
    log = one + b"__CURSOR=y\nJUNK\n" + field + b"_TRANSPORT=kernel\nMESSAGE\n" + field + b"\n"
    text = plain(value.decode("utf-8", "surrogateescape"))
    assert [(record.seq, record.text) for record in read(log)] == [(0, text), (len(one), text)]


@pytest.mark.parametrize("size", [2**64 - 1, 2**21, 5])
def test_a_field_of_an_export_that_is_cut_off_hides_no_entry_before_it(size):
    log = (
        b"__CURSOR=x\n_TRANSPORT=kernel\nMESSAGE=one\n\n"
        b"__CURSOR=y\nMESSAGE\n" + size.to_bytes(8, "little") + b"two"
    )
    assert [record.text for record in read(log)] == ["one"]


def test_a_message_of_several_lines_is_one_record_of_the_journal():
    for name in ("journal-verbose", "journal-export", "journal-json"):
        assert "a message\nof two lines, and a\ttab" in {item.text for item in records(name)}


PAGE = (Path(__file__).parents[2] / "docs" / "forms.md").read_text("utf-8")
CELLS = r"\| `(.*)` \| (\w+) \| (\w* ?)\| (\d* ?)\| (\w+) \| (\w+) \|"
EXAMPLES = re.findall(CELLS, PAGE)


@pytest.mark.parametrize("example", EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_each_example_of_the_page_is_read_as_it_says(example):
    line, form, host, usec, clock, text = (cell.strip() for cell in example)
    assert recognise([line.encode()]) == form
    dating = Dating(UTC, datetime(2026, 11, 24, tzinfo=UTC))
    (record,) = read(line.encode() + b"\n", dating=dating)
    assert (record.host, record.usec) == (host or None, int(usec) if usec else None)
    assert (record.clock, record.text, record.from_kernel) == (clock, text, True)
    if record.at:
        assert record.at.replace(microsecond=0) == datetime(2026, 11, 23, 10, tzinfo=UTC)


def test_the_page_has_an_example_of_each_form_of_a_line_and_names_all():
    from logtrace.cli import import_

    (option,) = (option for option in import_.params if option.name == "form")
    # one of pstore is put into order first, and then has another
    names = [*forms.FORMS, "pstore"]
    assert list(option.type.choices) == names
    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, re.M)) == set(names)
    assert {example[1] for example in EXAMPLES} == set(forms.FORMS) - {"verbose", "export"}
