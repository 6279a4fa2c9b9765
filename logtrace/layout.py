"""What the pages of a report have in common: tables laid out for the templates in `reports/`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from logtrace import display
from logtrace.cache import folder as cache_folder
from logtrace.contents import ReportData, pages_of, times_of, totals_of
from logtrace.page_script import digest
from logtrace.schema import to_rows

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

MOST_ROWS = 500  # of any other table on the page
_RUN_ID = re.compile(r"[0-9a-f]{1,64}")

STATUS_MEANINGS: Mapping[str, str] = {
    "complete": "every line of the run was read",
    "no_start": "the line that starts the run was not seen",
    "no_stats": "the line with the bytes was not seen",
    "no_end": "the line that ends the run was not seen",
    "ambiguous": "lines of several runs could not be told apart",
    "truncated": "a line was cut short, or extra lines are missing",
}
"""What each of `logtrace.schema.STATUSES` says of a run."""


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
        How its values are written: ``text``, ``word`` (a short one), ``count``, ``bytes``, ``ns``,
        ``us``, ``hour`` of the day, ``share``, ``change`` (one with
        its sign), ``id`` (a number), ``run``
        (its id, a link to its page), ``time``, or ``minute`` for a time whose seconds do not
        matter.
    bar
        Whether a bar shows the value against the largest one.
    """

    name: str
    label: str
    kind: str = "count"
    bar: bool = False


def with_pages(data: ReportData) -> pd.DataFrame:
    """Give the runs of a report that have a page of their own: all, or of very many the newest."""
    newest = data.runs.head(pages_of(totals_of(data)["runs"]))
    # the identity becomes the name of a file: nothing but what the store makes is let through
    return newest[newest["run_id"].str.fullmatch(_RUN_ID.pattern).fillna(False).astype(bool)]


def table(
    frame: pd.DataFrame, columns: Collection[Column], most: int | None = None
) -> dict[str, Any]:
    """Lay out a table for the templates.

    Parameters
    ----------
    frame
        Its rows, in their order.
    columns
        Of which those are shown that the frame has.
    most
        How many rows at most; None for `MOST_ROWS`.

    Returns
    -------
    dict
        ``columns``, ``rows`` (dicts), ``total`` (how many rows there are),
        and ``largest``, by column, of those with bars.
    """
    shown = [column for column in columns if column.name in frame]
    largest = {c.name: int(frame[c.name].fillna(0).max()) for c in shown if c.bar and len(frame)}
    return {
        "columns": shown,
        "rows": to_rows(frame.head(MOST_ROWS if most is None else most)),
        "total": len(frame),
        "largest": largest,
    }


def zone_text(data: ReportData) -> str:
    """Name the zone of a report's times, with each offset that it has in them."""
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


def policy(style: str, *scripts: str) -> str:
    """Write the Content-Security-Policy of a page of one style and of scripts by their digests."""
    allowed = " ".join(scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def environment(zone: tzinfo) -> jinja2.Environment:
    """Give the templates, and the filters by which they write values in a zone."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("logtrace.templates", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        bytecode_cache=_compiled(),
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
        "wall_ms": lambda moment: _epoch_us(moment.astimezone(zone).replace(tzinfo=UTC)) // 1000,
        "took": display.duration_text,
        "clock": display.clock_text,
        "words": lambda text: text.replace("_", " "),
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    return environment


# To compile the templates takes a third of the time of a small report.
def _compiled() -> jinja2.BytecodeCache | None:
    import jinja2

    folder = cache_folder("templates")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # they are compiled each time, where nothing can be kept
    return jinja2.FileSystemBytecodeCache(str(folder))


def _utc(moment: datetime) -> str:
    # HTML allows no more than three digits after the second.
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, moment.tzinfo)) // timedelta(microseconds=1)


def safe(text: str) -> Any:
    """Mark a text as HTML, which is not escaped again."""
    from markupsafe import Markup

    return Markup(text)
