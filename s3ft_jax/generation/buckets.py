"""Cache sizes: which length of cache is used when.

Lengths come in few sizes (buckets), each compiled once, so that cost follows the positions in use and not the longest
length allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from s3ft_jax.generation.sampling import GenerationError


def prompt_sizes(limit: int, least: int = 32) -> tuple[int, ...]:
    """32 or another ``least``, 64, 128, ... doubling until one holds ``limit`` positions."""
    sizes = [least]
    while sizes[-1] < limit:
        sizes.append(2 * sizes[-1])
    return tuple(sizes)


def cache_sizes(limit: int) -> tuple[int, ...]:
    """64, 128, 192, 256, then 384, 512, 768, ... until one holds ``limit`` positions; less than half is wasted."""
    sizes = [64]
    while sizes[-1] < limit:
        if len(sizes) < 4:
            sizes.append(sizes[-1] + 64)
        else:
            sizes.append(4 * sizes[-1] // 3 if sizes[-1] % 3 == 0 else 3 * sizes[-1] // 2)
    return tuple(sizes)


def bucket_of(length: int, sizes: Sequence[int]) -> int:
    """The smallest of the ascending ``sizes`` that holds ``length``. Raises ValueError if none does."""
    for size in sizes:
        if size >= length:
            return size
    raise GenerationError(f"no bucket holds {length} positions; the largest is {sizes[-1]}")
