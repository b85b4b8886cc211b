"""costs: operations by hand, as traced and as XLA counts them; the roofline's three sides."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from tiny_experiment import CONFIG, SETTINGS, step

from s3ft_jax import sharding, training
from s3ft_jax.models import kernels
from s3ft_jax.models.cache import KVCache
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.kernels import Attention
from s3ft_jax.models.lora import Lora
from s3ft_jax.planning import costs, lowering
from s3ft_jax.planning.chips import parse_topology

V5E = parse_topology("v5e:2x2").chip
LORA = Lora(rank=4, targets=("q", "o", "down"))
WEIGHTS = costs.Weights(100, 400, 0, 800, 1600, 0, 300, 800, 800, 100)


def traced_flops(jaxpr, times: int = 1) -> int:
    """2 M N K of every product of a program, those in loops as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (inner, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in inner)
            total += times * 2 * depth * math.prod(equation.outvars[0].aval.shape)
        loops = times * equation.params.get("length", 1)
        for value in equation.params.values():
            inside = value if isinstance(value, (tuple, list)) else (value,)
            total += sum(traced_flops(part, loops) for part in inside if hasattr(part, "eqns"))
    return total


def lowered_step(config, sizes: costs.TrainSizes, **options):
    """(jaxpr, lowered) of the real step on one device."""
    lora = LORA if sizes.tune == "lora" else None
    parts = lowering.abstract_parts(config, dtype="float32", lora=lora)
    mesh = sharding.make_mesh(1, devices=jax.devices()[:1])
    options = step(remat=sizes.remat, chunk_tokens=sizes.chunk_tokens, attention=Attention(sizes.attention), **options)
    state, frozen = lowering.train_state(parts, SETTINGS, mesh)
    batch = lowering.abstract_batch(sizes, mesh)
    program = training.make_step(parts.graphdef, SETTINGS, **options)
    jaxpr = jax.make_jaxpr(program)(state, frozen, batch, 0, 0.0)
    return jaxpr.jaxpr, lambda: lowering.lower_train(parts, SETTINGS, sizes, mesh, options)


def test_one_token_by_hand():
    # q and o 64 x 64, k and v 64 x 32, gate, up and down 64 x 128: 36,864 numbers in each of two layers
    assert costs.layers_flops(CONFIG) == 2 * 2 * 36_864
    assert costs.head_flops(CONFIG) == 2 * 64 * 128
    assert costs.adapter_flops(CONFIG, 4, ("q", "down")) == 2 * 2 * (4 * (64 + 64) + 4 * (128 + 64))
    assert costs.attention_flops(CONFIG, 10) == 10 * 2 * 2 * 4 * 16
    assert costs.cache_bytes(CONFIG, 4) == 2 * 2 * 2 * 16 * 4


def test_of_experts_those_that_are_chosen_count():
    config = dataclasses.replace(CONFIG, num_experts=8, experts_per_token=2)
    attention = 64 * 64 + 2 * 64 * 32 + 64 * 64
    assert costs.layers_flops(config) == 2 * 2 * (attention + 2 * 3 * 64 * 128 + 64 * 8)


@pytest.mark.parametrize(
    "attention, windows, pairs",
    [("xla", (), 18), ("splash", (), 12), ("splash", (2, 0), 11), ("splash", (9, 9), 12)],
)
def test_pairs_of_a_row_of_three(attention, windows, pairs):
    assert costs.row_pairs(dataclasses.replace(CONFIG, layer_windows=windows), 3, attention) == pairs


@pytest.mark.parametrize("places, expected", [(0, 63), (8 * 63, 63), (8 * 63 - 1, 62), (160, 20), (3, 1)])
def test_places_of_a_slice_as_the_loss_takes_them(places, expected):
    assert costs.TrainSizes(1, 8, 64, chunk_tokens=places).loss_places == expected


@pytest.mark.parametrize("tune", ["full", "lora"])
@pytest.mark.parametrize(
    "remat, attention, chunk_tokens, part",
    [
        ("none", "xla", 0, 256),
        ("full", "xla", 20, 256),
        ("dots", "xla", 20, 256),
        ("none", "chunked", 0, 256),
        ("none", "chunked", 0, 8),
        ("full", "chunked", 6, 8),
    ],
)
def test_a_step_takes_the_operations_that_are_traced(tune, remat, attention, chunk_tokens, part, monkeypatch):
    monkeypatch.setattr(kernels, "CHUNK", part)
    training.make_step.cache_clear()
    lora = {"tune": tune, "rank": 4, "targets": LORA.targets} if tune == "lora" else {}
    sizes = costs.TrainSizes(2, 2, 16, remat=remat, attention=attention, chunk_tokens=chunk_tokens, **lora)
    assert costs.train_flops(CONFIG, sizes) == traced_flops(lowered_step(CONFIG, sizes)[0])


def test_norms_after_the_mlp_read_its_product_again():
    config = dataclasses.replace(CONFIG, post_norms=True)
    sizes = costs.TrainSizes(1, 2, 16, remat="full")
    assert costs.train_flops(config, sizes) == traced_flops(lowered_step(config, sizes)[0])
    assert costs.train_flops(config, sizes) > costs.train_flops(CONFIG, sizes)


