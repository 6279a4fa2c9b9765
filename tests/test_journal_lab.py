"""Machines send their journals to a collector over HTTPS, with systemd's own programs.

Each has a network of its own. The files of docs/lab are used as they are; a machine's journal
is written by systemd-journal-remote in place of journald, which would read this kernel's log.
"""

import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from journal_samples import JournalFolder
from lab_files import (
    PATIENCE_S,
    TLS,
    give_certificate,
    install,
    make_certificates,
    require,
    wait_for,
)
from netns import Lab
from store_samples import log_of

from logtrace.engine import Engine
from logtrace.store import Store

UPLOAD = "/lib/systemd/systemd-journal-upload"
REMOTE = "/lib/systemd/systemd-journal-remote"
FOLDER = "/var/log/journal/remote"
# As the units start them; systemd listens for the collector.
COLLECT = ["systemd-socket-activate", "-l", "19532", REMOTE, "--listen-https=-3", "--output"]
SEND = f"while sleep 0.5; do {UPLOAD} --save-state; done"
MACHINES = ("pc7", "pc8")


class Machine:
    """A machine with a journal that it sends."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        local = Path("/var/log/journal", Path("/etc/machine-id").read_text().strip())
        lab.path(name, local).mkdir(parents=True)
        lab.path(name, "/var/lib/systemd/journal-upload").mkdir(parents=True)
        self.journal = JournalFolder(lab.path(name, local), "system", name)
        self.printed = 0

    def print(self, runs=7):
        pids = range(self.printed + 1, self.printed + runs + 1)
        self.journal.add(*(line.split("] ", 1)[1] for line in log_of(*pids).splitlines()))
        self.printed += runs

    def start(self):
        self.lab.run(self.name, ["sh", "-c", SEND])


class Collection:
    """Machines, their collector, and a watch of its folder."""

    def __init__(self, folder, opened):
        self.lab = opened.enter_context(Lab("collector", *MACHINES))
        make_certificates(folder / "tls", "collector", *MACHINES)
        for name in ("collector", *MACHINES):
            role = "remote" if name == "collector" else "upload"
            give_certificate(self.lab, name, folder / "tls")
            credentials = f"/run/credentials/systemd-journal-{role}.service"  # by LoadCredential=
            shutil.copytree(self.lab.path(name, TLS), self.lab.path(name, credentials))
            target = f"/etc/systemd/journal-{role}.conf.d/logtrace.conf"
            install(self.lab, name, f"journal/{role}.conf", target)
        self.lab.path("collector", FOLDER).mkdir(parents=True)
        self.store = folder / "store"
        self.machines = [Machine(self.lab, name) for name in MACHINES]
        self.start()

    def start(self):
        self.remote = self.lab.run("collector", [*COLLECT, f"{FOLDER}/"])

    def end(self, how):
        self.remote.send_signal(how)
        self.remote.wait(PATIENCE_S)

    def start_watch(self):
        command = [sys.executable, "-m", "logtrace", "watch", "--quiet", FOLDER]
        self.watch = self.lab.run("collector", [*command, "--store", self.store])

    def print_for(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for machine in self.machines:
                machine.print()
            time.sleep(0.1)

    def has_all(self):
        printed = sum(machine.printed for machine in self.machines)
        return self.store.is_dir() and len(self.engine.rows("runs")) >= printed

    @property
    def engine(self):
        return Engine(Store(str(self.store)))


@pytest.fixture
def collection(tmp_path):
    require(systemd_journal_remote=UPLOAD, openssl="/usr/bin/openssl")
    with ExitStack() as opened:
        yield Collection(tmp_path, opened)


def test_whatever_fails_on_the_way_each_run_is_stored_once_for_its_machine(collection):
    lab = collection.lab
    collection.print_for(0.5)
    for machine in collection.machines:
        machine.start()
    wait_for(lambda: list(lab.path("collector", FOLDER).glob("*.journal")))
    collection.start_watch()
    wait_for(collection.has_all)
    lab.cut("pc7")
    collection.print_for(1)
    lab.heal("pc7")
    wait_for(collection.has_all)
    for how in (signal.SIGTERM, signal.SIGKILL):
        collection.print_for(0.5)
        collection.end(how)
        collection.print_for(0.5)
        collection.start()
        wait_for(collection.has_all)
    collection.watch.kill()
    lab.kill("pc8")
    collection.print_for(0.5)
    collection.machines[1].start()
    collection.start_watch()
    wait_for(collection.has_all)
    collection.watch.terminate()
    assert collection.watch.wait(PATIENCE_S) == 0
    runs = collection.engine.rows("runs", order="host, pid")
    expected = [
        (machine.name, pid)
        for machine in collection.machines
        for pid in range(1, machine.printed + 1)
    ]
    assert list(zip(runs["host"], runs["pid"], strict=True)) == expected
    assert set(runs["status"]) == {"complete"}
    assert len(collection.engine.rows("losses")) == 0
