"""OLMo 2: norms after the layers only. Parity is in test_families.py."""

from test_families import SIZES

from s3ft_jax.models.families import read_config


def test_norms_and_their_tensors():
    config, weight_map = read_config({"model_type": "olmo2", **SIZES})
    assert (config.pre_norms, config.post_norms, config.qk_norm) == (False, True, "full")
    names = {row.path: row.name.split("{i}.")[1] for row in weight_map.rows if "norm" in row.path and "{i}" in row.name}
    assert names == {
        "blocks.attention_post_norm.scale": "post_attention_layernorm.weight",
        "blocks.mlp_post_norm.scale": "post_feedforward_layernorm.weight",
        "blocks.q_norm.scale": "self_attn.q_norm.weight",
        "blocks.k_norm.scale": "self_attn.k_norm.weight",
    }
