"""A store is looked after: what is in it, whether it is whole, and how large it gets."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from obstore.store import S3Store
from report_samples import run_row
from store_samples import detailed_log_of, log_of

from logtrace import bucket, location, store
from logtrace import ship as shipping
from logtrace.cli import cli
from logtrace.errors import ConflictError, StoreError
from logtrace.importer import import_log
from logtrace.location import local_files
from logtrace.machine import Machine
from logtrace.ship import ship
from logtrace.store import Position, Store
from logtrace.upkeep import info
from logtrace.verify import to_frame, verify

NOW = datetime(2026, 11, 27, 9, tzinfo=UTC)
SOURCE = "kmsg:b1"


@pytest.fixture(params=["folder", "s3"])
def lab(request, tmp_path):
    """Give an empty store of each kind."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    return Store(f"s3://{request.getfixturevalue('s3').bucket}/lab")


def again(lab):
    """Give the store as it is now."""
    return Store(str(lab))


def run(number, **values):
    at = NOW - timedelta(days=number)
    return run_row(number, host="lab1", run_id=f"r{number}", started_at=at, ended_at=at) | values


def detail(number, **values):
    return {"host": "lab1", "run_id": f"r{number}", "ended_seq": number} | values


def rows(lab, table="runs", column="run_id"):
    files = local_files(again(lab).files(table))
    return sorted(value for file in files for value in pd.read_parquet(file)[column])


def fill(lab, *numbers, host="lab1", seen=1000, **tables):
    runs = [run(number, host=host) for number in numbers]
    lab.host(host).append(SOURCE, Position(seen, seen), runs=runs, **tables)


def logtrace(*arguments):
    return CliRunner().invoke(cli, ["store", *arguments])


def problems(lab):
    opened = again(lab)
    found = verify(opened, opened.hosts())
    return [(each.host, each.table, each.problem, each.first_seq, each.last_seq) for each in found]


def table_folder(lab, table="runs", host="lab1"):
    return Path(str(lab)) / f"host={host}" / table


def test_what_is_stored_is_told_by_machine_and_table(lab):
    fill(lab, 1, 2, calls=[detail(1, call="read")])
    fill(lab, 3, seen=2000)
    fill(lab, 4, host="lab2")
    frame = info(again(lab), ["lab1", "lab2"])
    assert frame[["host", "table", "rows", "files", "commits", "schema"]].values.tolist() == [
        ["lab1", "runs", 3, 2, 3, 1],
        ["lab1", "calls", 1, 1, 2, 1],
        ["lab2", "runs", 1, 1, 2, 1],
    ]
    now = again(lab)
    written = sum(map(now.size, now.files("runs")))
    assert frame[frame["table"] == "runs"]["bytes"].sum() == written > 0
    assert (frame["changed"] <= pd.Timestamp.now("UTC")).all()


def test_the_command_tells_of_one_machine_or_all(lab):
    fill(lab, 1)
    fill(lab, 2, host="lab2")
    done = logtrace("info", "--store", str(lab), "--json")
    assert [(row["host"], row["rows"]) for row in json.loads(done.stdout)] == [
        ("lab1", 1),
        ("lab2", 1),
    ]
    done = logtrace("info", "--store", str(lab), "--host", "lab2")
    assert "lab2" in done.stdout
    assert "lab1" not in done.stdout
    done = logtrace("info", "--store", str(lab), "--host", "lab3")
    assert (done.exit_code, done.stderr) == (3, f"no machine lab3 in {lab}\n")


@pytest.mark.parametrize("command", [["info"], ["verify"], ["vacuum"], ["retain", "--keep", "1d"]])
def test_a_store_that_is_not_there_is_told(tmp_path, command):
    done = logtrace(*command, "--store", str(tmp_path / "nowhere"))
    assert done.exit_code == 1
    assert "nowhere does not exist" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_compacting_joins_small_files_and_keeps_rows_and_positions(lab):
    for number in range(4):
        fill(lab, number, seen=number)
    assert logtrace("compact", "--store", str(lab)).exit_code == 0
    assert len(again(lab).files("runs")) == 1
    assert rows(lab) == ["r0", "r1", "r2", "r3"]
    assert lab.host("lab1").position(SOURCE) == Position(3, 3)


