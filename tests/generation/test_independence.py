"""500 ragged prompts, greedy and drawn, in engines of other shapes and orders: the same tokens, near-ties aside.

A near-tie is a token whose deciding score was less than 1e-4 away from another: for a greedy token the difference of
the two logits, for a drawn one the distance of its random number from the border between the two in the cumulative
distribution. They are counted and shown; anything else that differs is a failure.
"""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import GREEDY, Sampling, request_key, token_keys
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=89, num_layers=2, model_dim=16, mlp_dim=32, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=128
)
WARM = Sampling(temperature=0.9)
NEAR = 1e-4


@functools.cache
def model():
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    return graphdef, jax.tree.map(lambda array: array * 5.0 if array.ndim > 1 else array, params)


@functools.cache
def requests():
    rng = np.random.default_rng(1)
    return [
        Request(
            tuple(rng.integers(1, 89, rng.integers(1, 64)).tolist()),
            request_key(0, f"t/train/{n:05d}", "own", 0),
            int(rng.integers(1, 40)),
            WARM if n % 2 else GREEDY,
        )
        for n in range(500)
    ]


def generate(asked, **sizes):
    engine = Engine(model()[0], CONFIG, stop_ids=(7,), pad_id=0, prefill_tokens=512, **sizes)
    return engine.generate(model()[1], asked)


@functools.cache
def reference():
    return generate(requests(), num_slots=32, chunk_steps=8)


@functools.cache
def logits_of():
    return jax.jit(lambda *rows: nnx.merge(*model())(*rows)[0])


def margin(request, ids, other):
    """How far the deciding score of the first token that differs was from the border between the two."""
    place = next(n for n, pair in enumerate(zip(ids, other, strict=False)) if pair[0] != pair[1])
    tokens = (*request.prompt_ids, *ids[:place])
    row, number = np.zeros((1, 128), np.int32), np.arange(128, dtype=np.int32)[None]
    row[0, : len(tokens)] = tokens
    logits = np.asarray(logits_of()(row, number, (number < len(tokens)).astype(np.int32)), np.float64)[
        0, len(tokens) - 1
    ]
    pair = sorted((ids[place], other[place]))
    if request.sampling == GREEDY:
        return abs(logits[pair[0]] - logits[pair[1]])
    key = token_keys(request.key[None], np.array([len(tokens)], np.int32))[0]
    drawn = float(jax.random.uniform(jax.random.wrap_key_data(key, impl="threefry2x32")))
    weights = np.exp((logits - logits.max()) / request.sampling.temperature)
    borders = np.cumsum(weights) / weights.sum()
    return np.abs(borders[pair[0] : pair[1]] - drawn).max()  # every border between the two must be near


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_slots": 32, "chunk_steps": 3},
        {"num_slots": 7, "chunk_steps": 8},
        {"num_slots": 128, "chunk_steps": 16},
        {"num_slots": 32, "chunk_steps": 8, "cache_buckets": (128,)},
        {"num_slots": 32, "chunk_steps": 8, "attention": CachedAttention()},
    ],
)
def test_other_shapes_and_orders_give_the_same_tokens(sizes):
    order = np.random.default_rng(len(sizes) + sizes["num_slots"]).permutation(500)
    made = generate([requests()[n] for n in order], **sizes)
    ties = 0
    for n, one in zip(order, made, strict=True):
        expected = reference()[n]
        if one.response_ids != expected.response_ids:
            distance = margin(requests()[n], expected.response_ids, one.response_ids)
            assert distance < NEAR, f"request {n} differs, {distance:.2e} away from the border"
            ties += 1
    print(f"{sizes}: {ties} of 500 responses differ, each after a near-tie")
    assert ties <= 5
    if sizes["num_slots"] == 32 and "attention" not in sizes:
        assert not ties, "with the same number of slots every bit is the same"


def test_after_a_restart_the_same_bits():
    half = generate(requests()[:250], num_slots=32, chunk_steps=8) + generate(
        requests()[250:], num_slots=32, chunk_steps=8
    )
    for one, expected in zip(half, reference(), strict=True):
        assert one.response_ids == expected.response_ids and one.logprobs.tobytes() == expected.logprobs.tobytes()


def test_the_margin_knows_a_tie_from_a_fault():
    request, ids = requests()[0], reference()[0].response_ids
    wrong = ((ids[0] + 40) % 89, *ids[1:])
    assert margin(request, ids, wrong) > 100 * NEAR
    drawn, ids = requests()[1], reference()[1].response_ids
    assert margin(drawn, ids, ((ids[0] + 40) % 89, *ids[1:])) > 10 * NEAR
