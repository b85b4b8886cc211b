"""The fates of the report room: what became of the target's test examples from the base to each tuned model.

In: the scoreboard, the browsed examples. Out: counts and the answers to read, as values for report.json.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from s3ft_jax.report.claims import SUBJECT
from s3ft_jax.report.evidence import BASE, BrowsedExample, Evidence
from s3ft_jax.report.scoreboard import Scoreboard
from s3ft_jax.report.wording import clean_text

TEXT_LIMIT = 3000
"""Characters of a text to read, beyond which it is cut and says so."""
REGRESSED, FIXED, RIGHT, WRONG = "regressed", "fixed", "right in both", "not right in both"
_FATES = {(True, False): REGRESSED, (False, True): FIXED, (True, True): RIGHT, (False, False): WRONG}
"""(the base was right, the tuned model is) -> fate."""


def subject_of(evidence: Evidence) -> str:
    """The method whose answers sort the browsed examples: S3FT, or the last method where it was not run."""
    return SUBJECT if SUBJECT in evidence.methods else evidence.methods[-1]


def key_of(fate: str | None) -> str:
    """The name under which ``fate_counts`` counts a fate: ``right in both`` -> ``right_in_both``."""
    return (fate or "").replace(" ", "_")


def fate_counts(board: Scoreboard) -> list[dict[str, Any]]:
    """One line per tuned model whose answers are known: how many examples of the target have each fate."""
    base, found = board.paired.get(((BASE, None), board.task), {}), []
    for method in board.methods:
        for seed in board.seeds(method):
            after = board.paired.get(((method, seed), board.task))
            if base and after:
                counts = Counter(_FATES[base[name] == 1.0, after[name] == 1.0] for name in base if name in after)
                told = {key_of(fate): counts[fate] for fate in _FATES.values()}
                found.append({"method": method, "seed": seed, **told})
    return found


def fate_of(example: BrowsedExample, method: str) -> str | None:
    """From the base to the first answer of a method; None where one of the two has no answer."""
    first = [next((one for one in example.answers if one.method == name), None) for name in (BASE, method)]
    return None if None in first else _FATES[first[0].outcome == "right", first[1].outcome == "right"]


def example_values(evidence: Evidence) -> list[dict[str, Any]]:
    """The browsed examples with every answer and its verdict; long texts cut as on the page."""
    subject = subject_of(evidence)
    return [
        {
            "example_id": one.example_id,
            "fate": fate_of(one, subject),
            "prompt": clean_text(one.prompt, TEXT_LIMIT),
            "gold": clean_text(one.gold, TEXT_LIMIT),
            "answers": [
                {"method": answer.method, "seed": answer.seed, "outcome": answer.outcome}
                | {name: clean_text(getattr(answer, name), TEXT_LIMIT) for name in ("found", "reason", "text")}
                for answer in one.answers
            ],
        }
        for one in evidence.examples
    ]
