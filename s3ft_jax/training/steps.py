"""One optimizer step: what it changes (``TrainState``), how a decoder is taken apart for it, and the jitted function.

The loss is summed over the micro-batches and divided once by the global weight of trained tokens, so 1 x 8 and 8 x 1
accumulation are the same step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from s3ft_jax.batches import Batch
from s3ft_jax.losses import Loss, Sums, next_token_loss
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.kernels import Attention
from s3ft_jax.models.lora import Adapter
from s3ft_jax.training.optimizers import Optimizer, OptimizerError, matches, path_name

PROBE_TOKENS = 256
"""Tokens over which the error of a rounded base is measured."""


class TrainState(NamedTuple):
    """Everything a step changes.

    Attributes:
      step: int32 scalar, optimizer steps done.
      trainable: parameters that learn (all, or the adapters).
      opt_state: optimizer state of ``trainable``.
      average: exponential moving average of ``trainable``, float32; None where none is kept.
    """

    step: jax.Array
    trainable: nnx.State
    opt_state: optax.OptState
    average: nnx.State | None = None


class Parts(NamedTuple):
    """A decoder taken apart for training: structure, trainable and frozen parameters."""

    graphdef: nnx.GraphDef
    trainable: nnx.State
    frozen: nnx.State


def take_apart(decoder: Decoder, tune: Literal["full", "lora"], freeze: Sequence[str] = ()) -> Parts:
    """Split a decoder into what learns and what does not.

    Args:
      decoder: with adapters, where they are to learn.
      tune: full: all parameters learn; lora: the adapters alone.
      freeze: patterns of paths, e.g. ``embedding`` or ``blocks.*_norm.scale``, of parameters that must not.

    Raises:
      OptimizerError: a pattern names nothing, or nothing is left to learn.
    """
    kind = Adapter if tune == "lora" else nnx.Param
    learning, seen = nnx.All(kind, lambda path, _: not matches(path_name(path), freeze)), set()
    names = [path_name(path) for path, _ in nnx.to_flat_state(nnx.state(decoder, kind))]
    for pattern in freeze:
        found = {name for name in names if matches(name, [pattern])}
        if not found:
            raise OptimizerError(f"train.freeze: {pattern!r} names none of {', '.join(names)}")
        seen |= found
    if len(seen) == len(names):
        raise OptimizerError(f"train.freeze = {tuple(freeze)} leaves no parameter to learn")
    return Parts(*nnx.split(decoder, learning, ...))


def shrink_base(decoder: Decoder, dtype: str, batch: Batch) -> float:
    """Keep the frozen kernels in fewer bits (``Decoder.round_kernels``, in place) and measure what that changes.

    Args:
      decoder: the base, whose adapters, if any, are still zero; only adapters may learn from here on.
      dtype: ``bfloat16`` or ``int8``.
      batch: rows [B, T]; the first ``PROBE_TOKENS`` tokens of the first row are read, twice.

    Returns:
      The largest change of a logit as a share of the largest logit, over these tokens. Float32 activations.
    """
    tokens, positions, segments = (rows[:1, :PROBE_TOKENS] for rows in batch[:3])

    def logits() -> jax.Array:
        graphdef, params = nnx.split(decoder)
        run = jax.jit(lambda params: nnx.merge(graphdef, params)(tokens, positions, segments)[0])
        return run(params)[segments > 0]

    before = logits()
    decoder.round_kernels(dtype)
    return float(jnp.max(jnp.abs(logits() - before)) / jnp.max(jnp.abs(before)))


def start(parts: Parts, optimizer: Optimizer, *, copy: bool = True) -> TrainState:
    """``first_state`` with its arrays that belong to no parameter on every device of the mesh.

    Optax makes those, counts and factored moments, on one device; a restored state must find them where they were.
    """
    state = first_state(parts, optimizer, copy=copy)
    place = jax.tree.leaves(state.trainable)[0].sharding
    if not isinstance(place, NamedSharding):
        return state
    whole = NamedSharding(place.mesh, PartitionSpec())
    return jax.tree.map(lambda a: a if isinstance(a.sharding, NamedSharding) else jax.device_put(a, whole), state)


def first_state(parts: Parts, optimizer: Optimizer, *, copy: bool = True) -> TrainState:
    """The state before the first step.

    Args:
      parts: of a decoder.
      optimizer: whose state is to be made.
      copy: whether the trainable parameters are copied. The step donates its input buffers: without a copy, those of
        ``parts`` are gone after the first step, and the memory of a second set is saved.
    """
    trainable = jax.tree.map(jnp.copy, parts.trainable) if copy else parts.trainable
    average = jax.tree.map(lambda p: jnp.array(p, jnp.float32), trainable) if optimizer.ema_decay else None
    opt_state = jax.tree.map(_wide, optimizer.transform().init(trainable))
    return TrainState(jnp.zeros((), jnp.int32), trainable, opt_state, average)


def _wide(moment: jax.Array) -> jax.Array:
    """In float32, also where parameters are bfloat16: 0.99 of a bfloat16 number can be the number itself, so that a
    second moment would never fall."""
    return moment.astype(jnp.float32) if jnp.issubdtype(moment.dtype, jnp.floating) else moment


@functools.lru_cache(maxsize=8)
def make_step(
    graphdef: nnx.GraphDef,
    optimizer: Optimizer,
    *,
    loss: Loss = Loss(),  # noqa: B008 (frozen)
    base_graphdef: nnx.GraphDef | None = None,
    chunk_tokens: int = 0,
    remat: str = "none",
    activation_dtype: str = "float32",
    attention: Attention = Attention(),  # noqa: B008 (frozen)
    unroll: bool = False,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted optimizer step. The same arguments give the same step, so that runs in one process share its program.

    Args:
      graphdef: structure of the decoder.
      optimizer: how parameters move.
      loss: what is minimised.
      base_graphdef: structure of the base, where ``loss.kl`` asks for one.
      chunk_tokens, remat, activation_dtype, attention, unroll: see ``next_token_loss`` and ``Decoder.hidden``.

    Returns:
      ``step(state, frozen, batch, seed, rate, base) -> (state, metrics)``; the state's buffers are donated. The batch's
      arrays are [A, B, T]: A micro-batches, summed. ``rate`` is the learning rate, a float32 number. ``base`` are the
      base's parameters, None without ``base_graphdef``. The key of the adapters' dropout is a function of (seed, step,
      micro-batch). A step whose loss or gradient is not finite changes nothing but the step number. Metrics: loss
      (cross-entropy, nats per unit of weight), tokens (of weight above 0), grad_norm, skipped (0 or 1); objective,
      where it is not the cross-entropy; kl (nats), with a base.
    """
    options = {
        "remat": remat,
        "activation_dtype": jnp.dtype(activation_dtype),
        "attention": attention,
        "unroll": unroll,
    }
    sums_of = functools.partial(_sums, graphdef, base_graphdef, loss, chunk_tokens, options)

    def step(
        state: TrainState, frozen: nnx.State, batch: Batch, seed: int, rate: float, base: nnx.State | None = None
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), state.step)
        sums, grads = _summed_gradients(sums_of, state.trainable, frozen, base, batch, step_key)
        objective, grads = sums.objective / sums.weight, jax.tree.map(lambda g: g / sums.weight, grads)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(objective) & jnp.isfinite(norm)
        metrics = {"loss": sums.cross_entropy / sums.weight, "grad_norm": norm, "skipped": 1 - finite.astype(jnp.int32)}
        metrics["tokens"] = jnp.sum(batch.weights > 0)
        if loss != Loss():
            metrics["objective"] = objective
        if base_graphdef is not None:
            metrics["kl"] = sums.kl / sums.weight
        return _moved(state, grads, finite, rate, optimizer), metrics

    return jax.jit(step, donate_argnums=0)


