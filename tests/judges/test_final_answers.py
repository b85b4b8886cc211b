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
    ("#### 1. Add up 3\n#### 2) Divide\n#### 5", [("hashes", "5")], "numbered headings are none"),
    ("#### For 3 items\nso\n#### east", [("hashes", "east")], "words at the end only"),
    ("#### $x^2$\n#### x = 5\nso", [("hashes", "x = 5"), ("hashes", "$x^2$")], "formulas anywhere"),
    ("##### 5", [("hashes", "5")], "one hash more"),
    (
        "The answer is 5. That answer is based on 6 eggs. The answer is 7",
        [("marker", "7"), ("marker", "5"), ("marker", "based on 6 eggs")],
        "remarks behind all others",
    ),
    (
        "The answer is about 5. So the answer is consistent",
        [("marker", "about 5"), ("marker", "consistent")],
        "a remark",
    ),
    ("The answer is 5. No, the answer is not 5", [("marker", "not 5"), ("marker", "5")], "taken back"),
    (
        "The answer is 5? No. Final answer: the sum, 6",
        [("marker", "the sum, 6"), ("marker", "5")],
        "what is announced is no remark",
    ),
    ("Answer:\n- 5 eggs", [("marker", "5 eggs")], "a bullet is no minus"),
    ("Answer: - 5", [("marker", "- 5")], "a minus is no bullet"),
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
        ("east\nQuestion: what?\n6", "east"),
        ("Let me restate the 3 facts.\n\nQuestion: 3?\n5", "Let me restate the 3 facts.\n\nQuestion: 3?\n5"),
        ("The answer is 4. Let me check.\nQuestion: what?\n5", "The answer is 4. Let me check."),
        ("3 + 4 = 7\nQuestion: what?\n5", "3 + 4 = 7"),
        ("Let me restate.\nQuestion: what?\n5", "Let me restate.\nQuestion: what?\n5"),
        ("Let me restate.\nQuestion: what?\nAnswer: 5\nQuestion: a?", "Let me restate.\nQuestion: what?\nAnswer: 5"),
    ],
)
def test_a_following_question_is_cut(text, rest):
    assert cut_next_question(text).strip() == rest


def test_a_long_text_is_read_in_time():
    text = "answer is " * 10_000 + "{" * 10_000 + "\\boxed{" * 1000
    assert [rung for rung, _ in final_parts(text)] == ["boxed"]
