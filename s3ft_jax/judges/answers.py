"""Judges room: is a short answer to a reading question right? SQuAD's normalisation, exact match and token F1.

In: an example whose ``check`` is

    {"answers": ["Oslo"],         accepted answers; may be empty for an unanswerable question
     "unanswerable": false,       whether the passage holds no answer
     "contains": false,           accept a sentence that holds the answer
     "distractors": ["Bergen"],   with contains: other answers of the passage, none of which may occur
     "min_f1": 0.6}               without contains: token F1 from which an answer is right

and a response. Out, for an answerable question: with ``contains``, right iff the tokens of an accepted answer occur in
the response one after the other, no distractor does, and it is no refusal; otherwise right iff it matches an accepted
answer exactly, or with an F1 of at least ``min_f1``, and is no refusal. For an unanswerable question: right iff it is a
refusal and, with ``contains``, names no distractor.

Normalisation, exact match and F1: SQuAD 1.1 and 2.0 evaluation (Rajpurkar et al. 2016, arXiv 1606.05250 section 6.1;
2018, arXiv 1806.03822). Those average F1 and know no threshold. ``min_f1`` 0.6 is our own choice, not a paper's: it
lets a differing boundary pass ("in Oslo" for "Oslo" is 0.67) and not a mostly different text ("city of Oslo" is 0.5).
Refusals are found by refusals.py, in the response without the accepted answers, which may sound like one ("Unknown").

Before that normalisation the judge does what it leaves undone: one form of accented letters, plain quotes and dashes,
and decimal points that count (SQuAD's makes 1.5 and 15 equal). The scores ``exact_match``, ``token_f1`` and
``token_recall`` (evaluation/answers.py) are computed without that, by SQuAD's normalisation alone.

The reason's class: exact, f1, contains, refused (right, or wrong when the question can be answered), wrong, distractor,
answered (an unanswerable question), empty; and bad_check of undecided verdicts.
"""

from __future__ import annotations

import collections
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.judges.refusals import refuses
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Outcome, Response, Verdict

MIN_F1 = 0.6

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PLAIN = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc", "'")
    | dict.fromkeys("\u201c\u201d\u00ab\u00bb", '"')
    | dict.fromkeys("\u2013\u2014", " ")
)
_KEYS = {"answers", "unanswerable", "contains", "distractors", "min_f1"}


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: SQuAD's order of steps."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def plain(text: str) -> str:
    """What ``normalise`` leaves undone: ``1.5`` keeps its point (as a raised dot), curly quotes become straight, a long
    dash a space, and a letter with its accent one character.
    """
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    return re.sub(r"(?<=\d)\.(?=\d)", "\u00b7", text)


def exact_match(response: str, answers: Sequence[str]) -> bool:
    """Whether the response equals an answer after normalisation; without answers, whether it is empty."""
    found = normalise(response)
    return any(found == normalise(answer) for answer in answers) if answers else not found


def token_f1(response: str, answers: Sequence[str]) -> float:
    """The best F1 over the answers, of tokens counted with their repetitions; in [0, 1]."""
    return max((_overlap(response, answer)[0] for answer in answers), default=float(not normalise(response)))


def token_recall(response: str, answers: Sequence[str]) -> float:
    """The largest share of an answer's tokens that are in the response; in [0, 1]."""
    return max((_overlap(response, answer)[1] for answer in answers), default=float(not normalise(response)))


def _overlap(response: str, answer: str) -> tuple[float, float]:
    """F1 and recall of one response against one answer."""
    found, wanted = normalise(response).split(), normalise(answer).split()
    if not found or not wanted:
        return (float(found == wanted),) * 2
    same = sum((collections.Counter(found) & collections.Counter(wanted)).values())
    return 2 * same / (len(found) + len(wanted)), same / len(wanted)


def _remove_run(tokens: list[str | None], run: list[str]) -> bool:
    """Blank out every occurrence of ``run`` in ``tokens``; whether there was one."""
    found = False
    for place in range(len(tokens) - len(run) + 1 if run else 0):
        if tokens[place : place + len(run)] == run:
            tokens[place : place + len(run)] = [None] * len(run)
            found = True
    return found


