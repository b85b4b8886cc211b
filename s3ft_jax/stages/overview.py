"""What will be trained, told before it starts: examples, tokens and masks, batches, memory. Part of ``train``."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from s3ft_jax import training
from s3ft_jax.batches import BatchPlan
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.planning import costs
from s3ft_jax.planning.chips import peak_flops
from s3ft_jax.planning.experiment import TrainStep
from s3ft_jax.progress import console
from s3ft_jax.records import Selection
from s3ft_jax.stages.device_memory import limit_of, need_on
from s3ft_jax.stages.plan import describe, size
from s3ft_jax.workdir import WorkdirError


@dataclasses.dataclass(frozen=True)
class Speed:
    """What a step takes at least.

    Attributes:
      flops: of one step over all devices, without what is computed twice to save memory.
      peak: that all devices together can do in a second; 0 where that is not known.
    """

    flops: float
    peak: float


def tell(
    title: str,
    config: ConfigDict,
    method: str,
    plan: BatchPlan,
    selections: Sequence[Selection],
    weighed: Sequence[np.ndarray],
    parts: training.Parts,
    architecture: DecoderConfig,
    mesh: jax.sharding.Mesh,
) -> Speed:
    """Print the table.

    Args:
      title: of the run.
      config, method: whose settings count.
      plan: every step of the run.
      selections: what it speaks of.
      weighed: each selection's token weights (``batches.token_weights``).
      parts: the decoder taken apart.
      architecture: of the decoder.
      mesh: the devices.

    Raises:
      WorkdirError: an example's end token is not trained; names it.
    """
    check_masks(selections, weighed)
    experiment = describe(config, architecture, method, mesh.devices.flat[0].platform)
    split = costs.Split(**mesh.shape)
    step = TrainStep(experiment, split)
    need = need_on(config, architecture, method, mesh, plan.rows_per_step)
    facts = examples(plan, selections, weighed) | {
        "steps": f"{len(plan.steps):,}, each {need.rows} rows of {plan.row_length:,} tokens; {plan.fill:.0%} of them "
        "filled",
        "learns": f"{_count(parts.trainable):,} of {_count(parts.trainable) + _count(parts.frozen):,} parameters, "
        f"{experiment.optimizer.name}",
        "memory of a device": f"about {size(need.total)}: {size(need.kept)} of parameters and optimizer, "
        f"{size(need.working)} to work in{_capacity(mesh)}",
    }
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)
    flops = costs.train_flops(architecture, dataclasses.replace(step.sizes(need.rows), remat="none"))
    return Speed(flops, mesh.size * peak_flops(mesh.devices.flat[0].device_kind, step.dtype))


def check_masks(selections: Sequence[Selection], weighed: Sequence[np.ndarray]) -> None:
    """Every answer's last token, where it ends, must be trained, or the model never learns to stop.

    Raises:
      WorkdirError: names the examples.
    """
    wrong = [one.example_id for one, weights in zip(selections, weighed, strict=True) if not weights[-1] > 0]
    if wrong:
        raise WorkdirError(f"{len(wrong)} examples whose end token is not trained, e.g. {wrong[:3]}")


def examples(plan: BatchPlan, selections: Sequence[Selection], weighed: Sequence[np.ndarray]) -> Mapping[str, str]:
    """Rows of the table about what is trained on, by origin; what is longer than a row is told, and counts no more."""
    told = [pair for pair in zip(selections, weighed, strict=True) if _length(pair[0]) <= plan.row_length]
    count: collections.Counter[str] = collections.Counter()
    answers: collections.Counter[str] = collections.Counter()
    trained = prompts = longest = 0
    for one, weights in told:
        count[one.origin] += 1
        answers[one.origin] += len(one.response_ids)
        trained += int(np.sum(weights > 0))
        prompts += len(one.prompt_ids)
        longest = max(longest, _length(one))
    masked = sum(answers.values()) - trained
    out = f"; {len(plan.dropped)} longer than a row left out" if plan.dropped else ""
    return {
        "examples": f"{len(told):,}: {_listed(count)}{out}",
        "passes over the data": _passes(plan, len(told)),
        "answer tokens": f"{sum(answers.values()):,}: {_listed(answers)}; {masked:,} masked",
        "prompt tokens": f"{prompts:,}, read and not trained; longest example {longest:,} tokens",
        "masks": f"checked: each of the {len(told):,} end tokens is trained",
    }


def _length(one: Selection) -> int:
    return len(one.prompt_ids) + len(one.response_ids)


def _passes(plan: BatchPlan, there: int) -> str:
    """How often the examples that fit are gone through, and how many are seen at all."""
    members = [index for step in plan.steps for row in step.rows for index in row]
    times = len(members) / there
    shown = f"{times:.2f}" if times < 1 else f"{times:.1f}"
    return f"{shown} ({len(set(members)):,} of {there:,} examples seen)"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in counts.items())


def _count(params: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def _capacity(mesh: jax.sharding.Mesh) -> str:
    """What a device has, where it says so."""
    limit = limit_of(mesh)
    return f"; it has {size(limit)}" if limit else ""
