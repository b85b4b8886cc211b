"""The papers' numbers, shown beside a run's own where its preset asks for them. Never used to compute anything.

They reach us by way of a digest of S3FT's tables (Tables 2 and 3) and of both abstracts, which alone say what was lost
elsewhere: SFT up to 4.4 points and S3FT 2.5 (arXiv 2502.08130), SFT up to 16.7 % and SSR about 2 % (arXiv 2409.04787),
each the mean over four general benchmarks. Which tuning task these are of, and whether SSR's % are points or shares of
the base's score, is not known. Table 4 of S3FT (each general benchmark) and all tables of SSR could not be had, and no
number stands here that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from s3ft_jax.report.evidence import BASE, EvidenceError
from s3ft_jax.report.flow import Flow
from s3ft_jax.report.summary import Row
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import MINUS, bounds, count_of, method_name, percent, points

S3FT = "S3FT, arXiv 2502.08130"
SSR = "SSR, arXiv 2409.04787"
DROPS = (
    "Its abstract: averaged over general benchmarks, SFT loses up to 4.4 points and S3FT 2.5 (MMLU, TruthfulQA, "
    "HellaSwag, WinoGrande)."
)


@dataclasses.dataclass(frozen=True)
class MeanChange:
    """What an abstract says of a method's mean general change.

    Attributes:
      method: whose.
      value: fraction; below zero: lost.
      bound: ``up to``, ``about``, or empty where it is the number itself.
    """

    method: str
    value: float
    bound: str = ""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a paper reports of one task.

    Attributes:
      source: the paper.
      what: task, model and tuning, as far as they are known.
      accuracy: method -> share of test examples answered rightly; empty: not known.
      origins: origin -> share of S3FT's training targets; empty: not known.
      general: the abstract's mean general changes.
      unit: of these, as the abstract writes it: points or %.
      benchmarks: what they are the mean over.
      notes: sentences.
    """

    source: str
    what: str
    accuracy: Mapping[str, float]
    origins: Mapping[str, float]
    general: tuple[MeanChange, ...]
    unit: str
    benchmarks: tuple[str, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ReferenceRow:
    """A paper's number beside this run's.

    Attributes:
      what: ``accuracy``, ``targets`` or ``mean general change``.
      name: the method, or the origin of S3FT's targets.
      paper: the paper's number, a fraction.
      bound: see ``MeanChange``.
      unit: of the paper's number: %, or points.
      place: where the paper says it: Table 2, Table 3 or abstract.
      here, low, high: this run's number, and its interval where there is one; fractions. None: not measured.
    """

    what: str
    name: str
    paper: float
    bound: str
    unit: str
    place: str
    here: float | None
    low: float | None = None
    high: float | None = None


def _s3ft(task: str, accuracy: Sequence[float], origins: Sequence[float], *notes: str) -> Reference:
    what = f"{task}, Mistral-7B-Instruct-v0.2, LoRA 8 / 16 / 0.1"
    methods, kinds = (BASE, "sft", "sdft", "s3ft"), ("own", "paraphrase", "gold")
    return Reference(
        S3FT,
        what,
        {name: value / 100 for name, value in zip(methods, accuracy, strict=True)},
        {name: value / 100 for name, value in zip(kinds, origins, strict=True)},
        (MeanChange("sft", -0.044, "up to"), MeanChange("s3ft", -0.025)),
        "points",
        ("MMLU", "TruthfulQA", "HellaSwag", "WinoGrande"),
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
        (MeanChange("sft", -0.167, "up to"), MeanChange("ssr", -0.02, "about")),
        "%",
        ("MMLU", "TruthfulQA", "GSM8K", "HellaSwag"),
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


def reference_rows(reference: Reference, rows: Sequence[Row], flow: Flow) -> list[ReferenceRow]:
    """The paper's numbers beside this run's.

    Args:
      reference: the paper's.
      rows: this run's, by method.
      flow: where this run's targets came from.
    """
    mine = {row.method: row for row in rows}
    found = []
    for method, value in reference.accuracy.items():
        target = mine[method].target if method in mine else None
        found.append(ReferenceRow("accuracy", method, value, "", "%", "Table 2", target and target.mean))
    counts = flow.targets.get("s3ft", {})
    total = sum(counts.values())
    for origin, value in reference.origins.items():
        share = counts.get(origin, 0) / total if total else None
        found.append(ReferenceRow("targets", origin, value, "", "%", "Table 3", share))
    for one in reference.general:
        change = mine[one.method].general_change if one.method in mine else None
        ends = (change.mean, change.low, change.high) if change else (None,)
        found.append(
            ReferenceRow("mean general change", one.method, one.value, one.bound, reference.unit, "abstract", *ends)
        )
    return found


def reference_table(reference: Reference, rows: Sequence[Row], flow: Flow) -> Table:
    """``reference_rows`` as a table; arguments as there."""
    body = tuple(_cells(row) for row in reference_rows(reference, rows, flow))
    over, skills = ", ".join(reference.benchmarks), list(rows[0].skills)
    here = "nothing here" if not skills else f"{count_of(len(skills), 'skill')} here ({', '.join(skills)})"
    tables = "Accuracy and targets in %, from a digest of the paper's tables. " if reference.accuracy else ""
    caption = (
        f"{reference.source}: {reference.what}; beside it this run, whose model, data, prompts and settings may "
        f"differ. {tables}Mean general change: from the paper's abstract, which does not say for which tuning task, in "
        f"{reference.unit} as printed there, over {over}; in points over {here}."
    )
    return Table(caption, ("", "paper", "here"), body)


def _cells(row: ReferenceRow) -> tuple[Cell, Cell, Cell]:
    if row.what == "targets":
        name = f"S3FT's targets, {row.name}"
    else:
        name = f"{method_name(row.name)}, {row.what}"
    if row.place != "abstract":
        return label(name), Cell(percent(row.paper)), Cell("\u2013" if row.here is None else percent(row.here))
    here = Cell("\u2013") if row.here is None else Cell(points(row.here), bounds(row.low, row.high))
    return label(name), Cell(_printed(row), "abstract"), here


def _printed(row: ReferenceRow) -> str:
    """With as many digits as the abstract has."""
    number = f"{100 * row.paper:+.3g}".replace("-", MINUS)
    return f"{row.bound} {number}{' %' if row.unit == '%' else ''}".strip()


def reference_line(reference: Reference, rows: Sequence[ReferenceRow]) -> str:
    """The mean general changes as one sentence for the terminal."""
    parts = []
    for row in rows:
        if row.place == "abstract":
            here = "not measured here" if row.here is None else f"here {points(row.here)} points"
            unit = " points" if row.unit == "points" else ""
            parts.append(f"{method_name(row.name)} {_printed(row)}{unit} ({here})")
    over = ", ".join(reference.benchmarks)
    return f"Mean general change in the abstract of {reference.source} (over {over}): {'; '.join(parts)}"
