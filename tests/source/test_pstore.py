"""What a kernel kept of its log is read as it was printed."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from incident_samples import taken

from logtrace.cli import cli
from logtrace.engine import Engine
from logtrace.errors import SourceError
from logtrace.importer import find_logs, import_log
from logtrace.incidents import IncidentAssembler
from logtrace.source.logfile import read_log
from logtrace.source.pstore import unfold
from logtrace.store import Store

DATA = Path(__file__).parent.parent / "data"
LINES = [f"<4>[   12.00000{n}] line {n}" for n in range(9)]


def dump(lines, why="Panic#1", names=False):
    """Write lines as the kernel does: three a part, the newest part first."""
    parts = [lines[start : start + 3] for start in range(0, len(lines), 3)][::-1]
    return "".join(
        (f"dmesg-efi-1792371200{number:02}001:\n" if names else "")
        + f"{why} Part{number}\n"
        + "".join(f"{line}\n" for line in part)
        for number, part in enumerate(parts, 1)
    )


def read(text, name="dmesg.txt"):
    stream, form = unfold(io.BytesIO(text.encode()), name, "pstore")
    return list(read_log(stream, "dmesg.txt@0", form=form))


def test_parts_are_put_in_the_order_in_which_they_were_printed():
    records = read(dump(LINES))
    assert [record.text for record in records] == [f"line {n}" for n in range(9)]
    assert [record.usec for record in records] == list(range(12_000_000, 12_000_009))
    assert {(record.facility, record.level) for record in records} == {(0, 4)}


@pytest.mark.parametrize(
    "said", ["No errors detected", "12 Corrected bytes, 1 unrecoverable blocks"]
)
def test_what_ramoops_says_of_its_memory_is_no_line_of_the_log(said):
    assert read(f"{dump(LINES)}\nECC: {said}\n") == read(dump(LINES))


@given(st.permutations(range(3)))
def test_the_order_of_the_parts_in_the_file_does_not_matter(order):
    parts = dump(LINES).split("Panic#1 ")[1:]
    assert read("".join("Panic#1 " + parts[n] for n in order)) == read(dump(LINES))


def test_what_two_dumps_of_one_boot_have_is_read_once():
    both = dump(LINES[:6], "Oops#1") + dump(LINES[3:], "Panic#2")
    assert [record.text for record in read(both)] == [f"line {n}" for n in range(9)]


def test_a_line_that_comes_again_in_a_later_dump_is_read_again():
    first = [f"<4>[   12.000000] {text}" for text in ("RIP: f+0x1/0x2", "end trace")]
    both = dump(first, "Oops#1") + dump([*first, first[0]], "Panic#2")
    assert [record.text for record in read(both)] == [
        "RIP: f+0x1/0x2",
        "end trace",
        "RIP: f+0x1/0x2",
    ]


def test_the_name_of_a_part_tells_the_time():
    written = datetime.fromtimestamp(1792371200, UTC)
    part = "dmesg-efi-179237120001001"
    for text, name in ((dump(LINES, names=True), "dmesg.txt"), (dump(LINES), part)):
        last = read(text, name=name)[-1]
        assert (last.at, last.clock) == (written, "log")
    assert read(dump(LINES), name="dmesg-ramoops-0")[-1].at is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (dump(LINES), True),
        (dump(LINES, names=True), True),
        ("Panic#1 Part1\n", True),
        ("[    1.000000] Panic#1 Part1\n", False),
        ("Panic#1 Part1 of it\n", False),
        ("", False),
    ],
)
def test_it_is_known_by_its_first_lines(text, expected):
    stream = io.BytesIO(text.encode())
    unfolded, _ = unfold(stream, "x", None)
    assert (unfolded is not stream) is expected
    assert unfolded.tell() == 0
    assert unfold(stream, "x", "dmesg") == (stream, "dmesg")


def test_that_it_is_of_pstore_may_be_said_and_is_looked_after():
    with pytest.raises(SourceError, match=r"x: has no line such as Panic#1 Part1"):
        unfold(io.BytesIO(b"[    1.000000] line"), "x", "pstore")


@given(st.binary())
def test_any_bytes_behind_a_header_raise_nothing(rest):
    stream, form = unfold(io.BytesIO(b"Panic#1 Part1\n" + rest), "x", None)
    list(read_log(stream, "x@0", form=form))


def test_parts_that_are_joined_are_not_imported_again(tmp_path):
    folder = tmp_path / "1792371200"
    folder.mkdir()
    (folder / "dmesg.txt").write_text(dump(LINES, names=True))
    for number, part in enumerate(dump(LINES).split("Panic#1 ")[1:], 1):
        (folder / f"dmesg-efi-1792371200{number:02}001").write_text("Panic#1 " + part)
    (tmp_path / "dmesg-ramoops-0").write_text(dump(LINES[:3]))
    assert find_logs([tmp_path]) == [folder / "dmesg.txt", tmp_path / "dmesg-ramoops-0"]


def test_a_folder_of_pstore_gives_the_incidents_of_a_boot_that_wrote_no_log(tmp_path):
    printed = (DATA / "incidents/6.1/null.dmesg").read_text().splitlines()
    folder = tmp_path / "pstore" / "1792371200" / "001"
    folder.mkdir(parents=True)
    (folder / "dmesg.txt").write_text(dump([f"<4>{line}" for line in printed], names=True))
    store = tmp_path / "store"
    arguments = ["import", str(tmp_path / "pstore"), "--store", str(store), "--host", "lab1"]
    assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    (row,) = Engine(Store(str(store))).rows("incidents").to_dict("records")
    assert (row["type"], row["function"]) == ("page_fault", "null_dereference")
    assert row["report"].split("\n") == [line.partition("] ")[2] for line in printed]
    assert row["at"].timestamp() == pytest.approx(1792371200, abs=1)


def test_what_the_kernel_compressed_is_named_with_what_can_be_done(tmp_path):
    path = tmp_path / "dmesg-erst-1.enc.z"
    path.write_bytes(b"\x78\x9c\0\0")
    with pytest.raises(SourceError, match=r"dmesg-erst-1\.enc\.z: .*compressed.*kernel"):
        import_log(Store(str(tmp_path / "store")).host("h"), path, "h")


# What machines kept


REAL = DATA / "pstore"
EXPECTED = json.loads((REAL / "expected.json").read_text())


def read_real(name):
    path = REAL / name
    with path.open("rb") as file:
        stream, form = unfold(file, path.name, None)
        return list(read_log(stream, f"{path}@0", form=form))


def test_every_file_that_a_machine_kept_is_expected_to_say_something():
    kept = {str(path.relative_to(REAL)) for path in REAL.rglob("*") if path.is_file()}
    assert kept - {"expected.json"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_machine_kept_is_in_order_and_nothing_else_is_in_it(name):
    records = read_real(name)
    stamps = [record.usec for record in records if record.usec > 1_000_000]  # before it is set
    assert stamps == sorted(stamps)
    assert {record.facility for record in records} == {0}
    kept = (REAL / name).read_text().splitlines()
    printed = {line for line in kept if line.startswith("<")}
    assert {re.sub(r"^<\d+>\[ *[\d.]+\] ?", "", line) for line in printed} == {
        record.text for record in records
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_the_failure_that_a_machine_kept_is_found_whole(name):
    records = read_real(name)
    texts = [record.text for record in records]
    assembler = IncidentAssembler("host")
    rows = assembler.feed(records) + assembler.finish()
    assert [row["type"] for row in rows] == [row["type"] for row in EXPECTED[name]]
    for row, expected in zip(rows, EXPECTED[name], strict=True):
        at = row["at"] and row["at"].isoformat()
        columns = expected.keys() - {"lines", "at"}
        assert {name: row[name] for name in columns} == {name: expected[name] for name in columns}
        assert at == expected["at"]
        assert row["report"].split("\n") == taken(texts, expected["lines"])


def test_the_folder_in_which_systemd_joined_them_is_imported(tmp_path):
    store = tmp_path / "store"
    arguments = ["import", str(REAL / "systemd"), "--store", str(store), "--host", "lab1"]
    assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    rows = Engine(Store(str(store))).rows("incidents")
    found = sorted(rows["message"])
    assert found == sorted(
        row["message"]
        for name, expected in EXPECTED.items()
        if name.startswith("systemd/")
        for row in expected
    )
