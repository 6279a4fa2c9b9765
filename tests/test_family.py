import os
import subprocess

import pytest

from logtrace.family import Place, followed, pids_are_the_log_s, place_of, runs

GROUP = 100


def place(parent=1, parent_group=1, group=500, session=500):
    return Place(parent, parent_group, group, session)


def stat(proc, pid, *, comm="cat", state="S", parent=1, group=1, session=1):
    (proc / str(pid)).mkdir()
    text = f"{pid} ({comm}) {state} {parent} {group} {session} 0 -1 4194304\n"
    (proc / str(pid) / "stat").write_text(text)


def test_the_place_of_a_process_is_read_past_a_name_that_looks_like_one(tmp_path):
    stat(tmp_path, 7, comm="x) R 1 (2 3", parent=6, group=5, session=4)
    stat(tmp_path, 6, group=3)
    assert place_of(7, tmp_path) == Place(parent=6, parent_group=3, group=5, session=4)


def test_a_parent_that_is_gone_has_no_group(tmp_path):
    stat(tmp_path, 7, parent=6)
    assert place_of(7, tmp_path).parent_group is None


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_process_that_has_ended_has_no_place(tmp_path, state):
    stat(tmp_path, 7, state=state)
    assert place_of(7, tmp_path) is None
    assert not runs(7, tmp_path)
    assert not runs(8, tmp_path)


def test_this_machine_s_processes_are_found():
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        expected = Place(os.getpid(), os.getpgrp(), process.pid, process.pid)
        assert place_of(process.pid) == expected
        assert runs(process.pid)
        process.kill()


def test_the_whole_line_of_descent_is_followed():
    places = {12: place(parent=11), 11: place(parent=10), 21: place(parent=20)}
    assert followed(places, {10}, GROUP) == {11, 12}


def test_a_daemon_is_known_by_the_session_that_its_ended_parent_began():
    assert followed({12: place(group=11, session=11)}, {10, 11}, GROUP) == {12}


def test_a_job_of_a_daemon_is_known_by_its_session():
    assert followed({12: place(group=12, session=11)}, {10, 11}, GROUP) == {12}


def test_a_background_process_is_known_by_the_group_when_its_parent_is_gone():
    assert followed({12: place(group=GROUP)}, {10}, GROUP) == {12}


def test_another_program_of_the_same_pipeline_is_no_child():
    peer = place(parent=99, parent_group=GROUP, group=GROUP)
    assert followed({12: peer}, {10}, GROUP) == set()


def test_a_namespace_of_its_own_is_told(tmp_path):
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").write_text("")
    assert not pids_are_the_log_s(tmp_path)
