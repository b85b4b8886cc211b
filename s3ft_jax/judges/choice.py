"""Judges room: did the response pick the right choice?

In: an example whose ``check`` is ``{"answer": "B", "choices": ["Oslo", "Bergen", "Tromso"]}``; ``choices`` may be left
out when only letters matter; ``answer`` is a letter or the text of a choice. Out: right iff the one choice that is
read out of the response is the answer.

Where the choice is looked for, in this order:

    boxed     the last \\boxed{B}
    marker    behind the last "answer is", "Answer:", "option", "choice"
    alone     the whole response, or its first line: "B", "(b)", "B. Bergen", "**B**"
    letter    the only bracketed or capital letter of the response that is a choice: "I pick (B)"
    text      the only choice whose text occurs in the response

Two different choices at one place are ambiguous, which is wrong. A capital A or I of running text is not a choice.

The reason's class: right, wrong, ambiguous, no_choice; bad_check of undecided verdicts.
"""

from __future__ import annotations

import re
import string

from s3ft_jax.judges.answers import normalise
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response, Verdict

_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?([^{}]*)\}")
_MARKER = re.compile(
    r"\b(?:answers?\s*(?:is|:)|(?:option|choice)(?:\s+is|:)?)[\s:*_]*(?:(?:option|choice)\s+)?", re.IGNORECASE
)
_LEADING = re.compile(r"[\s*_`\"']*[(\[]?([A-Za-z])(?:[)\].:,*_`\"']|\s*$|\s*\n|\s+(?=[-\u2013\u2014]))")
_BRACKETED = re.compile(r"[(\[]([A-Za-z])[)\]]")
_CAPITAL = re.compile(r"(?<![\w'])([B-HJ-Z])(?![\w'])")


def read_choice(text: str, letters: str, choices: list[str]) -> tuple[set[str], str]:
    """The choices named at the first place that names one.

    Args:
      text: the response.
      letters: capital letters that are choices, e.g. ``ABCD``.
      choices: their texts, in the same order; may be empty.

    Returns:
      the letters found, none if no place names a choice, and the name of the place.
    """
    boxed = _BOXED.findall(text)
    if boxed:
        return _at_start(boxed[-1], letters, choices), "boxed"
    for match in reversed(list(_MARKER.finditer(text))):
        found = _at_start(text[match.end() : match.end() + 500].split("\n")[0], letters, choices)
        if found:
            return found, "marker"
    for part in (text, text.strip().split("\n")[0]):
        found = _at_start(part, letters, choices) if len(part) < 500 else set()
        if found:
            return found, "alone"
    for pattern in (_BRACKETED, _CAPITAL):
        found = {letter.upper() for letter in pattern.findall(text)} & set(letters)
        if found:
            return found, "letter"
    return _texts(text, letters, choices), "text"


def _at_start(part: str, letters: str, choices: list[str]) -> set[str]:
    """The choice a short text starts with, by letter or by its whole text; two letters ("A or B") give both."""
    whole = [letter for letter, choice in zip(letters, choices, strict=False) if normalise(choice) == normalise(part)]
    if whole and normalise(part):
        return set(whole)
    pair = re.match(r"\W{0,4}([A-Z])\W{0,3}\s(?:or|and)\s+\W?([A-Z])\b", part)
    if pair:
        return set(pair.groups()) & set(letters)
    match = _LEADING.match(part)
    if match and match.group(1).upper() in letters:
        return {match.group(1).upper()}
    capital = re.match(r"\W{0,4}([A-Z])\b(?!')", part)
    # "A" and "I" are words too, unless they stand alone.
    if capital and (capital.group(1) not in "AI" or not part[capital.end() :].strip(" .*")):
        return {capital.group(1)} & set(letters) or _texts(part, letters, choices)
    return _texts(part, letters, choices)


def _texts(part: str, letters: str, choices: list[str]) -> set[str]:
    """Choices whose text occurs as whole words, without those inside a longer one that occurs too."""
    padded = f" {normalise(part)} "
    held = {letter: f" {normalise(choice)} " for letter, choice in zip(letters, choices, strict=False)}
    inside = {letter for letter, words in held.items() if words.strip() and words in padded}
    return {one for one in inside if not any(held[one] in held[two] and held[one] != held[two] for two in inside)}


def judge(example: Example, response: Response) -> Verdict:
    """Whether the response picks the right choice."""
    check = example.check
    choices, answer = check.get("choices") or [], check.get("answer")
    good = isinstance(choices, (list, tuple)) and all(isinstance(choice, str) for choice in choices)
    letters = string.ascii_uppercase[: len(choices)] if good and choices else string.ascii_uppercase
    gold = ""
    if good and isinstance(answer, str) and len(choices) <= len(string.ascii_uppercase):
        named = [letter for letter, choice in zip(letters, choices, strict=False) if choice == answer]
        gold = answer if len(answer) == 1 and answer in letters else named[0] if named else ""
    if not gold or set(check) - {"answer", "choices"}:
        reason = "bad_check: a choice check is {'answer': LETTER or a choice's text, 'choices': [TEXT, ...] or none}"
        return make_verdict(response, "choice", "undecided", "", reason)
    found, place = read_choice(response.text, letters, list(choices))
    words = " and ".join(sorted(found))
    if not found:
        return make_verdict(response, "choice", "wrong", "", "no_choice: the response names no choice")
    if len(found) > 1:
        return make_verdict(response, "choice", "wrong", words, f"ambiguous: {words} are named ({place})")
    if found == {gold}:
        return make_verdict(response, "choice", "right", words, f"right: {words} ({place})")
    return make_verdict(response, "choice", "wrong", words, f"wrong: {words} is not {gold} ({place})")
