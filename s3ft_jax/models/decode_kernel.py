"""A Pallas kernel for TPUs: one new token per row is added to its row of the cache, in place, and attends to it.

Each row reads the blocks of keys and values that its own query sees, from the start of its window to its position, and
no others: the kernel runs over a list of (row, block) pairs, made on the device from the rows' positions, whose length
is the number of grid steps. A row without a token is not in the list. Blocks are mixed with a running softmax (Milakov
and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135), started from the new token itself, which every query
sees. All heads of a row share a step, as far as they fit, so that copies are large.

Why not one of the kernels that come with JAX (jax.experimental.pallas.ops.tpu, read at jax 0.10.2):

    paged_attention         has no windows; its pages could be views of our cache (one head; layers, rows and heads in
                            one axis of pages)
    ragged_paged_attention  wants keys and values of all heads interleaved in one array, position by position, which is
                            another cache than ours, in prefill as well
    both                    read one layer's cache that somebody else has written. A slice of our cache that goes into a
                            kernel is a copy of it, in every layer and step; and where XLA scatters single positions
                            into the cache, it lays it out anew, so that all of it is copied before and after a chunk.
                            Here the layer is a number that the kernel gets, and the kernel writes.

A TPU keeps the last two axes of an array in tiles of 8 x 128 numbers. Where heads are narrow XLA puts positions last,
since fewer tiles are needed; the kernel goes along (``positions_last``), so that neither side copies.

Axes as in attention.py; P heads of one grid step, C positions of a block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

LANES, SUBLANES = 128, 8
"""Of a TPU's registers, and of the tiles its arrays are laid out in."""
BLOCK_BYTES = 2**19
"""Aimed at for a block of keys; with values, and each twice (one in use, one on its way), 2 MiB on the chip."""
LONGEST = 512
"""Positions of a block at most: half of a row's last block is read for nothing in the mean."""
ROWS_WRITTEN = 16
"""Positions written back around the new one: a tile of bfloat16 has 16 rows."""


