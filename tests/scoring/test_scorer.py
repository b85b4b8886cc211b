"""Scoring against a plain forward pass, one response at a time."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.config import DecoderConfig
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


def _plain(params, prompt, response):
    tokens = np.array([prompt + response], np.int32)
    model = nnx.merge(_model()[0], params)
    logits, _ = model(tokens, np.arange(tokens.shape[1], dtype=np.int32)[None], np.ones_like(tokens))
    logprobs = np.asarray(jax.nn.log_softmax(logits[0]))
    return np.array([logprobs[len(prompt) + step - 1, token] for step, token in enumerate(response)])


def test_equals_a_plain_forward_pass():
    prompts, responses = _pairs()
    params = _model()[1]
    scores = _scorer().logprobs(params, prompts, responses)
    assert [score.shape for score in scores] == [(len(response),) for response in responses]
    assert all(score.dtype == np.float32 for score in scores)
    for number in (0, 7, 19):
        np.testing.assert_allclose(scores[number], _plain(params, prompts[number], responses[number]), atol=1e-4)


def test_company_and_order_change_no_bit():
    prompts, responses = _pairs()
    params = _model()[1]
    scores = _scorer().logprobs(params, prompts, responses)
    order = np.random.default_rng(1).permutation(len(prompts))
    shuffled = _scorer().logprobs(params, [prompts[n] for n in order], [responses[n] for n in order])
    for number, score in zip(order, shuffled, strict=True):
        assert score.tobytes() == scores[number].tobytes()
    (alone,) = _scorer().logprobs(params, prompts[3:4], responses[3:4])
    assert alone.tobytes() == scores[3].tobytes()


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


def test_other_parameters_and_fewer_responses_compile_nothing():
    prompts, responses = _pairs()
    scorer = Scorer(_model()[0], CONFIG, pad_id=0, batch_tokens=256)
    first = scorer.logprobs(_model()[1], prompts, responses)
    compiled = scorer.num_compiles
    assert compiled > 0
    other = scorer.logprobs(_model(seed=1)[1], prompts[:9], responses[:9])
    assert scorer.num_compiles == compiled
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
        ((1,) * 100, (2,) * 30, "pair 1.*130.*128.*Leave this pair out"),
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
