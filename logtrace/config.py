"""The configuration: TOML files that set what is else given by options or built in.

::

    store = "/srv/lab"        # where commands read and write, without --store
    scheduler = "tcp://lab:8786"   # of --engine dask, without --scheduler

    [findings]                # see docs/findings.md
    small_bytes = 16

    [hosts]                   # see docs/lab/statistics.md
    silent_hours = 48

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
from typing import Any, TypeVar

from logtrace.errors import ConfigError
from logtrace.naming import nearest

FILE = "logtrace.toml"

_TEXTS = {"store": "/srv/lab", "ship.to": "s3://lab/logtrace", "scheduler": "tcp://lab:8786"}

_Rules = TypeVar("_Rules", "Thresholds", "HostRules")


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
class HostRules:
    """From where on a machine is silent, and its clock off; see `logtrace.hosts`.

    Parameters
    ----------
    silent_hours
        It is never called silent before so many hours.
    silent_factor
        Nor before it was quiet for so many times its longest quiet of the last four weeks.
    clock_seconds
        By how much times may contradict each other.
    """

    silent_hours: float = 24.0
    silent_factor: float = 1.5
    clock_seconds: float = 60.0


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
    findings
        Thresholds of findings.
    hosts
        Those of what is said of machines.
    ship
        Where it is shipped to.
    scheduler
        Address of the scheduler of a Dask cluster, or None.
    """

    store: str | None = None
    findings: Thresholds = field(default_factory=Thresholds)
    hosts: HostRules = field(default_factory=HostRules)
    ship: Shipping = field(default_factory=Shipping)
    scheduler: str | None = None


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
    return Config(
        _text(path, "store", data.get("store", config.store)),
        _numbers(path, "findings", data, config.findings),
        _numbers(path, "hosts", data, config.hosts),
        replace(config.ship, **_shipping(path, data)),
        _text(path, "scheduler", data.get("scheduler", config.scheduler)),
    )


def _text(path: Path, name: str, value: object) -> str | None:
    if not isinstance(value, str | None) or value == "":
        raise ConfigError(
            f"{path}: {name} is no text", f'write {name.split(".")[-1]} = "{_TEXTS[name]}"'
        )
    return value


def _table(path: Path, data: Mapping[str, Any], name: str, known: type[Any]) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} is no table", f"write [{name}] above its lines")
    _refuse_unknown(path, f"{name}.", table, known)
    return table


def _shipping(path: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    shipping = _table(path, data, "ship", Shipping)
    _text(path, "ship.to", shipping.get("to"))
    most = shipping.get("spool_bytes", 1)
    if not isinstance(most, int) or isinstance(most, bool) or not 0 < most < 2**63:
        raise ConfigError(
            f"{path}: ship.spool_bytes is {most!r}",
            "write a whole number above 0: spool_bytes = 1000000000",
        )
    return shipping


# What a table of numbers says goes over what was known before.
def _numbers(path: Path, name: str, data: Mapping[str, Any], before: _Rules) -> _Rules:
    table = _table(path, data, name, type(before))
    for each, value in table.items():
        _check_number(path, f"{name}.{each}", value, getattr(type(before)(), each))
    return replace(before, **table)


def _refuse_unknown(path: Path, prefix: str, table: Mapping[str, Any], known: type[Any]) -> None:
    names = [each.name for each in fields(known)]
    for name in table:
        if name not in names:
            near = nearest(name, names)
            remedy = f"did you mean {near}?" if near else f"it may have {', '.join(names)}"
            raise ConfigError(f"{path}: {prefix}{name} is not known", remedy)


def _check_number(path: Path, name: str, value: object, built_in: float) -> None:
    whole = isinstance(built_in, int)
    wanted = "a whole number" if whole else "a number"
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not 0 < value < 2**63:  # type: ignore[operator]
        raise ConfigError(
            f"{path}: {name} is {value!r}",
            f"write {wanted} above 0: {name.partition('.')[2]} = 10",
        )
