"""Judges room: does a paraphrase talk about the reference answer it was shown?

In: the text of a paraphrase. Out: the phrase that gives it away, or None. Such a text cannot be a training target: it
speaks of something that is not in the plain question. A gate beside the judge, for the caller to use.

The phrases are the filter of SDFT (Yang et al. 2024, arXiv 2402.13669; repository sail-sg/sdft, the check of distilled
responses).
"""

from __future__ import annotations

import re

PHRASES = ("reference answer", "your response", "my response", "your own response", "now it's your turn")
"""Refused anywhere in the text; letter case and line breaks do not matter."""

STARTS = ("your turn",)
"""Refused at the start of the text."""


def mentions_reference(text: str) -> str | None:
    """The first phrase of the filter that the text holds, or None.

    Args:
      text: a paraphrase.
    """
    plain = re.sub(r"\s+", " ", text.replace("\u2019", "'")).strip().lower()
    found = [phrase for phrase in PHRASES if phrase in plain]
    found += [phrase for phrase in STARTS if plain.startswith(phrase)]
    return found[0] if found else None
