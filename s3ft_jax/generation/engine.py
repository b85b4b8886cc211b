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
other rows hold. Its prefill shape follows from its own length; the decode shape is (num_slots, cache length). Either
every cache length gives equal bits (XLA on CPUs: measured, and tested in tests/generation/test_engine.py; the TPU
kernel: it reads the same blocks), or the lengths that a response passes through follow from itself alone (lanes.py).
Another ``num_slots`` may change the last bits of the logits, and with them a token at a near-tie.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from s3ft_jax.generation.buckets import bucket_of, cache_sizes, prompt_sizes
from s3ft_jax.generation.lanes import GrowingLane, Lane, Lanes, LanesByLength, Prefilled, Waiting
from s3ft_jax.generation.programs import Programs, Prompts, State
from s3ft_jax.generation.sampling import GenerationError
from s3ft_jax.generation.slots import Request, Sampled
from s3ft_jax.models import cached_attention, head_copies
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig

__all__ = ["PREFILL_TOKENS", "Engine", "Request", "Sampled"]

Tree = TypeVar("Tree")
OnProgress = Callable[[int, int, int, int], object]
"""Takes (finished, all, tokens sampled, how many of the finished were cut by their limit)."""
OnFinished = Callable[[int, Sampled], object]
"""Takes (request number, response)."""
PREFILL_TOKENS = 2048
"""Tokens of one prefill batch: enough that its products are bound by operations, not by reading the weights."""


