"""Lanes: which responses are decoded side by side, and in a cache of which length.

In: prefilled prompts that wait. Out: the lane whose turn it is. Where a step reads the whole cache, responses of
similar length share a lane, so that none pays for another's, and one that outgrows its lane moves up into the next:

    cache      1 .. 64 | 65 .. 128 | 129 .. 192        three lanes of as many slots each
    prompt of 50 tokens enters here ^, moves on after 78 tokens more

Where a step reads only what a row sees, there is one lane, and its cache grows and shrinks with the longest row.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from s3ft_jax.generation.buckets import bucket_of
from s3ft_jax.generation.programs import Programs, Prompts
from s3ft_jax.generation.slots import Request, Slots


@dataclasses.dataclass(frozen=True, eq=False)
class Prefilled:
    """A prompt that is row ``row`` of ``prompts``, for one request that waits for a slot."""

    prompts: Prompts
    row: int
    index: int
    request: Request


class Waiting:
    """Requests that have no slot yet, in order; their prompts are prefilled when asked for.

    Args:
      prefilled: all of them.
      count: how many.
    """

    def __init__(self, prefilled: Iterator[Prefilled], count: int):
        self._coming, self._ready, self._count = prefilled, collections.deque[Prefilled](), count

    def __len__(self) -> int:
        return self._count

    def prefill(self, count: int) -> None:
        """See to it that so many of them are prefilled, or all where there are fewer."""
        while len(self._ready) < min(count, self._count):
            self._ready.append(next(self._coming))

    def first(self) -> Prefilled:
        """The next one, which goes on waiting."""
        self.prefill(1)
        return self._ready[0]

    def take(self, count: int) -> list[Prefilled]:
        """The next ones, at most ``count``, which wait no longer."""
        self.prefill(count)
        taken = [self._ready.popleft() for _ in range(min(count, self._count))]
        self._count -= len(taken)
        return taken


class Lane:
    """Slots of one cache length.

    Attributes:
      slots: which request lies where.
      state: what lies on the device.
    """

    def __init__(self, programs: Programs, length: int):
        self.slots, self.state, self._programs = Slots(programs.num_slots), programs.empty(length), programs

    @property
    def length(self) -> int:
        """Positions of a slot."""
        return self.state.cache.num_slots

    @property
    def num_running(self) -> int:
        """Rows that a step would advance."""
        return len(self.slots.running(self.length))

    def place(self, prefilled: Sequence[Prefilled]) -> None:
        """Put prompts into free slots, one device call per prefill batch."""
        by_prompts: dict[int, list[tuple[int, Prefilled]]] = collections.defaultdict(list)
        for slot, one in zip(self.slots.free(), prefilled, strict=False):
            self.slots.place(slot, one.index, one.request)
            by_prompts[id(one.prompts)].append((slot, one))
        for entries in by_prompts.values():
            rows = self._rows([(one.row, slot) for slot, one in entries])
            self.state = self._programs.insert(self.state, entries[0][1].prompts, *rows)

    def take_from(self, other: Lane, slots: Sequence[int]) -> None:
        """Move what lies in these slots of another lane, as far as there is room, into free ones."""
        pairs = list(zip(slots, self.slots.free(), strict=False))
        for source, target in pairs:
            self.slots.take_from(other.slots, source, target)
        if pairs:
            self.state = self._programs.move(self.state, other.state, *self._rows(pairs))

    def clear(self, length: int) -> None:
        """Begin anew with a cache of this length, where no slot is busy."""
        if length != self.length:
            self.state = self._programs.empty(length)

    def resize(self, length: int) -> None:
        """Make the cache longer, or cut off what no row needs."""
        self.state = self._programs.resize(self.state, length)

    def _rows(self, pairs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.int32]:
        """(from, to) as the programs take it: sources [B], targets [B], count."""
        sources, targets = np.zeros((2, self._programs.num_slots), np.int32)
        sources[: len(pairs)], targets[: len(pairs)] = zip(*pairs, strict=True)
        return sources, targets, np.int32(len(pairs))


class GrowingLane:
    """One lane for all, as long as its longest row needs.

    Args:
      programs: for the number of slots.
      sizes: lengths of cache, ascending; resized from one to the next only, which keeps the programs few.
    """

    def __init__(self, programs: Programs, sizes: Sequence[int]):
        self._programs, self._sizes = programs, sizes
        self._lane = Lane(programs, sizes[0])

    @property
    def num_busy(self) -> int:
        """Requests that lie in a slot."""
        return self._lane.slots.num_busy

    @property
    def num_sampled(self) -> int:
        """Tokens so far."""
        return self._lane.slots.num_sampled

    def next(self, waiting: Waiting) -> Lane:
        """The lane to run, after as many of those that wait as there is room for have been placed."""
        lane, steps = self._lane, self._programs.chunk_steps
        placed = waiting.take(self._programs.num_slots - self.num_busy)
        new = [len(one.request.prompt_ids) - 1 + min(one.request.max_new_tokens, steps) for one in placed]
        self._fit(max([lane.slots.length_needed(steps), *new]))
        lane.place(placed)
        return lane

    def _fit(self, positions: int) -> None:
        goal, place = (self._sizes.index(n) for n in (bucket_of(positions, self._sizes), self._lane.length))
        if not self.num_busy:
            self._lane.clear(self._sizes[goal])
            return
        while place != goal:
            place += 1 if place < goal else -1
            self._lane.resize(self._sizes[place])


class LanesByLength:
    """A lane for each length of cache, made when it is first needed.

    A lane runs when it is seven eighths full, the longest such lane first, which makes room for those below. Where none
    is, prompts that wait are let in; when none waits, lanes that fit into one are poured together.

    Args:
      programs: for the number of slots.
      sizes: lengths of cache, ascending.
    """

    def __init__(self, programs: Programs, sizes: Sequence[int]):
        self._programs, self._sizes = programs, sizes
        self._lanes: dict[int, Lane] = {}
        self._enough = programs.num_slots - programs.num_slots // 8

    @property
    def num_busy(self) -> int:
        """Requests that lie in a slot."""
        return sum(lane.slots.num_busy for lane in self._lanes.values())

    @property
    def num_sampled(self) -> int:
        """Tokens so far."""
        return sum(lane.slots.num_sampled for lane in self._lanes.values())

    def next(self, waiting: Waiting) -> Lane:
        """The lane to run, after requests that wait have been placed."""
        self._promote()
        if not self._full():
            self._admit(waiting)
        full = self._full()
        if full:
            return full[-1]
        self._pour()
        return max(self._ascending(), key=lambda lane: (lane.num_running, lane.length))

    def _ascending(self) -> list[Lane]:
        return [self._lanes[size] for size in sorted(self._lanes)]

    def _full(self) -> list[Lane]:
        return [lane for lane in self._ascending() if lane.num_running >= self._enough]

    def _lane(self, size: int) -> Lane:
        if size not in self._lanes:
            self._lanes[size] = Lane(self._programs, size)
        return self._lanes[size]

    def _above(self, lane: Lane) -> Lane:
        return self._lane(self._sizes[self._sizes.index(lane.length) + 1])

    def _promote(self) -> None:
        """Rows that have outgrown their lane move into the one above, as far as there is room; the others wait."""
        for lane in reversed(self._ascending()):
            outgrown = lane.slots.outgrown(lane.length)
            if outgrown:
                self._above(lane).take_from(lane, outgrown)

    def _admit(self, waiting: Waiting) -> None:
        """Place requests, in order, until the lane of the next one has no room."""
        while len(waiting):
            lane = self._lane(self._entry(waiting.first()))
            room = self._programs.num_slots - lane.slots.num_busy
            if not room:
                return
            entering: list[Prefilled] = []
            while len(waiting) and len(entering) < room and self._entry(waiting.first()) == lane.length:
                entering += waiting.take(1)
            lane.place(entering)

    def _entry(self, prefilled: Prefilled) -> int:
        """The lane for a prompt: by the length to which it was padded, so that one program inserts all that are
        padded to it, and with room for more."""
        padded = prefilled.prompts.tokens.shape[1]
        return next((size for size in self._sizes if size > padded), self._sizes[-1])

    def _pour(self) -> None:
        """Lanes that together fill no more than one become one, lane by lane upwards."""
        busy = [lane for lane in self._ascending() if lane.slots.num_busy]
        for lower, upper in itertools.pairwise(busy):
            if lower.slots.num_busy + upper.slots.num_busy <= self._programs.num_slots:
                while lower is not upper:
                    above = self._above(lower)
                    above.take_from(lower, lower.slots.busy())
                    lower = above


Lanes = GrowingLane | LanesByLength
