"""Stage: a tuned checkpoint -> export/METHOD/seed-N/, a Hugging Face folder with a model card."""

from __future__ import annotations

from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import checkpoints, hf_folder
from s3ft_jax.model_card import write_card
from s3ft_jax.models import weights
from s3ft_jax.models.families import find_family
from s3ft_jax.progress import say
from s3ft_jax.records import Score
from s3ft_jax.stages import evaluate
from s3ft_jax.stages.launch import BASE
from s3ft_jax.stages.train import key as train_key
from s3ft_jax.stages.train import load_tuned, method_settings
from s3ft_jax.workdir import Workdir


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int, *, redo: bool = False) -> None:
    """Write safetensors, config, tokenizer, generation config and model card."""
    where = f"export/{method}/seed-{seed}"
    reads = ["import", train_key(method, seed)]
    scores = _scores(workdir, method, seed)
    with workdir.stage(
        f"export-{method}-seed-{seed}", settings={"scored": bool(scores)}, reads=reads, writes=[where], redo=redo
    ) as stage:
        if not stage.needed:
            return say(f"export: already done, {workdir.path / where}")
        source = checkpoints.read_meta(workdir / BASE).provenance
        family = find_family(source["hf_config"])
        decoder = load_tuned(workdir, method, seed)
        folder = workdir / where
        folder.mkdir(parents=True, exist_ok=True)
        rows = family.rows(decoder.config)
        weights.export(nnx.state(decoder), decoder.config, rows, folder, source_dtypes=source["hf_dtypes"])
        card = write_card(
            base=source["source"],
            method=method,
            seed=seed,
            flow=workdir.manifest(f"select-{method}")["facts"],
            scores=scores,
            settings=method_settings(config, method),
        )
        hf_folder.write_model(folder, config=source["hf_config"], tokenizer=workdir / BASE / "tokenizer", card=card)
        say(f"export: {folder}")


def _scores(workdir: Workdir, method: str, seed: int) -> list[Score]:
    """Scores of the base and of this model, as far as they have been evaluated."""
    found: list[Score] = []
    for model in ((evaluate.UNTUNED, None), (method, seed)):
        if workdir.manifest(evaluate.key(*model)) is not None:
            found += workdir.read_records(Score, f"scores/{evaluate.name(*model)}/scores.jsonl")
    return found

