"""The pages of a report: the frames laid out for the templates in `reports/`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from logtrace import findings
from logtrace import hosts as machines
from logtrace.contents import ReportData, losses_by_place, reasons_of, totals_of
from logtrace.coverage import TRACED, to_frame
from logtrace.errors import ReportError
from logtrace.incident_list import by_fingerprint, by_module
from logtrace.layout import (
    STATUS_MEANINGS,
    Column,
    environment,
    policy,
    safe,
    table,
    with_pages,
    zone_text,
)
from logtrace.page_script import digest, libraries, own_script, text_of
from logtrace.payload import packed_payload
from logtrace.schema import HITS, empty_frame, to_rows

if TYPE_CHECKING:
    import pandas as pd

PAGE_BYTES = 2_000_000
"""What a page may weigh; runs are left to the other files before it weighs more."""

MOST_RUNS = 10_000
"""How many runs the page's table carries at most."""

_MOST_ROWS = (100, 50, 25, 10)  # of each table, from the most on until there is room for the data
_LEAST_ROOM = 400_000
_PARTS = ("over_time", "stands_out", "usage", "hosts", "incidents", "missing")  # templates
_ROOM_BESIDE_DATA = 100_000  # for what is not measured before the data is packed
_WIDTH = re.compile(r"(\d+)\s*(s|min|h|d|w)", re.IGNORECASE)
_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}

REASON_MEANINGS: Mapping[str, str] = {
    "overrun": "the kernel overwrote them before they were read",
    "vacuumed": "the journal removed them before they were read",
    "gap": "their numbers are missing from the sequence",
    "rebooted": "the machine was started anew while something was under way; how much was printed "
    "of it is not known",
    "truncated": "they were cut short",
    "emptied": "a file was emptied or removed before all of it was read; how much is not known",
    "rejected": "they look like trace lines and follow no known dialect",
}
"""What each reason for a loss means."""