def test_what_no_table_needs_is_removed_and_the_log_is_short(lab, monkeypatch):
    for number in range(4):
        fill(lab, number, seen=number)
    lab.host("lab1").compact()
    monkeypatch.setattr(store, "_KEEP_REPLACED_FILES", timedelta(0))
    done = logtrace("vacuum", "--store", str(lab))
    assert (done.exit_code, done.stderr) == (0, "4 files removed\n")
    assert rows(lab) == ["r0", "r1", "r2", "r3"]
    assert problems(lab) == []


def compact(lab):
    lab.host("lab1").compact()


def vacuum(lab):
    lab.host("lab1").vacuum()


def retain(lab):
    lab.host("lab1").retain(NOW - timedelta(days=10))


class Own:
    """A host's own store, of which each call ships a run more."""

    def __init__(self, folder):
        self.store = Store(str(folder))
        self.numbers = []

    def __call__(self, lab):
        number = len(self.numbers)
        self.numbers.append(number)
        seen = 1000 + number
        calls = [detail(each, call="read", ended_seq=seen) for each in (number, 30 + number)]
        fill(self.store, number, 30 + number, seen=seen, calls=calls)
        ship(self.store, lab, Machine("1" * 32))

    @property
    def young(self):
        return sorted(f"r{number}" for number in self.numbers)

    @property
    def all(self):
        return sorted([*self.young, *(f"r{30 + number}" for number in self.numbers)])


def seam(do):
    """Name what opens a table to commit to it."""
    return "open_log" if do is compact else "open"


def meeting(monkeypatch, method, other, times=1):
    """Let something else be done to the store whenever a table has been opened for a commit."""
    opened = getattr(store.HostTables, method)
    met = []

    def open_and_meet(self, name):
        delta = opened(self, name)
        if name == "runs" and str(self._place).startswith("s3:") and len(met) < times:
            met.append(name)
            with monkeypatch.context() as patch:
                patch.setattr(store.HostTables, method, opened)
                other()
        return delta

    monkeypatch.setattr(store.HostTables, method, open_and_meet)
    return met


@pytest.fixture
def shared(s3, tmp_path, monkeypatch):
    """Give a store in a bucket to which a host has shipped, and what ships more."""
    monkeypatch.setattr(store, "pause_s", lambda _failures: 0)
    shared = Store(f"s3://{s3.bucket}/lab")
    own = Own(tmp_path / "own")
    for _ in range(3):
        own(shared)
    return shared, own


@pytest.mark.parametrize("do", [compact, vacuum, retain])
@pytest.mark.parametrize("times", [1, 3])
def test_what_looks_after_a_bucket_meets_a_ship_and_is_done_anew(shared, monkeypatch, do, times):
    lab, own = shared
    met = meeting(monkeypatch, seam(do), lambda: own(again(lab)), times)
    do(lab)
    assert len(met) == (1 if do is vacuum else times), "no commit is in a vacuum's way"
    assert rows(lab) == rows(lab, "calls") == (own.young if do is retain else own.all)
    assert problems(lab) == []


@pytest.mark.parametrize("do", [compact, vacuum, retain])
@pytest.mark.parametrize("times", [1, 3])
def test_a_ship_that_meets_what_looks_after_a_bucket_loses_and_doubles_nothing(
    shared, monkeypatch, do, times
):
    lab, own = shared
    met = meeting(monkeypatch, "open_log", lambda: do(again(lab)), times)
    own(lab)
    assert met
    if do is retain:
        do(lab)
    assert rows(lab) == rows(lab, "calls") == (own.young if do is retain else own.all)
    own(lab)
    assert problems(lab) == []


