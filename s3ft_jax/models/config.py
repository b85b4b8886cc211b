"""The decoder's architecture as plain data: what a checkpoint must say so that it can rebuild its own model.

No JAX. In: the fields a family reads from a Hugging Face config. Out: ``DecoderConfig``. Options describe mechanisms,
never model names; an option that nothing reads would be a bug (tests/models/test_decoder.py changes each and expects
other logits). What differs between layers is a row of a table, not a branch: ``layer_ropes``, ``layer_windows``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

NO_ROPE = -1
"""In ``layer_ropes``: this layer's queries and keys are not rotated."""


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al., arXiv 2104.09864), resolved to one frequency per pair on the host.

    Attributes:
      theta: base of the geometric frequency series.
      scaling: ``none``, ``linear`` (divide by factor), ``llama3`` (Llama 3.1) or ``longrope`` (Ding et al., arXiv
        2402.13753); the formulas are those of transformers, modeling_rope_utils.py.
      factor: how much longer than the original length the model reads.
      low_freq_factor, high_freq_factor, original_max_positions: llama3; wavelengths longer than original / low are
        divided by factor, those shorter than original / high are kept, between them it blends.
      short_factors, long_factors: longrope; one divisor per pair, the long ones where the model is used beyond
        ``original_max_positions``.
      scale: factor on cosine and sine.
    """

    theta: float = 10000.0
    scaling: Literal["none", "linear", "llama3", "longrope"] = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()
    scale: float = 1.0

    def frequencies(self, width: int, max_positions: int) -> list[float]:
        """Angular frequency (radians per position) of each of the ``width // 2`` rotated pairs.

        Args:
          width: dimensions of a head that are rotated.
          max_positions: longest sequence the model is used for; chooses longrope's factors.
        """
        plain = [self.theta ** (-2.0 * pair / width) for pair in range(width // 2)]
        if self.scaling == "none":
            return plain
        if self.scaling == "linear":
            return [frequency / self.factor for frequency in plain]
        if self.scaling == "longrope":
            factors = self.long_factors if max_positions > self.original_max_positions else self.short_factors
            return [frequency / factor for frequency, factor in zip(plain, factors, strict=True)]
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
      max_positions: longest sequence the model is used for, in tokens; longer input is refused by the callers.
      norm, norm_eps: root mean square (no mean, no bias) or layer norm (both); added to the mean square or variance.
      norm_offset: added to every norm's scale (1 where the checkpoint keeps scale - 1).
      pre_norms, post_norms: a norm before attention and before the MLP; after each, before it is added.
      qk_norm: a norm of queries and keys before rope: none, of each ``head``, or over the ``full`` width of all heads.
      activation, gated_mlp: act(gate(x)) * up(x), or act(up(x)).
      num_experts, experts_per_token: mixture of experts (models/mixture.py), each ``mlp_dim`` wide, gated and without
        biases; 0: one MLP for all tokens.
      normalize_router: the chosen experts' weights are scaled to sum to 1.
      ropes, layer_ropes: the kinds of rotary positions; which each layer uses (``NO_ROPE``: none; empty: the first).
      rotary_dim: first dimensions of a head that are rotated, the rest pass; 0: all.
      learned_positions: a table of ``max_positions`` vectors is added to the embedding.
      layer_windows: how many positions back each layer sees, itself included (0: all; empty: all layers see all).
      query_scale: factor on the scores; None: 1 / sqrt(head_dim).
      attn_softcap, final_softcap: scores and logits become cap * tanh(x / cap); 0: off.
      embed_scale, residual_scale, logit_scale: factors on the embedding, on what a layer adds, on the logits.
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
    norm: Literal["rms", "layer"] = "rms"
    norm_eps: float = 1e-5
    norm_offset: float = 0.0
    pre_norms: bool = True
    post_norms: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    activation: Literal["silu", "gelu", "gelu_tanh"] = "silu"
    gated_mlp: bool = True
    num_experts: int = 0
    experts_per_token: int = 1
    normalize_router: bool = True
    ropes: tuple[Rope, ...] = (Rope(),)
    layer_ropes: tuple[int, ...] = ()
    rotary_dim: int = 0
    learned_positions: bool = False
    layer_windows: tuple[int, ...] = ()
    query_scale: float | None = None
    attn_softcap: float = 0.0
    final_softcap: float = 0.0
    embed_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
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
        if self.num_experts and not 1 <= self.experts_per_token <= self.num_experts:
            raise ValueError(
                f"DecoderConfig.experts_per_token ({self.experts_per_token}) must be 1 to num_experts "
                f"({self.num_experts})"
            )
        if self.num_experts and (self.mlp_bias or not self.gated_mlp):
            raise ValueError("DecoderConfig: experts are gated and have no biases")
        if self.rope_width % 2 or not 0 < self.rope_width <= self.head_dim:
            raise ValueError(
                f"DecoderConfig: {self.rope_width} of head_dim = {self.head_dim} dimensions cannot be rotated: rope "
                "turns pairs"
            )
        for name in ("layer_ropes", "layer_windows"):
            if len(getattr(self, name)) not in (0, self.num_layers):
                raise ValueError(
                    f"DecoderConfig.{name} has {len(getattr(self, name))} rows for {self.num_layers} layers"
                )
        if any(not NO_ROPE <= index < len(self.ropes) for index in self.layer_ropes):
            raise ValueError(f"DecoderConfig.layer_ropes {self.layer_ropes} points beyond {len(self.ropes)} ropes")

    @property
    def rope_width(self) -> int:
        """Dimensions of a head that are rotated."""
        return self.rotary_dim or self.head_dim

    @property
    def window_kinds(self) -> tuple[int, ...]:
        """The different windows that layers have, ascending; ``(0,)`` where all layers see all."""
        return tuple(sorted(set(self.layer_windows))) or (0,)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``from_json`` gives back an equal config."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """Rebuild from ``to_json``, also after a walk through JSON text. Raises TypeError naming an unknown field."""
        values = {name: _tuples(value) for name, value in values.items()}
        ropes = tuple(Rope(**{name: _tuples(value) for name, value in rope.items()}) for rope in values["ropes"])
        return cls(**{**values, "ropes": ropes})


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
