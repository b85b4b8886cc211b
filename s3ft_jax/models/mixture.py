"""Mixture of experts: a router sends every token to a few of the MLPs, and their outputs are weighed and summed.

In: a layer's normed stream. Out: what the MLP of a dense layer would give. No token is ever dropped and no expert has a
capacity, so a token's result does not depend on the others in its batch. Axes: M tokens, E experts, C experts chosen
for a token, D model width, F width of one expert.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from s3ft_jax.models.activations import ACTIVATIONS
from s3ft_jax.models.config import DecoderConfig


class Mixture(nnx.Module):
    """Router and experts of one layer (Shazeer et al., arXiv 1701.06538; Mixtral, arXiv 2401.04088, section 2.1).

    The sums are those of transformers (models/mixtral and models/qwen3_moe): softmax over all experts in float32, the C
    largest kept, and with ``normalize_router`` scaled to sum to 1. What they add to the loss to balance the experts is
    not added here.
    """

    def __init__(self, config: DecoderConfig, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        experts, width, mlp_dim = config.num_experts, config.model_dim, config.mlp_dim
        self.config = config
        self.router = nnx.Param(init(rngs.params(), (width, experts), dtype))
        self.gate = nnx.Param(init(rngs.params(), (experts, width, mlp_dim), dtype))
        self.up = nnx.Param(init(rngs.params(), (experts, width, mlp_dim), dtype))
        self.down = nnx.Param(init(rngs.params(), (experts, mlp_dim, width), dtype))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        flat = inputs.reshape(-1, inputs.shape[-1])
        weights, chosen = self.route(flat)
        # every token C times, those of the same expert side by side; the expert's matrix is read once for all of them
        order = jnp.argsort(chosen.reshape(-1), stable=True)
        sizes = jnp.bincount(chosen.reshape(-1), length=self.config.num_experts).astype(jnp.int32)
        outputs = self._mlp(_permuted(jnp.repeat(flat, chosen.shape[1], axis=0), order), sizes)
        outputs = _permuted(outputs, jnp.argsort(order)).reshape(*chosen.shape, -1)
        return jnp.einsum("mcd,mc->md", outputs, weights.astype(flat.dtype)).reshape(inputs.shape)

    def route(self, flat: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens [M, D] -> weights [M, C] float32 and experts [M, C] int32, the heaviest first.

        probabilities  .1 .5 .3 .1    C = 2    experts 1 2    weights .5 .3, or normalised .625 .375
        """
        logits = flat @ self.router[...].astype(flat.dtype)
        probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
        weights, chosen = jax.lax.top_k(probabilities, self.config.experts_per_token)
        if self.config.normalize_router:
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
        return weights, chosen

    def _mlp(self, rows: jax.Array, sizes: jax.Array) -> jax.Array:
        """[M C, D], sorted by expert, and each expert's number of rows [E] -> [M C, D]."""

        def product(left: jax.Array, right: nnx.Param) -> jax.Array:
            return jax.lax.ragged_dot(left, right[...].astype(left.dtype), sizes)

        gated = ACTIVATIONS[self.config.activation](product(rows, self.gate))
        return product(gated * product(rows, self.up), self.down)


def _permuted(rows: jax.Array, order: jax.Array) -> jax.Array:
    """Rows in another order; that it is a permutation is said, so that the backward pass adds nothing up."""
    return rows.at[order].get(unique_indices=True, mode="promise_in_bounds")
