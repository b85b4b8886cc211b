"""Checkpoints of a run: written while training goes on, the newest and the best kept, and found again after a kill."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from s3ft_jax import checkpoints, training
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.param_digests import params_digest
from s3ft_jax.processes import Processes
from s3ft_jax.progress import say
from s3ft_jax.storage import is_remote


@dataclasses.dataclass(frozen=True)
class Saving:
    """Which checkpoints a run writes and keeps.

    Attributes:
      every: steps between them; the last step is always saved.
      keep: newest ones kept while the run goes on; at its end the tuned model alone.
      best: number by which the best one is kept and is the tuned model, e.g. ``validation_loss``; empty: the last is.
      provenance: kept in each.
      tokenizer: folder of the tokenizer's files, copied into each; None: none is.
      base_digest: of the frozen base, where not all parameters are trained; a checkpoint of another base is refused.
    """

    every: int
    keep: int = 2
    best: str = ""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokenizer: epath.Path | None = None
    base_digest: str = ""


class Saver:
    """Writes the checkpoints of one run, each on a thread of its own; a context, which waits for the last one.

    Args:
      folder: checkpoints go to ``folder/STEP/``.
      decoder: whose architecture and adapters go into each.
      saving: how many are kept, and what else goes into them.
      processes: that train together: all write the arrays, the first all else.
    """

    def __init__(
        self,
        folder: epath.Path,
        decoder: Decoder,
        saving: Saving,
        processes: Processes = Processes(),  # noqa: B008 (frozen)
    ):
        self.processes = processes
        self.folder, self.config, self.lora, self.saving = folder, decoder.config, decoder.lora, saving
        self.last = processes.first(checkpoints.newest(folder), "the newest checkpoint")
        self._writer: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Saver:
        self._writer = checkpoints.open_writer()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
            elif self._thread is not None:
                self._thread.join()  # and no barrier: the others may be at another one, and the error is to be told
        finally:
            self._writer.close()

    def save(
        self, number: int, state: training.TrainState, numbers: Mapping[str, float] | None = None, ended: str = ""
    ) -> None:
        """Begin to save the state after step ``number``; its buffers may be used up at once.

        Args:
          number: steps done.
          state: to save.
          ended: see ``CheckpointMeta``.
          numbers: measured of it; with ``saving.best`` among them, they decide which checkpoint is kept as the best.

        Raises:
          CheckpointError: the disk has no room; or the checkpoint before this one could not be written.
        """
        self.wait()
        where = self.folder / str(number)
        trees = {name: tree for name, tree in state._asdict().items() if tree is not None}
        checkpoints.begin(where, _out_of_reach(trees), self._writer, self.processes)
        use = "trainable" if state.average is None else "average"
        meta = checkpoints.CheckpointMeta(
            config=self.config,
            lora=self.lora,
            step=number,
            provenance=dict(self.saving.provenance),
            params_digest="",  # of the tuned model alone: see seal
            base_digest=self.saving.base_digest,
            use=use,
            numbers=dict(numbers or {}),
            ended=ended,
        )
        self._thread = threading.Thread(target=self._finish, args=(where, meta), name="saving")
        self._thread.start()
        self.last = number

    def amend(self, number: int, numbers: Mapping[str, float], ended: str = "") -> None:
        """Write what was measured of a checkpoint, after it has been read again, into it; see ``save``."""
        where = self.folder / str(number)
        if self.processes.is_first:
            meta = checkpoints.read_meta(where)
            checkpoints.write_meta(where, dataclasses.replace(meta, numbers=dict(numbers), ended=ended))
        self.processes.wait("the numbers of a checkpoint")

    def wait(self) -> None:
        """Until what is being written is whole, for all processes. Raises what went wrong with it."""
        if self._thread is not None:
            self.finish()
            self._thread = None
            self.processes.wait("a checkpoint to be written")

    def finish(self) -> None:
        """Until this process has written its part. Raises what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def end(self, state: training.TrainState, num_steps: int) -> checkpoints.CheckpointMeta:
        """``seal`` where the run is over; the meta of the last checkpoint where it only halts."""
        self.wait()
        meta = checkpoints.read_meta(self.folder / str(self.last))
        return self.seal(state) if meta.ended or meta.step == num_steps else meta

    def seal(self, state: training.TrainState) -> checkpoints.CheckpointMeta:
        """End the run: only the checkpoint that is the tuned model stays, and gets the digest of its parameters.

        That is the best one by ``saving.best``, else the last.

        Args:
          state: the last one, whose shapes and places are those of all.
        """
        self.wait()
        chosen = self.processes.first(next(iter(self._best()), self.last), "which is the tuned model")
        where = self.folder / str(chosen)
        meta = checkpoints.read_meta(where)
        if not meta.params_digest:
            tree = getattr(state, meta.use)
            tree = tree if chosen == int(state.step) else checkpoints.restore_tree(where, meta.use, tree)
            meta = dataclasses.replace(meta, params_digest=params_digest(tree))
        self.processes.wait("the digest of the tuned model")
        if self.processes.is_first:
            checkpoints.write_meta(where, meta)
            checkpoints.keep_only(self.folder, [chosen])
        self.processes.wait("the tuned model")
        return meta

    def _finish(self, where: epath.Path, meta: checkpoints.CheckpointMeta) -> None:
        try:
            self._writer.wait_until_finished()
            if not self.processes.is_first:
                return
            checkpoints.finish(where, meta, self.saving.tokenizer)
            newest = checkpoints.finished(self.folder)[-self.saving.keep :]
            checkpoints.keep_only(self.folder, [*newest, *self._best()])
        except BaseException as error:
            self._error = error

    def _best(self) -> tuple[int, ...]:
        """Step of the best checkpoint by ``saving.best``; none without it."""
        best = best_step(self.folder, self.saving.best) if self.saving.best else 0
        return (best,) if best else ()


