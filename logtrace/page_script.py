"""The scripts that a page carries: libraries, compressed, and the page's own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

from logtrace.cache import folder, make_once
from logtrace.errors import ReportError

_OWN = (
    "format.js",
    "unpack.js",
    "cube.js",
    "charts.js",
    "runs.js",
    "hosts.js",
    "usage.js",
    "main.js",
)
_TABLES, _CHARTS = "itables", "vl-convert-python"  # the packages that the libraries come in
_EXPORTS = "globalThis.vegaEmbed = vegaEmbed;"
_FORM = 1  # of what is kept; another number makes it anew


class Libraries(NamedTuple):
    """The libraries that a page carries, as one script.

    Parameters
    ----------
    packed
        The script, as `pack` gives it. It defines ``DataTable`` and ``vegaEmbed``.
    digest
        The script's, as `digest` gives it.
    """

    packed: str
    digest: str


def pack(text: str) -> str:
    """Compress text to stand in a page: the base64 of gzip, the same for the same text."""
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def digest(text: str) -> str:
    """Give the source expression by which a Content-Security-Policy allows a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def own_script() -> str:
    """Give the page's own script, which unpacks and uses the libraries."""
    parts = "".join(text_of(name) for name in _OWN)
    return f"(() => {{\n'use strict';\n{parts}}})();\n"


@cache
def libraries() -> Libraries:
    """Give the libraries; they take seconds to be put together, and are kept in the cache.

    Returns
    -------
    Libraries
        DataTables and Vega, of the versions that are installed.

    Raises
    ------
    ReportError
        If a library is not installed, or not in the form that the page needs.
    LogtraceError
        If the cache can't be written.
    """
    versions = "-".join(f"{name}-{_version(name)}" for name in (_TABLES, _CHARTS))
    kept = make_once(folder("page", f"{versions}-{_FORM}"), _make)
    return Libraries(*((kept / name).read_text() for name in Libraries._fields))


def text_of(name: str) -> str:
    """Give a file out of `reports/`."""
    return resources.files("logtrace.templates").joinpath(name).read_text(encoding="utf-8")


def _make(draft: Path) -> None:
    import vl_convert

    script = _tables_script() + f"(() => {{\n{vl_convert.javascript_bundle(_EXPORTS)}\n}})();\n"
    (draft / "packed").write_text(pack(script))
    (draft / "digest").write_text(digest(script))


# The file is found without importing the package, which would load a notebook's worth.
def _tables_script() -> str:
    try:
        path = metadata.distribution(_TABLES).locate_file("itables/html/dt_bundle.js")
        source = Path(str(path)).read_text(encoding="utf-8")
    except OSError as error:
        raise _missing(_TABLES, error) from error
    # a module that exports the table's class becomes a script that defines it
    exported = re.search(r"export\s*\{[^}]*?([\w$]+) as default[^}]*\};?", source)
    if exported is None:
        raise ReportError(
            "the installed itables has no DataTables in the form that the page needs",
            "install a version of itables that logtrace's metadata allows",
        )
    before, after = source[: exported.start()], source[exported.end() :]
    return f"(() => {{\n{before};globalThis.DataTable = {exported[1]};\n{after}\n}})();\n"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise _missing(name, error) from error


def _missing(name: str, error: Exception) -> ReportError:
    return ReportError(
        f"a library that the page carries is not to be found: {error}",
        f"install it again: pip install --force-reinstall {name}",
    )
