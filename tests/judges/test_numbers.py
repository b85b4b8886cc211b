"""Truth table of the numbers judge: gold, response, expected class of the reason, and why."""

from __future__ import annotations

import pytest

from s3ft_jax.judges import numbers
from s3ft_jax.records import Example, Response

RIGHT = {"right", "rounded", "last_number"}
UNDECIDED = {"gold", "expression"}


def make(check, text, gold="", question="How many?"):
    example = Example("t/test/0", "t", "test", ({"role": "user", "content": question},), gold, "numbers", check)
    return example, Response("t/test/0", "own", 0, text, (), (), True, 0.0)


TABLE = [
    # the rungs
    ("18", "#### 18", "right", "the data set's own mark"),
    ("18", "####18", "right", "no space behind the mark"),
    ("18", "#### $18", "right", "currency behind the mark"),
    ("18", "#### 18 (which is 3*6)", "right", "a remark in brackets is no answer"),
    ("18", "#### 6\n#### 18", "right", "the last mark counts"),
    ("18", "The answer is 18", "right", "marker"),
    ("18", "The answer is 18.", "right", "trailing full stop"),
    ("18", "the answer is: 18", "right", "lower case and colon"),
    ("18", "Answer: 18", "right", "marker with colon"),
    ("18", "**Answer:** 18", "right", "markdown marker"),
    ("18", "**Answer**: 18", "right", "markdown marker, colon outside"),
    ("18", "Final answer: 18", "right", "marker"),
    ("18", "Final answer:\n\n$18$", "right", "the number on a later line"),
    ("18", "The final answer is 18", "right", "marker"),
    ("18", "So the answer is **18**.", "right", "bold number"),
    ("18", "The answer is *18* apples", "right", "italic number"),
    ("18", "The answer is `18`", "right", "code number"),
    ("18", "The answer is 18 dollars (from step 2)", "right", "the first number behind a marker, not the last"),
    ("18", "The answer is 3 * 6 = 18", "right", "behind the last equals sign"),
    ("18", "49 - 31 = 18. Answer: 18", "right", "worked, then marked"),
    ("80", "49 + 51 = 100. 100 - 20 = 80. So the answer is 80.", "right", "worked, then marked"),
    ("18", "The answer is 6. No, wait: the answer is 18.", "right", "the last marker counts"),
    ("6", "The answer is 6. No, wait: the answer is 18.", "wrong", "the first marker does not"),
    ("3", "\\boxed{2} and then \\boxed{3}", "right", "the last box counts"),
    ("2", "\\boxed{2} and then \\boxed{3}", "wrong", "not a set of all boxes"),
    ("18", "The answer is 17. \\boxed{18}", "right", "a box beats a marker"),
    ("1080", "\\boxed{1,080}", "right", "separator in a box"),
    ("18", "$\\boxed{18\\text{ dollars}}$", "right", "unit in a box"),
    ("18", "\\boxed{\\$18}", "right", "currency in a box"),
    ("18", "She makes 18 dollars", "last_number", "weaker rung, right"),
    ("18", "9 * 2 = 18 dollars every day for 7 days", "last_number", "first behind the last equals sign"),
    (
        "360",
        "Altogether 180+180 = 360 stories in the two weeks.",
        "last_number",
        "a number word is no match for figures",
    ),
    ("18", "#### 1. Find the cost\n3 * 6\n#### 2. Add up\nThe answer is 18", "right", "numbered headings"),
    ("2", "#### 1. Find the cost\n3 * 6\n#### 2. Add up\nThe answer is 18", "wrong", "numbered headings"),
    ("18", "#### Total cost for 3 items\n3 * 6\nThe answer is 18.", "right", "a heading with a number in it"),
    ("6", "#### Tuesday: 6 apples\n6 + 4\nThe answer is 10.", "wrong", "a heading with a number in it"),
    ("18", "The answer is 18. This answer is correct because 16 - 7 = 9.", "right", "a remark on the answer"),
    ("18", "The answer is 18.\nPlease note that the answer is based on 16 eggs per day.", "right", "a remark"),
    ("18", "The answer is 18. Wait, the answer is actually 20.", "wrong", "taken back"),
    ("18", "The answer is 18. No, the answer is between 19 and 20.", "ambiguous", "taken back"),
    ("36", "The answer is 18. No: the answer is twice that, 36.", "right", "taken back"),
    ("18", "Let me restate.\nQuestion: How many?\nThe answer is 18.", "right", "the question once more, no answer yet"),
    ("18", "I do not know", "no_number", "nothing to compare"),
    ("18", "", "no_number", "empty"),
    ("18", "The answer is 18.\n\nQuestion: What is 5?\nAnswer: 5", "right", "a next question is not ours"),
    ("5", "The answer is 18.\n\nQuestion: What is 5?\nAnswer: 5", "wrong", "a next question is not ours"),
    ("18", "Question: 3*6?\nThe answer is 18", "right", "an echoed question at the start stays"),
    ("25", "60-35 = <<60-35=25>>25 miles", "last_number", "calculator annotation of GSM8K"),
    # forms of numbers
    ("18", "18.00", "last_number", "equal as decimals"),
    ("18.5", "18.50", "last_number", "equal as decimals"),
    ("1080", "1,080", "last_number", "thousands separator"),
    ("1,080", "1080", "last_number", "thousands separator in gold"),
    ("1234567.5", "$1,234,567.50", "last_number", "currency and separators"),
    ("18000", "18 000", "ambiguous", "a plain space may separate two numbers"),
    ("18000", "18\u202f000", "last_number", "a narrow no-break space separates thousands"),
    ("-4", "\u22124", "last_number", "unicode minus"),
    ("-4", "-4", "last_number", "sign"),
    ("4", "-4", "wrong", "sign matters"),
    ("-4", "4", "wrong", "sign matters"),
    ("-5", "The answer is -$5", "right", "sign before currency"),
    ("4", "+4", "last_number", "plus sign"),
    ("18", "- 18 apples", "last_number", "a bullet is no minus"),
    ("18", "He has 18 apples.", "last_number", "full stop"),
    ("18", "\u20ac18", "last_number", "euro"),
    ("18", "18 km/h", "last_number", "unit with a slash"),
    ("18", "The answer is $18,000/year", "wrong", "the whole number is read"),
    ("90", "The answer is 90^\\circ", "right", "degrees are a unit"),
    ("0.5", ".5", "last_number", "no leading zero"),
    ("0.5", "1/2", "last_number", "fraction"),
    ("1/2", "0.5", "last_number", "fraction in gold"),
    ("3/4", "\\frac{3}{4}", "last_number", "LaTeX fraction"),
    ("1/2", "\\dfrac{1}{2}", "last_number", "display fraction without delimiters"),
    ("1/2", "The answer is $\\frac12$", "right", "fraction without braces"),
    ("-1/2", "-1/2", "last_number", "negative fraction"),
    ("3/2", "The answer is 1 1/2 cups", "right", "mixed number"),
    ("2/4", "1/2", "last_number", "reduced"),
    ("1/3", "0.333", "rounded", "correct rounding of an endless decimal"),
    ("2/3", "0.667", "rounded", "rounded up"),
    ("2/3", "0.666", "wrong", "cut, not rounded"),
    ("1/3", "0.33", "wrong", "too few places to be sure"),
    ("1/4", "0.3", "wrong", "a finite decimal must be exact"),
    ("1/3", "1/3", "last_number", "exact"),
    ("1000", "1e3", "last_number", "exponent"),
    ("0.00001", "1e-5", "last_number", "negative exponent"),
    ("1", "1e3", "wrong", "the exponent counts"),
    ("6000", "6 \\times 10^3", "last_number", "scientific"),
    ("1000000", "1 million", "last_number", "scale word"),
    ("2500000", "2.5 million dollars", "last_number", "scale word and decimals"),
    ("10", "ten", "last_number", "number word"),
    ("21", "twenty-one", "last_number", "two words"),
    ("18", "The answer is eighteen dollars", "right", "number word behind a marker"),
    ("3", "The answer is 3 and a half", "wrong", "three and a half is not three"),
    ("3.5", "The answer is 3 and a half", "right", "three and a half"),
    # what is not one plain number
    ("5", "The answer is 5!", "expression", "may be a factorial"),
    ("5", "The answer is between 4 and 5", "ambiguous", "two numbers"),
    ("5", "x = -5 or x = 5", "ambiguous", "two answers"),
    ("5", "The answer is x = -5 or x = 5", "ambiguous", "two answers behind a marker"),
    ("5", "The answer is 4 to 5", "ambiguous", "a range"),
    ("5", "The answer is 4, 5", "ambiguous", "a list"),
    ("5", "2-5 days", "expression", "a range"),
    ("5", "5:1", "expression", "a ratio"),
    ("12", "12:30", "expression", "a time"),
    ("12", "The answer is 12:30", "expression", "a time behind a marker"),
    ("30", "It is 12:30", "expression", "the end of a time"),
    ("8", "The answer is 5 + 3", "expression", "not worked out; another judge's business"),
    ("2", "The answer is 2x", "expression", "a variable"),
    ("5", "The answer is 5(x+1)", "expression", "a product"),
    ("2", "The answer is 2^3", "expression", "a power"),
    ("2", "\\boxed{\\sqrt{2}}", "expression", "a root"),
    ("2", "2\\pi", "expression", "a multiple of pi"),
    ("0", "1/0", "expression", "no number at all"),
    ("1", "1e999999999", "expression", "an exponent that would fill the memory is not worked out"),
    ("1/2", "\\boxed{\\frac{1}{2}x}", "expression", "a fraction times a variable"),
    ("1/2", "\\boxed{x\\frac{1}{2}}", "expression", "a variable times a fraction"),
    ("1/2", "\\boxed{5-\\frac{1}{2}}", "expression", "a difference, not its last part"),
    ("2", "The answer is $\\frac{\\pi}{2}$.", "expression", "a part of pi, not the number below"),
    ("12", "So it is $\\frac{a}{12}$", "expression", "a letter above"),
    ("3", "\\boxed{\\frac{\\text{total}}{3}}", "expression", "words above"),
    ("3", "Take 3 eggs.\n$\\frac{a}{b}$", "expression", "the text ends on a formula"),
    ("2", "\u221a2", "expression", "a root as a character"),
    ("5", "\\boxed{\\pm 5}", "expression", "two numbers in one sign"),
    ("5", "5 - \\pi", "expression", "a number and a symbol"),
    ("5", "\\pi - 5", "expression", "a symbol and a number"),
    ("4", "The answer is $\\sqrt{16} = 4$", "right", "a root that was worked out"),
    ("2", "The answer is $\\frac{a}{b}$ where a = 2", "expression", "a condition behind a formula"),
    ("12.56", "With $\\pi$, for r = 2, the area is so A = 12.56", "last_number", "worked out behind a condition"),
    ("5", "The answer is x + 5", "expression", "a sum with a variable"),
    ("5", "The answer is a - 5", "expression", "a difference in the middle, no sign"),
    ("-5", "The answer is x -5", "expression", "the same without the second space"),
    ("2", "Twice the number of cans is 2a", "expression", "a multiple of a"),
    ("2", "She biked 2M miles", "expression", "two times M, or two million"),
    # signs
    ("-1/2", "\\boxed{-\\frac{1}{2}}", "right", "the sign of a LaTeX fraction"),
    ("1/2", "\\boxed{-\\frac{1}{2}}", "wrong", "the sign of a LaTeX fraction"),
    ("-3/4", "x=-\\frac34", "last_number", "the same without braces, behind a name"),
    ("-1/2", "\\boxed{-\\dfrac{1}{2}}", "right", "display fraction"),
    ("1/2", "\\boxed{-\\frac{-1}{2}}", "right", "two signs"),
    ("-1/2", "\\boxed{\\frac{1}{-2}}", "right", "the sign below"),
    ("-3/2", "\\boxed{-1\\frac12}", "right", "the sign of a mixed number"),
    ("1/2", "-\\left(\\frac{1}{2}\\right)", "expression", "the sign before a bracket"),
    ("-5", "The answer is - 5.", "right", "a sign and a space"),
    ("5", "The answer is - 5.", "wrong", "a sign and a space"),
    ("-5", "\\boxed{- 5}", "right", "the same in a box"),
    ("-5", "so x = - 5", "last_number", "the same behind an equals sign"),
    ("18", "Answer:\n- 18 apples", "right", "a bullet on a line of its own"),
    ("-5", "The answer is -\u20ac5", "right", "sign before another currency"),
    # scales
    ("2000000", "The answer is $2M.", "right", "M for million"),
    ("2", "The answer is $2M.", "wrong", "not two dollars"),
    ("2500000", "The answer is \u00a32.5m", "right", "m behind a currency"),
    ("2000000000", "The answer is 2 bn", "right", "bn for billion"),
    ("2", "The answer is 2 m", "right", "metres"),
    ("5", "The answer is $5m^2$", "expression", "dollars of a formula"),
    # percent
    ("50", "50 %", "wrong", "50 per cent is a half"),
    ("0.5", "50 %", "wrong", "another unit"),
    ("20 %", "20", "wrong", "gold is a percentage"),
    ("20 %", "20%", "last_number", "both are"),
    ("20 %", "20 percent", "last_number", "word"),
    ("20 %", "The answer is 20\\%", "right", "LaTeX percent"),
    # gold that is no plain number
    ("12:30", "12:45", "gold", "a time is no plain number"),
    ("12:30", "12:30", "gold", "a time is no plain number"),
    ("5:1", "5", "gold", "a ratio"),
    ("x^2+1", "1", "gold", "an expression"),
    ("(3, 5)", "5", "gold", "a pair"),
    ("\\sqrt{2}", "2", "gold", "a root"),
    ("2 or 3", "3", "gold", "two answers"),
    ("Oslo", "Oslo", "gold", "no number"),
    ("1\\frac{1}{2}", "1/2", "wrong", "a mixed number, not its fraction"),
]


