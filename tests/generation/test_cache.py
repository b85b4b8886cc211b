"""Cache lengths and the copying of rows."""

import jax
import numpy as np
import pytest

from s3ft_jax.generation.cache import (
    ROW_AXIS,
    SLOT_AXIS,
    bucket_of,
    cache_sizes,
    exact_sizes,
    inserted,
    length_of,
    prompt_sizes,
    resized,
)
from s3ft_jax.models.attention import attend
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import KVCache

CONFIG = DecoderConfig(
    vocab_size=7, num_layers=2, model_dim=8, mlp_dim=8, num_heads=2, num_kv_heads=1, head_dim=4, max_positions=64
)


def _cache(rows, length, seed):
    rng = np.random.default_rng(seed)
    return KVCache(*(rng.normal(size=array.shape).astype("f4") for array in KVCache.empty(CONFIG, rows, length)))


def _row(array, row, length):
    return np.take(np.take(np.asarray(array), row, ROW_AXIS), range(length), SLOT_AXIS - 1)


def test_sizes_cover_the_limit_and_waste_less_than_half():
    for limit in (1, 64, 65, 200, 257, 4096, 131072):
        for sizes in (cache_sizes(limit), prompt_sizes(limit)):
            assert list(sizes) == sorted(set(sizes))
            assert sizes[-1] >= limit
            assert len(sizes) == 1 or sizes[-2] < limit
        for length in range(65, limit, 97):
            assert bucket_of(length, cache_sizes(limit)) < 2 * length
    assert cache_sizes(1000) == (64, 128, 192, 256, 384, 512, 768, 1024)


def test_no_bucket_is_an_error():
    with pytest.raises(ValueError, match="65 positions; the largest is 64"):
        bucket_of(65, (32, 64))


def test_resizing_keeps_rows_and_adds_zeros():
    cache = _cache(3, 16, seed=0)
    longer = resized(cache, 32)
    assert length_of(longer) == 32
    for before, after in zip(cache, longer, strict=True):
        assert (_row(after, 1, 16) == _row(before, 1, 16)).all()
        assert (_row(after, 1, 32).sum() - _row(after, 1, 16).sum()) == pytest.approx(0.0, abs=1e-5)
    assert all((a == np.asarray(b)).all() for a, b in zip(cache, resized(longer, 16), strict=True))


@pytest.mark.parametrize("prompt_length", [8, 16, 24])
def test_inserting_copies_the_counted_rows_and_no_other(prompt_length):
    cache, prompts = _cache(4, 16, seed=0), _cache(3, prompt_length, seed=1)
    sources, targets = np.array([2, 0, 1, 1], np.int32), np.array([3, 1, 0, 0], np.int32)
    result = jax.jit(inserted)(cache, prompts, sources, targets, np.int32(2))
    width = min(16, prompt_length)
    for before, prompt, after in zip(cache, prompts, result, strict=True):
        assert (_row(after, 3, width) == _row(prompt, 2, width)).all()
        assert (_row(after, 1, width) == _row(prompt, 0, width)).all()
        for untouched in (0, 2):
            assert (_row(after, untouched, 16) == _row(before, untouched, 16)).all()


@pytest.mark.parametrize(("rows", "heads"), [(1, 4), (3, 9), (8, 4), (64, 4)])
def test_attention_gives_equal_bits_for_all_exact_sizes(rows, heads):
    """The measured fact behind exact_sizes, checked for the XLA in use."""
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(rows, 1, heads, 16)).astype("f4")
    shape = [rows, 2048, 1, 16] if SLOT_AXIS == 2 else [rows, 1, 2048, 16]
    keys, values = (rng.normal(size=shape).astype("f4") for _ in range(2))
    positions = rng.integers(20, 60, (rows, 1))
    sizes = exact_sizes(cache_sizes(2048), rows * heads)
    assert len(sizes) > 1
    results = []
    for size in sizes:
        part = [np.take(array, range(size), SLOT_AXIS - 1) for array in (keys, values)]
        results.append(np.asarray(jax.jit(attend)(queries, *part, (np.arange(size) <= positions)[:, None])).tobytes())
    assert len(set(results)) == 1


def test_exact_sizes_falls_back_to_the_largest():
    assert exact_sizes((64, 128, 192), 64) == (64, 128, 192)
    assert exact_sizes((64, 128, 192), 32) == (128, 192)
    assert exact_sizes((64, 128, 192), 1) == (192,)
