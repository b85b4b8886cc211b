"""selection: the truth table of the rule, over every combination of verdicts and methods."""

import itertools

import pytest

from s3ft_jax.records import Example, Response, Verdict
from s3ft_jax.selection import METHODS, Gold, needs_paraphrase, select

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
    for own, paraphrase in itertools.product(STATES, STATES):
        responses, verdicts = [], {}
        for origin, state in (("own", own), ("paraphrase", paraphrase)):
            made, judged = respond(origin, state)
            responses += made
            verdicts |= judged
        usable = {"own": own == "right", "paraphrase": paraphrase == "right", "gold": True}
        if not rule.judged:
            usable["own"] = own not in ("cut", "absent")
        wanted = [origin for origin in rule.prefer if usable[origin]]
        chosen = select(EXAMPLE, method, GOLD, responses, verdicts)
        expected = wanted if rule.keep_all else wanted[:1]
        assert [s.origin for s in chosen] == expected, (own, paraphrase)
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


def test_rft_keeps_distinct_right_answers_and_gold():
    responses, verdicts = several()
    chosen = select(EXAMPLE, "rft", GOLD, responses, verdicts)
    assert [(s.origin, s.index) for s in chosen] == [("own", 1), ("own", 2), ("gold", None)]


def test_who_needs_paraphrases():
    assert needs_paraphrase(["sft", "ssr"]) == "none"
    assert needs_paraphrase(["sft", "s3ft"]) == "unsolved"
    assert needs_paraphrase(["s3ft", "sdft"]) == "all"
