"""Stage part: questions with examples before them, for the baseline that shows the base what is wanted.

[system, user Q]  ->  [system, user Q1, assistant gold1, user Q2, assistant gold2, user Q]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from s3ft_jax.batches import hash_order
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example


def draw(train: Sequence[Example], count: int, seed: int | None) -> list[Example]:
    """The examples that are shown; others for each seed, of equal ones none twice."""
    order = hash_order([example.id for example in train], f"few-shot/{seed}")
    return [train[place] for place in order[:count]]


def show(examples: Sequence[Example], shots: Sequence[Example]) -> list[Example]:
    """Each example with the shots as turns before its question; its own system turn stays the first."""
    turns = []
    for shot in shots:
        turns += [message for message in shot.messages if message["role"] != "system"]
        turns.append({"role": "assistant", "content": shot.gold})
    shown = []
    for example in examples:
        lead = tuple(message for message in example.messages if message["role"] == "system")
        rest = tuple(message for message in example.messages if message["role"] != "system")
        shown.append(dataclasses.replace(example, messages=(*lead, *turns, *rest)))
    return shown


def most_fitting(
    examples: Sequence[Example],
    train: Sequence[Example],
    seeds: Sequence[int],
    encoder: PromptEncoder,
    *,
    most: int,
    max_prompt: int,
) -> int:
    """How many shots every question has room for with every seed's draw; at most ``most``, 0 where none fits.

    Args:
      examples: the questions.
      train: what shots are drawn from.
      seeds: of the draws.
      encoder: messages -> token ids.
      most: shots wanted.
      max_prompt: longest prompt, tokens.
    """
    longest = max(examples, key=lambda example: len(encoder.encode_prompt(example.messages)))
    for count in range(most, 0, -1):
        shown = [show([longest], draw(train, count, seed))[0] for seed in seeds]
        if max(len(encoder.encode_prompt(example.messages)) for example in shown) <= max_prompt:
            return count
    return 0
