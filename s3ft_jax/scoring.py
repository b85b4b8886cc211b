"""Scoring: how likely a model finds given responses. Used by choice tasks, likeliest pick and the histograms.

In: parameters, prompt ids and response ids. Out: the log-probability of every response token. No text.

The logits at a position speak of the next token, so each response token is read one place to the left:

    position        0   1   2   3   4
    token           p   q   A   B   end        prompt p q, response A B end
    fed             p   q   A   B              the last token is fed to nobody
    target              A   B   end            logits at 1 speak of A, at 2 of B, at 3 of end
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from s3ft_jax.models.config import DecoderConfig


class ScoringError(ValueError):
    """A response that cannot be scored, or settings that cannot be; the message names which."""


class Scorer:
    """Compiled scoring programs for one architecture; parameters are an argument, so that tuned models share them.

    Sequences of similar length run together in batches of a shape that follows from their length alone, so a response's
    score does not depend on the company it is in. Logits are made for a slice of the wanted positions at a time and
    never kept: with V = 150,000 and the defaults the largest array is slice_tokens x V = 77 MB in float32.

    Args:
      graphdef: from ``nnx.split(decoder)``.
      config: the decoder's.
      pad_id: fills unused places; in segment 0, so nothing sees it.
      buckets: lengths to which sequences are padded, ascending; default 32, 64, 128, ... up to max_positions.
      batch_tokens: tokens of one batch: max(1, batch_tokens // bucket) sequences.
      slice_tokens: positions whose logits exist at the same time.
      activation_dtype: of the decoder's stream.

    Raises:
      ScoringError: an argument outside its range, named.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        config: DecoderConfig,
        *,
        pad_id: int,
        buckets: Sequence[int] | None = None,
        batch_tokens: int = 2048,
        slice_tokens: int = 128,
        activation_dtype: jnp.dtype = jnp.float32,
    ):
        if batch_tokens < 1 or slice_tokens < 1:
            raise ScoringError(
                f"Scorer: batch_tokens ({batch_tokens}) and slice_tokens ({slice_tokens}) must be at least 1"
            )
        if buckets is not None and (not buckets or list(buckets) != sorted(set(buckets)) or buckets[0] < 1):
            raise ScoringError(f"Scorer: buckets must be ascending lengths of at least 1, found {tuple(buckets)}")
        if not 0 <= pad_id < config.vocab_size:
            raise ScoringError(f"Scorer: pad_id {pad_id} is not in 0..{config.vocab_size - 1}")
        self.config = config
        self.buckets = tuple(buckets or _doubling(config.max_positions))
        self._graphdef = graphdef
        self._pad_id, self._batch_tokens, self._slice_tokens = pad_id, batch_tokens, slice_tokens
        self._activation_dtype = activation_dtype
        self._num_compiles = 0
        self._score = jax.jit(self._score_program)

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far: one per bucket used."""
        return self._num_compiles

    def logprobs(
        self,
        params: nnx.State,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[tuple[int, ...]],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[np.ndarray]:
        """Log-probability of each response token, given its prompt and the response tokens before it.

        Args:
          params: from ``nnx.split(decoder)``.
          prompts: token ids, at least one each.
          responses: token ids, at least one each, end token included if it shall be scored.
          on_progress: called with (responses scored, all) after every batch.

        Returns:
          float32 [len(response)] per response, in nats, at temperature 1, in the order given.

        Raises:
          ScoringError: a pair that cannot be scored, by number, before anything is run.
        """
        if len(prompts) != len(responses):
            raise ScoringError(f"Scorer.logprobs: {len(prompts)} prompts but {len(responses)} responses")
        by_bucket: dict[int, list[int]] = collections.defaultdict(list)
        for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            by_bucket[self._bucket(index, len(prompt), len(response))].append(index)
        results: dict[int, np.ndarray] = {}
        for bucket, indices in sorted(by_bucket.items(), reverse=True):
            batch = max(1, self._batch_tokens // bucket)
            for start in range(0, len(indices), batch):
                some = indices[start : start + batch]
                pairs = [(tuple(prompts[index]), tuple(responses[index])) for index in some]
                results.update(zip(some, self._batch(params, pairs, batch, bucket), strict=True))
                if on_progress is not None:
                    on_progress(len(results), len(prompts))
        return [results[index] for index in range(len(prompts))]

    def _bucket(self, index: int, prompt_length: int, response_length: int) -> int:
        if prompt_length < 1 or response_length < 1:
            raise ScoringError(
                f"pair {index}: {prompt_length} prompt tokens and {response_length} response tokens; "
                "both must be at least 1"
            )
        total = prompt_length + response_length
        longest = min(self.config.max_positions, self.buckets[-1] + 1)  # the last token is not fed
        if total > longest:
            raise ScoringError(
                f"pair {index}: {prompt_length} prompt tokens + {response_length} response tokens = {total}, but there "
                f"is room for {longest} (max_positions of the model {self.config.max_positions}, largest bucket "
                f"{self.buckets[-1]}). Leave this pair out of the data."
            )
        return next(bucket for bucket in self.buckets if bucket >= total - 1)

    def _batch(
        self, params: nnx.State, pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], batch: int, bucket: int
    ) -> list[np.ndarray]:
        """Score one batch of at most ``batch`` pairs, padded to [batch, bucket]."""
        tokens = np.full((batch, bucket), self._pad_id, np.int32)
        segments = np.zeros((batch, bucket), np.int32)
        places, targets = np.zeros(batch * bucket, np.int32), np.zeros(batch * bucket, np.int32)
        ends = []
        count = 0
        for row, (prompt, response) in enumerate(pairs):
            fed = (prompt + response)[:-1]
            tokens[row, : len(fed)], segments[row, : len(fed)] = fed, 1
            first = row * bucket + len(prompt) - 1
            places[count : count + len(response)] = np.arange(first, first + len(response))
            targets[count : count + len(response)] = response
            count += len(response)
            ends.append(count)
        scores = np.asarray(self._score(params, tokens, segments, places, targets, np.int32(count)))
        return np.split(scores[:count], ends[:-1])

    def _score_program(
        self,
        params: nnx.State,
        tokens: jax.Array,
        segments: jax.Array,
        places: jax.Array,
        targets: jax.Array,
        count: jax.Array,
    ) -> jax.Array:
        """log p of ``targets[i]`` by the logits at ``places[i]``, for i < count.

        Args:
          tokens, segments: [B, T] int32.
          places: [B * T] int32, index into the flattened [B, T]. targets: [B * T] int32.
          count: scalar int32.

        Returns:
          [B * T rounded up to slices] float32; 0 from count on.
        """
        self._num_compiles += 1  # runs once per trace, that is per compile
        model = nnx.merge(self._graphdef, params)
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
        hidden, _ = model.hidden(tokens, positions, segments, activation_dtype=self._activation_dtype)
        flat = hidden.reshape(-1, hidden.shape[-1])
        width = self._slice_tokens
        places, targets = (jnp.pad(array, (0, -array.shape[0] % width)) for array in (places, targets))

        def add_slice(number: jax.Array, scores: jax.Array) -> jax.Array:
            start = number * width
            place = jax.lax.dynamic_slice_in_dim(places, start, width)
            target = jax.lax.dynamic_slice_in_dim(targets, start, width)
            logits = model.unembed(flat[place])
            chosen = jnp.take_along_axis(logits, target[:, None], axis=-1)[:, 0]
            logprob = chosen - jax.nn.logsumexp(logits, axis=-1)
            return jax.lax.dynamic_update_slice_in_dim(scores, logprob, start, axis=0)

        num_slices = (count + width - 1) // width
        return jax.lax.fori_loop(0, num_slices, add_slice, jnp.zeros(places.shape, jnp.float32))


def _doubling(limit: int) -> tuple[int, ...]:
    """32, 64, 128, ... until one holds ``limit`` positions."""
    buckets = [32]
    while buckets[-1] < limit:
        buckets.append(2 * buckets[-1])
    return tuple(buckets)
