"""The known traps of reading the kernel's log, a test each.

Each trap has cost some reader of the log records or the machine its peace. Here stands one
behaviour for each; the details are in the tests of the module that is concerned:
``source/test_kmsg.py`` (1 to 4, 9, 11, 14), ``test_record.py`` (5 to 8, 10),
``source/test_forms.py`` (12), ``source/test_follow.py`` (13), and those of ``terminal``,
``export`` and ``report`` (15).
"""

import errno
import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from log_samples import record, start
from report_samples import report_data, run_row, runs_frame
from store_samples import CONTRACT

from logtrace.engine import Engine
from logtrace.errors import SourceError
from logtrace.export import write_table
from logtrace.page import index_page
from logtrace.record import Loss, parse_kmsg
from logtrace.run_page import run_pages
from logtrace.runs import RunAssembler
from logtrace.source import kmsg
from logtrace.source.folder import FileTree, Layout
from logtrace.source.follow import Beginning
from logtrace.source.kmsg import KmsgSource
from logtrace.source.logfile import read_log
from logtrace.store import Store
from logtrace.watch import Watch

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINES = [line.partition("] ")[2] for line in CONTRACT.splitlines()]


@pytest.fixture
def ring(monkeypatch):
    """Give a function that opens /dev/kmsg over reads: bytes are a record, errors are raised."""
    opened = []
    ends = os.pipe()  # in place of the device: the sources wait for it to become readable

    def open_ring(*reads, boot="b1", **options):
        waiting = list(reads)

        def read(_descriptor, size):
            if not waiting:
                raise BlockingIOError
            item = waiting.pop(0)
            if isinstance(item, OSError):
                raise item
            if len(item) > size:  # as the kernel does: the record is lost
                raise OSError(errno.EINVAL, "Invalid argument")
            return item

        monkeypatch.setattr(kmsg.os, "read", read)
        source = KmsgSource(
            boot,
            path=Path(f"/proc/self/fd/{ends[0]}"),
            now=NOW.timestamp,
            uptime=lambda: 100.0,
            **options,
        )
        opened.append(source)
        return source

    yield open_ring
    for source in opened:
        source.close()
    for end in ends:
        os.close(end)


def raw(seq, text="text", usec=0, header="6"):
    return f"{header},{seq},{usec},-;{text}\n".encode()


def numbers(items):
    return [
        (item.first_seq, item.last_seq, item.records, item.reason)
        if isinstance(item, Loss)
        else item.seq
        for item in items
    ]


def runs_of(texts):
    return RunAssembler("h").feed([record(text, seq) for seq, text in enumerate(texts)]).runs


def test_01_after_an_overrun_reading_goes_on_and_what_was_lost_is_counted(ring):
    source = ring(raw(1), BrokenPipeError(errno.EPIPE, "Broken pipe"), raw(9), raw(10))
    assert numbers(source.drain()) == [(0, 0, 1, "overrun"), 1, (2, 8, 7, "overrun"), 9, 10]


def test_02_a_gap_in_the_numbers_is_counted_exactly(ring):
    assert numbers(ring(raw(0), raw(1), raw(3)).drain()) == [0, 1, (2, 2, 1, "gap"), 3]


def test_03_numbers_that_begin_again_after_a_boot_are_other_records(ring, tmp_path):
    store = Store(str(tmp_path / "store"))
    for boot in ("b1", "b2", "b2"):
        stored = store.host("h").position(f"kmsg:{boot}")
        resume = {"resume_after": stored.resume_after, "seen": stored.seen} if stored else {}
        source = ring(*(raw(seq, line) for seq, line in enumerate(LINES)), boot=boot, **resume)
        with closing(Watch(store.host, "h", [source], positions=store.positions())) as watch:
            watch.drain()
    rows = Engine(store).rows("runs", order="boot_id")
    assert list(zip(rows["boot_id"], rows["first_seq"], strict=True)) == [("b1", 0), ("b2", 0)]


def test_04_the_longest_record_is_read_whole_with_one_read(ring):
    longest = raw(0, "x" * 8000)
    assert 8000 < len(longest) <= 8192
    (read,) = ring(longest).drain()
    assert read.text == "x" * 8000
    assert not read.truncated


def test_05_a_record_that_ends_inside_an_escape_is_kept_and_marked():
    cut = parse_kmsg(rb"6,0,0,-;[7] test file[\xec\x9b")
    assert (cut.truncated, cut.text) == (True, r"[7] test file[\xec\x9b")
    assert parse_kmsg(rb"6,0,0,-;name\x").truncated


def test_06_escapes_are_bytes_and_a_newline_in_a_name_begins_no_line():
    assert parse_kmsg(rb"6,0,0,-;\xec\x9b\x94\x0aend" + b"\n").text == "월\nend"
    name = f"a\n{LINES[3]}\n"
    forged = LINES[1].replace("abc.txt", name)
    (run,) = runs_of([LINES[0], forged, LINES[2], LINES[3]])
    assert run["status"] == "complete"
    assert run["file"] == name.replace("\n", r"\x0a")


def test_07_continuation_lines_are_the_records_dictionary_and_not_its_text():
    read = parse_kmsg(b"6,0,0,-;usb 1-1: new\n SUBSYSTEM=usb\n DEVICE=+usb:1-1\n")
    assert read.text == "usb 1-1: new"
    assert read.dictionary == {"SUBSYSTEM": "usb", "DEVICE": "+usb:1-1"}


