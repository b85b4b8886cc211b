"""Several chips: replicas of the model, and a model whose heads lie on several; the responses are those of one chip."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax import sharding
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=96, num_layers=2, model_dim=32, mlp_dim=64, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=256
)
WARM = Sampling(temperature=0.8, repetition_penalty=1.2)


@functools.cache
def _model():
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    return graphdef, jax.tree.map(lambda array: array * 5.0 if array.ndim > 1 else array, params)


@functools.cache
def _requests(count=41):
    rng, first = np.random.default_rng(3), tuple(range(1, 40))
    made = []
    for number in range(count):
        shared = len(first) if number % 3 == 0 else 0
        own = rng.integers(1, 96, rng.integers(1, 60)).tolist()
        prompt = (*first[:shared], *own)
        key = request_key(0, str(number), "own", 0)
        made.append(Request(prompt, key, int(rng.integers(1, 90)), WARM, shared=shared))
    return tuple(made)


def _generate(data=1, tensor=1, implementation="layered", requests=None):
    mesh = None
    graphdef, params = _model()
    if data * tensor > 1:
        mesh = sharding.make_mesh(data, 1, tensor, devices=jax.devices()[: data * tensor])
        params = sharding.shard_params(params, mesh)
    interpret = implementation == "pallas"
    engine = Engine(
        graphdef, CONFIG, stop_ids=(5,), pad_id=0, num_slots=8, chunk_steps=8, prefill_tokens=128, mesh=mesh,
        cache_buckets=(128, 192, 256),
        attention=CachedAttention(implementation, mesh if implementation == "pallas" else None, interpret),
    )  # fmt: skip
    return engine.generate(params, _requests() if requests is None else requests)


@functools.cache
def _alone(implementation):
    return _generate(implementation=implementation)


@pytest.mark.parametrize("data", [2, 3])
@pytest.mark.parametrize("implementation", ["layered", "xla"])
def test_replicas_give_the_bits_of_one(data, implementation):
    for left, right in zip(_alone(implementation), _generate(data, implementation=implementation), strict=True):
        assert left.response_ids == right.response_ids
        assert left.logprobs.tobytes() == right.logprobs.tobytes()


@pytest.mark.parametrize(("data", "tensor"), [(1, 2), (2, 2), (1, 4)])
@pytest.mark.parametrize("implementation", ["layered", "xla"])
def test_heads_on_several_chips_give_the_same_text(data, tensor, implementation):
    """Sums over chips round otherwise: log-probabilities may differ by 1e-4. Two heads are whole on each of four."""
    for left, right in zip(_alone(implementation), _generate(data, tensor, implementation=implementation), strict=True):
        assert left.response_ids == right.response_ids
        np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)


@pytest.mark.parametrize(("data", "tensor"), [(2, 1), (1, 2), (2, 2)])
def test_the_kernel_runs_on_each_chip(data, tensor):
    requests = _requests()[:10]
    alone = _generate(implementation="xla", requests=requests)
    for left, right in zip(alone, _generate(data, tensor, "pallas", requests), strict=True):
        assert left.response_ids == right.response_ids
        np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)


def test_fewer_requests_than_replicas():
    sampled = _generate(4, requests=_requests()[:2])
    assert [one.response_ids for one in sampled] == [one.response_ids for one in _alone("layered")[:2]]
