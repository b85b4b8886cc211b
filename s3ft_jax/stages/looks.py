"""Stage part: what a tuning measured, step by step and at its looks, read back from its metrics.jsonl."""

from __future__ import annotations

from s3ft_jax.progress import say
from s3ft_jax.stages import tuned_model
from s3ft_jax.tuning.metrics import read_rows
from s3ft_jax.workdir import Workdir

PREFIX = "validation_"
"""Of the numbers of a look (``validate.Validation.look``); a step's have none."""


def read(workdir: Workdir, variant: str, seed: int) -> list[dict[str, float]]:
    """A line per look, in order: step, validation_loss, validation_kl, and validation_score where answers were judged.

    None where the model was not looked at, or its folder is no more.
    """
    found = []
    for row in _rows(workdir, variant, seed):
        numbers = {name: value for name, value in row.items() if name.startswith(PREFIX)}
        found += [{"step": row["step"], **numbers}] if numbers else []
    return found


def curve(workdir: Workdir, variant: str, seed: int) -> list[tuple[int, float]]:
    """(step, training loss in nats per token) of every step, in order; none where the model's folder is no more."""
    return [(int(row["step"]), row["loss"]) for row in _rows(workdir, variant, seed) if "loss" in row]


def _rows(workdir: Workdir, variant: str, seed: int) -> list[dict[str, float]]:
    path = workdir / tuned_model.folder(variant, seed) / "metrics.jsonl"
    rows, damaged = read_rows(path)
    if damaged:
        say(f"warning: {path}: damaged, {damaged} lines cannot be read; the report's curves lack them")
    return rows
