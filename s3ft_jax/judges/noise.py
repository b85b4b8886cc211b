"""Judges room: verdicts that are made wrong on purpose, to measure what a poor judge does to training.

In: verdicts. Out: the same, a seeded share of them turned round. The paper scores its training data, and on NQ its test
data, by a 7B model (arXiv 2502.08130, as told of by others); how good that is was not printed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from s3ft_jax.judges.verdicts import JudgeError, one_line
from s3ft_jax.records import Outcome, Verdict


def disturb(verdicts: Sequence[Verdict], false_accepts: float, false_rejects: float, seed: int) -> list[Verdict]:
    """Turn a share of the verdicts round; undecided ones stay.

    Whether a verdict is turned follows from seed, example, origin and index alone; at a larger share all that were
    turned at a smaller one are turned, too.

    Args:
      verdicts: as the judge found them.
      false_accepts: share of the wrong ones that become right, 0 to 1.
      false_rejects: share of the right ones that become wrong, 0 to 1.
      seed: of the draw.

    Raises:
      JudgeError: a share out of range.
    """
    shares: dict[str, tuple[float, Outcome]] = {"wrong": (false_accepts, "right"), "right": (false_rejects, "wrong")}
    for name, share in (("false_accepts", false_accepts), ("false_rejects", false_rejects)):
        if not 0.0 <= share <= 1.0:
            raise JudgeError(f"judge.noise.{name} = {share}; a share from 0 to 1")
    turned = []
    for verdict in verdicts:
        share, other = shares.get(verdict.outcome, (0.0, verdict.outcome))
        if _draw(verdict, seed) < share:
            reason = one_line(f"noise: was {verdict.outcome}: {verdict.reason}", 300)
            verdict = dataclasses.replace(verdict, outcome=other, reason=reason)
        turned.append(verdict)
    return turned


def _draw(verdict: Verdict, seed: int) -> float:
    """Uniform in [0, 1), the same everywhere and for ever."""
    name = f"{seed}/{verdict.example_id}/{verdict.origin}/{verdict.index}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") / 256**7
