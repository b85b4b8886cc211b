"""The statistics of the evaluation room: how sure one can be of a mean, a difference and a macro mean.

In: plain fractions, one per seed or one per example. Out: ``Interval`` values with the rule that made them in words.

There are two sources of noise, first each by itself, then both:

* *over seeds*: the same test examples, another tuning run. Student's t on the values of the seeds.
* *over examples*: the same tuned models, other test examples. Wilson for one fraction, the paired bootstrap for a
  difference of two models on the same examples.
* *over seeds and examples*: another tuning run and other test examples.

Every interval is two-sided and, unless told otherwise, at level 0.95.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
_DRAWN = 4_000_000
"""Numbers that the bootstrap holds at a time: 32 MB."""
_FEW = 64
"""Distinct values up to which a bootstrap draws how often each comes; of more, examples are drawn one by one, which is
13 times as fast at 5,000 of them."""


class StatisticsError(ValueError):
    """The numbers given cannot carry the interval asked for. The message says which and what is needed."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with its two-sided interval.

    Attributes:
      mean: the estimate itself, in the unit of the input (fractions here).
      low, high: the ends of the interval; low <= high.
      over: what varies: ``seeds``, ``examples`` or ``seeds and examples``.
      count: how many seeds or examples stand behind it; of both, the seeds.
      rule: the rule in words, for people.
      p: two-sided p-value against a mean of zero where the rule gives one, else None.
    """

    mean: float
    low: float
    high: float
    over: str
    count: int
    rule: str
    p: float | None = None


def t_quantile(probability: float, degrees: float) -> float:
    """The quantile of Student's t distribution, e.g. 12.706 for probability 0.975 and 1 degree of freedom.

    From ``scipy.special.stdtrit`` (scipy is a dependency of JAX).
    """
    from scipy.special import stdtrit  # lazily: only reports need it

    return float(stdtrit(degrees, probability))


def normal_quantile(probability: float) -> float:
    """The standard normal quantile, e.g. 1.95996 for probability 0.975 (``scipy.special.ndtri``)."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def mean_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """The mean over seeds and its Student t interval: mean +- t(n-1) * s / sqrt(n).

    ``s`` is the sample standard deviation with n-1 in the denominator (Student 1908, Biometrika 6, p. 1). With two
    seeds the factor t is 12.7, so the interval is wide; that is the price of two seeds and not an error.

    Args:
      values: one value per seed, at least two.

    Raises:
      StatisticsError: fewer than two values, or a value that is not finite.
    """
    array = _finite(values, "a mean over seeds")
    count = len(array)
    if count < 2:
        raise StatisticsError(
            f"an interval over seeds needs at least 2 seeds, found {count}. "
            "Use wilson_interval or normal_interval (over examples), or run more seeds."
        )
    mean = float(array.mean())
    half = t_quantile(0.5 + level / 2, count - 1) * float(array.std(ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, "seeds", count, f"Student t over {count} seeds")


def wilson_interval(value: float, count: int, *, level: float = LEVEL) -> Interval:
    """The Wilson score interval of one fraction over examples; used when there is one seed, and for the base.

    Formula (Wilson 1927, JASA 22, p. 209), with z the normal quantile, p the fraction and n the count::

        centre = (p + z^2 / 2n) / (1 + z^2 / n)
        half   = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2)

    Unlike p +- z * stderr it stays inside [0, 1] and does not collapse at 0 or 1.

    Raises:
      StatisticsError: count below 1, or a value outside [0, 1].
    """
    if count < 1 or not 0.0 <= value <= 1.0:
        raise StatisticsError(f"a fraction in [0, 1] of at least 1 example is needed, found {value} of {count}.")
    z = normal_quantile(0.5 + level / 2)
    scale = 1 + z * z / count
    centre = (value + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(value * (1 - value) / count + z * z / (4 * count * count))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(value, min(low, value), max(high, value), "examples", count, f"Wilson over {count} examples")


def normal_interval(value: float, stderr: float, count: int, *, level: float = LEVEL) -> Interval:
    """value +- z * stderr over examples, for macro means and differences whose standard error is known.

    Args:
      value: the estimate.
      stderr: its standard error, >= 0.
      count: examples behind it, for people.
    """
    if not (math.isfinite(value) and math.isfinite(stderr)) or stderr < 0:
        raise StatisticsError(f"a finite value and a standard error >= 0 are needed, found {value} and {stderr}.")
    half = normal_quantile(0.5 + level / 2) * stderr
    return Interval(value, value - half, value + half, "examples", count, f"normal over {count} examples, unpaired")


def macro_mean(values: Sequence[float], stderrs: Sequence[float]) -> tuple[float, float]:
    """The mean over skills, each with the same weight, and its standard error over examples.

    Skills share no examples, so var(mean) = sum(stderr_k^2) / K^2.

    Args:
      values: one fraction per skill, K >= 1.
      stderrs: the standard error of each, same length.

    Returns:
      (mean, standard error of the mean).
    """
    array, errors = _finite(values, "a macro mean"), _finite(stderrs, "the standard errors of a macro mean")
    if len(array) == 0 or len(array) != len(errors):
        raise StatisticsError(f"a macro mean needs one stderr per skill, found {len(array)} and {len(errors)}.")
    return float(array.mean()), float(np.sqrt((errors**2).sum()) / len(array))


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float] | float, *, level: float = LEVEL
) -> Interval:
    """The mean over seeds of first - second, paired by seed, with its Student t interval.

    Args:
      first: seed -> value.
      second: seed -> value of the other method (the seeds both have are used), or one number for all seeds (the base,
        which has no seed).

    Raises:
      StatisticsError: fewer than two seeds in common.
    """
    if isinstance(second, Mapping):
        seeds = sorted(set(first) & set(second))
        differences = [first[seed] - second[seed] for seed in seeds]
    else:
        differences = [first[seed] - second for seed in sorted(first)]
    return mean_interval(differences, level=level)


def both_interval(per_seed: Sequence[float], strata: Sequence[np.ndarray], *, level: float = LEVEL) -> Interval:
    """The mean over seeds and examples of a difference, with the noise of both: another tuning, other test examples.

    For a value that is a mean plus an effect of the example, one of the seed and a rest, the variance of the mean over
    N examples and S seeds is var_example / N + var_seed / S + var_rest / (N S). The spread of the seeds' means tells
    the last two of these, that of the examples' means the first and the last, so their sum is too large by the last
    one; it is taken as it is, and errs on the safe side (as the pigeonhole bootstrap does: Owen 2007, Annals of Applied
    Statistics 1, p. 386). Student's t with the degrees of freedom of Satterthwaite (1946, Biometrics Bulletin 2,
    p. 110).

    Where seeds differ more than examples do, two or three seeds are too few to know by how much, and 95 % intervals
    hold the truth in 90 to 95 %; with five seeds, and else, in 95 to 99 % (tests/evaluation/test_statistics.py).

    Args:
      per_seed: the difference of each seed, at least two.
      strata: per skill the difference of each example, seeds averaged, as for ``paired_bootstrap``.

    Raises:
      StatisticsError: fewer than two seeds, no skill, or a skill with fewer than two examples.
    """
    values = _finite(per_seed, "an interval over seeds and examples")
    if len(values) < 2 or not strata or min(map(len, strata)) < 2:
        raise StatisticsError("an interval over seeds and examples needs at least 2 of each")
    variance, degrees = variance_of_mean(values, strata)
    half, mean = t_quantile(0.5 + level / 2, degrees) * math.sqrt(variance) if variance else 0.0, float(values.mean())
    rule = f"t over {len(values)} seeds and {sum(map(len, strata))} examples, Satterthwaite"
    return Interval(mean, mean - half, mean + half, "seeds and examples", len(values), rule)


def variance_of_mean(per_seed: Sequence[float], strata: Sequence[np.ndarray]) -> tuple[float, float]:
    """Variance of a mean difference over seeds and examples, and Satterthwaite's degrees of freedom: ``both_interval``.

    Of a single seed, or without any, that over examples alone.

    Args:
      per_seed: the difference of each seed.
      strata: per skill the difference of each example, at least two of them.

    Returns:
      (variance, degrees of freedom); (0, infinity) where nothing varies.
    """
    values, arrays = np.asarray(per_seed, np.float64), [np.asarray(one, np.float64) for one in strata]
    parts = [(float(one.var(ddof=1)) / len(one) / len(arrays) ** 2, len(one) - 1) for one in arrays]
    parts += [(float(values.var(ddof=1)) / len(values), len(values) - 1)] if len(values) > 1 else []
    total, least = sum(part for part, _ in parts), sum(part**2 / degrees for part, degrees in parts)
    return (total, total**2 / least) if least else (0.0, math.inf)


def paired_bootstrap(
    differences: Sequence[np.ndarray] | np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The paired bootstrap over examples of the difference of two models on the same examples.

    Each resample draws as many examples as there are, with replacement, and takes the mean difference; the interval is
    the percentile interval of these means (Efron and Tibshirani 1993, chapter 13; Koehn 2004, W04-3250, for comparing
    two systems on the same examples). Several skills are resampled each on its own and averaged with equal weight.

    Worked example, one skill, four examples::

        first        1  0  1  1        right answers of model A
        second       1  0  0  1        right answers of model B
        difference   0  0  1  0        mean 0.25; a resample draws four of these four

    Args:
      differences: one array f64 [N_k] per skill k (or one array), each value in [-1, 1].
      seed: of the resampling; the same seed gives the same interval.
      resamples: number of resamples.

    Returns:
      The interval over examples; ``p`` is twice the smaller share of resamples beyond zero, of those at zero one half,
      with one added to numerator and denominator so that it is never 0 (Davison and Hinkley 1997, section 4.2). All of
      those at zero would make a test of right and wrong answers, where they are frequent, too cautious: 3.9 % of null
      data below 0.05 in place of 5 % (tests/evaluation/test_comparisons.py).

    Raises:
      StatisticsError: no skill, or a skill without examples.
    """
    strata = [differences] if isinstance(differences, np.ndarray) else list(differences)
    if not strata or any(len(stratum) == 0 for stratum in strata):
        raise StatisticsError("a paired bootstrap needs at least one skill, and at least one example in each.")
    random = np.random.default_rng(seed)
    means = np.zeros(resamples)
    estimate = 0.0
    for stratum in strata:
        array = _finite(stratum, "a paired bootstrap")
        draw, width = _drawing(array, random)
        rows = max(1, _DRAWN // width)
        for first in range(0, resamples, rows):  # the same draws as all at once, which many F1 values have no room for
            part = means[first : first + rows]
            part += draw(len(part)) / len(strata)
        estimate += float(array.mean()) / len(strata)
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    smaller = min(int((means < 0).sum()), int((means > 0).sum())) + int((means == 0).sum()) / 2
    p = min(1.0, 2 * (smaller + 1) / (resamples + 1))
    count = sum(len(stratum) for stratum in strata)
    rule = f"paired bootstrap over {count} examples"
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), "examples", count, rule, p)


def _drawing(array: np.ndarray, random: np.random.Generator) -> tuple[Callable[[int], np.ndarray], int]:
    """What gives the means of so many resamples of ``array``, and how many numbers it draws for each."""
    size = len(array)
    # drawing N examples with replacement is one multinomial draw over the distinct differences, of right and wrong
    # answers a handful: the distribution is the same and the cost does not grow with N
    distinct, counts = np.unique(array, return_counts=True)
    if len(distinct) <= _FEW:
        return lambda count: random.multinomial(size, counts / size, size=count) @ distinct / size, len(distinct)
    return lambda count: array[(random.random((count, size)) * size).astype(np.intp)].mean(axis=1), size


def _finite(values: Sequence[float] | np.ndarray, purpose: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise StatisticsError(f"{purpose} needs a list of finite numbers, found {values!r}.")
    return array
