"""Machines send to a collector by RELP over TLS, all with real rsyslog daemons.

Each has a network of its own. The files of docs/lab are used as they are; of Debian's own
configuration only the kernel is another one: a pipe.
"""

import os
import re
import shutil
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab_files import (
    FILES,
    PATIENCE_S,
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

RSYSLOGD = "/usr/sbin/rsyslogd"
CONFIGURATION = Path("/etc/rsyslog.conf")
KERNEL = "/var/tmp/kernel"
FOREIGN = "visitor"
STAMP = r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}[+-]\d\d:\d\d"
MACHINES = ("pc7", "pc8")


class Machine:
    """A machine whose rsyslogd comes and goes, and whose kernel is a pipe."""

    def __init__(self, lab, name, configuration):
        self.lab, self.name = lab, name
        os.mkfifo(self.path(KERNEL))
        self.kernel = os.open(self.path(KERNEL), os.O_RDWR)
        debian = CONFIGURATION.read_text()
        own = debian.replace('load="imklog"', f'load="imklog" logPath="{KERNEL}"')
        assert own != debian
        # the socket of programs is this machine's, not the lab's
        self.path(CONFIGURATION).write_text(own.replace('module(load="imuxsock")', ""))
        install(lab, name, configuration, "/etc/rsyslog.d/logtrace.conf")
        self.path("/var/spool/rsyslog").mkdir()
        self.printed = 0

    def path(self, path):
        return self.lab.path(self.name, path)

    def start(self):
        with self.path("/var/log/rsyslogd").open("ab") as said:
            self.rsyslogd = self.lab.run(self.name, [RSYSLOGD, "-n", "-iNONE"], stderr=said)

    def end(self, how):
        self.rsyslogd.send_signal(how)
        self.rsyslogd.wait(PATIENCE_S)

    def print(self):
        self.printed += 1
        for line in log_of(self.printed, second=self.printed).splitlines():
            os.write(self.kernel, f"<6>{line}\n".encode())

    def close(self):
        os.close(self.kernel)


class Collection:
    """Machines that print all the time, their collector, and a watch of its folder."""

    def __init__(self, folder, opened):
        self.lab = opened.enter_context(Lab("collector", *MACHINES, FOREIGN))
        make_certificates(folder / "ours", "collector", *MACHINES)
        make_certificates(folder / "theirs", FOREIGN)
        for name in ("collector", *MACHINES):
            give_certificate(self.lab, name, folder / "ours")
        shutil.copy(folder / "ours" / "ca.crt", folder / "theirs")  # it is no secret
        give_certificate(self.lab, FOREIGN, folder / "theirs")
        self.collector = self._machine(opened, "collector", "rsyslog/server.conf")
        self.machines = [self._machine(opened, name, "rsyslog/host.conf") for name in MACHINES]
        self.visitor = self._machine(opened, FOREIGN, "rsyslog/host.conf")
        install(self.lab, "collector", "rsyslog/logrotate", "/etc/logrotate.d/logtrace")
        self.remote = self.collector.path("/var/log/remote")
        self.store = folder / "store"
        self.remote.mkdir()
        self.collector.start()
        wait_for(self.listens)
        self.start_watch()

    def _machine(self, opened, name, configuration):
        machine = Machine(self.lab, name, configuration)
        opened.callback(machine.close)
        return machine

    def listens(self):
        command = ["sh", "-c", "ss -ltn | grep -q :2514"]
        return self.lab.run("collector", command).wait() == 0

    def start_watch(self):
        command = [sys.executable, "-m", "logtrace", "watch", "--quiet", "/var/log/remote"]
        self.watch = self.lab.run("collector", [*command, "--store", self.store])

    def print_until(self, done):
        while not done.wait(0.005):
            for machine in self.machines:
                machine.print()

    def rotate(self):
        state = ["--state", "/var/lib/logrotate"]
        command = ["logrotate", "--force", *state, "/etc/logrotate.d/logtrace"]
        assert self.lab.run("collector", command).wait() == 0

    def wait_for_more(self):
        """Wait until the collector has a run of each machine that begins from now on."""
        for machine in self.machines:
            run = f"[{machine.printed + 2}] End"
            logs = [self.remote / machine.name / name for name in ("kern.log", "kern.log.1")]
            wait_for(lambda run=run, logs=logs: any(run in text_of(log) for log in logs))

    @property
    def engine(self):
        return Engine(Store(str(self.store)))


