"""The summary: levels, changes against the base, and the rule of every interval with 0, 1 and 2 seeds."""

import math

import pytest
from synthetic_evidence import (
    METHODS,
    SEEDS,
    SKILLS,
    TASK,
    synthetic_answers,
    synthetic_contents,
    synthetic_score,
    synthetic_scores,
)

from s3ft_jax.evaluation.statistics import Interval, wilson_interval
from s3ft_jax.records import Score
from s3ft_jax.report.comparisons import MEAN, compare_all
from s3ft_jax.report.scoreboard import build_scoreboard
from s3ft_jax.report.summary import Estimate, Row, summarize, summary_values

T_OF_TWO_SEEDS = 12.7062047
"""The 0.975 quantile of Student's t with 1 degree of freedom."""


def small(right: dict[int, int], count: int = 100, base: int = 30) -> list[Row]:
    """Rows of base and sft, which got ``right[seed]`` of ``count`` right; the one skill goes from 90 to 80."""
    scores = [
        synthetic_score("base", None, TASK, "test", "accuracy", base, count),
        synthetic_score("base", None, "facts", "general", "accuracy", 90, 100),
    ]
    for seed, number in right.items():
        scores.append(synthetic_score("sft", seed, TASK, "test", "accuracy", number, count))
        scores.append(synthetic_score("sft", seed, "facts", "general", "accuracy", 80, 100))
    return summarize(build_scoreboard(scores, TASK, ("sft",)))


@pytest.fixture(scope="module")
def document():
    return synthetic_contents().document


def test_general_change_is_the_mean_over_skills_of_the_change(document):
    def value(method, seed, skill):
        return next(
            s["value"]
            for s in document["scores"]
            if (s["method"], s["seed"], s["task"], s["metric"]) == (method, seed, skill, "accuracy")
        )

    changes = [value("sft", seed, skill) - value("base", None, skill) for seed in SEEDS for skill in SKILLS]
    assert document["summary"]["sft"]["general_change"]["mean"] == pytest.approx(sum(changes) / len(changes))


def test_the_base_changes_by_nothing_and_has_no_seed():
    base = small({0: 60})[0]
    assert (base.method, base.seeds, base.points) == ("base", 0, {})
    expected = wilson_interval(0.3, 100)
    assert (base.target.mean, base.target.low, base.target.high) == (0.3, expected.low, expected.high)
    for change in (base.target_change, base.general_change, base.skills["facts"][1]):
        assert (change.mean, change.low, change.high, change.rule) == (0, 0, 0, "by definition")
        assert not change.certain


def test_one_seed_is_judged_over_examples():
    row = small({7: 60})[1]
    assert row.seeds == 1
    expected = wilson_interval(0.6, 100)
    assert row.target == Estimate(0.6, expected.low, expected.high, expected.rule)
    half = 1.959964 * math.sqrt(0.3 * 0.7 / 100 + 0.6 * 0.4 / 100)
    change = row.target_change
    assert (change.mean, change.low, change.high) == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=1e-6)
    assert "seeds" not in change.rule and [one.over for one in change.parts] == ["examples"]
    assert change.certain
    assert row.points == {7: pytest.approx((-0.1, 0.3))}


