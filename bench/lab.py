"""The store of a lab that never was, made from a seed: the same rows everywhere."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from logtrace import schema
from logtrace.store import HostTables, Position, Store

SEED = 2026
LAST = datetime(2026, 11, 27, 9, tzinfo=UTC)
HOSTS = [f"lab{number:02d}" for number in range(1, 13)]
OWNERS = [f"2021{number:06d}" for number in random.Random(SEED).sample(range(200_000, 210_000), 64)]
PROGRAMS = ["test", "./a.out", "upper", "copy", "sort", "index", "cat", "mkfs-lab", "checksum"]
FILES = ["abc.txt", "input.dat", "big.bin", "words.txt", "a.out.log", "matrix.csv", "notes.md"]
NOTES = {"no_end": "the same pid started again", "truncated": "a line was cut short"}
MODULES = ("os_ftracehooking", "ftracehooking", "iotracehooking")
_PART = 100_000  # rows of a commit


def fill(folder: Path, runs: int, days: int) -> Store:
    """Make a store of runs in the days before `LAST`, most of them in the hours of courses.

    Parameters
    ----------
    folder
        Where it is made.
    runs
        How many runs there are, over all hosts.
    days
        Over how many days.

    Returns
    -------
    Store
        With runs, losses and what became of the modules.
    """
    chance = np.random.default_rng(SEED)
    store = Store(str(folder))
    rows = _runs(chance, runs, days)
    for number, (host, own) in enumerate(rows.groupby("host", sort=True)):
        _fill_host(store.host(str(host)), own, days, has_lost=number % 4 == 0)
    return store


def fill_many(store: Store, hosts: int, runs: int, days: int) -> None:
    """Make a store in which each host has as many runs.

    Parameters
    ----------
    store
        Where to.
    hosts
        How many there are.
    runs
        How many runs each of them has.
    days
        Over how many days before `LAST`.
    """
    for number in range(hosts):
        rows = _runs(np.random.default_rng([SEED, number]), runs, days)
        ids = np.random.default_rng([SEED, number]).permutation(runs)
        rows["host"] = host = f"host{number:04d}"
        rows["run_id"] = [f"{number:06x}{each:010x}" for each in ids]
        _fill_host(store.host(host), rows, days, has_lost=number % 4 == 0)


def add_one_each(store: Store, hosts: int, runs: int) -> None:
    """Store a run more of each host of a store of `fill_many`.

    Parameters
    ----------
    store, hosts, runs
        As of `fill_many`.
    """
    for number in range(hosts):
        row = _runs(np.random.default_rng([SEED, number, 1]), 1, 1)
        row[["first_seq", "last_seq"]] += runs * 4
        row["host"] = host = f"host{number:04d}"
        row["run_id"] = f"{number:06x}{runs:010x}"
        part = pa.Table.from_pandas(row, schema.TABLES["runs"], preserve_index=False)
        position = Position(max(runs, _PART) + 1, max(runs, _PART) + 1)
        store.host(host).append("kmsg:b", position, runs=part)


def _fill_host(tables: HostTables, own: pd.DataFrame, days: int, *, has_lost: bool) -> None:
    host = own["host"].iloc[0]
    tables.append_tracer("modules:b", 9, _modules(host, days))
    for begin in range(0, len(own), _PART):
        part = pa.Table.from_pandas(
            own[begin : begin + _PART], schema.TABLES["runs"], preserve_index=False
        )
        last = part.slice(part.num_rows - 1).to_pylist()[0]
        tables.append(
            "kmsg:b",
            Position(begin + _PART, begin + _PART),
            runs=part,
            losses=[_loss(host)] if begin == 0 and has_lost else [],
            files=_files(last),
            calls=_calls(last),
        )


def _runs(chance: np.random.Generator, runs: int, days: int) -> pd.DataFrame:
    begun = pd.DatetimeIndex(_moments(chance, runs, days)).sort_values()
    took = (chance.lognormal(11, 1.6, runs) + 60).astype("int64")
    owner = _pick(chance, len(OWNERS), runs)
    # everybody has three machines and four programs, more or less
    host = (owner * 5 + _pick(chance, 3, runs) ** 2) % len(HOSTS)
    program = (owner * 2 + _pick(chance, 4, runs)) % len(PROGRAMS)
    read, write = (chance.lognormal(4, 1.5, runs).astype("int64") + 1 for _ in range(2))
    status = chance.choice(["complete", "no_end", "truncated"], runs, p=[0.965, 0.025, 0.01])
    opened = chance.integers(1, 9, runs)
    frame = pd.DataFrame(
        {
            "host": np.array(HOSTS)[host],
            "boot_id": "6f1c0e9a-6a1e-4b53-9d3e-000000000001",
            "first_seq": np.arange(runs) * 4,
            "last_seq": np.arange(runs) * 4 + 3,
            "started_at": begun,
            "ended_at": begun + pd.to_timedelta(took, "us"),
            "started_us": (begun - begun[0]) // pd.Timedelta("1us"),
            "clock": "received",
            "pid": chance.integers(300, 4_000_000, runs),
            "owner": np.array(OWNERS)[owner],
            "comm": np.array(PROGRAMS)[program],
            "file": np.array(FILES)[_pick(chance, len(FILES), runs)],
            "read_bytes": read * chance.choice([1, 64, 4096], runs),
            "written_bytes": write * chance.choice([1, 64, 4096], runs, p=[0.5, 0.3, 0.2]),
            "open_calls": opened,
            "close_calls": opened - (chance.random(runs) < 0.1),
            "read_calls": read,
            "write_calls": write,
            "lseek_calls": chance.integers(0, 40, runs),
            "dialect": "contract",
            "status": status,
            "source": "kmsg",
            "run_id": [f"{number:016x}" for number in chance.permutation(runs) * 0x9E3779B1],
            "note": pd.Series(status).map(NOTES),
        }
    )
    frame["ended_us"] = frame["started_us"] + took
    frame.loc[frame["status"] == "no_end", ["ended_at", "ended_us"]] = None
    frame["ended_us"] = frame["ended_us"].astype("Int64")
    names = schema.TABLES["runs"].names
    missing = [name for name in names if name not in frame]
    return frame.assign(**dict.fromkeys(missing))[names]


# Most begin on a working day between nine and eighteen o'clock in Seoul, more at the term's end.
def _moments(chance: np.random.Generator, runs: int, days: int) -> Any:
    day = (days * np.sqrt(chance.random(runs))).astype("int64")
    hour = chance.normal(14.5, 2.6, runs).clip(0.1, 23.9)
    midnight = pd.Timestamp(LAST).floor("D") - pd.Timedelta(days=days, hours=9)
    at = (
        midnight + pd.to_timedelta(day, "D") + pd.to_timedelta((hour * 3.6e9).astype("int64"), "us")
    )
    weekend = (at + pd.Timedelta(hours=9)).day_of_week >= 5
    moved = at - pd.to_timedelta(np.where(weekend & (chance.random(runs) < 0.85), 3, 0), "D")
    return np.minimum(moved, pd.Timestamp(LAST))


# Places in a list: the first ones come often, the last ones seldom.
def _pick(chance: np.random.Generator, count: int, runs: int) -> Any:
    weights = 1 / np.arange(1, count + 1) ** 0.6
    return chance.choice(count, runs, p=weights / weights.sum())


def _modules(host: str, days: int) -> list[dict[str, Any]]:
    loaded = LAST - timedelta(days=days)
    shared = {"host": host, "boot_id": "6f1c0e9a", "action": "add", "kernel": "6.1.0-56-amd64"}
    return [
        shared | {"at": loaded + timedelta(seconds=number), "module": module, "version": "1"}
        for number, module in enumerate(MODULES)
    ]


def _of_run(run: dict[str, Any]) -> dict[str, Any]:
    identity = {name: run[name] for name in ("host", "boot_id", "run_id", "pid", "comm")}
    return identity | {"ended_seq": run["last_seq"]}


# The file that it reads, the one that it writes and leaves open, and the terminal.
def _files(run: dict[str, Any]) -> list[dict[str, Any]]:
    paths = (f"/home/lab/{run['file']}", f"/home/lab/{run['comm'].strip('./')}.out", "/dev/pts/0")
    return [
        _of_run(run)
        | {
            "descriptor": (3, 4, 1)[number],
            "path": path,
            "read_bytes": run["read_bytes"] if number == 0 else 0,
            "written_bytes": run["written_bytes"] if number == 1 else 0,
            "opens": int(number < 2),
            "closes": int(number == 0),
            "reads": run["read_calls"] if number == 0 else 0,
            "writes": run["write_calls"] if number == 1 else 2 * (number == 2),
            "seeks": run["lseek_calls"] if number == 0 else 0,
            "open_at_end": number > 0,
        }
        for number, path in enumerate(paths)
    ]


def _calls(run: dict[str, Any]) -> list[dict[str, Any]]:
    calls = {
        "openat": (run["open_calls"], 1, 0, 41_000),
        "read": (run["read_calls"], 0, run["read_bytes"], 900 * run["read_calls"]),
        "write": (run["write_calls"], 0, run["written_bytes"], 1_300 * run["write_calls"]),
        "fsync": (1, 0, 0, 147_800),
        "close": (run["close_calls"], 0, 0, 4_400),
    }
    names = ("calls", "errors", "moved_bytes", "time_ns")
    return [
        _of_run(run) | {"call": call} | dict(zip(names, counts, strict=True))
        for call, counts in calls.items()
    ]


def _loss(host: str) -> dict[str, Any]:
    return {
        "host": host,
        "boot_id": "6f1c0e9a",
        "source": "kmsg",
        "first_seq": 100,
        "last_seq": 1303,
        "records": 1204,
        "reason": "overrun",
        "noticed_at": LAST - timedelta(days=2),
        "text": None,
    }
