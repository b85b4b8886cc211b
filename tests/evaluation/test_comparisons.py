"""Tests of pairs against scipy, and by simulation: their errors are as frequent as they say."""

import numpy as np
import pytest
import scipy.stats

from s3ft_jax.evaluation.comparisons import detectable, holm, mcnemar, paired_p, paired_t
from s3ft_jax.evaluation.statistics import StatisticsError, both_interval, paired_bootstrap

NULL_RUNS = 8000
REPORT_RUNS = 2000


def test_mcnemar_is_the_binomial_test_less_half_of_its_last_step():
    random = np.random.default_rng(0)
    for size in (5, 40, 300):
        first, second = random.integers(0, 2, size), random.integers(0, 2, size)
        won, lost = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
        exact = scipy.stats.binomtest(won, won + lost).pvalue
        last = scipy.stats.binom.pmf(min(won, lost), won + lost, 0.5)
        expected = exact - (last if won != lost else last / 2)
        assert mcnemar(first, second) == pytest.approx(expected, abs=1e-12)
    assert mcnemar([1, 1, 1, 0, 1], [1, 0, 1, 1, 0]) == pytest.approx(0.625)
    assert mcnemar([1, 0], [1, 0]) == 1.0
    assert mcnemar([1] * 10, [0] * 10) == pytest.approx(2**-10)


def test_mcnemar_and_holm_are_statsmodels():
    """Whose exact test is ours with the last step whole; whose corrected p-values are ours."""
    from statsmodels.stats.contingency_tables import mcnemar as theirs
    from statsmodels.stats.multitest import multipletests

    random = np.random.default_rng(7)
    for size in (30, 200):
        first, second = random.integers(0, 2, size), random.random(size) < 0.4
        table = [[int(((first == a) & (second == b)).sum()) for b in (1, 0)] for a in (1, 0)]
        won, lost = table[0][1], table[1][0]
        last = scipy.stats.binom.pmf(min(won, lost), won + lost, 0.5)
        assert won != lost and mcnemar(first, second) == pytest.approx(theirs(table, exact=True).pvalue - last)
    values = random.uniform(size=40) ** 2
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


@pytest.mark.parametrize(("first", "second"), [([1, 0], [1]), ([0.5], [1.0]), ([[1]], [[0]])])
def test_mcnemar_takes_right_or_wrong_alone(first, second):
    with pytest.raises(StatisticsError, match="0 and 1"):
        mcnemar(first, second)


def test_holm_by_hand_and_in_the_order_given():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]
    random = np.random.default_rng(1)
    values = random.uniform(size=50)
    adjusted = np.array(holm(values))
    assert (adjusted >= values).all() and (np.diff(adjusted[np.argsort(values)]) >= 0).all()


def _null(random, size, agree):
    """Two models of the same accuracy that agree on most examples."""
    first = random.random(size) < 0.6
    fresh = random.random(size) < 0.6
    return first.astype(float), np.where(random.random(size) < agree, first, fresh).astype(float)


def test_on_null_data_five_percent_are_below_five_percent():
    """p < 0.05 in 5 +- 1 % of the runs, for the bootstrap and for McNemar."""
    random = np.random.default_rng(2)
    below = {"bootstrap": 0, "mcnemar": 0}
    for _ in range(NULL_RUNS):
        first, second = _null(random, 400, 0.5)
        below["mcnemar"] += mcnemar(first, second) < 0.05
        below["bootstrap"] += (
            paired_bootstrap(first - second, seed=int(random.integers(2**31)), resamples=1000).p < 0.05
        )
    for name, count in below.items():
        assert 0.04 <= count / NULL_RUNS <= 0.06, (name, count)


