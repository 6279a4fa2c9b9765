"""A lab of very many machines, with few rows of each: made in a moment, from a seed."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
from report_samples import run_row, tracer_row

from logtrace import schema

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
MODULES = ("ftracehooking", "iotracehooking")


class Lab:
    """Reads as a store does, of one Parquet file a table for all machines."""

    def __init__(self, folder, hosts, runs_each=10):
        self._names = [f"lab{number:04d}" for number in range(hosts)]
        self._files = {}
        chance = random.Random(2026)
        rows = {"runs": [], "tracer": [], "incidents": [], "losses": []}
        for number, host in enumerate(self._names):
            _add(rows, chance, number, host, runs_each)
        for table, own in rows.items():
            path = folder / f"{table}.parquet"
            pq.write_table(schema.to_table(own, schema.TABLES[table]), path)
            self._files[table] = [str(path)]

    def hosts(self):
        return self._names

    def files(self, table):
        return self._files.get(table, [])

    def is_watched(self, host, watch):
        return False


def _add(rows, chance, number, host, runs_each):
    boot = f"{number:08x}-6a1e-4b53-9d3e-000000000001"
    booted = NOW - timedelta(days=29)
    silent, ahead, unwatched = number % 50 == 7, number % 100 == 9, number % 10 == 3
    own = {"host": host, "boot_id": boot}
    until = NOW - timedelta(days=14 if silent else 0, minutes=5)
    for run in range(runs_each):
        at = until - (until - booted) * 0.9 * (run / runs_each) * chance.random()
        at += timedelta(hours=2) * (ahead and run == 0)
        us = (at - booted) // timedelta(microseconds=1)
        rows["runs"].append(
            run_row(run)
            | own
            | {"started_at": at, "ended_at": at, "started_us": us, "ended_us": us + 71}
            | {"owner": f"20212{chance.randrange(200):05d}", "run_id": f"{number:08x}{run:04x}"}
            | {"comm": chance.choice(["test", "./a.out", "abc"]), "pid": chance.randrange(10**6)}
            | ({"status": "no_end", "note": "n"} if chance.random() < 0.05 else {})
        )
    if not unwatched:
        kernel = f"6.1.0-{50 + number % 7}-amd64"
        told = own | {"kernel": kernel, "srcversion": f"{number % 3:024X}", "watch": 10**9}
        at = booted + timedelta(seconds=1000)
        rows["tracer"].append(tracer_row(**told, at=at, action="begin", module=None))
        for module in MODULES:
            rows["tracer"].append(tracer_row(**told, at=at, action="present", module=module))
        rows["tracer"].append(tracer_row(**told, at=until, action="alive", module=None))
    if number % 9 == 0:
        rows["incidents"].append(
            dict.fromkeys(schema.INCIDENTS.names)
            | own
            | {"incident_id": f"{number:016x}", "at": until, "type": "warning", "clock": "received"}
            | {"module": ("nfs", "i915", None)[number % 4 % 3], "fingerprint": f"{number % 5:016x}"}
            | {"message": "WARNING: CPU: 1 PID: 9 at fs/nfs/dir.c:9", "report": "WARNING\n" * 20}
        )
    if number % 7 == 0:
        rows["losses"].append(
            dict.fromkeys(schema.LOSSES.names)
            | own
            | {"source": "kmsg", "first_seq": 1, "last_seq": 9, "records": 9, "reason": "overrun"}
            | {"noticed_at": until}
        )
