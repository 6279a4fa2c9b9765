import io
import itertools

import pytest
from report_samples import HOSTILE
from rich.cells import cell_len
from rich.console import Console

from logtrace import summary
from logtrace.traced import Traced

RUN = {
    "pid": 10,
    "run_id": "r10",
    "comm": "make",
    "status": "complete",
    "note": None,
    "first_seq": 1,
    "parent_pid": 0,
    "started_us": 0,
    "ended_us": 1500,
    "read_bytes": 2048,
    "written_bytes": 1,
    "open_calls": 1,
    "close_calls": 2,
    "read_calls": 3,
    "write_calls": 4,
    "lseek_calls": 5,
}
FILE = {
    "run_id": "r10",
    "pid": 10,
    "descriptor": 3,
    "path": "/lab/abc.txt",
    "opens": 1,
    "closes": 1,
    "reads": 4,
    "writes": 5,
    "seeks": 9,
    "read_bytes": 20,
    "written_bytes": 2048,
    "open_at_end": False,
}
CALL = {
    "run_id": "r10",
    "call": "read",
    "calls": 4,
    "errors": 0,
    "moved_bytes": 20,
    "time_ns": 8000,
}


def child(pid, parent=10, **changes):
    names = {"pid": pid, "run_id": f"r{pid}", "parent_pid": parent, "first_seq": pid}
    return RUN | names | {"comm": f"cc{pid}"} | changes


def shown(told, width=None):
    """Give the lines that a terminal of that width shows; without one, those of a pipe."""
    file = io.StringIO()
    terminal = {"force_terminal": True, "color_system": None} if width else {}
    console = Console(file=file, width=width or 100_000, highlight=False, **terminal)
    summary.print_details(console, told)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def detailed(*files, width=None, **changes):
    return shown(Traced(RUN | {"detail": True} | changes, files=list(files)), width)


def wide(*calls, **changes):
    return shown(Traced(RUN | {"wide": True} | changes, calls=list(calls)))


def followed(*children, width=None, running=(), files=(), **changes):
    told = Traced(RUN | {"follow": True} | changes, children=list(children), files=list(files))
    told.running = list(running)
    return shown(told, width)


def cells(line):
    return line.split()


def test_a_run_that_asked_for_nothing_has_no_tables():
    assert shown(Traced(RUN, files=[FILE], calls=[CALL])) == []


# Files


def test_each_file_is_a_line_and_their_sum_another():
    blank, heading, line, total = detailed(FILE)
    assert blank == ""
    assert cells(heading) == [
        *("Fd", "Path", "Opens", "Closes", "Reads", "Writes", "Seeks", "Read", "Written")
    ]
    assert cells(line) == [*("3", "/lab/abc.txt", "1", "1", "4", "5", "9", "20", "B", "2.0", "KiB")]
    assert cells(total) == [*("1", "file", "1", "1", "4", "5", "9", "20", "B", "2.0", "KiB")]


def test_files_left_open_stand_out_and_standard_streams_do_not():
    left = FILE | {"open_at_end": True, "closes": 0}
    given = left | {"opens": 0}
    redirected = left | {"descriptor": 1}
    _, heading, *lines = detailed(left, given, redirected, FILE)
    assert heading.endswith("At end")
    assert [line[heading.index("At end") :] for line in lines] == [
        *("left open", "open", "open", "", "1 left open")
    ]


def test_the_same_file_through_two_descriptors_is_one_file():
    assert detailed(FILE, FILE | {"descriptor": 4})[-1].split()[:2] == ["1", "file"]


def test_calls_that_no_file_was_kept_for_are_told_with_the_remedy():
    assert detailed(FILE, lost_file_calls=12)[-1] == (
        "12 calls on files that there was no room to list: logtrace kmod load --files N makes more"
    )


def test_a_program_without_files_has_a_table_of_none():
    assert cells(detailed()[-1])[:2] == ["0", "files"]


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("path", ["/" + "long/" * 60 + "abc.txt", "/가/" * 30, *HOSTILE])
def test_no_line_is_wider_than_the_terminal(width, path):
    huge = dict.fromkeys(("opens", "closes", "reads", "writes", "seeks"), 123_456)
    large = {"read_bytes": 10**12, "written_bytes": 10**9, "open_at_end": True}
    lines = detailed(FILE | {"path": path}, FILE | large | huge, width=width)
    assert max(map(cell_len, lines)) <= width


def test_counts_share_a_column_where_there_is_less_room():
    path = {"path": "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache"}
    _, heading, line, *_, caption = detailed(FILE | path, width=80)
    assert cells(heading)[2] == "o/c/r/w/s"
    assert cells(line)[2] == "1/1/4/5/9"
    assert "gconv-modules.cache" in line
    assert caption == "o/c/r/w/s: opens, closes, reads, writes, seeks"
    assert "Opens" in detailed(FILE | path, width=160)[1]


