"""The compiled programs of sampling: prefill of prompts, insertion into slots, a chunk of decode steps.

In: parameters, token ids, ``State``. Out: the same on the device. Which request lies where is the engine's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from s3ft_jax.generation.sampling import choose, token_keys
from s3ft_jax.generation.slots import Rows, Slots
from s3ft_jax.models.cache import Cache
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig


class State(NamedTuple):
    """What stays on the device between two chunks.

    Attributes:
      cache: keys and values of every slot.
      seen: [B, V] bool, the tokens that a slot's prompt and response hold, the newest one aside.
    """

    cache: Cache
    seen: jax.Array


class Prompts(NamedTuple):
    """A batch of prefilled prompts, P of them.

    Attributes:
      cache: their keys and values, T positions each.
      tokens: [P, T] int32, all but the last of each prompt, padded.
      lengths: [P] int32, how many of them count.
    """

    cache: Cache
    tokens: jax.Array
    lengths: jax.Array


class Programs:
    """Programs for one architecture and one set of shapes.

    Args:
      graphdef: from ``nnx.split(decoder)``.
      config: the decoder's.
      stop_ids: tokens that end a response.
      num_slots, chunk_steps: shape of a decode chunk.
      cache_dtype, activation_dtype: of keys and values, and of the decoder's stream.
      attention: how the cache is kept and attended to.

    Attributes:
      num_compiles: programs compiled so far.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        config: DecoderConfig,
        stop_ids: Sequence[int],
        *,
        num_slots: int,
        chunk_steps: int,
        cache_dtype: jnp.dtype,
        activation_dtype: jnp.dtype,
        attention: CachedAttention,
    ):
        self.config, self.num_slots, self.chunk_steps = config, num_slots, chunk_steps
        self.num_compiles = 0
        self._graphdef, self._stop_ids = graphdef, sorted(stop_ids)
        self._cache_dtype, self._activation_dtype = cache_dtype, activation_dtype
        self._attention = attention
        self.prefill = jax.jit(self._counted(self._prefill))
        self.extend = jax.jit(self._counted(self._extend), static_argnums=4)
        self.insert = jax.jit(self._counted(_inserted), donate_argnums=0)
        self.move = jax.jit(self._counted(_moved), donate_argnums=0)
        self.resize = jax.jit(self._counted(_resized), static_argnums=1)
        self.decode = jax.jit(self._counted(self._decode), donate_argnums=1)

    def empty(self, length: int) -> State:
        """The state of slots that are all free, with a cache of ``length`` positions."""
        cache = self._attention.empty(self.config, self.num_slots, length, self._cache_dtype)
        return State(cache, jnp.zeros((self.num_slots, self.config.vocab_size), bool))

    def lower_prefill(self, params: nnx.State, shape: tuple[int, int]) -> jax.stages.Lowered:
        """The prefill of prompts [P, T], to be compiled ahead of time.

        Args:
          params: arrays or ``jax.ShapeDtypeStruct``, whose places are the program's.
        """
        lengths = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
        return self.prefill.lower(params, jax.ShapeDtypeStruct(shape, jnp.int32), lengths)

    def lower_decode(self, params: nnx.State, state: State) -> jax.stages.Lowered:
        """The decode chunk, as ``lower_prefill``."""
        return self.decode.lower(params, state, Slots(self.num_slots).rows, np.int32(1))

    def _counted(self, program: Callable) -> Callable:
        """``program``, counting how often it is traced, which is how often it is compiled."""

        def counted(*args):
            self.num_compiles += 1
            return program(*args)

        return counted

    def _prefill(self, params: nnx.State, tokens: jax.Array, lengths: jax.Array) -> Prompts:
        """Tokens [P, T] int32 -> their keys and values. Padding lies after a row's tokens, where no query of it looks,
        and its slots are overwritten before decode reads them."""
        model = nnx.merge(self._graphdef, params)
        empty = self._attention.empty(self.config, *tokens.shape, self._cache_dtype)
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
        _, cache = model.hidden(tokens, positions, cache=empty, activation_dtype=self._activation_dtype)
        return Prompts(cache, tokens, lengths)

    def _extend(
        self, params: nnx.State, prefix: Prompts, tokens: jax.Array, lengths: jax.Array, num_new: int
    ) -> Prompts:
        """Prompts [P, T] that begin with the one of ``prefix``, of which at most ``num_new`` tokens each come after it.

        prefix    a b c . | tokens  a b c d e . .    lengths 5
        num_new   3                       d e .      are computed, at positions 3, 4, 5
        """
        model = nnx.merge(self._graphdef, params)
        start = prefix.lengths[0]
        cache = prefix.cache.repeated(tokens.shape[0]).resized(tokens.shape[1])
        new = jax.lax.dynamic_slice_in_dim(tokens, start, num_new, axis=1)
        positions = jnp.broadcast_to(start + jnp.arange(num_new, dtype=jnp.int32), new.shape)
        _, cache = model.hidden(
            new, positions, cache=cache, activation_dtype=self._activation_dtype, cached=self._attention
        )
        return Prompts(cache, tokens, lengths)

    def _decode(
        self, params: nnx.State, state: State, rows: Rows, enough_free: jax.Array
    ) -> tuple[State, Rows, jax.Array, jax.Array]:
        """Decode until chunk_steps are done, no row is active, or ``enough_free`` rows have come to rest in this chunk.

        A row rests when it has finished, and when the cache has no position for its next token.

        Returns:
          state; rows; ids [B, chunk_steps] int32 and logprobs [B, chunk_steps] float32, of which a row's first
          (new position - old position) columns count.
        """
        model = nnx.merge(self._graphdef, params)
        stop_ids, numbers = jnp.asarray(self._stop_ids, jnp.int32), jnp.arange(self.num_slots)
        length = state.cache.num_slots

        def is_active(rows: Rows) -> jax.Array:
            return (rows.remaining > 0) & (rows.position < length)

        active_at_start = jnp.sum(is_active(rows))

        def goes_on(carry: tuple) -> jax.Array:
            step, _, rows, _, _ = carry
            active = jnp.sum(is_active(rows))
            return (step < self.chunk_steps) & (active > 0) & (active_at_start - active < enough_free)

        def advance(carry: tuple) -> tuple:
            step, (cache, seen), rows, ids, logprobs = carry
            active = is_active(rows)
            # an inactive row writes to a slot past the end, which the decoder drops
            positions = jnp.where(active, rows.position, length)
            hidden, cache = model.hidden(
                rows.token[:, None],
                positions[:, None],
                cache=cache,
                activation_dtype=self._activation_dtype,
                cached=self._attention,
            )
            logits = model.unembed(hidden)[:, 0]
            seen = seen.at[numbers, rows.token].set(True)
            chosen, logprob = choose(logits, token_keys(rows.key, rows.position + 1), rows.settings, seen)
            stopped = jnp.any(chosen[:, None] == stop_ids, axis=-1)
            rows = rows._replace(
                token=jnp.where(active, chosen, rows.token),
                position=rows.position + active,
                remaining=jnp.where(active, jnp.where(stopped, 0, rows.remaining - 1), rows.remaining),
            )
            state = State(cache, seen)
            return step + 1, state, rows, ids.at[:, step].set(chosen), logprobs.at[:, step].set(logprob)

        shape = (self.num_slots, self.chunk_steps)
        start = (jnp.int32(0), state, rows, jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32))
        return jax.lax.while_loop(goes_on, advance, start)[1:]


