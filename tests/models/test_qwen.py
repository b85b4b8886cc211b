"""Qwen 2 and 3: which layers slide, which projections have biases. Parity is in test_families.py."""

from test_families import SIZES

from s3ft_jax.models.families import read_config


def test_windows_only_where_the_switch_is_on_and_from_the_layer_named():
    values = {"model_type": "qwen2", **SIZES, "sliding_window": 8, "max_window_layers": 2}
    assert read_config(values)[0].layer_windows == ()
    assert read_config({**values, "use_sliding_window": True})[0].layer_windows == (0, 0, 8)


def test_biases_and_head_norms():
    two, three = (read_config({"model_type": f"qwen{n}", **SIZES, "head_dim": 8})[0] for n in (2, 3))
    assert (two.qkv_bias, two.out_bias, two.qk_norm) == (True, False, "none")
    assert (three.qkv_bias, three.out_bias, three.qk_norm) == (False, False, "head")
    del (values := {"model_type": "qwen3", **SIZES})["rms_norm_eps"]
    assert read_config(values)[0].head_dim == 128  # whatever the width: transformers' default
