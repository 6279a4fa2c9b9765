"""What a host has stored comes into the lab's store exactly once, whatever happens."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import S3Store
from report_samples import run_row
from rich.console import Console
from store_samples import log_of

from logtrace import columns, machine, terminal
from logtrace import ship as shipping
from logtrace import store as storing
from logtrace.bucket import Bucket
from logtrace.cli import cli
from logtrace.commands import ship as ship_command
from logtrace.display import bytes_text
from logtrace.engine import Engine
from logtrace.errors import StoreError
from logtrace.machine import Machine
from logtrace.run_id import run_id
from logtrace.ship import ship, ship_all
from logtrace.source.folder import FileTree, Layout
from logtrace.source.follow import Beginning
from logtrace.spool import Room, taken_bytes
from logtrace.store import Position, Store
from logtrace.watch import Watch

ONE, OTHER = Machine("1" * 32), Machine("2a" * 16)
BOOT = "b" * 32
# systemd-id128 machine-id --app-specific=6f1c0b7e52a94c0d9b3e7d6a1f08c4e5, of the id in the test
MADE_BY_SYSTEMD = "4913995e98054b26be693c8f9761fcdc"
SOURCE = f"kmsg:{BOOT}"


def run(seq, host="lab1", boot=BOOT, **changes):
    """Give the run whose first record has a number; it takes four records."""
    return (
        run_row(seq)
        | {
            "host": host,
            "boot_id": boot,
            "source": "kmsg",
            "first_seq": seq,
            "last_seq": seq + 3,
            "pid": seq,
            "run_id": run_id(host, boot, "kmsg", seq),
        }
        | changes
    )


def details(run, **columns):
    """Give a row of the files or the calls of a run."""
    same = {name: run[name] for name in ("host", "boot_id", "run_id", "pid", "comm")}
    return same | {"ended_seq": run["last_seq"]} | columns


def watch(to, *seqs, host="lab1", boot=BOOT, losses=(), resume_after=None):
    """Store a run for each number, as a watch of a kernel's log does: one commit each."""
    tables = to.host(host)
    for seq in seqs:
        one = run(seq, host, boot)
        tables.append(
            f"kmsg:{boot}",
            Position(seq + 3, seq + 3 if resume_after is None else resume_after),
            runs=[one],
            files=[details(one, descriptor=number, path=f"f{number}") for number in (3, 4)],
            calls=[details(one, call="read", calls=seq)],
            incidents=[
                {**details(one), "incident_id": one["run_id"], "first_seq": seq}
                | {"source": "kmsg"}
            ],
            losses=losses,
        )
        losses = ()


def loss(first, last, boot=BOOT, **changes):
    return {
        "host": "lab1",
        "boot_id": boot,
        "source": "kmsg",
        "first_seq": first,
        "last_seq": last,
        "records": last - first + 1,
        "reason": "overrun",
    } | changes


def rows(of, table="runs", *names):
    """Give what is stored in a table of all hosts, sorted."""
    of.refresh()
    names = names or ("first_seq",)
    found = []
    for host in of.hosts():
        delta = of.host(host).open(table)
        found += delta.to_pyarrow_table(columns=list(names)).to_pylist() if delta else []
    values = (tuple(row.values()) if len(names) > 1 else row[names[0]] for row in found)
    return sorted(values, key=repr if len(names) > 1 else None)


def everything(of):
    """Give all rows of all tables, without the number of their commit."""
    of.refresh()
    found = {}
    for host in of.hosts():
        for table, schema in columns.TABLES.items():
            delta = of.host(host).open(table)
            read = delta.to_pyarrow_table(columns=schema.names).to_pylist() if delta else []
            found.setdefault(table, Counter()).update(repr(row) for row in read)
    return found


@pytest.fixture
def own(tmp_path):
    return Store(str(tmp_path / "own"))


@pytest.fixture
def lab(request, tmp_path):
    if getattr(request, "param", "folder") == "folder":
        (tmp_path / "lab").mkdir()
        return Store(str(tmp_path / "lab"))
    return Store(f"s3://{request.getfixturevalue('s3').bucket}/the/lab")


in_folder_and_bucket = pytest.mark.parametrize("lab", ["folder", "s3"], indirect=True)
in_bucket = pytest.mark.parametrize("lab", ["s3"], indirect=True)


def copy(of, to):
    shutil.copytree(of.root, to)
    return Store(str(to))


def lose(of):
    shutil.rmtree(of.root)


@in_folder_and_bucket
def test_all_tables_come_into_the_labs_store_as_they_are(own, lab):
    watch(own, 10, 20, losses=[loss(0, 9)])
    own.host("lab1").append_tracer("modules:1", 5, [{"host": "lab1", "boot_id": BOOT}])
    done = ship(own, lab, ONE)
    assert everything(lab) == everything(own)
    assert all(everything(own).values())
    assert done.rows == {
        ("lab1", "runs"): 2,
        ("lab1", "files"): 4,
        ("lab1", "calls"): 2,
        ("lab1", "incidents"): 2,
        ("lab1", "losses"): 1,
        ("lab1", "tracer"): 1,
    }
    assert done.names == {"lab1": "lab1"}
    assert done.done == done.whole == 12


