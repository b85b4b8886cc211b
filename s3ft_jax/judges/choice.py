"""Judges room: did the response pick the right choice?

In: an example whose ``check`` is ``{"answer": "B", "choices": ["Oslo", "Bergen", "Tromso"]}``; ``choices`` may be left
out when only letters matter; ``answer`` is a letter or the text of a choice. Out: right iff the one choice that is
read out of the response is the answer.

Where the choice is looked for, in this order:

    boxed     the last \\boxed{B}
    marker    behind the last "answer is", "Answer:", or else behind the last "option", "choice"
    alone     the whole response, or its first line: "B", "(b)", "B. Bergen", "**B**"
    letter    the only bracketed or capital letter of the response that is a choice: "I pick (B)"
    text      the only choice whose text occurs in the response, not behind "not"

Two different choices at one place are ambiguous, which is wrong. A capital A or I of running text is not a choice.

The reason's class: right, wrong, ambiguous, no_choice; bad_check of undecided verdicts.
"""

from __future__ import annotations

import re
import string

from s3ft_jax.judges.answers import normalise, plain
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response, Verdict

_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?([^{}]*)\}")
_OPTION = r"(?:(?:option|choice)\s+)?"
_MARKERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (rf"\banswers?\s*(?:is|:)[\s:*_]*{_OPTION}", rf"\b(?:option|choice)(?:\s+is|:)?[\s:*_]*{_OPTION}")
)
_DENIED = re.compile(r"\b(?:not|(?:is|was|are|were|does|do|did|can)nt)\s+(?:\w+\s+){0,2}\W{0,3}$", re.IGNORECASE)
_DENIED_FIRST = re.compile(r"not\s+(?:option\s+|choice\s+)?\W{0,3}[A-Z]\b\W{0,3}\s*(?:but|,)\s*", re.IGNORECASE)
_LEADING = re.compile(r"[\s*_`\"']*[(\[]?([A-Za-z])(?:[)\].:,*_`\"']|\s*$|\s*\n|\s+(?=[-\u2013\u2014]))")
_BRACKETED = re.compile(r"[(\[]([A-Za-z])[)\]]")
_CAPITAL = re.compile(r"(?<![\w'])([B-HJ-Z])(?![\w'])")


MAX_TRIED = 20
"""Markers of one kind looked at, from the end."""


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
    for marker in _MARKERS:
        for match in reversed(list(marker.finditer(text))[-MAX_TRIED:]):
            part = text[match.end() : match.end() + 500].split("\n")[0]
            found = _at_start(_DENIED_FIRST.sub("", part), letters, choices)
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
    pair = re.match(r"\W{0,4}([A-Z])\W{0,3}(?:\s(?:or|and)\s|[,/&]\s?)\W{0,3}([A-Z])\b", part)
    if pair:
        return set(pair.groups()) & set(letters)
    match = _LEADING.match(part)
    named = {match.group(1).upper()} & set(letters) if match else set()
    whole = _whole(part[match.end() :], letters, choices) if match and named else set()
    whole = whole or _whole(part, letters, choices)
    if whole or named:
        return whole | named  # "A. gold" where B is gold names two
    capital = re.match(r"\W{0,4}([A-Z])\b(?!')", part)
    # "A" and "I" are words too, unless they stand alone.
    if capital and (capital.group(1) not in "AI" or not part[capital.end() :].strip(" .*")):
        return {capital.group(1)} & set(letters) or _texts(part, letters, choices)
    return _texts(part, letters, choices)


def _whole(part: str, letters: str, choices: list[str]) -> set[str]:
    """Choices that the text is: as it stands, or else after normalisation, which leaves nothing of "the"."""
    bare = part.strip(" \t\n.*_`\"'").casefold()
    for form, found in ((str.casefold, bare), (_normalised, _normalised(part))):
        equal = {letter for letter, choice in zip(letters, choices, strict=False) if form(choice) == found}
        if equal and found:
            return equal
    return set()


def _normalised(text: str) -> str:
    return normalise(plain(text))


def _texts(part: str, letters: str, choices: list[str]) -> set[str]:
    """Choices whose text occurs as whole words, without those inside a longer one that occurs too."""
    padded = f" {_normalised(part)} "
    held = {letter: f" {_normalised(choice)} " for letter, choice in zip(letters, choices, strict=False)}
    inside = {letter for letter, words in held.items() if words.strip() and words in padded}
    inside = {letter for letter in inside if not _DENIED.search(padded[: padded.index(held[letter])] + " ")}
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
