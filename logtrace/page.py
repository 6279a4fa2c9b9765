"""The pages of a report: the frames laid out for the templates in `reports/`."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from logtrace import display
from logtrace.contents import ReportData, losses_by_place, reasons_of, times_of, totals_of
from logtrace.coverage import to_frame
from logtrace.errors import ReportError
from logtrace.page_script import digest, libraries, own_script, text_of
from logtrace.payload import packed_payload

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

PAGE_BYTES = 2_000_000
"""What a page may weigh; runs are left to the other files before it weighs more."""

MOST_RUNS = 10_000
"""How many runs the page's table carries at most."""

MOST_RUN_PAGES = 10_000
"""How many runs, the newest, have a page of their own."""

_MOST_ROWS = 500  # of any other table on the page
_PARTS = ("over_time", "usage", "missing")  # templates
_ROOM_BESIDE_DATA = 100_000  # for what is not measured before the data is packed
_RUN_ID = re.compile(r"[0-9a-f]{1,64}")
_WIDTH = re.compile(r"(\d+)\s*(s|min|h|d|w)", re.IGNORECASE)
_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}

STATUS_MEANINGS: Mapping[str, str] = {
    "complete": "every line of the run was read",
    "no_start": "the line that starts the run was not seen",
    "no_stats": "the line with the bytes was not seen",
    "no_end": "the line that ends the run was not seen",
    "ambiguous": "lines of several runs could not be told apart",
    "truncated": "a line was cut short, or extra lines are missing",
}
"""What each of `logtrace.schema.STATUSES` says of a run."""

REASON_MEANINGS: Mapping[str, str] = {
    "overrun": "the kernel overwrote them before they were read",
    "vacuumed": "the journal removed them before they were read",
    "gap": "their numbers are missing from the sequence",
    "truncated": "they were cut short",
    "emptied": "a file was emptied or removed before all of it was read; how much is not known",
    "rejected": "they look like trace lines and follow no known dialect",
}
"""What each reason for a loss means."""


CLOCK_MEANINGS: Mapping[str, str] = {
    "received": "when the records were received",
    "boot": "the kernel's clock added to the time of the boot",
    "log": "as the log's lines say",
    "none": "the log has none",
}
"""How the wall-clock time of a run was found."""


@dataclass(frozen=True)
class Column:
    """A column of a table on the page.

    Parameters
    ----------
    name
        Its name in the frame.
    label
        Its heading.
    kind
        How its values are written: ``text``, ``count``, ``bytes``, ``ns``, ``time``, or
        ``minute`` for a time whose seconds do not matter.
    bar
        Whether a bar shows the value against the largest one.
    """

    name: str
    label: str
    kind: str = "count"
    bar: bool = False


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
    Column("last_seen", "Last run", "minute"),
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
    environment = _environment(data.zone)
    shared = _facts(data, formats)
    laid_out = shared | _sections(data)
    parts = {
        name: _safe(environment.get_template(f"{name}.html").render(laid_out)) for name in _PARTS
    }
    carried_script, script = libraries(), own_script()
    room = PAGE_BYTES - _ROOM_BESIDE_DATA - sum(map(_size, (*parts.values(), *carried_script)))
    pages = min(len(data.runs), MOST_RUN_PAGES)
    width = width_seconds(data.cube.width if data.cube else data.width)
    packed, carried = packed_payload(data, width, MOST_RUNS, room, pages)
    style = text_of("base.css") + text_of("index.css") + (live.style if live else "")
    allowed = [digest(script), carried_script.digest, *([digest(live.script)] if live else [])]
    return environment.get_template("index.html").render(
        shared,
        live_script=_safe(live.script) if live else None,
        **parts,
        carried=carried,
        run_pages=min(pages, carried),
        packed=packed,
        libraries=carried_script.packed,
        style=_safe(style),
        script=_safe(script),
        policy=_policy(style, *allowed) + ("; connect-src 'self'" if live else ""),
    )


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
    runs = _with_pages(data.runs)
    details = {name: _by_run(frame, runs, _DETAILS[name]) for name, frame in data.details()}
    template = _environment(data.zone).get_template("run.html")
    page = partial(
        template.render,
        style=_safe(style),
        policy=_policy(style),
        zone=_zone_text(data),
        meanings=STATUS_MEANINGS,
        clocks=CLOCK_MEANINGS,
    )
    for run in rows_of(runs):
        files, calls = (details.get(name, {}).get(run["run_id"]) for name in _DETAILS)
        yield f"{run['run_id']}.html", page(run=run, files=files, every_call=calls)


