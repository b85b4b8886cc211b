"""The flow of the report room: where every training target came from, and why the others were refused.

In: selections, response counts and verdicts. Out: counts only. Their sums are checked, so that nothing can vanish
between sampling and training without being seen.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.records import ORIGINS, OUTCOMES, Verdict
from s3ft_jax.report.evidence import Evidence


@dataclasses.dataclass(frozen=True)
class OriginFlow:
    """What became of the responses of one origin.

    Attributes:
      origin: own or paraphrase.
      sampled, ended, cut: responses; None if the counts are absent.
      outcomes: outcome -> verdicts; empty if there are none.
      classes: (outcome, class) -> verdicts, most frequent first; the class is the first word of the reason.
      asked: distinct examples judged.
      answered: distinct examples with at least one right response.
    """

    origin: str
    sampled: int | None
    ended: int | None
    cut: int | None
    outcomes: Mapping[str, int]
    classes: Mapping[tuple[str, str], int]
    asked: int
    answered: int


@dataclasses.dataclass(frozen=True)
class Flow:
    """The flow of the whole run.

    Attributes:
      targets: method -> origin -> number of training targets; all three origins present, zeros included.
      origins: one ``OriginFlow`` for own and paraphrase each, where anything is known.
      rescued: (accepted, asked) paraphrases of the examples without a right own response; None if not known. This is
        the share that the method lives on.
      warnings: sentences about counts that do not agree.
    """

    targets: Mapping[str, Mapping[str, int]]
    origins: tuple[OriginFlow, ...]
    rescued: tuple[int, int] | None
    warnings: tuple[str, ...]


def reason_class(reason: str) -> str:
    """The countable class of a reason: its first word, e.g. ``wrong`` of ``wrong: 12``, ``raised`` of ``raised(X)``."""
    first = re.search(r"[^\s:;,.()]+", reason)
    return first.group().lower() if first else "(none)"


def build_flow(evidence: Evidence) -> Flow:
    """Count the targets of every method and the fate of every response."""
    targets = {}
    for method in evidence.methods:
        if method in evidence.selections:
            counts = Counter(origin for _, origin, _ in evidence.selections[method])
            targets[method] = {origin: counts[origin] for origin in ORIGINS}
    origins = tuple(
        _origin_flow(evidence, origin)
        for origin in ("own", "paraphrase")
        if origin in evidence.responses or origin in evidence.verdicts
    )
    return Flow(targets, origins, _rescued(evidence), tuple(_disagreements(targets, origins)))


def _rescued(evidence: Evidence) -> tuple[int, int] | None:
    own, paraphrase = evidence.verdicts.get("own", ()), evidence.verdicts.get("paraphrase", ())
    if not own or not paraphrase:
        return None
    solved = {verdict.example_id for verdict in own if verdict.outcome == "right"}
    unsolved = {verdict.example_id for verdict in own} - solved
    asked = unsolved & {verdict.example_id for verdict in paraphrase}
    accepted = asked & {verdict.example_id for verdict in paraphrase if verdict.outcome == "right"}
    return len(accepted), len(asked)


def _origin_flow(evidence: Evidence, origin: str) -> OriginFlow:
    count = evidence.responses.get(origin)
    verdicts: Sequence[Verdict] = evidence.verdicts.get(origin, ())
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    classes = Counter(
        (verdict.outcome, reason_class(verdict.reason)) for verdict in verdicts if verdict.outcome != "right"
    )
    return OriginFlow(
        origin=origin,
        sampled=count.sampled if count else None,
        ended=count.ended if count else None,
        cut=count.cut if count else None,
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES} if verdicts else {},
        classes=dict(sorted(classes.items(), key=lambda pair: (-pair[1], pair[0]))),
        asked=len({verdict.example_id for verdict in verdicts}),
        answered=len({verdict.example_id for verdict in verdicts if verdict.outcome == "right"}),
    )


def _disagreements(targets: Mapping[str, Mapping[str, int]], origins: Sequence[OriginFlow]) -> list[str]:
    found = []
    for flow in origins:
        judged = sum(flow.outcomes.values())
        if flow.sampled is not None and judged and judged != flow.sampled:
            found.append(
                f"{flow.sampled:,} {flow.origin} responses were sampled but {judged:,} have a verdict; "
                f"{abs(flow.sampled - judged):,} are unaccounted for."
            )
    totals = {method: sum(counts.values()) for method, counts in targets.items()}
    if len(set(totals.values())) > 1:
        text = ", ".join(f"{method} {total:,}" for method, total in totals.items())
        found.append(f"The methods train on different numbers of targets: {text}.")
    return found


def flow_values(flow: Flow) -> dict[str, Any]:
    """The ``flow`` object of report.json."""
    return {
        "targets": {method: dict(counts) for method, counts in flow.targets.items()},
        "responses": {
            origin.origin: {
                "sampled": origin.sampled,
                "ended": origin.ended,
                "cut": origin.cut,
                "outcomes": dict(origin.outcomes),
                "reasons": [
                    {"outcome": outcome, "class": name, "count": count}
                    for (outcome, name), count in origin.classes.items()
                ],
                "examples_judged": origin.asked,
                "examples_right": origin.answered,
            }
            for origin in flow.origins
        },
        "paraphrases_of_unsolved": {"accepted": flow.rescued[0], "asked": flow.rescued[1]} if flow.rescued else None,
        "warnings": list(flow.warnings),
    }