@in_folder_and_bucket
def test_only_what_is_new_is_brought_and_nothing_new_costs_no_commit(own, lab):
    watch(own, 10, 20)
    ship(own, lab, ONE)
    own.host("lab1").compact()
    watch(own, 30)
    assert ship(own, lab, ONE).rows["lab1", "runs"] == 1
    assert rows(lab) == [10, 20, 30]
    version = lab.host("lab1").open("runs").version()
    assert not ship(own, lab, ONE).rows.total()
    assert lab.host("lab1").open("runs").version() == version


@in_folder_and_bucket
def test_what_the_labs_store_has_is_read_like_any_store(own, lab):
    watch(own, 10, 20)
    ship(own, lab, ONE)
    found = Engine(lab).rows("runs")
    assert sorted(found["first_seq"]) == [10, 20]
    assert "stored_us" not in found.columns


def test_a_collectors_store_is_shipped_with_all_its_hosts(own, lab):
    for number, host in enumerate(["pc1", "pc2", "pc%3"]):
        watch(own, number, host=host)
    assert list(ship(own, lab, ONE).names) == ["pc%3", "pc1", "pc2"]
    assert lab.hosts() == own.hosts()
    assert everything(lab) == everything(own)


def test_what_is_stored_meanwhile_comes_with_all_that_belongs_to_it(own, lab, monkeypatch):
    watch(own, 10, losses=[loss(0, 9)])
    opened = storing.HostTables.open
    news = iter([20, 30, 40, 50, 60, 70])

    def open_then_store(self, name):
        delta = opened(self, name)
        if str(own) in str(self._place) and (seq := next(news, None)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(storing.HostTables, "open", opened)
                watch(own, seq, losses=[loss(seq - 6, seq - 1)])
        return delta

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storing.HostTables, "open", open_then_store)
        ship(own, lab, ONE)
    runs = rows(lab, "runs", "run_id")
    assert len(runs) < 7
    assert set(runs) <= set(rows(lab, "files", "run_id")) & set(rows(lab, "calls", "run_id"))
    ship(own, lab, ONE)
    assert everything(lab) == everything(own)


@in_folder_and_bucket
def test_hosts_ship_in_any_order_and_at_once(tmp_path, lab):
    hosts = {name: Store(str(tmp_path / name)) for name in ("a", "b", "c")}
    for _ in range(3):
        for number, (name, each) in enumerate(hosts.items()):
            watch(each, *range(10 * number, 10 * number + 10, 5), host=name)
        shippers = [
            threading.Thread(target=ship, args=(each, lab, Machine(f"{number}" * 32)))
            for number, each in enumerate(hosts.values(), 1)
        ]
        for each in shippers:
            each.start()
        for each in shippers:
            each.join()
    assert everything(lab) == sum_of(hosts.values())


def sum_of(stores):
    found = {table: Counter() for table in columns.TABLES}
    for each in stores:
        for table, count in everything(each).items():
            found[table] += count
    return found


# Killed


class _Killed(BaseException):
    pass


@in_folder_and_bucket
@pytest.mark.parametrize("before", [True, False])
def test_killed_before_or_after_any_commit_each_row_comes_once(own, lab, monkeypatch, before):
    monkeypatch.setattr(shipping, "_BATCH_ROWS", 1)
    watch(own, 10, 20, 30, losses=[loss(0, 9)])
    receive = storing.HostTables.receive
    commits = []

    def killed_once(self, *arguments):
        commits.append(arguments[0])
        if before and len(commits) % 2 == 0:
            raise _Killed
        delta = receive(self, *arguments)
        if not before and len(commits) % 2 == 0:
            raise _Killed
        return delta

    monkeypatch.setattr(storing.HostTables, "receive", killed_once)
    kills = 0
    while True:
        try:
            ship(own, lab, ONE)
        except _Killed:
            kills += 1
        else:
            break
    assert kills >= 5
    assert everything(lab) == everything(own)


@in_folder_and_bucket
def test_a_table_that_was_begun_and_has_no_rows_yet_holds_nothing_up(own, lab, monkeypatch):
    watch(own, 10)

    def killed(*_, **__):
        raise _Killed

    def see_a_module():
        own.host("lab1").append_tracer("modules:1", 5, [{"host": "lab1", "boot_id": BOOT}])

    with monkeypatch.context() as patched:
        patched.setattr("deltalake.write_deltalake", killed)
        with pytest.raises(_Killed):
            see_a_module()
    assert own.host("lab1").open("tracer") is not None
    ship(own, lab, ONE)
    see_a_module()
    ship(own, lab, ONE)
    assert everything(lab) == everything(own)
    assert everything(lab)["tracer"].total() == 1


_SHIP_IN_SMALL_BATCHES = """\
import sys
from logtrace import ship
from logtrace.machine import Machine
from logtrace.store import Store
ship._BATCH_ROWS = 2
print("ready", flush=True)
sys.stdin.readline()
ship.ship(Store(sys.argv[1]), Store(sys.argv[2]), Machine("1" * 32))
print("done", flush=True)
"""


