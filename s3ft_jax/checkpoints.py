"""Checkpoints: Orbax arrays plus one JSON that lets a checkpoint rebuild its own model.

A checkpoint is a folder:

    arrays/           Orbax: every array under its path, e.g. ``trainable/blocks/q/kernel``; of a run that trains
                      adapters only these and their optimizer state, the base is named by its digest
    tokenizer/        tokenizer files of the model
    checkpoint.json   architecture, adapters, step, provenance, digests of the parameters and the files; written last

A folder without ``checkpoint.json`` was cut off while it was written, and does not count.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx

from s3ft_jax import fingerprints, processes, stopping, storage
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.param_digests import by_path, params_digest
from s3ft_jax.seals import Damaged, opened, sealed
from s3ft_jax.sharding import placed

MARK = "checkpoint.json"
_SLACK = 2**20  # bytes for indices, tokenizer and checkpoint.json
_whole: set[tuple[str, str]] = set()  # checkpoints whose files this process has found to be what was written

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax reports every save at INFO and some at WARNING


class CheckpointError(RuntimeError):
    """A checkpoint is missing, unfinished or does not fit; the message names the folder, the cause and the fix."""


@dataclasses.dataclass(frozen=True)
class CheckpointMeta:
    """What ``checkpoint.json`` holds.

    Attributes:
      config: architecture.
      lora: adapters inside, or None.
      step: optimizer steps done; 0 for an imported model.
      provenance: where it came from (source folder, method, seed, digests); plain JSON.
      params_digest: sha256 of the parameters' names, shapes, dtypes and bytes; empty in the middle of a run.
      base_digest: ``params_digest`` of the base that the arrays are laid on, which is not stored again; empty where
        all parameters are inside.
      use: the tree that is the tuned model: ``trainable``, or ``average``, the moving average of it.
      numbers: what was measured of the model when it was saved, e.g. {"validation_loss": 1.2}.
      ended: why the run ended at this step though more were planned; empty where it did not.
      files: path below ``arrays/`` -> [bytes, sha256], the latter empty on object stores, which check for themselves.
    """

    config: DecoderConfig
    lora: Lora | None
    step: int
    provenance: Mapping[str, Any]
    params_digest: str
    base_digest: str = ""
    use: str = "trainable"
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ended: str = ""
    files: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """As text, with ``from_json`` as inverse."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> CheckpointMeta:
        """Rebuild from ``to_json``."""
        values = json.loads(text)
        lora = values["lora"]
        if lora is not None:
            lora = Lora(**{**lora, "targets": tuple(lora["targets"])})
        return cls(**{**values, "config": DecoderConfig.from_json(values["config"]), "lora": lora})


def check_space(folder: epath.Path, needed: int) -> None:
    """Refuse a checkpoint of ``needed`` bytes that the disk of a local folder cannot hold.

    Orbax writes from threads of its own; when the disk fills up under them, their tracebacks bury the cause.

    Raises:
      CheckpointError: too little is free; names the folder, what is needed and what there is.
    """
    if storage.is_remote(folder):
        return
    free = shutil.disk_usage(folder).free
    if free < needed + _SLACK:
        raise CheckpointError(
            f"{folder}: the disk is full: a checkpoint needs {(needed + _SLACK) / 2**20:,.0f} MiB, {free / 2**20:,.0f} "
            "MiB are free. Make room; the same command goes on where it was."
        )


def save(
    folder: epath.Path,
    *,
    trees: Mapping[str, Any],
    config: DecoderConfig,
    lora: Lora | None,
    step: int,
    provenance: Mapping[str, Any],
    tokenizer: epath.Path | None = None,
    base_digest: str = "",
) -> CheckpointMeta:
    """Write a checkpoint and wait until it is whole; ``checkpoint.json`` comes last.

    Args:
      folder: created; an unfinished one is replaced.
      trees: named pytrees of arrays, e.g. ``{"trainable": ..., "opt_state": ...}``; the digest is taken over
        ``trainable``.
      config, lora, step, provenance, base_digest: see ``CheckpointMeta``.
      tokenizer: folder whose files are copied to ``tokenizer/``.

    Raises:
      CheckpointError: the disk has no room for it.
    """
    if jax.process_count() > 1:  # Orbax writes no array that only one process knows
        trees = {name: jax.tree.map(np.asarray, tree) for name, tree in trees.items()}
    with stopping.deferred(), open_writer() as writer:
        begin(folder, trees, writer)
        digest = params_digest(trees["trainable"])  # while Orbax writes
    meta = CheckpointMeta(config, lora, step, dict(provenance), digest, base_digest)
    return finish(folder, meta, tokenizer)