@pytest.mark.parametrize(("gold", "text", "expected", "why"), TABLE, ids=[f"{row[0]}|{row[1][:30]!r}" for row in TABLE])
def test_truth_table(gold, text, expected, why):
    verdict = numbers.judge(*make({"answer": gold}, text))
    assert verdict.reason.split(":")[0] == expected, (why, verdict)
    outcome = "right" if expected in RIGHT else "undecided" if expected in UNDECIDED else "wrong"
    assert (verdict.outcome, verdict.judge) == (outcome, "numbers")


@pytest.mark.parametrize(
    ("answer", "text", "outcome"),
    [(18, "18", "right"), (0.1, "0.1", "right"), (True, "1", "undecided"), ([1], "1", "undecided")],
)
def test_gold_as_json_number(answer, text, outcome):
    assert numbers.judge(*make({"answer": answer}, text)).outcome == outcome


def test_a_question_about_percent_takes_both_forms():
    question = "What percentage of the apples are red?"
    assert numbers.judge(*make({"answer": 20}, "The answer is 20%", question=question)).outcome == "right"
    assert numbers.judge(*make({"answer": "20 %"}, "The answer is 20", question=question)).outcome == "right"
    assert numbers.judge(*make({"answer": 0.2}, "The answer is 20%", question=question)).outcome == "wrong"


