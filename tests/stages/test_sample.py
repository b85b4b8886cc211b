"""sample: ids as sampled, prompts as trained, a lost shard comes back with the same bytes."""

from s3ft_jax.records import Example, Response, Verdict
from s3ft_jax.stages import sample
from s3ft_jax.stages.launch import load_model


def test_every_question_has_an_own_answer_to_its_plain_prompt(walked):
    _, workdir = walked
    examples = {e.id: e for e in workdir.read_records(Example, "examples/train.jsonl")}
    responses = workdir.read_shards(Response, "responses/own")
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
    verdicts = workdir.read_records(Verdict, "verdicts/own.jsonl")
    assert wanted == {v.example_id for v in verdicts if v.outcome != "right"}
