"""The quickstart shrunk to a walk of seconds, for tests."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""Flags with which XLA compiles sooner, programs that are slower."""
SMALL = [
    "task.num_train=24",
    "task.num_validation=8",
    "task.num_test=12",
    "general.limit=3",
    "sample.max_new_tokens=64",
    "sample.num_slots=16",
    "sample.shard_size=8",
    "evaluate.max_new_tokens=64",
    "train.num_examples=16",
    "train.num_steps=4",
    "train.batch_size=4",
    "train.save_every=2",
    "train.seeds=0",
    "report.num_scored=8",
    "report.num_browse=3",
    "mesh.data=1",
]
"""Overrides that shrink the quickstart to a walk of seconds."""


def small_config(*overrides: str, task: str = "arithmetic"):
    """The quickstart, shrunk."""
    from s3ft_jax.config import load_config

    return load_config(f"{ROOT / 'configs' / 'quickstart.py'}:task={task}", [*SMALL, *overrides])


def accept(workdir, key: str, name: str) -> None:
    """Have the manifest of a stage say that it wrote the file as it is now."""
    from s3ft_jax.seals import sealed

    manifest = workdir.manifest(key)
    manifest["outputs"][name] = workdir.output_digest(name)
    workdir.write_bytes(f"manifests/{key}.json", sealed(manifest))
