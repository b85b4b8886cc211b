"""The tables of the report room: the same cells for the page, the markdown file and the terminal.

In: summary rows, flow, scores. Out: ``Table`` values made of text; who draws them adds looks and no numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from s3ft_jax.records import OUTCOMES, Score
from s3ft_jax.report.comparisons import SURE
from s3ft_jax.report.evidence import BASE, Evidence
from s3ft_jax.report.flow import USUAL, Flow
from s3ft_jax.report.likelihoods import likelihood_values
from s3ft_jax.report.scoreboard import Scoreboard
from s3ft_jax.report.summary import Estimate, Row
from s3ft_jax.report.wording import (
    bounds,
    clean_text,
    count_of,
    duration,
    method_name,
    metric_name,
    percent,
    points,
    share,
)

UP, DOWN, FLAT = "up", "down", "flat"
ARROWS = {(UP, True): "\u25b2", (DOWN, True): "\u25bc", (UP, False): "\u25b3", (DOWN, False): "\u25bd"}
FULL_TINT = 0.10
"""A change of this size (10 points) or more gets the full colour."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
      text: the value.
      detail: small print below it, e.g. the interval.
      sign: ``up``, ``down`` or ``flat`` for a change; empty for any other cell.
      certain: as ``Estimate.certain`` or ``Comparison.is_sure``; an uncertain one gets a hollow arrow and no colour.
      tint: 0..1, how strongly to colour a certain change.
      number: whether to align it as a number.
      method: a method whose colour marks the cell; empty for none.
    """

    text: str
    detail: str = ""
    sign: str = ""
    certain: bool = False
    tint: float = 0.0
    number: bool = True
    method: str = ""

    @property
    def arrow(self) -> str:
        """A filled arrow for a certain change, a hollow one for an uncertain one, none for zero."""
        return ARROWS.get((self.sign, self.certain), "")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: one header per column, and rows of as many cells. ``caption`` says what it shows and its unit."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def label(text: str, method: str = "") -> Cell:
    """A text cell."""
    return Cell(text, number=False, method=method)


def spread(estimate: Estimate) -> str:
    """Half the width of the interval in points, where its ends would take too much room: ``\u00b11.8``.

    Of all intervals there are the widest one, so that seeds that agree by luck do not look exact.
    """
    widths = [estimate.high - estimate.low]
    widths += [one.high - one.low for one in estimate.parts]
    return f"\u00b1{percent(max(widths) / 2)}"


def change_cell(change: Estimate, *, short: bool = False) -> Cell:
    """A change in points with its arrow and its interval; ``short``: ``spread`` instead."""
    text = points(change.mean)
    sign = FLAT if text == "0.0" else UP if change.mean > 0 else DOWN
    certain = change.certain and sign != FLAT
    tint = min(1.0, abs(change.mean) / FULL_TINT) if certain else 0.0
    detail = spread(change) if short else bounds(change.low, change.high)
    return Cell(text, detail, sign, certain, tint)


def arrows_legend(rows: Sequence[Row]) -> str:
    """What the arrows of a summary mean: with correction where its changes are comparisons of the report."""
    changes = [change for row in rows if row.seeds for change in _changes(row)]
    known = [change.corrected is not None for change in changes]
    filled, rest = "zero lies outside every interval there is (over seeds, examples, both)", "may be noise"
    if any(known):
        filled += f", and p, corrected for all comparisons of this report, is below {SURE}"
    text = f"\u25b2\u25bc filled and coloured: {filled}; \u25b3\u25bd hollow: {rest}."
    if any(known) and not all(known):
        return f"{text} Changes without such a p (by likelihood, or of answers not known) go by the intervals alone."
    return text if any(known) else f"{text} Not corrected for how many changes there are."


def _changes(row: Row) -> list[Estimate]:
    """The changes that the headline table shows of a model."""
    means = [row.target_change, row.general_change, row.likelihood_change]
    return [change for change in means if change] + [change for _, change in row.skills.values()]


def headline_table(board: Scoreboard, rows: Sequence[Row]) -> Table:
    """Base and methods by target, mean general change, and the change of each general skill."""
    columns = ["", f"{board.task} (target), %", "Change on target"]
    if board.skills:
        columns.append("Mean general change")
    if board.choices:
        columns.append("Mean general change, by likelihood")
    columns += list(board.skills)
    body = []
    for row in rows:
        cells = [
            label(method_name(row.method), row.method),
            Cell(percent(row.target.mean), bounds(row.target.low, row.target.high, signed=False)),
        ]
        if row.method == BASE:
            mean = np.mean([value.mean for value, _ in row.skills.values()]) if row.skills else 0.0
            likelihood = np.mean([value.mean for value, _ in row.choices.values()]) if row.choices else 0.0
            cells.append(Cell("\u2013"))
            cells += [Cell(percent(float(mean)), "mean, %")] if board.skills else []
            cells += [Cell(percent(float(likelihood)), "mean, %")] if board.choices else []
            cells += [Cell(percent(value.mean), spread(value)) for value, _ in row.skills.values()]
        else:
            cells.append(change_cell(row.target_change))
            cells += [change_cell(row.general_change)] if row.general_change else []
            cells += [change_cell(row.likelihood_change)] if row.likelihood_change else []
            cells += [change_cell(change, short=True) for _, change in row.skills.values()]
        body.append(tuple(cells))
    caption = (
        "Base: accuracy in %. Methods: the target's accuracy in %, and changes against the base in points. In brackets "
        "the 95 % interval (of changes over seeds and examples together, by likelihood and of levels over seeds, where "
        "there are several); after \u00b1 half the width of the widest one, over seeds, over examples or over both. "
        f"{arrows_legend(rows)}"
    )
    return Table(caption, tuple(columns), tuple(body))


def scores_table(scores: Sequence[Score], methods: Sequence[str]) -> Table:
    """Every score there is: one line per split, task and metric, one column per model, mean over seeds with spread."""
    columns = ("Task", "Split", "Metric", "Examples", *(method_name(method) for method in (BASE, *methods)))
    groups: dict[tuple[str, str, str], dict[str, list[Score]]] = {}
    for score in scores:
        name = score.shown or metric_name(score.metric)
        groups.setdefault((score.task, score.split, name), {}).setdefault(score.method, []).append(score)
    body = []
    for (task, split, metric), found in groups.items():
        counts = sorted({score.count for members in found.values() for score in members})
        size = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}\u2013{counts[-1]:,}"
        cells = [label(task), label(split), label(metric), Cell(size)]
        for method in (BASE, *methods):
            members = found.get(method, [])
            values = [score.value for score in members]
            undecided = sum(score.undecided for score in members)
            deviation = f"s.d. {percent(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
            detail = "; ".join(filter(None, [deviation, f"{undecided} undecided" if undecided else ""]))
            cells.append(Cell(percent(float(np.mean(values))), detail) if values else Cell("\u2013"))
        body.append(tuple(cells))
    return Table("Every score, in %, mean over seeds (s.d.: spread between seeds).", columns, tuple(body))


def targets_table(flow: Flow) -> Table:
    """How many training targets each method took from each origin."""
    body = []
    for method, counts in flow.targets.items():
        total = sum(counts.values())
        cells = [Cell(f"{count:,}", share(count, total)) for count in counts.values()]
        body.append((label(method_name(method), method), *cells, Cell(f"{total:,}")))
    origins = next(iter(flow.targets.values()), {})
    return Table("Training targets by origin.", ("", *origins, "targets"), tuple(body))


def rungs_table(flow: Flow) -> Table | None:
    """Every rung of every method: who reached it, who was accepted, and what was sampled for that; None if unknown."""
    body = []
    for method, rungs in flow.rungs.items():
        for origin, rung in rungs.items():
            accepted, tokens = rung["accepted"], rung["tokens"]
            cells = [Cell(f"{rung[name]:,}") for name in ("reached", "accepted")]
            cells.append(Cell(share(accepted, rung["reached"])))
            cells += [Cell(f"{rung[name]:,}") for name in ("targets", "responses", "tokens")]
            cells.append(Cell(f"{tokens / accepted:,.0f}" if accepted and tokens else "\u2013"))
            body.append((label(method_name(method), method), label(origin), *cells))
    columns = ("", "rung", "reached", "accepted", "acceptance", "targets", "responses", "tokens", "tokens per accepted")
    caption = (
        "The rungs of each method: questions that reached one because none before gave a target, those accepted there, "
        "and what was sampled for them (by this method alone; prompts are not counted)."
    )
    return Table(caption, columns, tuple(body)) if body else None


def pass_rate_table(flow: Flow) -> Table | None:
    """Questions by the number of their own responses that were right; None where there are none."""
    rate = flow.pass_rate
    if not rate:
        return None
    body = tuple(
        (label(number), Cell(f"{count:,}", share(count, rate["examples"])))
        for number, count in rate["by_right"].items()
    )
    caption = f"Pass rate of own responses: {percent(rate['mean'])} % right, mean over {rate['examples']:,} questions."
    return Table(caption, ("own responses right", "questions"), body)


def rounds_table(evidence: Evidence) -> Table | None:
    """What became of own answers each time they were sampled anew, means over seeds; None where they never were."""
    body = []
    for method in evidence.methods:
        runs = [told for (name, _), told in evidence.rounds.items() if name == method]
        for number in range(max(map(len, runs), default=0)):
            there = [told[number] for told in runs if number < len(told)]
            right = np.mean([one["pass_rate"]["mean"] for one in there])
            counts = [np.mean([one["origins"].get(origin, 0) for one in there]) for origin in USUAL]
            changed = np.mean([one["changed"] for one in there])
            cells = [Cell(f"{there[0]['step']:,}"), Cell(f"{percent(right)} %")]
            cells += [Cell(f"{value:,.0f}") for value in (*counts, changed)]
            body.append((label(method_name(method), method), *cells))
    columns = ("", "after step", "own right", *USUAL, "changed")
    caption = (
        "Own answers sampled anew during training, means over seeds: how many the judge found right, where the targets "
        "of the next round came from, and how many are other than before."
    )
    return Table(caption, columns, tuple(body)) if body else None


def responses_table(flow: Flow) -> Table:
    """What became of the sampled responses: ended or cut, right, wrong or undecided; refused by a gate, if there is."""
    body = []
    gated = any(origin.gated is not None for origin in flow.origins)
    for origin in flow.origins:
        judged = sum(origin.outcomes.values())
        counts = [origin.sampled, origin.ended, origin.cut]
        cells = [Cell("\u2013" if number is None else f"{number:,}") for number in counts]
        cells += [
            Cell(f"{origin.outcomes[outcome]:,}", share(origin.outcomes[outcome], judged)) if judged else Cell("\u2013")
            for outcome in OUTCOMES
        ]
        if gated:
            cells.append(Cell("\u2013" if origin.gated is None else f"{origin.gated:,}"))
        body.append((label(origin.origin), *cells))
    columns = ("", "sampled", "ended", "cut at limit", *OUTCOMES, *(("right, refused by the gate",) if gated else ()))
    return Table("Responses sampled on the training questions, and the judge's verdicts.", columns, tuple(body))


def reasons_table(flow: Flow) -> Table:
    """Why responses were not accepted, counted by class, one column per origin."""
    totals: dict[tuple[str, str], int] = {}
    for origin in flow.origins:
        for key, count in origin.classes.items():
            totals[key] = totals.get(key, 0) + count
    body = []
    for outcome, name in sorted(totals, key=lambda key: (key[0] != "wrong", -totals[key], key)):
        counts = [Cell(f"{origin.classes.get((outcome, name), 0):,}") for origin in flow.origins]
        body.append((label(outcome), label(name), *counts))
    columns = ("verdict", "class", *(origin.origin for origin in flow.origins))
    return Table("Why responses were not accepted, by class.", columns, tuple(body))


def paired_table(board: Scoreboard) -> Table | None:
    """Fixed and regressed test examples of the target against the base, mean over seeds; None without answers."""
    base = board.paired.get(((BASE, None), board.task))
    if base is None:
        return None
    body = []
    for method in board.methods:
        models = [(method, seed) for seed in board.seeds(method) if ((method, seed), board.task) in board.paired]
        if not models:
            continue
        counts = np.zeros(4)
        for model in models:
            right = board.paired[model, board.task]
            for example_id, before in base.items():
                after = right[example_id]
                counts[(0 if after else 1) if not before else (3 if after else 2)] += 1 / len(models)
        fixed, both_wrong, regressed, both_right = (Cell(f"{count:,.1f}") for count in counts)
        body.append((label(method_name(method), method), regressed, fixed, both_right, both_wrong))
    columns = ("", "regressed", "fixed", "right in both", "wrong in both")
    caption = f"The {len(base):,} test examples of {board.task} against the base, mean over seeds."
    return Table(caption, columns, tuple(body)) if body else None


COSTS = (
    "Cost by stage. Tokens: sampled (sample, refresh), trained on (train), scored (gate, drift), or both sampled and "
    "scored (evaluate, benchmark), prompts left out; those of a judging model are not counted."
)
STOPS = (
    "The time of a stage that was stopped and went on is that of all its starts. At least: one of them was killed, and "
    "what it did after its last note of the time, which is taken once a minute, is missing."
)
OLDER = "Of stages done by an older version it is that of the last start alone."


def costs_table(costs: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Seconds and tokens by stage, with the sum."""
    body = [(label(stage), *_cost_cells(cost)) for stage, cost in costs.items()]
    whole: dict[str, float | None] = {}
    for name in ("seconds", "tokens", "stops", "unseen"):
        known = [cost[name] for cost in costs.values() if cost.get(name) is not None]
        whole[name] = sum(known) if known else None
    # No speed for the sum: its time also holds the stages that handle no tokens.
    body.append((label("sum"), *_cost_cells(whole)[:2], Cell("\u2013")))
    caption = [COSTS] + [STOPS] * bool(whole["stops"])
    caption += [OLDER] * any(cost.get("stops") is None for cost in costs.values())
    return Table(" ".join(caption), ("stage", "time", "tokens", "tokens per second"), tuple(body))


