"""Judges room: is the response exactly the gold text?

In: an example whose ``check`` is ``{"answer": "42 cm"}`` (a text; ``choices`` and ``choice`` may stand beside it for
scoring by likelihood and are not looked at), and a response. Out: right iff they are equal after stripping white space
at both ends; a letter with its accent is one character, however it is encoded. Upper and lower case differ. One full
stop at the end of the response is passed over if the answer does not end in one (a sentence's full stop is not part of
a short answer): "Oslo." is "Oslo", while "..." is not "..", and a gold "Oslo." is not met by "Oslo".

The reason's class: right, wrong, empty; bad_check of undecided verdicts.
"""

from __future__ import annotations

import unicodedata

from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response, Verdict

_KEYS = {"answer", "choices", "choice"}


def judge(example: Example, response: Response) -> Verdict:
    """Whether the response is the answer, letter for letter."""
    answer = example.check.get("answer")
    if not isinstance(answer, str) or set(example.check) - _KEYS or not answer.strip():
        reason = f"bad_check: an exact check is {{'answer': TEXT}} with a text, not {dict(example.check)!r}"
        return make_verdict(response, "exact", "undecided", "", reason)
    gold, found = (unicodedata.normalize("NFC", text).strip() for text in (answer, response.text))
    if not found:
        return make_verdict(response, "exact", "wrong", "", "empty: no answer given")
    if found.endswith(".") and not gold.endswith(".") and not found.endswith(".."):
        found = found[:-1].rstrip()
    if found == gold:
        return make_verdict(response, "exact", "right", found, "right: equal")
    return make_verdict(response, "exact", "wrong", found, f"wrong: {found[:120]!r} is not {gold[:120]!r}")
