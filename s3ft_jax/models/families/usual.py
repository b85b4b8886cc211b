"""What most families share: the field names of config.json, and the tensor names, that began with Llama.

In: fields, a DecoderConfig. Out: arguments of ``DecoderConfig`` and rows, which a family adds its own to. Names and
defaults are those of transformers (models/llama/configuration_llama.py and modeling_llama.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families.fields import Fields, UnsupportedModel, read_rope
from s3ft_jax.models.families.rows import Row, WeightMap

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
LAYER = "model.layers.{i}."
PRE_NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
"""Parameter -> tensor of the norms before attention and MLP."""
_PROJECTIONS = {
    "q": ("self_attn.q_proj", "qkv_bias"),
    "k": ("self_attn.k_proj", "qkv_bias"),
    "v": ("self_attn.v_proj", "qkv_bias"),
    "o": ("self_attn.o_proj", "out_bias"),
    "gate": ("mlp.gate_proj", "mlp_bias"),
    "up": ("mlp.up_proj", "mlp_bias"),
    "down": ("mlp.down_proj", "mlp_bias"),
}


def read_activation(fields: Fields, name: str = "hidden_act", default: str = "silu") -> str:
    """The activation as the decoder calls it. Raises UnsupportedModel for one that it lacks."""
    value = fields.take(name, default)
    if value not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{fields.where}: {name} = {value!r} is not supported; supported: {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[value]


def refuse_what_no_family_has(fields: Fields) -> None:
    """Fields that any config.json may have and that nothing here serves."""
    fields.require("attention_dropout", (0, 0.0), "only adapters have dropout here; set it to 0.0 to go on without it.")
    fields.require("rope_interleaved", (False,), "heads are rotated in halves, the Hugging Face order.")
    fields.require("quantization_config", ({},), "convert the weights to bfloat16 or float32 first.")


def read_biases(fields: Fields) -> dict[str, Any]:
    """``attention_bias`` (queries, keys, values, output) and ``mlp_bias`` as arguments of ``DecoderConfig``."""
    attention = bool(fields.take("attention_bias", False))
    return {"qkv_bias": attention, "out_bias": attention, "mlp_bias": bool(fields.take("mlp_bias", False))}


def read_usual(fields: Fields, *, theta: float = 10000.0, tied_by_default: bool = False, **own: Any) -> dict[str, Any]:
    """Sizes, norm, activation, rope and tied embeddings as arguments of ``DecoderConfig``.

    Args:
      fields: of config.json.
      theta: of the rope, where config.json has none.
      tied_by_default: whether embeddings are tied where config.json does not say.
      **own: added, or taken in place of what would be read.
    """
    num_heads, model_dim = fields.number("num_attention_heads"), fields.number("hidden_size")
    usual = {
        "vocab_size": fields.number("vocab_size"),
        "num_layers": fields.number("num_hidden_layers"),
        "model_dim": model_dim,
        "mlp_dim": fields.number("intermediate_size"),
        "num_heads": num_heads,
        "num_kv_heads": fields.number("num_key_value_heads", num_heads),
        "head_dim": fields.number("head_dim", model_dim // num_heads),
        "max_positions": fields.number("max_position_embeddings", 2048),
        "tie_embeddings": bool(fields.take("tie_word_embeddings", tied_by_default)),
    }
    readers = {
        "norm_eps": lambda: fields.number("rms_norm_eps", 1e-6, whole=False),
        "activation": lambda: read_activation(fields),
        "ropes": lambda: (read_rope(fields, default_theta=theta),),
    }
    return usual | {name: read() for name, read in readers.items() if name not in own} | own


def read_windows(fields: Fields, num_layers: int, window: int | None, sliding: list[bool]) -> tuple[int, ...]:
    """Rows of ``layer_windows``: ``window`` where ``layer_types`` says so, or, where it is absent, ``sliding``.

    Raises:
      UnsupportedModel: a layer type of another kind, too few of them, or sliding layers without a window.
    """
    names = {"sliding_attention": True, "full_attention": False}
    types = fields.take("layer_types", None)
    if types is not None:
        odd = sorted(set(types) - set(names))
        if odd or len(types) != num_layers:
            raise UnsupportedModel(
                f"{fields.where}: layer_types has {len(types)} entries for {num_layers} layers"
                + (f" and {odd}, which is not supported; supported: {', '.join(names)}" if odd else "")
            )
        sliding = [names[kind] for kind in types]
    if not any(sliding):
        return ()
    if not window:
        raise UnsupportedModel(f"{fields.where}: layers slide, but sliding_window = {window!r}")
    return tuple(window if slides else 0 for slides in sliding)


def embedding_rows(config: DecoderConfig) -> list[Row]:
    """Rows of the embedding, the last norm and, if it is not tied, the output matrix."""
    rows = [Row("model.embed_tokens.weight", "embedding"), *norm_rows(config, "model.norm", "final_norm")]
    return rows if config.tie_embeddings else [*rows, Row("lm_head.weight", "head", "transpose")]


def norm_rows(config: DecoderConfig, name: str, path: str) -> list[Row]:
    """Rows of one norm: its scale and, for a layer norm, its bias."""
    rows = [Row(f"{name}.weight", f"{path}.scale")]
    return rows if config.norm == "rms" else [*rows, Row(f"{name}.bias", f"{path}.bias")]


def layer_rows(
    config: DecoderConfig, norms: Mapping[str, str] = PRE_NORMS, renamed: Mapping[str, str] | None = None
) -> list[Row]:
    """Rows of norms, projections and query and key norms. ``renamed``: projection -> its tensor, "" to leave it out."""
    rows = [row for ours, theirs in norms.items() for row in norm_rows(config, LAYER + theirs, f"blocks.{ours}")]
    for ours, (theirs, bias) in _PROJECTIONS.items():
        theirs = (renamed or {}).get(ours, theirs)
        absent = (ours == "gate" and not config.gated_mlp) or (bias == "mlp_bias" and config.num_experts)
        if not theirs or absent:
            continue
        rows.append(Row(f"{LAYER}{theirs}.weight", f"blocks.{ours}.kernel", "transpose"))
        if getattr(config, bias):
            rows.append(Row(f"{LAYER}{theirs}.bias", f"blocks.{ours}.bias"))
    if config.qk_norm != "none":
        rows += [Row(f"{LAYER}self_attn.{name}.weight", f"blocks.{name}.scale") for name in ("q_norm", "k_norm")]
    return rows


def expert_rows(mixture: str, names: Mapping[str, str]) -> list[Row]:
    """Rows of router and experts. ``mixture``: its module in a layer; ``names``: gate, up and down of one expert."""
    start = f"{LAYER}{mixture}."
    rows = [Row(f"{start}gate.weight", "blocks.experts.router", "transpose")]
    return rows + [
        Row(f"{start}experts.{{e}}.{theirs}.weight", f"blocks.experts.{ours}", "transpose")
        for ours, theirs in names.items()
    ]


def refuse_router_noise(fields: Fields) -> None:
    """What only the router's pretraining needs: the fields of the balancing loss are passed over, noise is refused."""
    for name in ("output_router_logits", "router_aux_loss_coef"):
        fields.take(name, None)
    fields.require("router_jitter_noise", (0, 0.0), "routing here has no noise; set it to 0.0 to go on without it.")


def weight_map_of(config: DecoderConfig, rows: list[Row]) -> WeightMap:
    """The map of embedding, ``rows`` and output matrix."""
    duplicates = (("lm_head.weight", "model.embed_tokens.weight"),) if config.tie_embeddings else ()
    # frequencies of the rotary positions, kept in the files of transformers before 4.32; computed here
    return WeightMap((*embedding_rows(config), *rows), (LAYER + "self_attn.rotary_emb.inv_freq",), duplicates)
