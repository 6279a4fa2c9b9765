"""A lab: machines watch and ship, cables are pulled, processes die; nothing is lost or doubled.

Everything is real but the S3 server, which is moto's, and the kernels, whose logs are written here.
"""

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from log_samples import end, ops, start, stats
from netns import Lab

HOSTS = [f"pc{number}" for number in range(1, 6)]
WORKERS = [f"worker{number}" for number in range(1, 4)]
SCHEDULER = "tcp://scheduler:8786"
STORE = "s3://lab/logtrace"
LOG = "/var/log/kern.log"
OWNERS = ["2021202045", "2021202046", "2021202047"]
S3 = {
    "AWS_ACCESS_KEY_ID": "lab",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://store:5000",
    "AWS_ALLOW_HTTP": "true",
}
STEPS = 24
KEPT_PARTS = STEPS  # of a rotated log, more than there may be rotations
PATIENCE_S = 180


class Course:
    """Machines whose kernels print runs, and what they printed."""

    def __init__(self, lab, folder, seed):
        self.lab = lab
        self.runs = Counter()
        self.read_bytes = Counter()
        self._random = random.Random(seed)
        self._folder = folder
        self._pid = 1000
        self._printed = dict.fromkeys(HOSTS, 0)
        self._half = {}
        self._watches = {}
        for number, host in enumerate(HOSTS):
            lab.path(host, "/etc/machine-id").write_text(f"{number + 1:032x}\n")
            lab.path(host, LOG).touch()
            self.watch(host)

    def watch(self, host):
        """Start a machine's watch, unless it is there."""
        if host in self._watches and self._watches[host].poll() is None:
            return
        with (self._folder / f"{host}.log").open("a") as told:
            self._watches[host] = self.lab.run(
                host,
                [*LOGTRACE, "watch", LOG, "--store", "/var/lib/logtrace", "--ship-to", STORE],
                env=os.environ | S3,
                stdout=told,
                stderr=told,
            )

    def print_runs(self, host, runs):
        """Print the rest of a run, whole runs, and the beginning of one."""
        lines = self._half.pop(host, [])
        for _ in range(runs):
            lines += self._run(host)
        *_, first, second, third, fourth = lines + self._run(host)
        self._write(host, [*lines, first, second])
        self._half[host] = [third, fourth]

    def finish(self):
        """Print what is missing of runs that have begun, and see that everything runs."""
        for host in HOSTS:
            self._write(host, self._half.pop(host, []))
            self.watch(host)

    def _run(self, host):
        self._pid += 1
        owner = self._random.choice(OWNERS)
        read = self._random.randrange(1, 10**6)
        self.runs[host, owner] += 1
        self.read_bytes[host, owner] += read
        said = stats(read=read).replace("2021202045", owner)
        return [start(self._pid), said, ops(), end(self._pid)]

    def _write(self, host, lines):
        with self.lab.path(host, LOG).open("a") as log:
            for line in lines:
                self._printed[host] += 1
                at = datetime.now(UTC).isoformat(timespec="microseconds")
                stamp = f"[{100 + self._printed[host] / 1000:12.6f}]"
                log.write(f"{at} {host} kernel: {stamp} {line}\n")

    def rotate(self, host):
        """Rotate a machine's log as logrotate does."""
        for number in range(KEPT_PARTS, 0, -1):
            older = self.lab.path(host, f"{LOG}.{number}")
            newer = self.lab.path(host, f"{LOG}.{number - 1}" if number > 1 else LOG)
            if newer.exists():
                newer.rename(older)
        self.lab.path(host, LOG).touch()


LOGTRACE = [sys.executable, "-m", "logtrace"]


@pytest.fixture
def lab(tmp_path):
    with ExitStack() as opened:
        lab = opened.enter_context(Lab(*HOSTS, *WORKERS, "store", "scheduler"))

        def serve(name, *command):
            told = opened.enter_context((tmp_path / f"{name}.log").open("w"))
            lab.run(name, command, env=os.environ | S3, stdout=told, stderr=told)

        bin_folder = os.path.dirname(sys.executable)
        serve("store", f"{bin_folder}/moto_server", "-H", "0.0.0.0", "-p", "5000")
        serve("scheduler", f"{bin_folder}/dask", "scheduler", "--no-dashboard", "--port", "8786")
        for name in WORKERS:
            serve(name, *dask_worker(name))
        bucket = "import boto3; boto3.client('s3').create_bucket(Bucket='lab')"
        until(lambda: ask(lab, [sys.executable, "-c", bucket]).returncode == 0)
        yield lab


def dask_worker(name):
    options = ("--no-dashboard", "--nthreads=1", "--memory-limit=1GB", f"--name={name}")
    bin_folder = os.path.dirname(sys.executable)
    return [f"{bin_folder}/dask", "worker", SCHEDULER, *options, "--local-directory=/var/tmp"]


