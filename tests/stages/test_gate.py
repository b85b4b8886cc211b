"""gate: the base's own log-probability after the plain question; refused paraphrases fall to gold with their reason."""

import dataclasses

import numpy as np
import pytest

from s3ft_jax.records import Example, Likelihood, Response, Selection, Verdict
from s3ft_jax.responder import scorer_of
from s3ft_jax.selection import LESS_LIKELY, TOO_LONG
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import gate, select
from s3ft_jax.stages.launch import load_model
from s3ft_jax.workdir import Workdir, WorkdirError
from small import accept, small_config


@pytest.fixture
def gated(copied):
    _, workdir = copied
    config = small_config("select.paraphrase_gate=likelier")
    gate.run(config, workdir)
    return config, workdir


def test_gold_and_paraphrases_are_scored_after_the_plain_question(gated):
    config, workdir = gated
    likelihoods = read_shards(workdir, Likelihood, select.LIKELIHOODS)
    model = load_model(workdir)
    examples, right = gate.right_ones(workdir)
    assert len(examples) > 5
    assert len(likelihoods) == len(examples) + sum(map(len, right.values()))
    scorer = scorer_of(model, config.evaluate.batch_tokens)
    (response,) = right[examples[0].id]
    plain = model.encoder.encode_prompt(examples[0].messages)
    assert response.prompt_ids != plain
    (values,) = scorer.logprobs(model.params, [plain], [response.response_ids])
    gold, paraphrase = likelihoods[:2]
    assert (gold.origin, gold.index) == ("gold", None) and paraphrase.tokens == len(response.response_ids)
    assert (paraphrase.origin, paraphrase.index) == ("paraphrase", 0)
    assert paraphrase.logprob == pytest.approx(float(np.sum(values)), abs=1e-3)
    assert abs(paraphrase.logprob - response.logprob) > 0.01, "not the number kept at sampling, where gold was shown"


def test_a_lost_shard_is_scored_again_with_the_same_bytes_and_a_done_stage_is_left(gated, capsys):
    config, workdir = gated
    names = workdir.matching([f"{select.LIKELIHOODS}-*.jsonl"])
    before = {name: (workdir / name).read_bytes() for name in names}
    assert len(names) > 1
    (workdir / names[0]).unlink()
    (workdir / "manifests/gate.json").unlink()
    gate.run(config, workdir)
    assert {name: (workdir / name).read_bytes() for name in names} == before
    gate.run(config, workdir)
    assert "gate: already done" in capsys.readouterr().out


def test_a_refused_paraphrase_is_counted_and_falls_to_gold(gated, capsys):
    config, workdir = gated
    name = workdir.matching([f"{select.LIKELIHOODS}-*.jsonl"])[0]
    likelihoods = workdir.read_records(Likelihood, name)
    worse = [dataclasses.replace(one, logprob=-1e4) if one.index == 0 else one for one in likelihoods]
    refused = {one.example_id for one in worse if one.index == 0}
    workdir.write_records(name, worse)
    accept(workdir, "gate", name)
    select.run(config, workdir, "sdft", redo=True)
    chosen = {s.example_id: s for s in workdir.read_records(Selection, "selections/sdft.jsonl")}
    fallen = {i for i, s in chosen.items() if s.origin == "gold" and s.reason == f"paraphrase {LESS_LIKELY}; gold"}
    assert refused and fallen == refused
    assert workdir.manifest("select-sdft")["settings"]["paraphrase_gate"] == "likelier"
    rung = workdir.manifest("select-sdft")["facts"]["rungs"]["gold"]
    assert rung["reached"] == rung["accepted"] >= len(refused)


def test_a_text_longer_than_the_model_has_no_number_and_is_refused(gated):
    _, workdir = gated
    examples, right = gate.right_ones(workdir)
    model = load_model(workdir)
    long = dataclasses.replace(right[examples[0].id][0], response_ids=(5,) * model.config.max_positions)
    found = gate.score(examples[:1], {examples[0].id: [long]}, model, 512)
    assert found[0].logprob < 0 and found[1].logprob is None
    assert gate.less_likely(found) == {examples[0].id: {("paraphrase", 0): TOO_LONG}}


def test_without_a_gate_nothing_is_scored(copied):
    config, workdir = copied
    with pytest.raises(WorkdirError, match=r"select\.paraphrase_gate is empty"):
        gate.run(config, workdir)
    with pytest.raises(WorkdirError, match=r"select\.paraphrase_gate = 'likely'; choose from \(empty\), likelier"):
        gate.run(small_config("select.paraphrase_gate=likely"), workdir)
    assert select.read_refusals(config, workdir) == {}


def test_only_whole_right_paraphrases_are_weighed(tmp_path):
    workdir = Workdir(str(tmp_path))
    examples = [Example(i, "t", "train", (), "", "exact", {}) for i in "abcd"]
    responses = [Response(i, "paraphrase", 0, "", (1,), (2,), i != "b", -1.0) for i in "abc"]
    verdicts = [Verdict(i, "paraphrase", 0, "exact", "wrong" if i == "c" else "right", "", "because") for i in "abc"]
    workdir.write_records("examples/train.jsonl", examples)
    workdir.write_records("responses/paraphrase-00000-of-00001.jsonl", responses)
    workdir.write_records("verdicts/paraphrase.jsonl", verdicts)
    assert gate.right_ones(workdir) == ([examples[0]], {"a": [responses[0]]}), "b was cut, c is wrong, d was not asked"
