"""side_by_side: an engine called by several threads gives what one call gives, and stops when one of them fails."""

import functools
import threading

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.generation import side_by_side
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import GenerationError, Sampling, request_key
from s3ft_jax.generation.side_by_side import SideBySide, num_cores
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=96, num_layers=2, model_dim=32, mlp_dim=48, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=256,
)  # fmt: skip


@functools.cache
def _model():
    return nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))


def _engine(num_slots=8):
    return Engine(_model()[0], CONFIG, stop_ids=(3,), pad_id=0, num_slots=num_slots, chunk_steps=8)


def _requests(count=64):
    random = np.random.default_rng(1)
    prompts = [tuple(int(one) for one in random.integers(4, 96, random.integers(2, 60))) for _ in range(count // 2)]
    return [
        Request(prompt, request_key(0, str(number), "own", copy), int(random.integers(4, 40)), Sampling())
        for number, prompt in enumerate(prompts)
        for copy in range(2)
    ]


def _same(one, other):
    return [(a.response_ids, a.logprobs.tobytes(), a.ended) for a in one] == [
        (b.response_ids, b.logprobs.tobytes(), b.ended) for b in other
    ]


def test_calls_side_by_side_give_the_same_bits_and_compile_each_program_once():
    params, requests, alone = _model()[1], _requests(), _engine()
    expected = alone.generate(params, requests)
    both, told, finished = SideBySide(_engine(), 3), [], {}
    found = both.generate(params, requests, lambda *one: told.append(one), lambda n, one: finished.update({n: one}))
    assert _same(found, expected)
    assert both.engine.num_compiles == alone.num_compiles
    assert [finished[n] for n in range(64)] == found
    assert [one[0] for one in told] == sorted(one[0] for one in told)
    assert told[-1] == (64, 64, sum(len(one.response_ids) for one in found), sum(not one.ended for one in found))


def test_equal_prompts_stay_together_and_few_requests_are_one_call():
    requests, both = _requests(), SideBySide(_engine(), 3)
    parts = both._parts(requests)
    owner = {index: number for number, part in enumerate(parts) for index in part}
    assert sorted(owner) == list(range(64)) == sorted(index for part in parts for index in part)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2
    assert all(owner[index] == owner[index + 1] for index in range(0, 64, 2))
    assert both._parts(requests[:8]) == [list(range(8))] and len(both._parts(requests[:9])) == 2
    assert both._parts([]) == [[]] and both.generate(_model()[1], []) == []


def test_a_request_that_cannot_be_run_is_named_by_its_own_number():
    requests = _requests()
    requests[41] = Request((), requests[41].key, 4, Sampling())
    with pytest.raises(GenerationError, match="request 41"):
        SideBySide(_engine(), 2).generate(_model()[1], requests)


@pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED"), KeyboardInterrupt()])
def test_a_call_that_fails_ends_the_others(error):
    started = threading.active_count()

    def fail(number, _):
        if number == 5:
            raise error

    with pytest.raises(type(error)):
        SideBySide(_engine(), 2).generate(_model()[1], _requests(), None, fail)
    assert threading.active_count() == started


def test_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert num_cores() == 3
    monkeypatch.delattr(side_by_side.os, "sched_getaffinity")
    monkeypatch.setattr(side_by_side.os, "cpu_count", lambda: None)
    assert num_cores() == 1
