"""gather: what the files hold becomes evidence under the labels of the tables; few-shot keeps the base's skills."""

import dataclasses

import pytest

from s3ft_jax.evaluation.answers import score_answers
from s3ft_jax.judges import answers
from s3ft_jax.records import Example, Response, Score
from s3ft_jax.seals import sealed
from s3ft_jax.stages import evaluate, gather, tuned_model
from s3ft_jax.stages.gather import Entry, models_of
from s3ft_jax.workdir import Workdir
from small import small_config


def test_a_label_stands_for_the_model_that_was_chosen(walked):
    config, workdir = walked
    models = models_of([Entry("mine", "s3ft", "s3ft"), Entry("sft", "sft", "sft")], (0,))
    evidence = gather.gather(config, workdir, models)
    assert evidence.methods == ("mine", "sft") and set(evidence.selections) == {"mine", "sft"}
    (mine,) = (s for s in evidence.scores if s.method == "mine" and s.split == "test")
    (score,) = workdir.read_records(Score, evaluate.file("s3ft", 0, "test"))
    assert mine == dataclasses.replace(score, method="mine")
    assert set(evidence.kl) == {("mine", 0), ("sft", 0)} and evidence.kl["mine", 0] > 0
    assert not evidence.looks and not evidence.benchmarks and "lm_eval" not in evidence.versions
    assert evidence.curves["mine", 0] and ("mine", 0, "arithmetic") in evidence.answers
    assert evidence.seen == {("mine", 0): (16, 16), ("sft", 0): (16, 16)}
    reads = gather.reads_of(config, workdir, models)
    assert {"evaluate-s3ft-seed-0-test", "drift-sft-seed-0-test", "select-s3ft", "prepare"} <= set(reads)
    assert not any("sdft" in key for key in reads)


def test_lines_of_a_tuning_that_cannot_be_read_are_told(copied):
    config, workdir = copied
    name = f"{tuned_model.folder('s3ft', 0)}/metrics.jsonl"
    workdir.write_bytes(name, (workdir / name).read_bytes() + b'{"step": 9, "lo')
    evidence = gather.gather(config, workdir, models_of([Entry("s3ft", "s3ft", "s3ft")], (0,)))
    told = f"{name}: 1 damaged line cannot be read; curves lack what stood there."
    assert evidence.notes == (*config.report.notes, told)


def test_targets_that_the_steps_did_not_reach_are_counted():
    config, told = small_config(), {"examples": 100, "dropped": ["a", "b"], "step": 4}
    models = models_of([Entry("sft", "sft", "sft"), Entry("rows", "s3ft@batch_rows=2", "s3ft")], (0,))
    tuned = gather.trained(models)
    seen = gather._seen(config, tuned, dict.fromkeys(tuned, told))
    assert seen == {("sft", 0): (16, 98)}, "steps counted in rows hold as many examples as fit"


def test_examples_before_a_question_change_no_general_skill(copied):
    config, workdir = copied
    config.compare.shots = 1
    evaluate.run(config, workdir, "few-shot", 0, parts=("test",))
    evidence = gather.gather(config, workdir, models_of([Entry("few-shot", "few-shot")], (0,)))
    of = {name: {s.task: s.value for s in evidence.scores if s.method == name} for name in ("base", "few-shot")}
    assert {task: value for task, value in of["few-shot"].items() if task != "arithmetic"} == {
        task: value for task, value in of["base"].items() if task != "arithmetic"
    }
    assert evidence.methods == ("few-shot",) and not evidence.curves and not evidence.selections


def test_many_stages_are_counted_together(walked, monkeypatch):
    _, workdir = walked
    each = gather._costs(workdir)
    assert "train-s3ft-seed-0" in each
    for key in ("evaluate-s3ft-seed-0-test", "evaluate-base-general", "drift-s3ft-seed-0-test"):
        assert each[key]["tokens"] > 0 and each[key]["stops"] == 0, key
    monkeypatch.setattr(gather, "MOST_COSTS", 3)
    together = gather._costs(workdir)
    assert "train (4)" in together and "import" in together and together["train (4)"]["stops"] == 0
    drifts = sum(cost["tokens"] for key, cost in each.items() if key.startswith("drift"))
    assert together["drift (4)"]["tokens"] == drifts
    seconds = sum(cost["seconds"] for cost in each.values())
    assert abs(sum(cost["seconds"] for cost in together.values()) - seconds) < 1e-6


