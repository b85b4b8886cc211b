"""Rounds of training: between two of them the model answers its questions anew, and learns from what it says now.

In: numbers of steps, and own answers of several rounds with their verdicts. Out: the rounds, and the answers a method
chooses from. Own answers made anew in each epoch are nearer to what the model would say than the base's of long ago,
and forget about as little as reinforcement learning does ("iterative SFT", Retaining by Doing, arXiv 2510.18874; the
loop is STaR's, arXiv 2203.14465, without starting again from the base). No JAX, no files.

Own answers are numbered through: with two a round, the base's are 0 and 1, those of the first new round 2 and 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from s3ft_jax.records import Origin, Response, Verdict
from s3ft_jax.selection import METHODS, refusal


@dataclasses.dataclass(frozen=True)
class Round:
    """Some steps of a run, all trained on the same selections.

    Attributes:
      number: from 0; round 0 learns from the base's own answers.
      first: steps done before it.
      last: steps done after it.
    """

    number: int
    first: int
    last: int


def split(num_steps: int, steps_per_round: int) -> list[Round]:
    """The rounds of a run; one where ``steps_per_round`` is 0.

    The last has what is left, from half to one and a half of the others' steps: less would not be worth the sampling.

    100 steps, 24 a round: 0 to 24, to 48, to 72, to 100.
    """
    size = steps_per_round or max(1, num_steps)
    count = max(1, int(num_steps / size + 0.5))
    starts = [number * size for number in range(count)]
    return [Round(number, *span) for number, span in enumerate(zip(starts, [*starts[1:], num_steps], strict=True))]


def steps_of(epochs: float, num_examples: int, examples_per_step: float) -> int:
    """Steps of so many passes over the examples, at least 1; 0 for no passes."""
    return max(1, round(epochs * num_examples / examples_per_step)) if epochs else 0


def answers_anew(method: str) -> bool:
    """Whether the method trains on own answers at all."""
    return "own" in METHODS[method].prefer


def candidates(
    method: str, responses: Sequence[Response], verdicts: Mapping[tuple[Origin, int], Verdict], num_own: int
) -> list[Response]:
    """The responses to one question that a method may choose from after a round.

    Own answers of the newest round that has one fit to train on; if none has, those of the newest round. A question
    that the model answered right once and now gets wrong keeps its earlier answer, so that none falls back to gold.
    A method that keeps all right answers keeps those of every round. Other origins stay as they are.

    Args:
      method: a key of ``METHODS``.
      responses: of every origin and every round.
      verdicts: (origin, index) -> verdict.
      num_own: own answers per question and round.
    """
    rule = METHODS[method]
    if rule.keep_all:
        return list(responses)
    rounds = [response.index // num_own for response in responses if response.origin == "own"]
    fit = [
        response.index // num_own
        for response in responses
        if response.origin == "own" and refusal(response, verdicts, rule.judged) is None
    ]
    newest = max(fit or rounds, default=0)
    return [r for r in responses if r.origin != "own" or r.index // num_own == newest]
