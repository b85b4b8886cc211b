"""Fine-tuning: TrainState, optimizer, one jitted step, and the loop around it.

In: a decoder, batches. Out: a state whose trainable part has learnt, and one row of metrics per step. The loss is
summed over the micro-batches and divided once by the global count of trained tokens, so 1 x 8 and 8 x 1 accumulation
are the same step.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from s3ft_jax.batches import Batch
from s3ft_jax.losses import next_token_loss
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.kernels import Attention
from s3ft_jax.models.lora import Adapter


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) with a trapezoid schedule.

    Attributes:
      learning_rate: peak.
      num_steps: length of the run; the schedule ends with it.
      warmup_frac: share of the steps over which the rate rises linearly from 0.
      flat_frac: share of the steps, after warm-up, that stay at the peak; then it falls linearly.
      final_frac: rate at the last step, as a share of the peak.
      b1, b2, eps: Adam's moments.
      weight_decay: on matrices only, never on norms and biases.
      clip_norm: gradients are scaled down to this global norm; 0 switches it off.
    """

    learning_rate: float
    num_steps: int
    warmup_frac: float = 0.1
    flat_frac: float = 0.0
    final_frac: float = 0.0
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0


def learning_rates(settings: OptimizerSettings) -> optax.Schedule:
    """Step -> learning rate; step 0 already has a positive rate."""
    warmup = max(1, round(settings.warmup_frac * settings.num_steps))
    flat = round(settings.flat_frac * settings.num_steps)
    fall = max(1, settings.num_steps - warmup - flat)
    peak = settings.learning_rate
    return optax.join_schedules(
        [
            optax.linear_schedule(peak / warmup, peak, warmup - 1),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, peak * settings.final_frac, fall),
        ],
        [warmup - 1, warmup + flat],
    )


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformation:
    """The optax chain of ``settings``."""

    def matrices(params: Any) -> Any:
        names = ("kernel", "embedding", "head", "positions", "lora_a", "lora_b")
        return jax.tree.map_with_path(lambda path, _: any(name in jax.tree_util.keystr(path) for name in names), params)

    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm > 0 else optax.identity()
    return optax.chain(
        clip,
        optax.adamw(
            learning_rates(settings),
            b1=settings.b1,
            b2=settings.b2,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            mask=matrices,
        ),
    )


PROBE_TOKENS = 256
"""Tokens over which the error of a rounded base is measured."""


class TrainState(NamedTuple):
    """Everything a step changes.

    Attributes:
      step: int32 scalar, optimizer steps done.
      trainable: parameters that learn (all, or the adapters).
      opt_state: optimizer state of ``trainable``.
    """

    step: jax.Array
    trainable: nnx.State
    opt_state: optax.OptState


class Parts(NamedTuple):
    """A decoder taken apart for training: structure, trainable and frozen parameters."""

    graphdef: nnx.GraphDef
    trainable: nnx.State
    frozen: nnx.State


def take_apart(decoder: Decoder, tune: Literal["full", "lora"]) -> Parts:
    """Split a decoder into what learns and what does not."""
    return Parts(*nnx.split(decoder, Adapter if tune == "lora" else nnx.Param, ...))


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


def start(parts: Parts, settings: OptimizerSettings, *, copy: bool = True) -> TrainState:
    """The state before the first step.

    Args:
      parts: of a decoder.
      settings: of the optimizer.
      copy: whether the trainable parameters are copied. The step donates its input buffers: without a copy, those of
        ``parts`` are gone after the first step, and the memory of a second set is saved.
    """
    trainable = jax.tree.map(jnp.copy, parts.trainable) if copy else parts.trainable
    return TrainState(jnp.zeros((), jnp.int32), trainable, make_optimizer(settings).init(trainable))


