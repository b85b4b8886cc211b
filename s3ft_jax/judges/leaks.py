"""Judges room: does a paraphrase talk about the reference answer it was shown?

In: the text of a paraphrase. Out: the phrase that gives it away, or None. Such a text cannot be a training target: it
speaks of something that is not in the plain question. A gate beside the judge, for the caller to use.

The phrases are the filter of SDFT (Yang et al. 2024, arXiv 2402.13669; repository sail-sg/sdft, the check of distilled
responses).
"""

from __future__ import annotations

import re

OWN_PHRASES = (
    "reference solution", "provided solution", "provided answer", "given solution", "given answer", "in my own words",
)  # fmt: skip
"""The same idea, added by us from what models wrote; refused anywhere in the text."""

PHRASES = ("reference answer", "your response", "my response", "your own response", "now it's your turn")
"""Refused anywhere in the text; letter case, line breaks and punctuation do not matter, whole words do."""

MENDING_PHRASES = (
    "previous answer", "original answer", "corrected answer", "corrected response", "my mistake", "smallest change",
)  # fmt: skip
"""What gives a mended answer away: it was shown a wrong one too. Ours; refused anywhere in such a text."""

STARTS = ("your turn",)
"""Refused at the start of the text."""


def _plural(phrase: str) -> str:
    return phrase + "s?" if phrase.endswith(("reference answer", "solution")) else phrase


def mentions_reference(text: str, *, mended: bool = False) -> str | None:
    """The first phrase of the filter that the text holds, or None.

    Args:
      text: a paraphrase, or a mended answer.
      mended: it is the latter, and must not speak of the wrong answer either.
    """
    # words alone: "the **reference** answer", "reference-answer"
    plain = " ".join(re.findall(r"[\w']+", text.replace("\u2019", "'").lower().replace("_", " ")))
    phrases = (*PHRASES, *OWN_PHRASES, *(MENDING_PHRASES if mended else ()))
    found = [phrase for phrase in phrases if re.search(rf"\b{_plural(phrase)}\b", plain)]
    found += [phrase for phrase in STARTS if f"{plain} ".startswith(f"{phrase} ")]
    return found[0] if found else None
