"""Qwen2, Qwen2.5 and Qwen3 as data: Llama with biases on queries, keys and values (2), or norms of each head (3).

Field names, defaults and tensor names: transformers (models/qwen2, models/qwen3). From ``max_window_layers`` on layers
slide where ``use_sliding_window`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.llama import weight_map
from s3ft_jax.models.families.usual import read_usual, read_windows, refuse_what_no_family_has

__all__ = ["read_qwen2", "read_qwen3", "weight_map"]


def read_qwen2(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Qwen2 or Qwen2.5 config.json -> DecoderConfig. Raises UnsupportedModel."""
    return _read(Fields(values, where), qkv_bias=True)


def read_qwen3(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Qwen3 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    bias = bool(fields.take("attention_bias", False))
    return _read(fields, qkv_bias=bias, out_bias=bias, qk_norm="head", head_dim=fields.number("head_dim", 128))


def _read(fields: Fields, **own: Any) -> DecoderConfig:
    refuse_what_no_family_has(fields)
    usual = read_usual(fields, **own)
    slides = bool(fields.take("use_sliding_window", False))
    window, first = fields.number("sliding_window", 4096), fields.number("max_window_layers", 28)
    sliding = [slides and layer >= first for layer in range(usual["num_layers"])]
    windows = read_windows(fields, usual["num_layers"], window if slides else None, sliding)
    fields.finish()
    return DecoderConfig(**usual, layer_windows=windows)