_USAGE = (
    Column("runs", "Runs", bar=True),
    Column("incomplete", "Incomplete"),
    Column("read_bytes", "Read", "bytes", bar=True),
    Column("written_bytes", "Written", "bytes", bar=True),
    Column("open_calls", "Opens"),
    Column("close_calls", "Closes"),
    Column("read_calls", "Reads"),
    Column("write_calls", "Writes"),
    Column("lseek_calls", "Seeks"),
    Column("programs", "Programs"),
    Column("files", "Files"),
    Column("hosts", "Hosts"),
    Column("leaky", "Left open"),
    Column("p50_bytes", "Median bytes", "bytes"),
    Column("p95_bytes", "95 % below", "bytes"),
    Column("p50_took_us", "Median time", "us"),
    Column("p95_took_us", "95 % below", "us"),
    Column("busiest_hour", "Busiest hour", "hour"),
    Column("change", "Change", "change"),
    Column("last_seen", "Last run", "minute"),
)
_FINDINGS = (
    Column("title", "Finding", "word"),
    Column("evidence", "Evidence", "text"),
    Column("run_id", "Run", "run"),
    Column("owner", "Owner", "word"),
    Column("comm", "Program", "word"),
    Column("host", "Host", "word"),
    Column("at", "When", "time"),
)
_CAUSES = (
    Column("type", "Type", "word"),
    Column("module", "Module", "word"),
    Column("function", "Function", "word"),
    Column("incidents", "Incidents", bar=True),
    Column("hosts", "Hosts"),
    Column("runs", "Runs hit"),
    Column("first", "First one", "time"),
    Column("latest", "Last one", "time"),
    Column("fingerprint", "Fingerprint", "word"),
)
_FAULTY = (
    Column("module", "Module", "word"),
    Column("incidents", "Incidents", bar=True),
    Column("hosts", "Hosts"),
    Column("causes", "Causes"),
    Column("runs", "Runs hit"),
    Column("first", "First one", "time"),
    Column("latest", "Last one", "time"),
)
_VERSIONS = (
    Column("version", "Version", "word"),
    Column("srcversion", "Source version", "word"),
    Column("kernel", "Kernel", "word"),
    Column("hosts", "Hosts", bar=True),
    Column("last_sign", "Last sign", "minute"),
)
_INCIDENTS = (
    Column("at", "When", "time"),
    Column("type", "Type", "word"),
    Column("message", "Message", "text"),
    Column("module", "Module", "word"),
    Column("function", "Function", "word"),
    Column("run_id", "Run hit", "run"),
    Column("owner", "Owner", "word"),
    Column("comm", "Program", "word"),
    Column("host", "Host", "word"),
)
_TIMELINE = (
    Column("start", "From", "time"),
    Column("runs", "Runs"),
    Column("incomplete", "Incomplete"),
    Column("read_bytes", "Read", "bytes"),
    Column("written_bytes", "Written", "bytes"),
)
_REASONS = (
    Column("status", "Status", "text"),
    Column("note", "Why", "text"),
    Column("runs", "Runs"),
)
_COMPLETENESS = (
    Column("host", "Host", "word"),
    Column("boot_id", "Boot", "word"),
    Column("runs", "Runs"),
    Column("complete", "Complete"),
    Column("no_start", "No start"),
    Column("no_stats", "No stats"),
    Column("no_end", "No end"),
    Column("ambiguous", "Ambiguous"),
    Column("truncated", "Truncated"),
    Column("lost", "Records lost"),
    Column("rejected", "Lines rejected"),
    Column("cut", "Lines cut"),
    Column("traced", "Traced", "share"),
    Column("untraced", "Untraced", "share"),
)
_LOSSES = (
    Column("host", "Host", "text"),
    Column("boot_id", "Boot", "text"),
    Column("source", "Source", "text"),
    Column("reason", "Reason", "text"),
    Column("records", "Records"),
    Column("ranges", "Times"),
    Column("first_noticed", "First noticed", "time"),
    Column("last_noticed", "Last noticed", "time"),
)
_LINES = (
    Column("noticed_at", "Noticed", "time"),
    Column("host", "Host", "text"),
    Column("source", "Source", "text"),
    Column("first_seq", "Number or offset"),
    Column("reason", "Reason", "text"),
    Column("text", "Line", "text"),
)
_COVERAGE = (
    Column("start", "From", "time"),
    Column("end", "To", "time"),
    Column("host", "Host", "text"),
    Column("boot_id", "Boot", "text"),
    Column("state", "Programs were", "text"),
    Column("kernel", "Kernel", "text"),
    Column("version", "Source version", "text"),
)
_TRACER = (
    Column("at", "When", "time"),
    Column("host", "Host", "text"),
    Column("module", "Module", "text"),
    Column("action", "What happened", "text"),
    Column("kernel", "Kernel", "text"),
    Column("boot_id", "Boot", "text"),
)
# The column of the cells and of the table of runs that a grouping's key filters.
_FILTERS = {
    "owner": "owner",
    "student": "owner",
    "program": "comm",
    "host": "host",
    "file": "file",
    "status": "status",
}


@dataclass(frozen=True)
class Live:
    """What a page has more that is served, and follows its store.

    Parameters
    ----------
    script, style
        Of its notice of news.
    """

    script: str
    style: str

    @classmethod
    def following(cls, version: str, runs: int) -> Live:
        """Give that of a page which shows so many runs of a version of the store."""
        seen = json.dumps({"version": version, "runs": runs})
        return cls(f"const SEEN = {seen};\n{text_of('live.js')}", text_of("live.css"))