@pytest.mark.parametrize("do", [compact, vacuum, retain])
@pytest.mark.parametrize("other", [compact, vacuum, retain])
def test_two_who_look_after_a_bucket_at_once_do_no_harm(shared, monkeypatch, do, other):
    lab, own = shared
    met = meeting(monkeypatch, seam(do), lambda: other(again(lab)))
    do(lab)
    assert met
    assert rows(lab) == rows(lab, "calls") == (own.young if retain in (do, other) else own.all)


def test_what_is_in_the_way_each_time_is_told_with_the_remedy(shared, monkeypatch):
    lab, own = shared
    meeting(monkeypatch, "open", lambda: own(again(lab)), 100)
    with pytest.raises(ConflictError, match="others wrote to it each of 6 times") as raised:
        retain(lab)
    assert raised.value.remedy.endswith("try again when less is shipped")
    assert rows(lab) == own.all


def test_a_ship_does_not_fail_where_others_join_the_files(shared, monkeypatch):
    lab, own = shared
    monkeypatch.setattr(shipping, "_COMPACT_EVERY", 1)

    def in_the_way(_tables):
        raise ConflictError("others wrote to it")

    monkeypatch.setattr(store.HostTables, "compact", in_the_way)
    own(lab)
    assert rows(lab) == own.all


def test_what_ended_before_goes_with_its_details_and_is_not_stored_again(lab):
    old, new = NOW - timedelta(days=30), NOW
    lost = {"host": "lab1", "reason": "gap", "records": 1}
    told = [
        lost | {"first_seq": 1, "last_seq": 1, "noticed_at": old},
        lost | {"first_seq": 2, "last_seq": 2, "noticed_at": new},
    ]
    tables = lab.host("lab1")
    tables.append(
        SOURCE,
        Position(9, 9),
        runs=[
            run(20),
            run(21, started_at=None),
            run(22, ended_at=None),
            run(23, ended_at=NOW),
            run(1),
        ],
        files=[detail(number, descriptor=3) for number in (1, 20, 21)],
        calls=[detail(number, call="read") for number in (1, 20)],
        incidents=[
            {"host": "lab1", "ended_seq": seq, "at": at} for seq, at in ((1, old), (2, new))
        ],
        losses=told,
    )
    for _ in range(2):
        tables.retain(NOW - timedelta(days=10))
        assert rows(lab) == ["r1", "r23"]
        assert rows(lab, "files") == rows(lab, "calls") == ["r1"]
        assert rows(lab, "losses", "first_seq") == [2]
        assert rows(lab, "incidents", "ended_seq") == [2]
    assert problems(lab) == []
    tables.append(SOURCE, Position(9, 9), runs=[run(20)])
    assert rows(lab) == ["r1", "r23"]
    assert tables.position(SOURCE) == Position(9, 9)


def test_what_has_no_time_goes_by_when_it_was_stored(lab):
    untimed = run(1, started_at=None, ended_at=None)
    lab.host("lab1").append(SOURCE, Position(9, 9), runs=[untimed])
    stored = datetime.now(UTC)
    assert lab.host("lab1").retain(stored - timedelta(days=1)) == 0
    assert rows(lab) == ["r1"]
    assert lab.host("lab1").retain(stored + timedelta(days=1)) == 1
    assert rows(lab) == []


def test_what_a_watch_saw_goes_with_the_last_that_it_saw(lab):
    seen = [(1, -30), (1, -1), (2, -40), (2, -30)]
    events = [
        {"host": "lab1", "watch": watch, "at": NOW + timedelta(days=days), "action": "alive"}
        for watch, days in seen
    ]
    lab.host("lab1").append_tracer("modules", 1, events)
    lab.host("lab1").retain(NOW - timedelta(days=10))
    assert rows(lab, "tracer", "watch") == [1, 1]