def test_killed_at_random_instants_each_row_comes_once(own, lab):
    chance = random.Random(1)
    watch(own, *range(10, 100, 10))
    arguments = [sys.executable, "-c", _SHIP_IN_SMALL_BATCHES, str(own), str(lab)]
    killed = 0
    while True:
        with subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("\n")
            process.stdin.flush()
            time.sleep(chance.uniform(0, 0.05 * (1 + killed)))
            process.kill()
            if process.stdout.readline() == "done\n":
                break
            killed += 1
            if killed == 4:
                watch(own, 200, 210)
    assert killed >= 3
    assert everything(lab) == everything(own)


# Lost, set back, copied


@in_folder_and_bucket
def test_a_store_that_was_lost_reads_the_log_again_and_doubles_nothing(own, lab):
    watch(own, 10, 20, 30, losses=[loss(0, 9)])
    own.host("lab1").append_tracer("modules:1", 5, [tracer(1)])
    ship(own, lab, ONE)
    lose(own)
    # the first run's first lines were overwritten meanwhile, and the boot's beginning long ago
    cut = run(13, status="no_start", pid=10, last_seq=13)
    own.host("lab1").append(SOURCE, Position(13, 13), runs=[cut], files=[], losses=[loss(0, 11)])
    watch(own, 20, 30, 40)
    own.host("lab1").append_tracer("modules:2", 6, [tracer(2)])
    ship(own, lab, ONE)
    watch(own, 50)
    ship(own, lab, ONE)
    assert rows(lab) == [10, 20, 30, 40, 50]
    assert rows(lab, "files", "run_id", "descriptor") == sorted(
        ((run_id("lab1", BOOT, "kmsg", seq), fd) for seq in rows(lab) for fd in (3, 4)), key=repr
    )
    assert len(rows(lab, "incidents", "incident_id")) == len(rows(lab, "calls", "run_id")) == 5
    assert rows(lab, "losses", "first_seq", "last_seq", "records") == [(0, 9, 10)]
    assert rows(lab, "tracer", "watch") == [1, 2]


def tracer(watch):
    return {"host": "lab1", "boot_id": BOOT, "action": "begin", "watch": watch}


def test_what_nobody_read_while_the_store_was_lost_is_a_loss(own, lab):
    watch(own, 10, 20)
    ship(own, lab, ONE)
    lose(own)
    watch(own, 60, losses=[loss(0, 59)])
    ship(own, lab, ONE)
    assert rows(lab) == [10, 20, 60]
    assert rows(lab, "losses", "first_seq", "last_seq", "records") == [(24, 59, 36)]


def test_what_runs_were_open_of_when_the_store_was_lost_was_not_read(own, lab):
    watch(own, 10, resume_after=4)
    ship(own, lab, ONE)
    lose(own)
    watch(own, 20, losses=[loss(0, 19)])
    ship(own, lab, ONE)
    assert rows(lab, "losses", "first_seq", "last_seq") == [(5, 19)]


def test_losses_without_a_number_are_told_apart_by_when_they_were_noticed(own, lab):
    emptied = loss(0, 0, first_seq=None, last_seq=None, records=None, reason="emptied")
    noticed = [datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2)]
    for number, at in enumerate(noticed):
        own.host("lab1").append(
            "file:x", Position(number, number), losses=[emptied | {"noticed_at": at}]
        )
        ship(own, lab, ONE)
    assert rows(lab, "losses", "noticed_at") == noticed
    lose(own)
    for number, at in enumerate([*noticed, datetime(2026, 11, 3, tzinfo=UTC)]):
        own.host("lab1").append(
            "file:x", Position(number, number), losses=[emptied | {"noticed_at": at}]
        )
    ship(own, lab, ONE)
    assert len(rows(lab, "losses", "noticed_at")) == 3


def test_details_of_runs_whose_end_no_record_told_are_not_doubled(own, lab):
    for _ in range(2):
        one, two = run(10), run(20)
        files = [details(one, descriptor=3) | {"ended_seq": None}, details(two, descriptor=3)]
        own.host("lab1").append("log:1", Position(99, 99), runs=[one, two], files=files)
        ship(own, lab, ONE)
        lose(own)
    assert rows(lab) == [10, 20]
    assert len(rows(lab, "files", "run_id")) == 2


def test_other_boots_need_no_look_at_what_is_there(own, lab):
    watch(own, 10)
    ship(own, lab, ONE)
    lose(own)
    watch(own, 10, boot="c" * 32)
    ship(own, lab, ONE)
    assert rows(lab, "runs", "boot_id", "first_seq") == [(BOOT, 10), ("c" * 32, 10)]


def test_a_store_that_was_set_back_to_an_earlier_state_ships_what_came_after(tmp_path, own, lab):
    watch(own, 10)
    ship(own, lab, ONE)
    earlier = copy(own, tmp_path / "earlier")
    watch(own, 20, 30)
    ship(own, lab, ONE)
    lose(own)
    copy(earlier, own.root)
    # more commits than it had before: how many there are tells nothing
    for seq in (40, 50, 60):
        watch(own, seq)
    watch(own, 20)
    ship(own, lab, ONE)
    watch(own, 30)
    ship(own, lab, ONE)
    assert rows(lab) == [10, 20, 30, 40, 50, 60]
    assert len(rows(lab, "files", "run_id")) == 12


