"""Fuzz the way of a log's bytes to rows with atheris.

python tests/fuzz/import_log.py [FOLDER...] [-max_total_time=SECONDS ...]

The first byte says which form is forced, if any, and where the log is cut.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"

with atheris.instrument_imports(include=["logtrace"]):
    from logtrace import bulk, importer, schema
    from logtrace.errors import SourceError
    from logtrace.machines import Machines
    from logtrace.record import printable
    from logtrace.source.forms import FORMS
    from logtrace.source.logfile import begin_log, read_records

FORCED = (None, *FORMS)


def check(data: bytes) -> None:
    """Read a log in both ways; fail if they differ, or if a row can't be stored or shown."""
    if not data:
        return
    form = FORCED[data[0] % len(FORCED)]
    size = 1 + 7 * (data[0] // len(FORCED))
    try:
        expected = rows(data[1:], form)
    except SourceError:
        return
    if bulk.can_read(begin_log(io.BytesIO(data[1:]), "log@0").form):
        assert rows(data[1:], form, part_bytes=size) == expected


def rows(data: bytes, form: str | None, **options: int) -> list[list[dict]]:
    """Give the rows of runs, losses, files, calls and incidents."""
    stream = io.BytesIO(data)
    log = begin_log(stream, "log@0", None, form)
    if options and bulk.can_read(log.form):
        batches = bulk.read(stream, log, "lab", workers=1, **options)
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
        shown = [value for row in found for key, value in row.items() if key != "report"]
        assert all(printable(text) == text for text in shown if isinstance(text, str))
        tables.append(sorted(found, key=repr))
    return tables


def main() -> None:
    """Run the fuzzer; new inputs go to the first folder named, or nowhere."""
    atheris.Setup([*sys.argv, str(CORPUS)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
