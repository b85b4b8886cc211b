"""The engine: same request, same response; refill, limits, compiles; greedy equal to transformers."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import GREEDY, Sampling, request_key
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.scoring import Scorer

CONFIG = DecoderConfig(
    vocab_size=97, num_layers=2, model_dim=32, mlp_dim=64, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=256
)
WARM = Sampling(temperature=0.8)
STOP = 5


@functools.cache
def _model(seed=0):
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(seed)))
    # start values are so small that every distribution is nearly flat; five times larger ones make it uneven
    return graphdef, jax.tree.map(lambda array: array * 5.0 if array.ndim > 1 else array, params)


@functools.cache
def _engine(num_slots=8, chunk_steps=4, stop_ids=(STOP,), cache_buckets=(32, 64, 128, 192)):
    return Engine(
        _model()[0],
        CONFIG,
        stop_ids=stop_ids,
        pad_id=0,
        num_slots=num_slots,
        chunk_steps=chunk_steps,
        prompt_buckets=(32, 64),
        cache_buckets=cache_buckets,
        prefill_tokens=64,
    )


@functools.cache
def _requests(count=32, sampling=WARM):
    rng = np.random.default_rng(1)
    return tuple(
        Request(
            tuple(rng.integers(1, CONFIG.vocab_size, rng.integers(1, 60)).tolist()),
            request_key(0, f"task/train/{number:05d}", "own", 0),
            int(rng.integers(1, 70)),
            sampling,
        )
        for number in range(count)
    )


@functools.cache
def _together():
    return _engine().generate(_model()[1], _requests())


def _same(left, right):
    return (
        left.response_ids == right.response_ids
        and left.logprobs.tobytes() == right.logprobs.tobytes()
        and left.ended == right.ended
    )


def test_responses_end_by_stop_or_by_limit_and_say_which():
    for request, sampled in zip(_requests(), _together(), strict=True):
        assert 1 <= len(sampled.response_ids) <= request.max_new_tokens
        assert len(sampled.logprobs) == len(sampled.response_ids)
        assert sampled.logprobs.dtype == np.float32
        assert (sampled.logprobs <= 0.0).all()
        assert sampled.ended == (sampled.response_ids[-1] == STOP)
        assert STOP not in sampled.response_ids[:-1]
        assert sampled.ended or len(sampled.response_ids) == request.max_new_tokens
    assert {sampled.ended for sampled in _together()} == {True, False}


def test_order_and_company_change_no_bit():
    params, requests = _model()[1], _requests()
    order = np.random.default_rng(2).permutation(len(requests))
    for number, sampled in zip(order, _engine().generate(params, [requests[n] for n in order]), strict=True):
        assert _same(sampled, _together()[number])
    for number in (0, 11, 23):
        assert _same(_engine().generate(params, [requests[number]])[0], _together()[number])
    part = _engine().generate(params, requests[7:12])
    assert all(_same(left, right) for left, right in zip(part, _together()[7:12], strict=True))


def test_turns_are_begun_one_after_the_other_and_change_no_bit():
    """A slot that an earlier turn has no use for any more is the next one's: no turn is waited for."""
    requests = [dataclasses.replace(one, turn=2 - number // 11) for number, one in enumerate(_requests())]
    ended = {}
    sampled = _engine().generate(
        _model()[1], requests, on_finished=lambda number, _: ended.setdefault(number, len(ended))
    )
    for left, right in zip(sampled, _together(), strict=True):
        assert _same(left, right)
    places = [[ended[number] for number in range(32) if requests[number].turn == turn] for turn in range(3)]
    assert [sum(one) / len(one) for one in places] == sorted(sum(one) / len(one) for one in places)
    assert max(places[0]) > min(places[1]), "the second begins before the first has ended"


def test_chunk_length_changes_no_bit():
    others = _engine(chunk_steps=7).generate(_model()[1], _requests())
    assert all(_same(left, right) for left, right in zip(others, _together(), strict=True))


def test_cache_length_changes_no_bit():
    """What lets the engine choose the cache bucket by the company: XLA's CPU backend gives equal bits for each."""
    assert _engine().cache_buckets == (128, 192)  # 8 slots x 4 heads x 128 = 4096
    others = _engine(cache_buckets=(192,)).generate(_model()[1], _requests())
    assert all(_same(left, right) for left, right in zip(others, _together(), strict=True))


@pytest.mark.parametrize("num_slots", [1, 32])
def test_another_number_of_slots_gives_the_same_text(num_slots):
    """Matrix products of another shape may round the last bits differently, so log-probabilities may differ by 1e-4."""
    others = _engine(num_slots=num_slots).generate(_model()[1], _requests())
    for left, right in zip(others, _together(), strict=True):
        assert left.response_ids == right.response_ids
        np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)


def test_settings_parameters_and_part_filled_batches_compile_nothing():
    engine = Engine(_model()[0], CONFIG, stop_ids=(), pad_id=0, num_slots=8, chunk_steps=4, prefill_tokens=64)
    first = engine.generate(_model()[1], _requests())
    compiled = engine.num_compiles
    assert compiled > 0
    others = Sampling(top_p=0.7, min_p=0.02), Sampling(repetition_penalty=1.5)
    for sampling in (GREEDY, Sampling(temperature=1.3), Sampling(top_k=4), *others):
        engine.generate(_model()[1], _requests(sampling=sampling))
    other = engine.generate(_model(seed=1)[1], _requests())
    engine.generate(_model()[1], _requests()[:13])
    assert engine.num_compiles == compiled
    assert any(left.response_ids != right.response_ids for left, right in zip(first, other, strict=True))


def test_n_responses_of_one_prompt_share_its_prefill():
    prompt = _requests()[3].prompt_ids
    requests = [Request(prompt, request_key(0, "a", "own", index), 12, WARM) for index in range(20)]
    engine = _engine()
    batches = []
    prefill = engine.programs.prefill
    engine.programs.prefill = lambda params, *tokens: batches.append(tokens) or prefill(params, *tokens)
    try:
        sampled = engine.generate(_model()[1], requests)
    finally:
        engine.programs.prefill = prefill
    assert len(batches) == 1
    assert len({one.response_ids for one in sampled}) > 10
    assert _same(sampled[17], engine.generate(_model()[1], [requests[17]])[0])


def test_logprobs_equal_the_scorers():
    graphdef, params = _model()
    scores = Scorer(graphdef, CONFIG, pad_id=0, batch_tokens=256).logprobs(
        params, [request.prompt_ids for request in _requests()], [sampled.response_ids for sampled in _together()]
    )
    for sampled, score in zip(_together(), scores, strict=True):
        np.testing.assert_allclose(sampled.logprobs, score, atol=1e-4)


def test_first_tokens_follow_the_models_distribution():
    """The whole engine against softmax, not only the sampler."""
    graphdef, params = _model()
    prompt = _requests()[4].prompt_ids
    tokens = np.array([prompt], np.int32)
    logits, _ = nnx.merge(graphdef, params)(tokens, np.arange(len(prompt), dtype=np.int32)[None], np.ones_like(tokens))
    expected = np.asarray(jax.nn.softmax(logits[0, -1] / 0.8), np.float64)
    requests = [Request(prompt, request_key(9, "a", "own", index), 1, WARM) for index in range(4000)]
    sampled = _engine(num_slots=64).generate(params, requests)
    counts = np.bincount([one.response_ids[0] for one in sampled], minlength=CONFIG.vocab_size)
    assert (expected * 4000 > 1).all()
    chi_square = ((counts - 4000 * expected) ** 2 / (4000 * expected)).sum()
    degrees = CONFIG.vocab_size - 1
    assert chi_square < degrees + 6 * np.sqrt(2 * degrees)


def test_every_stop_id_ends_a_response():
    (plain,) = _engine(stop_ids=()).generate(_model()[1], _requests()[2:3])
    assert not plain.ended
    third = plain.response_ids[2]
    (stopped,) = _engine(stop_ids=(96, third)).generate(_model()[1], _requests()[2:3])
    first = plain.response_ids.index(third)
    assert stopped.ended
    assert stopped.response_ids == plain.response_ids[: first + 1]


def test_progress_and_finished_are_told_once_each():
    progress, finished = [], {}
    sampled = _engine().generate(
        _model()[1],
        _requests(),
        on_progress=lambda *told: progress.append(told),
        on_finished=lambda index, one: finished.update({index: (one, finished.get(index))}),
    )
    assert [done for done, *_ in progress] == sorted(done for done, *_ in progress)
    cut = sum(not one.ended for one in sampled)
    assert progress[-1] == (32, 32, sum(len(one.response_ids) for one in sampled), cut)
    assert all(finished[index] == (one, None) for index, one in enumerate(sampled))


def test_nothing_to_do():
    assert _engine().generate(_model()[1], []) == []


@pytest.mark.parametrize(
    ("prompt_length", "limit", "words"),
    [
        (66, 1, "request 1.*66 tokens.*nothing is ever cut"),
        (60, 134, "request 1.*60 prompt tokens.*134 = 194.*193.*sample.max_new_tokens and evaluate.max_new_tokens"),
        (0, 3, "request 1.*0 prompt tokens"),
        (3, 0, "request 1.*max_new_tokens 0"),
    ],
)
def test_a_request_that_does_not_fit_is_named_before_anything_runs(prompt_length, limit, words):
    bad = Request((1,) * prompt_length, request_key(0, "a", "own", 0), limit, WARM)
    finished = []
    with pytest.raises(ValueError, match=words):
        _engine().generate(_model()[1], [_requests()[0], bad], on_finished=lambda *event: finished.append(event))
    assert not finished


def test_requests_may_fill_the_cache_to_its_last_position():
    request = Request(_requests()[0].prompt_ids[:1] * 65, request_key(0, "a", "own", 0), 128, GREEDY)
    (sampled,) = _engine(stop_ids=()).generate(_model()[1], [request])
    assert len(sampled.response_ids) == 128
    graphdef, params = _model()
    (score,) = Scorer(graphdef, CONFIG, pad_id=0).logprobs(params, [request.prompt_ids], [sampled.response_ids])
    np.testing.assert_allclose(sampled.logprobs, score, atol=1e-4)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("num_slots", 0), ("chunk_steps", 0),
     ("prompt_buckets", (64, 32)), ("cache_buckets", ()), ("cache_buckets", (100,)), ("stop_ids", (97,)),
     ("pad_id", -1)],
)  # fmt: skip
def test_bad_engine_arguments_are_named(argument, value):
    arguments = {"stop_ids": (STOP,), "pad_id": 0, argument: value}
    with pytest.raises(ValueError, match=argument):
        Engine(_model()[0], CONFIG, **arguments)


