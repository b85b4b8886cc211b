"""Judges room: how a verdict is written down.

In: the response judged and what was decided. Out: a ``Verdict`` whose ``found`` and ``reason`` are single short lines.
"""

from __future__ import annotations

from s3ft_jax.records import Outcome, Response, Verdict

FOUND_LENGTH = 200
REASON_LENGTH = 300
"""Characters kept; longer texts end in an ellipsis."""


class JudgeError(ValueError):
    """A judge cannot be had as it is named. The message names the config key, the cause and the fix."""


def make_verdict(response: Response, judge: str, outcome: Outcome, found: str, reason: str) -> Verdict:
    """A verdict on one response.

    Args:
      response: what was judged.
      judge: the judge's name.
      outcome: right, wrong or undecided.
      found: what was read out of the response.
      reason: ``class: words``; the class can be counted.
    """
    return Verdict(
        example_id=response.example_id,
        origin=response.origin,
        index=response.index,
        judge=judge,
        outcome=outcome,
        found=one_line(found, FOUND_LENGTH),
        reason=one_line(reason, REASON_LENGTH),
    )


def one_line(text: str, length: int) -> str:
    """The text in one line of at most ``length`` characters, without characters that cannot be written as UTF-8."""
    line = " ".join(text[: 4 * length].split()).encode("utf-8", "replace").decode()
    return line if len(line) <= length else line[: length - 1] + "…"
