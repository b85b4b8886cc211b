"""Projection: int8 kernels against plain arithmetic, and what may not be done with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.dropout import keep_mask
from s3ft_jax.models.lora import Lora
from s3ft_jax.models.projection import Projection, product
from s3ft_jax.models.quantization import QuantizationError

INPUTS = jax.random.normal(jax.random.key(1), (5, 12))


def projection(lora: Lora | None = None, bias: bool = True) -> Projection:
    layer = Projection(12, 7, bias, lora, jnp.float32, nnx.Rngs(0))
    if bias:
        layer.bias[...] = jnp.arange(7.0)
    if lora is not None:
        layer.lora_b[...] = jax.random.normal(jax.random.key(2), layer.lora_b.shape)
    return layer


def test_the_gradients_are_those_of_the_plain_product():
    inputs, kernel = jax.random.normal(jax.random.key(4), (2, 3, 12)), jax.random.normal(jax.random.key(5), (12, 7))

    def gradients(multiply):
        return jax.grad(lambda *arrays: jnp.sum(jnp.sin(multiply(*arrays))), argnums=(0, 1))(inputs, kernel)

    for found, expected in zip(gradients(product), gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_inputs_are_kept_for_the_backward_pass_only_where_the_kernel_learns():
    inputs, kernel = jnp.ones((5, 12)), jnp.ones((12, 7))

    def kept(function, *arrays):
        return {leaf.shape for leaf in jax.tree.leaves(jax.vjp(function, *arrays)[1])}

    assert kept(product, inputs, kernel) == {(5, 12), (12, 7)}
    assert kept(lambda inputs: product(inputs, kernel), inputs) == {(12, 7)}


def test_the_adapter_is_added_beside_kernel_and_bias():
    layer = projection(Lora(rank=3, alpha=5.0))
    update = 5.0 / 3.0 * (np.asarray(INPUTS) @ np.asarray(layer.lora_a[...]) @ np.asarray(layer.lora_b[...]))
    expected = np.asarray(INPUTS) @ np.asarray(layer.kernel[...]) + np.arange(7.0) + update
    np.testing.assert_allclose(layer(INPUTS), expected, rtol=1e-5, atol=1e-5)


def test_dropout_reaches_the_adapters_input_and_nothing_else():
    layer, plain = projection(Lora(rank=3, dropout=0.5)), projection()
    key = jax.random.key(3)
    kept = jnp.where(keep_mask(key, 0.5, INPUTS.shape), INPUTS / 0.5, 0.0)
    update = kept @ layer.lora_a[...] @ layer.lora_b[...] * layer.lora.scale
    np.testing.assert_allclose(layer(INPUTS, key), plain(INPUTS) + update, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_int8_kernel_is_multiplied_as_it_is_and_scaled_afterwards(dtype):
    layer = projection(bias=False)
    layer.round_kernel("int8")
    assert layer.kernel[...].dtype == jnp.int8 and layer.kernel_scale[...].dtype == jnp.float32
    inputs = INPUTS.astype(dtype)
    expected = (inputs @ layer.kernel[...].astype(dtype)) * layer.kernel_scale[...]
    found = layer(inputs)
    assert found.dtype == inputs.dtype
    np.testing.assert_array_equal(found, expected.astype(dtype))


def test_a_bfloat16_kernel_is_the_rounded_one():
    layer = projection(bias=False)
    expected = INPUTS @ layer.kernel[...].astype(jnp.bfloat16).astype(jnp.float32)
    layer.round_kernel("bfloat16")
    assert layer.kernel[...].dtype == jnp.bfloat16
    np.testing.assert_array_equal(layer(INPUTS), expected)


def test_an_adapter_is_not_merged_into_int8():
    layer = projection(Lora(rank=3))
    layer.round_kernel("int8")
    with pytest.raises(QuantizationError, match="merge into the base as imported"):
        layer.merge_adapter()