@in_folder_and_bucket
def test_copies_of_a_machine_that_ship_at_once_lose_and_double_nothing(tmp_path, own, lab):
    watch(own, 10)
    ship(own, lab, ONE)
    copies = [own, *(copy(own, tmp_path / f"copy{number}") for number in (1, 2))]
    boots = [letter * 32 for letter in "def"]

    def work(each, boot):
        for seq in range(10, 40, 10):
            watch(each, seq, boot=boot)
            ship(each, lab, ONE)

    workers = [threading.Thread(target=work, args=pair) for pair in zip(copies, boots, strict=True)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert rows(lab, "runs", "boot_id", "first_seq") == sorted(
        [(BOOT, 10), *((boot, seq) for boot in boots for seq in range(10, 40, 10))], key=repr
    )
    assert len(rows(lab, "files", "run_id")) == 20


def test_rows_that_were_stored_in_the_labs_store_before_are_not_doubled(own, lab):
    watch(lab, 10, 20)
    watch(own, 20, 30)
    ship(own, lab, ONE)
    assert rows(lab) == [10, 20, 30]


@settings(max_examples=20)
@given(st.data())
def test_whatever_happens_in_whatever_order_each_run_is_there_once(data):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipping, "_BATCH_ROWS", data.draw(st.sampled_from([1, 3, 100])))
        own, lab = Store(f"{folder}/own"), Store(f"{folder}/lab")
        lab.root.mkdir()
        printed, snapshot = 0, None

        def catch_up():
            position = own.host("lab1").position(SOURCE)
            seen = -1 if position is None else position.seen
            watch(own, *(seq for seq in range(0, printed * 10, 10) if seq > seen))

        steps = ("print", "ship", "lose", "snapshot", "set back", "compact", "compact lab")
        for step in data.draw(st.lists(st.sampled_from(steps), min_size=3, max_size=14)):
            if step == "print":
                printed += data.draw(st.integers(1, 3))
                catch_up()
            elif step == "ship":
                ship(own, lab, ONE)
            elif step == "lose" and own.root.is_dir():
                lose(own)
                catch_up()
            elif step == "snapshot" and own.root.is_dir():
                snapshot = f"{folder}/snapshot"
                shutil.rmtree(snapshot, ignore_errors=True)
                shutil.copytree(own.root, snapshot)
            elif step == "set back" and snapshot:
                lose(own)
                shutil.copytree(snapshot, own.root)
                catch_up()
            elif step == "compact" and own.hosts():
                own.host("lab1").compact()
            elif step == "compact lab" and lab.hosts():
                lab.host("lab1").compact()
        catch_up()
        ship(own, lab, ONE)
        assert rows(lab) == [*range(0, printed * 10, 10)]
        assert len(rows(lab, "files", "run_id")) == 2 * printed


# Older stores


