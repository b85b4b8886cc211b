"""Attention with a cache: the kernel gives the reference's numbers and cache, alone, over a mesh, and in a decoder."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from s3ft_jax.generation.buckets import cache_sizes
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.models.attention import attend
from s3ft_jax.models.cache import KVCache
from s3ft_jax.models.cached_attention import CachedAttention, choose
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decode_kernel import Blocks
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.sharding import AXES, ROWS, make_mesh

SMALL = DecoderConfig(
    vocab_size=7, num_layers=2, model_dim=8, mlp_dim=8, num_heads=2, num_kv_heads=1, head_dim=4, max_positions=64
)
BY_KERNEL = CachedAttention("pallas", interpret=True)
# heads, key-value heads, slots, head width; positions: first, last, past the end (no token), around borders of blocks
SHAPES = {
    "one_head_each": ((4, 4, 384, 64), [0, 383, 384, 1, 200]),
    "positions_first": ((8, 2, 768, 128), [0, 767, 768, 383, 384]),
    "groups_of_8_wide": ((8, 1, 512, 256), [0, 511, 512, 255, 256]),
    "slots_no_multiple": ((8, 2, 200, 128), [199, 128, 127, 0, 200]),
    "slots_no_multiple_positions_last": ((4, 1, 1040, 64), [1039, 1040, 1023, 512, 511]),
    "short": ((4, 2, 48, 16), [47, 0, 48, 15, 16]),
    "short_positions_first": ((4, 2, 64, 128), [63, 0, 64, 15, 16]),
}
OPTIONS = {
    "plain": {},
    "window": {"windows": (20,)},
    "windows_by_layer_softcap_scale": {"windows": (0, 130), "kind": 1, "softcap": 2.0, "scale": 0.4},
    "no_window_in_this_layer": {"windows": (0, 130), "kind": 0},
    "itself_alone": {"windows": (1,)},
}
DTYPES = {"float32": (jnp.float32,) * 2, "bfloat16": (jnp.bfloat16,) * 2, "narrow_cache": (jnp.float32, jnp.bfloat16)}


def arrays(shape, batch: int, dtype=jnp.float32, cache_dtype=jnp.float32, length: int = 1):
    """Queries, new keys and values, and a cache of two layers."""
    heads, kv_heads, num_slots, head_dim = shape
    new, kept = (batch, length, kv_heads, head_dim), (2, batch, kv_heads, num_slots, head_dim)
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [((batch, length, heads, head_dim), dtype), *[(new, dtype)] * 2, *[(kept, cache_dtype)] * 2]
    return [jax.random.normal(key, *own) for key, own in zip(keys, shapes, strict=True)]


def attended(attention: CachedAttention, parts, positions, windows=(0,), kind=None, **options):
    """What a program makes of a layer's number, positions and arrays."""

    @jax.jit
    def run(parts, layer, positions, kind):
        cache = KVCache(*parts[3:])
        prepared = attention.prepare(positions, cache, windows)
        place = {"layer": layer, "positions": positions, "kind": kind}
        mixed, cache = attention(*parts[:3], cache, prepared, **place, windows=windows, **options)
        return mixed, *cache

    return run(parts, jnp.int32(1), jnp.asarray(positions, jnp.int32), None if kind is None else jnp.int32(kind))


def check(found, expected, with_token, tolerance: float = 1e-5):
    """The same numbers where there is a token, none that is no number, and the same cache."""
    mixed, right = (np.asarray(each[0], np.float32) for each in (found, expected))
    assert np.isfinite(mixed).all()
    assert np.abs(mixed - right)[with_token].max() <= tolerance * np.abs(right).max()
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == other.dtype and bool(jnp.all(one == other))


@pytest.mark.parametrize("shape, positions", SHAPES.values(), ids=SHAPES)
def test_the_kernel_is_the_reference(shape, positions):
    positions = np.asarray(positions)[:, None]
    parts = arrays(shape, len(positions))
    found, expected = (attended(attention, parts, positions) for attention in (BY_KERNEL, CachedAttention()))
    check(found, expected, positions[:, 0] < shape[2])
    assert not bool(jnp.any(found[0][positions[:, 0] == shape[2]]))  # no token: nothing
    assert not bool(jnp.all(found[1][1] == parts[3][1])) and bool(jnp.all(found[1][0] == parts[3][0]))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_windows_caps_and_scales(options):
    positions = np.array([0, 383, 384, 129, 257])[:, None]
    parts = arrays((4, 1, 384, 128), 5)
    found, expected = (attended(attention, parts, positions, **options) for attention in (BY_KERNEL, CachedAttention()))
    check(found, expected, positions[:, 0] < 384)


