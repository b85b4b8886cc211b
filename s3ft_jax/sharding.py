"""Sharding: the device mesh, which parameter axis lies on which mesh axis, and host rows -> global arrays.

In: a parameter state or a batch. Out: the same with shardings. The mesh has three axes:

    data    each part has its own rows of the batch and a copy of the parameters
    fsdp    its own rows too, and a part of each parameter, gathered when used (Zhao et al., arXiv 2304.11277)
    tensor  the same rows, and a part of each matrix product (Shoeybi et al., arXiv 1909.08053)
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")
Tree = TypeVar("Tree")

# Path pattern -> mesh axis of each array axis; blocks have the layer axis first. The first match counts. Products are
# paired so that the wide side is cut: q k v gate up by column, o down by row, one sum over tensor after each pair.
RULES: tuple[tuple[str, PartitionSpec], ...] = (
    (r"embedding", PartitionSpec("tensor", "fsdp")),
    (r"head", PartitionSpec("fsdp", "tensor")),
    (r"blocks\.(q|k|v|gate|up)\.kernel", PartitionSpec(None, "fsdp", "tensor")),
    (r"blocks\.(o|down)\.kernel", PartitionSpec(None, "tensor", "fsdp")),
    (r"blocks\.experts\.router", PartitionSpec(None, "fsdp", None)),
    (r"blocks\.experts\.(gate|up)", PartitionSpec(None, None, "fsdp", "tensor")),
    (r"blocks\.experts\.down", PartitionSpec(None, None, "tensor", "fsdp")),
    (r"blocks\.(q|k|v|gate|up)\.(bias|kernel_scale)", PartitionSpec(None, "tensor")),
    (r"blocks\.(q|k|v|gate|up)\.lora_a", PartitionSpec(None, "fsdp", None)),
    (r"blocks\.(q|k|v|gate|up)\.lora_b", PartitionSpec(None, None, "tensor")),
    (r"blocks\.(o|down)\.lora_a", PartitionSpec(None, "tensor", None)),
    (r"blocks\.(o|down)\.lora_b", PartitionSpec(None, None, "fsdp")),
    (r"blocks\.(o|down)\.(bias|kernel_scale)", PartitionSpec()),
    (r"(blocks\.(attention|mlp|q|k)|blocks\.(attention|mlp)_post|final)_norm\.(scale|bias)", PartitionSpec()),
    (r"positions", PartitionSpec(None, "fsdp")),
)


class ShardingError(ValueError):
    """A mesh does not fit the devices, or an array does not fit the mesh. The message holds the numbers."""


def mesh_sizes(data: int, fsdp: int, tensor: int, num_devices: int) -> dict[str, int]:
    """Size of each axis on ``num_devices`` devices.

    Args:
      data, fsdp, tensor: sizes of the axes; at most one may be -1, which takes the devices left over.

    Raises:
      ShardingError: the product is above the number of devices, or -1 has nothing whole to take.
    """
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
    shown = " x ".join(f"{axis} {size}" for axis, size in sizes.items())
    free = [axis for axis, size in sizes.items() if size == -1]
    known = math.prod(size for size in sizes.values() if size != -1)
    if len(free) > 1 or known < 1 or any(size < -1 for size in sizes.values()):
        raise ShardingError(f"mesh {shown}: each size must be at least 1, and at most one may be -1")
    if free and num_devices % known == 0:
        sizes[free[0]] = num_devices // known
    if not 1 <= math.prod(sizes.values()) <= num_devices:
        raise ShardingError(f"mesh {shown} does not fit {num_devices} devices. Choose sizes whose product is that.")
    return sizes


def row_parts(mesh: Mesh) -> int:
    """Devices among which the rows of a batch are shared out."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the devices of all processes.

    Args:
      data, fsdp, tensor: see ``mesh_sizes``. Sizes whose product is below the number of devices leave the last ones
        idle.
      devices: these instead of all that are attached.

    Raises:
      ShardingError: see ``mesh_sizes``.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = mesh_sizes(data, fsdp, tensor, len(devices))
    # Auto: the compiler spreads shardings; jax.make_mesh otherwise makes explicit axes, which every einsum would have
    # to be written for
    return Mesh(_arranged(tuple(sizes.values()), devices), AXES, axis_types=(AxisType.Auto,) * 3)


def slices_of(devices: Sequence[jax.Device]) -> list[list[jax.Device]]:
    """The devices of each TPU slice; all others are of one."""
    slices: dict[int, list[jax.Device]] = collections.defaultdict(list)
    for device in devices:
        slices[getattr(device, "slice_index", 0) if device.platform == "tpu" else 0].append(device)
    return [slices[number] for number in sorted(slices)]


def across_slices(data: int, fsdp: int, tensor: int, num_slices: int) -> tuple[int, int]:
    """Into how many parts, each on slices of its own, data and fsdp fall.

    Raises:
      ShardingError: tensor would reach from slice to slice.
    """
    along_data = math.gcd(data, num_slices)
    along_fsdp = num_slices // along_data
    if fsdp % along_fsdp:
        raise ShardingError(
            f"mesh data {data} x fsdp {fsdp} x tensor {tensor} on {num_slices} slices: make data, or data x fsdp, a "
            f"multiple of {num_slices}. Chips that share tensor must be of one slice."
        )
    return along_data, along_fsdp


