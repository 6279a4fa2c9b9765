"""The page of a run: all that is known of it and around it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from logtrace import findings
from logtrace.contents import NEAR, ReportData
from logtrace.layout import (
    MOST_ROWS,
    STATUS_MEANINGS,
    Column,
    environment,
    policy,
    safe,
    with_pages,
    zone_text,
)
from logtrace.page_script import text_of
from logtrace.schema import to_rows

if TYPE_CHECKING:
    import pandas as pd

CLOCK_MEANINGS: Mapping[str, str] = {
    "received": "when the records were received",
    "boot": "the kernel's clock added to the time of the boot",
    "log": "as the log's lines say",
    "none": "the log has none",
}
"""How the wall-clock time of a run was found."""


_DETAILS = {
    "files": (
        Column("descriptor", "Descriptor"),
        Column("path", "Path", "text"),
        Column("read_bytes", "Read", "bytes"),
        Column("written_bytes", "Written", "bytes"),
        Column("opens", "Opens"),
        Column("closes", "Closes"),
        Column("reads", "Reads"),
        Column("writes", "Writes"),
        Column("seeks", "Seeks"),
        Column("at_end", "At the end", "text"),
    ),
    "calls": (
        Column("call", "Call", "text"),
        Column("calls", "Calls"),
        Column("errors", "Failed"),
        Column("moved_bytes", "Bytes", "bytes"),
        Column("time_ns", "Time", "ns"),
    ),
}
_AT_END = {True: "open", False: "closed", None: None}
_NEAR = (
    Column("at", "When", "time"),
    Column("type", "Type", "word"),
    Column("message", "Message", "text"),
    Column("module", "Module", "word"),
    Column("function", "Function", "word"),
    Column("comm", "Program", "word"),
    Column("pid", "PID", "id"),
    Column("which", "This run", "word"),
)
_MEASURES = {
    "bytes": ("Bytes read and written", "bytes"),
    "calls": ("Calls", "count"),
    "us": ("Time", "us"),
}


def run_pages(data: ReportData) -> Iterator[tuple[str, str]]:
    """Compose a page for each of the newest runs.

    Parameters
    ----------
    data
        The report's contents.

    Yields
    ------
    tuple of str and str
        The name of the file and its HTML.
    """
    style = text_of("base.css") + text_of("run.css")
    runs = with_pages(data)
    details = {name: _by_run(frame, runs, _DETAILS[name]) for name, frame in data.details()}
    found = _findings(data)
    near = _Near(data)
    template = environment(data.zone).get_template("run.html")
    page = partial(
        template.render,
        style=safe(style),
        policy=policy(style),
        zone=zone_text(data),
        meanings=STATUS_MEANINGS,
        clocks=CLOCK_MEANINGS,
    )
    for run in to_rows(runs):
        files, calls = (details.get(name, {}).get(run["run_id"]) for name in _DETAILS)
        html = page(
            run=run,
            files=files,
            every_call=calls,
            findings=found.get(run["run_id"], ()),
            lines=data.of_pages.lines.get(run["run_id"], ()) if data.of_pages else (),
            places=list(_places(data, run)),
            incidents=near.of_run(run),
        )
        yield f"{run['run_id']}.html", html


# What stands out in each run, by its id.
def _findings(data: ReportData) -> Mapping[str, list[dict[str, Any]]]:
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in to_rows(findings.none() if data.findings is None else data.findings):
        rule = findings.RULES[row["rule"]]
        by_run.setdefault(row["run_id"], []).append(row | {"title": rule.title, "why": rule.why})
    return by_run


def _places(data: ReportData, run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for place in data.of_pages.history.places(run) if data.of_pages else ():
        label, kind = _MEASURES[place.measure]
        yield place._asdict() | {"label": label, "kind": kind}


class _Near:
    """The incidents near to runs."""

    def __init__(self, data: ReportData) -> None:
        self._by_boot: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
        for row in to_rows(data.of_pages.near) if data.of_pages else ():
            self._by_boot.setdefault((row["host"], row["boot_id"]), []).append(row)

    def of_run(self, run: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give a table of those that hit a run, or came at its time on its machine."""
        rows = [
            row | {"which": "was hit" if hit else "came near"}
            for row in self._by_boot.get((run["host"], run["boot_id"]), ())
            if (hit := row["run_id"] == run["run_id"]) or _is_near(row["at"], run)
        ]
        return _content(_NEAR, rows) if rows else None


def _is_near(at: datetime | None, run: Mapping[str, Any]) -> bool:
    ends = [run[name] for name in ("started_at", "ended_at") if run[name] is not None]
    return at is not None and bool(ends) and min(ends) - NEAR <= at <= max(ends) + NEAR


# The table of each run that has such rows, by its id.
def _by_run(
    frame: pd.DataFrame, runs: pd.DataFrame, columns: Collection[Column]
) -> dict[str, dict[str, Any]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in to_rows(frame[frame["run_id"].isin(runs["run_id"])]):
        row["at_end"] = _AT_END[row.get("open_at_end")]
        rows.setdefault(row["run_id"], []).append(row)
    return {run: _content(columns, own) for run, own in rows.items()}


def _content(columns: Collection[Column], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"columns": columns, "rows": rows[:MOST_ROWS], "total": len(rows), "largest": {}}
