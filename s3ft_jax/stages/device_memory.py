"""Whether training fits a device's memory: asked before hours of sampling, and told again where it ran out.

In: settings, the imported base and a few examples. Out: nothing, or an error that names figures and settings that help.
The estimate is that of ``s3ft plan`` and of the table told before training; ``train.check_memory=False`` goes on
against it. Of a CPU nothing is known, and nothing is said.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from s3ft_jax import batches, checkpoints, sharding
from s3ft_jax.generation.fitting import is_out_of_memory
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.planning import costs, lowering, memory
from s3ft_jax.planning.experiment import TrainStep
from s3ft_jax.planning.forecast import MARGIN
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example
from s3ft_jax.stages.launch import BASE, plain_settings
from s3ft_jax.stages.method_settings import method_settings
from s3ft_jax.stages.plan import describe, size
from s3ft_jax.stages.remedies import Devices, Remedy, listed, remedies
from s3ft_jax.stages.select import encode_gold
from s3ft_jax.workdir import Workdir, WorkdirError

LOOKED_AT = 256
"""Training examples by whose gold it is estimated how many rows a step takes."""
NEEDLESS = ("learning_rate", "num_steps", "num_epochs")
"""Settings of ``train`` in which the points of a grid differ, and that take no memory."""


class OutOfMemory(WorkdirError):
    """Training does not fit the devices, by the estimate or in fact. The message holds figures and what helps."""


class Need(NamedTuple):
    """Bytes of one device: kept between steps, and to work in; for so many rows a step."""

    kept: int
    working: int
    rows: int

    @property
    def total(self) -> int:
        """Of both."""
        return self.kept + self.working


def limit_of(mesh: jax.sharding.Mesh) -> int:
    """Bytes that programs may use of a device; 0 where it does not say, and on CPUs."""
    device = next(iter(mesh.local_devices), None)  # another process's does not tell us
    stats = device.memory_stats() if device is not None and device.platform != "cpu" else None
    return (stats or {}).get("bytes_limit", 0)


def need_of(
    config: ConfigDict, architecture: DecoderConfig, method: str, devices: Devices, platform: str, rows: int = 0
) -> Need:
    """What training needs of a device, by the estimate.

    Args:
      config, method: see ``plan.describe``.
      architecture: of the base.
      devices: that it runs on.
      platform: JAX's name of their kind.
      rows: of a step; 0: as many as it has examples.
    """
    experiment = describe(config, architecture, method, platform)
    split = costs.Split(**sharding.mesh_sizes(**plain_settings(config.mesh), num_devices=devices.count))
    step = TrainStep(experiment, split, devices.num_slices)
    rows = -(-(rows or experiment.batch_size) // step.unit) * step.unit
    kept, working = step.estimate(rows)
    settings = method_settings(config, method)
    if settings["tune"] == "full" and (settings["loss"]["kl"] or settings["validate"]["every"]):  # train's second copy
        parts = lowering.abstract_parts(architecture, dtype=config.model.dtype)
        kept += memory.bytes_per_chip(sharding.placed(parts.trainable, memory.abstract_mesh(split)))
    return Need(kept, working, rows)


def need_on(
    config: ConfigDict, architecture: DecoderConfig, method: str, mesh: jax.sharding.Mesh, rows: int = 0
) -> Need:
    """``need_of``, on the devices that are attached."""
    return need_of(config, architecture, method, *_where(mesh), rows)


def check(config: ConfigDict, workdir: Workdir, names: Sequence[str] = ()) -> None:
    """Stop where training would not fit, before anything is sampled.

    Args:
      config, workdir: of the run, whose base has been imported and whose examples are prepared.
      names: of methods and variants; empty: ``config.methods``.

    Raises:
      OutOfMemory: see there.
    """
    mesh = sharding.make_mesh(**plain_settings(config.mesh))
    limit = limit_of(mesh)
    if not limit:
        return
    architecture = checkpoints.read_meta(workdir / BASE).config
    lengths, seen = _lengths(workdir), set()
    for method in names or config.methods:
        settings = method_settings(config, method)
        alike = json.dumps({name: value for name, value in settings.items() if name not in NEEDLESS}, default=str)
        if alike in seen:
            continue
        seen.add(alike)
        rows = rows_of(settings, lengths)
        need = need_on(config, architecture, method, mesh, rows)
        if need.total <= limit:
            continue
        shown = (
            f"train {method} needs about {size(need.total)} of a device, which has {size(limit)}: {size(need.kept)} of "
            f"parameters and optimizer, {size(need.working)} to work in, with {need.rows} rows of "
            f"{settings['max_length']:,} tokens a step"
        )
        if not settings["check_memory"]:
            say(f"warning: {shown}; train.check_memory is off")
            continue
        helps = advice(config, architecture, method, mesh, rows, round(MARGIN * limit))
        raise OutOfMemory(
            f"{shown}. Nothing has been sampled yet. {helps} It is an estimate: --config.train.check_memory=False goes "
            "on all the same."
        )


@contextlib.contextmanager
def explained(config: ConfigDict, architecture: DecoderConfig, method: str, rows: int) -> Iterator[None]:
    """Within this block a device that has no room left ends in an error that says what to do.

    Raises:
      OutOfMemory: see there.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        mesh = sharding.make_mesh(**plain_settings(config.mesh))
        has = f", which has {size(limit_of(mesh))}" if limit_of(mesh) else ""
        raise OutOfMemory(
            f"train {method}: a device{has} ran out of memory ({str(error).strip().splitlines()[0][:200]}). "
            f"{advice(config, architecture, method, mesh, rows, 0)} With changed settings and --redo the same command "
            "trains this anew; what is sampled and judged stays."
        ) from error


