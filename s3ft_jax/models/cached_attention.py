"""How new tokens are added to the cache and attend to it (generation): chosen here and nowhere else.

    xla     the reference: a scatter into the cache, and attention.attend over all its slots
    layered the same with an array per layer (cache.LayeredCache), which suits CPUs
    pallas  for one new token per row, the TPU kernel of decode_kernel.py: reads what each row sees, and no slot more;
            run by every device on its own rows and heads. Longer pieces behind a cache take the reference

On GPUs it is the reference, too. Whole prompts see no cache: they attend as rows do in training (kernels.py), and a
cache is made of their keys and values. Axes as in attention.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from s3ft_jax.models.attention import cache_mask, within
from s3ft_jax.models.cache import Cache, KVCache, LayeredCache
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decode_kernel import Blocks, Visits, decode_attention
from s3ft_jax.models.kernels import Attention
from s3ft_jax.sharding import ROWS, each_device, row_parts

IMPLEMENTATIONS = ("xla", "layered", "pallas")


@dataclasses.dataclass(frozen=True)
class CachedAttention:
    """How attention with a cache is computed; static, so a part of the program's key.

    Attributes:
      implementation: one of ``IMPLEMENTATIONS``.
      mesh: the devices the kernel's arrays lie on: rows over data and fsdp, heads over tensor, each where the sizes
        divide, else whole on every device. None: one device. The reference needs none.
      interpret: run the kernel as plain JAX, to test it on a CPU.
      is_replica: it is computed inside a ``shard_map`` over data and fsdp: the rows it sees are all its own.
    """

    implementation: str = "xla"
    mesh: Mesh | None = None
    interpret: bool | pltpu.InterpretParams = False
    is_replica: bool = False

    def __post_init__(self) -> None:
        if self.implementation not in IMPLEMENTATIONS:
            raise ValueError(f"attention with a cache is one of {IMPLEMENTATIONS}, not {self.implementation!r}")

    @property
    def reads_all(self) -> bool:
        """Whether a step reads every position of the cache, and not only those that a row sees."""
        return self.implementation != "pallas"

    @property
    def least_prompt(self) -> int:
        """Length to which shorter prompts are filled up.

        A TPU takes 2 x 7e9 x 32 operations, half a millisecond, for the 32 more of a 7B model, and its compiler some
        ten seconds for one more program (benchmarks/compiling.py).
        """
        return 64 if self.implementation == "pallas" else 32

    @property
    def row_axis(self) -> int:
        """The axis of the cache's arrays that counts rows; heads are the next."""
        return 0 if self.implementation == "layered" else 1

    @property
    def length_changes_bits(self) -> bool:
        """Whether what a row gets may differ, in its last bits, with the length of the cache it lies in.

        ``layered``: not for the lengths of ``exact_sizes`` (measured on CPUs). ``pallas``: not for those, since a row's
        blocks are the same. ``xla``: on other backends a softmax over more positions may be summed in another order.
        """
        return self.implementation == "xla"

    def exact_sizes(self, sizes: Sequence[int], config: DecoderConfig, rows: int, dtype: jnp.dtype) -> tuple[int, ...]:
        """Those of the ascending lengths of cache in which a row gets the same bits as in the longest one.

        XLA on a CPU, measured with jax 0.10.2: a softmax over fewer than 4,096 numbers in all (rows x heads x length)
        is summed in another order than a larger one. Small engines therefore start with a longer cache, which costs
        them nothing that could be noticed. The TPU kernel: the blocks that it reads must be those of the longest cache.

        Args:
          sizes: multiples of 16 (on a CPU others take another path in the matrix product).
          config: the decoder's.
          rows, dtype: of the cache.

        Returns:
          At least the last size.
        """
        if self.implementation != "pallas":
            return tuple(size for size in sizes if size * rows * config.num_heads >= 4096) or (sizes[-1],)
        heads = config.num_kv_heads
        if self.mesh is not None and heads % self.mesh.shape["tensor"] == 0:
            heads //= self.mesh.shape["tensor"]
        blocks = {size: Blocks.of(heads, size, config.head_dim, jnp.dtype(dtype).itemsize) for size in sizes}
        read = {size: (one.heads, one.size, one.turned) for size, one in blocks.items()}
        return tuple(size for size in sizes if read[size] == read[sizes[-1]])

    def in_replica(self) -> CachedAttention:
        """The same, to be computed inside a ``shard_map`` over data and fsdp."""
        alone = self.mesh is None or self.mesh.shape["tensor"] == 1
        return dataclasses.replace(self, mesh=None if alone else self.mesh, is_replica=True)

    @property
    def form(self) -> type[Cache]:
        """How the cache is kept."""
        return LayeredCache if self.implementation == "layered" else KVCache

    @property
    def of_prompts(self) -> Attention:
        """Attention over whole prompts, of which a cache is made."""
        if self.implementation != "pallas":
            return Attention("chunked")
        return Attention("splash", self.mesh, bool(self.interpret), self.is_replica)

    def empty(self, config: DecoderConfig, batch: int, num_slots: int, dtype: jnp.dtype) -> Cache:
        """A cache of zeros, in the form that this takes."""
        return self.form.empty(config, batch, num_slots, dtype)

    def prepare(self, positions: jax.Array, cache: Cache, windows: Sequence[int]) -> Visits | None:
        """What all layers share, for every kind of window; made once, not once a layer.

        Args:
          positions: [B, T] int32, of the new tokens.
          cache: see ``empty``.
          windows: the kinds of sliding window that layers have, in tokens, 0: unlimited.

        Returns:
          For ``__call__``: arrays of ``Visits``, with the kinds of window as a first axis. None: nothing to prepare.
        """
        if not self._by_kernel(positions):
            return None
        keys = cache.keys
        rows, _ = self._axes(keys)

        def of_rows(positions: jax.Array) -> Visits:
            kinds = [Visits.of(positions, self._blocks(keys), window) for window in windows]
            return jax.tree.map(lambda *arrays: jnp.stack(arrays), *kinds)

        return self._each(of_rows, PartitionSpec(rows), PartitionSpec(None, rows))(positions[:, 0])

    def __call__(
        self,
        queries: jax.Array,
        new_keys: jax.Array,
        new_values: jax.Array,
        cache: Cache,
        prepared: Visits | None,
        *,
        layer: jax.Array | int,
        positions: jax.Array,
        windows: Sequence[int] = (0,),
        kind: jax.Array | None = None,
        scale: float | None = None,
        softcap: float = 0.0,
    ) -> tuple[jax.Array, Cache]:
        """Add tokens to a layer of the cache; each attends to its row up to itself.

        Args:
          queries: [B, T, N, H]. new_keys, new_values: [B, T, K, H].
          cache: see ``empty``. The token at position p lies in slot p.
          prepared: what ``prepare`` gave for these positions, cache and windows.
          layer: int32 scalar; a plain number for ``layered``.
          positions: [B, T] int32. A token at S or beyond is not added, and what it gets has no meaning but is finite.
          windows, kind: see ``kernels.Attention``.
          scale, softcap: see ``attention.attend``.

        Returns:
          [B, T, N, H]; the cache with the new tokens.
        """
        scale = queries.shape[-1] ** -0.5 if scale is None else scale
        if not self._by_kernel(positions):
            window = windows[0] if kind is None else jnp.asarray(windows, jnp.int32)[kind]
            cache = cache.written(layer, positions, new_keys, new_values)
            mask = _mask(positions, cache.num_slots, window)
            return cache.attend(layer, queries, mask, scale=scale, softcap=softcap), cache
        keys, values = cache
        rows, heads = self._axes(keys)
        tokens, cache, whole = PartitionSpec(rows, heads), PartitionSpec(None, rows, heads), PartitionSpec()
        run = functools.partial(
            decode_attention, blocks=self._blocks(keys), scale=scale, softcap=softcap, interpret=self.interpret
        )
        places = (tokens, tokens, tokens, cache, cache, whole, PartitionSpec(rows), PartitionSpec(rows))
        visits = jax.tree.map(lambda array: array[0 if kind is None else kind], prepared)
        mixed, keys, values = self._each(run, places, (tokens, cache, cache))(
            *(array[:, 0] for array in (queries, new_keys, new_values)), keys, values, layer, positions[:, 0], visits
        )
        return mixed[:, None], KVCache(keys, values)

    def _by_kernel(self, positions: jax.Array) -> bool:
        return self.implementation == "pallas" and positions.shape[1] == 1

    def _axes(self, keys: jax.Array) -> tuple[tuple[str, ...] | None, str | None]:
        """Axes of the mesh over which the cache's rows and heads lie; None: whole on every device."""
        if self.mesh is None:
            return None, None
        rows = ROWS if keys.shape[1] % row_parts(self.mesh) == 0 and not self.is_replica else None
        return rows, "tensor" if keys.shape[2] % self.mesh.shape["tensor"] == 0 else None

    def _blocks(self, keys: jax.Array) -> Blocks:
        """Of one device's part of the cache."""
        _, heads = self._axes(keys)
        num_heads, num_slots, head_dim = keys.shape[2:]
        num_heads //= 1 if heads is None else self.mesh.shape[heads]
        return Blocks.of(num_heads, num_slots, head_dim, keys.dtype.itemsize)

    def _each(self, function: Callable, places: Any, out_places: Any) -> Callable:
        """The function, run by each device on its part."""
        return function if self.mesh is None else each_device(function, self.mesh, places, out_places, self.is_replica)


