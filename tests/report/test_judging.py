"""Which judge judged what, how far two agree, and the canaries of a judging model."""

import dataclasses

import pytest
from synthetic_evidence import synthetic_evidence

from s3ft_jax.records import Verdict
from s3ft_jax.report import judging
from s3ft_jax.report.contents import build_contents
from s3ft_jax.report.evidence import EvidenceError, check_evidence
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page


def turned(verdicts, places, outcome="wrong"):
    """The same verdicts by another judge, other outcomes at some places."""
    changes = {"judge": "stern", "outcome": outcome, "reason": "style: <b>bad</b>"}
    return [
        dataclasses.replace(verdict, **(changes if place in places else {"judge": "stern"}))
        for place, verdict in enumerate(verdicts)
    ]


def test_the_judge_of_training_and_test_is_named():
    evidence = synthetic_evidence()
    assert "The same judge, " in judging.judges_line(evidence)
    own = turned(evidence.verdicts["own"], ())
    other = dataclasses.replace(evidence, verdicts={"own": own})
    assert "chosen by stern, but the test answers were scored by " in judging.judges_line(other)
    assert judging.judges_line(dataclasses.replace(evidence, verdicts={})) == ""


def test_kappa_on_numbers_worked_by_hand():
    # 3 of 4 alike; by chance 1/2 * 3/4 + 1/2 * 1/4 = 1/2
    assert judging.cohens_kappa("rrww", "rrwr") == pytest.approx(0.5)
    assert judging.cohens_kappa("rw", "wr") == pytest.approx(-1.0)
    assert judging.cohens_kappa("rw", "rw") == 1.0
    assert judging.cohens_kappa("rr", "rr") is None and judging.cohens_kappa("", "") is None


def test_outcomes_are_crossed_and_differences_listed():
    outcomes = ["right"] * 14 + ["wrong"] * 2
    verdicts = [Verdict(f"t/{n}", "own", 0, "kind", outcome, "", f"why: {n}") for n, outcome in enumerate(outcomes)]
    second = turned(verdicts, range(12))
    evidence = synthetic_evidence(verdicts={"own": verdicts}, compared={"own": second})
    crossed, differences = judging.agreement_tables(evidence)
    assert [[cell.text for cell in row] for row in crossed.rows] == [
        ["right", "2", "12", "0"], ["wrong", "0", "2", "0"], ["undecided", "0", "0", "0"]
    ]  # fmt: skip
    assert "kind (rows) and a second judge, stern (columns)" in crossed.caption and "25.0 %" in crossed.caption
    assert len(differences.rows) == judging.SHOWN and "10 of 12" in differences.caption
    assert [cell.text for cell in differences.rows[0]] == ["t/0", "right: why: 0", "wrong: style: <b>bad</b>"]
    (told,) = judging.agreement_values(evidence)
    assert (told["first_judges"], told["second_judges"], told["responses"]) == (["kind"], ["stern"], 16)
    assert {"first": "right", "second": "wrong", "count": 12} in told["outcomes"] and told["kappa"] < 0.1
    assert told["differing"] == 12 and len(told["differences"]) == judging.SHOWN
    assert told["differences"][0]["second"] == "wrong: style: <b>bad</b>" and len(judging.differences(evidence)) == 12
    same = synthetic_evidence(verdicts={"own": verdicts}, compared={"own": turned(verdicts, ())})
    assert len(judging.agreement_tables(same)) == 1


def test_page_and_markdown_hold_them():
    evidence = synthetic_evidence(canaries={"gold": (15, 16), "empty": (0, 0)})
    assert judging.canary_values(evidence) == [{"text": "gold", "passed": 15, "asked": 16}]
    evidence = dataclasses.replace(evidence, compared={"own": turned(evidence.verdicts["own"], (3, 5), "undecided")})
    contents = build_contents(evidence)
    page, text = build_page(contents), build_markdown(contents)
    for document in (page, text):
        for part in ("The same judge, ", "a second judge, stern", "Where they differ", "Canaries", "15 of 16"):
            assert part in document, part
        assert "<b>bad</b>" not in document.replace("\\<b>bad\\</b>", "")
    assert "Canaries" not in build_page(build_contents(synthetic_evidence()))


def test_verdicts_on_other_responses_are_refused():
    evidence = synthetic_evidence()
    with pytest.raises(EvidenceError, match="compared of own"):
        check_evidence(dataclasses.replace(evidence, compared={"own": evidence.verdicts["own"][:5]}))
