"""The programs of a real run, lowered without arrays: train step, prefill, decode chunk.

In: an architecture, settings, a mesh. Out: ``jax.stages.Lowered`` of the very functions that ``train`` and ``sample``
call (``training.make_step``, ``generation.engine.Engine``), with ``ShapeDtypeStruct`` arguments in their real places.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from s3ft_jax import sharding, training
from s3ft_jax.batches import Batch
from s3ft_jax.generation.engine import Engine
from s3ft_jax.generation.programs import State
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.models import cached_attention
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.planning.costs import TrainSizes
from s3ft_jax.training.optimizers import path_name


def abstract_parts(
    config: DecoderConfig, *, dtype: str, lora: Lora | None = None, base_dtype: str = ""
) -> training.Parts:
    """The decoder taken apart as for training, its parameters shapes only.

    Args:
      config: architecture.
      dtype: of the imported parameters (``model.dtype``).
      lora: adapters, or None for full fine-tuning.
      base_dtype: of the frozen kernels beside adapters (``train.lora.base_dtype``).
    """

    def build() -> Decoder:
        decoder = Decoder(config, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))
        if lora is not None:
            decoder.add_adapters(lora, nnx.Rngs(0))
            decoder.round_kernels(base_dtype)
        return decoder

    return training.take_apart(nnx.eval_shape(build), "full" if lora is None else "lora")


def train_state(
    parts: training.Parts, optimizer: training.Optimizer, mesh: Mesh | AbstractMesh
) -> tuple[training.TrainState, nnx.State]:
    """State before the first step and frozen parameters, where ``training.start`` puts them.

    What the optimizer keeps of a parameter, in its shape, lies where it lies; all else is whole on every device.
    """
    whole = NamedSharding(mesh, PartitionSpec())
    state = jax.eval_shape(
        lambda trainable: training.first_state(parts._replace(trainable=trainable), optimizer), parts.trainable
    )
    trainable, frozen = sharding.placed(state.trainable, mesh), sharding.placed(parts.frozen, mesh)
    params = {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(trainable)[0]}

    def beside(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        """By the end of its path, which is a parameter's where the leaf belongs to one."""
        param = next((params[name] for name in params if f".{path_name(path)}".endswith(f".{name}")), None)
        own = param is not None and param.shape == leaf.shape
        return _with_sharding(leaf, param.sharding if own else whole)

    average = None if state.average is None else sharding.placed(state.average, mesh)
    moments = jax.tree.map_with_path(beside, state.opt_state)
    return training.TrainState(_with_sharding(state.step, whole), trainable, moments, average), frozen


def abstract_batch(sizes: TrainSizes, mesh: Mesh | AbstractMesh) -> Batch:
    """The batch of one step, [A, B, T], its rows over data and fsdp."""
    shape = (sizes.micro_batches, sizes.rows, sizes.length)
    place = sharding.batch_sharding(mesh, len(shape))
    ids, weights = (jax.ShapeDtypeStruct(shape, dtype, sharding=place) for dtype in (jnp.int32, jnp.float32))
    return Batch(ids, ids, ids, weights)


def lower_train(
    parts: training.Parts,
    optimizer: training.Optimizer,
    sizes: TrainSizes,
    mesh: Mesh,
    options: dict[str, Any],
) -> jax.stages.Lowered:
    """The optimizer step.

    Args:
      parts: of ``abstract_parts``.
      optimizer: how parameters move.
      sizes: of the batch.
      mesh: real, or of a topology.
      options: further arguments of ``training.make_step``.
    """
    state, frozen = train_state(parts, optimizer, mesh)
    step = training.make_step(parts.graphdef, optimizer, **options)
    return step.lower(state, frozen, abstract_batch(sizes, mesh), 0, np.float32(0))


def sampling_engine(
    config: DecoderConfig, dtype: str, mesh: Mesh | None = None, *, settings: EngineSettings, **sizes: int
) -> tuple[Engine, nnx.State]:
    """An engine as ``responder.answer`` builds it, and the shapes of its parameters.

    Which ids end a response changes neither memory nor time, so the tokenizer is not asked.

    Args:
      config: architecture.
      dtype: of the imported parameters.
      mesh: the devices, real or of a topology; None: for its sizes alone.
      settings: shape and precision, ``num_slots`` given.
      **sizes: prefill_tokens of ``Engine``.
    """
    decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype)))
    graphdef, params = nnx.split(decoder)
    attention = CachedAttention()
    if mesh is not None:
        attention = cached_attention.choose(sharding.placed(params, mesh), settings.attention)
    sizes |= {
        "num_slots": settings.num_slots,
        "chunk_steps": settings.chunk_steps,
        "exact": settings.exact,
    } | settings.dtypes
    return Engine(graphdef, config, stop_ids=(0,), pad_id=0, attention=attention, mesh=mesh, **sizes), params


def abstract_state(engine: Engine, length: int) -> State:
    """The state of an engine that has a mesh, the cache ``length`` positions long."""
    state = jax.eval_shape(lambda: engine.programs.empty(length))
    return jax.tree.map(_with_sharding, state, engine.programs.state_shardings(state))


def _with_sharding(leaf: jax.ShapeDtypeStruct, place: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
