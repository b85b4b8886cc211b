"""Attention in plain XLA, the reference. Which attention runs is chosen in kernels.py and, with a cache, in
cached_attention.py.

Axes here and in decoder.py: B batch, T query position, S key position, N query heads, K key-value heads,
G = N / K query heads per key-value head, H head width, D model width, F mlp width, V vocabulary, L layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rotate(heads: jax.Array, positions: jax.Array, frequencies: jax.Array, scale: jax.Array | float = 1.0) -> jax.Array:
    """Turn each pair (i, i + R/2) of a head by ``position * frequency``; the Hugging Face pairing of halves.

    Args:
      heads: [B, T, heads, H]; dimensions from R on are passed through.
      positions: [B, T] int32.
      frequencies: [R/2] float32, radians per position, R <= H.
      scale: factor on cosine and sine.

    Returns:
      [B, T, heads, H] in the dtype of ``heads``; the turn itself is done in float32.
    """
    angles = positions[:, :, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles)[:, :, None, :], jnp.sin(angles)[:, :, None, :]
    if not isinstance(scale, float) or scale != 1.0:
        cos, sin = cos * scale, sin * scale
    width = 2 * frequencies.shape[-1]
    first, second = jnp.split(heads[..., :width].astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    if width < heads.shape[-1]:
        turned.append(heads[..., width:].astype(jnp.float32))
    return jnp.concatenate(turned, axis=-1).astype(heads.dtype)


def segment_mask(positions: jax.Array, segments: jax.Array) -> jax.Array:
    """Who sees whom without a cache: same non-zero segment, and not later.

        segments   1 1 1 2 2 0        query 4 (segment 2, position 1) sees keys 3 and 4
        positions  0 1 2 0 1 0        query 5 is padding and sees nothing

    Args:
      positions, segments: [B, T] int32.

    Returns:
      [B, T, S=T] bool.
    """
    same = (segments[:, :, None] == segments[:, None, :]) & (segments[:, None, :] > 0)
    return same & (positions[:, None, :] <= positions[:, :, None])


def within(positions: jax.Array, key_positions: jax.Array, window: jax.Array) -> jax.Array:
    """Which keys lie inside a sliding window: the last ``window`` positions, the query's own included; 0: all.

        window 2    query at 3 sees keys at 2 and 3 (and those later, which the causal mask takes away)

    Args:
      positions: [B, T] int32, of the queries. key_positions: [B, S] or [1, S] int32. window: int32 scalar, traced.

    Returns:
      [B, T, S] bool.
    """
    back = positions[:, :, None] - key_positions[:, None, :]
    return (back < window) | (window == 0)


def cache_mask(positions: jax.Array, num_slots: int) -> jax.Array:
    """Who sees whom with a cache, where the token at position p lies in slot p: slots 0..p.

    Args:
      positions: [B, T] int32, of the queries.
      num_slots: S.

    Returns:
      [B, T, S] bool.
    """
    return jnp.arange(num_slots, dtype=positions.dtype)[None, None, :] <= positions[:, :, None]


def attend(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    *,
    scale: float | None = None,
    softcap: float = 0.0,
) -> jax.Array:
    """Softmax attention with grouped heads (Vaswani et al., arXiv 1706.03762, section 3.2.1).

    Args:
      queries: [B, T, N, H]. keys, values: [B, K, S, H]. mask: [B, T, S] bool.
      scale: factor on the scores; None: 1 / sqrt(H).
      softcap: scores become cap * tanh(score / cap) (Gemma 2, arXiv 2408.00118, section 2); 0: off.

    Returns:
      [B, T, N, H]. A query that sees no key gets the mean of the values, which no loss ever reads.
    """
    batch, num_queries, _, head_dim = queries.shape
    num_kv_heads, num_keys = keys.shape[1:3]
    # the queries of all heads that share a key in one matrix: then no product needs the scores turned round
    grouped = queries.reshape(batch, num_queries, num_kv_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
    stacked = grouped.reshape(batch, num_kv_heads, -1, head_dim)
    scores = jnp.einsum("bkqh,bksh->bkqs", stacked, keys, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, num_kv_heads, -1, num_queries, num_keys)
    scores = scores * (head_dim**-0.5 if scale is None else scale)
    if softcap:
        scores = softcap * jnp.tanh(scores / softcap)
    scores = jnp.where(mask[:, None, None, :, :], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    weights = weights.reshape(batch, num_kv_heads, -1, num_keys)
    mixed = jnp.einsum("bkqs,bksh->bkqh", weights, values).reshape(grouped.shape)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(queries.shape)