def best_step(folder: epath.Path, name: str) -> int:
    """Step of the finished checkpoint with the best number of this name; the earliest of equals; 0 if none has it.

    Scores are better when higher; whatever is called a loss or a kl is better when lower.
    """
    sign = -1.0 if is_cost(name) else 1.0
    known = {step: checkpoints.read_meta(folder / str(step)).numbers.get(name) for step in checkpoints.finished(folder)}
    found = {step: sign * number for step, number in known.items() if number is not None}
    return max(found, key=lambda step: (found[step], -step), default=0)


def is_cost(name: str) -> bool:
    """Whether a number of this name is better when it is lower."""
    return "loss" in name or "kl" in name


def _out_of_reach(trees: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arrays that the next step cannot overwrite while they are being written: a CPU device's memory is the host's."""

    on_host = all(device.platform == "cpu" for device in jax.tree.leaves(trees)[0].sharding.device_set)
    return _copied(dict(trees)) if on_host else trees


@jax.jit
def _copied(trees: Any) -> Any:
    return jax.tree.map(jnp.copy, trees)


def resume(
    parts: training.Parts,
    optimizer: training.Optimizer,
    folder: epath.Path,
    base_digest: str = "",
    processes: Processes = Processes(),  # noqa: B008 (frozen)
) -> tuple[training.TrainState, int]:
    """The state of the newest whole checkpoint below ``folder`` and its step; the start and 0 if there is none.

    The trainable buffers of ``parts`` become the state's, or are freed for the checkpoint's. A checkpoint whose files
    are not what was written is put aside as ``STEP.damaged``, with a warning, and the one before it is used.

    Raises:
      CheckpointError: its arrays belong to another base than ``base_digest``.
    """
    state = training.start(parts, optimizer, copy=False)
    first = newest_whole(folder, say, processes)
    if first:
        checkpoints.check_base(folder / str(first), base_digest)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
        for leaf in jax.tree.leaves(state):  # two states may not fit
            leaf.delete()
        trees = {
            name: None if tree is None else checkpoints.restore_tree(folder / str(first), name, tree)
            for name, tree in like._asdict().items()
        }
        state = training.TrainState(**trees)
    return state, first


def newest_whole(
    folder: epath.Path,
    warn: Callable[[str], object],
    processes: Processes = Processes(),  # noqa: B008 (frozen)
) -> int:
    """Step of the newest checkpoint whose files are what was written; 0 if there is none. Others are put aside.

    Of several processes the first one looks, and tells the others.
    """
    found = _put_aside(folder, warn) if processes.is_first else 0
    return processes.first(found, "damaged checkpoints to be put aside")


def _put_aside(folder: epath.Path, warn: Callable[[str], object]) -> int:
    for step in reversed(checkpoints.finished(folder)):
        where, aside = folder / str(step), folder / f"{step}.damaged"
        damage = checkpoints.find_damage(where)
        if not damage:
            return step
        if is_remote(where):  # a bucket has no rename
            (where / checkpoints.MARK).unlink()
            aside = f"no longer a checkpoint ({checkpoints.MARK} is removed)"
        else:
            if aside.exists():
                aside.rmtree()
            where.rename(aside)
        warn(f"warning: {where}: damaged: {damage}. It is now {aside}; training goes on from the one before it.")
    return 0
