"""Tests of two models on the same examples: how likely a difference is by chance, and how small a one could be seen.

In: values per example, or p-values. Out: p-values and differences. Beside the paired bootstrap of statistics.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from s3ft_jax.evaluation.statistics import (
    LEVEL,
    RESAMPLES,
    StatisticsError,
    normal_quantile,
    paired_bootstrap,
    variance_of_mean,
)

POWER = 0.8


def mcnemar(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """McNemar's test, mid-p: whether two models that disagree are right equally often.

    Only the examples count on which one is right and the other wrong. With b of n such examples won by the first, and
    k = min(b, n - b), p = 2 P(X < k) + P(X = k) for X of the binomial distribution (n, 1/2); 1 - P(X = k) / 2 where
    b = n - b (Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91, who found the exact test
    conservative and this one not).

        first    1 1 1 0 1        b = 2 (examples 2 and 5), n = 3
        second   1 0 1 1 0        k = 1: p = 2 * 1/8 + 3/8 = 0.625

    Args:
      first, second: right (1) or not (0) on the same examples, in the same order.

    Returns:
      Two-sided p in (0, 1]; 1 where they never disagree.

    Raises:
      StatisticsError: different lengths, or values that are neither 0 nor 1.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape or one.ndim != 1 or not np.isin(np.concatenate([one, other]), (0.0, 1.0)).all():
        raise StatisticsError("McNemar's test needs two lists of 0 and 1 of one length")
    from scipy.special import bdtr

    won, count = int(((one == 1) & (other == 0)).sum()), int((one != other).sum())
    least = min(won, count - won)
    if not count:
        return 1.0
    below = float(bdtr(least - 1, count, 0.5)) if least else 0.0
    at = float(bdtr(least, count, 0.5)) - below
    return 1.0 - at / 2 if 2 * won == count else 2 * below + at


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are (Holm 1979, Scandinavian Journal of Statistics 6, p. 65).

    The k-th smallest of m is multiplied by m - k + 1, and none may be smaller than one that was smaller before.

        p          0.01  0.04  0.03        adjusted   0.03  0.06  0.06

    Returns:
      In the order given, at most 1 each. Whatever is below 0.05 then holds with all others at 5 % risk of one error.
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def paired_t(strata: Sequence[np.ndarray], per_seed: Sequence[float] = ()) -> float:
    """Two-sided p of a mean difference against the noise of tuning seeds and of examples together.

    Student's t with the variance and the degrees of freedom of ``statistics.both_interval``; of one seed over examples
    alone, the paired t test. Unlike the bootstrap's its tail is not too thin where few examples differ: of 120 with 10
    that all speak for one model p is 0.001 as McNemar's, the bootstrap's 0.0001. Where nothing varies t is infinite;
    p is then the sign test's, 2 ** (1 - N) of N examples.

    Args:
      strata: per skill the differences of two models, one per example, seeds averaged.
      per_seed: the difference of each seed.

    Returns:
      p in [0, 1]; 1 with a single example in a skill, of which nothing can be said.

    Raises:
      StatisticsError: no skill, or a skill without examples.
    """
    _check(strata)
    mean = sum(float(np.mean(one)) for one in strata) / len(strata)
    if min(map(len, strata)) < 2 or not mean:
        return 1.0
    variance, degrees = variance_of_mean(per_seed, strata)
    if not variance:
        return 2.0 ** (1 - sum(map(len, strata)))
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(mean) / math.sqrt(variance)))


def paired_p(
    strata: Sequence[np.ndarray], per_seed: Sequence[float] = (), *, seed: int = 0, resamples: int = RESAMPLES
) -> float:
    """The p that the report prints: the larger of the paired bootstrap's over examples, seeds averaged, and Student's t
    over seeds and examples together, so that no source of noise is left out.

    Of null data at most 5 % are below 0.05; where two or three seeds differ by more than examples do, up to 8 %, since
    so few do not tell by how much (tests/evaluation/test_comparisons.py).

    Args:
      strata, per_seed: as for ``paired_t``.
      seed, resamples: of the bootstrap.

    Raises:
      StatisticsError: no skill, or a skill without examples.
    """
    return max(paired_bootstrap(strata, seed=seed, resamples=resamples).p, paired_t(strata, per_seed))


def detectable(
    strata: Sequence[np.ndarray], per_seed: Sequence[float] = (), *, level: float = LEVEL, power: float = POWER
) -> float:
    """The smallest true difference that a paired test of these examples and seeds would find with this power.

    (z(level) + z(power)) * standard error of the mean difference (e.g. Rosner, Fundamentals of Biostatistics, section
    8.10), several skills averaged with equal weight, the standard error as in ``paired_t``.

    Args:
      strata, per_seed: as for ``paired_t``.
      level: of the interval that must exclude zero; with m comparisons corrected by Holm's rule 1 - 0.05 / m, for the
        first of them to be found.

    Returns:
      A fraction; NaN with a single example, or where nothing varies: nothing can be said of it.

    Raises:
      StatisticsError: no skill, or a skill without examples.
    """
    _check(strata)
    variance = variance_of_mean(per_seed, strata)[0] if min(map(len, strata)) > 1 else 0.0
    factor = normal_quantile(0.5 + level / 2) + normal_quantile(power)
    return factor * math.sqrt(variance) if variance else math.nan


def _check(strata: Sequence[np.ndarray]) -> None:
    if not strata or any(len(stratum) == 0 for stratum in strata):
        raise StatisticsError("a test needs at least one skill, and at least one example in each")
