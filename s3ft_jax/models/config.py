"""The decoder's architecture as plain data: what a checkpoint must say so that it can rebuild its own model.

No JAX. In: the fields a family reads from a Hugging Face config. Out: ``DecoderConfig``. Options describe mechanisms,
never model names; an option that nothing reads would be a bug (tests/models/test_decoder.py changes each and expects
other logits).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al., arXiv 2104.09864), resolved to one frequency per pair on the host.

    Attributes:
      theta: base of the geometric frequency series.
      scaling: ``none``, ``linear`` (divide by factor) or ``llama3`` (Llama 3.1: transformers, modeling_rope_utils.py,
        ``_compute_llama3_parameters``).
      factor: how much longer than the original length the model reads.
      low_freq_factor, high_freq_factor, original_max_positions: llama3 only; wavelengths longer than
        original / low are divided by factor, those shorter than original / high are kept, between them it blends.
    """

    theta: float = 10000.0
    scaling: Literal["none", "linear", "llama3"] = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192

    def frequencies(self, head_dim: int) -> list[float]:
        """Angular frequency (radians per position) of each of the ``head_dim // 2`` rotated pairs."""
        plain = [self.theta ** (-2.0 * pair / head_dim) for pair in range(head_dim // 2)]
        if self.scaling == "none":
            return plain
        if self.scaling == "linear":
            return [frequency / self.factor for frequency in plain]
        return [self._llama3(frequency) for frequency in plain]

    def _llama3(self, frequency: float) -> float:
        wavelength = 2.0 * math.pi / frequency
        if wavelength > self.original_max_positions / self.low_freq_factor:
            return frequency / self.factor
        if wavelength < self.original_max_positions / self.high_freq_factor:
            return frequency
        turns = self.original_max_positions / wavelength
        blend = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return (1.0 - blend) * frequency / self.factor + blend * frequency


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Architecture of a decoder-only transformer.

    Attributes:
      vocab_size: rows of the embedding table.
      num_layers, model_dim, mlp_dim: depth and widths.
      num_heads, num_kv_heads, head_dim: attention; num_heads is a multiple of num_kv_heads.
      max_positions: longest sequence the model was made for, in tokens; longer input is refused by the callers.
      norm_eps: added to the mean square in every RMS norm.
      activation: gate of the MLP.
      rope: rotary positions.
      qkv_bias, out_bias, mlp_bias: whether these projections add a bias.
      tie_embeddings: logits are taken with the embedding table.
    """

    vocab_size: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float = 1e-5
    activation: Literal["silu", "gelu_tanh"] = "silu"
    rope: Rope = Rope()
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "num_layers", "model_dim", "mlp_dim", "num_heads", "num_kv_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"DecoderConfig.{name} must be at least 1, found {getattr(self, name)}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"DecoderConfig.num_heads ({self.num_heads}) must be a multiple of num_kv_heads ({self.num_kv_heads})"
            )
        if self.head_dim % 2:
            raise ValueError(f"DecoderConfig.head_dim ({self.head_dim}) must be even: rope turns pairs")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``from_json`` gives back an equal config."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """Rebuild from ``to_json``. Raises TypeError naming an unknown field."""
        values = dict(values)
        return cls(**{**values, "rope": Rope(**values["rope"])})
