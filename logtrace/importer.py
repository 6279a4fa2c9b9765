"""Finished logs -> store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path

from logtrace.errors import SourceError
from logtrace.incidents import IncidentAssembler
from logtrace.record import Loss, Record, printable
from logtrace.runs import Row, Rows, RunAssembler
from logtrace.source.forms import Dating
from logtrace.source.journal import is_journal, read_journal
from logtrace.source.logfile import digest_log, open_log, read_log
from logtrace.store import HostTables, Position

_BATCH_RECORDS = 20_000
_END_OF_JOURNAL = 1 << 62  # behind any entry's number, which is none of the file's offsets


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Parameters
    ----------
    path
        The log.
    records
        How many records it has.
    runs
        How many runs were stored.
    losses
        How many lines were truncated or not understood.
    already_stored
        Whether a log with this content had been imported before; then nothing was done.
    assumed
        What its stamps lack and was assumed: ``"zone"``, and the years.
    """

    path: Path
    records: int
    runs: int
    losses: int
    already_stored: bool
    assumed: tuple[str, ...] = ()


def find_logs(paths: Iterable[Path]) -> list[Path]:
    """List the files that are meant by files and folders.

    Parameters
    ----------
    paths
        Files, folders (all files below them but hidden ones), or ``-`` for standard input.

    Returns
    -------
    list of pathlib.Path
        Files, those of a folder sorted by name.

    Raises
    ------
    SourceError
        If a path does not exist or a folder has no file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if str(path) != "-" and not path.exists():
                raise SourceError(f"{path}: no such file or folder")
            found.append(path)
            continue
        files = sorted(item for item in path.rglob("*") if _is_log(item, path))
        if not files:
            raise SourceError(f"{path}: no file in this folder")
        found += files
    return found


def _is_log(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.is_file()


def import_log(
    tables: HostTables,
    path: Path,
    host: str,
    boot_id: str | None = None,
    *,
    form: str | None = None,
    zone: tzinfo = UTC,
    year: int | None = None,
) -> Imported:
    """Store the runs of a finished log, once however often it is imported.

    Parameters
    ----------
    tables
        The tables of `host`.
    path
        A log in one of ``forms.FORMS`` or without stamps, or a file of systemd's journal;
        ``-`` is standard input.
    host
        Name of the machine whose log it is.
    boot_id
        The boot it is from, where known.
    form
        Its form; without it, it is recognised.
    zone
        The zone of stamps without one.
    year
        The year of stamps without one; without it, the latest in which a stamp is not behind the
        time when the file was written.

    Returns
    -------
    Imported
        What was found.

    Raises
    ------
    SourceError
        If the log can't be read.
    StoreError
        If the store can't be written.
    """
    journal = is_journal(path)
    with path.open("rb") if journal else open_log(path) as stream:
        digest = digest_log(stream)
        size = _END_OF_JOURNAL if journal else stream.seek(0, os.SEEK_END)
        stream.seek(0)
        source = f"log:{digest}"
        stored = tables.position(source) or Position(-1, -1)
        if stored.seen >= size:
            return Imported(path, 0, 0, 0, already_stored=True)
        records = runs = losses = 0
        dating = Dating(zone, _written(path), year)
        assembler = RunAssembler(host, stored.seen)
        reports = IncidentAssembler(host, stored.seen)
        name = "stdin" if str(path) == "-" else printable(str(path.resolve()))
        text = read_log(stream, f"{name}@{digest[:12]}", boot_id, form, dating)
        for batch in _batches(read_journal(path) if journal else text):
            rows = assembler.feed(batch)
            _append(tables, source, _number(batch[-1]), stored, rows, reports.feed(batch))
            records, runs, losses = (
                records + len(batch),
                runs + len(rows.runs),
                losses + len(rows.losses),
            )
        rows = assembler.finish()
        _append(tables, source, size, stored, rows, reports.finish())
    return Imported(
        path,
        records,
        runs + len(rows.runs),
        losses + len(rows.losses),
        already_stored=False,
        assumed=tuple(sorted(dating.assumed)),
    )


# When the last line of a log was written, as far as that can be known.
def _written(path: Path) -> datetime:
    if str(path) == "-":
        return datetime.now(UTC)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


# Reading begins anew after a broken import; what it had stored stays as it is.
def _append(
    tables: HostTables,
    source: str,
    seen: int,
    stored: Position,
    rows: Rows,
    incidents: list[Row],
) -> None:
    if seen > stored.seen:
        tables.append(source, Position(seen, seen), **rows._asdict(), incidents=incidents)


def _number(item: Record | Loss) -> int:
    return item.last_seq if isinstance(item, Loss) else item.seq


def _batches(records: Iterator[Record] | Iterator[Record | Loss]) -> Iterator[list[Record | Loss]]:
    while batch := list(islice(records, _BATCH_RECORDS)):
        yield batch