@pytest.mark.parametrize("dtypes", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("head_dim", [64, 128])
def test_dtypes(dtypes, head_dim):
    """bfloat16 has 8 bits; the reference rounds the weights after the division, the kernel before it."""
    positions = np.array([0, 383, 384, 129, 257])[:, None]
    parts = arrays((8, 2, 384, head_dim), 5, *dtypes)
    found, expected = (attended(attention, parts, positions) for attention in (BY_KERNEL, CachedAttention()))
    assert found[0].dtype == dtypes[0]
    check(found, expected, positions[:, 0] < 384, 1e-5 if dtypes[0] == jnp.float32 else 2**-7)


def test_without_any_token_nothing_changes():
    parts = arrays((4, 2, 256, 64), 3)
    mixed, keys, values = attended(BY_KERNEL, parts, np.full((3, 1), 256))
    assert not bool(jnp.any(mixed)) and bool(jnp.all(keys == parts[3])) and bool(jnp.all(values == parts[4]))


def test_longer_pieces_take_the_reference():
    parts, positions = arrays((4, 2, 32, 16), 2, length=3), np.array([[4, 5, 6], [0, 1, 2]])
    found, expected = (attended(attention, parts, positions) for attention in (BY_KERNEL, CachedAttention()))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kv_heads, batch", [(2, 4), (1, 4), (2, 3)])
def test_over_a_mesh_it_is_the_kernel_on_one_device(kv_heads, batch):
    """Heads that tensor does not divide, and rows that fsdp does not divide, are whole on every device."""
    positions = np.array([0, 255, 256, 200])[:batch, None]
    parts = arrays((4, kv_heads, 256, 64), batch)
    mesh = make_mesh(data=1, fsdp=2, tensor=2)
    over = CachedAttention("pallas", mesh, interpret=True)
    options = OPTIONS["windows_by_layer_softcap_scale"]
    found, expected = (attended(attention, parts, positions, **options) for attention in (over, BY_KERNEL))
    check(found, expected, positions[:, 0] < 256)


CONFIG = DecoderConfig(
    vocab_size=61,
    num_layers=3,
    model_dim=32,
    mlp_dim=48,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    max_positions=64,
    layer_windows=(0, 9, 0),
    attn_softcap=20.0,
)


@functools.cache
def model():
    """A decoder taken apart."""
    return nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))


def test_a_step_of_a_decoder():
    decoder = nnx.merge(*model())
    cache = KVCache(*(jax.random.normal(jax.random.key(n), (3, 4, 2, 64, 16)) for n in (1, 2)))
    tokens, positions = jnp.asarray([[3], [5], [7], [9]]), jnp.asarray([[0], [30], [64], [63]])

    def step(attention):
        return jax.jit(lambda *arrays: decoder.hidden(*arrays, None, cache, cached=attention))(tokens, positions)

    (found, kept), (expected, right) = step(BY_KERNEL), step(CachedAttention())
    with_token = jnp.asarray([0, 1, 3])
    np.testing.assert_allclose(found[with_token], expected[with_token], atol=2e-5)
    for one, other in zip(kept, right, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_an_engine_says_the_same():
    """More requests than slots, of different lengths, so that slots are free now and then."""
    requests = [
        Request(tuple(range(1, 2 + 5 * n)), request_key(0, str(n), "own", 0), 3 + 4 * n, Sampling(temperature=1.0))
        for n in range(5)
    ]

    def texts(attention):
        engine = Engine(
            model()[0], CONFIG, stop_ids=(2,), pad_id=0, num_slots=3, chunk_steps=4, attention=attention,
            prompt_buckets=(32,), cache_buckets=(64,),
        )  # fmt: skip
        return [sampled.response_ids for sampled in engine.generate(model()[1], requests)]

    found = texts(BY_KERNEL)
    assert found == texts(CachedAttention()) and len({len(ids) for ids in found}) > 2


def test_what_suits_the_device():
    assert choose(model()[1]) == CachedAttention("layered")

    def on(platform, place):
        place.device_set = [types.SimpleNamespace(platform=platform)]
        return choose([types.SimpleNamespace(sharding=place)])

    assert on("gpu", types.SimpleNamespace()) == CachedAttention()
    assert on("tpu", types.SimpleNamespace()) == CachedAttention("pallas")


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"one of .*'xla', 'layered', 'pallas'.*, not 'flash'"):
        CachedAttention("flash")


def topology(name: str, monkeypatch):
    """Devices that can only be compiled for."""
    pytest.importorskip("libtpu", reason="needs libtpu: pip install 's3ft_jax[tpu]'")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices


def test_on_a_tpu_it_is_the_kernel_over_the_mesh_of_the_parameters(monkeypatch):
    devices = topology("v5e:2x2", monkeypatch)
    mesh = jax.sharding.Mesh(np.reshape(devices, (1, 2, 2)), AXES)
    for place, where in ((NamedSharding(mesh, PartitionSpec()), mesh), (SingleDeviceSharding(devices[0]), None)):
        assert choose([jax.ShapeDtypeStruct((2,), jnp.float32, sharding=place)]) == CachedAttention("pallas", where)


