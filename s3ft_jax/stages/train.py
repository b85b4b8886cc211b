"""Stage: selections and base -> checkpoints/METHOD/seed-N/. One process, one method, one seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import batches, checkpoints, sharding, training, tuning
from s3ft_jax.models import kernels
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import REMAT, Decoder
from s3ft_jax.models.lora import Lora, choose_targets
from s3ft_jax.models.quantization import check_dtype
from s3ft_jax.progress import say
from s3ft_jax.records import Selection
from s3ft_jax.stages.launch import BASE, plain_settings
from s3ft_jax.workdir import Workdir, WorkdirError

LOGITS = 2**26
"""Logits that a device makes at a time where ``train.chunk_tokens`` is 0: 256 MiB in float32."""
UNROLLED_LAYERS = 8
"""On a CPU a loop over layers copies what each of them leaves for the backward pass; a few layers need no loop."""
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
        meta, facts = tune(settings, workdir, method, seed, plan, chosen, mesh)
        stage.outputs = {where: meta.params_digest}
        stage.facts = {
            "examples": len(chosen),
            "dropped": list(plan.dropped),
            "fill": plan.fill,
            "rows_per_step": plan.rows_per_step,
            **facts,
        }


def check_settings(config: ConfigDict, workdir: Workdir) -> None:
    """Find out what training would refuse before hours of sampling: the mesh, each method's step and adapters.

    Raises:
      WorkdirError, AttentionError, ShardingError, LoraError, QuantizationError: naming the setting.
    """
    mesh = sharding.make_mesh(**plain_settings(config.mesh))
    architecture = checkpoints.read_meta(workdir / BASE).config
    for method in config.methods:
        settings = method_settings(config, method)
        step_settings(settings, architecture, mesh)
        if settings["tune"] == "lora":
            adapters(settings["lora"], architecture)


def step_settings(settings: dict[str, Any], architecture: DecoderConfig, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """The arguments of ``training.make_step`` beside structure and optimizer.

    Raises:
      WorkdirError: ``train.tune``, ``remat``, ``param_dtype`` or ``activation_dtype`` has no such choice.
      AttentionError: see ``kernels.choose``.
    """
    floats = ("float32", "bfloat16")
    known = {"tune": ("full", "lora"), "remat": tuple(REMAT), "param_dtype": floats, "activation_dtype": floats}
    for name, choices in known.items():
        if settings[name] not in choices:
            raise WorkdirError(f"train.{name} = {settings[name]!r}; choose from {', '.join(choices)}")
    platform = mesh.devices.flat[0].platform
    attention = kernels.choose(
        settings["attention"], platform, settings["activation_dtype"], architecture.attn_softcap, mesh
    )
    chunk_tokens = settings["chunk_tokens"] or sharding.row_parts(mesh) * max(1, LOGITS // architecture.vocab_size)
    return {
        "chunk_tokens": chunk_tokens,
        "remat": settings["remat"],
        "activation_dtype": settings["activation_dtype"],
        "attention": attention,
        "unroll": platform == "cpu" and architecture.num_layers <= UNROLLED_LAYERS,
        "prng": "threefry2x32" if platform == "cpu" else "rbg",
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


def adapters(settings: dict[str, Any], architecture: DecoderConfig) -> Lora:
    """``train.lora`` for a model of this architecture, its targets' patterns resolved.

    Raises:
      LoraError, QuantizationError: a setting that cannot be, or a target the model lacks.
    """
    check_dtype(settings["base_dtype"])
    projections = checkpoints.abstract_decoder(architecture, None).projections()
    return Lora(
        rank=settings["rank"],
        alpha=settings["alpha"],
        dropout=settings["dropout"],
        targets=choose_targets(settings["targets"], projections),
        rank_stabilized=settings["rank_stabilized"],
    )


def build(
    settings: dict[str, Any], workdir: Workdir, seed: int, first: batches.Batch, mesh: jax.sharding.Mesh
) -> tuple[training.Parts, dict[str, Any]]:
    """The base, with adapters if asked for, taken apart on the mesh; and what is to be told, measured on ``first``."""
    dtype = settings["param_dtype"] if settings["tune"] == "full" else None
    decoder, facts = checkpoints.load_decoder(workdir / BASE, mesh, dtype), {}
    if settings["tune"] == "lora":
        dtype = settings["lora"]["base_dtype"]
        decoder.add_adapters(adapters(settings["lora"], decoder.config), nnx.Rngs(seed))
        if dtype:
            facts = {"base_dtype": dtype, "base_error": training.shrink_base(decoder, dtype, first)}
            say(f"train: frozen kernels as {dtype}; largest change of a logit {facts['base_error']:.2%} of the largest")
    graphdef, *params = training.take_apart(decoder, settings["tune"])
    return training.Parts(graphdef, *(sharding.shard_params(part, mesh) for part in params)), facts


def tune(
    settings: dict[str, Any],
    workdir: Workdir,
    method: str,
    seed: int,
    plan: batches.BatchPlan,
    selections: list[Selection],
    mesh: jax.sharding.Mesh,
) -> tuple[checkpoints.CheckpointMeta, dict[str, Any]]:
    """Run the loop over a mesh. Returns the last checkpoint's meta and facts, the number of tokens among them."""

    def batches_from(first: int) -> Iterator[batches.Batch]:
        for number in range(first, settings["num_steps"]):
            batch = batches.build_batch(plan, number, selections)
            rows = training.split_micro(batch, settings["accumulation"], sharding.row_parts(mesh))
            yield sharding.shard_batch(rows, mesh)

    base = checkpoints.read_meta(workdir / BASE)
    run = tuning.RunSettings(
        title=f"train {method} seed {seed}",
        seed=seed,
        num_steps=settings["num_steps"],
        save_every=settings["save_every"],
        max_skipped=settings["max_skipped"],
        step=step_settings(settings, base.config, mesh),
        provenance={"method": method, "seed": seed, "settings": settings, "base": workdir.stage_digest("import")},
        base_digest=base.params_digest if settings["tune"] == "lora" else "",
    )
    optimizer = training.OptimizerSettings(**{name: settings[name] for name in OPTIMIZER})
    kept = [chosen for chosen in selections if length_of(chosen) <= plan.row_length]
    check_lengths(kept, base.config.max_positions)
    parts, facts = build(settings, workdir, seed, batches.build_batch(plan, 0, selections), mesh)
    _, meta, tokens = tuning.tune(parts, optimizer, workdir / folder(method, seed), batches_from, run)
    return meta, facts | {"tokens": tokens}


def load_tuned(workdir: Workdir, method: str, seed: int, *, merge: bool = True) -> Decoder:
    """The tuned decoder. Adapters lie on the base as imported, also where they were trained on a rounded one.

    Args:
      merge: add adapters into the kernels, so that the model is a plain one, ready to generate.

    Raises:
      CheckpointError: it has not been trained, or its adapters were trained on another base.
    """
    where = workdir / folder(method, seed)
    newest = where / str(checkpoints.newest(where))
    meta = checkpoints.read_meta(newest)
    if meta.lora is None:
        return checkpoints.load_decoder(newest)
    checkpoints.check_base(newest, checkpoints.read_meta(workdir / BASE).params_digest)
    # a sum in bfloat16 would lose small updates
    decoder = checkpoints.load_decoder(workdir / BASE, dtype=jnp.float32 if merge else None)
    decoder.add_adapters(meta.lora, nnx.Rngs(0))
    parts = training.take_apart(decoder, "lora")
    trainable = checkpoints.restore_tree(newest, "trainable", parts.trainable)
    decoder = nnx.merge(parts.graphdef, jax.tree.map(jnp.asarray, trainable), parts.frozen)
    if merge:
        decoder.merge_adapters()
    return decoder
