"""Which numbers an adapter's dropout keeps: a hash of key and place, so that it is the same on every mesh and device.

In: a key, a share, a shape. Out: a mask. A generator's draw is not the compiler's to cut up: accelerators' own (rbg)
makes the numbers of all rows on every chip, 30 GB for 256 rows of 1,024 tokens and an MLP of 28,672; JAX's threefry can
be cut but takes three quarters of a LoRA step's compiling (benchmarks/RESULTS.md, "Plan"). A hash of a number's place
is cut like any sum, and costs two products of integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

_STEP = 0x9E3779B9
"""2^32 divided by the golden ratio: far apart for neighbours (Knuth, The Art of Computer Programming 3, 6.4)."""


def keep_mask(key: jax.Array, keep: float, shape: Sequence[int]) -> jax.Array:
    """Of numbers in rows of tokens, those that are kept.

    A number's fate depends on the key, its token's place among all and its own in the token:

        mix(mix(mix(token + key[0] + step) ^ key[1]) + channel * step) < keep * 2^32    (mix(0) is 0, hence step)

    Args:
      key: of ``jax.random.key``, two words (threefry2x32).
      keep: share that is kept, in (0, 1].
      shape: [..., D]; fewer than 2^32 tokens.

    Returns:
      bool of that shape.
    """
    first, second = jax.random.key_data(key).astype(jnp.uint32)
    *tokens, channels = shape
    token = jnp.zeros((*tokens, 1), jnp.uint32)
    for axis, stride in enumerate(_strides(tokens)):
        token = token + jax.lax.broadcasted_iota(jnp.uint32, token.shape, axis) * jnp.uint32(stride)
    token = _mix(_mix(token + first + jnp.uint32(_STEP)) ^ second)
    channel = jax.lax.broadcasted_iota(jnp.uint32, (channels,), 0) * jnp.uint32(_STEP)
    return _mix(token + channel) <= jnp.uint32(min(round(keep * 2**32), 2**32 - 1))


def _strides(sizes: Sequence[int]) -> list[int]:
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def _mix(bits: jax.Array) -> jax.Array:
    """A bijection of 32 bits, each of which changes about half of the others: lowbias32 (Wellons, "Prospecting for Hash
    Functions", nullprogram.com/blog/2018/07/31)."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
