"""The task room: what is asked and what right means. Data rows come in, examples go out.

Nothing after the stage ``prepare`` imports a task: an example carries all that later rooms need: its prompt, its
gold answer and what the judge must know. Heavy packages (datasets, pyarrow, tensorflow_datasets) are imported only when
rows need them.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from s3ft_jax.records import Example
from s3ft_jax.tasks import custom, gsm8k, mbpp, reading, unanswerable
from s3ft_jax.tasks.overlap import count_shared
from s3ft_jax.tasks.rows import unread_files
from s3ft_jax.tasks.task import GENERAL_SPLITS, SPLITS, DataError, Intake, Task, TaskSettings, with_system

__all__ = ["TASKS", "DataError", "Intake", "Task", "TaskSettings", "count_shared", "load_examples"]

POCKET_SIZES = {"train": 1024, "validation": 256, "test": 600}
"""Generated questions of a pocket task where the settings name no number."""


def _pocket_size(split: str, settings: TaskSettings) -> int:
    own = {"train": settings.num_train, "validation": settings.num_validation, "test": settings.num_test}[split]
    size = own or POCKET_SIZES[split]
    return min(size, settings.limit) if settings.limit else size


def _generated(examples: list[Example], settings: TaskSettings, intake: Intake) -> list[Example]:
    intake.source = f"the generator, seed {settings.seed}"
    intake.read = intake.used = len(examples)
    return examples


def _pocket_arithmetic(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    from s3ft_jax.tasks.pocket import arithmetic

    made = arithmetic.examples(split, _pocket_size(split, settings), settings.seed, settings.gold_style)
    return _generated(made, settings, intake)


def _pocket_programs(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    from s3ft_jax.tasks.pocket import programs

    made = programs.examples(split, _pocket_size(split, settings), settings.seed, settings.gold_style)
    return _generated(made, settings, intake)


def _pocket_reading(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    from s3ft_jax.tasks.pocket import reading as pocket_reading

    made = pocket_reading.examples(split, _pocket_size(split, settings), settings.seed, settings.gold_style)
    return _generated(made, settings, intake)


def _pocket_skills(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    from s3ft_jax.tasks.pocket import skills

    made = skills.replay_examples(settings.seed) if split == "train" else skills.examples(settings.seed)
    made = _generated(made, settings, intake)
    if not settings.limit:
        return made
    kept, counts = [], {}
    for example in made:
        counts[example.task] = counts.get(example.task, 0) + 1
        if counts[example.task] <= settings.limit:
            kept.append(example)
        else:
            intake.leave("beyond the limit")
    intake.used = len(kept)
    return kept


TASKS: dict[str, Task] = {
    "gsm8k": Task("gsm8k", gsm8k.load, columns=("question", "answer")),
    "mbpp": Task("mbpp", mbpp.load),
    "reading": Task("reading", reading.load, columns=("context", "question", "answers")),
    "unanswerable": Task("unanswerable", unanswerable.load, columns=("context", "question", "answers")),
    "custom": Task("custom", custom.load, columns=None),
    "pocket/arithmetic": Task("pocket/arithmetic", _pocket_arithmetic),
    "pocket/programs": Task("pocket/programs", _pocket_programs),
    "pocket/reading": Task("pocket/reading", _pocket_reading),
    "pocket/skills": Task("pocket/skills", _pocket_skills, general=True),
}


def load_examples(task_settings: Mapping[str, Any], split: str) -> tuple[list[Example], Intake]:
    """Load one split of one task, and the count of what became of every row.

    Args:
      task_settings: the ``task`` section of the configuration as a plain mapping (see ``TaskSettings``).
      split: train, validation or test; of a general task ``general``, or ``train`` for rows to replay.

    Raises:
      DataError: an unknown task, setting or split; data that is not there; a row that cannot be used while
        ``task.bad_rows`` is ``error``; no example at all in train, test or general; two examples with one id.
    """
    settings = TaskSettings.from_mapping(task_settings)
    if settings.name not in TASKS:
        near = difflib.get_close_matches(settings.name, TASKS, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Tasks: {', '.join(TASKS)}."
        raise DataError(f"task.name: unknown task {settings.name!r}. {hint}")
    task = TASKS[settings.name]
    expected = GENERAL_SPLITS if task.general else SPLITS
    if split not in expected:
        raise DataError(f"{task.name} has no split {split!r}; it has {', '.join(expected)}.")
    for name in settings.columns if task.columns is not None else ():
        if name not in task.columns:
            known = f"it knows {', '.join(task.columns)}" if task.columns else "it knows none"
            raise DataError(f"task.columns.{name}: has no effect: {task.name} reads no such column; {known}.")
    intake = Intake(task.name, split)
    examples = task.load(split, settings, intake)
    if task.name != "custom":  # which may fill columns in
        examples = [_led(example, settings.system) for example in examples]
    if split == "train" and not task.general:
        intake.unread = unread_files(settings.data, settings.splits)
    if intake.read != intake.used + sum(intake.left.values()) + intake.num_dropped or intake.used != len(examples):
        raise AssertionError(f"{task.name} {split}: rows were lost uncounted: {intake}")
    ids = {example.id for example in examples}
    if len(ids) != len(examples):
        raise DataError(f"{task.name} {split}: two rows share one id, such as a repeated task_id. Make them unique.")
    if not examples and split != "validation":
        told = "\n".join(intake.lines())
        raise DataError(f"{task.name} {split}: no example could be made.{_more_rows(split, settings, intake)}\n{told}")
    return examples, intake


def _led(example: Example, system: str) -> Example:
    """The example behind the system turn that all rows get."""
    return dataclasses.replace(
        example,
        messages=with_system(example.messages, system),
        paraphrase_messages=with_system(example.paraphrase_messages, system),
    )


def _more_rows(split: str, settings: TaskSettings, intake: Intake) -> str:
    """What to do where one file is divided and nothing of it falls to a split."""
    if not {"rows of other splits", "passages of other splits"} & set(intake.left):
        return ""
    frac = settings.split_fracs[SPLITS.index(split)]
    return (
        f" The file is divided by prompt or passage, equal ones together, and {split} gets a share of {frac:g}: too "
        f"little for so few of them. Give it a file with `task.splits.{split}=FILE`, or larger shares in "
        "`task.split_fracs`, e.g. 0.5,0.2,0.3."
    )