def test_xla_counts_the_same_where_nothing_is_in_a_loop():
    # XLA counts a loop's body once; of one layer and one micro-batch nothing is left in a loop. It counts norms too
    config = dataclasses.replace(CONFIG, num_layers=1, vocab_size=512, model_dim=128, mlp_dim=512)
    sizes = costs.TrainSizes(1, 4, 64, remat="none")
    _, lower = lowered_step(config, sizes, activation_dtype="float32")
    counted = lower().compile().cost_analysis()["flops"]
    assert costs.train_flops(config, sizes) == pytest.approx(counted, rel=0.06)


def test_the_splash_kernels_take_seven_products_backward():
    arrays = [jax.ShapeDtypeStruct((1, 128, heads, 128), jnp.float32) for heads in (2, 2, 2)]
    ids = jnp.ones((1, 128), jnp.int32)

    def total(*heads):
        return jnp.sum(Attention("splash")(*heads, ids, ids))

    forward = traced_flops(jax.make_jaxpr(total)(*arrays).jaxpr)
    both = traced_flops(jax.make_jaxpr(jax.grad(total, argnums=(0, 1, 2)))(*arrays).jaxpr)
    product = 2 * 128 * 128 * 128  # of one block of one head, for which a kernel is written
    assert forward == 2 * product
    assert (both - forward) // product == costs.BACKWARD["splash"]


@pytest.mark.parametrize(
    "work, seconds, by",
    [
        (costs.Work(197e12, 1.0, 1.0, 400), 1.0, "compute"),
        (costs.Work(1.0, 1638e9, 1.0, 400), 2.0, "memory"),
        (costs.Work(1.0, 1.0, 100e9, 400), 0.5, "network"),
    ],
)
def test_the_slowest_side_is_the_bound(work, seconds, by):
    bound = costs.bound(work, V5E, 4, "bfloat16")
    assert bound == (pytest.approx(seconds), pytest.approx(400 / seconds / 4), by)


def test_float32_products_are_six_times_as_slow():
    assert costs.bound(costs.Work(197e12, 1.0, 1.0, 1), V5E, 1, "float32").seconds == pytest.approx(6.0)


def test_bytes_of_a_step_by_hand():
    sizes = costs.TrainSizes(2, 4, 8, remat="full", activation_bytes=2)
    work = costs.train_work(CONFIG, sizes, WEIGHTS, costs.Split(fsdp=2))
    weights = 2 * 2 * 800  # gathered, forward and backward of two micro-batches
    sums = 2 * 2 * 4 * 100  # float32, read and written by each
    update = 4 * 100 + 2 * (400 + 800)
    tokens = 2 * 4 * 8 / 2
    assert work.hbm_bytes == weights + sums + update + 2 * tokens * (2 * 64 * 2 + 4 * 128)
    assert work.ici_bytes == 2 * (2 * 800 + 800) / 2
    assert (work.flops, work.tokens) == (costs.train_flops(CONFIG, sizes) / 2, 64)


def test_chips_with_copies_send_their_gradients():
    sizes = costs.TrainSizes(1, 4, 8)
    assert costs.train_work(CONFIG, sizes, WEIGHTS, costs.Split(data=4)).ici_bytes == 2 * 400 * 3 / 4
    alone = costs.train_work(CONFIG, sizes, WEIGHTS, costs.Split())
    assert alone.ici_bytes == 0


def test_sampling_by_hand_and_as_traced():
    sizes = costs.SampleSizes(prompts=2, prompt_length=32, slots=4, cache_length=64, steps=8)
    prefill = costs.prefill_work(CONFIG, sizes, WEIGHTS, costs.Split())
    decode = costs.decode_work(CONFIG, sizes, WEIGHTS, costs.Split())
    assert (prefill.tokens, decode.tokens) == (64, 32)
    # prefill makes no logits: the head is not read; the stream is read and written in each layer
    assert prefill.hbm_bytes == 1600 - 300 + 64 * (2 * 2 * 64 * 4 + 512)
    assert decode.hbm_bytes == 8 * (1600 + 4 * 64 * 512 + 2 * 4 * 4 * 128)
    decoder = nnx.eval_shape(lambda: Decoder(CONFIG, rngs=nnx.Rngs(0)))
    graphdef, params = nnx.split(decoder)

    def through(prompts, length, positions):
        ids = jax.ShapeDtypeStruct((prompts, length), jnp.int32)
        cache = jax.eval_shape(lambda: KVCache.empty(CONFIG, prompts, positions))
        run = jax.make_jaxpr(lambda params, cache, ids: nnx.merge(graphdef, params)(ids, ids, None, cache))
        return traced_flops(run(params, cache, ids).jaxpr)

    assert decode.flops == 8 * through(4, 1, 64)
    assert prefill.flops == through(2, 32, 32) - 64 * costs.head_flops(CONFIG)


def test_heads_for_more_chips_than_there_are():
    """Two heads on two chips, one each; on four a head on every chip, twice in all; on three whole on every one."""
    sizes = costs.SampleSizes(prompts=1, prompt_length=32, slots=4, cache_length=64, steps=1)
    two, four, three = (costs.decode_work(CONFIG, sizes, WEIGHTS, costs.Split(tensor=n)).hbm_bytes for n in (2, 4, 3))
    logits = 2 * 4 * 4 * 128
    assert two == 1600 + 4 * 64 * 512 / 2 + logits / 2
    assert four == 1600 + 4 * 64 * 512 / 2 + logits / 4
    assert three == 1600 + 4 * 64 * 512 + logits / 3
