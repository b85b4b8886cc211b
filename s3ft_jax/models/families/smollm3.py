"""SmolLM3 as data: Llama where every fourth layer has no rope.

Field names, defaults and tensor names: transformers (models/smollm3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import NO_ROPE, DecoderConfig
from s3ft_jax.models.families.fields import Fields, UnsupportedModel
from s3ft_jax.models.families.llama import weight_map
from s3ft_jax.models.families.usual import read_biases, read_usual, read_windows, refuse_what_no_family_has

__all__ = ["read_config", "weight_map"]


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a SmolLM3 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    refuse_what_no_family_has(fields)
    usual = read_usual(fields, theta=2_000_000.0, tied_by_default=True, **read_biases(fields))
    num_layers = usual["num_layers"]
    interval = fields.number("no_rope_layer_interval", 4)
    turned = fields.take("no_rope_layers", [int((layer + 1) % interval != 0) for layer in range(num_layers)])
    if len(turned) < num_layers or not set(turned) <= {0, 1}:
        raise UnsupportedModel(
            f"{where}: no_rope_layers = {turned!r} must hold a 0 or a 1 for each of {num_layers} layers"
        )
    turned = turned[:num_layers]
    window = fields.number("sliding_window", 0) if fields.take("use_sliding_window", False) else 0
    windows = read_windows(fields, num_layers, window, [bool(window) and not rope for rope in turned])
    fields.finish()
    return DecoderConfig(**usual, layer_ropes=tuple(0 if rope else NO_ROPE for rope in turned), layer_windows=windows)