def choose(params: Any, implementation: str = "") -> CachedAttention:
    """What suits the devices that the parameters lie on: pallas on TPUs, layered on CPUs, else the reference.

    Args:
      params: a state of arrays, or of ``jax.ShapeDtypeStruct`` that say where they lie.
      implementation: one of ``IMPLEMENTATIONS``, to be taken whatever suits.
    """
    place = jax.tree.leaves(params)[0].sharding
    suits = CachedAttention(implementation) if implementation else suiting(next(iter(place.device_set)).platform)
    mesh = place.mesh if isinstance(place, NamedSharding) else None
    return dataclasses.replace(suits, mesh=mesh) if suits.implementation == "pallas" else suits


def suiting(platform: str) -> CachedAttention:
    """What suits one device of this platform: cpu, gpu or tpu."""
    return CachedAttention({"tpu": "pallas", "cpu": "layered"}.get(platform, "xla"))


def _mask(positions: jax.Array, num_slots: int, window: int | jax.Array) -> jax.Array:
    """Who sees which slot: [B, T, S] bool."""
    mask = cache_mask(positions, num_slots)
    if isinstance(window, int) and not window:
        return mask
    return mask & within(positions, jnp.arange(num_slots, dtype=positions.dtype)[None], jnp.asarray(window, jnp.int32))
