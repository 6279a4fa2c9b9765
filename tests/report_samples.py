"""Frames small enough to check by hand, for the tests of reports."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from logtrace import schema
from logtrace.contents import times_of
from logtrace.cube import Cube
from logtrace.report import ReportData

START = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "'\"><svg onload=alert(1)>",
    "=cmd|' /C calc'!A0",
    "a\x1b[31mred\nline",
    "\u202egnp.exe",
    "x" * 300,
)


def run_row(number, **changes):
    """Give the contract's run, `number` minutes after `START`."""
    at = START + timedelta(minutes=number)
    row = {
        "host": "lab01",
        "boot_id": "6f1c0e9a-6a1e-4b53-9d3e-000000000001",
        "first_seq": 4 * number,
        "last_seq": 4 * number + 3,
        "started_at": at,
        "ended_at": at + timedelta(microseconds=71),
        "started_us": 33047244330 + number,
        "ended_us": 33047244401 + number,
        "clock": "received",
        "pid": 47283 + number,
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
        "dialect": "logtrace",
        "status": "complete",
        "source": "kmsg",
        "run_id": f"{number:012x}",
        "note": None,
    }
    return row | changes


def detail_row(run, **values):
    """Give a row of the files or the calls of a run."""
    identity = {name: run[name] for name in ("host", "boot_id", "run_id", "pid", "comm")}
    return identity | {"ended_seq": run["last_seq"]} | values


def details_frames(files=(), calls=()):
    """Give the frames of details for `report_data`."""
    tables = (("files", files), ("calls", calls))
    return {
        name: schema.to_frame(schema.to_table(rows, schema.TABLES[name])) for name, rows in tables
    }


def lab_rows(count):
    """Give rows of `count` runs by 7 owners with 3 programs on 5 hosts; every 11th has no End."""
    rows = []
    for number in range(count):
        changes = {
            "owner": f"20212020{number % 7:02d}",
            "comm": ("test", "./a.out", "abc")[number % 3],
            "host": f"lab{number % 5:02d}",
            "read_bytes": 20 * (number % 13 + 1) ** 3,
        }
        if number % 11 == 10:
            changes |= {"status": "no_end", "note": "the same pid started again", "ended_at": None}
        rows.append(run_row(number, **changes))
    return rows


def runs_frame(rows):
    """Give the table of runs, newest first."""
    oldest = datetime.min.replace(tzinfo=UTC)
    newest_first = sorted(rows, key=lambda row: row["started_at"] or oldest, reverse=True)
    return schema.to_frame(schema.to_table(newest_first, schema.RUNS))


def usage_frame(runs, key, column):
    groups = runs.groupby(column, dropna=False)
    frame = groups.agg(
        runs=("run_id", "size"),
        programs=("comm", "nunique"),
        files=("file", "nunique"),
        incomplete=("status", lambda status: int((status != "complete").sum())),
        **{name: (name, "sum") for name in schema.COUNTERS},
        first_seen=("started_at", "min"),
        last_seen=("started_at", "max"),
    )
    return frame.reset_index().rename(columns={column: key})


def timeline_frame(runs, width):
    known = runs[runs["started_at"].notna()]
    groups = known.groupby(known["started_at"].dt.floor(width).rename("start"))
    frame = groups.agg(
        runs=("run_id", "size"),
        incomplete=("status", lambda status: int((status != "complete").sum())),
        read_bytes=("read_bytes", "sum"),
        written_bytes=("written_bytes", "sum"),
    )
    return frame.reset_index()


def cube_of(runs, width):
    """Count runs in cells, without an engine."""
    at = times_of(runs)
    groups = runs.assign(bucket=at.dt.floor(width), last_seen=at).groupby(
        ["bucket", "host", "owner", "comm"], dropna=False
    )
    cells = groups.agg(
        runs=("pid", "size"),
        incomplete=("status", lambda status: int((status != "complete").sum())),
        **{name: (name, lambda numbers: numbers.sum(min_count=1)) for name in schema.COUNTERS},
        last_seen=("last_seen", "max"),
    )
    whole = dict.fromkeys(("runs", "incomplete", *schema.COUNTERS), "Int64")
    return Cube(cells.reset_index().astype(whole), width, {})


def report_data(rows, losses=(), tracer=(), zone="Asia/Seoul", width="1h", **changes):
    """Give what a report is made from, of rows of runs, losses and tracer."""
    runs = runs_frame(rows)
    fields = {
        "runs": runs,
        "usage": {
            "owner": usage_frame(runs, "owner", "owner"),
            "program": usage_frame(runs, "program", "comm"),
        },
        "timeline": timeline_frame(runs, width),
        "losses": schema.to_frame(schema.to_table(losses, schema.LOSSES)),
        "tracer": schema.to_frame(schema.to_table(tracer, schema.TRACER)),
        "since": START,
        "until": START + timedelta(days=1),
        "zone": ZoneInfo(zone),
        "generated_at": START + timedelta(hours=23),
        "width": width,
        "cube": cube_of(runs, width),
    }
    return ReportData(**(fields | changes))


def loss_row(**changes):
    row = {
        "host": "lab01",
        "boot_id": "6f1c0e9a",
        "source": "kmsg",
        "first_seq": 100,
        "last_seq": 1303,
        "records": 1204,
        "reason": "overrun",
        "noticed_at": START,
        "text": None,
    }
    return row | changes


def tracer_row(**changes):
    row = {
        "host": "lab01",
        "boot_id": "6f1c0e9a",
        "at": START,
        "module": "iotracehooking",
        "action": "add",
        "kernel": "6.1.0-56-amd64",
        "version": "1",
        "srcversion": "1B2C3D4E5F60718293A4B5C",
        "watch": 1_000_000,
    }
    return row | changes
