"""Stage part: a tuned model as other stages find it: its name, whether it is kept, and loading it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from s3ft_jax import checkpoints, sharding, training
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.stages.launch import BASE
from s3ft_jax.workdir import Workdir, WorkdirError


def key(method: str, seed: int) -> str:
    """Name of the stage that tunes it, in ``manifests/``."""
    return f"train-{method}-seed-{seed}"


def folder(method: str, seed: int) -> str:
    """Where its checkpoints lie, below the workdir."""
    return f"checkpoints/{method}/seed-{seed}"


def is_kept(workdir: Workdir, method: str, seed: int) -> bool:
    """Whether there is a checkpoint, or nothing has been trained yet."""
    return workdir.manifest(key(method, seed)) is None or checkpoints.newest(workdir / folder(method, seed)) > 0


def drop(workdir: Workdir, method: str, seed: int) -> None:
    """Remove the checkpoints of a tuned model; its metrics stay. All processes wait for it."""
    workdir.processes.wait(f"{key(method, seed)}: all are done with its model")
    if workdir.processes.is_first:
        checkpoints.keep_only(workdir / folder(method, seed), ())
    workdir.wait_seen(f"{key(method, seed)}: its model to be removed")


def load(
    workdir: Workdir, method: str, seed: int, *, merge: bool = True, mesh: jax.sharding.Mesh | None = None
) -> Decoder:
    """The tuned decoder. Adapters lie on the base as imported, also where they were trained on a rounded one.

    Args:
      merge: add adapters into the kernels, so that the model is a plain one, ready to generate.
      mesh: where the parameters go; None: whole on the default device.

    Raises:
      CheckpointError: it has not been trained, or its arrays belong to another base.
    """
    newest = workdir / folder(method, seed) / str(_newest(workdir, method, seed))
    meta = checkpoints.read_meta(newest)
    if not meta.base_digest:
        return checkpoints.load_decoder(newest, mesh)
    checkpoints.check_base(newest, checkpoints.read_meta(workdir / BASE).params_digest)
    # a sum in bfloat16 would lose small updates
    decoder = checkpoints.load_decoder(workdir / BASE, mesh, jnp.float32 if merge else None)
    return _laid_on(decoder, newest, meta, merge=merge, mesh=mesh)


def load_at(workdir: Workdir, method: str, seed: int, step: int, mesh: jax.sharding.Mesh | None = None) -> Decoder:
    """``load`` in the middle of a run, of this step's checkpoint and no other.

    Raises:
      CheckpointError: see ``load``.
      WorkdirError: another one is the newest.
    """
    newest = _newest(workdir, method, seed)
    if newest != step:
        raise WorkdirError(
            f"{workdir / folder(method, seed)}: a round begins at step {step}, but the newest checkpoint is of step "
            f"{newest}. Remove that folder; training then begins anew."
        )
    return load(workdir, method, seed, mesh=mesh)


def _newest(workdir: Workdir, method: str, seed: int) -> int:
    """Step of the newest checkpoint. The first process lists them, as another one may still see those of before."""
    found = checkpoints.newest(workdir / folder(method, seed)) if workdir.processes.is_first else 0
    return workdir.processes.first(found, f"the newest checkpoint of {method} seed {seed}")


def _laid_on(
    decoder: Decoder,
    where: Any,
    meta: checkpoints.CheckpointMeta,
    *,
    merge: bool,
    mesh: jax.sharding.Mesh | None = None,
) -> Decoder:
    """The base with a checkpoint's arrays on it: adapters, or those parameters that were not frozen."""
    if meta.lora is not None:
        decoder.add_adapters(meta.lora, nnx.Rngs(0))
    frozen: Mapping[str, Any] = meta.provenance["settings"]
    parts = training.take_apart(decoder, "full" if meta.lora is None else "lora", frozen["freeze"])
    tuned = checkpoints.restore_tree(where, meta.use, parts.trainable)
    decoder = nnx.merge(parts.graphdef, jax.tree.map(jnp.asarray, tuned), parts.frozen)
    if mesh is not None:
        nnx.update(decoder, sharding.shard_params(nnx.state(decoder), mesh))
    if merge:
        decoder.merge_adapters()
    return decoder
