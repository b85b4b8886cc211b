"""Scores: what counts as right, and that no example may be missing or counted twice."""

import math

import pytest

from s3ft_jax.evaluation.scores import ScoreError, right_choice, score_choices, score_verdicts
from s3ft_jax.records import Example, Verdict


def example(number, task="math", split="test", gold="4", check=None):
    return Example(
        id=f"{task}/{split}/{number:05d}",
        task=task,
        split=split,
        messages=({"role": "user", "content": "2 + 2?"},),
        gold=gold,
        judge="numbers",
        check=check or {},
    )


def verdict(of, outcome, origin="own", index=0):
    return Verdict(of.id, origin, index, "numbers", outcome, "4", f"{outcome}: because")


def choice(number, task="facts"):
    return example(number, task, "general", gold="B", check={"choices": ["A", "B", "C"]})


def test_one_score_per_task_in_order_with_undecided_apart():
    examples = [example(0, "units"), example(0), example(1), example(2), example(3)]
    outcomes = ["wrong", "right", "right", "undecided", "wrong"]
    verdicts = [verdict(of, outcome) for of, outcome in zip(examples, outcomes, strict=True)]
    units, maths = score_verdicts(reversed(verdicts), examples, method="s3ft", seed=3, split="test")
    assert (units.task, units.value, units.count) == ("units", 0.0, 1)
    assert (maths.method, maths.seed, maths.task, maths.split, maths.metric) == ("s3ft", 3, "math", "test", "accuracy")
    assert (maths.value, maths.count, maths.undecided) == (0.5, 4, 1)
    assert maths.stderr == pytest.approx(math.sqrt(0.25 / 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda verdicts: verdicts[:-1], "1 example.*no verdict.*math/test/00002"),
        (lambda verdicts: [*verdicts, verdicts[0]], "several verdicts.*math/test/00000"),
        (lambda verdicts: [*verdicts, verdict(example(9), "right")], "not among the examples.*math/test/00009"),
        (lambda verdicts: [verdict(example(0), "right", "paraphrase"), *verdicts[1:]], "shown gold.*math/test/00000"),
    ],
)
def test_every_example_needs_exactly_one_verdict(change, message):
    examples = [example(number) for number in range(3)]
    verdicts = [verdict(of, "right") for of in examples]
    with pytest.raises(ScoreError, match=message):
        score_verdicts(change(verdicts), examples, method="base", seed=None, split="test")


def test_many_missing_examples_are_counted_and_a_few_named():
    examples = [example(number) for number in range(12)]
    with pytest.raises(ScoreError, match=r"12 example\(s\).*00004 and 7 more"):
        score_verdicts([], examples, method="base", seed=None, split="test")


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "no example"),
        ([example(0), example(0)], "share their id"),
        ([example(0, split="validation")], "not of split 'test'"),
    ],
)
def test_bad_examples_are_refused(examples, message):
    verdicts = [verdict(of, "right") for of in examples]
    with pytest.raises(ScoreError, match=message):
        score_verdicts(verdicts, examples, method="base", seed=None, split="test")


def test_the_likeliest_choice_wins_and_a_tie_is_wrong():
    examples = [choice(0), choice(1), choice(2), choice(3)]
    logprobs = [[-9.0, -2.0, -4.0], [-1.0, -2.0, -4.0], [-2.0, -2.0, -4.0], [-math.inf, -2.0, -3.0]]
    (score,) = score_choices(examples, logprobs, method="base", seed=None, split="general")
    assert (score.metric, score.value, score.count, score.undecided) == ("choice_likelihood", 0.5, 4, 0)


def test_per_token_metric_follows_the_worked_example():
    whole, per_token = score_choices(
        [choice(0)], [[-9.1, -2.0, -4.4]], method="sft", seed=0, split="general", lengths=[[3, 1, 4]]
    )
    assert (whole.metric, whole.value) == ("choice_likelihood", 1.0)
    assert (per_token.metric, per_token.value) == ("choice_likelihood_per_token", 0.0)


def test_right_positions_may_be_given():
    odd = example(0, "facts", "general", gold="the second")
    (score,) = score_choices([odd], [[-3.0, -1.0]], method="base", seed=None, split="general", right=[1])
    assert score.value == 1.0


@pytest.mark.parametrize(
    ("logprobs", "options", "message"),
    [
        ([], {}, "logprobs has 0 entries for 1 examples"),
        ([[-1.0, -2.0]], {}, "2 log-probabilities for 3 choices"),
        ([[-1.0]], {"right": [0]}, "at least 2 options"),
        ([[-1.0, float("nan"), -2.0]], {}, "facts/general/00000.*numbers <= 0"),
        ([[-1.0, 0.5, -2.0]], {}, "numbers <= 0"),
        ([[-1.0, -2.0, -2.0]], {"right": [3]}, "right choice 3 is not one of 0..2"),
        ([[-1.0, -2.0, -2.0]], {"lengths": [[1, 0, 1]]}, "one length >= 1 per choice"),
    ],
)
def test_bad_choices_are_refused(logprobs, options, message):
    with pytest.raises(ScoreError, match=message):
        score_choices([choice(0)], logprobs, method="base", seed=None, split="general", **options)


@pytest.mark.parametrize(
    "check",
    [
        {"choices": ["Oslo", "Bergen"], "answer": "Bergen", "choice": 1},
        {"choices": ["Oslo", "Bergen"], "answer": "Bergen"},
        {"choices": ["Oslo", "Bergen"], "answer": "B"},
    ],
)
def test_the_right_choice_is_found_by_position_text_or_letter(check):
    asked = example(0, "facts", "general", gold="unused", check=check)
    (score,) = score_choices([asked], [[-3.0, -1.0]], method="base", seed=None, split="general")
    assert score.value == 1.0


@pytest.mark.parametrize(
    ("check", "gold", "place"),
    [
        ({"choices": ["Oslo", "Bergen"], "choice": 1}, "x", 1),
        ({"choices": ["Oslo", "Bergen"]}, "Bergen", 1),
        ({"choices": ["Oslo", "Bergen"]}, "B", 1),
        ({"choices": ["B", "A"]}, "B", 0),
        ({"choices": ["Oslo", "Bergen"], "choice": 2}, "x", None),
        ({"choices": ["Oslo", "Bergen"], "choice": -1}, "x", None),
        ({"choices": ["Oslo", "Bergen"], "choice": True}, "x", None),
        ({"choices": ["Oslo", "Oslo"]}, "Oslo", None),
        ({"choices": ["Oslo"]}, "Oslo", None),
        ({"choices": ["Oslo", " "]}, "Oslo", None),
        ({"choices": ["Oslo", "Bergen"]}, "in Oslo", None),
        ({"choices": "A) Oslo B) Bergen"}, "A", None),
        ({"choices": {"text": ["Oslo", "Bergen"], "label": ["A", "B"]}}, "A", None),
        ({"choices": [1, 2]}, "1", None),
        ({}, "A", None),
    ],
)
def test_where_the_right_choice_stands_if_that_can_be_told(check, gold, place):
    assert right_choice(example(0, "facts", "general", gold=gold, check=check)) == place


def test_gold_that_is_no_choice_is_refused():
    odd = example(0, "facts", "general", gold="D", check={"choices": ["A", "B"]})
    with pytest.raises(ScoreError, match="the answer 'D' must stand exactly once"):
        score_choices([odd], [[-1.0, -2.0]], method="base", seed=None, split="general")
