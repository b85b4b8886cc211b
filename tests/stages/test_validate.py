"""validate: what a look measures, what ends a run, and which checkpoint is then the tuned model."""

import json
import re

import pytest

from s3ft_jax import checkpoints
from s3ft_jax.stages import train
from s3ft_jax.stages.method_settings import check_validation
from s3ft_jax.stages.validate import Validation, looked_at
from s3ft_jax.workdir import SettingsChanged, WorkdirError
from small import accept

NAMES = {"validation_loss", "validation_kl", "validation_score"}


def tuned(copied, method="s3ft", **settings):
    """(workdir, manifest, lines of the looks) after training with these settings of ``train.validate``."""
    config, workdir = copied
    with config.unlocked():
        config.train.validate.every, config.train.validate.count = 2, 6
        config.train.validate.update(settings)
    train.run(config, workdir, method, 0, redo=True)
    lines = (workdir / train.folder(method, 0) / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return workdir, workdir.manifest(f"train-{method}-seed-0"), [row for row in rows if "validation_loss" in row]


def test_a_look_measures_loss_distance_and_score_and_changes_nothing(copied, capsys):
    _, workdir = copied
    before = workdir.manifest("train-s3ft-seed-0")
    workdir, after, looks = tuned(copied)
    assert [row["step"] for row in looks] == [2, 4] and all(set(row) > NAMES for row in looks)
    assert looks[0]["validation_kl"] > 0 and looks[0]["validation_loss"] > 0
    assert all((6 * row["validation_score"]) % 1 == 0 for row in looks)
    assert after["outputs"] == before["outputs"], "watching a run changes no bit of it"
    assert after["facts"]["validation_loss"] == looks[-1]["validation_loss"]
    said = capsys.readouterr().out
    assert "step 2, 6 validation examples: loss" in said and said.count("/validation/") >= 4, "two answers at each look"


@pytest.mark.parametrize("rate", [0.0, 1e-2])
def test_adapters_need_no_copy_of_the_base_and_start_at_it(copied, monkeypatch, rate):
    config, _ = copied
    with config.unlocked():
        config.train.tune, config.train.learning_rate = "lora", rate
        config.train.lora.targets, config.train.per_method = ("all",), {}
    loaded, load = [], checkpoints.load_decoder
    monkeypatch.setattr(checkpoints, "load_decoder", lambda *told: loaded.append(told) or load(*told))
    _, _, looks = tuned(copied, score=False)
    assert len(loaded) == 1 and "validation_score" not in looks[0]
    for row in looks:
        assert row["validation_kl"] > 1e-6 if rate else abs(row["validation_kl"]) < 1e-6


def test_what_the_score_of_looks_follows_from_is_a_setting_where_it_chooses_the_model(copied):
    tuned(copied, use_best="validation_score", score=True)
    config, workdir = copied
    config.evaluate.max_new_tokens = 63
    with pytest.raises(SettingsChanged, match=r"looks\.evaluate\.max_new_tokens: 64 -> 63"):
        train.run(config, workdir, "s3ft", 0)
    settings = {"validate": {"every": 2, "score": True, "use_best": "", "patience": 0}}
    assert looked_at(config, settings) == {}, "they only watch"


def test_too_far_from_the_base_ends_the_run(copied, capsys):
    workdir, manifest, looks = tuned(copied, max_kl=1e-9, score=False)
    assert [row["step"] for row in looks] == [2] and manifest["facts"]["step"] == 2
    assert manifest["facts"]["ended"].startswith("KL to the base") and "max_kl = 1e-09" in manifest["facts"]["ended"]
    assert checkpoints.newest(workdir / train.folder("s3ft", 0)) == 2
    assert "ends at step 2" in capsys.readouterr().out


def test_the_best_is_the_tuned_model(copied, monkeypatch):
    values = iter([0.5, 0.25])
    monkeypatch.setattr(Validation, "_score", lambda self, params: next(values))
    workdir, manifest, _ = tuned(copied, use_best="validation_score")
    assert manifest["facts"]["step"] == 2 and manifest["facts"]["validation_score"] == 0.5
    where = workdir / train.folder("s3ft", 0)
    assert checkpoints.finished(where) == [2]
    assert manifest["outputs"] == {train.folder("s3ft", 0): checkpoints.read_meta(where / "2").params_digest}


@pytest.mark.parametrize(
    ("use_best", "series", "reason"),
    [
        ("", [3.0, 2.0, 2.5], ""),
        ("", [3.0, 2.0, 2.5, 2.0], "no better validation_loss for 2 looks (train.validate.patience)"),
        ("validation_score", [0.1, 0.3, 0.2], ""),
        ("validation_score", [0.3, 0.1, 0.3], "no better validation_score for 2 looks (train.validate.patience)"),
    ],
)
def test_patience_ends_a_run_that_gets_no_better(use_best, series, reason):
    watch = Validation.__new__(Validation)
    watch.settings = {"max_kl": 0.0, "patience": 2, "use_best": use_best}
    name = use_best or "validation_loss"
    *before, last = [{name: value, "validation_kl": 0.0} for value in series]
    assert watch._reason(last, [{"step": 1, "other": 0.0}, *before]) == reason


def test_without_validation_examples_it_says_which_key(copied):
    _, workdir = copied
    workdir.write_records("examples/validation.jsonl", [])
    accept(workdir, "prepare", "examples/validation.jsonl")
    with pytest.raises(WorkdirError, match=r"no validation examples: task\.num_validation"):
        tuned(copied)


def test_score_as_the_best_needs_the_score():
    settings = {"use_best": "validation_score", "every": 2, "score": False}
    with pytest.raises(WorkdirError, match=r"needs train\.validate\.score = True"):
        check_validation(settings)
    check_validation({**settings, "score": True})


@pytest.mark.parametrize(
    ("max_length", "bound"), [(192, r"train\.max_length, 192 tokens"), (4096, "what the model reads, 512 tokens")]
)
def test_gold_that_fits_no_row_is_said_by_its_key(copied, monkeypatch, max_length, bound):
    copied[0].train.max_length = max_length
    monkeypatch.setattr("s3ft_jax.prompts.PromptEncoder.encode_response", lambda *_: (1,) * 600)
    with pytest.raises(WorkdirError, match=f"no validation example fits {bound}"):
        tuned(copied)


def test_the_copy_of_the_base_is_in_the_memory_told(copied, capsys):
    def told(**settings) -> float:
        tuned(copied, **settings)
        said = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
        return float(re.search(r": ([\d.]+) MiB of parameters and optimizer", said)[1])

    with_base, without = told(count=5), told(every=0)
    assert with_base - without == pytest.approx(4 * 1_136_000 / 2**20, abs=0.2)
