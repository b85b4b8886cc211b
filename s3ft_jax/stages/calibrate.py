"""Stage: labelled responses -> how often a judge agrees with the people who labelled them; calibration.json.

    s3ft judge --calibrate labels.jsonl --config=FILE.py --workdir=DIR --config.judge.name='first(numbers, model)'

Measured are the judge that is named and, where it is put together, each of its parts. The file is described in
judges/calibration.py.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict
from rich.table import Table

from s3ft_jax.judges import check_name
from s3ft_jax.judges.calibration import Calibration, Label, describe_difference, make_pairs, measure, read_labels
from s3ft_jax.judges.composition import single_names
from s3ft_jax.progress import console, say
from s3ft_jax.stages.judge import judge_responses
from s3ft_jax.workdir import Workdir, WorkdirError

SHOWN = 20
"""Differences printed for each judge; all of them are in calibration.json."""


def run(config: ConfigDict, workdir: Workdir, labels_file: str) -> None:
    """Judge the labelled responses and print the table.

    Raises:
      WorkdirError: there is no such file, or ``judge.name`` is empty.
      JudgeError: a label or the judge's name cannot be read.
    """
    if not config.judge.name:
        raise WorkdirError("judge.name is empty: say which judge to measure, e.g. --config.judge.name=numbers")
    check_name(config.judge.name)
    file = pathlib.Path(labels_file)
    if not file.is_file():
        raise WorkdirError(f"--calibrate: no such file {file}")
    labels = read_labels(file.read_text(), labels_file)
    found = [_measure(config, workdir, name, labels) for name in dict.fromkeys([config.judge.name, *_singles(config)])]
    console.print(_table(found))
    for calibration in found:
        for number, verdict in calibration.differing[:SHOWN]:
            say(f"{calibration.judge}, label {number + 1}: {describe_difference(labels[number], verdict)}")
        if len(calibration.differing) > SHOWN:
            say(f"{calibration.judge}: {len(calibration.differing) - SHOWN} more in calibration.json")
    rows = [_plain(calibration, labels) for calibration in found]
    say(str(workdir.write_bytes("calibration.json", (json.dumps(rows, indent=1) + "\n").encode())))


def _singles(config: ConfigDict) -> tuple[str, ...]:
    return single_names(config.judge.name)


def _measure(config: ConfigDict, workdir: Workdir, name: str, labels: list[Label]) -> Calibration:
    """One judge's verdicts of all labels, against them."""
    own = ConfigDict(config.to_dict())
    own.judge.name = name
    pairs = make_pairs(labels, name)
    examples, responses = [example for example, _ in pairs], [response for _, response in pairs]
    return measure(name, labels, judge_responses(own, workdir, examples, responses, f"judge labels by {name}"))


def _table(found: list[Calibration]) -> Table:
    table = Table(title="Against people's labels")
    columns = ("judge", "labels", "precision %", "recall %", "undecided %", "wrongly right", "wrongly wrong")
    for column in columns:
        table.add_column(column, justify="left" if column == "judge" else "right", overflow="fold")
    for one in found:
        table.add_row(
            one.judge,
            f"{sum(one.counts.values()):,}",
            *(f"{100 * share:.1f}" if share is not None else "-" for share in (one.precision, one.recall)),
            f"{100 * one.abstention:.1f}",
            str(one.counts["wrong", "right"]),
            str(one.counts["right", "wrong"]),
        )
    return table


def _plain(one: Calibration, labels: list[Label]) -> dict[str, Any]:
    return {
        "judge": one.judge,
        "precision": one.precision,
        "recall": one.recall,
        "abstention": one.abstention,
        "counts": {f"label {label}, verdict {outcome}": n for (label, outcome), n in one.counts.items()},
        "differing": [
            {"label": number + 1, "what": describe_difference(labels[number], verdict)}
            for number, verdict in one.differing
        ],
    }
