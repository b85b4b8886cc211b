"""Cache lengths."""

import pytest

from s3ft_jax.generation.buckets import bucket_of, cache_sizes, prompt_sizes


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
