"""What the fuzzer checks of an input: the tests check it of each input in the corpus as well.

An input is a log behind a byte: its lower half says which form is forced, if any, its upper
half where the log is cut.
"""

from __future__ import annotations

import io
from pathlib import Path

from logtrace import bulk, importer, schema
from logtrace.errors import SourceError
from logtrace.machines import Machines
from logtrace.record import printable
from logtrace.source.logfile import begin_log, read_records

CORPUS = Path(__file__).parent / "corpus"
# Add others at the end only: the inputs in the corpus name a form by its place
FORCED = (None, "kmsg", "json", "syslog", "dmesg", "verbose", "export")
_OF_SEVERAL_LINES = ("lines", "report")


def check(data: bytes) -> None:
    """Read a log in both ways; fail if they differ, or if a row can't be stored or shown."""
    if not data:
        return
    form, part_bytes, log = taken_apart(data)
    try:
        expected = rows(log, form)
    except SourceError:
        return
    if bulk.can_read(begin_log(io.BytesIO(log), "log@0", None, form).form):
        assert rows(log, form, part_bytes) == expected, "read in bulk, its rows are others"


def taken_apart(data: bytes) -> tuple[str | None, int, bytes]:
    """Give the form that is forced, the bytes of a part, and the log."""
    cut, place = divmod(data[0], 16)
    return FORCED[place] if place < len(FORCED) else None, 1 + 16 * cut, data[1:]


def rows(data: bytes, form: str | None, part_bytes: int | None = None) -> list[list[dict]]:
    """Give the rows of runs, losses, files, calls and incidents; in bulk if parts are given."""
    stream = io.BytesIO(data)
    log = begin_log(stream, "log@0", None, form)
    if part_bytes:
        batches = bulk.read(stream, log, "lab", workers=1, part_bytes=part_bytes)
    else:
        batches = importer._read(read_records(stream, log), Machines("lab"), len(data))
    found_of_all = [each for batch in batches for each in batch.found.values()]
    tables = []
    for place, name in enumerate(("runs", "losses", "files", "calls", "incidents")):
        found = [
            row
            for each in found_of_all
            for row in schema.to_table(
                (each.runs, *each.rows[1:], each.incidents)[place], schema.TABLES[name]
            ).to_pylist()
        ]
        for row in found:
            assert_can_be_shown(row)
        tables.append(sorted(found, key=repr))
    return tables


def assert_can_be_shown(row: dict) -> None:
    """Fail if a text has a character that a terminal would obey."""
    for column, value in row.items():
        if isinstance(value, str):
            for line in value.split("\n") if column in _OF_SEVERAL_LINES else [value]:
                assert printable(line) == line, f"{column} can't be shown: {value!a}"
