"""Truth table of the exact judge."""

from __future__ import annotations

import pytest

from s3ft_jax.judges import exact
from s3ft_jax.records import Example, Response


def judge(check, text):
    example = Example("t/test/0", "t", "test", (), "", "exact", check)
    return exact.judge(example, Response("t/test/0", "own", 0, text, (), (), True, 0.0))


TABLE = [
    ("cba", "cba", "right", "equal"),
    ("cba", "  cba\n", "right", "white space at the ends"),
    (" cba ", "cba", "right", "white space at gold's ends"),
    ("cba", "Cba", "wrong", "case"),
    ("cba", "cba.", "right", "one full stop"),
    ("cba", "cba .", "right", "one full stop behind a space"),
    ("cba", "cba..", "wrong", "two full stops"),
    ("cba.", "cba.", "right", "gold's own full stop"),
    ("cba.", "cba", "wrong", "gold's own full stop is missing"),
    ("cba", "cba!", "wrong", "another mark"),
    ("c b a", "c  b a", "wrong", "white space inside counts"),
    ("cba", "The answer is cba", "wrong", "words around"),
    ("cba", "", "empty", "nothing"),
    ("cba", " \n", "empty", "white space"),
    ("cba", ".", "wrong", "only a full stop"),
    ("3", "3", "right", "digits"),
    ("3", "3.0", "wrong", "numbers are texts here"),
    ("é", "é", "right", "beyond ASCII"),
]


@pytest.mark.parametrize(("gold", "text", "expected", "why"), TABLE, ids=[row[3] for row in TABLE])
def test_truth_table(gold, text, expected, why):
    verdict = judge({"answer": gold}, text)
    assert verdict.reason.split(":")[0] == expected, (why, verdict)
    assert verdict.outcome == ("right" if expected == "right" else "wrong")


@pytest.mark.parametrize("check", [{}, {"answer": 3}, {"answer": ""}, {"answer": "a", "other": 1}])
def test_a_bad_check_is_undecided(check):
    assert judge(check, "3").outcome == "undecided"