def _summed_gradients(
    sums_of: Callable[..., Sums], trainable: nnx.State, frozen: nnx.State, base: Any, batch: Batch, step_key: jax.Array
) -> tuple[Sums, nnx.State]:
    """Sums and gradients of their objective over the micro-batches [A, B, T], gradients in float32."""

    def objective(*arguments: Any) -> tuple[jax.Array, Sums]:
        sums = sums_of(*arguments)
        return sums.objective, sums

    def add(total, micro):
        index, batch = micro
        key = jax.random.fold_in(step_key, index)
        (_, sums), grads = jax.value_and_grad(objective, has_aux=True)(trainable, frozen, base, batch, key)
        return jax.tree.map(jnp.add, total, (sums, grads)), None

    zeros = Sums(*[jnp.zeros((), jnp.float32)] * 4)
    empty = (zeros, jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), trainable))
    count = batch.tokens.shape[0]
    # a loop of one is no loop: its sums would be copied for nothing
    return jax.lax.scan(add, empty, (jnp.arange(count), batch), unroll=count == 1)[0]


def _moved(state: TrainState, grads: nnx.State, finite: jax.Array, rate: float, optimizer: Optimizer) -> TrainState:
    """The state after a step; where it is not finite, only the number changes."""
    updates, opt_state = optimizer.transform().update(grads, state.opt_state, state.trainable)
    trainable = optax.apply_updates(state.trainable, jax.tree.map(lambda u: rate * u, updates))
    new = TrainState(state.step, trainable, opt_state, _averaged(state.average, trainable, optimizer.ema_decay))
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)._replace(step=state.step + 1)


