"""The Llama family as data: fields of config.json -> DecoderConfig, and the weight rows.

Llama 2, 3, 3.1, 3.2, TinyLlama, SmolLM and SmolLM2 are of this family. Field names, defaults and tensor names are those
of transformers (models/llama/configuration_llama.py and modeling_llama.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields, UnsupportedModel, read_rope
from s3ft_jax.models.families.rows import Row, WeightMap

_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a Llama config.json -> DecoderConfig.

    Raises:
      UnsupportedModel: a field asks for something the decoder cannot do, or is unknown and not empty or off.
    """
    fields = Fields(values, where)
    fields.take("pretraining_tp", 1)  # only cuts a matrix product into parts, the result is the same
    fields.require("attention_dropout", (0, 0.0), "only adapters have dropout here; set it to 0.0 to go on without it.")
    fields.require("partial_rotary_factor", (1, 1.0), "heads are rotated over their whole width.")
    fields.require("rope_interleaved", (False,), "heads are rotated in halves, the Hugging Face order.")
    fields.require("quantization_config", ({},), "convert the weights to bfloat16 or float32 first.")
    fields.require("auto_map", ({},), "it names code of the model's own, which is never run.")
    activation = fields.take("hidden_act", "silu")
    if activation not in _ACTIVATIONS:
        raise UnsupportedModel(
            f"{where}: hidden_act = {activation!r} is not supported; supported: {', '.join(_ACTIVATIONS)}"
        )
    num_heads, model_dim = fields.number("num_attention_heads"), fields.number("hidden_size")
    attention_bias = bool(fields.take("attention_bias", False))
    config = DecoderConfig(
        vocab_size=fields.number("vocab_size"),
        num_layers=fields.number("num_hidden_layers"),
        model_dim=model_dim,
        mlp_dim=fields.number("intermediate_size"),
        num_heads=num_heads,
        num_kv_heads=fields.number("num_key_value_heads", num_heads),
        head_dim=fields.number("head_dim", model_dim // num_heads),
        max_positions=fields.number("max_position_embeddings", 2048),
        norm_eps=fields.number("rms_norm_eps", 1e-6, whole=False),
        activation=_ACTIVATIONS[activation],
        rope=read_rope(fields, default_theta=10000.0),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        mlp_bias=bool(fields.take("mlp_bias", False)),
        tie_embeddings=bool(fields.take("tie_word_embeddings", False)),
    )
    fields.finish()
    return config


_PROJECTIONS = (
    ("q", "self_attn.q_proj", "qkv_bias"),
    ("k", "self_attn.k_proj", "qkv_bias"),
    ("v", "self_attn.v_proj", "qkv_bias"),
    ("o", "self_attn.o_proj", "out_bias"),
    ("gate", "mlp.gate_proj", "mlp_bias"),
    ("up", "mlp.up_proj", "mlp_bias"),
    ("down", "mlp.down_proj", "mlp_bias"),
)


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a Llama model of this architecture."""
    layer = "model.layers.{i}."
    rows = [
        Row("model.embed_tokens.weight", "embedding"),
        Row("model.norm.weight", "final_norm.scale"),
        Row(layer + "input_layernorm.weight", "blocks.attention_norm.scale"),
        Row(layer + "post_attention_layernorm.weight", "blocks.mlp_norm.scale"),
    ]
    for ours, theirs, bias in _PROJECTIONS:
        rows.append(Row(f"{layer}{theirs}.weight", f"blocks.{ours}.kernel", "transpose"))
        if getattr(config, bias):
            rows.append(Row(f"{layer}{theirs}.bias", f"blocks.{ours}.bias"))
    duplicates = ()
    if config.tie_embeddings:
        duplicates = (("lm_head.weight", "model.embed_tokens.weight"),)
    else:
        rows.append(Row("lm_head.weight", "head", "transpose"))
    # frequencies of the rotary positions, kept in the files of transformers before 4.32; computed here
    return WeightMap(tuple(rows), (layer + "self_attn.rotary_emb.inv_freq",), duplicates)
