"""Looks read back from metrics.jsonl, between the lines of steps."""

import json

from s3ft_jax.stages import looks, tuned_model
from s3ft_jax.workdir import Workdir


def test_lines_of_looks_are_told_from_those_of_steps(tmp_path):
    workdir = Workdir(str(tmp_path))
    rows = [
        {"step": 1, "loss": 2.0, "tokens": 9},
        {"step": 1, "validation_loss": 1.5, "validation_kl": 0.1, "validation_score": 0.25},
        {"step": 2, "loss": 1.0, "tokens": 9},
        {"step": 2, "validation_loss": 1.25, "validation_kl": 0.2},
    ]
    name = f"{tuned_model.folder('s3ft', 0)}/metrics.jsonl"
    workdir.write_bytes(name, "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert looks.read(workdir, "s3ft", 0) == [rows[1], rows[3]]
    assert looks.read(workdir, "sft", 0) == [], "not looked at, or removed after scoring"
