"""The Llama family as data: fields of config.json -> DecoderConfig, and the weight rows.

Llama 2, 3, 3.1, 3.2, TinyLlama, SmolLM and SmolLM2 are of this family. Field names, defaults and tensor names are those
of transformers (models/llama/configuration_llama.py and modeling_llama.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.rows import WeightMap
from s3ft_jax.models.families.usual import (
    layer_rows,
    read_biases,
    read_usual,
    refuse_what_no_family_has,
    weight_map_of,
)


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Llama config.json -> DecoderConfig.

    Raises:
      UnsupportedModel: a field asks for something the decoder cannot do, or is unknown and not empty or off.
    """
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    fields.require("auto_map", ({},), "it names code of the model's own, which is never run.")
    fields.require("partial_rotary_factor", (1, 1.0), "heads are rotated over their whole width.")
    fields.take("pretraining_tp", 1)  # only cuts a matrix product into parts, the result is the same
    usual = read_usual(fields, **read_biases(fields))
    fields.finish()
    return DecoderConfig(**usual)


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a Llama model of this architecture."""
    return weight_map_of(config, layer_rows(config))