def test_a_time_to_keep_is_given_in_the_words_for_times(lab):
    fill(lab, 1, 500)
    lab.host("lab1").append(SOURCE, Position(2000, 2000), runs=[run(2, ended_at=datetime.now(UTC))])
    done = logtrace("retain", "--keep", "400d", "--store", str(lab))
    assert (done.exit_code, done.stderr) == (0, "1 run removed\n")
    done = logtrace("retain", "--keep", "2 fortnights", "--store", str(lab))
    assert done.exit_code == 2
    assert "--keep 2 fortnights: not understood" in done.stderr


def test_a_whole_store_has_no_problems(lab, tmp_path):
    for number, text in enumerate((log_of(41, 42, 43), detailed_log_of(12, 23))):
        path = tmp_path / f"{number}.log"
        path.write_text(text)
        import_log(lab.host("lab1"), path, "lab1")
    done = logtrace("verify", "--store", str(lab))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "1 machine: all is there, once\n"


def test_a_missing_file_is_told_with_machine_records_and_time(tmp_path):
    lab = Store(str(tmp_path / "store"))
    fill(lab, 1, 2)
    fill(lab, 3, 4, seen=2000)
    fill(lab, 5, host="lab2")
    (gone,) = [
        path
        for path in map(Path, lab.files("runs"))
        if set(pd.read_parquet(path)["run_id"]) == {"r3", "r4"}
    ]
    kept = pd.read_parquet(gone)
    gone.unlink()
    (found,) = verify(lab, lab.hosts())
    assert (found.host, found.table, found.problem, found.rows) == ("lab1", "runs", "missing", 2)
    assert (found.first_seq, found.last_seq) == (kept["first_seq"].min(), kept["last_seq"].max())
    assert (found.since, found.until) == (NOW - timedelta(days=4), NOW - timedelta(days=3))
    assert str(gone) in found.what
    done = logtrace("verify", "--store", str(lab))
    assert done.exit_code == 1
    assert "missing" in done.stdout
    assert "2026-11-23" in done.stdout


def test_a_file_missing_from_a_bucket_is_told(s3):
    lab = Store(f"s3://{s3.bucket}/lab")
    fill(lab, 1)
    (file,) = lab.files("runs")
    there = S3Store(
        s3.bucket, endpoint=s3.url, region="us-east-1", client_options={"allow_http": True}
    )
    there.delete(file.removeprefix(f"s3://{s3.bucket}/"))
    assert problems(lab) == [("lab1", "runs", "missing", 4, 7)]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: data[:-1], "were written"),
        (lambda data: data + b"x", "were written"),
        (lambda data: data[:-4] + b"RAP1", "magic bytes"),
        (lambda data: data[:4] + b"\xff" * 200 + data[204:], ""),
    ],
)
def test_a_damaged_file_is_told(tmp_path, damage, what):
    lab = Store(str(tmp_path / "store"))
    fill(lab, 1, calls=[detail(1, call="read")])
    path = Path(lab.files("runs")[0])
    path.write_bytes(damage(path.read_bytes()))
    (found,) = verify(lab, lab.hosts())
    assert (found.problem, found.table) == ("damaged", "runs")
    assert what in found.what


def test_a_table_whose_log_can_not_be_read_is_told_and_the_others_are_looked_at(tmp_path):
    lab = Store(str(tmp_path / "store"))
    fill(lab, 1)
    fill(lab, 2, host="lab2")
    (table_folder(lab) / "_delta_log" / f"{1:020}.json").write_text("{ no json\n")
    table = DeltaTable(str(table_folder(lab, host="lab2")))
    Path(table.file_uris()[0]).unlink()
    assert [(each[0], each[2]) for each in problems(lab)] == [
        ("lab1", "unreadable"),
        ("lab2", "missing"),
    ]


