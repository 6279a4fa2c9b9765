"""Count what a lab's store in a bucket is asked for, and write docs/performance.md.

Of reports on many hosts, and of what a day of one host's ships and its upkeep cost.

python bench/requests.py [--runs NUMBER] [HOSTS...]

Counts are the same on any machine, so nothing has to be at rest. The server is moto's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import lab
import obstore
from kernel import PAGE, with_part

from logtrace import store as storing
from logtrace.machine import Machine
from logtrace.positions import Position
from logtrace.ship import ship
from logtrace.store import Store

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import s3_server
from report_samples import run_row

HOSTS = (10, 100, 1000)
RUNS = 100
DAYS = 30
HEADER = ("hosts", "first report: lists, gets", "the next one", "after a run more of each host")

RUNS_A_DAY = 480  # one a minute for eight hours
SIGN_EVERY = 10  # minutes: as long as records come, a watch also stores that it is there
DAY_HEADER = ("ships", "of them with news", "requests", "`compact` and `vacuum`")


def count(server: s3_server.Server) -> str:
    """Say how many requests of each kind came since this was called last."""
    kinds = Counter(
        "lists" if request.method == "GET" and "list-type" in request.path else request.method
        for request in server.take_requests()
    )
    return f"{kinds['lists']:,}, {kinds['GET']:,}"


def report(url: str) -> None:
    """Write a report of all."""
    with tempfile.TemporaryDirectory() as out:
        command = ["report", "--store", url, "--by", "host", "--format", "html", "--out", out]
        subprocess.run(
            [sys.executable, "-m", "logtrace", *command], check=True, stdout=subprocess.DEVNULL
        )


def upload(folder: Path, url: str, known: set[Path]) -> None:
    """Put the files of a store into a bucket, but those that are known to be there."""
    bucket = obstore.store.from_url(url, client_options={"allow_http": True})
    news = sorted({path for path in folder.rglob("*") if path.is_file()} - known)
    known.update(news)
    with ThreadPoolExecutor(8) as pool:
        put = pool.map(lambda path: bucket.put(str(path.relative_to(folder)), path), news)
        assert len(list(put)) == len(news)


def measure(server: s3_server.Server, folder: Path, hosts: int, runs: int) -> list[str]:
    """Give the row of so many hosts."""
    server.make_bucket(f"lab{hosts}")
    url = f"s3://lab{hosts}/logtrace"
    # in a folder first: through delta-rs, each host takes moto some seconds
    store, known = Store(str(folder / "lab")), set[Path]()
    lab.fill_many(store, hosts, runs, DAYS)
    upload(store.root, url, known)
    server.take_requests()
    found = [f"{hosts:,}"]
    for _ in range(2):
        report(url)
        found.append(count(server))
    lab.add_one_each(store, hosts, runs)
    upload(store.root, url, known)
    server.take_requests()
    report(url)
    return [*found, count(server)]


def measure_day(server: s3_server.Server, folder: Path, apart: int, idle: int) -> list[str]:
    """Give the row of a host's day: a ship each so many minutes, and some with nothing new."""
    server.make_bucket(f"day{apart}")
    own, to = Store(str(folder / f"own{apart}")), Store(f"s3://day{apart}/logtrace")
    tables, machine = own.host("lab01"), Machine("1" * 32)
    server.take_requests()
    for number in range(RUNS_A_DAY):
        run = run_row(number)
        tables.append("kmsg:b", Position(number, number), runs=[run])
        if number % SIGN_EVERY == 0:
            sign = {"host": "lab01", "boot_id": "b", "at": run["ended_at"], "action": "alive"}
            tables.append_tracer("modules:b", number, [sign])
        if (number + 1) % apart == 0:
            ship(own, to, machine)
    for _ in range(idle):
        ship(own, to, machine)
    asked = len(server.take_requests())
    to.host("lab01").compact()
    to.host("lab01").vacuum()
    news = RUNS_A_DAY // apart
    return [f"{news + idle}", f"{news}", f"{asked:,}", f"{len(server.take_requests()):,}"]


def days(server: s3_server.Server, folder: Path) -> list[list[str]]:
    """Give the rows of `measure_day`: of a watch that ships, and of an hourly timer."""
    # a day takes minutes here: what is removed after an hour is removed at once
    storing._KEEP_REPLACED_FILES = timedelta(0)
    storing._CONFIGURATION["delta.logRetentionDuration"] = "interval 0 seconds"
    return [measure_day(server, folder, 1, 0), measure_day(server, folder, 60, 16)]


def as_table(*rows: Iterable[str]) -> str:
    """Give rows below their header as Markdown."""
    header, *others = map(list, rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---:"] * len(header), *others])


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description="Count the requests of reports on a bucket.")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each host")
    parser.add_argument("hosts", nargs="*", type=int, metavar="HOSTS", help="10 100 1000")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"LOGTRACE_CACHE": f"{folder}/cache", "AWS_ACCESS_KEY_ID": "lab"}
        os.environ |= {"AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        with s3_server.serve(Path(folder)) as server:
            os.environ["AWS_ENDPOINT_URL"] = server.url
            rows = []
            for hosts in options.hosts or HOSTS:
                with tempfile.TemporaryDirectory() as filled:
                    rows.append(measure(server, Path(filled), hosts, options.runs))
            of_days = as_table(DAY_HEADER, *days(server, Path(folder)))
    table = as_table(HEADER, *rows)
    print(table, of_days, sep="\n\n")
    if not options.hosts:
        page = with_part(PAGE.read_text(), "requests", table)
        PAGE.write_text(with_part(page, "requests of a day", of_days))


if __name__ == "__main__":
    main()
