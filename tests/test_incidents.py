"""Incidents are found as kernels print them, wherever the log is cut or mixed."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_samples import CUT, END, REPORTS

from logtrace import incident_grammar
from logtrace.cli import cli
from logtrace.engine import Engine, Filters
from logtrace.importer import import_log
from logtrace.incident_list import by_fingerprint, incidents
from logtrace.incidents import IncidentAssembler
from logtrace.record import Loss, Record
from logtrace.store import Position, Store

ORDINARY = [
    "usb 1-1: new high-speed USB device number 2",
    "eth0: link up",
    "EXT4-fs (vda): mounted",
]


def record(seq, text, caller=None, facility=0, usec=None):
    return Record("kmsg", "boot", seq, seq if usec is None else usec, facility, 4, caller, text)


def records(lines, caller=None):
    return [record(number, line, caller) for number, line in enumerate(lines)]


def found(items):
    assembler = IncidentAssembler("host")
    return assembler.feed(items) + assembler.finish()


def essence(rows):
    return [(row["type"], row["report"], row["fingerprint"], row["pid"]) for row in rows]


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_found_with_what_it_says(name):
    lines, expected = REPORTS[name]
    (row,) = found(records(lines))
    assert {column: row[column] for column in expected} == expected
    assert set(row["report"].split("\n")) >= {line for line in lines if "+0x" in line}


@pytest.mark.parametrize("pattern", [pattern for _, pattern in incident_grammar.HEADS])
@given(data=st.data())
@settings(max_examples=30)
def test_a_line_that_begins_a_report_is_never_passed_over(pattern, data):
    assert incident_grammar.may_begin(data.draw(st.from_regex(pattern)))


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("caller", [None, "T214"])
def test_every_line_is_kept(name, caller):
    lines = REPORTS[name][0]
    (row,) = found(records(lines, caller))
    assert row["report"].split("\n") == [line.replace("\t", "\\x09") for line in lines]


@pytest.mark.parametrize("name", REPORTS)
def test_what_a_program_wrote_is_no_incident(name):
    lines = REPORTS[name][0]
    assert found([record(seq, line, facility=1) for seq, line in enumerate(lines)]) == []


def test_a_fingerprint_is_of_names_and_not_of_numbers():
    lines = REPORTS["BUG"][0]
    other = [
        line.replace("214", "7").replace("CPU: 1", "CPU: 0").replace("+0x10/", "+0x24/")
        for line in lines
    ]
    (one,), (two,) = found(records(lines)), found(records(other))
    assert one["fingerprint"] == two["fingerprint"]
    for name in ("faulty_init", "do_one_initcall"):
        (elsewhere,) = found(records([line.replace(name, "other") for line in lines]))
        assert elsewhere["fingerprint"] != one["fingerprint"]


def test_without_a_call_trace_a_fingerprint_is_of_the_message_without_its_numbers():
    text = "watchdog: BUG: soft lockup - CPU#{0} stuck for 2{0}s! [cat:21{0}]"
    fingerprints = {found(records([text.format(n)]))[0]["fingerprint"] for n in (1, 2)}
    assert len(fingerprints) == 1
    (other,) = found(records(["rcu: INFO: rcu_sched self-detected stall on CPU 1"]))
    assert other["fingerprint"] not in fingerprints


def test_two_processors_that_report_at_once_are_told_apart_by_caller():
    one, two = REPORTS["BUG"][0], REPORTS["WARNING"][0]
    mixed = [
        (line, caller)
        for pair in zip(one, two, strict=False)
        for line, caller in zip(pair, ("T1", "T2"), strict=True)
    ]
    mixed += [(line, "T1") for line in one[len(two) :]] + [(line, "T2") for line in two[len(one) :]]
    rows = found([record(seq, line, caller) for seq, (line, caller) in enumerate(mixed)])
    assert sorted(row["report"] for row in rows) == sorted("\n".join(each) for each in (one, two))
    assert not any(row["mixed"] for row in rows)


def test_a_task_that_reports_anew_has_ended_the_report_before():
    one, two = REPORTS["BUG"][0][:4], REPORTS["WARNING"][0]
    rows = found(records([*one, *two], "T1"))
    assert [row["report"].split("\n") for row in rows] == [one, two]
    assert not any(row["mixed"] for row in rows)


@pytest.mark.parametrize("between", ["no pattern knows this", "  nor  [this]", "key=value"])
def test_a_line_that_names_no_subsystem_is_kept_where_it_stands_within_a_report(between):
    lines = list(REPORTS["WARNING"][0])
    lines.insert(5, between)
    (row,) = found(records([*lines, between]))
    assert row["report"].split("\n") == lines


@pytest.mark.parametrize("message", ["faulty: 1 of 2 is wrong", "usb 1-1: no"])
def test_the_message_of_who_warns_is_kept(message):
    cut, *rest = REPORTS["WARNING"][0]
    (row,) = found(records([cut, message, *rest]))
    assert row["report"].split("\n") == [cut, message, *rest]


def test_two_processors_that_report_at_once_without_caller_are_marked():
    one, two = REPORTS["BUG"][0], REPORTS["WARNING"][0]
    rows = found(records([*one[:4], *two[:-1], *one[4:], two[-1]]))
    assert [(row["type"], row["mixed"]) for row in rows] == [("bug", True), ("warning", True)]
    assert rows[0]["report"].split("\n") == [*one[:4], *two[:-1], *one[4:], two[-1]]
    assert rows[1]["function"] == "faulty_init"
    assert found(records([*one, *two]))[0]["mixed"] is False


def test_registers_behind_the_end_may_come_behind_a_line_of_another():
    registers = ["RIP: 0010:faulty_init+0x10/0x1000 [faulty]", "Code: 0f 0b"]
    lines = [*REPORTS["null dereference"][0], *registers]
    between = "pstore: backend (ramoops) writing error (-28)"
    (row,) = found(records([*lines[: -len(registers)], between, *registers]))
    assert row["report"].split("\n") == lines


@pytest.mark.parametrize("last", [[], ["note: insmod[214] exited with irqs disabled"]])
def test_registers_behind_the_end_are_kept(last):
    registers = ["RIP: 0010:faulty_init+0x10/0x1000 [faulty]", "Code: 0f 0b", "CR2: 0 CR3: 0"]
    lines = [*REPORTS["null dereference"][0][:-1], *registers, END, *registers, *last]
    assembler = IncidentAssembler("host")
    rows = assembler.feed(records(lines))
    assert len(rows) == len(last)  # what follows shows the end, unless the last line does
    rows += assembler.feed([record(100, ORDINARY[0]), record(101, registers[0])])
    assert [row["report"].split("\n") for row in rows] == [lines]


def test_who_is_killed_when_memory_runs_out_is_nobody_in_another_report():
    lines = REPORTS["WARNING"][0]
    killed = REPORTS["OOM kill"][0][-1].replace("214", "99")
    (row,) = found(records([*lines[:5], killed, *lines[5:]]))
    assert (row["pid"], row["comm"]) == (214, "insmod")
    assert row["report"].endswith(END)


def test_a_line_within_a_record_begins_no_report():
    lines = REPORTS["WARNING"][0]
    forged = "OS Assignment2 ftrace file[\n" + "\n".join(lines)
    assert found([record(0, forged)]) == []


def test_a_report_without_an_end_ends_where_nothing_more_comes():
    lines = REPORTS["soft lockup"][0]
    assembler = IncidentAssembler("host")
    assert assembler.feed(records(lines)) == []
    later = record(100, "eth0: link up", usec=2_000_000)
    (row,) = assembler.feed([later])
    assert row["last_seq"] == len(lines) - 1
    assert assembler.resume_before is None


def test_without_a_clock_a_report_ends_where_much_else_was_said():
    lines = REPORTS["soft lockup"][0]
    items = records([*lines, *["eth0: link up"] * 1000])
    assembler = IncidentAssembler("host")
    (row,) = assembler.feed([each._replace(usec=None) for each in items])
    assert row["last_seq"] == len(lines) - 1


def test_a_report_that_the_machine_was_started_anew_in_ends_there():
    lines = REPORTS["soft lockup"][0]
    begun = [each._replace(boot_id=None, usec=9_000_000 + each.seq) for each in records(lines)]
    anew = [
        each._replace(boot_id=None, usec=0, seq=100 + each.seq)
        for each in records(["Linux version 6.1.0", *lines[1:]])
    ]
    (row,) = [row for row in found([*begun, *anew]) if row["first_seq"] == 0]
    assert row["last_seq"] == len(lines) - 1


def test_a_report_without_end_is_bounded():
    head = REPORTS["soft lockup"][0][0]
    lines = [head, *[" faulty+0x1/0x2"] * 5000]
    (row,) = found([record(seq, line, usec=1) for seq, line in enumerate(lines)])
    assert row["truncated"]
    assert row["report"].count("\n") == 999


def test_a_report_during_which_records_were_lost_may_lack_lines_of_it():
    lines = REPORTS["BUG"][0]
    for place in range(len(lines) + 1):
        items = [record(2 * seq, line) for seq, line in enumerate(lines)]
        items.insert(place, Loss("kmsg", "b", 2 * place - 1, 2 * place - 1, 1, "overrun"))
        (row,) = found(items)
        assert row["truncated"] == (0 < place < len(lines))


def test_ten_thousand_open_reports_are_bounded():
    assembler = IncidentAssembler("host")
    assembler.feed(record(seq, CUT, f"T{seq}", usec=1) for seq in range(10_000))
    assert len(assembler._open) <= 64


logs = st.lists(
    st.one_of(st.sampled_from(list(REPORTS)).map(lambda name: REPORTS[name][0])), max_size=4
).map(lambda reports: [line for lines in reports for line in lines])


@given(logs, st.data())
@settings(max_examples=60, deadline=None)
def test_ordinary_lines_between_change_nothing(lines, data):
    mixed = []
    for line in lines:
        if mixed[-1:] != [CUT]:  # behind which stands the message of who warns
            mixed += data.draw(st.lists(st.sampled_from(ORDINARY), max_size=3))
        mixed.append(line)
    plain = found([record(0, line, usec=0) for line in lines])
    assert essence(found([record(0, line, usec=0) for line in mixed])) == essence(plain)


@given(logs, st.data())
@settings(max_examples=60, deadline=None)
def test_cut_and_resumed_anywhere_it_gives_the_same(lines, data):
    items = records(lines)
    whole = found(items)
    cut = data.draw(st.integers(0, len(items)))
    first = IncidentAssembler("host")
    rows = first.feed(items[:cut])
    start = cut if first.resume_before is None else first.resume_before
    again = IncidentAssembler("host", seen=cut - 1)
    rows += again.feed(items[start:])
    assert rows + again.finish() == whole


pieces = st.sampled_from([CUT, END, "BUG: ", "WARNING: CPU: ", " f+0x1/0x2 [m]", "[#1]", "Oops: "])


@given(st.lists(st.one_of(st.text(), pieces, st.tuples(pieces, st.text()).map("".join))))
@settings(max_examples=100, deadline=None)
def test_any_text_raises_nothing(lines):
    for row in found(records(lines)):
        assert row["type"] in incident_grammar.KINDS
        assert all(line.isprintable() for line in row["report"].split("\n"))


def test_an_imported_log_gives_each_incident_once(tmp_path):
    lines = [*REPORTS["BUG"][0], *ORDINARY, *REPORTS["unsigned"][0]]
    log = tmp_path / "dmesg.txt"
    log.write_text("".join(f"[    1.{n:06}] {line}\n" for n, line in enumerate(lines)))
    store = Store(str(tmp_path / "store"))
    for _ in range(2):
        import_log(store.host("host"), log, "host")
    frame = Engine(store).rows("incidents", order="first_seq")
    assert list(frame["type"]) == ["bug", "signature"]
    assert list(frame["module"]) == ["faulty", "faulty"]
    assert list(by_fingerprint(incidents(Engine(store)))["incidents"]) == [1, 1]
    arguments = ["incidents", "--store", str(store.root)]
    shown = CliRunner().invoke(cli, arguments)
    assert "faulty_init" in shown.output
    detail = CliRunner().invoke(cli, [*arguments, "--id", frame["incident_id"][0]])
    assert detail.output.splitlines() == REPORTS["BUG"][0]
    missing = CliRunner().invoke(cli, [*arguments, "--id", "nothing"])
    assert missing.exit_code == 3


# The command


STAMPS = {"BUG": "2026-11-23T10:00:00", "WARNING": "2026-11-23T12:00:00"}


@pytest.fixture
def shown(tmp_path):
    """A function that imports two reports, and gives what ``logtrace incidents`` prints."""
    log = tmp_path / "kern.log"
    log.write_text(
        "".join(
            f"{stamp},{number:06}+00:00 {line}\n"
            for name, stamp in STAMPS.items()
            for number, line in enumerate(REPORTS[name][0])
        )
    )
    store = Store(str(tmp_path / "store"))
    import_log(store.host("host"), log, "host")

    def show(*options, code=0):
        arguments = ["incidents", "--store", str(store.root), "--tz", "Asia/Seoul", *options]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == code
        return done.stdout

    return show


def test_times_are_of_the_users_zone(shown):
    assert "2026-11-23 21:00:00" in shown()
    assert "times in Asia/Seoul" in shown()
    assert "2026-11-23 21:00:00" in shown("--by", "fingerprint")


@pytest.mark.parametrize(
    ("options", "types"),
    [
        ((), ["warning", "bug"]),
        (("--since", "2026-11-23T20:00"), ["warning"]),
        (("--until", "2026-11-23T20:00"), ["bug"]),
        (("--since", "2026-11-24"), []),
        (("--comm", "insmod", "--until", "2026-11-23T20:00"), ["bug"]),
    ],
)
def test_incidents_are_of_the_time_that_is_asked_for(shown, options, types):
    assert [row["type"] for row in json.loads(shown(*options, "--json"))] == types


def test_what_is_asked_for_by_name_and_not_there_is_said(shown):
    shown("--owner", "nobody", code=3)
    assert json.loads(shown("--since", "2026-11-24", "--json")) == []


def test_an_incident_without_wall_clock_shows_the_kernels_own(tmp_path):
    log = tmp_path / "dmesg.txt"
    log.write_text("".join(f"[   12.000345] {line}\n" for line in REPORTS["BUG"][0]))
    store = Store(str(tmp_path / "store"))
    import_log(store.host("host"), log, "host")
    done = CliRunner().invoke(cli, ["incidents", "--store", str(store.root)])
    assert "12.000345" in done.stdout


def test_what_would_move_the_cursor_is_shown_as_an_escape(tmp_path):
    row = {"host": "h", "incident_id": "0" * 16, "type": "bug", "comm": "\x1b[2J", "first_seq": 1,
           "function": "\u202ef", "report": "\x1b[2J\nBUG: \u202e", "us": 1}  # fmt: skip
    store = Store(str(tmp_path / "store"))
    rows = {"runs": [], "losses": [], "files": [], "calls": [], "incidents": [row]}
    store.host("h").append("kmsg:b", Position(1, 1), **rows)
    for options in ([], ["--id", "0"]):
        done = CliRunner().invoke(cli, ["incidents", "--store", str(store.root), *options])
        assert "\\x1b[2J" in done.stdout
        assert "\\u202e" in done.stdout
        assert not {"\x1b", "\u202e"} & set(done.stdout)


# The run that was hit

RUN = {"host": "h", "boot_id": "b", "source": "kmsg", "pid": 7, "first_seq": 10, "last_seq": 90,
       "run_id": "r", "owner": "2021202045", "comm": "cat", "started_us": 1000,
       "status": "complete"}  # fmt: skip
HIT = {"host": "h", "boot_id": "b", "source": "kmsg", "pid": 7, "first_seq": 20, "us": 2000,
       "comm": "cat", "incident_id": "i", "type": "bug", "ended_seq": 30}  # fmt: skip
NO_END = {"status": "no_end", "last_seq": 10, "note": "the End line is missing"}
NEXT = {"first_seq": 100, "last_seq": 190, "run_id": "next"}


@pytest.mark.parametrize(
    ("runs", "incident", "expected"),
    [
        ([{}], {}, "r"),
        ([{}, NEXT], {"first_seq": 120}, "next"),
        ([{}], {"comm": "a thread of it"}, "r"),
        ([{}], {"first_seq": 9}, None),
        ([{}, NEXT], {"first_seq": 95}, None),
        ([{}], {"pid": 8}, None),
        ([{}], {"pid": None}, None),
        ([{}], {"boot_id": "another"}, None),
        ([{}], {"host": "other"}, None),
        ([{}], {"source": "/log@0"}, None),
        ([{"boot_id": None}], {"boot_id": None}, "r"),
        ([NO_END], {}, "r"),
        ([NO_END, NEXT], {"first_seq": 95}, "r"),
        ([NO_END, NEXT], {"first_seq": 195}, None),
        ([NO_END], {"comm": "another"}, None),
        ([NO_END], {"us": 999}, None),
    ],
)
def test_an_incident_is_tied_to_the_run_of_its_process_that_was_open(
    tmp_path, runs, incident, expected
):
    store = Store(str(tmp_path))
    rows = {"losses": [], "files": [], "calls": []}
    rows |= {"runs": [RUN | run for run in runs], "incidents": [HIT | incident]}
    store.host("h").append("kmsg:b", Position(200, 200), **rows)
    engine = Engine(store)
    (found,) = incidents(engine).to_dict("records")
    assert (found["run_id"] if found["run_id"] == found["run_id"] else None) == expected
    of_owner = incidents(engine, Filters(owner="2021202045"))
    assert len(of_owner) == (expected is not None)
