"""Overlap: which examples ask what a training example asks, so that a score on them is no measure of new questions."""

from __future__ import annotations

from collections.abc import Sequence

from s3ft_jax.records import Example


def count_shared(examples: Sequence[Example], train: Sequence[Example]) -> int:
    """How many examples have a prompt that a training example has, whatever their case and white space.

    The whole conversation is compared, so that the same question about another passage is another prompt.
    """
    known = {_asked(example) for example in train}
    return sum(_asked(example) in known for example in examples)


def _asked(example: Example) -> str:
    """The turns as one text; folded as ``pick_split`` folds what keeps rows together."""
    return "\0".join(f"{turn['role']} {' '.join(turn['content'].lower().split())}" for turn in example.messages)
