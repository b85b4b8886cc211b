"""Stage: selections and base -> checkpoints/METHOD/seed-N/. One process, one method, one seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import batches, checkpoints, sharding, training, tuning
from s3ft_jax.models.lora import Lora
from s3ft_jax.progress import say
from s3ft_jax.records import Selection
from s3ft_jax.stages.launch import BASE, plain_settings
from s3ft_jax.workdir import Workdir, WorkdirError

OPTIMIZER = ("learning_rate", "num_steps", "warmup_frac", "flat_frac", "final_frac")
OPTIMIZER += ("b1", "b2", "eps", "weight_decay", "clip_norm")


def key(method: str, seed: int) -> str:
    """Name of the stage in ``manifests/``."""
    return f"train-{method}-seed-{seed}"


def folder(method: str, seed: int) -> str:
    """Where its checkpoints lie, below the workdir."""
    return f"checkpoints/{method}/seed-{seed}"


def method_settings(config: ConfigDict, method: str) -> dict[str, Any]:
    """``train`` settings of one method: the shared ones, with those of ``train.per_method`` on top."""
    settings = plain_settings(config.train)
    settings.pop("seeds")
    own = settings.pop("per_method").get(method, {})
    unknown = sorted(set(own) - set(settings))
    if unknown:
        raise WorkdirError(f"train.per_method.{method}: {unknown} are not settings of train")
    return settings | own


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int, *, redo: bool = False) -> None:
    """Fine-tune, resuming from the newest checkpoint."""
    settings = method_settings(config, method)
    where = folder(method, seed)
    with workdir.stage(
        key(method, seed),
        settings=settings | {"seed": seed, "mesh": plain_settings(config.mesh)},
        reads=["import", f"select-{method}"],
        writes=[where],
        redo=redo,
    ) as stage:
        if not stage.needed:
            return say(f"train {method} seed {seed}: already done")
        selections = workdir.read_records(Selection, f"selections/{method}.jsonl")
        chosen = batches.draw(selections, settings["num_examples"], seed)
        plan = batches.plan_batches(
            chosen,
            row_length=settings["max_length"],
            num_steps=settings["num_steps"],
            seed=seed,
            examples_per_step=settings["batch_size"],
            too_long=settings["too_long"],
        )
        mesh = sharding.make_mesh(**plain_settings(config.mesh))
        meta, tokens = tune(settings, workdir, method, seed, plan, chosen, mesh)
        stage.outputs = {where: meta.params_digest}
        stage.facts = {
            "examples": len(chosen),
            "dropped": list(plan.dropped),
            "fill": plan.fill,
            "tokens": tokens,
            "rows_per_step": plan.rows_per_step,
        }


def length_of(chosen: Selection) -> int:
    """Tokens of prompt and response together."""
    return len(chosen.prompt_ids) + len(chosen.response_ids)


def check_lengths(selections: list[Selection], max_positions: int) -> None:
    """Refuse an example longer than the model reads.

    Raises:
      WorkdirError: names the longest example, its length and the model's.
    """
    longest = max(selections, key=length_of)
    if length_of(longest) > max_positions:
        raise WorkdirError(
            f"{longest.example_id}: {length_of(longest)} tokens, but the model reads {max_positions}. Leave such "
            f"examples out with train.max_length={max_positions} and train.too_long=drop, or import with a larger "
            "model.max_positions."
        )


def build(settings: dict[str, Any], workdir: Workdir, seed: int) -> training.Parts:
    """The base, with adapters if asked for, taken apart."""
    decoder = checkpoints.load_decoder(workdir / BASE)
    if settings["tune"] == "lora":
        lora = settings["lora"]
        decoder.add_adapters(Lora(lora["rank"], lora["alpha"], lora["dropout"], tuple(lora["targets"])), nnx.Rngs(seed))
    return training.take_apart(decoder, settings["tune"])


def tune(
    settings: dict[str, Any],
    workdir: Workdir,
    method: str,
    seed: int,
    plan: batches.BatchPlan,
    selections: list[Selection],
    mesh: jax.sharding.Mesh,
) -> tuple[checkpoints.CheckpointMeta, int]:
    """Run the loop over a mesh. Returns the last checkpoint's meta and the number of tokens trained on."""

    def batches_from(first: int) -> Iterator[batches.Batch]:
        for number in range(first, settings["num_steps"]):
            batch = batches.build_batch(plan, number, selections)
            rows = training.split_micro(batch, settings["accumulation"], mesh.shape["data"] * mesh.shape["fsdp"])
            yield sharding.shard_batch(rows, mesh)

    run = tuning.RunSettings(
        title=f"train {method} seed {seed}",
        seed=seed,
        num_steps=settings["num_steps"],
        save_every=settings["save_every"],
        max_skipped=settings["max_skipped"],
        step={
            "chunk_tokens": settings["chunk_tokens"],
            "remat": settings["remat"],
            "activation_dtype": settings["activation_dtype"],
        },
        provenance={"method": method, "seed": seed, "settings": settings, "base": workdir.stage_digest("import")},
    )
    optimizer = training.OptimizerSettings(**{name: settings[name] for name in OPTIMIZER})
    kept = [chosen for chosen in selections if length_of(chosen) <= plan.row_length]
    check_lengths(kept, checkpoints.read_meta(workdir / BASE).config.max_positions)
    graphdef, *params = build(settings, workdir, seed)
    parts = training.Parts(graphdef, *(sharding.shard_params(part, mesh) for part in params))
    _, meta, tokens = tuning.tune(parts, optimizer, workdir / folder(method, seed), batches_from, run)
    return meta, tokens


def load_tuned(workdir: Workdir, method: str, seed: int) -> Any:
    """The tuned decoder, adapters merged, ready to generate.

    Raises:
      CheckpointError: it has not been trained.
    """
    where = workdir / folder(method, seed)
    newest = where / str(checkpoints.newest(where))
    meta = checkpoints.read_meta(newest)
    if meta.lora is None:
        return checkpoints.load_decoder(newest)
    decoder = checkpoints.load_decoder(workdir / BASE)
    decoder.add_adapters(meta.lora, nnx.Rngs(0))
    parts = training.take_apart(decoder, "lora")
    trainable = checkpoints.restore_tree(newest, "trainable", parts.trainable)
    decoder = nnx.merge(parts.graphdef, jax.tree.map(jnp.asarray, trainable), parts.frozen)
    decoder.merge_adapters()
    return decoder
