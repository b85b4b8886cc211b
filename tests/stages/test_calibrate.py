"""s3ft judge --calibrate: the table, the differences, and calibration.json."""

import json

import pytest

from s3ft_jax.cli import main
from s3ft_jax.stages import calibrate
from s3ft_jax.workdir import Workdir, WorkdirError
from small import ROOT, small_config

ROWS = [
    {"gold": "4", "response": "The answer is 4", "right": True},
    {"gold": "4", "response": "4", "right": True},
    {"gold": "4", "response": "4 (wrong units)", "right": False},
    {"gold": "Oslo", "response": "Oslo", "right": True},
    {"gold": "Oslo", "response": "Bergen", "right": False},
]


@pytest.fixture
def labels(tmp_path):
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    return str(file)


def test_a_composition_and_each_of_its_parts_are_measured(labels, tmp_path, capsys):
    config = small_config("judge.name=first(numbers, exact)")
    calibrate.run(config, Workdir(str(tmp_path)), labels)
    both, numbers, exact = json.loads((tmp_path / "calibration.json").read_text())
    assert [one["judge"] for one in (both, numbers, exact)] == ["first(numbers, exact)", "numbers", "exact"]
    assert (both["precision"], both["recall"], both["abstention"]) == (0.75, 1.0, 0.0)
    assert (numbers["precision"], numbers["recall"], numbers["abstention"]) == (2 / 3, 2 / 3, 0.4)
    assert (exact["precision"], exact["recall"], exact["abstention"]) == (1.0, 2 / 3, 0.0)
    said = capsys.readouterr().out
    assert "numbers, label 3: right, a person says wrong: gold '4', response '4 (wrong units)'" in said
    assert "exact, label 1: wrong, a person says right" in said and "Against people's labels" in said


def test_from_the_command_line(labels, tmp_path, capsys):
    own = ["--config", f"{ROOT / 'configs' / 'quickstart.py'}", "--workdir", str(tmp_path / "w")]
    assert main(["judge", *own, f"--calibrate={labels}", "--config.judge.name=numbers"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("calibration.json")
    assert main(["judge", *own]) == 2
    assert "say which responses, own, paraphrase or repair" in capsys.readouterr().err
    for ignored in (["own"], ["--again"]):
        assert main(["judge", *ignored, *own, f"--calibrate={labels}"]) == 2, "responses, which nobody would judge"
        assert "or give --calibrate=LABELS alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "file", "message"),
    [
        ("judge.name=", "labels.jsonl", r"judge\.name is empty"),
        ("judge.name=numbers", "none.jsonl", "no such file none"),
    ],
)
def test_what_is_missing_is_said(override, file, message, tmp_path):
    with pytest.raises(WorkdirError, match=message):
        calibrate.run(small_config(override), Workdir(str(tmp_path)), file)
