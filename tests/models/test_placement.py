"""Parameters put in place: the same numbers by whichever way they are read, wherever they lie."""

import contextlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from safetensors.numpy import save_file

from s3ft_jax.models import placement
from s3ft_jax.models.families.rows import Row
from s3ft_jax.models.tensors import Tensors

LAYERS = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)  # [layer, out, in]


@pytest.fixture
def tensors(tmp_path):
    named = {f"layers.{layer}.q": values for layer, values in enumerate(LAYERS)}
    save_file(named | {"embed": LAYERS[0].copy()}, tmp_path / "model.safetensors")
    with contextlib.ExitStack() as stack:
        yield Tensors(tmp_path, stack)


def over(axes: tuple) -> NamedSharding:
    return NamedSharding(Mesh(np.reshape(jax.devices()[:4], (2, 2)), ("a", "b")), PartitionSpec(*axes))


SHARDINGS = {
    "one device": lambda ndim: SingleDeviceSharding(jax.devices()[0]),
    "replicated": lambda ndim: over(()),
    "inputs and outputs": lambda ndim: over((*[None] * (ndim - 2), "a", "b")),
    "outputs over all": lambda ndim: over((*[None] * (ndim - 2), "a")),
}


@pytest.mark.parametrize("way", ["_read_on_host", "_read_by_layer"])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_layers_become_one_parameter(way, dtype, sharding, tensors, monkeypatch):
    monkeypatch.setattr(placement, "_on_host", lambda sharding: way == "_read_on_host")
    stack, embed = Row("layers.{i}.q", "blocks.q.kernel", "transpose"), Row("embed", "embedding")
    kernel = placement.read_row(tensors, stack, (3, 4, 6), dtype, SHARDINGS[sharding](3))
    embedding = placement.read_row(tensors, embed, (6, 4), dtype, SHARDINGS[sharding](2))
    assert kernel.dtype == embedding.dtype == (dtype or jnp.float32)
    assert kernel.sharding.is_equivalent_to(SHARDINGS[sharding](3), 3)
    np.testing.assert_array_equal(kernel, LAYERS.swapaxes(1, 2).astype(kernel.dtype))
    np.testing.assert_array_equal(embedding, LAYERS[0].astype(kernel.dtype))


def test_layers_may_be_split_too(tensors):
    row = Row("layers.{i}.q", "blocks.q.kernel", "transpose")
    sharding = NamedSharding(Mesh(jax.devices()[:3], "a"), PartitionSpec("a"))
    kernel = placement.read_row(tensors, row, (3, 4, 6), None, sharding)
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(1, 4, 6)}
    np.testing.assert_array_equal(kernel, LAYERS.swapaxes(1, 2))


def test_only_the_own_part_is_read(tensors, monkeypatch):
    rows_read = []
    read = tensors.read
    monkeypatch.setattr(tensors, "read", lambda name, index: rows_read.append(index) or read(name, index))
    placement.read_row(tensors, Row("embed", "embedding"), (6, 4), None, SHARDINGS["inputs and outputs"](2))
    assert sorted((i.start, i.stop, j.start, j.stop) for i, j in rows_read) == [
        (0, 3, 0, 2), (0, 3, 2, 4), (3, 6, 0, 2), (3, 6, 2, 4)
    ]  # fmt: skip


def test_a_host_array_is_not_copied_and_may_be_donated(tensors, monkeypatch):
    """On a CPU a parameter lies in memory that numpy gave; a program that uses it up must not free or change it."""
    given = []
    aligned = placement._aligned
    monkeypatch.setattr(placement, "_aligned", lambda *args: given.append(aligned(*args)) or given[-1])
    row = Row("layers.{i}.q", "blocks.q.kernel", "transpose")
    kernel = placement.read_row(tensors, row, (3, 4, 6), None, SHARDINGS["one device"](3))
    assert kernel.unsafe_buffer_pointer() == given[0].ctypes.data
    more = jax.jit(lambda array: array + 1, donate_argnums=0)(kernel)
    np.testing.assert_array_equal(more, LAYERS.swapaxes(1, 2) + 1)
    np.testing.assert_array_equal(given[0], LAYERS.swapaxes(1, 2))


def test_a_device_that_is_not_a_cpu_is_read_for_layer_by_layer():
    gpu = types.SimpleNamespace(device_set=[types.SimpleNamespace(platform="gpu")])
    assert not placement._on_host(gpu) and placement._on_host(SHARDINGS["replicated"](2))
