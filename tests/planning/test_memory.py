"""memory: what a chip keeps, to the byte, against arrays in their places and against XLA's own count."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from tiny_experiment import CONFIG, changed, step

from s3ft_jax import sharding, training
from s3ft_jax.models import kernels
from s3ft_jax.models.cache import KVCache
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.planning import costs, lowering, memory
from s3ft_jax.planning.experiment import Decode, Prefill, Program, TrainStep

LORA = Lora(rank=4, dropout=0.1, targets=("q", "down"))
QUICK = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": "True"}
"""What XLA makes of the program is not run here, and its arguments do not depend on it."""


def argument_bytes(program: Program, split: costs.Split) -> int:
    """Of each of the fake devices, as XLA says of the compiled program."""
    lowered = program.lower(program.size, sharding.make_mesh(*split))
    return lowered.compile(compiler_options=QUICK).memory_analysis().argument_size_in_bytes


@pytest.mark.parametrize("split", [costs.Split(2, 2, 2), costs.Split(1, 8, 1)], ids=str)
def test_arguments_of_a_step_are_those_of_the_compiled_program(split):
    train, rate = TrainStep(changed(), split), 4
    assert train.estimate(train.size)[0] + rate == argument_bytes(train, split)


def test_so_are_those_of_adapters_over_a_rounded_base():
    split = costs.Split(1, 4, 2)
    train = TrainStep(changed(lora=LORA, base_dtype="int8"), split)
    rate, seed = 4, 4  # the latter of the adapters' dropout
    assert train.estimate(train.size)[0] + rate + seed == argument_bytes(train, split)


def test_so_are_those_of_sampling():
    split = costs.Split(tensor=2)
    prefill, decode = Prefill(changed(), split), Decode(changed(), split)
    assert prefill.estimate(prefill.size)[0] == argument_bytes(prefill, split)
    rows = argument_bytes(decode, split) - decode.estimate(decode.size)[0]
    assert 0 < rows < 100 * decode.size  # ids, positions, keys and settings of each slot


@pytest.mark.parametrize("name", training.OPTIMIZERS)
def test_the_state_of_a_real_run_lies_where_the_plan_puts_it(name):
    mesh, optimizer = sharding.make_mesh(2, 2, 2), training.Optimizer(name, weight_decay=0.1, ema_decay=0.9)
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    decoder.add_adapters(LORA, nnx.Rngs(0))
    parts = training.take_apart(decoder, "lora")
    placed = parts._replace(trainable=sharding.shard_params(parts.trainable, mesh))
    real, (planned, _) = training.start(placed, optimizer), lowering.train_state(parts, optimizer, mesh)
    here = 0
    for array, shape in zip(jax.tree.leaves(real), jax.tree.leaves(planned), strict=True):
        assert (array.shape, array.dtype) == (shape.shape, shape.dtype)
        assert array.sharding.is_equivalent_to(shape.sharding, array.ndim)
        here += array.addressable_shards[0].data.nbytes
    assert memory.bytes_per_chip(planned) == here


def test_weights_of_one_chip_by_hand():
    weights = TrainStep(changed(), costs.Split(2, 2, 2))._kept[1]
    matrices, norms, table = 2 * 36_864, 5 * 64, 128 * 64  # of both layers; of them and the last; embedding, head
    assert weights.num_trainable == (matrices + 2 * table) // 4 + norms
    assert weights.trainable == 4 * weights.num_trainable
    assert weights.optimizer == 2 * weights.trainable + 4  # two moments; Adam counts the steps
    assert weights.frozen == weights.experts == 0
    # read in a pass: gathered over fsdp, split over tensor, without the embedding, of which rows are looked up
    assert weights.used == 4 * ((matrices + table) // 2 + norms)
    assert weights.head == 4 * table // 2
    assert weights.gathered == weights.gathered_trainable == weights.used // 2  # it travels in bfloat16
    assert weights.gathered_layer == 2 * (36_864 // 2 + 2 * 64)


def test_a_tied_embedding_is_read_as_the_head_is():
    train = TrainStep(changed(config=dataclasses.replace(CONFIG, tie_embeddings=True)), costs.Split())
    assert train._kept[1].head == 4 * 128 * 64
    assert train._kept[1].used == train._kept[1].trainable


def test_adapters_alone_have_an_optimizer_state():
    weights = TrainStep(changed(lora=LORA), costs.Split())._kept[1]
    assert weights.num_trainable == 2 * (4 * (64 + 64) + 4 * (128 + 64))
    assert weights.frozen == 4 * (2 * 36_864 + 5 * 64 + 2 * 128 * 64)
    assert weights.gathered_trainable == 2 * weights.num_trainable


def test_experts_are_counted_apart():
    config = dataclasses.replace(CONFIG, num_experts=4, experts_per_token=2)
    weights = Decode(changed(config=config), costs.Split())._weights
    assert weights.experts == 4 * 2 * (4 * 3 * 64 * 128 + 64 * 4)


def test_the_cache_is_that_of_the_engine():
    cache = jax.eval_shape(lambda: KVCache.empty(CONFIG, 8, 64))
    assert memory.cache_per_chip(CONFIG, 8, 64, 4, costs.Split()) == memory.bytes_per_chip(cache)
    assert memory.cache_per_chip(CONFIG, 8, 64, 4, costs.Split(tensor=2)) == memory.bytes_per_chip(cache) // 2
    assert memory.cache_per_chip(CONFIG, 8, 64, 4, costs.Split(tensor=4)) == memory.bytes_per_chip(cache) // 2
    assert memory.cache_per_chip(CONFIG, 8, 64, 4, costs.Split(tensor=3)) == memory.bytes_per_chip(cache)


def test_temporaries_follow_what_makes_them():
    def temporaries(rows=8, parts=1, **options):
        return TrainStep(changed(step=lambda mesh: step(mesh, **options)), costs.Split(fsdp=parts)).estimate(rows)[1]

    assert temporaries(rows=16) > temporaries()
    assert temporaries(chunk_tokens=8) < temporaries()
    logits = 2 * 4 * 128 * (8 * 63 - 8)
    assert temporaries() - temporaries(chunk_tokens=8) == logits
    assert temporaries(parts=8) < temporaries() / 2


def test_attention_in_chunks_keeps_the_scores_of_one(monkeypatch):
    def temporaries(implementation):
        attention = {"attention": kernels.Attention(implementation)}
        return TrainStep(changed(step=lambda mesh: step(mesh, **attention)), costs.Split()).estimate(8)[1]

    tokens, heads = 8 * 64, 4
    assert temporaries("chunked") - temporaries("splash") == 2 * 4 * tokens * 64 * heads, "a row is one chunk"
    monkeypatch.setattr(kernels, "CHUNK", 16)
    assert temporaries("chunked") - temporaries("splash") == 2 * 4 * tokens * 16 * heads


def test_numbers_of_a_dtype():
    assert [memory.number_bytes(name) for name in ("bfloat16", "float32")] == [2, 4]
    assert memory.bytes_per_chip(jax.ShapeDtypeStruct((3, 5), jnp.bfloat16)) == 30
