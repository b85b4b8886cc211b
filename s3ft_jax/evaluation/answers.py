"""The evaluation room, for answers to questions on passages: how near they come to gold, and when they decline.

In: examples of the answers judge with the responses to them. Out: ``Score`` values beside the accuracy, which is the
judge's:

    exact_match            share equal to an accepted answer after normalisation (SQuAD, arXiv 1606.05250)
    token_f1               mean F1 of tokens (the same)
    token_recall           mean share of the answer's tokens that are in the response; answerable questions only (SSR's
                           measure of answers, arXiv 2409.04787; whether it counts the unanswerable is not known to us)
    answerable_accuracy    share of the answerable questions that the judge found right
    unanswerable_accuracy  share of the unanswerable questions that were declined
    false_refusals         share of the answerable questions that were declined
    answerability          share of all questions that were declined exactly if they are unanswerable (SSR's
                           classification accuracy)

Exact match and F1 are those of SQuAD 2.0's evaluate-v2.0.py (arXiv 1806.03822), with its normalisation and not the
judge's (to which 15 is not 1.5): accepted answers of which that leaves nothing are set aside, and a model that declines
has said nothing, which is 1 on unanswerable questions and 0 on others, whatever words it uses. So for recall.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from s3ft_jax.judges.answers import exact_match, is_refusal, normalise, token_f1, token_recall
from s3ft_jax.judges.composition import single_names
from s3ft_jax.records import Example, Response, Score, Verdict

JUDGE = "answers"


def score_answers(
    examples: Sequence[Example],
    responses: Sequence[Response],
    verdicts: Sequence[Verdict],
    *,
    method: str,
    seed: int | None,
    split: str,
) -> list[Score]:
    """The scores of each task whose examples are for the answers judge; a metric without a question is left out.

    Args:
      examples: of one split; those of other judges are passed over.
      responses, verdicts: one to each example, in any order.
      method, seed, split: as in ``score_verdicts``.
    """
    found = answer_values(examples, responses, verdicts)
    lists = {key: list(values.values()) for key, values in found.items()}
    return [
        Score(method, seed, task, split, metric, sum(some) / len(some), len(some), _stderr(some))
        for (task, metric), some in lists.items()
    ]


def answer_values(
    examples: Sequence[Example], responses: Sequence[Response], verdicts: Sequence[Verdict]
) -> dict[tuple[str, str], dict[str, float]]:
    """(task, metric) -> example id -> its value in [0, 1]: what the scores are the means of.

    Args:
      examples, responses, verdicts: as for ``score_answers``.
    """
    texts = {response.example_id: response.text for response in responses}
    right = {verdict.example_id: verdict.outcome == "right" for verdict in verdicts}
    values: dict[tuple[str, str], dict[str, float]] = {}
    for example in filter(has_answers, examples):
        for metric, value in _values(example, texts[example.id], right[example.id]).items():
            values.setdefault((example.task, metric), {})[example.id] = value
    return values


def has_answers(example: Example) -> bool:
    """Whether the answers judge, alone or with others, judges responses to this example."""
    return JUDGE in single_names(example.judge)


def _values(example: Example, text: str, right: bool) -> Mapping[str, float]:
    declined = is_refusal(example, text)
    if example.check.get("unanswerable", False):
        said = float(declined)
        return {"exact_match": said, "token_f1": said, "unanswerable_accuracy": said, "answerability": said}
    answers = list(filter(normalise, example.check.get("answers") or ()))
    return {
        "exact_match": 0.0 if declined else float(exact_match(text, answers)),
        "token_f1": 0.0 if declined else token_f1(text, answers),
        "token_recall": 0.0 if declined else token_recall(text, answers),
        "answerable_accuracy": float(right),
        "false_refusals": float(declined),
        "answerability": float(not declined),
    }


def _stderr(values: Sequence[float]) -> float:
    """Of the mean: sqrt(variance / count), the variance with count in the denominator, as for a share."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values) ** 2)
