"""Truth table of the choice judge."""

from __future__ import annotations

import pytest

from s3ft_jax.judges import choice
from s3ft_jax.records import Example, Response

TOWNS = ["Oslo", "Bergen", "Oslo East", "A fjord"]


def make(check, text):
    example = Example("t/test/0", "t", "test", (), "", "choice", check)
    return example, Response("t/test/0", "own", 0, text, (), (), True, 0.0)


TABLE = [
    ("B", "B", "right", "bare letter"),
    ("B", "b", "right", "lower case alone"),
    ("B", "(B)", "right", "brackets"),
    ("B", "B.", "right", "full stop"),
    ("B", "B) Bergen", "right", "letter and text"),
    ("B", "B. Bergen", "right", "letter and text"),
    ("B", "**B**", "right", "bold"),
    ("B", "The answer is B", "right", "marker"),
    ("B", "The answer is (B) Bergen.", "right", "marker and brackets"),
    ("B", "Answer: B", "right", "marker"),
    ("B", "answer: **b**", "right", "marker, lower case, bold"),
    ("B", "The answer is option B.", "right", "two markers"),
    ("B", "I would pick option B because it rains.", "right", "option"),
    ("B", "\\boxed{B}", "right", "box"),
    ("B", "\\boxed{\\text{B}}", "right", "box with text"),
    ("B", "Not A. The answer is B", "right", "the marker wins"),
    ("B", "The answer is A. No, the answer is B.", "right", "the last marker"),
    ("A", "The answer is A. No, the answer is B.", "wrong", "the last marker"),
    ("B", "The answer is A, so \\boxed{B}", "right", "the box wins"),
    ("B", "Bergen", "right", "text alone"),
    ("B", "bergen.", "right", "text alone, normalised"),
    ("B", "The answer is Bergen", "right", "text behind a marker"),
    ("B", "It is surely Bergen, where it rains", "right", "text in a sentence"),
    ("C", "It is Oslo East", "right", "the longer text covers the shorter"),
    ("A", "It is Oslo East", "wrong", "the longer text covers the shorter"),
    ("B", "I think (B) fits", "right", "bracketed letter in a sentence"),
    ("B", "Clearly B fits", "right", "capital letter in a sentence"),
    ("B", "A good question: B", "right", "an article is no choice"),
    ("B", "A", "wrong", "other letter"),
    ("A", "A", "right", "A alone is a choice"),
    ("A", "A.", "right", "A alone is a choice"),
    ("B", "The answer is A", "wrong", "other letter"),
    ("B", "Oslo", "wrong", "other text"),
    ("B", "A or B", "ambiguous", "two letters"),
    ("B", "The answer is A or B", "ambiguous", "two letters behind a marker"),
    ("B", "(A) and (B)", "ambiguous", "two letters in brackets"),
    ("B", "Bergen or Oslo", "ambiguous", "two texts"),
    ("B", "I do not know", "no_choice", "nothing"),
    ("B", "", "no_choice", "empty"),
    ("B", "E", "no_choice", "a letter that is no choice"),
    ("B", "Stavanger", "no_choice", "a text that is no choice"),
    ("Bergen", "B", "right", "gold as text"),
]


@pytest.mark.parametrize(("gold", "text", "expected", "why"), TABLE, ids=[f"{row[0]}|{row[1][:30]}" for row in TABLE])
def test_truth_table(gold, text, expected, why):
    verdict = choice.judge(*make({"answer": gold, "choices": TOWNS}, text))
    assert verdict.reason.split(":")[0] == expected, (why, verdict)
    assert verdict.outcome == ("right" if expected == "right" else "wrong")


@pytest.mark.parametrize(
    ("text", "outcome"), [("D", "right"), ("The answer is (D).", "right"), ("The answer is C", "wrong")]
)
def test_letters_alone(text, outcome):
    assert choice.judge(*make({"answer": "D"}, text)).outcome == outcome


@pytest.mark.parametrize(
    "check",
    [
        {},
        {"answer": 1},
        {"answer": "E", "choices": TOWNS},
        {"answer": "A", "choices": "AB"},
        {"answer": "A", "chioces": TOWNS},
    ],
)
def test_a_bad_check_is_undecided(check):
    verdict = choice.judge(*make(check, "A"))
    assert (verdict.outcome, verdict.reason.split(":")[0]) == ("undecided", "bad_check")
