"""Scoring: how likely a model finds given responses. Used by choice tasks, likeliest pick, histograms and the KL meter.

In: parameters, prompt ids and response ids. Out: the log-probability of every response token, and whether greedy
decoding would have said it. No text.
"""

from s3ft_jax.scoring.scorer import Scored, Scorer, ScoringError

__all__ = ["Scored", "Scorer", "ScoringError"]
