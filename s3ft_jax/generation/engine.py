"""The engine: many requests through one decoder, a fixed number of slots at a time (continuous batching).

In: parameters and requests (prompt ids, key, limit, settings). Out: sampled ids with log-probabilities, in the order of
the requests.

A prompt is prefilled once, however many responses are sampled from it: all its tokens but the last, in a batch of
prompts of similar length. Its keys and values are copied into a free slot per response. The last prompt token is then
the first token fed by the decode loop, so that every sampled token comes out of one and the same program:

    position        0   1   2   3   4   5
    token           p   q   r   A   B   end        prompt p q r, response A B end
    prefilled       p   q
    fed by decode           r   A   B
    sampled                     A   B   end        random key of A: fold_in(request key, 3)

Decode runs up to ``chunk_steps`` steps in one jitted loop, fewer when enough slots are free for a refill.

Same request, same response: a row's arithmetic depends on the shapes of the programs it passes through, never on what
other rows hold. Its prefill shape follows from its own length; the decode shape is (num_slots, cache length). XLA on
CPU gives equal bits for every cache length this engine uses (measured, and tested in tests/generation/test_engine.py);
on another backend give ``cache_buckets`` one single size for the same promise. Another ``num_slots`` may change the
last bits of the logits, and with them a token at a near-tie.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from s3ft_jax.generation.cache import bucket_of, cache_sizes, exact_sizes, inserted, length_of, prompt_sizes, resized
from s3ft_jax.generation.sampling import GenerationError, choose, token_keys
from s3ft_jax.generation.slots import Request, Rows, Sampled, Slots
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import KVCache

__all__ = ["Engine", "Request", "Sampled"]


@dataclasses.dataclass(frozen=True)
class _Prefilled:
    """A prompt whose keys and values lie in ``row`` of ``cache``, for one request that waits for a slot."""

    cache: KVCache
    row: int
    index: int


class Engine:
    """Compiled sampling programs for one architecture; parameters are an argument, so that tuned models share them.

    Args:
      graphdef: from ``nnx.split(decoder)``.
      config: the decoder's.
      stop_ids: tokens that end a response.
      pad_id: fills unused places of the input; never seen by a query that counts.
      num_slots: responses decoded at once.
      chunk_steps: decode steps between two looks at the host.
      prompt_buckets: lengths to which prompts are padded, ascending; default 32, 64, 128, ... up to max_positions.
      cache_buckets: lengths of the cache, ascending multiples of 16; default 64, 128, 192, 256, 384, 512, ... up to
        max_positions. Lengths that would break the promise above are left out (``cache.exact_sizes``).
      prefill_tokens: tokens of one prefill batch: max(1, prefill_tokens // bucket) prompts.
      cache_dtype, activation_dtype: of keys and values, and of the decoder's stream.
      attention: how the decode loop attends to the cache; ``cached_attention.choose`` says what suits the parameters.

    Raises:
      GenerationError: an argument outside its range, named.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        config: DecoderConfig,
        *,
        stop_ids: Sequence[int],
        pad_id: int,
        num_slots: int = 64,
        chunk_steps: int = 16,
        prompt_buckets: Sequence[int] | None = None,
        cache_buckets: Sequence[int] | None = None,
        prefill_tokens: int = 2048,
        cache_dtype: jnp.dtype = jnp.float32,
        activation_dtype: jnp.dtype = jnp.float32,
        attention: CachedAttention = CachedAttention(),  # noqa: B008 (frozen)
    ):
        for name, value in (("num_slots", num_slots), ("chunk_steps", chunk_steps), ("prefill_tokens", prefill_tokens)):
            if value < 1:
                raise GenerationError(f"Engine: {name} must be at least 1, found {value}")
        for name, sizes in (("prompt_buckets", prompt_buckets), ("cache_buckets", cache_buckets)):
            if sizes is not None and (not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1):
                raise GenerationError(f"Engine: {name} must be ascending lengths of at least 1, found {tuple(sizes)}")
        if any(size % 16 for size in cache_buckets or ()):
            raise GenerationError(f"Engine: cache_buckets must be multiples of 16, found {tuple(cache_buckets)}")
        outside = [token for token in (*stop_ids, pad_id) if not 0 <= token < config.vocab_size]
        if outside:
            raise GenerationError(f"Engine: stop_ids or pad_id {outside} are not in 0..{config.vocab_size - 1}")
        self.config = config
        self.num_slots, self.chunk_steps, self.prefill_tokens = num_slots, chunk_steps, prefill_tokens
        self.prompt_buckets = tuple(prompt_buckets or prompt_sizes(config.max_positions))
        self.cache_buckets = exact_sizes(
            cache_buckets or cache_sizes(config.max_positions), num_slots * config.num_heads
        )
        self._graphdef = graphdef
        self._stop_ids, self._pad_id = frozenset(stop_ids), pad_id
        self._cache_dtype, self._activation_dtype = cache_dtype, activation_dtype
        self._attention = attention
        self._num_compiles = 0
        self._prefill = jax.jit(self._counted(self._prefill_program))
        self._decode = jax.jit(self._counted(self._decode_program), donate_argnums=1)
        self._insert = jax.jit(self._counted(inserted), donate_argnums=0)
        self._resize = jax.jit(self._counted(resized), static_argnums=1)

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far: prefill per prompt bucket, decode per cache bucket, and small copying ones.

        Only a bucket used for the first time adds to it; other settings, parameters, prompts or a part-filled batch
        do not.
        """
        return self._num_compiles

    def prefill_shape(self, num_tokens: int) -> tuple[int, int]:
        """Rows and length of the batch in which ``num_tokens`` tokens of a prompt are prefilled."""
        length = bucket_of(num_tokens, self.prompt_buckets)
        return max(1, self.prefill_tokens // length), length

    def lower_prefill(self, params: nnx.State, num_tokens: int) -> jax.stages.Lowered:
        """The prefill of prompts of ``num_tokens`` tokens, to be compiled ahead of time.

        Args:
          params: arrays or ``jax.ShapeDtypeStruct``, whose places are the program's.
        """
        return self._prefill.lower(params, jax.ShapeDtypeStruct(self.prefill_shape(num_tokens), jnp.int32))

    def lower_decode(self, params: nnx.State, cache: KVCache) -> jax.stages.Lowered:
        """The decode chunk over ``cache``, as ``lower_prefill``."""
        return self._decode.lower(params, cache, Slots(self.num_slots).rows, np.int32(1))

    def cache_length(self, num_positions: int) -> int:
        """Positions of the cache that is used for so many."""
        return bucket_of(num_positions, self.cache_buckets)

    def empty_cache(self, length: int) -> KVCache:
        """A cache of zeros for every slot, ``length`` positions each."""
        return KVCache.empty(self.config, self.num_slots, length, self._cache_dtype)

    def generate(
        self,
        params: nnx.State,
        requests: Sequence[Request],
        on_progress: Callable[[int, int], None] | None = None,
        on_finished: Callable[[int, Sampled], None] | None = None,
    ) -> list[Sampled]:
        """Sample one response per request.

        Args:
          params: from ``nnx.split(decoder)``.
          requests: in any order; long prompts are run first, equal prompts together.
          on_progress: called with (finished, all) after every chunk.
          on_finished: called with (request number, response) as each one finishes, in order of finishing.

        Returns:
          One response per request, in the order of ``requests``.

        Raises:
          GenerationError: a request that cannot be run, by number, before anything is run.
        """
        for index, request in enumerate(requests):
            self._check(index, request)
        results: dict[int, Sampled] = {}
        slots = Slots(self.num_slots)
        waiting = self._prefilled(params, requests)
        upcoming = next(waiting, None)
        cache = None
        while upcoming is not None or slots.any_busy():
            placed: list[tuple[int, _Prefilled]] = []
            for slot in slots.free():
                if upcoming is None:
                    break
                placed.append((slot, upcoming))
                slots.place(slot, upcoming.index, requests[upcoming.index])
                upcoming = next(waiting, None)
            kept = cache if len(placed) < self.num_slots else None
            cache = self._fitted(kept, slots.length_needed(self.chunk_steps))
            cache = self._copied(cache, placed)
            finished, cache = self._run_chunk(params, cache, slots, is_last=upcoming is None)
            results.update(finished)
            if on_finished is not None:
                for index, sampled in finished.items():
                    on_finished(index, sampled)
            if on_progress is not None:
                on_progress(len(results), len(requests))
        return [results[index] for index in range(len(requests))]

    def _check(self, index: int, request: Request) -> None:
        length, limit = len(request.prompt_ids), request.max_new_tokens
        if length < 1 or limit < 1:
            raise GenerationError(
                f"request {index}: {length} prompt tokens and max_new_tokens {limit}; both must be at least 1 "
                "(config key sample.max_new_tokens)"
            )
        longest_prompt = self.prompt_buckets[-1] + 1  # the last prompt token is not prefilled
        if length > longest_prompt:
            raise GenerationError(
                f"request {index}: a prompt of {length} tokens is longer than the largest prompt bucket allows "
                f"({longest_prompt}). Leave it out of the data; nothing is ever cut."
            )
        longest = min(self.config.max_positions, self.cache_buckets[-1] + 1)  # the last sampled token is not fed
        if length + limit > longest:
            raise GenerationError(
                f"request {index}: {length} prompt tokens + max_new_tokens {limit} = {length + limit}, but there is "
                f"room for {longest} (max_positions of the model {self.config.max_positions}, largest cache bucket "
                f"{self.cache_buckets[-1]}). Lower sample.max_new_tokens and evaluate.max_new_tokens, or leave it out."
            )

    def _prefilled(self, params: nnx.State, requests: Sequence[Request]) -> Iterator[_Prefilled]:
        """Requests with prefilled prompts, longest prompt first; a batch is run when its first row is asked for."""
        same_prompt: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
        for index, request in enumerate(requests):
            same_prompt[tuple(request.prompt_ids)].append(index)
        by_bucket: dict[int, list[tuple[int, ...]]] = collections.defaultdict(list)
        for prompt in sorted(same_prompt, key=lambda prompt: (-len(prompt), prompt)):
            by_bucket[bucket_of(len(prompt) - 1, self.prompt_buckets)].append(prompt)
        for bucket, prompts in sorted(by_bucket.items(), reverse=True):
            batch, _ = self.prefill_shape(bucket)
            for start in range(0, len(prompts), batch):
                rows = prompts[start : start + batch]
                tokens = np.full((batch, bucket), self._pad_id, np.int32)
                for row, prompt in enumerate(rows):
                    tokens[row, : len(prompt) - 1] = prompt[:-1]
                cache = self._prefill(params, tokens)
                for row, prompt in enumerate(rows):
                    for index in same_prompt[prompt]:
                        yield _Prefilled(cache, row, index)

    def _fitted(self, cache: KVCache | None, length: int) -> KVCache:
        """The cache in the bucket that holds ``length`` positions; going bucket by bucket keeps the programs few."""
        goal = self.cache_buckets.index(self.cache_length(length))
        if cache is None:
            return self.empty_cache(self.cache_buckets[goal])
        place = self.cache_buckets.index(length_of(cache))
        while place != goal:
            place += 1 if place < goal else -1
            cache = self._resize(cache, self.cache_buckets[place])
        return cache

    def _copied(self, cache: KVCache, placed: Sequence[tuple[int, _Prefilled]]) -> KVCache:
        """Copy prefilled rows into their slots, one call per prefill batch."""
        by_prefill: dict[int, list[tuple[int, _Prefilled]]] = collections.defaultdict(list)
        for slot, prefilled in placed:
            by_prefill[id(prefilled.cache)].append((slot, prefilled))
        for entries in by_prefill.values():
            sources, targets = np.zeros(self.num_slots, np.int32), np.zeros(self.num_slots, np.int32)
            sources[: len(entries)] = [prefilled.row for _, prefilled in entries]
            targets[: len(entries)] = [slot for slot, _ in entries]
            cache = self._insert(cache, entries[0][1].cache, sources, targets, np.int32(len(entries)))
        return cache

    def _run_chunk(
        self, params: nnx.State, cache: KVCache, slots: Slots, is_last: bool
    ) -> tuple[dict[int, Sampled], KVCache]:
        """Up to chunk_steps steps for every slot. While requests wait, an eighth of the slots free ends the chunk."""
        enough_free = self.num_slots + 1 if is_last else max(1, self.num_slots // 8)
        cache, *result = self._decode(params, cache, slots.rows, np.int32(enough_free))
        rows, ids, logprobs = jax.device_get(result)
        return slots.harvest(rows, ids, logprobs, self._stop_ids), cache

    def _counted(self, program: Callable) -> Callable:
        """``program``, counting how often it is traced, which is how often it is compiled."""

        def counted(*args):
            self._num_compiles += 1
            return program(*args)

        return counted

    def _prefill_program(self, params: nnx.State, tokens: jax.Array) -> KVCache:
        """tokens [P, T] int32 -> their keys and values. Padding lies after a row's tokens, where no query of it looks,
        and its slots are overwritten before decode reads them."""
        model = nnx.merge(self._graphdef, params)
        empty = KVCache.empty(self.config, *tokens.shape, self._cache_dtype)
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
        _, cache = model.hidden(tokens, positions, cache=empty, activation_dtype=self._activation_dtype)
        return cache

    def _decode_program(
        self, params: nnx.State, cache: KVCache, rows: Rows, enough_free: jax.Array
    ) -> tuple[KVCache, Rows, jax.Array, jax.Array]:
        """Decode until chunk_steps are done, no row is active, or ``enough_free`` rows have finished in this chunk.

        Returns:
          cache; rows; ids [B, chunk_steps] int32 and logprobs [B, chunk_steps] float32, of which a row's first
          (new position - old position) columns count.
        """
        model = nnx.merge(self._graphdef, params)
        stop_ids = jnp.asarray(sorted(self._stop_ids), jnp.int32)
        busy_at_start = jnp.sum(rows.remaining > 0)

        def goes_on(carry: tuple) -> jax.Array:
            step, _, rows, _, _ = carry
            busy = jnp.sum(rows.remaining > 0)
            return (step < self.chunk_steps) & (busy > 0) & (busy_at_start - busy < enough_free)

        def advance(carry: tuple) -> tuple:
            step, cache, rows, ids, logprobs = carry
            active = rows.remaining > 0
            # an inactive row writes to a slot past the end, which the decoder drops
            positions = jnp.where(active, rows.position, length_of(cache))
            hidden, cache = model.hidden(
                rows.token[:, None],
                positions[:, None],
                cache=cache,
                activation_dtype=self._activation_dtype,
                cached=self._attention,
            )
            logits = model.unembed(hidden)[:, 0]
            chosen, logprob = choose(logits, token_keys(rows.key, rows.position + 1), rows.settings)
            stopped = jnp.any(chosen[:, None] == stop_ids, axis=-1)
            rows = rows._replace(
                token=jnp.where(active, chosen, rows.token),
                position=rows.position + active,
                remaining=jnp.where(active & ~stopped, rows.remaining - 1, 0),
            )
            return step + 1, cache, rows, ids.at[:, step].set(chosen), logprobs.at[:, step].set(logprob)

        shape = (self.num_slots, self.chunk_steps)
        start = (jnp.int32(0), cache, rows, jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32))
        _, cache, rows, ids, logprobs = jax.lax.while_loop(goes_on, advance, start)
        return cache, rows, ids, logprobs
