"""Count what a lab's store in a bucket is asked for, and write docs/performance.md.

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
from pathlib import Path

import lab
from kernel import PAGE, with_part

from logtrace.store import Store

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import s3_server

HOSTS = (10, 100)  # each host takes moto some seconds to be filled
RUNS = 100
DAYS = 30
HEADER = ("hosts", "first report: lists, gets", "the next one", "after a run more of each host")


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


def measure(server: s3_server.Server, hosts: int, runs: int) -> list[str]:
    """Give the row of so many hosts."""
    bucket = f"lab{hosts}"
    server.make_bucket(bucket)
    url = f"s3://{bucket}/logtrace"
    store = Store(url)
    lab.fill_many(store, hosts, runs, DAYS)
    server.take_requests()
    found = [f"{hosts:,}"]
    for _ in range(2):
        report(url)
        found.append(count(server))
    lab.add_one_each(store, hosts, runs)
    server.take_requests()
    report(url)
    return [*found, count(server)]


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description="Count the requests of reports on a bucket.")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each host")
    parser.add_argument("hosts", nargs="*", type=int, metavar="HOSTS", help="10 100")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"LOGTRACE_CACHE": f"{folder}/cache", "AWS_ACCESS_KEY_ID": "lab"}
        os.environ |= {"AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        with s3_server.serve(Path(folder)) as server:
            os.environ["AWS_ENDPOINT_URL"] = server.url
            rows = [measure(server, hosts, options.runs) for hosts in options.hosts or HOSTS]
    table = "\n".join(
        f"| {' | '.join(cells)} |" for cells in [HEADER, ["---:"] * len(HEADER), *rows]
    )
    print(table)
    if not options.hosts:
        PAGE.write_text(with_part(PAGE.read_text(), "requests", table))


if __name__ == "__main__":
    main()