def test_08_header_fields_that_are_not_known_are_passed_over():
    read = parse_kmsg(b"6,5,77,-,caller=T123,new=1,;text\n")
    assert (read.seq, read.usec, read.caller, read.text) == (5, 77, "T123", "text")


def test_09_the_backlog_is_placed_by_the_kernels_clock_and_later_records_by_receipt(ring):
    source = ring(raw(0, usec=40_000_000), BlockingIOError(), raw(1))
    (old,) = source.drain()
    assert (old.at, old.clock, old.usec) == (NOW - timedelta(seconds=60), "boot", 40_000_000)
    (new,) = source.drain()
    assert (new.at, new.clock) == (NOW, "received")


def test_10_what_a_program_wrote_is_not_the_kernels():
    assert not parse_kmsg(raw(0, LINES[0], header="14")).from_kernel
    forged = [record(line, seq, facility=1) for seq, line in enumerate(LINES)]
    rows = RunAssembler("h").feed(forged)
    assert rows.runs == []
    assert {row["reason"] for row in rows.losses} == {"rejected"}


def test_11_a_flood_is_drained_before_any_record_is_parsed(ring, monkeypatch):
    source, steps = ring(*(raw(seq) for seq in range(997))), []

    def noted(name, function):
        return lambda *given, **named: steps.append(name) or function(*given, **named)

    monkeypatch.setattr(kmsg.os, "read", noted("read", kmsg.os.read))
    monkeypatch.setattr(kmsg, "parse_kmsg", noted("parse", kmsg.parse_kmsg))
    assert source.drain()
    assert steps[:998] == ["read"] * 998  # the last read says that there is no more
    while source.drain():
        assert steps[998] == "parse"
    assert steps.count("parse") == 997


@pytest.mark.parametrize(
    "stamp",
    [
        "[33047.244330] ",
        "<6>[33047.244330] ",
        "kern  :info  : [33047.244330] ",
        "[Mon Nov 23 10:00:00 2026] ",
        "2026-11-23T10:00:00,244330+00:00 ",
        "Nov 23 10:00:00 lab1 kernel: [33047.244330] ",
        "2026-11-23T10:00:00.244330+09:00 lab1 kernel: ",
        "6,12,33047244330,-;",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_12_a_text_log_gives_the_same_run_in_every_form(stamp, newline):
    text = "".join(stamp + line + newline for line in LINES)
    (run,) = RunAssembler("h").feed(read_log(BytesIO(text.encode()), "log@1")).runs
    assert (run["pid"], run["status"], run["written_bytes"]) == (47283, "complete", 26)


@pytest.mark.parametrize("rotation", ["rename", "copytruncate"])
def test_13_a_rotated_file_is_read_once_and_to_its_end(tmp_path, rotation):
    path = tmp_path / "kern.log"
    lines = [f"[{number:5d}.000000] line {number}\n" for number in range(7)]
    path.write_text("".join(lines[:3]))
    read = []
    with closing(FileTree(Layout.of(str(path)), Beginning())) as tree:
        (source,) = tree.ready()
        read += source.drain()
        if rotation == "rename":
            with path.open("a") as old:
                old.write("".join(lines[3:5]))
            path.rename(tmp_path / "kern.log.1")
            path.write_text("".join(lines[5:]))
        else:
            path.open("a").close()
            read += source.drain()
            os.truncate(path, 0)
            path.write_text("".join(lines[3:]))
        for _ in range(4):
            read += source.drain()
    lost = [item.reason for item in read if isinstance(item, Loss)]
    texts = [item.text for item in read if not isinstance(item, Loss)]
    assert texts == [f"line {number}" for number in range(7)]
    # nobody can tell what was written between the last look and the cut
    assert lost == {"rename": [], "copytruncate": ["emptied"]}[rotation]


def test_14_without_the_right_to_read_the_remedy_is_named(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(kmsg.os, "open", refuse)
    with pytest.raises(SourceError, match=r"CAP_SYSLOG.*dmesg_restrict"):
        KmsgSource("b1")


def test_15_text_of_the_log_is_no_markup_for_a_browser():
    texts = [start(47283), LINES[1].replace("test", "<b>x</b>"), LINES[2], LINES[3]]
    (run,) = runs_of(texts)
    data = report_data([run_row(1, comm=run["comm"])])
    pages = [index_page(data, ()), *(html for _, html in run_pages(data))]
    assert len(pages) == 2
    assert "&lt;b&gt;x" in pages[1]
    assert not any("<b>x" in page for page in pages)


def test_15_text_of_the_log_harms_no_terminal_and_no_spreadsheet():
    hostile = LINES[1].replace("abc.txt", "\x1b[2J\u202e").replace("test", "=cmd|' /C calc'!A1")
    (run,) = runs_of([start(47283), hostile, LINES[2], LINES[3]])
    assert run["file"].isprintable()
    table = StringIO()
    write_table(runs_frame([run_row(1, comm=run["comm"], file="f")]), table, "csv")
    assert ",=cmd" not in table.getvalue()
    assert "=cmd" in table.getvalue()
