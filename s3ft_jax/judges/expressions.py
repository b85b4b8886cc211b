"""Judges room: does a response end on an expression equal to gold's? Numbers by numbers.py, the rest by math-verify.

In: an example whose ``check`` is ``{"answer": "x^2 + 1"}`` (LaTeX or plain), or ``{}`` to read it out of
``example.gold`` as out of a response; a gold of one line may be the bare answer. Out: right iff the two are equal as
sympy compares them.

    numbers.judge decides  ->  its verdict       18, 3/4, 20 %, 1 million against a gold that is a number
    the same text          ->  right             east, 12:30, \\overline{AB}
    neither                ->  math-verify       \\frac{1}{x+1}, {1, 2}, (3, 5], x^2 - 4, 3 + 4i, a matrix

The answer is the part that final_answers.py finds, or else the last formula between dollars that is more than a letter,
or else the whole of a short response. It is cut out and wrapped
in \\boxed{} for math-verify: unwrapped, it reads gold ``(3, 5)`` as 5, and of two boxes makes a set. What it gets wrong
is kept from it (measured with 0.9.0): times and ratios (12:30 equals 12:45), percent (50 equals 50 %), numbers to
another base (11_2 equals 11), words (an anagram is a product of the same letters), sentences around a formula. Such an
answer is undecided unless the text or the percent sign decides.

math-verify (github.com/huggingface/Math-Verify) reads text into a grammar of its own and evaluates nothing. It can be
slow, so that one comparison has ``LIMIT_SECONDS`` and ``LIMIT_BYTES``, beyond which it is undecided.

The reason's class: those of numbers.py; text, equal (right), different, no_answer, percent, notation (wrong); gold,
unread, words, units, base, too_long, limit (undecided; notation too where it may mean the same).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import logging
import re
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

from s3ft_jax.judges import numbers
from s3ft_jax.judges.dressing import one_form
from s3ft_jax.judges.final_answers import MAX_LENGTH, cut_next_question, final_parts
from s3ft_jax.judges.verdicts import JudgeError, make_verdict
from s3ft_jax.records import Example, Outcome, Response, Verdict

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 2**30
"""Memory beyond what the process has."""

MAX_CHARACTERS = 1000
"""Of an answer; longer ones are not compared."""

ALONE = 40
"""Characters of a response of one line that is taken for the bare answer."""

DECIMALS = 6
"""Places to which math-verify rounds decimals, its default."""

_FORMULA = re.compile(r"\$\$(.{1,2000}?)\$\$|\$([^$\n]{1,2000})\$|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-z]+\*?\}")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\s*\{([^{}]*)\}")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[a-zA-Z]{3,}")
_ONLY_WORDS = re.compile(r"[\s$]*(?:[a-zA-Z'-]+[\s,.]+)*[a-zA-Z'-]{3,}[\s.$]*")
_REPEATING = re.compile(r"(?<![\d.])(\d+)\.(\d*)\\overline\s*\{(\d+)\}")
_UNIT = re.compile(r"\d\s*\\(?:text|mathrm|mbox)\s*\{\s*([a-zA-Z]+)[\s.]*\}\s*$")
_INTERVAL = re.compile(r"[\[\]]|\\cup|\\infty")
_INEQUALITY = re.compile(r"[<>\u2264\u2265]|\\(?:le|ge|lt|gt|leq|geq)\b")
_KNOWN_WORDS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "infinity", "and", "sqrt", "inf"))
_NUMBER_DRESSING = re.compile(
    r"\\[dtc]?frac\s*(?:\{\s*-?[\d.,]+\s*\}\s*\{\s*-?[\d.,]+\s*\}|\d\s*\d)|(?:\\times|\\cdot)\s*10\^(?:\{-?\d+\}|\d)"
    r"|\^\{?\\circ\}?|\\[$%,;:! ]|\\left|\\right|\{,\}"
)
_NOT_PLAIN = re.compile(
    r"[\\^_{}()\[\]<>|!\u2264\u2265]"
    r"|\d\s*(?![eE][-+]?\d)[a-zA-Z](?![a-zA-Z])(?!\.)"  # 2a, 3 i; not 5 cm, 1e3
    r"|(?<![a-zA-Z\d])[a-zA-Z]\s*[-+*/]\s*[\da-zA-Z]|\d\s*[-+*]\s*[a-zA-Z](?![a-zA-Z])"  # x + 1, 1 - y; not 60 km/h
)
_COLON = re.compile(r"\d+\s*:\s*\d+")
_OTHER_BASE = re.compile(r"\d\s*_")
_PERCENT = re.compile(r"\\?%|\bper\s?cent\b")
_SPACING = re.compile(r"\\[,;:! ]|\\left|\\right|\\displaystyle|[\s$`*]|\{,\}")
_ALIKE = str.maketrans({"\u2212": "-", "\u2013": "-", "\u221e": "\\infty ", "\u03c0": "\\pi ", "\u00b7": "\\cdot "})


class _Limit(BaseException):
    """Time is up. Not an Exception, so that no handler below swallows it."""


def judge(example: Example, response: Response) -> Verdict:
    """Whether the response's final expression equals gold's.

    Called outside the main thread of a process, the comparison has no limit of time or memory; the pool's workers
    call it in theirs.

    Raises:
      JudgeError: math-verify is needed and not installed.
    """

    def verdict(outcome: Outcome, reason: str) -> Verdict:
        return make_verdict(response, "expressions", outcome, found, reason)

    found = ""
    answer = example.check.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, (int, float, str, type(None))):
        return verdict("undecided", f"gold: check.answer {answer!r} is not a text or a number")
    gold = _gold_answer(example.gold) if answer is None else str(answer)
    found, rung = _final(response.text)
    units = [_UNIT.findall(one)[-1:] for one in (gold, found)]
    if all(units) and units[0] != units[1]:
        return verdict("undecided", f"units: {units[1][0]!r} against {units[0][0]!r} ({rung})")
    # $2M is written out; a number may follow the last formula of a text, or else that formula is the answer
    if _is_plain(gold) and (_is_plain(one_form(found)) or (rung == "last_formula" and _number_follows(response.text))):
        plain = numbers.judge(example, response)
        if plain.outcome != "undecided":
            return dataclasses.replace(plain, judge="expressions")
    question = example.messages[-1]["content"].lower() if example.messages else ""
    settled = _settle(gold, found, rung, bool(_PERCENT.search(question)))
    return verdict(*settled or _compare(_PERCENT.sub("", gold), _PERCENT.sub("", found), rung))


def _settle(gold: str, found: str, rung: str, percent_asked: bool) -> tuple[Outcome, str] | None:
    """Outcome and reason where the texts alone decide, or where they must be kept from math-verify."""
    if not gold.strip():
        return "undecided", "gold: there is no final answer in it"
    if not found.strip():
        return "wrong", "no_answer: no box, mark or formula in the response"
    if len(gold) > MAX_CHARACTERS or len(found) > MAX_CHARACTERS:
        return "undecided", f"too_long: more than {MAX_CHARACTERS} characters"
    texts = _same_text(gold), _same_text(found)
    if texts[0] == texts[1] or _same_value(*texts) or _same_letter(gold, found):
        return "right", f"text: the same as gold ({rung})"
    if _COLON.search(gold) and _COLON.search(found) and not _same_ratio(gold, found):
        return "wrong", f"notation: {found!r} is not {gold!r} ({rung})"
    if _COLON.search(gold) or _COLON.search(found):
        return "undecided", f"notation: a time or a ratio against {found!r} ({rung})"
    if found.strip(" $*.").endswith("!") and rung != "boxed":
        return "undecided", f"notation: a factorial or an exclamation mark, {found!r} ({rung})"
    if bool(_PERCENT.search(gold)) != bool(_PERCENT.search(found)) and not percent_asked:
        return "wrong", f"percent: {found!r} is not {gold!r} ({rung})"
    return None


def _final(text: str) -> tuple[str, str]:
    """The final answer of a text and where it stands; empty if there is none."""
    text = cut_next_question(text[-MAX_LENGTH:])
    for rung, part in final_parts(text):
        if part.strip():
            return _formula(part) or part, rung
    formula, bare = _formula(text), text.strip()
    if not formula and "\n" not in bare and "\\boxed" not in bare and len(bare) <= ALONE:
        return bare, "alone"
    return formula, "last_formula"


def _gold_answer(gold: str) -> str:
    """The final answer of a worked solution, or all of a gold that is one line and nothing else."""
    final = _final(gold)[0]
    return final or ("" if "\n" in gold.strip() else gold.strip())


def _formula(text: str) -> str:
    """The inside of the last formula that is set off from the text; empty without one."""
    formulas = [next(filter(None, match.groups()), "") for match in _FORMULA.finditer(text.replace("\\$", ""))]
    # "... is $n + 1$ for every $n$": a letter behind it is no answer
    telling = [formula for formula in formulas if len(formula.strip()) > 1]
    return (telling or formulas or [""])[-1]


def _number_follows(text: str) -> bool:
    """Whether a digit stands behind the last formula of a text."""
    text = cut_next_question(text[-MAX_LENGTH:]).replace("\\$", "")
    formulas = list(_FORMULA.finditer(text))
    return bool(formulas) and bool(re.search(r"\d", text[formulas[-1].end() :]))


def _is_plain(answer: str) -> bool:
    """Whether numbers.py may read it: a number, perhaps with a name before and a unit behind it, and no formula."""
    return not _NOT_PLAIN.search(_NUMBER_DRESSING.sub(" ", _TEXT.sub(" ", answer)))


def _same_text(answer: str) -> str:
    """A text without what changes nothing: spaces, dressing, brackets around a whole word, a full stop; small letters
    if it is a word."""
    text = _SPACING.sub("", _TEXT.sub(r"\1", answer.translate(_ALIKE)).replace("\\dfrac", "\\frac"))
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text.removesuffix("."))
    word = re.fullmatch(r"\(?([a-zA-Z]+)\)?", text)
    return word[1].casefold() if word else text


def _same_value(gold: str, found: str) -> bool:
    """Whether two texts differ only in that one of them names the unknown: x=5 and 5; not x=5 and y=5."""
    named = [re.fullmatch(r"[a-zA-Z]=([^=]+)", text) for text in (gold, found)]
    if (named[0] is None) == (named[1] is None):
        return False
    return (named[0][1] if named[0] else gold) == (named[1][1] if named[1] else found)


def _same_letter(gold: str, found: str) -> bool:
    """Whether gold is a choice's letter and the answer that letter with the choice's text: "(C) 12"."""
    letter = re.fullmatch(r"\(?([A-E])\)?", _same_text(gold).upper())
    named = re.match(r"\s*\(?([A-E])(?:\)[.:]?|[.:])\s*\S", _TEXT.sub(r"\1", found))
    return bool(letter and named) and letter[1] == named[1]


def _same_ratio(gold: str, found: str) -> bool:
    """Whether times or ratios hold the same numbers, or numbers in proportion: 5:1 and 10:2 may mean the same."""
    (a, b), (c, d) = (map(int, _COLON.search(answer)[0].split(":")) for answer in (gold, found))
    return a * d == b * c


def _kind_of_set(answer: str) -> str:
    """``{`` for a set, ``(`` for a pair or an interval, else nothing."""
    bare = _SPACING.sub("", answer)
    return "{" if bare.startswith("\\{") else "(" if bare.startswith(("(", "[")) and bare.endswith((")", "]")) else ""


def _expanded(answer: str) -> str:
    """Repeating decimals as fractions, which math-verify does not read: 0.1\\overline{36} -> \\frac{136-1}{990}."""

    def fraction(match: re.Match[str]) -> str:
        whole, once, again = match.groups()
        below = "9" * len(again) + "0" * len(once)
        return rf"\frac{{{int(whole + once + again) - int(whole + once)}}}{{{below}}}"

    return _REPEATING.sub(fraction, answer)


def _compare(gold: str, found: str, rung: str) -> tuple[Outcome, str]:
    """Outcome and reason of two answers of different texts."""
    if _OTHER_BASE.search(gold) or _OTHER_BASE.search(found):
        return "undecided", f"base: a number to another base is compared as text only ({rung})"
    texts = [_TEXT.sub(r"\1", answer).strip(" $.").lower() for answer in (gold, found)]
    if all(map(_ONLY_WORDS.fullmatch, texts)) and not any(
        f" {one} " in f" {two} " for one, two in (texts, texts[::-1])
    ):
        return "wrong", f"different: {found!r} is not {gold!r} ({rung})"
    if all(map(_ONLY_WORDS.fullmatch, texts)) or _words(gold) or _words(found):
        return "undecided", f"words: {found!r} against {gold!r} ({rung})"
    kinds = {_kind_of_set(gold), _kind_of_set(found)}
    if kinds == {"{", "("}:
        return "wrong", f"notation: a set is no pair and no interval ({rung})"
    try:
        with _limited():
            gold_read = _read_gold(gold)
            if not gold_read:
                return "undecided", f"gold: math-verify cannot read {gold!r}"
            found_read = _read(found)
            if not found_read:
                return "undecided", f"unread: math-verify cannot read {found!r} ({rung})"
            ways = [(list(gold_read), found_read)]
            if _INTERVAL.search(gold) and _INEQUALITY.search(found):
                ways.append((found_read, list(gold_read)))  # math-verify takes an interval for an inequality only
            verify = _math_verify().verify
            equal = any(verify(*way, float_rounding=DECIMALS, timeout_seconds=None) for way in ways)
    except _Limit:
        return "undecided", f"limit: not compared within {LIMIT_SECONDS:g} s ({rung})"
    except (MemoryError, RecursionError, OverflowError) as error:
        return "undecided", f"limit: {type(error).__name__} while comparing ({rung})"
    if equal:
        return "right", f"equal: {found!r} and {gold!r} ({rung})"
    return "wrong", f"different: {found!r} is not {gold!r} ({rung})"


def _words(answer: str) -> list[str]:
    """Words of three letters and more that are neither functions nor set as text."""
    bare = _COMMAND.sub(" ", _TEXT.sub(" ", _ENVIRONMENT.sub(" ", answer)))
    return [word for word in _WORD.findall(bare) if word.lower() not in _KNOWN_WORDS]


@lru_cache(maxsize=4096)
def _read_gold(gold: str) -> tuple[Any, ...]:
    """Gold as math-verify reads it; empty if it does not, or if it does not equal itself."""
    read = _read(gold)
    equal = bool(read) and _math_verify().verify(read, read, float_rounding=DECIMALS, timeout_seconds=None)
    return tuple(read) if equal else ()


def _read(answer: str) -> list[Any]:
    parser = _math_verify()
    configs = [parser.LatexExtractionConfig(boxed_match_priority=0), parser.ExprExtractionConfig()]
    wrapped = "\\boxed{" + _expanded(answer).translate(_ALIKE) + "}"
    return parser.parse(
        wrapped, configs, fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None
    )


def check_installed() -> None:
    """Refuse to begin without math-verify.

    Raises:
      JudgeError: it is missing; says how to install it.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise JudgeError("judge.name='expressions' needs math-verify: pip install 's3ft_jax[math]'")


def version() -> str:
    """Versions of the libraries that a verdict follows from."""
    names = ("math-verify", "latex2sympy2_extended", "sympy")
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


@lru_cache(maxsize=1)
def _math_verify() -> Any:
    check_installed()
    import math_verify  # half a second, and numbers never need it

    # it warns, at every call, that we set its own limits of time aside
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return math_verify


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Stop what is inside after ``LIMIT_SECONDS``, and refuse it more than ``LIMIT_BYTES``; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _math_verify()  # imported outside the limits

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Limit

    def ignored(failure: sys.UnraisableHookArgs) -> None:
        if not isinstance(failure.exc_value, (_Limit, MemoryError, RecursionError)):  # a limit strikes again
            hook(failure)

    hook = sys.unraisablehook
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + LIMIT_BYTES
    before = signal.signal(signal.SIGALRM, stop)
    # again every quarter of a second: Python swallows what is raised in a finalizer or in a callback of gc or weakref
    sys.unraisablehook = ignored
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS, 0.25)
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # once more, should the limit have struck on the way out; what was set is undone in any case
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = hook
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
