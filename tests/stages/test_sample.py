"""sample: ids as sampled, prompts as trained, a lost shard comes back with the same bytes."""

import dataclasses

import pytest

from s3ft_jax.records import Example, Response, Verdict
from s3ft_jax.repairs import RepairError
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import judge, sample
from s3ft_jax.stages.launch import load_model
from small import accept, small_config


def test_every_question_has_an_own_answer_to_its_plain_prompt(walked):
    _, workdir = walked
    examples = {e.id: e for e in workdir.read_records(Example, "examples/train.jsonl")}
    responses = read_shards(workdir, Response, "responses/own")
    encoder = load_model(workdir).encoder
    assert [r.example_id for r in responses] == list(examples)
    for response in responses:
        assert response.prompt_ids == encoder.encode_prompt(examples[response.example_id].messages)
        assert response.ended == (response.response_ids[-1] in encoder.stop_ids)
        assert response.text == encoder.decode_response(response.response_ids)
        assert response.logprob < 0


def test_a_lost_shard_is_sampled_again_with_the_same_bytes(copied):
    config, workdir = copied
    names = workdir.matching(["responses/own-*.jsonl"])
    before = {name: (workdir / name).read_bytes() for name in names}
    assert len(names) == 3
    (workdir / names[1]).unlink()
    (workdir / "manifests/sample-own.json").unlink()
    sample.run(config, workdir, "own")
    assert {name: (workdir / name).read_bytes() for name in names} == before


def test_paraphrases_are_asked_for_all_or_for_the_unsolved_only(walked):
    config, workdir = walked
    assert len(sample.wanted(config, workdir, "paraphrase")) == 24, "sdft looks at every paraphrase"
    with config.unlocked():
        before, config.methods = config.methods, ("s3ft",)
        wanted = {example.id for example in sample.wanted(config, workdir, "paraphrase")}
        config.methods = before
    assert wanted == unsolved(workdir)


def unsolved(workdir):
    ended = {r.example_id for r in read_shards(workdir, Response, "responses/own") if r.ended}
    verdicts = workdir.read_records(Verdict, "verdicts/own.jsonl")
    return {v.example_id for v in verdicts if v.outcome != "right" or v.example_id not in ended}


def test_a_continued_repair_begins_with_golds_own_ids(copied):
    _, workdir = copied
    config = small_config("methods=repair", "sample.repair_frac=0.9", "sample.num_repair=2")
    sample.run(config, workdir, "repair")
    examples = {e.id: e for e in workdir.read_records(Example, "examples/train.jsonl")}
    repairs = read_shards(workdir, Response, "responses/repair")
    assert {r.example_id for r in repairs} == unsolved(workdir) and len(repairs) == 2 * len(unsolved(workdir)) > 0
    encoder = load_model(workdir).encoder
    for repair in repairs:
        example = examples[repair.example_id]
        gold = encoder.encode_response(example.messages, example.gold)
        assert 0 < repair.given < len(gold) - 1 and repair.response_ids[: repair.given] == gold[: repair.given]
        assert repair.prompt_ids == encoder.encode_prompt(example.messages)
        assert repair.text == encoder.decode_response(repair.response_ids)
        assert encoder.decode_response(gold[: repair.given]).endswith("\n"), "cut behind a line"
        assert len(repair.response_ids) <= config.sample.max_new_tokens
    facts = workdir.manifest("sample-repair")["facts"]
    assert facts["responses"] == len(repairs) and facts["tokens"] == sum(len(r.response_ids) - r.given for r in repairs)
    judge.run(config, workdir, "repair")
    outcomes = {v.outcome for v in workdir.read_records(Verdict, "verdicts/repair.jsonl")}
    assert "right" in outcomes, "nearly all of gold was handed over"


def test_a_mended_repair_was_shown_gold_and_the_wrong_answer(copied):
    _, workdir = copied
    config = small_config("methods=repair", "sample.repair=mend")
    examples = {e.id: e for e in workdir.read_records(Example, "examples/train.jsonl")}
    model = load_model(workdir)
    asked = sample.wanted(config, workdir, "repair")
    asks, left = sample.repair_asks(config, workdir, asked, model.encoder, model.config.max_positions)
    assert asks and not left and {ask.example_id for ask in asks} == unsolved(workdir)
    texts = {r.example_id: r.text for r in read_shards(workdir, Response, "responses/own")}
    for ask in asks:
        shown = "".join(model.encoder.token_text(i) for i in ask.prompt_ids)
        example = examples[ask.example_id]
        assert not ask.given_ids and ask.prompt_ids != model.encoder.encode_prompt(example.messages)
        position = shown.index(example.gold)
        assert texts[example.id].strip() in shown[position:]


