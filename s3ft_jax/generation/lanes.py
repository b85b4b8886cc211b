"""Lanes: which responses are decoded side by side, and in a cache of which length.

In: prefilled prompts that wait. Out: the lane whose turn it is. Where a step reads the whole cache, responses of
similar length share a lane, so that none pays for another's, and one that outgrows its lane moves up into the next:

    cache      1 .. 64 | 65 .. 128 | 129 .. 192        three lanes of as many slots each
    prompt of 50 tokens enters here ^, moves on after 78 tokens more

Where a step reads only what a row sees, there is one lane, and its cache grows and shrinks with the longest row.

With several replicas of the model each has its own part of every lane's slots and its own queue of prompts; nothing
moves between replicas:

    slots      0 1 2 3 | 4 5 6 7        two replicas, four slots each
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from s3ft_jax.generation.buckets import bucket_of
from s3ft_jax.generation.programs import Programs, Prompts
from s3ft_jax.generation.slots import Request, Slots


@dataclasses.dataclass(frozen=True, eq=False)
class Prefilled:
    """A prompt that is row ``row`` of a replica's part of ``prompts``, for one request that waits for a slot there."""

    prompts: Prompts
    replica: int
    row: int
    index: int
    request: Request


class Waiting:
    """Requests that have no slot yet, in order for each replica; their prompts are prefilled when asked for.

    Args:
      prefilled: all of them.
      count: how many.
      num_replicas: among how many they are shared out.
    """

    def __init__(self, prefilled: Iterator[Prefilled], count: int, num_replicas: int):
        self._coming, self._count = prefilled, count
        self._ready = [collections.deque[Prefilled]() for _ in range(num_replicas)]

    def __len__(self) -> int:
        return self._count

    def prefill(self, count: int) -> None:
        """See to it that each replica has so many that are prefilled, or all of its own where there are fewer."""
        for replica in range(len(self._ready)):
            self._fill(replica, count)

    def first(self, replica: int) -> Prefilled | None:
        """The next one of a replica, which goes on waiting; None: none is left for it."""
        self._fill(replica, 1)
        return self._ready[replica][0] if self._ready[replica] else None

    def take(self, replica: int) -> Prefilled:
        """The one that ``first`` shows, which waits no longer."""
        self._count -= 1
        return self._ready[replica].popleft()

    def _fill(self, replica: int, count: int) -> None:
        while len(self._ready[replica]) < count:
            one = next(self._coming, None)
            if one is None:
                return
            self._ready[one.replica].append(one)


class Lane:
    """Slots of one cache length.

    Attributes:
      slots: which request lies where.
      state: what lies on the devices.
    """

    def __init__(self, programs: Programs, length: int):
        self.slots, self.state = Slots(programs.num_replicas * programs.num_slots), programs.empty(length)
        self._programs = programs

    @property
    def length(self) -> int:
        """Positions of a slot."""
        return self.state.cache.num_slots

    @property
    def num_running(self) -> int:
        """Rows that a step would advance."""
        return len(self.slots.running(self.length))

    def free(self) -> list[list[int]]:
        """Free slots of each replica."""
        return self._by_replica(self.slots.free())

    def num_busy(self) -> np.ndarray:
        """Busy slots of each replica, [replicas]."""
        return np.array([len(slots) for slots in self._by_replica(self.slots.busy())])

    def place(self, prefilled: Iterable[Prefilled]) -> None:
        """Put prompts into free slots of their replicas, one device call per prefill batch."""
        free = [iter(slots) for slots in self.free()]
        by_prompts: dict[int, list[tuple[Prefilled, int]]] = collections.defaultdict(list)
        for one in prefilled:
            slot = next(free[one.replica])
            self.slots.place(slot, one.index, one.request)
            by_prompts[id(one.prompts)].append((one, slot))
        for entries in by_prompts.values():
            rows = self._rows([(one.replica, one.row, slot) for one, slot in entries])
            self.state = self._programs.insert(self.state, entries[0][0].prompts, *rows)

    def take_from(self, other: Lane, slots: Sequence[int]) -> None:
        """Move what lies in these slots of another lane, as far as there is room, into free ones of its replica."""
        free = [iter(mine) for mine in self.free()]
        moved = []
        for source in slots:
            replica = source // self._programs.num_slots
            target = next(free[replica], None)
            if target is not None:
                self.slots.take_from(other.slots, source, target)
                moved.append((replica, source % self._programs.num_slots, target))
        if moved:
            self.state = self._programs.move(self.state, other.state, *self._rows(moved))

    def clear(self, length: int) -> None:
        """Begin anew with a cache of this length, where no slot is busy."""
        if length != self.length:
            self.state = self._programs.empty(length)

    def resize(self, length: int) -> None:
        """Make the cache longer, or cut off what no row needs."""
        self.state = self._programs.resize(self.state, length)

    def _by_replica(self, slots: Iterable[int]) -> list[list[int]]:
        parts: list[list[int]] = [[] for _ in range(self._programs.num_replicas)]
        for slot in slots:
            parts[slot // self._programs.num_slots].append(slot)
        return parts

    def _rows(self, moved: Iterable[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(replica, row there, slot) as the programs take it: sources, targets [replicas x B], counts [replicas]."""
        size = self._programs.num_slots
        sources, targets = np.zeros((2, self._programs.num_replicas, size), np.int32)
        counts = np.zeros(self._programs.num_replicas, np.int32)
        for replica, source, slot in moved:
            sources[replica, counts[replica]], targets[replica, counts[replica]] = source, slot % size
            counts[replica] += 1
        return sources.ravel(), targets.ravel(), counts


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
        lane, steps, placed = self._lane, self._programs.chunk_steps, []
        for replica, slots in enumerate(lane.free()):
            for _ in slots:
                if waiting.first(replica) is None:
                    break
                placed.append(waiting.take(replica))
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
      pours: else what is left over stays in its lanes, so that the lengths of cache that a response passes through
        follow from itself alone.
    """

    def __init__(self, programs: Programs, sizes: Sequence[int], pours: bool):
        self._programs, self._sizes, self._pours = programs, sizes, pours
        self._lanes: dict[int, Lane] = {}
        self._enough = programs.num_replicas * (programs.num_slots - programs.num_slots // 8)

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
        if self._pours:
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
        """Place requests of each replica, in order, until the lane of its next one has no room there."""
        placed: dict[int, list[Prefilled]] = collections.defaultdict(list)
        room: dict[tuple[int, int], int] = {}
        for replica in range(self._programs.num_replicas):
            while (one := waiting.first(replica)) is not None:
                size = self._entry(one)
                room.setdefault((size, replica), len(self._lane(size).free()[replica]))
                if not room[size, replica]:
                    break
                room[size, replica] -= 1
                placed[size].append(waiting.take(replica))
        for size, entering in placed.items():
            self._lane(size).place(entering)

    def _entry(self, prefilled: Prefilled) -> int:
        """The lane for a prompt: by the length to which it was padded, so that one program inserts all that are
        padded to it, and with room for more."""
        padded = prefilled.prompts.tokens.shape[1]
        return next((size for size in self._sizes if size > padded), self._sizes[-1])

    def _pour(self) -> None:
        """Lanes that together fill no more than one become one, lane by lane upwards."""
        busy = [lane for lane in self._ascending() if lane.slots.num_busy]
        for lower, upper in itertools.pairwise(busy):
            if (lower.num_busy() + upper.num_busy() <= self._programs.num_slots).all():
                while lower is not upper:
                    above = self._above(lower)
                    above.take_from(lower, lower.slots.busy())
                    lower = above


Lanes = GrowingLane | LanesByLength
