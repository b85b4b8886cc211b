"""The scoreboard of the report room: the scores, found by model, task and metric, with nothing missing.

In: a list of ``Score``. Out: a ``Scoreboard`` in which every model has the same skills, so that means over skills can
be compared. The headline metric is accuracy; where a skill also has a likelihood score it is kept apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from s3ft_jax.evaluation.scores import ACCURACY, CHOICE_LIKELIHOOD
from s3ft_jax.records import Score
from s3ft_jax.report.evidence import BASE, EvidenceError, Model

TEST = "test"
GENERAL = "general"


@dataclasses.dataclass(frozen=True)
class Scoreboard:
    """Scores by model and task.

    Attributes:
      task: the target task.
      methods: tuned methods in order, without base.
      skills: general skills scored by accuracy, in the order of the scores.
      choices: general skills scored by choice likelihood, same order.
      cells: (model, task, metric) -> Score, target and general only.
      paired: (model, task) -> example -> right (1.0) or not (0.0), or a benchmark's value; empty when not given.
    """

    task: str
    methods: tuple[str, ...]
    skills: tuple[str, ...]
    choices: tuple[str, ...]
    cells: Mapping[tuple[Model, str, str], Score]
    paired: Mapping[tuple[Model, str], Mapping[str, float]]

    def seeds(self, method: str) -> tuple[int | None, ...]:
        """The seeds of a method that were scored, in order; ``(None,)`` for the base."""
        found = {seed for (name, seed), task, _ in self.cells if name == method and task == self.task}
        return (None,) if method == BASE else tuple(sorted(seed for seed in found if seed is not None))

    def score(self, model: Model, task: str, metric: str = ACCURACY) -> Score:
        """The score of one model; KeyError if there is none."""
        return self.cells[model, task, metric]


def build_scoreboard(
    scores: Sequence[Score],
    task: str,
    methods: Sequence[str],
    answers: Mapping[tuple[str, int | None, str], Sequence] | None = None,
    items: Mapping[tuple[str, int | None, str], Mapping[str, float]] | None = None,
) -> Scoreboard:
    """Arrange the scores and refuse what cannot be compared.

    Args:
      scores: base and tuned; scores of other splits, other test tasks or other metrics are left to the full table.
      task: the target.
      methods: tuned methods in order.
      answers: (method, seed, task) -> verdicts on the scored examples.
      items: (method, seed, task) -> item -> its value, for tasks without verdicts.

    Raises:
      EvidenceError: a score is given twice, belongs to an unknown method or has the wrong kind of seed; base or a
        method lacks the target or a skill that others have; counts of a task differ; answers contradict a score.
    """
    cells: dict[tuple[Model, str, str], Score] = {}
    skills: dict[str, list[str]] = {ACCURACY: [], CHOICE_LIKELIHOOD: []}
    for score in scores:
        _check_score(score, methods)
        target = score.split == TEST and score.task == task and score.metric == ACCURACY
        general = score.split == GENERAL and score.metric in skills
        if not (target or general):
            continue
        if general and score.task == task:
            raise EvidenceError(f"task {task!r} is both the target and a general skill; name one of them otherwise.")
        key = ((score.method, score.seed), score.task, score.metric)
        if key in cells:
            raise EvidenceError(f"two scores for {_name(score)}; each model and task is scored once.")
        cells[key] = score
        if general and score.task not in skills[score.metric]:
            skills[score.metric].append(score.task)
    _check_complete(cells, task, methods, skills)
    board = Scoreboard(task, tuple(methods), tuple(skills[ACCURACY]), tuple(skills[CHOICE_LIKELIHOOD]), cells, {})
    return dataclasses.replace(board, paired=_pair(board, _values(answers or {}) | dict(items or {})))


def measured(
    board: Scoreboard, values: Mapping[tuple[str, int | None, str], Mapping[str, float]], metric: str
) -> Scoreboard:
    """The target alone, with another metric of its answers in the place of the accuracy.

    Args:
      board: whose models are taken.
      values: (method, seed, metric) -> example -> value in [0, 1].
      metric: which.

    Raises:
      EvidenceError: a model has no value, or values of other examples than the base.
    """
    cells, paired = {}, {}
    for model in dict.fromkeys(model for model, _, _ in board.cells):
        mine, base = values.get((*model, metric), {}), values.get((BASE, None, metric), {})
        if not mine or set(mine) != set(base):
            raise EvidenceError(
                f"{metric} of {model[0]} (seed {model[1]}): {len(mine)} examples, base {len(base)}, and not the same; "
                "give it for all models on the same examples, or for none."
            )
        mean = sum(mine.values()) / len(mine)
        # a standard error is needed only where answers are not known
        cells[model, board.task, ACCURACY] = Score(*model, board.task, TEST, ACCURACY, mean, len(mine), 0.0)
        paired[model, board.task] = mine
    return dataclasses.replace(board, skills=(), choices=(), cells=cells, paired=paired)


def _check_score(score: Score, methods: Sequence[str]) -> None:
    if score.method != BASE and score.method not in methods:
        raise EvidenceError(f"score of {_name(score)}: the method is not among {[BASE, *methods]}.")
    if (score.method == BASE) != (score.seed is None):
        raise EvidenceError(f"score of {_name(score)}: base has seed None, every tuned method has a number.")
    if not 0.0 <= score.value <= 1.0 or score.count < 1 or not score.stderr >= 0.0:
        raise EvidenceError(
            f"score of {_name(score)}: needs value in [0, 1], count >= 1, stderr >= 0, "
            f"found {score.value}, {score.count}, {score.stderr}."
        )


def _check_complete(
    cells: Mapping[tuple[Model, str, str], Score],
    task: str,
    methods: Sequence[str],
    skills: Mapping[str, Sequence[str]],
) -> None:
    models = {model for model, _, _ in cells} | {(BASE, None)}
    for method in methods:
        if not any(name == method for name, _ in models):
            raise EvidenceError(f"method {method} has no score; run the evaluate stage for it, or leave it out.")
    wanted = [(task, ACCURACY)] + [(skill, metric) for metric, names in skills.items() for skill in names]
    for model in sorted(models, key=str):
        for name, metric in wanted:
            if (model, name, metric) not in cells:
                raise EvidenceError(
                    f"{model[0]} (seed {model[1]}) has no {metric} score for {name!r}, which other models have; "
                    "means would not be comparable. Run the evaluate stage again for it."
                )
            if cells[model, name, metric].count != cells[(BASE, None), name, metric].count:
                raise EvidenceError(
                    f"{model[0]} (seed {model[1]}) was scored on {cells[model, name, metric].count} examples of "
                    f"{name!r}, base on {cells[(BASE, None), name, metric].count}; use the same examples."
                )


def _values(
    answers: Mapping[tuple[str, int | None, str], Sequence],
) -> dict[tuple[str, int | None, str], dict[str, float]]:
    """Verdicts as values: right 1, else 0."""
    values = {}
    for (method, seed, task), verdicts in answers.items():
        right = {verdict.example_id: float(verdict.outcome == "right") for verdict in verdicts}
        if len(right) != len(verdicts):
            raise EvidenceError(
                f"answers of {method} (seed {seed}) on {task!r}: {len(verdicts)} verdicts on {len(right)} examples. "
                "Judge and score the same answers."
            )
        values[method, seed, task] = right
    return values


def _pair(
    board: Scoreboard, values: Mapping[tuple[str, int | None, str], Mapping[str, float]]
) -> dict[tuple[Model, str], Mapping[str, float]]:
    """Value per example, checked against the scores and for the same examples in every model."""
    paired: dict[tuple[Model, str], Mapping[str, float]] = {}
    for (method, seed, task), right in values.items():
        model = (method, seed)
        if (model, task, ACCURACY) not in board.cells:
            continue
        score = board.cells[model, task, ACCURACY]
        share = sum(right.values()) / max(1, len(right))
        if len(right) != score.count or abs(share - score.value) > 1e-6:
            raise EvidenceError(
                f"answers of {method} (seed {seed}) on {task!r}: {len(right)} examples, {share:.4f} right, but the "
                f"score says {score.value:.4f} of {score.count}. Judge and score the same answers."
            )
        paired[model, task] = right
    for (model, task), right in paired.items():
        other = paired.get(((BASE, None), task))
        if other is not None and set(other) != set(right):
            odd = sorted(set(other) ^ set(right))[:3]
            raise EvidenceError(f"answers of {model} and base on {task!r} are to different examples, e.g. {odd}.")
    return paired


def _name(score: Score) -> str:
    return f"{score.method} (seed {score.seed}) on {score.task!r} ({score.split}, {score.metric})"
