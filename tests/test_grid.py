"""Grid: points follow from what a contender leaves open; the choice follows from validation scores alone."""

import math

import pytest

from s3ft_jax.grid import Cell, GridError, check_rule, choose, plus_four_stderr, points


def cell(score, *, rate=1e-3, steps=100, seeds=1, count=512):
    return Cell("sft", "sft", rate, steps, dict.fromkeys(range(seeds), score), count)


def test_points_vary_what_is_open():
    assert points({}, (), ()) == [{}]
    assert points({}, (1e-4, 1e-3), ()) == [{"learning_rate": 1e-4}, {"learning_rate": 1e-3}]
    both = points({"tune": "lora"}, (1e-4, 1e-3), (50, 100))
    assert len(both) == 4 and both[1] == {"tune": "lora", "learning_rate": 1e-4, "num_steps": 100}
    assert points({"learning_rate": 5.0}, (1e-4, 1e-3), ()) == [{"learning_rate": 5.0}], "what is stated stays"


def test_the_best_of_several_seeds_is_best_in_the_mean():
    steady, lucky = cell(0.6), Cell("sft", "sft", 1e-4, 50, {0: 0.9, 1: 0.1}, 512)
    assert choose([steady, lucky], "best") is steady and lucky.score == 0.5


def test_within_a_standard_error_the_gentlest_is_taken():
    near = 0.80 - 0.9 * plus_four_stderr(0.80, 512)
    far = 0.80 - 1.1 * plus_four_stderr(0.80, 512)
    cells = [cell(0.80), cell(near, rate=3e-4), cell(far, rate=1e-4)]
    assert choose(cells, "one_stderr") is cells[1] and choose(cells, "best") is cells[0]
    shorter, rougher = cell(near, rate=3e-4, steps=50), cell(near, rate=2e-3, steps=10)
    assert choose([*cells, shorter, rougher], "one_stderr") is shorter, "rates before steps"
    assert choose([cell(0.8), cell(0.8, rate=1e-4)], "best").learning_rate == 1e-4


def test_a_perfect_score_has_an_error_too():
    assert plus_four_stderr(1.0, 100) == pytest.approx(math.sqrt(102 / 104 * 2 / 104 / 104))
    cells = [cell(1.0, count=100), cell(0.99, rate=1e-4, count=100)]
    assert choose(cells, "one_stderr") is cells[1]


def test_a_rule_that_is_none_is_refused():
    with pytest.raises(GridError, match=r"compare\.rule = 'luck'; choose from one_stderr, best"):
        check_rule("luck")
