"""Placement: parts of a folder's tensors, read and put where the devices want them.

In: open tensors, a weight row, a sharding. Out: the parameter as one ``jax.Array``. Axes as in models/decoder.py.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from s3ft_jax.models.families.rows import Row
from s3ft_jax.models.tensors import DTYPES, Tensors

_READERS = min(8, os.cpu_count() or 1)
"""Threads that read and turn matrices round at the same time."""


def read_row(
    tensors: Tensors, row: Row, shape: tuple[int, ...], dtype: jnp.dtype | None, sharding: jax.sharding.Sharding
) -> jax.Array:
    """One parameter, made of the tensors of its layers. The host turns matrices round: a CPU device is slower at it.

    Args:
      tensors: of the folder.
      row: which of them, and how they lie.
      shape: of the parameter, layers (and experts) first.
      dtype: of the result; None: the tensors' own, the widest where they differ.
      sharding: of the result; only the parts of this process's devices are read.
    """
    if dtype is None:
        dtype = jnp.result_type(*{DTYPES[tensors.dtype(row.tensor_name(place))] for place in row.places(shape)})
    read = _read_on_host if _on_host(sharding) else _read_by_layer
    return read(tensors, row, shape, np.dtype(dtype), sharding)


def _on_host(sharding: jax.sharding.Sharding) -> bool:
    """Whether the devices' memory is the host's."""
    return all(device.platform == "cpu" for device in sharding.device_set)


def _read_on_host(
    tensors: Tensors, row: Row, shape: tuple[int, ...], dtype: np.dtype, sharding: jax.sharding.Sharding
) -> jax.Array:
    """For CPU devices: straight into the memory that the array will have, two layers and more at a time."""

    def part(index: tuple[slice, ...]) -> np.ndarray:
        bounds = [slice(*one.indices(size)) for one, size in zip(index, shape, strict=True)]
        filled = _aligned([one.stop - one.start for one in bounds], dtype)
        layers, inner = bounds[: row.leading], bounds[row.leading :]

        def fill(local: tuple[int, ...]) -> None:
            place = tuple(one.start + number for one, number in zip(layers, local, strict=True))
            _read_piece(tensors, row, place, inner, filled[local])

        with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
            collections.deque(readers.map(fill, np.ndindex(*filled.shape[: row.leading])), maxlen=0)
        return filled

    return jax.make_array_from_callback(shape, sharding, part)


def _read_by_layer(
    tensors: Tensors, row: Row, shape: tuple[int, ...], dtype: np.dtype, sharding: jax.sharding.Sharding
) -> jax.Array:
    """For accelerators: while one layer is put in its place on the devices, the next is read."""
    inner = shape[row.leading :]
    within = _inner_sharding(row.leading, sharding)

    def tensor(place: tuple[int, ...]) -> jax.Array:
        source = DTYPES[tensors.dtype(row.tensor_name(place))]

        def part(index: tuple[slice, ...]) -> np.ndarray:
            bounds = [slice(*one.indices(size)) for one, size in zip(index, inner, strict=True)]
            filled = np.empty([one.stop - one.start for one in bounds], source)
            _read_piece(tensors, row, place, bounds, filled)
            return filled

        return jax.make_array_from_callback(inner, within, part)

    if not row.leading:
        array = tensor(())
        return array if array.dtype == dtype else _cast(dtype, sharding)(array)
    stacked = jnp.zeros(shape, dtype, device=sharding)
    put = _put(sharding)
    for place in row.places(shape):
        layer = tensor(place)
        stacked.block_until_ready()
        stacked = put(stacked, layer, np.asarray(place, np.int32))
    return stacked


def _read_piece(tensors: Tensors, row: Row, place: tuple[int, ...], bounds: Sequence[slice], out: np.ndarray) -> None:
    """One layer's part of a parameter into ``out``; ``bounds`` are those of the parameter's own axes."""
    turned = row.operation != "same"
    tensors.read_into(out, row.tensor_name(place), row.tensor_index(bounds), turned=turned)


def _aligned(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory that a CPU device can use as it is (it wants whole cache lines, 64 bytes)."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def _inner_sharding(leading: int, sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """Where one layer of a parameter lies, whose first ``leading`` axes are layers and experts."""
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return sharding
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(*sharding.spec[leading:]))


@functools.lru_cache(maxsize=256)
def _cast(dtype: jnp.dtype, sharding: jax.sharding.Sharding) -> Any:
    return jax.jit(lambda array: array.astype(dtype), out_shardings=sharding)


@functools.lru_cache(maxsize=256)
def _put(sharding: jax.sharding.Sharding) -> Any:
    def put(stacked: jax.Array, layer: jax.Array, place: jax.Array) -> jax.Array:
        start = (*place, *[0] * layer.ndim)
        layer = layer.astype(stacked.dtype).reshape(*[1] * place.shape[0], *layer.shape)
        return jax.lax.dynamic_update_slice(stacked, layer, start)

    return jax.jit(put, out_shardings=sharding, donate_argnums=0)
