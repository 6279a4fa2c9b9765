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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab
import obstore
from kernel import PAGE, with_part

from logtrace.store import Store

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import s3_server

HOSTS = (10, 100, 1000)
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
    table = "\n".join(
        f"| {' | '.join(cells)} |" for cells in [HEADER, ["---:"] * len(HEADER), *rows]
    )
    print(table)
    if not options.hosts:
        PAGE.write_text(with_part(PAGE.read_text(), "requests", table))


if __name__ == "__main__":
    main()
