"""The activations an MLP may have, under the names that ``DecoderConfig.activation`` uses."""

from __future__ import annotations

import functools

import jax

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
}
