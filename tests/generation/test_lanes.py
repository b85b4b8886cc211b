"""Lanes: which one runs, who enters, moves and pours where, on recorded calls; one growing lane says the same."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.generation import engine as engine_module
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.lanes import GrowingLane, LanesByLength
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=61, num_layers=2, model_dim=32, mlp_dim=64, num_heads=4, num_kv_heads=2, head_dim=8, max_positions=512
)
SIZES = (128, 192, 256, 384)
PENALIZED = Sampling(temperature=0.9, repetition_penalty=1.2)  # so that a move which forgets what was seen shows


@pytest.fixture(scope="module")
def model():
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(3)))
    return graphdef, jax.tree.map(lambda array: array * 5.0 if array.ndim > 1 else array, params)


def _requests(count, shortest=4, longest=120, limit=200):
    rng = np.random.default_rng(7)
    return [
        Request(
            tuple(rng.integers(1, 61, rng.integers(shortest, longest)).tolist()),
            request_key(0, str(number), "own", 0),
            int(rng.integers(1, limit)),
            PENALIZED,
        )
        for number in range(count)
    ]


def _engine(graphdef, **sizes):
    sizes = {"num_slots": 8, "chunk_steps": 16, "cache_buckets": SIZES, "stop_ids": (), "pad_id": 0} | sizes
    return Engine(graphdef, CONFIG, prompt_buckets=(64, 128, 256), **sizes)


def _recorded(engine):
    """Of every chunk: length of the cache, and the position of each row that it advanced."""
    chunks, decode = [], engine.programs.decode

    def recorded(params, state, rows, enough_free):
        length = state.cache.num_slots
        chunks.append((length, rows.position[(rows.remaining > 0) & (rows.position < length)].tolist()))
        return decode(params, state, rows, enough_free)

    engine.programs.decode = recorded
    return chunks


def test_a_row_pays_for_its_own_length_and_lanes_are_full_while_requests_wait(model, monkeypatch):
    requests, turns, choose = _requests(64), [], LanesByLength.next

    def recorded(lanes, waiting):
        lane = choose(lanes, waiting)
        turns.append((len(waiting), lane.num_running))
        return lane

    monkeypatch.setattr(LanesByLength, "next", recorded)
    engine = _engine(model[0])
    chunks = _recorded(engine)
    sampled = engine.generate(model[1], requests)
    assert [len(one.response_ids) for one in sampled] == [one.max_new_tokens for one in requests]
    assert {length for length, _ in chunks} == set(SIZES)
    assert all(positions and max(positions) < length for length, positions in chunks)
    while_some_wait = [running for waiting, running in turns if waiting]
    assert len(while_some_wait) > 10 and min(while_some_wait) >= 7, "seven eighths of the slots"


def test_lanes_say_what_one_growing_lane_and_one_long_lane_say(model, monkeypatch):
    requests = _requests(40)
    by_length = _engine(model[0]).generate(model[1], requests)
    one_long = _engine(model[0], cache_buckets=SIZES[-1:]).generate(model[1], requests)
    monkeypatch.setattr(engine_module, "LanesByLength", lambda programs, sizes, pours: GrowingLane(programs, sizes))
    growing = _engine(model[0])
    lengths = _recorded(growing)
    for others in (one_long, growing.generate(model[1], requests)):
        for left, right in zip(by_length, others, strict=True):
            assert left.response_ids == right.response_ids
            assert left.logprobs.tobytes() == right.logprobs.tobytes()
    assert len({length for length, _ in lengths}) > 1, "it did grow"


def test_only_neighbouring_lanes_need_a_program_to_move_between_them(model):
    engine = _engine(model[0])
    pairs, move = set(), engine.programs.move
    engine.programs.move = lambda state, other, *rows: (
        pairs.add((other.cache.num_slots, state.cache.num_slots)) or move(state, other, *rows)
    )
    requests = _requests(50)
    engine.generate(model[1], requests)
    # two far apart, which only pouring brings together
    engine.generate(model[1], [requests[0], dataclasses.replace(requests[1], prompt_ids=(1,) * 250)])
    assert pairs == set(itertools.pairwise(SIZES))


def test_a_lane_with_no_room_above_waits_and_nothing_is_lost(model):
    """Twelve long prompts fill the lane of 384; eight short ones grow up to it and must wait for its slots."""
    long = _requests(12, shortest=200, longest=230, limit=90)
    short = [dataclasses.replace(one, max_new_tokens=250) for one in _requests(8, shortest=100, longest=120)]
    sampled = _engine(model[0]).generate(model[1], [*short, *long])
    assert [len(one.response_ids) for one in sampled] == [250] * 8 + [one.max_new_tokens for one in long]
    alone = _engine(model[0]).generate(model[1], short[:1])
    assert alone[0].response_ids == sampled[0].response_ids


def _left_over(graphdef, params, **options):
    engine = _engine(graphdef, **options)
    chunks = _recorded(engine)
    requests = [
        Request((1,) * length, request_key(1, str(length), "own", 0), 30, PENALIZED) for length in (20, 140, 250)
    ]
    engine.generate(params, requests)
    return chunks


def test_what_is_left_over_is_poured_into_one_lane(model):
    assert _left_over(*model)[0] == (384, [249, 139, 19]), "one chunk advances all three"


def test_nothing_is_poured_where_the_length_of_the_cache_could_change_bits(model):
    reference = CachedAttention("xla")
    chunks = _left_over(*model, attention=reference)
    counts = {(length, len(positions)) for length, positions in chunks}
    assert counts == {(128, 1), (384, 2)}, "each stays in the lane of its own prompt, whatever lies in others"
    assert _left_over(*model, attention=reference, exact=False)[0] == (384, [249, 139, 19])
    assert _engine(model[0], attention=reference, cache_buckets=(32, *SIZES), exact=False).cache_buckets == (32, *SIZES)
