"""The decoder: token ids -> logits. Training, packing, prefill and decode are one function.

Axes: B batch, T query position, S cache slot, N query heads, K key-value heads, H head width, D model width,
F mlp width, V vocabulary, L layers.

The layers are stacked: each parameter of a block has a leading axis L and the blocks run as one ``jax.lax.scan``, so
that compile time does not grow with depth. Parameters are NNX variables; jitted code takes the pure state from
``nnx.split`` and merges inside.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from s3ft_jax.models.attention import attend, cache_mask, rotate, segment_mask
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.lora import PROJECTIONS, Adapter, Lora, merged


class KVCache(NamedTuple):
    """Keys and values seen so far. The token at position p lies in slot p, so the mask needs nothing else.

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


class Projection(nnx.Module):
    """A matrix product with optional bias and optional low-rank adapter. All seven projections are this class."""

    def __init__(self, width_in: int, width_out: int, bias: bool, lora: Lora | None, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.kernel = nnx.Param(init(rngs.params(), (width_in, width_out), dtype))
        self.bias = nnx.Param(jnp.zeros((width_out,), dtype)) if bias else None
        self.lora = None
        if lora is not None:
            self.add_adapter(lora, rngs)

    def add_adapter(self, lora: Lora, rngs: nnx.Rngs) -> None:
        """Add a low-rank adapter; the kernel may have leading axes (layers), and each gets its own.

        a is random and b is zero, so that the adapted model starts out equal to the base (LoRA paper, section 4.1);
        the spread of a is that of peft (tuners/lora/layer.py: kaiming uniform with a = sqrt(5)).
        """
        *layers, width_in, width_out = self.kernel.shape
        bound = width_in**-0.5
        start = jax.random.uniform(rngs.params(), (*layers, width_in, lora.rank), jnp.float32, -bound, bound)
        self.lora_a = Adapter(start)
        self.lora_b = Adapter(jnp.zeros((*layers, lora.rank, width_out), jnp.float32))
        self.lora = lora

    def __call__(self, inputs: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """[..., in] -> [..., out]; ``dropout_key`` switches the adapter's dropout on."""
        outputs = inputs @ self.kernel[...].astype(inputs.dtype)
        if self.bias is not None:
            outputs = outputs + self.bias[...].astype(inputs.dtype)
        if self.lora is not None:
            narrow = inputs
            if dropout_key is not None and self.lora.dropout > 0.0:
                keep = 1.0 - self.lora.dropout
                narrow = jnp.where(jax.random.bernoulli(dropout_key, keep, inputs.shape), inputs / keep, 0.0)
            narrow = narrow.astype(inputs.dtype) @ self.lora_a[...].astype(inputs.dtype)
            outputs = outputs + (narrow @ self.lora_b[...].astype(inputs.dtype)) * self.lora.scale
        return outputs

    def merge_adapter(self) -> None:
        """Add the adapter into the kernel and drop it."""
        if self.lora is not None:
            self.kernel[...] = merged(self.kernel[...], self.lora_a[...], self.lora_b[...], self.lora.scale)
            self.lora = None
            del self.lora_a, self.lora_b


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * scale, in float32 (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float, dtype: jnp.dtype):
        self.scale = nnx.Param(jnp.ones((width,), dtype))
        self.eps = eps

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        wide = inputs.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.eps)
        return wide.astype(inputs.dtype) * self.scale[...].astype(inputs.dtype)


class Block(nnx.Module):
    """One layer: attention and a gated MLP (Shazeer, arXiv 2002.05202), each behind a norm and added to the stream."""

    def __init__(self, config: DecoderConfig, lora: Lora | None, dtype: jnp.dtype, rngs: nnx.Rngs):
        def projection(name: str, width_in: int, width_out: int, bias: bool) -> Projection:
            adapted = lora if lora is not None and name in lora.targets else None
            return Projection(width_in, width_out, bias, adapted, dtype, rngs)

        width, heads = config.model_dim, config.num_heads * config.head_dim
        kv_heads = config.num_kv_heads * config.head_dim
        self.config = config
        self.attention_norm = RMSNorm(width, config.norm_eps, dtype)
        self.q = projection("q", width, heads, config.qkv_bias)
        self.k = projection("k", width, kv_heads, config.qkv_bias)
        self.v = projection("v", width, kv_heads, config.qkv_bias)
        self.o = projection("o", heads, width, config.out_bias)
        self.mlp_norm = RMSNorm(width, config.norm_eps, dtype)
        self.gate = projection("gate", width, config.mlp_dim, config.mlp_bias)
        self.up = projection("up", width, config.mlp_dim, config.mlp_bias)
        self.down = projection("down", config.mlp_dim, width, config.mlp_bias)

    def heads(
        self, stream: jax.Array, positions: jax.Array, frequencies: jax.Array, keys: list[jax.Array | None]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[B, T, D] -> queries [B, T, N, H], keys and values [B, T, K, H], queries and keys turned by rope."""
        batch, length, _ = stream.shape
        normed = self.attention_norm(stream)
        q, k, v = (
            layer(normed, key).reshape(batch, length, -1, self.config.head_dim)
            for layer, key in zip((self.q, self.k, self.v), keys[:3], strict=True)
        )
        return rotate(q, positions, frequencies), rotate(k, positions, frequencies), v

    def finish(self, stream: jax.Array, mixed: jax.Array, keys: list[jax.Array | None]) -> jax.Array:
        """Attention's output [B, T, N, H] and the stream [B, T, D] -> the stream after this layer."""
        batch, length, _ = stream.shape
        stream = stream + self.o(mixed.reshape(batch, length, -1), keys[3])
        normed = self.mlp_norm(stream)
        activation = jax.nn.silu if self.config.activation == "silu" else jax.nn.gelu
        gated = activation(self.gate(normed, keys[4])) * self.up(normed, keys[5])
        return stream + self.down(gated, keys[6])


class Decoder(nnx.Module):
    """A decoder-only language model.

    Args:
      config: architecture.
      lora: adapters, or None.
      dtype: of the parameters.
      rngs: random keys for the start values.
    """

    def __init__(
        self, config: DecoderConfig, *, rngs: nnx.Rngs, lora: Lora | None = None, dtype: jnp.dtype = jnp.float32
    ):
        self.config = config
        self.lora = lora
        init = nnx.initializers.normal(0.02)
        self.embedding = nnx.Param(init(rngs.params(), (config.vocab_size, config.model_dim), dtype))
        layer_keys = jax.random.split(rngs.params(), config.num_layers)
        self.blocks = nnx.vmap(lambda key: Block(config, lora, dtype, nnx.Rngs(key)))(layer_keys)
        self.final_norm = RMSNorm(config.model_dim, config.norm_eps, dtype)
        self.head = (
            None
            if config.tie_embeddings
            else nnx.Param(init(rngs.params(), (config.model_dim, config.vocab_size), dtype))
        )

    def hidden(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        segments: jax.Array | None = None,
        cache: KVCache | None = None,
        *,
        dropout_key: jax.Array | None = None,
        remat: bool = False,
        activation_dtype: jnp.dtype = jnp.float32,
    ) -> tuple[jax.Array, KVCache | None]:
        """Token ids -> final normed activations, and the cache with these tokens added.

        Args:
          tokens, positions: [B, T] int32. With a cache, position p is also the slot.
          segments: [B, T] int32, 0 = padding; needed without a cache, unused with one.
          cache: written in place (functionally) at ``positions``; slots beyond S are dropped.
          dropout_key: switches adapter dropout on (training).
          remat: recompute each block in the backward pass instead of keeping its activations.
          activation_dtype: of the stream.

        Returns:
          [B, T, D] and the new cache (None if none was given).

        Raises:
          ValueError: neither cache nor segments given.
        """
        if cache is None and segments is None:
            raise ValueError("Decoder.hidden needs segments when there is no cache")
        graphdef, params = nnx.split(self.blocks)
        frequencies = jnp.asarray(self.config.rope.frequencies(self.config.head_dim), jnp.float32)
        mask = segment_mask(positions, segments) if cache is None else cache_mask(positions, cache.keys.shape[3])
        rows = jnp.arange(tokens.shape[0])[:, None]
        stream = self.embedding[...][tokens].astype(activation_dtype)

        def layer(carry, row):
            stream, cache = carry
            index, params = row
            block = nnx.merge(graphdef, params)
            keys = [None] * 7
            if dropout_key is not None:
                keys = list(jax.random.split(jax.random.fold_in(dropout_key, index), 7))
            q, k, v = block.heads(stream, positions, frequencies, keys)
            if cache is not None:
                cache = KVCache(
                    cache.keys.at[index, rows, :, positions].set(k.astype(cache.keys.dtype), mode="drop"),
                    cache.values.at[index, rows, :, positions].set(v.astype(cache.values.dtype), mode="drop"),
                )
                k, v = cache.keys[index].astype(q.dtype), cache.values[index].astype(q.dtype)
            else:
                k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
            return (block.finish(stream, attend(q, k, v, mask), keys), cache), None

        body = jax.checkpoint(layer) if remat else layer
        (stream, cache), _ = jax.lax.scan(body, (stream, cache), (jnp.arange(self.config.num_layers), params))
        return self.final_norm(stream), cache

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> logits [..., V] in float32."""
        if self.head is None:
            return jnp.einsum(
                "...d,vd->...v", hidden, self.embedding[...].astype(hidden.dtype), preferred_element_type=jnp.float32
            )
        return jnp.einsum(
            "...d,dv->...v", hidden, self.head[...].astype(hidden.dtype), preferred_element_type=jnp.float32
        )

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        segments: jax.Array | None = None,
        cache: KVCache | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Token ids [B, T] -> logits [B, T, V] float32, and the cache. Arguments as in ``hidden``."""
        hidden, cache = self.hidden(tokens, positions, segments, cache)
        return self.unembed(hidden), cache

    def add_adapters(self, lora: Lora, rngs: nnx.Rngs) -> None:
        """Give the projections named in ``lora.targets`` an adapter, in every layer (in place)."""
        for name in lora.targets:
            getattr(self.blocks, name).add_adapter(lora, rngs)
        self.lora = lora

    def merge_adapters(self) -> None:
        """Add every adapter into its kernel, so that the model is a plain one again (in place)."""
        for name in PROJECTIONS:
            getattr(self.blocks, name).merge_adapter()
        self.lora = None
