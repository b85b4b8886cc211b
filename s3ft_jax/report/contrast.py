"""The contrasts of the report room: one difference between models, with both of its intervals.

In: a ``Scoreboard`` and weights over models, e.g. {"s3ft": 1, "sft": -1}. Out: a ``Contrast``. Every number with an
interval in the report, and every claim, is such a weighted sum, so all are computed in one way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from s3ft_jax.evaluation.scores import ACCURACY
from s3ft_jax.evaluation.statistics import (
    Interval,
    both_interval,
    macro_mean,
    mean_interval,
    normal_interval,
    paired_bootstrap,
)
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.scoreboard import Scoreboard

BOOTSTRAP_SEED = 0


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A weighted sum of models' mean scores over some tasks, as a fraction.

    Attributes:
      mean: over the seeds that all models in it share.
      per_seed: seed -> value.
      over_seeds: interval over tuning seeds; None with one seed.
      over_examples: interval over test examples, seeds averaged; paired where the answers are known.
      over_both: interval over seeds and examples; None with one seed, or where the answers are not known.
    """

    mean: float
    per_seed: Mapping[int, float]
    over_seeds: Interval | None
    over_examples: Interval
    over_both: Interval | None = None

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """All intervals there are, over seeds first."""
        every = self.over_seeds, self.over_examples, self.over_both
        return tuple(interval for interval in every if interval is not None)

    @property
    def interval(self) -> Interval:
        """The one that stands for the difference in tables: over seeds and examples where it is known."""
        return self.over_both or self.over_seeds or self.over_examples


def contrast(
    board: Scoreboard, weights: Mapping[str, float], tasks: Sequence[str], metric: str = ACCURACY
) -> Contrast | None:
    """The weighted sum of macro means over ``tasks``, e.g. how much better s3ft is than sft.

    Worked example, weights {"s3ft": 1, "sft": -1/2, "base": -1/2} on the general skills::

        s3ft - sft/2 - base/2 = (s3ft - base) - (sft - base)/2

    which is >= 0 exactly when the drop of s3ft is at most half of the drop of sft.

    Returns:
      None if a method has no score or the methods share no seed.
    """
    weights = {method: weight for method, weight in weights.items() if weight}
    tuned = [method for method in weights if method != BASE]
    common = [set(board.seeds(method)) for method in tuned]
    seeds = sorted(set.intersection(*common)) if common else []
    if not seeds or not tasks:
        return None
    per_seed = {seed: _macro(board, weights, tasks, metric, seed) for seed in seeds}
    values = list(per_seed.values())
    over_seeds = mean_interval(values) if len(seeds) > 1 else None
    strata = paired_strata(board, weights, tasks, seeds) if metric == ACCURACY else None
    if strata is None:
        over_examples = _unpaired(board, weights, tasks, metric, seeds)
    else:
        over_examples = paired_bootstrap(strata, seed=BOOTSTRAP_SEED)
    known = strata is not None and len(seeds) > 1 and min(map(len, strata)) > 1
    over_both = both_interval(values, strata) if known else None
    return Contrast(float(np.mean(values)), per_seed, over_seeds, over_examples, over_both)


def _macro(board: Scoreboard, weights: Mapping[str, float], tasks: Sequence[str], metric: str, seed: int) -> float:
    total = 0.0
    for method, weight in weights.items():
        model = (method, None if method == BASE else seed)
        total += weight * sum(board.score(model, task, metric).value for task in tasks) / len(tasks)
    return total


def paired_strata(
    board: Scoreboard, weights: Mapping[str, float], tasks: Sequence[str], seeds: Sequence[int]
) -> list[np.ndarray] | None:
    """Per task the weighted sum of each example, seeds averaged, [examples]; None unless all answers are known."""
    strata = []
    for task in tasks:
        rows: dict[str, float] = {}
        for method, weight in weights.items():
            models = [(method, None)] if method == BASE else [(method, seed) for seed in seeds]
            for model in models:
                right = board.paired.get((model, task))
                if right is None or (rows and set(right) != set(rows)):
                    return None
                for example_id, value in right.items():
                    rows[example_id] = rows.get(example_id, 0.0) + weight * value / len(models)
        strata.append(np.round(np.array([rows[key] for key in sorted(rows)]), 12))
    return strata


def _unpaired(
    board: Scoreboard, weights: Mapping[str, float], tasks: Sequence[str], metric: str, seeds: Sequence[int]
) -> Interval:
    """Normal interval that treats the models as independent: wider than paired when they agree on most examples.

    All seeds of a method answer the same examples, so averaging them does not shrink the variance here.
    """
    mean, variance, count = 0.0, 0.0, 0
    for method, weight in weights.items():
        models = [(method, None)] if method == BASE else [(method, seed) for seed in seeds]
        for model in models:
            scores = [board.score(model, task, metric) for task in tasks]
            value, stderr = macro_mean([score.value for score in scores], [score.stderr for score in scores])
            mean += weight * value / len(models)
            variance += weight**2 * stderr**2 / len(models)
            count = sum(score.count for score in scores)
    return normal_interval(mean, variance**0.5, count)
