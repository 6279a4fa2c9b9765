"""The option detail: a line for each descriptor and path, with what was done through it."""

import re

import pytest
from contract_lines import call, extra, field, settled, used, without_pids
from in_guest import FOLDER, FRESH, KINDS, calls, narrow_program, require_kind

pytestmark = pytest.mark.kernel

DATA = f"{FOLDER}/data"
MADE = f"{FOLDER}/made"
FILES = "/sys/module/ftracehooking/parameters/files"
LIMIT = 600
CUT = "\\..."


def files_of(machine, *verbs, kind="sys", before="", check=True):
    """Make calls under a trace with detail; give the extra lines."""
    work = [verb if ":" in verb else f"{kind}:{verb}" if " " in verb else verb for verb in verbs]
    calls(machine, "with:detail", "start", *work, before=before, check=check)
    return extra_lines(machine)


def extra_lines(machine):
    texts = without_pids(settled(machine))
    texts = [re.sub(r"(pipe|socket):\[\d+\]", r"\1:[NUMBER]", text) for text in texts]
    return [text for text in texts if text.startswith("ftrace/")]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_done_with_each_file_is_counted(tracer, kind):
    require_kind(tracer, kind)
    lines = files_of(
        tracer,
        *("open data 2", "creat made 384", "openat2 -100 data how=2 24", "read 3 @ 7"),
        *("readv 3 [3,4] 2", "read 3 @ 2000", "read 3 @ 9", "lseek 3 0 0", "lseek 3 5 0"),
        *("write 4 @ 11", "writev 4 [6,7] 2", "pwritev 4 [8] 1 0 0", "write 5 @ 13"),
        *("read 4 @ 1", "close 4", "read 4 @ 1", "lseek 4 0 0", "close 4", "end"),
        kind=kind,
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=1, reads=4, seeks=2, read=1000, left=1),
        # It was not opened for reading.
        used(4, MADE, opens=1, closes=1, reads=1, writes=3, written=32),
        used(5, DATA, opens=1, writes=1, written=13, left=1),
    )


def test_a_path_opened_again_on_a_descriptor_goes_on_with_its_line_and_another_has_its_own(tracer):
    lines = files_of(
        tracer,
        *("open data 0", "read 3 @ 7", "close 3", "creat made 384", "write 3 @ 9", "close 3"),
        *("openat -100 data 0", "read 3 @ 5", "close 3", "open ./made 0", "read 3 @ 5", "end"),
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=2, closes=2, reads=2, read=12),
        used(3, MADE, opens=2, closes=1, reads=1, writes=1, read=5, written=9, left=1),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_are_opened_and_what_they_replace_is_closed(tracer, kind):
    require_kind(tracer, kind)
    lines = files_of(
        tracer,
        *("open data 2", "dup 3", "dup2 3 20", "dup2 3 3", "dup3 3 21 0", "dup3 3 3 0"),
        *("dup2 3 20", "creat made 384", "dup2 5 21", "dup2 99 3", "read 4 @ 5", "write 21 @ 6"),
        *("close 4", "end"),
        kind=kind,
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=1, left=1),
        used(4, DATA, opens=1, closes=1, reads=1, read=5),
        used(20, DATA, opens=2, closes=1, left=1),
        used(21, DATA, opens=1, closes=1),
        used(5, MADE, opens=1, left=1),
        used(21, MADE, opens=1, writes=1, written=6, left=1),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_close_range_closes_what_is_in_it_unless_it_only_marks(tracer, kind):
    require_kind(tracer, kind)
    lines = files_of(
        tracer,
        *("open data 2", "dup2 3 20", "dup2 3 21", "dup2 3 22", "dup2 3 23"),
        # On Linux 5.10, which can't mark them, it fails.
        *("close_range 20 23 4", "close_range 20 21 0", "close_range 23 22 0", "end"),
        kind=kind,
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=1, left=1),
        used(20, DATA, opens=1, closes=1),
        used(21, DATA, opens=1, closes=1),
        used(22, DATA, opens=1, left=1),
        used(23, DATA, opens=1, left=1),
    )