@pytest.fixture
def old(own, monkeypatch):
    """Give a store of a version that numbered no commits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "STORED", columns.TABLES)
        patch.setattr(storing, "_numbered", lambda table, _number: table)
        patch.setattr(storing, "_NUMBER", "unused")
        watch(own, 10, 20, 30)
    return own


def test_rows_without_a_number_come_first_and_once(old, lab):
    watch(old, 40)
    ship(old, lab, ONE)
    assert rows(lab) == [10, 20, 30, 40]
    watch(old, 50)
    assert ship(old, lab, ONE).rows["lab1", "runs"] == 1
    assert everything(lab) == everything(old)


def test_a_store_of_rows_without_a_number_comes_once(old, lab):
    for _ in range(2):
        ship(old, lab, ONE)
        assert everything(lab) == everything(old)


@pytest.mark.parametrize("kill_at", range(1, 12))
def test_killed_between_parts_of_them_they_come_once(old, lab, monkeypatch, kill_at):
    monkeypatch.setattr(shipping, "_BATCH_ROWS", 1)
    receive = storing.HostTables.receive
    commits = []

    def killed(self, *arguments):
        delta = receive(self, *arguments)
        commits.append(arguments[0])
        if len(commits) == kill_at:
            raise _Killed
        return delta

    monkeypatch.setattr(storing.HostTables, "receive", killed)
    with pytest.raises(_Killed):
        ship(old, lab, ONE)
    watch(old, 40)
    ship(old, lab, ONE)
    assert everything(lab) == everything(old)


# Two machines of one name


@in_folder_and_bucket
def test_the_first_machine_of_a_name_has_it_and_the_other_gets_a_name_of_its_own(tmp_path, lab):
    first, second = Store(str(tmp_path / "1")), Store(str(tmp_path / "2"))
    for each in (first, second):
        watch(each, 10)  # as where both have imported one log
    assert ship(first, lab, ONE).names == {"lab1": "lab1"}
    for _ in range(2):
        assert ship(second, lab, OTHER).names == {"lab1": "lab1~2a2a2a2a"}
        assert ship(first, lab, ONE).names == {"lab1": "lab1"}
    lab.refresh()
    assert lab.hosts() == ["lab1", "lab1~2a2a2a2a"]
    engine = Engine(lab)
    runs, files = engine.rows("runs", order="host"), engine.rows("files")
    assert list(runs["host"]) == ["lab1", "lab1~2a2a2a2a"]
    assert runs["run_id"].is_unique
    for run_of, host in zip(runs["run_id"], runs["host"], strict=True):
        assert list(files["run_id"][files["host"] == host]) == [run_of] * 2
    assert len(engine.rows("hits").dropna(subset="run_id")) == 2


@in_folder_and_bucket
def test_two_machines_of_one_name_that_begin_at_once_get_two_names(tmp_path, lab):
    both = [Store(str(tmp_path / each)) for each in "12"]
    for each in both:
        watch(each, 10)
    shippers = [
        threading.Thread(target=ship, args=(each, lab, one))
        for each, one in zip(both, (ONE, OTHER), strict=True)
    ]
    for each in shippers:
        each.start()
    for each in shippers:
        each.join()
    lab.refresh()
    assert len(lab.hosts()) == 2
    assert rows(lab) == [10, 10]


def test_it_is_told_that_the_name_is_another_machines(own, lab, monkeypatch):
    watch(own, 10)
    ship(own, lab, ONE)
    lose(own)
    watch(own, 10, 20)
    monkeypatch.setattr(machine, "this_machine", lambda: OTHER)
    arguments = ["ship", "--store", str(own), "--to", str(lab)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0
    assert done.stdout == "lab1: 2 calls, 4 files, 2 incidents, 2 runs\n"
    assert "lab1 is another machine in" in done.stderr
    assert "what this one stored is lab1~2a2a2a2a there" in done.stderr
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert json.loads(done.stdout) == {"host": "lab1", "name": "lab1~2a2a2a2a", "rows": {}}


def test_a_machine_is_known_by_what_systemd_makes_of_its_id_for_this_program(tmp_path):
    path = tmp_path / "machine-id"
    path.write_text("4f68bce3e8cd4db196e7fbcaf984b709\n")
    one = machine.this_machine(path)
    assert one.id == MADE_BY_SYSTEMD
    assert one.digits == MADE_BY_SYSTEMD[:8]
    assert 0 <= one.number < 2**63


@pytest.mark.parametrize("text", [None, "", "uninitialized\n"])
def test_a_machine_without_an_id_is_told_how_to_get_one(tmp_path, text):
    path = tmp_path / "machine-id"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError, match="systemd-machine-id-setup"):
        machine.this_machine(path)


# The lab's store is away


def test_it_is_tried_again_until_the_labs_store_is_there(own, lab, monkeypatch):
    watch(own, 10)
    lab.root.rmdir()
    told = []

    def tell(error, pause_s):
        told.append((str(error), pause_s))
        if len(told) == 3:
            lab.root.mkdir()

    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    ship_all(own, lab, ONE, retry_for_s=60, tell=tell)
    assert rows(lab) == [10]
    assert [error for error, _ in told] == [
        f"the lab's store {lab} is not there (mount it, or make the folder)"
    ] * 3
    pauses = [pause for _, pause in told]
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses))


def test_it_is_given_up_in_the_end(own, lab):
    watch(own, 10)
    lab.root.rmdir()
    done = CliRunner().invoke(
        cli, ["ship", "--store", str(own), "--to", str(lab), "--retry-for", "2"]
    )
    assert done.exit_code == 1
    assert done.stderr.endswith(
        f"Error: the lab's store {lab} is not there (mount it, or make the folder)\n"
    )
    assert "trying again in 1 s" in done.stderr


def test_a_lab_whose_disk_is_not_mounted_is_not_begun_anew_in_its_place(tmp_path, own, lab):
    watch(own, 10)
    ship(own, lab, ONE)
    lab.root.rename(tmp_path / "unmounted")
    lab.root.mkdir()
    watch(own, 20)
    with pytest.raises(StoreError, match=r"has none of the \w+ that were brought there \(mount it"):
        ship(own, lab, ONE)
    lab.root.rmdir()
    (tmp_path / "unmounted").rename(lab.root)
    ship(own, lab, ONE)
    assert rows(lab) == [10, 20]


@in_bucket
def test_a_server_that_is_away_for_a_while_is_tried_again(own, lab, s3, monkeypatch):
    watch(own, 10)
    ship(own, lab, ONE)
    watch(own, 20)
    told = []
    back = threading.Event()
    with s3.away():
        shipping_on = threading.Thread(
            target=ship_all,
            args=(own, lab, ONE),
            kwargs={"retry_for_s": 60, "tell": lambda *each: (told.append(each), back.set())},
        )
        shipping_on.start()
        assert back.wait(60)
        watch(own, 30)
    shipping_on.join()
    assert rows(lab) == [10, 20, 30]
    assert "can't be reached" in str(told[0][0])


@in_bucket
def test_killed_when_a_commit_was_made_but_not_answered_each_row_comes_once(
    own, lab, s3, monkeypatch
):
    watch(own, 10)
    ship(own, lab, ONE)
    watch(own, 20)
    receive = storing.HostTables.receive

    def not_answered(self, *arguments):
        receive(self, *arguments)
        raise StoreError("the server does not answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storing.HostTables, "receive", not_answered)
        for _ in range(3):
            with pytest.raises(StoreError):
                ship(own, lab, ONE)
    ship(own, lab, ONE)
    assert everything(lab) == everything(own)


@in_bucket
def test_nothing_new_costs_one_request(own, lab, s3):
    watch(own, 10)
    ship(own, lab, ONE)
    s3.take_requests()
    ship(own, lab, ONE)
    assert len(s3.take_requests()) == 1


def asked(s3):
    """Say what the server was asked since the last time: lists, and which objects."""
    requests = s3.take_requests()
    kinds = Counter(
        "list" if "list-type" in each.path else f"{each.method} {kind_of(each.path)}"
        for each in requests
    )
    assert kinds.total() == len(requests)
    return kinds


def kind_of(path):
    return "log" if "_delta_log" in path else "rows"


@in_bucket
def test_news_cost_four_requests_a_table_however_long_its_log_is(own, lab, s3):
    for number in range(20):
        watch(own, 10 * number)
        ship(own, lab, ONE)
    s3.take_requests()
    own.host("lab1").append(SOURCE, Position(999, 999), runs=[run(500)])
    ship(own, lab, ONE)
    # whether the bucket is there, and the table's log; the last commit; its rows and its commit
    a_table = Counter({"list": 1, "GET log": 1, "PUT rows": 1, "PUT log": 1})
    assert asked(s3) == Counter({"list": 1}) + a_table
    watch(own, 2000)
    ship(own, lab, ONE)
    assert asked(s3) == Counter({"list": 1}) + a_table + a_table + a_table + a_table
    assert everything(lab) == everything(own)


@in_bucket
def test_logs_are_summed_up_and_cleared_away_as_they_grow(own, lab, s3, monkeypatch):
    often = {"delta.checkpointInterval": "5", "delta.logRetentionDuration": "interval 0 seconds"}
    monkeypatch.setattr(storing, "_CONFIGURATION", storing._CONFIGURATION | often)
    for number in range(25):
        own.host("lab1").append(SOURCE, Position(number, number), runs=[run(number)])
        ship(own, lab, ONE)
    there = S3Store(
        s3.bucket, endpoint=s3.url, region="us-east-1", client_options={"allow_http": True}
    )
    log = [each["path"].rpartition("/")[2] for chunk in there.list("the/lab") for each in chunk]
    assert sorted(name for name in log if not name.startswith("part-")) == [
        f"{24:020}.checkpoint.parquet",
        *(f"{version:020}.json" for version in (24, 25, 26)),
        "_last_checkpoint",
    ]
    assert rows(lab) == [*range(25)]
    lab.host("lab1").compact()
    assert rows(lab) == [*range(25)]


@in_bucket
@pytest.mark.parametrize("before", [True, False])
def test_killed_before_or_after_any_object_is_written_each_row_comes_once(
    own, lab, monkeypatch, before
):
    often = {**storing._CONFIGURATION, "delta.checkpointInterval": "3"}
    monkeypatch.setattr(storing, "_CONFIGURATION", often)
    monkeypatch.setattr(shipping, "_BATCH_ROWS", 1)
    watch(own, 10, 20, 30, losses=[loss(0, 9)])
    put = Bucket.put
    count = 0

    def killed_often(self, *arguments, **options):
        nonlocal count
        count += 1
        if before and count % 4 == 0:
            raise _Killed
        put(self, *arguments, **options)
        if not before and count % 4 == 0:
            raise _Killed

    monkeypatch.setattr(Bucket, "put", killed_often)
    kills = 0
    while True:
        try:
            ship(own, lab, ONE)
        except _Killed:
            kills += 1
        else:
            break
    assert kills >= 5
    assert everything(lab) == everything(own)


def test_a_store_is_not_shipped_to_itself(own):
    watch(own, 10)
    with pytest.raises(StoreError, match="can't be shipped to itself"):
        ship(own, Store(str(own)), ONE)


def test_no_lab_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setenv("LOGTRACE_CONFIG", "/dev/null")
    done = CliRunner().invoke(cli, ["ship"])
    assert done.exit_code == 2
    assert "name the lab's store: --to URL, or ship.to in logtrace.toml" in done.stderr


# A bounded store


def kept(of, lab, most_bytes):
    """Give the store as a watch with a bound opens it."""
    return Store(str(of), Room(Store(str(of)), most_bytes, str(lab)))


def fill(of, *seqs):
    """Store rows of some size that does not compress."""
    for seq in seqs:
        one = run(seq, file=random.Random(seq).randbytes(5000).hex())
        of.host("lab1").append(
            SOURCE, Position(seq, seq), runs=[one], files=[details(one, descriptor=3)]
        )


def test_what_was_shipped_is_removed_oldest_first_before_there_is_no_room(own, lab):
    fill(own, *range(10))
    taken = taken_bytes(own)
    assert ship_all(own, lab, ONE, spool_bytes=2 * taken).removed == 0
    done = ship_all(own, lab, ONE, spool_bytes=taken)
    left = rows(own)
    assert 3 <= len(left) <= 6
    assert left == [*range(10 - len(left), 10)]
    assert rows(own, "files", "ended_seq") == [seq + 3 for seq in left]
    assert done.removed == 2 * (10 - len(left))
    assert taken_bytes(own) <= taken * 0.6
    fill(own, 10)
    assert ship(own, lab, ONE).rows["lab1", "runs"] == 1
    assert rows(lab) == [*range(11)]


def test_the_source_goes_on_where_it_was_when_rows_are_removed(own, lab):
    own.host("lab1").append_tracer("modules:1", 5, [tracer(1)])
    fill(own, *range(10))
    ship_all(own, lab, ONE, spool_bytes=1)
    # of each table the last rows that were shipped tell that it is the same as then
    assert rows(own) == [9]
    assert rows(own, "tracer", "watch") == [1]
    assert own.host("lab1").position(SOURCE) == Position(9, 9)


def test_what_was_not_shipped_is_never_removed(own, lab):
    fill(own, *range(4))
    ship(own, lab, ONE)
    fill(own, *range(4, 8))
    lab.root.rename(lab.root.with_name("away"))
    with pytest.raises(StoreError, match="is not there"):
        ship_all(own, lab, ONE, spool_bytes=1)
    assert rows(own) == [3, 4, 5, 6, 7]
    lab.root.with_name("away").rename(lab.root)
    ship(own, lab, ONE)
    assert rows(lab) == [*range(8)]


def test_a_store_full_of_what_was_not_shipped_takes_no_more_and_says_why(own, lab):
    fill(own, 1)
    bounded = kept(own, lab, 10_000)
    with pytest.raises(StoreError) as error:
        fill(bounded, 2)
    assert str(error.value) == (
        f"store {own} is full: rows of {bytes_text(taken_bytes(own))} wait to be shipped to {lab},"
        " and 9.8 KiB may "
        "(see that it can be reached, or raise ship.spool_bytes in logtrace.toml)"
    )
    # how far a source was read is no row
    bounded.host("lab1").append(SOURCE, Position(5, 5))
    assert rows(own) == [1]


def test_the_bound_is_overrun_by_one_commit_at_most(own, lab):
    fill(own, 0)
    of_a_commit = taken_bytes(own)
    most_bytes = 5 * of_a_commit
    bounded = kept(own, lab, most_bytes)
    with pytest.raises(StoreError, match="is full"):
        fill(bounded, *range(1, 100))
    assert most_bytes <= taken_bytes(own) < most_bytes + 2 * of_a_commit


def test_there_is_room_again_when_rows_were_shipped(own, lab):
    fill(own, *range(8))
    most_bytes = taken_bytes(own)
    bounded = kept(own, lab, most_bytes)
    with pytest.raises(StoreError, match="is full"):
        fill(bounded, 8)
    ship_all(own, lab, ONE, spool_bytes=most_bytes)
    fill(bounded, 8)
    assert rows(own)[-2:] == [7, 8]


def test_a_watch_waits_for_room_and_stores_all_that_its_log_still_has(tmp_path, own, lab):
    log = tmp_path / "log"
    log.write_text(log_of(1, 2))
    drain(kept(own, lab, 1_000_000), log)
    log.write_text(log_of(1, 2, 3, 4))
    with pytest.raises(StoreError, match="is full"):
        drain(kept(own, lab, 1), log)
    ship_all(own, lab, ONE, spool_bytes=1)
    log.write_text(log_of(1, 2, 3, 4, 5))
    drain(kept(own, lab, 1_000_000), log)
    ship(own, lab, ONE)
    assert rows(lab, "runs", "pid") == [1, 2, 3, 4, 5]


def drain(of, log):
    beginning = Beginning(of.positions(), "resume", "lab1")
    with (
        closing(FileTree(Layout.of(str(log)), beginning)) as tree,
        closing(Watch(of.host, "lab1", [tree], positions=beginning.positions)) as watching,
    ):
        watching.drain()


# Beside a watch


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_a_watch_ships_what_it_stores_also_after_the_lab_was_away(tmp_path, own, lab):
    log, config = tmp_path / "log", tmp_path / "logtrace.toml"
    log.write_text(log_of(1, 2))
    config.write_text(f'[ship]\nto = "{lab}"\n')
    lab.root.rename(tmp_path / "away")
    arguments = [sys.executable, "-m", "logtrace", "watch", "--store", str(own), str(log)]
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LOGTRACE_CONFIG": str(config)},
    ) as process:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        wait_for(lambda: any("is not there" in line for line in lines))
        (tmp_path / "away").rename(lab.root)
        wait_for(lambda: rows(lab, "runs", "pid") == [1, 2])
        with log.open("a") as file:
            file.write(log_of(3, second=200))
        wait_for(lambda: rows(lab, "runs", "pid") == [1, 2, 3])
        with log.open("a") as file:
            file.write(log_of(4, second=300))
        wait_for(lambda: any("prog4" in line for line in lines))
        process.terminate()
        process.wait(60)
        reader.join()
    assert rows(lab, "runs", "pid") == [1, 2, 3, 4]
    told = [line for line in lines if line.startswith("ship to ")]
    away = f"ship to {lab}: the lab's store {lab} is not there (mount it, or make the folder)\n"
    assert told[0] == away
    assert told.count(away) == 1
    assert told[1].startswith(f"ship to {lab}: all until 20")
    assert len(told) == 2


@contextmanager
def following(*arguments, spool_bytes=1_000_000_000):
    """Run a watch; gives its lines of standard output and of standard error as they come."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config, ExitStack() as stack:
        config.write(f"[ship]\nspool_bytes = {spool_bytes}\n")
        config.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "logtrace", "watch", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LOGTRACE_CONFIG": config.name},
        )
        stack.enter_context(process)
        said = [], []
        for lines, stream in zip(said, (process.stdout, process.stderr), strict=True):
            reader = threading.Thread(target=lines.extend, args=(stream,))
            reader.start()
            stack.callback(reader.join)
        stack.callback(process.terminate)
        yield said


