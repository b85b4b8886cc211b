"""The table of answers of the report room: how near to gold, and when a model declines, on questions about passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from s3ft_jax.evaluation.statistics import (
    Interval,
    both_interval,
    mean_interval,
    normal_interval,
    wilson_interval,
)
from s3ft_jax.records import Score
from s3ft_jax.report.comparisons import TESTED
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import ANSWER_METRICS, bounds, method_name, percent

SHARES = set(ANSWER_METRICS) - {"token_f1", "token_recall"}
"""Those of which each answer has all or nothing."""


def answer_table(
    scores: Sequence[Score],
    task: str,
    split: str,
    methods: Sequence[str],
    measured: Mapping[tuple[str, int | None, str], Mapping[str, float]] | None = None,
) -> Table | None:
    """One line per model; None where the task is none of questions about passages.

    Args:
      scores: of all models.
      task, split: the target's.
      methods: in the order of the tables, without the base.
      measured: (method, seed, metric) -> example -> value, where it is known.
    """
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if (score.task, score.split) == (task, split) and score.metric in ANSWER_METRICS:
            found.setdefault((score.method, score.metric), []).append(score)
    metrics = [metric for metric in ANSWER_METRICS if (BASE, metric) in found]
    if not metrics:
        return None
    body = []
    for method in (BASE, *methods):
        cells = [_cell(found.get((method, metric), ()), measured or {}) for metric in metrics]
        body.append((label(method_name(method), method), *cells))
    counts = {metric: found[BASE, metric][0].count for metric in metrics}
    answerable = counts.get("false_refusals", 0)
    caption = (
        f"Answers to {max(counts.values()):,} questions, {answerable:,} of them answerable, in %; in brackets 95 % "
        f"intervals (over seeds{' and examples together' if measured else ''} where there are several, else over "
        "examples). Where the model declines, exact match and F1 are 1 on unanswerable questions and 0 on others, as "
        "recall is, which is of answerable questions alone. Answerable and declined is a false refusal."
    )
    if measured:
        tested = "; ".join(ANSWER_METRICS[metric] for metric in TESTED if metric in metrics)
        caption += (
            f" In the table of every pair of models stand, unless they are the accuracy itself: {tested}. Exact match "
            "and recall go with F1, and a false refusal is an answerable question that was not answered right."
        )
    return Table(caption, ("", *(ANSWER_METRICS[metric] for metric in metrics)), tuple(body))


def _cell(scores: Sequence[Score], measured: Mapping[tuple[str, int | None, str], Mapping[str, float]]) -> Cell:
    if not scores:
        return Cell("\u2013")
    interval = _interval(scores, [measured.get((score.method, score.seed, score.metric), {}) for score in scores])
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Cell(percent(interval.mean), bounds(low, high, signed=False))


def _interval(scores: Sequence[Score], values: Sequence[Mapping[str, float]]) -> Interval:
    """Over seeds and examples where the value of each is known; over seeds, or of one seed over examples, elsewhere."""
    levels, one = [score.value for score in scores], scores[0]
    known = len(levels) > 1 and min(map(len, values)) > 1
    if known and np.std([list(mine.values()) for mine in values]):
        return both_interval(levels, [np.mean([[mine[key] for key in values[0]] for mine in values], axis=0)])
    if len(levels) > 1 and not known:
        return mean_interval(levels)
    if one.metric in SHARES:  # 0 of 40 is not known to be 0, nor of 40 three times
        return wilson_interval(one.value, one.count)
    return normal_interval(one.value, one.stderr, one.count)