def open_writer() -> ocp.AsyncCheckpointer:
    """What writes arrays while the program goes on; to be closed.

    Weights are not compressed: that takes several times as long as writing them, and a second copy of them, for a few
    percent.
    """
    options = _whose()
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=options)
    # else the others wait for a signal by the number of the save, of which the first has made more: alone. They saw
    # that of an earlier save and began; then the first made the folder, and removed what it found there
    folders_first = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    return ocp.AsyncCheckpointer(handler, multiprocessing_options=options, async_options=folders_first)


def _whose() -> ocp.options.MultiprocessingOptions:
    """Which processes take part: all, or this one alone."""
    if jax.process_count() == 1 or not processes.is_alone():
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"alone-{own}"
    )


def begin(
    folder: epath.Path,
    trees: Mapping[str, Any],
    writer: ocp.AsyncCheckpointer,
    own: processes.Processes = processes.Processes(),  # noqa: B008 (frozen)
) -> None:
    """Start to write the arrays of a checkpoint. Arrays on accelerators have been copied to the host on return.

    Args:
      folder: replaced.
      trees: see ``save``.
      writer: of ``open_writer``.
      own: processes that write it together, all of which call this.

    Raises:
      CheckpointError: the disk has no room for it.
    """
    if own.is_first:
        if folder.exists():
            folder.rmtree()
            storage.settle()  # the others write the same names
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, sum(leaf.nbytes for leaf in jax.tree.leaves(dict(trees))))
    own.wait(f"the folder of a checkpoint: {folder.name}")
    # never of a process that does not write: it would be asked for at every look into the folder
    for index in [jax.process_index()] if processes.is_alone() else range(jax.process_count()):
        for name in (f"ocdbt.process_{index}/manifest.ocdbt", f"array_metadatas/process_{index}"):
            storage.expect(folder / "arrays" / name)
    arrays = {name: flat for name, tree in trees.items() if (flat := by_path(tree))}
    writer.save(folder / "arrays", args=ocp.args.PyTreeSave(arrays))


def finish(folder: epath.Path, meta: CheckpointMeta, tokenizer: epath.Path | None = None) -> CheckpointMeta:
    """Make a folder whose arrays are written a checkpoint. Returns ``meta`` with its ``files``."""
    if tokenizer is not None:
        storage.copy_folder(tokenizer, folder / "tokenizer")
    meta = dataclasses.replace(meta, files=fingerprints.of_folder(folder / "arrays"))
    write_meta(folder, meta)
    return meta


def write_meta(folder: epath.Path, meta: CheckpointMeta) -> None:
    """``checkpoint.json``, the old one or the new one at any moment."""
    storage.publish(folder / MARK, sealed(json.loads(meta.to_json())))


def find_damage(folder: epath.Path) -> str:
    """What is wrong with the files of a finished checkpoint, e.g. that one is missing; "" if nothing is."""
    try:
        written = read_meta(folder).files
    except (CheckpointError, ValueError, KeyError, TypeError) as error:
        return f"{MARK} cannot be read: {error}"
    damage = fingerprints.find_damage(folder / "arrays", written)
    return damage and f"arrays/{damage}"


def check_files(folder: epath.Path) -> None:
    """Refuse a checkpoint whose files are not what was written; the first process looks, once for each checkpoint.

    Raises:
      CheckpointError: names the file.
    """
    mark = (str(folder), (folder / MARK).read_text())
    if jax.process_index() == 0 and mark not in _whole:
        damage = find_damage(folder)
        if damage:
            raise CheckpointError(
                f"{folder}: damaged: {damage}. Put the old files back; or remove this folder and its stage's file in "
                "manifests/, and the same command makes it anew."
            )
        _whole.add(mark)


def read_meta(folder: epath.Path) -> CheckpointMeta:
    """The JSON part of a checkpoint.

    Raises:
      CheckpointError: there is no finished checkpoint, or its mark is damaged.
    """
    if not (folder / MARK).exists():
        raise CheckpointError(
            f"{folder}: no finished checkpoint here ({MARK} is missing); run its stage first. If that says it is "
            "already done, remove this folder and its stage's file in manifests/, and the same command makes it anew."
        )
    try:
        values = opened((folder / MARK).read_bytes(), folder / MARK)
    except Damaged as error:
        why = str(error).removeprefix(f"{folder}/")
        raise CheckpointError(
            f"{folder}: {why}. Remove this folder and its stage's file in manifests/, and the same command makes it "
            "anew."
        ) from None
    return CheckpointMeta.from_json(json.dumps(values))


