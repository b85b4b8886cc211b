"""A tiny architecture and an experiment on it, for the tests of planning."""

import dataclasses
from typing import Any

from s3ft_jax import training
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.kernels import Attention
from s3ft_jax.planning.experiment import Experiment

CONFIG = DecoderConfig(
    vocab_size=128, num_layers=2, model_dim=64, mlp_dim=128, num_heads=4, num_kv_heads=2, head_dim=16, max_positions=256
)
SETTINGS = training.Optimizer()


def step(mesh: Any = None, **changes: Any) -> dict[str, Any]:
    """Arguments of ``training.make_step``; the reference attention, so that it runs anywhere."""
    values = {"chunk_tokens": 0, "remat": "full", "activation_dtype": "bfloat16", "attention": Attention(mesh=mesh)}
    return values | changes


EXPERIMENT = Experiment(
    config=CONFIG,
    dtype="float32",
    tuned_dtype="float32",
    lora=None,
    base_dtype="",
    optimizer=SETTINGS,
    step=step,
    batch_size=8,
    accumulation=1,
    max_length=64,
    mesh={"data": -1, "fsdp": 1, "tensor": 1},
    engine=EngineSettings(num_slots=8, chunk_steps=4),
    prompt_tokens=40,
    new_tokens=24,
)


def changed(**values: Any) -> Experiment:
    """The experiment with other values."""
    return dataclasses.replace(EXPERIMENT, **values)
