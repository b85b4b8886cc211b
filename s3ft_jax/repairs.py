"""Repairs: what a model is asked where its own answer was wrong, between its own words and gold.

``continue``: the beginning of gold is handed over, the model goes on in its own words. It is handed over as gold's own
token ids, cut at a border, so that no text is tokenised twice. ``mend``: question, gold and the wrong answer are shown,
and the smallest change that makes it right is asked for (minimum change: arXiv 2402.11192; STaR's rationalization:
arXiv 2203.14465). The wording is ours.

In: gold's ids, or texts. Out: where to cut, or chat turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from s3ft_jax.records import Message

Mode = Literal["continue", "mend"]
MODES: tuple[Mode, ...] = get_args(Mode)
MEND_PROMPT = (
    "{question}\n\n### Reference Answer:\n{gold}\n\n### Your Answer, which is wrong:\n{wrong}\n\n"
    "Make the smallest change to your answer that makes it right. Write the whole answer, and speak neither of the "
    "reference nor of a mistake.\n\n### Response:"
)
PLACES = ("question", "gold", "wrong")
WORD_TRIES = 64
"""Places nearest to the wanted one that are looked at for a border between words."""

_MARK = re.compile(r"[.!?\n\u3002\uff01\uff1f\ufffd]")  # the last: a part of a character, perhaps of such a mark
_SENTENCE = re.compile(r"[.!?]['\")\]]*\s*\Z")
_WIDE_SENTENCE = re.compile(r"[\u3002\uff01\uff1f]\s*\Z")
_LINE = re.compile(r"\n[ \t]*\Z")


class RepairError(ValueError):
    """A setting of repairs cannot be used; the message names the key."""


def check_settings(mode: str, frac: float, prompt: str) -> None:
    """Refuse settings that cannot be, before anything is sampled.

    Raises:
      RepairError: names the key of the section ``sample``.
    """
    if mode not in MODES:
        raise RepairError(f"sample.repair = {mode!r}; choose from {', '.join(MODES)}")
    if not 0 < frac < 1:
        raise RepairError(f"sample.repair_frac = {frac}; it must lie between 0 and 1: the share of gold handed over")
    missing = [name for name in PLACES if prompt and "{" + name + "}" not in prompt]
    if missing:
        raise RepairError(f"sample.repair_prompt has no place for {{{missing[0]}}}. Write {{{missing[0]}}} in it.")


def cut(ids: Sequence[int], decode: Callable[[Sequence[int]], str], frac: float) -> int | None:
    """How many of gold's first ids to hand over, so that the cut lies at a border nearest to ``frac`` of them.

    A border is behind a line break or the end of a sentence; where gold has none, between two words.

    Args:
      ids: gold's ids without the end token.
      decode: ids -> text.
      frac: wanted share of the ids, between 0 and 1.

    Returns:
      A number from 1 to len(ids) - 1, with text on both sides of the cut; None if gold has no border.
    """
    whole, wanted = decode(ids), frac * len(ids)
    near = sorted(range(1, len(ids)), key=lambda number: (abs(number - wanted), number))
    marked = [number for number in near if _MARK.search(decode(ids[number - 1 : number]))]
    for is_border, places in ((_ends_line_or_sentence, marked), (_ends_word, near[:WORD_TRIES])):
        for number in places:
            begun = decode(ids[:number])
            rest = whole[len(begun) :]
            # a cut inside a character gives a text that the whole does not begin with
            if whole.startswith(begun) and begun.strip() and rest.strip() and is_border(begun, rest):
                return number
    return None


def _ends_line_or_sentence(begun: str, rest: str) -> bool:
    if _LINE.search(begun) or _WIDE_SENTENCE.search(begun):
        return True
    return bool(_SENTENCE.search(begun)) and (begun[-1].isspace() or rest[0].isspace())


def _ends_word(begun: str, rest: str) -> bool:
    return begun[-1].isspace() or rest[0].isspace()


def mend_messages(messages: Sequence[Message], gold: str, wrong: str, prompt: str = "") -> tuple[Message, ...]:
    """The chat turns that ask for a mended answer: the wording around the last user turn, earlier turns stay.

    Args:
      messages: of the plain question.
      gold, wrong: gold's text, and that of the wrong answer.
      prompt: own wording with ``{question}``, ``{gold}`` and ``{wrong}``; empty: ``MEND_PROMPT``.
    """
    fields = {"question": messages[-1]["content"], "gold": gold, "wrong": wrong}
    # in one pass, so that a text that holds {gold} itself stays as it is
    shown = re.sub(r"\{(question|gold|wrong)\}", lambda place: fields[place[1]], prompt or MEND_PROMPT)
    return (*messages[:-1], {"role": "user", "content": shown})
