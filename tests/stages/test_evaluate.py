"""evaluate: every model is scored on the same examples, the base too; choices by likelihood."""

from types import SimpleNamespace

import pytest

from s3ft_jax.records import Example, Response, Score, Verdict
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import evaluate, train


def test_every_model_is_scored_on_the_same_examples(walked):
    _, workdir = walked
    counts = []
    for method, seed in [("base", None), ("sft", 0), ("ssr", 0), ("sdft", 0), ("s3ft", 0)]:
        names = [evaluate.file(method, seed, part) for part in ("test", "general")]
        scores = [score for name in names for score in workdir.read_records(Score, name)]
        assert all(score.method == method and score.seed == seed for score in scores)
        counts.append([(s.task, s.split, s.metric, s.count) for s in scores])
    assert all(other == counts[0] for other in counts)
    assert ("arithmetic", "test", "accuracy", 12) in counts[0]
    assert sum(metric == "choice_likelihood" for _, _, metric, _ in counts[0]) >= 2
    assert sum(split == "general" and metric == "accuracy" for _, split, metric, _ in counts[0]) == 7


def test_a_score_is_the_share_of_right_verdicts(walked):
    _, workdir = walked
    verdicts = workdir.read_records(Verdict, "scores/base/test-verdicts.jsonl")
    (score,) = workdir.read_records(Score, "scores/base/test-scores.jsonl")
    assert score.split == "test"
    assert score.value == sum(v.outcome == "right" for v in verdicts) / 12
    assert [v.example_id for v in verdicts] == [e.id for e in workdir.read_records(Example, "examples/test.jsonl")]


def test_names_of_models():
    assert evaluate.name("base", None) == "base" and evaluate.key("base", None, "test") == "evaluate-base-test"
    assert evaluate.name("s3ft", 3) == "s3ft/seed-3"
    assert evaluate.key("s3ft", 3, "general") == "evaluate-s3ft-seed-3-general"


def choice_example(number, choices, gold):
    messages = ({"role": "user", "content": "Where?"},)
    return Example(f"custom/test/{number}", "custom", "test", messages, gold, "mine:judge", {"choices": choices})


def test_choices_without_a_known_right_one_are_left_out_aloud(monkeypatch, capsys):
    """As rows of somebody's own data have them, for a judge of their own."""
    encoder = SimpleNamespace(encode_prompt=lambda messages: [1], encode_response=lambda messages, text: [len(text)])
    scorer = SimpleNamespace(logprobs=lambda params, prompts, responses: [[-float(ids[0])] for ids in responses])
    monkeypatch.setattr(evaluate, "scorer_of", lambda model, batch_tokens: scorer)
    config = SimpleNamespace(evaluate=SimpleNamespace(batch_tokens=64))
    model = SimpleNamespace(encoder=encoder, params=None)
    unknown = [choice_example(1, "A) Oslo B) Bergen", "A"), choice_example(2, ["Oslo", "Bergen"], "it is Oslo")]
    known = [choice_example(3, ["Bergen", "Oslo"], "B"), choice_example(4, ["Bergen", "Oslo"], "Bergen")]
    assert evaluate._score_choices(config, model, unknown, "base", None, "test") == ([], 0)
    assert "2 of 2 questions with choices are not scored" in " ".join(capsys.readouterr().out.split())
    (score,), tokens = evaluate._score_choices(config, model, unknown + known, "base", None, "test")
    assert (score.metric, score.value, score.count, tokens) == ("choice_likelihood", 0.5, 2, 4)
    assert "2 of 4 questions with choices are not scored" in " ".join(capsys.readouterr().out.split())
    evaluate._score_choices(config, model, known, "base", None, "test")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_model_on_several_devices_answers_alike(copied, tune):
    """Tuned, with adapters or without, on two replicas of two chips each; sums over chips round otherwise."""
    config, workdir = copied
    if tune == "lora":
        config.train.tune = "lora"
        train.run(config, workdir, "s3ft", 0, redo=True)
        evaluate.run(config, workdir, "s3ft", 0, redo=True)
    before = read_shards(workdir, Response, "scores/s3ft/seed-0/test-responses")
    config.sample.num_replicas, config.sample.tensor = 2, 2
    evaluate.run(config, workdir, "s3ft", 0, redo=True)
    after = read_shards(workdir, Response, "scores/s3ft/seed-0/test-responses")
    assert [one.text for one in after] == [one.text for one in before]
    assert [one.logprob for one in after] == pytest.approx([one.logprob for one in before], abs=1e-3)
    assert [one.logprob for one in after] != [one.logprob for one in before], "the sums did go over chips"


def test_parts_are_scored_one_by_one(copied, capsys):
    """A split more leaves the others as they are; the base with shots is asked with them and judged as ever."""
    config, workdir = copied
    before = {key: workdir.stage_digest(evaluate.key("s3ft", 0, key)) for key in ("test", "general")}
    evaluate.run(config, workdir, "s3ft", 0, parts=("validation", "general"))
    assert "of validation" in capsys.readouterr().out
    assert {key: workdir.stage_digest(evaluate.key("s3ft", 0, key)) for key in before} == before
    (score,) = workdir.read_records(Score, evaluate.file("s3ft", 0, "validation"))
    assert (score.split, score.count) == ("validation", 8)
    config.compare.shots = 2
    evaluate.run(config, workdir, "few-shot", 1, parts=("validation",))
    asked = read_shards(workdir, Response, "scores/few-shot/seed-1/validation-responses")
    plain = read_shards(workdir, Response, "scores/s3ft/seed-0/validation-responses")
    longer = [len(one.prompt_ids) - len(other.prompt_ids) for one, other in zip(asked, plain, strict=True)]
    assert min(longer) == max(longer) > 20, "the same two examples before every question"
    assert workdir.manifest("evaluate-few-shot-seed-1-validation")["settings"]["shots"] == 2
