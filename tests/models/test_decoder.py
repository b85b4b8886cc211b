"""The decoder: every option matters, and the forms of one computation agree. Parity with torch is in test_llama.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.cache import KVCache
from s3ft_jax.models.config import NO_ROPE, DecoderConfig, Rope
from s3ft_jax.models.decoder import REMAT, Decoder

CONFIG = DecoderConfig(
    vocab_size=17,
    num_layers=3,
    model_dim=16,
    mlp_dim=24,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    max_positions=64,
    ropes=(
        Rope(
            theta=100.0,
            scaling="llama3",
            factor=4.0,
            low_freq_factor=1.0,
            high_freq_factor=8.0,
            original_max_positions=32,
            scale=1.1,
        ),
        Rope(theta=10.0),
    ),
    layer_ropes=(0, 1, 0),
    layer_windows=(0, 3, 5),
    qkv_bias=True,
    out_bias=True,
    mlp_bias=True,
)
TOKENS = jnp.array([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])
POSITIONS = jnp.broadcast_to(jnp.arange(8), (2, 8))
SEGMENTS = jnp.ones((2, 8), jnp.int32)

# what each field is changed to; a field of DecoderConfig or Rope that is not here fails the test below
CHANGES = {
    "vocab_size": 19,
    "num_layers": 2,
    "model_dim": 12,
    "mlp_dim": 20,
    "num_heads": 2,
    "num_kv_heads": 4,
    "head_dim": 8,
    "norm": "layer",
    "norm_eps": 0.1,
    "norm_offset": 1.0,
    "pre_norms": False,
    "post_norms": True,
    "qk_norm": "head",
    "activation": "gelu_tanh",
    "gated_mlp": False,
    "ropes": (Rope(theta=77.0), Rope(theta=10.0)),
    "layer_ropes": (0, NO_ROPE, 0),
    "rotary_dim": 2,
    "learned_positions": True,
    "layer_windows": (0, 3, 2),
    "query_scale": 0.1,
    "attn_softcap": 1.0,
    "final_softcap": 1.0,
    "embed_scale": 2.0,
    "residual_scale": 0.5,
    "logit_scale": 0.5,
    "qkv_bias": False,
    "out_bias": False,
    "mlp_bias": False,
    "tie_embeddings": True,
}
ROPE_CHANGES = {
    "theta": 50.0,
    "scaling": "linear",
    "factor": 2.0,
    "low_freq_factor": 4.0,
    "high_freq_factor": 16.0,
    "original_max_positions": 64,
    "scale": 0.7,
}
LONGROPE = Rope(
    theta=100.0,
    scaling="longrope",
    original_max_positions=64,
    short_factors=(1.0, 2.0),
    long_factors=(3.0, 4.0),
)


def noisy(config: DecoderConfig, seed: int = 0) -> Decoder:
    """A decoder whose every parameter is random, biases and norms too."""
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape), jnp.float32), shapes)
    return nnx.merge(graphdef, params)


@jax.jit
def logits_of(decoder: Decoder) -> jax.Array:
    return decoder(TOKENS, POSITIONS, SEGMENTS)[0]


def test_every_field_of_the_config_is_covered():
    # max_positions is a promise of the checkpoint that callers hold to (prompts and engine refuse longer input)
    experts = {"num_experts", "experts_per_token", "normalize_router"}  # tests/models/test_mixture.py
    assert set(CHANGES) | experts | {"max_positions"} == {f.name for f in dataclasses.fields(DecoderConfig)}
    longrope = {"short_factors", "long_factors"}
    assert set(ROPE_CHANGES) | longrope == {f.name for f in dataclasses.fields(Rope)}


@pytest.mark.parametrize("field", [*CHANGES, *(f"rope.{name}" for name in ROPE_CHANGES)])
def test_each_field_changes_shapes_or_logits(field):
    name = field.removeprefix("rope.")
    if name in CHANGES:
        tables = {"layer_ropes": (0, 1), "layer_windows": (0, 3)} if name == "num_layers" else {}
        changed = dataclasses.replace(CONFIG, **{name: CHANGES[name]}, **tables)
    else:
        first, second = CONFIG.ropes
        changed = dataclasses.replace(CONFIG, ropes=(dataclasses.replace(first, **{name: ROPE_CHANGES[name]}), second))
    decoder = noisy(CONFIG)
    _, params = nnx.split(decoder)
    graphdef, other = nnx.split(nnx.eval_shape(lambda: Decoder(changed, rngs=nnx.Rngs(0))))
    if jax.tree.map(jnp.shape, params) != jax.tree.map(jnp.shape, other):
        return
    found = logits_of(nnx.merge(graphdef, params))
    assert float(jnp.max(jnp.abs(found - logits_of(decoder)))) > 1e-3


@pytest.mark.parametrize(
    "changes", [{"short_factors": (1.0, 5.0)}, {"max_positions": 65}, {"max_positions": 65, "long_factors": (3.0, 9.0)}]
)
def test_longrope_reads_the_factors_of_the_length_it_is_used_for(changes):
    def logits(**changes):
        rope = dataclasses.replace(LONGROPE, **{k: v for k, v in changes.items() if k != "max_positions"})
        options = {"ropes": (rope,), "layer_ropes": (), "max_positions": changes.get("max_positions", 64)}
        return logits_of(noisy(dataclasses.replace(CONFIG, **options)))

    assert float(jnp.max(jnp.abs(logits(**changes) - logits()))) > 1e-3
    if "long_factors" in changes:
        assert float(jnp.max(jnp.abs(logits(**changes) - logits(max_positions=65)))) > 1e-3
        np.testing.assert_array_equal(logits(long_factors=(3.0, 9.0)), logits())


def test_layers_without_rope_do_not_know_positions():
    still = noisy(dataclasses.replace(CONFIG, layer_ropes=(NO_ROPE,) * 3, layer_windows=()))
    one, other = (still(TOKENS, POSITIONS + shift, SEGMENTS)[0] for shift in (0, 5))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialised_blocks_give_the_same_loss_and_gradient(remat):
    graphdef, params = nnx.split(noisy(CONFIG))

    def loss(params, remat):
        decoder = nnx.merge(graphdef, params)
        hidden, _ = decoder.hidden(TOKENS, POSITIONS, SEGMENTS, remat=remat)
        return jnp.sum(jax.nn.log_softmax(decoder.unembed(hidden))[..., 0])

    plain, again = (jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, remat) for remat in ("none", remat))
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_padding_does_not_touch_the_rest():
    decoder = noisy(CONFIG)
    padded = jax.jit(lambda d, t: d(t, POSITIONS, SEGMENTS.at[:, 5:].set(0))[0])
    one, other = padded(decoder, TOKENS), padded(decoder, TOKENS.at[:, 5:].set(0))
    np.testing.assert_array_equal(one[:, :5], other[:, :5])


def test_leftovers_in_the_cache_are_never_seen():
    decoder = noisy(CONFIG)
    clean = KVCache.empty(CONFIG, 2, 12)
    dirty = KVCache(clean.keys + 7.0, clean.values - 3.0)
    run = jax.jit(lambda cache: decoder(TOKENS, POSITIONS, None, cache)[0])
    one, other = (run(cache) for cache in (clean, dirty))
    np.testing.assert_array_equal(one, other)


def test_positions_beyond_the_cache_are_dropped():
    decoder = noisy(CONFIG)
    beyond = POSITIONS.at[:, 6:].set(10**6)
    _, cache = decoder(TOKENS, beyond, None, KVCache.empty(CONFIG, 2, 8))
    assert float(jnp.abs(cache.keys[:, :, :, :6]).min(axis=(0, 1, 2, 4)).max()) > 0
    np.testing.assert_array_equal(cache.keys[:, :, :, 6:], 0.0)


def test_activation_dtype_reaches_the_stream_and_logits_stay_float32():
    decoder = noisy(CONFIG)
    hidden, _ = decoder.hidden(TOKENS, POSITIONS, SEGMENTS, activation_dtype=jnp.bfloat16)
    assert hidden.dtype == jnp.bfloat16
    assert decoder.unembed(hidden).dtype == jnp.float32


def test_neither_cache_nor_segments_is_an_error():
    with pytest.raises(ValueError, match="needs segments"):
        noisy(CONFIG)(TOKENS, POSITIONS)


@pytest.mark.parametrize("remat", REMAT)
def test_unrolled_layers_are_the_loops_layers(remat):
    """The same numbers and gradients, with the layers in the program one after the other."""
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(decoder)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, CONFIG.vocab_size, (2, 6)), jnp.int32)
    positions, segments = jnp.broadcast_to(jnp.arange(6), (2, 6)), jnp.ones((2, 6), jnp.int32)

    def run(params, unroll):
        hidden, _ = nnx.merge(graphdef, params).hidden(tokens, positions, segments, remat=remat, unroll=unroll)
        return jnp.sum(jnp.sin(hidden)), hidden

    (found, expected) = (jax.jit(jax.grad(run, has_aux=True), static_argnums=1)(params, flag) for flag in (True, False))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
