"""An engine that goes on with fewer slots where memory runs out.

In: requests, as for ``Engine.generate``. Out: the same responses; what was finished before memory ran out is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from s3ft_jax.generation.engine import Engine, OnFinished, OnProgress, Request, Sampled
from s3ft_jax.generation.sampling import GenerationError
from s3ft_jax.generation.side_by_side import SideBySide


class FittingEngine:
    """Has as many slots as were asked for until memory runs out, and half as many from then on.

    Args:
      build: number of slots -> an engine, or calls of one side by side.
      num_slots: to begin with.
      warn: told in a sentence that slots were halved.
      together: other processes run the same programs, and would not know of another number of slots.

    Attributes:
      engine: the one in use.
    """

    def __init__(
        self,
        build: Callable[[int], Engine | SideBySide],
        num_slots: int,
        warn: Callable[[str], object],
        together: bool = False,
    ):
        self.engine, self._build, self._warn, self._together = build(num_slots), build, warn, together

    def generate(
        self,
        params: nnx.State,
        requests: Sequence[Request],
        on_progress: OnProgress | None = None,
        on_finished: OnFinished | None = None,
    ) -> list[Sampled]:
        """``Engine.generate``.

        Raises:
          GenerationError: see there; memory runs out where slots cannot be halved.
          JaxRuntimeError: memory does not hold a single slot, or another failure of the device.
        """
        done: dict[int, Sampled] = {}
        while True:
            left = [number for number in range(len(requests)) if number not in done]

            def finish(number: int, sampled: Sampled, left: Sequence[int] = left) -> None:
                done[left[number]] = sampled
                if on_finished is not None:
                    on_finished(left[number], sampled)

            before = (len(done), sum(len(one.response_ids) for one in done.values()), sum(map(_is_cut, done.values())))

            def tell(finished: int, _: int, num_tokens: int, cut: int, before: tuple[int, int, int] = before) -> None:
                if on_progress is not None:
                    on_progress(before[0] + finished, len(requests), before[1] + num_tokens, before[2] + cut)

            try:
                self.engine.generate(params, [requests[number] for number in left], tell, finish)
                return [done[number] for number in range(len(requests))]
            except jax.errors.JaxRuntimeError as error:
                slots = self.engine.num_slots
                if not is_out_of_memory(error) or slots == 1:
                    raise
                if self._together:
                    raise GenerationError(
                        f"{slots} slots do not fit into the memory of this process's devices, and the model lies on "
                        f"those of other processes, too: set sample.num_slots = {slots // 2}, for all of them."
                    ) from error
                self._warn(
                    f"warning: {slots} slots do not fit into the device's memory; sampling goes on with {slots // 2}. "
                    f"With --config.sample.num_slots={slots // 2} from the start it would be faster, and a second run "
                    "the same to the last bit."
                )
            # outside of the handler: its traceback keeps the arrays alive that must make room
            self.engine = self._build(slots // 2)


def _is_cut(sampled: Sampled) -> bool:
    return not sampled.ended


def is_out_of_memory(error: Any) -> bool:
    """Whether a device had no room: XLA says so by the name of a status code only."""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
