"""What a user chooses of an engine, and how many slots a device's memory has room for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from s3ft_jax.generation.buckets import bucket_of, cache_sizes
from s3ft_jax.generation.sampling import GenerationError
from s3ft_jax.models import head_copies
from s3ft_jax.models.cached_attention import IMPLEMENTATIONS, CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.sharding import make_mesh, slices_of

DTYPES = ("float32", "bfloat16")
SLOTS_ON_CPU = 16
"""Slots where memory does not bound them: on CPUs more make nothing faster (benchmarks/RESULTS.md, "Generation")."""
MOST_SLOTS = 512
"""Slots that are chosen at most: the weights are then read seldom enough that a step is bound by its products."""
MOST_FILLED = 0.6
"""Share of a chip's memory that parameters may take before they are split over more chips: the rest is for slots."""
KEPT_FREE = 0.15
"""Share of the memory that is left for what the estimate does not know: fragments, programs, layouts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Shape and precision of an engine.

    Attributes:
      num_slots: responses decoded side by side; 0: as many as the device's memory has room for (``fitting_slots``).
      chunk_steps: decode steps between two looks of the host.
      activation_dtype: of the decoder's stream.
      cache_dtype: of keys and values; empty: as the stream.
      attention: one of ``cached_attention.IMPLEMENTATIONS``; empty: what suits the device.
      exact: the same request gives the same bits in any company; else sampling may be faster, and a response's last
        bits depend on what it is sampled with.
      length: tokens of prompt and response together for which ``num_slots`` 0 makes room.
      tensor: chips that share a copy of the model; 0: the fewest that hold it. More than a host has: of all hosts.
      num_replicas: copies of the model on each host, or of all hosts where a copy needs more than one host's chips;
        each has ``num_slots`` slots. 0: as many as there are chips for, on a CPU one. No response depends on it.

    Raises:
      GenerationError: a value outside its range, by config key.
    """

    num_slots: int = 64
    chunk_steps: int = 16
    activation_dtype: str = "float32"
    cache_dtype: str = ""
    attention: str = ""
    exact: bool = True
    length: int = 1024
    tensor: int = 0
    num_replicas: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_slots", 0), ("chunk_steps", 1), ("tensor", 0), ("num_replicas", 0)):
            if getattr(self, name) < least:
                raise GenerationError(f"sample.{name} must be at least {least}, found {getattr(self, name)}")
        for name, choices in (
            ("activation_dtype", DTYPES),
            ("cache_dtype", ("", *DTYPES)),
            ("attention", ("", *IMPLEMENTATIONS)),
        ):
            if getattr(self, name) not in choices:
                shown = ", ".join(choice or "(empty)" for choice in choices)
                raise GenerationError(f"sample.{name} = {getattr(self, name)!r}; choose from {shown}")

    @property
    def decisive(self) -> dict[str, Any]:
        """What responses follow from."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "num_replicas"}

    @property
    def dtypes(self) -> dict[str, jnp.dtype]:
        """``Engine``'s cache_dtype and activation_dtype."""
        stream = jnp.dtype(self.activation_dtype)
        return {"cache_dtype": jnp.dtype(self.cache_dtype) if self.cache_dtype else stream, "activation_dtype": stream}