def test_rows_that_are_stored_twice_are_told(lab):
    tables = lab.host("lab1")
    tables.append(
        SOURCE,
        Position(9, 9),
        runs=[run(1)],
        files=[detail(1, descriptor=3, path="f")],
        calls=[detail(1, call="read")],
        incidents=[{"host": "lab1", "incident_id": "i", "ended_seq": 1, "first_seq": 1}],
    )
    tables.append(
        "another",
        Position(9, 9),
        runs=[run(1)],
        files=[detail(1, descriptor=3, path="f"), detail(1, descriptor=4, path="f")],
        calls=[detail(1, call="read"), detail(1, call="write")],
        incidents=[{"host": "lab1", "incident_id": "i", "ended_seq": 1, "first_seq": 1}],
    )
    assert sorted(each[1:3] for each in problems(lab)) == [
        ("calls", "doubled"),
        ("files", "doubled"),
        ("incidents", "doubled"),
        ("runs", "doubled"),
    ]


def test_a_boot_that_was_stored_from_two_logs_is_told(tmp_path):
    lab = Store(str(tmp_path / "store"))
    runs = [
        run(1, boot_id="b1", source="kmsg", run_id="a", started_us=5),
        run(1, boot_id="b1", source="dmesg@1", run_id="b", started_us=5),
        run(2, boot_id="b1", source="dmesg@1", run_id="c", started_us=6),
        run(2, boot_id="b2", source="kmsg", run_id="d", started_us=6),
    ]
    lab.host("lab1").append(SOURCE, Position(9, 9), runs=runs)
    (found,) = verify(lab, lab.hosts())
    assert (found.problem, found.boot_id, found.rows) == ("overlap", "b1", 2)
    assert "dmesg@1 and kmsg" in found.what


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ([(10, 19), (20, 29)], []),
        ([(10, 20), (20, 29)], [(20, 20)]),
        ([(10, 40), (20, 29)], [(20, 29)]),
        ([(1, 3)], [(1, 3)]),  # lines of the run that begins at 1
        ([(5, 7)], []),
    ],
)
def test_ranges_of_lost_records_that_overlap_are_told(tmp_path, lost, found):
    lab = Store(str(tmp_path / "store"))
    of = {"host": "lab1", "boot_id": "b", "source": "kmsg", "reason": "gap", "noticed_at": NOW}
    losses = [
        of | {"first_seq": first, "last_seq": last, "records": last - first + 1}
        for first, last in lost
    ]
    runs = [run(1, first_seq=1, last_seq=4, boot_id="b", source="kmsg")]
    lab.host("lab1").append(SOURCE, Position(99, 99), runs=runs, losses=losses)
    told = verify(lab, lab.hosts())
    assert [(each.first_seq, each.last_seq) for each in told if each.problem == "overlap"] == found


def opened_as_anybody_can(lab, table="runs"):
    options = bucket._settings(str(lab)).for_delta() if lab.is_remote else None
    return DeltaTable(f"{lab}/host=lab1/{table}", storage_options=options)


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_that_are_gone_from_sound_files_are_told_with_machine_table_and_time(lab, compacted):
    before = datetime.now(UTC)
    fill(lab, 1, 2, 3)
    fill(lab, 4, seen=2000)
    between = datetime.now(UTC)
    lab.host("lab1").retain(NOW - timedelta(days=3, hours=1))
    assert rows(lab) == ["r1", "r2", "r3"]
    fill(lab, 5, 6, seen=3000)
    fill(lab, 7, seen=4000, calls=[detail(7, call="read", ended_seq=4000)])
    if compacted:
        lab.host("lab1").compact()
    assert problems(lab) == []
    opened_as_anybody_can(lab).delete("run_id IN ('r5', 'r6')")
    fill(lab, 8, seen=5000)
    opened = again(lab)
    (found,) = verify(opened, opened.hosts())
    assert (found.host, found.table, found.problem, found.rows) == ("lab1", "runs", "hole", 2)
    assert before < found.since < between < found.until < datetime.now(UTC)
    assert found.what == "2 of the 4 rows that were stored in this time are gone"
    done = logtrace("verify", "--store", str(lab))
    assert done.exit_code == 1
    assert "hole" in done.stdout