def text_of(path):
    return path.read_text() if path.exists() else ""


@pytest.fixture
def collection(tmp_path):
    require(
        rsyslog=RSYSLOGD,
        rsyslog_relp="/usr/lib/x86_64-linux-gnu/rsyslog/imrelp.so",
        logrotate="/usr/sbin/logrotate",
        openssl="/usr/bin/openssl",
    )
    with ExitStack() as opened:
        yield Collection(tmp_path, opened)


def test_whatever_fails_on_the_way_each_run_is_stored_once_for_its_machine(collection):
    lab, collector, done = collection.lab, collection.collector, threading.Event()
    for machine in collection.machines:
        machine.start()
    printing = threading.Thread(target=collection.print_until, args=[done])
    printing.start()
    try:
        collection.wait_for_more()
        lab.cut("collector")  # what was acknowledged on the way is sent again
        time.sleep(0.3)
        collector.end(signal.SIGKILL)
        collector.start()
        wait_for(collection.listens)
        lab.heal("collector")
        collection.wait_for_more()
        collection.rotate()
        collection.wait_for_more()
        collector.rsyslogd.send_signal(signal.SIGHUP)  # as rsyslog-rotate does through systemd
        collection.watch.kill()
        collection.watch.wait()
        collector.end(signal.SIGTERM)
        time.sleep(0.3)
        collector.start()
        lab.cut("pc7")
        time.sleep(2)
        lab.heal("pc7")
        collection.rotate()
        collector.rsyslogd.send_signal(signal.SIGHUP)
        collection.start_watch()
        collection.wait_for_more()
    finally:
        done.set()
        printing.join()
    expected = [
        (machine.name, pid)
        for machine in collection.machines
        for pid in range(1, machine.printed + 1)
    ]
    wait_for(lambda: len(collection.engine.rows("runs")) >= len(expected))
    collection.watch.terminate()
    assert collection.watch.wait(PATIENCE_S) == 0
    runs = collection.engine.rows("runs", order="host, pid")
    assert list(zip(runs["host"], runs["pid"], strict=True)) == expected
    assert set(runs["status"]) == {"complete"}
    assert set(runs["clock"]) == {"log"}
    assert len(collection.engine.rows("losses")) == 0
    for log in collection.remote.glob("*/kern.log"):
        stamps = {line.split()[0] for line in log.read_text().splitlines()}
        assert all(re.fullmatch(STAMP, stamp) for stamp in stamps)


def test_machines_of_one_name_are_told_apart_by_addresses(collection):
    collector = collection.collector
    edit = re.search(r"`(sed .*FROMHOST-IP.*)`", (FILES / "README.md").read_text())[1]
    assert collection.lab.run("collector", ["sh", "-c", edit]).wait() == 0
    collector.end(signal.SIGTERM)
    collector.start()
    wait_for(collection.listens)
    for machine in collection.machines:
        assert collection.lab.run(machine.name, ["hostname", "pc7"]).wait() == 0
        machine.start()
        machine.print()
    wait_for(lambda: collection.store.is_dir() and len(collection.engine.rows("runs")) == 2)
    addresses = [collection.lab.addresses[name] for name in MACHINES]
    assert list(collection.engine.rows("runs", order="host")["host"]) == addresses


def test_who_has_no_certificate_of_the_lab_is_not_heard(collection):
    collection.visitor.start()
    collection.visitor.print()
    said = collection.collector.path("/var/log/rsyslogd")
    wait_for(lambda: "certificate validation failed" in text_of(said))
    collection.machines[0].start()
    collection.machines[0].print()
    wait_for(lambda: list(collection.remote.iterdir()))
    assert [folder.name for folder in collection.remote.iterdir()] == ["pc7"]
