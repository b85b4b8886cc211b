"""Scores of answers: each measure by hand on a few questions, and what counts for which."""

import pytest

from s3ft_jax.evaluation.answers import score_answers
from s3ft_jax.judges import answers as judge
from s3ft_jax.records import Example, Response


def question(number, answers, judge_name="answers"):
    check = {"answers": answers, "unanswerable": not answers, "min_f1": 0.6}
    return Example(f"r/test/{number}", "reading", "test", (), answers[0] if answers else "no", judge_name, check)


ASKED = [
    (question(0, ["the Rhine"]), "Rhine"),  # equal after normalisation
    (question(1, ["Mount Everest in Nepal"]), "Mount Everest"),  # 2 of 4 tokens: F1 2/3, recall 1/2
    (question(2, ["1912"]), "The passage does not say."),  # declined, and should not have
    (question(3, []), "The passage does not say."),
    (question(4, []), "In 1850."),  # should have declined
]


def scores(asked):
    examples = [example for example, _ in asked]
    responses = [Response(e.id, "own", 0, text, (1,), (2,), True, -1.0) for e, text in asked]
    verdicts = [judge.judge(e, r) for e, r in zip(examples, responses, strict=True) if e.judge == "answers"]
    found = score_answers(examples, responses, verdicts, method="sft", seed=1, split="test")
    return {score.metric: score for score in found}


def test_each_measure_by_hand():
    found = scores(ASKED)
    values = {metric: (pytest.approx(score.value), score.count) for metric, score in found.items()}
    assert values == {
        "exact_match": (2 / 5, 5),
        "token_f1": ((1 + 2 / 3 + 0 + 1 + 0) / 5, 5),
        "token_recall": ((1 + 1 / 2 + 0) / 3, 3),
        "answerable_accuracy": (2 / 3, 3),
        "false_refusals": (1 / 3, 3),
        "unanswerable_accuracy": (1 / 2, 2),
        "answerability": (3 / 5, 5),
    }
    assert found["exact_match"].stderr == pytest.approx((0.4 * 0.6 / 5) ** 0.5)
    assert (found["token_f1"].method, found["token_f1"].seed, found["token_f1"].task) == ("sft", 1, "reading")


def test_an_answer_that_sounds_like_a_refusal_is_none():
    found = scores([(question(0, ["Unknown"]), "Unknown")])
    assert found["false_refusals"].value == 0.0 and found["exact_match"].value == 1.0


def test_other_judges_and_absent_kinds_have_no_score():
    assert scores([(question(0, ["4"], "numbers"), "4")]) == {}
    assert "unanswerable_accuracy" not in scores(ASKED[:2]) and "token_recall" not in scores(ASKED[3:])
