"""Judges room: is the number a response ends on the gold number? Exact comparison; nothing is ever evaluated.

In: an example whose ``check`` is ``{"answer": 18}`` (a number or its text), or ``{}`` to read the number out of
``example.gold`` in the same way as out of a response. Out: right iff the two numbers are equal as fractions.

Where the number is looked for: in the parts of final_answers.py (boxed, hashes, marker), each passed over if there is
no number in it, then as the last number of the text (``last_number``); that is weaker, so a right verdict says so.

What is read: 1,080  $18.00  -4 (any minus sign)  20 %  3/4  1 1/2  \\frac{1}{2}  1e-5  6 \\times 10^3  1 million
$2M  ten  3 and a half; units, currency, markdown and a trailing full stop are passed over (LaTeX and other dressing by
dressing.py). A time (12:30), a ratio (5:1), 5! and an expression (5 + 3, \\frac{\\pi}{2}) are not numbers; "x = -5 or x
= 5" and "between 4 and 5" are two. A percentage equals only a percentage, unless the question speaks of percent. 0.333
equals 1/3: where gold has no finite decimal form, its correct rounding to three or more places is right.

Pitfalls: our own comparison of published GSM8K extractors (see final_answers.py) and of math-verify 0.9.0.

The reason's class: right, rounded, last_number (all right), wrong, no_number, ambiguous (all wrong), gold, expression
(both undecided: gold is no plain number; the response ends on something that is not a plain number).
"""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache

from s3ft_jax.judges.dressing import SYMBOL, one_form, without_latex
from s3ft_jax.judges.final_answers import MAX_LENGTH, cut_next_question, final_parts
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response, Verdict

MAX_DIGITS = 400
"""Digits of a number, and its largest exponent; longer ones are not plain (and could cost unbounded time)."""

ROUNDED_PLACES = 3

_COMPOUND = re.compile(r"(?:hours?|hrs?|minutes?|days?|weeks?|months?|years?|feet|foot|ft|pounds?|lbs?)\s*(?:and|,)?")
_EMPHASIS = re.compile(r"(?<![\w*])\*([^*\n]{1,80})\*(?![\w*])")
_REMARK = re.compile(r"(?<![\w)])\([^()\n]*\)")

