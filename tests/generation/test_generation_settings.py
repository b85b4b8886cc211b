"""What a user chooses of an engine: refused by name, slots by memory, other precision with a measured error."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.generation import settings as settings_module
from s3ft_jax.generation.engine import PREFILL_TOKENS, Engine, Request
from s3ft_jax.generation.sampling import GREEDY, GenerationError, request_key
from s3ft_jax.generation.settings import (
    MOST_SLOTS,
    SLOTS_ON_CPU,
    EngineSettings,
    fitting_slots,
    room_beside,
    sampling_mesh,
)
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=128, num_layers=2, model_dim=64, mlp_dim=128, num_heads=4, num_kv_heads=2, head_dim=16,
    max_positions=512,
)  # fmt: skip
MISTRAL = DecoderConfig(
    vocab_size=32000, num_layers=32, model_dim=4096, mlp_dim=14336, num_heads=32, num_kv_heads=8, head_dim=128,
    max_positions=32768,
)  # fmt: skip
BFLOAT16 = EngineSettings(num_slots=0, activation_dtype="bfloat16")
GIB = 2**30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_slots", -1),
        ("chunk_steps", 0),
        ("activation_dtype", "float16"),
        ("cache_dtype", "int4"),
        ("attention", "flash"),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_its_config_key(name, value):
    with pytest.raises(GenerationError, match=f"sample.{name}.*{value}"):
        EngineSettings(**{name: value})


def test_the_cache_is_as_the_stream_unless_told():
    assert EngineSettings(activation_dtype="bfloat16").dtypes["cache_dtype"] == jnp.bfloat16
    mixed = EngineSettings(cache_dtype="bfloat16").dtypes
    assert (mixed["cache_dtype"], mixed["activation_dtype"]) == (jnp.bfloat16, jnp.float32)


def _slots(room, settings=BFLOAT16, attention="pallas"):
    return fitting_slots(settings, MISTRAL, CachedAttention(attention), room, PREFILL_TOKENS)


def test_slots_follow_from_the_room_beside_the_parameters():
    """Mistral 7B: 128 KiB of keys and values a token in bfloat16, so a slot of 1,024 positions has 128 MiB."""
    assert _slots(None) == SLOTS_ON_CPU
    assert _slots(16 * GIB) == 96, "96 slots take 12 GiB, 128 would take 16"
    assert _slots(12 * GIB) == 64
    assert _slots(100 * GIB) == MOST_SLOTS
    assert _slots(0) == 1, "at least one is tried; FittingEngine tells if it does not fit"
    assert _slots(16 * GIB, EngineSettings(num_slots=0)) == 32, "float32 takes twice as much"
    short = dataclasses.replace(BFLOAT16, length=256)
    assert _slots(16 * GIB, short) == 384
    assert _slots(16 * GIB, attention="xla") == 24, "64, 128, 192, ... 1,024 positions: 3.3 times one lane"


def test_chips_that_share_a_model_share_the_cache_too():
    """Four chips hold two of the eight heads each: a slot takes 32 MiB of one. Sixteen hold one each, twice in all."""

    def slots(room, tensor):
        return fitting_slots(BFLOAT16, MISTRAL, CachedAttention("pallas"), room, PREFILL_TOKENS, tensor)

    assert slots(4 * GIB, 4) == 96 and slots(4 * GIB, 1) == 16
    assert slots(4 * GIB, 8) == slots(4 * GIB, 16) == 192, "no chip keeps half a head"
    assert slots(2 * GIB, 16) < slots(2 * GIB, 8) * 2, "and kernels of keys and values come twice"


def test_what_fits_needs_less_than_the_room():
    for room in (4 * GIB, 12 * GIB, 30 * GIB):
        slots = _slots(room)
        state = jax.eval_shape(lambda slots=slots: CachedAttention().empty(MISTRAL, slots, 1024, jnp.bfloat16))
        used = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        assert room / 4 < used < room


class _Device:
    platform = "gpu"

    def memory_stats(self):
        return {"bytes_limit": 1000, "bytes_in_use": 900}


def test_the_room_is_the_whole_device_but_for_the_parameters():
    class Leaf:
        device = _Device()
        sharding = type("Place", (), {"device_set": {device}})
        addressable_shards = (type("Shard", (), {"device": device, "data": np.zeros(10, np.float32)}),)

    assert room_beside([Leaf(), Leaf()]) == 1000 - 2 * 40
    assert room_beside([jnp.zeros(3)]) is None, "a CPU does not say"


@pytest.mark.parametrize("settings", [{"cache_dtype": "bfloat16"}, {"activation_dtype": "bfloat16"}])
def test_bfloat16_costs_two_digits_of_log_probability_and_no_more(settings):
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda array: array * 3.0 if array.ndim > 1 else array, params)
    rng = np.random.default_rng(0)
    requests = [
        Request(tuple(rng.integers(1, 128, 30).tolist()), request_key(0, str(number), "own", 0), 40, GREEDY)
        for number in range(16)
    ]

    def first_logprobs(**settings):
        options = EngineSettings(**settings).dtypes
        engine = Engine(graphdef, CONFIG, stop_ids=(), pad_id=0, num_slots=8, **options)
        state = engine.programs.empty(64)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.cache)} == {options["cache_dtype"]}
        return [one.logprobs[0] for one in engine.generate(params, requests)]

    exact, rounded = first_logprobs(), first_logprobs(**settings)
    error = np.abs(np.subtract(exact, rounded)).max()
    assert 0 < error < 0.1


class _Chip:
    platform = "tpu"

    def memory_stats(self):
        return {"bytes_limit": 16 * GIB}


def _mesh(settings, param_gib=1, platform=None):
    """Of eight devices: fake CPUs, of which the first may pretend to be a chip of 16 GiB."""
    devices = jax.devices()
    if platform:
        known = settings_module.fewest_chips(settings_module._memory(_Chip()), 32, param_gib * GIB, 8)
        settings = dataclasses.replace(settings, tensor=known, num_replicas=8 // known)
    mesh = sampling_mesh(settings, 32, param_gib * GIB, devices)
    return None if mesh is None else tuple(mesh.shape.values())


@pytest.mark.parametrize(
    ("kind", "tensor", "number"),
    [("TPU v5 lite", 2, 16), ("TPU v6 lite", 4, 16), ("TPU v5 lite", 1, 4), ("TPU v5p", 2, 4), ("TPU v5p", 8, 16)],
)
def test_chips_that_run_programs_with_their_whole_slice_only(kind, tensor, number, monkeypatch):
    """Four hosts of four chips: copies on each host's own, or on all hosts' together."""
    chips = [type("Chip", (_Chip,), {"device_kind": kind, "slice_index": 0})() for _ in range(16)]
    monkeypatch.setattr(settings_module.jax, "devices", lambda: chips)
    monkeypatch.setattr(settings_module.jax, "local_devices", lambda: chips[4:8])
    monkeypatch.setattr(settings_module, "make_mesh", lambda *sizes, devices: (sizes, list(devices)))
    sizes, devices = sampling_mesh(EngineSettings(tensor=tensor), 32, GIB)
    assert sizes == (number // tensor, 1, tensor)
    assert devices == (chips if number == 16 else chips[4:8])


def test_the_chips_to_sample_on():
    assert _mesh(EngineSettings()) is None, "one replica on a CPU"
    assert _mesh(EngineSettings(num_replicas=3)) == (3, 1, 1)
    assert _mesh(EngineSettings(num_replicas=2, tensor=4)) == (2, 1, 4)
    assert _mesh(EngineSettings(), 8, "tpu") == (8, 1, 1), "half of a chip is left for slots"
    assert _mesh(EngineSettings(), 14, "tpu") == (4, 1, 2)
    assert _mesh(EngineSettings(), 500, "tpu") == (1, 1, 8), "the most there are; sampling tells what does not fit"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tensor": 3}, "sample.tensor = 3: it must divide the model's 32 heads"),
        ({"tensor": 16}, "sample.tensor = 16: .* there are 8 chips"),
        ({"num_replicas": 3, "tensor": 4}, "sample.num_replicas = 3: this host has 8 chips, of which .* takes 4"),
    ],
)
def test_chips_that_are_not_there_are_named(settings, words):
    with pytest.raises(GenerationError, match=words):
        _mesh(EngineSettings(**settings))


def test_the_number_of_replicas_decides_no_response():
    one, three = (EngineSettings(num_replicas=number) for number in (1, 3))
    assert one.decisive == three.decisive != EngineSettings(tensor=2).decisive
