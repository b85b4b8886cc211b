"""Scoreboard: what cannot be compared is refused by name."""

import dataclasses

import pytest
from synthetic_evidence import METHODS, SKILLS, TASK, synthetic_answers, synthetic_score, synthetic_scores

from s3ft_jax.report.evidence import EvidenceError
from s3ft_jax.report.scoreboard import build_scoreboard


def test_skills_choices_and_seeds_are_found():
    board = build_scoreboard(synthetic_scores(), TASK, METHODS)
    assert board.skills == SKILLS
    assert board.choices == (SKILLS[0],)
    assert board.seeds("s3ft") == (0, 1, 2)
    assert board.seeds("base") == (None,)
    assert board.score(("base", None), TASK).value == pytest.approx(0.28)


def test_other_splits_and_tasks_do_not_enter():
    extra = [
        synthetic_score("s3ft", 0, TASK, "validation", "accuracy", 1, 10),
        synthetic_score("s3ft", 0, "reading", "test", "accuracy", 1, 10),
    ]
    assert build_scoreboard([*synthetic_scores(), *extra], TASK, METHODS).skills == SKILLS


def drop(method, task):
    return [score for score in synthetic_scores() if (score.method, score.task) != (method, task)]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([*synthetic_scores(), synthetic_scores()[0]], "two scores for base"),
        ([*synthetic_scores(), synthetic_score("rft", 0, TASK, "test", "accuracy", 1, 2)], "rft.*not among"),
        ([*synthetic_scores(), synthetic_score("base", 1, TASK, "test", "accuracy", 1, 2)], "base has seed None"),
        ([*synthetic_scores(), synthetic_score("sft", None, TASK, "test", "accuracy", 1, 2)], "base has seed None"),
        ([score for score in synthetic_scores() if score.method != "ssr"], "method ssr has no score"),
        (drop("base", TASK), "base .seed None. has no accuracy score for 'programs'"),
        (drop("base", "units"), "base .seed None. has no accuracy score for 'units'"),
        (drop("s3ft", "units"), "s3ft .seed 0. has no accuracy score for 'units'.*evaluate stage"),
        ([dataclasses.replace(score, value=1.5) for score in synthetic_scores()], r"value in \[0, 1\]"),
        (
            [
                dataclasses.replace(score, count=300) if (score.method, score.task) == ("sft", TASK) else score
                for score in synthetic_scores()
            ],
            "sft .seed 0. was scored on 300 examples of 'programs', base on 600",
        ),
        (
            [*synthetic_scores(), synthetic_score("base", None, TASK, "general", "accuracy", 1, 2)],
            "both the target and a general skill",
        ),
    ],
)
def test_gaps_and_contradictions_are_refused(scores, message):
    with pytest.raises(EvidenceError, match=message):
        build_scoreboard(scores, TASK, METHODS)


def test_answers_must_agree_with_scores():
    scores = synthetic_scores()
    answers = synthetic_answers(scores)
    board = build_scoreboard(scores, TASK, METHODS, answers)
    assert sum(board.paired[("s3ft", 0), TASK].values()) == pytest.approx(board.score(("s3ft", 0), TASK).value * 600)
    answers["s3ft", 0, TASK] = answers["sft", 0, TASK]
    with pytest.raises(EvidenceError, match=r"answers of s3ft .seed 0.*the score says"):
        build_scoreboard(scores, TASK, METHODS, answers)


def test_answers_must_be_to_the_same_examples():
    scores = synthetic_scores()
    answers = synthetic_answers(scores)
    answers["sft", 0, TASK] = [
        dataclasses.replace(verdict, example_id=verdict.example_id + "x") for verdict in answers["sft", 0, TASK]
    ]
    with pytest.raises(EvidenceError, match="different examples"):
        build_scoreboard(scores, TASK, METHODS, answers)
