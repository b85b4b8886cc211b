"""Benchmark: how long the programs of one sampling run take to compile for a TPU, without one (needs libtpu).

    python -m benchmarks.compiling [--topology v6e:1x1] [--model derived/Mistral-7B-Instruct-v0.2] [--slots 64]

The programs that GSM8K asks for: prompts of up to 256 tokens, responses of up to 256 more. Nothing is taken from the
cache of compiled programs. Prints one JSON object with the seconds of each.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from s3ft_jax import hf_folder, sharding
from s3ft_jax.generation.engine import Engine
from s3ft_jax.generation.programs import Prompts
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.models import families
from s3ft_jax.planning import compiled, lowering
from s3ft_jax.planning.chips import parse_topology

CONFIGS = pathlib.Path(os.environ.get("S3FT_DATA_DIR", "../shared/data")) / "hf_configs"
LONGEST_PROMPT = 256


def abstract_prompts(engine: Engine, length: int, mesh: jax.sharding.Mesh) -> Prompts:
    """A prefilled batch, as shapes that lie on the mesh."""
    rows = engine.prefill_shape(length)[0]
    whole = NamedSharding(mesh, PartitionSpec())
    place = lowering.abstract_state(engine, length, mesh).cache.keys.sharding
    cache = jax.eval_shape(lambda: engine.programs.empty(length)).cache
    cache = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((leaf.shape[0], rows, *leaf.shape[2:]), leaf.dtype, sharding=place), cache
    )
    shapes = ((rows, length), (rows,))
    return Prompts(cache, *(jax.ShapeDtypeStruct(shape, jnp.int32, sharding=whole) for shape in shapes))


def programs(engine: Engine, params: Any, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """What a run compiles, by name: a function that lowers each."""
    lengths = sorted({engine.cache_length(positions) for positions in (256, 512)})
    states = {length: lowering.abstract_state(engine, length, mesh) for length in lengths}
    rows = [jax.ShapeDtypeStruct((size,), jnp.int32) for size in (engine.num_slots, engine.num_slots, 1)]
    found: dict[str, Any] = {}
    prompt_lengths = [length for length in engine.prompt_buckets if length <= LONGEST_PROMPT]
    for length in prompt_lengths:
        found[f"prefill {length}"] = lambda length=length: engine.lower_prefill(params, length)
    for length, state in states.items():
        found[f"decode {length}"] = lambda state=state: engine.lower_decode(params, state)
        for prompt in prompt_lengths:
            prompts = abstract_prompts(engine, prompt, mesh)
            found[f"insert {prompt} into {length}"] = lambda state=state, prompts=prompts: engine.programs.insert.lower(
                state, prompts, *rows
            )
    for before, after in zip(lengths, lengths[1:] + lengths[:1], strict=True):
        if before != after:
            found[f"resize {before} to {after}"] = lambda before=before, after=after: engine.programs.resize.lower(
                states[before], after
            )
    return found


def main() -> None:
    """Compile all and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v6e:1x1")
    parser.add_argument("--model", default="derived/Mistral-7B-Instruct-v0.2", help="below S3FT_DATA_DIR/hf_configs")
    parser.add_argument("--slots", type=int, default=64)
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    place = parse_topology(arguments.topology)
    mesh = sharding.make_mesh(1, 1, place.num_chips, devices=compiled.topology_devices(place))
    config = families.read_config(hf_folder.read_architecture(CONFIGS / arguments.model), arguments.model)[0]
    settings = EngineSettings(num_slots=arguments.slots, activation_dtype="bfloat16")
    engine, shapes = lowering.sampling_engine(config, "bfloat16", mesh, settings=settings)
    seconds = {}
    for name, lower in programs(engine, sharding.placed(shapes, mesh), mesh).items():
        seconds[name] = round(compiled.compile_program(lower).seconds, 1)
    total = round(sum(seconds.values()), 1)
    print(
        json.dumps({"total": total, "seconds": seconds, "settings": vars(arguments), "cores": os.cpu_count()}, indent=1)
    )


if __name__ == "__main__":
    main()
