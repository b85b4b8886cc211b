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
    assert looks.read(workdir, "s3ft", 0) == looks.Course([(1, 2.0), (2, 1.0)], [rows[1], rows[3]], "")
    assert looks.read(workdir, "sft", 0) == looks.Course([], [], ""), "not tuned, or removed after scoring"


def test_a_line_that_cannot_be_read_is_said_and_left_out(tmp_path, capsys):
    workdir = Workdir(str(tmp_path))
    name = f"{tuned_model.folder('s3ft', 0)}/metrics.jsonl"
    workdir.write_bytes(
        name, b'{"step": 1, "loss": 2.0}\n{"st\x00p": 2, "loss"\n{"step": 3, "loss": 1.0}\n{"step": 4, '
    )
    course = looks.read(workdir, "s3ft", 0)
    assert course.curve == [(1, 2.0), (3, 1.0)]
    assert course.note.endswith("metrics.jsonl: 2 damaged lines cannot be read; curves lack what stood there.")
    assert f"warning: {course.note}" in " ".join(capsys.readouterr().out.split())