def check_base(folder: epath.Path, base_digest: str) -> None:
    """Refuse to put adapters on another base than the one they were trained on.

    Args:
      folder: a checkpoint.
      base_digest: ``CheckpointMeta.params_digest`` of the base at hand; empty where all parameters are trained.

    Raises:
      CheckpointError: the checkpoint names another base; both digests are in the message.
    """
    trained_on = read_meta(folder).base_digest
    if trained_on != base_digest:
        raise CheckpointError(
            f"{folder}: its adapters were trained on the base {trained_on or '(none: full parameters)'}, but the base "
            f"here is {base_digest or '(none: full parameters)'}. Import that base again, or train with --redo."
        )


def restore_tree(folder: epath.Path, name: str, like: Any, dtype: Any = None) -> Any:
    """Read one named pytree back; every process reads only its devices' parts.

    Args:
      folder: of the checkpoint.
      name: of the tree.
      like: arrays or shapes that give structure and shardings; a leaf without a sharding goes to the default device.
      dtype: of the result; None: each array as it was stored.

    Raises:
      CheckpointError: names or shapes differ; both are listed.
    """
    wanted = by_path(like)
    whose = _whose()
    storage.look_below(folder)  # what others wrote a moment ago
    with stopping.deferred():
        # of the handler: a checkpointer swallows what goes wrong here
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=whose)
        stored = handler.metadata(folder / "arrays").tree[name]
    missing, extra = sorted(set(wanted) - set(stored)), sorted(set(stored) - set(wanted))
    shapes = [n for n in wanted if n in stored and tuple(stored[n].shape) != tuple(wanted[n].shape)]
    if missing or extra or shapes:
        raise CheckpointError(
            f"{folder}: {name} does not fit this model: missing {missing}, not wanted {extra}, other shape {shapes}"
        )
    abstract = {name: {path: _abstract(leaf, dtype or stored[path].dtype) for path, leaf in wanted.items()}}
    # Orbax has an event loop of its own, which must not be left in the middle
    with stopping.deferred(), ocp.Checkpointer(handler, multiprocessing_options=whose) as checkpointer:
        restored = checkpointer.restore(
            folder / "arrays",
            args=ocp.args.PyTreeRestore(
                item=abstract,
                restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
                partial_restore=True,
            ),
        )[name]
    leaves = [restored[path] for path in wanted]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(like), leaves)


def _abstract(leaf: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    place = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=place)


def abstract_decoder(config: DecoderConfig, lora: Lora | None) -> Decoder:
    """A decoder whose parameters are shapes only."""
    return nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0), lora=lora))


def load_decoder(folder: epath.Path, mesh: jax.sharding.Mesh | None = None, dtype: Any = None) -> Decoder:
    """Rebuild the model of a checkpoint of full parameters.

    Args:
      folder: of the checkpoint.
      mesh: where the parameters go, by the rules of ``sharding``; None: whole on the default device.
      dtype: of the parameters; None: each as it was stored.

    Raises:
      CheckpointError: unfinished or damaged, or the parameters do not fit the architecture.
    """
    meta = read_meta(folder)
    check_files(folder)
    graphdef, shapes = nnx.split(abstract_decoder(meta.config, meta.lora))
    shapes = shapes if mesh is None else placed(shapes, mesh)
    return nnx.merge(graphdef, restore_tree(folder, meta.use, shapes, dtype))


def newest(folder: epath.Path) -> int:
    """Step of the newest finished checkpoint below ``folder`` (``folder/STEP/``); 0 if there is none."""
    return max(finished(folder), default=0)


def keep_only(folder: epath.Path, steps: Sequence[int]) -> None:
    """Remove the finished checkpoints below ``folder`` but those of these steps."""
    for step in set(finished(folder)) - set(steps):
        (folder / str(step)).rmtree()


def finished(folder: epath.Path) -> list[int]:
    """Steps of the finished checkpoints below ``folder``, in order."""
    if not folder.exists():
        return []
    return sorted(int(inner.name) for inner in folder.iterdir() if inner.name.isdigit() and (inner / MARK).exists())
