"""The configuration: TOML files that set what is else given by options or built in.

::

    store = "/srv/lab"        # where commands read and write, without --store
    scheduler = "tcp://lab:8786"   # of --engine dask, without --scheduler

    [findings]                # see docs/findings.md
    small_bytes = 16

    [ship]                    # see docs/lab/shipping.md
    to = "s3://lab/logtrace"
    spool_bytes = 1000000000
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from logtrace.errors import ConfigError
from logtrace.naming import nearest

FILE = "logtrace.toml"

_TEXTS = {"store": "/srv/lab", "scheduler": "tcp://lab:8786"}


@dataclass(frozen=True)
class Thresholds:
    """From where on something is a finding; see `logtrace.findings.RULES`.

    Parameters
    ----------
    left_open
        Descriptors that a run left open.
    small_calls, small_bytes
        Reads, or writes, of a run, and of at most how many bytes on average.
    seeks, seeks_per_call
        Calls of lseek, and how many of them for each read or write.
    unused_files
        Files that were opened and neither read nor written.
    empty_reads
        Reads that gave nothing, beside one for each file that was opened.
    rewritten_files
        Files that were opened several times and written.
    failed_calls, failed_share
        Calls that failed, and their share of all, from 0 to 1.
    outlier_factor, outlier_runs
        How many times the usual bytes, calls or time of its program, or what part of it, and
        among at least how many runs.
    """

    left_open: int = 1
    small_calls: int = 100
    small_bytes: float = 16.0
    seeks: int = 100
    seeks_per_call: float = 2.0
    unused_files: int = 1
    empty_reads: int = 10
    rewritten_files: int = 1
    failed_calls: int = 10
    failed_share: float = 0.1
    outlier_factor: float = 10.0
    outlier_runs: int = 20


@dataclass(frozen=True)
class Shipping:
    """Where the host's own store is shipped to.

    Parameters
    ----------
    to
        URL of the lab's store, or None.
    spool_bytes
        How much the rows of the host's own store may take, as files; None for any amount.
    """

    to: str | None = None
    spool_bytes: int | None = None


@dataclass(frozen=True)
class Config:
    """What the files say.

    Parameters
    ----------
    store
        URL of the store, or None.
    scheduler
        Address of the scheduler of a Dask cluster, or None.
    findings
        Thresholds of findings.
    ship
        Where it is shipped to.
    """

    store: str | None = None
    scheduler: str | None = None
    findings: Thresholds = field(default_factory=Thresholds)
    ship: Shipping = field(default_factory=Shipping)


def places(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """List the files that are read, where they exist; what a later one says holds.

    Parameters
    ----------
    environ
        The environment: ``$LOGTRACE_CONFIG`` names the last one, which has to exist;
        ``$XDG_CONFIG_HOME`` is ``~/.config`` by default.

    Returns
    -------
    list of pathlib.Path
        Absolute or as named.
    """
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    found = [Path("/etc/logtrace") / FILE, Path(home) / "logtrace" / FILE]
    found = [path for path in found if path.is_file()]
    if named := environ.get("LOGTRACE_CONFIG"):
        found.append(Path(named))
    return found


def load(paths: Iterable[Path] | None = None) -> Config:
    """Read the configuration.

    Parameters
    ----------
    paths
        Its files; by default `places`.

    Returns
    -------
    Config
        With what is built in where no file says anything.

    Raises
    ------
    ConfigError
        If a file can't be read, or something in it is not known or makes no sense.
    """
    config = Config()
    for path in places() if paths is None else paths:
        config = _with_file(config, path)
    return config


def _with_file(config: Config, path: Path) -> Config:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "see $LOGTRACE_CONFIG") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: no TOML: {error}", 'write lines such as store = "..."'
        ) from None
    _refuse_unknown(path, "", data, Config)
    texts = {
        name: _text(path, name, data[name], example)
        for name, example in _TEXTS.items()
        if name in data
    }
    return replace(
        config,
        **texts,
        findings=replace(config.findings, **_findings(path, data)),
        ship=replace(config.ship, **_shipping(path, data)),
    )


def _text(path: Path, name: str, text: object, example: str) -> str:
    if not isinstance(text, str) or not text:
        raise ConfigError(
            f"{path}: {name} is no text", f'write {name.split(".")[-1]} = "{example}"'
        )
    return text


def _table(path: Path, data: Mapping[str, Any], name: str, known: type[Any]) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} is no table", f"write [{name}] above its lines")
    _refuse_unknown(path, f"{name}.", table, known)
    return table


def _findings(path: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    findings = _table(path, data, "findings", Thresholds)
    for name, value in findings.items():
        _check_threshold(path, name, value)
    return findings


def _shipping(path: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    shipping = _table(path, data, "ship", Shipping)
    if "to" in shipping:
        _text(path, "ship.to", shipping["to"], _TEXTS["store"])
    most = shipping.get("spool_bytes", 1)
    if not isinstance(most, int) or isinstance(most, bool) or not 0 < most < 2**63:
        raise ConfigError(
            f"{path}: ship.spool_bytes is {most!r}",
            "write a whole number above 0: spool_bytes = 1000000000",
        )
    return shipping


def _refuse_unknown(path: Path, prefix: str, table: Mapping[str, Any], known: type[Any]) -> None:
    names = [each.name for each in fields(known)]
    for name in table:
        if name not in names:
            near = nearest(name, names)
            remedy = f"did you mean {near}?" if near else f"it may have {', '.join(names)}"
            raise ConfigError(f"{path}: {prefix}{name} is not known", remedy)


def _check_threshold(path: Path, name: str, value: object) -> None:
    whole = isinstance(getattr(Thresholds(), name), int)
    wanted = "a whole number" if whole else "a number"
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not 0 < value < 2**63:  # type: ignore[operator]
        raise ConfigError(
            f"{path}: findings.{name} is {value!r}", f"write {wanted} above 0: {name} = 10"
        )
