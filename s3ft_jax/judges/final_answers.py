"""Judges room: where in a response its final answer stands. Text only; what stands there is for the judges to read.

In: a response's text. Out: parts of it, strongest first:

    boxed   the inside of the last \\boxed{...}
    hashes  behind the last ####, and behind those before it, headings ("#### Step 2") left out
    marker  behind the last "answer is", "Answer:", "final answer", to the end of the sentence, and those before it

The order is ours, from comparing published GSM8K extractors (lm-evaluation-harness, verl, open-instruct): each looks at
one of these only, or takes the last number whatever it is. Text from a following ``Question:`` or
``Human:`` on is ignored, since a model that does not stop goes on with questions of its own.
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
    r"[\s*_]*(?:step|part|case|day|problem|solution|explanation|calculation|section)\b", re.IGNORECASE
)
_HASHES = re.compile(r"####[ \t]*([^\n]*)")
_MARKER = re.compile(
    r"(?:\bfinal\s+answer\b(?:\s+is\b)?|\banswers?\s+is\b|\banswers?\b(?=\W{0,4}[:=]))(?:[\s:=]|\*\*|__)*",
    re.IGNORECASE,
)


def final_parts(text: str) -> Iterator[tuple[str, str]]:
    """(rung, part) of a text that was cut by ``cut_next_question``; a boxed part is the only one there is."""
    boxed = _last_box(text)
    if boxed is not None:
        yield "boxed", boxed
        return
    for match in reversed(list(_HASHES.finditer(text))[-MAX_TRIED:]):
        if not _HEADING.match(match.group(1)):
            yield "hashes", match.group(1)
    for match in reversed(list(_MARKER.finditer(text))[-MAX_TRIED:]):
        yield "marker", _sentence(text[match.end() : match.end() + 2000])


def cut_next_question(text: str) -> str:
    """The text up to a question that follows; one that it begins with is left."""
    for match in _NEXT_QUESTION.finditer(text):
        if text[: match.start()].strip():
            return text[: match.start()]
    return text


def _last_box(text: str) -> str | None:
    """The inside of the last \\boxed{...}, braces balanced; None without one."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        bare = _BARE_BOX.findall(text)  # \boxed 5
        return bare[-1] if bare else None
    begin = text.index("{", start) + 1
    depth = 1
    for place in range(begin, min(len(text), begin + 2000)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place]
    return text[begin : begin + 2000]


def _sentence(text: str) -> str:
    """From a marker to the end of its sentence, or of its line."""
    line = text.lstrip().split("\n", 1)[0]
    match = re.search(r"\.(?=\s|$)|[;?](?=\s|$)", line)
    return line[: match.start()] if match else line