def test_what_is_piped_is_cut_nowhere():
    path = "/" + "long/" * 200
    assert path in detailed(FILE | {"path": path})[2]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_reaches_no_terminal_raw(name):
    told = Traced(
        RUN | {"detail": True, "wide": True, "follow": True, "comm": name},
        children=[child(11, comm=name, status="no_end", note=name)],
        files=[FILE | {"path": name}],
        calls=[CALL | {"call": name}],
    )
    assert all(line.isprintable() for line in shown(told, width=2000))


# Calls


def test_calls_are_listed_by_time_with_errors_and_shares():
    slow = CALL | {"call": "openat", "calls": 2, "errors": 1, "moved_bytes": 0, "time_ns": 24_000}
    _, heading, *lines = wide(CALL, slow)
    assert cells(heading) == ["Call", "Calls", "Errors", "Bytes", "Time", "Each", "Share"]
    assert [cells(line) for line in lines] == [
        ["openat", "2", "1", "0", "24.0", "µs", "12.0", "µs", "75.0%"],
        ["read", "4", "0", "20", "B", "8.0", "µs", "2.0", "µs", "25.0%"],
        ["total", "6", "1", "20", "B", "32.0", "µs", "5.3", "µs", "100.0%"],
    ]


def test_what_is_mapped_is_not_added_to_what_is_moved():
    *_, total, caption = wide(CALL, CALL | {"call": "mmap", "moved_bytes": 10**9})
    assert cells(total)[3:5] == ["20", "B"]
    assert "mmap" in caption


def test_calls_begun_before_the_trace_are_told():
    assert wide(CALL, untimed_calls=1)[-1] == (
        "1 call counted without time: begun before the trace"
    )


def test_calls_that_took_no_time_have_no_share():
    assert "%" not in "".join(wide(CALL | {"time_ns": 0}))


# Processes


def test_processes_stand_below_their_parents_in_the_order_of_their_starts():
    _, heading, *lines = followed(child(13, 12), child(12), child(11), child(14, 11))
    assert cells(heading)[:2] == ["Pid", "Process"]
    names = [line[len("Pid  ") :].rpartition("cc")[0] for line in lines[1:5]]
    assert [cells(line)[:2] for line in lines[:5]] == [
        *(["10", "make"], ["11", "cc11"], ["14", "cc14"], ["12", "cc12"], ["13", "cc13"])
    ]
    assert names == ["  ", "    ", "  ", "    "]
    sums = ["5", "10", "15", "20", "25", "10.0", "KiB", "5", "B"]
    assert cells(lines[5]) == ["5", "processes", *sums]


def test_many_processes_are_totalled_by_program():
    children = [child(pid, comm="cc" if pid % 2 else "ld") for pid in range(11, 111)]
    _, heading, *lines = followed(*children)
    assert cells(heading)[:2] == ["Procs", "Program"]
    assert [cells(line)[:3] for line in lines] == [
        ["50", "cc", "50"],
        ["50", "ld", "50"],
        ["1", "make", "1"],
        ["101", "processes", "101"],
    ]


def test_a_long_line_of_descent_is_shown():
    children = [child(pid, pid - 1) for pid in range(11, 2011)]
    assert cells(followed(*children)[-1])[:2] == ["2,001", "processes"]


def test_what_is_odd_about_processes_is_told():
    odd = child(11, status="no_start", note="the Start line is missing")
    lines = followed(odd, running=[12, 13], lost_children=2)
    assert lines[-3:] == [
        "2 processes still traced: 12, 13",
        "2 children could not be traced",
        "cc11 [11] no_start: the Start line is missing",
    ]


def test_files_of_several_processes_are_shown_together_most_bytes_first():
    other = FILE | {"run_id": "r11", "open_at_end": True}
    small = FILE | {"path": "/small", "written_bytes": 0}
    _, heading, *lines = followed(child(11), files=[small, FILE, other], detail=True)[5:]
    assert cells(heading)[:2] == ["Procs", "Path"]
    assert [cells(line)[:3] for line in lines] == [
        ["2", "/lab/abc.txt", "2"],
        ["1", "/small", "1"],
        ["2", "files", "3"],
    ]
    assert lines[0].endswith("1 left open")


def test_a_terminal_gets_the_files_with_most_bytes_and_a_pipe_gets_all():
    numbers = itertools.count()
    files = [FILE | {"path": f"/{n}", "read_bytes": n} for n in itertools.islice(numbers, 500)]
    files.append(FILE | {"run_id": "r11"})
    cut = followed(child(11), files=files, detail=True, width=120)
    assert cut[-1] == "and 401 files with fewer bytes; --json or a pipe shows all"
    assert "/499" in "".join(cut)
    assert len(followed(child(11), files=files, detail=True)) > 500
