"""Keys and values of tokens seen so far, in the two forms in which a decoder keeps them.

The token at position p lies in slot p, so that the mask needs nothing else. ``KVCache`` holds all layers in one array,
for a program that loops over them. ``LayeredCache`` holds an array per layer, with keys turned round, for a program in
which the layers follow each other: XLA on a CPU copies the layer's part out of a stacked array in every step, and turns
keys round in every product, which together take three times as long as reading them (benchmarks/RESULTS.md,
"Generation"). Both offer the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from s3ft_jax.models.attention import attend
from s3ft_jax.models.config import DecoderConfig


class KVCache(NamedTuple):
    """All layers in one array.

    Attributes:
      keys, values: [L, B, K, S, H], so that one head's keys lie together, as its product reads them. Slots after a
        row's newest position hold leftovers that no query sees.
    """

    keys: jax.Array
    values: jax.Array

    @classmethod
    def empty(cls, config: DecoderConfig, batch: int, num_slots: int, dtype: jnp.dtype = jnp.float32) -> KVCache:
        """A cache of zeros for ``batch`` rows of ``num_slots`` positions."""
        shape = (config.num_layers, batch, config.num_kv_heads, num_slots, config.head_dim)
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    @staticmethod
    def laid_out(keys: jax.Array, values: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """One layer's keys and values [B, T, K, H] as they lie in this form, in the cache's dtype."""
        return keys.swapaxes(1, 2).astype(dtype), values.swapaxes(1, 2).astype(dtype)

    @classmethod
    def of(cls, layers: tuple[jax.Array, jax.Array]) -> KVCache:
        """Of what ``laid_out`` gave for each layer, stacked."""
        return cls(*layers)

    @property
    def num_slots(self) -> int:
        """S."""
        return self.keys.shape[3]

    def written(self, layer: jax.Array | int, positions: jax.Array, keys: jax.Array, values: jax.Array) -> KVCache:
        """With one layer's keys and values [B, T, K, H] at ``positions`` [B, T]; slots from S on are dropped."""
        place = layer, jnp.arange(positions.shape[0])[:, None], slice(None), positions
        return KVCache(
            self.keys.at[place].set(keys.astype(self.keys.dtype), mode="drop"),
            self.values.at[place].set(values.astype(self.values.dtype), mode="drop"),
        )

    def attend(self, layer: jax.Array | int, queries: jax.Array, mask: jax.Array, **options: Any) -> jax.Array:
        """``attention.attend`` to one layer's keys and values; queries [B, T, N, H], mask [B, T, S]."""
        keys, values = (array[layer].astype(queries.dtype) for array in self)
        return attend(queries, keys, values, mask, **options)

    def resized(self, num_slots: int) -> KVCache:
        """The same rows with ``num_slots`` positions each: zeros added at the end, or the end cut off."""
        return KVCache(*(_resized(array, num_slots, 3) for array in self))

    def repeated(self, count: int) -> KVCache:
        """``count`` rows, each the one that this has."""
        return KVCache(*(jnp.repeat(array, count, axis=1) for array in self))

    def inserted(self, prompts: KVCache, sources: jax.Array, targets: jax.Array, count: jax.Array) -> KVCache:
        """Copy rows of another cache over rows of this one.

        Args:
          prompts: T positions each; the first min(S, T) are copied.
          sources, targets: [I] int32; row ``sources[i]`` of prompts becomes row ``targets[i]``.
          count: scalar int32; entries from ``count`` on are ignored.
        """

        def copy(entry: jax.Array, cache: KVCache) -> KVCache:
            moved = sources[entry], targets[entry]
            return KVCache(*(_moved(*pair, *moved, 1, 3) for pair in zip(cache, prompts, strict=True)))

        return jax.lax.fori_loop(0, count, copy, self)


