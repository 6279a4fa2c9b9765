import json

import pytest
from click.testing import CliRunner

from logtrace import grammar
from logtrace.cli import cli
from logtrace.cumulative import Suspect
from logtrace.understanding import examine_log, nearest

LOG = """\
[  1.000000] OS Assignment2 ftrace [7] Start
[  1.000001] usb 1-1: new device
  its second line
[  1.000002] [1] test file[a\x1bb] stats [x] read - 2 / wri
[  1.000003] open[1] close[1] read[4] write[5] lseek[9]
[  1.000004] OS Assignment2 ftrace [x] End
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "kern.log"
    path.write_text(LOG)
    return path


def test_lines_that_are_not_understood_are_named_with_what_they_resemble(log):
    check = examine_log(log)
    assert (check.records, check.runs, check.not_understood) == (5, 1, 2)
    assert check.understood == {("contract", "start"): 1, ("contract", "ops"): 1}
    assert [(each.line, each.kind, each.reason) for each in check.missed] == [
        (4, "stats", "rejected"),
        (6, "end", "rejected"),
    ]
    assert check.missed[0].text == r"[1] test file[a\x1bb] stats [x] read - 2 / wri"
    assert check.missed[1].fits == len("OS Assignment2 ftrace [")


def test_a_log_is_examined_in_the_form_that_is_given(tmp_path):
    path = tmp_path / "kern.log"
    path.write_text(
        "[    1.000000] lab7 kernel: [1] test file[a] stats [x] read - 2 / written - 3\n"
    )
    options = ["doctor", str(path), "--format"]
    assert CliRunner().invoke(cli, [*options, "syslog"]).exit_code == 0
    assert "1 lines that look" in CliRunner().invoke(cli, [*options, "dmesg"]).stdout
    assert "none of its first lines has the form kmsg" in str(
        CliRunner().invoke(cli, [*options, "kmsg"]).output
    )


def test_a_form_without_a_log_is_refused():
    done = CliRunner().invoke(cli, ["doctor", "--format", "syslog"])
    assert (done.exit_code, "logtrace doctor LOG" in done.output) == (2, True)


def test_what_begins_like_no_line_resembles_none():
    assert nearest("~", grammar.default()) == (None, None, 0)


def test_the_command_says_it_and_fails(log):
    done = CliRunner().invoke(cli, ["doctor", str(log)])
    assert done.exit_code == 1
    assert f"{log}:4: " in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(CliRunner().invoke(cli, ["doctor", "--json", str(log)]).stdout)
    assert [each["line"] for each in found["missed"]] == [4, 6]


def test_a_log_that_is_understood_is_in_order(tmp_path):
    path = tmp_path / "kern.log"
    path.write_text(LOG.splitlines()[0] + "\n[  2.000000] usb\n")
    done = CliRunner().invoke(cli, ["doctor", str(path)])
    assert done.exit_code == 0
    assert "1 start lines of the dialect contract" in done.stdout


def test_a_module_that_may_never_set_its_counters_back_is_named(tmp_path):
    path = tmp_path / "kern.log"
    runs = [
        f"OS Assignment2 ftrace [{n}] Start\n"
        f"[7] test file[a] stats [x] read - {n} / written - {n}\n"
        f"open[{n}] close[{n}] read[{n}] write[{n}] lseek[0]\n"
        f"OS Assignment2 ftrace [{n}] End\n"
        for n in (1, 2, 3)
    ]
    lines = "".join(runs).splitlines()
    path.write_text("".join(f"[  1.{n:06d}] {line}\n" for n, line in enumerate(lines)))
    assert examine_log(path).suspects == [Suspect("7", "contract", 3, repeats=True)]
    assert "cumulative = true" in CliRunner().invoke(cli, ["doctor", str(path)]).stdout


def test_the_lines_of_several_machines_are_not_mixed(tmp_path):
    texts = [line[13:] for line in LOG.splitlines() if not line.startswith("  its")]
    texts[2:3] = ["[1] test file[a] stats [x] read - 2 / written - 3"]
    texts += ["OS Assignment2 ftrace [7] End"]
    path = tmp_path / "central.log"
    path.write_text(
        "".join(f"Nov 23 10:00:00 {host} kernel: {text}\n" for text in texts for host in "ab")
    )
    check = examine_log(path)
    assert (check.runs, check.not_understood) == (2, 2)
    assert [each.line for each in check.missed] == [9, 10]
