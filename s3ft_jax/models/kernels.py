"""Which implementation computes attention over whole rows (training, scoring): chosen here and nowhere else.

    xla      the reference, attention.attend: scores [B, N, T, T] and, fused into them, the mask
    chunked  the same sums over a few queries at a time, recomputed in the backward pass: nothing is quadratic in T
    cudnn    cuDNN's fused attention on NVIDIA GPUs (jax.nn.dot_product_attention); bfloat16 or float16. The scores stay
             on the chip; packed rows need their mask in memory, [B, 1, C, T] for at most C = 2,048 queries at a time
    splash   Pallas kernel for TPUs (jax.experimental.pallas.ops.tpu.splash_attention); mask blocks outside the causal
             triangle and the window are skipped, segments are compared inside the kernel
    tree     rows that are prefix trees (tree_attention.py): the scorer's, and no choice of the config

The fast ones know who comes first by place in the row, so the positions of a segment must rise by one from token to
token, as ``batches.build_batch`` lays them out; the reference reads the positions themselves. Axes as in
attention.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from s3ft_jax.models.attention import attend, segment_mask, within
from s3ft_jax.models.tree_attention import Tree, attend_along_paths
from s3ft_jax.sharding import ROWS, each_device

IMPLEMENTATIONS = ("auto", "xla", "chunked", "cudnn", "splash")
"""What ``train.attention`` may be."""
TREE = "tree"
"""Attention over rows that are prefix trees."""
CHUNK = 256
"""Queries of one chunk."""
MASKED = 2048
"""Queries whose mask cuDNN gets at a time; up to this length a row is one part, and nothing is computed twice."""
BLOCK = 512
"""Largest tile of the splash kernel, in queries and in keys; maxtext's default (configs/base.yml, sa_block_q)."""
LANES = 128
"""A TPU's registers are this wide; lengths and head widths are padded to a multiple."""


class AttentionError(ValueError):
    """The attention asked for cannot be had. The message names the config key and the choices."""


@dataclasses.dataclass(frozen=True)
class Attention:
    """How attention over whole rows is computed; static, so a part of the program's key.

    Attributes:
      implementation: one of ``IMPLEMENTATIONS`` without auto (see ``choose``), or ``TREE``.
      mesh: the devices the arrays lie on; None: one device. A kernel is run by each device on its own rows and heads.
      interpret: run Pallas kernels as plain JAX, to test them on a CPU.
      is_replica: it is computed inside a ``shard_map`` over data and fsdp: the rows it sees are all its own.
    """

    implementation: str = "xla"
    mesh: Mesh | None = None
    interpret: bool = False
    is_replica: bool = False

    def __post_init__(self) -> None:
        if self.implementation not in (*IMPLEMENTATIONS[1:], TREE):
            raise AttentionError(f"Attention: no implementation {self.implementation!r}")

    def __call__(
        self,
        queries: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        positions: jax.Array,
        segments: jax.Array | Tree,
        *,
        windows: Sequence[int] = (0,),
        kind: jax.Array | None = None,
        scale: float | None = None,
        softcap: float = 0.0,
    ) -> jax.Array:
        """Every token attends to its own segment up to itself.

        Args:
          queries: [B, T, N, H]. keys, values: [B, T, K, H].
          positions, segments: [B, T] int32; segment 0 is padding. For ``TREE`` the rows' tree in place of segments.
          windows: the kinds of sliding window that layers have, in tokens, 0: unlimited.
          kind: int32 scalar, traced: which of ``windows`` this layer has; None: the first.
          scale, softcap: see ``attention.attend``.

        Returns:
          [B, T, N, H]. What stands at padding is finite and meaningless.

        Raises:
          AttentionError: cudnn with a softcap or in float32.
        """
        scale = queries.shape[-1] ** -0.5 if scale is None else scale
        rule = functools.partial(self._with_window, scale=scale, softcap=softcap)
        arrays = (queries, keys, values, positions, segments)
        if kind is None or len(windows) == 1:
            return rule(*arrays, window=windows[0])
        if self.implementation in ("xla", "chunked", TREE):
            return rule(*arrays, window=jnp.asarray(windows, jnp.int32)[kind])
        # the kernels want a window they know when they are compiled: one program per kind, chosen by the layer
        return jax.lax.switch(kind, [functools.partial(rule, window=window) for window in windows], *arrays)

    def _with_window(self, queries, keys, values, positions, segments, *, window, scale, softcap):
        rule: Callable[..., jax.Array] = {
            "xla": _reference,
            "chunked": _chunked,
            "cudnn": _cudnn,
            "splash": functools.partial(_splash, interpret=self.interpret),
            TREE: attend_along_paths,
        }[self.implementation]
        rule = functools.partial(rule, window=window, scale=scale, softcap=softcap)
        if self.mesh is None or self.implementation in ("xla", "chunked"):
            return rule(queries, keys, values, positions, segments)
        heads_divide = keys.shape[2] % self.mesh.shape["tensor"] == 0
        rows = None if self.is_replica else ROWS
        heads = PartitionSpec(rows, None, "tensor" if heads_divide else None, None)
        places = (heads, heads, heads, PartitionSpec(rows), PartitionSpec(rows))
        return each_device(rule, self.mesh, places, heads, self.is_replica)(queries, keys, values, positions, segments)


