"""The matrix product of a layer: kernel, optional bias, optional low-rank adapter, optionally rounded while frozen.

In: activations [..., in]. Out: [..., out]. What an adapter is, as data, is in lora.py; rounding is in quantization.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from s3ft_jax.models.dropout import keep_mask
from s3ft_jax.models.lora import Adapter, Lora, merged
from s3ft_jax.models.quantization import QuantizationError, quantize


@jax.custom_vjp
def product(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., in] @ [in, out] -> [..., out], its gradients written so that XLA on a CPU turns nothing round.

    JAX's own rule gives the kernel's gradient as a transposed product; there XLA then makes a transposed copy of the
    outputs' gradient, in one loop with whatever made that gradient and without vector instructions
    (benchmarks/RESULTS.md, "Training speed"). On other devices both are the same product.
    """
    return inputs @ kernel


def _forward(inputs, kernel):
    """What the backward pass needs; the inputs only where the kernel learns."""
    residuals = inputs.value if kernel.perturbed else None, kernel.value
    return inputs.value @ kernel.value, residuals


def _backward(residuals, gradient):
    inputs, kernel = residuals
    rows = tuple(range(gradient.ndim - 1))
    to_kernel = None if inputs is None else jax.lax.dot_general(inputs, gradient, ((rows, rows), ((), ())))
    return jax.lax.dot_general(gradient, kernel, (((gradient.ndim - 1,), (1,)), ((), ()))), to_kernel


product.defvjp(_forward, _backward, symbolic_zeros=True)


class Projection(nnx.Module):
    """A matrix product with optional bias and optional low-rank adapter. All seven projections are this class."""

    def __init__(self, width_in: int, width_out: int, bias: bool, lora: Lora | None, dtype: jnp.dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.kernel = nnx.Param(init(rngs.params(), (width_in, width_out), dtype))
        self.kernel_scale = nnx.data(None)  # data, so that a parameter can take its place
        self.bias = nnx.Param(jnp.zeros((width_out,), dtype)) if bias else None
        self.lora = None
        if lora is not None:
            self.add_adapter(lora, rngs)

    def add_adapter(self, lora: Lora, rngs: nnx.Rngs) -> None:
        """Add a low-rank adapter; the kernel may have leading axes (layers), and each gets its own.

        a is random and b is zero, so that the adapted model starts out equal to the base (LoRA paper, section 4.1);
        the spread of a is that of peft (tuners/lora/layer.py: kaiming uniform with a = sqrt(5)).
        """
        *layers, width_in, width_out = self.kernel.shape
        bound = width_in**-0.5
        start = jax.random.uniform(rngs.params(), (*layers, width_in, lora.rank), jnp.float32, -bound, bound)
        self.lora_a = Adapter(start)
        self.lora_b = Adapter(jnp.zeros((*layers, lora.rank, width_out), jnp.float32))
        self.lora = lora

    def round_kernel(self, dtype: str) -> None:
        """Keep the kernel, which must not learn any more, as ``bfloat16`` or ``int8`` (models/quantization.py)."""
        if dtype == "int8":
            rounded, scale = quantize(self.kernel[...])
            self.kernel, self.kernel_scale = nnx.Param(rounded), nnx.Param(scale)
        elif dtype:
            self.kernel = nnx.Param(self.kernel[...].astype(dtype))

    def __call__(self, inputs: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """[..., in] -> [..., out]; ``dropout_key`` switches the adapter's dropout on."""
        outputs = product(inputs, self.kernel[...].astype(inputs.dtype))
        if self.kernel_scale is not None:
            outputs = (outputs * self.kernel_scale[...]).astype(inputs.dtype)
        if self.bias is not None:
            outputs = outputs + self.bias[...].astype(inputs.dtype)
        if self.lora is not None:
            narrow = inputs
            if dropout_key is not None and self.lora.dropout > 0.0:
                keep = 1.0 - self.lora.dropout
                narrow = jnp.where(keep_mask(dropout_key, keep, inputs.shape), inputs / keep, 0.0)
            narrow = narrow.astype(inputs.dtype) @ self.lora_a[...].astype(inputs.dtype)
            outputs = outputs + (narrow @ self.lora_b[...].astype(inputs.dtype)) * self.lora.scale
        return outputs

    def merge_adapter(self) -> None:
        """Add the adapter into the kernel and drop it. Raises QuantizationError if the kernel is int8."""
        if self.lora is not None:
            if self.kernel_scale is not None:
                raise QuantizationError("an adapter cannot be added into int8 kernels: merge into the base as imported")
            self.kernel[...] = merged(self.kernel[...], self.lora_a[...], self.lora_b[...], self.lora.scale)
            self.drop_adapter()

    def drop_adapter(self) -> None:
        """Take the adapter off, if there is one."""
        if self.lora is not None:
            self.lora = None
            del self.lora_a, self.lora_b
