"""Transfer: the parameters that training has, on the chips that sample, where they are read while training goes on.

In: a parameter state on the mesh that trains. Out: the same on another mesh, over all processes' chips or this one's.
Layer by layer: where two meshes order the chips differently, XLA makes an array whole on every chip before it cuts it
anew, and a matrix of all layers of a large model is larger than a chip's memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from s3ft_jax.sharding import AXES, ShardingError, param_shardings

STACKED = "blocks"
"""Parameters below this name have the layer axis first, which no mesh cuts."""


def moved(params: nnx.State, mesh: Mesh | None) -> nnx.State:
    """The parameters on another mesh. All processes call this at the same time.

    From fsdp 4 over two processes to two chips of each, which share a copy:

        chip            0    1    2    3             0    1    2    3
        process         0    0    1    1             0    0    1    1
        quarters        a    b    c    d      ->     ab   cd   ab   cd

    Args:
      params: on this process's devices, or over those of all.
      mesh: where they go; None: this process's first device.

    Returns:
      Arrays of the same shapes and dtypes; one that lies there already is not copied.

    Raises:
      ShardingError: see ``check_movable``.
    """
    reach = mesh is not None and len({device.process_index for device in mesh.devices.flat}) > 1
    far = [leaf.sharding.mesh for leaf in jax.tree.leaves(params) if not leaf.is_fully_addressable]
    if far:
        check_movable(far[0])
        if reach:
            check_movable(mesh)
        else:
            params = _whole_here(params, 1 if mesh is None else mesh.shape["tensor"])
    return _put(params, mesh)


def check_movable(mesh: Mesh) -> None:
    """Refuse a mesh from or to which ``moved`` cannot go where there are several processes.

    Raises:
      ShardingError: it leaves chips idle.
    """
    if jax.process_count() > 1 and mesh.size < jax.device_count():
        raise ShardingError(
            f"train.validate.score in {jax.process_count()} processes: the model that trains is copied to the chips "
            f"that sample, and one of the two meshes takes {mesh.size} of {jax.device_count()} chips. Let both take "
            "all (mesh, sample.tensor, sample.num_replicas), or set train.validate.score=False."
        )


def _whole_here(params: nnx.State, tensor: int) -> nnx.State:
    """A copy on each process's own devices, so many of which share one."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    own = [device for device in devices if device.process_index == jax.process_index()]
    parts = math.gcd(tensor, len(own))

    def mesh_of(chips: Sequence[jax.Device]) -> Mesh:
        return Mesh(np.array(chips).reshape(-1, 1, parts), AXES, axis_types=(AxisType.Auto,) * 3)

    here = mesh_of(own[:parts])

    def local(leaf: jax.Array) -> jax.Array:
        pieces = {piece.device: piece.data for piece in leaf.addressable_shards}
        arrays = [pieces[device] for device in here.devices.flat]
        return jax.make_array_from_single_device_arrays(leaf.shape, NamedSharding(here, leaf.sharding.spec), arrays)

    return jax.tree.map(local, _put(params, mesh_of(devices)))


def _put(params: nnx.State, mesh: Mesh | None) -> nnx.State:
    """On the devices of a mesh, or the first one of this process."""
    if mesh is None:
        first = SingleDeviceSharding(jax.local_devices()[0])
        places = jax.tree.map(lambda _: first, params)
    else:
        places = param_shardings(params, mesh)
    moved = []
    for (path, leaf), place in zip(nnx.to_flat_state(params), jax.tree.leaves(places), strict=True):
        moved.append((path, leaf.replace(_placed(path, leaf[...], place))))
    return nnx.from_flat_state(moved)


def _placed(path: tuple[Any, ...], array: jax.Array, place: Sharding) -> jax.Array:
    if path[0] != STACKED or array.is_fully_replicated or array.sharding.is_equivalent_to(place, array.ndim):
        return jax.device_put(array, place)
    of_layer = place
    if isinstance(place, NamedSharding):
        of_layer = NamedSharding(place.mesh, PartitionSpec(*place.spec[1:]))
    stacked = jnp.stack([jax.device_put(array[layer], of_layer) for layer in range(array.shape[0])])
    return jax.device_put(stacked, place)  # where it is already, by another name
