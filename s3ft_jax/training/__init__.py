"""Fine-tuning: optimizers and schedules, one jitted step, and the loop around it.

In: a decoder, batches. Out: a state whose trainable part has learnt, and one row of metrics per step.
"""

from s3ft_jax.training.loop import TrainingDiverged, fit, made_ahead
from s3ft_jax.training.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, OptimizerError, Schedule
from s3ft_jax.training.steps import (
    Parts,
    TrainState,
    first_state,
    make_probe,
    make_step,
    shrink_base,
    split_micro,
    start,
    take_apart,
)

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Optimizer",
    "OptimizerError",
    "Parts",
    "Schedule",
    "TrainState",
    "TrainingDiverged",
    "first_state",
    "fit",
    "made_ahead",
    "make_probe",
    "make_step",
    "shrink_base",
    "split_micro",
    "start",
    "take_apart",
]
