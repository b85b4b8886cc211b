"""Frozen kernels in fewer bits, for runs that train adapters only: bfloat16, or int8 with one scale per output channel.

Weight-only: a product is taken in the dtype of its input, as (x @ q) * scale. What this costs in accuracy is measured
on the run's own tokens (training.shrink_base) and recorded. Exports and evaluations never use the rounded kernels; the
looks of a run in training (``train.validate``) do: they are at the model as it is there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

FROZEN_DTYPES = ("", "bfloat16", "int8")
"""Values of ``train.lora.base_dtype``; empty: as imported."""
_LARGEST = 127  # of a symmetric int8


class QuantizationError(ValueError):
    """Kernels cannot be kept, or used, in the dtype asked for; the message names the cause and the fix."""


def check_dtype(dtype: str) -> None:
    """Refuse what is not among ``FROZEN_DTYPES``. Raises QuantizationError naming the config key."""
    if dtype not in FROZEN_DTYPES:
        raise QuantizationError(f"lora.base_dtype: {dtype!r}; choose from {list(FROZEN_DTYPES)}")


def quantize(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Round a kernel to int8, symmetric, to the nearest of 255 steps of its output channel.

        kernel column  0.3 -1.27 0.004    scale 0.01    int8  30 -127 0

    Args:
      kernel: [..., in, out], floating.

    Returns:
      [..., in, out] int8 and [..., out] float32 scales: ``kernel`` is ``int8 * scale`` to within scale / 2 (and the
      rounding of float32); a channel of zeros has scale 1.
    """
    wide = kernel.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis=-2) / _LARGEST
    scale = jnp.where(scale > 0.0, scale, 1.0)
    rounded = jnp.clip(jnp.round(wide / scale[..., None, :]), -_LARGEST, _LARGEST)
    return rounded.astype(jnp.int8), scale
