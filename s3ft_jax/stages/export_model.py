"""Stage: a tuned checkpoint -> export/METHOD/seed-N/, a Hugging Face folder with a model card."""

from __future__ import annotations

from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import checkpoints, hf_folder
from s3ft_jax.model_card import model_card
from s3ft_jax.models import families, weights
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import ORIGINS, Score
from s3ft_jax.selection import METHODS
from s3ft_jax.stages import evaluate
from s3ft_jax.stages.launch import BASE
from s3ft_jax.stages.train import key as train_key
from s3ft_jax.stages.train import load_tuned, method_settings
from s3ft_jax.workdir import Workdir, flatten


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int, *, redo: bool = False) -> None:
    """Write safetensors, config, tokenizer, generation config and model card."""
    where = f"export/{method}/seed-{seed}"
    reads = ["import", f"select-{method}", train_key(method, seed)]
    scored = [model for model in ((evaluate.UNTUNED, None), (method, seed)) if workdir.manifest(evaluate.key(*model))]
    reads += [evaluate.key(*model) for model in scored]
    with workdir.stage(f"export-{method}-seed-{seed}", settings={}, reads=reads, writes=[where], redo=redo) as stage:
        if not stage.needed:
            return say(f"export: already done, {workdir.path / where}")
        scores = [
            score
            for model in scored
            for score in workdir.read_records(Score, f"scores/{evaluate.name(*model)}/scores.jsonl")
        ]
        provenance = checkpoints.read_meta(workdir / BASE).provenance
        source = hf_folder.read(workdir / BASE / "tokenizer")
        _, weight_map = families.read_config(source.config)
        decoder = load_tuned(workdir, method, seed)
        counts = workdir.manifest(f"select-{method}")["facts"]
        card = model_card(
            name=f"{provenance['source'].rstrip('/').rsplit('/', 1)[-1]}-{config.task.name}-{method}",
            base=provenance["source"],
            method=method,
            prefer=METHODS[method].prefer,
            task=config.task.name,
            origin_counts={origin: counts[origin] for origin in ORIGINS if origin in counts},
            scores=scores,
            settings=flatten({"train": method_settings(config, method)}),
            seed=seed,
        )
        hf_folder.write_model(
            workdir / where,
            source,
            write_weights=lambda folder: weights.export(
                nnx.state(decoder), decoder.config, weight_map, folder, source_dtypes=provenance["dtypes"]
            ),
            eos_ids=PromptEncoder(str(workdir / BASE / "tokenizer")).stop_ids,
            model_card=card,
            replace=True,
        )
        say(f"export: {workdir.path / where}")
