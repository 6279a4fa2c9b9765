"""What stands out in single runs: each finding has its rule, its evidence and its weight."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from logtrace.config import Thresholds
from logtrace.engine import Engine, Filters, Measure
from logtrace.history import MEASURES, History, of_store, usual

if TYPE_CHECKING:
    import pandas as pd


class Rule(NamedTuple):
    """What makes a run stand out.

    Parameters
    ----------
    title
        Of such findings, in a few words.
    why
        What it may mean.
    condition
        SQL over the rows of `Engine.select`, with thresholds as ``{name}``.
    evidence
        SQL of a text that says what was counted.
    weight
        SQL of a number: the larger, the more it stands out.
    """

    title: str
    why: str
    condition: str
    evidence: str
    weight: str


def _number(sql: str) -> str:
    return f"format('{{:,}}', ({sql})::HUGEINT)"


def _mean(sql: str) -> str:
    return f"format('{{:.1f}}', ({sql})::DOUBLE)"


def _named(count: str, paths: str) -> str:
    more = f"CASE WHEN {count} > len({paths}) THEN ', …' ELSE '' END"
    return f"coalesce(': ' || array_to_string({paths}, ', ') || {more}, '')"


def _small(calls: str, size: str, verb: str) -> tuple[str, str, str]:
    return (
        f"{calls} >= {{small_calls}} AND {size} >= {calls} AND {size} <= {{small_bytes}} * {calls}",
        f"{_number(calls)} || ' {verb}s of ' || {_mean(f'{size} / {calls}')} "
        "|| ' bytes on average'",
        calls,
    )


_TRANSFERS = "(coalesce(read_calls, 0) + coalesce(write_calls, 0))"
_GAVE_NOTHING = "read_calls - coalesce(failed_reads, 0) - read_bytes"
_ENDED = "status = 'complete'"

_SHOWN = {"bytes": " bytes", "calls": " calls", "us": " µs"}


def _ratio(name: str) -> str:
    return f"(greatest({MEASURES[name]}, 1) / greatest(usual_{name}, 1))"


# How many times more or less than usual; 1 for what one in twenty runs exceeds.
def _off(name: str) -> str:
    rare = f"{MEASURES[name]} NOT BETWEEN low_{name} AND high_{name}"
    return f"CASE WHEN {rare} THEN greatest({_ratio(name)}, 1 / {_ratio(name)}) ELSE 1 END"


_FARTHEST = f"greatest({', '.join(map(_off, MEASURES))})"
_OUTLIER = " ".join(
    f"WHEN {_off(name)} = {_FARTHEST} THEN {_number(MEASURES[name])} || '{_SHOWN[name]}, usually "
    f"about ' || {_number(f'usual_{name}')}"
    for name in MEASURES
)

RULES: Mapping[str, Rule] = {
    "left_open": Rule(
        "Descriptors left open",
        "What is not closed stays open until the process ends; a program that runs for long comes "
        "to its limit of open files.",
        "left_open >= {left_open}",
        "CASE WHEN detail THEN "
        + _number("left_open")
        + " || ' left open' || "
        + _named("unclosed", "unclosed_paths")
        + " ELSE 'opened ' || "
        + _number("open_calls")
        + " || ', closed ' || "
        + _number("close_calls")
        + " || CASE WHEN failed_opens > 0 THEN ', failed to open ' || "
        + _number("failed_opens")
        + " ELSE '' END END",
        "left_open",
    ),
    "small_reads": Rule(
        "Reads of a few bytes",
        "Each call costs as much as the copying of hundreds of bytes: read into a buffer.",
        *_small("read_calls", "read_bytes", "read"),
    ),
    "small_writes": Rule(
        "Writes of a few bytes",
        "Each call costs as much as the copying of hundreds of bytes: write from a buffer.",
        *_small("write_calls", "written_bytes", "write"),
    ),
    "seek_storm": Rule(
        "More seeks than reads and writes",
        "pread and pwrite take the place with them, and a buffer saves most of them.",
        f"lseek_calls >= {{seeks}} AND lseek_calls >= {{seeks_per_call}} * {_TRANSFERS}",
        f"{_number('lseek_calls')} || ' seeks for ' || {_number(_TRANSFERS)} "
        "|| ' reads and writes'",
        "lseek_calls",
    ),
    "never_used": Rule(
        "Files opened and never read or written",
        "The program may have opened the wrong file, or given up behind it. What is mapped into "
        "memory is not counted as read.",
        "CASE WHEN mapped THEN false WHEN detail THEN unused >= {unused_files} "
        f"ELSE {_ENDED} AND open_calls >= {{unused_files}} AND read_calls + write_calls = 0 END",
        "CASE WHEN detail THEN "
        + _number("unused")
        + " || ' opened only' || "
        + _named("unused", "unused_paths")
        + " ELSE 'opened ' || "
        + _number("open_calls")
        + " || ', read and wrote nothing' END",
        "CASE WHEN detail THEN unused ELSE open_calls END",
    ),
    "empty_reads": Rule(
        "Reads past the end",
        "A read that gives nothing is at the end of its file, where one is enough.",
        f"{_GAVE_NOTHING} - open_calls >= {{empty_reads}}",
        f"'at least ' || {_number(_GAVE_NOTHING)} || ' of ' || {_number('read_calls')} "
        "|| ' reads gave nothing'",
        _GAVE_NOTHING,
    ),
    "rewritten": Rule(
        "Files opened and written again",
        "To open a file for each write costs more than the write, and what is half written may "
        "be seen by others.",
        "rewritten >= {rewritten_files}",
        _number("rewritten")
        + " || ' opened more than once' || "
        + _named("rewritten", "rewritten_paths"),
        "rewritten",
    ),
    "failed_calls": Rule(
        "Calls that failed",
        "Errors that are looked for, as those of files that may be missing, are harmless; others "
        "are not.",
        "failed_calls >= {failed_calls} AND failed_calls >= {failed_share} * every_call",
        f"{_number('failed_calls')} || ' of ' || {_number('every_call')} || ' calls failed, ' || "
        f"{_number('failing_errors')} || ' of ' || {_number('failing_calls')} || ' of ' "
        "|| failing_call",
        "failed_calls",
    ),
    "never_ended": Rule(
        "Runs that never ended",
        "The process or the machine ended at once, or the trace was never ended.",
        "status = 'no_end'",
        "coalesce(note, 'the End line is missing')",
        "1",
    ),
    "outlier": Rule(
        "Unlike the program's other runs",
        "The same program did much more or less before: other input, another version, a fault.",
        f"{_ENDED} AND usual_runs >= {{outlier_runs}} AND {_FARTHEST} >= {{outlier_factor}}",
        f"CASE {_OUTLIER} END || ' in ' || {_number('usual_runs')} || ' runs'",
        _FARTHEST,
    ),
}
"""The rules, the most important first: name -> rule."""

_AMONG_OTHERS = ("outlier",)  # what is usual tells it
_ALONE = tuple(name for name in RULES if name not in _AMONG_OTHERS)

_COLUMNS = {name: name for name in ("run_id", "host", "owner", "comm", "pid")} | {"at": '"at"'}


def of_runs(
    engine: Engine,
    filters: Filters | None = None,
    thresholds: Thresholds | None = None,
    history: History | None = None,
    among: str = "facts",
    rules: Collection[str] = RULES,
) -> pd.DataFrame:
    """Find what stands out in runs.

    Parameters
    ----------
    engine
        The store's engine.
    filters
        Which runs.
    thresholds
        From where on something is a finding.
    history
        What the programs of the store did, if it was looked up before.
    among
        Which runs were set aside to be looked at; default: all.
    rules
        Names out of `RULES`: by which rules, such as those by which `survey` found any.

    Returns
    -------
    pandas.DataFrame
        rule (``str``, a name out of `RULES`), run_id, host, owner, comm (``str``), pid
        (``Int64``), at (``datetime64[us, UTC]``: when the run stands), evidence (``str``), weight
        (``Float64``); in the order of `RULES`, those of most weight first.
    """
    import pandas as pd

    asked = _of_each_rule(engine, thresholds, history, rules)
    found = [engine.select(filters=filters, among=among, **each) for each in asked]
    return pd.concat(found, ignore_index=True) if found else none()


def in_batches(
    engine: Engine,
    filters: Filters | None = None,
    thresholds: Thresholds | None = None,
    history: History | None = None,
) -> Iterator[pd.DataFrame]:
    """Find what stands out in runs, however many they are, without holding all of it.

    Parameters
    ----------
    engine, filters, thresholds, history
        As of `of_runs`.

    Yields
    ------
    pandas.DataFrame
        The next rows of what `of_runs` gives, or none, as of `Engine.select_in_batches`.
    """
    for each in _of_each_rule(engine, thresholds, history):
        yield from engine.select_in_batches(filters=filters, **each)


# What is asked of the engine, those of most weight first.
def _of_each_rule(
    engine: Engine,
    thresholds: Thresholds | None,
    history: History | None,
    rules: Collection[str] = RULES,
) -> Iterator[dict[str, Any]]:
    thresholds = thresholds or Thresholds()
    beside = {"comm": usual(history or of_store(engine))}
    for name, rule in RULES.items():
        if name not in rules:
            continue
        columns = {"rule": f"'{name}'"} | _COLUMNS
        yield {
            "columns": columns | {"evidence": rule.evidence, "weight": _weight(rule)},
            "where": _condition(rule, thresholds),
            "order": 'weight DESC, "at" DESC, run_id',
            "beside": beside,
        }


def none() -> pd.DataFrame:
    """Give the frame of no findings, as of `of_runs`."""
    import pandas as pd

    kinds = dict.fromkeys(("rule", "run_id", "host", "owner", "comm", "evidence"), "str")
    kinds |= {"pid": "Int64", "at": "datetime64[us, UTC]", "weight": "Float64"}
    names = ["rule", *_COLUMNS, "evidence", "weight"]
    return pd.DataFrame({name: pd.Series(dtype=kinds[name]) for name in names})


def survey(
    engine: Engine,
    filters: Filters | None = None,
    thresholds: Thresholds | None = None,
    history: History | None = None,
    most: int = 100,
) -> tuple[pd.DataFrame, pd.Series]:
    """Count the runs that each rule finds.

    Parameters
    ----------
    engine, filters, thresholds, history
        As of `of_runs`.
    most
        How many runs of each rule are named.

    Returns
    -------
    counts : pandas.DataFrame
        rule (``str``) and runs (``Int64``), in the order of `RULES`; only those that found one.
    heaviest : pandas.Series
        The ids of the runs of most weight by each rule (``str``), to be set aside for `of_runs`.
    """
    import pandas as pd

    thresholds = thresholds or Thresholds()
    known = usual(history or of_store(engine))
    # that a program had some run more changes nothing, and what was kept of the others stays true
    known = known[known["usual_runs"] >= thresholds.outlier_runs]
    known = known.assign(usual_runs=known["usual_runs"].clip(upper=thresholds.outlier_runs))
    row: dict[str, Any] = {}
    for rules, beside in ((_ALONE, None), (_AMONG_OTHERS, {"comm": known})):
        measures = [each for name in rules for each in _measures(name, thresholds, most)]
        (found,) = engine.aggregate({}, measures, filters, beside=beside).to_dict("records")
        row |= {str(name): value for name, value in found.items()}
    counts = {name: int(row[name]) for name in RULES if pd.notna(row[name]) and row[name]}
    heaviest = [each for name in counts for each in row[f"_{name}"]]
    return (
        pd.DataFrame({"rule": [*counts], "runs": [*counts.values()]}).astype(
            {"rule": "str", "runs": "Int64"}
        ),
        pd.Series(heaviest, dtype="str"),
    )


def _measures(name: str, thresholds: Thresholds, most: int) -> Iterator[Measure]:
    rule = RULES[name]
    found = f"FILTER ({_condition(rule, thresholds)})"
    named = f"max(struct_pack(weight := {_weight(rule)}, id := run_id), {most:d}) {found}"
    yield Measure(name, f"count(*) {found}", f'sum("{name}")::BIGINT')
    yield Measure(
        f"_{name}",
        named,
        f"list_sort(flatten(list(\"_{name}\")), 'DESC')[:{most:d}].list_transform("
        "lambda each: each.id)",
    )


def _weight(rule: Rule) -> str:
    return f"({rule.weight})::DOUBLE"


def _condition(rule: Rule, thresholds: Thresholds) -> str:
    return f"coalesce({rule.condition.format_map(asdict(thresholds))}, false)"
