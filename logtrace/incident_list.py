"""Stored incidents, to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logtrace.engine import Engine, Filters

if TYPE_CHECKING:
    import pandas as pd


def incidents(
    engine: Engine, filters: Filters | None = None, incident_id: str | None = None
) -> pd.DataFrame:
    """Give incidents, newest first.

    Parameters
    ----------
    engine
        The store.
    filters
        Which incidents; what they have no column for is left out of account.
    incident_id
        The beginning of the id of those that are wanted.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.HITS``.
    """
    frame = engine.rows("hits", filters, order='"at" DESC NULLS LAST, first_seq DESC')
    if incident_id is not None:
        frame = frame[frame["incident_id"].str.startswith(incident_id)]
    return frame.reset_index(drop=True)


def by_fingerprint(frame: pd.DataFrame) -> pd.DataFrame:
    """Count incidents of one cause.

    Parameters
    ----------
    frame
        As `incidents` gives.

    Returns
    -------
    pandas.DataFrame
        ``fingerprint``, ``type``, ``module``, ``function``, ``incidents`` (count), ``runs`` (how
        many they hit), ``hosts`` (on how many machines they were), ``first`` and ``latest`` (UTC),
        most frequent first.
    """
    return _by(frame, ["fingerprint", "type", "module", "function"])


def by_module(frame: pd.DataFrame) -> pd.DataFrame:
    """Count incidents of one module.

    Parameters
    ----------
    frame
        As `incidents` gives.

    Returns
    -------
    pandas.DataFrame
        ``module`` (null for those of the kernel itself and where it is not told), ``incidents``,
        ``runs``, ``hosts``, ``first`` and ``latest`` as `by_fingerprint` has them, ``causes`` (how
        many fingerprints), most frequent first.
    """
    return _by(frame, ["module"], causes=("fingerprint", "nunique"))


def _by(frame: pd.DataFrame, keys: list[str], **more: tuple[str, str]) -> pd.DataFrame:
    groups = frame.groupby(keys, dropna=False, as_index=False)
    counted = groups.agg(
        incidents=("incident_id", "size"),
        runs=("run_id", "nunique"),
        hosts=("host", "nunique"),
        first=("at", "min"),
        latest=("at", "max"),
        **more,
    )
    return counted.sort_values("incidents", ascending=False, kind="stable", ignore_index=True)
