"""Both forms of the cache: what is written, attended to, moved; a decoder that gives the same with either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.attention import cache_mask
from s3ft_jax.models.cache import KVCache, LayeredCache
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=7, num_layers=2, model_dim=8, mlp_dim=8, num_heads=2, num_kv_heads=1, head_dim=4, max_positions=64
)
FORMS = pytest.mark.parametrize("form", [KVCache, LayeredCache])


def random_cache(form, rows, length, seed):
    """The same numbers in either form."""
    rng = np.random.default_rng(seed)
    keys, values = (jnp.array(rng.normal(size=(2, rows, 1, length, 4)), jnp.float32) for _ in range(2))
    if form is KVCache:
        return KVCache(keys, values)
    return LayeredCache(tuple(keys.swapaxes(3, 4)), tuple(values))


def stacked(cache):
    """(keys, values) as ``KVCache`` holds them."""
    if isinstance(cache, KVCache):
        return [np.asarray(array) for array in cache]
    return [np.stack(cache.keys).swapaxes(3, 4), np.stack(cache.values)]


@FORMS
def test_empty(form):
    cache = form.empty(CONFIG, 3, 16, jnp.bfloat16)
    assert cache.num_slots == 16
    assert all(array.shape == (2, 3, 1, 16, 4) and not array.any() for array in stacked(cache))
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(cache))


@FORMS
def test_writing_one_layer_at_positions_of_each_row(form):
    cache = random_cache(form, 2, 8, seed=0)
    new = np.random.default_rng(1).normal(size=(2, 2, 3, 1, 4)).astype("f4")  # keys and values [B, T, K, H]
    positions = np.array([[0, 1, 2], [5, 6, 8]])  # slot 8 is past the end
    after = stacked(cache.written(1, positions, *new))
    for array, before, mine in zip(after, stacked(cache), new, strict=True):
        expected = before.copy()
        expected[1, 0, 0, :3] = mine[0, :, 0]
        expected[1, 1, 0, 5:7] = mine[1, :2, 0]
        np.testing.assert_array_equal(array, expected)


@FORMS
def test_attending_is_softmax_over_the_slots_seen(form):
    cache, queries = random_cache(form, 2, 8, seed=0), np.random.default_rng(1).normal(size=(2, 1, 2, 4)).astype("f4")
    positions = np.array([[3], [7]], np.int32)
    mixed = cache.attend(1, queries, cache_mask(positions, 8))
    keys, values = stacked(cache)
    for row, position in enumerate((3, 7)):
        for head in range(2):
            scores = keys[1, row, 0, : position + 1] @ queries[row, 0, head] / 2.0
            weights = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(mixed[row, 0, head], weights @ values[1, row, 0, : position + 1], rtol=1e-5)


@FORMS
def test_resizing_keeps_rows_and_adds_zeros(form):
    cache = random_cache(form, 3, 16, seed=0)
    longer = cache.resized(32)
    assert longer.num_slots == 32
    for before, after in zip(stacked(cache), stacked(longer), strict=True):
        np.testing.assert_array_equal(after[:, :, :, :16], before)
        assert not after[:, :, :, 16:].any()
    for before, after in zip(stacked(cache), stacked(longer.resized(16)), strict=True):
        np.testing.assert_array_equal(after, before)


@FORMS
@pytest.mark.parametrize("prompt_length", [8, 16, 24])
def test_inserting_copies_the_counted_rows_and_no_other(form, prompt_length):
    cache, prompts = random_cache(form, 4, 16, seed=0), random_cache(form, 3, prompt_length, seed=1)
    sources, targets = np.array([2, 0, 1, 1], np.int32), np.array([3, 1, 0, 0], np.int32)
    result = jax.jit(lambda cache, *rows: cache.inserted(*rows))(cache, prompts, sources, targets, np.int32(2))
    width = min(16, prompt_length)
    for before, prompt, after in zip(*map(stacked, (cache, prompts, result)), strict=True):
        expected = before.copy()
        expected[:, 3, :, :width], expected[:, 1, :, :width] = prompt[:, 2, :, :width], prompt[:, 0, :, :width]
        np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize(
    "more", [{}, {"layer_windows": (3, 0)}, {"attn_softcap": 5.0}, {"learned_positions": True, "norm": "layer"}]
)
def test_a_decoder_gives_the_same_with_either(more):
    config = DecoderConfig(
        vocab_size=31, num_layers=2, model_dim=16, mlp_dim=24, num_heads=4, num_kv_heads=2, head_dim=4,
        max_positions=32, **more,
    )  # fmt: skip
    decoder = Decoder(config, rngs=nnx.Rngs(0))
    tokens = np.random.default_rng(0).integers(1, 31, (3, 9)).astype(np.int32)
    positions = np.broadcast_to(np.arange(9, dtype=np.int32), (3, 9))
    found = []
    for form in (KVCache, LayeredCache):
        first, cache = decoder(tokens[:, :6], positions[:, :6], None, form.empty(config, 3, 12))
        steps = [first]
        for place in range(6, 9):
            logits, cache = decoder(tokens[:, place, None], positions[:, place, None], None, cache)
            steps.append(logits)
        found.append(np.concatenate(steps, axis=1))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
