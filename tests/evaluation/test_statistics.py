"""Statistics: agreement with scipy on the same numbers, and what noise does to them."""

import numpy as np
import pytest
from scipy import stats

from s3ft_jax.evaluation import statistics
from s3ft_jax.evaluation.statistics import (
    StatisticsError,
    both_interval,
    macro_mean,
    mean_interval,
    normal_interval,
    normal_quantile,
    paired_bootstrap,
    paired_difference,
    t_quantile,
    wilson_interval,
)


@pytest.mark.parametrize("degrees", [1, 2, 4, 30])
def test_t_quantile_is_scipys(degrees):
    assert t_quantile(0.975, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_normal_quantile_is_scipys():
    assert normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975), rel=1e-12)


@pytest.mark.parametrize("values", [[0.6, 0.7], [0.61, 0.58, 0.65], [0.1, 0.5, 0.2, 0.9, 0.4]])
def test_mean_interval_is_scipys(values):
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((np.mean(values), low, high))
    assert (interval.over, interval.count, interval.rule) == (
        "seeds",
        len(values),
        f"Student t over {len(values)} seeds",
    )


def test_one_seed_has_no_interval_over_seeds():
    with pytest.raises(StatisticsError, match=r"at least 2 seeds, found 1.*wilson_interval"):
        mean_interval([0.5])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(StatisticsError, match="finite numbers"):
        mean_interval([0.5, float("nan")])


@pytest.mark.parametrize(("right", "count"), [(0, 80), (80, 80), (41, 80), (1, 3), (560, 600)])
def test_wilson_is_scipys(right, count):
    interval = wilson_interval(right / count, count)
    expected = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert interval.low <= interval.mean <= interval.high


@pytest.mark.parametrize(("value", "count"), [(1.2, 10), (-0.1, 10), (0.5, 0)])
def test_wilson_refuses_what_is_no_fraction(value, count):
    with pytest.raises(StatisticsError, match="fraction"):
        wilson_interval(value, count)


def test_normal_interval_and_its_errors():
    interval = normal_interval(0.1, 0.02, 560)
    assert (interval.low, interval.high) == pytest.approx(stats.norm.interval(0.95, 0.1, 0.02))
    with pytest.raises(StatisticsError, match="standard error"):
        normal_interval(0.1, -1.0, 5)


def test_macro_mean_weighs_skills_alike_and_adds_variances():
    mean, stderr = macro_mean([0.9, 0.5, 0.7], [0.03, 0.04, 0.0])
    assert mean == pytest.approx(0.7)
    assert stderr == pytest.approx(0.05 / 3)
    with pytest.raises(StatisticsError, match="one stderr per skill"):
        macro_mean([0.9], [0.1, 0.1])


def test_macro_stderr_matches_simulation():
    random = np.random.default_rng(0)
    shares, counts = np.array([0.9, 0.6, 0.75]), np.array([80, 120, 200])
    draws = random.binomial(counts, shares, size=(20_000, 3)) / counts
    _, stderr = macro_mean(shares, np.sqrt(shares * (1 - shares) / counts))
    assert draws.mean(axis=1).std() == pytest.approx(stderr, rel=0.02)


def test_paired_difference_is_scipys_paired_t():
    first, second = {0: 0.61, 1: 0.66, 2: 0.63, 9: 0.1}, {2: 0.55, 1: 0.60, 0: 0.57, 7: 0.9}
    interval = paired_difference(first, second)
    expected = stats.ttest_rel([0.61, 0.66, 0.63], [0.57, 0.60, 0.55]).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert paired_difference({0: 0.5, 1: 0.7}, 0.4).mean == pytest.approx(0.2)


def test_paired_difference_without_shared_seeds_is_an_error():
    with pytest.raises(StatisticsError, match="at least 2 seeds"):
        paired_difference({0: 0.5, 1: 0.5}, {2: 0.5, 3: 0.5})


def test_paired_bootstrap_is_scipys_percentile_bootstrap():
    random = np.random.default_rng(3)
    first, second = random.random(300) < 0.7, random.random(300) < 0.6
    differences = first.astype(float) - second
    interval = paired_bootstrap(differences, seed=1)
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", vectorized=True, rng=np.random.default_rng(2)
    ).confidence_interval
    assert interval.mean == pytest.approx(differences.mean())
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_paired_bootstrap_is_the_same_for_the_same_seed_and_stratifies():
    random = np.random.default_rng(4)
    strata = [random.choice([-1.0, 0.0, 1.0], size=size) for size in (80, 40)]
    once, twice, other = (paired_bootstrap(strata, seed=seed) for seed in (5, 5, 6))
    assert once == twice
    assert once != other
    assert once.mean == pytest.approx(np.mean([stratum.mean() for stratum in strata]))
    stderr = np.sqrt(sum(stratum.var() / len(stratum) for stratum in strata)) / 2
    assert (once.high - once.low) / 2 == pytest.approx(1.96 * stderr, rel=0.05)
    assert once.count == 120


