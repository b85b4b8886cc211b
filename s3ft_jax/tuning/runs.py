"""A run: loop, checkpoints, metrics and progress in one place, ended and taken up again at any moment.

In: a decoder taken apart and batches by step number. Out: the last checkpoint. Fine-tuning and the pocket model's
pretraining are both this. A run that finds a checkpoint goes on from it and ends with the same bits.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from etils import epath
from flax import nnx

from s3ft_jax import stopping, training
from s3ft_jax.batches import Batch
from s3ft_jax.checkpoints import CheckpointMeta, read_meta
from s3ft_jax.processes import Processes
from s3ft_jax.progress import Ticker, progress, say
from s3ft_jax.tuning.metrics import MetricsLog, open_trackers
from s3ft_jax.tuning.saving import Saver, Saving, resume


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """A run.

    Attributes:
      title: shown beside the bar.
      optimizer, schedule: how parameters move.
      saving: which checkpoints are written and kept.
      seed: of adapter dropout.
      num_steps: steps of the run.
      until: step at which the run halts, to be gone on with by another call; 0: ``num_steps``.
      max_skipped: steps in a row that may fail.
      step: further arguments of ``training.make_step``.
      describe: step number -> the examples it trains on, for messages.
      trackers, project: see ``metrics.open_trackers``.
      step_flops, peak_flops: operations of a step, and of all devices in a second, for the model FLOP utilisation; 0
        where that is not known.
      processes: that train together.
    """

    title: str
    optimizer: training.Optimizer
    schedule: training.Schedule
    saving: Saving
    seed: int
    num_steps: int
    until: int = 0
    max_skipped: int = 10
    step: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    describe: Callable[[int], str] = lambda number: ""
    trackers: tuple[str, ...] = ()
    project: str = "s3ft_jax"
    step_flops: float = 0.0
    peak_flops: float = 0.0
    processes: Processes = dataclasses.field(default_factory=Processes)


class Watcher(Protocol):
    """Looks at the state now and then: measures it, may end the run early, keeps what it needs on disk."""

    def due(self, number: int) -> bool:
        """Whether to look after step ``number``."""

    def look(
        self, number: int, state: training.TrainState, before: Sequence[Mapping[str, float]]
    ) -> tuple[Mapping[str, float], str]:
        """What is measured of the state, and why the run should end here; "" if it should not.

        Args:
          number: steps done.
          state: after them.
          before: what was measured at earlier looks, each with its ``step``, also before a kill.
        """


def tune(
    parts: training.Parts,
    folder: epath.Path,
    batches_from: Callable[[int], Iterator[Batch]],
    run: RunSettings,
    *,
    base: nnx.State | None = None,
    watcher: Watcher | None = None,
) -> tuple[training.TrainState, CheckpointMeta, int]:
    """Train to the end, from the newest checkpoint in ``folder`` on.

    Args:
      parts: the decoder taken apart; its trainable buffers are used up.
      folder: checkpoints go to ``folder/STEP/``, metrics to ``folder/metrics.jsonl``.
      batches_from: number of steps done -> the batches still to do, [A, rows, T] each.
      run: see ``RunSettings``.
      base: parameters of the base, where ``run.step`` has its structure.
      watcher: see ``Watcher``; None: nobody looks.

    Returns:
      (last state, meta of the checkpoint that is the tuned model, or of the last one where the run halts before its
      end, tokens trained on).

    Raises:
      Stopped: SIGTERM came; the newest state is saved.
      TrainingDiverged: see ``training.fit``.
    """
    own = run.processes
    state, first = resume(parts, run.optimizer, folder, run.saving.base_digest, own)
    step = training.make_step(parts.graphdef, run.optimizer, **run.step)
    ended, owed = _left_at(folder, first, watcher)
    log = _open_log(run, folder, first, first - 1 if owed else first)
    with (
        stopping.deferred() as stop,
        Saver(folder, nnx.merge(*parts), run.saving, own) as saver,
        stopping.finishing(saver.finish),
        progress(run.title, run.num_steps) as ticker,
    ):
        told = _Told(run, ticker, log, first)
        looks = _Looks(run, saver, told, watcher, stop)
        ended = looks.make_up(first, state) if owed else ended
        state = training.fit(
            state,
            parts.frozen,
            step,
            iter(()) if ended else batches_from(first),
            run.schedule,
            seed=run.seed,
            base=base,
            on_steps=told.add,
            on_state=looks.look,
            look_at=looks.due,
            describe=run.describe,
            max_skipped=run.max_skipped,
        )
        log.close()
        stopped = own.any(stop.requested, "the end of the run")
        meta = None if stopped else saver.end(state, run.num_steps)
    if stopped:
        raise stopping.Stopped  # as it was here already, where this process was asked to
    return state, meta, log.tokens


def owes_look(meta: CheckpointMeta, due: Callable[[int], bool]) -> bool:
    """Whether a checkpoint was written in haste, on a request to stop, after a step at which a look was due."""
    return due(meta.step) and not meta.numbers and not meta.ended


def _left_at(folder: epath.Path, first: int, watcher: Watcher | None) -> tuple[bool, bool]:
    """Whether the run ended early at the checkpoint it goes on from, and whether a look at that is owed."""
    if not first:
        return False, False
    meta = read_meta(folder / str(first))
    return bool(meta.ended), watcher is not None and owes_look(meta, watcher.due)


def _open_log(run: RunSettings, folder: epath.Path, first: int, looked: int) -> MetricsLog:
    """Of several processes the first one writes, the others know the numbers."""
    own = run.processes
    names = run.trackers if own.is_first else ()
    trackers = open_trackers(names, folder, first, run.title, run.project, run.saving.provenance)
    return MetricsLog(folder / "metrics.jsonl", first, trackers, own, looked=looked)


class _Looks:
    """What happens between two steps, now and then: the state is measured and saved, and the run may end."""

    def __init__(self, run: RunSettings, saver: Saver, told: _Told, watcher: Watcher | None, stop: stopping.Request):
        self.run, self.saver, self.told, self.log = run, saver, told, told.log
        self.watcher, self.stop = watcher, stop
        self.stopping = False

    def due(self, number: int) -> bool:
        """Whether to look after step ``number``; once a step, since all processes must end after the same one."""
        watched = self.watcher is not None and self.watcher.due(number)
        self.stopping = self.run.processes.any(self.stop.requested, "the end of a step")
        run = self.run
        return watched or self.stopping or number % run.saving.every == 0 or number in (run.num_steps, run.until)

    def look(self, number: int, state: training.TrainState) -> bool:
        """Whether the run ends here."""
        numbers, reason = {}, ""
        if self.watcher is not None and self.watcher.due(number) and not self.stopping:
            numbers, reason = self._measure(self.watcher, number, state)
        self.log.flush()  # a run that resumes there has the lines up to there
        self.saver.save(number, state, numbers, reason)
        self.told.go_on()
        return bool(reason) or self.stopping

    def make_up(self, number: int, state: training.TrainState) -> bool:
        """The look that a request to stop did not wait for, before the run goes on. Whether it ends here."""
        assert self.watcher is not None
        numbers, reason = self._measure(self.watcher, number, state)
        self.log.flush()
        self.saver.amend(number, numbers, reason)
        return bool(reason)

    def _measure(self, watcher: Watcher, number: int, state: training.TrainState) -> tuple[Mapping[str, float], str]:
        numbers, reason = watcher.look(number, state, self.log.measured)
        self.log.add({"step": number, **numbers})
        if reason:
            say(f"{self.run.title}: ends at step {number}: {reason}")
        return numbers, reason


class _Told:
    """Hands the metrics of steps on: to the log, and to the person who watches the bar."""

    def __init__(self, run: RunSettings, ticker: Ticker, log: MetricsLog, first: int = 0):
        self.run, self.ticker, self.log = run, ticker, log
        self.since: float | None = None
        ticker.skip(first)  # done by an earlier run

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Those of the steps since the last call, with their rates; the first step's time is the compiler's, too."""
        now = time.monotonic()
        rates = {} if self.since is None else self._rates(rows, max(now - self.since, 1e-6))
        count = self.ticker.advance if rates else self.ticker.skip
        self.since = now
        for row in rows:
            self.log.add({**row, **rates})
        count(len(rows), ", ".join([f"loss {rows[-1]['loss']:.3f}", *_shown(rates)]))

    def go_on(self) -> None:
        """The clock starts anew: a look between two steps is not theirs."""
        self.since = None if self.since is None else time.monotonic()

    def _rates(self, rows: Sequence[Mapping[str, float]], seconds: float) -> dict[str, float]:
        rates = {"tokens_per_second": sum(row["tokens"] for row in rows) / seconds}
        if self.run.peak_flops:
            rates["mfu"] = len(rows) * self.run.step_flops / seconds / self.run.peak_flops
        return rates


def _shown(rates: Mapping[str, float]) -> list[str]:
    shown = [f"{rates['tokens_per_second']:,.0f} trained tokens/s"] if rates else []
    return shown + ([f"MFU {rates['mfu']:.0%}"] if "mfu" in rates else [])
