"""Masked next-token loss as unreduced sums, so that one division by the global weight can follow.

The shift between input and target happens here and nowhere else:

    tokens    P0 P1 R0 R1 E          the model reads   P0 P1 R0 R1
    weights    0  0  1  1 1          and predicts      P1 R0 R1 E
                                     with weights       0  1  1 1

What a token adds beside its cross-entropy is data, a ``Loss``. With p the model, b the base, y the token and V the
vocabulary's size, and [x] for x without a gradient:

    term = f * (-(1 - s) log p(y) - s / V sum_v log p(v)) + z log^2 Z + k sum_v b(v) (log b(v) - log p(v))
    f    = [p(y)] with ``dft``, else 1
    s, z, k = label_smoothing, z_loss, kl;  Z is the softmax's denominator
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Unembed = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Loss:
    """What is minimised; static, so a part of the program's key. The defaults are plain cross-entropy.

    Attributes:
      dft: weigh each token by its own probability, without a gradient through it (DFT, Wu et al. 2025, arXiv
        2508.05629, equation 9).
      label_smoothing: share of the target given to all tokens alike, 0 to 1 (Szegedy et al. 2016, arXiv 1512.00567,
        section 7).
      z_loss: factor of log^2 Z, which keeps logits from drifting (PaLM, arXiv 2204.02311, section 5: 1e-4).
      kl: factor of KL(base || model) at each trained token, in nats (ASFT, arXiv 2509.23753, which takes 0.05 to 0.1
        beside ``dft``).
    """

    dft: bool = False
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    kl: float = 0.0


class Sums(NamedTuple):
    """Sums over tokens, each times its weight; float32 scalars.

    Attributes:
      objective: what is minimised, in nats; equal to ``cross_entropy`` with a plain ``Loss``.
      cross_entropy: -log p(token), in nats.
      kl: KL(base || model), in nats; 0 where no base is given.
      weight: of the tokens.
    """

    objective: jax.Array
    cross_entropy: jax.Array
    kl: jax.Array
    weight: jax.Array


def next_token_loss(
    unembed: Unembed,
    hidden: jax.Array,
    tokens: jax.Array,
    weights: jax.Array,
    *,
    chunk_tokens: int = 0,
    loss: Loss = Loss(),
    base: tuple[Unembed, jax.Array] | None = None,
) -> Sums:
    """Sums over trained tokens; see ``Sums``.

    Args:
      unembed: [..., D] -> logits [..., V] float32.
      hidden: [B, T, D] final activations.
      tokens: [B, T] int32.
      weights: [B, T] float32, weight of predicting each token; the first token of a segment must have weight 0,
        because the token before it belongs to another text.
      chunk_tokens: with a positive value the logits are made and thrown away for about this many tokens at a time,
        chunk_tokens // B places of every row (one at least), also in the backward pass, so that no [B, T, V] array
        exists.
      loss: what a token adds.
      base: unembed and hidden [B, T, D] of the base, through which no gradient goes; needed for ``Sums.kl``.
    """
    base_unembed, base_hidden = base or (None, None)
    # a base's activations travel beside the model's; without one, nothing does
    beside = [hidden] if base_hidden is None else [hidden, jax.lax.stop_gradient(base_hidden)]
    inputs = [array[:, :-1].reshape(-1, array.shape[-1]) for array in beside]
    targets, weights = tokens[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)

    def sums(inputs: list[jax.Array], targets: jax.Array, weights: jax.Array) -> Sums:
        base_logits = None if base_unembed is None else jax.lax.stop_gradient(base_unembed(inputs[1]))
        terms = _terms(unembed(inputs[0]), targets, loss, base_logits)
        return Sums(*(jnp.sum(weights * term) for term in terms), jnp.sum(weights))

    if chunk_tokens <= 0 or chunk_tokens >= inputs[0].shape[0]:
        return sums(inputs, targets, weights)
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
        return jax.tree.map(jnp.add, total, sums(*chunk)), None

    zeros = Sums(*[jnp.zeros((), jnp.float32)] * 4)
    return jax.lax.scan(add, zeros, jax.tree.map(chunks, (inputs, targets, weights)))[0]


def _terms(
    logits: jax.Array, targets: jax.Array, loss: Loss, base_logits: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Objective, cross-entropy and KL of each token: logits [..., V] -> three times [...]."""
    log_z = jax.nn.logsumexp(logits, axis=-1)
    cross_entropy = log_z - _picked(logits, targets)
    objective, kl = cross_entropy, jnp.zeros_like(cross_entropy)
    if loss.label_smoothing:
        even = log_z - jnp.mean(logits, axis=-1)
        objective = (1.0 - loss.label_smoothing) * objective + loss.label_smoothing * even
    if loss.dft:
        objective = jax.lax.stop_gradient(jnp.exp(-cross_entropy)) * objective
    if loss.z_loss:
        objective = objective + loss.z_loss * jnp.square(log_z)
    if base_logits is not None:
        log_base = jax.nn.log_softmax(base_logits)
        kl = jnp.sum(jnp.exp(log_base) * (log_base - (logits - log_z[..., None])), axis=-1)
        if loss.kl:
            objective = objective + loss.kl * kl
    return objective, cross_entropy, kl


def token_losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-log softmax(logits)[target] per token: logits [..., V] float32, targets [...] int32 -> [...] nats."""
    return jax.nn.logsumexp(logits, axis=-1) - _picked(logits, targets)


def _picked(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
