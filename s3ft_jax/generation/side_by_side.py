"""Several calls of one engine at the same time, on CPUs.

In: requests, as for ``Engine.generate``. Out: the same responses, to the bit: what a response is computed with follows
from itself and the shapes of the programs (engine.py), not from who runs beside it.

XLA on a CPU runs much of a decode step on one thread (batched products of a vector and a matrix), so that one call
alone leaves the other cores idle for most of the time; calls side by side use them (benchmarks/RESULTS.md,
"Generation").
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import threading
from collections.abc import Sequence

from flax import nnx

from s3ft_jax.generation.engine import Engine, OnFinished, OnProgress, Request, Sampled

MOST = 8
"""Calls side by side at most; each has a cache of its own."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Stopped(Exception):
    """The call beside this one has failed, or the user stops the program."""


class SideBySide:
    """An engine that is called by several threads.

    Args:
      engine: its programs are shared, each call has slots of its own.
      most: calls at the same time at most.
    """

    def __init__(self, engine: Engine, most: int):
        self.engine, self._most = engine, most

    @property
    def num_slots(self) -> int:
        """Of each call."""
        return self.engine.num_slots

    def generate(
        self,
        params: nnx.State,
        requests: Sequence[Request],
        on_progress: OnProgress | None = None,
        on_finished: OnFinished | None = None,
    ) -> list[Sampled]:
        """``Engine.generate``; the callbacks are called by any thread, but never twice at once.

        Raises:
          GenerationError: see there.
        """
        parts = self._parts(requests)
        if len(parts) < 2:
            return self.engine.generate(params, requests, on_progress, on_finished)
        self.engine.check(requests)  # before anything is run, and by the request's own number
        told, results = _Told(len(parts), len(requests), on_progress), {}

        def run(number: int, part: Sequence[int]) -> None:
            def finish(place: int, sampled: Sampled) -> None:
                with told.lock:
                    results[part[place]] = sampled
                    if on_finished is not None:
                        on_finished(part[place], sampled)

            self.engine.generate(
                params, [requests[index] for index in part], lambda *one: told.tell(number, *one), finish
            )

        with concurrent.futures.ThreadPoolExecutor(len(parts), "sampling") as threads:
            calls = [threads.submit(run, number, part) for number, part in enumerate(parts)]
            try:
                for call in concurrent.futures.as_completed(calls):
                    call.result()
            finally:  # also where the user stops the program: the threads end after their chunk
                told.stopped.set()
        return [results[index] for index in range(len(requests))]

    def _parts(self, requests: Sequence[Request]) -> list[list[int]]:
        """Numbers of the requests of each call: of a turn, long prompts dealt out first, equal prompts together."""
        count = min(self._most, -(-len(requests) // self.num_slots))
        if count < 2:
            return [list(range(len(requests)))]
        same: dict[tuple[int, tuple[int, ...]], list[int]] = collections.defaultdict(list)
        for index, request in enumerate(requests):
            same[request.turn, tuple(request.prompt_ids)].append(index)
        parts: list[list[int]] = [[] for _ in range(count)]
        for turn, prompt in sorted(same, key=lambda one: (one[0], -len(one[1]), one[1])):
            min(parts, key=len).extend(same[turn, prompt])
        return [part for part in parts if part]


class _Told:
    """What the calls have told so far, put together."""

    def __init__(self, count: int, total: int, on_progress: OnProgress | None):
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self._told, self._total, self._on_progress = [(0, 0, 0)] * count, total, on_progress

    def tell(self, number: int, finished: int, _: int, num_tokens: int, cut: int) -> None:
        """``Engine.generate``'s on_progress, of one call."""
        if self.stopped.is_set():
            raise _Stopped
        with self.lock:
            self._told[number] = finished, num_tokens, cut
            if self._on_progress is not None:
                finished, num_tokens, cut = map(sum, zip(*self._told, strict=True))
                self._on_progress(finished, self._total, num_tokens, cut)
