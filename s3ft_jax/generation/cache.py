"""Cache sizes and moves: which length of cache is used when, and how rows get into it.

In: lengths on the host, ``KVCache`` arrays on the device. Out: the same. Lengths come in few sizes (buckets), each
compiled once, so that cost follows the positions in use and not the longest length allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from s3ft_jax.generation.sampling import GenerationError
from s3ft_jax.models.decoder import KVCache

ROW_AXIS, SLOT_AXIS = 1, 3
"""Axes of ``KVCache.keys`` and ``.values``: batch row and position."""


def prompt_sizes(limit: int) -> tuple[int, ...]:
    """32, 64, 128, ... doubling until one holds ``limit`` positions."""
    sizes = [32]
    while sizes[-1] < limit:
        sizes.append(2 * sizes[-1])
    return tuple(sizes)


def cache_sizes(limit: int) -> tuple[int, ...]:
    """64, 128, 192, 256, then 384, 512, 768, ... until one holds ``limit`` positions; less than half is wasted."""
    sizes = [64]
    while sizes[-1] < limit:
        if len(sizes) < 4:
            sizes.append(sizes[-1] + 64)
        else:
            sizes.append(4 * sizes[-1] // 3 if sizes[-1] % 3 == 0 else 3 * sizes[-1] // 2)
    return tuple(sizes)


def exact_sizes(sizes: Sequence[int], num_heads_in_batch: int) -> tuple[int, ...]:
    """Those of the ascending ``sizes`` among which XLA on CPU gives a row equal bits; the last if there are none.

    Measured with jax 0.10.2: a softmax over fewer than 4,096 numbers in all (rows x heads x cache length) is summed in
    another order than a larger one, which shows in the last bit. Small engines therefore start with a longer cache,
    which costs them nothing that could be noticed.

    Args:
      sizes: cache lengths, multiples of 16 (others take another path in the matrix product).
      num_heads_in_batch: slots x query heads.
    """
    return tuple(size for size in sizes if size * num_heads_in_batch >= 4096) or (sizes[-1],)


def bucket_of(length: int, sizes: Sequence[int]) -> int:
    """The smallest of the ascending ``sizes`` that holds ``length``. Raises ValueError if none does."""
    for size in sizes:
        if size >= length:
            return size
    raise GenerationError(f"no bucket holds {length} positions; the largest is {sizes[-1]}")


def resized(cache: KVCache, num_slots: int) -> KVCache:
    """The same rows with ``num_slots`` positions each: zeros added at the end, or the end cut off."""

    def resize(array: jax.Array) -> jax.Array:
        size = array.shape[SLOT_AXIS]
        if num_slots <= size:
            return jax.lax.slice_in_dim(array, 0, num_slots, axis=SLOT_AXIS)
        widths = [(0, 0)] * array.ndim
        widths[SLOT_AXIS] = (0, num_slots - size)
        return jnp.pad(array, widths)

    return KVCache(*map(resize, cache))


def inserted(cache: KVCache, prompts: KVCache, sources: jax.Array, targets: jax.Array, count: jax.Array) -> KVCache:
    """Copy rows of a prefilled cache over rows of the engine's cache.

    Args:
      cache: of the engine, S positions; written in place when donated.
      prompts: of a prefill, T positions; the first min(S, T) are copied.
      sources, targets: [I] int32; row ``sources[i]`` of prompts becomes row ``targets[i]`` of cache.
      count: scalar int32; entries from ``count`` on are ignored.
    """
    width = min(cache.keys.shape[SLOT_AXIS], prompts.keys.shape[SLOT_AXIS])

    def copy(entry: jax.Array, cache: KVCache) -> KVCache:
        def one(array: jax.Array, prompt: jax.Array) -> jax.Array:
            row = jax.lax.dynamic_slice_in_dim(prompt, sources[entry], 1, axis=ROW_AXIS)
            row = jax.lax.slice_in_dim(row, 0, width, axis=SLOT_AXIS)
            return jax.lax.dynamic_update_slice_in_dim(array, row, targets[entry], axis=ROW_AXIS)

        return KVCache(*map(one, cache, prompts))

    return jax.lax.fori_loop(0, count, copy, cache)


def length_of(cache: KVCache) -> int:
    """Positions that each row of the cache holds."""
    return cache.keys.shape[SLOT_AXIS]
