"""What docs/lab has for the machines of a lab, put where it says that it belongs."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

FILES = Path(__file__).parent.parent / "docs" / "lab"
TLS = "/etc/logtrace/tls"
PATIENCE_S = 60


def require(**packages):
    """Skip where a file is missing that one of Debian's packages has."""
    missing = [package for package, file in packages.items() if not Path(file).exists()]
    if missing:
        remedy = f"apt-get install {' '.join(missing).replace('_', '-')}"
        lack(remedy)


def lack(remedy):
    """Skip for want of something; where nothing may be left out, fail."""
    (pytest.fail if os.environ.get("LOGTRACE_REQUIRE_ALL") else pytest.skip)(remedy)


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def install(lab, name, file, target):
    """Copy a file of docs/lab to a machine."""
    path = lab.path(name, target)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(FILES / file, path)
    path.chmod(0o644)


def make_certificates(folder, *names):
    """Make an authority, and certificates of these machines."""
    command = ["sh", FILES / "certificates.sh", folder, *names]
    subprocess.run(command, check=True, capture_output=True)


def give_certificate(lab, name, folder):
    """Give a machine the certificate that has its name, readable by what runs as root."""
    place = lab.path(name, TLS)
    place.mkdir(parents=True)
    for file, target in ((f"{name}.crt", "host.crt"), (f"{name}.key", "host.key")):
        shutil.copy(folder / file, place / target)
    shutil.copy(folder / "ca.crt", place / "ca.crt")
