"""The evaluation room: verdicts and choice log-probabilities become scores, and scores become intervals.

In: verdicts of the judges, log-probabilities of the choices. Out: ``Score`` and ``Interval`` values.
"""

from s3ft_jax.evaluation.scores import ACCURACY, ScoreError, score_choices, score_verdicts
from s3ft_jax.evaluation.statistics import (
    Interval,
    StatisticsError,
    both_interval,
    macro_mean,
    mean_interval,
    normal_interval,
    paired_bootstrap,
    paired_difference,
    wilson_interval,
)

__all__ = [
    "ACCURACY",
    "Interval",
    "ScoreError",
    "StatisticsError",
    "both_interval",
    "macro_mean",
    "mean_interval",
    "normal_interval",
    "paired_bootstrap",
    "paired_difference",
    "score_choices",
    "score_verdicts",
    "wilson_interval",
]