def test_paired_bootstrap_of_equal_models_has_no_width_and_p_one():
    interval = paired_bootstrap(np.zeros(50))
    assert (interval.mean, interval.low, interval.high, interval.p) == (0.0, 0.0, 0.0, 1.0)


def test_paired_bootstrap_needs_examples():
    with pytest.raises(StatisticsError, match="at least one skill"):
        paired_bootstrap([])
    with pytest.raises(StatisticsError, match="at least one example in each"):
        paired_bootstrap([np.zeros(3), np.zeros(0)])


def test_null_data_give_small_p_in_five_percent():
    random = np.random.default_rng(11)
    small = 0
    for number in range(2000):
        differences = random.choice([-1.0, 0.0, 1.0], size=300, p=[0.15, 0.7, 0.15])
        small += paired_bootstrap(differences, seed=number, resamples=1000).p < 0.05
    assert 0.04 <= small / 2000 <= 0.06


def test_t_interval_covers_the_truth_in_ninety_five_percent():
    random = np.random.default_rng(12)
    draws = random.normal(0.6, 0.02, size=(2000, 3))
    covered = sum(low <= 0.6 <= high for low, high in ((i.low, i.high) for i in map(mean_interval, draws)))
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def _draw(random, seeds, examples, spread):
    """Differences of two models of equal worth, [seeds, examples]: effects of seed and example, and noise."""
    win = 0.5 + spread * random.standard_normal((seeds, 1)) + 0.15 * random.standard_normal((1, examples))
    differ = random.random((seeds, examples)) < 0.4
    return differ * np.where(random.random((seeds, examples)) < np.clip(win, 0, 1), 1.0, -1.0)


@pytest.mark.parametrize(
    ("seeds", "spread", "least"), [(2, 0.0, 0.95), (3, 0.05, 0.95), (3, 0.15, 0.90), (5, 0.05, 0.95), (5, 0.15, 0.93)]
)
def test_intervals_over_seeds_and_examples_hold_the_truth_as_often_as_they_say(seeds, spread, least):
    """Where seeds differ, that over examples alone holds it far too rarely."""
    random = np.random.default_rng(8)
    held = alone = 0
    for _ in range(1000):
        table = _draw(random, seeds, 300, spread)
        found = both_interval(table.mean(axis=1), [table.mean(axis=0)])
        held += found.low <= 0 <= found.high
        half = 1.96 * table.mean(axis=0).std(ddof=1) / np.sqrt(300)
        alone += abs(table.mean()) <= half
    assert least - 0.015 <= held / 1000 <= 1.0, held / 1000
    assert alone / 1000 < 0.75 or spread < 0.15


def test_an_interval_over_both_by_hand():
    found = both_interval([0.1, 0.3], [np.array([0.0, 0.4, 0.2, 0.2]), np.array([0.2, 0.2])])
    seeds, examples = 0.01, 0.08 / 3 / 4 / 4
    total = seeds + examples
    degrees = total**2 / (seeds**2 / 1 + examples**2 / 3)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(total)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    assert (found.over, found.count) == ("seeds and examples", 2) and "6 examples" in found.rule
    same = both_interval([0.5, 0.5], [np.full(4, 0.5)])
    assert (same.low, same.high) == (0.5, 0.5)


@pytest.mark.parametrize("given", [([0.1], [np.ones(3)]), ([0.1, 0.2], []), ([0.1, 0.2], [np.ones(1)])])
def test_an_interval_over_both_needs_two_of_each(given):
    with pytest.raises(StatisticsError, match="at least 2 of each"):
        both_interval(*given)


def test_wilson_is_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    for right, count in ((0, 80), (41, 80), (560, 600)):
        found = wilson_interval(right / count, count)
        assert (found.low, found.high) == pytest.approx(proportion_confint(right, count, method="wilson"), abs=1e-9)


def test_a_bootstrap_of_many_different_values_draws_in_parts_what_it_would_draw_at_once(monkeypatch):
    values = np.random.default_rng(0).uniform(-1, 1, 70)
    whole = paired_bootstrap([values, values[:9]], resamples=1000)
    monkeypatch.setattr(statistics, "_DRAWN", 640)
    assert paired_bootstrap([values, values[:9]], resamples=1000) == whole


def test_many_different_values_are_resampled_as_few_are():
    """Drawn one by one above ``_FEW`` distinct values; as scipy's bootstrap of the same values says."""
    values = np.random.default_rng(3).normal(0.03, 0.4, 150)
    rounded = np.round(values, 1)
    assert len(np.unique(rounded)) < statistics._FEW < len(np.unique(values))
    for some in (values, rounded):
        ours = paired_bootstrap(some)
        theirs = stats.bootstrap((some,), np.mean, method="percentile", n_resamples=10_000, rng=1)
        assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.004)
        assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.004)
