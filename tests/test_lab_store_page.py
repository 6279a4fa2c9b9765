"""What docs/lab/store.md shows of reading a store without logtrace is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from report_samples import run_row
from store_samples import fill

from logtrace.store import Store

PAGE = (Path(__file__).parent.parent / "docs" / "lab" / "store.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("number", range(3))
def test_an_example_gives_the_sums_without_logtrace(number, tmp_path):
    store = Store(str(tmp_path / "lab"))
    for host in ("lab1", "lab2") if number else ("lab1",):
        runs = [run_row(pid, host=host, owner="77", read_bytes=pid) for pid in (1000, 234)]
        fill(store, runs, host=host)
    assert len(EXAMPLES) == 3
    script = EXAMPLES[number].replace("/srv/lab", str(store))
    assert "logtrace" not in script
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "77" in done.stdout
    assert ("2468" if number else "1234") in done.stdout