def test_descriptors_that_were_open_before_have_no_opens(tracer):
    lines = files_of(
        tracer,
        *("read 7 @ 5", "close 7", "lseek 8 0 0", "close 9", "end"),
        before="cp data other; exec 7< data 8<> other 9< other; rm data",
    )
    assert lines == extra(
        "detail",
        used(7, f"{DATA} (deleted)", closes=1, reads=1, read=5),
        used(8, f"{FOLDER}/other", seeks=1, left=1),
        used(9, f"{FOLDER}/other", closes=1),
    )


def test_pipes_sockets_and_bare_paths_have_lines_too(tracer):
    lines = files_of(
        tracer,
        *("pipe @", "socketpair 1 1 0 @", "write 4 @ 5", "read 3 @ 9", "write 5 @ 6"),
        *("read 6 @ 6", "open data 0x200000", "read 7 @ 5", "fcntl 4 0 30", "write 30 @ 1"),
        "end",
    )
    assert lines == extra(
        "detail",
        used(4, "pipe:[NUMBER]", writes=1, written=5, left=1),
        used(3, "pipe:[NUMBER]", reads=1, read=5, left=1),
        used(5, "socket:[NUMBER]", writes=1, written=6, left=1),
        used(6, "socket:[NUMBER]", reads=1, read=6, left=1),
        used(7, DATA, opens=1, reads=1, left=1),
        used(30, "pipe:[NUMBER]", writes=1, written=1, left=1),
    )


def test_the_path_is_that_of_the_first_use(tracer):
    lines = files_of(
        tracer,
        *("open data 2", "dup 3", "rename data other", "read 3 @ 5", "unlink other"),
        *("read 4 @ 6", "dup 3", "end"),
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=1, reads=1, read=5, left=1),
        used(4, DATA, opens=1, reads=1, read=6, left=1),
        used(5, f"{FOLDER}/other (deleted)", opens=1, left=1),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_between_two_files_counts_for_both(tracer, kind):
    require_kind(tracer, kind)
    lines = files_of(
        tracer,
        *("open data 2", "creat made 384", "sys:pipe @", "sys:pipe @", "sendfile 4 3 0 20"),
        *("splice 3 *0 6 0 30 0", "tee 5 8 40 0", "copy_file_range 3 *0 4 *100 50 0"),
        *("vmsplice 6 [4,4] 2 0", "sendfile 4 99 0 20", "end"),
        kind=kind,
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=1, reads=3, read=100, left=1),
        used(4, MADE, opens=1, writes=3, written=70, left=1),
        used(6, "pipe:[NUMBER]", writes=1, written=30, left=1),
        used(5, "pipe:[NUMBER]", reads=1, read=30, left=1),
        used(8, "pipe:[NUMBER]", writes=1, written=30, left=1),
    )


LEFT_OPEN = extra(
    "detail",
    used(3, DATA, opens=1, reads=1, read=5, left=1),
    used(4, DATA, opens=1, closes=1),
)
OPENED = ["with:detail", "start", "sys:open data 2", "sys:dup 3", "sys:read 3 @ 5", "sys:close 4"]


@pytest.mark.parametrize("last", [["end"], ["kill"], ["threads-start:4", "kill"]])
def test_files_that_are_open_when_a_process_ends_its_trace_or_dies_are_marked(tracer, last):
    calls(tracer, *OPENED, *last, check=False)
    assert extra_lines(tracer) == LEFT_OPEN


@pytest.mark.parametrize("end", ["calls end:$!", "rmmod iotracehooking"])
def test_files_that_are_open_when_a_trace_is_ended_from_outside_are_marked(tracer, end):
    work = " ".join(f"'{verb}'" for verb in OPENED)
    tracer.run(
        f"{FRESH}calls {work} stop kill & await T $!; {end}; kill -KILL $!; wait $!", check=False
    )
    if "rmmod" in end:
        tracer.loaded.remove("iotracehooking")
    assert extra_lines(tracer) == LEFT_OPEN


