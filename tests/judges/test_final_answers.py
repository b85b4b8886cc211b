"""Where the final answer of a response stands."""

import pytest

from s3ft_jax.judges.final_answers import MAX_TRIED, cut_next_question, final_parts

TABLE = [
    ("\\boxed{1} and then \\boxed{\\frac{1}{2}}", [("boxed", "\\frac{1}{2}")], "the last box, its braces balanced"),
    ("\\boxed{3", [("boxed", "3")], "a box cut off"),
    ("#### 5\n\\boxed{3}", [("boxed", "3")], "a box counts before all else"),
    ("#### 5\n#### 6", [("hashes", "6"), ("hashes", "5")], "the last mark first"),
    ("The answer is 5. #### 6", [("hashes", "6"), ("marker", "5")], "marks before words"),
    ("The answer is 5. It is not 6.", [("marker", "5")], "to the end of the sentence"),
    ("**Final answer:** $x^2$\nBecause", [("marker", "$x^2$")], "markdown, to the end of the line"),
    ("The answer is 1.5 metres", [("marker", "1.5 metres")], "a decimal point ends no sentence"),
    ("I cannot answer this", [], "the word alone is no marker"),
    ("", [], "nothing"),
]


@pytest.mark.parametrize(("text", "parts", "why"), TABLE, ids=[row[2] for row in TABLE])
def test_parts(text, parts, why):
    assert list(final_parts(text)) == parts


def test_only_so_many_marks_are_looked_at():
    assert len(list(final_parts("#### 1\n" * (MAX_TRIED + 5)))) == MAX_TRIED


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("5\nQuestion: what?\n6", "5"),
        ("5\n**Problem 2**: what?", "5"),
        ("Question: what?\n5", "Question: what?\n5"),
        ("the question: what?", "the question: what?"),
    ],
)
def test_a_following_question_is_cut(text, rest):
    assert cut_next_question(text).strip() == rest


def test_a_long_text_is_read_in_time():
    text = "answer is " * 10_000 + "{" * 10_000 + "\\boxed{" * 1000
    assert [rung for rung, _ in final_parts(text)] == ["boxed"]
