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

from logtrace import config
from logtrace.engine import Engine
from logtrace.positions import Position
from logtrace.store import Store

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
UNITS = sorted((FILES / "systemd").glob("*.service"))
TIMERS = sorted((FILES / "systemd").glob("*.timer"))
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


@pytest.mark.parametrize("timer", TIMERS, ids=lambda timer: timer.name)
def test_a_timer_starts_the_service_of_its_name_every_night(timer, tmp_path):
    require(systemd="/usr/bin/systemd-analyze")
    copies = [tmp_path / path.name for path in (timer, timer.with_suffix(".service"))]
    for copy in copies:
        text = text_of(f"systemd/{copy.name}")
        copy.write_text(text.replace("/opt/logtrace/bin/logtrace", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", *copies], capture_output=True, text=True, check=True
    )
    assert verified.stderr == ""
    assert "\nOnCalendar=*-*-* 03:00\n" in timer.read_text()


def commands_of(unit):
    return re.findall(r"^ExecStart=/opt/logtrace/bin/logtrace (.*)", unit, re.M)


def test_what_looks_after_a_store_joins_its_small_files(tmp_path):
    store = Store(str(tmp_path / "store"))
    tables = store.host("lab01")
    for number in range(5):
        tables.append("kmsg:b", Position(number, number), runs=[run_row(number)])
    commands = commands_of(text_of("systemd/logtrace-upkeep.service"))
    assert len(commands) == 2
    for command in commands:
        words = command.replace("/var/lib/logtrace", str(store)).split()
        subprocess.run([sys.executable, "-m", "logtrace", *words], check=True)
    assert len(store.open("lab01", "runs").file_uris()) == 1
    assert numbers_in(store.root) == [0, 1, 2, 3, 4]


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


def told_by_play(lab, folder, *names, options=("--skip-tags=packages,services",), **settings):
    """Run the playbook on machines, but for packages and services; give what each says."""
    settings |= {"lab_certificates": folder / "certificates"}
    settings |= {"ansible_python_interpreter": "/usr/bin/python3"}
    chosen = [f"--extra-vars={key}={value}" for key, value in settings.items()]
    inventory = f"--inventory={FILES / 'ansible' / 'inventory.ini'}"
    command = [PLAYBOOK, inventory, "--connection=local", *options, *chosen]
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
    told = {}
    for name, process in zip(names, playing, strict=True):
        told[name], _ = process.communicate()
        assert process.returncode == 0, told[name]
    return told


def play(lab, folder, *names, **settings):
    """Run the playbook; give how much it changed on each machine."""
    told = told_by_play(lab, folder, *names, **settings)
    return {name: int(re.search(r"changed=(\d+)", said)[1]) for name, said in told.items()}


def unit_of(lab, name, unit):
    return lab.path(name, f"/etc/systemd/system/{unit}").read_text()


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
    for file in ("logtrace-upkeep.service", "logtrace-upkeep.timer"):
        assert unit_of(lab, "collector", file) == text_of(f"systemd/{file}")
        assert not lab.path("pc1", f"/etc/systemd/system/{file}").exists()
    assert not lab.path("collector", "/etc/logtrace/logtrace.toml").exists()
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
    assert unit_of(lab, "pc1", "logtrace-upkeep.timer") == text_of("systemd/logtrace-upkeep.timer")
    # without a place to ship to
    assert not lab.path("pc1", "/etc/logtrace/logtrace.toml").exists()


def test_the_playbook_makes_machines_that_ship_to_a_bucket_and_one_that_looks_after_it(
    lab, tmp_path
):
    chosen = {"lab_way": "watch", "lab_ship_to": "s3://ours/runs", "lab_keep": "400d"}
    chosen["lab_environment"] = FILES / "environment"
    machines = ("pc1", "collector")
    assert all(play(lab, tmp_path, *machines, **chosen).values())
    assert not any(play(lab, tmp_path, *machines, **chosen).values())
    for name in machines:
        settings = lab.path(name, "/etc/logtrace/logtrace.toml")
        assert config.load([settings]).ship == config.Shipping("s3://ours/runs", 10**9)
        credentials = lab.path(name, "/etc/logtrace/environment")
        assert credentials.read_text() == text_of("environment")
        assert credentials.stat().st_mode & 0o777 == 0o600
        unit = unit_of(lab, name, "logtrace-watch.service")
        assert "\nEnvironmentFile=-/etc/logtrace/environment\n" in unit
    assert commands_of(unit_of(lab, "collector", "logtrace-upkeep.service")) == [
        "store retain --keep 400d --store s3://ours/runs",
        "store compact --store s3://ours/runs",
        "store vacuum --store s3://ours/runs",
    ]
    assert unit_of(lab, "collector", "logtrace-upkeep.timer")
    assert not lab.path("pc1", "/etc/systemd/system/logtrace-upkeep.timer").exists()


def test_the_playbook_lets_units_write_to_the_folder_that_is_shipped_to(lab, tmp_path):
    play(lab, tmp_path, "collector", lab_way="watch", lab_ship_to="/mnt/lab")
    for unit in ("logtrace-watch", "logtrace-upkeep"):
        added = unit_of(lab, "collector", f"{unit}.service.d/ship.conf")
        assert added == "[Service]\nReadWritePaths=-/mnt/lab\n"


@pytest.mark.parametrize(
    ("to", "given", "installed"),
    [
        ("s3://lab/logtrace", "logtrace", "logtrace[s3]"),
        ("s3://lab/logtrace", "/root/logtrace.whl", "/root/logtrace.whl[s3]"),
        (
            "s3://lab/logtrace",
            "https://lab/logtrace.whl",
            "logtrace[s3] @ https://lab/logtrace.whl",
        ),
        ("/mnt/lab", "/root/logtrace.whl", "/root/logtrace.whl"),
    ],
)
def test_the_playbook_installs_what_a_bucket_takes(lab, tmp_path, to, given, installed):
    only_say = ("--check", "-vvv", "--tags=packages", "--skip-tags=services")
    only_say += ("--start-at-task=Install logtrace",)
    chosen = {"lab_way": "watch", "lab_ship_to": to, "lab_logtrace": given}
    told = told_by_play(lab, tmp_path, "pc1", options=only_say, **chosen)
    asked = re.search(r'"name": \[\s*"(.*?)"\s*\]', told["pc1"])
    assert asked[1] == installed
