"""A report written to a folder: the pages to look at and the tables behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from logtrace.contents import Flow, ReportData, losses_by_place, reasons_of
from logtrace.cube import hours_of_week
from logtrace.engine import OF_RUNS
from logtrace.errors import ReportError
from logtrace.export import (
    TABLE_FORMATS,
    read_csv,
    replace_file,
    write_batches,
    write_csv,
    write_table,
)
from logtrace.hosts import versions
from logtrace.incident_list import by_fingerprint, by_module

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "ReportData", "read_csv", "write_csv", "write_report", "write_table"]

FORMATS = ("html", *TABLE_FORMATS)
"""What `write_report` writes."""


def write_report(
    data: ReportData, out: Path, formats: Collection[str] = ("html", "csv")
) -> list[Path]:
    """Write a report into a folder, which is made if it is not there.

    Each file is replaced as a whole. The pages of runs that an earlier report wrote into the
    same folder stay, so that links to them go on working.

    Parameters
    ----------
    data
        The report's contents.
    out
        The folder.
    formats
        Any of `FORMATS`. ``html`` is ``index.html`` and ``runs/<run_id>.html``; the others
        are the tables ``runs``, ``by-<key>``, ``timeline``, ``hours``, ``reasons``, ``losses``,
        ``losses-by-place``, ``tracer``, ``coverage``, ``completeness``, ``findings``,
        ``incidents`` and ``causes``; ``hosts``, ``versions`` and
        ``incidents-by-module`` of more than one machine; and ``files`` and ``calls`` where they
        have rows, or had in an earlier report.

    Returns
    -------
    list of pathlib.Path
        The files written, ``index.html`` first.

    Raises
    ------
    ReportError
        If a format is not known, or the folder or a file in it can't be written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ReportError(
            f"unknown report format {unknown[0]!r}", f"use one of {', '.join(FORMATS)}"
        )
    _make_folder(out)
    written = []
    if "html" in formats:
        written += _write_pages(data, out, formats)
    for table_format in (name for name in TABLE_FORMATS if name in formats):
        for name, flow in _tables(data).items():
            path = out / f"{name}.{table_format}"
            if name in OF_RUNS and name not in data.detailed() and not path.exists():
                continue
            written.append(path)
            write_batches(flow(), path, table_format)
    return written


def _write_pages(data: ReportData, out: Path, formats: Collection[str]) -> list[Path]:
    from logtrace.page import index_page
    from logtrace.run_page import run_pages

    folder = out / "runs"
    _make_folder(folder)
    pages = []
    for name, html in run_pages(data):
        pages.append(folder / name)
        _write_if_new(pages[-1], html.encode(errors="backslashreplace"))
    # Last, so that no page ever links to one that is not there yet.
    index = out / "index.html"
    replace_file(index, index_page(data, formats).encode(errors="backslashreplace"))
    return [index, *pages]


def _write_if_new(path: Path, content: bytes) -> None:
    # A stored run seldom changes: a report that is kept fresh finds its page as it left it.
    try:
        same = path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        same = False
    if not same:
        replace_file(path, content)


# What flows is never held as a whole; all other tables are short, and are one batch each.
def _tables(data: ReportData) -> dict[str, Flow]:
    flows = {name: partial(iter, [frame]) for name, frame in _frames(data)}
    return flows | dict(data.flows or {})


def _frames(data: ReportData) -> Iterator[tuple[str, pd.DataFrame]]:
    from logtrace.page import file_stem
    from logtrace.schema import TABLES, empty_frame

    yield "runs", data.runs
    details = dict(data.details())
    for name in OF_RUNS:
        yield name, details[name] if name in details else empty_frame(TABLES[name])
    for key, frame in data.usage.items():
        yield file_stem(key), frame
    yield "timeline", data.timeline
    if data.cube is not None:
        yield "hours", hours_of_week(data.cube.hours(data.zone))
    yield "reasons", reasons_of(data)
    yield "losses", data.losses
    yield "losses-by-place", losses_by_place(data.losses)
    yield "tracer", data.tracer
    for name in ("coverage", "completeness", "findings", "incidents"):
        if (frame := getattr(data, name)) is not None:
            yield name, frame
    if data.incidents is not None:
        yield "causes", by_fingerprint(data.incidents)
    if data.hosts is not None:
        yield "hosts", data.hosts
        yield "versions", versions(data.hosts)
        if data.incidents is not None:
            yield "incidents-by-module", by_module(data.incidents)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"{path}: the folder can't be made: {error.strerror or error}",
            "choose a folder that you may write to with --out",
        ) from error
