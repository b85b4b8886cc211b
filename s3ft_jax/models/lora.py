"""Low-rank adapters (Hu et al., arXiv 2106.09685): which projections get one, how large, and how to merge them.

The adapters themselves live in the one projection class (decoder.py); here is the choice, as data, and the sums.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

ATTENTION, MLP = ("q", "k", "v", "o"), ("gate", "up", "down")
PROJECTIONS = ATTENTION + MLP
GROUPS = {"all": PROJECTIONS, "attention": ATTENTION, "mlp": MLP}
"""Words for several projections at once; each stands for those of them that the model has."""
_HUGGING_FACE_NAMES = {
    **{f"{name}_proj": name for name in PROJECTIONS},
    "qkv_proj": "q,k,v",
    "c_attn": "q,k,v",
    "gate_up_proj": "gate,up",
    "c_fc": "up",
    "c_proj": "o or down",
    "all-linear": "all",
}


class LoraError(ValueError):
    """Settings of adapters that cannot be; the message names the config key."""


@dataclasses.dataclass(frozen=True)
class Lora:
    """Adapters of every layer.

    Attributes:
      rank: width of the bottleneck.
      alpha: the update is scaled by alpha / rank.
      dropout: share of the adapter's input set to zero while training, in [0, 1).
      targets: the projections that get an adapter, among q k v o gate up down; ``choose_targets`` makes them from
        patterns.
      rank_stabilized: scale by alpha / sqrt(rank) instead, so that larger ranks do not learn less (rsLoRA,
        Kalajdzievski, arXiv 2312.03732).
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q", "v")
    rank_stabilized: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.targets) - set(PROJECTIONS))
        if unknown or not self.targets:
            raise LoraError(f"lora.targets: {unknown or 'empty'}; choose from {list(PROJECTIONS)}")
        if self.rank < 1:
            raise LoraError(f"lora.rank must be at least 1, found {self.rank}")
        if not 0.0 <= self.dropout < 1.0:
            raise LoraError(f"lora.dropout must be in [0, 1), found {self.dropout}")

    @property
    def scale(self) -> float:
        """Factor on the product of the two adapter matrices."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


def choose_targets(patterns: Sequence[str], available: Iterable[str]) -> tuple[str, ...]:
    """Patterns -> the projections they name, in the order of ``PROJECTIONS``.

        attention            q k v o
        mlp                  gate up down; up down in a model without a gate
        all, *               all the model has
        q, ?                 one name; names of one letter (q k v o)

    A pattern speaks of projections, not of layers: the layers are stacked and scanned, so all of them get an adapter.

    Args:
      patterns: names, ``all``, ``attention``, ``mlp``, or shell-style patterns (``*``, ``?``, ``[qk]``).
      available: the projections that the model has (``Decoder.projections``); experts are none.

    Raises:
      LoraError: no pattern, or one that stands for no projection of this model; says what it has.
    """
    has = [name for name in PROJECTIONS if name in set(available)]
    if not patterns:
        raise LoraError(f"lora.targets: empty; choose from {has}, {', '.join(GROUPS)}, or patterns such as '*'")
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in has if name in GROUPS.get(pattern, ()) or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            ours = _HUGGING_FACE_NAMES.get(pattern)
            hint = f"is Hugging Face's name, here it is {ours}" if ours else "stands for nothing this model has"
            raise LoraError(
                f"lora.targets: {pattern!r} {hint}; choose from {has}, {', '.join(GROUPS)}, or patterns such as '*'. "
                "Experts have no adapters."
            )
        chosen.update(found)
    return tuple(name for name in has if name in chosen)


class Adapter(nnx.Param):
    """A trainable matrix of an adapter; a type of its own so that state can be split into frozen and trained."""


def merged(kernel: jax.Array, lora_a: jax.Array, lora_b: jax.Array, scale: float) -> jax.Array:
    """The kernel with its adapter added: ``kernel + scale * a @ b``, summed in float32.

    Args:
      kernel: [..., in, out]; lora_a: [..., in, rank]; lora_b: [..., rank, out]; leading axes are layers.
    """
    update = jnp.matmul(lora_a.astype(jnp.float32), lora_b.astype(jnp.float32))
    return (kernel.astype(jnp.float32) + scale * update).astype(kernel.dtype)
