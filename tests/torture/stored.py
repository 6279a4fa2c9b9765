"""What a store has, read with deltalake alone, and how it compares with the truth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from truth import Call, File, Run

_OF_A_RUN = tuple(name for name in Run._fields if name not in ("calls", "files"))

Row = dict[str, Any]


def rows(host: Path, table: str) -> list[Row]:
    """Read a table; none if it is not there yet."""
    if not (host / table / "_delta_log").is_dir():
        return []
    stored: list[Row] = DeltaTable(str(host / table)).to_pyarrow_table().to_pylist()
    return stored


def count_runs(host: Path) -> int:
    """Count the runs without reading them."""
    if not any((host / "runs" / "_delta_log").glob("*.json")):
        return 0
    actions = DeltaTable(str(host / "runs")).get_add_actions()
    return sum(row["num_records"] for row in map(_as_dict, actions.to_struct_array()))


def _as_dict(scalar: Any) -> Row:
    found: Row = scalar.as_py()
    return found


def whole_runs(host: Path) -> tuple[list[Run], list[Row]]:
    """Give the complete runs with their calls and files in the order they ended, and the rest."""
    calls, files = _details(host, "calls", Call), _details(host, "files", File)
    stored = rows(host, "runs")
    whole = [row for row in stored if row["status"] == "complete"]
    whole.sort(key=lambda row: row["ended_us"])
    runs = [
        Run(
            *(row[name] for name in _OF_A_RUN),
            tuple(calls[row["run_id"]]),
            tuple(files[row["run_id"]]),
        )
        for row in whole
    ]
    return runs, [row for row in stored if row["status"] != "complete"]


def _details(host: Path, table: str, kind: type[Call] | type[File]) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for row in rows(host, table):
        found[row["run_id"]].append(kind(*(row[name] for name in kind._fields)))
    return defaultdict(list, {run_id: sorted(each) for run_id, each in found.items()})


def differences(truth: Sequence[Run], whole: Sequence[Run]) -> list[str]:
    """Say in what stored runs differ from the truth, a line each."""
    wanted, found = Counter(truth), Counter(whole)
    lines = [f"missing: {run}" for run in (wanted - found).elements()]
    for run in (found - wanted).elements():
        lines.append(f"{'stored twice' if run in wanted else 'never was'}: {run}")
    if not lines and list(truth) != list(whole):
        lines.append("the order differs")
    return lines
