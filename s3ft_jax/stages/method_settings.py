"""The settings of one method: config section ``train`` -> what the rooms of training ask for. No files, no logic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from s3ft_jax import checkpoints, sharding, training, transfer, variants
from s3ft_jax.bounds import find_outside
from s3ft_jax.changes import flatten
from s3ft_jax.losses import Loss
from s3ft_jax.models import kernels
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import REMAT
from s3ft_jax.models.lora import Lora, choose_targets
from s3ft_jax.models.quantization import check_dtype
from s3ft_jax.stages.launch import BASE, plain_settings
from s3ft_jax.tuning import check_trackers
from s3ft_jax.workdir import Workdir, WorkdirError

LOGITS = 2**26
"""Logits that a device makes at a time where ``train.chunk_tokens`` is 0: 256 MiB in float32."""
UNROLLED_LAYERS = 8
"""On a CPU a loop over layers copies what each of them leaves for the backward pass; a few layers need no loop."""
NUMBERS = ("validation_score", "validation_loss", "validation_kl")
"""What a look of ``validate`` measures: share of answers judged right; nats per gold token; KL(base || model), nats per
gold token."""
UNSETTLING = ("trackers", "wandb_project", "keep", "check_memory")
"""Settings that change nothing of what is trained; a run goes on where they are others."""


def method_settings(config: ConfigDict, method: str) -> dict[str, Any]:
    """``train`` settings of a method or variant: the shared ones, with those of ``train.per_method`` on top, and on
    these what the variant states. Where ``num_epochs`` counts, ``num_steps`` is what it comes to, as soon as it is
    known how many questions there are.

    Raises:
      WorkdirError: ``per_method`` names something that is no setting of ``train``, or a value cannot be.
      VariantError: the variant does, or it is of no method.
    """
    settings = plain_settings(config.train)
    settings.pop("seeds")
    num_questions = settings.pop("num_questions")
    per_method, name = settings.pop("per_method"), variants.method_of(method)
    settings = _laid_on(settings, per_method.get(name, {}), f"train.per_method.{name}")
    stated = variants.settings_of(method, flatten(settings)) if method else {}  # without a method: those of all
    settings = _laid_on(settings, _nested(stated), method)
    outside = find_outside({f"train.{name}": value for name, value in flatten(settings).items()})
    if outside:
        raise WorkdirError(f"method {method}: {outside}")
    if settings["num_epochs"] and num_questions:
        seen = min(num_questions, settings["num_examples"] or num_questions)
        settings["num_steps"] = math.ceil(settings["num_epochs"] * seen / settings["batch_size"])  # the last one, too
    return settings


def variant_name(config: ConfigDict, method: str, settings: Mapping[str, Any]) -> str:
    """The name of a method with these settings on top of its own, by their flat names; none that it has anyway.

    Two names are then the same exactly where the settings are, and runs with the same settings are made once.

    Raises:
      VariantError: a setting that cannot be.
    """
    has = flatten(method_settings(config, method))
    stated = variants.settings_of(variants.write(method, settings), has)
    return variants.write(method, {name: value for name, value in stated.items() if has[name] != value})


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"loss.dft": True} -> {"loss": {"dft": True}}"""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested


def _laid_on(settings: dict[str, Any], own: dict[str, Any], where: str) -> dict[str, Any]:
    """``own`` on top of ``settings``, section by section. Who states steps for it alone does not mean epochs."""
    unknown = sorted(set(own) - set(settings))
    if unknown:
        raise WorkdirError(f"{where}: {unknown} are not settings of train")
    inner = {
        name: _laid_on(settings[name], value, f"{where}.{name}") if isinstance(settings[name], dict) else value
        for name, value in own.items()
    }
    lays_aside = {"num_epochs": 0.0} if "num_steps" in own and "num_epochs" not in own else {}
    return settings | lays_aside | inner


def settling(settings: dict[str, Any]) -> dict[str, Any]:
    """Those that decide what a run trains."""
    return {name: value for name, value in settings.items() if name not in UNSETTLING}