def test_a_commit_that_brought_no_rows_with_it_is_told(tmp_path):
    lab = Store(str(tmp_path / "store"))
    for number in range(4):
        fill(lab, number, seen=1000 + number)
    path = table_folder(lab) / "_delta_log" / f"{2:020}.json"
    actions = path.read_text().splitlines(keepends=True)
    path.write_text("".join(each for each in actions if '"add"' not in each))
    assert rows(lab) == ["r0", "r2", "r3"]
    assert problems(lab) == [("lab1", "runs", "hole", None, None)]


def test_a_commit_that_is_not_there_is_told(tmp_path):
    lab = Store(str(tmp_path / "store"))
    for number in range(4):
        fill(lab, number, seen=1000 + number)
    (table_folder(lab) / "_delta_log" / f"{2:020}.json").unlink()
    assert [each[1:3] for each in problems(lab)] == [("runs", "unreadable")]


def test_rows_of_a_version_that_counted_none_are_no_hole(lab, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "_COUNTED", "unused")
        fill(lab, 1, 2)
    opened_as_anybody_can(lab).delete("run_id = 'r1'")
    assert problems(lab) == []
    fill(lab, 3, seen=2000)
    assert problems(lab) == []
    opened_as_anybody_can(lab).delete("run_id = 'r3'")
    assert problems(lab) == [("lab1", "runs", "hole", None, None)]


def test_what_a_bounded_store_removes_is_no_hole(tmp_path):
    own = Store(str(tmp_path / "store"))
    for number in range(5):
        fill(own, number, seen=1000 + number)
    own.host("lab1").remove("runs", "run_id IN ('r1', 'r2')")
    fill(own, 7, seen=2000)
    assert rows(own) == ["r0", "r3", "r4", "r7"]
    assert problems(own) == []


def test_details_of_a_run_that_is_not_there_are_told_but_not_of_one_that_is_to_come(
    lab, monkeypatch
):
    tables = lab.host("lab1")
    tables.append(SOURCE, Position(9, 9), runs=[run(1)], calls=[detail(7, call="read")])
    append = store.HostTables._append

    def crash(self, name, *arguments):
        if name == "runs":
            raise KeyboardInterrupt
        append(self, name, *arguments)

    monkeypatch.setattr(store.HostTables, "_append", crash)
    with pytest.raises(KeyboardInterrupt):
        tables.append(SOURCE, Position(19, 19), runs=[run(2)], calls=[detail(2, call="read")])
    assert problems(lab) == [("lab1", "calls", "without run", 7, 7)]


def test_problems_are_given_as_a_table(tmp_path):
    frame = to_frame(verify(Store(str(tmp_path)), []))
    assert [str(frame[name].dtype) for name in ("first_seq", "since")] == [
        "Int64",
        "datetime64[us, UTC]",
    ]


def test_a_store_of_a_newer_schema_is_refused_and_one_without_a_schema_is_read(lab, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store, "_CONFIGURATION", {})
        fill(lab, 1)
    assert rows(lab) == ["r1"]
    with monkeypatch.context() as patch:
        patch.setattr(location, "SCHEMA", 0)
        for read in (lambda: rows(lab), lambda: lab.host("lab1").position(SOURCE)):
            with pytest.raises(StoreError, match="written by a newer logtrace: its schema is 1"):
                read()
        with pytest.raises(StoreError) as raised:
            fill(lab, 2, seen=2000)
    assert raised.value.remedy == "update logtrace"
    fill(lab, 2, seen=2000)
    assert rows(lab) == ["r1", "r2"]
