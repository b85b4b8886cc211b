"""The host's books of the engine: which request lies in which slot, how far it is, what it has said so far.

In: requests to place, and what each decode chunk returned. Out: the arrays the next chunk needs, and finished
responses. NumPy only; nothing here waits for the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from s3ft_jax.generation.sampling import GREEDY, Sampling, Settings, settings_of


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """One response to sample.

    Attributes:
      prompt_ids: the prompt's token ids, at least one.
      key: uint32 [2], from ``sampling.request_key``; all randomness of the response comes from it.
      max_new_tokens: limit on the response's length in tokens, end token included; at least 1.
      sampling: how tokens are drawn.
      shared: how many of the prompt's first tokens other requests have, too; they are prefilled once for all that say
        so. It decides the shapes of the prefill, and so belongs to what is asked: for the same bits, the same number.
      turn: requests of an earlier turn are begun first; within a turn long prompts are. It changes no response.
      over: (ids sampled so far, how many of them were asked about before) -> how many of them are the response, where
        a stop string says that it is over; else None. Asked once per chunk.
    """

    prompt_ids: tuple[int, ...]
    key: np.ndarray
    max_new_tokens: int
    sampling: Sampling
    shared: int = 0
    turn: int = 0
    over: Callable[[Sequence[int], int], int | None] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sampled:
    """One sampled response.

    Attributes:
      response_ids: token ids exactly as sampled, end token included when there was one.
      logprobs: float32 [len(response_ids)], nats: log p of each id at temperature 1, unfiltered.
      ended: True if an end token was sampled or ``Request.over`` said so, False if max_new_tokens cut the response.
    """

    response_ids: tuple[int, ...]
    logprobs: np.ndarray
    ended: bool


class Rows(NamedTuple):
    """State of each slot, as the decode chunk takes and returns it. B = number of slots.

    Attributes:
      token: [B] int32, the newest token, not yet fed.
      position: [B] int32, its position, which is the cache slot it will be written to.
      remaining: [B] int32, tokens that may still be sampled; 0 = free or finished.
      key: [B, 2] uint32, of the request.
      settings: of the request.
    """

    token: jax.Array | np.ndarray
    position: jax.Array | np.ndarray
    remaining: jax.Array | np.ndarray
    key: jax.Array | np.ndarray
    settings: Settings


class Slots:
    """A fixed number of slots, each free or holding one request.

    Attributes:
      rows: their state, as the next chunk takes it.
      num_sampled: tokens so far.
    """

    def __init__(self, num_slots: int):
        self.num_sampled = 0
        self.rows = Rows(
            np.zeros(num_slots, np.int32),
            np.zeros(num_slots, np.int32),
            np.zeros(num_slots, np.int32),
            np.zeros((num_slots, 2), np.uint32),
            settings_of([GREEDY] * num_slots),
        )
        self._request = np.full(num_slots, -1)
        self._over: list[Callable[[Sequence[int], int], int | None] | None] = [None] * num_slots
        self._ids: list[list[int]] = [[] for _ in range(num_slots)]
        self._logprobs: list[list[np.ndarray]] = [[] for _ in range(num_slots)]

    def free(self) -> list[int]:
        """Slots that hold no request, ascending."""
        return np.flatnonzero(self._request < 0).tolist()

    def busy(self) -> list[int]:
        """Slots that hold a request, ascending."""
        return np.flatnonzero(self._request >= 0).tolist()

    @property
    def num_busy(self) -> int:
        """How many of them."""
        return int((self._request >= 0).sum())

    def running(self, length: int) -> list[int]:
        """Busy slots whose next token has room in a cache of ``length`` positions."""
        return np.flatnonzero((self._request >= 0) & (self.rows.position < length)).tolist()

    def outgrown(self, length: int) -> list[int]:
        """Busy slots whose next token has none."""
        return np.flatnonzero((self._request >= 0) & (self.rows.position >= length)).tolist()

    def place(self, slot: int, index: int, request: Request) -> None:
        """Put request number ``index`` into ``slot``: its last prompt token is fed next, at its own position."""
        rows = self.rows
        rows.token[slot] = request.prompt_ids[-1]
        rows.position[slot] = len(request.prompt_ids) - 1
        rows.remaining[slot] = request.max_new_tokens
        rows.key[slot] = request.key
        self._set(slot, request.sampling)
        self._request[slot], self._over[slot] = index, request.over
        self._ids[slot], self._logprobs[slot] = [], []

    def take_from(self, other: Slots, source: int, target: int) -> None:
        """Move the request in slot ``source`` of other books into slot ``target`` of these, as far as it is."""
        for mine, theirs in zip(jax.tree.leaves(self.rows), jax.tree.leaves(other.rows), strict=True):
            mine[target] = theirs[source]
        for mine, theirs in (
            (self._request, other._request),
            (self._over, other._over),
            (self._ids, other._ids),
            (self._logprobs, other._logprobs),
        ):
            mine[target] = theirs[source]
        other._release(source)

    def length_needed(self, steps: int) -> int:
        """Cache positions that the next ``steps`` steps may write: one more than the highest."""
        rows = self.rows
        return int((rows.position + np.minimum(rows.remaining, steps)).max(where=rows.remaining > 0, initial=0))

    def harvest(
        self, rows: Rows, ids: np.ndarray, logprobs: np.ndarray, stop_ids: frozenset[int]
    ) -> dict[int, Sampled]:
        """Book a chunk's result and free the slots that finished.

        Args:
          rows: as returned by the chunk, on the host.
          ids, logprobs: [B, steps]; of row b the first ``rows.position[b] - position before`` columns count.
          stop_ids: end tokens.

        Returns:
          Request number -> its response, for those that finished in this chunk.
        """
        counts = rows.position - self.rows.position
        self.num_sampled += int(counts.sum())
        self.rows = Rows(*(np.array(array) for array in rows[:4]), self.rows.settings)
        finished = {}
        for slot in self.busy():
            before, over = len(self._ids[slot]), self._over[slot]
            self._ids[slot].extend(ids[slot, : counts[slot]].tolist())
            self._logprobs[slot].append(logprobs[slot, : counts[slot]])
            kept = None if over is None else over(self._ids[slot], before)
            if kept is not None or self.rows.remaining[slot] == 0:
                response_ids, values = tuple(self._ids[slot][:kept]), np.concatenate(self._logprobs[slot])[:kept]
                ended = kept is not None or response_ids[-1] in stop_ids
                finished[int(self._request[slot])] = Sampled(response_ids, values, ended)
                self._release(slot)
        return finished

    def _release(self, slot: int) -> None:
        self.rows.remaining[slot], self._request[slot] = 0, -1
        self._ids[slot], self._logprobs[slot], self._over[slot] = [], [], None
        self._set(slot, GREEDY)  # a free slot asks for no random number

    def _set(self, slot: int, sampling: Sampling) -> None:
        for array, value in zip(self.rows.settings, settings_of([sampling]), strict=True):
            array[slot] = value[0]
