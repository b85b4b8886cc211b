"""GPT-2 as data: learned positions, layer norms, biases, one tensor for queries, keys and values, [in, out] matrices.

Field names, defaults and tensor names: transformers (models/gpt2). The dropouts of the published configs are not
applied: only adapters have dropout here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields
from s3ft_jax.models.families.rows import Row, WeightMap
from s3ft_jax.models.families.usual import read_activation

_PREFIX = "transformer."
_LAYER = _PREFIX + "h.{i}."


def read_config(values: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
    """The plain dict of a GPT-2 config.json -> DecoderConfig. Raises UnsupportedModel."""
    fields = Fields(values, where)
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout", "n_ctx", "n_special"):
        fields.take(name, 0)
    for name in ("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"):
        fields.take(name, None)  # of the double-heads model
    fields.take("predict_special_tokens", True)
    fields.require("quantization_config", ({},), "convert the weights to bfloat16 or float32 first.")
    fields.require("scale_attn_weights", (True,), "scores are scaled by 1 / sqrt(head width).")
    fields.require("scale_attn_by_inverse_layer_idx", (False,), "all layers scale their scores alike.")
    fields.require("add_cross_attention", (False,), "this is a decoder without an encoder.")
    fields.take("reorder_and_upcast_attn", False)  # only the order of sums; scores are float32 here anyway
    model_dim, num_heads = fields.number("n_embd", 768), fields.number("n_head", 12)
    config = DecoderConfig(
        vocab_size=fields.number("vocab_size", 50257),
        num_layers=fields.number("n_layer", 12),
        model_dim=model_dim,
        mlp_dim=fields.number("n_inner", 4 * model_dim),
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=model_dim // num_heads,
        max_positions=fields.number("n_positions", 1024),
        norm="layer",
        norm_eps=fields.number("layer_norm_epsilon", 1e-5, whole=False),
        activation=read_activation(fields, "activation_function", "gelu_new"),
        gated_mlp=False,
        learned_positions=True,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        tie_embeddings=bool(fields.take("tie_word_embeddings", True)),
    )
    fields.finish()
    return config


def weight_map(config: DecoderConfig) -> WeightMap:
    """The rows of a GPT-2 model of this architecture."""
    norms = {
        _PREFIX + "ln_f": "final_norm",
        _LAYER + "ln_1": "blocks.attention_norm",
        _LAYER + "ln_2": "blocks.mlp_norm",
    }
    rows = [Row(_PREFIX + "wte.weight", "embedding"), Row(_PREFIX + "wpe.weight", "positions")]
    for name, path in norms.items():
        rows += [Row(f"{name}.weight", f"{path}.scale"), Row(f"{name}.bias", f"{path}.bias")]
    width = config.num_heads * config.head_dim
    for place, ours in enumerate(("q", "k", "v")):
        for theirs, kind in (("weight", "kernel"), ("bias", "bias")):
            name = f"{_LAYER}attn.c_attn.{theirs}"
            rows.append(Row(name, f"blocks.{ours}.{kind}", start=place * width, whole=3 * width))
    for ours, theirs in (("o", "attn.c_proj"), ("up", "mlp.c_fc"), ("down", "mlp.c_proj")):
        rows.append(Row(f"{_LAYER}{theirs}.weight", f"blocks.{ours}.kernel"))
        rows.append(Row(f"{_LAYER}{theirs}.bias", f"blocks.{ours}.bias"))
    duplicates = ()
    if config.tie_embeddings:
        duplicates = (("lm_head.weight", _PREFIX + "wte.weight"),)
    else:
        rows.append(Row("lm_head.weight", "head", "transpose"))
    # causal masks that older files hold as tensors
    return WeightMap(tuple(rows), (_LAYER + "attn.bias", _LAYER + "attn.masked_bias"), duplicates, _PREFIX)
