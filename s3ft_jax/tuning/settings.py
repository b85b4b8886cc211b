"""How a run goes, as data: what ``tuning.tune`` is told beside the model and the batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from s3ft_jax import training


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """A run.

    Attributes:
      title: shown beside the bar.
      optimizer, schedule: how parameters move.
      seed: of adapter dropout.
      num_steps: steps of the run; may be fewer than the schedule is made for.
      save_every: steps between checkpoints; the last step is always saved.
      keep: newest checkpoints kept while the run goes on; at its end the last one.
      keep_best: number by which the best checkpoint is kept too, e.g. ``validation_loss``; empty: none is.
      max_skipped: steps in a row that may fail.
      step: further arguments of ``training.make_step``.
      provenance: kept in the checkpoint.
      tokenizer: folder of the tokenizer's files, copied into each checkpoint; None: none is.
      base_digest: of the frozen base, where not all parameters are trained; a checkpoint of another base is refused.
      describe: step number -> the examples it trains on, for messages.
      trackers: names, see ``metrics.open_trackers``. project: for Weights & Biases.
      flops_per_token: of a training step, for the model FLOP utilisation shown; 0: not shown.
      peak_flops: of all chips together, a second; 0: not known.
    """

    title: str
    optimizer: training.Optimizer
    schedule: training.Schedule
    seed: int
    num_steps: int
    save_every: int
    keep: int = 2
    keep_best: str = ""
    max_skipped: int = 10
    step: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokenizer: epath.Path | None = None
    base_digest: str = ""
    describe: Callable[[int], str] = lambda number: ""
    trackers: tuple[str, ...] = ()
    project: str = "s3ft"
    flops_per_token: float = 0.0
    peak_flops: float = 0.0
