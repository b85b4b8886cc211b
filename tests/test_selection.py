"""selection: the truth table of the rule, over every combination of verdicts and methods."""

import dataclasses
import itertools

import pytest

from s3ft_jax.records import Example, Likelihood, Response, Verdict
from s3ft_jax.selection import (
    LESS_LIKELY,
    METHODS,
    TOO_LONG,
    Gold,
    asked_after,
    less_likely,
    num_replayed,
    replays,
    select,
    weighs,
)

EXAMPLE = Example("t/train/0", "t", "train", ({"role": "user", "content": "?"},), "gold", "exact", {})
GOLD = Gold((1, 2), (9, 0))
STATES = ("right", "wrong", "undecided", "cut", "unjudged", "absent")


def respond(origin, state, index=0, ids=None, logprob=-1.0):
    if state == "absent":
        return [], {}
    response = Response(EXAMPLE.id, origin, index, origin, (1, 2), ids or (5, index, 0), state != "cut", logprob)
    outcome = "right" if state in ("right", "cut") else state
    verdict = Verdict(EXAMPLE.id, origin, index, "exact", outcome, "", f"{state}: because")
    return [response], {} if state == "unjudged" else {(origin, index): verdict}


@pytest.mark.parametrize("method", METHODS)
def test_truth_table(method):
    rule = METHODS[method]
    for states in itertools.product(STATES, STATES, STATES):
        responses, verdicts = [], {}
        for origin, state in zip(("own", "paraphrase", "repair"), states, strict=True):
            made, judged = respond(origin, state)
            responses += made
            verdicts |= judged
        usable = dict(zip(("own", "paraphrase", "repair"), (state == "right" for state in states), strict=True))
        usable["gold"] = True
        if not rule.judged:
            usable["own"] = states[0] not in ("cut", "absent")
        wanted = [origin for origin in rule.prefer if usable[origin]]
        chosen = select(EXAMPLE, method, GOLD, responses, verdicts)
        expected = wanted if rule.keep_all else wanted[:1]
        assert [s.origin for s in chosen] == expected, states
        for selection in chosen:
            assert selection.prompt_ids == (1, 2), "the plain question's ids, never the paraphrase prompt's"
            assert selection.response_ids == ((9, 0) if selection.origin == "gold" else (5, 0, 0))


def test_the_reason_tells_the_whole_way_down():
    responses, verdicts = respond("own", "wrong")
    more, judged = respond("paraphrase", "undecided")
    (selection,) = select(EXAMPLE, "s3ft", GOLD, responses + more, verdicts | judged)
    assert selection.reason == "own wrong: wrong: because; paraphrase undecided: undecided: because; gold"


def test_cut_answers_are_never_trained_on():
    responses, verdicts = respond("own", "cut")
    (selection,) = select(EXAMPLE, "ssr", GOLD, responses, verdicts)
    assert selection.origin == "gold" and "cut by the length limit" in selection.reason
    assert select(EXAMPLE, "unverified", GOLD, responses, verdicts) == []


def several():
    responses, verdicts = [], {}
    for index, (state, logprob) in enumerate([("wrong", -0.1), ("right", -6.0), ("right", -3.0), ("right", -6.0)]):
        ids = (5, 5, 0) if index in (1, 3) else (5, index, 0)
        made, judged = respond("own", state, index, ids, logprob)
        responses += made
        verdicts |= judged
    return responses, verdicts


def test_pick_first_and_likeliest():
    responses, verdicts = several()
    assert select(EXAMPLE, "s3ft", GOLD, responses[::-1], verdicts)[0].index == 1
    assert select(EXAMPLE, "s3ft", GOLD, responses, verdicts, pick="likeliest")[0].index == 2
    assert select(EXAMPLE, "self-output", GOLD, responses, verdicts)[0].index == 2


def test_what_has_no_log_probability_is_never_the_likeliest():
    responses, verdicts = several()
    responses = [dataclasses.replace(r, logprob=None) if r.index == 2 else r for r in responses]
    assert select(EXAMPLE, "s3ft", GOLD, responses, verdicts, pick="likeliest")[0].index == 1
    responses = [dataclasses.replace(r, logprob=None) for r in responses[::-1]]
    assert select(EXAMPLE, "s3ft", GOLD, responses, verdicts, pick="likeliest")[0].index == 1, "all unknown: the first"


def test_who_weighs_likelihoods():
    methods = ["sft", "s3ft", "self-output", "rft", "repair"]
    assert weighs(methods, "own", "first") == ["self-output"]
    assert weighs(methods, "own", "likeliest") == ["s3ft", "self-output", "repair"]
    assert weighs(methods, "repair", "likeliest") == ["repair"] and weighs(methods, "paraphrase", "diverse") == []


