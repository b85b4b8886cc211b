"""Low-rank adapters (Hu et al., arXiv 2106.09685): which projections get one, how large, and how to merge them.

The adapters themselves live in the one projection class (decoder.py); here is the choice, as data, and the sums.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


class LoraError(ValueError):
    """Settings of adapters that cannot be; the message names the config key."""


@dataclasses.dataclass(frozen=True)
class Lora:
    """Adapters of every layer.

    Attributes:
      rank: width of the bottleneck.
      alpha: the update is scaled by alpha / rank.
      dropout: share of the adapter's input set to zero while training, in [0, 1).
      targets: the projections that get an adapter, among q k v o gate up down.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q", "v")

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
        return self.alpha / self.rank


class Adapter(nnx.Param):
    """A trainable matrix of an adapter; a type of its own so that state can be split into frozen and trained."""


def merged(kernel: jax.Array, lora_a: jax.Array, lora_b: jax.Array, scale: float) -> jax.Array:
    """The kernel with its adapter added: ``kernel + scale * a @ b``, summed in float32.

    Args:
      kernel: [..., in, out]; lora_a: [..., in, rank]; lora_b: [..., rank, out]; leading axes are layers.
    """
    update = jnp.matmul(lora_a.astype(jnp.float32), lora_b.astype(jnp.float32))
    return (kernel.astype(jnp.float32) + scale * update).astype(kernel.dtype)
