"""Sampling: next-token logits -> one id per row, with a random number that belongs to the row and not to the batch.

In: logits, one random key per row, and the settings of each row as arrays. Out: ids and their log-probabilities. All
settings are traced, so changing one compiles nothing; rows with different settings share a batch.

One uniform number per token is turned into an id through the cumulative distribution (inverse transform sampling,
Devroye 1986, chapter 2.2) instead of one Gumbel number per vocabulary entry: on a CPU, with 1,024 entries, that is
some 20 times cheaper, and the distribution is the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class GenerationError(ValueError):
    """A request or settings that cannot be run; the message names which and the config key."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The filters apply in this order, each to what the one before left over.

    Attributes:
      repetition_penalty: logits of tokens that prompt or response hold already are divided by it where they are above
        0, multiplied where below (Keskar et al., arXiv 1909.05858, section 4.1, as transformers does it); 1: off.
      temperature: logits are divided by it; 0 takes the likeliest token (greedy) and ignores the filters.
      top_k: keep the k likeliest tokens, and those equal to the k-th; 0 keeps all.
      top_p: keep the fewest likeliest tokens that together have at least this probability (Holtzman et al.,
        arXiv 1904.09751), in (0, 1]; 1 keeps all.
      min_p: keep tokens at least this fraction as probable as the likeliest (Nguyen et al., arXiv 2407.01082), in
        [0, 1); 0 keeps all.

    Raises:
      GenerationError: a value outside its range, named.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise GenerationError(f"temperature must be 0 (greedy) or a positive number, found {self.temperature}")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or not 0 <= self.top_k < 2**31:
            raise GenerationError(f"top_k must be a whole number from 0 (keep all tokens), found {self.top_k!r}")
        if not 0.0 < self.top_p <= 1.0:
            raise GenerationError(f"top_p must be above 0 and at most 1 (keep all tokens), found {self.top_p}")
        if not 0.0 <= self.min_p < 1.0:
            raise GenerationError(f"min_p must be at least 0 (keep all tokens) and below 1, found {self.min_p}")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0.0):
            raise GenerationError(f"repetition_penalty must be above 0 (1: off), found {self.repetition_penalty}")


GREEDY = Sampling(temperature=0.0)


class Settings(NamedTuple):
    """``Sampling`` of every row, as arrays.

    Attributes:
      temperature, top_p, min_p, repetition_penalty: [B] float32. top_k: [B] int32.
    """

    temperature: jax.Array | np.ndarray
    top_k: jax.Array | np.ndarray
    top_p: jax.Array | np.ndarray
    min_p: jax.Array | np.ndarray
    repetition_penalty: jax.Array | np.ndarray


def settings_of(samplings: Sequence[Sampling]) -> Settings:
    """One ``Sampling`` per row -> arrays [B] on the host."""
    return Settings(
        np.array([sampling.temperature for sampling in samplings], np.float32),
        np.array([sampling.top_k for sampling in samplings], np.int32),
        np.array([sampling.top_p for sampling in samplings], np.float32),
        np.array([sampling.min_p for sampling in samplings], np.float32),
        np.array([sampling.repetition_penalty for sampling in samplings], np.float32),
    )


def request_key(seed: int, example_id: str, origin: str, index: int) -> np.ndarray:
    """The random key of one response: a function of what is asked, never of where it lies in a batch.

    Args:
      seed: the run's sampling seed.
      example_id, origin, index: which response of which example, as in ``records.Response``.

    Returns:
      uint32 [2]: the first 8 bytes, little-endian, of the SHA-256 of ``seed/example_id/origin/index``, where each part
      is preceded by its length so that no two requests spell the same text.
    """
    parts = (str(int(seed)), example_id, origin, str(int(index)))
    text = "/".join(f"{len(part)}:{part}" for part in parts)
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], "<u4").astype(np.uint32)


def token_keys(row_keys: jax.Array, positions: jax.Array) -> jax.Array:
    """Key of the token that will lie at ``positions`` [B] of each row: fold_in(row key [B, 2], position) -> [B, 2]."""

    def fold(row_key: jax.Array, position: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(row_key, impl="threefry2x32"), position))

    return jax.vmap(fold)(row_keys, positions)


