"""Stage: how far a tuned model is from the base on the task -> drift/METHOD/SPLIT.json.

KL(base || model) per token, exact over the vocabulary, along the base's own answers to held-out questions. On the new
task's inputs this distance tells how much was forgotten elsewhere (RL's Razor, arXiv 2509.04259); the report shows it
beside what was measured.
"""

from __future__ import annotations

import json
from typing import Any

from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from s3ft_jax import batches, checkpoints, sharding, training
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.progress import say
from s3ft_jax.records import Response, Selection
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import evaluate, tuned_model
from s3ft_jax.stages.launch import BASE, plain_settings
from s3ft_jax.stages.method_settings import method_settings, step_settings
from s3ft_jax.stages.validate import probe_batches
from s3ft_jax.workdir import Workdir

ROUND_TO = 64
"""Rows are as long as the longest answer, up to the next multiple of this."""


def key(method: str, seed: int, split: str) -> str:
    """Name of the stage in ``manifests/``."""
    return f"drift-{evaluate.name(method, seed).replace('/', '-')}-{split}"


def file(method: str, seed: int, split: str) -> str:
    """Where the number lies, below the workdir."""
    return f"drift/{evaluate.name(method, seed)}/{split}.json"


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int, *, split: str = "", redo: bool = False) -> None:
    """Measure a tuned model; nothing where ``evaluate.kl`` is 0.

    Args:
      config, workdir, method, seed: whose model.
      split: whose questions; empty: ``evaluate.split``. The base must have answered them.
      redo: see ``Workdir.stage``.
    """
    split = split or config.evaluate.split
    if not config.evaluate.kl:
        return
    settings = {"kl": config.evaluate.kl, "mesh": plain_settings(config.mesh)}
    reads = ["import", "prepare", evaluate.key(evaluate.UNTUNED, None, split), tuned_model.key(method, seed)]
    name = file(method, seed, split)
    with workdir.stage(key(method, seed, split), settings=settings, reads=reads, writes=[name], redo=redo) as stage:
        if not stage.needed:
            return say(f"drift {evaluate.name(method, seed)}: already done")
        found = _measure(config, workdir, method, seed, _answers(workdir, split, config.evaluate.kl))
        workdir.write_bytes(name, json.dumps(found).encode())
        stage.facts = {"tokens": found["tokens"]}
        say(f"drift {evaluate.name(method, seed)}: KL to the base {found['kl']:.4f} nats a token of {split}")


def _answers(workdir: Workdir, split: str, count: int) -> list[Selection]:
    """A seeded choice of the base's answers, as rows."""
    where = f"scores/{evaluate.name(evaluate.UNTUNED, None)}/{split}-responses"
    responses = read_shards(workdir, Response, where)
    chosen = batches.hash_order([response.example_id for response in responses], "drift")[:count]
    return [
        Selection(one.example_id, evaluate.UNTUNED, "own", 0, one.text, one.prompt_ids, one.response_ids, "drift")
        for one in (responses[place] for place in chosen)
    ]


def _base(tuned: Decoder, workdir: Workdir, mesh: Mesh) -> Decoder:
    """The base: the tuned model without its adapters, on the same arrays, or else a second copy.

    Either way less memory than training took: adapters' gradients and moments, or all parameters' gradients.
    """
    if tuned.lora is None:
        return checkpoints.load_decoder(workdir / BASE, mesh)
    base = nnx.merge(*nnx.split(tuned))
    base.drop_adapters()
    return base


def _measure(config: ConfigDict, workdir: Workdir, method: str, seed: int, rows: list[Selection]) -> dict[str, Any]:
    mesh = sharding.make_mesh(**plain_settings(config.mesh))
    settings = method_settings(config, method)
    tuned = tuned_model.load(workdir, method, seed, merge=False, mesh=mesh)
    graphdef, params = nnx.split(tuned)
    base = nnx.split(_base(tuned, workdir, mesh))
    step = step_settings(settings, checkpoints.read_meta(workdir / BASE).config, mesh)
    options = {name: step[name] for name in ("chunk_tokens", "activation_dtype", "attention", "unroll")}
    probe = training.make_probe(graphdef, base[0], **options)
    longest = max(len(row.prompt_ids) + len(row.response_ids) for row in rows)
    parts = probe_batches(rows, -(-longest // ROUND_TO) * ROUND_TO, settings["batch_size"], mesh)
    sums = [probe(params, nnx.State({}), batch, base[1]) for batch in parts]
    weight = sum(float(one.weight) for one in sums)
    return {"kl": sum(float(one.kl) for one in sums) / weight, "tokens": round(weight), "examples": len(rows)}