@functools.lru_cache(maxsize=8)
def make_step(
    graphdef: nnx.GraphDef,
    settings: OptimizerSettings,
    *,
    chunk_tokens: int = 0,
    remat: str = "none",
    activation_dtype: str = "float32",
    attention: Attention = Attention(),  # noqa: B008 (frozen)
    unroll: bool = False,
    prng: str = "threefry2x32",
) -> Callable[[TrainState, nnx.State, Batch, int], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted optimizer step. The same arguments give the same step, so that runs in one process share its program.

    Args:
      graphdef: structure of the decoder.
      settings: of the optimizer.
      chunk_tokens, remat, activation_dtype, attention, unroll: see ``next_token_loss`` and ``Decoder.hidden``.
      prng: draws the adapters' dropout; see ``jax.random.key``. threefry2x32 is the same on every mesh and device, rbg
        on one mesh and kind of device only, but compiles in a quarter of the time (benchmarks/RESULTS.md, "Plan").

    Returns:
      ``step(state, frozen, batch, seed) -> (state, metrics)``; the state's buffers are donated. The batch's arrays are
      [A, B, T]: A micro-batches, summed. The key of the adapters' dropout is a function of (seed, step, micro-batch).
      A step whose loss or gradient is not finite changes nothing but the step number. Metrics: loss (nats per trained
      token), tokens, grad_norm, skipped (0 or 1).
    """
    optimizer = make_optimizer(settings)
    options = {
        "remat": remat,
        "activation_dtype": jnp.dtype(activation_dtype),
        "attention": attention,
        "unroll": unroll,
    }
    summed_loss = functools.partial(_summed_loss, graphdef, chunk_tokens, options)
    gradient = jax.value_and_grad(summed_loss, has_aux=True)

    def step(state: TrainState, frozen: nnx.State, batch: Batch, seed: int) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = jax.random.fold_in(jax.random.key(seed, impl=prng), state.step)

        def add(sums, micro):
            index, batch = micro
            (loss, count), grads = gradient(state.trainable, frozen, batch, jax.random.fold_in(step_key, index))
            return jax.tree.map(jnp.add, sums, (loss, count, grads)), None

        zero = jnp.zeros((), jnp.float32)
        empty = (zero, zero, jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), state.trainable))
        indices = jnp.arange(batch.tokens.shape[0])
        # a loop of one is no loop: its sums would be copied for nothing
        (loss, count, grads), _ = jax.lax.scan(add, empty, (indices, batch), unroll=batch.tokens.shape[0] == 1)
        loss, grads = loss / count, jax.tree.map(lambda g: g / count, grads)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (trainable, opt_state), (state.trainable, state.opt_state)
        )
        metrics = {"loss": loss, "tokens": count, "grad_norm": norm, "skipped": 1 - finite.astype(jnp.int32)}
        return TrainState(state.step + 1, *kept), metrics

    return jax.jit(step, donate_argnums=0)


def _summed_loss(
    graphdef: nnx.GraphDef,
    chunk_tokens: int,
    options: dict[str, Any],
    trainable: nnx.State,
    frozen: nnx.State,
    batch: Batch,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Loss of one micro-batch [B, T] and the weight of its tokens, both summed; ``options`` are ``hidden``'s."""
    decoder = nnx.merge(graphdef, trainable, frozen)
    dropout_key = key if decoder.lora is not None else None
    hidden, _ = decoder.hidden(batch.tokens, batch.positions, batch.segments, dropout_key=dropout_key, **options)
    return next_token_loss(decoder.unembed, hidden, batch.tokens, batch.weights, chunk_tokens=chunk_tokens)


class TrainingDiverged(RuntimeError):
    """Too many steps in a row had a loss or gradient that is not finite."""


def split_micro(batch: Batch, accumulation: int, multiple: int = 1) -> Batch:
    """[rows, T] -> [A, rows / A, T], adding empty rows so that rows / A is whole and a multiple of ``multiple``."""
    padding = -batch.tokens.shape[0] % (accumulation * multiple)

    def fold(array: np.ndarray) -> np.ndarray:
        padded = np.pad(array, ((0, padding), (0, 0)))
        return padded.reshape(accumulation, -1, array.shape[1])

    return Batch(*(fold(array) for array in batch))


def fit(
    state: TrainState,
    frozen: nnx.State,
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    batches: Iterator[Batch],
    *,
    seed: int,
    on_step: Callable[[int, dict[str, float]], None],
    on_state: Callable[[int, TrainState], None] = lambda number, state: None,
    save_every: int = 0,
    max_skipped: int = 10,
    read_every: int = 10,
) -> TrainState:
    """Run ``step`` over ``batches``.

    Metrics are read from the device every ``read_every`` steps only, so that the host never waits for one step.

    Args:
      state: where to start; its buffers are used up.
      frozen: parameters that do not learn.
      batches: the batches left to do, [A, B, T] each.
      seed: see ``make_step``.
      on_step: called with (step number from 1, metrics as floats), in order, late by up to ``read_every``.
      on_state: called with (step number, state) after every ``save_every``-th step, its metrics already handed over.
      max_skipped: so many skipped steps in a row stop the run.

    Raises:
      TrainingDiverged: naming the step and the remedy.
    """
    waiting: list[tuple[int, dict[str, jax.Array]]] = []
    skipped = 0

    def read() -> None:
        nonlocal skipped
        for number, metrics in waiting:
            values = {name: float(value) for name, value in metrics.items()}
            skipped = skipped + 1 if values["skipped"] else 0
            on_step(number, values)
            if skipped >= max_skipped:
                raise TrainingDiverged(
                    f"step {number}: loss or gradient was not finite for {skipped} steps in a row. "
                    "Lower train.learning_rate or raise train.warmup_frac."
                )
        waiting.clear()

    number = int(state.step)
    for batch in batches:
        state, metrics = step(state, frozen, batch, seed)
        number += 1
        waiting.append((number, metrics))
        saving = save_every > 0 and number % save_every == 0
        if saving or len(waiting) >= read_every:
            read()
        if saving:
            on_state(number, state)
    read()
    return state