def _averaged(average: nnx.State | None, trainable: nnx.State, decay: float) -> nnx.State | None:
    """One step of the moving average (Polyak and Juditsky 1992; ``optax.incremental_update`` with step 1 - decay)."""
    return None if average is None else optax.incremental_update(trainable, average, 1.0 - decay)


def _sums(
    graphdef: nnx.GraphDef,
    base_graphdef: nnx.GraphDef | None,
    loss: Loss,
    chunk_tokens: int,
    options: dict[str, Any],
    trainable: nnx.State,
    frozen: nnx.State,
    base_params: nnx.State | None,
    batch: Batch,
    key: jax.Array | None,
) -> Sums:
    """Of one micro-batch [B, T]; ``options`` are ``hidden``'s; without a key nothing is dropped out."""
    decoder, base = nnx.merge(graphdef, trainable, frozen), None
    rows = batch.tokens, batch.positions, batch.segments
    if base_graphdef is not None:
        untuned = nnx.merge(base_graphdef, base_params)
        base = untuned.unembed, untuned.hidden(*rows, **options)[0]
    dropout_key = key if decoder.lora is not None else None
    hidden, _ = decoder.hidden(*rows, dropout_key=dropout_key, **options)
    return next_token_loss(
        decoder.unembed, hidden, batch.tokens, batch.weights, chunk_tokens=chunk_tokens, loss=loss, base=base
    )


def split_micro(batch: Batch, accumulation: int, multiple: int = 1) -> Batch:
    """[rows, T] -> [A, rows / A, T], adding empty rows so that rows / A is whole and a multiple of ``multiple``."""
    padding = -batch.tokens.shape[0] % (accumulation * multiple)

    def fold(array: np.ndarray) -> np.ndarray:
        padded = np.pad(array, ((0, padding), (0, 0)))
        return padded.reshape(accumulation, -1, array.shape[1])

    return Batch(*(fold(array) for array in batch))


@functools.lru_cache(maxsize=8)
def make_probe(
    graphdef: nnx.GraphDef,
    base_graphdef: nnx.GraphDef,
    *,
    chunk_tokens: int = 0,
    activation_dtype: str = "float32",
    attention: Attention = Attention(),  # noqa: B008 (frozen)
    unroll: bool = False,
) -> Callable[[nnx.State, nnx.State, Batch, nnx.State], Sums]:
    """How good and how far from the base a model is on given rows, without dropout.

    Args:
      graphdef, base_graphdef: structures of the decoder and of the base.
      chunk_tokens, activation_dtype, attention, unroll: see ``make_step``.

    Returns:
      ``probe(trainable, frozen, batch, base) -> Sums``, jitted; the batch's arrays are [B, T].
    """
    options = {"activation_dtype": jnp.dtype(activation_dtype), "attention": attention, "unroll": unroll}
    options["remat"] = "none"

    def probe(trainable: nnx.State, frozen: nnx.State, batch: Batch, base: nnx.State) -> Sums:
        return _sums(graphdef, base_graphdef, Loss(), chunk_tokens, options, trainable, frozen, base, batch, None)

    return jax.jit(probe)
