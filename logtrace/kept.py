"""Answers of files of runs, kept in the cache for the next report.

A file of a Delta table never changes, so what a query gives of it stays true for as long as the
store has the file. Of a large store each question is therefore asked of groups of files; what each
group gave is kept, and the next time only files that are new are asked. A question's answers are
one file of the cache, which is replaced as a whole. What can't be read is asked anew, what can't be
written is done without.

Where the counters of runs are totals, a run's row depends on others, and nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace import cache, local_time, schema, views
from logtrace.location import local_files
from logtrace.views import Files, InProcess, Lasting, Parts, Query

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_LEAST_BYTES = 32 << 20  # of files of runs: what is less is asked about as fast
_SETTLED_BYTES = 4 << 20  # a smaller file will be joined with others before long
_AT_REST_S = 600  # a file's age, until when its details may not be seen yet, as over NFS
_GROUPS = 8  # of a store that is asked for the first time
_MOST_GROUPS = 16  # that are found before small ones are joined
_MOST_SHARE = 0.5  # of the files' bytes: answers that take more are as slow to read
_MOST_BYTES = 512 << 20  # of all that is kept
_DIGEST_BYTES = 16
_DETAILS = ("files", "calls")

# The calendar of more runs says the same of these
_ONLY_GROWS = ("calendar",)

_EXTENT = Lasting(
    f"SELECT min({local_time.TIME}) AS first, max({local_time.TIME}) AS last, "
    f"count(*) > count({local_time.TIME}) AS undated FROM runs"
)


def open_parts(files: Files, zone: str, never_totals: Callable[[], Iterable[str]]) -> Parts:
    """Open a store in this process; of a large one, answers are kept.

    Parameters
    ----------
    files, zone, never_totals
        As of `logtrace.views.InProcess`.

    Returns
    -------
    Parts
        What can be asked.

    Raises
    ------
    StoreError
        If a file can't be read.
    QueryError
        If the zone is unknown.
    """
    files = {table: local_files(own) for table, own in files.items()}
    sizes = views.sizes_of(files["runs"])
    if sum(sizes.values()) <= _LEAST_BYTES:
        return InProcess(files, zone, never_totals)
    root = files["runs"][0].rpartition("/host=")[0]
    store = cache.folder("answers", _digest(root.encode()))
    never = tuple(never_totals())
    if _has_no_totals(store / "no-totals.json", root, files, never):
        return Kept(InProcess(files, zone, None), files, sizes, zone, root, store)
    whole = InProcess(files, zone, lambda: never)
    if whole.totals:
        return whole
    _write(store / "no-totals.json", json.dumps(_machines(root, files, never)).encode())
    return Kept(whole, files, sizes, zone, root, store)


# Totals are found from all that a machine logged, so that only machines with new files are looked
# at. Where there are any, nothing is noted: whoever comes next looks at all, as if for the first
# time.
def _has_no_totals(noted: Path, root: str, files: Files, never: tuple[str, ...]) -> bool:
    now = _machines(root, files, never)
    try:
        known = json.loads(_read(noted))
        changed = {name for name, own in now.items() if known.get(name) != own}
    except (OSError, ValueError, AttributeError):
        return False
    if len(changed) == len(now):
        return False
    if changed:
        some = {
            table: [file for file in own if _machine(file) in changed]
            for table, own in files.items()
        }
        if InProcess(some, "UTC", lambda: never).totals:
            noted.unlink(missing_ok=True)
            return False
    if now == known:
        _use(noted)
    else:
        _write(noted, json.dumps(now).encode())
    return True


# What totals are found from, by the machine.
def _machines(root: str, files: Files, never: tuple[str, ...]) -> dict[str, str]:
    said: defaultdict[str, list[str]] = defaultdict(list)
    for table in ("runs", "losses"):
        for file in sorted(files[table]):
            said[_machine(file)].append(file.removeprefix(root))
    own = [*_versions(), *sorted(never)]
    return {name: _digest(json.dumps([own, those]).encode()) for name, those in said.items()}


def _machine(file: str) -> str:
    return file.rpartition("/host=")[2].partition("/")[0]


def _versions() -> list[str]:
    from importlib.metadata import version  # takes long to import

    return [version("logtrace"), version("duckdb")]


class _Group(NamedTuple):
    runs: frozenset[str]
    details: frozenset[str]  # those files that may have details of these runs


_Answers = dict[_Group, "pa.Table"]


class Kept:
    """A store without totals in this process, of whose files answers are kept.

    Parameters
    ----------
    whole
        The same store.
    files
        Of each table, on this machine.
    sizes
        The bytes of each file of runs.
    zone
        The zone of days and hours.
    root
        Where the store is.
    folder
        Where its answers are kept.
    """

    several = True

    def __init__(
        self,
        whole: InProcess,
        files: Files,
        sizes: Mapping[str, int],
        zone: str,
        root: str,
        folder: Path,
    ) -> None:
        import pyarrow as pa

        # Arrow's other pools keep much of what they freed: of ten million runs some 60 MB
        pa.set_memory_pool(pa.system_memory_pool())
        self.database: duckdb.DuckDBPyConnection = whole.database
        self._whole = whole
        self._files = {table: frozenset(own) for table, own in files.items()}
        self._sizes = sizes
        limit = time.time() - _AT_REST_S
        self._young = frozenset(file for file in sizes if os.stat(file).st_mtime > limit)
        self._root = root
        self._folder = folder
        columns = {table: str(schema.TABLES[table]) for table in ("runs", *_DETAILS)}
        self._same = [zone, *_versions(), columns, *views.OF_RUNS]
        self._opened: dict[_Group, str] = {}

    def ask(self, query: Query) -> pa.Table:
        """Give the merged rows; of runs, from what is kept of them and what is new."""
        if query.lasting is None:
            return self._whole.ask(query)
        import pyarrow as pa

        parts = pa.concat_tables(self._parts(query, query.lasting))
        merged = views.run(self.database, query.merge, Query("", "", frames={"parts": parts}))
        del parts
        pa.default_memory_pool().release_unused()
        return merged

    def flow(self, query: Query, most: int) -> Iterator[pa.Table]:
        """Give the merged rows in tables."""
        return self._whole.flow(query, most)

    def interrupt(self) -> None:
        """End a query that is under way; from any thread."""
        self._whole.interrupt()

    def _parts(self, query: Query, lasting: Lasting) -> list[pa.Table]:
        within, across = self._by_range(lasting.since, lasting.until)
        parts: list[pa.Table] = []
        if within:
            parts += self._answers(lasting, query.frames, within).values()
        if across or not within:
            parts.append(self._ask(self._group(across, lasting), query))
        if lasting.rest is not None:
            parts.append(self._partial(query._replace(partial=lasting.rest)))
        return parts

    # The files whose runs are all in a range, and those of which some may be.
    def _by_range(
        self, since: datetime | None, until: datetime | None
    ) -> tuple[frozenset[str], frozenset[str]]:
        if since is None and until is None:
            return self._files["runs"], frozenset()
        within: set[str] = set()
        across: set[str] = set()
        for group, extent in self._answers(_EXTENT, {}, self._files["runs"]).items():
            ((first, last, undated),) = (tuple(row.values()) for row in extent.to_pylist())
            if first is None or (since and last < since) or (until and first >= until):
                continue
            whole = not (undated or (since and first < since) or (until and last >= until))
            (within if whole else across).update(group.runs)
        return frozenset(within), frozenset(across)

    # What groups of the files that are wanted give, from the cache where it is known.
    def _answers(
        self, lasting: Lasting, frames: Mapping[str, pa.Table], wanted: frozenset[str]
    ) -> _Answers:
        place, told = self._place(lasting), _said_by(frames)
        known = self._known(place, told)
        found = {group: rows for group, rows in known.items() if group.runs <= wanted}
        fresh = wanted.difference(*(group.runs for group in found))
        if not fresh:
            _use(place)
            return found
        for group in self._small(found, fresh):
            fresh |= group.runs
            del found[group]
        query = Query(lasting.partial, "", lasting.values, frames)
        for own in self._packed(fresh):
            group = self._group(own, lasting)
            found[group] = self._ask(group, query)
        lasting_ones = {
            group: rows
            for group, rows in found.items()
            if not (lasting.details and group.runs & self._young)
        }
        others = {group: rows for group, rows in known.items() if not group.runs & wanted}
        if (others | lasting_ones).keys() != known.keys():
            self._keep(place, told, others | lasting_ones)
        return found

    # Those that are asked again with what is new, or there would be ever more of them. All that are
    # no larger: so each file is asked again as often as it takes to multiply to all that there are.
    def _small(self, groups: Iterable[_Group], fresh: frozenset[str]) -> Iterator[_Group]:
        by_size = sorted(groups, key=lambda group: self._size(group.runs))
        size = self._size(fresh)
        for group in by_size if len(by_size) >= _MOST_GROUPS else ():
            own = self._size(group.runs)
            if own > size:
                return
            size += own
            yield group

    def _size(self, files: Iterable[str]) -> int:
        return sum(self._sizes[file] for file in files)

    def _packed(self, files: frozenset[str]) -> Iterator[frozenset[str]]:
        yield from self._packed_alike(files - self._young)
        yield from self._packed_alike(files & self._young)

    def _packed_alike(self, files: Iterable[str]) -> Iterator[frozenset[str]]:
        most = max(self._size(self._sizes) // _GROUPS, _SETTLED_BYTES)
        own: set[str] = set()
        size = 0
        # by machine: the details of a machine are looked through for each group of its runs
        for file in sorted(files, key=lambda file: (self._sizes[file] < _SETTLED_BYTES, file)):
            own.add(file)
            size += self._sizes[file]
            if size >= most:
                yield frozenset(own)
                own, size = set(), 0
        if own:
            yield frozenset(own)

    def _group(self, runs: frozenset[str], lasting: Lasting) -> _Group:
        if not lasting.details:
            return _Group(runs, frozenset())
        machines = set(map(_machine, runs))
        details = frozenset().union(*(self._files[table] for table in _DETAILS))
        return _Group(runs, frozenset(file for file in details if _machine(file) in machines))

    def _ask(self, group: _Group, query: Query) -> pa.Table:
        if group not in self._opened:
            name = f"group{len(self._opened):d}"
            details = {table: sorted(group.details & self._files[table]) for table in _DETAILS}
            views.open_some(self.database, name, {"runs": sorted(group.runs), **details})
            self._opened[group] = name
        with views.in_schema(self.database, self._opened[group]):
            return self._partial(query)

    def _partial(self, query: Query) -> pa.Table:
        self.database.execute("SET arrow_lossless_conversion = true")  # a sum has 128 bits
        try:
            return views.run(self.database, query.partial, query)
        finally:
            self.database.execute("RESET arrow_lossless_conversion")

    # What the answers depend on beside the files and what is joined.
    def _place(self, lasting: Lasting) -> Path:
        said = [*self._same, lasting.partial, *map(repr, lasting.values)]
        return self._folder / f"{_digest(json.dumps(said).encode())}.arrow"

    # No file is in two of the groups.
    def _known(self, place: Path, told: str) -> _Answers:
        import pyarrow as pa

        try:
            reader = pa.ipc.open_file(_read(place))
            said, groups = json.loads(reader.schema.metadata[b"groups"])
            kept: _Answers = {}
            for number, (runs, details) in enumerate(groups if said == told else []):
                group = _Group(self._there("runs", runs), self._there("details", details))
                if (len(group.runs), len(group.details)) == (len(runs), len(details)):
                    batch = reader.get_batch(number)
                    kept[group] = pa.Table.from_batches([batch]).replace_schema_metadata()
        except (OSError, ValueError, TypeError, LookupError):
            return {}
        return kept

    def _there(self, table: str, names: Iterable[str]) -> frozenset[str]:
        tables = _DETAILS if table == "details" else (table,)
        there = (f"{self._root}/{name}" for name in names)
        return frozenset(file for file in there if any(file in self._files[own] for own in tables))

    def _keep(self, place: Path, told: str, answers: _Answers) -> None:
        import pyarrow as pa

        if not answers or sum(rows.nbytes for rows in answers.values()) > _MOST_SHARE * self._size(
            self._sizes
        ):
            return
        groups = [[self._names(group.runs), self._names(group.details)] for group in answers]
        tables = list(answers.values())
        said = tables[0].schema.with_metadata({"groups": json.dumps([told, groups])})
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, said, options=options) as writer:
            for rows in tables:
                (batch,) = rows.combine_chunks().to_batches() or [_no_rows(rows)]
                writer.write_batch(batch.replace_schema_metadata(said.metadata))
        _write(place, sink.getvalue())

    def _names(self, files: Iterable[str]) -> list[str]:
        return sorted(file.removeprefix(f"{self._root}/") for file in files)


def _no_rows(table: pa.Table) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=table.schema)


# The answers of other frames are of no use any more.
def _said_by(frames: Mapping[str, pa.Table]) -> str:
    said = [
        (name, _digest(str(frame.to_pydict()).encode()))
        for name, frame in sorted(frames.items())
        if name not in _ONLY_GROWS
    ]
    return json.dumps(said)


def _digest(content: Any) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def _read(place: Path) -> bytes:
    content = place.read_bytes()
    if _digest(memoryview(content)[2 * _DIGEST_BYTES :]).encode() != content[: 2 * _DIGEST_BYTES]:
        raise ValueError("it is damaged")
    return content[2 * _DIGEST_BYTES :]


# What is used is not forgotten.
def _use(place: Path) -> None:
    with suppress(OSError):
        os.utime(place)


def _write(place: Path, content: Any) -> None:
    cache.keep(place, _digest(content).encode(), content)
    with suppress(OSError):
        _forget_oldest(place.parent.parent)


def _forget_oldest(folder: Path) -> None:
    kept = [(file.stat(), file) for file in folder.glob("*/*")]
    kept.sort(key=lambda each: each[0].st_mtime_ns, reverse=True)
    size = 0
    for status, file in kept:
        size += status.st_size
        if size > _MOST_BYTES:
            file.unlink(missing_ok=True)
