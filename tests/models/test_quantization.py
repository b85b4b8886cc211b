"""Quantization: within half a step per channel, exact where it can be, and the error of whole models is bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.quantization import QuantizationError, quantize
from s3ft_jax.models.weights import abstract_params, flat_params

CONFIG = DecoderConfig(61, 3, 32, 48, 4, 2, 8, 64, qkv_bias=True)
POSITIONS, SEGMENTS = jnp.arange(16)[None], jnp.ones((1, 16), jnp.int32)
TOKENS = jax.random.randint(jax.random.key(5), (1, 16), 0, 61)


def test_every_weight_is_within_half_a_step_of_its_channel():
    rng = np.random.default_rng(0)
    kernel = (rng.normal(size=(3, 40, 25)) * 10.0 ** rng.uniform(-4, 4, size=(3, 1, 25))).astype(np.float32)
    rounded, scale = (np.asarray(part) for part in quantize(jnp.asarray(kernel)))
    assert rounded.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (3, 25)
    error = np.abs(rounded * scale[:, None].astype(np.float64) - kernel)
    assert np.all(error <= 0.5 * scale[:, None] * (1 + 1e-5))
    assert np.all(np.abs(rounded).max(axis=1) == 127), "each channel uses the whole range"
    assert rounded.min() >= -127


def test_whole_steps_and_zeros_are_kept_exactly():
    column = np.arange(-127, 128, dtype=np.float32)
    kernel = np.stack([column * 0.5, np.zeros(255, np.float32)], axis=1)
    rounded, scale = quantize(jnp.asarray(kernel))
    np.testing.assert_array_equal(rounded * scale, kernel)
    np.testing.assert_array_equal(scale, [0.5, 1.0])


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.03), ("int8", 0.1)])
def test_logits_of_a_rounded_base(dtype, bound):
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    for projection in decoder.projections().values():  # large enough that the blocks, not the embedding, decide
        projection.kernel[...] = 10.0 * projection.kernel[...]
    before = decoder(TOKENS, POSITIONS, SEGMENTS)[0]
    decoder.round_kernels(dtype)
    error = float(jnp.max(jnp.abs(decoder(TOKENS, POSITIONS, SEGMENTS)[0] - before)) / jnp.max(jnp.abs(before)))
    assert 1e-4 < error < bound


def test_only_kernels_of_projections_are_rounded():
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    decoder.round_kernels("int8")
    values = flat_params(nnx.state(decoder))
    changed = {name for name, leaf in values.items() if leaf.dtype != jnp.float32}
    assert changed == {f"blocks.{name}.kernel" for name in decoder.projections()}
    assert set(values) - set(flat_params(abstract_params(CONFIG))) == {name + "_scale" for name in changed}


def test_another_dtype_is_refused_with_the_key():
    with pytest.raises(QuantizationError, match=r"lora\.base_dtype: 'int4'; choose from \['', 'bfloat16', 'int8'\]"):
        Decoder(CONFIG, rngs=nnx.Rngs(0)).round_kernels("int4")
