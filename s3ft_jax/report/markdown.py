"""The markdown of the report room: report.md, the same tables and sentences for pasting into an issue or a README.

In: ``Contents``. Out: GitHub-flavoured markdown; plots are in report.html only, browsed examples there and
in report.json.
"""

from __future__ import annotations

from collections.abc import Sequence

from s3ft_jax.report import frontier, judging, tables
from s3ft_jax.report.benchmarks import benchmark_tables
from s3ft_jax.report.browsing import changes_table
from s3ft_jax.report.contents import CITATIONS, READING, Contents
from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.intake import encoding_table, intake_table
from s3ft_jax.report.tables import Cell, Table
from s3ft_jax.report.training_curves import last_values_table
from s3ft_jax.report.wording import clean_text


def build_markdown(contents: Contents) -> str:
    """The text of report.md."""
    evidence, flow = contents.evidence, contents.flow
    parts = [f"# {_line(evidence.title)}", f"**{_line(contents.headline)}**"]
    parts += ["## What was won and what was lost", draw_table(contents.headline_table)]
    parts += ["## What may be said", _bullets([claim.sentence for claim in contents.claims])]
    parts += ["## Keep in mind", _bullets(contents.cautions)]
    if evidence.notes:
        parts += ["### Disclosures", _bullets(list(evidence.notes))]
    tried = frontier.frontier_table(evidence.grid), frontier.grid_table(evidence.grid)
    if any(tried):
        parts += ["## Every setting tried", *(draw_table(table) for table in tried if table)]
    if contents.board.skills and contents.forgetting.marks:
        parts += ["## Distance from the base", _line(frontier.forgetting_sentence(contents.forgetting))]
    parts.append("## Negative control")
    if contents.control_table is not None and evidence.control is not None:
        parts += [_line(evidence.control.title), draw_table(contents.control_table)]
        parts += [_bullets(list(evidence.control.notes))] if evidence.control.notes else []
    else:
        parts.append(evidence.why_absent("control"))
    parts.append("## Flow of training examples")
    for name, table, present in (
        ("selections", tables.targets_table(flow), bool(flow.targets)),
        ("responses", tables.responses_table(flow), bool(flow.origins)),
        ("verdicts", tables.reasons_table(flow), any(origin.classes for origin in flow.origins)),
    ):
        parts.append(draw_table(table) if present else evidence.why_absent(name))
    parts += _drawn([tables.rungs_table(flow), tables.pass_rate_table(flow), tables.rounds_table(evidence)])
    parts += filter(None, [judging.judges_line(evidence)])
    parts += _drawn([judging.canaries_table(evidence), *judging.agreement_tables(evidence)])
    parts.append("## Rows read and encoded")
    parts.append(draw_table(intake_table(evidence)) if evidence.intakes else evidence.why_absent("intakes"))
    parts.append(draw_table(encoding_table(evidence)) if evidence.encoding else evidence.why_absent("encoding"))
    parts.append("## Test answers against the base")
    parts.append(draw_table(contents.paired_table) if contents.paired_table else evidence.why_absent("answers"))
    parts += [draw_table(contents.answer_table)] if contents.answer_table else []
    parts += _drawn([changes_table(evidence.changed)])
    if contents.reference and contents.reference_table:
        parts.append("## The paper's numbers")
        parts.append(draw_table(contents.reference_table))
        parts += [f"- {note}" for note in contents.reference.notes]
    if contents.comparisons_table:
        parts += ["## Every pair of models", draw_table(contents.comparisons_table)]
    parts.append("## Log-probability under the base")
    parts.append(draw_table(tables.logprobs_table(evidence)) if evidence.logprobs else evidence.why_absent("logprobs"))
    parts += [*_training(evidence), "## Cost"]
    parts.append(draw_table(tables.costs_table(evidence.costs)) if evidence.costs else evidence.why_absent("costs"))
    parts += [*_benchmarks(evidence), "## Every score", draw_table(contents.scores_table)]
    parts += ["## Sandbox", _line(evidence.sandbox) or evidence.why_absent("sandbox")]
    for heading, values, name in (
        ("Settings", evidence.config, "config"),
        ("Versions", evidence.versions, "versions"),
        ("Hashes", evidence.hashes, "hashes"),
    ):
        body = draw_table(tables.pairs_table(f"{heading}.", values)) if values else evidence.why_absent(name)
        parts += [f"## {heading}", body]
    parts += ["## How to read this", _bullets(list(READING))]
    parts.append(_bullets([f"{work}, arXiv:{number}" for work, number in CITATIONS]))
    return "\n\n".join(parts) + "\n"


def _training(evidence: Evidence) -> list[str]:
    last = last_values_table(evidence)
    return ["## Training", draw_table(last)] if last else []


def _benchmarks(evidence: Evidence) -> list[str]:
    parts = []
    for heading, table in benchmark_tables(evidence):
        parts += [f"### {heading}" if heading else "## Benchmarks", draw_table(table)]
    return parts


def _drawn(found: Sequence[Table | None]) -> list[str]:
    """Those that there are."""
    return [draw_table(table) for table in found if table]


def draw_table(table: Table) -> str:
    """One table in GitHub-flavoured markdown, its caption below."""
    head = "| " + " | ".join(_line(column) or " " for column in table.columns) + " |"
    first = table.rows[0] if table.rows else ()
    rule = "| " + " | ".join("---:" if cell.number else "---" for cell in first) + " |"
    body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join([head, rule, *body]) + f"\n\n*{_line(table.caption)}*"


def _cell(cell: Cell) -> str:
    return " ".join(filter(None, (cell.arrow, _line(cell.text), _line(cell.detail))))


def _line(text: str) -> str:
    """Text on one line, with what would break a table or start a tag made harmless."""
    flat = " ".join(clean_text(text).split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {_line(line)}" for line in lines)
