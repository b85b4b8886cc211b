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

from s3ft_jax.records import ORIGINS, OUTCOMES, SAMPLED, Verdict
from s3ft_jax.report.evidence import Evidence

USUAL = ("own", "paraphrase", "gold")
"""Origins that are shown also where no target comes from them."""


@dataclasses.dataclass(frozen=True)
class OriginFlow:
    """What became of the responses of one origin.

    Attributes:
      origin: own, paraphrase or repair.
      sampled, ended, cut: responses; None if the counts are absent.
      outcomes: outcome -> verdicts; empty if there are none.
      classes: (outcome, class) -> verdicts, most frequent first; the class is the first word of the reason. A right
        response that a gate refused is in the class of the gate's whole reason.
      asked: distinct examples judged.
      answered: distinct examples with at least one right response that no gate refused.
      unasked: reason -> examples that could not be asked.
      gated: right responses that a gate refused; None where there is no gate.
    """

    origin: str
    sampled: int | None
    ended: int | None
    cut: int | None
    outcomes: Mapping[str, int]
    classes: Mapping[tuple[str, str], int]
    asked: int
    answered: int
    unasked: Mapping[str, int]
    gated: int | None


@dataclasses.dataclass(frozen=True)
class Flow:
    """The flow of the whole run.

    Attributes:
      targets: method -> origin -> number of training targets; own, paraphrase and gold present, zeros included, and any
        other origin that some method takes targets from.
      origins: one ``OriginFlow`` for each origin the model writes, where anything is known.
      rescued: (accepted, asked) paraphrases of the examples without a right own response; None if not known. This is
        the share that the method lives on.
      rungs: see ``Evidence``.
      pass_rate: see ``Evidence``.
      warnings: sentences about counts that do not agree.
    """

    targets: Mapping[str, Mapping[str, int]]
    origins: tuple[OriginFlow, ...]
    rescued: tuple[int, int] | None
    rungs: Mapping[str, Mapping[str, Mapping[str, int]]]
    pass_rate: Mapping[str, Any]
    warnings: tuple[str, ...]


def reason_class(reason: str) -> str:
    """The countable class of a reason: its first word, e.g. ``wrong`` of ``wrong: 12``, ``raised`` of ``raised(X)``."""
    first = re.search(r"[^\s:;,.()]+", reason)
    return first.group().lower() if first else "(none)"


def build_flow(evidence: Evidence) -> Flow:
    """Count the targets of every method and the fate of every response."""
    rows = {method: evidence.selections[method] for method in evidence.methods if method in evidence.selections}
    found = {method: Counter(origin for _, origin, _ in targets) for method, targets in rows.items()}
    shown = [origin for origin in ORIGINS if origin in USUAL or any(counts[origin] for counts in found.values())]
    targets = {method: {origin: counts[origin] for origin in shown} for method, counts in found.items()}
    origins = tuple(
        _origin_flow(evidence, origin)
        for origin in SAMPLED
        if origin in evidence.responses or origin in evidence.verdicts
    )
    warnings = tuple(_disagreements(targets, origins))
    return Flow(targets, origins, _rescued(evidence), evidence.rungs, evidence.pass_rate, warnings)


def _rescued(evidence: Evidence) -> tuple[int, int] | None:
    own, paraphrase = evidence.verdicts.get("own", ()), evidence.verdicts.get("paraphrase", ())
    if not own or not paraphrase:
        return None
    solved = {verdict.example_id for verdict in own if verdict.outcome == "right"}
    unsolved = {verdict.example_id for verdict in own} - solved
    asked = unsolved & {verdict.example_id for verdict in paraphrase}
    accepted = asked & _answered(paraphrase, evidence.gated.get("paraphrase", {}))
    return len(accepted), len(asked)


def _answered(verdicts: Sequence[Verdict], gated: Mapping[tuple[str, int], str]) -> set[str]:
    return {v.example_id for v in verdicts if v.outcome == "right" and (v.example_id, v.index) not in gated}


def _origin_flow(evidence: Evidence, origin: str) -> OriginFlow:
    count = evidence.responses.get(origin)
    verdicts: Sequence[Verdict] = evidence.verdicts.get(origin, ())
    gated = evidence.gated.get(origin, {})
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    classes = Counter(
        (verdict.outcome, reason_class(verdict.reason)) for verdict in verdicts if verdict.outcome != "right"
    )
    classes.update(("right", reason) for reason in gated.values())
    return OriginFlow(
        origin=origin,
        sampled=count.sampled if count else None,
        ended=count.ended if count else None,
        cut=count.cut if count else None,
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES} if verdicts else {},
        classes=dict(sorted(classes.items(), key=lambda pair: (-pair[1], pair[0]))),
        asked=len({verdict.example_id for verdict in verdicts}),
        answered=len(_answered(verdicts, gated)),
        unasked=evidence.unasked.get(origin, {}),
        gated=len(gated) if origin in evidence.gated else None,
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
    # replayed rows are no targets of the task
    totals = {method: sum(counts.values()) - counts.get("replay", 0) for method, counts in targets.items()}
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
                "unasked": dict(origin.unasked),
                "refused_by_gate": origin.gated,
            }
            for origin in flow.origins
        },
        "rungs": {
            method: {origin: dict(counts) for origin, counts in rungs.items()} for method, rungs in flow.rungs.items()
        },
        "pass_rate": dict(flow.pass_rate) or None,
        "paraphrases_of_unsolved": {"accepted": flow.rescued[0], "asked": flow.rescued[1]} if flow.rescued else None,
        "warnings": list(flow.warnings),
    }
