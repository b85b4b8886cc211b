"""measure: what the model cannot read is found before anything is sampled, by name."""

import dataclasses

import pytest

from s3ft_jax.records import Example
from s3ft_jax.stages import measure, recipe
from s3ft_jax.workdir import WorkdirError
from small import accept, small_config


def changed(workdir, part, **values):
    """The first example of a part with other values, as prepare would have written it."""
    name = f"examples/{part}.jsonl"
    first, *rest = workdir.read_records(Example, name)
    workdir.write_records(name, [dataclasses.replace(first, **values), *rest])
    accept(workdir, "prepare", name)
    return first.id


def said(text):
    return ({"role": "user", "content": text},)


def test_lengths_are_counted_once_and_again_when_a_setting_is_another_one(copied, capsys):
    config, workdir = copied
    facts = workdir.manifest("measure")["facts"]
    assert facts["unasked"] == 0 and set(facts["too_long"].values()) == {0}
    assert set(facts["longest"]) == {"train", "test", "general"}
    assert 0 < facts["longest"]["train"] < facts["longest_whole"] < 192
    capsys.readouterr()
    measure.run(config, workdir, ["test", "general"])
    assert "measure: already done" in capsys.readouterr().out
    config.evaluate.max_new_tokens = 63
    measure.run(config, workdir, ["test", "general"])
    assert "measure: longest prompts train" in capsys.readouterr().out


def test_questions_of_looks_are_answered_too(copied):
    config, workdir = copied
    with config.unlocked():
        config.train.validate.every = 2
    measure.run(config, workdir)
    assert set(workdir.manifest("measure")["facts"]["longest"]) == {"train", "test", "general", "validation"}


def test_texts_that_the_tokenizer_refuses_are_all_named(copied):
    config, workdir = copied
    names = [changed(workdir, "train", gold="so <e> it is"), changed(workdir, "test", messages=said(" "))]
    with pytest.raises(WorkdirError, match=r"2 of 57 examples cannot be put to this model:\n") as caught:
        measure.run(config, workdir, ["test", "general"])
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == names and "<e>" in lines[1]
    assert lines[-1].startswith("Remove these rows")


def test_a_question_that_is_scored_must_have_room_for_its_answer(copied):
    config, workdir = copied
    name = changed(workdir, "test", messages=said("2 " * 500))
    message = rf"1 of 12 test questions leave no room for evaluate\.max_new_tokens = 64 in the 512 .* e\.g\. {name} \("
    with pytest.raises(WorkdirError, match=message):
        measure.run(config, workdir, ["test"])


def test_gold_longer_than_a_row_is_refused_where_training_would_refuse_it(copied, capsys):
    _, workdir = copied
    name = changed(workdir, "train", gold="2 " * 100)
    small = ("train.num_examples=0", "train.max_length=150")
    with pytest.raises(WorkdirError, match=rf"method sft: 1 of 24 .* row of 150 tokens, e\.g\. {name} \(.*max_length"):
        measure.run(small_config(*small), workdir, ["test"])
    measure.run(small_config(*small, "methods=s3ft"), workdir, ["test"])
    assert "warning: measure: method s3ft: 1 of 24" in capsys.readouterr().out  # it may have a right own answer
    measure.run(small_config(*small, "train.too_long=drop"), workdir, ["test"])
    assert workdir.manifest("measure")["facts"]["too_long"]["sft"] == 1


def test_a_training_question_without_room_is_told(copied, capsys):
    _, workdir = copied
    name = changed(workdir, "train", messages=said("2 " * 450))
    config = small_config("train.max_length=600", "sample.max_new_tokens=128")
    measure.run(config, workdir, ["test"])
    assert f"1 of 24 training questions leave no room for sample.max_new_tokens = 128 in the 512 tokens that the model reads: no response to them is sampled, e.g. {name}" in " ".join(capsys.readouterr().out.split())  # fmt: skip  # noqa: E501
    assert workdir.manifest("measure")["facts"]["unasked"] == 1


def test_it_comes_before_sampling(copied, monkeypatch):
    """A run that begins anew stops before its first response."""
    config, workdir = copied
    changed(workdir, "test", messages=said("2 " * 500))
    for key in ("sample-own", "judge-own"):
        workdir.remove(key, ["responses/own-*.jsonl"] if key == "sample-own" else ["verdicts/own.jsonl"])
    with pytest.raises(WorkdirError, match="leave no room"):
        recipe.run(config, workdir)
    assert not workdir.matching(["responses/own-*.jsonl"])