def choose(
    logits: jax.Array, keys: jax.Array, settings: Settings, seen: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Draw the next token of each row.

    Args:
      logits: [B, V] float32.
      keys: [B, 2] uint32, of this very token (``token_keys``).
      settings: of each row.
      seen: [B, V] bool, tokens that ``repetition_penalty`` is for; None: none.

    Returns:
      ids [B] int32, and their log-probabilities [B] float32 in nats at temperature 1 with nothing filtered, whatever
      the settings: what the model itself thinks of the token.
    """
    greedy, offered = settings.temperature <= 0.0, logits
    if seen is not None:
        off = jnp.all(settings.repetition_penalty == 1.0)
        offered = jax.lax.cond(off, lambda: logits, lambda: _penalized(logits, seen, settings.repetition_penalty))
    ids = jax.lax.cond(
        jnp.all(greedy),
        lambda: _likeliest(offered),
        lambda: jnp.where(greedy, _likeliest(offered), _drawn(offered, keys, settings)),
    )
    chosen = jnp.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]
    return ids, chosen - jax.nn.logsumexp(logits, axis=-1)


def _penalized(logits: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Logits [B, V] after ``Sampling.repetition_penalty`` [B]."""
    factor = penalty[:, None]
    return jnp.where(seen, jnp.where(logits > 0.0, logits / factor, logits * factor), logits)


def _likeliest(logits: jax.Array) -> jax.Array:
    """First index of the largest logit: jnp.argmax, written as two plain reductions, which XLA's CPU backend runs
    several times faster."""
    places = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    return jnp.min(jnp.where(logits == jnp.max(logits, axis=-1, keepdims=True), places, logits.shape[-1] - 1), axis=-1)


def _drawn(logits: jax.Array, keys: jax.Array, settings: Settings) -> jax.Array:
    """Ids [B] drawn from softmax(logits / temperature) after the filters."""
    temperature = jnp.where(settings.temperature > 0.0, settings.temperature, 1.0)
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)  # before dividing: a tiny temperature cannot overflow
    scaled = shifted / temperature[:, None]
    wanted = (settings.top_k > 0) | (settings.top_p < 1.0) | (settings.min_p > 0.0)
    weights = jnp.exp(scaled)
    weights = jax.lax.cond(jnp.any(wanted), lambda: _filtered(weights, settings), lambda: weights)
    uniform = jax.vmap(lambda key: jax.random.uniform(jax.random.wrap_key_data(key, impl="threefry2x32")))(keys)
    return _inverse(weights, uniform)


def _filtered(weights: jax.Array, settings: Settings) -> jax.Array:
    """Weights [B, V], the largest of each row being 1, with those of dropped tokens set to 0.

    The thresholds of top-k and top-p are found by bisection over the bits of the weights, not by sorting: 31 passes
    of counting, which for a large vocabulary is much cheaper on every backend. The bit pattern of a float32 >= 0,
    read as an integer, grows with the float, so the bisection is exact.
    """
    vocab = weights.shape[-1]
    top_k = jnp.where(settings.top_k > 0, jnp.minimum(settings.top_k, vocab), vocab)
    kept = weights >= _threshold(weights, jnp.ones_like(weights), top_k.astype(jnp.float32))[:, None]
    weights = jnp.where(kept, weights, 0.0)
    mass = settings.top_p * jnp.sum(weights, axis=-1)
    nucleus = weights >= _threshold(weights, weights, mass)[:, None]
    weights = jnp.where(nucleus | (settings.top_p >= 1.0)[:, None], weights, 0.0)
    return jnp.where(weights >= settings.min_p[:, None], weights, 0.0)


def _threshold(weights: jax.Array, amounts: jax.Array, goal: jax.Array) -> jax.Array:
    """Largest t [B] for which the ``amounts`` [B, V] of all weights >= t add up to at least ``goal`` [B]; else 0."""
    bits = jax.lax.bitcast_convert_type(weights, jnp.int32)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds  # enough at low, not enough at high
        middle = low + (high - low) // 2
        enough = jnp.sum(jnp.where(bits >= middle[:, None], amounts, 0.0), axis=-1) >= goal
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    infinity = jnp.full(goal.shape, 0x7F800000, jnp.int32)
    low, _ = jax.lax.fori_loop(0, 31, halve, (jnp.zeros_like(infinity), infinity))
    return jax.lax.bitcast_convert_type(low, jnp.float32)


def _inverse(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """Ids [B] at which the running sum of ``weights`` [B, V] passes ``uniform`` [B] in [0, 1) of their total.

    In two steps, over about sqrt(V) blocks and then inside one, so that no running sum over all of V is made:

        weights  .1 .2 .0 | .3 .0 .1 | .3 .0 .0      blocks .3 | .4 | .3
        uniform .45  ->  block 1 (.3 <= .45 < .7), rest .15  ->  its first entry (.15 < .3)  ->  id 3
    """
    rows, vocab = weights.shape
    width = math.isqrt(vocab - 1) + 1
    blocks = jnp.pad(weights, ((0, 0), (0, -vocab % width))).reshape(rows, -1, width)
    sums = jnp.sum(blocks, axis=-1)
    block, rest = _passed(sums, uniform * jnp.sum(sums, axis=-1))
    inside, _ = _passed(jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0], rest)
    return block * width + inside


def _passed(weights: jax.Array, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First index whose running sum exceeds ``goal`` [B], and what of goal lies inside it.

    Only entries above 0 are taken, and the last of them if rounding kept the sum from reaching goal: a filtered token
    is never chosen.
    """
    width = weights.shape[-1]
    places = jnp.arange(width, dtype=jnp.int32)
    sums = jnp.cumsum(weights, axis=-1)
    alive = weights > 0.0
    last = jnp.max(jnp.where(alive, places, 0), axis=-1)
    index = jnp.minimum(jnp.min(jnp.where(alive & (sums > goal[:, None]), places, width), axis=-1), last)
    before = jnp.where(index > 0, jnp.take_along_axis(sums, jnp.maximum(index - 1, 0)[:, None], axis=-1)[:, 0], 0.0)
    return index, goal - before
