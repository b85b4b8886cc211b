"""Memory of one chip, from the parameters' real places: exact for what is kept, an estimate for what is temporary.

In: abstract parameters (``jax.ShapeDtypeStruct`` leaves with shardings, on a real or an abstract mesh) and the sizes of
a run. Out: bytes per chip. Temporaries are the compiler's to decide; where it can be asked (compiled.py) its answer
counts, and the estimate serves to choose a mesh and where libtpu is not installed.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh

from s3ft_jax import sharding, training
from s3ft_jax.models import kernels
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.weights import flat_params
from s3ft_jax.planning.costs import (
    GRADIENT_BYTES,
    SampleSizes,
    Split,
    TrainSizes,
    Weights,
    cache_bytes,
    cache_parts,
    layer_activations,
)


def abstract_mesh(split: Split) -> AbstractMesh:
    """A mesh without devices, enough to place parameters on paper."""
    return AbstractMesh(tuple(split), sharding.AXES)


def bytes_per_chip(tree: Any) -> int:
    """Bytes that one chip keeps of a tree of ``ShapeDtypeStruct`` leaves; leaves without a sharding count whole."""
    return sum(_numbers(leaf) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _numbers(leaf: jax.ShapeDtypeStruct) -> int:
    return math.prod(leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape))


def weights_of(
    config: DecoderConfig,
    frozen: nnx.State,
    split: Split,
    activation_bytes: int,
    state: training.TrainState | None = None,
) -> Weights:
    """Bytes of the parameters, see ``Weights``.

    Args:
      config: the decoder's.
      frozen: parameters that do not learn, in their places (``lowering``).
      split: sizes of the mesh's axes.
      activation_bytes: of one number of the stream.
      state: those that learn, and the optimizer's state; None when sampling.
    """
    used = experts = head = gathered = gathered_trainable = layers = 0
    learning, moments = (state.trainable, (state.opt_state, state.average)) if state is not None else ({}, {})
    trainable = flat_params(learning) if learning else {}
    for path, leaf in (trainable | flat_params(frozen)).items():
        if path == "positions" or (path == "embedding" and not config.tie_embeddings):
            continue
        numbers = math.prod(leaf.shape) // (
            split.tensor if "tensor" in jax.tree.leaves(tuple(leaf.sharding.spec)) else 1
        )
        narrow = numbers * min(leaf.dtype.itemsize, activation_bytes)
        used += numbers * leaf.dtype.itemsize
        experts += numbers * leaf.dtype.itemsize if path.startswith("blocks.experts.") else 0
        head += numbers * leaf.dtype.itemsize if path in ("embedding", "head") else 0
        gathered += narrow
        gathered_trainable += narrow if path in trainable else 0
        layers += narrow if path.startswith("blocks.") else 0
    return Weights(
        num_trainable=sum(map(_numbers, jax.tree.leaves(learning))),
        trainable=bytes_per_chip(learning),
        frozen=bytes_per_chip(frozen),
        optimizer=bytes_per_chip(moments),
        used=used,
        experts=experts,
        head=head,
        gathered=gathered,
        gathered_trainable=gathered_trainable,
        gathered_layer=layers // config.num_layers,
    )


def train_temporaries(config: DecoderConfig, sizes: TrainSizes, weights: Weights, split: Split) -> int:
    """Estimate of what a step needs beside state and batch, bytes per chip.

    Float32 sums of gradients; one micro-batch's gradients; what the layers keep for the backward pass; one layer's
    gathered weights twice (one in use, one on the way) and their gradients; float32 logits twice (values, gradients).
    """
    tokens = sizes.rows // split.row_parts * sizes.length
    gradients = GRADIENT_BYTES * weights.num_trainable + weights.trainable
    scores = 0
    if sizes.attention == "xla":  # one layer's scores and weights in float32, of all layers where none are recomputed
        scores = 2 * 4 * tokens * sizes.length * config.num_heads // split.tensor
        scores *= config.num_layers if sizes.remat == "none" else 1
    if sizes.attention == "chunked":  # of the queries of one chunk alone
        scores = 2 * 4 * tokens * min(kernels.CHUNK, sizes.length) * config.num_heads // split.tensor
    kept = config.num_layers * layer_activations(config, sizes.remat, split.tensor)
    working = layer_activations(config, "none", split.tensor) if sizes.remat != "none" else 0
    activations = round(tokens * (kept + 2 * working) * sizes.activation_bytes)
    logits = 2 * 4 * sizes.rows // split.row_parts * sizes.loss_places * config.vocab_size // split.tensor
    gathered = (3 if split.fsdp > 1 else 1) * weights.gathered_layer
    return gradients + activations + scores + logits + gathered


def prefill_temporaries(config: DecoderConfig, sizes: SampleSizes, split: Split) -> int:
    """Estimate for a prefill: one layer's activations and weights; the cache it makes is its output, and the kernel
    keeps the scores on the chip."""
    tokens = sizes.prompts * sizes.prompt_length
    return round(2 * tokens * layer_activations(config, "none", split.tensor) * sizes.activation_bytes)


def decode_temporaries(config: DecoderConfig, sizes: SampleSizes, split: Split) -> int:
    """Estimate for a decode chunk: logits, weights and running sums over the vocabulary. The cache is not copied."""
    return 4 * 4 * sizes.slots * config.vocab_size // split.tensor


def cache_per_chip(config: DecoderConfig, rows: int, length: int, number_bytes: int, split: Split) -> int:
    """Bytes of the cache of ``rows`` x ``length``."""
    return rows * length * cache_bytes(config, number_bytes) // cache_parts(config, split)


def number_bytes(dtype: str) -> int:
    """Bytes of a number of a dtype's name."""
    return jnp.dtype(dtype).itemsize
