"""The document of the report room: report.json, everything a program may want to know of a run.

In: evidence and what the other modules computed from it. Out: one JSON value, no NaN in it.

Keys that others rely on: ``scores`` (a list of method, seed, task, split, metric, value, count, stderr) and
``summary`` (method -> target, general_change -> mean, low, high; fractions, changes against the base, 95 %).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.report.benchmarks import benchmark_values
from s3ft_jax.report.browsing import changed_values, item_values
from s3ft_jax.report.claims import Claim
from s3ft_jax.report.comparisons import Comparison, comparison_values
from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.fates import example_values, fate_counts
from s3ft_jax.report.flow import Flow, flow_values
from s3ft_jax.report.frontier import Forgetting, frontier_values, grid_values
from s3ft_jax.report.judging import agreement_values, canary_values, judges_line
from s3ft_jax.report.likelihoods import likelihood_values
from s3ft_jax.report.references import REFERENCES
from s3ft_jax.report.scoreboard import Scoreboard
from s3ft_jax.report.summary import Row, summary_values
from s3ft_jax.report.training_curves import look_values

VERSION = 1


def build_document(
    evidence: Evidence,
    rows: list[Row],
    flow: Flow,
    claims: Sequence[Claim],
    cautions: Sequence[str],
    headline: str,
    control_rows: list[Row] | None,
    comparisons: Sequence[Comparison] = (),
    board: Scoreboard | None = None,
    found: Forgetting | None = None,
) -> dict[str, Any]:
    """The value of report.json, keys in reading order; ``board`` has the answers, ``found`` what was forgotten."""
    control = None
    if evidence.control is not None and control_rows is not None:
        control = {
            "title": evidence.control.title,
            "notes": list(evidence.control.notes),
            "summary": summary_values(control_rows),
            "scores": [dataclasses.asdict(score) for score in evidence.control.scores],
        }
    document = {
        "version": VERSION,
        "title": evidence.title,
        "headline": headline,
        "task": evidence.task,
        "methods": list(evidence.methods),
        "seeds": list(evidence.seeds),
        "summary": summary_values(rows),
        "claims": [_claim_values(claim) for claim in claims],
        "comparisons": comparison_values(comparisons),
        "grid": grid_values(evidence),
        "frontier": frontier_values(evidence.grid),
        "forgetting": {"rank": found.rank, "rank_within_methods": found.within} if found else None,
        "kl": [{"method": method, "seed": seed, "kl": kl} for (method, seed), kl in evidence.kl.items()],
        "cautions": list(cautions),
        "notes": list(evidence.notes),
        "scores": [dataclasses.asdict(score) for score in evidence.scores],
        "control": control,
        "reference": dataclasses.asdict(REFERENCES[evidence.reference]) if evidence.reference else None,
        **_of_training(evidence, flow),
        "fates": fate_counts(board) if board else [],
        "examples": example_values(evidence),
        "changed": changed_values(evidence.changed),
        "changed_items": item_values(evidence.changed),
        "benchmarks": benchmark_values(evidence),
        "costs": {stage: dict(cost) for stage, cost in evidence.costs.items()},
        "sandbox": evidence.sandbox,
        "settings": evidence.config,
        "versions": dict(evidence.versions),
        "hashes": dict(evidence.hashes),
    }
    return plain(document)


def _of_training(evidence: Evidence, flow: Flow) -> dict[str, Any]:
    """What became of the training examples, how their targets were judged, and how training went."""
    return {
        "intakes": evidence.intakes,
        "encoding": dict(evidence.encoding),
        "left_out": [
            {"method": method, "seed": seed, "examples": list(ids)} for (method, seed), ids in evidence.left_out.items()
        ],
        "seen": [
            {"method": method, "seed": seed, "trained": trained, "targets": targets}
            for (method, seed), (trained, targets) in evidence.seen.items()
        ],
        "rounded": [
            {"method": method, "seed": seed, "dtype": dtype, "error": error}
            for (method, seed), (dtype, error) in evidence.rounded.items()
        ],
        "flow": flow_values(flow),
        "outside": evidence.outside,
        "judges": judges_line(evidence),
        "canaries": canary_values(evidence),
        "agreement": agreement_values(evidence),
        "rounds": [
            {"method": method, "seed": seed, "rounds": list(told)} for (method, seed), told in evidence.rounds.items()
        ],
        "likelihoods": likelihood_values(evidence.logprobs),
        "curves": [
            {"method": method, "seed": seed, "points": [[step, loss] for step, loss in curve]}
            for (method, seed), curve in evidence.curves.items()
        ],
        "looks": look_values(evidence),
    }


def plain(value: Any) -> Any:
    """The value made of JSON types only: NaN and infinities become null, tuples lists, anything else its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float) or type(value).__module__ == "numpy":
        number = value.item() if hasattr(value, "item") else value
        return None if isinstance(number, float) and not math.isfinite(number) else number
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def _claim_values(claim: Claim) -> dict[str, Any]:
    intervals = claim.contrast.intervals if claim.contrast is not None else ()
    return {
        "name": claim.name,
        "statement": claim.statement,
        "verdict": claim.verdict,
        "detail": claim.detail,
        "holds_in_mean": claim.in_mean,
        "corrected_p": claim.corrected,
        "difference": claim.contrast.mean if claim.contrast is not None else None,
        "intervals": [dataclasses.asdict(interval) for interval in intervals],
    }
