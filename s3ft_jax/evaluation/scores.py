"""The scores of the evaluation room: verdicts and choice log-probabilities become one ``Score`` per task.

In: examples with their verdicts, or with the log-probability of each choice. Out: ``Score`` values whose value is a
fraction and whose stderr is binomial. Nothing is left out: an example without a verdict, or with two, is an error.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterable, Sequence

from s3ft_jax.records import Example, Score, Verdict

ACCURACY = "accuracy"
CHOICE_LIKELIHOOD = "choice_likelihood"
CHOICE_LIKELIHOOD_PER_TOKEN = "choice_likelihood_per_token"

_NAMED = 5


class ScoreError(ValueError):
    """Examples and answers do not match. The message names the examples, the cause and the fix."""


def binomial_stderr(value: float, count: int) -> float:
    """The standard error of a fraction over examples: sqrt(value (1 - value) / count)."""
    return math.sqrt(value * (1.0 - value) / count)


def score_verdicts(
    verdicts: Iterable[Verdict], examples: Sequence[Example], *, method: str, seed: int | None, split: str
) -> list[Score]:
    """The accuracy of one model, one score per task: the share of examples whose answer was judged right.

    ``undecided`` verdicts count as not right and are reported in ``Score.undecided``.

    Args:
      verdicts: exactly one per example, of origin ``own``, in any order.
      examples: all examples of the split; may span several tasks.
      method: ``base`` or the method that tuned the model.
      seed: the tuning seed; None for the base.
      split: must be the split of every example.

    Returns:
      One ``Score`` per task, in the order in which the tasks first appear in ``examples``.

    Raises:
      ScoreError: an example has no verdict or several, a verdict belongs to no example, an example is of another
        split, two examples share an id, or a verdict judges a paraphrase.
    """
    by_task = _examples_by_task(examples, split)
    verdicts = list(verdicts)
    _check_verdicts(verdicts, examples)
    outcome = {verdict.example_id: verdict.outcome for verdict in verdicts}
    scores = []
    for task, members in by_task.items():
        outcomes = Counter(outcome[example.id] for example in members)
        value = outcomes["right"] / len(members)
        scores.append(_score(method, seed, task, split, ACCURACY, value, len(members), outcomes["undecided"]))
    return scores


def score_choices(
    examples: Sequence[Example],
    logprobs: Sequence[Sequence[float]],
    *,
    method: str,
    seed: int | None,
    split: str,
    right: Sequence[int] | None = None,
    lengths: Sequence[Sequence[int]] | None = None,
) -> list[Score]:
    """The likelihood score of one model on questions with choices: how often the right choice is the likeliest.

    No text is generated, so an answer in a changed style does not count against the model; this is the measure closest
    to MMLU, HellaSwag and the like as lm-evaluation-harness scores them (its ``acc`` and ``acc_norm``). A tie between
    the right choice and another counts as wrong, so a model that says the same of every choice scores 0, not 1.

    Worked example, the second choice is right::

        logprobs    -9.1   -2.0   -4.4     sums over the tokens of each choice, nats
        lengths        3      1      4     tokens
        per token   -3.0   -2.0   -1.1     right by choice_likelihood, wrong by choice_likelihood_per_token

    Args:
      examples: questions with choices, any number of tasks.
      logprobs: aligned with ``examples``; per example the summed log-probability (nats, <= 0) of each choice.
      method, seed, split: as in ``score_verdicts``.
      right: aligned with ``examples``; the position of the right choice. Default: as ``right_choice`` finds it.
      lengths: aligned with ``logprobs``; tokens of each choice. When given, a second score per task with the metric
        ``choice_likelihood_per_token`` divides each sum by its length. (lm-evaluation-harness divides by bytes.)

    Returns:
      Per task, in order of first appearance, the ``choice_likelihood`` score and then the per-token one if asked for.

    Raises:
      ScoreError: lists of different lengths, fewer than two choices, a log-probability that is NaN or above 0, a
        right position that is no choice, or an example of another split.
    """
    by_task = _examples_by_task(examples, split)
    _check_aligned(examples, logprobs=logprobs, right=right, lengths=lengths)
    hits: dict[str, dict[str, bool]] = {CHOICE_LIKELIHOOD: {}}
    if lengths is not None:
        hits[CHOICE_LIKELIHOOD_PER_TOKEN] = {}
    for row, example in enumerate(examples):
        sums = [float(value) for value in logprobs[row]]
        answer = _right_choice(example, right[row] if right is not None else None, len(sums))
        _check_logprobs(example, sums)
        hits[CHOICE_LIKELIHOOD][example.id] = _likeliest(sums, answer)
        if lengths is not None:
            means = _per_token(example, sums, lengths[row])
            hits[CHOICE_LIKELIHOOD_PER_TOKEN][example.id] = _likeliest(means, answer)
    scores = []
    for task, members in by_task.items():
        for metric, hit in hits.items():
            value = sum(hit[example.id] for example in members) / len(members)
            scores.append(_score(method, seed, task, split, metric, value, len(members), 0))
    return scores


def right_choice(example: Example) -> int | None:
    """Where the right choice stands in ``check["choices"]``; None where that cannot be told.

    By ``check["choice"]`` (its position from 0), else by ``check["answer"]`` or gold: the text of exactly one choice,
    or the capital letter of one. The choices must be a list of two texts or more.
    """
    check = example.check
    choices, given = check.get("choices"), check.get("choice")
    if not isinstance(choices, list | tuple) or len(choices) < 2:
        return None
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        return given if 0 <= given < len(choices) else None
    answer = check.get("answer", example.gold)
    if list(choices).count(answer) == 1:
        return list(choices).index(answer)
    letters = string.ascii_uppercase[: len(choices)]
    letter = isinstance(answer, str) and len(answer) == 1 and answer in letters and answer not in choices
    return letters.index(answer) if letter else None


def _likeliest(values: Sequence[float], answer: int) -> bool:
    return all(values[answer] > value for place, value in enumerate(values) if place != answer)


def _per_token(example: Example, sums: Sequence[float], tokens: Sequence[int]) -> list[float]:
    if len(tokens) != len(sums) or min(tokens) < 1:
        raise ScoreError(f"example {example.id}: needs one length >= 1 per choice, found {list(tokens)}.")
    return [value / length for value, length in zip(sums, tokens, strict=True)]


def _score(
    method: str, seed: int | None, task: str, split: str, metric: str, value: float, count: int, undecided: int
) -> Score:
    return Score(
        method=method,
        seed=seed,
        task=task,
        split=split,
        metric=metric,
        value=value,
        count=count,
        stderr=binomial_stderr(value, count),
        undecided=undecided,
    )


def _examples_by_task(examples: Sequence[Example], split: str) -> dict[str, list[Example]]:
    """Examples by task in order of first appearance; an error when there are none, or two with one id."""
    if not examples:
        raise ScoreError(f"there is no example to score in split {split!r}. Run the prepare stage with this split.")
    ids = Counter(example.id for example in examples)
    _refuse([key for key, times in ids.items() if times > 1], "share their id with another example; ids must be unique")
    strangers = [example.id for example in examples if example.split != split]
    _refuse(strangers, f"are not of split {split!r}; score each split on its own")
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    return by_task


def _check_verdicts(verdicts: Sequence[Verdict], examples: Sequence[Example]) -> None:
    times = Counter(verdict.example_id for verdict in verdicts)
    known = {example.id for example in examples}
    shown = [verdict.example_id for verdict in verdicts if verdict.origin != "own"]
    _refuse(shown, "have a verdict on an answer that was shown gold (origin is not own); it must not be scored")
    _refuse([key for key in times if key not in known], "have a verdict but are not among the examples")
    _refuse([key for key in known if key not in times], "have no verdict; run the judge stage again for this model")
    _refuse([key for key, count in times.items() if count > 1], "have several verdicts; one answer each is scored")


def _check_aligned(examples: Sequence[Example], **lists: Sequence | None) -> None:
    for name, values in lists.items():
        if values is not None and len(values) != len(examples):
            raise ScoreError(f"{name} has {len(values)} entries for {len(examples)} examples; one each is needed.")


def _check_logprobs(example: Example, sums: Sequence[float]) -> None:
    if len(sums) < 2:
        raise ScoreError(f"example {example.id}: a choice needs at least 2 options, found {len(sums)}.")
    # A sum of float32 log-probabilities may come out a hair above 0; anything more is not a log-probability.
    if any(math.isnan(value) or value > 1e-3 for value in sums):
        raise ScoreError(f"example {example.id}: log-probabilities must be numbers <= 0, found {list(sums)}.")


def _right_choice(example: Example, given: int | None, count: int) -> int:
    if given is None:
        choices, given = list(example.check.get("choices", ())), _position(example)
        if len(choices) != count:
            raise ScoreError(f"example {example.id}: {count} log-probabilities for {len(choices)} choices.")
    if not 0 <= given < count:
        raise ScoreError(f"example {example.id}: right choice {given} is not one of 0..{count - 1}.")
    return given


def _position(example: Example) -> int:
    """Where the right choice stands, or an error."""
    place = right_choice(example)
    if place is not None:
        return place
    choices, answer = list(example.check.get("choices", ())), example.check.get("answer", example.gold)
    raise ScoreError(
        f"example {example.id}: the answer {answer!r} must stand exactly once in check['choices'], found {choices!r}. "
        "Fix the task, give check['choice'] (its position), or give score_choices the right positions."
    )


def _refuse(ids: Sequence[str], fault: str) -> None:
    """Raise a ScoreError naming the first few of ``ids``, unless there are none."""
    if not ids:
        return
    names = sorted(ids)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise ScoreError(f"{len(names)} example(s) {fault}: {', '.join(names[:_NAMED])}{more}.")