def optimizer(settings: dict[str, Any]) -> training.Optimizer:
    """How parameters move. Raises OptimizerError."""
    names = ("b1", "b2", "eps", "weight_decay", "clip_norm", "ema_decay")
    values = {name: settings[name] for name in names}
    return training.Optimizer(settings["optimizer"], decay_on=tuple(settings["decay_on"]), **values)


def schedule(settings: dict[str, Any]) -> training.Schedule:
    """The learning rate of each step. Raises OptimizerError."""
    names = ("learning_rate", "num_steps", "warmup_frac", "flat_frac", "final_frac")
    return training.Schedule(shape=settings["schedule"], **{name: settings[name] for name in names})


def loss(settings: dict[str, Any]) -> Loss:
    """What is minimised.

    Raises:
      WorkdirError: a factor out of its range.
    """
    values = settings["loss"]
    if values["average"] not in ("token", "example"):
        raise WorkdirError(f"train.loss.average = {values['average']!r}; choose token or example")
    if not 0.0 <= values["label_smoothing"] < 1.0:
        raise WorkdirError(f"train.loss.label_smoothing = {values['label_smoothing']}; at least 0 and below 1")
    negative = [name for name in ("z_loss", "kl", "mask_above") if values[name] < 0]
    if negative:
        raise WorkdirError(f"train.loss.{negative[0]} = {values[negative[0]]}; at least 0, where 0 is off")
    return Loss(**{name: values[name] for name in ("dft", "label_smoothing", "z_loss", "kl")})


def step_settings(settings: dict[str, Any], architecture: DecoderConfig, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """The arguments of ``training.make_step`` beside structures and optimizer.

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
        "loss": loss(settings),
        "chunk_tokens": chunk_tokens,
        "remat": settings["remat"],
        "activation_dtype": settings["activation_dtype"],
        "attention": attention,
        "unroll": platform == "cpu" and architecture.num_layers <= UNROLLED_LAYERS,
    }


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


def looks(config: ConfigDict) -> bool:
    """Whether any method has validation questions answered while it is tuned."""
    sections = [method_settings(config, method)["validate"] for method in config.methods]
    return any(section["every"] and section["score"] for section in sections)


def check_validation(settings: Mapping[str, Any]) -> None:
    """Refuse a section ``train.validate`` that cannot be.

    Raises:
      WorkdirError: names the key.
    """
    best = settings["use_best"]
    if best and best not in NUMBERS:
        raise WorkdirError(f"train.validate.use_best = {best!r}; choose from {', '.join(NUMBERS)}, or leave it empty")
    if best and not settings["every"]:
        raise WorkdirError(f"train.validate.use_best = {best!r} needs train.validate.every above 0")
    if best == "validation_score" and not settings["score"]:
        raise WorkdirError("train.validate.use_best = 'validation_score' needs train.validate.score = True")


def check_settings(config: ConfigDict, workdir: Workdir, names: Sequence[str] = ()) -> None:
    """Find out what training would refuse before hours of sampling: the mesh, each method's step, adapters, trackers.

    Args:
      config, workdir: of the run, whose base has been imported.
      names: of methods and variants; empty: ``config.methods``.

    Raises:
      WorkdirError, AttentionError, ShardingError, LoraError, QuantizationError, OptimizerError, TrackerError: naming
        the setting.
    """
    mesh = sharding.make_mesh(**plain_settings(config.mesh))
    architecture = checkpoints.read_meta(workdir / BASE).config
    check_trackers(config.train.trackers)
    for method in names or config.methods:
        settings = method_settings(config, method)
        if settings["num_examples"] > config.train.num_questions > 0:
            raise WorkdirError(
                f"method {method}: train.num_examples = {settings['num_examples']:,}, but there are "
                f"{config.train.num_questions:,} training questions; 0 takes all"
            )
        step_settings(settings, architecture, mesh)
        optimizer(settings)
        schedule(settings)
        check_validation(settings["validate"])
        if settings["validate"]["every"] and settings["validate"]["score"]:
            transfer.check_movable(mesh)
        lora = adapters(settings["lora"], architecture) if settings["tune"] == "lora" else None
        parts = training.take_apart(
            checkpoints.abstract_decoder(architecture, lora), settings["tune"], settings["freeze"]
        )
        optimizer(settings).check_decay(parts.trainable)
