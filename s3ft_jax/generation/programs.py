"""The compiled programs of sampling: prefill of prompts, insertion into slots, a chunk of decode steps.

In: parameters, token ids, ``State``. Out: the same on the device. Which request lies where is the engine's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from s3ft_jax.generation.sampling import choose, token_keys
from s3ft_jax.generation.slots import Rows, Slots
from s3ft_jax.models.cache import Cache
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.sharding import AXES, ROWS, row_parts


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

    With several replicas every program runs on each of them by itself, on its own rows: the shapes below are one
    replica's, and an array that has rows has those of all replicas, one after the other.

    Args:
      graphdef: from ``nnx.split(decoder)``.
      config: the decoder's.
      stop_ids: tokens that end a response.
      num_slots, chunk_steps: shape of a decode chunk.
      cache_dtype, activation_dtype: of keys and values, and of the decoder's stream.
      attention: how the cache is kept and attended to.
      mesh: the devices; a replica for each part of data. None: one device.

    Attributes:
      num_replicas: copies of the model.
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
        mesh: Mesh | None = None,
    ):
        self.config, self.num_slots, self.chunk_steps, self.mesh = config, num_slots, chunk_steps, mesh
        self.num_replicas = 1 if mesh is None else row_parts(mesh)
        self.num_compiles, self._compiling = 0, threading.Lock()
        self._graphdef, self._stop_ids = graphdef, sorted(stop_ids)
        self._cache_dtype, self._activation_dtype = cache_dtype, activation_dtype
        self._attention = attention if self.num_replicas == 1 else attention.in_replica()
        rows, whole = PartitionSpec(ROWS), PartitionSpec()
        cache = PartitionSpec(*[None] * attention.row_axis, ROWS)
        state, prompts = State(cache, rows), Prompts(cache, rows, rows)
        self._state_places = state
        self.prefill = self._compiled(self._prefill, (whole, rows, rows), prompts)
        self.extend = self._compiled(self._extend, (whole, prompts, rows, rows), prompts, static_argnums=4)
        self.insert = self._compiled(_inserted, (state, prompts, rows, rows, rows), state, donate_argnums=0)
        self.move = self._compiled(_moved, (state, state, rows, rows, rows), state, donate_argnums=0)
        self.resize = self._compiled(_resized, (state,), state, static_argnums=1)
        decoded = state, rows, rows, rows
        options = {"donate_argnums": 1}
        if mesh is not None and (self.num_replicas == 1 or _num_hosts(mesh) > 1):  # each reads all that was sampled
            options["out_shardings"] = (None, *[NamedSharding(mesh, whole)] * 3)
        self.decode = self._compiled(self._decode, (whole, state, rows, whole), decoded, **options)

    def empty(self, length: int) -> State:
        """The state of slots that are all free, with a cache of ``length`` positions."""
        count = self.num_replicas * self.num_slots

        def make() -> State:
            cache = self._attention.empty(self.config, count, length, self._cache_dtype)
            return State(cache, jnp.zeros((count, self.config.vocab_size), bool))

        if self.mesh is None:
            return make()
        return jax.jit(make, out_shardings=self.state_shardings(jax.eval_shape(make)))()

    def state_shardings(self, state: State) -> State:
        """Where a state's arrays lie on the mesh: rows over replicas, heads over tensor where it divides them."""
        heads = "tensor" if self.config.num_kv_heads % self.mesh.shape["tensor"] == 0 else None
        cache, seen = (NamedSharding(self.mesh, spec) for spec in (self._with_heads(heads), self._state_places.seen))
        return State(jax.tree.map(lambda _: cache, state.cache), seen)

    def _with_heads(self, heads: str | None) -> PartitionSpec:
        return PartitionSpec(*self._state_places.cache, heads)

    def lower_prefill(self, params: nnx.State, shape: tuple[int, int]) -> jax.stages.Lowered:
        """The prefill of prompts [P, T], to be compiled ahead of time.

        Args:
          params: arrays or ``jax.ShapeDtypeStruct``, whose places are the program's.
        """
        lengths = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
        return self.prefill.lower(params, jax.ShapeDtypeStruct(shape, jnp.int32), lengths)

    def lower_decode(self, params: nnx.State, state: State) -> jax.stages.Lowered:
        """The decode chunk, as ``lower_prefill``."""
        return self.decode.lower(params, state, Slots(self.num_replicas * self.num_slots).rows, np.int32(1))

    def _compiled(self, program: Callable, places: tuple, out_places: Any, **options: Any) -> Callable:
        """``program``, run by each replica on its rows; counts how often it is traced, which is how often compiled."""

        def counted(*args: Any) -> Any:
            self.num_compiles += 1  # when traced: once per program
            if self.num_replicas == 1:
                return program(*args)
            arrays, static = args[: len(places)], args[len(places) :]
            return jax.shard_map(
                lambda *arrays: program(*arrays, *static),
                mesh=self.mesh,
                in_specs=places,
                out_specs=out_places,
                # a kernel is not the compiler's to cut up, and it counts an axis of one chip as well
                axis_names=set(AXES if self.mesh.shape["tensor"] == 1 else ROWS),
                check_vma=False,
            )(*arrays)

        return _Program(jax.jit(counted, **options), self._compiling)

    def _prefill(self, params: nnx.State, tokens: jax.Array, lengths: jax.Array) -> Prompts:
        """Tokens [P, T] int32 -> their keys and values. Padding lies after a row's tokens, where no query of it looks,
        and its slots are overwritten before decode reads them."""
        model = nnx.merge(self._graphdef, params)
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
        # padding is of the same segment, so that no query of it is left without a key
        _, cache = model.hidden(
            tokens,
            positions,
            jnp.ones_like(positions),
            keep=(self._attention.form, self._cache_dtype),
            activation_dtype=self._activation_dtype,
            attention=self._attention.of_prompts,
        )
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

        def goes_on(rows: Rows) -> jax.Array:
            active = jnp.sum(is_active(rows))
            return self._any_replica((active > 0) & (active_at_start - active < enough_free))

        def advance(carry: tuple) -> tuple:
            _, step, (cache, seen), rows, ids, logprobs = carry
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
            logits = self._whole(model.unembed(hidden)[:, 0])
            seen = seen.at[numbers, rows.token].set(True)
            chosen, logprob = choose(logits, token_keys(rows.key, rows.position + 1), rows.settings, seen)
            stopped = jnp.any(chosen[:, None] == stop_ids, axis=-1)
            rows = rows._replace(
                token=jnp.where(active, chosen, rows.token),
                position=rows.position + active,
                remaining=jnp.where(active, jnp.where(stopped, 0, rows.remaining - 1), rows.remaining),
            )
            state = State(cache, seen)
            ids, logprobs = ids.at[:, step].set(chosen), logprobs.at[:, step].set(logprob)
            return goes_on(rows), step + 1, state, rows, ids, logprobs

        shape = (self.num_slots, self.chunk_steps)
        start = (goes_on(rows), jnp.int32(0), state, rows, jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32))
        return jax.lax.while_loop(lambda carry: carry[0] & (carry[1] < self.chunk_steps), advance, start)[2:]

    def _any_replica(self, wanted: jax.Array) -> jax.Array:
        """Whether a replica wants to go on, where all must do the same: chips that share a replica wait for each other
        in every product, and some backends count the waiting of all replicas together."""
        if self.num_replicas == 1 or self.mesh.shape["tensor"] == 1:
            return wanted
        return jax.lax.pmax(wanted.astype(jnp.int32), ROWS) > 0

    def _whole(self, logits: jax.Array) -> jax.Array:
        """Logits [B, V] whole on each chip of a replica, so that they choose without asking each other."""
        if self.mesh is None or self.mesh.shape["tensor"] == 1:
            return logits
        place = PartitionSpec() if self.num_replicas > 1 else NamedSharding(self.mesh, PartitionSpec())
        return jax.lax.with_sharding_constraint(logits, place)


