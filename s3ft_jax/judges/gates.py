"""Judges room: gates, which look at the form of a response and never at whether it is right.

In: a response, and the gate's arguments. Out: right where it may pass, wrong where not; meant for ``all(GATE, JUDGE)``
(composition.py).

    length(1, 200)   from 1 to 200 words, words being what white space separates; a text in Chinese is one word
    script(latin)    nine of ten letters belong to the script; a response without letters passes
    language(en)     no other language has a probability of nine in ten, by py3langid (Lui and Baldwin 2012, langid.py);
                     what is too short to tell passes. Code blocks and formulas are left out

The reason's class: passed; too_short, too_long, other_script, other_language.
"""

from __future__ import annotations

import importlib.util
import math
import re
import unicodedata
from collections.abc import Callable

from s3ft_jax.judges.verdicts import JudgeError, make_verdict
from s3ft_jax.records import Example, Response, Verdict

SCRIPTS = (
    "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "bengali", "tamil", "thai", "hangul", "hiragana",
    "katakana", "cjk", "georgian", "armenian",
)  # fmt: skip
"""First words of Unicode's names of letters (Unicode Standard, section 4.8)."""
SHARE = 0.9
"""Of the letters, from which a text counts as written in a script, since names and formulas may be in another; and the
probability from which it counts as written in a language."""
LENGTH = 5000
"""Characters whose language is looked at."""
_NO_PROSE = re.compile(r"```.*?(?:```|\Z)|\$[^$\n]{0,500}\$|\\[a-zA-Z]+|[\d_]", re.DOTALL)


def length(at_least: str, at_most: str = "") -> Callable[[Example, Response], Verdict]:
    """The gate ``length(at_least, at_most)``, in words.

    Raises:
      JudgeError: these are no numbers, or the first is above the second.
    """
    if not at_least.isdecimal() or not (at_most.isdecimal() or not at_most):
        raise JudgeError(f"judge.name: length({at_least}, {at_most}) takes one or two numbers of words: length(1, 200)")
    low, high = int(at_least), int(at_most or 10**9)
    if low > high:
        raise JudgeError(f"judge.name: length({low}, {high}) lets nothing pass; the first number is the smaller one")

    def judge(example: Example, response: Response) -> Verdict:
        count = len(response.text.split())
        if low <= count <= high:
            return make_verdict(response, example.judge, "right", str(count), f"passed: {count} words")
        kind, bound = ("too_short", low) if count < low else ("too_long", high)
        return make_verdict(response, example.judge, "wrong", str(count), f"{kind}: {count} words, bound {bound}")

    return judge


def language(code: str) -> Callable[[Example, Response], Verdict]:
    """The gate ``language(code)``, the code of ISO 639-1: en, de, zh.

    Raises:
      JudgeError: no such language, or py3langid is not installed.
    """
    if importlib.util.find_spec("py3langid") is None:
        raise JudgeError(f"judge.name: language({code}) needs py3langid: pip install 's3ft_jax[language]'")
    import py3langid

    known = sorted(name for name, _ in py3langid.rank(""))
    if code not in known:
        raise JudgeError(f"judge.name: language({code}) is not known; choose from {', '.join(known)}")

    def judge(example: Example, response: Response) -> Verdict:
        text = _NO_PROSE.sub(" ", response.text[:LENGTH]).encode("utf-8", "replace").decode()
        scores = py3langid.rank(text)  # natural logarithms of weights, the likeliest first
        (likeliest, best), *_ = scores
        chance = 1 / math.fsum(math.exp(score - best) for _, score in scores)
        if likeliest == code or chance < SHARE:
            return make_verdict(response, example.judge, "right", likeliest, f"passed: {likeliest} {chance:.2f}")
        reason = f"other_language: {likeliest} {chance:.2f}"
        return make_verdict(response, example.judge, "wrong", likeliest, reason)

    return judge


def script(name: str) -> Callable[[Example, Response], Verdict]:
    """The gate ``script(name)``.

    Raises:
      JudgeError: no such script.
    """
    if name.lower() not in SCRIPTS:
        raise JudgeError(f"judge.name: script({name}) is not known; choose from {', '.join(SCRIPTS)}")

    def judge(example: Example, response: Response) -> Verdict:
        # full-width letters are letters; marks that several scripts share (the long vowel of kana) belong to none
        text = unicodedata.normalize("NFKC", response.text)
        letters = [letter for letter in text if letter.isalpha() and unicodedata.category(letter) != "Lm"]
        inside = sum(unicodedata.name(letter, "").lower().startswith(name.lower()) for letter in letters)
        if inside >= SHARE * len(letters):
            return make_verdict(response, example.judge, "right", "", f"passed: {inside} of {len(letters)} letters")
        reason = f"other_script: {inside} of {len(letters)} letters are {name.lower()}"
        return make_verdict(response, example.judge, "wrong", "", reason)

    return judge
