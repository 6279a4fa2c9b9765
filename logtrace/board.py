"""The report of the moment, made once for all who ask for it."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from logtrace import config
from logtrace.changes import Versions
from logtrace.contents import totals_of
from logtrace.engine import Engine, Filters
from logtrace.overview import gather, narrow_to_run
from logtrace.page import MOST_RUNS, Live, index_page
from logtrace.report import write_report
from logtrace.run_page import run_pages
from logtrace.when import utc_now

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from logtrace.contents import ReportData
    from logtrace.store import Store

_LOOK_APART_S = 0.5
_LOOK_AGAIN_S = 30.0  # at a bucket, as each look costs a request a machine
_SHARE = 5  # at most one fifth of the time goes into reports
_RUN_ID = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True)
class Snapshot:
    """The page of one state of the store.

    Parameters
    ----------
    version
        Differs from that of any other state.
    runs
        How many runs it has.
    page
        The page, UTF-8.
    """

    version: str
    runs: int
    page: bytes


class Board:
    """Make what a browser asks for; all methods are for one thread at a time, but `stop`.

    Parameters
    ----------
    open_engine
        Opens the store to be read.
    choose
        Gives which runs are reported, for words such as ``today`` anew each time.
    groupings
        What to total the runs by.
    zone
        The zone in which times are shown.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        choose: Callable[[], Filters],
        groupings: Sequence[Sequence[str]],
        zone: ZoneInfo,
    ) -> None:
        self._open = open_engine
        self._choose = choose
        self._groupings = groupings
        self._zone = zone
        self._versions: Versions | None = None
        self._store: Store | None = None
        self._snapshot: Snapshot | None = None
        self._look_at = 0.0
        self._make_at = 0.0
        self._engine: Engine | None = None
        self._tables: tuple[str, TemporaryDirectory[str]] | None = None

    def snapshot(self) -> Snapshot:
        """Give the report; it is made anew where the store has changed, but not all the time.

        Returns
        -------
        Snapshot
            Of the present, or of at most half a second or, but for the first one, four times as
            long ago as it took to make.

        Raises
        ------
        LogtraceError
            If the store can't be read.
        """
        now = time.monotonic()
        if self._snapshot and now < max(self._look_at, self._make_at):
            return self._snapshot
        version = self._version()
        if self._snapshot is None:
            self._snapshot = self._make(version)  # takes longer than any: libraries are loaded
        elif version != self._snapshot.version:
            self._snapshot = self._make(version)
            ended = time.monotonic()
            self._make_at = ended + (_SHARE - 1) * (ended - now)
        self._look_at = time.monotonic() + _LOOK_APART_S
        return self._snapshot

    def run_page(self, run_id: str) -> bytes | None:
        """Give the page of a run of the report's machines, owners, ..., whenever it was.

        Parameters
        ----------
        run_id
            All digits of it.

        Returns
        -------
        bytes or None
            UTF-8; None if there is no such run.
        """
        if not _RUN_ID.fullmatch(run_id):
            return None
        engine = self._opened()
        ever = replace(self._choose(), since=None, until=None)
        data = self._gather(engine, narrow_to_run(engine, ever, run_id), pages=True)
        pages = dict(run_pages(data))
        page = pages.get(f"{run_id}.html")
        return None if page is None else _encoded(page)

    def table(self, name: str) -> Path | None:
        """Give a table of the report as a file, which stays until the next state's are written.

        Parameters
        ----------
        name
            That of the file, as the page links to it.

        Returns
        -------
        pathlib.Path or None
            None if the report has no such table.
        """
        version = self._version()
        if self._tables is None or self._tables[0] != version:
            folder = TemporaryDirectory(prefix="logtrace-")
            self._clear_tables()
            self._tables = version, folder
            data = self._gather(self._opened(), self._choose())
            write_report(data, Path(folder.name), ["csv"])
            self._engine = None  # with it goes what it has sorted on the disk
        return next((p for p in Path(self._tables[1].name).iterdir() if p.name == name), None)

    def stop(self) -> None:
        """End a query that is under way; from any thread."""
        if self._engine is not None:
            self._engine.interrupt()

    def close(self) -> None:
        """Remove the files."""
        self._clear_tables()

    def _clear_tables(self) -> None:
        if self._tables:
            self._tables[1].cleanup()
            self._tables = None

    # With the day, as words such as `today` mean another then.
    def _version(self) -> str:
        if self._versions is None or self._store is None:
            self._store = self._opened().store
            self._versions = Versions(self._store.root)
        self._store.refresh(_LOOK_AGAIN_S)
        day = utc_now().astimezone(self._zone).date().isoformat()
        state = json.dumps([day, self._versions.look()])
        return hashlib.sha256(state.encode()).hexdigest()[:16]

    def _make(self, version: str) -> Snapshot:
        data = self._gather(self._opened(), self._choose())
        runs = totals_of(data)["runs"]
        live = Live.following(version, runs)
        return Snapshot(version, runs, _encoded(index_page(data, ["html", "csv"], live)))

    def _gather(self, engine: Engine, filters: Filters, pages: bool = False) -> ReportData:
        configured = config.load()
        return gather(
            engine,
            filters,
            self._groupings,
            zone=self._zone,
            now=utc_now(),
            most_runs=MOST_RUNS,
            pages=pages,
            thresholds=configured.findings,
            rules=configured.hosts,
        )

    def _opened(self) -> Engine:
        self._engine = self._open()
        return self._engine


def _encoded(page: str) -> bytes:
    return page.encode(errors="backslashreplace")
