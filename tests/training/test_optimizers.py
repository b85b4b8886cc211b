"""optimizers: every name moves parameters as optax says, decay means the same for each; schedules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from s3ft_jax import training
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.training import OPTIMIZERS, Optimizer, OptimizerError, Schedule
from s3ft_jax.training.optimizers import path_name

CONFIG = DecoderConfig(32, 2, 16, 24, 4, 2, 4, 64, tie_embeddings=True, qkv_bias=True)
PARTS = training.take_apart(Decoder(CONFIG, rngs=nnx.Rngs(0)), "full")


def named(tree) -> dict:
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def gradients(seed: int):
    keys = iter(jax.random.split(jax.random.key(seed), 64))
    return jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), PARTS.trainable)


def moved(optimizer: Optimizer, rates=(0.1, 0.2, 0.05), params=PARTS.trainable):
    """Parameters after as many steps on random gradients as there are rates."""
    transform = optimizer.transform()
    state = transform.init(params)
    for number, rate in enumerate(rates):
        updates, state = transform.update(gradients(number), state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u, rate=rate: rate * u, updates))
    return params


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adamw_is_optax_adamw_with_the_rates_in_its_schedule(weight_decay):
    rates = jnp.array([0.1, 0.2, 0.05])
    own = Optimizer(b1=0.8, b2=0.95, weight_decay=weight_decay, clip_norm=0.0)
    theirs = optax.adamw(lambda step: rates[step], b1=0.8, b2=0.95, weight_decay=weight_decay, mask=own.decays)
    params, state = PARTS.trainable, theirs.init(PARTS.trainable)
    for number in range(3):
        updates, state = theirs.update(gradients(number), state, params)
        params = optax.apply_updates(params, updates)
    for one, other in zip(jax.tree.leaves(moved(own)), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_rate_times_parameter_and_spares_norms_and_biases(name):
    decayed = named(moved(Optimizer(name, weight_decay=0.5, clip_norm=0.0), rates=(0.1,)))
    plain = named(moved(Optimizer(name, clip_norm=0.0), rates=(0.1,)))
    for path, start in named(PARTS.trainable).items():
        share = 0.0 if "norm" in path or "bias" in path else 0.1 * 0.5
        np.testing.assert_allclose(decayed[path], plain[path] - share * start, atol=1e-6, err_msg=path)
    assert any("bias" in path for path in plain) and any("norm" in path for path in plain)


def test_what_decays_may_be_said():
    only = Optimizer(decay_on=("blocks.*.kernel", "final_norm.*"))
    chosen = {path for path, decays in named(only.decays(PARTS.trainable)).items() if decays}
    assert "embedding" not in chosen and {"blocks.q.kernel", "blocks.down.kernel", "final_norm.scale"} <= chosen


def test_the_optimizers_differ_and_their_steps_are_of_the_size_of_the_rate():
    path, after = "blocks.gate.kernel", {}
    for name in OPTIMIZERS:
        once, after[name] = (
            named(moved(Optimizer(name, clip_norm=0.0), rates=(0.01,) * count))[path] for count in (1, 3)
        )
        rms = float(jnp.sqrt(jnp.mean(jnp.square(once - named(PARTS.trainable)[path]))))
        assert 0.001 < rms < 0.011, name
    for name, kernel in after.items():
        assert all(other == name or not np.allclose(kernel, after[other]) for other in after)


def test_lion_steps_by_the_sign_alone():
    start, after = (named(tree) for tree in (PARTS.trainable, moved(Optimizer("lion", clip_norm=0.0), rates=(0.01,))))
    for path, leaf in start.items():
        np.testing.assert_allclose(jnp.abs(after[path] - leaf), 0.01, rtol=1e-4, err_msg=path)


def test_muon_makes_each_layers_matrix_orthogonal_and_leaves_the_rest_to_adamw():
    start, after = (named(tree) for tree in (PARTS.trainable, moved(Optimizer("muon", clip_norm=0.0), rates=(1.0,))))
    step = np.asarray(after["blocks.gate.kernel"] - start["blocks.gate.kernel"], np.float64)
    for layer in step:  # 16 x 24: all singular values alike, at 0.2 sqrt(24) (arXiv 2502.16982)
        values = np.linalg.svd(layer, compute_uv=False) / (0.2 * 24**0.5)
        assert values.min() > 0.6 and values.max() < 1.3
    adam = named(moved(Optimizer(clip_norm=0.0), rates=(1.0,)))
    for path in ("embedding", "blocks.q.bias", "blocks.attention_norm.scale"):
        np.testing.assert_allclose(after[path], adam[path], atol=1e-5, err_msg=path)


def test_adafactor_keeps_rows_and_columns_of_a_large_matrix():
    params = {"kernel": jnp.ones((256, 512))}
    state = Optimizer("adafactor").transform().init(params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 2 * (256 + 512)


def test_clipping_scales_gradients_to_the_norm():
    clipped, free = (Optimizer("adafactor", clip_norm=norm).transform() for norm in (1e-3, 0.0))
    small = jax.tree.map(lambda g: g * (1e-3 / optax.tree.norm(gradients(0))), gradients(0))
    one, _ = clipped.update(gradients(0), clipped.init(PARTS.trainable), PARTS.trainable)
    other, _ = free.update(small, free.init(PARTS.trainable), PARTS.trainable)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Optimizer("adam"), r"train\.optimizer = 'adam'; choose from adamw, adafactor, lion, muon"),
        (lambda: Optimizer(ema_decay=1.0), r"train\.ema_decay = 1\.0"),
        (lambda: Schedule(1.0, 10, shape="cosin"), r"train\.schedule = 'cosin'; choose from linear, cosine, constant"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(make, message):
    with pytest.raises(OptimizerError, match=message):
        make()


@pytest.mark.parametrize("shape", ["linear", "cosine", "constant"])
def test_the_schedule_rises_stays_and_falls(shape):
    schedule = Schedule(2.0, 20, shape, warmup_frac=0.2, flat_frac=0.3, final_frac=0.1)
    values = [float(schedule.rate(step)) for step in range(21)]
    np.testing.assert_allclose(values[:4], [0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(values[4:10], 2.0)
    if shape == "constant":
        return np.testing.assert_allclose(values[10:], 2.0)
    assert all(np.diff(values[10:]) < 0)
    np.testing.assert_allclose(values[15], 2.0 * (0.1 + 0.9 * 0.5), rtol=1e-6)  # half way: both are at the half
    np.testing.assert_allclose(values[20], 0.2, rtol=1e-6)
    theirs = {"linear": optax.linear_schedule(2.0, 0.2, 10), "cosine": optax.cosine_decay_schedule(2.0, 10, 0.1)}[shape]
    np.testing.assert_allclose(values[10:], [float(theirs(step)) for step in range(11)], rtol=1e-5)


def test_one_step_without_warmup_has_the_peak():
    assert Schedule(0.3, 1, warmup_frac=0.0).rate(0) == np.float32(0.3)
    assert dataclasses.replace(Schedule(0.3, 4, warmup_frac=0.0)).rate(3) > 0
