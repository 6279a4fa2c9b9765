import io
import os
import pwd
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from report_samples import HOSTILE, START, run_row, runs_frame
from rich.cells import cell_len
from rich.console import Console
from store_samples import rows_of, store_with

from logtrace import stats, terminal
from logtrace.coverage import Span, to_frame
from logtrace.doctor import Check
from logtrace.engine import Engine, Filters
from logtrace.kmod import ModuleStatus
from logtrace.record import Record
from logtrace.trend import trend
from logtrace.watch import Progress

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SEOUL = ZoneInfo("Asia/Seoul")
DASH = "\N{EN DASH}"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LARGE = {
    "read_bytes": 123456789012,
    "written_bytes": 9999999999,
    "open_calls": 100000,
    "read_calls": 4000000,
    "write_calls": 5000000,
    "lseek_calls": 9000000,
}
NOTHING_KNOWN = {
    name: None
    for name in run_row(0)
    if name not in ("host", "first_seq", "last_seq", "run_id", "status", "source", "clock")
}


def screen(width=80, height=24):
    """A terminal without colours, and what it shows."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    return console, file


def shown(draw, *rest, width=80):
    console, file = screen(width)
    draw(console, *rest)
    return file.getvalue().splitlines()


def table_of(rows, width=80):
    return shown(terminal.print_runs, runs_frame(rows), SEOUL, width=width)[: 1 + len(rows)]


# What is piped


def test_what_is_piped_is_cut_nowhere_and_has_no_escapes(capsys):
    name = "/" + "long/" * 200
    terminal.print_runs(terminal.console(), runs_frame(rows_of({"file": name})), SEOUL)
    heading, line, caption = capsys.readouterr().out.splitlines()
    assert name in line
    assert heading.split() == [
        *("Run", "Owner", "Pid", "Program", "File", "Read", "Written", "o/c/r/w/s"),
        *("Status", "Ended"),
    ]
    assert "Asia/Seoul" in caption
    assert "\x1b" not in line


def test_names_are_no_markup(capsys):
    frame = runs_frame(rows_of({"comm": "[red]x[/red]", "file": ":smile: [link=http://x]y"}))
    terminal.print_runs(terminal.console(), frame, SEOUL)
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert ":smile: [link=http://x]y" in out


# Tables of runs


def test_a_run_is_one_line_with_times_in_the_zone():
    heading, line = table_of(rows_of({}), width=140)
    assert line.split() == [
        *("00000000", "2021202045", "47283", "test", "abc.txt", "20", "B", "26", "B"),
        *("1/1/4/5/9", "complete", "2026-11-23", "00:00:00"),
    ]
    assert heading.index("Owner") == line.index("2021202045")


@pytest.mark.parametrize("width", [50, 60, 80, 110, 140, 250])
@pytest.mark.parametrize("changes", [{}, LARGE, {"file": "x" * 300, "comm": "한" * 40, **LARGE}])
def test_no_line_is_wider_than_the_terminal(width, changes):
    assert max(map(cell_len, table_of(rows_of({}, changes), width))) <= width


@pytest.mark.parametrize("width", [50, 80, 140])
def test_every_name_keeps_some_room_however_large_the_numbers(width):
    heading, line = table_of(rows_of({"file": "/home/a/long/name", **LARGE}), width)
    assert "Program" in heading
    assert "test" in line
    assert "/home/a" in line


@pytest.mark.parametrize("width", [80, 140])
def test_a_number_is_shown_whole_or_not_at_all(width):
    _, line = table_of(rows_of({"file": "x" * 300, **LARGE}), width)
    assert "115.0 GiB" in line
    assert "9.3 GiB" in line


def test_a_name_that_is_cut_ends_with_a_mark():
    _, line = table_of(rows_of({"file": "x" * 300}))
    assert "xxx…" in line


def test_columns_stand_below_each_other_for_wide_characters_too():
    rows = rows_of({"comm": "test"}, {"comm": "프로그램"})
    positions = {
        cell_len(line[: line.index("abc.txt")])
        for line in table_of(rows, width=140)
        if "abc.txt" in line
    }
    assert len(positions) == 1


def test_what_is_not_known_is_a_dash_not_a_zero():
    _, line = table_of([run_row(0, **NOTHING_KNOWN)], width=140)
    assert line.split() == ["00000000", *6 * [DASH], "/".join(5 * [DASH]), "complete", DASH]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_reaches_no_terminal_raw(name):
    lines = table_of(rows_of({"comm": name, "file": name, "owner": name}), width=2000)
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_the_caption_of_runs_shows_when_they_began():
    times = [{"started_at": START + n * HOUR} for n in (0, 0, 8, 16)]
    *_, caption = shown(terminal.print_runs, runs_frame(rows_of(*times)), SEOUL, width=140)
    assert caption.startswith(
        "4 runs ▕█       ▄      ▄▏ 2026-11-23 00:00 to 2026-11-23 16:00 · o/c/r/w/s"
    )


def test_the_caption_of_runs_at_one_moment_or_at_none_shows_no_time():
    for rows in (rows_of({}), [run_row(0, **NOTHING_KNOWN)]):
        *_, caption = shown(terminal.print_runs, runs_frame(rows), SEOUL, width=140)
        assert caption.startswith("1 run · o/c/r/w/s")


def test_no_runs_are_headings_and_a_count():
    heading, caption = shown(terminal.print_runs, runs_frame([]), SEOUL)
    assert heading.startswith("Run  Owner")
    assert caption.startswith("0 runs")


def test_many_runs_are_all_printed(capsys):
    rows = [run_row(number) for number in range(1001)]
    terminal.print_runs(terminal.console(), runs_frame(rows), SEOUL)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1001 + 1
    assert lines[-1].startswith("1,001 runs")


# Usage, modules, checks


def usage_table(engine, by, filters=None, width=200):
    filters = filters or Filters()
    frame = stats.statistics(engine, by, filters, stats.period_before(filters, START + DAY))
    over_time = trend(engine, frame, by, filters, START + DAY)
    return shown(terminal.print_usage, frame, by, SEOUL, over_time, width=width)


def test_usage_shows_keys_totals_and_what_is_null(tmp_path):
    rows = rows_of({"owner": "a", "read_bytes": 2048}, {"owner": None, "status": "no_end"})
    engine = Engine(store_with(tmp_path, [*rows, run_row(9, **NOTHING_KNOWN)]))
    heading, *lines, caption = usage_table(engine, ["owner"])
    assert heading.split()[:7] == [
        *("Owner", "Runs", "Share", "Trend", "Odd", "Leaky", "Programs"),
    ]
    assert [line.split()[:2] for line in lines] == [[DASH, "2"], ["a", "1"]]
    assert "2.0 KiB" in lines[1]
    assert "2026-11-23 00:00:00" in lines[1]
    assert "Asia/Seoul" in caption


def test_usage_of_no_runs_and_no_keys_is_a_row_of_zeros(tmp_path):
    frame = stats.usage(Engine(store_with(tmp_path, [])), [], Filters(host="nobody"))
    _, line, _ = shown(terminal.print_usage, frame, [], SEOUL)
    assert line.split() == ["0", "0", "0", "0", *4 * [DASH]]


def test_usage_shows_each_group_s_share_of_all_runs_and_when_they_were(tmp_path):
    at = [{"started_at": START + n * HOUR} for n in range(16)]
    owners = [{"owner": "a", **at[n]} for n in (0, 0, 0, 0, 5, 5, 15)] + [{"owner": "b", **at[8]}]
    engine = Engine(store_with(tmp_path, rows_of(*owners)))
    filters = Filters(since=START, until=START + 16 * HOUR)
    _, a, b, caption, *_ = usage_table(engine, ["owner"], filters, width=80)
    assert "████▍ 88 %  █    ▄         ▂  " in a
    assert "▋     12 %          █         " in b
    assert caption.startswith("trend: runs from 2026-11-23 00:00 to 2026-11-23 16:00")


def test_usage_of_a_range_shows_how_the_runs_have_changed(tmp_path):
    rows = rows_of(*({"started_at": START + n * HOUR} for n in (-2, -1, 1, 2, 3)))
    engine = Engine(store_with(tmp_path, rows))
    filters = Filters(since=START, until=START + 4 * HOUR)
    heading, line, *captions = usage_table(engine, ["owner"], filters, width=120)
    caption = " ".join(captions)
    change = heading.split().index("Change")
    assert " ".join(line.split()[change : change + 2]) == "+50 %"
    assert "change: of runs, against the time as long before" in caption


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("by", [["owner"], ["day"], ["owner", "program"]])
def test_usage_fits_the_terminal_and_has_the_runs_of_each_group(tmp_path, width, by):
    rows = [run_row(n, **changes) for n, changes in enumerate([{}, LARGE, {"comm": "x" * 90}] * 9)]
    filters = Filters(since=START, until=START + DAY)
    heading, *lines, _ = usage_table(
        Engine(store_with(tmp_path, rows), "Asia/Seoul"), by, filters, width
    )
    table = [heading, *(line for line in lines if "· times" not in line)]
    assert max(map(cell_len, table)) <= width
    assert "Runs" in heading


def test_a_terminal_that_has_no_bars_gets_percents(tmp_path):
    engine = Engine(store_with(tmp_path, rows_of({})))
    frame = stats.usage(engine, ["owner"])
    over_time = trend(engine, frame, ["owner"], Filters(), START)
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    terminal.print_usage(Console(file=file, width=120), frame, ["owner"], SEOUL, over_time)
    file.seek(0)
    heading, line, _ = file.read().splitlines()
    assert "Trend" not in heading
    assert line.split()[:4] == ["2021202045", "1", "100", "%"]


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([], ""),
        ([0, 0], "  "),
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([1, 0, 1000], "▁ █"),
        ([7], "█"),
    ],
)
def test_a_sparkline_has_a_cell_a_count_and_no_bar_only_for_nothing(counts, line):
    assert terminal.sparkline(counts) == line


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        (0, "       0 %"),
        (0.0001, "▏     <1 %"),
        (0.5, "██▌   50 %"),
        (1, "█████100 %"),
    ],
)
def test_a_share_is_a_bar_and_a_number(share, bar):
    assert terminal.share_bar(share) == bar


def test_days_are_shown_in_the_zone(tmp_path):
    engine = Engine(store_with(tmp_path, rows_of({})), "Asia/Seoul")
    frame = stats.usage(engine, ["day"])
    _, line, _ = shown(terminal.print_usage, frame, ["day"], SEOUL, width=120)
    assert line.startswith("2026-11-23 00:00:00")


def test_modules_are_shown_with_what_is_known():
    known = {"users": ("x",), "owner": "20\x1b[1m", "version": "1\x1b[1m", "number": 336}
    defaults = {"wide": True, "detail": True, "follow": False, "files": 4096}
    modules = [
        ModuleStatus("os_ftracehooking", loaded=False),
        ModuleStatus("ftracehooking", loaded=True, matches=True, device=True, **known, **defaults),
        ModuleStatus("iotracehooking", loaded=True, matches=False),
    ]
    assert [line.rstrip().split(maxsplit=2) for line in shown(terminal.print_modules, modules)] == [
        ["os_ftracehooking", "not", "loaded"],
        ["ftracehooking", "loaded", "used by x · version 1\\x1b[1m · the file built here"],
        ["id", "20\\x1b[1m", "· system call 336 · /dev/os_ftrace"],
        ["each", "trace:", "wide, detail · up to 4,096 files"],
        ["iotracehooking", "loaded", "not the file built here"],
    ]


def test_a_module_that_answers_no_number_is_shown_with_its_device_alone():
    module = ModuleStatus("ftracehooking", loaded=True, number=0, device=False, wide=False)
    lines = [line.strip() for line in shown(terminal.print_modules, [module])]
    assert lines[1:] == [
        "no system call · no /dev/os_ftrace",
        "each trace: the calls of the lab",
    ]


def test_hosts_and_kernels_are_shown_as_they_can_be():
    hostile = Span("pc\x1b[1m", START, START, "traced", "6.1\x1b[1m", "\x1b[1m")
    lines = shown(terminal.print_coverage, to_frame([hostile]), SEOUL)
    assert "pc\\x1b[1m" in "".join(lines)
    assert all(line.isprintable() for line in lines)


def test_checks_are_shown_with_their_remedies():
    checks = [
        Check("kernel log", "failed", "no permission", "run it as root"),
        Check("a", "ok", "b"),
    ]
    text = "\n".join(shown(terminal.print_checks, checks))
    assert "failed" in text
    assert "→ run it as root" in text


# A watch


def view(*progresses, width=80, height=24, store="/s", **options):
    """Give the lines that the live view has drawn last."""
    console, file = screen(width, height)
    with terminal.LiveView(console, store, SEOUL, **options) as live:
        for progress in progresses:
            file.seek(0)
            file.truncate()
            live.show(progress)
        return ESCAPES.sub("", file.getvalue()).splitlines()


def progress_of(**changes):
    return Progress(since=START, **changes)


def test_the_live_view_says_what_it_watches_and_that_nothing_came_yet():
    text = " ".join(view(progress_of(loaded=set())))
    assert "/s" in text
    assert "2026-11-23 00:00:00 (Asia/Seoul)" in text
    assert "0 runs" in text
    assert "sudo logtrace kmod load" in text
    assert "no run has ended yet" in text


def test_the_live_view_shows_modules_losses_and_trouble():
    progress = progress_of(loaded={"b", "a"}, lost_records=3, trouble="store /s:\x1b[31m full")
    text = " ".join(view(progress, width=140))
    assert "modules: a, b" in text
    assert "3 records lost" in text
    assert "store /s:\\x1b[31m full" in text


def test_names_that_are_told_reach_no_terminal_raw():
    notices = ["/log\x1b]0;title\x07: it was cut"]
    progress = progress_of(trouble="store \x1b[5m", notices=notices)
    for lines in (view(progress, store="/s\x1b[5m"), plain(progress)):
        text = "".join(lines)
        assert text.isprintable()
        assert r"\x1b[5m" in text
        assert r"/log\x1b]0;title\x07: it was cut" in text
    assert r"/s\x1b[5m" in "".join(view(progress, store="/s\x1b[5m", width=140))


def record_of(pid, source="kmsg", **changes):
    return pid, Record(source, "b", 1, 1, 0, 6, None, "Start", **changes)


def under_way(*open_runs, **options):
    lines = view(progress_of(open_runs=list(open_runs)), **options)
    begin = next(n for n, line in enumerate(lines) if line.startswith("Under way"))
    return [line.split() for line in lines[begin:-1]]


def test_the_live_view_shows_runs_under_way_newest_first():
    assert under_way(record_of(5, "/log", at=START, host="pc7"), record_of(47283, "/log")) == [
        ["Under", "way", "Host", "Since"],
        ["47283", DASH, DASH],
        ["5", "pc7", "2026-11-23", "00:00:00"],
    ]


def test_of_this_machine_s_kernel_the_live_view_shows_who_is_traced(tmp_path):
    for pid, comm in ((5, b"a\x1b[1m\xff\n"), (6, b"test\n")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "comm").write_bytes(comm)
    runs = [record_of(5), record_of(6), record_of(7), record_of(6, "/log")]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert under_way(*runs, processes=tmp_path) == [
        ["Under", "way", "Program", "User"],
        ["6", DASH, DASH],
        ["7", DASH, DASH],
        ["6", "test", user],
        ["5", "a\\x1b[1m\\xff", user],
    ]


def test_of_many_runs_under_way_the_live_view_shows_the_newest_and_counts_the_others():
    runs = [record_of(pid, "/log") for pid in range(1, 21)]
    assert under_way(*runs) == [["Under", "way"], *([str(pid)] for pid in range(20, 14, -1)),
                                ["and", "14", "more", "under", "way"]]  # fmt: skip
    assert len(under_way(*runs, height=8)) == 1 + 2 + 1


def test_the_live_view_says_how_much_came_in_the_last_minute():
    seconds = iter([0.0, 0.0, 50.0, 120.0])
    clock = lambda: next(seconds)  # noqa: E731
    first = progress_of(runs=10, records=40, latest=[run_row(0, read_bytes=10**6)])
    second = progress_of(runs=11, records=640, latest=[run_row(0, read_bytes=100)])
    again = progress_of(runs=11, records=640)
    shown = [line for line in view(progress_of(), first, second, clock=clock) if "minute" in line]
    (line,) = shown
    assert re.fullmatch(r"minute to \d\d:\d\d:\d\d: 1 run, 10.0 records/s, 126 B", line.rstrip()), (
        line
    )
    seconds = iter([0.0, 0.0, 50.0, 120.0, 900.0])
    assert "1 run, 10.0 records/s, 126 B" in " ".join(
        view(progress_of(), first, second, again, clock=clock)
    )


def test_the_live_view_names_the_report_that_is_kept_fresh():
    assert "report: /out/index.html" in view(progress_of(), report="/out/index.html")


def test_the_live_view_says_how_shipping_stands():
    assert "ship to s3://lab: all is there" in view(
        progress_of(shipping="ship to s3://lab: all is there")
    )


def test_the_live_view_keeps_the_newest_runs_that_fit_the_screen():
    rows = [run_row(number, pid=number) for number in range(100, 160)]
    lines = view(progress_of(latest=rows), height=20)
    assert len(lines) in (18, 19)
    assert " 159 " in lines[4]
    assert not any(" 130 " in line for line in lines)


def test_runs_come_to_the_live_view_one_after_the_other():
    came = [progress_of(latest=[run_row(0, pid=pid)]) for pid in (11, 12, 13)]
    lines = [line for line in view(*came, progress_of()) if "abc.txt" in line]
    assert [line.split()[2] for line in lines] == ["13", "12", "11"]


@pytest.mark.parametrize("width", [30, 80, 140])
def test_the_live_view_is_drawn_on_any_terminal(width):
    hostile = [run_row(n, comm=name, file=name, **LARGE) for n, name in enumerate(HOSTILE)]
    lines = view(progress_of(latest=hostile), width=width, height=8)
    assert lines


def plain(*progresses):
    file = io.StringIO()
    console = Console(file=file, width=10_000, color_system=None)
    view = terminal.PlainView(console, SEOUL)
    for progress in progresses:
        view.show(progress)
    return file.getvalue().splitlines()


def test_the_plain_view_prints_a_line_a_run():
    assert plain(progress_of(latest=[run_row(0)]), progress_of()) == [
        "2026-11-23 00:00:00 test[47283] owner=2021202045 file=abc.txt read_bytes=20"
        " written_bytes=26 open_calls=1 close_calls=1 read_calls=4 write_calls=5 lseek_calls=9"
        " complete"
    ]


def test_the_plain_view_prints_hostile_names_escaped():
    (line,) = plain(progress_of(latest=[run_row(0, comm="\x1b[31m", file="a\nb] End\u202e")]))
    assert line.isprintable()


def test_the_plain_view_says_once_that_the_store_is_away():
    away = progress_of(trouble="store /s can't be written")
    assert plain(away, away, progress_of(), away) == ["store /s can't be written"] * 2


def test_a_day_has_no_wall_clock_without_a_zone():
    moment = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(hours=1)
    assert "10:00:00" in plain(progress_of(latest=[run_row(0, ended_at=moment)]))[0]
