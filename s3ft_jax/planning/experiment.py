"""The programs of an experiment: train step, prefill and decode chunk, each for any batch size, on paper or lowered.

In: an ``Experiment``, which a config's settings become. Out: for a batch size, bytes per chip, ``costs.Work``, and the
lowered program of the real run.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh

from s3ft_jax import sharding, training
from s3ft_jax.generation.engine import PREFILL_TOKENS, Engine
from s3ft_jax.generation.settings import EngineSettings, fitting_slots
from s3ft_jax.models import cached_attention, head_copies
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.lora import Lora
from s3ft_jax.models.weights import flat_params
from s3ft_jax.planning import costs, lowering, memory


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What of an experiment decides memory and speed.

    Attributes:
      config: architecture.
      dtype, tuned_dtype: of the parameters as imported, and while they are tuned (adapters are float32).
      lora, base_dtype: adapters (None: full fine-tuning) and the dtype of the frozen kernels beside them.
      optimizer: see ``training.Optimizer``.
      step: mesh, real or abstract -> arguments of ``training.make_step``, for the run and for its estimates.
      batch_size, accumulation, max_length: examples per step, each in a row of its own (packing makes fewer rows);
        micro-batches; tokens of a row.
      mesh: data, fsdp, tensor as in the config.
      engine: shape and precision of sampling.
      prompt_tokens, new_tokens: of its longest prompt, and of a response.
      platform: JAX's name of the kind of device it runs on: tpu, gpu or cpu.
    """

    config: DecoderConfig
    dtype: str
    tuned_dtype: str
    lora: Lora | None
    base_dtype: str
    optimizer: training.Optimizer
    step: Callable[[Mesh | AbstractMesh], dict[str, Any]]
    batch_size: int
    accumulation: int
    max_length: int
    mesh: dict[str, int]
    engine: EngineSettings
    prompt_tokens: int
    new_tokens: int
    platform: str = "tpu"


class Program(Protocol):
    """One of the programs on chips that compute together. A size is what the batch is counted in.

    Attributes:
      name, counted: train, prefill or decode, and what a size counts.
      split: sizes of the mesh's axes; of one of ``copies`` copies of the model that compute side by side.
      dtype: of the inputs of its products.
      size, unit: the experiment's own size; sizes are multiples of unit.
    """

    name: str
    counted: str
    split: costs.Split
    copies: int
    dtype: str
    size: int
    unit: int

    def shape(self, size: int) -> str:
        """What it computes, in words."""

    def estimate(self, size: int) -> tuple[int, int]:
        """Bytes per chip: arguments (exact but for some bytes a row) and temporaries (an estimate)."""

    def beside(self, size: int) -> int:
        """Bytes per chip that the run keeps while this program runs, and the program knows nothing of."""

    def work(self, size: int) -> costs.Work:
        """Operations and bytes of one run, per chip."""

    def lower(self, size: int, mesh: Mesh) -> jax.stages.Lowered:
        """The real run's program, on a mesh with all copies along data."""


