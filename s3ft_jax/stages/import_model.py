"""Stage: a Hugging Face folder -> base/ (an Orbax checkpoint that carries architecture and tokenizer)."""

from __future__ import annotations

import hashlib
import pathlib
import tempfile

import jax
import jax.numpy as jnp
from etils import epath
from ml_collections import ConfigDict

from s3ft_jax import chat_templates, checkpoints, hf_folder, sharding
from s3ft_jax.models import families, weights
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.stages.launch import BASE, POCKET, plain_settings, pocket_model_folder
from s3ft_jax.workdir import Workdir, WorkdirError

KEY = "import"
_WHOLE = 64 * 2**20  # bytes; of larger files the size and both ends stand for the rest
_END = 2**20


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Read the model named by ``model.path`` and write base/."""
    if not config.model.path:
        raise WorkdirError("model.path is empty: give --config.model.path=FOLDER, a hub id, or pocket")
    source = hf_folder.read(pocket_model_folder() if config.model.path == POCKET else config.model.path)
    files = {"model": folder_digest(source.path)}
    with workdir.stage(
        KEY, settings=plain_settings(config.model), files=files, writes=[BASE], redo=redo, first_only=True
    ) as stage:
        if not stage.needed:
            return say(f"import: already done, {workdir.path / BASE}")
        architecture, weight_map = families.read_config(
            source.config, f"{source.name}/config.json", config.model.max_positions
        )
        mesh = sharding.make_mesh(1, fsdp=-1, devices=jax.local_devices())
        params = weights.load(
            source.path,
            architecture,
            weight_map,
            dtype=jnp.dtype(config.model.dtype),
            # over all devices here: a model that one cannot hold is imported too
            shardings=sharding.param_shardings(weights.abstract_params(architecture), mesh),
        )
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = pathlib.Path(folder)
            copy_small_files(source, tokenizer, config.model.chat_template)
            args = plain_settings(config.model.template_args)
            encoder = PromptEncoder(str(tokenizer), template_args=args)
            encoder.keep_template(tokenizer)
            meta = checkpoints.save(
                workdir / BASE,
                trees={"trainable": params},
                config=architecture,
                lora=None,
                step=0,
                provenance={
                    "source": config.model.path,
                    "dtypes": weights.source_dtypes(source.path),
                    "tokenizer": encoder.describe(),
                },
                tokenizer=epath.Path(tokenizer),
            )
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        stage.outputs = {BASE: meta.params_digest, f"{BASE}/tokenizer/": workdir.output_digest(f"{BASE}/tokenizer")}
        stage.facts = {"model": config.model.path, "parameters": count}
        for name in sorted(set(chat_templates.unused(encoder.template, args)) - set(chat_templates.TEMPLATE_ARGS)):
            say(f"import: model.template_args.{name} does nothing: the chat template never says {name!r}")
        say(f"import: {config.model.path}, {count:,} parameters")


def copy_small_files(source: hf_folder.HFFolder, target: pathlib.Path, chat_template: str) -> None:
    """config.json, generation_config.json and the tokenizer's files; a template given by config takes its place."""
    hf_folder.copy_tokenizer(source, target)
    for name in ("config.json", "generation_config.json"):
        if (source.path / name).exists():
            (target / name).write_bytes((source.path / name).read_bytes())
    if chat_template:
        file = pathlib.Path(chat_template)
        if not file.is_file():
            raise WorkdirError(f"model.chat_template: no such file {file}")
        (target / "chat_template.jinja").write_text(file.read_text())


def folder_digest(folder: pathlib.Path) -> str:
    """One digest of a model folder: names and bytes; of files above 64 MiB the size and both ends only."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        size = file.stat().st_size
        total.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            total.update(stream.read(_WHOLE if size <= _WHOLE else _END))
            if size > _WHOLE:
                stream.seek(size - _END)
                total.update(stream.read())
    return total.hexdigest()
