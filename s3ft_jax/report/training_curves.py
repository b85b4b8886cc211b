"""The curves of the report room: how training went, by the loss of its steps and by looks at validation examples.

In: ``Evidence.curves`` and ``Evidence.looks``. Out: the table of their last values, and values for report.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import method_name, percent

LOOKS = {
    "validation_loss": "validation loss, nats per token",
    "validation_score": "validation score, %",
    "validation_kl": "KL to the base, nats per token",
}
"""What a look measures, as metrics.jsonl names it and as a reader does."""


def last_values_table(evidence: Evidence) -> Table | None:
    """One line per method: its last step and last look, means over seeds; None where nothing was trained."""
    measured = [name for name in LOOKS if any(name in row for rows in evidence.looks.values() for row in rows)]
    body = []
    for method in evidence.methods:
        curves = [curve[-1] for (name, _), curve in evidence.curves.items() if name == method and curve]
        looks = [rows for (name, _), rows in evidence.looks.items() if name == method and rows]
        if not curves and not looks:
            continue
        cells = [_cell([step for step, _ in curves], ",.0f"), _cell([loss for _, loss in curves], ".4f")]
        if measured:
            cells.append(_cell([rows[-1]["step"] for rows in looks], ",.0f"))
        for name in measured:
            last = [row[name] for rows in looks for row in rows[-1:] if name in row]
            cells.append(_cell(last, "" if name == "validation_score" else ".4f"))
        body.append((label(method_name(method), method), *cells))
    columns = ("", "last step", "training loss, nats per token", *(["last look after step"] if measured else []))
    caption = "Training at its end: the loss of the last step"
    caption += ", and the last look at validation examples" if measured else ""
    caption += "; means over seeds (s.d.: spread between seeds)."
    if measured:
        caption += " Where train.validate.use_best is set, the model taken may be of an earlier look."
    return Table(caption, (*columns, *(LOOKS[name] for name in measured)), tuple(body)) if body else None


def _cell(values: Sequence[float], form: str) -> Cell:
    """The mean, in a format or, where it is empty, in percent; with the spread where there are several."""
    if not values:
        return Cell("\u2013")

    def write(value: float) -> str:
        return format(value, form).replace("-", "\u2212") if form else percent(value)

    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Cell(write(float(np.mean(values))), f"s.d. {write(spread)}" if spread else "")


def look_values(evidence: Evidence) -> list[dict[str, Any]]:
    """For report.json: a line per look, None for what it did not measure."""
    return [
        {"method": method, "seed": seed, "step": row["step"], **{name: row.get(name) for name in LOOKS}}
        for (method, seed), rows in evidence.looks.items()
        for row in rows
    ]
