"""Stage: a tuned checkpoint -> export/METHOD/seed-N/, a Hugging Face folder with a model card.

With ``export.form=adapter``: export/METHOD/seed-N-adapter/, the adapter alone, as peft loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import checkpoints, hf_folder
from s3ft_jax.changes import flatten
from s3ft_jax.chat_templates import describe_args
from s3ft_jax.model_card import model_card
from s3ft_jax.models import families, weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families.rows import WeightMap
from s3ft_jax.models.peft_adapter import export_adapter
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import ORIGINS, Score
from s3ft_jax.selection import METHODS
from s3ft_jax.stages import evaluate, select, tuned_model
from s3ft_jax.stages.launch import BASE, POCKET, pocket_model_folder
from s3ft_jax.stages.method_settings import method_settings
from s3ft_jax.variants import method_of
from s3ft_jax.workdir import Workdir, WorkdirError

FORMS = ("merged", "adapter")


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int, *, redo: bool = False) -> None:
    """Write safetensors, config, tokenizer, generation config and model card.

    Raises:
      WorkdirError: ``export.form`` is not known.
      LoraError: it asks for the adapter of a method tuned in full.
    """
    form = config.export.form
    if form not in FORMS:
        raise WorkdirError(f"export.form: {form!r}; choose from {list(FORMS)}")
    name = f"{method}/seed-{seed}" + ("-adapter" if form == "adapter" else "")
    where = f"export/{name}"
    rule = method_of(method)
    reads = ["import", select.key(rule), tuned_model.key(method, seed)]
    models = ((evaluate.UNTUNED, None), (method, seed))
    scored = [(*model, part) for model in models for part in evaluate.parts_of(config)]
    scored = [one for one in scored if workdir.manifest(evaluate.key(*one))]
    reads += [evaluate.key(*one) for one in scored]
    stage_key = f"export-{name.replace('/', '-')}"
    with workdir.stage(stage_key, settings={}, reads=reads, writes=[where], redo=redo, first_only=True) as stage:
        if not stage.needed:
            return say(f"export: already done, {workdir.path / where}")
        scores = [score for one in scored for score in workdir.read_records(Score, evaluate.file(*one))]
        provenance = checkpoints.read_meta(workdir / BASE).provenance
        source = hf_folder.read(workdir / BASE / "tokenizer")
        _, weight_map = families.read_config(source.config)
        decoder = tuned_model.load(workdir, method, seed, merge=form == "merged")
        encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
        counts = workdir.manifest(select.key(rule))["facts"]
        card = model_card(
            name=f"{provenance['source'].rstrip('/').rsplit('/', 1)[-1]}-{config.task.name}-{method}",
            base=provenance["source"],
            method=method,
            prefer=METHODS[rule].prefer,
            task=config.task.name,
            origin_counts={origin: counts[origin] for origin in ORIGINS if origin in counts},
            scores=scores,
            settings=flatten({"train": method_settings(config, method)}),
            seed=seed,
            library="peft" if form == "adapter" else "transformers",
            notes=_notes(form, workdir.manifest(tuned_model.key(method, seed))["facts"], encoder.template),
        )
        hf_folder.write_model(
            workdir / where,
            source,
            write_weights=_writer(form, decoder, weight_map, provenance),
            eos_ids=encoder.stop_ids,
            model_card=card,
            replace=True,
            adapter=form == "adapter",
        )
        say(f"export: {workdir.path / where}")


def _writer(
    form: str, decoder: Decoder, weight_map: WeightMap, provenance: Mapping[str, Any]
) -> Callable[[Path], list[str]]:
    """What writes the weights into a folder: all parameters, or the adapters."""
    if form == "adapter":
        base = str(pocket_model_folder()) if provenance["source"] == POCKET else provenance["source"]
        return lambda folder: export_adapter(decoder, weight_map, folder, base)
    return lambda folder: weights.export(
        nnx.state(decoder), decoder.config, weight_map, folder, source_dtypes=provenance["dtypes"]
    )


def _notes(form: str, facts: Mapping[str, Any], template: str) -> list[str]:
    """What the card says beyond method and scores: how to load an adapter, on what kernels it was trained, and what its
    chat template was told."""
    notes = []
    if describe_args(template):
        notes.append(
            f"It was tuned and scored with variables of the chat template{describe_args(template)}. "
            "`chat_template.jinja` sets them by itself; who hands one over chooses otherwise."
        )
    if form == "adapter":
        notes.append(
            "This folder holds a LoRA adapter alone, in float32. Load it onto its base, which adapter_config.json "
            "names: `PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), FOLDER)`. peft takes the "
            "end tokens of the base; those of this tuning are in generation_config.json."
        )
    if facts.get("base_dtype"):
        notes.append(
            f"The adapter was trained on kernels rounded to {facts['base_dtype']}, which changed the base's logits by "
            f"up to {facts['base_error']:.2%} of the largest (measured on the first training tokens). The weights it "
            "belongs to, and the scores below, are those of the base as imported."
        )
    return notes
