"""What is usual for a program, and where a run stands among the others of its program."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace import quantiles
from logtrace.engine import RUNS, Engine, Filters, of_grouping

if TYPE_CHECKING:
    import pandas as pd

MEASURES: Mapping[str, str] = {
    "bytes": "coalesce(read_bytes::DOUBLE + written_bytes, read_bytes, written_bytes)",
    "calls": "(open_calls::DOUBLE + close_calls + read_calls + write_calls + lseek_calls)",
    "us": "CASE WHEN ended_us >= started_us THEN ended_us - started_us END",
}
"""What runs are compared by: bytes read and written, calls, and microseconds -> SQL."""

_USUAL = {"low": 5, "usual": 50, "high": 95}
_COMPLETE = Filters(status="complete")


class Place(NamedTuple):
    """Where a run stands among the complete runs of its program, itself included.

    Parameters
    ----------
    measure
        One of `MEASURES`.
    value
        The run's.
    median, p95
        The program's, within 0.8 %.
    less, more
        How many runs have less than this one, and more; those within 0.8 % count as equal.
    runs
        How many there are.
    """

    measure: str
    value: int
    median: int
    p95: int
    less: int
    more: int
    runs: int


@dataclass(frozen=True)
class History:
    """How the complete runs of programs are distributed.

    Parameters
    ----------
    buckets
        Measure -> program -> the smallest values of its buckets, ascending, and how many runs
        they have up to there.
    """

    buckets: Mapping[str, Mapping[str, tuple[list[int], list[int]]]]

    def places(self, run: Mapping[str, Any]) -> Iterator[Place]:
        """Say where a run stands, by each measure that is known of it.

        Parameters
        ----------
        run
            Its columns.

        Yields
        ------
        Place
            None for a program without complete runs.
        """
        for measure, value in _values(run).items():
            known = self.buckets[measure].get(run["comm"])
            if value is None or known is None:
                continue
            smallest, reached = known
            own = quantiles.bucket_of(value)
            below, upto = bisect_left(smallest, own), bisect_right(smallest, own)
            less = reached[below - 1] if below else 0
            more = reached[-1] - (reached[upto - 1] if upto else 0)
            median, p95 = (quantiles.quantile(*known, percent) for percent in (50, 95))
            yield Place(measure, value, median, p95, less, more, reached[-1])


def usual(history: History) -> pd.DataFrame:
    """Give what is usual for each program.

    Parameters
    ----------
    history
        Of programs.

    Returns
    -------
    pandas.DataFrame
        comm (``str``); usual_runs (``Int64``): how many runs it had; for each of `MEASURES`
        usual_bytes and so on, the median, and low_bytes and high_bytes, which one of twenty
        runs is below and one above (``Int64``, within 0.8 %).
    """
    import pandas as pd

    rows = [
        {"comm": program, "usual_runs": max(known[program][1][-1] for known in of_program)}
        | {
            f"{name}_{measure}": quantiles.quantile(*known[program], percent)
            if program in known
            else None
            for measure, known in history.buckets.items()
            for name, percent in _USUAL.items()
        }
        for program in sorted(set().union(*history.buckets.values()))
        if (of_program := [known for known in history.buckets.values() if program in known])
    ]
    names = ["comm", "usual_runs"]
    names += [f"{name}_{measure}" for measure in MEASURES for name in _USUAL]
    frame = pd.DataFrame(rows, columns=names)
    return frame.astype({name: "str" if name == "comm" else "Int64" for name in names})


def of_store(engine: Engine) -> History:
    """Look at all complete runs of each program in a store.

    Parameters
    ----------
    engine
        The store's engine.

    Returns
    -------
    History
        Of the programs that have complete runs.
    """
    found: dict[str, dict[str, tuple[list[int], list[int]]]] = {}
    ways = [
        {"comm": "comm", measure: quantiles.bucket(f"TRY_CAST({value} AS BIGINT)")}
        for measure, value in MEASURES.items()
    ]
    counts = engine.aggregate_each(ways, (RUNS,), _COMPLETE)
    for measure, way in zip(MEASURES, ways, strict=True):
        known = of_grouping(counts, ways, way).dropna(subset=measure).sort_values(measure)
        of_measure = found.setdefault(measure, {})
        for program, own in known.groupby("comm"):
            of_measure[str(program)] = (
                own[measure].tolist(),
                list(accumulate(own["runs"].tolist())),
            )
    return History(found)


def _values(run: Mapping[str, Any]) -> dict[str, int | None]:
    moved = [run["read_bytes"], run["written_bytes"]]
    calls = [run[f"{name}_calls"] for name in ("open", "close", "read", "write", "lseek")]
    started, ended = run["started_us"], run["ended_us"]
    took = None if started is None or ended is None or ended < started else ended - started
    known = [value for value in moved if value is not None]
    return {
        "bytes": sum(known) if known else None,
        "calls": None if None in calls else sum(calls),
        "us": took,
    }