def advice(
    config: ConfigDict, architecture: DecoderConfig, method: str, mesh: jax.sharding.Mesh, rows: int, limit: int
) -> str:
    """Settings that help, in a sentence; see ``remedies``."""

    def need(changed: ConfigDict) -> int:
        return need_on(changed, architecture, method, mesh, rows).total

    return sentence(remedies(config, method, _where(mesh)[0], rows, need, limit), limit)


def sentence(found: Sequence[Remedy], limit: int) -> str:
    """What helps, for people."""
    if not found:
        return "No setting would make it less: take more or larger devices, or a smaller model."
    enough = limit and found[-1].need > limit
    more = " That is not enough: take more or larger devices, or a smaller model." if enough else ""
    return f"What helps, each with those before it: {listed(list(found))}.{more}"


def rows_of(settings: dict[str, Any], lengths: Sequence[int]) -> int:
    """Rows of a step, by examples of these lengths; one that is longer than a row has one to itself."""
    if settings["batch_rows"]:
        return settings["batch_rows"]
    most, wanted = settings["max_length"], settings["batch_size"]
    lengths = [min(most, length) for length in lengths]
    steps = [lengths[first : first + wanted] for first in range(0, len(lengths) - wanted + 1, wanted)]
    return max((len(batches.pack(step, most)) for step in steps), default=wanted)


def _lengths(workdir: Workdir) -> list[int]:
    """Tokens of prompt and gold of a few training examples; own answers may be longer or shorter."""
    examples = workdir.read_records(Example, "examples/train.jsonl")
    encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
    chosen = [examples[i] for i in batches.hash_order([example.id for example in examples], "memory")[:LOOKED_AT]]
    golds = [encode_gold(encoder, example) for example in chosen]
    return [len(gold.prompt_ids) + len(gold.response_ids) for gold in golds]


def _where(mesh: jax.sharding.Mesh) -> tuple[Devices, str]:
    every = jax.devices()
    return Devices(len(every), len(sharding.slices_of(every))), mesh.devices.flat[0].platform
