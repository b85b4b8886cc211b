"""Scoring against a plain forward pass, one response at a time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax import sharding
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.models.config import NO_ROPE, DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.scoring import Scorer

CONFIG = DecoderConfig(
    vocab_size=61, num_layers=2, model_dim=32, mlp_dim=48, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=128
)


@functools.cache
def _model(seed=0):
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(seed)))
    return graphdef, jax.tree.map(lambda array: array * 5.0 if array.ndim > 1 else array, params)


@functools.cache
def _pairs(count=30):
    rng = np.random.default_rng(0)

    def ids(high):
        return tuple(rng.integers(0, CONFIG.vocab_size, rng.integers(1, high)).tolist())

    return [ids(70) for _ in range(count)], [ids(50) for _ in range(count)]


@functools.cache
def _scorer(**settings):
    return Scorer(_model()[0], CONFIG, pad_id=0, batch_tokens=256, **settings)


FAMILIES = {
    "rope": {},
    "all_heads": {"num_kv_heads": 4, "layer_ropes": (0, NO_ROPE)},
    "windows": {"layer_windows": (0, 9)},
    "softcaps": {"attn_softcap": 2.0, "final_softcap": 8.0, "post_norms": True, "layer_windows": (20, 0)},
    "learned_positions": {
        "learned_positions": True, "norm": "layer", "gated_mlp": False, "activation": "gelu_tanh",
        "qkv_bias": True, "out_bias": True, "mlp_bias": True, "tie_embeddings": True,
    },
    "experts": {"num_experts": 4, "experts_per_token": 2},
}  # fmt: skip


def questions(config=CONFIG, count=7):
    """Shared text, a question below it, choices: equal prompts, equal beginnings, a single choice."""
    rng = np.random.default_rng(0)

    def ids(high):
        return tuple(rng.integers(0, config.vocab_size, rng.integers(1, high)).tolist())

    shared, prompts, responses = ids(30), [], []
    for number in range(count):
        prompt = (shared if number % 2 else ()) + ids(40)
        for _ in range(1 + number % 4):
            prompts.append(prompt)
            responses.append(ids(30))
        prompts.append(prompt)
        responses.append(responses[-1][:2] + ids(4))
    return prompts, responses


@pytest.mark.parametrize("changes", FAMILIES.values(), ids=FAMILIES)
def test_equals_a_plain_forward_pass(changes):
    config = dataclasses.replace(CONFIG, **changes)
    graphdef, params = nnx.split(Decoder(config, rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda array: array * 4.0 if array.ndim > 1 else array, params)
    prompts, responses = questions(config)
    scores = Scorer(graphdef, config, pad_id=0, batch_tokens=256).score(params, prompts, responses)

    @jax.jit
    def plain(params, tokens, segments):
        positions = jnp.arange(tokens.shape[1])[None]
        return jax.nn.log_softmax(nnx.merge(graphdef, params)(tokens, positions, segments)[0][0])

    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        tokens = np.zeros((1, config.max_positions), np.int32)
        tokens[0, : len(prompt + response)] = prompt + response
        used = np.arange(config.max_positions)[None] < len(prompt + response)
        logprobs = np.asarray(plain(params, tokens, used.astype(np.int32)))[len(prompt) - 1 :][: len(response)]
        score = scores[number]
        np.testing.assert_allclose(score.logprobs, logprobs[np.arange(len(response)), response], atol=1e-5)
        assert score.greedy.tolist() == (logprobs.argmax(axis=-1) == response).tolist()
        assert score.logprobs.dtype == np.float32
        assert score.total == pytest.approx(float(np.sum(score.logprobs)), abs=1e-4)


def test_greedy_is_what_greedy_decoding_says():
    graphdef, params = _model()
    prompt = (3, 1, 4)
    engine = Engine(graphdef, CONFIG, stop_ids=(), pad_id=0, num_slots=4)
    request = Request(prompt, request_key(0, "example", "own", 0), 6, Sampling(temperature=0.0))
    said = tuple(int(token) for token in engine.generate(params, [request])[0].response_ids)
    other = (*said[:3], (said[3] + 1) % CONFIG.vocab_size, *said[4:])
    found = _scorer().score(params, [prompt] * 2, [said, other])
    assert found[0].greedy.all() and found[0].is_greedy
    assert found[1].greedy[:4].tolist() == [True, True, True, False]
    assert not found[1].is_greedy


def test_of_equally_likely_tokens_the_first_is_greedy():
    _, params = _model()
    flat = jax.tree.map(jnp.zeros_like, params)
    found = _scorer().score(flat, [(1,)] * 2, [(0,), (1,)])
    assert [one.is_greedy for one in found] == [True, False]
    np.testing.assert_allclose(found[1].logprobs, -np.log(CONFIG.vocab_size), rtol=1e-6)


@pytest.mark.parametrize("changes", [{}, FAMILIES["experts"]], ids=["dense", "experts"])
def test_company_and_order_change_no_bit(changes):
    config = dataclasses.replace(CONFIG, **changes)
    graphdef, params = nnx.split(Decoder(config, rngs=nnx.Rngs(0)))
    scorer = Scorer(graphdef, config, pad_id=0, batch_tokens=256)
    prompts, responses = (one + other for one, other in zip(questions(config), _pairs(), strict=True))
    scores = scorer.score(params, prompts, responses)
    rng = np.random.default_rng(1)
    for count in (len(prompts), 20, 5, 1, 1, 1):
        some = rng.permutation(len(prompts))[:count]
        found = scorer.score(params, [prompts[n] for n in some], [responses[n] for n in some])
        for number, score in zip(some, found, strict=True):
            assert score.logprobs.tobytes() == scores[number].logprobs.tobytes()


def test_what_is_shared_is_fed_once():
    scorer = Scorer(_model()[0], CONFIG, pad_id=0, batch_tokens=256)
    shared, question = (7,) * 40, tuple(range(20))
    prompts = [shared + question] * 4 + [shared + question[::-1]] * 4
    responses = [(30 + n, 40, 41, 42) for n in range(8)]
    scorer.score(_model()[1], prompts, responses)
    # the shared text, two questions, and of each choice all tokens but the last
    assert scorer.num_tokens == 40 + 2 * 20 + 8 * 3
    assert sum(map(len, prompts + responses)) - 8 == 8 * 63


def test_forty_choices_take_several_rows():
    graphdef, params = _model()
    prompt = tuple(range(50))
    responses = [(number, *range(number % 9)) for number in range(40)]
    seen = []
    small, large = (Scorer(graphdef, CONFIG, pad_id=0, batch_tokens=size) for size in (64, 1024))
    found = small.score(params, [prompt] * 40, responses, on_progress=lambda done, _: seen.append(done))
    assert len(seen) > 5
    for one, other in zip(found, large.score(params, [prompt] * 40, responses), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
    assert small.num_tokens > large.num_tokens == 50 + sum(range(9)) * 4 + sum(range(4))


def test_a_pair_longer_than_a_row_gets_a_longer_one():
    graphdef, params = _model()
    prompts, responses = [(1, 2, 3), (5,) * 100], [(4, 5), (6,) * 29]
    scorer = Scorer(graphdef, CONFIG, pad_id=0, batch_tokens=64)
    found = scorer.logprobs(params, prompts, responses)
    assert scorer.num_compiles == 2
    expected = _scorer().logprobs(params, prompts, responses)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    (alone,) = scorer.logprobs(params, prompts[:1], responses[:1])
    assert alone.tobytes() == found[0].tobytes()


@pytest.mark.parametrize("rows_on_their_own", [True, False])
def test_parameters_over_a_mesh(rows_on_their_own):
    graphdef, params = _model()
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    spread = sharding.shard_params(params, mesh)
    scorer = Scorer(graphdef, CONFIG, pad_id=0, batch_tokens=256, mesh=mesh if rows_on_their_own else None)
    prompts, responses = _pairs()
    seen = []
    found = scorer.score(spread, prompts, responses, on_progress=lambda done, _: seen.append(done))
    for one, other in zip(found, _scorer().score(params, prompts, responses), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-5)
    # about eight rows of 256 tokens: four at a time, or one by one
    assert len(seen) <= 4 if rows_on_their_own else len(seen) > 4


def test_slices_of_logits_do_not_change_scores():
    prompts, responses = _pairs()
    params = _model()[1]
    for left, right in zip(
        _scorer().logprobs(params, prompts, responses),
        _scorer(slice_tokens=7).logprobs(params, prompts, responses),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, atol=1e-4)


def test_probabilities_of_all_next_tokens_add_up_to_one():
    prompt = _pairs()[0][0]
    scores = _scorer().logprobs(_model()[1], [prompt] * CONFIG.vocab_size, [(n,) for n in range(CONFIG.vocab_size)])
    assert np.exp(np.concatenate(scores)).sum() == pytest.approx(1.0, abs=1e-5)


def test_other_parameters_and_other_pairs_compile_nothing():
    prompts, responses = _pairs()
    scorer = Scorer(_model()[0], CONFIG, pad_id=0, batch_tokens=256)
    first = scorer.logprobs(_model()[1], prompts, responses)
    assert scorer.num_compiles == 1
    other = scorer.logprobs(_model(seed=1)[1], prompts[:9], responses[:9])
    scorer.logprobs(_model()[1], *questions())
    assert scorer.num_compiles == 1
    assert abs(first[0][0] - other[0][0]) > 1e-3


def test_progress_reaches_the_whole():
    progress = []
    prompts, responses = _pairs()
    _scorer().logprobs(_model()[1], prompts, responses, on_progress=lambda *pair: progress.append(pair))
    assert progress == sorted(progress)
    assert progress[-1] == (30, 30)


@pytest.mark.parametrize(
    ("prompt", "response", "words"),
    [
        ((), (1,), "pair 1.*0 prompt tokens"),
        ((1,), (), "pair 1.*0 response tokens"),
        ((1,) * 100, (2,) * 30, "pair 1: 100 prompt.*30 response.* = 130.*128.*Leave this pair out"),
    ],
)
def test_a_pair_that_cannot_be_scored_is_named(prompt, response, words):
    with pytest.raises(ValueError, match=words):
        _scorer().logprobs(_model()[1], [(1,), prompt], [(2,), response])


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 prompts but 1 responses"):
        _scorer().logprobs(_model()[1], [(1,), (2,)], [(3,)])


@pytest.mark.parametrize(("argument", "value"), [("batch_tokens", 0), ("slice_tokens", 0), ("pad_id", 61)])
def test_bad_scorer_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=argument):
        Scorer(_model()[0], CONFIG, **{"pad_id": 0, argument: value})
