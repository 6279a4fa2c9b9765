"""The page of the commands is complete and right."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from logtrace import schema
from logtrace.cli import cli
from logtrace.stats import KEYS
from logtrace.when import WORDS, parse_time

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "commands.md").read_text()
EVERYWHERE = {"--quiet", "-q", "--verbose", "-v", "--help", "-h", "--version"}


def commands(group=cli, path=("logtrace",)):
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = {" ".join(path): command for path, command in commands()}


def section(name):
    """Give what the page says of a command, down to the next one's heading."""
    match = re.search(rf"^(#+) {re.escape(name)}$(.*?)(?=^##+ |\Z)", PAGE, re.M | re.S)
    assert match, f"docs/commands.md has no heading for {name}"
    return match[2]


def options_of(command):
    return [option for option in command.params if isinstance(option, click.Option)]


def words(text):
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name):
    command = COMMANDS[name]
    assert command.help
    assert command.get_short_help_str(200).endswith(".")
    for option in options_of(command):
        assert option.help, f"{name} {option.opts}"


@pytest.mark.parametrize("name", list(COMMANDS)[1:])
def test_every_command_is_documented_with_its_options_and_no_others(name):
    options = {word for option in options_of(COMMANDS[name]) for word in option.opts}
    text = re.sub(r"```.*?```", "", section(name), flags=re.S)
    assert options - EVERYWHERE <= words(text), name
    others = {word for word in words(text) - options if word.startswith("--")}
    assert others <= {"--time-format", "--once"} | EVERYWHERE, name


def test_what_every_command_takes_is_documented_once():
    assert words(section("Everywhere")) >= EVERYWHERE
    for name, command in COMMANDS.items():
        if not isinstance(command, click.Group):
            shared = {word for option in options_of(command) for word in option.opts}
            assert {"--quiet", "--verbose"} <= shared, name


def test_every_command_that_reads_the_store_takes_a_range():
    options = {name: {o.name for o in options_of(COMMANDS[name])} for name in COMMANDS}
    reading = {name for name, own in options.items() if "url" in own}
    reading -= {"logtrace watch", "logtrace import", "logtrace ship", "logtrace doctor"}
    reading = {name for name in reading if not name.startswith("logtrace store ")}
    assert {"logtrace runs", "logtrace stats", "logtrace report"} < reading
    for name in reading:
        assert {"since", "until", "zone"} <= options[name], name


def test_every_word_for_a_time_is_on_the_page_and_means_one():
    said = re.findall(
        r"`([^`]+)`", re.sub(r"(?s).*?\n\| `now`", "| `now`", section("Words for times"))
    )
    now = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
    for word in said:
        if word not in ("--tz", "seconds", "minutes", "days", "weeks", "months", "years"):
            ago = " ago" if re.fullmatch(r"\d+ ?[a-z]+", word) else ""
            parse_time(word.strip('"') + ago, now=now, zone=UTC, booted=now)
    between = {"tuesday", "wednesday", "thursday", "friday", "saturday"}
    assert set(WORDS) - between - {day[:3] for day in between} <= set(said)


def examples():
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    lines = (line for block in blocks for line in block.splitlines())
    for line in lines:
        for part in re.split(r"\|", line):
            found = shlex.split(part.partition(">")[0], comments=True)
            if "logtrace" in found[:2] and "_LOGTRACE_COMPLETE" not in line:
                yield found[found.index("logtrace") + 1 :]


@pytest.mark.parametrize("arguments", list(examples()), ids=" ".join)
def test_every_example_is_understood(arguments):
    context, command = None, cli
    while isinstance(command, click.Group):
        context = click.Context(command, context, **cli.context_settings)
        name, command, arguments = command.resolve_command(context, arguments)
        assert command is not None, name
    command.make_context(name, arguments, context)  # parses, but calls nothing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    for option in ("-h", "--help"):
        done = CliRunner().invoke(cli, [*name.split()[1:], option])
        assert done.exit_code == 0
        assert name in done.stdout


def test_the_words_of_options_are_those_of_the_library():
    assert set(schema.STATUSES) <= set(re.findall(r"\w+", section("Which runs")))
    assert set(KEYS) <= set(re.findall(r"[\w-]+", section("logtrace stats")))
    by_help = next(o.help for o in options_of(COMMANDS["logtrace stats"]) if o.name == "by")
    assert set(KEYS) <= set(re.findall(r"[\w-]+", by_help))
    status = next(o.help for o in options_of(COMMANDS["logtrace runs"]) if o.name == "status")
    assert set(schema.STATUSES) <= set(re.findall(r"\w+", status))


def test_the_columns_of_csv_are_named_in_their_order():
    columns = re.search(r"names of the columns first:(.*?)\.", section("logtrace runs"), re.S)
    assert re.findall(r"`(\w+)`", columns[1]) == schema.RUNS.names


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", PAGE, re.M)
    anchors = {"#" + re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert target in anchors or (DOCS / target).is_file(), target


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell, monkeypatch):
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)(cli, {}, "logtrace", "_LOGTRACE_COMPLETE")
    assert {item.value for item in complete.get_completions([], "ru")} == {"run", "runs"}
    assert {item.value for item in complete.get_completions(["watch"], "--fr")} == {"--from"}
    assert f"_LOGTRACE_COMPLETE={shell}_source" in PAGE


DIALECTS = (DOCS / "dialects.md").read_text("utf-8")
FORMS = re.findall(r"^\| `(.*)` \| (\w+) \| ?(.*?) ?\|$", DIALECTS, re.M)


@pytest.mark.parametrize(("line", "dialect", "values"), FORMS, ids=[form[0] for form in FORMS])
def test_every_form_of_the_dialects_is_read_as_the_page_says(line, dialect, values):
    from logtrace.grammar import parse

    event = parse(line)
    assert event.dialect == dialect
    found = " ".join(f"{name}={value}" for name, value in event.values.items())
    assert found == values


LOGS = re.findall(r"```log\n(.*?)```\n\n *Runs: ([^\n]*)\n", DIALECTS, re.S)


@pytest.mark.parametrize(("lines", "runs"), LOGS, ids=[str(n) for n, _ in enumerate(LOGS)])
def test_every_log_of_the_dialects_gives_the_runs_that_the_page_says(tmp_path, lines, runs):
    from logtrace import read_log

    log = tmp_path / "log"
    log.write_text("".join(line.lstrip() for line in lines.splitlines(keepends=True)))
    found = [
        f"{run.pid} {run.status} {run.read_bytes}/{run.written_bytes} {run.open_calls}"
        f" {run.close_calls} {run.read_calls} {run.write_calls} {run.lseek_calls}"
        for run in read_log(log).runs.itertuples()
    ]
    assert "; ".join(found).replace("<NA>", "?") == runs


def test_the_page_of_dialects_has_logs():
    assert len(LOGS) == DIALECTS.count("```log") == 6


def test_the_dialect_that_the_page_adds_is_accepted(tmp_path):
    from logtrace.dialects import load

    path = tmp_path / "dialects.toml"
    path.write_text(re.search(r"```toml\n(.*?)```", DIALECTS, re.S)[1])
    assert [dialect.name for dialect in load([path])] == ["lab7", *(d.name for d in load())]


def test_every_dialect_has_forms_on_the_page():
    from logtrace.dialects import load

    assert {dialect for _, dialect, _ in FORMS} == {dialect.name for dialect in load()}
