"""Stage: a Hugging Face folder -> base/ (an Orbax checkpoint that carries architecture and tokenizer)."""

from __future__ import annotations

import json
import pathlib

from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import checkpoints, hf_folder
from s3ft_jax.models import weights
from s3ft_jax.models.families import find_family
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.stages.launch import BASE, POCKET, plain_settings, pocket_model_folder
from s3ft_jax.workdir import Workdir, WorkdirError

KEY = "import"


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Read the model named by ``model.path`` and write base/."""
    if not config.model.path:
        raise WorkdirError("model.path is empty: give --config.model.path=FOLDER, a hub id, or pocket")
    path = str(pocket_model_folder()) if config.model.path == POCKET else config.model.path
    source = hf_folder.read(path)
    settings = plain_settings(config.model)
    files = {"model": source.digest()}
    with workdir.stage(KEY, settings=settings, files=files, writes=[BASE], redo=redo) as stage:
        if not stage.needed:
            return say(f"import: already done, {workdir.path / BASE}")
        family = find_family(source.config)
        architecture = family.read_config(source.config)
        decoder = checkpoints.abstract_decoder(architecture, None)
        params = weights.load(source.folder, architecture, family.rows(architecture), dtype=config.model.dtype)
        template = pathlib.Path(config.model.chat_template).read_text() if config.model.chat_template else None
        encoder = PromptEncoder(str(source.folder), chat_template=template)
        base = workdir / BASE
        tokenizer = workdir / f".{BASE}-tokenizer"
        encoder.save(str(tokenizer))
        meta = checkpoints.save(
            base,
            trees={"trainable": nnx.state(nnx.merge(nnx.graphdef(decoder), params))},
            config=architecture,
            lora=None,
            step=0,
            provenance={
                "source": config.model.path,
                "hf_config": source.config,
                "hf_dtypes": source.dtypes(),
                "tokenizer": encoder.describe(),
            },
            tokenizer=epath.Path(tokenizer),
        )
        tokenizer.rmtree()
        stage.outputs = {BASE: meta.params_digest, "tokenizer": json.dumps(encoder.describe(), sort_keys=True)}
        stage.facts = {"model": config.model.path, "parameters": sum(p.size for p in _leaves(params))}
        say(f"import: {config.model.path}, {stage.facts['parameters']:,} parameters")


def _leaves(params: object) -> list:
    import jax

    return jax.tree.leaves(params)
