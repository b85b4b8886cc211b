"""The spreadsheets of the report room: what the tables and plots are made of, as csv files for other programs.

In: ``Contents``. Out: name -> text of a csv file: one header line, one line per row, fractions and nats unrounded.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

from s3ft_jax.report.browsing import changed_values
from s3ft_jax.report.comparisons import comparison_values
from s3ft_jax.report.contents import Contents
from s3ft_jax.report.summary import Estimate

CHANGED = ("method", "seed", "skill", "regressed", "fixed", "unchanged")
COSTS = ("seconds", "tokens", "stops", "unseen")


def build_spreadsheets(contents: Contents) -> dict[str, str]:
    """Name -> csv; one with a header alone says that there was nothing."""
    evidence, flow = contents.evidence, contents.flow
    return {
        "summary": _csv(
            ("method", "what", "mean", "low", "high", "interval", "seeds"),
            (
                (row.method, what, one.mean, one.low, one.high, one.rule, row.seeds)
                for row in contents.rows
                for what, one in _estimates(row)
            ),
        ),
        "scores": _records(
            ("method", "seed", "task", "split", "metric", "value", "count", "stderr", "undecided"), evidence.scores
        ),
        "comparisons": _comparisons(contents),
        "grid": _records(
            ("label", "variant", "seed", "learning_rate", "num_steps", "score", "general", "kl", "chosen", "count"),
            evidence.grid,
        ),
        "kl": _csv(("method", "seed", "kl"), ((*model, value) for model, value in evidence.kl.items())),
        "targets": _csv(
            ("method", "origin", "count"),
            ((method, origin, count) for method, some in flow.targets.items() for origin, count in some.items()),
        ),
        "reasons": _csv(
            ("origin", "outcome", "class", "count"),
            ((one.origin, *key, count) for one in flow.origins for key, count in one.classes.items()),
        ),
        "logprobs": _csv(
            ("origin", "logprob", "tokens"),
            ((origin, *pair) for origin, pairs in evidence.logprobs.items() for pair in pairs),
        ),
        "curves": _csv(
            ("method", "seed", "step", "loss"),
            ((*model, *point) for model, curve in evidence.curves.items() for point in curve),
        ),
        "answers": _csv(
            ("method", "seed", "task", "example", "value"),
            (
                (*model, task, example, value)
                for (model, task), values in contents.board.paired.items()
                for example, value in values.items()
            ),
        ),
        "costs": _csv(
            ("stage", *COSTS),
            ((stage, *(cost.get(name) for name in COSTS)) for stage, cost in evidence.costs.items()),
        ),
        "changed": _csv(CHANGED, ([row[name] for name in CHANGED] for row in changed_values(evidence.changed))),
        "reference": _records(
            ("what", "name", "paper", "bound", "unit", "place", "here", "low", "high"), contents.reference_rows
        ),
    }


def _estimates(row: Any) -> Iterable[tuple[str, Estimate]]:
    """What the headline table holds of one model, by name."""
    yield "target", row.target
    yield "target change", row.target_change
    if row.general_change is not None:
        yield "general change", row.general_change
    if row.likelihood_change is not None:
        yield "general change, by likelihood", row.likelihood_change
    for skill, (value, change) in row.skills.items():
        yield skill, value
        yield f"{skill} change", change


def _comparisons(contents: Contents) -> str:
    names = ("first", "second", "where", "difference")
    tests = ("p", "corrected_p", "mcnemar_p", "detectable", "sure")
    rows = []
    for one in comparison_values(contents.comparisons):
        over = {interval["over"]: interval for interval in one["intervals"]}
        ends = [over.get(kind, {}).get(end) for kind in _KINDS for end in ("low", "high")]
        rows.append([one[name] for name in names] + ends + [one[name] for name in tests])
    ends = [f"{end}_over_{kind.replace(' ', '_')}" for kind in _KINDS for end in ("low", "high")]
    return _csv((*names, *ends, *tests), rows)


_KINDS = ("seeds and examples", "seeds", "examples")


def _records(columns: Sequence[str], records: Iterable[Any]) -> str:
    rows = (dataclasses.asdict(record) for record in records)
    return _csv(columns, ([row[name] for name in columns] for row in rows))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and rows; None is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()
