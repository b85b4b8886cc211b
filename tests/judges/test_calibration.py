"""Verdicts against people's labels: what a line may hold, and hand-counted precision, recall and abstention."""

import json

import pytest

from s3ft_jax.judges import find_judge
from s3ft_jax.judges.calibration import describe_difference, make_pairs, measure, read_labels
from s3ft_jax.judges.verdicts import JudgeError

ROWS = [
    {"gold": "4", "response": "4", "right": True},
    {"gold": "4", "response": "It is four.", "right": True, "question": "2 + 2?"},
    {"gold": "4", "response": "5", "right": False},
    {"gold": "4", "response": "4 of the wrong unit", "right": False, "check": {"answer": "4"}},
    {"gold": "4", "response": "5 + x", "right": False},
    {"gold": "4", "response": "not 3 but 4.0, so 3", "right": True},
]


def labels(rows):
    return read_labels("\n".join(map(json.dumps, rows)) + "\n", "labels.jsonl")


def test_shares_and_differences_counted_by_hand():
    judged = [find_judge("numbers")(*pair) for pair in make_pairs(labels(ROWS), "numbers")]
    assert [v.outcome for v in judged] == ["right", "right", "wrong", "right", "undecided", "wrong"]
    found = measure("numbers", labels(ROWS), judged)
    assert (found.precision, found.recall, found.abstention) == (2 / 3, 2 / 3, 1 / 6)
    assert [number for number, _ in found.differing] == [3, 5]
    line = describe_difference(labels(ROWS)[3], found.differing[0][1])
    assert line.startswith("right, a person says wrong: gold '4', response '4 of the wrong unit'; ")


def test_without_right_verdicts_or_labels_there_is_no_share():
    wrong = labels([{"gold": "4", "response": "5", "right": False}])
    found = measure("numbers", wrong, [find_judge("numbers")(*pair) for pair in make_pairs(wrong, "numbers")])
    assert found.precision is None and found.recall is None and found.abstention == 0


@pytest.mark.parametrize(
    ("judge", "check"),
    [
        ("numbers", {}),
        ("exact", {"answer": "4"}),
        ("answers", {"answers": ["4"]}),
        ("model", {}),
        ("first(numbers, exact, length(1, 9))", {"exact": {"answer": "4"}}),
    ],
)
def test_what_a_judge_checks_is_made_from_gold(judge, check):
    pairs = make_pairs(labels(ROWS), judge)
    assert pairs[0][0].check == check and pairs[3][0].check == {"answer": "4"}
    assert pairs[1][0].messages[0]["content"] == "2 + 2?"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{", "no JSON"),
        ("[1]", r"\[1\] is unknown"),
        ('{"gold": "4", "response": "4", "right": true, "label": 1}', r"\['label'\] is unknown; a label has"),
        ('{"gold": 4, "response": "4", "right": true}', "'gold' must be a text, found 4"),
        ('{"gold": "4", "right": true}', "'response' must be a text, found None"),
        ('{"gold": "4", "response": "4", "right": "yes"}', "'right' must be true or false, found 'yes'"),
        ('{"gold": "4", "response": "4", "right": true, "check": "4"}', "'check' an object"),
    ],
)
def test_a_line_that_is_no_label_is_named(line, cause):
    with pytest.raises(JudgeError, match=rf"labels\.jsonl line 3: .*{cause}"):
        read_labels(json.dumps(ROWS[0]) + "\n\n" + line, "labels.jsonl")


def test_a_file_without_labels():
    with pytest.raises(JudgeError, match=r"labels\.jsonl holds no labels"):
        read_labels("\n \n", "labels.jsonl")


def test_a_labelled_thought_is_not_judged():
    (pair,) = make_pairs(labels([{"gold": "4", "response": "<think>5?</think>\n4", "right": True}]), "exact")
    assert pair[1].text == "4" and find_judge("exact")(*pair).outcome == "right"