class LayeredCache(NamedTuple):
    """An array per layer.

    Attributes:
      keys: L arrays [B, K, H, S], turned round: a query's product with them reads along S.
      values: L arrays [B, K, S, H].
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]

    @classmethod
    def empty(cls, config: DecoderConfig, batch: int, num_slots: int, dtype: jnp.dtype = jnp.float32) -> LayeredCache:
        """As ``KVCache.empty``."""
        rows, width, layers = (batch, config.num_kv_heads), config.head_dim, range(config.num_layers)
        return cls(
            tuple(jnp.zeros((*rows, width, num_slots), dtype) for _ in layers),
            tuple(jnp.zeros((*rows, num_slots, width), dtype) for _ in layers),
        )

    @staticmethod
    def laid_out(keys: jax.Array, values: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """As ``KVCache.laid_out``."""
        return keys.transpose(0, 2, 3, 1).astype(dtype), values.swapaxes(1, 2).astype(dtype)

    @classmethod
    def of(cls, layers: Sequence[tuple[jax.Array, jax.Array]]) -> LayeredCache:
        """Of what ``laid_out`` gave for each layer."""
        return cls(*(tuple(part) for part in zip(*layers, strict=True)))

    @property
    def num_slots(self) -> int:
        """S."""
        return self.values[0].shape[2]

    def written(self, layer: int, positions: jax.Array, keys: jax.Array, values: jax.Array) -> LayeredCache:
        """As ``KVCache.written``; the layer is a number, not traced."""
        rows, mine = jnp.arange(positions.shape[0])[:, None], self.keys[layer]
        new = mine.at[rows, :, :, positions].set(keys.astype(mine.dtype), mode="drop")
        other = self.values[layer].at[rows, :, positions].set(values.astype(mine.dtype), mode="drop")
        return LayeredCache(_replaced(self.keys, layer, new), _replaced(self.values, layer, other))

    def attend(self, layer: int, queries: jax.Array, mask: jax.Array, **options: Any) -> jax.Array:
        """As ``KVCache.attend``."""
        keys, values = self.keys[layer].astype(queries.dtype), self.values[layer].astype(queries.dtype)
        return attend(queries, keys, values, mask, turned=True, **options)

    def resized(self, num_slots: int) -> LayeredCache:
        """As ``KVCache.resized``."""
        return LayeredCache(
            tuple(_resized(array, num_slots, 3) for array in self.keys),
            tuple(_resized(array, num_slots, 2) for array in self.values),
        )

    def repeated(self, count: int) -> LayeredCache:
        """As ``KVCache.repeated``."""
        return jax.tree.map(lambda array: jnp.repeat(array, count, axis=0), self)

    def inserted(self, prompts: LayeredCache, sources: jax.Array, targets: jax.Array, count: jax.Array) -> LayeredCache:
        """As ``KVCache.inserted``."""

        def copy(entry: jax.Array, cache: LayeredCache) -> LayeredCache:
            moved = sources[entry], targets[entry]
            return LayeredCache(
                tuple(_moved(*pair, *moved, 0, 3) for pair in zip(cache.keys, prompts.keys, strict=True)),
                tuple(_moved(*pair, *moved, 0, 2) for pair in zip(cache.values, prompts.values, strict=True)),
            )

        return jax.lax.fori_loop(0, count, copy, self)


Cache = KVCache | LayeredCache


def _replaced(arrays: tuple[jax.Array, ...], place: int, array: jax.Array) -> tuple[jax.Array, ...]:
    return (*arrays[:place], array, *arrays[place + 1 :])


def _resized(array: jax.Array, num_slots: int, axis: int) -> jax.Array:
    if num_slots <= array.shape[axis]:
        return jax.lax.slice_in_dim(array, 0, num_slots, axis=axis)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, num_slots - array.shape[axis])
    return jnp.pad(array, widths)


def _moved(
    array: jax.Array, prompt: jax.Array, source: jax.Array, target: jax.Array, row_axis: int, slot_axis: int
) -> jax.Array:
    """``array`` with row ``source`` of ``prompt`` as its row ``target``, as many positions as both have."""
    row = jax.lax.dynamic_slice_in_dim(prompt, source, 1, axis=row_axis)
    row = jax.lax.slice_in_dim(row, 0, min(array.shape[slot_axis], prompt.shape[slot_axis]), axis=slot_axis)
    return jax.lax.dynamic_update_slice_in_dim(array, row, target, axis=row_axis)