class _Program:
    """A jitted function that threads may call: what is not compiled yet is compiled by one of them, the others wait."""

    def __init__(self, jitted: Any, compiling: threading.Lock):
        self._jitted, self._compiling, self._seen, self.lower = jitted, compiling, set(), jitted.lower

    def __call__(self, *args: Any) -> Any:
        others = [arg for arg in args if not isinstance(arg, nnx.State)]  # parameters: alike in all calls
        key = tuple(getattr(leaf, "shape", leaf) for leaf in jax.tree.leaves(others))
        if key in self._seen:
            return self._jitted(*args)
        with self._compiling:
            made = self._jitted(*args)
            self._seen.add(key)
        return made


def _num_hosts(mesh: Mesh) -> int:
    return len({device.process_index for device in mesh.devices.flat})


def _inserted(state: State, prompts: Prompts, sources: jax.Array, targets: jax.Array, count: jax.Array) -> State:
    """Row ``sources[i]`` of ``prompts`` becomes slot ``targets[i]``, for i < count [1]; both [B] int32."""

    def mark(entry: jax.Array, seen: jax.Array) -> jax.Array:
        tokens, length = prompts.tokens[sources[entry]], prompts.lengths[sources[entry]]
        counted = jnp.where(jnp.arange(tokens.shape[0]) < length, tokens, seen.shape[1])  # the rest is dropped
        return seen.at[targets[entry]].set(jnp.zeros(seen.shape[1], bool).at[counted].set(True, mode="drop"))

    seen = jax.lax.fori_loop(0, count[0], mark, state.seen)
    return State(state.cache.inserted(prompts.cache, sources, targets, count[0]), seen)


def _moved(state: State, other: State, sources: jax.Array, targets: jax.Array, count: jax.Array) -> State:
    """Slot ``sources[i]`` of ``other`` becomes slot ``targets[i]``, for i < count [1]; both [B] int32."""

    def copy(entry: jax.Array, seen: jax.Array) -> jax.Array:
        return seen.at[targets[entry]].set(other.seen[sources[entry]])

    seen = jax.lax.fori_loop(0, count[0], copy, state.seen)
    return State(state.cache.inserted(other.cache, sources, targets, count[0]), seen)


def _resized(state: State, length: int) -> State:
    return state._replace(cache=state.cache.resized(length))