def _cost_cells(cost: Mapping[str, float | None]) -> tuple[Cell, Cell, Cell]:
    seconds, tokens, stops = cost.get("seconds"), cost.get("tokens"), int(cost.get("stops") or 0)
    detail = f"{'at least; ' if cost.get('unseen') else ''}went on after {count_of(stops, 'stop')}" if stops else ""
    dash = Cell("\u2013")
    speed = Cell(f"{tokens / seconds:,.0f}") if seconds and tokens else dash
    return (
        Cell(duration(seconds), detail) if seconds is not None else dash,
        Cell(f"{tokens:,.0f}") if tokens is not None else dash,
        speed,
    )


def logprobs_table(evidence: Evidence) -> Table:
    """Mean and median log-probability under the base, per token and per text, by origin."""
    body = []
    for one in likelihood_values(evidence.logprobs)["origins"]:
        values = (one[name] for name in ("nats_per_token", "nats_per_text", "median"))
        cells = (Cell(f"{value:.2f}".replace("-", "\u2212")) for value in values)
        body.append((label(one["origin"]), Cell(f"{one['texts']:,}"), *cells, Cell(f"{one['tokens_per_text']:.1f}")))
    columns = ("", "texts", "nats per token", "nats per text, mean", "median", "tokens per text")
    return Table("Log-probability under the base model.", columns, tuple(body))


def pairs_table(caption: str, values: Mapping[str, Any]) -> Table:
    """Names and values, nested names joined by dots."""
    body = tuple((label(name), label(clean_text(str(value), 500))) for name, value in flatten(values))
    return Table(caption, ("name", "value"), body)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """{"train": {"learning_rate": 1e-3}} -> ("train.learning_rate", 1e-3)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