class Engine:
    """Compiled sampling programs for one architecture; parameters are an argument, so that tuned models share them.

    Args:
      graphdef: from ``nnx.split(decoder)``.
      config: the decoder's.
      stop_ids: tokens that end a response.
      pad_id: fills unused places of the input; never seen by a query that counts.
      num_slots: responses decoded at once.
      chunk_steps: decode steps between two looks at the host.
      prompt_buckets: lengths to which prompts are padded, ascending; default 32 (on TPUs 64), 64, 128, ... up to
        max_positions.
      cache_buckets: lengths of the cache, ascending multiples of 16; default 64, 128, 192, 256, 384, 512, ... up to
        max_positions.
      prefill_tokens: tokens of one prefill batch: max(1, prefill_tokens // bucket) prompts.
      cache_dtype, activation_dtype: of keys and values, and of the decoder's stream.
      attention: how the cache is kept and attended to; None: what suits JAX's default device
        (``cached_attention.choose`` says what suits the parameters).
      mesh: the devices that the parameters lie on; each part of data is a replica with ``num_slots`` slots and prompts
        of its own, so that a response has the same bits on any number of replicas. None: one device.
      exact: keep the promise above, for which some lengths of cache are left out and, where the length could change
        bits, responses of different lengths are never put together.

    Attributes:
      config: the decoder's, with key-value heads for all chips of a replica (``head_copies``).

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
        prefill_tokens: int = PREFILL_TOKENS,
        cache_dtype: jnp.dtype = jnp.float32,
        activation_dtype: jnp.dtype = jnp.float32,
        attention: CachedAttention | None = None,
        mesh: Mesh | None = None,
        exact: bool = True,
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
        self._copies = 1 if mesh is None else head_copies.num_copies(config, mesh.shape["tensor"])
        self._once, config = config, head_copies.with_copies(config, self._copies)
        self.config = config
        self.num_slots, self.chunk_steps, self.prefill_tokens = num_slots, chunk_steps, prefill_tokens
        self._stop_ids, self._pad_id = frozenset(stop_ids), pad_id
        self._enough_free = max(1, num_slots // 8)
        attention = cached_attention.suiting(jax.default_backend()) if attention is None else attention
        self.prompt_buckets = tuple(prompt_buckets or prompt_sizes(config.max_positions, attention.least_prompt))
        sizes = tuple(cache_buckets or cache_sizes(config.max_positions))
        self.cache_buckets = attention.exact_sizes(sizes, config, num_slots, cache_dtype) if exact else sizes
        self._reads_all, self._pours = attention.reads_all, not (exact and attention.length_changes_bits)
        self.programs = Programs(
            graphdef,
            config,
            stop_ids,
            num_slots=num_slots,
            chunk_steps=chunk_steps,
            cache_dtype=cache_dtype,
            activation_dtype=activation_dtype,
            attention=attention,
            mesh=mesh,
        )
        self.num_replicas = self.programs.num_replicas

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far: prefill per prompt bucket, decode per cache bucket, and small copying ones.

        Only a bucket used for the first time adds to it; other settings, parameters, prompts or a part-filled batch
        do not.
        """
        return self.programs.num_compiles

    def prefill_shape(self, num_tokens: int) -> tuple[int, int]:
        """Rows and length of the batch in which ``num_tokens`` tokens of a prompt are prefilled."""
        length = bucket_of(num_tokens, self.prompt_buckets)
        return max(1, self.prefill_tokens // length), length

    def lower_prefill(self, params: nnx.State, num_tokens: int) -> jax.stages.Lowered:
        """The prefill of prompts of ``num_tokens`` tokens, to be compiled ahead of time.

        Args:
          params: arrays or ``jax.ShapeDtypeStruct``, whose places are the program's.
        """
        count, length = self.prefill_shape(num_tokens)
        return self.programs.lower_prefill(self.spread(params), (self.num_replicas * count, length))

    def lower_decode(self, params: nnx.State, state: State) -> jax.stages.Lowered:
        """The decode chunk over ``state``, as ``lower_prefill``."""
        return self.programs.lower_decode(self.spread(params), state)

    def spread(self, params: nnx.State) -> nnx.State:
        """Parameters as the programs take them: see ``head_copies.copied``."""
        return head_copies.copied(params, self._once, self._copies, self.programs.mesh)

    def cache_length(self, num_positions: int) -> int:
        """Positions of the cache that is used for so many."""
        return bucket_of(num_positions, self.cache_buckets)

    def generate(
        self,
        params: nnx.State,
        requests: Sequence[Request],
        on_progress: OnProgress | None = None,
        on_finished: OnFinished | None = None,
    ) -> list[Sampled]:
        """Sample one response per request.

        Args:
          params: from ``nnx.split(decoder)``.
          requests: in any order; of a turn, long prompts are run first, equal prompts together.
          on_progress: called after every chunk.
          on_finished: called as each one finishes, in order of finishing.

        Returns:
          One response per request, in the order of ``requests``.

        Raises:
          GenerationError: a request that cannot be run, by number, before anything is run.
        """
        self.check(requests)
        params = self.spread(params)
        results: dict[int, Sampled] = {}
        lanes, cut = self._lanes(), 0
        waiting = Waiting(self._prefilled(params, requests), len(requests), self.num_replicas)
        while len(waiting) or lanes.num_busy:
            lane = lanes.next(waiting)
            is_alone = not len(waiting) and lanes.num_busy == lane.slots.num_busy
            result = self._run_chunk(params, lane, is_alone)
            # prompts that the next slots will want are prefilled while the host looks at what this chunk said
            waiting.prefill(self._enough_free)
            finished = lane.slots.harvest(*jax.tree.map(_fetched, result), self._stop_ids)
            results.update(finished)
            if on_finished is not None:
                for index, sampled in finished.items():
                    on_finished(index, sampled)
            if on_progress is not None:
                cut += sum(not sampled.ended for sampled in finished.values())
                on_progress(len(results), len(requests), lanes.num_sampled, cut)
        return [results[index] for index in range(len(requests))]

    def check(self, requests: Sequence[Request]) -> None:
        """Raise GenerationError for the first request that cannot be run, by number."""
        for index, request in enumerate(requests):
            self._check(index, request)

    def _check(self, index: int, request: Request) -> None:
        length, limit = len(request.prompt_ids), request.max_new_tokens
        if length < 1 or limit < 1:
            raise GenerationError(
                f"request {index}: {length} prompt tokens and max_new_tokens {limit}; both must be at least 1 "
                "(config key sample.max_new_tokens)"
            )
        if not 0 <= request.shared < length:
            raise GenerationError(
                f"request {index}: shares {request.shared} tokens of a prompt of {length}; the last one is its own"
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

    def _prefilled(self, params: nnx.State, requests: Sequence[Request]) -> Iterator[Prefilled]:
        """Requests with prefilled prompts, of a turn the longest first; a batch is run when its first row is wanted."""
        turns: dict[int, list[int]] = collections.defaultdict(list)
        for index, request in enumerate(requests):
            turns[request.turn].append(index)
        prefixes: dict[tuple[int, ...], Prompts] = {}
        for turn in sorted(turns):
            yield from self._of_turn(params, requests, turns[turn], prefixes)

    def _of_turn(
        self,
        params: nnx.State,
        requests: Sequence[Request],
        turn: Sequence[int],
        prefixes: dict[tuple[int, ...], Prompts],
    ) -> Iterator[Prefilled]:
        """Of the requests of these numbers; ``prefixes`` are those prefilled so far."""
        same_prompt: dict[tuple[tuple[int, ...], int], list[int]] = collections.defaultdict(list)
        for index in turn:
            same_prompt[tuple(requests[index].prompt_ids), requests[index].shared].append(index)
        batches: dict[tuple[int, int, tuple[int, ...]], list[tuple[int, ...]]] = collections.defaultdict(list)
        for prompt, shared in sorted(same_prompt, key=lambda one: (-len(one[0]), one)):
            # how many tokens are computed for it, to how many it is filled up, and behind which
            new = bucket_of(len(prompt) - 1 - shared, self.prompt_buckets)
            whole = new + (bucket_of(shared, self.prompt_buckets) if shared else 0)
            batches[whole, new, prompt[:shared]].append(prompt)
        for (whole, new, prefix), prompts in sorted(batches.items(), reverse=True):
            if prefix and prefix not in prefixes:
                length = bucket_of(len(prefix), self.prompt_buckets)
                arrays = self._filled([[prefix]] * self.num_replicas, 1, length)
                prefixes[prefix] = self._alone(self.programs.prefill(params, *arrays))
            size = max(1, self.prefill_tokens // whole)
            for start in range(0, len(prompts), size * self.num_replicas):
                some = prompts[start : start + size * self.num_replicas]
                parts = [some[replica :: self.num_replicas] for replica in range(self.num_replicas)]
                arrays = self._filled([[prompt[:-1] for prompt in part] for part in parts], size, whole)
                if prefix:
                    prefilled = self._alone(self.programs.extend(params, prefixes[prefix], *arrays, new))
                else:
                    prefilled = self._alone(self.programs.prefill(params, *arrays))
                for number, prompt in enumerate(some):
                    row, replica = divmod(number, self.num_replicas)
                    for index in same_prompt[prompt, len(prefix)]:
                        yield Prefilled(prefilled, replica, row, index, requests[index])

    def _filled(
        self, parts: Sequence[Sequence[Sequence[int]]], count: int, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of each replica's rows, at most ``count``: [replicas x count, length] int32; how many of them count."""
        tokens = np.full((len(parts), count, length), self._pad_id, np.int32)
        lengths = np.zeros((len(parts), count), np.int32)
        for replica, rows in enumerate(parts):
            for row, ids in enumerate(rows):
                tokens[replica, row, : len(ids)], lengths[replica, row] = ids, len(ids)
        return tokens.reshape(-1, length), lengths.ravel()

    def _alone(self, arrays: Tree) -> Tree:
        """What a program gives; waited for where no other may run beside it: on CPUs, two programs whose devices wait
        for each other take each other's threads, until XLA ends the process."""
        mesh = self.programs.mesh
        if mesh is not None and mesh.shape["tensor"] > 1 and mesh.devices.flat[0].platform == "cpu":
            jax.block_until_ready(arrays)
        return arrays

    def _lanes(self) -> Lanes:
        if not self._reads_all:
            return GrowingLane(self.programs, self.cache_buckets)
        return LanesByLength(self.programs, self.cache_buckets, self._pours)

    def _run_chunk(self, params: nnx.State, lane: Lane, is_alone: bool) -> tuple:
        """Begin up to chunk_steps steps for every slot of a lane. An eighth of the slots free ends it, unless no other
        request, here or in another lane, could make use of them."""
        enough_free = self.num_slots + 1 if is_alone else self._enough_free
        decoded = self.programs.decode(params, lane.state, lane.slots.rows, np.int32(enough_free))
        lane.state, *result = self._alone(decoded)
        return tuple(result)


def _fetched(array: jax.Array) -> np.ndarray:
    """On the host; of an array that lies on other hosts, too, and is the same everywhere, this host's copy."""
    return np.asarray(array if array.is_fully_addressable else array.addressable_data(0))
