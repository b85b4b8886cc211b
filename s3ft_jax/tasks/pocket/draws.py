"""Room: pocket tasks. Random draws that give the same bytes on every Python, and the rule that keeps splits apart.

Python promises that ``random.Random(seed).random()`` never changes between versions; it promises nothing for
``choice``, ``sample`` or ``shuffle``. Every draw of the pocket suite is therefore made of ``random()`` alone. Seeds are
strings such as ``arithmetic/test/0``; ``random.Random`` turns a string into its state by SHA-512, never by ``hash()``.

In: a generator. Out: integers, choices, orders, and the split a question belongs to.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

# A question's home is decided by its text alone, so the splits and the pretraining texts are apart for every seed and
# every setting. Sixteenths of all questions: 4 train, 2 validation, 2 test, 8 pretraining. The checksum does not know
# what a question says, so every home has the same distribution.
_HOMES = ("train",) * 4 + ("validation",) * 2 + ("test",) * 2 + ("pretraining",) * 8
_SYLLABLES = tuple(a + b for a in "bdfgklmnprtvz" for b in "aeiou")
_ENDINGS = ("b", "ck", "d", "ff", "g", "ll", "m", "n", "p", "rk", "sh", "t", "x", "mp", "nt")


def home(text: str) -> str:
    """The only place a question may be used: ``train``, ``validation``, ``test`` or ``pretraining``.

    By CRC-32 of the UTF-8 text modulo 16. General skills are measured on questions whose home is ``test``.
    """
    return _HOMES[zlib.crc32(text.encode("utf-8")) % len(_HOMES)]


def integer(rng: random.Random, low: int, high: int) -> int:
    """A whole number in [low, high], both ends included."""
    return low + int(rng.random() * (high - low + 1))


def chance(rng: random.Random, share: float) -> bool:
    """True with probability ``share`` in [0, 1]."""
    return rng.random() < share


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of the options, each as likely."""
    return options[int(rng.random() * len(options))]


def pick_by_share(rng: random.Random, shares: Mapping[T, float]) -> T:
    """A key of ``shares``, as likely as its value among the values' sum."""
    left = rng.random() * sum(shares.values())
    for key, share in shares.items():
        left -= share
        if left < 0:
            return key
    return key


def shuffled(rng: random.Random, options: Sequence[T]) -> list[T]:
    """All options in a random order (Fisher-Yates)."""
    order = list(options)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def several(rng: random.Random, options: Sequence[T], count: int) -> list[T]:
    """``count`` different options in a random order."""
    return shuffled(rng, options)[:count]


def nonsense(rng: random.Random) -> str:
    """A pronounceable word that means nothing, e.g. ``zupock``."""
    return pick(rng, _SYLLABLES) + (pick(rng, _SYLLABLES) if chance(rng, 0.5) else "") + pick(rng, _ENDINGS)
