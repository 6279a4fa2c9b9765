"""What ``make run`` does where no virtual machine can be booted."""

import re
from pathlib import Path

import pytest

from logtrace import demo, kmod, vm
from logtrace.engine import Engine
from logtrace.errors import GuestError
from logtrace.store import Store


def test_without_a_virtual_machine_says_so_in_one_line_and_reports_the_recorded_log(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(vm, "missing_requirement", lambda: "QEMU is not installed")
    demo.main(tmp_path / "out")
    shown = capsys.readouterr()
    assert re.fullmatch(
        r" +\d+ s  No virtual machine: QEMU is not installed\. Using a recorded log instead\.\n",
        shown.err,
    )
    assert shown.out.count("complete") == 6
    assert shown.out.endswith(f"Report: {tmp_path}/out/report/index.html\n")
    assert (tmp_path / "out/report/index.html").exists()


@pytest.fixture
def machine(monkeypatch):
    """A machine that seems able to boot a guest."""
    monkeypatch.setattr(vm, "missing_requirement", lambda: None)
    monkeypatch.setattr(vm, "newest_kernel", lambda: Path("/boot/vmlinuz-6.1.0-amd64"))
    monkeypatch.setattr(kmod, "build", lambda _tree: None)


def test_a_guest_that_does_not_boot_leads_to_the_recorded_log(
    machine, monkeypatch, tmp_path, capsys
):
    def fail(_guest):
        raise GuestError("the guest did not boot within 180 s; the end of its console:\npanic")

    monkeypatch.setattr(vm.Guest, "__enter__", fail)
    demo.main(tmp_path / "out")
    assert "No virtual machine: the guest did not boot within 180 s" in capsys.readouterr().err
    assert (tmp_path / "out/report/index.html").exists()


def test_what_fails_in_a_guest_is_not_hidden_behind_the_recorded_log(
    machine, monkeypatch, tmp_path
):
    def fail(_guest, command, **_options):
        raise GuestError(f"{command} ended with status 1 in the guest")

    monkeypatch.setattr(vm.Guest, "__enter__", lambda guest: guest)
    monkeypatch.setattr(vm.Guest, "__exit__", lambda *_: None)
    monkeypatch.setattr(vm.Guest, "run", fail)
    with pytest.raises(GuestError, match="kmod load ended with status 1"):
        demo.main(tmp_path / "out")


def test_the_recorded_log_has_the_exercise_run_as_the_contract_wants_it(tmp_path):
    store = Store(str(tmp_path))
    demo.import_recorded_log(store)
    runs = Engine(store).rows("runs")
    assert set(runs["status"]) == {"complete"}
    exercise = runs[runs["comm"] == "test"]
    assert len(exercise) == 2
    counted = exercise.iloc[0]
    assert (counted["read_bytes"], counted["written_bytes"]) == (20, 26)
    assert tuple(counted[["open_calls", "close_calls", "read_calls", "write_calls"]]) == (
        1,
        1,
        4,
        5,
    )
    assert counted["lseek_calls"] == 9
    assert counted["started_at"].isoformat() == "2026-11-23T01:34:24.893821+00:00"


@pytest.mark.parametrize("program", [program[0] for _, program in demo._PROGRAMS])
def test_the_recorded_log_has_the_programs_of_the_demonstration(program, tmp_path):
    store = Store(str(tmp_path))
    demo.import_recorded_log(store)
    name = "python3" if "python" in program else program
    assert name in set(Engine(store).rows("runs")["comm"])