class TrainStep:
    """The optimizer step; a size is rows of all micro-batches together.

    Args:
      experiment: whose settings count.
      split: the mesh.
      num_slices: TPU slices that it lies on.
    """

    name, counted, copies = "train", "rows", 1

    def __init__(self, experiment: Experiment, split: costs.Split, num_slices: int = 1):
        self.experiment, self.split, self.num_slices = experiment, split, num_slices
        self.step = experiment.step(memory.abstract_mesh(split))
        self.dtype = self.step["activation_dtype"]
        self.unit = experiment.accumulation * split.row_parts
        self.size = -(-experiment.batch_size // self.unit) * self.unit  # filled up, as training.split_micro does
        self._parts = lowering.abstract_parts(
            experiment.config, dtype=experiment.tuned_dtype, lora=experiment.lora, base_dtype=experiment.base_dtype
        )

    def sizes(self, size: int) -> costs.TrainSizes:
        """The step with so many rows."""
        lora = self.experiment.lora
        return costs.TrainSizes(
            micro_batches=self.experiment.accumulation,
            rows=size // self.experiment.accumulation,
            length=self.experiment.max_length,
            tune="full" if lora is None else "lora",
            rank=0 if lora is None else lora.rank,
            targets=() if lora is None else lora.targets,
            remat=self.step["remat"],
            chunk_tokens=self.step["chunk_tokens"],
            attention=self.step["attention"].implementation,
            activation_bytes=memory.number_bytes(self.dtype),
        )

    @property
    def settings(self) -> str:
        """What is tuned and how, in words."""
        lora, sizes = self.experiment.lora, self.sizes(self.size)
        tuned = "all parameters" if lora is None else f"lora of rank {lora.rank} on {' '.join(lora.targets)}"
        whole = sizes.loss_places == sizes.length - 1
        logits = sizes.rows * sizes.loss_places
        return (
            f"{tuned}, parameters {self.experiment.tuned_dtype}, activations {self.dtype}, remat {sizes.remat}, "
            f"attention {sizes.attention}, logits {'all at once' if whole else f'of {logits:,} tokens at a time'}"
        )

    def shape(self, size: int) -> str:
        """See ``Program``."""
        parts = f" in {self.experiment.accumulation}" if self.experiment.accumulation > 1 else ""
        return f"{size} x {self.experiment.max_length:,} tokens{parts}"

    def estimate(self, size: int) -> tuple[int, int]:
        """See ``Program``."""
        kept, weights = self._kept
        batch = memory.bytes_per_chip(lowering.abstract_batch(self.sizes(size), memory.abstract_mesh(self.split)))
        return kept + batch, memory.train_temporaries(self.experiment.config, self.sizes(size), weights, self.split)

    def beside(self, size: int) -> int:
        """Nothing: the state takes the loaded parameters' place (``tuning.resume``)."""
        return 0

    def work(self, size: int) -> costs.Work:
        """See ``Program``."""
        return costs.train_work(self.experiment.config, self.sizes(size), self._kept[1], self.split, self.num_slices)

    def lower(self, size: int, mesh: Mesh) -> jax.stages.Lowered:
        """See ``Program``."""
        step = self.experiment.step(mesh)
        return lowering.lower_train(self._parts, self.experiment.optimizer, self.sizes(size), mesh, step)

    @functools.cached_property
    def _kept(self) -> tuple[int, costs.Weights]:
        """Bytes of state and frozen parameters, and the weights."""
        mesh = memory.abstract_mesh(self.split)
        state, frozen = lowering.train_state(self._parts, self.experiment.optimizer, mesh)
        weights = memory.weights_of(self.experiment.config, frozen, self.split, memory.number_bytes(self.dtype), state)
        return memory.bytes_per_chip(state) + memory.bytes_per_chip(frozen), weights


class _Sampling:
    """What prefill and decode share: one engine's chips, parameters and lengths.

    Args:
      experiment: with a number of slots (``sized``).
      split: the chips that share the model.
      copies: of the model; the batch sizes are one's.
    """

    unit = 1

    def __init__(self, experiment: Experiment, split: costs.Split, copies: int = 1):
        self.experiment, self.split, self.copies = experiment, split, copies
        self.dtype = experiment.engine.activation_dtype

    def engine(self, slots: int, prompts: int, mesh: Mesh | None = None) -> tuple[Engine, nnx.State]:
        """The engine for so many slots, and for so many prompts in a prefill; its abstract parameters."""
        return lowering.sampling_engine(
            self.experiment.config,
            self.experiment.dtype,
            mesh,
            settings=dataclasses.replace(self.experiment.engine, num_slots=slots),
            prefill_tokens=prompts * self._own[0].prefill_shape(self.experiment.prompt_tokens)[1],
        )

    @functools.cached_property
    def _own(self) -> tuple[Engine, nnx.State]:
        own = self.experiment
        return lowering.sampling_engine(
            own.config, own.dtype, settings=dataclasses.replace(own.engine, num_slots=own.engine.num_slots or 1)
        )

    def sized(self, capacity: int) -> Experiment:
        """The experiment with the number of slots that a chip of so many bytes would choose, where it gives none."""
        engine, attention = self.experiment.engine, cached_attention.suiting(self.experiment.platform)
        if engine.num_slots:
            return self.experiment
        room = capacity - memory.bytes_per_chip(sharding.placed(self._own[1], memory.abstract_mesh(self.split)))
        slots = fitting_slots(engine, self.experiment.config, attention, room, PREFILL_TOKENS, self.split.tensor)
        return dataclasses.replace(self.experiment, engine=dataclasses.replace(engine, num_slots=slots))

    @property
    def param_bytes(self) -> int:
        """Of all parameters in the dtype of the stream, by which ``s3ft sample`` chooses its chips."""
        return memory.number_bytes(self.dtype) * sum(leaf.size for leaf in jax.tree.leaves(self._own[1]))

    @functools.cached_property
    def _weights(self) -> costs.Weights:
        own = self.experiment.config
        return memory.weights_of(own, self._params, self.split, memory.number_bytes(self.dtype))

    @functools.cached_property
    def _params(self) -> nnx.State:
        """As the programs take them, in their places."""
        own, mesh = self.experiment.config, memory.abstract_mesh(self.split)
        copies = head_copies.num_copies(own, self.split.tensor)
        return head_copies.copied(sharding.placed(self._own[1], mesh), own, copies, mesh)

    @functools.cached_property
    def _once(self) -> int:
        """Bytes per chip of parameters that are kept beside their copies."""
        loaded = flat_params(sharding.placed(self._own[1], memory.abstract_mesh(self.split)))
        used = flat_params(self._params)
        return memory.bytes_per_chip([leaf for path, leaf in loaded.items() if leaf.shape != used[path].shape])

    def sizes(self, slots: int, prompts: int) -> costs.SampleSizes:
        """The shapes that the engine gives the two programs."""
        own = self.experiment
        positions = min(own.prompt_tokens + own.new_tokens, own.config.max_positions) - 1  # the last is not fed
        return costs.SampleSizes(
            prompts=prompts,
            prompt_length=self._own[0].prefill_shape(own.prompt_tokens)[1],
            slots=slots,
            cache_length=self._own[0].cache_length(positions),
            steps=own.engine.chunk_steps,
            activation_bytes=memory.number_bytes(self.dtype),
            cache_bytes=own.engine.dtypes["cache_dtype"].itemsize,
        )

    def _cache(self, rows: int, length: int) -> int:
        """Bytes per chip of a cache of so many rows and positions."""
        numbers = self.experiment.engine.dtypes["cache_dtype"].itemsize
        return memory.cache_per_chip(self.experiment.config, rows, length, numbers, self.split)


class Prefill(_Sampling):
    """One batch of prompts of the longest length; a size is prompts."""

    name, counted = "prefill", "prompts"

    @property
    def size(self) -> int:
        """Prompts that the engine puts into one batch."""
        return self._own[0].prefill_shape(self.experiment.prompt_tokens)[0]

    def shape(self, size: int) -> str:
        """See ``Program``."""
        return f"{size} x {self.sizes(1, size).prompt_length:,} tokens"

    def estimate(self, size: int) -> tuple[int, int]:
        """See ``Program``."""
        config, sizes = self.experiment.config, self.sizes(1, size)
        prompts = 4 * size * (sizes.prompt_length + 1)  # ids, and how many count
        cache = self._cache(size, sizes.prompt_length)
        temporaries = cache + memory.prefill_temporaries(config, sizes, self.split)
        return self._weights.frozen - self._unread + prompts, temporaries

    def beside(self, size: int) -> int:
        """The cache of the slots that are being decoded, and the parameters that only logits need."""
        slots = self._cache(self.experiment.engine.num_slots, self.sizes(1, size).cache_length)
        return slots + self._unread + self._once

    def work(self, size: int) -> costs.Work:
        """See ``Program``."""
        return self.work_of(size, self.sizes(1, size).prompt_length)

    def work_of(self, prompts: int, length: int) -> costs.Work:
        """Of prompts of another length."""
        sizes = dataclasses.replace(self.sizes(1, prompts), prompt_length=length)
        return costs.prefill_work(self.experiment.config, sizes, self._weights, self.split)

    @functools.cached_property
    def _unread(self) -> int:
        """Bytes of the parameters that make logits of what the layers give: a prefill makes none."""
        params = flat_params(self._params)
        return memory.bytes_per_chip([leaf for path, leaf in params.items() if path.startswith(("head", "final_norm"))])

    def lower(self, size: int, mesh: Mesh) -> jax.stages.Lowered:
        """See ``Program``."""
        engine, params = self.engine(1, size, mesh)
        return engine.lower_prefill(sharding.placed(params, mesh), self.experiment.prompt_tokens)


class Decode(_Sampling):
    """One chunk of steps with every slot busy and the cache at its longest; a size is slots."""

    name, counted = "decode", "slots"

    @property
    def size(self) -> int:
        """``sample.num_slots``."""
        return self.experiment.engine.num_slots

    def shape(self, size: int) -> str:
        """See ``Program``."""
        sizes = self.sizes(size, 1)
        return f"{size} slots x {sizes.cache_length:,}, {sizes.steps} steps"

    def estimate(self, size: int) -> tuple[int, int]:
        """See ``Program``."""
        config, sizes = self.experiment.config, self.sizes(size, 1)
        kept = self._cache(size, sizes.cache_length) + size * config.vocab_size  # which tokens a slot has seen
        return self._weights.frozen + kept, memory.decode_temporaries(config, sizes, self.split)

    def beside(self, size: int) -> int:
        """The cache of one batch of prompts that wait for a slot."""
        return self._cache(*self._own[0].prefill_shape(self.experiment.prompt_tokens)) + self._once

    def work(self, size: int) -> costs.Work:
        """See ``Program``."""
        sizes = self.sizes(size, 1)
        return self.work_of(size, sizes.cache_length, sizes.steps)

    def work_of(self, slots: int, length: int, steps: int) -> costs.Work:
        """Of so many steps with the cache filled so far."""
        sizes = dataclasses.replace(self.sizes(slots, 1), cache_length=length, steps=steps)
        return costs.decode_work(self.experiment.config, sizes, self._weights, self.split)

    def lower(self, size: int, mesh: Mesh) -> jax.stages.Lowered:
        """See ``Program``."""
        engine, params = self.engine(size, 1, mesh)
        state = lowering.abstract_state(engine, self.sizes(size, 1).cache_length)
        return engine.lower_decode(sharding.placed(params, mesh), state)