def judge(example: Example, response: Response) -> Verdict:
    """Whether the response gives an accepted answer, or refuses where there is none."""
    check = example.check
    problem = _check_problem(check)
    if problem:
        return make_verdict(response, "answers", "undecided", "", f"bad_check: {problem}")
    text = plain(response.text.strip())
    outcome: Outcome
    answers, unanswerable = list(map(plain, check.get("answers") or ())), bool(check.get("unanswerable", False))
    distractors = list(map(plain, check.get("distractors") or ()))
    refused = _is_refusal(text, answers, unanswerable)
    if not normalise(text) and not unanswerable and text.casefold() in (one.strip().casefold() for one in answers):
        outcome, reason = "right", "exact: equal"  # a gold "A" or "the" is nothing after normalisation
    elif not normalise(text):
        outcome, reason = "wrong", "empty: no answer given"
    elif unanswerable:
        outcome, reason = _unanswerable(text, refused, distractors if check.get("contains", False) else [])
    elif refused:
        outcome, reason = "wrong", f"refused: the answer is {answers[0]!r}"
    elif check.get("contains", False):
        outcome, reason = _contains(text, answers, distractors)
    else:
        outcome, reason = _matches(text, answers, float(check.get("min_f1", MIN_F1)))
    return make_verdict(response, "answers", outcome, text, reason)


def is_refusal(example: Example, text: str) -> bool:
    """Whether a response to this question declines to answer."""
    answers = list(map(plain, example.check.get("answers") or ()))
    return _is_refusal(plain(text.strip()), answers, bool(example.check.get("unanswerable", False)))


def _is_refusal(text: str, answers: Sequence[str], unanswerable: bool) -> bool:
    # an accepted answer may itself sound like a refusal ("Unknown")
    return refuses(text) if unanswerable else refuses(_without(text, answers)) and not exact_match(text, answers)


def _without(text: str, answers: Sequence[str]) -> str:
    """The text with the accepted answers blanked out."""
    for answer in sorted(filter(str.strip, answers), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", "_", text, flags=re.IGNORECASE)
    return text


def _unanswerable(text: str, refused: bool, distractors: Sequence[str]) -> tuple[Outcome, str]:
    if not refused:
        return "wrong", "answered: the question cannot be answered"
    tokens: list[str | None] = list(normalise(text).split())
    for distractor in distractors:
        if _remove_run(tokens, normalise(distractor).split()):
            return "wrong", f"distractor: {distractor!r} is in the response beside the refusal"
    return "right", "refused: the question cannot be answered"


def _contains(text: str, answers: list[str], distractors: list[str]) -> tuple[Outcome, str]:
    # "Oslo-based" holds Oslo, and "Rimsky-Korsakov" itself
    tokens: list[str | None] = [*normalise(text).split(), None, *normalise(text.replace("-", " ")).split()]
    # Longest first, so that "New York City" is not left as "City"; what an answer covers no distractor can claim.
    longest_first = sorted(answers, key=len, reverse=True)
    found = [answer for answer in longest_first if _remove_run(tokens, normalise(answer).split())]
    if not found:
        return "wrong", f"wrong: {answers[0]!r} is not in the response"
    for distractor in distractors:
        if _remove_run(list(tokens), normalise(distractor).split()):
            return "wrong", f"distractor: {distractor!r} is in the response beside {found[0]!r}"
    return "right", f"contains: {found[0]!r} is in the response"


def _matches(text: str, answers: list[str], min_f1: float) -> tuple[Outcome, str]:
    if exact_match(text, answers):
        return "right", "exact: equal after normalisation"
    f1 = token_f1(text, answers)
    if f1 >= min_f1:
        return "right", f"f1: {f1:.2f} is at least {min_f1:g}"
    return "wrong", f"wrong: F1 {f1:.2f} with {answers[0]!r} is below {min_f1:g}"


def _check_problem(check: Mapping[str, Any]) -> str:
    """What is wrong with a check, "" if nothing."""
    unknown = sorted(set(check) - _KEYS)
    if unknown:
        return f"unknown keys {unknown}; an answers check has {sorted(_KEYS)}"
    for key in ("answers", "distractors"):
        values = check.get(key) or ()
        if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
            return f"{key} must be a list of texts"
    if not check.get("unanswerable", False) and not any(map(str.strip, check.get("answers") or ())):
        return "an answerable question needs an accepted answer"
    min_f1 = check.get("min_f1", MIN_F1)
    if isinstance(min_f1, bool) or not isinstance(min_f1, (int, float)) or not 0 < min_f1 <= 1:
        return f"min_f1 must be above 0 and at most 1, not {min_f1!r}"
    return ""
