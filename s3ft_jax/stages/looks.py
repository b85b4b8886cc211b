"""Stage part: what looks at a model measured while it was tuned, read back from its metrics.jsonl."""

from __future__ import annotations

import json

from s3ft_jax.stages import tuned_model
from s3ft_jax.workdir import Workdir

PREFIX = "validation_"
"""Of the numbers of a look (``validate.Validation.look``); a step's have none."""


def read(workdir: Workdir, variant: str, seed: int) -> list[dict[str, float]]:
    """A line per look, in order: step, validation_loss, validation_kl, and validation_score where answers were judged.

    None where the model was not looked at, or its folder is no more.
    """
    path = workdir / tuned_model.folder(variant, seed) / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = []
    for row in rows:
        numbers = {name: value for name, value in row.items() if name.startswith(PREFIX)}
        found += [{"step": row["step"], **numbers}] if numbers else []
    return found
