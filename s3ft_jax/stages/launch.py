"""What every stage needs: the model and prompts of the base, and settings as plain values. No logic of the method."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from s3ft_jax import processes, storage
from s3ft_jax.allocator import keep_freed_memory
from s3ft_jax.workdir import Workdir

if TYPE_CHECKING:  # a host-side stage must not load JAX
    from jax.sharding import Mesh

    from s3ft_jax.generation.settings import EngineSettings
    from s3ft_jax.responder import Model
    from s3ft_jax.texts import TextEncoder

BASE = "base"
POCKET = "pocket"


def prepare_jax() -> None:
    """Settings of JAX that every stage with a model wants; call before the first computation."""
    import jax

    keep_freed_memory()  # the command line has done so before its first thread
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(pathlib.Path.home() / ".cache" / "s3ft_jax" / "programs")
    storage.check(cache, "JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    jax.config.update("jax_default_matmul_precision", "highest")


def mesh_to_sample(settings: EngineSettings, workdir: Workdir, folder: str = BASE) -> Mesh | None:
    """``sampling_mesh`` for the model of a checkpoint folder; None: the default device.

    Where the first of several processes works alone, the chips of its own machine.
    """
    import jax
    import numpy as np
    from flax import nnx

    from s3ft_jax import checkpoints
    from s3ft_jax.generation.settings import sampling_mesh

    meta = checkpoints.read_meta(workdir / folder)
    params = jax.tree.leaves(nnx.state(checkpoints.abstract_decoder(meta.config, meta.lora)))
    width = np.dtype(settings.dtypes["activation_dtype"]).itemsize
    devices = jax.local_devices() if processes.is_alone() and jax.process_count() > 1 else None
    if devices is not None and settings.tensor > len(devices):
        settings = dataclasses.replace(settings, tensor=0, num_replicas=0)
    return sampling_mesh(settings, meta.config.num_heads, width * sum(leaf.size for leaf in params), devices)


def spans_hosts(settings: EngineSettings, workdir: Workdir) -> bool:
    """Whether what samples and scores lies on the chips of several hosts, which then compute together.

    To be asked before a stage that one process might run alone.
    """
    mesh = mesh_to_sample(settings, workdir) if workdir.processes.count > 1 else None
    return mesh is not None and len({device.process_index for device in mesh.devices.flat}) > 1


def load_model(workdir: Workdir, folder: str = BASE, engine: EngineSettings | None = None) -> Model:
    """The model of a checkpoint folder below the workdir, on the chips that are to sample; without settings on the
    default device."""
    from s3ft_jax import checkpoints
    from s3ft_jax.prompts import PromptEncoder
    from s3ft_jax.responder import Model

    mesh = None if engine is None else mesh_to_sample(engine, workdir, folder)
    return Model.of(checkpoints.load_decoder(workdir / folder, mesh), PromptEncoder(str(workdir / BASE / "tokenizer")))


def load_folder(path: str, settings: EngineSettings | None = None, encoder: type | None = None) -> Model:
    """The model of a Hugging Face folder or hub id, its parameters in their own dtype.

    Args:
      path: the folder or id.
      settings: by which the chips that are to sample are chosen; None: the first device.
      encoder: made of the folder, with the usual variables of chat templates; None: ``PromptEncoder``.
    """
    import jax
    from flax import nnx

    from s3ft_jax import chat_templates, hf_folder, sharding
    from s3ft_jax.generation.settings import sampling_mesh
    from s3ft_jax.models import families, weights
    from s3ft_jax.models.decoder import Decoder
    from s3ft_jax.prompts import PromptEncoder
    from s3ft_jax.responder import Model

    source = hf_folder.read(path)
    architecture, weight_map = families.read_config(source.config, f"{source.name}/config.json")
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0))))
    mesh = None
    if settings is not None:
        width = settings.dtypes["activation_dtype"].itemsize
        size = width * sum(leaf.size for leaf in jax.tree.leaves(shapes))
        mesh = sampling_mesh(settings, architecture.num_heads, size)
    places = None if mesh is None else sharding.param_shardings(shapes, mesh)
    params = weights.load(source.path, architecture, weight_map, shardings=places)
    made = (encoder or PromptEncoder)(source.path, template_args=chat_templates.usual_args(source.path))
    return Model(graphdef, params, architecture, made)


def load_texts(path: str, settings: EngineSettings) -> tuple[Model, TextEncoder]:
    """``load_folder`` for plain texts, which need no chat template."""
    from s3ft_jax.texts import TextEncoder

    model = load_folder(path, settings, TextEncoder)
    return model, model.encoder


def pocket_model_folder() -> pathlib.Path:
    """The Hugging Face folder of the model that ships with the package."""
    return pathlib.Path(__file__).resolve().parents[1] / "pocket_model"


def plain_settings(section: ConfigDict) -> dict[str, Any]:
    """A config section as plain values, for rooms and manifests."""
    return section.to_dict()
