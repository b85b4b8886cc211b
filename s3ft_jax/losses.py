"""Masked next-token loss as an unreduced (sum, count), so that one division by the global count can follow.

The shift between input and target happens here and nowhere else:

    tokens    P0 P1 R0 R1 E          the model reads   P0 P1 R0 R1
    weights    0  0  1  1 1          and predicts      P1 R0 R1 E
                                     with weights       0  1  1 1
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp


def next_token_loss(
    unembed: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    tokens: jax.Array,
    weights: jax.Array,
    *,
    chunk_tokens: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Sum over trained tokens of -log p(token | those before it), and how many there are.

    Args:
      unembed: [..., D] -> logits [..., V] float32.
      hidden: [B, T, D] final activations.
      tokens: [B, T] int32.
      weights: [B, T] float32, weight of predicting each token; the first token of a segment must have weight 0,
        because the token before it belongs to another text.
      chunk_tokens: with a positive value the logits are made and thrown away for about this many tokens at a time,
        chunk_tokens // B places of every row (one at least), also in the backward pass, so that no [B, T, V] array
        exists.

    Returns:
      (sum in nats, sum of weights), float32 scalars.
    """
    inputs = hidden[:, :-1].reshape(-1, hidden.shape[-1])
    targets, weights = tokens[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    if chunk_tokens <= 0 or chunk_tokens >= inputs.shape[0]:
        return jnp.sum(weights * token_losses(unembed(inputs), targets)), jnp.sum(weights)
    batch, length = tokens.shape
    places = max(1, chunk_tokens // batch)
    padding = -(length - 1) % places

    def chunks(flat: jax.Array) -> jax.Array:
        """[B (T-1), ...] -> [chunks, B, places, ...]: cut along the row, so that every device has its rows in each."""
        rows = flat.reshape(batch, length - 1, *flat.shape[1:])
        rows = jnp.pad(rows, [(0, 0), (0, padding), *[(0, 0)] * (rows.ndim - 2)])
        return rows.reshape(batch, -1, places, *rows.shape[2:]).swapaxes(0, 1)

    @jax.checkpoint
    def add(total, chunk):
        inputs, targets, weights = chunk
        return total + jnp.sum(weights * token_losses(unembed(inputs), targets)), None

    total, _ = jax.lax.scan(add, jnp.zeros((), jnp.float32), tuple(map(chunks, (inputs, targets, weights))))
    return total, jnp.sum(weights)


def token_losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-log softmax(logits)[target] per token: logits [..., V] float32, targets [...] int32 -> [...] nats."""
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked
