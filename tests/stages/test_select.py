"""select: one target per question and method, and prompts that changed since sampling are refused."""

import dataclasses

import pytest

from s3ft_jax.records import Response, Selection, Verdict
from s3ft_jax.selection import Gold
from s3ft_jax.shards import read_shards
from s3ft_jax.stages.select import check_likelihoods, check_prompts, check_settings, settings_of
from s3ft_jax.workdir import WorkdirError
from small import small_config


@pytest.mark.parametrize("method", ["sft", "ssr", "sdft", "s3ft"])
def test_every_question_has_one_target(walked, method):
    _, workdir = walked
    selections = workdir.read_records(Selection, f"selections/{method}.jsonl")
    assert len(selections) == len({s.example_id for s in selections}) == 24
    facts = workdir.manifest(f"select-{method}")["facts"]
    assert facts.pop("without") == 0
    assert facts.pop("encoding")["gold_by_template"] == 24
    rungs, rate = facts.pop("rungs"), facts.pop("pass_rate", None)
    assert sum(facts.values()) == 24 == sum(rung["targets"] for rung in rungs.values())
    assert {origin: rung["targets"] for origin, rung in rungs.items() if rung["targets"]} == facts
    if method in ("ssr", "s3ft"):
        verdicts = workdir.read_records(Verdict, "verdicts/own.jsonl")
        assert rate["examples"] == 24 and rate["mean"] == sum(v.outcome == "right" for v in verdicts) / 24
        sampled = workdir.manifest("sample-own")["facts"]
        assert (rungs["own"]["responses"], rungs["own"]["tokens"]) == (24, sampled["tokens"])


def test_own_targets_are_the_sampled_ids_of_right_answers(walked):
    _, workdir = walked
    sampled = {r.example_id: r for r in read_shards(workdir, Response, "responses/own")}
    right = {v.example_id for v in workdir.read_records(Verdict, "verdicts/own.jsonl") if v.outcome == "right"}
    own = [s for s in workdir.read_records(Selection, "selections/s3ft.jsonl") if s.origin == "own"]
    assert {s.example_id for s in own} == {i for i in right if sampled[i].ended}
    for selection in own:
        assert selection.response_ids == sampled[selection.example_id].response_ids
        assert selection.prompt_ids == sampled[selection.example_id].prompt_ids


def test_all_methods_share_the_prompts(walked):
    _, workdir = walked
    prompts = [
        {s.example_id: s.prompt_ids for s in workdir.read_records(Selection, f"selections/{method}.jsonl")}
        for method in ("sft", "ssr", "sdft", "s3ft")
    ]
    assert all(other == prompts[0] for other in prompts)


def test_other_prompt_ids_than_at_sampling_are_refused(walked):
    _, workdir = walked
    response = read_shards(workdir, Response, "responses/own")[0]
    gold = {response.example_id: Gold(response.prompt_ids, (1,))}
    check_prompts(gold, [response])
    with pytest.raises(WorkdirError, match="chat template has changed"):
        check_prompts(gold, [dataclasses.replace(response, prompt_ids=(*response.prompt_ids, 7))])


def test_a_repair_must_go_on_from_the_plain_prompt_and_gold_as_they_are_now():
    gold = {"a": Gold((1, 2), (3, 4, 5, 0))}
    begun = Response("a", "repair", 0, "", (1, 2), (3, 4, 9, 0), True, -1.0, given=2)
    check_prompts(gold, [begun])
    for changed in ({"prompt_ids": (1, 7)}, {"response_ids": (3, 7, 9, 0)}):
        with pytest.raises(WorkdirError, match="a: the repair was sampled from other prompt ids"):
            check_prompts(gold, [dataclasses.replace(begun, **changed)])
    mended = dataclasses.replace(begun, prompt_ids=(8, 8), given=0)
    check_prompts(gold, [mended])  # gold and the wrong answer were shown; it is trained after the plain prompt


@pytest.mark.parametrize("override", ["select.pick=best", "select.max_targets=-1", "select.paraphrase_gate=on"])
def test_settings_that_cannot_be_are_named(override):
    with pytest.raises(WorkdirError, match=override.split("=")[0].replace(".", r"\.")):
        check_settings(small_config(override))


def test_settings_of_a_method_are_only_those_it_follows_from():
    config = small_config("select.paraphrase_gate=likelier", "select.max_targets=2", "replay.frac=0.1")
    plain = {"pick": "first"}
    assert settings_of(config, "ssr") == plain | {"method": "ssr"}
    assert settings_of(config, "rft") == plain | {"method": "rft", "max_targets": 2}
    assert settings_of(config, "s3ft") == plain | {"method": "s3ft", "paraphrase_gate": "likelier"}
    assert settings_of(config, "sft-replay") == plain | {"method": "sft-replay", "replay": {"frac": 0.1, "seed": 0}}


def test_the_likeliest_of_several_needs_to_be_known():
    two = [Response("a", "own", index, "x", (1,), (2, 0), True, None) for index in range(2)]
    config = small_config("select.pick=likeliest")
    with pytest.raises(WorkdirError, match="method ssr chooses the likeliest own response, but the outside engine"):
        check_likelihoods(config, "ssr", {"a": two})
    check_likelihoods(config, "ssr", {"a": [two[0], dataclasses.replace(two[1], logprob=-1.0)]})
    check_likelihoods(config, "ssr", {"a": two[:1], "b": []})
    check_likelihoods(config, "rft", {"a": two})
    check_likelihoods(small_config("select.pick=first"), "ssr", {"a": two})
    with pytest.raises(WorkdirError, match="method self-output"):
        check_likelihoods(small_config("select.pick=first"), "self-output", {"a": two})
