"""The contents of the report room: everything computed once, in the order of the report, for all of its outputs.

In: ``Evidence``. Out: ``Contents``: headline, claims, cautions, tables. The page, the markdown file, the JSON document
and the terminal only draw it, so that they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from s3ft_jax.report import tables
from s3ft_jax.report.answer_table import answer_table
from s3ft_jax.report.cautions import build_cautions
from s3ft_jax.report.claims import Claim, build_claims, headline
from s3ft_jax.report.comparison_table import comparisons_table
from s3ft_jax.report.comparisons import SURE, Comparison, compare_all
from s3ft_jax.report.document import build_document
from s3ft_jax.report.evidence import BASE, Evidence, check_evidence
from s3ft_jax.report.flow import Flow, build_flow
from s3ft_jax.report.frontier import Forgetting, forgetting
from s3ft_jax.report.references import Reference, ReferenceRow, find_reference, reference_rows, reference_table
from s3ft_jax.report.scoreboard import TEST, Scoreboard, build_scoreboard
from s3ft_jax.report.summary import Row, summarize
from s3ft_jax.report.tables import Table

READING = (
    "Target: the share of held-out test examples of the tuned task that the judge found right.",
    "Change: the score of the tuned model minus the score of the untouched base, in points (hundredths of the whole).",
    "Mean general change: the mean of the changes over the general skills, each with the same weight. These skills "
    "were never trained on; a minus is forgetting.",
    "Brackets: 95 % intervals. Changes and differences: over tuning seeds and test examples together (another tuning "
    "with the same settings on the same targets, other examples; not another search, nor other samples). Levels: over "
    "seeds, Student's t; base, or one seed: over test examples. A claim holds only if the intervals over seeds, over "
    "examples and over both all agree.",
    "Correction: among many comparisons some look like a difference by chance. A claim about two models holds (or does "
    "not), and an arrow is filled, only if p, corrected for all comparisons of this report (Holm), is below "
    f"{SURE}, too. Where the intervals alone would say so, the claim holds (or fails) before correction, the arrow is "
    "hollow, and it may be noise. What is no such comparison goes by the intervals alone, and that is said.",
    "Own, paraphrase, gold: where a training target came from. Own is the model's own answer, judged right; paraphrase "
    "is its own wording of the gold answer, judged right; gold is the data set's answer.",
    "Repair: where no own answer was right, the model went on from a beginning of gold, or mended its wrong answer "
    "with gold in view, and was judged right. Replay: rows of general data mixed in.",
    "SFT trains on gold only; SSR on own, else gold; SDFT on paraphrase, else gold; S3FT on own, else paraphrase, else "
    "gold. With -repair a repair comes before gold, with -replay general rows are mixed in. All from the same "
    "responses and verdicts, with the same loss.",
    "Undecided: the judge could not tell. It never counts as right.",
    "The sizes of these effects belong to this model and these tasks; they are not the paper's and not comparable "
    "with it.",
)
"""How to read the report, in plain words; the last one because the pocket model is no 7B model."""

CITATIONS = (
    ("S3FT: Gupta et al. 2025, Selective Self-to-Supervised Fine-Tuning", "2502.08130"),
    ("SSR: Gupta et al. 2024, Selective Self-Rehearsal", "2409.04787"),
    ("SDFT: Yang et al. 2024, Self-Distillation Bridges Distribution Gap", "2402.13669"),
)
"""(work, arXiv number) of the methods compared."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What every output of the report says.

    Attributes:
      evidence: what it was computed from.
      board, rows, flow: the numbers.
      headline: the first sentence.
      claims, cautions: see their modules.
      control_rows: the summary of the negative control; None without one.
      headline_table, control_table, scores_table: always there but the control's.
      paired_table: fixed and regressed; None without answers.
      comparisons: every pair of models, everywhere; none without answers.
      comparisons_table: every pair of models on the target (by each metric) and on the general mean; None without
        answers.
      skills_table: the same on each general skill.
      answer_table: how near to gold and when declined; None where the task has no passages.
      forgetting: how far models are from the base, and what they lost.
      reference: a paper's numbers; None where none are asked for.
      reference_rows, reference_table: these beside the run's; empty and None without a reference.
      document: the value of report.json.
    """

    evidence: Evidence
    board: Scoreboard
    rows: list[Row]
    flow: Flow
    headline: str
    claims: list[Claim]
    cautions: list[str]
    control_rows: list[Row] | None
    headline_table: Table
    control_table: Table | None
    scores_table: Table
    paired_table: Table | None
    comparisons: list[Comparison]
    comparisons_table: Table | None
    skills_table: Table | None
    answer_table: Table | None
    forgetting: Forgetting
    reference: Reference | None
    reference_rows: list[ReferenceRow]
    reference_table: Table | None
    document: dict[str, Any]


def build_contents(evidence: Evidence) -> Contents:
    """Check the evidence and compute all that the report says.

    Raises:
      EvidenceError: the evidence contradicts itself or lacks base or target scores.
    """
    check_evidence(evidence)
    board = build_scoreboard(evidence.scores, evidence.task, evidence.methods, evidence.answers, evidence.items)
    comparisons = compare_all(board, evidence.measured)
    rows, flow = summarize(board, comparisons), build_flow(evidence)
    control = _control_board(evidence)
    control_rows = summarize(control) if control else None
    control_table = tables.headline_table(control, control_rows) if control and control_rows else None
    claims = build_claims(board, rows, control, comparisons)
    cautions = build_cautions(evidence, board, flow)
    sentence, reference = headline(evidence.task, rows), find_reference(evidence.reference)
    short = [one for one in comparisons if one.where not in board.skills]
    rest = [one for one in comparisons if one.where in board.skills]
    found = forgetting(evidence, _changes(rows))
    told = rows, flow, claims, cautions, sentence, control_rows, comparisons, board, found
    return Contents(
        evidence=evidence,
        board=board,
        rows=rows,
        flow=flow,
        headline=sentence,
        claims=claims,
        cautions=cautions,
        control_rows=control_rows,
        headline_table=tables.headline_table(board, rows),
        control_table=control_table,
        scores_table=tables.scores_table(evidence.scores, evidence.methods),
        paired_table=tables.paired_table(board),
        comparisons=comparisons,
        comparisons_table=comparisons_table(short, len(comparisons)),
        skills_table=comparisons_table(rest, len(comparisons)),
        answer_table=answer_table(evidence.scores, evidence.task, TEST, evidence.methods, evidence.measured),
        forgetting=found,
        reference=reference,
        reference_rows=reference_rows(reference, rows, flow) if reference else [],
        reference_table=reference_table(reference, rows, flow) if reference else None,
        document=build_document(evidence, *told),
    )


def _control_board(evidence: Evidence) -> Scoreboard | None:
    """The control's scores of the methods that were run here, too."""
    control = evidence.control
    if control is None:
        return None
    found = {score.method for score in control.scores}
    methods = [method for method in evidence.methods if method in found]
    scores = [score for score in control.scores if score.method in (BASE, *methods)]
    return build_scoreboard(scores, evidence.task, methods, control.answers, control.items)


def _changes(rows: list[Row]) -> dict[tuple[str, int], float]:
    """(method, seed) -> change of the general mean, 0 where no skill was scored."""
    return {(row.method, seed): general for row in rows for seed, (general, _) in row.points.items()}
