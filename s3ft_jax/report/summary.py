"""The summary of the report room: one row per model with its target score and what it gained and lost.

In: a ``Scoreboard``. Out: ``Row`` values for the tables and plots, and the ``summary`` object of report.json.

All values are fractions; changes are against the untouched base. Intervals are 95 %: of a change over seeds and
examples together; of a level over seeds; with one seed (and for the base, which has none) over examples.
``Estimate.rule`` says which. A change that is one of the report's comparisons carries their corrected p.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.evaluation.scores import ACCURACY, CHOICE_LIKELIHOOD
from s3ft_jax.evaluation.statistics import Interval, mean_interval, normal_interval, wilson_interval
from s3ft_jax.report.comparisons import SURE, Comparison, find
from s3ft_jax.report.contrast import contrast
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.scoreboard import Scoreboard


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, as fractions.

    Attributes:
      mean, low, high: the estimate and its interval.
      rule: the rule of the interval in words.
      parts: of a change, every interval there is: over seeds, over examples, over both.
      corrected: of a change, its p corrected for all comparisons of the report; None where it is none of them.
    """

    mean: float
    low: float
    high: float
    rule: str
    parts: tuple[Interval, ...] = ()
    corrected: float | None = None

    @property
    def away(self) -> bool:
        """Whether every interval there is excludes zero (for changes); seeds that agree by luck do not suffice."""
        ends = [(self.low, self.high), *((one.low, one.high) for one in self.parts)]
        return all(low > 0 for low, _ in ends) or all(high < 0 for _, high in ends)

    @property
    def certain(self) -> bool:
        """Whether the change is away from zero, also after correction where it is one of the comparisons."""
        return self.away and (self.corrected is None or self.corrected < SURE)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the headline table.

    Attributes:
      method: ``base`` or a method.
      seeds: how many tuning seeds stand behind it; 0 for the base.
      target: test accuracy on the target task.
      target_change: against the base; zero for the base.
      general_change: mean change over the general skills; None if there are none.
      likelihood_change: the same for skills scored by choice likelihood; None if there are none.
      skills: skill -> (accuracy, change).
      choices: skill -> (choice likelihood, change).
      points: seed -> (general change, target change) for the scatter; general change 0 if there are no skills.
    """

    method: str
    seeds: int
    target: Estimate
    target_change: Estimate
    general_change: Estimate | None
    likelihood_change: Estimate | None
    skills: Mapping[str, tuple[Estimate, Estimate]]
    choices: Mapping[str, tuple[Estimate, Estimate]]
    points: Mapping[int, tuple[float, float]]


def summarize(board: Scoreboard, comparisons: Sequence[Comparison] = ()) -> list[Row]:
    """One row per model, base first, then the methods in their order.

    Args:
      board: the scores.
      comparisons: ``compare_all`` of the same; a change that is one of them is certain only after their correction.
    """
    return [_row(board, method, comparisons) for method in (BASE, *board.methods)]


def _row(board: Scoreboard, method: str, comparisons: Sequence[Comparison]) -> Row:
    target_change, target = _tested(board, method, (board.task,), comparisons)
    general_change, general = _tested(board, method, board.skills, comparisons)
    likelihood_change, _ = _change(board, method, board.choices, CHOICE_LIKELIHOOD)
    return Row(
        method=method,
        seeds=0 if method == BASE else len(board.seeds(method)),
        target=_level(board, method, board.task, ACCURACY),
        target_change=target_change,
        general_change=general_change if board.skills else None,
        likelihood_change=likelihood_change if board.choices else None,
        skills={
            skill: (_level(board, method, skill, ACCURACY), _tested(board, method, (skill,), comparisons)[0])
            for skill in board.skills
        },
        choices={
            skill: (
                _level(board, method, skill, CHOICE_LIKELIHOOD),
                _change(board, method, (skill,), CHOICE_LIKELIHOOD)[0],
            )
            for skill in board.choices
        },
        points={seed: (general.get(seed, 0.0), value) for seed, value in target.items()},
    )


def _level(board: Scoreboard, method: str, task: str, metric: str) -> Estimate:
    """The score itself: Student t for several seeds; for the base or one seed Wilson, or where values lie between right
    and wrong (TruthfulQA's mc2) normal; clipped to [0, 1]."""
    seeds = board.seeds(method)
    if len(seeds) == 1:
        score = board.score((method, seeds[0]), task, metric)
        values = board.paired.get(((method, seeds[0]), task), {}).values() if metric == ACCURACY else ()
        if set(values) <= {0.0, 1.0}:
            return _estimate(wilson_interval(score.value, score.count))
        interval = normal_interval(score.value, score.stderr, score.count)
        return Estimate(interval.mean, max(0.0, interval.low), min(1.0, interval.high), interval.rule)
    interval = mean_interval([board.score((method, seed), task, metric).value for seed in seeds])
    return Estimate(interval.mean, max(0.0, interval.low), min(1.0, interval.high), interval.rule)


def _change(
    board: Scoreboard, method: str, tasks: tuple[str, ...], metric: str
) -> tuple[Estimate, Mapping[int, float]]:
    """The change against the base, and its value per seed (none for the base)."""
    found = None if method == BASE else contrast(board, {method: 1.0, BASE: -1.0}, tasks, metric)
    if found is None:
        return Estimate(0.0, 0.0, 0.0, "by definition"), {}
    return _estimate(found.interval, found.intervals), found.per_seed


def _tested(
    board: Scoreboard, method: str, tasks: tuple[str, ...], comparisons: Sequence[Comparison]
) -> tuple[Estimate, Mapping[int, float]]:
    """The change of accuracy, with the corrected p of the comparison that it is."""
    change, values = _change(board, method, tasks, ACCURACY)
    one = find(comparisons, (method, BASE), tasks) if tasks else None
    return dataclasses.replace(change, corrected=one.corrected if one else None), values


def _estimate(interval: Interval, parts: tuple[Interval, ...] = ()) -> Estimate:
    return Estimate(interval.mean, interval.low, interval.high, interval.rule, parts)


def summary_values(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """The ``summary`` object of report.json: method -> target, target_change, general_change and each skill."""
    return {
        row.method: {
            "target": _values(row.target),
            "target_change": _values(row.target_change),
            "general_change": _values(row.general_change, "no general skill was scored"),
            "general_likelihood_change": _values(row.likelihood_change, "no skill was scored by likelihood"),
            "seeds": row.seeds,
            "skills": {
                skill: {"value": _values(value), "change": _values(change)}
                for skill, (value, change) in row.skills.items()
            },
        }
        for row in rows
    }


def _values(estimate: Estimate | None, why: str = "") -> dict[str, Any]:
    if estimate is None:
        return {"mean": None, "low": None, "high": None, "interval": why}
    values = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "interval": estimate.rule}
    values |= {f"over_{one.over.replace(' ', '_')}": dataclasses.asdict(one) for one in estimate.parts}
    return values | ({"corrected_p": estimate.corrected, "certain": estimate.certain} if estimate.parts else {})
