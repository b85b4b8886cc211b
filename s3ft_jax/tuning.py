"""A training run that survives a kill: the loop, its checkpoints, its metrics file and its progress bar in one place.

Fine-tuning and the pocket model's pretraining are both this. In: a decoder taken apart and batches by step number. Out:
the last checkpoint. A run that finds a checkpoint goes on from it and ends with the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from etils import epath
from flax import nnx

from s3ft_jax import checkpoints, training
from s3ft_jax.batches import Batch
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.progress import progress


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How a run goes, beside its optimizer.

    Attributes:
      title: shown beside the bar.
      seed: of adapter dropout.
      num_steps: steps of the run; may be fewer than the optimizer's schedule is made for.
      save_every: steps between checkpoints; the last step is always saved.
      keep: checkpoints kept.
      max_skipped: steps in a row that may fail.
      step: further arguments of ``training.make_step``.
      provenance: kept in the checkpoint.
      base_digest: of the frozen base, where adapters are trained; a checkpoint of another base is refused.
    """

    title: str
    seed: int
    num_steps: int
    save_every: int
    keep: int = 1
    max_skipped: int = 10
    step: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    base_digest: str = ""


def tune(
    parts: training.Parts,
    optimizer_settings: training.OptimizerSettings,
    folder: epath.Path,
    batches_from: Callable[[int], Iterator[Batch]],
    run: RunSettings,
) -> tuple[training.TrainState, checkpoints.CheckpointMeta, int]:
    """Train to the end, from the newest checkpoint in ``folder`` on.

    Args:
      parts: the decoder taken apart; its trainable buffers are used up.
      optimizer_settings: see ``training.make_optimizer``.
      folder: checkpoints go to ``folder/STEP/``, metrics to ``folder/metrics.jsonl``.
      batches_from: number of steps done -> the batches still to do, [A, rows, T] each.
      run: see ``RunSettings``.

    Returns:
      (last state, meta of the last checkpoint, tokens trained on).
    """
    state, first = resume(parts, optimizer_settings, folder, run.base_digest)
    step = training.make_step(parts.graphdef, optimizer_settings, **run.step)
    saver = Saver(folder, nnx.merge(*parts), run)
    log = checkpoints.MetricsLog(folder / "metrics.jsonl", first)
    with progress(run.title, run.num_steps) as ticker:
        ticker.advance(first)

        def on_step(number: int, metrics: dict[str, float]) -> None:
            ticker.advance(1, f"loss {metrics['loss']:.3f}")
            log.add({"step": number} | metrics)

        state = training.fit(
            state,
            parts.frozen,
            step,
            batches_from(first),
            seed=run.seed,
            on_step=on_step,
            on_state=saver.save,
            save_every=run.save_every,
            max_skipped=run.max_skipped,
        )
    done = int(state.step)
    if done % run.save_every and done > first:
        saver.save(done, state)
    return state, saver.meta or checkpoints.read_meta(folder / str(first)), log.tokens


def resume(
    parts: training.Parts, settings: training.OptimizerSettings, folder: epath.Path, base_digest: str = ""
) -> tuple[training.TrainState, int]:
    """The state of the newest checkpoint below ``folder`` and its step; the start and 0 if there is none.

    The trainable buffers of ``parts`` become the state's, or are freed for the checkpoint's.

    Raises:
      CheckpointError: its adapters belong to another base than ``base_digest``.
    """
    state = training.start(parts, settings, copy=False)
    first = checkpoints.newest(folder)
    if first:
        checkpoints.check_base(folder / str(first), base_digest)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
        for leaf in jax.tree.leaves(state):  # two states may not fit
            leaf.delete()
        trees = {
            name: checkpoints.restore_tree(folder / str(first), name, getattr(like, name)) for name in like._fields
        }
        state = training.TrainState(**trees)
    return state, first


class Saver:
    """Writes checkpoints of one run and remembers the last one's meta."""

    def __init__(self, folder: epath.Path, decoder: Decoder, run: RunSettings):
        self.folder, self.decoder, self.run = folder, decoder, run
        self.meta: checkpoints.CheckpointMeta | None = None

    def save(self, number: int, state: training.TrainState) -> None:
        """Save the state after step ``number`` and remove older checkpoints."""
        self.meta = checkpoints.save(
            self.folder / str(number),
            trees=state._asdict(),
            config=self.decoder.config,
            lora=self.decoder.lora,
            step=number,
            provenance=self.run.provenance,
            base_digest=self.run.base_digest,
        )
        checkpoints.keep_newest(self.folder, self.run.keep)