def choose(implementation: str, platform: str, activation_dtype: str, softcap: float, mesh: Mesh | None) -> Attention:
    """The config's ``train.attention`` -> what will run.

    auto is splash on a TPU, cudnn on an NVIDIA GPU where it can (bfloat16, no softcap), chunked on other GPUs and xla
    on a CPU.

    Raises:
      AttentionError: an implementation that is not known, or that this platform, dtype or model cannot have.
    """
    if implementation not in IMPLEMENTATIONS:
        raise AttentionError(
            f"train.attention = {implementation!r} is not known; choose from {', '.join(IMPLEMENTATIONS)}"
        )
    fused = activation_dtype == "bfloat16" and not softcap
    if implementation == "auto":
        by_platform = {"tpu": "splash", "cuda": "cudnn" if fused else "chunked", "gpu": "cudnn" if fused else "chunked"}
        implementation = by_platform.get(platform, "chunked" if platform == "rocm" else "xla")
    needs = {"splash": ("tpu",), "cudnn": ("gpu", "cuda")}.get(implementation)
    if needs and platform not in needs:
        raise AttentionError(f"train.attention = {implementation!r} needs {needs[0]}, this is {platform}; choose auto")
    if implementation == "cudnn" and not fused:
        raise AttentionError(
            "train.attention = 'cudnn' needs train.activation_dtype=bfloat16 and a model without soft caps on its "
            f"scores; found {activation_dtype} and a cap of {softcap}. Choose auto or chunked."
        )
    return Attention(implementation, mesh)


def _reference(queries, keys, values, positions, segments, *, window, scale, softcap) -> jax.Array:
    mask = segment_mask(positions, segments)
    if not isinstance(window, int) or window:
        mask &= within(positions, positions, jnp.asarray(window))
    return attend(queries, keys.swapaxes(1, 2), values.swapaxes(1, 2), mask, scale=scale, softcap=softcap)


def _chunked(queries, keys, values, positions, segments, *, window, scale, softcap) -> jax.Array:
    keys, values = keys.swapaxes(1, 2), values.swapaxes(1, 2)

    def part(own: jax.Array, mask: jax.Array) -> jax.Array:
        return attend(own, keys, values, mask, scale=scale, softcap=softcap)

    return _by_queries(part, CHUNK, queries, positions, segments, window)


def _cudnn(queries, keys, values, positions, segments, *, window, scale, softcap, implementation="cudnn") -> jax.Array:
    """``implementation`` of jax.nn.dot_product_attention: a CPU has xla only, and tests what is around it with that."""
    if softcap or (queries.dtype not in (jnp.bfloat16, jnp.float16) and implementation == "cudnn"):
        raise AttentionError(f"cudnn attention: no soft caps ({softcap}) and no {queries.dtype}; choose chunked")
    fused = functools.partial(jax.nn.dot_product_attention, scale=scale, implementation=implementation)

    def part(own: jax.Array, mask: jax.Array) -> jax.Array:
        return fused(own, keys, values, mask=mask[:, None])

    return _by_queries(part, MASKED, queries, positions, segments, window)