def test_two_seeds_have_the_wide_interval_of_two_seeds():
    row = small({0: 58, 1: 62})[1]
    assert row.seeds == 2 and row.target.rule == row.target_change.rule == "Student t over 2 seeds"
    # s = 0.02 sqrt(2), so t * s / sqrt(2) = 12.7 * 0.02
    half = T_OF_TWO_SEEDS * 0.02
    assert (row.target.mean, row.target.low, row.target.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert (row.target_change.low, row.target_change.high) == pytest.approx((0.3 - half, 0.3 + half))
    assert not row.target.parts and [one.over for one in row.target_change.parts] == ["seeds", "examples"]
    assert row.points == {0: pytest.approx((-0.1, 0.28)), 1: pytest.approx((-0.1, 0.32))}


def test_a_level_stays_a_fraction_and_a_change_does_not_have_to():
    low, high = small({0: 2, 1: 10})[1], small({0: 99, 1: 91})[1]
    assert low.target.low == 0.0 and low.target.high > 0.5
    assert high.target.high == 1.0 and high.target.low < 0.5
    assert low.target_change.low < -0.7 and high.target_change.high > 1.0


def test_two_seeds_that_agree_by_luck_are_not_certain_alone():
    row = small({0: 31, 1: 31})[1]
    assert (row.target_change.low, row.target_change.high) == pytest.approx((0.01, 0.01))
    assert not row.target_change.certain  # 1 example of 100
    assert small({0: 90, 1: 90})[1].target_change.certain


@pytest.mark.parametrize(
    ("seeds", "examples", "certain"),
    [
        ((0.1, 0.2), (0.1, 0.2), True),
        ((-0.2, -0.1), (-0.3, -0.1), True),
        ((0.1, 0.2), (-0.2, -0.1), False),
        ((0.0, 0.2), (0.1, 0.2), False),
        ((0.1, 0.2), None, True),
        ((-0.1, 0.2), None, False),
    ],
)
def test_certain_means_every_interval_on_the_same_side_of_zero(seeds, examples, certain):
    over = (Interval(sum(examples) / 2, *examples, "examples", 80, "synthetic"),) if examples else ()
    assert Estimate(sum(seeds) / 2, *seeds, "synthetic", over).certain is certain


@pytest.mark.parametrize(("corrected", "certain"), [(None, True), (0.049, True), (0.05, False), (1.0, False)])
def test_certain_needs_the_corrected_p_where_there_is_one(corrected, certain):
    change = Estimate(0.15, 0.1, 0.2, "synthetic", (), corrected)
    assert change.away and change.certain is certain
    assert not Estimate(0.15, -0.1, 0.4, "synthetic", (), 0.001).certain


def test_changes_carry_the_corrected_p_of_their_comparison():
    scores = synthetic_scores(skills=SKILLS[:2])
    board = build_scoreboard(scores, TASK, METHODS, synthetic_answers(scores))
    comparisons = compare_all(board)
    found = {(one.first, one.where): one for one in comparisons if one.second == "base"}
    rows = summarize(board, comparisons)
    for row in rows[1:]:
        changes = {TASK: row.target_change, MEAN: row.general_change}
        changes |= {skill: change for skill, (_, change) in row.skills.items()}
        for where, change in changes.items():
            assert change.corrected == found[row.method, where].corrected
            assert change.certain == found[row.method, where].is_sure
        assert row.likelihood_change.corrected is None, "no answers to compare"
    values = summary_values(rows)
    assert values["sft"]["target_change"]["corrected_p"] == rows[1].target_change.corrected
    assert values["sft"]["target_change"]["certain"] is True and "certain" not in values["sft"]["target"]
    assert rows[0].target_change.corrected is None


def test_rows_are_in_order_with_skills_and_likelihood_apart():
    scores = synthetic_scores()
    rows = summarize(build_scoreboard(scores, TASK, METHODS, synthetic_answers(scores)))
    assert [row.method for row in rows] == ["base", *METHODS]
    assert all(tuple(row.skills) == SKILLS and tuple(row.choices) == SKILLS[:1] for row in rows)
    for row in rows[1:]:
        changes = [change.mean for _, change in row.skills.values()]
        assert row.general_change.mean == pytest.approx(sum(changes) / len(changes))
        assert row.likelihood_change.mean == pytest.approx(row.choices[SKILLS[0]][1].mean)
        assert [one.over for one in row.target_change.parts] == ["seeds", "examples", "seeds and examples"]
        assert "paired bootstrap" in row.target_change.parts[1].rule and "Satterthwaite" in row.target_change.rule
        assert set(row.points) == set(SEEDS)


def test_without_skills_there_is_no_general_change():
    rows = summarize(build_scoreboard(synthetic_scores(seeds=(0,), skills=()), TASK, METHODS))
    values = summary_values(rows)
    for row in rows:
        assert row.general_change is None and row.likelihood_change is None and row.skills == {}
        nothing = values[row.method]["general_change"]
        assert nothing == {"mean": None, "low": None, "high": None, "interval": "no general skill was scored"}
    assert rows[1].points[0][0] == 0.0
    assert values["sft"]["general_likelihood_change"]["interval"] == "no skill was scored by likelihood"


def test_values_say_where_each_interval_comes_from():
    values = summary_values(small({0: 58, 1: 62}))
    assert list(values) == ["base", "sft"] and (values["base"]["seeds"], values["sft"]["seeds"]) == (0, 2)
    assert "Wilson" in values["base"]["target"]["interval"]
    assert values["sft"]["target_change"]["interval"] == "Student t over 2 seeds"
    assert values["sft"]["target_change"]["over_examples"]["over"] == "examples"
    assert "over_examples" not in values["sft"]["target"]
    assert values["sft"]["skills"]["facts"]["value"]["mean"] == 0.8
    assert values["sft"]["skills"]["facts"]["change"]["mean"] == pytest.approx(-0.1)


def test_values_between_right_and_wrong_have_their_own_spread():
    """TruthfulQA's mc2 gives shares of probability: Wilson's interval would be far too wide."""
    scores = [synthetic_score("base", None, TASK, "test", "accuracy", 30, 100)]
    items = {("base", None, "mc2"): {str(i): 0.4 + 0.2 * (i % 2) for i in range(100)}}
    scores.append(Score("base", None, "mc2", "general", "accuracy", 0.5, 100, 0.01))
    base = summarize(build_scoreboard(scores, TASK, (), items=items))[0]
    value, _ = base.skills["mc2"]
    assert (value.low, value.high) == pytest.approx((0.5 - 0.0196, 0.5 + 0.0196), abs=1e-4)
    assert "normal" in value.rule and "Wilson" in base.target.rule
