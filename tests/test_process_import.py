"""Several large logs are imported side by side, with the same result as one after the other."""

import gzip
import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest
from store_samples import CONTRACT

from logtrace import process_import
from logtrace.engine import Engine
from logtrace.errors import SourceError
from logtrace.importer import Importing
from logtrace.store import Store

HOW = Importing("lab01")
PROCESSORS = len(os.sched_getaffinity(0))
PATIENCE_S = 120


@pytest.fixture(autouse=True)
def processors(monkeypatch):
    """Have two processors, and logs of any size be worth them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(process_import, "_WORTH_BYTES", 0)


def write(path, runs, host=None):
    """Write a log of so many runs; a host's as a collector does, else dmesg's."""
    lines = []
    for run in range(runs):
        for place, line in enumerate(CONTRACT.splitlines()):
            text = line.split("] ", 1)[1].replace("47283", f"{run + 1}")
            stamp = f"[{run:5}.{place:06}]"
            clock = f"10:{run // 60 % 60:02}:{run % 60:02}.{run // 3600:06}"
            sent = f"2026-11-28T{clock}+00:00 {host} kernel: "
            lines.append(f"{sent if host else ''}{stamp} {text}\n")
    path.write_text("".join(lines))
    return path


@pytest.fixture
def logs(tmp_path):
    """Logs of two machines beside each other, one more of the first one, and one of no name."""
    folder = tmp_path / "logs"
    folder.mkdir()
    both = [write(folder / name, 3, name).read_text() for name in ("pc1", "pc2")]
    (folder / "both").write_text("".join(both))
    (folder / "pc2").unlink()
    write(folder / "pc1.1", 40, "pc1")
    write(folder / "dmesg", 20)
    return sorted(folder.iterdir())


def stored(store):
    frame = Engine(store).rows("runs", order="run_id")
    assert frame["run_id"].is_unique
    return frame


def test_the_runs_are_those_of_logs_that_are_imported_one_after_the_other(logs, tmp_path):
    one, other = Store(str(tmp_path / "one")), Store(str(tmp_path / "other"))
    done = list(HOW.import_logs(one, logs))
    alone = [HOW.import_log(other.host("lab01"), path) for path in logs]
    assert sorted(done, key=str) == sorted(alone, key=str)
    assert len(stored(one)) == 3 + 6 + 40 + 20
    pd.testing.assert_frame_equal(stored(one), stored(other))


def test_what_was_imported_is_not_imported_again(logs, tmp_path):
    store = Store(str(tmp_path / "store"))
    list(HOW.import_logs(store, logs))
    assert all(done.already_stored for done in HOW.import_logs(store, logs))


def test_copies_of_a_log_are_imported_once(tmp_path):
    log = write(tmp_path / "kern.log", 2_000, "pc1")
    packed = tmp_path / "kern.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    store = Store(str(tmp_path / "store"))
    assert len(list(HOW.import_logs(store, [log, packed]))) == 2
    assert len(stored(store)) == 2_000


def test_a_log_that_cant_be_read_is_told_and_the_others_are_imported(logs, tmp_path):
    broken = tmp_path / "binary"
    broken.write_bytes(b"\0" * 100)
    done = list(HOW.import_logs(Store(str(tmp_path / "store")), [broken, *logs]))
    (failed,) = (each for each in done if isinstance(each, SourceError))
    assert str(broken) in str(failed)
    assert len(done) == 1 + len(logs)


def worthwhile(paths, store="/somewhere"):
    return process_import.is_worthwhile(Store(store), paths)


def test_only_several_large_files_are_imported_side_by_side(logs, monkeypatch):
    assert worthwhile(logs)
    assert not worthwhile(logs[:1])
    assert not worthwhile([*logs, Path("-")])
    assert not worthwhile(logs, "s3://bucket/lab")
    size = sum(path.stat().st_size for path in logs)
    monkeypatch.setattr(process_import, "_WORTH_BYTES", size)
    assert worthwhile(logs)
    monkeypatch.setattr(process_import, "_WORTH_BYTES", size + 1)
    assert not worthwhile(logs)
    assert not worthwhile([*logs, Path("/no/such/log")])


def test_one_processor_imports_one_log_at_a_time(logs, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert not worthwhile(logs)


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, "it never held"
        time.sleep(0.02)
    return found


def test_a_process_that_is_killed_is_told_and_the_next_import_goes_on(logs, tmp_path):
    store = Store(str(tmp_path / "store"))
    killer = Thread(target=lambda: os.kill(until(active_children)[0].pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(SourceError, match="was killed"):
        list(HOW.import_logs(store, logs))
    killer.join()
    assert not active_children()
    list(HOW.import_logs(store, logs))
    assert len(stored(store)) == 3 + 6 + 40 + 20


@pytest.fixture
def importing(tmp_path):
    """An import of large logs, as a command in a group of its own, with its processes."""
    if PROCESSORS < 2:
        pytest.skip("takes two processors")
    folder = tmp_path / "logs"
    folder.mkdir()
    for host in ("pc1", "pc2", "pc3"):
        write(folder / host, 20_000, host)
    command = ["import", "--store", str(tmp_path / "store"), str(folder)]
    with subprocess.Popen(
        [sys.executable, "-m", "logtrace", *command], stderr=subprocess.PIPE, process_group=0
    ) as child:
        until(lambda: len(group(child.pid)) >= 3)
        yield child
        child.kill()


def group(number):
    """Give the processes of a group that import."""
    listed = subprocess.run(
        ["pgrep", "-g", str(number), "-f", "logtrace|spawn_main"], stdout=subprocess.PIPE
    )
    return listed.stdout.split()


def test_ctrl_c_ends_all_of_them_without_a_word(importing):
    time.sleep(2)  # they have begun, or not: it is the same
    os.killpg(importing.pid, signal.SIGINT)
    _, told = importing.communicate(timeout=PATIENCE_S)
    assert importing.returncode == 130
    assert b"Traceback" not in told
    until(lambda: not group(importing.pid))


def test_none_outlives_the_import_that_began_it(importing):
    importing.kill()
    importing.wait()
    until(lambda: not group(importing.pid))