def _by_queries(
    part: Callable[[jax.Array, jax.Array], jax.Array],
    most: int,
    queries: jax.Array,
    positions: jax.Array,
    segments: jax.Array,
    window: int | jax.Array,
) -> jax.Array:
    """Attention for up to ``most`` queries at a time, each part made again in the backward pass; one part is no loop.

    Args:
      part: queries [B, C, N, H], mask [B, C, T] -> [B, C, N, H].
      most: C.
      queries: [B, T, N, H]. positions, segments: [B, T].
      window: see ``Attention.__call__``.
    """
    batch, length, num_heads, head_dim = queries.shape
    num_chunks = -(-length // most)
    size = -(-length // num_chunks)

    def chunks(array: jax.Array) -> jax.Array:
        """[B, T, ...] -> [chunks, B, size, ...], the last one filled up with zeros: segment 0, padding."""
        filled = jnp.pad(array, [(0, 0), (0, num_chunks * size - length), *[(0, 0)] * (array.ndim - 2)])
        return filled.reshape(batch, num_chunks, size, *array.shape[2:]).swapaxes(0, 1)

    def one(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        own_queries, own_positions, own_segments = chunk
        mask = (own_segments[:, :, None] == segments[:, None, :]) & (segments[:, None, :] > 0)
        mask &= positions[:, None, :] <= own_positions[:, :, None]
        if not isinstance(window, int) or window:
            mask &= within(own_positions, positions, jnp.asarray(window))
        return part(own_queries, mask)

    if num_chunks == 1:
        return one((queries, positions, segments))
    mixed = jax.lax.map(jax.checkpoint(one), (chunks(queries), chunks(positions), chunks(segments)))
    return mixed.swapaxes(0, 1).reshape(batch, num_chunks * size, num_heads, head_dim)[:, :length]


def _splash(queries, keys, values, positions, segments, *, window, scale, softcap, interpret) -> jax.Array:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask

    _, length, num_heads, head_dim = queries.shape
    padded = -(-length // LANES) * LANES
    block = max(size for size in range(LANES, BLOCK + 1, LANES) if padded % size == 0)

    def laid_out(heads: jax.Array) -> jax.Array:
        """[B, T, heads, H] -> [B, heads, padded T, padded H]; zeros change no product."""
        width = -(-head_dim // LANES) * LANES
        filled = jnp.pad(heads, [(0, 0), (0, padded - length), (0, 0), (0, width - head_dim)])
        return filled.swapaxes(1, 2)

    shape = (padded, padded)
    causal = splash_attention_mask.CausalMask(shape)
    local = splash_attention_mask.LocalMask(shape, (window - 1, 0), 0) if window else causal
    kernel = splash_attention_kernel.make_splash_mha(
        splash_attention_mask.MultiHeadMask([local] * num_heads),
        block_sizes=splash_attention_kernel.BlockSizes(*[block] * 8),
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=softcap or None,
        interpret=interpret,
    )
    own = jnp.pad(segments, [(0, 0), (0, padded - length)])
    pairs = splash_attention_kernel.SegmentIds(own, own)
    # the kernel has no scale of its own
    scaled = queries * jnp.asarray(scale, queries.dtype)
    mixed = _at_own_precision(kernel, laid_out(scaled), laid_out(keys), laid_out(values), pairs)
    return mixed.swapaxes(1, 2)[:, :length, :, :head_dim]


def _at_own_precision(kernel, queries, keys, values, pairs) -> jax.Array:
    """The kernel over every row, its products of 16-bit arrays in one pass, forward and backward.

    The stages ask for float32 products in full (``jax_default_matmul_precision``), which the compiler of TPU kernels
    refuses where a factor is bfloat16 ("Bad lhs type"). Products of bfloat16 numbers are exact in one pass anyway. The
    backward pass is traced after this function has returned, hence a rule of its own.
    """
    precision = "highest" if queries.dtype == jnp.float32 else "default"

    @jax.custom_vjp
    def run(kernel, queries, keys, values, pairs):  # the kernel holds arrays of its mask, so it is an argument too
        with jax.default_matmul_precision(precision):
            return jax.vmap(kernel)(queries, keys, values, pairs)

    def forward(kernel, queries, keys, values, pairs):
        with jax.default_matmul_precision(precision):
            return jax.vjp(lambda *heads: jax.vmap(kernel)(*heads, pairs), queries, keys, values)

    def backward(pull, gradient):
        with jax.default_matmul_precision(precision):
            return None, *pull(gradient), None

    run.defvjp(forward, backward)
    return run(kernel, queries, keys, values, pairs)