def index_page(data: ReportData, formats: Collection[str], live: Live | None = None) -> str:
    """Compose the page of the whole report, in one file that needs no other.

    Parameters
    ----------
    data
        The report's contents.
    formats
        The formats written beside the page, to which it refers for what it leaves out.
    live
        For a page that is served.

    Returns
    -------
    str
        HTML with its style, script and data inside.

    Raises
    ------
    ReportError
        If the timeline's width is not a width, or a library's script is not installed.
    """
    templates = environment(data.zone)
    shared = _facts(data, formats)
    carried_script, script = libraries(), own_script()
    for most in _MOST_ROWS:
        laid_out = shared | _sections(data, most)
        parts = {
            name: safe(templates.get_template(f"{name}.html").render(laid_out)) for name in _PARTS
        }
        room = PAGE_BYTES - _ROOM_BESIDE_DATA - sum(map(_size, (*parts.values(), *carried_script)))
        if room >= _LEAST_ROOM:
            break
    pages = len(with_pages(data))
    width = width_seconds(data.cube.width if data.cube else data.width)
    packed, carried = packed_payload(data, width, MOST_RUNS, room, pages)
    style = text_of("base.css") + text_of("index.css") + (live.style if live else "")
    allowed = [digest(script), carried_script.digest, *([digest(live.script)] if live else [])]
    return templates.get_template("index.html").render(
        shared,
        live_script=safe(live.script) if live else None,
        **parts,
        carried=carried,
        run_pages=min(pages, carried),
        packed=packed,
        libraries=carried_script.packed,
        style=safe(style),
        script=safe(script),
        policy=policy(style, *allowed) + ("; connect-src 'self'" if live else ""),
    )


def width_seconds(width: str) -> int:
    """Give the width of a bucket of the timeline in seconds.

    Parameters
    ----------
    width
        A number and one of s, min, h, d, w: ``15min``, ``1h``, ``1d``.

    Returns
    -------
    int
        Seconds.

    Raises
    ------
    ReportError
        If the text is no width.
    """
    match = _WIDTH.fullmatch(width)
    if match is None or int(match[1]) == 0:
        raise ReportError(
            f"{width!r} is no width for a timeline", "use a number and one of s, min, h, d, w"
        )
    return int(match[1]) * _SECONDS[match[2].lower()]


def _size(text: str) -> int:
    return len(text.encode(errors="backslashreplace"))


def _facts(data: ReportData, formats: Collection[str]) -> dict[str, Any]:
    tables = [name for name in ("csv", "json", "parquet") if name in formats]
    return {
        "totals": totals_of(data),
        "cube": data.cube,
        "lost": int(data.losses["records"].sum()),
        "uncounted": bool(data.losses["records"].isna().any()),
        "not_traced": _not_traced(data),
        "since": data.since,
        "until": data.until,
        "generated_at": data.generated_at,
        "zone": zone_text(data),
        "width": data.width,
        "all_in_tables": data.flows is not None or len(data.runs) == totals_of(data)["runs"],
        "tables": tables,
        "details": data.detailed(),
        "groupings": [_grouping(key) for key in data.usage],
        "lab": None if data.hosts is None else machines.summary(data.hosts),
    }


def _not_traced(data: ReportData) -> set[str]:
    return set() if data.coverage is None else {*data.coverage["state"]} - {TRACED}


def _sections(data: ReportData, most: int) -> dict[str, Any]:
    losses = data.losses
    lines = losses[losses["text"].notna()].sort_values("noticed_at", ascending=False)
    return {
        "hours": _hours(data),
        "timeline": table(data.timeline.sort_values("start", ascending=False), _TIMELINE),
        "usage": [_usage(key, frame, most) for key, frame in data.usage.items()],
        "rules": _rules(data),
        "findings": table(_findings(data), _FINDINGS, most) | {"total": _found(data)},
        "causes": table(_causes(data), _CAUSES, most),
        "faulty": table(by_module(_incidents(data)), _FAULTY, most),
        "clocks": _clocks(data),
        "versions": table(_versions(data), _VERSIONS, most),
        "incidents": table(_incidents(data), _INCIDENTS, most),
        "pages": set(with_pages(data)["run_id"]),
        "reasons": table(reasons_of(data), _REASONS, most),
        "status_meanings": STATUS_MEANINGS,
        "reason_meanings": REASON_MEANINGS,
        "loss_reasons": sorted(set(losses["reason"].dropna()) & set(REASON_MEANINGS)),
        "completeness": table(_completeness(data), _COMPLETENESS, most),
        "losses": table(losses_by_place(losses), _LOSSES, most),
        "lines": table(lines, _LINES, most),
        "coverage": table(_coverage(data), _COVERAGE, most),
        "tracer": table(data.tracer.sort_values("at", ascending=False), _TRACER, most),
    }


