"""How parameters move: an optax optimizer by name, and the learning rate of each step.

The rate is no part of an optimizer's program: a schedule is asked on the host and the step takes the rate as a number,
so that another rate or another length of the run compiles nothing.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers

SCHEDULES = ("linear", "cosine", "constant")
MATRICES = ("*kernel*", "*embedding*", "*head*", "*positions*", "*lora_a*", "*lora_b*", "*experts*")
"""What weight decay acts on unless told otherwise: everything but norms and biases."""
_STACKED = "blocks."
"""Muon is for matrices between hidden layers; embeddings and the output matrix are AdamW's."""


class OptimizerError(ValueError):
    """An optimizer, a schedule or a pattern of parameters that cannot be. The message names the config key."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate: it rises, stays, then falls.

    Attributes:
      learning_rate: peak.
      num_steps: length of the run; the schedule ends with it.
      shape: how it falls after warm-up and flat part: linear, cosine, or constant (not at all).
      warmup_frac: share of the steps over which the rate rises linearly from 0.
      flat_frac: share of the steps, after warm-up, that stay at the peak.
      final_frac: rate that it falls to, as a share of the peak: that of the step after the last one, as in
        transformers' schedules.
    """

    learning_rate: float
    num_steps: int
    shape: str = "linear"
    warmup_frac: float = 0.1
    flat_frac: float = 0.0
    final_frac: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in SCHEDULES:
            raise OptimizerError(f"train.schedule = {self.shape!r}; choose from {', '.join(SCHEDULES)}")

    def rate(self, step: int) -> np.float32:
        """Of the step after ``step`` others; the first already has a positive rate."""
        warmup = max(1, round(self.warmup_frac * self.num_steps))
        flat = round(self.flat_frac * self.num_steps)
        if step < warmup:
            share = (step + 1) / warmup
        elif self.shape == "constant" or step < warmup + flat:
            share = 1.0
        else:
            done = min(1.0, (step - warmup - flat) / max(1, self.num_steps - warmup - flat))
            left = 1.0 - done if self.shape == "linear" else (1.0 + math.cos(math.pi * done)) / 2.0
            share = self.final_frac + (1.0 - self.final_frac) * left
        return np.float32(self.learning_rate * share)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optimizer as data; static, so a part of the step's key.

    Attributes:
      name: a key of ``OPTIMIZERS``.
      b1, b2, eps: moments, for those that have them; muon's own momentum is 0.95, these are its AdamW's.
      weight_decay: times the learning rate and the parameter, for every optimizer alike.
      decay_on: patterns of the parameters that decay, e.g. ``blocks.*.kernel``; empty: ``MATRICES``.
      clip_norm: gradients are scaled down to this global norm; 0 switches it off.
      ema_decay: of an exponential moving average of the parameters, e.g. 0.999; 0: none is kept.
    """

    name: str = "adamw"
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_on: tuple[str, ...] = ()
    clip_norm: float = 1.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise OptimizerError(f"train.optimizer = {self.name!r}; choose from {', '.join(OPTIMIZERS)}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise OptimizerError(f"train.ema_decay = {self.ema_decay}; it is a share, at least 0 and below 1")

    def transform(self) -> optax.GradientTransformation:
        """The optax chain, at a learning rate of 1: its updates are to be multiplied by the rate."""
        clip = optax.clip_by_global_norm(self.clip_norm) if self.clip_norm > 0 else optax.identity()
        # after the optimizer, whose updates are to be added: decay is the same thing for each of them
        decay = optax.add_decayed_weights(-self.weight_decay, self.decays) if self.weight_decay else optax.identity()
        return optax.chain(clip, OPTIMIZERS[self.name](self), decay)

    def check_decay(self, params: Any) -> None:
        """Refuse a pattern of ``decay_on`` that is of no parameter which learns.

        Raises:
          OptimizerError: names it, and the parameters.
        """
        names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        for pattern in self.decay_on:
            if not any(matches(name, [pattern]) for name in names):
                raise OptimizerError(f"train.decay_on: {pattern!r} names none of what learns: {', '.join(names)}")

    def decays(self, params: Any) -> Any:
        """Tree of bools: which parameters decay."""
        return select(params, self.decay_on or MATRICES)


def select(params: Any, patterns: Sequence[str]) -> Any:
    """Tree of bools: which parameters' paths match one of the patterns (``*`` and ``?`` as in file names)."""
    return jax.tree.map_with_path(lambda path, _: matches(path_name(path), patterns), params)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a dotted path matches one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def path_name(path: Sequence[Any]) -> str:
    """A parameter's dotted path, e.g. ``blocks.q.kernel``, whatever kind of keys JAX or NNX give."""
    parts = [getattr(part, "key", getattr(part, "name", getattr(part, "idx", part))) for part in path]
    return ".".join(str(part) for part in parts if part != "value")


def _adamw(own: Optimizer) -> optax.GradientTransformation:
    """Loshchilov and Hutter, arXiv 1711.05101; the decay is added by ``Optimizer.transform``."""
    return optax.adam(1.0, b1=own.b1, b2=own.b2, eps=own.eps)


def _lion(own: Optimizer) -> optax.GradientTransformation:
    """Chen et al. 2023, arXiv 2302.06675; wants a rate 3 to 10 times smaller than AdamW's."""
    return optax.lion(1.0, b1=own.b1, b2=own.b2, weight_decay=0.0)


def _adafactor(own: Optimizer) -> optax.GradientTransformation:
    """Shazeer and Stern 2018, arXiv 1804.04235, with steps that do not grow with the parameters.

    So transformers' Trainer sets it too (``scale_parameter=False``). Second moments take rows plus columns of memory.
    """
    return optax.adafactor(1.0, multiply_by_parameter_scale=False)


def _muon(own: Optimizer) -> optax.GradientTransformation:
    """Jordan et al. 2024 for the layers' matrices, AdamW for all else.

    Updates are scaled as in Liu et al. 2025 (arXiv 2502.16982, section 2.2: 0.2), so that AdamW's rates fit.
    """

    def dimensions(path: Sequence[Any], leaf: Any) -> MuonDimensionNumbers | None:
        """Layers (and experts) are stacked before the two axes that are made orthogonal."""
        stacked = len(leaf.shape) >= 3 and path_name(path).startswith(_STACKED)
        return MuonDimensionNumbers(len(leaf.shape) - 2, len(leaf.shape) - 1) if stacked else None

    muon = optax.contrib.muon(
        1.0,
        muon_weight_dimension_numbers=functools.partial(jax.tree.map_with_path, dimensions),
        consistent_rms=0.2,
    )

    def kinds(params: Any) -> Any:
        return jax.tree.map_with_path(lambda path, leaf: "muon" if dimensions(path, leaf) else "adamw", params)

    # optax.contrib.muon has an AdamW of its own, with Nesterov's momentum: not the one that is called adamw here
    return optax.partition({"muon": muon, "adamw": _adamw(own)}, kinds)


OPTIMIZERS: Mapping[str, Callable[[Optimizer], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "adafactor": _adafactor,
    "lion": _lion,
    "muon": _muon,
}
"""By name; without weight decay."""