class Blocks(NamedTuple):
    """How the cache of one device is cut for the kernel.

    Attributes:
      num_slots: S.
      heads: P, of one grid step; divides K.
      size: C, positions read in one grid step.
      written: positions written back around the new one.
      turned: the kernel sees the cache as [L, B, K, H, S] (``positions_last``).
    """

    num_slots: int
    heads: int
    size: int
    written: int
    turned: bool

    @classmethod
    def of(cls, num_heads: int, num_slots: int, head_dim: int, number_bytes: int) -> Blocks:
        """``BLOCK_BYTES`` of keys a step, or as near as the numbers allow; a size that divides S if there is one.

        Args:
          num_heads: K, of this device. num_slots: S. head_dim: H.
          number_bytes: of a number of the cache.
        """
        turned, shortest = positions_last(num_slots, head_dim), min(num_slots, LANES)
        divisors = [heads for heads in range(1, num_heads + 1) if num_heads % heads == 0]
        fitting = [heads for heads in divisors if heads * shortest * head_dim * number_bytes <= 2 * BLOCK_BYTES]
        heads = max(fitting, default=1)
        if num_slots <= LANES:
            written = num_slots if turned or num_slots % ROWS_WRITTEN else ROWS_WRITTEN
            return cls(num_slots, heads, num_slots, written, turned)
        most = max(LANES, min(num_slots, LONGEST, BLOCK_BYTES // (heads * head_dim * number_bytes)))
        sizes = range(most // LANES * LANES, 0, -LANES)
        size = next((size for size in sizes if num_slots % size == 0), sizes[0])
        return cls(num_slots, heads, size, LANES if turned else ROWS_WRITTEN, turned)

    def of_cache(self, head_dim: int, size: int, place: Callable[..., jax.Array]) -> pl.BlockSpec:
        """Blocks of ``size`` positions of the cache. ``place``: step, position and offset of its row -> which one."""
        shape = (None, None, self.heads, head_dim, size) if self.turned else (None, None, self.heads, size, head_dim)

        def index(part, step, layer, positions, rows, offsets, starts):
            row = rows[step]
            found = place(step, jnp.minimum(positions[row], self.num_slots - 1), offsets[row])
            return (layer[0], row, part, 0, found) if self.turned else (layer[0], row, part, found, 0)

        return pl.BlockSpec(shape, index)

    def of_rows(self, *shape: int) -> pl.BlockSpec:
        """The heads of a row of an array [B, K, ...]."""
        return pl.BlockSpec((None, self.heads, *shape), lambda part, step, _, __, rows, *___: (rows[step], part, 0, 0))


class Visits(NamedTuple):
    """Which blocks of the cache are read, as one grid step each, in this order.

    Attributes:
      rows: [B * blocks] int32, the row of each step; those from ``count`` on are not run.
      offsets: [B] int32; the block of a step is the step's number less its row's offset.
      starts: [B] int32, the first position that the row's query sees.
      count: [1] int32, steps, at least 1: a grid may not be empty. A row without a token writes what it read.
    """

    rows: jax.Array
    offsets: jax.Array
    starts: jax.Array
    count: jax.Array

    @classmethod
    def of(cls, positions: jax.Array, blocks: Blocks, window: int) -> Visits:
        """The blocks that hold what each row sees.

            blocks of 4, 12 slots, no window    positions 5, 12 (past the end: no token), 0    rows 0 0 2, blocks 0 1 0

        Args:
          positions: [B] int32, of the new tokens; S and beyond: no token.
          blocks: of this device's cache.
          window: of the layer, in tokens; 0: unlimited.
        """
        batch, num_slots = positions.shape[0], blocks.num_slots
        last = jnp.minimum(positions, num_slots - 1)
        starts = jnp.maximum(last - window + 1, 0) if window else jnp.zeros_like(last)
        first = starts // blocks.size
        ends = jnp.cumsum(jnp.where(positions < num_slots, last // blocks.size - first + 1, 0))
        steps = jnp.arange(batch * -(-num_slots // blocks.size), dtype=jnp.int32)
        rows = jnp.minimum(jnp.sum(ends[None, :] <= steps[:, None], axis=1, dtype=jnp.int32), batch - 1)
        before = jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])
        return cls(rows, before - first, starts, jnp.maximum(ends[-1:], 1))


def positions_last(num_slots: int, head_dim: int) -> bool:
    """Whether XLA lays an array [..., S, H] out as [..., H, S] on a TPU: where that takes fewer tiles."""

    def size(rows: int, columns: int) -> int:
        return -(-rows // SUBLANES) * SUBLANES * -(-columns // LANES) * LANES

    return size(head_dim, num_slots) < size(num_slots, head_dim)


def decode_attention(
    queries: jax.Array,
    new_keys: jax.Array,
    new_values: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    layer: jax.Array,
    positions: jax.Array,
    visits: Visits,
    blocks: Blocks,
    *,
    scale: float,
    softcap: float = 0.0,
    interpret: bool | pltpu.InterpretParams = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Add one token per row to a layer's cache, and attend from it to its row, itself included.

    Args:
      queries: [B, N, H]. new_keys, new_values: [B, K, H].
      keys, values: [L, B, K, S, H], all layers; written in place.
      layer: int32 scalar.
      positions: [B] int32, the slot of each row's token; S and beyond: no token, nothing is written.
      visits: of these positions and blocks, and of the layer's window.
      blocks: of this cache.
      scale, softcap: see ``attention.attend``.
      interpret: run as plain JAX, to test it on a CPU.

    Returns:
      [B, N, H], zeros where there is no token; keys; values.
    """
    batch, num_heads, head_dim = queries.shape
    groups = num_heads // keys.shape[2]
    grouped = queries.reshape(batch, -1, groups, head_dim)
    new = [array.astype(keys.dtype)[:, :, None] for array in (new_keys, new_values)]
    cache = [array.swapaxes(3, 4) if blocks.turned else array for array in (keys, values)]
    read = blocks.of_cache(head_dim, blocks.size, lambda step, position, offset: step - offset)
    write = blocks.of_cache(head_dim, blocks.written, lambda _, position, __: jax.lax.div(position, blocks.written))
    mixes, token = blocks.of_rows(groups, head_dim), blocks.of_rows(1, head_dim)
    state = pltpu.VMEM((blocks.heads, groups, LANES), jnp.float32)
    run = pl.pallas_call(
        functools.partial(_step, blocks=blocks, scale=scale, softcap=softcap),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=5,
            grid=(keys.shape[2] // blocks.heads, visits.count[0]),
            in_specs=[mixes, token, token, read, read],
            out_specs=[mixes, write, write],
            scratch_shapes=[state, state, pltpu.VMEM((blocks.heads, groups, head_dim), jnp.float32)],
        ),
        out_shape=[jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (grouped, *cache)],
        input_output_aliases={8: 1, 9: 2},  # counted from the first prefetched scalar
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=interpret,
        name="decode_attention",
    )
    mixed, *cache = run(layer[None], positions, visits.rows, visits.offsets, visits.starts, grouped, *new, *cache)
    keys, values = (array.swapaxes(3, 4) if blocks.turned else array for array in cache)
    # rows that were not visited hold whatever lay there
    mixed = jnp.where((positions < blocks.num_slots)[:, None, None], mixed.reshape(queries.shape), 0)
    return mixed, keys, values


def _step(layer, positions, rows, offsets, starts, *refs, blocks: Blocks, scale: float, softcap: float) -> None:
    """The next block of a row.

    Refs: queries [P, G, H]; the new key and value [P, 1, H]; keys, values [P, C, H] (turned: [P, H, C]); outputs: mixed
    as queries, and the written part of keys and values; kept from block to block, in float32: the highest score and the
    total weight [P, G, LANES], and the weighted sum of values [P, G, H].
    """
    queries, new_key, new_value, keys, values, mixed, keys_out, values_out, highest, total, weighted = refs
    step, turned, wide = pl.program_id(1), blocks.turned, queries.dtype
    row = rows[step]
    number, start, position = step - offsets[row], starts[row], jnp.minimum(positions[row], blocks.num_slots - 1)
    # products of bfloat16 numbers are exact in one pass, and the compiler refuses to make more of them
    precision = jax.lax.Precision.HIGHEST if wide == jnp.float32 else jax.lax.Precision.DEFAULT
    product = functools.partial(jnp.einsum, precision=precision, preferred_element_type=jnp.float32)

    def capped(scores: jax.Array) -> jax.Array:
        scores = scores * scale
        return softcap * jnp.tanh(scores / softcap) if softcap else scores

    def slots(shape: tuple[int, ...], axis: int) -> jax.Array:
        return number * blocks.size + jax.lax.broadcasted_iota(jnp.int32, shape, axis)

    @pl.when(number == jax.lax.div(start, blocks.size))
    def _():
        own = queries[...].astype(jnp.float32) * new_key[...].astype(wide).astype(jnp.float32)
        highest[...] = jnp.broadcast_to(capped(jnp.sum(own, axis=-1, keepdims=True)), highest.shape)
        total[...] = jnp.ones_like(total)
        weighted[...] = jnp.broadcast_to(new_value[...].astype(wide).astype(jnp.float32), weighted.shape)

    scores = capped(product("pgh,phc->pgc" if turned else "pgh,pch->pgc", queries[...], keys[...].astype(wide)))
    places = slots(scores.shape, 2)
    scores = jnp.where((places >= start) & (places < position), scores, jnp.finfo(jnp.float32).min)
    before = highest[..., :1]
    now = jnp.maximum(before, jnp.max(scores, axis=-1, keepdims=True))
    weights, shrunk = jnp.exp(scores - now), jnp.exp(before - now)
    seen = values[...].astype(wide)
    if blocks.num_slots % blocks.size:  # what lies beyond the array may be no number
        seen = jnp.where(slots(seen.shape, 2 if turned else 1) < blocks.num_slots, seen, 0)
    highest[...] = jnp.broadcast_to(now, highest.shape)
    total[...] = total[...] * shrunk + jnp.sum(weights, axis=-1, keepdims=True)
    more = product("pgc,phc->pgh" if turned else "pgc,pch->pgh", weights.astype(wide), seen)
    weighted[...] = weighted[...] * shrunk + more

    @pl.when(number == jax.lax.div(position, blocks.size))
    def _():
        mixed[...] = (weighted[...] / total[..., :1]).astype(mixed.dtype)
        token = positions[row] < blocks.num_slots
        for new, old, out in ((new_key, keys, keys_out), (new_value, values, values_out)):
            _add(new, old, out, position, token, blocks)


def _add(new, old, out, position: jax.Array, token: jax.Array, blocks: Blocks) -> None:
    """Write the part of the block ``old`` around ``position``, the new token in its place (``token``: if there is one).

    Refs: new [P, 1, H]; old [P, C, H] (turned: [P, H, C]); out as old, ``blocks.written`` positions long.
    """
    part = slice(None)
    if blocks.written < blocks.size:
        first = jax.lax.div(jax.lax.rem(position, blocks.size), blocks.written) * blocks.written
        part = pl.ds(pl.multiple_of(first, blocks.written), blocks.written)
    around = old[:, :, part] if blocks.turned else old[:, part, :]
    added = jnp.swapaxes(new[...], 1, 2) if blocks.turned else new[...]
    places = jax.lax.broadcasted_iota(jnp.int32, around.shape, 2 if blocks.turned else 1)
    out[...] = jnp.where((places == jax.lax.rem(position, blocks.written)) & token, added, around)
