"""Mixture of experts: routing by hand, against a sum over all experts, and each token alone. Parity with torch is in
test_families.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora, LoraError
from s3ft_jax.models.mixture import Mixture

CONFIG = DecoderConfig(
    vocab_size=11,
    num_layers=1,
    model_dim=6,
    mlp_dim=5,
    num_heads=2,
    num_kv_heads=2,
    head_dim=4,
    max_positions=8,
    num_experts=4,
    experts_per_token=2,
)


def random_mixture(**changes) -> Mixture:
    mixture = Mixture(dataclasses.replace(CONFIG, **changes), jnp.float32, nnx.Rngs(0))
    graphdef, params = nnx.split(mixture)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf * 50, params))


def tokens(count: int = 12) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (1, count, CONFIG.model_dim))


@pytest.mark.parametrize(("normalize", "weights"), [(True, [0.625, 0.375]), (False, [0.5, 0.3])])
def test_the_heaviest_experts_are_chosen(normalize, weights):
    mixture = random_mixture(normalize_router=normalize)
    mixture.router[...] = jnp.log(jnp.array([[0.1, 0.5, 0.3, 0.1]] + [[0.0] * 4] * 5))
    mixture.router[...] = mixture.router[...].at[1:].set(0.0)
    found, chosen = mixture.route(jnp.eye(1, CONFIG.model_dim))
    assert chosen.tolist() == [[1, 2]]
    np.testing.assert_allclose(found[0], weights, rtol=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"experts_per_token": 4}, {"experts_per_token": 1}, {"normalize_router": False}]
)
def test_it_is_the_weighted_sum_over_the_chosen_experts(changes):
    mixture, inputs = random_mixture(**changes), tokens()
    weights, chosen = mixture.route(inputs[0])
    expected = np.zeros_like(inputs[0])
    for place in np.ndindex(chosen.shape):
        row, expert = inputs[0, place[0]], int(chosen[place])
        gated = jax.nn.silu(row @ mixture.gate[...][expert]) * (row @ mixture.up[...][expert])
        expected[place[0]] += np.asarray(weights[place] * (gated @ mixture.down[...][expert]))
    np.testing.assert_allclose(mixture(inputs)[0], expected, rtol=1e-5, atol=1e-5)


def test_a_token_does_not_depend_on_the_others():
    mixture, inputs = random_mixture(), tokens()
    whole = mixture(inputs)
    for place in range(inputs.shape[1]):
        np.testing.assert_allclose(mixture(inputs[:, place : place + 1])[0, 0], whole[0, place], rtol=1e-5, atol=1e-6)


def test_all_tokens_to_one_expert_and_none_to_the_others():
    mixture = random_mixture(experts_per_token=1)
    mixture.router[...] = jnp.zeros((6, 4)).at[0, 2].set(1.0)
    inputs = tokens().at[..., 0].set(9.0)
    assert set(mixture.route(inputs[0])[1].ravel().tolist()) == {2}
    gradient = nnx.grad(lambda module: jnp.sum(module(inputs) ** 2))(mixture)
    assert [bool(jnp.any(gradient.down[...][expert] != 0)) for expert in range(4)] == [False, False, True, False]


def test_gradients_are_those_of_the_sum_over_all_experts():
    mixture, inputs = random_mixture(), tokens()

    def every_expert(module: Mixture, rows: jax.Array) -> jax.Array:
        weights, chosen = module.route(rows)
        share = jnp.zeros((rows.shape[0], 4)).at[jnp.arange(rows.shape[0])[:, None], chosen].set(weights)
        gated = jax.nn.silu(jnp.einsum("md,edf->mef", rows, module.gate[...]))
        gated *= jnp.einsum("md,edf->mef", rows, module.up[...])
        return jnp.einsum("mef,efd,me->md", gated, module.down[...], share)

    found = nnx.grad(lambda module: jnp.sum(jnp.sin(module(inputs))))(mixture)
    expected = nnx.grad(lambda module: jnp.sum(jnp.sin(every_expert(module, inputs[0]))))(mixture)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_adapters_go_to_attention_only():
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    assert list(decoder.projections()) == ["q", "k", "v", "o"]
    with pytest.raises(LoraError, match=r"this model has no \['up'\]"):
        decoder.add_adapters(Lora(targets=("q", "up")), nnx.Rngs(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts_per_token": 5}, r"experts_per_token \(5\) must be 1 to num_experts \(4\)"),
        ({"mlp_bias": True}, "experts are gated and have no biases"),
        ({"gated_mlp": False}, "experts are gated and have no biases"),
    ],
)
def test_experts_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)
