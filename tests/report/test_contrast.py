"""Contrasts: the arithmetic of a weighted difference and which interval it gets."""

import numpy as np
import pytest
from synthetic_evidence import METHODS, SEEDS, SKILLS, TASK, synthetic_answers, synthetic_scores

from s3ft_jax.evaluation.statistics import paired_difference
from s3ft_jax.report.contrast import contrast
from s3ft_jax.report.scoreboard import build_scoreboard


def board_of(scores, answers=None):
    return build_scoreboard(scores, TASK, METHODS, answers)


def test_difference_is_the_paired_difference_over_seeds():
    board = board_of(synthetic_scores())
    found = contrast(board, {"s3ft": 1.0, "sft": -1.0}, (TASK,))
    values = {name: {seed: board.score((name, seed), TASK).value for seed in SEEDS} for name in ("s3ft", "sft")}
    assert found.over_seeds == paired_difference(values["s3ft"], values["sft"])
    assert found.mean == pytest.approx(found.over_examples.mean)


def test_half_drop_follows_the_worked_example():
    board = board_of(synthetic_scores())
    found = contrast(board, {"s3ft": 1.0, "sft": -0.5, "base": -0.5}, SKILLS)
    change = {
        name: np.mean(
            [
                [board.score((name, seed), s).value - board.score(("base", None), s).value for s in SKILLS]
                for seed in SEEDS
            ]
        )
        for name in ("s3ft", "sft")
    }
    assert found.mean == pytest.approx(change["s3ft"] - change["sft"] / 2)


def test_paired_answers_narrow_the_interval_over_examples():
    scores = synthetic_scores()
    weights = {"s3ft": 1.0, "base": -1.0}
    unpaired = contrast(board_of(scores), weights, SKILLS)
    paired = contrast(board_of(scores, synthetic_answers(scores)), weights, SKILLS)
    assert "unpaired" in unpaired.over_examples.rule and "paired bootstrap" in paired.over_examples.rule
    assert paired.over_examples.mean == pytest.approx(unpaired.over_examples.mean)
    narrow, wide = (found.over_examples.high - found.over_examples.low for found in (paired, unpaired))
    assert narrow < wide


def test_unpaired_interval_is_the_binomial_one():
    board = board_of(synthetic_scores(seeds=(5,), spread=0.0))
    found = contrast(board, {"s3ft": 1.0, "base": -1.0}, (TASK,))
    stderr = np.hypot(board.score(("s3ft", 5), TASK).stderr, board.score(("base", None), TASK).stderr)
    assert found.over_seeds is None
    assert found.over_examples.high - found.mean == pytest.approx(1.959964 * stderr, rel=1e-5)


def test_seeds_in_common_only():
    scores = [score for score in synthetic_scores() if (score.method, score.seed) != ("sft", 1)]
    found = contrast(board_of(scores), {"s3ft": 1.0, "sft": -1.0}, (TASK,))
    assert sorted(found.per_seed) == [0, 2]


def test_nothing_to_compare_is_none():
    board = board_of(synthetic_scores(skills=()))
    assert contrast(board, {"s3ft": 1.0, "base": -1.0}, board.skills) is None
    assert contrast(board, {"base": 1.0}, (TASK,)) is None
