"""The labs that other tests are made in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from netns import Lab, require_namespaces

SERVE_ONE = """
import socket
server = socket.create_server(("", 7), backlog=5)
print("ready", flush=True)
while True:
    server.accept()[0].sendall(b"good day")
"""
CALL = """
import socket, sys
with socket.create_connection((sys.argv[1], 7), timeout=0.5) as caller:
    print(caller.recv(8).decode())
"""


@pytest.fixture
def lab():
    with Lab("pc1", "pc2") as made:
        yield made


def output_of(lab, name, *command):
    process = lab.run(name, command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process.communicate()[0].strip()


def serve(lab, name):
    server = lab.run(name, [sys.executable, "-c", SERVE_ONE], stdout=subprocess.PIPE, text=True)
    with server.stdout:
        assert server.stdout.readline() == "ready\n"
    return server


def call(lab, name, other):
    return output_of(lab, name, sys.executable, "-c", CALL, other)


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_machine_has_a_name_an_address_and_folders_of_its_own(lab):
    before = sorted(os.listdir("/var/log"))
    assert output_of(lab, "pc2", "hostname") == "pc2"
    assert output_of(lab, "pc2", "hostname", "-i") == lab.addresses["pc2"] == "10.99.0.2"
    assert output_of(lab, "pc2", "ls", "/var/log") == ""
    assert lab.run("pc2", ["sh", "-c", "echo x >/var/log/x; echo y >/etc/y"]).wait() == 0
    assert lab.path("pc2", "/var/log/x").read_text() == "x\n"
    assert not lab.path("pc1", "/etc/y").exists()
    assert not Path("/etc/y").exists()
    assert sorted(os.listdir("/var/log")) == before


def test_a_machine_is_reached_by_its_name_until_its_cable_is_cut_and_after_it_is_healed(lab):
    serve(lab, "pc2")
    assert call(lab, "pc1", "pc2") == "good day"
    lab.cut("pc2")
    assert call(lab, "pc1", "pc2") == ""
    lab.heal("pc2")
    assert call(lab, "pc1", "pc2") == "good day"


def test_this_machines_own_network_stays_as_it_is():
    before = list(Path("/sys/class/net").iterdir())
    with Lab("pc1", "pc2"):
        assert list(Path("/sys/class/net").iterdir()) == before


def test_a_power_cut_ends_all_of_one_machine_also_what_left_its_parent(lab):
    daemon = int(output_of(lab, "pc1", "sh", "-c", "setsid sleep 600 >/dev/null & echo $!"))
    server, other = serve(lab, "pc1"), serve(lab, "pc2")
    lab.kill("pc1")
    assert server.returncode == -signal.SIGKILL
    assert has_ended(daemon)
    assert other.poll() is None
    serve(lab, "pc1")


def test_nothing_is_left_of_a_lab_when_its_test_fails():
    left = []

    def fail(lab):
        left.extend([serve(lab, "pc1"), lab.path("pc1", "/")])
        with lab:
            raise RuntimeError("a test failed")

    with pytest.raises(RuntimeError, match="a test failed"):
        fail(Lab("pc1"))
    server, root = left
    assert server.returncode == -signal.SIGKILL
    assert not root.exists()


def test_nothing_holds_a_lab_when_what_made_it_is_killed():
    require_namespaces()
    script = "from netns import Lab; print(Lab('pc1').path('pc1', '/'), flush=True); input()"
    maker = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with maker.stdin, maker.stdout:
        root = Path(maker.stdout.readline().strip())
        assert (root / "etc/hosts").exists()
        maker.kill()
        maker.wait()
    deadline = time.monotonic() + 10
    while not has_ended(root.parts[2]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
