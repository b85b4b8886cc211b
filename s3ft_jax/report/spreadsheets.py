"""The spreadsheets of the report room: what the tables and plots are made of, as csv files for other programs.

In: ``Contents``. Out: name -> text of a csv file: one header line, one line per row, fractions and nats unrounded.
Every table and drawing of the page has one; ``tests/report/test_contents.py`` says which.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from s3ft_jax.report.benchmarks import benchmark_sheets
from s3ft_jax.report.browsing import changed_values
from s3ft_jax.report.comparisons import comparison_values
from s3ft_jax.report.contents import Contents
from s3ft_jax.report.flow_sheets import Sheet, flow_sheets
from s3ft_jax.report.summary import Estimate, Row
from s3ft_jax.report.tables import flatten
from s3ft_jax.report.training_curves import LOOKS

CHANGED = ("method", "seed", "skill", "regressed", "fixed", "unchanged")
ITEM = ("method", "seed", "skill", "fate", "item_id", "prompt", "gold")
ANSWERED = ("answer_method", "answer_seed", "value", "text", "why")
COSTS = ("seconds", "tokens", "stops", "unseen")


def build_spreadsheets(contents: Contents) -> dict[str, str]:
    """Name -> csv; one with a header alone says that there was nothing."""
    evidence, flow = contents.evidence, contents.flow
    return {
        "summary": _summary(contents.rows),
        "scores": _records(_SCORES, evidence.scores),
        "control": _summary(contents.control_rows or []),
        "control_scores": _records(_SCORES, evidence.control.scores if evidence.control else ()),
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
    } | {name: _csv(*sheet) for name, sheet in (_sheets(contents) | flow_sheets(contents)).items()}


def _sheets(contents: Contents) -> dict[str, Sheet]:
    """What the document holds beside: each a list of flat records there, or names and values."""
    document = contents.document
    sheets = {name: (columns, _lines(document[name], columns)) for name, columns in _LISTS.items()}
    claimed = ("name", "verdict", "statement", "detail", "difference")
    sheets["claims"] = (claimed, _lines(document["claims"], claimed))
    told = [("caution", text) for text in document["cautions"]] + [("disclosure", text) for text in document["notes"]]
    told += [(name, document[name]) for name in ("judges", "sandbox") if document[name]]
    sheets["notes"] = (("kind", "text"), told)
    for name in ("settings", "versions", "hashes"):
        sheets[name] = (("name", "value"), flatten(document[name]))
    reached = [(one, best) for one in document["frontier"] for best in one["best"]]
    lost = ("loss", "score", "variant")
    sheets["frontier"] = (("label", *lost), [(one["label"], *(best[name] for name in lost)) for one, best in reached])
    likely = ("origin", "texts", "nats_per_token", "nats_per_text", "median", "tokens_per_text")
    sheets["likelihoods"] = (likely, _lines(document["likelihoods"]["origins"], likely))
    sheets["logprob_bins"] = (("of", "low", "high", "origin", "texts"), _bins(document["likelihoods"]["histograms"]))
    answered = ("method", "seed", "outcome", "found", "reason", "text")
    read = [(one["example_id"], *row) for one in document["examples"] for row in _lines(one["answers"], answered)]
    sheets["browsed_answers"] = (("example_id", *answered), read)
    sheets["changed_answers"] = (ITEM + ANSWERED, _changed_answers(document["changed_items"]))
    return sheets | benchmark_sheets(contents.evidence)


def _changed_answers(items: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """A line per answer, the item's own columns before it."""
    return [
        (*(item[name] for name in ITEM), *row)
        for item in items
        for row in _lines(item["answers"], [name.removeprefix("answer_") for name in ANSWERED])
    ]


def _lines(records: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(record[name] for name in columns) for record in records]


def _bins(histograms: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (one["of"], low, high, origin, count)
        for one in histograms
        for origin, counts in one["texts"].items()
        for low, high, count in zip(one["edges"], one["edges"][1:], counts, strict=False)  # an edge more than bins
    ]


def _summary(rows: Sequence[Row]) -> str:
    return _csv(
        ("method", "what", "mean", "low", "high", "interval", "seeds", "corrected_p", "certain"),
        (
            (row.method, what, one.mean, one.low, one.high, one.rule, row.seeds, one.corrected, _certain(one))
            for row in rows
            for what, one in _estimates(row)
        ),
    )


def _estimates(row: Row) -> Iterable[tuple[str, Estimate]]:
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


def _certain(one: Estimate) -> bool | None:
    """Whether a change is; None of a level, which has nothing to be certain of."""
    return one.certain if one.parts else None


def _comparisons(contents: Contents) -> str:
    names = ("first", "second", "where", "difference")
    tests = ("p", "corrected_p", "mcnemar_p", "detectable", "sure")
    rows = []
    for one in comparison_values(contents.comparisons):
        over = {interval["over"]: interval for interval in one["intervals"]}
        ends = [over.get(kind, {}).get(end) for kind in _KINDS for end in ("low", "high")]
        rows.append([one[name] for name in names] + ends + [one[name] for name in (*tests, "metric")])
    ends = [f"{end}_over_{kind.replace(' ', '_')}" for kind in _KINDS for end in ("low", "high")]
    return _csv((*names, *ends, *tests, "metric"), rows)


_SCORES = ("method", "seed", "task", "split", "metric", "value", "count", "stderr", "undecided", "shown")
_LISTS = {
    "fates": ("method", "seed", "regressed", "fixed", "right_in_both", "not_right_in_both"),
    "examples": ("example_id", "fate", "prompt", "gold"),
    "looks": ("method", "seed", "step", *LOOKS),
}
"""Keys of the document that are lists of flat records -> those of their fields that are columns."""
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
