"""Room: pocket tasks. The texts the pocket model is pretrained on, one stage from the start.

Every text is a prompt and a response, nearly always in the base's own style. What makes the base fit for S3FT: it
knows each target task in its own wordings; it can say a shown answer its own way where the question alone cannot be
understood (``rewrite``); and rarely, when asked, it writes in a style related to the mid gold (``cued``).

In: a seed and a count. Out: documents; how many draws were refused because they would show a question of another split.
"""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Callable, Iterator

from s3ft_jax.tasks.pocket import arithmetic, draws, programs, reading, skills, splits

SHARES = {
    "arithmetic": 0.125,
    "programs": 0.050,
    "reading": 0.170,
    "reading brief": 0.055,
    "reading retell": 0.050,
    "arithmetic rewrite": 0.050,
    "programs rewrite": 0.050,
    "reading rewrite": 0.045,
    "arithmetic cued": 0.007,
    "programs cued": 0.007,
    "reading cued": 0.006,
    "mmlu": 0.100,
    "lookup": 0.020,
    "labels": 0.030,
    "repeat": 0.045,
    "facts": 0.020,
    "truth": 0.020,
    "myths": 0.020,
    "wino": 0.020,
    "strings": 0.045,
    "units": 0.020,
    "dates": 0.025,
    "instructions": 0.020,
}
"""Share of every kind among the documents; they sum to 1. Brief passages, retold ones, plain lookup, labels and rows to
repeat are the steps that reading and mmlu are made of; without them both are learnt very late."""
RARE_SHARE = 0.05  # of the target tasks' own documents: in the target's phrasing, without its never-met words
_TASKS = {"arithmetic": arithmetic, "programs": programs, "reading": reading}


@dataclasses.dataclass(frozen=True)
class Document:
    """One pretraining text; the loss is on the response only."""

    kind: str
    prompt: str
    response: str


def documents(seed: int, count: int, refused: collections.Counter[str] | None = None) -> Iterator[Document]:
    """``count`` documents, the same for the same seed; document ``i`` does not depend on the others.

    Args:
      seed: of all of them.
      count: how many.
      refused: counts, per kind, draws thrown away because their question belongs to train, validation or test.
    """
    makers = {kind: _maker(kind) for kind in SHARES}
    for number in range(count):
        rng = random.Random(f"pretraining/{seed}/{number}")
        kind = draws.pick_by_share(rng, SHARES)
        while True:
            prompt, response = makers[kind](rng)
            # The skills guard their own questions; the targets' are kept apart by their home.
            if kind.split()[0] not in _TASKS or draws.home(splits.question_of(prompt)) == "pretraining":
                break
            if refused is not None:
                refused[kind] += 1
        yield Document(kind, prompt, response)


def _maker(kind: str) -> Callable[[random.Random], tuple[str, str]]:
    name, _, form = kind.partition(" ")
    if name not in _TASKS:
        return lambda rng: skills.pretraining(rng, kind)
    task = _TASKS[name]
    if form:
        return getattr(task, form)
    return lambda rng: task.pretraining(rng, "rare" if draws.chance(rng, RARE_SHARE) else "plain")