def fitting_slots(
    settings: EngineSettings,
    config: DecoderConfig,
    attention: CachedAttention,
    room: int | None,
    prefill_tokens: int,
    tensor: int = 1,
) -> int:
    """The number of slots for ``num_slots`` 0.

    Args:
      settings: whose length and dtypes count.
      config: the decoder's.
      attention: where it reads the whole cache there are lanes (``lanes.LanesByLength``), and all of them count.
      room: bytes of a device beside the parameters; None: not known, as on a CPU.
      prefill_tokens: see ``Engine``.
      tensor: chips that share a copy of the model, and with it the heads of the cache.

    Returns:
      A power of two or half as many again, 1 to ``MOST_SLOTS``: few different numbers, so that it seldom changes.
    """
    if room is None:
        return SLOTS_ON_CPU
    sizes = cache_sizes(config.max_positions)
    longest = bucket_of(min(settings.length, config.max_positions), sizes)
    positions = sum(size for size in sizes if size <= longest) if attention.reads_all else longest
    numbers = {name: dtype.itemsize for name, dtype in settings.dtypes.items()}
    copies = head_copies.num_copies(config, tensor)
    heads = copies * config.num_kv_heads
    mine = heads // tensor if heads % tensor == 0 else heads
    token = 2 * config.num_layers * mine * config.head_dim * numbers["cache_dtype"]
    if copies > 1:  # kernels of keys and values, beside those that have each head once
        room -= 2 * config.num_layers * config.model_dim * mine * config.head_dim * numbers["activation_dtype"]
    # which tokens were seen; logits, weights and running sums over the vocabulary
    slot = positions * token + config.vocab_size * (1 + 4 * 4)
    # two batches of prompts at a time, and the widest layer's activations of one
    widest = 4 * max(config.mlp_dim // tensor, config.num_heads * config.head_dim // tensor, config.model_dim)
    scores = 8 * longest * config.num_heads // tensor
    prompts = prefill_tokens * (2 * token + widest * numbers["activation_dtype"] + scores)
    slots = max(1, int((room * (1 - KEPT_FREE) - prompts) // slot))
    power = 1 << (slots.bit_length() - 1)
    return min(MOST_SLOTS, power + power // 2 if 2 * slots >= 3 * power else power)


def sampling_mesh(
    settings: EngineSettings, num_heads: int, param_bytes: int, devices: Sequence[jax.Device] | None = None
) -> Mesh | None:
    """The chips to sample on: replicas on those of this host; on all hosts' together where this host's hold none, or
    where the chips want to run one program all together (``needs_whole_slice``).

    Args:
      settings: ``tensor`` and ``num_replicas``.
      num_heads: of the model; tensor divides it.
      param_bytes: of the parameters.
      devices: of this host; None: those attached.

    Returns:
      A mesh (data, fsdp 1, tensor); None: the default device alone.

    Raises:
      GenerationError: the settings ask for more chips than there are, or for heads that do not divide.
    """
    mine = list(jax.local_devices() if devices is None else devices)
    every = jax.devices() if devices is None else mine
    chips_of_slice = len(every) // len(slices_of(every))
    tensor = settings.tensor or fewest_chips(_memory(mine[0]), num_heads, param_bytes, chips_of_slice)
    if tensor > len(every) or num_heads % tensor:
        raise GenerationError(
            f"sample.tensor = {tensor}: it must divide the model's {num_heads} heads, and there are {len(every)} chips"
        )
    alone = tensor <= len(mine) and (tensor == 1 or len(every) == len(mine) or not needs_whole_slice(mine[0]))
    chips, whose = (mine, "this host has") if alone else (every, "all hosts together have")
    most = len(chips) // tensor
    replicas = settings.num_replicas or (1 if mine[0].platform == "cpu" else most)
    if replicas > most:
        raise GenerationError(
            f"sample.num_replicas = {replicas}: {whose} {len(chips)} chips, of which each replica takes {tensor}"
        )
    return None if replicas * tensor == 1 else make_mesh(replicas, 1, tensor, devices=chips)


def needs_whole_slice(device: jax.Device) -> bool:
    """Whether chips that exchange anything must run a program with all others of their slice.

    So says libtpu's compiler (0.0.42.1) of v5e:16x16: "on platforms with limited ICI routing device assignment should
    include all slice devices"; for the four chips of a host of v5e:4x4 or v6e:4x4 it ends the process. v4 and v5p may.
    """
    return device.platform == "tpu" and "lite" in device.device_kind


def fewest_chips(memory: int | None, num_heads: int, param_bytes: int, num_devices: int) -> int:
    """Chips among which the parameters take at most ``MOST_FILLED`` of each one's memory; all of them, if too many.

    Args:
      memory: bytes of a chip; None: not known, which is one chip.
      num_heads: the number of chips divides it, and the number of all chips.
      param_bytes: of the parameters.
      num_devices: chips there are, of one slice.
    """
    if memory is None:
        return 1
    parts = [number for number in range(1, num_devices + 1) if num_heads % number == num_devices % number == 0]
    return next((n for n in parts if param_bytes / n <= MOST_FILLED * memory), parts[-1])


def _memory(device: jax.Device) -> int | None:
    """Bytes that programs may use; None where the device does not say, and on CPUs."""
    return None if device.platform == "cpu" else (device.memory_stats() or {}).get("bytes_limit")


def room_beside(params: object) -> int | None:
    """Bytes of the device on which parameters lie that are not theirs; None where the device does not say.

    It is the device's whole memory that counts, not what happens to be free: a run that is resumed finds the same.
    """
    leaves = jax.tree.leaves(params)
    device = next(iter(leaves[0].sharding.device_set))
    memory = _memory(device)
    if memory is None:
        return None
    return memory - sum(
        shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards if shard.device == device
    )
