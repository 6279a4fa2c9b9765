"""A lab of machines in namespaces: each has a network, a name, /etc, /var and /run of its own.

    with Lab("pc1", "pc2", "store") as lab:
        server = lab.run("store", ["python3", "-m", "http.server", "80"])
        lab.run("pc1", ["curl", "http://store/"]).wait()
        lab.cut("store")

All else of the file system is shared, /tmp too. Nothing touches this machine's own network, and
nothing stays: namespaces end with the last process in them, and those that hold them open end
with the process that made the lab, however that ends.
"""

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

PROGRAMS = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}
HOLD = "echo held; exec cat >/dev/null"
HUB = f"ip link add lan type bridge && ip link set lan up && {HOLD}"
# An overlay keeps the rest of /etc; the programs of a lab begin with empty folders elsewhere.
MACHINE = f"""
mount -t tmpfs tmpfs /run && mkdir -p /run/lock /run/etc/new /run/etc/work &&
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/new,workdir=/run/etc/work overlay /etc &&
mount -t tmpfs tmpfs /var && mkdir -p /var/cache /var/lib /var/log /var/spool /var/tmp &&
ln -s /run /var/run && ip link set lo up && hostname "$1" && {HOLD}
"""


class Lab:
    """Machines by name on one network, made at once and removed by `close`.

    Each finds the others by their names. `addresses` has them, as 10.99.0.1 and so on.
    """

    def __init__(self, *names):
        require_namespaces()
        self.addresses = {name: f"10.99.0.{at}" for at, name in enumerate(names, 1)}
        self._ports = {name: f"port{at}" for at, name in enumerate(names, 1)}
        self._processes = []
        with ExitStack() as opened:
            self._hub = opened.enter_context(_Held(["--net"], HUB))
            self._machines = {
                name: opened.enter_context(_Held(["--net", "--mount", "--uts"], MACHINE, name))
                for name in names
            }
            opened.callback(self._end_all)
            for name in names:
                self._plug_in(name)
            self._opened = opened.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Kill all that runs on the machines, and remove them."""
        self._opened.close()

    def run(self, name, command, **options):
        """Start a command on a machine; options are those of `subprocess.Popen`."""
        entered = self._machines[name].entered(command)
        process = subprocess.Popen(entered, stdin=subprocess.DEVNULL, **options)
        self._processes.append(process)
        return process

    def path(self, name, path):
        """Give the path by which a file of a machine is reached from here.

        What resolves links, such as `Path.resolve` and Delta tables, is led to this machine's
        own file by it: put a store that is read from here into a folder that is shared.
        """
        return Path(f"/proc/{self._machines[name].pid}/root") / str(path).lstrip("/")

    def cut(self, name):
        """Pull out a machine's cable: what it sends and what is sent to it is lost."""
        self._hub.do(["ip", "link", "set", self._ports[name], "down"])

    def heal(self, name):
        """Plug it in again."""
        self._hub.do(["ip", "link", "set", self._ports[name], "up"])

    def kill(self, name):
        """Kill all that runs on a machine at once, as when its power fails."""
        machine = self._machines[name]
        while running := machine.processes():
            for pid in running:
                _kill(pid)
            for process in self._processes:
                if process.pid in running:
                    process.wait()

    def _end_all(self):
        for name in self._machines:
            self.kill(name)
        for process in self._processes:
            process.wait()

    def _plug_in(self, name):
        port, machine = self._ports[name], self._machines[name]
        peer = ["peer", "name", "eth0", "netns", str(machine.pid)]
        self._hub.do(["ip", "link", "add", port, "type", "veth", *peer])
        self._hub.do(["ip", "link", "set", port, "master", "lan", "up"])
        machine.do(["ip", "address", "add", f"{self.addresses[name]}/24", "dev", "eth0"])
        machine.do(["ip", "link", "set", "eth0", "up"])
        known = {"localhost": "127.0.0.1"} | self.addresses
        hosts = "".join(f"{address} {each}\n" for each, address in known.items())
        self.path(name, "/etc/hosts").write_text(hosts)
        self.path(name, "/etc/hostname").write_text(f"{name}\n")


class _Held:
    """Namespaces that a process holds open until the end of its input."""

    def __init__(self, kinds, script, *arguments):
        self._enter = [*kinds, f"--wdns={Path.cwd()}"]
        command = ["unshare", *kinds, "sh", "-c", script, "sh", *arguments]
        pipe = subprocess.PIPE
        self._holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.pid = self._holder.pid
        if self._holder.stdout.readline() != "held\n":
            self.__exit__()
            raise RuntimeError(f"no namespaces: exit code {self._holder.returncode}")
        self._net = os.stat(f"/proc/{self.pid}/ns/net").st_ino

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._holder.communicate()

    def entered(self, command):
        return ["nsenter", f"--target={self.pid}", *self._enter, "--", *map(str, command)]

    def do(self, command):
        subprocess.run(self.entered(command), check=True)

    def processes(self):
        """List the processes in the network but the one that holds it."""
        return [pid for pid in _all_pids() if pid != self.pid and _net_of(pid) == self._net]


def _all_pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _net_of(pid):
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:  # it has ended
        return None


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended
        return


def require_namespaces():
    """Skip the test where there can be no labs, and say the remedy."""
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if missing:
        remedy = f"apt-get install {' '.join(missing)}"
    elif os.geteuid():
        remedy = "run the tests as root: it takes root to make network namespaces"
    elif subprocess.run(["unshare", "--net", "--mount", "true"]).returncode:
        remedy = "allow network namespaces: unshare --net --mount true fails here"
    else:
        return
    (pytest.fail if os.environ.get("LOGTRACE_REQUIRE_ALL") else pytest.skip)(remedy)