def _inserted(state: State, prompts: Prompts, sources: jax.Array, targets: jax.Array, count: jax.Array) -> State:
    """Row ``sources[i]`` of ``prompts`` becomes slot ``targets[i]``, for i < count; both [B] int32."""

    def mark(entry: jax.Array, seen: jax.Array) -> jax.Array:
        tokens, length = prompts.tokens[sources[entry]], prompts.lengths[sources[entry]]
        counted = jnp.where(jnp.arange(tokens.shape[0]) < length, tokens, seen.shape[1])  # the rest is dropped
        return seen.at[targets[entry]].set(jnp.zeros(seen.shape[1], bool).at[counted].set(True, mode="drop"))

    seen = jax.lax.fori_loop(0, count, mark, state.seen)
    return State(state.cache.inserted(prompts.cache, sources, targets, count), seen)


def _moved(state: State, other: State, sources: jax.Array, targets: jax.Array, count: jax.Array) -> State:
    """Slot ``sources[i]`` of ``other`` becomes slot ``targets[i]``, for i < count; both [B] int32."""

    def copy(entry: jax.Array, seen: jax.Array) -> jax.Array:
        return seen.at[targets[entry]].set(other.seen[sources[entry]])

    seen = jax.lax.fori_loop(0, count, copy, state.seen)
    return State(state.cache.inserted(other.cache, sources, targets, count), seen)


def _resized(state: State, length: int) -> State:
    return state._replace(cache=state.cache.resized(length))
