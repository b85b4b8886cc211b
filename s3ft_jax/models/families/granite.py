"""Granite 3 as data: Llama with multipliers on embedding, scores, what a layer adds, and logits.

Field names, defaults and tensor names: transformers (models/granite).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.llama import weight_map
from s3ft_jax.models.families.usual import read_biases, read_usual, refuse_what_no_family_has

__all__ = ["read_config", "weight_map"]


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Granite config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    usual = read_usual(
        fields,
        embed_scale=float(fields.number("embedding_multiplier", 1.0, whole=False)),
        query_scale=float(fields.number("attention_multiplier", 1.0, whole=False)),
        residual_scale=float(fields.number("residual_multiplier", 1.0, whole=False)),
        logit_scale=1.0 / fields.number("logits_scaling", 1.0, whole=False),
        **read_biases(fields),
    )
    fields.finish()
    return DecoderConfig(**usual)