# How many runs began in each hour of the week, as rows of a weekday.
def _hours(data: ReportData) -> list[list[int]]:
    counts = [[0] * 24 for _ in range(7)]
    if data.cube is None:
        return counts
    for hour, runs in data.cube.hours(data.zone).items():
        counts[hour // 24][hour % 24] = runs
    return counts


# What each rule found, with its title and what it may mean.
def _rules(data: ReportData) -> list[dict[str, Any]]:
    rows = [] if data.stands_out is None else to_rows(data.stands_out)
    return [row | findings.RULES[row["rule"]]._asdict() for row in rows]


# Those of each rule that weigh most, of all rules in turn.
def _findings(data: ReportData) -> pd.DataFrame:
    found = findings.none() if data.findings is None else data.findings
    titles = {name: rule.title for name, rule in findings.RULES.items()}
    place = found.groupby("rule").cumcount()
    order = place.sort_values(kind="stable").index
    return found.assign(title=found["rule"].map(titles)).loc[order]


# How many findings there are, of which the frame may have only those that weigh most.
def _found(data: ReportData) -> int:
    counted = 0 if data.stands_out is None else int(data.stands_out["runs"].sum())
    return max(counted, 0 if data.findings is None else len(data.findings))


def _completeness(data: ReportData) -> pd.DataFrame:
    if data.completeness is None:
        return empty_frame(HITS)[["host", "boot_id"]]
    if data.hosts is None:
        return data.completeness
    # of many machines those come first of which something is missing
    frame = data.completeness
    whole = frame["runs"] == frame["complete"]
    for name in ("lost", "rejected", "cut"):
        whole &= (frame[name] == 0).fillna(value=False)
    return frame.loc[whole.sort_values(kind="stable").index]


def _incidents(data: ReportData) -> pd.DataFrame:
    return empty_frame(HITS) if data.incidents is None else data.incidents


def _causes(data: ReportData) -> pd.DataFrame:
    return by_fingerprint(_incidents(data))


def _versions(data: ReportData) -> pd.DataFrame:
    return empty_frame(HITS)[[]] if data.hosts is None else machines.versions(data.hosts)


# What is wrong with clocks.
def _clocks(data: ReportData) -> list[str]:
    found = set() if data.hosts is None else set(data.hosts["clock"].dropna())
    return [why for name, why in machines.CLOCKS.items() if name in found]


def _coverage(data: ReportData) -> pd.DataFrame:
    frame = to_frame([]) if data.coverage is None else data.coverage
    return frame.sort_values(["start", "host"], ascending=False)


def _usage(key: str, frame: pd.DataFrame, most: int) -> dict[str, Any]:
    names = key.split(",")
    columns = [Column(name, _label(name), _key_kind(frame[name])) for name in names]
    columns += [c for c in _USAGE if c.name in frame and c.name != f"{key}s"]
    dimensions = {name: _FILTERS.get(name, name) for name in names}
    filters = {name: _FILTERS[name] for name in names if name in _FILTERS}
    return _grouping(key) | {
        "table": table(frame, columns, most),
        "filters": filters,
        "dimensions": dimensions,
    }


def _key_kind(keys: pd.Series) -> str:
    return "minute" if keys.dtype.kind == "M" else "text"


def _grouping(key: str) -> dict[str, str]:
    return {"id": file_stem(key), "title": " and ".join(key.split(","))}


def file_stem(key: str) -> str:
    """Give the name that a grouping has in files and links: ``by-host-owner``."""
    return "by-" + re.sub(r"[^0-9A-Za-z_]+", "-", key)


def _label(key: str) -> str:
    return key.replace("_", " ").capitalize()
