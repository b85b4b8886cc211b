"""Judges room: where in a response its final answer stands. Text only; what stands there is for the judges to read.

In: a response's text. Out: parts of it, strongest first:

    boxed   the inside of the last \\boxed{...}
    hashes  behind the last ####, and behind those before it, headings ("#### Step 2", "#### 2. Add up") left out
    marker  behind the last "answer is", "Answer:", "final answer", to the end of the sentence, and those before it;
            remarks on an answer ("this answer is based on 16 eggs") behind all others

A line of words behind #### is a heading too, unless it is the last of the text. The order is ours, from comparing
published GSM8K extractors (lm-evaluation-harness, verl, open-instruct): each looks at one of these only, or takes the
last number whatever it is. Text from a following ``Question:`` or ``Human:`` on is ignored, since a model that does not
stop goes on with questions of its own; not before anything that may be an answer, since a model may restate its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LENGTH = 100_000
"""Characters looked at, from the end."""

MAX_TRIED = 20
"""Markers of one kind looked at, from the end."""

_NEXT_QUESTION = re.compile(
    r"\n[ \t]*(?:\*\*)?(?:(?:Question|Problem|Q)[ \t]?\d*|Human|User|Assistant)(?:\*\*)?[ \t]?[:.]", re.IGNORECASE
)
_BARE_BOX = re.compile(r"\\f?boxed\s*([^\s{\\])")
_HEADING = re.compile(
    r"[\s*_]*(?:(?:step|part|case|day|problem|solution|explanation|calculation|section)\b"
    r"|\d{1,2}(?:\.\d{1,2})*[.):](?:\*\*)?\s+\W*[a-z])",  # 2. Add up
    re.IGNORECASE,
)
_HASHES = re.compile(r"#{4,}[ \t]*([^\n]*)")
_MARKER = re.compile(
    r"(?:\bfinal\s+answer\b(?:\s+is\b)?|\banswers?\s+is\b|\banswers?\b(?=\W{0,4}[:=]))(?:[\s:=]|\*\*|__)*",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(rf"####|\\f?boxed|{_MARKER.pattern}", re.IGNORECASE)
_MAY_ANSWER = re.compile(rf"[\d$\\=]|{_ANNOUNCED.pattern}", re.IGNORECASE)
_RESTATES = re.compile(r"\b(?:let me|let us|let's|i will|i'll|we will|first)\b[^\n]{0,200}\s*$", re.IGNORECASE)
_BULLET = re.compile(r"[-*\u2022][ \t]+")
_ONES = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
_TENS = "(?:twen|thir|for|fif|six|seven|eigh|nine)ty|(?:a )?hundred|(?:a )?thousand|(?:a )?million"
_VALUE = re.compile(
    r"[\W_]*(?:\d|[a-z](?!['\w])(?!(?<=[ai])\s+[a-z])|"
    rf"(?:{_ONES}|{_TENS})\b)"  # a number, or a letter that is no word: x = 5
    r"|[\s*_\"':`(\[]*[$\\{]",  # a formula
    re.IGNORECASE,
)
"""How an answer begins that is a number or a formula."""
_HEDGE = re.compile(
    r"[\W_]*(?:(?:approximately|approx|about|around|roughly|nearly|almost|exactly|precisely|only|just|simply|actually"
    r"|really|indeed|then|therefore|thus|hence|now|still|instead|rather|in fact|a total of|equal to|going to be|minus"
    r"|negative|either|between|from|anywhere|at (?:least|most)|(?:more|less) than|over|under|not|twice|double|half)\b"
    r"[\W_]*)+",
    re.IGNORECASE,
)
"""What may stand before it, or takes an earlier answer back."""
_ON_AN_ANSWER = re.compile(
    r"[\W_]*(?:(?:indeed|also|therefore|thus|still)\s+)?(?:correct|right|consistent|reasonable|plausible|sensible|valid"
    r"|verified|confirmed|based|because|since|supported)\b",
    re.IGNORECASE,
)


def final_parts(text: str) -> Iterator[tuple[str, str]]:
    """(rung, part) of a text that was cut by ``cut_next_question``; a boxed part is the only one there is."""
    boxed = _last_box(text)
    if boxed is not None:
        yield "boxed", boxed
        return
    for match in reversed(list(_HASHES.finditer(text))[-MAX_TRIED:]):
        if _is_marked(match.group(1), is_last=not text[match.end() :].strip()):
            yield "hashes", match.group(1)
    marked = [(_behind(text, match), match[0]) for match in reversed(list(_MARKER.finditer(text))[-MAX_TRIED:])]
    for part, _ in sorted(marked, key=lambda found: _is_remark(*found)):  # stable: the last one first
        yield "marker", part


def cut_next_question(text: str) -> str:
    """The text up to a question that follows; one with nothing before it that may be an answer is left."""
    announced, answering = _ANNOUNCED.search(text), _MAY_ANSWER.search(text)
    for number, match in enumerate(_NEXT_QUESTION.finditer(text)):
        start = match.start()
        is_word = not number and len(text[:start].split()) == 1
        # "Let me restate the 3 facts": the number before the question is none that answers it
        is_answer = answering and answering.start() < start and not _RESTATES.search(text, max(0, start - 250), start)
        if is_word or is_answer or (announced and announced.start() < start):
            return text[:start]
    return text


def end_of_group(text: str, begin: int, most: int) -> int:
    """Where the brace closes that was opened just before ``begin``; at the latest ``most`` characters on."""
    depth, end = 1, min(len(text), begin + most)
    for place in range(begin, end):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return end


def _is_marked(line: str, is_last: bool) -> bool:
    """Whether what stands behind #### is an answer and no heading."""
    return not _HEADING.match(line) and (is_last or bool(_VALUE.match(line)))


def _behind(text: str, marker: re.Match[str]) -> str:
    """The sentence behind a marker; a bullet at the head of a new line is no minus."""
    part = _sentence(text[marker.end() : marker.end() + 2000])
    return _BULLET.sub("", part, count=1) if "\n" in marker.group() and _BULLET.match(part) else part


def _is_remark(part: str, marker: str) -> bool:
    """Whether a sentence says something about an answer and does not begin with one: "based on 16 eggs per day".

    Args:
      part: what stands behind the marker.
      marker: one that announces an answer ("Answer:", "final answer") is followed by one, however it begins.
    """
    if _ON_AN_ANSWER.match(part):
        return True
    if "final" in marker.lower() or marker.rstrip("* _\n\t").endswith((":", "=")):
        return False
    return bool(re.search(r"\d", part)) and not _HEDGE.match(part) and not _VALUE.match(part)


def _last_box(text: str) -> str | None:
    """The inside of the last \\boxed{...}, braces balanced; None without one."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        bare = _BARE_BOX.findall(text)  # \boxed 5
        return bare[-1] if bare else None
    begin = text.index("{", start) + 1
    return text[begin : end_of_group(text, begin, 2000)]


def _sentence(text: str) -> str:
    """From a marker to the end of its sentence, or of its line."""
    line = text.lstrip().split("\n", 1)[0]
    match = re.search(r"\.(?=\s|$)|[;?](?=\s|$)", line)
    return line[: match.start()] if match else line