@pytest.mark.parametrize("view", ["--json", "--quiet"])
def test_a_watch_whose_store_is_full_says_so_once_and_goes_on_when_rows_were_shipped(
    tmp_path, own, lab, view
):
    log = tmp_path / "log"
    log.touch()
    lab.root.rename(tmp_path / "away")
    pids = []

    def run_another():
        pids.append(len(pids) + 1)
        with log.open("a") as file:
            file.write(log_of(pids[-1], second=100 + len(pids)))

    arguments = (view, "--store", own, "--ship-to", lab, log)
    with following(*arguments, spool_bytes=100_000) as (out, told):
        is_full = f"store {own} is full: rows of "

        def is_stored_or_full():
            return rows(own, "runs", "pid") == pids or any(is_full in line for line in told)

        while not any(is_full in line for line in told):
            run_another()
            wait_for(is_stored_or_full)
        run_another()
        (tmp_path / "away").rename(lab.root)
        wait_for(lambda: rows(lab, "runs", "pid") == pids)
    assert len(pids) > 3
    assert sum(is_full in line for line in told) == 1
    away = f"ship to {lab}: the lab's store {lab} is not there (mount it, or make the folder)\n"
    assert told.count(away) == 1
    if view == "--json":
        assert [json.loads(line)["pid"] for line in out] == pids
    else:
        assert not out
        assert [line.split(": ")[0] for line in told] == [
            *(f"ship to {lab}", f"store {own} is full", f"ship to {lab}"),
        ]


