"""What a host has stored comes into the lab's store exactly once, whatever happens."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_samples import call, fd
from report_samples import run_row

from logtrace import columns, ship as shipping, spool, store
from logtrace.errors import ConflictError, StoreError
from logtrace.machine import Machine, this_machine
from logtrace.run_id import run_id
from logtrace.ship import ship
from logtrace.store import Position, Store

ONE, OTHER = Machine("1" * 32), Machine("2a" * 16)
BOOT = "b" * 32
SOURCE = f"kmsg:{BOOT}"


def run(seq, host="lab1", boot=BOOT, **changes):
    """Give the run whose first record has a number; it takes four records."""
    return (
        run_row(seq)
        | {
            "host": host,
            "boot_id": boot,
            "source": "kmsg",
            "first_seq": seq,
            "last_seq": seq + 3,
            "pid": seq,
            "run_id": run_id(host, boot, "kmsg", seq),
        }
        | changes
    )


def details(run, **columns):
    """Give a row of the files or the calls of a run."""
    same = {name: run[name] for name in ("host", "boot_id", "run_id", "pid", "comm")}
    return same | {"ended_seq": run["last_seq"]} | columns


def watch(to, *seqs, host="lab1", boot=BOOT, losses=(), resume_after=None):
    """Store a run for each number, as a watch of a kernel's log does: one commit each."""
    tables = to.host(host)
    for seq in seqs:
        one = run(seq, host, boot)
        tables.append(
            f"kmsg:{boot}",
            Position(seq + 3, seq + 3 if resume_after is None else resume_after),
            runs=[one],
            files=[details(one, descriptor=number, path=f"f{number}") for number in (3, 4)],
            calls=[details(one, call="read", calls=seq)],
            incidents=[{**details(one), "incident_id": one["run_id"], "first_seq": seq}],
            losses=losses,
        )
        losses = ()


def loss(first, last, boot=BOOT, **changes):
    return {
        "host": "lab1",
        "boot_id": boot,
        "source": "kmsg",
        "first_seq": first,
        "last_seq": last,
        "records": last - first + 1,
        "reason": "overrun",
    } | changes


def rows(of, table="runs", *names):
    """Give what is stored in a table of all hosts, sorted."""
    names = names or ("first_seq",)
    found = []
    for host in of.hosts():
        delta = of.host(host).open(table)
        found += delta.to_pyarrow_table(columns=list(names)).to_pylist() if delta else []
    values = (tuple(row.values()) if len(names) > 1 else row[names[0]] for row in found)
    return sorted(values, key=repr if len(names) > 1 else None)


def everything(of):
    """Give all rows of all tables, without the number of their commit."""
    found = {}
    for host in of.hosts():
        for table, schema in columns.TABLES.items():
            delta = of.host(host).open(table)
            read = delta.to_pyarrow_table(columns=schema.names).to_pylist() if delta else []
            found.setdefault(table, Counter()).update(repr(row) for row in read)
    return found


@pytest.fixture
def own(tmp_path):
    return Store(str(tmp_path / "own"))


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "lab").mkdir()
    return Store(str(tmp_path / "lab"))


def test_all_tables_come_into_the_labs_store_as_they_are(own, lab):
    watch(own, 10, 20, losses=[loss(0, 9)])
    own.host("lab1").append_tracer("modules:1", 5, [{"host": "lab1", "boot_id": BOOT}])
    done = ship(own, lab, ONE)
    assert everything(lab) == everything(own)
    assert all(everything(own).values())
    assert done.rows == {
        ("lab1", "runs"): 2,
        ("lab1", "files"): 4,
        ("lab1", "calls"): 2,
        ("lab1", "incidents"): 2,
        ("lab1", "losses"): 1,
        ("lab1", "tracer"): 1,
    }
    assert done.names == {"lab1": "lab1"}


def test_only_what_is_new_is_brought_and_nothing_new_costs_no_commit(own, lab):
    watch(own, 10, 20)
    ship(own, lab, ONE)
    own.host("lab1").compact()
    watch(own, 30)
    assert ship(own, lab, ONE).rows["lab1", "runs"] == 1
    assert rows(lab) == [10, 20, 30]
    version = lab.host("lab1").open("runs").version()
    assert not ship(own, lab, ONE).rows.total()
    assert lab.host("lab1").open("runs").version() == version
