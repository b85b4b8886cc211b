"""Mistral 7B v0.1 to v0.3 as data: Llama, with a sliding window in every layer of v0.1.

Field names, defaults and tensor names: transformers (models/mistral). A config.json that leaves ``sliding_window`` out
means 4,096, as there; v0.2 and later say null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.llama import weight_map
from s3ft_jax.models.families.usual import read_usual, read_windows, refuse_what_no_family_has

__all__ = ["read_config", "weight_map"]


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Mistral config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    window = fields.number("sliding_window", 0) if "sliding_window" in values else 4096
    usual = read_usual(fields)
    num_layers = usual["num_layers"]
    windows = read_windows(fields, num_layers, window, [bool(window)] * num_layers)
    fields.finish()
    return DecoderConfig(**usual, layer_windows=windows)
