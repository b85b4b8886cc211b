"""questions: passes over the training questions become steps once it is known how many questions there are."""

import json

import pytest

from s3ft_jax.stages import questions, recipe, tuned_model
from s3ft_jax.stages.method_settings import check_settings, method_settings, variant_name
from s3ft_jax.workdir import Workdir, WorkdirError
from small import small_config

HUNDRED = ("train.num_questions=100", "train.num_examples=0", "train.batch_size=8")


def steps(config, method):
    return method_settings(config, method)["num_steps"]


def test_nothing_is_filled_in_before_they_are_prepared(tmp_path):
    config = small_config("train.num_epochs=2.0", "train.num_steps=7")
    questions.fill_in(config, Workdir(str(tmp_path)))
    assert config.train.num_questions == 0 and steps(config, "sft") == 7


def test_the_number_comes_from_what_was_prepared(walked):
    config, workdir = small_config(), walked[1]
    questions.fill_in(config, workdir)
    assert config.train.num_questions == len((workdir / "examples/train.jsonl").read_text().splitlines())


def test_passes_are_steps_of_whole_batches():
    cases = {
        ("train.num_epochs=1.0",): 13,  # 12.5: the last questions are seen, too
        ("train.num_epochs=2.0",): 25,
        ("train.num_epochs=0.5",): 7,
        ("train.num_epochs=2.0", "train.num_examples=40"): 10,
        ("train.num_epochs=1e-9",): 1,
    }
    for overrides, expected in cases.items():
        config = small_config(*HUNDRED, *overrides)
        assert steps(config, "sft") == expected, overrides


def test_more_examples_than_there_are_questions_are_refused_before_sampling(walked):
    config = small_config(*HUNDRED, "train.num_examples=101")
    assert steps(config, "sft@num_epochs=1") == 13
    with pytest.raises(WorkdirError, match=r"num_examples = 101, but there are 100 training questions; 0 takes all"):
        check_settings(config, walked[1])


def test_the_nearest_word_counts():
    config = small_config(*HUNDRED, "train.num_epochs=2.0")
    assert steps(config, "s3ft@num_steps=7") == 7 and method_settings(config, "s3ft@num_steps=7")["num_epochs"] == 0.0
    assert steps(config, "s3ft@num_epochs=1") == 13 and steps(config, "s3ft@batch_size=16") == 13
    config = small_config(*HUNDRED, "train.num_epochs=2.0", "train.per_method.sft.num_steps=7")
    assert steps(config, "sft") == 7 and steps(config, "sft@num_epochs=1") == 13 and steps(config, "ssr") == 25


def test_the_same_run_by_steps_or_epochs_has_one_name():
    config = small_config(*HUNDRED, "train.num_epochs=2.0")
    assert variant_name(config, "s3ft", {"num_steps": 25}) == "s3ft"
    assert variant_name(config, "s3ft", {"num_steps": 50}) == "s3ft@num_steps=50"


def test_a_run_trains_so_many_passes_and_says_so(tmp_path, capsys):
    some = "methods=('sft',)", "task.num_train=8", "train.num_examples=0"
    config = small_config(*some, "train.num_epochs=1.5", "train.batch_size=4")
    workdir = Workdir(str(tmp_path))
    recipe.run(config, workdir)
    facts = workdir.manifest(tuned_model.key("sft", 0))["facts"]
    assert facts["step"] == 3 and "1.5 (8 of 8 examples seen)" in capsys.readouterr().out
    settings = json.loads((tmp_path / "report.json").read_text())["settings"]
    assert (settings["train"]["num_epochs"], settings["train"]["num_questions"]) == (1.5, 8)