@pytest.mark.parametrize("method", ["ssr", "unverified"])
def test_encoded_ids_are_trained_on_only_if_they_give_the_text(method):
    (response,), verdicts = respond("own", "right")
    same, changed = (dataclasses.replace(response, encoded=how) for how in ("same", "changed"))
    assert select(EXAMPLE, method, GOLD, [same], verdicts)[0].origin == "own"
    chosen = select(EXAMPLE, method, GOLD, [changed], verdicts)
    assert [s.origin for s in chosen] == ["gold"] * (method == "ssr")
    assert all(s.reason == "own encoded ids give another text; gold" for s in chosen)


def test_rft_keeps_distinct_right_answers_and_gold():
    responses, verdicts = several()
    chosen = select(EXAMPLE, "rft", GOLD, responses, verdicts)
    assert [(s.origin, s.index) for s in chosen] == [("own", 1), ("own", 2), ("gold", None)]


def test_who_is_asked_after_whom():
    assert asked_after(["sft", "ssr"], "paraphrase") is None and asked_after(["sft"], "repair") is None
    assert asked_after(["sft", "s3ft"], "paraphrase") == ("own",)
    assert asked_after(["s3ft", "sdft"], "paraphrase") == ()
    assert asked_after(["s3ft-repair"], "repair") == ("own", "paraphrase")
    assert asked_after(["s3ft-repair", "repair"], "repair") == ("own",)


def test_pick_diverse_takes_the_farthest_from_the_other_right_ones():
    responses, verdicts = [], {}
    rows = [("wrong", (9,) * 30), ("right", (1, 2, 3, 0)), ("right", (1, 2, 4, 0)), ("right", (7, 8, 3, 0))]
    for index, (state, ids) in enumerate(rows):
        made, judged = respond("own", state, index, ids)
        responses += made
        verdicts |= judged
    assert select(EXAMPLE, "s3ft", GOLD, responses, verdicts, pick="diverse")[0].index == 3
    assert select(EXAMPLE, "s3ft", GOLD, responses[:3], verdicts, pick="diverse")[0].index == 1, "a tie: the first"
    kept = select(EXAMPLE, "rft", GOLD, responses, verdicts, max_targets=2)
    # distances from the others: 1 + 2, 1 + 3, 2 + 3
    assert [(s.origin, s.index) for s in kept] == [("own", 2), ("own", 3), ("gold", None)]


def test_a_repair_is_weighed_by_its_sampled_tokens_alone():
    responses, verdicts = [], {}
    for index, (given, logprob) in enumerate([(0, -4.0), (8, -3.0)]):
        ids = tuple(range(10))
        responses.append(Response(EXAMPLE.id, "repair", index, "", (1, 2), ids, True, logprob, given))
        verdicts["repair", index] = Verdict(EXAMPLE.id, "repair", index, "exact", "right", "", "right")
    (chosen,) = select(EXAMPLE, "repair", GOLD, responses, verdicts, pick="likeliest")
    assert chosen.index == 0, "-0.4 a token against -1.5"


def test_the_gate_refuses_what_is_not_likelier_than_gold_per_token():
    def scored(example_id, origin, index, logprob, tokens):
        return Likelihood(example_id, origin, index, logprob, tokens)

    found = less_likely(
        [
            scored("a", "gold", None, -10.0, 10),
            scored("a", "paraphrase", 0, -19.0, 20),
            scored("a", "paraphrase", 1, -5.0, 4),
            scored("a", "paraphrase", 2, -4.0, 4),
            scored("b", "gold", None, None, 900),
            scored("b", "paraphrase", 0, -1.0, 4),
        ]
    )
    assert found == {
        "a": {("paraphrase", 1): LESS_LIKELY, ("paraphrase", 2): LESS_LIKELY},
        "b": {("paraphrase", 0): TOO_LONG},
    }


def test_a_refused_paraphrase_falls_to_the_next_rung_with_its_reason():
    responses, verdicts = respond("own", "wrong")
    for index in range(2):
        more, judged = respond("paraphrase", "right", index)
        responses, verdicts = responses + more, verdicts | judged
    (chosen,) = select(EXAMPLE, "s3ft", GOLD, responses, verdicts, gated={("paraphrase", 0): LESS_LIKELY})
    assert (chosen.origin, chosen.index) == ("paraphrase", 1)
    both = {("paraphrase", 0): LESS_LIKELY, ("paraphrase", 1): TOO_LONG}
    (chosen,) = select(EXAMPLE, "s3ft", GOLD, responses, verdicts, gated=both)
    assert chosen.origin == "gold" and chosen.reason.endswith("; paraphrase less likely than gold; gold")


def test_replay_is_a_share_of_all_rows():
    assert replays(["sft", "s3ft-replay", "sft-replay"]) == ["s3ft-replay", "sft-replay"]
    assert [num_replayed(990, frac) for frac in (0.0, 0.01, 0.5)] == [0, 10, 990]
    assert num_replayed(16, 0.01) == 1, "a share that is asked for is never rounded away"
