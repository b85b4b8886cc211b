"""Gemma 1, Gemma 2 and Gemma 3 (text) as data.

Norms keep scale - 1, the embedding is multiplied by sqrt(width). Gemma 2 adds norms after attention and MLP, soft caps
and windows in every other layer; Gemma 3 has norms of each head, five sliding layers to one, and two ropes. Field
names, defaults and tensor names: transformers (models/gemma, gemma2, gemma3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig, Rope
from s3ft_jax.models.families.fields import Fields, UnsupportedModel, read_rope
from s3ft_jax.models.families.rows import WeightMap
from s3ft_jax.models.families.usual import (
    PRE_NORMS,
    layer_rows,
    read_activation,
    read_usual,
    read_windows,
    refuse_what_no_family_has,
    weight_map_of,
)

_FOUR_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}


def read_gemma(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Gemma 1 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    usual = _read(fields, (read_rope(fields, default_theta=10000.0),))
    if not values.get("hidden_activation") and usual["activation"] == "gelu":
        # old configs say gelu; the models were trained with the tanh form (transformers, pull request 29402)
        usual["activation"] = "gelu_tanh"
    fields.finish()
    return DecoderConfig(**usual)


def read_gemma2(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Gemma 2 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    ropes = (read_rope(fields, default_theta=10000.0),)
    usual = _read(fields, ropes, attn_softcap=50.0, final_softcap=30.0) | {"post_norms": True}
    num_layers = usual["num_layers"]
    windows = read_windows(
        fields, num_layers, fields.number("sliding_window", 4096), [layer % 2 == 0 for layer in range(num_layers)]
    )
    fields.finish()
    return DecoderConfig(**usual, layer_windows=windows)


def read_gemma3(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Gemma 3 text config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    ropes = _two_ropes(fields, where)
    usual = _read(fields, ropes, attn_softcap=0.0, final_softcap=0.0) | {"post_norms": True, "qk_norm": "head"}
    num_layers = usual["num_layers"]
    pattern = fields.number("sliding_window_pattern", fields.number("_sliding_window_pattern", 6))
    sliding = [(layer + 1) % pattern != 0 for layer in range(num_layers)]
    windows = read_windows(fields, num_layers, fields.number("sliding_window", 4096), sliding)
    fields.finish()
    layer_ropes = tuple(1 if window else 0 for window in windows)
    return DecoderConfig(**usual, layer_windows=windows, layer_ropes=layer_ropes)


def _read(fields: Fields, ropes: tuple[Rope, ...], **softcaps: float) -> dict[str, Any]:
    refuse_what_no_family_has(fields)
    fields.require("use_bidirectional_attention", (False,), "every token sees only those before it.")
    fields.take("cache_implementation", "")  # how transformers keeps its cache
    fields.require("attention_bias", (False,), "no published Gemma has these biases.")
    name = "hidden_activation" if fields.take("hidden_activation", None) else "hidden_act"
    fields.take("hidden_act", "")
    own: dict[str, Any] = {}
    if softcaps:
        scalar = fields.number("query_pre_attn_scalar", 256, whole=False)
        own["query_scale"] = scalar**-0.5
        own["attn_softcap"] = _cap(fields, "attn_logit_softcapping", softcaps["attn_softcap"])
        own["final_softcap"] = _cap(fields, "final_logit_softcapping", softcaps["final_softcap"])
    return read_usual(
        fields,
        activation=read_activation(fields, name, "gelu_pytorch_tanh"),
        ropes=ropes,
        head_dim=fields.number("head_dim", 256),
        norm_offset=1.0,
        embed_scale=fields.number("hidden_size") ** 0.5,
        tied_by_default=True,
        **own,
    )


def _cap(fields: Fields, name: str, default: float) -> float:
    """A soft cap; a null that is written down switches it off, an absent field means the default."""
    return float(fields.number(name, 0.0, whole=False)) if name in fields.values else default


def _two_ropes(fields: Fields, where: str) -> tuple[Rope, Rope]:
    """Global and local rope: one entry per layer type (transformers 5), or two fields for their thetas (4)."""
    given = fields.take("rope_parameters", None)
    if given is None:
        full = read_rope(fields, default_theta=1_000_000.0)
        local = fields.number("rope_local_base_freq", 10000.0, whole=False)
        return full, read_rope(Fields({"rope_theta": local}, where), default_theta=10000.0)
    for name in ("rope_theta", "rope_scaling", "rope_local_base_freq"):
        fields.take(name, None)  # older names; transformers 5 writes only rope_parameters
    names = ("full_attention", "sliding_attention")
    if set(given) != set(names):
        raise UnsupportedModel(f"{where}: rope_parameters has {sorted(given)}, expected {sorted(names)}")
    full, local = (
        read_rope(Fields({"rope_parameters": given[name]}, f"{where}: {name}"), default_theta=default)
        for name, default in zip(names, (1_000_000.0, 10000.0), strict=True)
    )
    return full, local


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a Gemma model of this architecture."""
    return weight_map_of(config, layer_rows(config, _FOUR_NORMS if config.post_norms else PRE_NORMS))