@pytest.mark.parametrize("view", [(), ("--quiet",)])
def test_a_watch_that_ships_says_once_that_its_name_is_another_machines(tmp_path, own, lab, view):
    another = Store(str(tmp_path / "another"))
    watch(another, 10)
    ship(another, lab, ONE)
    log = tmp_path / "log"
    log.write_text(log_of(1))
    with following(*view, "--host=lab1", "--store", own, "--ship-to", lab, log) as (out, errors):
        wait_for(lambda: 1 in rows(lab, "runs", "pid"))
        with log.open("a") as file:
            file.write(log_of(2, second=200))
        wait_for(lambda: 2 in rows(lab, "runs", "pid"))
    (name,) = {*lab.hosts()} - {"lab1"}
    clash = f"lab1 is another machine in {lab}; what this one stored is {name} there\n"
    assert (errors if view else out).count(clash) == 1
    if view:
        assert not out
        assert errors == [clash]


def test_a_watch_of_what_is_there_says_too_that_its_name_is_another_machines(tmp_path, own, lab):
    another = Store(str(tmp_path / "another"))
    watch(another, 10)
    ship(another, lab, ONE)
    log = tmp_path / "log"
    log.write_text(log_of(1))
    arguments = ["watch", "--once", "--quiet", "--host", "lab1", "--store", str(own)]
    done = CliRunner().invoke(cli, [*arguments, "--ship-to", str(lab), str(log)])
    assert done.exit_code == 0
    assert not done.stdout
    assert done.stderr.count("lab1 is another machine in") == 1


