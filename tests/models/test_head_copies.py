"""Heads kept several times: which sizes, and the same logits whatever parameters heads have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax import sharding
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.head_copies import copied, num_copies, with_copies
from s3ft_jax.models.lora import Lora

CONFIG = DecoderConfig(
    vocab_size=40, num_layers=2, model_dim=16, mlp_dim=32, num_heads=8, num_kv_heads=2, head_dim=4, max_positions=32
)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "tensor", "copies"),
    [
        (64, 8, 1, 1),
        (64, 8, 8, 1),
        (64, 8, 16, 2),  # Llama 3.1 70B on 16 chips: one head a chip
        (128, 8, 128, 16),  # Llama 3.1 405B on 128
        (24, 8, 12, 3),  # two heads a chip
        (32, 8, 12, 1),  # 24 heads do not suit 32 queries
        (32, 1, 4, 1),  # a single head is whole on each chip either way
        (14, 2, 7, 1),
    ],
)
def test_how_often(heads, kv_heads, tensor, copies):
    config = dataclasses.replace(CONFIG, num_heads=heads, num_kv_heads=kv_heads)
    assert num_copies(config, tensor) == copies
    assert with_copies(config, copies).num_kv_heads == copies * kv_heads


@pytest.mark.parametrize(
    ("settings", "lora", "int8"),
    [
        ({}, None, False),
        ({"qkv_bias": True, "qk_norm": "head"}, None, False),
        ({"qk_norm": "full"}, Lora(rank=2, targets=("k", "v")), False),
        ({"qkv_bias": True}, None, True),
    ],
    ids=["plain", "bias", "full-norm-and-adapters", "int8"],
)
def test_copies_change_no_logit(settings, lora, int8):
    config = dataclasses.replace(CONFIG, **settings)
    decoder = Decoder(config, rngs=nnx.Rngs(0), lora=lora)
    rng = np.random.default_rng(0)
    nnx.update(
        decoder,
        jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), nnx.state(decoder)),
    )
    if int8:
        decoder.round_kernels("int8")
    graphdef, params = nnx.split(decoder)
    mesh = sharding.make_mesh(1, 1, 4, devices=jax.devices()[:4])
    more = copied(sharding.shard_params(params, mesh), config, 2, mesh)
    tokens = jnp.asarray(rng.integers(0, 40, (2, 9)), jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(9, dtype=jnp.int32), tokens.shape)
    run = jax.jit(lambda params: nnx.merge(graphdef, params)(tokens, positions, jnp.ones_like(tokens))[0])
    np.testing.assert_allclose(run(more), run(params), rtol=1e-4, atol=1e-4)
    kernel = more["blocks"]["k"]["kernel"].get_value()
    assert kernel.shape == (2, 16, 2 * 2 * 4)
    assert kernel.addressable_shards[0].data.shape == (2, 16, 4), "a whole head on each chip"
    whole = np.asarray(kernel).reshape(2, 16, 4, 4)
    np.testing.assert_array_equal(whole[:, :, 0], whole[:, :, 1])
    shapes = copied(sharding.placed(jax.eval_shape(lambda: params), mesh), config, 2, mesh)
    for one, other in zip(jax.tree.leaves(shapes), jax.tree.leaves(more), strict=True):
        assert (one.shape, one.dtype, one.sharding.spec) == (other.shape, other.dtype, other.sharding.spec)


def test_a_single_copy_is_what_was_given():
    params = nnx.state(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    assert copied(params, CONFIG, 1, None) is params
