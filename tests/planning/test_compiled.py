"""compiled: what the compiler answers, "it does not fit" included; with libtpu also for slices that are not there."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from tiny_experiment import CONFIG, changed, step

from s3ft_jax import sharding
from s3ft_jax.models.kernels import Attention
from s3ft_jax.planning import compiled, costs, lowering
from s3ft_jax.planning.chips import GIB, PlanError, parse_topology
from s3ft_jax.planning.experiment import Decode, TrainStep

NUMBERS = jax.ShapeDtypeStruct((1000,), jnp.float32)
needs_libtpu = pytest.mark.skipif(not compiled.has_libtpu(), reason="needs libtpu: pip install 'jax[tpu]'")


def failing(error: Exception, cause: Exception | None = None):
    def lower():
        raise error from cause

    return lower


def test_a_program_that_fits():
    answer = compiled.compile_program(lambda: jax.jit(lambda x: jnp.sort(x) @ x).lower(NUMBERS))
    assert answer.fits and answer.arguments == 4000
    assert answer.peak >= answer.arguments + answer.temporaries + 4
    assert answer.seconds > 0 and answer.cpu_seconds > 0


def test_outputs_in_the_place_of_arguments_are_not_counted_twice():
    plain, donated = (
        compiled.compile_program(lambda d=d: jax.jit(lambda x: x + 1, donate_argnums=d).lower(NUMBERS)) for d in ((), 0)
    )
    assert plain.peak - donated.peak == 4000


@pytest.mark.parametrize(
    "message, used, limit",
    [
        # libtpu 0.0.42.1, of programs for v5e
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
            "Used 30.40G of 15.75G hbm. Exceeded hbm capacity by 14.65G.",
            30.4,
            15.75,
        ),
        (
            "RESOURCE_EXHAUSTED: Allocations of temporaries (512.00M) exceeds available HBM (15.75G)",
            0.5,
            15.75,
        ),
        ("RESOURCE_EXHAUSTED: no numbers", 0, 0),
    ],
)
def test_one_that_does_not_fit_is_an_answer(message, used, limit):
    answer = compiled.compile_program(failing(jax.errors.JaxRuntimeError(message)))
    assert (answer.fits, answer.peak, answer.limit) == (False, round(used * GIB), round(limit * GIB))


def test_what_cannot_be_compiled_says_why():
    refused = jax.errors.JaxRuntimeError("INTERNAL: Mosaic failed: Bad lhs type\nmore")
    with pytest.raises(PlanError, match=r"cannot compile this program: INTERNAL: Mosaic failed: Bad lhs type$"):
        compiled.compile_program(failing(refused))
    with pytest.raises(PlanError, match="cannot compile this program: a kernel"):
        compiled.compile_program(failing(Exception("a kernel"), refused))


def test_a_bug_stays_a_bug():
    with pytest.raises(TypeError):
        compiled.compile_program(failing(TypeError("of ours")))


def test_settings_of_the_user_stay(monkeypatch):
    monkeypatch.setenv("TPU_LOG_DIR", "/mine")
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    monkeypatch.setattr(compiled.topologies, "get_topology_desc", lambda *_, **__: jax)
    compiled.topology_devices(parse_topology("v5e:2x2"))
    assert (compiled.os.environ["TPU_LOG_DIR"], compiled.os.environ["TPU_SKIP_MDS_QUERY"]) == ("/mine", "1")


@needs_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:1x1", "v5e:4x4", "v5p:2x2x1", "v6e:2x4"])
def test_slices_have_their_chips(name):
    devices = compiled.topology_devices(parse_topology(name))
    assert len(devices) == parse_topology(name).num_chips and devices[0].platform == "tpu"


def test_a_shape_that_libtpu_refuses_is_named(monkeypatch):
    """Which ones it refuses differs from version to version; 0.0.42.1 takes any."""

    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: no such shape\nmore")

    monkeypatch.setattr(compiled.topologies, "get_topology_desc", refuse)
    with pytest.raises(PlanError, match=r"--topology=v5e:3x5: libtpu refuses it: INVALID_ARGUMENT: no such shape$"):
        compiled.topology_devices(parse_topology("v5e:3x5"))


@needs_libtpu
def test_two_slices():
    devices = compiled.topology_devices(parse_topology("2xv5e:2x2"))
    assert len(devices) == 8 and {device.slice_index for device in devices} == {0, 1}
    mesh = sharding.make_mesh(2, 2, 2, devices=devices)
    assert [{device.slice_index for device in part.flat} for part in mesh.devices] == [{0}, {1}]
    with pytest.raises(sharding.ShardingError, match="on 2 slices"):
        sharding.make_mesh(1, 1, 8, devices=devices)


@needs_libtpu
def test_a_step_is_compiled_for_two_slices():
    split = costs.Split(data=2, fsdp=2)
    train = TrainStep(changed(), split, 2)
    mesh = sharding.make_mesh(*split, devices=compiled.topology_devices(parse_topology("2xv5e:1x2")))
    answer = compiled.compile_program(lambda: train.lower(train.size, mesh))
    assert answer.fits and answer.temporaries > 0


@needs_libtpu
def test_a_step_is_compiled_for_a_slice():
    split = costs.Split(fsdp=4)
    settings = functools.partial(step, activation_dtype="float32")
    train = TrainStep(changed(step=lambda mesh: settings(mesh, attention=Attention("splash", mesh))), split)
    mesh = sharding.make_mesh(*split, devices=compiled.topology_devices(parse_topology("v5e:2x2")))
    answer = compiled.compile_program(lambda: train.lower(train.size, mesh))
    assert answer.fits and answer.temporaries > 0
    # TPUs lay small arrays out in tiles, so that they take more than their numbers
    assert train.estimate(train.size)[0] <= answer.arguments < 2 * train.estimate(train.size)[0]


@needs_libtpu
@pytest.mark.parametrize("tensor, head_dim", [(1, 128), (2, 64)])
def test_a_decode_chunk_keeps_its_cache_where_it_is(tensor, head_dim):
    """It runs the kernel of TPUs, and copies neither the cache nor all layers' matrices of queries."""
    sizes = {"model_dim": 4096, "num_heads": 32, "num_kv_heads": 8, "head_dim": head_dim, "max_positions": 1024}
    config = dataclasses.replace(CONFIG, num_layers=8, **sizes)
    sampled = changed(config=config, dtype="bfloat16", prompt_tokens=512, new_tokens=512)
    decode = Decode(sampled, costs.Split(tensor=tensor), 4 // tensor)
    devices = compiled.topology_devices(parse_topology("v5e:2x2"))
    mesh = sharding.make_mesh(4 // tensor, 1, tensor, devices=devices)
    assert "tpu_custom_call" in decode.lower(8, mesh).as_text()
    with jax.default_matmul_precision("highest"):  # as launch.prepare_jax sets it
        answer = compiled.compile_program(lambda: decode.lower(8, mesh))
    keys = lowering.abstract_state(decode.engine(8, 1, mesh)[0], 1024).cache.keys
    assert keys.shape == (8, 8 * 4 // tensor, 8, 1024, head_dim)
    cache, matrices = (
        2 * keys.size * 4 // 4,
        8 * 4096 * 32 * head_dim * 2 // tensor,
    )  # a chip's; of the queries, bfloat16
    assert answer.fits and answer.temporaries < min(cache, matrices) / 2