def test_a_watch_that_ends_while_the_lab_is_away_says_what_is_not_shipped(tmp_path, own):
    log = tmp_path / "log"
    log.write_text(log_of(1))
    arguments = [
        "watch",
        "--once",
        "--store",
        str(own),
        "--ship-to",
        str(tmp_path / "lab"),
        str(log),
    ]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0
    assert f"the lab's store {tmp_path / 'lab'} is not there" in done.stdout
    assert "not all is shipped; the next watch or ship goes on with it" in done.stderr
    assert rows(own, "runs", "pid") == [1]


# On a terminal


@pytest.mark.parametrize(("after_s", "is_shown"), [(0, True), (3600, False)])
def test_a_bar_is_shown_on_a_terminal_for_what_takes_long(own, lab, monkeypatch, after_s, is_shown):
    watch(own, 10, 20)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=300)
    monkeypatch.setattr(terminal, "console", lambda *, stderr: console)
    monkeypatch.setattr(ship_command, "_BAR_AFTER_S", after_s)
    monkeypatch.setattr(shipping, "_BATCH_ROWS", 1)
    done = CliRunner().invoke(cli, ["ship", "--store", str(own), "--to", str(lab)])
    assert done.exit_code == 0
    assert (f"rows to {str(lab)[:10]}" in screen.getvalue()) is is_shown
    assert ("10/10" in screen.getvalue()) is is_shown