def _arranged(sizes: tuple[int, int, int], devices: Sequence[jax.Device]) -> np.ndarray:
    """Devices [data, fsdp, tensor], those next to each other on the last axes near each other in the network.

    TPU slices reach each other over the data center's network, many times slower than chips of a slice do: they lie
    along data, of whose parts they exchange one sum a step; those that data has too few parts for along fsdp.

        two slices of 4 chips    data 2 x fsdp 4    0 1 2 3    data 1 x fsdp 8    0 1 2 3 4 5 6 7
                                                    4 5 6 7
    """
    slices = slices_of(devices)
    if len(slices) == 1:
        return _within_slice(sizes, devices[: math.prod(sizes)])
    outer = (*across_slices(*sizes, len(slices)), 1)
    inner = tuple(size // parts for size, parts in zip(sizes, outer, strict=True))
    blocks = [_within_slice(inner, chips[: math.prod(inner)]) for chips in slices]
    return np.stack(blocks).reshape(*outer[:2], *inner).transpose(0, 2, 1, 3, 4).reshape(sizes)


def _within_slice(sizes: tuple[int, int, int], devices: Sequence[jax.Device]) -> np.ndarray:
    try:
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    except (AssertionError, NotImplementedError):  # some of a slice's chips, which are no box in its network
        return np.array(devices).reshape(sizes)


def param_specs(params: nnx.State, mesh: Mesh | AbstractMesh) -> dict[str, PartitionSpec]:
    """Dotted path -> PartitionSpec of every parameter (arrays or ``ShapeDtypeStruct`` leaves).

    An axis that its mesh axis does not divide (a vocabulary of 105 over tensor 2) is kept whole on each device, which
    costs memory and changes no result.

    Raises:
      ShardingError: a path that no rule matches.
    """
    return {".".join(map(str, path)): _spec(path, leaf.shape, mesh) for path, leaf in nnx.to_flat_state(params)}


def _spec(path: tuple[Any, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    name = ".".join(map(str, path))
    for pattern, spec in RULES:
        if re.fullmatch(pattern, name):
            return PartitionSpec(
                *(
                    axis if axis is not None and size % mesh.shape[axis] == 0 else None
                    for axis, size in zip(spec, shape, strict=False)
                )
            )
    raise ShardingError(f"parameter {name} {list(shape)}: no rule of s3ft_jax/sharding.py matches its path. Add one.")


def param_shardings(params: nnx.State, mesh: Mesh | AbstractMesh) -> nnx.State:
    """A state of the same structure with a ``NamedSharding`` for each parameter."""
    return nnx.from_flat_state(
        [
            (path, leaf.replace(NamedSharding(mesh, _spec(path, leaf.shape, mesh))))
            for path, leaf in nnx.to_flat_state(params)
        ]
    )


def placed(shapes: nnx.State, mesh: Mesh | AbstractMesh) -> nnx.State:
    """``ShapeDtypeStruct`` leaves -> the same, each with the sharding that ``shard_params`` would give its array."""
    shardings = param_shardings(shapes, mesh)
    return jax.tree.map(lambda leaf, to: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=to), shapes, shardings)


def shard_params(params: nnx.State, mesh: Mesh) -> nnx.State:
    """The parameters laid out over the mesh; every process passes the same values."""
    return jax.tree.map(_put, params, param_shardings(params, mesh))


def _put(array: Any, where: NamedSharding) -> jax.Array:
    """On the devices of all processes, each of which has the whole array; one that lies there already stays."""
    if where.is_fully_addressable or not (isinstance(array, np.ndarray) or array.is_fully_addressable):
        return jax.device_put(array, where)
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, where, lambda index: host[index])


def each_device(function: Callable, mesh: Mesh, places: Any, out_places: Any, is_replica: bool) -> Callable:
    """The function, run by each device of a mesh on its part of the arrays.

    Args:
      function: of arrays.
      mesh: the devices.
      places, out_places: a PartitionSpec for each argument and result.
      is_replica: this is inside a ``shard_map`` over data and fsdp already; what is left to take apart is tensor.
    """
    options = {"axis_names": {"tensor"}} if is_replica else {"mesh": mesh}
    return jax.shard_map(function, in_specs=places, out_specs=out_places, check_vma=False, **options)


def batch_sharding(mesh: Mesh, num_axes: int, row_axis: int = -2) -> NamedSharding:
    """Where an array of a batch lies: its rows over data and fsdp, all else whole."""
    axes: list[Any] = [None] * num_axes
    axes[row_axis] = ROWS
    return NamedSharding(mesh, PartitionSpec(*axes))


def shard_batch(batch: Tree, mesh: Mesh, row_axis: int = -2) -> Tree:
    """Host arrays -> global arrays whose rows lie over data and fsdp.

    Every process passes the whole batch, of which its devices take their rows.

    Args:
      batch: a pytree of numpy arrays, [B, T] or [A, B, T] (A micro-batches).
      row_axis: the axis B.

    Raises:
      ShardingError: the rows do not divide over data x fsdp.
    """
    parts = row_parts(mesh)

    def place(array: np.ndarray) -> jax.Array:
        array = np.asarray(array)
        num_rows = array.shape[row_axis]
        if num_rows % parts:
            raise ShardingError(
                f"a batch of {num_rows} rows does not divide over data {mesh.shape['data']} x fsdp "
                f"{mesh.shape['fsdp']}: make the rows a multiple of {parts}"
            )
        return _put(array, batch_sharding(mesh, array.ndim, row_axis))

    return jax.tree.map(place, batch)
