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

STARTS = ("your turn",)
"""Refused at the start of the text."""


def _plural(phrase: str) -> str:
    return phrase + "s?" if phrase.endswith(("reference answer", "solution")) else phrase


def mentions_reference(text: str) -> str | None:
    """The first phrase of the filter that the text holds, or None.

    Args:
      text: a paraphrase.
    """
    # words alone: "the **reference** answer", "reference-answer"
    plain = " ".join(re.findall(r"[\w']+", text.replace("\u2019", "'").lower().replace("_", " ")))
    found = [phrase for phrase in (*PHRASES, *OWN_PHRASES) if re.search(rf"\b{_plural(phrase)}\b", plain)]
    found += [phrase for phrase in STARTS if f"{plain} ".startswith(f"{phrase} ")]
    return found[0] if found else None
