"""Run the kernel tests on every kernel and write the table of docs/kernels.md.

    python tests/kernel/matrix.py [--quick] [NAME]...

With --quick the tests that take long, those marked matrix, are left out; the table says so.

Each kernel has a pytest of its own, so that one that hangs takes no other's results along. The
table shows the latest results of each kernel: those in the cache, else the row that is there.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from kernels import HOST, KERNELS

from logtrace import cache

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "kernels.md"
BEGIN, END = "<!-- written by make test-kernels -->", "<!-- end of what is written -->"

PYTEST = (sys.executable, "-m", "pytest", HERE, "-p", "no:cacheprovider")
# The name of the results says which tests were run.
ALL, QUICK = "all", "quick"
SELECTION = {ALL: "kernel", QUICK: "kernel and not matrix"}
LONGEST = 150 * 60  # seconds for the tests of one kernel
LAST_WORDS = 120  # seconds for a stopped pytest to switch its guest off and write its results


@dataclass(frozen=True)
class Result:
    """What the tests of one kernel came to.

    Parameters
    ----------
    release, compiler
        The kernel's release and the compiler that built its modules; empty if it did not boot.
    passed, failed, skipped
        How many tests did; an error is a failure.
    seconds
        Wall time, booting included.
    began
        Local time, with its zone.
    selection
        Which tests: `ALL` or `QUICK`.
    """

    release: str
    compiler: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    began: datetime
    selection: str


def main(arguments: Sequence[str]) -> int:
    selection = QUICK if "--quick" in arguments else ALL
    names = [argument for argument in arguments if argument != "--quick"]
    unknown = set(names) - {HOST, *KERNELS}
    if unknown:
        print(f"no such kernel: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chosen = names or (HOST, *KERNELS)
    statuses = [run(name, selection) for name in chosen]
    page = PAGE.read_text()
    earlier = {name: row for name, row in rows(page).items() if name not in chosen}
    shown = table({name: read(_results_file(name)) for name in KERNELS}, earlier)
    PAGE.write_text(with_table(page, shown))
    print(shown)
    return int(any(statuses))


def run(name: str, selection: str = ALL) -> int:
    """Run the tests of one kernel; give pytest's exit status."""
    results = _results_file(name)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    draft = results.with_suffix(".draft")
    print(f"== {name}", flush=True)
    chosen = ("-m", SELECTION[selection], "-o", f"junit_suite_name={selection}")
    status = _pytest("--kernel", name, *chosen, f"--junit-xml={draft}")
    # A run that was stopped has results, too, but not of all its tests.
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        draft.rename(results)
    return status


def _pytest(*arguments: str) -> int:
    # What a shell starts in the background ignores SIGINT, by which it is to be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*PYTEST, *arguments], env=os.environ | {"LOGTRACE_REQUIRE_ALL": "1"}
    )
    try:
        return process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        print(f"stopped: not ended after {LONGEST} s", file=sys.stderr)
        return _stop(process)


def _stop(process: subprocess.Popen) -> int:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(LAST_WORDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return process.returncode or pytest.ExitCode.INTERRUPTED


def _results_file(name: str) -> Path:
    return cache.folder("matrix", f"{name}.xml")


def read(results: Path) -> Result | None:
    """Read the results of one kernel from JUnit XML; None where there are none."""
    if not results.exists():
        return None
    suite = ElementTree.parse(results).getroot().find("testsuite")
    count = {word: int(suite.get(word)) for word in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    properties = {entry.get("name"): entry.get("value") for entry in suite.iter("property")}
    return Result(
        release=properties.get("release", ""),
        compiler=properties.get("compiler", ""),
        passed=count["tests"] - failed - count["skipped"],
        failed=failed,
        skipped=count["skipped"],
        seconds=float(suite.get("time")),
        began=datetime.fromisoformat(suite.get("timestamp")),
        selection=suite.get("name"),
    )


def table(results: Mapping[str, Result | None], earlier: Mapping[str, str] | None = None) -> str:
    """Lay the results of kernels out as a table in Markdown.

    Parameters
    ----------
    results
        By the kernel's name.
    earlier
        Rows of another table, by the kernel's name, that stay where there are no results.
    """
    head = ["name", "kernel", "compiler", "passed", "failed", "skipped", "time", "tests", "run"]
    lines = [_row(head), _row(["---"] * 3 + ["--:"] * 4 + ["---"] * 2)]
    for name, result in results.items():
        stays = (earlier or {}).get(name) if result is None else None
        lines.append(stays or _row([f"`{name}`", *_cells(result)]))
    cores = f"On {os.cpu_count()} cores, without hardware virtualisation."
    return "\n".join([*lines, "", cores])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rows(page: str) -> dict[str, str]:
    """Find the rows of the table on a page, by the kernel's name."""
    shown = page.partition(BEGIN)[2].partition(END)[0]
    return {line.split("`")[1]: line for line in shown.splitlines() if line.startswith("| `")}


def _cells(result: Result | None) -> list[str]:
    if result is None:
        return ["no results", *[""] * 7]
    minutes, seconds = divmod(round(result.seconds), 60)
    return [
        result.release or "did not boot",
        result.compiler,
        str(result.passed),
        str(result.failed),
        str(result.skipped),
        f"{minutes} min {seconds:02} s",
        result.selection,
        f"{result.began:%Y-%m-%d %H:%M %Z}",
    ]


def with_table(page: str, shown: str) -> str:
    """Replace what is between the page's two markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks {BEGIN!r} or {END!r}")
    return f"{before}{begin}\n\n{shown}\n\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
