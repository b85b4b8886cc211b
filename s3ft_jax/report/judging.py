"""Judging in the report room: which judge judged what, how far a second one agrees, and what a judging model knows.

In: evidence. Out: a sentence, tables and values for report.json; each is empty where there is nothing to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from s3ft_jax.records import OUTCOMES, Verdict
from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import clean_text, percent, share

SHOWN = 10
"""Differences between two judges that are shown."""


def judges_line(evidence: Evidence) -> str:
    """Whether the judge that filtered the training responses also scored the test answers; empty without verdicts."""
    trained = {verdict.judge for verdicts in evidence.verdicts.values() for verdict in verdicts}
    tested = {v.judge for (_, _, task), verdicts in evidence.answers.items() if task == evidence.task for v in verdicts}
    if not trained or not tested:
        return ""
    names = [" and ".join(sorted(judges)) for judges in (trained, tested)]
    if trained == tested:
        return f"The same judge, {names[0]}, chose the training targets and scored the test answers."
    return f"The training targets were chosen by {names[0]}, but the test answers were scored by {names[1]}."


def agreement_tables(evidence: Evidence) -> list[Table]:
    """For each origin that was judged twice: the outcomes crossed, and the first differences."""
    tables = []
    for origin, second in evidence.compared.items():
        first = evidence.verdicts[origin]
        tables += [_crossed(origin, first, second), *_differences(origin, first, second)]
    return tables


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Agreement beyond chance: (p_o - p_e) / (1 - p_e) (Cohen 1960, A coefficient of agreement for nominal scales).

    ``right right wrong wrong`` and ``right right wrong right``: p_o 3/4, p_e 1/2 * 3/4 + 1/2 * 1/4 = 1/2, kappa 1/2.
    None where both always say the same one thing, or there is nothing.
    """
    count = len(first)
    if not count:
        return None
    observed = sum(one == two for one, two in zip(first, second, strict=True)) / count
    chances = Counter(first), Counter(second)
    expected = sum(chances[0][outcome] * chances[1][outcome] for outcome in chances[0]) / count**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _crossed(origin: str, first: Sequence[Verdict], second: Sequence[Verdict]) -> Table:
    pairs = Counter((one.outcome, two.outcome) for one, two in zip(first, second, strict=True))
    body = [(label(one), *(Cell(f"{pairs[one, two]:,}") for two in OUTCOMES)) for one in OUTCOMES]
    alike = sum(pairs[outcome, outcome] for outcome in OUTCOMES)
    kappa = cohens_kappa([verdict.outcome for verdict in first], [verdict.outcome for verdict in second])
    names = [" and ".join(sorted({verdict.judge for verdict in verdicts})) for verdicts in (first, second)]
    caption = (
        f"Agreement on {origin} responses: {names[0]} (rows) and a second judge, {names[1]} (columns), say the same of "
        f"{share(alike, len(first))}" + (f"; kappa {kappa:.2f}." if kappa is not None else ".")
    )
    return Table(caption, ("", *OUTCOMES), tuple(body))


def _differences(origin: str, first: Sequence[Verdict], second: Sequence[Verdict]) -> list[Table]:
    differing = [(one, two) for one, two in zip(first, second, strict=True) if one.outcome != two.outcome]
    if not differing:
        return []
    body = [(label(one.example_id), label(_told(one)), label(_told(two))) for one, two in differing[:SHOWN]]
    caption = f"Where they differ on {origin} responses: {len(body)} of {len(differing):,}."
    return [Table(caption, ("example", "first judge", "second judge"), tuple(body))]


def _told(verdict: Verdict) -> str:
    """Outcome and reason; the reason alone where it begins with the outcome."""
    same = verdict.reason.startswith(f"{verdict.outcome}:")
    return verdict.reason if same else f"{verdict.outcome}: {verdict.reason}"


def canaries_table(evidence: Evidence) -> Table | None:
    """What the judging model made of texts whose verdict is known; None where no model judges."""
    if not evidence.canaries:
        return None
    body = [
        (label(kind), Cell(f"{passed:,} of {asked:,}"), Cell(percent(passed / asked)))
        for kind, (passed, asked) in evidence.canaries.items()
        if asked
    ]
    caption = "Canaries: texts whose verdict is known, shown to the judging model before it was used."
    return Table(caption, ("text", "passed", "%"), tuple(body))


def canary_values(evidence: Evidence) -> list[dict[str, Any]]:
    """For report.json: kinds of text whose verdict is known, and what the judging model made of them."""
    found = evidence.canaries.items()
    return [{"text": kind, "passed": passed, "asked": asked} for kind, (passed, asked) in found if asked]


def agreement_values(evidence: Evidence) -> list[dict[str, Any]]:
    """For report.json: for each origin that was judged twice the outcomes crossed, and the first differences."""
    found = []
    for origin, second in evidence.compared.items():
        first = evidence.verdicts[origin]
        pairs = list(zip(first, second, strict=True))
        crossed = Counter((one.outcome, two.outcome) for one, two in pairs)
        names = [sorted({verdict.judge for verdict in verdicts}) for verdicts in (first, second)]
        found.append(
            {
                "origin": origin,
                "first_judges": names[0],
                "second_judges": names[1],
                "responses": len(pairs),
                "kappa": cohens_kappa([one.outcome for one in first], [two.outcome for two in second]),
                "outcomes": [
                    {"first": one, "second": two, "count": crossed[one, two]} for one in OUTCOMES for two in OUTCOMES
                ],
                "differing": sum(one.outcome != two.outcome for one, two in pairs),
                "differences": [
                    dict(zip(("example_id", "index", "first", "second"), row[1:], strict=True))
                    for row in differences(evidence)
                    if row[0] == origin
                ][:SHOWN],
            }
        )
    return found


def differences(evidence: Evidence) -> list[tuple[str, str, int, str, str]]:
    """Every response that two judges see otherwise: origin, example, index, and what each judge said."""
    return [
        (origin, one.example_id, one.index, clean_text(_told(one)), clean_text(_told(two)))
        for origin, second in evidence.compared.items()
        for one, two in zip(evidence.verdicts[origin], second, strict=True)
        if one.outcome != two.outcome
    ]
