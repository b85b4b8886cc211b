"""What a user chooses of general benchmarks."""

from __future__ import annotations

import dataclasses


class HarnessError(ValueError):
    """A benchmark cannot be run. The message names the task, the cause and the fix."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarnessSettings:
    """How benchmarks are put to a model.

    Attributes:
      tasks: names of lm-eval tasks or groups, e.g. ``hellaswag``, ``mmlu``.
      data: folder of local data sets (``local_data.LOCAL`` says in which layout); tasks that are found there are read
        from it, others from the hub. Empty: all from the hub.
      shots: examples shown before each question; below 0: what the task says. A task that says 0 keeps 0.
      chat: put questions through the chat template, shots as turns.
      system: text of the system turn, or before everything without a template; empty: none.
      limit: items of each task; 0: all.
      max_new_tokens: of an answer whose task sets no limit, at most half of what the model reads; lm-eval's own
        backends take 256, which cuts chains of thought.
      seed: of the draw of shots, and of answers that are sampled.

    Raises:
      HarnessError: no task, the same one twice, or a limit below 0.
    """

    tasks: tuple[str, ...]
    data: str = ""
    shots: int = -1
    chat: bool = False
    system: str = ""
    limit: int = 0
    max_new_tokens: int = 512
    seed: int = 1234

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        twice = sorted({task for task in self.tasks if self.tasks.count(task) > 1})
        if not self.tasks or twice:
            raise HarnessError(f"benchmark.tasks = {self.tasks}: {f'{twice} twice' if twice else 'no task'}")
        if self.limit < 0:
            raise HarnessError(f"benchmark.limit must be 0 (all) or more, found {self.limit}")
