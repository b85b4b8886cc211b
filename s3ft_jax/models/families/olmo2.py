"""OLMo 2 as data: norms after attention and MLP only, and a norm of queries and keys over the width of all heads.

Field names, defaults and tensor names: transformers (models/olmo2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.rows import WeightMap
from s3ft_jax.models.families.usual import (
    layer_rows,
    read_usual,
    refuse_what_no_family_has,
    weight_map_of,
)

_POST_NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of an OLMo 2 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    bias = bool(fields.take("attention_bias", False))
    usual = read_usual(
        fields,
        norm_eps=fields.number("rms_norm_eps", 1e-5, whole=False),
        pre_norms=False,
        post_norms=True,
        qk_norm="full",
        qkv_bias=bias,
        out_bias=bias,
    )
    fields.finish()
    return DecoderConfig(**usual)


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of an OLMo 2 model of this architecture."""
    return weight_map_of(config, layer_rows(config, _POST_NORMS))
