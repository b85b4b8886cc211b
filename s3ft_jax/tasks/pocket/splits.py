"""Room: pocket tasks. From drafts to examples: the splits that never overlap, and the two prompts around a question.

In: a function that draws one question with its gold. Out: examples of one split.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Any

from s3ft_jax.records import Example
from s3ft_jax.tasks.pocket import draws
from s3ft_jax.tasks.task import DataError

SPLITS = ("train", "validation", "test")
GOLD_STYLES = ("near", "mid", "far")
REFERENCE_SHARES = {"near": 0.2, "mid": 0.4, "far": 0.2}
"""Shares of the gold styles among the references of the rewriting texts; each task adds its own styles."""
CUE = " Use annotated style."
_REFERENCE = "\nReference: "


@dataclasses.dataclass(frozen=True)
class Draft:
    """A question with its gold before it has a number.

    Attributes:
      prompt: the question.
      gold: the gold answer in the style asked for.
      check: makes what the judge needs; called for the questions that are kept.
    """

    prompt: str
    gold: str
    check: Callable[[], Mapping[str, Any]]


def paraphrase_prompt(question: str, gold: str) -> str:
    """The prompt that shows the gold answer and asks for the model's own wording (S3FT section 3, in pocket words)."""
    return f"{question}{_REFERENCE}{gold}\nSay it your own way."


def cue(question: str) -> str:
    """The prompt that asks for the style of which the mid gold is one member."""
    return question + CUE


def question_of(prompt: str) -> str:
    """The plain question inside a prompt made by ``paraphrase_prompt`` or ``cue``, or the prompt itself."""
    return prompt.split(_REFERENCE)[0].removesuffix(CUE)


def check_names(task: str, split: str, gold_style: str) -> None:
    """Raises ValueError, naming the alternatives, for a split or gold style that pocket tasks do not have."""
    if split not in SPLITS:
        raise DataError(f"pocket task {task} has no split {split!r}; it has {', '.join(SPLITS)}")
    if gold_style not in GOLD_STYLES:
        raise DataError(f"task.gold_style is {gold_style!r}; pocket tasks have {', '.join(GOLD_STYLES)}")


def deal(
    task: str, split: str, count: int, seed: int, gold_style: str, judge: str, draw: Callable[[random.Random], Draft]
) -> list[Example]:
    """Draw until ``count`` different questions have been found whose home is this split.

    Raises:
      DataError: unknown split or gold style, a negative count, or more asked for than there are questions.
    """
    check_names(task, split, gold_style)
    if count < 0:
        raise DataError(f"pocket task {task}: {count} {split} examples asked for; ask for 0 or more")
    rng = random.Random(f"{task}/{split}/{seed}")
    found: dict[str, Draft] = {}
    misses = 0
    while len(found) < count:
        draft = draw(rng)
        if draws.home(draft.prompt) == split and draft.prompt not in found:
            found[draft.prompt] = draft
            misses = 0
            continue
        misses += 1
        if misses > 20_000:
            raise DataError(
                f"pocket task {task}: only {len(found)} different {split} questions found, {count} asked for. "
                "Ask for fewer (task.num_train, task.num_validation, task.num_test)."
            )
    return [_example(task, split, number, judge, draft) for number, draft in enumerate(found.values())]


def _example(task: str, split: str, number: int, judge: str, draft: Draft) -> Example:
    shown = paraphrase_prompt(draft.prompt, draft.gold)
    return Example(
        id=f"{task}/{split}/{number:05d}",
        task=task,
        split=split,
        messages=({"role": "user", "content": draft.prompt},),
        gold=draft.gold,
        judge=judge,
        check=draft.check(),
        paraphrase_messages=({"role": "user", "content": shown},) if split == "train" else (),
    )
