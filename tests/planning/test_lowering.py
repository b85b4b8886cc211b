"""lowering: the programs planned are, to the letter, those that a run lowers from its arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec
from tiny_experiment import CONFIG, SETTINGS, step

from s3ft_jax import sharding, training
from s3ft_jax.batches import Batch
from s3ft_jax.generation.engine import Engine
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.generation.slots import Slots
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.planning import costs, lowering, memory

LORA = Lora(rank=4, dropout=0.1, targets=("q", "down"))


def zeros(shapes: nnx.State) -> nnx.State:
    """Arrays, made without a program for each."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_the_step_is_that_of_a_run(lora):
    mesh, sizes = sharding.make_mesh(2, 2, 2), costs.TrainSizes(2, 4, 16)
    shapes = lowering.abstract_parts(CONFIG, dtype="float32", lora=lora)
    planned = lowering.lower_train(shapes, SETTINGS, sizes, mesh, step(mesh))
    # as stages/train.py does it
    parts = training.Parts(shapes.graphdef, *(sharding.shard_params(zeros(part), mesh) for part in shapes[1:]))
    state = training.start(parts, SETTINGS, copy=False)
    rows = np.ones((8, 16), np.int32)
    batch = sharding.shard_batch(training.split_micro(Batch(rows, rows, rows, rows.astype(np.float32)), 2, 4), mesh)
    real = training.make_step(parts.graphdef, SETTINGS, **step(mesh)).lower(
        state, parts.frozen, batch, 0, np.float32(0)
    )
    assert planned.as_text() == real.as_text()


def test_prefill_and_decode_are_those_of_the_engine():
    settings = EngineSettings(num_slots=4, chunk_steps=8)
    planned, shapes = lowering.sampling_engine(CONFIG, "float32", settings=settings, prefill_tokens=64)
    graphdef, params = nnx.split(nnx.eval_shape(lambda: Decoder(CONFIG, rngs=nnx.Rngs(0))))
    params = jax.tree.map(jnp.asarray, zeros(params))
    real = Engine(
        graphdef,
        CONFIG,
        stop_ids=(0,),
        pad_id=0,
        num_slots=4,
        chunk_steps=8,
        prefill_tokens=64,
        attention=CachedAttention(),
    )
    prompts = np.zeros(real.prefill_shape(20), np.int32)
    lengths = np.zeros(len(prompts), np.int32)
    assert (
        planned.lower_prefill(shapes, 20).as_text() == real.programs.prefill.lower(params, prompts, lengths).as_text()
    )
    state = real.programs.empty(real.cache_length(64))
    decode = real.programs.decode.lower(params, state, Slots(4).rows, np.int32(1)).as_text()
    assert planned.lower_decode(shapes, jax.eval_shape(lambda: state)).as_text() == decode


def test_parts_on_paper():
    full = lowering.abstract_parts(CONFIG, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(full.trainable)} == {jnp.dtype("bfloat16")}
    assert not jax.tree.leaves(full.frozen)
    adapters = lowering.abstract_parts(CONFIG, dtype="bfloat16", lora=LORA, base_dtype="int8")
    assert {leaf.dtype for leaf in jax.tree.leaves(adapters.trainable)} == {jnp.dtype("float32")}
    assert adapters.frozen["blocks"]["up"]["kernel"].get_value().dtype == jnp.int8
    assert adapters.frozen["embedding"].get_value().dtype == jnp.bfloat16


def test_a_mesh_on_paper_places_as_a_real_one():
    parts = lowering.abstract_parts(CONFIG, dtype="float32")
    places = [
        [leaf.sharding.spec for leaf in jax.tree.leaves(lowering.train_state(parts, SETTINGS, mesh)) if leaf.shape]
        for mesh in (memory.abstract_mesh(costs.Split(2, 2, 2)), sharding.make_mesh(2, 2, 2))
    ]
    assert places[0] == places[1]


def test_the_cache_lies_by_heads_where_they_divide():
    settings = EngineSettings(num_slots=4, chunk_steps=8, attention="xla")
    for data, tensor, heads, axis in ((1, 1, 2, "tensor"), (2, 2, 2, "tensor"), (1, 4, 4, "tensor"), (1, 3, 2, None)):
        mesh = sharding.make_mesh(data, 1, tensor, devices=jax.devices()[: data * tensor])
        engine, _ = lowering.sampling_engine(CONFIG, "float32", mesh, settings=settings)
        cache = lowering.abstract_state(engine, 64).cache
        assert cache.keys.sharding.spec == PartitionSpec(None, sharding.ROWS, axis)
        assert cache.keys.shape == (2, data * 4, heads, 64, 16), "two key-value heads, on four chips each twice"


def test_the_batch_has_its_rows_over_data_and_fsdp():
    batch = lowering.abstract_batch(costs.TrainSizes(2, 8, 16), memory.abstract_mesh(costs.Split(2, 2, 2)))
    assert batch.tokens.sharding.shard_shape(batch.tokens.shape) == (2, 2, 16)
    assert [leaf.dtype for leaf in batch] == [jnp.int32, jnp.int32, jnp.int32, jnp.float32]