def test_the_bootstrap_agrees_with_scipys_on_the_same_data():
    random = np.random.default_rng(3)
    first, second = _null(random, 500, 0.7)
    first[:30] = 1.0
    ours = paired_bootstrap(first - second, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (first - second,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    t_test = scipy.stats.ttest_rel(first, second).pvalue
    assert ours.p == pytest.approx(t_test, abs=0.01)


def test_a_difference_that_is_said_to_be_detectable_is_found_four_times_in_five():
    random = np.random.default_rng(5)
    first, second = _null(random, 600, 0.5)
    size = detectable([first - second])
    assert 0.04 < size < 0.12
    found = 0
    for _ in range(400):
        one, other = _null(random, 600, 0.5)
        # as many wrong answers of the first become right as make up the difference
        wrong = np.flatnonzero(one == 0)
        one[random.permutation(wrong)[: round(size * 600)]] = 1.0
        found += mcnemar(one, other) < 0.05
    assert 0.74 <= found / 400 <= 0.92
    both = detectable([first - second, first - second])
    assert both == pytest.approx(size / np.sqrt(2))
    assert np.isnan(detectable([np.array([1.0])]))
    with pytest.raises(StatisticsError):
        detectable([])


def test_paired_t_is_scipys_where_there_is_one_seed_and_the_interval_over_both_where_there_are_more():
    random = np.random.default_rng(6)
    differences = random.integers(-1, 2, 50) + 0.2
    assert paired_t([differences]) == pytest.approx(scipy.stats.ttest_1samp(differences, 0.0).pvalue)
    assert paired_t([differences], [0.3]) == paired_t([differences])
    for spread in (0.01, 0.1, 0.3):
        seeds = 0.2 + spread * np.array([-1.0, 0.5, 0.0, 0.5])
        strata = [differences - differences.mean() + 0.2, random.choice([0.0, 0.4], 30)]
        strata[1] += 0.2 - strata[1].mean()
        p = paired_t(strata, seeds)
        at = both_interval(seeds, strata, level=1 - p)
        assert min(abs(at.low), abs(at.high)) == pytest.approx(0.0, abs=1e-9), "the interval that just reaches zero"


def test_paired_t_does_not_trust_few_examples_as_the_bootstrap_does():
    ten = np.array([1.0] * 10 + [0.0] * 110)
    assert paired_bootstrap(ten).p < 2e-4 < 1e-3 < paired_t([ten]) < 2e-3
    assert mcnemar(ten, 0 * ten) == pytest.approx(paired_t([ten]), abs=1e-3)
    assert paired_t([np.ones(2)]) == 0.5 and paired_t([np.ones(600)]) < 1e-100, "nothing varies: the sign test"
    assert paired_t([np.zeros(9)]) == 1.0 and paired_t([np.ones(1)]) == 1.0
    with pytest.raises(StatisticsError):
        paired_t([])


@pytest.mark.parametrize(
    ("seeds", "spread", "most"),
    [(1, 0.0, 0.06), (5, 0.0, 0.06), (5, 0.1, 0.06), (3, 0.1, 0.09)],
)
def test_the_p_of_the_report_rejects_null_data_no_more_often_than_it_says(seeds, spread, most):
    """Two models of one accuracy: questions that are easy for one, seeds that are good; p < 0.05 in at most 5 + 1 %.

    With three seeds that differ by more than examples do, in more: so few do not tell by how much.
    """
    random, below = np.random.default_rng(10), 0
    for _ in range(REPORT_RUNS):
        ease = 0.25 * random.standard_normal((1, 1, 200)) + 0.12 * random.standard_normal((2, 1, 200))
        right = random.random((2, seeds, 200)) < 0.6 + ease + spread * random.standard_normal((2, seeds, 1))
        differences = right[0].astype(float) - right[1]
        strata, per_seed = [np.round(differences.mean(axis=0), 12)], differences.mean(axis=1)
        below += paired_p(strata, per_seed, seed=int(random.integers(2**31)), resamples=500) < 0.05
    assert below / REPORT_RUNS <= most, below


def test_the_p_of_the_report_is_the_larger_of_two():
    random = np.random.default_rng(11)
    differences = random.choice([-1.0, 0.0, 1.0, 1.0], 200)
    for seeds in ([], [0.2, 0.3, 0.25], [0.9, -0.5, 0.35]):
        p = paired_p([differences], seeds, seed=3, resamples=700)
        assert p == max(paired_bootstrap(differences, seed=3, resamples=700).p, paired_t([differences], seeds))


def test_among_many_null_comparisons_whose_seeds_differ_few_are_called_sure():
    """The bootstrap over examples alone, corrected, calls one in most reports: seeds differ by more than examples."""
    random, runs, lines = np.random.default_rng(8), 300, 28
    wrong = {"bootstrap": 0, "both": 0}
    for _ in range(runs):
        examples, both = [], []
        for _ in range(lines):
            seeds = 0.05 * random.standard_normal(5)
            differences = random.choice([-1.0, 0.0, 0.0, 0.0, 1.0], 600) + seeds.mean()
            examples.append(scipy.stats.ttest_1samp(differences, 0.0).pvalue)
            both.append(paired_t([differences], seeds - seeds.mean() + differences.mean()))
        wrong["bootstrap"] += min(holm(examples)) < 0.05
        wrong["both"] += min(holm(both)) < 0.05
    assert wrong["both"] / runs < 0.09 < 0.3 < wrong["bootstrap"] / runs, wrong


def test_what_can_be_seen_counts_seeds_and_the_correction():
    differences = np.random.default_rng(9).choice([-1.0, 0.0, 0.0, 1.0], 400)
    one = detectable([differences])
    assert detectable([differences], [0.1]) == one < detectable([differences], [0.1, -0.1])
    assert detectable([differences], level=1 - 0.05 / 324) == pytest.approx(one * 1.65, rel=0.02)
    assert np.isnan(detectable([np.zeros(120)])), "equal answers do not show that any difference would be seen"
