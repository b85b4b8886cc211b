"""Digest of a model's parameters: the same wherever they lie, on one device or spread over the hosts of a pod.

In: a pytree of arrays. Out: sha256 in hexadecimal. It names a base in the checkpoints of its adapters.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

_PIECE = 2**25  # bytes of an array that are hashed at a time; part of what a digest means


def by_path(tree: Any) -> dict[str, Any]:
    """A pytree as {path: leaf}, e.g. ``blocks/q/kernel``; NNX's ``value`` endings are left out."""
    flat = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names = [str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", "")))) for part in path]
        flat["/".join(name for name in names if name != "value")] = leaf
    return flat


def params_digest(params: Any) -> str:
    """sha256 over all parameters, in the order of names: name, dtype, shape, and the sha256 of each piece's bytes.

    A piece is as many rows of the first axis as ``_PIECE`` bytes hold, at least one; pieces are hashed side by side,
    and the host holds no more than those being hashed.
    """
    arrays = sorted(by_path(params).items())
    pieces = [(array, rows) for _, array in arrays for rows in _pieces(array)]
    spread = any(_is_spread(array) for _, array in arrays)  # all processes gather the same piece at the same time
    with concurrent.futures.ThreadPoolExecutor(1 if spread else min(8, os.cpu_count() or 1)) as hashers:
        digests = hashers.map(_piece_digest, pieces)
        total = hashlib.sha256()
        for name, array in arrays:
            total.update(f"{name} {array.dtype} {array.shape}\n".encode())
            for _ in _pieces(array):
                total.update(next(digests))
    return total.hexdigest()


def _pieces(array: Any) -> list[Any]:
    if not array.ndim:
        return [...]
    rows = max(1, _PIECE // max(1, array.nbytes // max(1, len(array))))
    return [slice(start, start + rows) for start in range(0, len(array), rows)]


def _piece_digest(piece: tuple[Any, Any]) -> bytes:
    array, rows = piece
    if _is_spread(array):
        array, rows = multihost_utils.process_allgather(array[rows], tiled=True), ...
    far = isinstance(array, jax.Array) and any(device.platform != "cpu" for device in array.devices())
    host = np.asarray(array[rows]) if far else np.asarray(array)[rows]
    return hashlib.sha256(np.ascontiguousarray(host).reshape(-1).view(np.uint8)).digest()


def _is_spread(array: Any) -> bool:
    """Whether other processes hold parts of it."""
    return isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated)
