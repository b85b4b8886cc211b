"""How long the stages of a recipe take at least: the roofline of a step, times the steps.

In: the programs of an experiment, how many questions there are and how long they are. Out: seconds. A bound like
``costs.bound``: as if every step had full slots and rows, with nothing between two steps. What a real run adds, the
tail of a batch of responses, compiling, checkpoints, the judge, is not in it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from s3ft_jax.planning import costs
from s3ft_jax.planning.chips import Chip
from s3ft_jax.planning.experiment import Decode, Prefill, TrainStep


@dataclasses.dataclass(frozen=True)
class Questions:
    """What is asked.

    Attributes:
      number: how many questions.
      prompt_tokens, response_tokens: of one, in the mean.
      responses: sampled for each.
    """

    number: int
    prompt_tokens: float
    response_tokens: float
    responses: int = 1


class Duration(NamedTuple):
    """At least so many seconds, and what takes them: see ``costs.Bound``."""

    seconds: float
    by: str


def train_duration(step: TrainStep, rows: int, num_steps: int, chip: Chip) -> Duration:
    """Of so many optimizer steps of so many rows each (filled up to the parts of the mesh)."""
    size = -(-rows // step.unit) * step.unit
    bound = costs.bound(step.work(size), chip, step.split.chips, step.dtype)
    return Duration(num_steps * bound.seconds, bound.by)


def prefill_duration(prefill: Prefill, questions: Questions, copies: int, chip: Chip) -> Duration:
    """Of every question's prompt once, shared out among so many copies of the model."""
    length = max(1, round(questions.prompt_tokens))
    prompts = max(1, prefill.size * prefill.sizes(1, 1).prompt_length // length)  # as many tokens a batch as planned
    work = prefill.work_of(prompts, length)
    bound = costs.bound(work, chip, prefill.split.chips, prefill.dtype)
    return Duration(questions.number / copies / prompts * bound.seconds, bound.by)


def decode_duration(decode: Decode, questions: Questions, copies: int, chip: Chip) -> Duration:
    """Of all responses, by so many copies of the model with ``decode.size`` slots each.

    A slot's cache is read as far as it is filled: the prompt and, in the mean, half of the response. The last response
    to be begun takes as many steps as it has tokens, so that no fewer steps are counted than a response has.
    """
    total = questions.number * questions.responses
    steps = max(total / copies / decode.size, 1.0) * questions.response_tokens
    filled = max(1, round(questions.prompt_tokens + questions.response_tokens / 2))
    bound = costs.bound(decode.work_of(decode.size, filled, 1), chip, decode.split.chips, decode.dtype)
    return Duration(steps * bound.seconds, bound.by)


def shown(seconds: float) -> str:
    """For people: ``42 s``, ``12 min``, ``5.1 h``, ``3.0 days``."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 72 * 3600)):
        if seconds < most:
            number = seconds / size
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
