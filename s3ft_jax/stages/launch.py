"""What every stage needs: the model and prompts of the base, and settings as plain values. No logic of the method."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.workdir import Workdir

BASE = "base"
POCKET = "pocket"


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder taken apart, with its prompts."""

    graphdef: Any
    params: Any
    config: Any
    encoder: Any


def prepare_jax() -> None:
    """Settings of JAX that every stage with a model wants; call before the first computation."""
    import jax

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(pathlib.Path.home() / ".cache" / "s3ft_jax" / "programs")
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    jax.config.update("jax_default_matmul_precision", "highest")


def load_model(workdir: Workdir, folder: str = BASE) -> Model:
    """The model of a checkpoint folder below the workdir."""
    from flax import nnx

    from s3ft_jax import checkpoints
    from s3ft_jax.prompts import PromptEncoder

    decoder = checkpoints.load_decoder(workdir / folder)
    graphdef, params = nnx.split(decoder)
    return Model(graphdef, params, decoder.config, PromptEncoder(str(workdir / BASE / "tokenizer")))


def pocket_model_folder() -> pathlib.Path:
    """The Hugging Face folder of the model that ships with the package."""
    return pathlib.Path(__file__).resolve().parents[1] / "pocket_model"


def plain_settings(section: ConfigDict) -> dict[str, Any]:
    """A config section as plain values, for rooms and manifests."""
    return section.to_dict()
