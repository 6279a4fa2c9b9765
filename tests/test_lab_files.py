"""What docs/lab has beside the collection itself: certificates, units, the playbook."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab_files import FILES, make_certificates, require
from netns import Lab
from report_samples import run_row

from logtrace.engine import Engine
from logtrace.positions import Position
from logtrace.store import Store

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
UNITS = sorted((FILES / "systemd").glob("*.service"))
MOST_EXPOSED = 2.5  # of 10, as systemd-analyze security counts


def text_of(name):
    return (FILES / name).read_text()


def test_every_file_is_on_the_page():
    files = [path for path in FILES.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert [path.name for path in files if path.name not in text_of("README.md")] == []


def test_certificates_are_of_the_labs_authority_and_kept(tmp_path):
    require(openssl="/usr/bin/openssl")
    make_certificates(tmp_path, "pc1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make_certificates(tmp_path, "pc1", "pc2")
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() | {"pc2.crt", "pc2.key"} == after.keys()
    assert all(after[name] == before[name] for name in before if name != "ca.srl")
    for name in ("pc1", "pc2"):
        command = ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", name]
        subprocess.run([*command, f"{name}.crt"], cwd=tmp_path, check=True, capture_output=True)
        assert (tmp_path / f"{name}.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_understood_by_systemd_and_may_do_little(unit, tmp_path):
    require(systemd="/usr/bin/systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/logtrace/bin/logtrace", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=True
    )
    assert verified.stderr == ""
    weighed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", copy],
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = float(re.search(r"Overall exposure level.*?: ([\d.]+)", weighed.stdout)[1])
    assert exposure <= MOST_EXPOSED


def numbers_in(folder):
    rows = Engine(Store(str(folder))).rows("runs", order="first_seq")
    return list(rows["first_seq"] // 4)


def test_a_backup_of_a_store_that_is_written_to_is_whole(tmp_path):
    require(rsync="/usr/bin/rsync")
    backup = re.search(r"## Backup.*?```sh\n(.*?)```", text_of("README.md"), re.S)[1]
    store, copy = tmp_path / "store", tmp_path / "copy"
    commands = backup.replace("/var/lib/logtrace", str(store))
    commands = commands.replace("/srv/backup/logtrace", str(copy)).splitlines()
    copied = [run_row(number) for number in range(3)]
    tables = Store(str(store)).host("lab01")
    tables.append("kmsg:b", Position(1, 1), runs=copied)
    for number, command in enumerate(commands, 2):
        subprocess.run(command, shell=True, check=True)
        tables.append("kmsg:b", Position(number, number), runs=[run_row(number + 5)])
    assert numbers_in(copy) == [0, 1, 2]
    subprocess.run("\n".join(commands), shell=True, check=True)
    assert numbers_in(copy) == [0, 1, 2, 7, 8]


@pytest.fixture
def lab(tmp_path):
    with Lab("collector", "pc1") as made:
        make_certificates(tmp_path / "certificates", "collector", "pc1", "pc2")
        yield made


def play(lab, folder, *names, **settings):
    """Run the playbook on machines, but for packages and services; give what it changed."""
    settings |= {"lab_certificates": folder / "certificates"}
    settings |= {"ansible_python_interpreter": "/usr/bin/python3"}
    chosen = [f"--extra-vars={key}={value}" for key, value in settings.items()]
    inventory = f"--inventory={FILES / 'ansible' / 'inventory.ini'}"
    command = [PLAYBOOK, inventory, "--connection=local", "--skip-tags=packages,services", *chosen]
    playing = [
        lab.run(
            name,
            [*command, f"--limit={name}", FILES / "ansible" / "lab.yml"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"ANSIBLE_HOME": str(folder), "ANSIBLE_PIPELINING": "True"},
        )
        for name in names
    ]
    changed = {}
    for name, process in zip(names, playing, strict=True):
        said, _ = process.communicate()
        assert process.returncode == 0, said
        changed[name] = int(re.search(r"changed=(\d+)", said)[1])
    return changed


def test_the_playbook_makes_a_machine_and_a_collector_of_rsyslog(lab, tmp_path):
    machines = ("pc1", "collector")
    assert all(play(lab, tmp_path, *machines, lab_collector="log.lab").values())
    assert not any(play(lab, tmp_path, *machines, lab_collector="log.lab").values())
    sent = lab.path("pc1", "/etc/rsyslog.d/logtrace.conf").read_text()
    assert sent == text_of("rsyslog/host.conf").replace('"collector"', '"log.lab"')
    key = lab.path("pc1", "/etc/logtrace/tls/host.key")
    assert key.read_bytes() == (tmp_path / "certificates" / "pc1.key").read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    for file, target in (
        ("rsyslog/server.conf", "/etc/rsyslog.d/logtrace.conf"),
        ("rsyslog/logrotate", "/etc/logrotate.d/logtrace"),
        ("systemd/logtrace-collect.service", "/etc/systemd/system/logtrace-collect.service"),
    ):
        assert lab.path("collector", target).read_text() == text_of(file)
    assert "\nlogtrace:" in lab.path("collector", "/etc/passwd").read_text()
    assert not lab.path("pc1", "/etc/systemd/system/logtrace-watch.service").exists()


def test_the_playbook_makes_a_machine_and_a_collector_of_journals(lab, tmp_path):
    assert all(play(lab, tmp_path, "pc1", "collector", lab_way="journal").values())
    for name, role in (("pc1", "upload"), ("collector", "remote")):
        for file, target in (
            (f"{role}.conf", f"journal-{role}.conf.d/logtrace.conf"),
            (f"{role}.service.conf", f"system/systemd-journal-{role}.service.d/logtrace.conf"),
        ):
            path = lab.path(name, f"/etc/systemd/{target}")
            assert path.read_text() == text_of(f"journal/{file}")
    unit = lab.path("collector", "/etc/systemd/system/logtrace-collect.service").read_text()
    assert "watch --quiet /var/log/journal/remote --store" in unit
    assert "SupplementaryGroups=systemd-journal systemd-journal-remote\n" in unit


def test_the_playbook_makes_a_machine_that_watches_its_own_kernel(lab, tmp_path):
    assert all(play(lab, tmp_path, "pc1", lab_way="watch").values())
    unit = lab.path("pc1", "/etc/systemd/system/logtrace-watch.service").read_text()
    assert unit == text_of("systemd/logtrace-watch.service")
    assert not lab.path("pc1", "/etc/rsyslog.d/logtrace.conf").exists()
