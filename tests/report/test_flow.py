"""Flow: counts add up, classes are read from reasons, gaps are said."""

import pytest
from synthetic_evidence import synthetic_evidence, synthetic_verdicts

from s3ft_jax.records import Verdict
from s3ft_jax.report import ResponseCount
from s3ft_jax.report.flow import build_flow, flow_values, reason_class


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("wrong: 12 is not 14", "wrong"),
        ("Timeout after 2 s", "timeout"),
        ("raised: ZeroDivisionError", "raised"),
        ("", "(none)"),
        (": odd", "odd"),
        ("exception(NameError: x)", "exception"),
        (" : ", "(none)"),
    ],
)
def test_class_of_a_reason(reason, expected):
    assert reason_class(reason) == expected


def test_targets_are_counted_by_origin():
    selections = {"sft": [("a", "gold", ""), ("b", "gold", "")], "s3ft": [("a", "own", ""), ("b", "gold", "")]}
    flow = build_flow(synthetic_evidence(selections=selections))
    assert flow.targets == {
        "sft": {"own": 0, "paraphrase": 0, "gold": 2},
        "s3ft": {"own": 1, "paraphrase": 0, "gold": 1},
    }
    assert flow.warnings == ()


def test_different_numbers_of_targets_and_missing_verdicts_are_said():
    flow = build_flow(
        synthetic_evidence(
            selections={"sft": [("a", "gold", "")], "s3ft": []},
            responses={"own": ResponseCount(5, 5, 0)},
            verdicts={"own": synthetic_verdicts(1.0, "own", ["a", "b"])},
        )
    )
    assert flow.warnings == (
        "5 own responses were sampled but 2 have a verdict; 3 are unaccounted for.",
        "The methods train on different numbers of targets: sft 1, s3ft 0.",
    )


def test_rescued_counts_only_examples_without_a_right_own_answer():
    def say(example_id, origin, outcome):
        return Verdict(example_id, origin, 0, "numbers", outcome, "", outcome)

    own = [say("a", "own", "right"), say("b", "own", "wrong"), say("c", "own", "undecided"), say("d", "own", "wrong")]
    paraphrase = [say("a", "paraphrase", "wrong"), say("b", "paraphrase", "right"), say("c", "paraphrase", "wrong")]
    evidence = synthetic_evidence(verdicts={"own": own, "paraphrase": paraphrase}, responses={})
    flow = build_flow(evidence)
    assert flow.rescued == (1, 2)
    values = flow_values(flow)
    assert values["paraphrases_of_unsolved"] == {"accepted": 1, "asked": 2}
    assert values["responses"]["own"]["outcomes"] == {"right": 1, "wrong": 2, "undecided": 1}
    assert values["responses"]["own"]["reasons"][0] == {"outcome": "wrong", "class": "wrong", "count": 2}
    assert values["responses"]["own"]["sampled"] is None


RUNGS = {
    "s3ft": {
        "own": {"reached": 4, "accepted": 1, "targets": 1, "responses": 4, "tokens": 40},
        "gold": {"reached": 3, "accepted": 3, "targets": 3, "responses": 0, "tokens": 0},
    }
}


def test_a_gate_takes_from_the_accepted_and_is_a_class_of_its_own():
    def say(example_id, origin, outcome, index=0):
        return Verdict(example_id, origin, index, "numbers", outcome, "", outcome)

    own = [say(i, "own", "wrong") for i in "abcd"]
    paraphrase = [say("a", "paraphrase", "right"), say("b", "paraphrase", "right"), say("c", "paraphrase", "wrong")]
    paraphrase.append(say("b", "paraphrase", "right", 1))
    gated = {"paraphrase": {("a", 0): "less likely than gold", ("b", 0): "less likely than gold"}}
    evidence = synthetic_evidence(
        verdicts={"own": own, "paraphrase": paraphrase},
        responses={},
        gated=gated,
        rungs=RUNGS,
        pass_rate={"examples": 4, "mean": 0.0, "by_right": {"0": 4}},
        unasked={"paraphrase": {"no reason": 2}},
    )
    flow = build_flow(evidence)
    assert flow.rescued == (1, 3), "b's other paraphrase passed"
    values = flow_values(flow)
    told = values["responses"]["paraphrase"]
    assert {"outcome": "right", "class": "less likely than gold", "count": 2} in told["reasons"]
    assert told["examples_right"] == 1 and told["unasked"] == {"no reason": 2}
    assert told["refused_by_gate"] == 2 and values["responses"]["own"]["refused_by_gate"] is None
    assert values["rungs"] == RUNGS and values["pass_rate"]["by_right"] == {"0": 4}
    assert flow_values(build_flow(synthetic_evidence()))["pass_rate"] is None


def test_further_origins_are_shown_where_a_target_comes_from_them_and_replay_is_no_target_of_the_task():
    selections = {
        "sft": [("a", "gold", ""), ("b", "gold", ""), ("replay/x", "replay", "")],
        "s3ft": [("a", "own", ""), ("b", "repair", "")],
    }
    flow = build_flow(synthetic_evidence(selections=selections))
    assert flow.targets["sft"] == {"own": 0, "paraphrase": 0, "repair": 0, "gold": 2, "replay": 1}
    assert flow.targets["s3ft"] == {"own": 1, "paraphrase": 0, "repair": 1, "gold": 0, "replay": 0}
    assert flow.warnings == (), "both train on two targets"


def test_every_refused_response_is_in_a_class():
    flow = build_flow(synthetic_evidence())
    for origin in flow.origins:
        assert sum(origin.classes.values()) == origin.outcomes["wrong"] + origin.outcomes["undecided"]
        assert sum(origin.outcomes.values()) == origin.sampled