# The table of each run that has such rows, by its id.
def _by_run(
    frame: pd.DataFrame, runs: pd.DataFrame, columns: Collection[Column]
) -> dict[str, dict[str, Any]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(frame[frame["run_id"].isin(runs["run_id"])]):
        row["at_end"] = _AT_END[row.get("open_at_end")]
        rows.setdefault(row["run_id"], []).append(row)
    return {
        run: {"columns": columns, "rows": own[:_MOST_ROWS], "total": len(own), "largest": {}}
        for run, own in rows.items()
    }


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a frame's rows with plain values: null is None, times are aware.

    Parameters
    ----------
    frame
        Any table.

    Returns
    -------
    list of dict
        One a row, by column.
    """
    import pyarrow as pa

    rows: list[dict[str, Any]] = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    return rows


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


def _with_pages(runs: pd.DataFrame) -> pd.DataFrame:
    # The identity becomes the name of a file: nothing but what the store makes is let through.
    newest = runs.head(MOST_RUN_PAGES)
    return newest[newest["run_id"].str.fullmatch(_RUN_ID.pattern).fillna(False).astype(bool)]


def _size(text: str) -> int:
    return len(text.encode(errors="backslashreplace"))


def _facts(data: ReportData, formats: Collection[str]) -> dict[str, Any]:
    tables = [name for name in ("csv", "json", "parquet") if name in formats]
    return {
        "totals": totals_of(data),
        "cube": data.cube,
        "lost": int(data.losses["records"].sum()),
        "since": data.since,
        "until": data.until,
        "generated_at": data.generated_at,
        "zone": _zone_text(data),
        "width": data.width,
        "listed": len(data.runs),
        "tables": tables,
        "details": [name for name, _ in data.details()],
        "groupings": [_grouping(key) for key in data.usage],
    }


def _sections(data: ReportData) -> dict[str, Any]:
    losses = data.losses
    lines = losses[losses["text"].notna()].sort_values("noticed_at", ascending=False)
    return {
        "hours": _hours(data),
        "timeline": _table(data.timeline.sort_values("start", ascending=False), _TIMELINE),
        "usage": [_usage(key, frame) for key, frame in data.usage.items()],
        "reasons": _table(reasons_of(data), _REASONS),
        "status_meanings": STATUS_MEANINGS,
        "reason_meanings": REASON_MEANINGS,
        "loss_reasons": sorted(set(losses["reason"].dropna()) & set(REASON_MEANINGS)),
        "losses": _table(losses_by_place(losses), _LOSSES),
        "lines": _table(lines, _LINES),
        "coverage": _table(_coverage(data), _COVERAGE),
        "tracer": _table(data.tracer.sort_values("at", ascending=False), _TRACER),
    }


# How many runs began in each hour of the week, as rows of a weekday.
def _hours(data: ReportData) -> list[list[int]]:
    counts = [[0] * 24 for _ in range(7)]
    if data.cube is None:
        return counts
    for hour, runs in data.cube.hours(data.zone).items():
        counts[hour // 24][hour % 24] = runs
    return counts


def _coverage(data: ReportData) -> pd.DataFrame:
    frame = to_frame([]) if data.coverage is None else data.coverage
    return frame.sort_values(["start", "host"], ascending=False)


def _usage(key: str, frame: pd.DataFrame) -> dict[str, Any]:
    names = key.split(",")
    columns = [Column(name, _label(name), _key_kind(frame[name])) for name in names]
    columns += [c for c in _USAGE if c.name in frame and c.name != f"{key}s"]
    dimensions = {name: _FILTERS.get(name, name) for name in names}
    filters = {name: _FILTERS[name] for name in names if name in _FILTERS}
    table = _table(frame.sort_values("runs", ascending=False, kind="stable"), columns)
    return _grouping(key) | {
        "table": table,
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


def _table(frame: pd.DataFrame, columns: Collection[Column]) -> dict[str, Any]:
    shown = [column for column in columns if column.name in frame]
    largest = {c.name: int(frame[c.name].fillna(0).max()) for c in shown if c.bar and len(frame)}
    return {
        "columns": shown,
        "rows": rows_of(frame[[column.name for column in shown]].head(_MOST_ROWS)),
        "total": len(frame),
        "largest": largest,
    }


def _zone_text(data: ReportData) -> str:
    moments = [data.generated_at, data.since, data.until, *_ends(times_of(data.runs))]
    offsets = dict.fromkeys(_offset(m.astimezone(data.zone)) for m in moments if m is not None)
    return f"{data.zone} ({', '.join(offsets)})"


def _offset(local: datetime) -> str:
    name, offset = local.strftime("%Z"), f"UTC{display.offset_text(local)}"
    # Zones without letters of their own are named by their offset, and UTC needs no offset.
    if name == "UTC":
        return name
    return f"{name}, {offset}" if name.isalpha() else offset


def _ends(times: pd.Series) -> list[datetime]:
    known = times.dropna()
    return [known.min().to_pydatetime(), known.max().to_pydatetime()] if len(known) else []


def _policy(style: str, *scripts: str) -> str:
    allowed = " ".join(scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _environment(zone: tzinfo) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("logtrace.templates", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "count": display.count_text,
        "bytes": display.bytes_text,
        "ns": display.nanoseconds_text,
        "visible": lambda value: display.visible(str(value)),
        "moment": partial(display.time_text, zone=zone),
        "exact_moment": partial(display.exact_time_text, zone=zone),
        "utc": _utc,
        "epoch_us": _epoch_us,
        "took": display.duration_text,
        "clock": display.clock_text,
        "words": lambda text: text.replace("_", " "),
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    return environment


def _utc(moment: datetime) -> str:
    # HTML allows no more than three digits after the second.
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, moment.tzinfo)) // timedelta(microseconds=1)


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