@pytest.mark.parametrize(
    ("gold", "outcome"),
    [
        ("She has 9 * 2 = 18.\n#### 18", "right"),
        ("We get 18. Answer: 18", "right"),
        ("No idea", "undecided"),
        ("#### n/a", "undecided"),
    ],
)
def test_gold_is_read_out_of_the_gold_text(gold, outcome):
    assert numbers.judge(*make({}, "The answer is 18", gold=gold)).outcome == outcome


@pytest.mark.parametrize(
    "text",
    [
        "= 1 or " * 20000,
        "1e" + "9" * 90000,
        "1 x 10^" * 20000,
        "(" * 50000,
        "\\boxed{" * 20000,
        "1 " * 50000,
        " " * 100000 + "1",
        "\n" * 100000 + "x",
        "1" * 100000,
        "9/" * 50000,
        "answer is " * 10000,
        "<<" * 50000,
        "####" * 20000,
        "1,111" * 20000,
        "-" * 100000,
        "$" * 100000,
        "a\n" * 50000,
        "*1" * 50000,
        "\\frac{" * 20000,
        "\\sqrt" * 20000,
        "- " * 50000,
        "\nQuestion:" * 10000,
        "\u03c0-" * 50000,
        "$9m" * 30000,
    ],
)
def test_bombs_cost_little(text):
    import time

    began = time.process_time()
    verdict = numbers.judge(*make({"answer": 7}, text))
    assert verdict.outcome != "right"
    assert time.process_time() - began < 2.0


def test_gsm8k_gold_is_read_exactly(data_dir):
    import json
    from fractions import Fraction

    path = data_dir / "datasets" / "gsm8k" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 1319
    for row in rows:
        expected = Fraction(row["answer"].rsplit("####", 1)[1].strip().replace(",", ""))
        assert numbers.read_number(row["answer"]).value == expected
    # The weak rung alone, on the worked part without the mark: the few misses end on another number.
    worked = [numbers.read_number(row["answer"].rsplit("####", 1)[0]).value for row in rows]
    hits = sum(value == numbers.read_number(row["answer"]).value for value, row in zip(worked, rows, strict=True))
    assert hits >= 1300
