"""Qwen2, Qwen2.5, Qwen3 and Qwen3-MoE as data: Llama with biases on queries, keys and values (2), or norms of each head
(3), and experts in place of the MLP (MoE).

Field names, defaults and tensor names: transformers (models/qwen2, qwen3, qwen3_moe). From
``max_window_layers`` on layers slide where ``use_sliding_window`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.llama import weight_map
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

__all__ = ["mixture_weight_map", "read_qwen2", "read_qwen3", "read_qwen3_moe", "weight_map"]


def read_qwen2(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Qwen2 or Qwen2.5 config.json -> DecoderConfig. Raises UnsupportedModel."""
    return _read(Fields(values, where), qkv_bias=True)


def read_qwen3(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Qwen3 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    return _read(fields, head_dim=fields.number("head_dim", 128), **_attention(fields))


def read_qwen3_moe(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Qwen3-MoE config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_router_noise(fields)
    every_layer = "layers are scanned, so all of them must have experts."
    fields.require("decoder_sparse_step", (1,), every_layer)
    fields.require("mlp_only_layers", ([],), every_layer)
    experts = {
        # transformers 5 writes the second name
        "num_experts": fields.number("num_experts", fields.number("num_local_experts", 128)),
        "experts_per_token": fields.number("num_experts_per_tok", 8),
        "mlp_dim": fields.number("moe_intermediate_size", 768),
        "normalize_router": bool(fields.take("norm_topk_prob", False)),
    }
    return _read(fields, **experts, **_attention(fields))


def mixture_weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a Qwen3-MoE model of this architecture."""
    names = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
    return weight_map_of(config, layer_rows(config) + expert_rows("mlp", names))


def _attention(fields: Fields) -> dict[str, Any]:
    bias = bool(fields.take("attention_bias", False))
    return {"qkv_bias": bias, "out_bias": bias, "qk_norm": "head"}


def _read(fields: Fields, **own: Any) -> DecoderConfig:
    refuse_what_no_family_has(fields)
    usual = read_usual(fields, **own)
    slides = bool(fields.take("use_sliding_window", False))
    window, first = fields.number("sliding_window", 4096), fields.number("max_window_layers", 28)
    sliding = [slides and layer >= first for layer in range(usual["num_layers"])]
    windows = read_windows(fields, usual["num_layers"], window if slides else None, sliding)
    fields.finish()
    return DecoderConfig(**usual, layer_windows=windows)
