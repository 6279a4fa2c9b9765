"""What real kernels printed when tests/kernel/faulty made them fail, and what is found in it.

The logs are of a guest in QEMU; `expected.json` beside them has the rows of each, and of which
lines of the log each report is to consist: from and to which, counted from 1, and again.
"""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_samples import taken

from logtrace.engine import Engine
from logtrace.importer import import_log
from logtrace.incident_grammar import CUT_HERE
from logtrace.incident_list import incidents
from logtrace.incidents import IncidentAssembler
from logtrace.record import printable
from logtrace.source.logfile import read_log
from logtrace.store import Store

DATA = Path(__file__).parent / "data" / "incidents"
EXPECTED = {
    f"{path.parent.name}/{name}": rows
    for path in sorted(DATA.glob("*/expected.json"))
    for name, rows in json.loads(path.read_text()).items()
}
OTHERS = [
    "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
    "e1000e 0000:00:02.0 enp0s2: NIC Link is Up 1000 Mbps Full Duplex",
    "EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none.",
    "systemd[1]: Started session-1.scope - Session 1 of User root.",
    "audit: type=1400 audit(1795392000.1:2): apparmor=\"STATUS\" operation=\"profile_load\"",
    "[drm] Initialized bochs-drm 1.0.0 for 0000:00:01.0 on minor 0",
    "OS Assignment2 ftrace [214] Start",
    "[2021202045] cat file[abc.txt] stats [x] read - 885 / written - 53",
    "open[3] close[5] read[3] write[1] lseek[0]",
]  # fmt: skip


def read(name):
    log = DATA / name
    return list(read_log(io.BytesIO(log.read_bytes()), f"{log}@0"))


def found(items):
    assembler = IncidentAssembler("host")
    return assembler.feed(items) + assembler.finish()


def lines_of(records):
    return [line for record in records for line in record.text.split("\n")]


def told(row):
    return {column: value for column, value in row.items() if not column.endswith("seq")}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_report_is_found_whole_with_what_it_says(name):
    records = read(name)
    lines = [printable(line) for line in lines_of(records)]
    rows = found(records)
    assert [row["type"] for row in rows] == [row["type"] for row in EXPECTED[name]]
    for row, expected in zip(rows, EXPECTED[name], strict=True):
        columns = expected.keys() - {"lines"}
        assert {name: row[name] for name in columns} == {name: expected[name] for name in columns}
        assert row["report"].split("\n") == taken(lines, expected["lines"])
        assert not row["truncated"]


def test_every_log_is_expected_to_say_something():
    logs = {
        f"{path.parent.name}/{path.name}" for path in DATA.glob("*/*") if path.suffix != ".json"
    }
    assert logs == set(EXPECTED)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        (name, raw)
        for name in EXPECTED
        if (raw := name.replace(".dmesg", ".kmsg")) != name and raw in EXPECTED
    ],
)
def test_dmesg_and_the_device_tell_the_same(name, raw):
    # an empty record is an empty line of dmesg, which does not tell whose it is
    assert lines_of(read(name)) == lines_of(read(raw))


@pytest.mark.parametrize("name", EXPECTED)
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from(OTHERS)), max_size=5))
@settings(max_examples=5)
def test_what_others_print_meanwhile_is_not_taken_for_a_line_of_the_report(name, others):
    records = mixed = read(name)
    for at, text in others:
        before = mixed[:at]
        if before and before[-1].text != CUT_HERE:  # who warns says why behind it
            caller = before[-1].caller and "T1"  # where it is told, others have another
            mixed = [*before, before[-1]._replace(text=text, caller=caller), *mixed[at:]]
    reports = [[row["report"] for row in found(items)] for items in (mixed, records)]
    assert [*map(without_summary, reports[0])] == [*map(without_summary, reports[1])]


# Behind its end, a line of another ends a report at once.
def without_summary(report):
    return report.partition("\n---[ end trace")[0]


@pytest.mark.parametrize("name", EXPECTED)
@given(st.data())
@settings(max_examples=5)
def test_cut_and_resumed_anywhere_it_gives_the_same(name, data):
    records = read(name)
    cut = data.draw(st.integers(0, len(records)))
    numbered = [record._replace(seq=number) for number, record in enumerate(records)]
    first = IncidentAssembler("host")
    rows = first.feed(numbered[:cut])
    start = cut if first.resume_before is None else first.resume_before
    again = IncidentAssembler("host", seen=cut - 1)
    rows += again.feed(numbered[start:])
    assert rows + again.finish() == found(numbered)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_caller_changes_nothing(name):
    records = read(name)
    called = [record._replace(facility=0, caller="T214") for record in records]
    assert [told(row) for row in found(called)] == [told(row) for row in found(records)]


@pytest.mark.parametrize(
    ("log", "status"),
    [
        ("6.12-buddy/hard_lockup.kmsg", "complete"),
        ("6.12-buddy/hard_lockup_panic.console", "no_end"),
        ("6.12-caller/hard_lockup.kmsg", "complete"),
    ],
)
def test_a_hard_lockup_names_the_run_that_held_the_processor(tmp_path, log, status):
    store = Store(str(tmp_path))
    import_log(store.host("lab"), DATA / log, "lab")
    (run,) = Engine(store).rows("runs").to_dict("records")
    assert run["status"] == status
    hit = incidents(Engine(store)).dropna(subset="run_id")
    assert hit[["type", "pid", "run_id"]].values.tolist() == [
        ["hard_lockup", run["pid"], run["run_id"]]
    ]


def test_lockups_of_one_wait_are_one_cause_wherever_in_it_they_are_found():
    (lockup,) = found(read("6.12-buddy/hard_lockup.kmsg"))
    elsewhere = [
        record._replace(text=record.text.replace("delay_tsc+0x32/0xc0", "__const_udelay+0x2f/0x40"))
        for record in read("6.12-buddy/hard_lockup.kmsg")
    ]
    (other,) = found(elsewhere)
    assert (lockup["function"], other["function"]) == ("delay_tsc", "__const_udelay")
    assert lockup["fingerprint"] == other["fingerprint"]