@pytest.mark.parametrize("name", ["v5e:2x2", "v6e:2x2"])
@pytest.mark.parametrize("tensor", [2, 4])
@pytest.mark.parametrize(
    "shape, options",
    [
        ((32, 8, 1024, 128), {}),
        ((32, 8, 1024, 64), {}),
        ((16, 8, 1024, 256), {"windows": (512, 0), "kind": 0, "softcap": 50.0}),
        ((8, 4, 960, 64), {"windows": (64,)}),  # slots that no block divides
    ],
    ids=["llama", "narrow", "gemma2", "odd"],
)
@pytest.mark.parametrize("dtypes", DTYPES.values(), ids=DTYPES)
def test_it_compiles_for_a_tpu_and_copies_no_cache(name, tensor, shape, options, dtypes, monkeypatch):
    """Ahead of time, at the precision that stages ask for; layers in a loop, as a decoder has them."""
    mesh = jax.sharding.Mesh(
        np.reshape(topology(name, monkeypatch), (1, 4 // tensor, tensor)), AXES, axis_types=(AxisType.Auto,) * 3
    )
    attention, options = CachedAttention("pallas", mesh), {"windows": (0,), **options}

    def program(q, k, v, keys, values, positions):
        prepared = attention.prepare(positions, KVCache(keys, values), options["windows"])

        def layer(carry, index):
            q, cache = carry
            kinds = {**options, "kind": index if "kind" in options else None}
            return attention(q, k, v, cache, prepared, layer=index, positions=positions, **kinds), None

        return jax.lax.scan(layer, (q, KVCache(keys, values)), jnp.arange(2))[0]

    def placed(leaf, *axes):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes)))

    shapes = jax.eval_shape(functools.partial(arrays, shape, 8, *dtypes))
    parts = [*(placed(leaf, ROWS, None, "tensor") for leaf in shapes[:3])]
    parts += [placed(leaf, None, ROWS, "tensor") for leaf in shapes[3:]]
    parts.append(placed(jax.ShapeDtypeStruct((8, 1), jnp.int32), ROWS))
    with jax.default_matmul_precision("highest"):  # as launch.prepare_jax sets it
        compiled = jax.jit(program, donate_argnums=(3, 4)).lower(*parts).compile()
    memory, cache = compiled.memory_analysis(), sum(leaf.size * leaf.dtype.itemsize for leaf in shapes[3:]) // 4
    assert compiled.as_text().count("tpu_custom_call") == 1
    assert memory.alias_size_in_bytes >= cache and memory.temp_size_in_bytes < cache / 8


@pytest.mark.parametrize(("rows", "heads"), [(1, 4), (3, 9), (8, 4), (64, 4)])
def test_attention_gives_equal_bits_for_all_exact_sizes(rows, heads):
    """The measured fact behind exact_sizes, checked for the XLA in use, for keys as they are and turned round."""
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(rows, 1, heads, 16)).astype("f4")
    keys, values = (rng.normal(size=[rows, 1, 2048, 16]).astype("f4") for _ in range(2))
    positions = rng.integers(20, 60, (rows, 1))
    config = dataclasses.replace(SMALL, num_heads=heads, num_kv_heads=heads)
    sizes = CachedAttention("layered").exact_sizes(cache_sizes(2048), config, rows, jnp.float32)
    assert len(sizes) > 1
    for turned in (False, True):
        results = []
        for size in sizes:
            part, mask = (keys[:, :, :size], values[:, :, :size]), (np.arange(size) <= positions)[:, None]
            part = (part[0].swapaxes(2, 3).copy(), part[1]) if turned else part
            results.append(np.asarray(jax.jit(attend, static_argnames="turned")(queries, *part, mask, turned=turned)))
        assert len({result.tobytes() for result in results}) == 1


@pytest.mark.parametrize(("rows", "sizes"), [(16, (64, 128, 192)), (8, (128, 192)), (1, (192,))])
def test_exact_sizes_fall_back_to_the_largest(rows, sizes):
    config = dataclasses.replace(SMALL, num_heads=4)
    for name in ("xla", "layered"):
        assert CachedAttention(name).exact_sizes((64, 128, 192), config, rows, jnp.float32) == sizes


def test_the_kernel_reads_the_same_blocks_in_all_exact_sizes():
    mistral = dataclasses.replace(SMALL, num_heads=32, num_kv_heads=8, head_dim=128)
    sizes = CachedAttention("pallas").exact_sizes(cache_sizes(32768), mistral, 64, jnp.bfloat16)
    assert sizes[:5] == (256, 512, 768, 1024, 1536) and sizes[-1] == 32768
    blocks = {Blocks.of(8, size, 128, 2) for size in sizes}
    assert len({(one.heads, one.size, one.turned) for one in blocks}) == 1


def test_a_row_gets_the_same_bits_of_the_kernel_in_all_exact_sizes():
    config = dataclasses.replace(SMALL, num_heads=4, num_kv_heads=2, head_dim=256)
    positions = jnp.asarray([0, 100, 127, 128, 140])[:, None]
    sizes = BY_KERNEL.exact_sizes((128, 192, 256, 512), config, 5, jnp.float32)
    assert len(sizes) > 1
    parts = arrays((4, 2, sizes[-1], 256), batch=5)
    results = set()
    for size in sizes:
        cut = [*parts[:3], *(part[:, :, :, :size] for part in parts[3:])]
        results.add(np.asarray(attended(BY_KERNEL, cut, positions)[0][:2]).tobytes())
    assert len(results) == 1
