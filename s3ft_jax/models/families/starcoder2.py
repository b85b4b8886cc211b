"""StarCoder2 as data: layer norms, biases everywhere, an MLP without a gate, a sliding window in every layer.

Field names, defaults and tensor names: transformers (models/starcoder2). The dropouts of the published configs are not
applied: only adapters have dropout here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.rows import WeightMap
from s3ft_jax.models.families.usual import layer_rows, read_activation, read_usual, read_windows, weight_map_of


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a StarCoder2 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    fields.require("quantization_config", ({},), "convert the weights to bfloat16 or float32 first.")
    fields.require("norm_type", ("layer_norm",), "StarCoder2 has layer norms.")
    fields.require("mlp_type", ("default",), "StarCoder2 has an MLP without a gate.")
    for name in ("attention_dropout", "residual_dropout", "embedding_dropout"):
        fields.take(name, 0.0)
    for name in ("activation_function", "layer_norm_epsilon"):  # older names of hidden_act and norm_epsilon
        fields.take(name, None)
    for name in ("scale_attn_weights", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"):
        fields.require(name, (True,), "scores are scaled and their softmax is in float32.")
    bias = bool(fields.take("use_bias", True))
    usual = read_usual(
        fields,
        activation=read_activation(fields, default="gelu_pytorch_tanh"),
        norm="layer",
        norm_eps=fields.number("norm_epsilon", 1e-5, whole=False),
        gated_mlp=False,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        tied_by_default=True,
    )
    num_layers, window = usual["num_layers"], fields.number("sliding_window", 0)
    windows = read_windows(fields, num_layers, window, [bool(window)] * num_layers)
    fields.finish()
    return DecoderConfig(**usual, layer_windows=windows)


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a StarCoder2 model of this architecture."""
    return weight_map_of(config, layer_rows(config, renamed={"up": "mlp.c_fc", "down": "mlp.c_proj"}))