def test_who_cannot_be_asked_is_counted_by_reason(copied):
    _, workdir = copied
    config = small_config("methods=repair", "sample.max_new_tokens=3", "sample.repair_frac=0.9")
    model = load_model(workdir)
    parts = model.encoder, model.config.max_positions
    examples = sample.wanted(config, workdir, "repair")
    asks, left = sample.repair_asks(config, workdir, examples, *parts)
    assert not asks and left == {"the beginning of gold is as long as sample.max_new_tokens": len(examples)}
    one_word = [dataclasses.replace(examples[0], gold="a")]
    assert sample.repair_asks(small_config(), workdir, one_word, *parts)[1] == {"gold has no border to cut at": 1}
    config = small_config("sample.repair=mend", "sample.max_new_tokens=500")
    tight = sample.repair_asks(config, workdir, examples[:2], *parts)[1]
    assert tight == {"prompt and sample.max_new_tokens are longer than the model reads": 2}
    stranger = dataclasses.replace(examples[0], id="stranger")
    assert sample.repair_asks(config, workdir, [stranger], *parts)[1] == {"no whole own answer was found wrong": 1}


def test_a_question_without_room_for_a_response_is_left_out_and_counted(copied, capsys):
    config, workdir = copied
    name = "examples/train.jsonl"
    first, *rest = workdir.read_records(Example, name)
    longer = ({"role": "user", "content": "2 " * 500},)
    workdir.write_records(name, [dataclasses.replace(first, messages=longer, paraphrase_messages=longer), *rest])
    accept(workdir, "prepare", name)
    for origin in ("own", "paraphrase"):
        sample.run(config, workdir, origin, redo=True)
        facts = workdir.manifest(f"sample-{origin}")["facts"]
        assert facts["left"] == {sample.NO_ROOM: 1} and facts["responses"] == 23
        asked = {response.example_id for response in read_shards(workdir, Response, f"responses/{origin}")}
        assert asked == {example.id for example in rest}
        judge.run(config, workdir, origin, redo=True)
    assert "1 questions not asked: prompt and sample.max_new_tokens" in capsys.readouterr().out


def test_rounds_of_runs_with_other_seeds_draw_other_answers():
    config = small_config()
    before = [sample.response_settings(config, 1, (0, seed)) for seed in (0, 1)]
    rounds = [sample.response_settings(config, 1, (1, seed)) for seed in (0, 1)]
    assert before[0] == before[1], "what is sampled from the base is shared by all runs"
    assert rounds[0].seed != rounds[1].seed and rounds[0].first_index == rounds[1].first_index == 1


def test_settings_of_an_origin_are_only_those_it_follows_from():
    own = sample.settings_of(small_config(), "own")
    assert sample.settings_of(small_config("sample.repair_frac=0.2", "sample.num_repair=3"), "own") == own
    mend = sample.settings_of(small_config("methods=repair", "sample.repair=mend", "sample.repair_frac=0.2"), "repair")
    assert mend["repair"] == "mend" and "repair_frac" not in mend and mend["for"] == "unsolved"
    both = sample.settings_of(small_config("methods=s3ft-repair"), "repair")
    assert both["for"] == "unsolved by own, paraphrase" and both["repair_frac"] == 0.5
    with pytest.raises(RepairError, match=r"sample\.repair_frac = 1\.5"):
        sample.settings_of(small_config("sample.repair_frac=1.5"), "repair")


def test_the_gate_decides_who_is_solved_by_a_paraphrase():
    config = small_config("methods=s3ft-repair", "select.paraphrase_gate=likelier")
    assert sample.reads_of(config, "repair") == ["import", "prepare", "judge-own", "judge-paraphrase", "gate"]
    assert sample.reads_of(config, "paraphrase") == ["import", "prepare", "judge-own"]
    assert sample.reads_of(config, "own") == ["import", "prepare"]


def test_replicas_change_no_byte_and_are_no_other_setting(copied):
    config, workdir = copied
    shards = workdir.matching(["responses/own-*.jsonl"])
    before = {name: (workdir / name).read_bytes() for name in shards}
    config.sample.num_replicas = 3
    (workdir / shards[-1]).unlink()
    (workdir / "manifests" / "sample-own.json").unlink()
    sample.run(config, workdir, "own")
    assert {name: (workdir / name).read_bytes() for name in shards} == before
