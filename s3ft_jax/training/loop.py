"""The loop around the step: batches made ahead of the device, metrics read without waiting for one step.

In: a state, a step, batches. Out: the state after the last batch, and metrics in order, a little late.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
from flax import nnx

from s3ft_jax.batches import Batch
from s3ft_jax.training.optimizers import Schedule
from s3ft_jax.training.steps import TrainState

Item = TypeVar("Item")
AHEAD = 2
"""Batches that are made and put on the devices before they are asked for."""
IN_FLIGHT = 2
"""Steps that the devices may be behind the host: enough that they never wait, few enough that a request to stop is
noticed within seconds."""

READ_AFTER_S = 2.0
"""Seconds after which metrics are read, however few steps they are of: whoever watches slow steps sees each."""


class TrainingDiverged(RuntimeError):
    """Too many steps in a row had a loss or gradient that is not finite."""


def made_ahead(items: Iterator[Item], count: int = AHEAD) -> Iterator[Item]:
    """The same items in the same order, made by a thread of their own, up to ``count`` before they are asked for.

    What the iterator raises is raised here, in its place. When this one is closed, the thread ends with the item it is
    at.
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    closed = threading.Event()

    def put(kind: str, item: Any = None) -> None:
        while not closed.is_set():
            try:
                return waiting.put((kind, item), timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put("item", item)
                if closed.is_set():
                    return
            put("end")
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=make, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = waiting.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item
    finally:
        closed.set()
        thread.join()


def fit(
    state: TrainState,
    frozen: nnx.State,
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    batches: Iterator[Batch],
    schedule: Schedule,
    *,
    seed: int,
    on_steps: Callable[[Sequence[dict[str, float]]], None],
    on_state: Callable[[int, TrainState], bool | None] = lambda number, state: None,
    look_at: Callable[[int], bool] = lambda number: False,
    describe: Callable[[int], str] = lambda number: "",
    base: nnx.State | None = None,
    max_skipped: int = 10,
    read_every: int = 10,
) -> TrainState:
    """Run ``step`` over ``batches``.

    Metrics are read from the device every ``read_every`` steps or ``READ_AFTER_S`` seconds, and then of those steps
    that are done, so that neither waits for the other. The first step's are read by themselves: they end the time that
    compiling took.

    Args:
      state: where to start; its buffers are used up.
      frozen: parameters that do not learn.
      step: see ``steps.make_step``.
      batches: the batches left to do, [A, B, T] each; made ahead, on a thread of their own.
      schedule: of the learning rate.
      seed, base: see ``steps.make_step``.
      on_steps: called with the metrics of the steps done since the call before, in order: of each a dict of floats with
        its ``step``, from 1, and its ``learning_rate``.
      on_state: called with (step number, state) after every step that ``look_at`` chooses, its metrics already handed
        over; True ends the run there.
      look_at: step number -> whether the host looks at the state after it.
      describe: step number -> which examples it trained on, for the message of ``TrainingDiverged``.
      max_skipped: so many skipped steps in a row stop the run.

    Raises:
      TrainingDiverged: naming the step, its examples and the remedy.
    """
    late = _Late(schedule, on_steps, describe, max_skipped)
    number = first = int(state.step)
    ahead = made_ahead(batches)
    try:
        for batch in ahead:
            state, metrics = step(state, frozen, batch, seed, schedule.rate(number), base)
            number += 1
            late.add(number, metrics)
            looked_at = look_at(number)
            if looked_at or number == first + 1:
                late.read()
            elif late.due(read_every):
                late.read(leave=IN_FLIGHT)
            if looked_at and on_state(number, state):
                break
        late.read()
    finally:
        ahead.close()
    return state


class _Late:
    """Metrics that are still on the devices."""

    def __init__(
        self,
        schedule: Schedule,
        on_steps: Callable[[Sequence[dict[str, float]]], None],
        describe: Callable[[int], str],
        max_skipped: int,
    ):
        self.schedule, self.on_steps, self.describe, self.max_skipped = schedule, on_steps, describe, max_skipped
        self.waiting: list[tuple[int, dict[str, jax.Array]]] = []
        self.skipped, self.read_at = 0, time.monotonic()

    def add(self, number: int, metrics: dict[str, jax.Array]) -> None:
        """One step's; waits for an earlier step, so that the devices are never far behind."""
        self.waiting.append((number, metrics))
        if len(self.waiting) > IN_FLIGHT:
            self.waiting[-1 - IN_FLIGHT][1]["loss"].block_until_ready()

    def due(self, read_every: int) -> bool:
        """Whether to read those of the steps that are done."""
        done = len(self.waiting) - IN_FLIGHT
        return done >= read_every or (done > 0 and time.monotonic() - self.read_at > READ_AFTER_S)

    def read(self, leave: int = 0) -> None:
        """Hand all but the last ``leave`` over, together and in order. Raises TrainingDiverged."""
        self.read_at = time.monotonic()
        ready, self.waiting = self.waiting[: len(self.waiting) - leave], self.waiting[len(self.waiting) - leave :]
        rows = []
        for number, metrics in ready:
            values = {name: float(value) for name, value in metrics.items()}
            rows.append({"step": number, **values, "learning_rate": float(self.schedule.rate(number - 1))})
            self.skipped = self.skipped + 1 if values["skipped"] else 0
            if self.skipped >= self.max_skipped:
                break
        if rows:
            self.on_steps(rows)
        if self.skipped >= self.max_skipped:
            raise TrainingDiverged(
                f"step {number}: loss or gradient was not finite for {self.skipped} steps in a row; the last "
                f"checkpoint stays. {self.describe(number)} Lower train.learning_rate, raise train.warmup_frac, or "
                "look at these examples with `s3ft show ID`."
            )
