"""Phi-3, Phi-3.5 and Phi-4-mini as data: fused weights, a window in some, partial rotation, longrope.

Field names, defaults and tensor names: transformers (models/phi3). With longrope the model is read as one for
``original_max_position_embeddings``, where its short factors hold; ``DecoderConfig.max_positions`` beyond that chooses
the long ones for every length, so that one run never mixes the two. transformers chooses by the longest sequence of a
batch (modeling_rope_utils.py, ``longrope_frequency_update``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields, UnsupportedModel, read_longrope
from s3ft_jax.models.families.rows import Row, WeightMap
from s3ft_jax.models.families.usual import (
    LAYER,
    layer_rows,
    read_usual,
    read_windows,
    refuse_what_no_family_has,
    weight_map_of,
)

_MICROSOFT = ("full_attn_mod", "interpolate_factor")  # of Microsoft's own training code; 1 wherever published


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Phi-3 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    fields.take("auto_map", {})  # transformers has had this model since 4.41; the code it names is never run
    for name in ("resid_pdrop", "embd_pdrop"):
        fields.require(name, (0, 0.0), "only adapters have dropout here; set it to 0.0 to go on without it.")
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        fields.require(name, (False,), "no published Phi-3 has these biases.")
    for name in _MICROSOFT:
        fields.require(name, (1,), "no published Phi-3 has another value.")
    scaling = dict(fields.take("rope_parameters", None) or fields.take("rope_scaling", None) or {})
    share = scaling.get("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0, whole=False))
    longrope = scaling.get("rope_type", scaling.get("type", "default")) in ("longrope", "su", "yarn")
    usual = read_usual(fields, **({"ropes": ()} if longrope else {}))
    rotary_dim = int(usual["head_dim"] * share)
    original = fields.number("original_max_position_embeddings", usual["max_positions"])
    if longrope:
        fields.take("rope_scaling", None)
        theta = fields.number("rope_theta", 10000.0, whole=False)
        usual["ropes"] = (read_longrope(fields, scaling, theta, original, usual["max_positions"], rotary_dim),)
        usual["max_positions"] = min(original, usual["max_positions"])
    window, num_layers = fields.number("sliding_window", 0), usual["num_layers"]
    windows = read_windows(fields, num_layers, window, [bool(window)] * num_layers)
    if rotary_dim < 2:
        raise UnsupportedModel(f"{where}: partial_rotary_factor = {share} leaves no dimension to rotate")
    fields.finish()
    rotary_dim = 0 if rotary_dim == usual["head_dim"] else rotary_dim
    return DecoderConfig(**usual, rotary_dim=rotary_dim, layer_windows=windows)


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a Phi-3 model: queries, keys and values in one tensor, gate and up in another."""
    heads, kv_heads = (number * config.head_dim for number in (config.num_heads, config.num_kv_heads))
    fused = {
        "self_attn.qkv_proj": {"q": heads, "k": kv_heads, "v": kv_heads},
        "mlp.gate_up_proj": {"gate": config.mlp_dim, "up": config.mlp_dim},
    }
    rows = layer_rows(config, renamed=dict.fromkeys((name for parts in fused.values() for name in parts), ""))
    for theirs, parts in fused.items():
        start, whole = 0, sum(parts.values())
        for ours, size in parts.items():
            rows.append(Row(f"{LAYER}{theirs}.weight", f"blocks.{ours}.kernel", "transpose", start, whole))
            start += size
    return weight_map_of(config, rows)
