"""The rungs of a method: how many questions reached each, how many it gave a target, and what that cost.

In: selections, and the responses they were chosen from. Out: counts, for the manifest of ``select`` and the report.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from s3ft_jax.records import Origin, Response, Selection, Verdict
from s3ft_jax.selection import METHODS


@dataclasses.dataclass(frozen=True)
class Rung:
    """One origin of one method.

    Attributes:
      reached: questions for which no earlier rung had a target (with ``keep_all``: all).
      accepted: questions of these that got a target here.
      targets: training targets from here; more than ``accepted`` with ``keep_all``.
      responses: sampled for the questions that reached this rung.
      tokens: sampled for them; what was handed to the model (prompts, a beginning of gold) is not counted.
    """

    reached: int
    accepted: int
    targets: int
    responses: int
    tokens: int


def sampled_tokens(responses: Iterable[Response]) -> int:
    """Tokens that were sampled: without prompts and without the ids that were given."""
    return sum(len(response.response_ids) - response.given for response in responses)


def count_rungs(
    method: str,
    example_ids: Sequence[str],
    selections: Sequence[Selection],
    responses: Mapping[str, Sequence[Response]],
) -> dict[Origin, Rung]:
    """The rungs of a method in its order of preference, and ``replay`` last where it replays.

    The cost is that of this method alone: another one in the same run may have had more questions asked.

    Args:
      method: a key of ``METHODS``.
      example_ids: of all questions.
      selections: of this method.
      responses: example id -> all its responses.
    """
    rule = METHODS[method]
    targets: dict[str, Counter[str]] = defaultdict(Counter)
    for selection in selections:
        targets[selection.origin][selection.example_id] += 1
    rungs: dict[Origin, Rung] = {}
    waiting = list(example_ids)
    for origin in rule.prefer:
        mine = [r for example_id in waiting for r in responses.get(example_id, ()) if r.origin == origin]
        taken = targets[origin]
        rungs[origin] = Rung(len(waiting), len(taken), taken.total(), len(mine), sampled_tokens(mine))
        if not rule.keep_all:
            waiting = [example_id for example_id in waiting if example_id not in taken]
    if rule.replay:
        taken = targets["replay"]
        rungs["replay"] = Rung(len(taken), len(taken), taken.total(), 0, 0)
    return rungs


def pass_rates(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """How many of each question's responses were right.

    Returns:
      ``examples`` (questions judged), ``mean`` (of right / judged over them, undecided counting as not right) and
      ``by_right``: number of right responses, from 0 to all, -> questions that have so many.
    """
    judged: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for verdict in verdicts:
        judged[verdict.example_id] += 1
        right[verdict.example_id] += verdict.outcome == "right"
    by_right = Counter(right[example_id] for example_id in judged)
    most = max(judged.values(), default=-1)
    mean = sum(right[example_id] / count for example_id, count in judged.items()) / max(1, len(judged))
    return {
        "examples": len(judged),
        "mean": mean,
        "by_right": {str(number): by_right[number] for number in range(most + 1)},
    }
