"""What docs/lab/store.md shows of reading a store without logtrace is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from report_samples import run_row
from store_samples import fill

from logtrace.store import Store

PAGE = (Path(__file__).parent.parent / "docs" / "lab" / "store.md").read_text()
FOLDER, BUCKET = "/srv/lab", "s3://lab/logtrace"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)
OF_FOLDERS = [example for example in EXAMPLES if FOLDER in example]
OF_BUCKETS = [example for example in EXAMPLES if BUCKET in example]


def fill_two(store):
    """Store two runs of an owner on each of two machines, of 1,234 bytes together."""
    for host in ("lab1", "lab2"):
        runs = [run_row(pid, host=host, owner="77", read_bytes=pid) for pid in (1000, 234)]
        fill(store, runs, host=host)


def printed_by(script, **variables):
    assert "import logtrace" not in script
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables,
    ).stdout


def has_sum(printed, script):
    """Say whether the owner's sum is there: of one machine or of all."""
    return "77" in printed and ("1234" if "host=lab1" in script else "2468") in printed


def test_each_example_is_of_a_folder_or_a_bucket():
    assert (len(OF_FOLDERS), len(OF_BUCKETS)) == (3, 3)
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("number", range(3))
def test_an_example_gives_the_sums_without_logtrace(number, tmp_path):
    store = Store(str(tmp_path / "lab"))
    fill_two(store)
    script = OF_FOLDERS[number]
    assert has_sum(printed_by(script.replace(FOLDER, str(store))), script)


@pytest.mark.parametrize("number", range(3))
def test_an_example_gives_the_sums_of_a_bucket(number, s3):
    store = Store(f"s3://{s3.bucket}/logtrace")
    fill_two(store)
    script = OF_BUCKETS[number]
    allowed = dict([re.search(r"`(AWS_ALLOW_HTTP)=(true)`", PAGE).groups()])
    assert has_sum(printed_by(script.replace(BUCKET, str(store)), **allowed), script)
