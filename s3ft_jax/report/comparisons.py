"""The comparisons of the report room: every pair of models on the target, the general mean and each general skill.

In: a ``Scoreboard``, and for questions on passages other metrics of the target's answers. Out: ``Comparison`` values,
corrected for how many there are, all of them together. Only paired ones: without the answers to single examples there
are none.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.evaluation.comparisons import detectable, holm, mcnemar, paired_p
from s3ft_jax.evaluation.scores import ACCURACY
from s3ft_jax.evaluation.statistics import RESAMPLES
from s3ft_jax.report.contrast import BOOTSTRAP_SEED, Contrast, contrast, paired_strata
from s3ft_jax.report.evidence import BASE, Model
from s3ft_jax.report.scoreboard import Scoreboard, measured
from s3ft_jax.report.wording import ANSWER_METRICS

MEAN = "general mean"
SURE = 0.05
"""Corrected p below which a difference is called one."""
RESAMPLES_EACH = 200
"""Resamples of the bootstrap for each comparison of the report: the smallest p that they can give, corrected for all
comparisons, is 2 / 200."""


TESTED = ("token_f1", "answerable_accuracy", "unanswerable_accuracy")
"""Metrics of answers to questions on passages that are compared beside the accuracy. Exact match and recall go with F1,
a false refusal is an answerable question that was not answered right, ``answerability`` is made of both kinds."""

Values = Mapping[tuple[str, int | None, str], Mapping[str, float]]
"""(method, seed, metric) -> example -> value in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One pair of models on one task, or on the general mean.

    Attributes:
      first, second: the models' methods; the difference is first - second.
      where: the task, ``MEAN``, or the task and a metric of its answers, in words.
      contrast: the difference with its intervals over seeds and examples.
      p: ``evaluation.comparisons.paired_p``: the larger of the bootstrap's over examples, seeds averaged, and
        Student's t over seeds and examples together.
      corrected: p corrected by Holm's rule for all comparisons of the report.
      mcnemar: McNemar's mid-p, of the seed in which it is largest; None where values are not right or wrong, or of
        several tasks.
      detectable: the smallest true difference that these seeds and examples would show with a power of 80 % as the
        first of all comparisons, a fraction; NaN where nothing varies.
      metric: of the difference.
    """

    first: str
    second: str
    where: str
    contrast: Contrast
    p: float
    corrected: float
    mcnemar: float | None
    detectable: float
    metric: str = ACCURACY

    @property
    def is_sure(self) -> bool:
        """Whether the corrected p is small and every interval leaves zero out."""
        away = all(one.low > 0 or one.high < 0 for one in self.contrast.intervals)
        return self.corrected < SURE and away


def compare_all(board: Scoreboard, answers: Values | None = None) -> list[Comparison]:
    """All pairs, the target first, then the general mean, then skill by skill; none without answers.

    Args:
      board: the scores.
      answers: values of the metrics of ``evaluation.answers`` on the target. Those of ``TESTED`` are compared, too,
        right behind the accuracy, but for one that is the accuracy of every model (no question is unanswerable, say).

    Raises:
      EvidenceError: a model lacks such values, or has them for other examples.
    """
    target = (board.task,)
    places: list[tuple[Scoreboard, str, str, tuple[str, ...]]] = [(board, board.task, ACCURACY, target)]
    for metric in _telling(board, answers or {}):
        places.append((measured(board, answers, metric), f"{board.task}: {ANSWER_METRICS[metric]}", metric, target))
    places += [(board, MEAN, ACCURACY, board.skills)] if len(board.skills) > 1 else []
    places += [(board, skill, ACCURACY, (skill,)) for skill in board.skills]
    pairs = list(itertools.combinations((*reversed(board.methods), BASE), 2))
    number = len(pairs) * len(places)
    found = []
    for scores, where, metric, tasks in places:
        for first, second in pairs:
            one = _compare(scores, first, second, where, tasks, number)
            if one is not None:
                found.append(dataclasses.replace(one, metric=metric))
    corrected = holm([one.p for one in found])
    return [dataclasses.replace(one, corrected=p) for one, p in zip(found, corrected, strict=True)]


def _telling(board: Scoreboard, answers: Values) -> list[str]:
    """The metrics to compare that are not the accuracy by another name."""
    return [
        metric
        for metric in TESTED
        if any(
            values != board.paired.get(((method, seed), board.task))
            for (method, seed, name), values in answers.items()
            if name == metric
        )
    ]


def find(comparisons: Sequence[Comparison], pair: Sequence[str], tasks: Sequence[str]) -> Comparison | None:
    """The comparison of two models, in either order, by the mean accuracy on these tasks; None if there is none."""
    where = tasks[0] if len(tasks) == 1 else MEAN
    return next((one for one in comparisons if one.where == where and {one.first, one.second} == set(pair)), None)


def _compare(
    board: Scoreboard, first: str, second: str, where: str, tasks: Sequence[str], number: int
) -> Comparison | None:
    weights = {first: 1.0, second: -1.0}
    difference = contrast(board, weights, tasks)
    if difference is None or difference.over_examples.p is None:
        return None
    seeds = sorted(difference.per_seed)
    strata, values = paired_strata(board, weights, tasks, seeds), list(difference.per_seed.values())
    resamples = max(RESAMPLES, RESAMPLES_EACH * number)
    p = paired_p(strata, values, seed=BOOTSTRAP_SEED, resamples=resamples)
    test = _mcnemar(board, first, second, tasks, seeds)
    return Comparison(first, second, where, difference, p, p, test, detectable(strata, values, level=1 - SURE / number))


def _mcnemar(board: Scoreboard, first: str, second: str, tasks: Sequence[str], seeds: Sequence[int]) -> float | None:
    if len(tasks) != 1:
        return None

    def values(method: str, seed: int) -> dict[str, float]:
        model: Model = (method, None if method == BASE else seed)
        return dict(board.paired[model, tasks[0]])

    found = []
    for seed in seeds:
        one, other = values(first, seed), values(second, seed)
        if not {*one.values(), *other.values()} <= {0.0, 1.0}:
            return None
        found.append(mcnemar([one[key] for key in sorted(one)], [other[key] for key in sorted(one)]))
    return max(found)


def comparison_values(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """For report.json."""
    return [
        {
            "first": one.first,
            "second": one.second,
            "where": one.where,
            "metric": one.metric,
            "difference": one.contrast.mean,
            "intervals": [dataclasses.asdict(interval) for interval in one.contrast.intervals],
            "p": one.p,
            "corrected_p": one.corrected,
            "mcnemar_p": one.mcnemar,
            "detectable": one.detectable,
            "sure": one.is_sure,
        }
        for one in comparisons
    ]
