"""Each activation against torch's of the name that Hugging Face configs give it."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from s3ft_jax.models.activations import ACTIVATIONS

TORCH = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_as_in_torch(name):
    x = np.linspace(-8, 8, 401, dtype=np.float32)
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(x)), TORCH[name](torch.from_numpy(x)).numpy(), atol=2e-6)


def test_the_two_gelus_differ():
    x = jnp.linspace(-3, 3, 101)
    assert jnp.max(jnp.abs(ACTIVATIONS["gelu"](x) - ACTIVATIONS["gelu_tanh"](x))) > 1e-4
