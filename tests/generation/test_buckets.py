"""Cache lengths and the copying of rows."""

import jax
import numpy as np
import pytest

from s3ft_jax.generation.buckets import (
    bucket_of,
    cache_sizes,
    exact_sizes,
    prompt_sizes,
)
from s3ft_jax.models.attention import attend
from s3ft_jax.models.config import DecoderConfig

CONFIG = DecoderConfig(
    vocab_size=7, num_layers=2, model_dim=8, mlp_dim=8, num_heads=2, num_kv_heads=1, head_dim=4, max_positions=64
)


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


@pytest.mark.parametrize(("rows", "heads"), [(1, 4), (3, 9), (8, 4), (64, 4)])
def test_attention_gives_equal_bits_for_all_exact_sizes(rows, heads):
    """The measured fact behind exact_sizes, checked for the XLA in use, for keys as they are and turned round."""
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(rows, 1, heads, 16)).astype("f4")
    keys, values = (rng.normal(size=[rows, 1, 2048, 16]).astype("f4") for _ in range(2))
    positions = rng.integers(20, 60, (rows, 1))
    sizes = exact_sizes(cache_sizes(2048), rows * heads)
    assert len(sizes) > 1
    for turned in (False, True):
        results = []
        for size in sizes:
            part, mask = (keys[:, :, :size], values[:, :, :size]), (np.arange(size) <= positions)[:, None]
            part = (part[0].swapaxes(2, 3).copy(), part[1]) if turned else part
            results.append(np.asarray(jax.jit(attend, static_argnames="turned")(queries, *part, mask, turned=turned)))
        assert len({result.tobytes() for result in results}) == 1


def test_exact_sizes_falls_back_to_the_largest():
    assert exact_sizes((64, 128, 192), 64) == (64, 128, 192)
    assert exact_sizes((64, 128, 192), 32) == (128, 192)
    assert exact_sizes((64, 128, 192), 1) == (192,)