def test_tokens_of_an_older_stage_are_not_counted_as_none(copied):
    _, workdir = copied
    manifest = workdir.manifest("drift-s3ft-seed-0-test")
    del manifest["facts"]["tokens"], manifest["starts"]
    workdir.write_bytes("manifests/drift-s3ft-seed-0-test.json", sealed(manifest))
    cost = gather._costs(workdir)["drift-s3ft-seed-0-test"]
    assert cost["tokens"] is None and cost["stops"] is None
    both = gather._cost([manifest, workdir.manifest("drift-sft-seed-0-test")])
    assert both["tokens"] is None and both["stops"] is None, "a part of the sum would look like all of it"


def test_logprobs_of_all_three_origins_under_the_base(walked):
    config, workdir = walked
    found, notes = gather.base_logprobs(config, workdir)
    assert notes == [] and set(found) == {"gold", "paraphrase", "own"}
    assert len(found["gold"]) == 8
    assert all(total < 0 and tokens > 0 for pairs in found.values() for total, tokens in pairs)


def test_a_text_longer_than_the_model_reads_has_no_logprob_and_that_is_told(copied):
    """``train.too_long=drop`` leaves such an example out of training; the report must not stop at it in the end."""
    config, workdir = copied
    examples = workdir.read_records(Example, "examples/train.jsonl")
    longer = dataclasses.replace(examples[0], gold="2 " * 600)
    workdir.write_records("examples/train.jsonl", [longer, *examples[1:]])
    config.report.num_scored = len(examples)
    found, notes = gather.base_logprobs(config, workdir)
    assert len(found["gold"]) == len(examples) - 1
    assert notes == ["1 gold text longer than the model reads (512 tokens): no log-probability."]


MODELS = models_of([Entry("s3ft", "s3ft", "s3ft")], (0, 1))


@pytest.fixture
def answered(tmp_path):
    """A workdir with answers of the base and two models to four questions on passages, one of them unanswerable."""
    config, workdir = small_config("evaluate.general=False", task="reading"), Workdir(tmp_path)
    golds = ["the Rhine", "Mount Everest in Nepal", "1912", ""]
    examples = [
        Example(
            f"r/{i}", "reading", "test", (), gold, "answers", {"answers": [gold] * bool(gold), "unanswerable": not gold}
        )
        for i, gold in enumerate(golds)
    ]
    workdir.write_records("examples/test.jsonl", examples)
    scores = []
    for (method, seed), last in zip(MODELS, ("1850", "The passage does not say.", "1850"), strict=True):
        texts = ("Rhine", "Mount Everest", "The passage does not say.", last)
        responses = [Response(e.id, "own", 0, t, (1,), (2,), True, -1.0) for e, t in zip(examples, texts, strict=True)]
        verdicts = [answers.judge(e, r) for e, r in zip(examples, responses, strict=True)]
        place = f"scores/{evaluate.name(method, seed)}/test"
        workdir.write_records(f"{place}-responses-00000-of-00001.jsonl", responses)
        workdir.write_records(f"{place}-verdicts.jsonl", verdicts)
        scores += score_answers(examples, responses, verdicts, method=method, seed=seed, split="test")
    return config, workdir, scores


def test_answers_on_passages_are_measured_by_question_from_the_stored_responses(answered):
    config, workdir, scores = answered
    measured, notes = gather.measured_of(config, workdir, MODELS, scores)
    assert notes == [] and len(measured) == 3 * 7
    assert measured["base", None, "token_f1"] == {"r/0": 1.0, "r/1": pytest.approx(2 / 3), "r/2": 0.0, "r/3": 0.0}
    assert measured["s3ft", 0, "unanswerable_accuracy"] == {"r/3": 1.0}
    assert measured["s3ft", 1, "false_refusals"] == {"r/0": 0.0, "r/1": 0.0, "r/2": 1.0}


@pytest.mark.parametrize("fault", ["older code", "no score", "responses gone"])
def test_scores_that_are_not_those_of_the_responses_are_told_and_not_compared(answered, fault):
    config, workdir, scores = answered
    if fault == "older code":
        scores = [dataclasses.replace(s, value=s.value / 2) if s.seed == 1 else s for s in scores]
    elif fault == "no score":
        scores = [s for s in scores if s.seed != 1]
    else:
        (workdir / "scores/s3ft/seed-1/test-responses-00000-of-00001.jsonl").unlink()
    measured, (note,) = gather.measured_of(config, workdir, MODELS, scores)
    assert measured == {} and "of 1 model the stored scores are not" in note
    assert "remove manifests/evaluate-s3ft-seed-1-test.json" in note


def test_tasks_without_passages_have_no_such_values_and_read_nothing(tmp_path):
    config, workdir = small_config("evaluate.general=False"), Workdir(tmp_path)
    workdir.write_records("examples/test.jsonl", [Example("a/0", "arithmetic", "test", (), "4", "numbers", {})])
    assert gather.measured_of(config, workdir, MODELS, []) == ({}, [])
