"""Evidence: contradictions are refused by name."""

import dataclasses

import pytest
from synthetic_evidence import synthetic_browsed, synthetic_evidence, synthetic_verdicts

from s3ft_jax.report import EvidenceError, ResponseCount
from s3ft_jax.report.evidence import check_evidence


def test_complete_evidence_passes():
    check_evidence(synthetic_evidence())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ()}, "methods is empty"),
        ({"methods": ("sft", "sft")}, "distinct"),
        ({"methods": ("base", "sft")}, "without 'base'"),
        ({"methods": ("sft", "<b>")}, "letters, digits"),
        ({"seeds": ()}, "seeds must be distinct and at least one"),
        ({"seeds": (1, 1)}, "seeds must be distinct"),
        ({"selections": {"rft": []}}, r"selections of \['rft'\]"),
        ({"selections": {"sft": [("a", "teacher", "")]}}, r"origins \['teacher'\]"),
        ({"responses": {"gold": ResponseCount(1, 1, 0)}}, "writes only own, paraphrase, repair"),
        ({"responses": {"own": ResponseCount(5, 3, 1)}}, "5 sampled is not 3 ended . 1 cut"),
        ({"verdicts": {"gold": synthetic_verdicts(1.0, "own", ["a"])}}, "writes only own, paraphrase, repair"),
        ({"logprobs": {"teacher": [(-1.0, 1)]}}, "an origin is one of"),
        ({"logprobs": {"own": [(-1.0, 0)]}}, "tokens >= 1"),
        ({"logprobs": {"own": [(float("nan"), 3)]}}, "sum <= 0"),
        ({"curves": {("sft", 77): [(1, 1.0)]}}, r"curves names model \('sft', 77\)"),
        ({"answers": {("rft", 0, "programs"): []}}, "answers names model"),
        ({"absent": {"graphs": "none"}}, r"absent names \['graphs'\]"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(EvidenceError, match=message):
        check_evidence(synthetic_evidence(**changes))


def test_a_browsed_answer_must_belong_to_a_model():
    first = synthetic_browsed(1)[0]
    stranger = dataclasses.replace(first, answers=(dataclasses.replace(first.answers[0], method="rft", seed=0),))
    with pytest.raises(EvidenceError, match=r"examples \(programs/test/00000\) names model"):
        check_evidence(synthetic_evidence(examples=(stranger,)))


def test_absent_parts_have_a_reason():
    evidence = synthetic_evidence(absent={"curves": "The train stage ran elsewhere."})
    assert evidence.why_absent("curves") == "The train stage ran elsewhere."
    assert evidence.why_absent("logprobs") == "Absent: this run recorded no logprobs."
