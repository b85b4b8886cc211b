"""Judges room: how good is a judge? Its verdicts against labels made by people.

In: a file of labelled responses. Out: precision, recall, abstention and the list of disagreements.

    labels.jsonl   {"question": "2 + 2?", "gold": "4", "response": "It is 4.", "right": true}

``right`` is what a person says. ``question`` may be left out where no judge reads it; ``check`` may hold what the judge
checks (see the judge's module), else it is made from ``gold``.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.judges.composition import single_names
from s3ft_jax.judges.verdicts import JudgeError, one_line
from s3ft_jax.records import OUTCOMES, Example, Response, Verdict
from s3ft_jax.thoughts import split

KEYS = {"question", "gold", "response", "right", "check"}


@dataclasses.dataclass(frozen=True)
class Label:
    """One labelled response.

    Attributes:
      question, gold, response: texts.
      right: what a person said.
      check: what the judge checks; None: made from gold.
    """

    question: str
    gold: str
    response: str
    right: bool
    check: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How a judge's verdicts compare with labels.

    Attributes:
      judge: its name.
      counts: (label, outcome) -> how many; label is right or wrong.
      differing: number of the label, from 0, with the verdict, where the verdict is the opposite of the label.
    """

    judge: str
    counts: Mapping[tuple[str, str], int]
    differing: tuple[tuple[int, Verdict], ...]

    @property
    def precision(self) -> float | None:
        """Share of right verdicts whose label is right; None without right verdicts."""
        said = self.counts["right", "right"] + self.counts["wrong", "right"]
        return self.counts["right", "right"] / said if said else None

    @property
    def recall(self) -> float | None:
        """Share of right labels whose verdict is right, the undecided counting against it; None without such labels."""
        labelled = sum(self.counts["right", outcome] for outcome in OUTCOMES)
        return self.counts["right", "right"] / labelled if labelled else None

    @property
    def abstention(self) -> float:
        """Share of undecided verdicts."""
        return sum(self.counts[label, "undecided"] for label in ("right", "wrong")) / sum(self.counts.values())


def read_labels(text: str, name: str) -> list[Label]:
    """The labels of a file's text.

    Raises:
      JudgeError: a line is no label, or there is none; names file, line, cause and fix.
    """
    labels = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            labels.append(_read_label(line, f"{name} line {number}"))
    if not labels:
        raise JudgeError(f"{name} holds no labels")
    return labels


def _read_label(line: str, where: str) -> Label:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise JudgeError(f"{where}: no JSON ({error}). Each line is one object with {sorted(KEYS)}.") from None
    if not isinstance(row, dict) or set(row) - KEYS:
        unknown = sorted(set(row) - KEYS) if isinstance(row, dict) else row
        raise JudgeError(f"{where}: {unknown!r:.100} is unknown; a label has {sorted(KEYS)}")
    for key in ("gold", "response"):
        if not isinstance(row.get(key), str):
            raise JudgeError(f"{where}: {key!r} must be a text, found {row.get(key)!r:.80}")
    if not isinstance(row.get("right"), bool):
        raise JudgeError(f"{where}: 'right' must be true or false, found {row.get('right')!r:.80}")
    if not isinstance(row.get("question", ""), str) or not isinstance(row.get("check", {}), dict):
        raise JudgeError(f"{where}: 'question' must be a text and 'check' an object")
    return Label(row.get("question", ""), row["gold"], row["response"], row["right"], row.get("check"))


def make_pairs(labels: Sequence[Label], judge: str) -> list[tuple[Example, Response]]:
    """Labels as a judge is given them."""
    pairs = []
    for number, label in enumerate(labels):
        place = f"labels/calibration/{number:05d}"
        check = label.check if label.check is not None else _check_from(label.gold, judge)
        messages = ({"role": "user", "content": label.question},)
        example = Example(place, "labels", "calibration", messages, label.gold, judge, check)
        thought, text = split(label.response)
        pairs.append((example, Response(place, "own", 0, text, (), (), True, 0.0, thought=thought)))
    return pairs


def _check_from(gold: str, judge: str) -> dict[str, Any]:
    """What the judges that need a check compare with, made from gold; for a composition, under each name."""
    made: dict[str, dict[str, Any]] = {
        "exact": {"answer": gold},
        "choice": {"answer": gold},
        "answers": {"answers": [gold]},
    }
    singles = single_names(judge)
    return made.get(judge, {}) if singles == (judge,) else {name: made[name] for name in singles if name in made}


def measure(judge: str, labels: Sequence[Label], verdicts: Sequence[Verdict]) -> Calibration:
    """Compare verdicts with labels, in the same order.

    ``labels right right wrong`` and ``verdicts right undecided right`` -> precision 1/2, recall 1/2, abstention 1/3.
    """
    names = ["right" if label.right else "wrong" for label in labels]
    counts = Counter({(label, outcome): 0 for label in ("right", "wrong") for outcome in OUTCOMES})
    counts.update((name, verdict.outcome) for name, verdict in zip(names, verdicts, strict=True))
    differing = tuple(
        (number, verdict)
        for number, (name, verdict) in enumerate(zip(names, verdicts, strict=True))
        if verdict.outcome not in (name, "undecided")
    )
    return Calibration(judge, counts, differing)


def describe_difference(label: Label, verdict: Verdict) -> str:
    """One line about a verdict that is the opposite of its label."""
    wanted = "right" if label.right else "wrong"
    texts = f"gold {one_line(label.gold, 60)!r}, response {one_line(label.response, 80)!r}"
    return f"{verdict.outcome}, a person says {wanted}: {texts}; {verdict.reason}"
