"""drift: KL(base || model) along the base's own answers, against a sum over the vocabulary done by hand."""

import json

import numpy as np
import pytest

from s3ft_jax import checkpoints
from s3ft_jax.records import Response
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import drift, evaluate, train, tuned_model
from s3ft_jax.stages.launch import BASE


def log_softmax(logits):
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def logprobs(decoder, ids):
    """log p of every token of the vocabulary at each place, [T, V]."""
    tokens = np.array([ids])
    positions, segments = np.arange(len(ids))[None], np.ones((1, len(ids)), int)
    hidden, _ = decoder.hidden(tokens, positions, segments)
    return log_softmax(decoder.unembed(hidden))[0]


def check_by_hand(workdir):
    """What the stage wrote against the sum over the vocabulary, on the base and the merged model."""
    found = json.loads((workdir / drift.file("sft", 0, "test")).read_text())
    base, tuned = checkpoints.load_decoder(workdir / BASE), tuned_model.load(workdir, "sft", 0)
    total = count = 0
    for one in read_shards(workdir, Response, "scores/base/test-responses"):
        ids = one.prompt_ids + one.response_ids
        places = slice(len(one.prompt_ids) - 1, len(ids) - 1)  # that predict the answer
        old, new = logprobs(base, ids)[places], logprobs(tuned, ids)[places]
        total += float(np.sum(np.exp(old) * (old - new)))
        count += len(one.response_ids)
    assert found["examples"] == 12 and found["tokens"] == count
    assert found["kl"] == pytest.approx(total / count, rel=1e-3) and found["kl"] > 0.001


def test_it_is_the_divergence_summed_over_the_vocabulary(walked):
    check_by_hand(walked[1])
    found = json.loads((walked[1] / drift.file("sft", 0, "test")).read_text())
    assert walked[1].manifest(drift.key("sft", 0, "test"))["facts"]["tokens"] == found["tokens"]


def test_adapters_lie_on_the_only_copy_of_the_base(copied, monkeypatch):
    config, workdir = copied
    with config.unlocked():
        config.train.tune, config.train.lora.targets, config.train.lora.dropout = "lora", ("all",), 0.5
        config.train.learning_rate, config.train.per_method = 0.05, {}
    train.run(config, workdir, "sft", 0, redo=True)
    loaded, load = [], checkpoints.load_decoder
    monkeypatch.setattr(checkpoints, "load_decoder", lambda *args: loaded.append(args[0]) or load(*args))
    drift.run(config, workdir, "sft", 0, redo=True)
    assert loaded == [workdir / BASE]
    check_by_hand(workdir)


def test_fewer_questions_or_none(copied, capsys):
    config, workdir = copied
    config.evaluate.kl = 3
    drift.run(config, workdir, "sft", 0, redo=True)
    assert json.loads((workdir / drift.file("sft", 0, "test")).read_text())["examples"] == 3
    drift.run(config, workdir, "sft", 0)
    assert "drift sft/seed-0: already done" in capsys.readouterr().out
    config.evaluate.kl = 0
    drift.run(config, workdir, "s3ft", 0, split="validation")
    assert not (workdir / drift.file("s3ft", 0, "validation")).exists()


def test_scoring_a_model_again_leaves_its_distance(copied):
    config, workdir = copied
    before = (workdir / drift.file("sft", 0, "test")).read_bytes()
    config.evaluate.max_new_tokens = 48
    evaluate.run(config, workdir, "sft", 0, redo=True)
    assert (workdir / drift.file("sft", 0, "test")).read_bytes() == before
