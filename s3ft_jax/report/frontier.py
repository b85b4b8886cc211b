"""The frontier of the report room: every setting that was tried, task score against what is left of general skill.

In: the grid of a comparison. Out: means over seeds by setting, and per line of the tables what it reaches while it
loses no more than a given amount. One point says little: a method that looks gentle may only have learnt less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from s3ft_jax.report.evidence import BASE, Evidence, GridPoint
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import MINUS, method_name, percent, points

FEWEST = 5
"""Models of which a rank correlation is told."""
LOSSES = (0.01, 0.025, 0.05, 0.10)
"""Losses of the general mean, fractions, at most which the table allows."""


@dataclasses.dataclass(frozen=True)
class Spot:
    """One setting of one line, mean over the seeds that it was tried with.

    Attributes:
      label, variant, learning_rate, num_steps, chosen: as in ``GridPoint``.
      seeds: how many.
      score: validation score, a fraction.
      change: of the general mean against the base, a fraction; None where none was measured.
      kl: nats per token; None where it was not measured.
    """

    label: str
    variant: str
    learning_rate: float
    num_steps: int
    chosen: bool
    seeds: int
    score: float
    change: float | None
    kl: float | None


def spots(grid: Sequence[GridPoint]) -> list[Spot]:
    """Means over seeds, in the order of the grid, without the base."""
    found: dict[tuple[str, str], list[GridPoint]] = {}
    for point in grid:
        if point.label != BASE:
            found.setdefault((point.label, point.variant), []).append(point)
    before = next((point.general for point in grid if point.label == BASE), None)
    return [_spot(members, before) for members in found.values()]


def _spot(members: Sequence[GridPoint], before: float | None) -> Spot:
    one = members[0]

    def mean(name: str) -> float | None:
        values = [getattr(member, name) for member in members]
        return None if None in values else float(np.mean(values))

    general = mean("general")
    change = None if general is None or before is None else general - before
    settings = one.learning_rate, one.num_steps, one.chosen
    return Spot(one.label, one.variant, *settings, len(members), mean("score"), change, mean("kl"))


def edge(mine: Sequence[Spot]) -> list[Spot]:
    """Those that no other one beats in both score and change, from the gentlest on."""
    known = [spot for spot in mine if spot.change is not None]
    kept: list[Spot] = []
    for spot in sorted(known, key=lambda spot: (-spot.change, -spot.score)):
        if not kept or spot.score > kept[-1].score:
            kept.append(spot)
    return kept


def frontier_table(grid: Sequence[GridPoint]) -> Table | None:
    """One line per label: what it reaches at most while it loses at most so much; None without a measured change."""
    body = []
    for name, mine, taken in _lines(grid):
        cells = [Cell(f"{len(mine)}"), Cell(setting(taken)), Cell(percent(taken.score)), Cell(points(taken.change))]
        for loss in LOSSES:
            best = _best(mine, loss)
            cells.append(Cell(percent(best.score), setting(best)) if best else Cell("\u2013"))
        body.append((label(method_name(name), name), *cells))
    if not body:
        return None
    columns = ("", "settings tried", "taken", "its score, %", "its general change")
    columns += tuple(f"best at {MINUS}{100 * loss:g}" for loss in LOSSES)
    base = next(point for point in grid if point.label == BASE)
    caption = (
        f"Validation score in % (base {percent(base.score)}) of the setting taken (peak rate, steps), and the best "
        "score among the settings whose mean general change is no worse than so many points. Means over the seeds of "
        "the search. Nothing here was measured on the test split, and the general skills had no say in what was taken."
    )
    return Table(caption, columns, tuple(body))


def _lines(grid: Sequence[GridPoint]) -> list[tuple[str, list[Spot], Spot]]:
    """(label, its spots whose change was measured, the one taken) of every line."""
    every = [spot for spot in spots(grid) if spot.change is not None]
    lines = {name: [spot for spot in every if spot.label == name] for name in dict.fromkeys(one.label for one in every)}
    return [(name, mine, next(spot for spot in mine if spot.chosen)) for name, mine in lines.items()]


def _best(mine: Sequence[Spot], loss: float) -> Spot | None:
    """The best score among those that lose no more than this, a fraction; None where all lose more."""
    within = [spot for spot in mine if spot.change >= -loss - 1e-9]  # 21 of 840 are 2.5 %, whatever floats say
    return max(within, key=lambda spot: spot.score, default=None)


def grid_table(grid: Sequence[GridPoint]) -> Table | None:
    """Every setting that was tried; None where none was."""
    body = []
    for spot in spots(grid):
        cells = [Cell(f"{spot.learning_rate:g}"), Cell(f"{spot.num_steps:,}"), Cell(f"{spot.seeds}")]
        cells += [Cell(percent(spot.score)), Cell("\u2013" if spot.change is None else points(spot.change))]
        cells += [Cell("\u2013" if spot.kl is None else f"{spot.kl:.4f}"), Cell("taken" if spot.chosen else "")]
        body.append((label(method_name(spot.label), spot.label), *cells))
    columns = ("", "peak rate", "steps", "seeds", "score, %", "general change", "KL, nats per token", "")
    return (
        Table("Every setting that was tried, scored on the validation split.", columns, tuple(body)) if body else None
    )


def setting(spot: Spot) -> str:
    """``0.0003, 100``: peak rate and steps."""
    return f"{spot.learning_rate:g}, {spot.num_steps:,}"


@dataclasses.dataclass(frozen=True)
class Forgetting:
    """How far models are from the base, and what they lost.

    Attributes:
      marks: (label, KL(base || model) on the task in nats per token, general change as a fraction) per model.
      rank: Spearman's rank correlation of the two; None with fewer than ``FEWEST`` models.
      within: the mean of the same over the labels that have as many models; None where there is none.
    """

    marks: tuple[tuple[str, float, float], ...]
    rank: float | None
    within: float | None = None


def forgetting(evidence: Evidence, changes: Mapping[tuple[str, int], float]) -> Forgetting:
    """Of every model of the grid; without one, of the models of the tables.

    Args:
      evidence: with ``grid`` or ``kl``.
      changes: (method, seed) -> general change, for the models of the tables.
    """
    if evidence.grid:
        before = next(point.general for point in evidence.grid if point.label == BASE)
        known = [p for p in evidence.grid if p.label != BASE and p.kl is not None and p.general is not None]
        every = {(p.label, p.variant, p.seed): (p.label, p.kl, p.general - before) for p in known}
        marks = tuple({name[1:]: mark for name, mark in every.items()}.values())  # one model, one mark
    else:
        marks = tuple((method, kl, changes[method, seed]) for (method, seed), kl in evidence.kl.items())
        every = dict(enumerate(marks))
    labels = sorted({mark[0] for mark in every.values()})
    each = [_correlation([mark for mark in every.values() if mark[0] == name]) for name in labels]
    known = [value for value in each if value is not None]
    return Forgetting(marks, _correlation(marks), float(np.mean(known)) if known else None)


def _correlation(marks: Sequence[tuple[str, float, float]]) -> float | None:
    """Spearman's, of distance and change; None of too few marks, or where one of the two never varies."""
    if len(marks) < FEWEST:
        return None
    kl, change = (_ranks([mark[place] for mark in marks]) for place in (1, 2))
    spread = float(np.std(kl) * np.std(change))
    return float(np.mean((kl - kl.mean()) * (change - change.mean()))) / spread if spread else None


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 0, equal values with the mean of theirs."""
    array = np.asarray(values, float)
    return np.array([np.sum(array < value) + (np.sum(array == value) - 1) / 2 for value in array])


def forgetting_sentence(found: Forgetting) -> str:
    """What the drawing shows, in words; empty where nothing is drawn."""
    if not found.marks:
        return ""
    text = (
        "KL(base || model) per token, along the base's own answers to held-out questions of the task, against the "
        "change of the general mean. Only questions of the task are needed for it, no general benchmark."
    )
    if found.rank is not None:
        text += (
            f" Spearman's rank correlation over the {len(found.marks)} models is {_signed(found.rank)}; models of one "
            "method are not independent of each other."
        )
    if found.within is not None:
        text += f" Within one method (mean over methods) it is {_signed(found.within)}."
    return text


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", MINUS)


def grid_values(evidence: Evidence) -> list[dict[str, Any]]:
    """For report.json."""
    return [dataclasses.asdict(point) for point in evidence.grid]


def frontier_values(grid: Sequence[GridPoint]) -> list[dict[str, Any]]:
    """For report.json: per line what it reaches at most while it loses at most so much; fractions."""
    found = []
    for name, mine, taken in _lines(grid):
        best = [(loss, _best(mine, loss)) for loss in LOSSES]
        told = [{"loss": loss, "score": one.score, "variant": one.variant} for loss, one in best if one]
        chosen = {"taken": taken.variant, "score": taken.score, "general_change": taken.change}
        found.append({"label": name, "settings_tried": len(mine), **chosen, "best": told})
    return found
