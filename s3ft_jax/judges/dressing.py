r"""Judges room: what stands around a number is taken away or written in one way, so that numbers.py reads few forms.

In: a text or a part of one. Out: the same text, in which

    any minus sign, minus 5      are  -, -5                                 one_form
    $2.5k, $2M, 3bn              are  $2.5 thousand, $2 million, 3 billion
    -\frac{1}{2}, 1\dfrac34      are  -1/2, 1 3/4                           without_latex
    \text{ cm}, \left, \,        are  cm and nothing
    \frac{\pi}{2}, \sqrt{2}, pi  are  SYMBOL: what is no number, with the digits in it

Text only; nothing is worked out.
"""

from __future__ import annotations

import re

from s3ft_jax.judges.final_answers import end_of_group

SYMBOL = "\\symbol"
"""In the place of a root, of a fraction that is not of two numbers, of pi and the like."""

_MINUS = str.maketrans(
    dict.fromkeys("\u2212\u2013\u2012\ufe63\uff0d", "-") | dict.fromkeys("\u00a0\u202f\u2009", "\u00a0")
)
_CURRENCY = r"[$\u20ac\u00a3\u00a5]"
_ENDS = r"(?![\w$^])"  # before a dollar it is a letter of a formula
_TYPED = {
    re.compile(pattern, re.IGNORECASE): by
    for pattern, by in (
        (r"(?<![\d)\]] )(?<![\w)])(?:minus|negative) (?=[\d$])", "-"),  # behind a number it is an operator
        (r"\bRs\.?\s?(?=\d)", ""),
        (rf"({_CURRENCY}\s?\d[\d.,]*)k{_ENDS}", r"\1 thousand"),
        # without currency 2 m are metres, and 2M and 2B may be letters for what is not known
        (rf"({_CURRENCY}\s?\d[\d.,]*)(?:mn?| ?(?-i:M)){_ENDS}", r"\1 million"),
        (rf"({_CURRENCY}\s?\d[\d.,]*)(?:b| ?(?-i:B)){_ENDS}|(\d) ?bn{_ENDS}", r"\1\2 billion"),
        (r"(\d)\s?\u00bd", r"\1 1/2"),
        (r"(\d)\s?\u00bc", r"\1 1/4"),
        (r"(\d)\s?\u00be", r"\1 3/4"),
        (r"(\d)\u00b2", r"\1^2"),
        (r"(\d)\u00b3", r"\1^3"),
    )
}
_GROUP_SPACE = re.compile(r"(?<=\d)\u00a0(?=\d{3}(?!\d))")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")  # GSM8K's annotations

_FRACTION = re.compile(
    r"(?P<sign>(?:(?<![\w)\]}])-)?)\\[dtc]?frac\s*"
    r"(?:\{\s*(?P<top>-?[\d.,]+)\s*\}\s*\{\s*(?P<bottom>-?[\d.,]+)\s*\}|(?P<one>\d)\s*(?P<two>\d))"
    r"(?P<digit>(?=\d))?(?P<letter>(?=[a-zA-Z](?![a-zA-Z])|\s[bcnpqrtuvwxyz](?![a-zA-Z])))?"
)
_FACTOR = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z]|(?<!\\)\)")
_NOISE = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf|boldsymbol|mbox)\s*\{([^{}]*)\}"
    r"|\\left|\\right|\\[,;:! ]|\\[()\[\]]|\{,\}|\^\{?\\circ\}?"
)
_SYMBOL = re.compile(
    r"\\(?:[dtc]?frac|sqrt|binom|pi|theta|alpha|beta|gamma|lambda|infty|log|ln|exp|sin|cos|tan|sum|prod|int|pm|mp"
    r"|overline)(?![a-zA-Z])(?:\[[^\[\]{}]{0,20}\])?|[\u221a\u03c0\u00b1\u221e]|(?<![a-zA-Z\\])pi\b"
)
_BRACE = re.compile(r"\s*\{")
_MAX_ARGUMENT = 200
"""Characters between the braces behind a symbol; unbalanced ones end there."""


def one_form(text: str) -> str:
    """One kind of minus and of space, scales and halves as words and fractions; no calculator annotations."""
    text = _GROUP_SPACE.sub("", text.translate(_MINUS)).replace("\u00a0", " ")
    for pattern, by in _TYPED.items():
        text = pattern.sub(by, text)
    return _CALCULATOR.sub("", text) if "<<" in text else text


def without_latex(text: str) -> str:
    """LaTeX fractions as 1/2, its dressing taken away, and ``SYMBOL`` for what is no number."""
    if "\\" in text or "{" in text:
        text = _NOISE.sub(lambda match: match.group(1) or "", _FRACTION.sub(_slashed, text))
    parts, at = [], 0
    for match in _SYMBOL.finditer(text):
        if match.start() < at:  # inside of another one
            continue
        parts += [text[at : match.start()], SYMBOL]
        at = match.end()
        for _ in range(2 if "frac" in match[0] or "binom" in match[0] else 1):
            brace = _BRACE.match(text, at)
            at = end_of_group(text, brace.end(), _MAX_ARGUMENT) + 1 if brace else at
    return "".join([*parts, text[at:]])


def _slashed(match: re.Match[str]) -> str:
    """A fraction of two numbers: its signs made one, behind a digit a mixed number, beside a letter a product."""
    top, bottom = match["top"] or match["one"], match["bottom"] or match["two"]
    sign = "-" * (sum(text.startswith("-") for text in (match["sign"], top, bottom)) % 2)
    before = match.string[max(0, match.start() - 2) : match.start()]
    front = " " if before[-1:].isdigit() else "*" if before and _FACTOR.match(before, len(before) - 1) else ""
    behind = "*" if match["letter"] is not None else " " if match["digit"] is not None else ""
    return f"{front}{sign}{top.lstrip('-')}/{bottom.lstrip('-')}{behind}"
