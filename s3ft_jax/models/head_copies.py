"""Key-value heads for more chips than there are heads: each head several times, so that every chip keeps whole ones.

In: an architecture, its parameters, the number of chips that share a copy of the model. Out: the same with more heads.

    8 heads on 16 chips    chip    0 1 2 3 4 5 6 7 ...
                           keeps   0 0 1 1 2 2 3 3 ...    1 / 8 of the cache, not all of it

A cache whose heads do not fall to the chips evenly is kept whole by each of them, and read whole in every step. Query
head n of N attends to key-value head n * K // N of K, and of the heads repeated c times to n * c * K // N, which is one
of its copies: the same sums of the same numbers. (The other way, to cut the cache by rows: Pope et al., arXiv
2211.05102, section 3.3.)
"""

from __future__ import annotations

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from s3ft_jax import sharding
from s3ft_jax.models.config import DecoderConfig

BY_HEAD = re.compile(r"blocks\.([kv]\.(kernel|kernel_scale|bias|lora_b)|k_norm\.(scale|bias))")
"""Parameters whose last axis counts the numbers of all key-value heads; of a norm only where it is over all heads."""


def num_copies(config: DecoderConfig, tensor: int) -> int:
    """How often each key-value head is kept by ``tensor`` chips together; 1: once, or the whole cache by every chip.

    8 heads: of 8 chips 1, of 16 chips 2, of 12 chips 3 (two heads each). Not where that spares nothing, as with one
    head, or where the query heads do not fall to so many.
    """
    wanted = math.lcm(config.num_kv_heads, tensor)
    if math.gcd(config.num_kv_heads, tensor) == 1 or config.num_heads % wanted:
        return 1
    return wanted // config.num_kv_heads


def with_copies(config: DecoderConfig, copies: int) -> DecoderConfig:
    """The architecture whose heads are kept so often."""
    return dataclasses.replace(config, num_kv_heads=copies * config.num_kv_heads)


def copied(params: nnx.State, config: DecoderConfig, copies: int, mesh: Mesh) -> nnx.State:
    """The parameters of ``with_copies``, in their places; those that no head has are shared, not copied.

    Args:
      params: of ``config``: arrays, or ``jax.ShapeDtypeStruct`` for their shapes.
      config: with each head once.
      copies: see ``num_copies``.
      mesh: where the parameters lie.
    """
    if copies == 1:
        return params
    flat = dict(nnx.to_flat_state(params))
    mine = {path: leaf.get_value() for path, leaf in flat.items() if _is_by_head(path, leaf, config)}

    def repeat(arrays: dict[tuple, jax.Array]) -> dict[tuple, jax.Array]:
        return _repeated(arrays, config.head_dim, copies)

    shapes = jax.eval_shape(repeat, mine)
    placed = sharding.placed(nnx.from_flat_state([(path, flat[path].replace(shapes[path])) for path in mine]), mesh)
    found = {path: leaf.get_value() for path, leaf in nnx.to_flat_state(placed)}
    if not isinstance(next(iter(mine.values())), jax.ShapeDtypeStruct):
        found = jax.jit(repeat, out_shardings={path: shape.sharding for path, shape in found.items()})(mine)
    kept = [(path, leaf) for path, leaf in flat.items() if path not in found]
    return nnx.from_flat_state([*kept, *((path, flat[path].replace(array)) for path, array in found.items())])


def _is_by_head(path: tuple, leaf: nnx.Variable, config: DecoderConfig) -> bool:
    name = ".".join(map(str, path))
    return bool(BY_HEAD.fullmatch(name)) and leaf.get_value().shape[-1] == config.num_kv_heads * config.head_dim


def _repeated(arrays: dict[tuple, jax.Array], head_dim: int, copies: int) -> dict[tuple, jax.Array]:
    """Layer by layer: all layers' matrices of one kind, whole on a chip, may be more than it has room for."""

    def layer(array: jax.Array) -> jax.Array:
        heads = array.reshape(*array.shape[:-1], -1, head_dim)
        return jnp.repeat(heads, copies, axis=-2).reshape(*array.shape[:-1], -1)

    return {path: jax.lax.map(layer, array) for path, array in arrays.items()}
