"""Meshes, placements, and the same loss on every mesh of 8 fake devices."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from s3ft_jax import sharding
from s3ft_jax.batches import Batch
from s3ft_jax.losses import next_token_loss
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import PROJECTIONS, Lora
from s3ft_jax.sharding import (
    AXES,
    ShardingError,
    make_mesh,
    param_specs,
    shard_batch,
    shard_params,
)

CONFIG = DecoderConfig(
    vocab_size=105,  # divides by neither 2 nor 8
    num_layers=2,
    model_dim=16,
    mlp_dim=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    max_positions=32,
    qkv_bias=True,
    out_bias=True,
)


def decoder_parts() -> tuple[nnx.GraphDef, nnx.State]:
    """A decoder with adapters whose every parameter is random."""
    lora = Lora(rank=2, targets=PROJECTIONS)
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: Decoder(CONFIG, rngs=nnx.Rngs(0), lora=lora)))
    rng = np.random.default_rng(0)
    return graphdef, jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), shapes)


def batch() -> Batch:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, CONFIG.vocab_size, (8, 12)).astype(np.int32)
    positions = np.broadcast_to(np.r_[0:7, 0:5], (8, 12)).astype(np.int32)
    segments = np.broadcast_to(np.r_[[1] * 7, [2] * 5], (8, 12)).astype(np.int32)
    return Batch(tokens, positions, segments, (positions > 2).astype(np.float32))


needs_eight = pytest.mark.skipif(jax.device_count() != 8, reason="needs the 8 fake devices of conftest.py")


@pytest.fixture(scope="module")
def loss_and_gradient():
    """The jitted loss per trained token, and the loss and gradient on one device."""
    graphdef, params = decoder_parts()

    @jax.jit
    def run(params, batch):
        def loss(params):
            decoder = nnx.merge(graphdef, params)
            hidden, _ = decoder.hidden(batch.tokens, batch.positions, batch.segments)
            sums = next_token_loss(decoder.unembed, hidden, batch.tokens, batch.weights)
            return sums.objective / sums.weight

        return jax.value_and_grad(loss)(params)

    return run, params, run(params, batch())


@needs_eight
@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 2, 4)])
def test_every_mesh_gives_the_loss_and_gradient_of_one_device(loss_and_gradient, sizes):
    run, params, (expected, expected_gradient) = loss_and_gradient
    mesh = make_mesh(*sizes)
    loss, gradient = run(shard_params(params, mesh), shard_batch(batch(), mesh))
    assert abs(float(loss) - float(expected)) <= 1e-6 * abs(float(expected))
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected_gradient))
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-5 * largest)


@needs_eight
def test_parameters_and_rows_are_really_cut():
    mesh = make_mesh(2, 2, 2)
    params = shard_params(decoder_parts()[1], mesh)
    kernel = params["blocks"]["gate"]["kernel"].get_value()
    assert kernel.addressable_shards[0].data.shape == (2, 16 // 2, 32 // 2)
    tokens = shard_batch(batch(), mesh).tokens
    assert tokens.addressable_shards[0].data.shape == (2, 12)
    folded = shard_batch(batch().tokens.reshape(2, 4, 12), mesh)
    assert folded.addressable_shards[0].data.shape == (2, 1, 12)
    np.testing.assert_array_equal(tokens, batch().tokens)


@needs_eight
def test_an_axis_that_does_not_divide_stays_whole():
    specs = param_specs(decoder_parts()[1], make_mesh(1, 4, 2))
    assert specs["embedding"] == PartitionSpec(None, "fsdp")
    assert specs["head"] == PartitionSpec("fsdp", None)
    assert specs["blocks.down.kernel"] == PartitionSpec(None, "tensor", "fsdp")
    assert specs["blocks.q.lora_b"] == PartitionSpec(None, None, "tensor")
    assert specs["final_norm.scale"] == PartitionSpec()


@needs_eight
def test_the_scales_of_int8_kernels_follow_their_outputs():
    def rounded():
        decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
        decoder.round_kernels("int8")
        return decoder

    mesh = make_mesh(2, 2, 2)
    graphdef, params = nnx.split(rounded())
    run = jax.jit(lambda params, batch: nnx.merge(graphdef, params)(batch.tokens, batch.positions, batch.segments)[0])
    found = run(shard_params(params, mesh), shard_batch(batch(), mesh))
    np.testing.assert_allclose(found, run(params, batch()), atol=1e-6)
    specs = param_specs(params, mesh)
    assert specs["blocks.gate.kernel"] == PartitionSpec(None, "fsdp", "tensor")
    assert specs["blocks.gate.kernel_scale"] == PartitionSpec(None, "tensor")
    assert specs["blocks.down.kernel_scale"] == PartitionSpec()


@needs_eight
def test_one_size_may_be_left_open():
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert dict(make_mesh(2, -1, 2).shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert make_mesh().axis_names == AXES


@needs_eight
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 3, 1), "mesh data 3 x fsdp 3 x tensor 1 does not fit 8 devices"),
        ((-1, 3, 1), "mesh data -1 x fsdp 3 x tensor 1 does not fit 8 devices"),
        ((-1, -1, 1), "at most one may be -1"),
        ((0, 1, 1), "at least 1"),
    ],
)
def test_impossible_meshes_are_refused_with_the_numbers(sizes, message):
    with pytest.raises(ShardingError, match=message):
        make_mesh(*sizes)


@needs_eight
def test_rows_that_do_not_divide_are_refused_with_the_numbers():
    with pytest.raises(ShardingError, match=r"6 rows does not divide over data 2 x fsdp 2: .* multiple of 4"):
        shard_batch(batch().tokens[:6], make_mesh(2, 2, 2))


@needs_eight
def test_a_parameter_without_a_rule_is_an_error():
    params = decoder_parts()[1]
    params["blocks"]["router"] = params["blocks"].pop("gate")
    with pytest.raises(ShardingError, match=r"blocks.router.kernel \[2, 16, 32\]: no rule"):
        param_specs(params, make_mesh())


def chips(*slices: int, box: bool = True) -> list[SimpleNamespace]:
    """Fake TPU chips: so many in each slice, in a row, all of one host."""
    return [
        SimpleNamespace(
            id=100 * number + place, platform="tpu", device_kind="TPU v4", slice_index=number, process_index=number,
            coords=(place if box else place * place, 0, 0), core_on_chip=0,
        )
        for number, size in enumerate(slices)
        for place in range(size)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((2, 4, 1), [[[0], [1], [2], [3]], [[100], [101], [102], [103]]]),
        ((4, 1, 2), [[[0, 1]], [[2, 3]], [[100, 101]], [[102, 103]]]),
        ((1, 8, 1), [[[0], [1], [2], [3], [100], [101], [102], [103]]]),
        ((1, 4, 2), [[[0, 1], [2, 3], [100, 101], [102, 103]]]),
        ((2, 2, 1), [[[0], [1]], [[100], [101]]]),  # the last of each slice stay idle
    ],
)
def test_slices_lie_along_data_and_else_along_fsdp(sizes, expected, monkeypatch):
    monkeypatch.setattr(sharding, "Mesh", lambda devices, *_, **__: devices)
    found = make_mesh(*sizes, devices=chips(4, 4))
    assert np.vectorize(lambda device: device.id)(found).tolist() == expected


def test_tensor_does_not_reach_from_slice_to_slice():
    with pytest.raises(ShardingError, match=r"data 1 x fsdp 1 x tensor 8 on 2 slices: make data, or data x fsdp, a mu"):
        make_mesh(1, 1, 8, devices=chips(4, 4))
    with pytest.raises(ShardingError, match="on 4 slices: make data, or data x fsdp, a multiple of 4"):
        make_mesh(2, 1, 4, devices=chips(2, 2, 2, 2))


def test_chips_that_are_no_box_are_taken_as_they_come(monkeypatch):
    monkeypatch.setattr(sharding, "Mesh", lambda devices, *_, **__: devices)
    found = make_mesh(1, 3, 1, devices=chips(4, box=False))
    assert [device.id for device in found.flat] == [0, 1, 2]
