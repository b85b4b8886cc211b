"""The table of answers of the report room: how near to gold, and when a model declines, on questions about passages."""

from __future__ import annotations

from collections.abc import Sequence

from s3ft_jax.evaluation.statistics import Interval, mean_interval, normal_interval, wilson_interval
from s3ft_jax.records import Score
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import bounds, method_name, percent

METRICS = {
    "exact_match": "exact match",
    "token_f1": "token F1",
    "token_recall": "token recall",
    "answerable_accuracy": "answerable, right",
    "unanswerable_accuracy": "unanswerable, declined",
    "false_refusals": "answerable, declined",
    "answerability": "declined as it should",
}
"""As ``evaluation.answers`` names them, and as a reader does."""
SHARES = set(METRICS) - {"token_f1", "token_recall"}
"""Those of which each answer has all or nothing."""


def answer_table(scores: Sequence[Score], task: str, split: str, methods: Sequence[str]) -> Table | None:
    """One line per model; None where the task is none of questions about passages.

    Args:
      scores: of all models.
      task, split: the target's.
      methods: in the order of the tables, without the base.
    """
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if (score.task, score.split) == (task, split) and score.metric in METRICS:
            found.setdefault((score.method, score.metric), []).append(score)
    metrics = [metric for metric in METRICS if (BASE, metric) in found]
    if not metrics:
        return None
    body = []
    for method in (BASE, *methods):
        cells = [_cell(found.get((method, metric), ())) for metric in metrics]
        body.append((label(method_name(method), method), *cells))
    counts = {metric: found[BASE, metric][0].count for metric in metrics}
    answerable = counts.get("false_refusals", 0)
    caption = (
        f"Answers to {max(counts.values()):,} questions, {answerable:,} of them answerable, in %; in brackets 95 % "
        "intervals (over seeds where there are several, else over examples). Where the model declines, exact match and "
        "F1 are 1 on unanswerable questions and 0 on others, as recall is, which is of answerable questions alone. "
        "Answerable and declined is a false refusal."
    )
    return Table(caption, ("", *(METRICS[metric] for metric in metrics)), tuple(body))


def _cell(scores: Sequence[Score]) -> Cell:
    if not scores:
        return Cell("\u2013")
    interval: Interval
    if len(scores) > 1:
        interval = mean_interval([score.value for score in scores])
    elif scores[0].metric in SHARES:  # 0 of 40 is not known to be 0
        interval = wilson_interval(scores[0].value, scores[0].count)
    else:
        interval = normal_interval(scores[0].value, scores[0].stderr, scores[0].count)
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Cell(percent(interval.mean), bounds(low, high, signed=False))
