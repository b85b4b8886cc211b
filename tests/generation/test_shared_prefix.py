"""A prompt's beginning that others share is prefilled once, and the responses are those of whole prompts."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import GenerationError, Sampling, request_key
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=97, num_layers=2, model_dim=32, mlp_dim=64, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=512,
    layer_windows=(0, 24),
)  # fmt: skip
PENALIZED = Sampling(temperature=0.8, repetition_penalty=1.3)


@functools.cache
def _model():
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    return graphdef, jax.tree.map(lambda array: array * 5.0 if array.ndim > 1 else array, params)


def _requests(prefix, count=24, longest=90):
    rng = np.random.default_rng(len(prefix))
    return [
        Request(
            (*prefix, *rng.integers(1, 97, rng.integers(1, longest)).tolist()),
            request_key(0, str(number), "own", 0),
            20,
            PENALIZED,
            shared=len(prefix),
        )
        for number in range(count)
    ]


def _engine(implementation="layered"):
    return Engine(
        _model()[0],
        CONFIG,
        stop_ids=(),
        pad_id=0,
        num_slots=8,
        attention=CachedAttention(implementation, interpret=True),
    )


def _recorded(engine):
    """Shapes of what is prefilled: whole prompts, and the new tokens of those that go on from a prefix."""
    shapes, prefill, extend = [], engine.programs.prefill, engine.programs.extend
    engine.programs.prefill = lambda params, tokens, lengths: (
        shapes.append(("whole", *tokens.shape)) or prefill(params, tokens, lengths)
    )
    engine.programs.extend = lambda params, prefix, tokens, lengths, num_new: (
        shapes.append(("new", tokens.shape[0], num_new)) or extend(params, prefix, tokens, lengths, num_new)
    )
    return shapes


@pytest.mark.parametrize("implementation", ["layered", "xla"])
def test_shared_beginnings_are_prefilled_once_and_change_no_token(implementation):
    first, second = (tuple(np.random.default_rng(seed).integers(1, 97, 100 + seed).tolist()) for seed in (0, 1))
    requests = _requests(first) + _requests(second) + [dataclasses.replace(one, shared=0) for one in _requests(())]
    plain = _engine(implementation).generate(_model()[1], [dataclasses.replace(one, shared=0) for one in requests])
    engine = _engine(implementation)
    shapes = _recorded(engine)
    shared = engine.generate(_model()[1], requests)
    assert [shape for shape in shapes if shape[0] == "whole"].count(("whole", 1, 128)) == 2, "each beginning once"
    assert sum(rows for kind, rows, _ in shapes if kind == "new") >= 48
    for left, right in zip(plain, shared, strict=True):
        assert left.response_ids == right.response_ids
        np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)


def test_company_changes_no_bit_of_a_request_that_shares():
    requests = _requests(tuple(range(1, 71)))
    together = _engine().generate(_model()[1], requests)
    for number in (0, 7, 23):
        alone = _engine().generate(_model()[1], requests[number : number + 1])[0]
        assert alone.response_ids == together[number].response_ids
        assert alone.logprobs.tobytes() == together[number].logprobs.tobytes()


def test_a_prompt_may_be_all_shared_but_its_last_token():
    requests = [dataclasses.replace(one, shared=len(one.prompt_ids) - 1) for one in _requests((5,) * 40, count=3)]
    plain = _engine().generate(_model()[1], [dataclasses.replace(one, shared=0) for one in requests])
    made = _engine().generate(_model()[1], requests)
    assert [one.response_ids for one in made] == [one.response_ids for one in plain]


@pytest.mark.parametrize("shared", [-1, 3, 4])
def test_what_cannot_be_shared_is_named(shared):
    request = Request((1, 2, 3), request_key(0, "a", "own", 0), 4, PENALIZED, shared=shared)
    with pytest.raises(GenerationError, match=f"request 0: shares {shared} tokens of a prompt of 3"):
        _engine().generate(_model()[1], [request])
