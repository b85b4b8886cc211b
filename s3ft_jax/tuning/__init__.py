"""Tuning: a run that survives a kill, watched and saved while it goes on.

In: a decoder taken apart, batches by step number, settings. Out: the checkpoint that is the tuned model.
"""

from s3ft_jax.tuning.metrics import TRACKERS, MetricsLog, TrackerError, check_trackers
from s3ft_jax.tuning.runs import RunSettings, Watcher, owes_look, tune
from s3ft_jax.tuning.saving import Saver, Saving, newest_whole, resume

__all__ = [
    "TRACKERS",
    "MetricsLog",
    "RunSettings",
    "Saver",
    "Saving",
    "TrackerError",
    "Watcher",
    "check_trackers",
    "newest_whole",
    "owes_look",
    "resume",
    "tune",
]
