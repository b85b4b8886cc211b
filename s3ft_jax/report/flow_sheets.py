"""The spreadsheets of training examples: what was read, sampled, judged, accepted and left out.

In: ``Contents``. Out: name -> header and rows, counts as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from s3ft_jax.report.contents import Contents
from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.flow import Flow
from s3ft_jax.report.judging import agreement_values, canary_values, differences

Sheet = tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]
"""Header and rows."""
_RUNG = ("reached", "accepted", "targets", "responses", "tokens")


def flow_sheets(contents: Contents) -> dict[str, Sheet]:
    """Every sheet by its name; one without rows says that there was nothing."""
    evidence, flow = contents.evidence, contents.flow
    crossed = [(told["origin"], *row.values()) for told in agreement_values(evidence) for row in told["outcomes"]]
    rungs = [
        (method, origin, *(rung.get(name) for name in _RUNG))
        for method, some in flow.rungs.items()
        for origin, rung in some.items()
    ]
    return {
        "intake": (("part", "fate", "reason", "count"), _intake(evidence.intakes)),
        "encoding": (("what", "count"), list(evidence.encoding.items())),
        "left_out": (
            ("method", "seed", "example_id"),
            [(*model, one) for model, ids in evidence.left_out.items() for one in ids],
        ),
        "responses": (("origin", "what", "count"), _responses(flow)),
        "rungs": (("method", "rung", *_RUNG), rungs),
        "pass_rates": (("own_right", "questions"), list(flow.pass_rate.get("by_right", {}).items())),
        "rounds": (("method", "seed", "step", "what", "value"), _rounds(evidence)),
        "canaries": (("text", "passed", "asked"), [tuple(row.values()) for row in canary_values(evidence)]),
        "agreement": (("origin", "first", "second", "count"), crossed),
        "disagreements": (("origin", "example_id", "index", "first", "second"), differences(evidence)),
    }


def _intake(intakes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    rows = []
    for part, intake in intakes.items():
        rows += [(part, fate, "", intake[fate]) for fate in ("read", "used")]
        rows += [(part, "left", reason, count) for reason, count in intake["left"].items()]
        rows += [(part, "dropped", cause, len(places)) for cause, places in intake["dropped"].items()]
        rows += [(part, "used with a note", note, count) for note, count in intake.get("notes", {}).items()]
        rows += [(part, "column not read", name, count) for name, count in intake.get("unused", {}).items()]
        rows += [(part, "file not read", name, 1) for name in intake.get("unread") or ()]
        rows += [(part, "prompt that train has, too", "", intake["shared"])] if intake.get("shared") else []
    return rows


def _responses(flow: Flow) -> list[tuple[str, str, int]]:
    rows = []
    for one in flow.origins:
        counts = {"sampled": one.sampled, "ended": one.ended, "cut": one.cut, **one.outcomes}
        counts |= {"right, refused by the gate": one.gated}
        counts |= {f"not asked: {reason}": count for reason, count in one.unasked.items()}
        rows += [(one.origin, what, count) for what, count in counts.items() if count is not None]
    return rows


def _rounds(evidence: Evidence) -> list[tuple[str, int, int, str, float]]:
    rows = []
    for (method, seed), told in evidence.rounds.items():
        for one in told:
            values = {"own right": one["pass_rate"]["mean"], "changed": one["changed"]}
            values |= {f"targets from {origin}": count for origin, count in one["origins"].items()}
            rows += [(method, seed, one["step"], what, value) for what, value in values.items()]
    return rows