_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+)"  # 1,080; 1,00,000 as in India
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]])[-+][$\u20ac\u00a3\u00a5]?)?   # behind a number an operator, before a space a bullet
    (?:
      (?P<whole>\d{{1,6}})\s+(?:and\s+)?(?P<top>\d{{1,6}})/(?P<bottom>\d{{1,6}})   # 1 1/2, 3 and 3/4
      |(?P<numerator>{_DIGITS})\s?/\s?(?P<denominator>{_DIGITS})(?![\d/])       # 3/4
      |(?P<decimal>{_DIGITS}(?:\.\d+)?|\.\d+)
       (?:[eE](?P<exponent>[-+]?\d+)(?![\w.])|\s?(?:\\times|\\cdot|[x\u00d7*])\s?10\^\{{?(?P<power>[-+]?\d+)\}}?)?
      |\b(?P<words>(?:{"|".join(_WORDS)})(?:[ -](?:{"|".join(_WORDS)}))?)\b
    )
    (?P<scale>(?:\s+(?:{"|".join(_SCALES)})\b)*)
    (?P<half>\s+and\s+(?:a|one)[ -](?P<part>half|quarter)\b)?
    (?P<percent>\s?\\?%|\s+per\s?cent\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NOT_PLAIN_BEFORE = re.compile(
    r"\d\s?:\s?$|[\w)]\s?[\^/*\u00d7\u00f7]\s?\(?$|sqrt\W*$|[a-zA-Z]\($|-\s?\($"
    r"|(?<![a-zA-Z'])[a-zA-Z]\s?[-+]\s?\(?$"  # x + 5
    rf"|{re.escape(SYMBOL)}(?:[-+*/\u00d7\u00f7^()\s]|\\cdot|\\times)*$"
)
_NOT_PLAIN_AFTER = re.compile(
    rf"""
    \s?:\s?\d                                # 12:30, 5:1
    |[!^(\\]|[abnqruvwxyzBMNQRUXYZ]\b         # 5!, 5^2, 5(x+1), 5\\pi, 5x, 2M
    |(?:[-+*/\u00d7\u00f7.()\s]|\\cdot|\\times)*{re.escape(SYMBOL)}   # 5 - sqrt(2)
    |\s?[+*\u00d7\u00f7]\s?[\w(\\]           # 5 + x
    |\s?/\s?(?:[\d(\\]|[a-zA-Z]\b)          # 5/x, but 5/year is a unit
    |[a-zA-Z]\b\s*[-+*/^=]                  # 5k + 1
    """,
    re.VERBOSE,
)
_ALTERNATIVES = re.compile(r"=\s?[-+$]{0,2}[\d.,/]+,?\s+or\s+(?:[a-zA-Z]\w?\s?=\s?)?[-+$]{0,2}\d")  # x = -5 or x = 5
_CONDITION = re.compile(rf"{re.escape(SYMBOL)}[^=]*\b(?:where|with|for|when|if)\b[^=]*$")  # sqrt(a), where a = 2
_LIST_NUMBER = re.compile(r"\s*(\d{1,2})[.)]\s+(?=\S)")
_LEADING_MINUS = re.compile(r"[\s$*_`(]*-\s+(?=[$\u20ac\u00a3\u00a5]?\s?\.?\d)")
_PREFIX_NOISE = re.compile(r"[\s$\u20ac\u00a3\u00a5`*_~]|\\\$")


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was read out of a text.

    Attributes:
      text: the number as it stands in the text.
      value: the number; None if nothing plain was found.
      percent: whether it is a percentage; ``value`` of 20 % is 20.
      rung: boxed, hashes, marker, last_number or answer.
      problem: "", no_number, ambiguous or expression.
      places: digits behind the decimal point.
    """

    text: str = ""
    value: Fraction | None = None
    percent: bool = False
    rung: str = ""
    problem: str = "no_number"
    places: int = 0


def read_number(text: str) -> Reading:
    """Read the final number of a response, by the rungs of this module."""
    text = cut_next_question(one_form(text[-MAX_LENGTH:]))
    for rung, part in final_parts(text):
        reading = _read_part(_join_minus(_clean(part)), first=True)
        if reading.problem != "no_number" or rung == "boxed":
            return dataclasses.replace(reading, rung=rung)
    return dataclasses.replace(_read_last(text), rung="last_number")


def _clean(text: str) -> str:
    """Take markdown, LaTeX dressing and bracketed remarks away."""
    text = without_latex(text).replace("\\$", "$").replace("**", "").replace("__", "").replace("`", "")
    text = _EMPHASIS.sub(r"\1", text)
    without = _REMARK.sub(" ", text)
    if _NUMBER.search(without):
        text = without
    return re.sub(r"(?<=\d)\$(?=\W|$)", "", text)


def _join_minus(part: str) -> str:
    """An answer that begins with a minus and a space, as one number: - 5."""
    match = _LEADING_MINUS.match(part)
    return match[0].rstrip() + part[match.end() :] if match else part


def _read_part(part: str, first: bool) -> Reading:
    """Read a short text that is meant to hold one number.

    Args:
      part: cleaned text.
      first: take the first number if words stand between several, else the last.
    """
    if _ALTERNATIVES.search(part):
        return Reading(text=part.strip()[:80], problem="ambiguous")
    equals = max(part.rfind("="), part.rfind("\u2248"))
    if equals >= 0:
        left, right = part[:equals], part[equals + 1 :]
        if _CONDITION.search(left):
            return Reading(text=part.strip()[:80], problem="expression")
        part, first = (_join_minus(right), True) if _may_answer(right) else (left, first)
    matches = list(_NUMBER.finditer(part))
    if not first:
        # "240 pages in two weeks": figures before words
        matches = [match for match in matches if not match["words"]] or matches
    beside = (part[: matches[0].start()] if first else part[matches[-1].end() :]) if matches else part
    if SYMBOL in beside:  # the answer is the formula, whatever number stands on the other side
        return Reading(text=part.strip()[:80], problem="expression")
    if not matches:
        return Reading()
    if len(matches) > 1:
        left, right = matches[:2] if first else matches[-2:]
        problem = _between(part, part[left.end() : right.start()], bool(right["sign"]))
        if problem:
            return Reading(text=part.strip()[:80], problem=problem)
    match = matches[0] if first else matches[-1]
    return _plain(part, match)


def _between(part: str, words: str, signed: bool) -> str:
    """Whether two numbers that follow each other are one answer: "" if yes, else ``ambiguous`` or ``expression``.

    Args:
      part: the whole text.
      words: what stands between them.
      signed: whether the second has a sign.
    """
    if re.search(r"\bbetween\s+\W*\d[^\n]*\band\b", part, re.IGNORECASE):
        return "ambiguous"
    words = _PREFIX_NOISE.sub(" ", words.replace(" * ", " x ")).strip().lower()
    if re.fullmatch(r"(?:[-+/^x\u00d7\u00f7]|\\times|\\cdot|\\div)\s*[-+(]*", words) or (signed and not words):
        return "expression"
    if _COMPOUND.fullmatch(words):
        return "ambiguous"  # 2 hours and 30 minutes: neither 2 nor 30
    if re.fullmatch(r"[,&;]?\s*(?:and|or|to|,|&|;|)", words) or re.search(r"\bor\b", words):
        return "ambiguous"
    return ""


def _plain(part: str, match: re.Match[str]) -> Reading:
    """One number and what touches it: a time, a ratio, a factorial or a power make it no plain number."""
    before, after = part[: match.start()], part[match.end() :]
    signed = before + (match["sign"] or "")[:1]  # x -5
    if _NOT_PLAIN_BEFORE.search(before) or _NOT_PLAIN_BEFORE.search(signed) or _NOT_PLAIN_AFTER.match(after):
        return Reading(text=part.strip()[:80], problem="expression")
    value, places = _value(match)
    if value is None:
        return Reading(text=match.group().strip()[:80], problem="expression")
    return Reading(match.group().strip(), value, match["percent"] is not None, problem="", places=places)


def _value(match: re.Match[str]) -> tuple[Fraction | None, int]:
    """The fraction a match of ``_NUMBER`` stands for, and its decimal places; None if too long or divided by 0."""
    if len(match.group()) > MAX_DIGITS:
        return None, 0
    places, exponent = 0, int(match["exponent"] or match["power"] or 0)
    if abs(exponent) > MAX_DIGITS:
        return None, 0
    try:
        if match["whole"]:
            value = int(match["whole"]) + Fraction(int(match["top"]), int(match["bottom"]))
        elif match["numerator"]:
            value = Fraction(int(match["numerator"].replace(",", "")), int(match["denominator"].replace(",", "")))
        elif match["decimal"]:
            decimal = Decimal(match["decimal"].replace(",", ""))
            places = max(0, -int(decimal.as_tuple().exponent))
            value = Fraction(decimal) * Fraction(10) ** exponent
        else:
            value = _words_value(match["words"])
    except (ZeroDivisionError, InvalidOperation, ValueError):
        return None, 0
    for scale in match["scale"].lower().split():
        value *= _SCALES[scale]
    if match["half"]:
        value += Fraction(1, 2) if match["part"].lower() == "half" else Fraction(1, 4)
    return (-value if (match["sign"] or "").startswith("-") else value), places


def _words_value(words: str) -> Fraction:
    """``ten``, ``twenty-one``; two words that do not add up that way (``one two``) raise ValueError."""
    values = [_WORDS[word] for word in re.split(r"[ -]", words.lower())]
    if len(values) == 2 and not (values[0] >= 20 and 0 < values[1] < 10):
        raise ValueError(words)
    return Fraction(sum(values))


def _read_last(text: str) -> Reading:
    """The last number of a text without any marker."""
    for line in reversed(_without_list_numbers(text.strip().splitlines())):
        line = _clean(line)
        if not _may_answer(line):
            continue
        sentences = [part for part in re.split(r"(?<=[.;?])\s+", line) if _may_answer(part)]
        return _read_part(sentences[-1] if sentences else line, first=False)
    return Reading()


def _may_answer(text: str) -> bool:
    """Whether there is a number or a formula in a cleaned text."""
    return SYMBOL in text or bool(_NUMBER.search(text))


def _without_list_numbers(lines: list[str]) -> list[str]:
    """Lines of a numbered list ("3. Done.", with "2." at the head of a line before it) without their numbers."""
    found, left = set(), []
    for line in lines:
        match = _LIST_NUMBER.match(line)
        left.append(line[match.end() :] if match and int(match[1]) - 1 in found else line)
        if match:
            found.add(int(match[1]))
    return left


@lru_cache(maxsize=8192)
def read_gold(answer: str | None, gold: str) -> Reading:
    """The gold number: of ``answer`` (the check's, as text) if there is one, else of the gold text."""
    if answer is None:
        return read_number(gold)
    return dataclasses.replace(_read_whole(answer), rung="answer")


def _read_whole(text: str) -> Reading:
    """A text that must be one number and at most a unit."""
    clean = _join_minus(_clean(one_form(text[:1000])))
    reading = _read_part(clean, first=True)
    rest = clean.replace(reading.text, "", 1)
    if reading.value is None or re.search(r"[\d^=()\[\]{}]|\\(?!\$|%)", rest):
        return Reading(text=text[:80], problem="expression")
    return reading


def compare(gold: Reading, found: Reading, percent_asked: bool) -> str:
    """``right``, ``rounded`` or ``wrong``. Both readings hold a value.

    Args:
      gold, found: what to compare.
      percent_asked: whether the question speaks of percent, so that 20 and 20 % mean the same.
    """
    assert gold.value is not None and found.value is not None
    if gold.percent != found.percent and not percent_asked:
        return "wrong"
    if gold.value == found.value:
        return "right"
    divisor = gold.value.denominator
    while divisor % 2 == 0 or divisor % 5 == 0:
        divisor //= 2 if divisor % 2 == 0 else 5
    if divisor > 1 and found.places >= ROUNDED_PLACES and found.value == round(gold.value, found.places):
        return "rounded"
    return "wrong"


def judge(example: Example, response: Response) -> Verdict:
    """Whether the response's final number equals gold's."""
    answer = example.check.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, (int, float, str, type(None))):
        return make_verdict(response, "numbers", "undecided", "", f"gold: check.answer {answer!r} is not a number")
    gold = read_gold(None if answer is None else str(answer), example.gold)
    if gold.value is None:
        reason = f"gold: {gold.text or example.gold[:80]!r} is not a plain number or fraction"
        return make_verdict(response, "numbers", "undecided", "", reason)
    found = read_number(response.text)
    if found.problem == "expression":
        reason = f"expression: {found.text!r} is not a plain number ({found.rung})"
        return make_verdict(response, "numbers", "undecided", found.text, reason)
    if found.value is None:
        words = f"{found.problem}: " + (f"{found.text!r} ({found.rung})" if found.text else "no number in the response")
        return make_verdict(response, "numbers", "wrong", found.text, words)
    question = example.messages[-1]["content"].lower() if example.messages else ""
    result = compare(gold, found, "percent" in question or "%" in question)
    if result == "wrong":
        reason = f"wrong: {found.text} is not {gold.text} ({found.rung})"
        return make_verdict(response, "numbers", "wrong", found.text, reason)
    kind = "last_number" if found.rung == "last_number" and result == "right" else result
    reason = f"{kind}: {found.text} equals {gold.text} ({found.rung})"
    return make_verdict(response, "numbers", "right", found.text, reason)
