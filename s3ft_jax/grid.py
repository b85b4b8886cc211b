"""The grid of a comparison: who competes, which settings are tried for each, and which of them is taken.

In: plain settings and validation scores. Out: contenders, points and choices. Pure: no files, no models.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

RULES = ("one_stderr", "best")


class GridError(ValueError):
    """A comparison that cannot be made; the message names the key of the section ``compare``, the cause and the fix."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One line of the tables.

    Attributes:
      label: its name there.
      method: whose selections it is trained on.
      settings: of the section ``train``, flat, on top of the method's own.
    """

    label: str
    method: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a contender's grid with what was measured there.

    Attributes:
      label: the contender's.
      variant: name of method and settings, see ``variants``.
      learning_rate, num_steps: of the point.
      scores: seed -> validation score, a fraction.
      count: validation examples.
      general: seed -> mean score of the general skills and benchmarks; empty where none is measured.
      kl: seed -> KL(base || model), nats per token; empty where it is not measured.
    """

    label: str
    variant: str
    learning_rate: float
    num_steps: int
    scores: Mapping[int, float]
    count: int
    general: Mapping[int, float] = dataclasses.field(default_factory=dict)
    kl: Mapping[int, float] = dataclasses.field(default_factory=dict)

    @property
    def score(self) -> float:
        """Mean over seeds."""
        return sum(self.scores.values()) / len(self.scores)


def points(
    settings: Mapping[str, Any], learning_rates: Sequence[float], num_steps: Sequence[int]
) -> list[dict[str, Any]]:
    """The settings of each point of a grid, on top of ``settings``; an axis that these state, or that is empty, is not
    varied.

    >>> points({"num_steps": 50}, (1e-4, 1e-3), (50, 100))
    [{'num_steps': 50, 'learning_rate': 0.0001}, {'num_steps': 50, 'learning_rate': 0.001}]
    """
    axes = {"learning_rate": learning_rates, "num_steps": num_steps}
    varied = {name: values for name, values in axes.items() if values and name not in settings}
    return [dict(settings) | dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]


def plus_four_stderr(value: float, count: int) -> float:
    """Standard error of a share with two successes and two failures added, so that a perfect score has one too.

    Agresti and Coull, The American Statistician 52 (1998), page 119.
    """
    share = (value * count + 2) / (count + 4)
    return math.sqrt(share * (1 - share) / (count + 4))


def choose(cells: Sequence[Cell], rule: str) -> Cell:
    """The point that a contender gets.

    Args:
      cells: of one contender, at least one.
      rule: ``best``, of equals the gentlest: the lowest rate, then the fewest steps. ``one_stderr``: the gentlest of
        those within one standard error of the best, over the validation examples, which seeds share (Hastie,
        Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10).
    """
    best = max(cell.score for cell in cells)
    least = best - (plus_four_stderr(best, cells[0].count) if rule == "one_stderr" else 0.0)
    near = [cell for cell in cells if cell.score >= least]
    return min(near, key=lambda cell: (cell.learning_rate, cell.num_steps))


def nearly_chosen(cells: Sequence[Cell], rule: str, most: int) -> tuple[int, Cell] | None:
    """How many validation answers more or fewer right, of one point in one seed, change the choice; and to what.

    Args:
      cells, rule: as for ``choose``.
      most: answers to try.

    Returns:
      (answers, the point then taken), the fewest answers there are; None where more than ``most`` are needed.
    """
    taken = choose(cells, rule)
    for number in range(1, most + 1):
        for place, cell in enumerate(cells):
            for change in (number / cell.count, -number / cell.count):
                seed, score = next(iter(cell.scores.items()))
                if not 0.0 <= score + change <= 1.0:
                    continue
                other = dataclasses.replace(cell, scores=dict(cell.scores) | {seed: score + change})
                found = choose([*cells[:place], other, *cells[place + 1 :]], rule)
                if found.variant != taken.variant:
                    return number, next(one for one in cells if one.variant == found.variant)
    return None


def check_rule(rule: str) -> None:
    """Raise GridError where there is no such rule."""
    if rule not in RULES:
        raise GridError(f"compare.rule = {rule!r}; choose from {', '.join(RULES)}")
