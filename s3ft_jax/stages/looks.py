"""Stage part: what a tuning measured, step by step and at its looks, read back from its metrics.jsonl."""

from __future__ import annotations

import dataclasses

from s3ft_jax.progress import say
from s3ft_jax.report.wording import count_of
from s3ft_jax.stages import tuned_model
from s3ft_jax.tuning.metrics import read_rows
from s3ft_jax.workdir import Workdir

PREFIX = "validation_"
"""Of the numbers of a look (``validate.Validation.look``); a step's have none."""


@dataclasses.dataclass(frozen=True)
class Course:
    """What is written of one tuning; empty where the model's folder is no more.

    Attributes:
      curve: (step, training loss in nats per token) of every step, in order.
      looks: a line per look, in order: step, validation_loss, validation_kl, and validation_score where answers were
        judged. None where the model was not looked at.
      note: what the report has to say of lines that cannot be read; empty where all can.
    """

    curve: list[tuple[int, float]]
    looks: list[dict[str, float]]
    note: str


def read(workdir: Workdir, variant: str, seed: int) -> Course:
    """What is written of a tuning. Says so where a line is damaged."""
    name = f"{tuned_model.folder(variant, seed)}/metrics.jsonl"
    rows, damaged = read_rows(workdir / name)
    curve = [(int(row["step"]), row["loss"]) for row in rows if "loss" in row]
    looks = []
    for row in rows:
        numbers = {name: value for name, value in row.items() if name.startswith(PREFIX)}
        looks += [{"step": row["step"], **numbers}] if numbers else []
    note = ""
    if damaged:
        note = f"{name}: {count_of(damaged, 'damaged line')} cannot be read; curves lack what stood there."
        say(f"warning: {note}")
    return Course(curve, looks, note)
