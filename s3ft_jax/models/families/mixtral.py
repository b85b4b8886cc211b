"""Mixtral as data: Mistral with eight experts in place of the MLP, two for each token.

Field names, defaults and tensor names: transformers (models/mixtral; its conversion_mapping.py for the names in files).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.rows import WeightMap
from s3ft_jax.models.families.usual import (
    expert_rows,
    layer_rows,
    read_usual,
    read_windows,
    refuse_router_noise,
    refuse_what_no_family_has,
    weight_map_of,
)


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Mixtral config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    refuse_router_noise(fields)
    window = fields.number("sliding_window", 0)
    experts = {
        "num_experts": fields.number("num_local_experts", 8),
        "experts_per_token": fields.number("num_experts_per_tok", 2),
    }
    usual = read_usual(fields, theta=1e6, **experts)
    windows = read_windows(fields, usual["num_layers"], window, [bool(window)] * usual["num_layers"])
    fields.finish()
    return DecoderConfig(**usual, layer_windows=windows)


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a Mixtral model of this architecture."""
    names = {"gate": "w1", "down": "w2", "up": "w3"}
    return weight_map_of(config, layer_rows(config) + expert_rows("block_sparse_moe", names))