def _llama():
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=CONFIG.vocab_size,
            hidden_size=CONFIG.model_dim,
            intermediate_size=CONFIG.mlp_dim,
            num_hidden_layers=CONFIG.num_layers,
            num_attention_heads=CONFIG.num_heads,
            num_key_value_heads=CONFIG.num_kv_heads,
            head_dim=CONFIG.head_dim,
            max_position_embeddings=CONFIG.max_positions,
            rms_norm_eps=CONFIG.norm_eps,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=STOP,
            pad_token_id=0,
        )
    ).eval()


def _params_of(llama):
    """Torch weights in the places of ours: [out, in] -> [in, out], layers stacked."""
    tensors = {name: tensor.numpy() for name, tensor in llama.state_dict().items()}
    _, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))

    def stacked(name, transpose=True):
        arrays = [tensors[f"model.layers.{layer}.{name}.weight"] for layer in range(CONFIG.num_layers)]
        return np.stack([array.T if transpose else array for array in arrays])

    blocks = params["blocks"]
    for ours, theirs in {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj"}.items():
        blocks[ours]["kernel"][...] = stacked(f"self_attn.{theirs}")
    for ours in ("gate", "up", "down"):
        blocks[ours]["kernel"][...] = stacked(f"mlp.{ours}_proj")
    blocks["attention_norm"]["scale"][...] = stacked("input_layernorm", transpose=False)
    blocks["mlp_norm"]["scale"][...] = stacked("post_attention_layernorm", transpose=False)
    params["embedding"][...] = tensors["model.embed_tokens.weight"]
    params["final_norm"]["scale"][...] = tensors["model.norm.weight"]
    params["head"][...] = tensors["lm_head.weight"].T
    return params


def test_greedy_equals_transformers_token_for_token():
    llama = _llama()
    requests = _requests(sampling=GREEDY)
    ours = _engine().generate(_params_of(llama), requests)
    ended = 0
    for request, sampled in zip(requests, ours, strict=True):
        with torch.no_grad():
            theirs = llama.generate(
                torch.tensor([request.prompt_ids]),
                attention_mask=torch.ones(1, len(request.prompt_ids), dtype=torch.long),
                max_new_tokens=request.max_new_tokens,
                do_sample=False,
            )
        assert sampled.response_ids == tuple(theirs[0, len(request.prompt_ids) :].tolist())
        ended += sampled.ended
    assert ended > 0
    assert len({token for sampled in ours for token in sampled.response_ids}) > 20


def test_a_response_is_over_where_the_request_says_so():
    params, requests = _model()[1], _requests()
    asked = []

    def over(ids, before):
        asked.append((len(ids), before))
        return 5 if len(ids) >= 5 > before else None

    sampled = _engine().generate(params, [dataclasses.replace(one, over=over) for one in requests])
    for one, plain in zip(sampled, _together(), strict=True):
        assert one.response_ids == plain.response_ids[:5] and one.logprobs.tobytes() == plain.logprobs[:5].tobytes()
        assert one.ended == (plain.ended or len(plain.response_ids) >= 5)
    assert all(0 <= before < length <= before + 4 for length, before in asked), "once a chunk, about what is new"
    mixed = [dataclasses.replace(one, over=over) if n % 2 else one for n, one in enumerate(requests)]
    for n, one in enumerate(_engine().generate(params, mixed)):
        assert _same(one, (sampled if n % 2 else _together())[n]), "others are not disturbed"


def test_repetition_penalty_counts_prompt_and_response_of_each_row():
    """Greedy with a penalty against one by hand, through refills; rows without one beside it."""
    graphdef, params = _model()
    model = jax.jit(nnx.merge(graphdef, params))
    requests = [
        dataclasses.replace(one, sampling=Sampling(0.0, repetition_penalty=1.4 if n % 3 else 1.0), max_new_tokens=9)
        for n, one in enumerate(_requests()[:20])
    ]
    engine = _engine(stop_ids=())
    for request, sampled in zip(requests, engine.generate(params, requests), strict=True):
        ids, penalty = list(request.prompt_ids), request.sampling.repetition_penalty
        for _ in range(9):
            tokens = np.zeros((1, 70), np.int32)
            tokens[0, : len(ids)] = ids
            segments = (np.arange(70) < len(ids)).astype(np.int32)[None]
            logits = np.array(model(tokens, np.arange(70, dtype=np.int32)[None], segments)[0])
            scores = logits[0, len(ids) - 1]
            held = sorted(set(ids))
            scores[held] = np.where(scores[held] > 0, scores[held] / penalty, scores[held] * penalty)
            ids.append(int(scores.argmax()))
        assert sampled.response_ids == tuple(ids[len(request.prompt_ids) :])