def test_descriptors_that_an_execve_closes_are_not_open_at_the_end(tracer):
    lines = files_of(
        tracer,
        *("open data 0x80002", "open data 2", "read 3 @ 5", f"execve {narrow_program(tracer)} 0 0"),
    )
    assert lines == extra(
        "detail",
        used(3, DATA, opens=1, reads=1, read=5),
        used(4, DATA, opens=1, left=1),
    )


@pytest.fixture
def few_files(tracer):
    tracer.run(f"echo 4 > {FILES}")
    yield tracer
    tracer.run(f"echo 256 > {FILES}")


def test_calls_on_more_files_than_there_is_room_for_are_counted(few_files):
    opened = [f"open data {n % 2}" for n in range(6)]
    lines = files_of(
        few_files,
        *(*opened, "lseek 6 0 0", "read 7 @ 5", "lseek 8 0 0", "dup2 3 20", "close 8"),
        *("sendfile 8 7 0 5", "close 3", "close 7", "open data 0", "read 3 @ 4", "end"),
    )
    # Of the descriptors 7 and 8: 2 opens, a read, a seek, a close, one of 2 that sendfile() used
    # (8 is closed), a close; and the duplicate 20.
    assert lines == extra(
        "detail",
        used(3, DATA, opens=2, closes=1, reads=1, read=4, left=1),
        used(4, DATA, opens=1, left=1),
        used(5, DATA, opens=1, left=1),
        used(6, DATA, opens=1, seeks=1, left=1),
        lost_files=8,
    )


@pytest.mark.parametrize("length", [LIMIT, LIMIT + 1, 1000, 3000])
def test_a_long_path_is_cut_and_marked(tracer, length):
    folders = "a" * 99 + "/"
    path = (FOLDER.as_posix() + "/" + folders * 40)[: length - 5] + "/file"
    path = path.replace("//", "/b")
    lines = files_of(
        tracer, f"open {path} 0", "end", before=f"mkdir -p {path[:-5]}; cp data {path}"
    )
    shown = path if length <= LIMIT else path[:LIMIT] + CUT
    assert lines == extra("detail", used(3, shown, opens=1, left=1))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nOS Assignment2 ftrace [1] End", r"a\x0aOS Assignment2 ftrace [1] End"),
        ("x] path[y]", "x] path[y]"),
        ("\x1b[31m\x7f\\n", r"\x1b[31m\x7f\x5cn"),
        ("größe 日本", "größe 日本"),
        ("%s%n", "%s%n"),
    ],
)
def test_a_path_is_escaped_so_that_it_stays_on_its_line(tracer, name, shown):
    calls(tracer, "with:detail", "start", f"open:{name}", "end", before=f"cp data '{name}'")
    assert extra_lines(tracer) == extra("detail", used(3, f"{FOLDER}/{shown}", opens=1, left=1))


def test_descriptors_that_threads_replace_all_the_time_lose_nothing(tracer):
    # Each of two threads makes 3000 reads and each of two others 2000 times dup2().
    calls_lines = tracer.run("tangle 3000 2000") and settled(tracer)
    lines = [text for text in calls_lines if " fd[50] " in text]
    assert len(lines) == 2

    def total(name):
        return sum(field([line], rf" {name}\[(\d+)\]") for line in lines)

    assert total("reads") == 6000
    assert total("read") == field(calls_lines, r" call\[read\] .* bytes\[(\d+)\]")
    assert total("read") == field(calls_lines, r" read - (\d+) /")
    assert (total("opens"), total("closes"), total("open")) == (4001, 4000, 1)
    assert call("dup2", 4001) in without_pids(calls_lines)
