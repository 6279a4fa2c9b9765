"""Machines send to a collector as docs/watching.md says, all with real rsyslog daemons."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from store_samples import log_of

from logtrace.engine import Engine
from logtrace.store import Store

PAGE = (Path(__file__).parent.parent / "docs" / "watching.md").read_text()
COLLECTOR, MACHINE = re.findall(
    r"^```\n(.*?)^```", re.search(r"^## rsyslog$.*?^## ", PAGE, re.M | re.S)[0], re.M | re.S
)
RSYSLOGD = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin")
PATIENCE_S = 60
RUNS = 331


def changed(text, **values):
    """Give a configuration other values of its options."""
    for name, value in values.items():
        text, count = re.subn(rf'\b{name}="[^"]*"', f'{name}="{value}"', text)
        assert count, name
    return text


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """An rsyslogd that comes and goes."""

    def __init__(self, folder, configuration, **options):
        folder.mkdir()
        settings = " ".join(f'{name}="{value}"' for name, value in options.items())
        text = f'global(workDirectory="{folder}" {settings})\n{configuration}'
        (folder / "conf").write_text(text)
        self.folder = folder
        self.start()

    def start(self):
        command = [RSYSLOGD, "-n", "-f", self.folder / "conf", "-i", self.folder / "pid"]
        with (self.folder / "said").open("ab") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said)

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(PATIENCE_S)


class Machine:
    """An rsyslogd whose kernel is a pipe."""

    def __init__(self, folder, name, port):
        pipe = folder / f"{name}.kmsg"
        os.mkfifo(pipe)
        self.name = name
        self.kernel = os.open(pipe, os.O_RDWR)
        to_collector = changed(
            MACHINE, target="127.0.0.1", port=port, **{"action.resumeInterval": 1}
        )
        configuration = f'module(load="imklog" logPath="{pipe}")\n{to_collector}'
        self.daemon = Daemon(folder / name, configuration, localHostname=name)

    def print(self, pid):
        for line in log_of(pid, second=pid).splitlines():
            os.write(self.kernel, f"<6>{line}\n".encode())

    def close(self):
        self.daemon.end(signal.SIGKILL)
        os.close(self.kernel)


class Lab:
    """Two machines, their collector, and a watch of its folder."""

    def __init__(self, folder, opened):
        self.remote = folder / "remote"
        self.remote.mkdir()
        self.url = str(folder / "store")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = changed(COLLECTOR, port=port).replace("/var/log/remote", str(self.remote))
        text = text.replace("input(", 'input(address="127.0.0.1" ')
        self.collector = Daemon(folder / "collector", text)
        opened.callback(lambda: self.collector.end(signal.SIGKILL))
        wait_for(lambda: listens(port))
        self.machines = [Machine(folder, name, port) for name in ("pc7", "pc8")]
        for machine in self.machines:
            opened.callback(machine.close)
        self.start_watch()
        opened.callback(lambda: self.watch.kill())

    def start_watch(self):
        options = ["watch", "--quiet", "--store", self.url, self.remote]
        self.watch = subprocess.Popen([sys.executable, "-m", "logtrace", *options])

    def print(self):
        for pid in range(1, RUNS + 1):
            for machine in self.machines:
                machine.print(pid)
            time.sleep(0.005)

    @property
    def lines(self):
        logs = self.remote.glob("*/kern.log*")
        return [line for log in logs for line in log.read_text().splitlines()]

    def wait_for_more(self, count=100):
        expected = len(self.lines) + count
        wait_for(lambda: len(self.lines) >= expected)

    def wait_for_runs(self, count):
        stored = Path(self.url).is_dir
        wait_for(lambda: stored() and len(self.runs) >= count)

    @property
    def engine(self):
        return Engine(Store(self.url))

    @property
    def runs(self):
        return self.engine.rows("runs", order="host, pid")


@pytest.fixture
def lab(tmp_path):
    if RSYSLOGD is None or not list(Path("/usr/lib").glob("**/rsyslog/imrelp.so")):
        remedy = "apt-get install rsyslog rsyslog-relp"
        (pytest.fail if os.environ.get("LOGTRACE_REQUIRE_ALL") else pytest.skip)(remedy)
    with ExitStack() as opened:
        yield Lab(tmp_path, opened)


def test_whatever_ends_on_the_way_each_run_is_stored_once_for_its_machine(lab):
    printing = threading.Thread(target=lab.print)
    printing.start()
    try:
        lab.wait_for_more()
        lab.collector.end(signal.SIGTERM)
        time.sleep(0.3)
        lab.collector.start()
        lab.wait_for_more()
        for log in lab.remote.glob("*/kern.log"):
            log.rename(f"{log}.1")
        lab.wait_for_more(1)
        lab.collector.process.send_signal(signal.SIGHUP)
        lab.wait_for_runs(1)
        lab.watch.kill()
        lab.watch.wait()
        lab.collector.end(signal.SIGTERM)
        time.sleep(0.3)
        lab.collector.start()
        lab.start_watch()
    finally:
        printing.join()
    wait_for(lambda: len(lab.lines) >= 2 * 4 * RUNS)
    lab.wait_for_runs(2 * RUNS)
    lab.watch.terminate()
    assert lab.watch.wait(PATIENCE_S) == 0
    runs = lab.runs
    expected = [(machine.name, pid) for machine in lab.machines for pid in range(1, RUNS + 1)]
    assert list(zip(runs["host"], runs["pid"], strict=True)) == expected
    assert set(runs["status"]) == {"complete"}
    assert set(runs["clock"]) == {"log"}
    assert len(lab.engine.rows("losses")) == 0
    stamps = {line.split()[0] for line in lab.lines}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}[+-]\d\d:\d\d", at) for at in stamps)