def ask(lab, command):
    """Run a command on the scheduler's machine to its end."""
    pipe = subprocess.PIPE
    process = lab.run(
        "scheduler", command, env=os.environ | S3, stdout=pipe, stderr=pipe, text=True
    )
    out, error = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def until(condition, tell=lambda: "it did not happen"):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(1)


def stored(lab):
    """Count the runs of each machine and owner in the lab's store."""
    by = ["stats", "--by", "host,owner", "--store", STORE, "--format", "json"]
    done = ask(lab, [*LOGTRACE, *by])
    if done.returncode:
        return {}
    return {(row["host"], row["owner"]): row["runs"] for row in json.loads(done.stdout)}


def missing(lab, course):
    """Tell which runs of the truth the lab's store lacks, and which it has too often."""
    there = Counter(stored(lab))
    return f"missing: {dict(course.runs - there)}; too many: {dict(there - course.runs)}"


def disturb(lab, course, chance, host):
    """Let one thing go wrong, or right again; say which."""
    what = chance.choice(["cut", "heal", "kill", "kill", "rotate", "store", "nothing"])
    match what:
        case "cut":
            lab.cut(host)
        case "heal":
            for name in [*HOSTS, "store"]:
                lab.heal(name)
        case "kill":
            lab.kill(host)
        case "rotate":
            course.rotate(host)
        case "store":
            lab.cut("store")
    return what


# Prints the name of a worker that has something to do as soon as there is one.
BUSY = f"""\
import time
from distributed import Client

def busy(dask_scheduler):
    return [each.name for each in dask_scheduler.workers.values() if each.processing]

with Client("{SCHEDULER}") as client:
    print("ready", flush=True)
    while not (names := client.run_on_scheduler(busy)):
        time.sleep(0.01)
    print(names[0], flush=True)
"""


def read(lines):
    """Give the rows of a CSV."""
    return list(csv.DictReader(lines.decode().splitlines()))


def totals(counted, place):
    """Add up what was counted by host and owner for each host, or owner."""
    added = Counter()
    for names, number in counted.items():
        added[names[place]] += number
    return added


def test_every_run_is_in_the_labs_store_once_and_both_engines_report_the_truth(lab, tmp_path):
    chance = random.Random(28)
    course = Course(lab, tmp_path, seed=28)
    for host in HOSTS:
        course.print_runs(host, 1)
    until(lambda: len(stored(lab)) == len(HOSTS))  # a first watch begins with the newest part
    disturbed = set()
    for step in range(STEPS):
        for host in HOSTS:
            course.print_runs(host, chance.randrange(20))
        host = HOSTS[step % len(HOSTS)]
        disturbed.add((disturb(lab, course, chance, host), host))
        time.sleep(chance.uniform(0.2, 1.5))
        course.watch(chance.choice(HOSTS))
    for what in ("cut", "kill"):
        assert len([host for each, host in disturbed if each == what]) >= 3
    assert {host for each, host in disturbed if each in ("cut", "kill")} == set(HOSTS)
    for name in [*HOSTS, "store"]:
        lab.heal(name)
    course.finish()
    until(lambda: stored(lab) == dict(course.runs), lambda: missing(lab, course))

    until_now = ["--until", datetime.now(UTC).isoformat()]
    reports = {}
    for engine in (["local"], ["dask", "--scheduler", SCHEDULER]):
        out = tmp_path / engine[0]
        command = ["report", "--store", STORE, *until_now, "--format", "csv", "--out", str(out)]
        with ExitStack() as ends:
            if engine[0] == "dask":
                watching = lab.run(
                    "scheduler", [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True
                )
                ends.callback(watching.stdout.close)
                assert watching.stdout.readline() == "ready\n"
            reported = lab.run(
                "scheduler",
                [*LOGTRACE, *command, "--engine", *engine],
                env=os.environ | S3,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            if engine[0] == "dask":
                busy = watching.stdout.readline().strip()
                lab.kill(busy)  # while it is asked
                _, *others = [name for name in WORKERS if name != busy]
                lab.cut(*others)
                time.sleep(3)
                assert reported.poll() is None
                lab.heal(*others)
            _, error = reported.communicate(timeout=PATIENCE_S)
        assert reported.returncode == 0, error
        reports[engine[0]] = {file.name: file.read_bytes() for file in out.iterdir()}
    assert reports["local"] == reports["dask"]

    report = {name.removesuffix(".csv"): read(lines) for name, lines in reports["dask"].items()}
    for place, key in enumerate(("host", "owner")):
        found = report[f"by-{key}"]
        assert {row[key]: int(row["runs"]) for row in found} == totals(course.runs, place)
        assert {row[key]: int(row["read_bytes"]) for row in found} == totals(
            course.read_bytes, place
        )
    assert {row["host"] for row in report["hosts"]} == set(HOSTS)
    rows = report["runs"]
    assert len({row["run_id"] for row in rows}) == len(rows) == course.runs.total()
    read_bytes = Counter()
    for row in rows:
        read_bytes[row["host"], row["owner"]] += int(row["read_bytes"])
    assert read_bytes == course.read_bytes
    assert {row["status"] for row in rows} == {"complete"}
