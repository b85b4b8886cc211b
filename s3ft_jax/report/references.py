"""The papers' numbers, shown beside a run's own where its preset asks for them. Never used to compute anything.

They reach us by way of a digest of S3FT's tables (Tables 2 and 3) and of both abstracts; Table 4 (each general
benchmark) and all tables of SSR could not be had, and no number stands here that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from s3ft_jax.report.evidence import BASE, EvidenceError
from s3ft_jax.report.flow import Flow
from s3ft_jax.report.summary import Row
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import method_name, percent

S3FT = "S3FT, arXiv 2502.08130"
SSR = "SSR, arXiv 2409.04787"
DROPS = (
    "Its abstract: averaged over general benchmarks, SFT loses up to 4.4 points and S3FT 2.5 (MMLU, TruthfulQA, "
    "HellaSwag, WinoGrande)."
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a paper reports of one task.

    Attributes:
      source: the paper.
      what: task, model and tuning, as far as they are known.
      accuracy: method -> share of test examples answered rightly; empty: not known.
      origins: origin -> share of S3FT's training targets; empty: not known.
      notes: sentences.
    """

    source: str
    what: str
    accuracy: Mapping[str, float]
    origins: Mapping[str, float]
    notes: tuple[str, ...]


def _s3ft(task: str, accuracy: Sequence[float], origins: Sequence[float], *notes: str) -> Reference:
    what = f"{task}, Mistral-7B-Instruct-v0.2, LoRA 8 / 16 / 0.1"
    methods, kinds = (BASE, "sft", "sdft", "s3ft"), ("own", "paraphrase", "gold")
    return Reference(
        S3FT,
        what,
        {name: value / 100 for name, value in zip(methods, accuracy, strict=True)},
        {name: value / 100 for name, value in zip(kinds, origins, strict=True)},
        (DROPS, *notes),
    )


REFERENCES = {
    "gsm8k": _s3ft("GSM8K", (40.3, 53.4, 54.8, 56.9), (49.5, 42.1, 8.4)),
    "mbpp": _s3ft("MBPP", (22.2, 32.8, 35.8, 39.4), (30.2, 32.4, 37.4)),
    "nq": _s3ft(
        "NQ with a passage",
        (64.7, 60.0, 67.1, 67.1),
        (66.0, 25.6, 8.1),
        "NQ's answers were judged by the model that was tuned; another data set and another judge give other numbers.",
    ),
    "ssr": Reference(
        SSR,
        "questions that may be unanswerable (MD2D, NQ), Mistral 7B Instruct, LoRA",
        {},
        {},
        (
            "Its abstract: averaged over general benchmarks, SFT loses up to 16.7 % and SSR about 2 % (MMLU, "
            "TruthfulQA, GSM8K, HellaSwag).",
        ),
    ),
}
"""S3FT's Table 2 (accuracy, %) and Table 3 (origin of its targets, %; NQ's add up to 99.7 as printed), by name."""


def find_reference(name: str) -> Reference | None:
    """The reference of ``report.reference``; None for an empty name.

    Raises:
      EvidenceError: there is no such reference.
    """
    if name and name not in REFERENCES:
        raise EvidenceError(f"report.reference = {name!r}; choose from {', '.join(REFERENCES)}, or leave it empty")
    return REFERENCES.get(name)


def reference_table(reference: Reference, rows: Sequence[Row], flow: Flow) -> Table | None:
    """The paper's numbers beside this run's; None where the paper's are not known.

    Args:
      reference: the paper's.
      rows: this run's, by method.
      flow: where this run's targets came from.
    """
    if not reference.accuracy:
        return None
    here = {row.method: row.target.mean for row in rows}
    body = [
        (
            label(f"{method_name(method)}, accuracy"),
            Cell(percent(value)),
            Cell(percent(here[method]) if method in here else "\u2013"),
        )
        for method, value in reference.accuracy.items()
    ]
    counts = flow.targets.get("s3ft", {})
    total = sum(counts.values())
    body += [
        (
            label(f"S3FT's targets, {origin}"),
            Cell(percent(value)),
            Cell(percent(counts.get(origin, 0) / total) if total else "\u2013"),
        )
        for origin, value in reference.origins.items()
    ]
    caption = (
        f"{reference.source}: {reference.what}; beside it this run, whose model, data, prompts and settings may "
        "differ. In %. The paper's numbers come from a digest of its tables."
    )
    return Table(caption, ("", "paper", "here"), tuple(body))
