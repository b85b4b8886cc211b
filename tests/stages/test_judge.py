"""judge: a verdict for every response, and a paraphrase that gives its source away is wrong."""

from s3ft_jax.records import Example, Response, Verdict
from s3ft_jax.stages.judge import judge_responses
from small import small_config

EXAMPLE = Example("t/train/0", "t", "train", ({"role": "user", "content": "2 + 2?"},), "4", "numbers", {"answer": "4"})


def response(text, origin):
    return Response("t/train/0", origin, 0, text, (1,), (2, 3), True, -1.0)


def test_every_response_has_one_verdict(walked):
    _, workdir = walked
    for origin in ("own", "paraphrase"):
        responses = workdir.read_shards(Response, f"responses/{origin}")
        verdicts = workdir.read_records(Verdict, f"verdicts/{origin}.jsonl")
        assert [(v.example_id, v.index) for v in verdicts] == [(r.example_id, r.index) for r in responses]
    facts = workdir.manifest("judge-own")["facts"]
    assert sum(facts.values()) == 24


def test_a_paraphrase_that_mentions_the_reference_answer_is_wrong_and_an_own_answer_is_not():
    text = "As the reference answer says, the answer is 4"
    own, paraphrase = judge_responses(
        small_config(), [EXAMPLE], [response(text, "own"), response(text, "paraphrase")], "judge"
    )
    assert own.outcome == "right"
    assert paraphrase.outcome == "wrong" and paraphrase.reason.startswith("leak")
    (allowed,) = judge_responses(
        small_config("judge.leak_filter=false"), [EXAMPLE], [response(text, "paraphrase")], "judge"
    )
    assert allowed.outcome == "right"
