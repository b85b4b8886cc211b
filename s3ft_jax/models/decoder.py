"""The decoder: token ids -> logits. Training, packing, prefill and decode are one function.

Axes: B batch, T query position, S cache slot, N query heads, K key-value heads, H head width, D model width,
F mlp width, V vocabulary, L layers.

The layers are stacked: each parameter of a block has a leading axis L and the blocks run as one ``jax.lax.scan``, so
that compile time does not grow with depth. Parameters are NNX variables; jitted code takes the pure state from
``nnx.split`` and merges inside.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from s3ft_jax.models.activations import ACTIVATIONS
from s3ft_jax.models.attention import rotate
from s3ft_jax.models.cache import Cache, LayeredCache
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import NO_ROPE, DecoderConfig
from s3ft_jax.models.kernels import Attention
from s3ft_jax.models.lora import PROJECTIONS, Lora, LoraError
from s3ft_jax.models.mixture import Mixture
from s3ft_jax.models.projection import Projection
from s3ft_jax.models.quantization import check_dtype
from s3ft_jax.models.tree_attention import Tree

REMAT: dict[str, Callable[[Callable], Callable]] = {
    "none": lambda layer: layer,
    "dots": functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable),
    "full": jax.checkpoint,
}
"""What the backward pass computes again of each layer: nothing; all but the matrix products with parameters; all."""


class Norm(nnx.Module):
    """A norm over the last axis, in float32: root mean square (Zhang and Sennrich, arXiv 1910.07467), or layer norm."""

    def __init__(self, config: DecoderConfig, width: int, dtype: jnp.dtype):
        self.scale = nnx.Param(jnp.full((width,), 1.0 - config.norm_offset, dtype))
        self.bias = nnx.Param(jnp.zeros((width,), dtype)) if config.norm == "layer" else None
        self.config = config

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        wide = inputs.astype(jnp.float32)
        if self.bias is not None:
            wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + self.config.norm_eps)
        if self.config.norm_offset:
            wide = wide * (self.scale[...].astype(jnp.float32) + self.config.norm_offset)
            return wide.astype(inputs.dtype)
        outputs = wide.astype(inputs.dtype) * self.scale[...].astype(inputs.dtype)
        return outputs if self.bias is None else outputs + self.bias[...].astype(inputs.dtype)


class Table(NamedTuple):
    """What differs between layers: one row per layer, scanned with the layers' parameters. None: all layers alike.

    Attributes:
      frequencies: [L, R/2] float32, radians per position; zeros where a layer has no rope.
      scales: [L] float32, on cosine and sine.
      windows: [L] int32, the layer's window as a row of ``DecoderConfig.window_kinds``.
    """

    frequencies: jax.Array | None = None
    scales: jax.Array | None = None
    windows: jax.Array | None = None

    @classmethod
    def of(cls, config: DecoderConfig) -> Table:
        """The table of an architecture."""
        kinds = config.window_kinds
        windows = None
        if len(kinds) > 1:
            windows = jnp.asarray([kinds.index(window) for window in config.layer_windows], jnp.int32)
        if not config.layer_ropes:
            return cls(windows=windows)
        width = config.rope_width
        ropes = [(rope.frequencies(width, config.max_positions), rope.scale) for rope in config.ropes]
        still = ([0.0] * (width // 2), 1.0)  # turning by 0 is the identity
        rows = [ropes[index] if index != NO_ROPE else still for index in config.layer_ropes]
        frequencies, scales = (jnp.asarray([row[part] for row in rows], jnp.float32) for part in (0, 1))
        return cls(frequencies, scales, windows)


class Block(nnx.Module):
    """One layer: attention and an MLP (gated: Shazeer, arXiv 2002.05202), each added to the stream."""

    def __init__(self, config: DecoderConfig, lora: Lora | None, dtype: jnp.dtype, rngs: nnx.Rngs):
        def projection(name: str, width_in: int, width_out: int, bias: bool) -> Projection:
            adapted = lora if lora is not None and name in lora.targets else None
            return Projection(width_in, width_out, bias, adapted, dtype, rngs)

        width, heads = config.model_dim, config.num_heads * config.head_dim
        kv_heads = config.num_kv_heads * config.head_dim
        self.config = config
        self.attention_norm = Norm(config, width, dtype) if config.pre_norms else None
        self.q = projection("q", width, heads, config.qkv_bias)
        self.k = projection("k", width, kv_heads, config.qkv_bias)
        self.v = projection("v", width, kv_heads, config.qkv_bias)
        self.o = projection("o", heads, width, config.out_bias)
        normed = {"none": None, "head": (config.head_dim, config.head_dim), "full": (heads, kv_heads)}[config.qk_norm]
        self.q_norm, self.k_norm = (Norm(config, size, dtype) for size in normed) if normed else (None, None)
        self.attention_post_norm = Norm(config, width, dtype) if config.post_norms else None
        self.mlp_norm = Norm(config, width, dtype) if config.pre_norms else None
        dense, bias = not config.num_experts, config.mlp_bias
        self.experts = None if dense else Mixture(config, dtype, rngs)
        gated = dense and config.gated_mlp
        self.gate = projection("gate", width, config.mlp_dim, bias) if gated else None
        self.up = projection("up", width, config.mlp_dim, bias) if dense else None
        self.down = projection("down", config.mlp_dim, width, bias) if dense else None
        self.mlp_post_norm = Norm(config, width, dtype) if config.post_norms else None

    def heads(
        self,
        stream: jax.Array,
        positions: jax.Array,
        frequencies: jax.Array,
        scale: Any,
        keys: list[jax.Array | None],
        for_kernel: bool = False,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[B, T, D] -> queries [B, T, N, H], keys and values [B, T, K, H], queries and keys turned by rope.

        ``for_kernel``: a decode kernel takes them. XLA would cut the matrices into heads instead of the products, and
        keep a copy of all layers' matrices, turned round, for that.
        """
        batch, length, _ = stream.shape
        normed = stream if self.attention_norm is None else self.attention_norm(stream)

        def split(flat: jax.Array, norm: Norm | None) -> jax.Array:
            if norm is not None and self.config.qk_norm == "full":
                flat = norm(flat)
            heads = flat.reshape(batch, length, -1, self.config.head_dim)
            return norm(heads) if norm is not None and self.config.qk_norm == "head" else heads

        q, k, v = (layer(normed, key) for layer, key in zip((self.q, self.k, self.v), keys[:3], strict=True))
        if for_kernel:
            q, k, v = jax.lax.optimization_barrier((q, k, v))
        q, k = split(q, self.q_norm), split(k, self.k_norm)
        if not self.config.learned_positions:
            q, k = (rotate(heads, positions, frequencies, scale) for heads in (q, k))
        return q, k, split(v, None)

    def finish(self, stream: jax.Array, mixed: jax.Array, keys: list[jax.Array | None]) -> jax.Array:
        """Attention's output [B, T, N, H] and the stream [B, T, D] -> the stream after this layer."""
        batch, length, _ = stream.shape
        stream = self._add(stream, self.o(mixed.reshape(batch, length, -1), keys[3]), self.attention_post_norm)
        normed = stream if self.mlp_norm is None else self.mlp_norm(stream)
        return self._add(stream, self.mlp(normed, keys[4:]), self.mlp_post_norm)

    def mlp(self, normed: jax.Array, keys: list[jax.Array | None]) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        if self.experts is not None:
            return self.experts(normed)
        activation = ACTIVATIONS[self.config.activation]
        if self.gate is None:
            return self.down(activation(self.up(normed, keys[1])), keys[2])
        return self.down(activation(self.gate(normed, keys[0])) * self.up(normed, keys[1]), keys[2])

    def _add(self, stream: jax.Array, update: jax.Array, norm: Norm | None) -> jax.Array:
        update = update if norm is None else norm(update)
        return stream + (update if self.config.residual_scale == 1.0 else update * self.config.residual_scale)


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
        self.final_norm = Norm(config, config.model_dim, dtype)
        head_shape, table_shape = (config.model_dim, config.vocab_size), (config.max_positions, config.model_dim)
        self.head = None if config.tie_embeddings else nnx.Param(init(rngs.params(), head_shape, dtype))
        self.positions = nnx.Param(init(rngs.params(), table_shape, dtype)) if config.learned_positions else None

    def hidden(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        segments: jax.Array | Tree | None = None,
        cache: Cache | None = None,
        *,
        dropout_key: jax.Array | None = None,
        remat: str = "none",
        activation_dtype: jnp.dtype = jnp.float32,
        attention: Attention = Attention(),  # noqa: B008 (frozen)
        cached: CachedAttention = CachedAttention(),  # noqa: B008 (frozen)
        keep: tuple[type[Cache], jnp.dtype] | None = None,
        unroll: bool = False,
    ) -> tuple[jax.Array, Cache | None]:
        """Token ids -> final normed activations, and the cache with these tokens added, or one made of them.

        Args:
          tokens, positions: [B, T] int32. With a cache, position p is also the slot.
          segments: [B, T] int32, 0 = padding, or for rows that are prefix trees their ``Tree``; needed without a cache,
            unused with one.
          cache: written in place (functionally) at ``positions``; slots beyond S are dropped. With a ``LayeredCache``
            the layers follow each other in the program.
          dropout_key: switches adapter dropout on (training).
          remat, activation_dtype: what the backward pass recomputes, a key of ``REMAT``; of the stream.
          attention, cached: how it is computed without a cache, and with one.
          keep: instead of a cache: form and dtype of one to make of these tokens, column t of them in slot t.
          unroll: the layers one after the other in the program instead of a loop over them.

        Returns:
          [B, T, D] and the new cache (None if none was given or asked for).

        Raises:
          ValueError: neither cache nor segments given.
        """
        if cache is segments is None:
            raise ValueError("Decoder.hidden needs segments when there is no cache")
        graphdef, params = nnx.split(self.blocks)
        kinds, shared, table = self.config.window_kinds, self._rope(), Table.of(self.config)
        options = {"windows": kinds, "scale": self.config.query_scale, "softcap": self.config.attn_softcap}
        prepared = None if cache is None else cached.prepare(positions, cache, kinds)

        def layer(carry, row):
            stream, cache = carry
            index, params, own = row
            block, keys = nnx.merge(graphdef, params), [None] * 7
            if dropout_key is not None:
                keys = list(jax.random.split(jax.random.fold_in(dropout_key, index), 7))
            turn = shared if own.frequencies is None else (own.frequencies, own.scales)
            q, k, v = block.heads(stream, positions, *turn, keys, for_kernel=prepared is not None)
            if cache is not None:
                place = {"layer": index, "positions": positions, "kind": own.windows}
                mixed, cache = cached(q, k, v, cache, prepared, **place, **options)
            else:
                mixed = attention(q, k, v, positions, segments, kind=own.windows, **options)
            kept = None if keep is None else keep[0].laid_out(k, v, keep[1])
            return (block.finish(stream, mixed, keys), cache), kept

        start, apart = self._embed(tokens, positions, activation_dtype), LayeredCache in (type(cache), keep and keep[0])
        (stream, cache), kept = self._run_layers(REMAT[remat](layer), (start, cache), (params, table), apart, unroll)
        return self.final_norm(stream), cache if keep is None else keep[0].of(kept)

    def _run_layers(self, layer: Callable, carry: tuple, rows: tuple, apart: bool, unroll: bool) -> tuple[tuple, Any]:
        """Scan over the layers; ``rows`` are what each has of its own, stacked.

        ``apart``: they follow each other in the program, and what they give is in a list instead of stacked.
        """
        numbers, kept = range(self.config.num_layers), []
        if not apart:
            return jax.lax.scan(layer, carry, (jnp.array(numbers), *rows), unroll=unroll)
        for number in numbers:
            carry, one = layer(carry, (number, *jax.tree.map(operator.itemgetter(number), rows)))
            kept.append(one)
        return carry, kept

    def _rope(self) -> tuple[jax.Array, float]:
        """Frequencies and scale of the rope that all layers share, as constants of the program."""
        rope = self.config.ropes[0]
        frequencies = rope.frequencies(self.config.rope_width, self.config.max_positions)
        return jnp.asarray(frequencies, jnp.float32), rope.scale

    def _embed(self, tokens: jax.Array, positions: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Token ids [B, T] -> stream [B, T, D]."""
        stream = self.embedding[...][tokens].astype(dtype)
        if self.config.embed_scale != 1.0:
            # rounded to the stream's dtype first, as transformers does (models/gemma/modeling_gemma.py)
            stream = stream * jnp.asarray(self.config.embed_scale, dtype)
        if self.positions is not None:
            stream = stream + self.positions[...][positions].astype(dtype)
        return stream

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> logits [..., V] in float32."""
        if self.head is None:
            logits = jnp.einsum(
                "...d,vd->...v", hidden, self.embedding[...].astype(hidden.dtype), preferred_element_type=jnp.float32
            )
        else:
            logits = jnp.einsum(
                "...d,dv->...v", hidden, self.head[...].astype(hidden.dtype), preferred_element_type=jnp.float32
            )
        if self.config.logit_scale != 1.0:
            logits = logits * self.config.logit_scale
        if self.config.final_softcap:
            logits = self.config.final_softcap * jnp.tanh(logits / self.config.final_softcap)
        return logits

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        segments: jax.Array | None = None,
        cache: Cache | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        """Token ids [B, T] -> logits [B, T, V] float32, and the cache. Arguments as in ``hidden``."""
        hidden, cache = self.hidden(tokens, positions, segments, cache)
        return self.unembed(hidden), cache

    def projections(self) -> dict[str, Projection]:
        """The projections that a layer has, by name; each holds the matrices of all layers."""
        return {name: getattr(self.blocks, name) for name in PROJECTIONS if getattr(self.blocks, name) is not None}

    def add_adapters(self, lora: Lora, rngs: nnx.Rngs) -> None:
        """Give the projections named in ``lora.targets`` an adapter, in every layer (in place).

        Raises:
          LoraError: this model lacks one of them; names it.
        """
        projections = self.projections()
        missing = [name for name in lora.targets if name not in projections]
        if missing:
            raise LoraError(f"lora.targets: this model has no {missing}; choose from {list(projections)}")
        for name in lora.targets:
            projections[name].add_adapter(lora, rngs)
        self.lora = lora

    def round_kernels(self, dtype: str) -> None:
        """Keep the kernels of all projections as ``bfloat16`` or ``int8`` (in place); empty: as they are.

        Embeddings, norms, biases, output matrix and experts stay as they are.

        Raises:
          QuantizationError: another dtype; names the config key.
        """
        check_dtype(dtype)
        for projection in self.projections().values():
            projection.round_kernel(dtype)

    def merge_adapters(self) -> None:
        """Add every adapter into its kernel, so that the model is a plain one again (in place)."""
        for projection in self.projections().values():
            projection.merge_adapter()
        self.lora = None

    def drop_adapters(self) -> None:
        """Take every adapter off, so that the model is the base again (in place)."""
        for projection in self.projections().values():
            projection.drop_adapter()
        self.lora = None
